//! stand-in
pub fn compress(data: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::new();
    for run in data.chunk_by(|a, b| a == b) {
        for part in run.chunks(255) {
            out.extend([part.len() as u8, part[0]]);
        }
    }
    (out.len() < data.len()).then_some(out)
}
pub fn decompress(data: &[u8], len: usize) -> Option<Vec<u8>> {
    let out: Vec<u8> = data.chunks(2).flat_map(|c| std::iter::repeat_n(c[1], c[0] as usize)).collect();
    (out.len() == len).then_some(out)
}
