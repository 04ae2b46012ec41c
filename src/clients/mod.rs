//! The connected clients: what they sent, and what they wait for.
//!
//! ```text
//! slots: [gen 1|Client][gen 7|  -  ][gen 3|Client] ...      ClientId = index + generation
//! ```
//!
//! The caller of a command is a `ClientId`, never a reference. A client that is killed leaves every
//! registry at once and is marked dying; its slot, socket and lent buffers are given back between
//! passes (`reap`). A stale id finds nothing, since the slot's generation has moved on.

pub mod client;
pub mod conn;
pub mod handshakes;
pub mod id;
pub mod multi;
pub mod pause;
pub mod pool;
pub mod usage;

pub use client::{Client, ClientKind, flag};
pub use id::{ClientId, UserId};

use crate::proto::reply::Reply;
use std::collections::{HashMap, VecDeque};
use std::ops::{Index, IndexMut};

struct Slot {
    /// Above 0 while and after a client lives here; see `net::reactor` for 0.
    generation: u32,
    client: Option<Box<Client>>,
}

#[derive(Default)]
pub struct Clients {
    slots: Vec<Slot>,
    free: Vec<u32>,
    /// With a stream; pseudo-clients are not counted.
    connected: usize,
    next_id: u64,
    /// Slots by number of client.
    numbers: HashMap<u64, u32>,
    /// Have bytes to write before the loop sleeps.
    pub to_write: Vec<ClientId>,
    /// Have parsed or unread input that this pass did not get to.
    pub to_read: VecDeque<ClientId>,
    /// Marked dying, in order: what follows from it for others is done at the end of the unit.
    pub leaving: VecDeque<ClientId>,
    /// Marked dying; reaped between passes.
    pub dying: Vec<ClientId>,
    pub pool: pool::Pool,
    pub usage: usage::Usage,
    /// Hard output limits by kind, 0 for none.
    pub output_limits: [usize; ClientKind::COUNT],
}

impl Clients {
    /// Gives a client its slot and number.
    pub fn add(&mut self, mut c: Box<Client>) -> ClientId {
        self.next_id += 1;
        c.id = self.next_id;
        if c.conn.stream.is_some() {
            self.connected += 1;
        }
        let index = match self.free.pop() {
            Some(i) => i,
            None => {
                self.slots.push(Slot { generation: 0, client: None });
                u32::try_from(self.slots.len() - 1).expect("far fewer descriptors than that")
            }
        };
        let slot = &mut self.slots[index as usize];
        debug_assert!(slot.client.is_none());
        slot.generation = slot.generation.wrapping_add(1).max(1);
        self.numbers.insert(c.id, index);
        slot.client = Some(c);
        ClientId { index, generation: slot.generation }
    }

    /// Gives a client its connection.
    pub fn attach(&mut self, id: ClientId, stream: crate::net::stream::Stream) {
        let c = &mut self[id];
        debug_assert!(c.conn.stream.is_none());
        if stream.is_unix() {
            c.set(flag::UNIX);
        }
        c.clear(flag::PSEUDO);
        c.conn.stream = Some(stream);
        self.connected += 1;
    }

    #[inline]
    pub fn get(&self, id: ClientId) -> Option<&Client> {
        let s = self.slots.get(id.index as usize)?;
        if s.generation == id.generation { s.client.as_deref() } else { None }
    }

    #[inline]
    pub fn get_mut(&mut self, id: ClientId) -> Option<&mut Client> {
        let s = self.slots.get_mut(id.index as usize)?;
        if s.generation == id.generation { s.client.as_deref_mut() } else { None }
    }

    /// A client's connection, and what reading and writing need of these clients.
    #[inline]
    pub fn conn_and_pool(&mut self, id: ClientId) -> Option<(&mut conn::Conn, &mut pool::Pool)> {
        let s = self.slots.get_mut(id.index as usize)?;
        let c = s.client.as_deref_mut().filter(|_| s.generation == id.generation)?;
        Some((&mut c.conn, &mut self.pool))
    }

    /// Alive and not about to go.
    pub fn live(&self, id: ClientId) -> Option<&Client> {
        self.get(id).filter(|c| !c.has(flag::DYING))
    }

    /// The number of clients that have a stream and are not dying.
    pub fn connected(&self) -> usize {
        self.connected
    }

