//! The name of a client: a place in `Clients`, and the generation of what stands there.

#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash, PartialOrd, Ord)]
pub struct ClientId {
    pub index: u32,
    pub generation: u32,
}

impl ClientId {
    pub fn token(self) -> usize {
        (self.generation as usize) << 32 | self.index as usize
    }
}
