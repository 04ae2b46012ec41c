//! What stands for a client elsewhere, a place in `Clients` and the generation of what is there; and what
//! stands for a user.

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

/// A user, by its place among the users.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Hash)]
pub struct UserId(pub u32);

impl UserId {
    /// The user of a fresh connection.
    pub const DEFAULT: UserId = UserId(0);
}