    pub fn iter(&self) -> impl Iterator<Item = (ClientId, &Client)> {
        self.slots.iter().enumerate().filter_map(|(i, s)| {
            let id = ClientId { index: i as u32, generation: s.generation };
            s.client.as_deref().map(|c| (id, c))
        })
    }

    pub fn ids(&self) -> Vec<ClientId> {
        self.iter().map(|(id, _)| id).collect()
    }

    pub fn slots(&self) -> usize {
        self.slots.len()
    }

    /// The client in slot `i`, whatever its generation.
    pub fn at(&self, i: usize) -> Option<ClientId> {
        let s = self.slots.get(i)?;
        s.client.as_ref().map(|_| ClientId { index: i as u32, generation: s.generation })
    }

    pub fn by_number(&self, id: u64) -> Option<ClientId> {
        self.at(*self.numbers.get(&id)? as usize)
    }

    /// Marks a client dying. The caller takes it out of the registries; false when it was dying already.
    pub fn mark_dying(&mut self, id: ClientId) -> bool {
        let Some(c) = self.get_mut(id).filter(|c| !c.has(flag::DYING)) else { return false };
        c.set(flag::DYING);
        let counted = std::mem::take(&mut c.counted);
        self.usage.forget(id, &counted);
        let Some(c) = self.get(id) else { return false };
        let streamed = c.conn.stream.is_some();
        self.connected -= streamed as usize;
        self.leaving.push_back(id);
        self.dying.push(id);
        true
    }

    /// Takes a dying client out of its slot.
    pub fn remove(&mut self, id: ClientId) -> Option<Box<Client>> {
        let s = self.slots.get_mut(id.index as usize)?;
        if s.generation != id.generation {
            return None;
        }
        let c = s.client.take()?;
        let index = self.numbers.remove(&c.id);
        debug_assert_eq!(index, Some(id.index), "a client keeps its number");
        self.free.push(id.index);
        Some(c)
    }

    /// Lets `write` add to what another client will read: behind its reply while it executes, else at
    /// once. Nothing follows the last reply of a client that is about to be closed.
    pub fn push(&mut self, to: ClientId, write: impl FnOnce(&mut Reply)) {
        let limits = self.output_limits;
        let leaves = flag::DYING | flag::CLOSE_AFTER_REPLY;
        let Some(c) = self.get_mut(to).filter(|c| !c.has(leaves)) else { return };
        let limit = limits[c.kind() as usize];
        if c.has(flag::EXECUTING) {
            let resp3 = c.out_is_resp3();
            let pushes = c.pushes.get_or_insert_with(|| Box::new(Reply::new(resp3)));
            pushes.set_limit(limit);
            // HELLO may have run in between, in EXEC.
            pushes.resp3 = resp3;
            write(pushes);
        } else {
            c.conn.out.set_limit(limit);
            let class = c.reply_class as usize;
            if c.conn.out.buf.capacity() == 0 && c.conn.out.is_empty() {
                self.lend_reply(to, class);
            }
            self[to].conn.out.aloud(write);
        }
        self.wants_write(to);
    }

    /// Gives a client its first buffer.
    fn lend_reply(&mut self, id: ClientId, class: usize) {
        let b = self.pool.reply(class);
        if let Some(c) = self.get_mut(id) {
            c.conn.out.buf = b;
        }
    }

    #[inline]
    pub fn wants_write(&mut self, id: ClientId) {
        if let Some(c) = self.get_mut(id)
            && !c.has(flag::TO_WRITE)
        {
            c.set(flag::TO_WRITE);
            self.to_write.push(id);
        }
    }

    #[inline]
    pub fn wants_read(&mut self, id: ClientId) {
        if let Some(c) = self.get_mut(id)
            && !c.has(flag::TO_READ)
        {
            c.set(flag::TO_READ);
            self.to_read.push_back(id);
        }
    }
}

impl Index<ClientId> for Clients {
    type Output = Client;
    #[inline]
    fn index(&self, id: ClientId) -> &Client {
        self.get(id).expect("a stale ClientId")
    }
}

impl IndexMut<ClientId> for Clients {
    #[inline]
    fn index_mut(&mut self, id: ClientId) -> &mut Client {
        self.get_mut(id).expect("a stale ClientId")
    }
}
