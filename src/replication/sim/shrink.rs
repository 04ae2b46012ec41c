//! Makes a failing schedule short: drops ever smaller pieces of it as long as it still fails.

/// The shortest schedule that was found to fail. `fails` is asked again and again.
pub fn shrink<T: Clone>(all: &[T], mut fails: impl FnMut(&[T]) -> bool) -> Vec<T> {
    let mut left = all.to_vec();
    let mut piece = left.len().div_ceil(2);
    while piece > 0 {
        let (mut at, before) = (0, left.len());
        while at < left.len() {
            let mut fewer = left.clone();
            fewer.drain(at..(at + piece).min(left.len()));
            if fails(&fewer) {
                left = fewer;
            } else {
                at += piece;
            }
        }
        if left.len() == before || piece > left.len() {
            piece = (piece / 2).min(left.len());
        }
    }
    left
}

#[test]
fn what_is_not_needed_to_fail_goes() {
    let all: Vec<u32> = (0..200).collect();
    let mut asked = 0;
    let left = shrink(&all, |some| {
        asked += 1;
        some.contains(&17) && some.contains(&150) && some.iter().filter(|n| **n > 100).count() > 2
    });
    assert_eq!((left.len(), left[0], left.contains(&150)), (4, 17, true), "{left:?}");
    assert!(asked < 500, "{asked}");
    assert!(shrink(&all, |_| true).is_empty());
    assert_eq!(shrink(&all, |some| some.len() == 200).len(), 200);
}
