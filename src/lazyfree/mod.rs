//! A thread that frees what takes long to free: big values, whole databases, and what other subsystems
//! drop in bulk.
//!
//! ```text
//! main: take out, used_memory -= estimate ──► channel ──► thread: free uncounted, then += estimate - truth
//! ```
//!
//! The memory counts as free at the moment it is handed over, since for the readers of `used_memory`
//! (eviction, INFO) it is gone. What stands in for it until then is an estimate; the
//! thread settles the difference when it has freed the thing and knows.
//!
//! `pending` and `freed` count objects only where upstream would have freed lazily (`objects` is 0 for
//! the rest), though here whatever is big goes this way.

use crate::keyspace::Junk;
use crate::sys::{alloc, cpu, crash};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};

enum Trash {
    Junk(Junk),
    Other(Box<dyn Send>),
}

struct Job {
    trash: Trash,
    /// Bytes that were taken off `used_memory` in advance.
    estimate: isize,
    objects: usize,
    /// Give the pages back to the system afterwards.
    purge: bool,
}

#[derive(Default)]
struct Counters {
    pending: AtomicUsize,
    freed: AtomicUsize,
}

pub struct LazyFree {
    jobs: Sender<Job>,
    counters: Arc<Counters>,
    purge_next: bool,
}

impl LazyFree {
    /// Starts the thread, on the processors of `cpus` (`bio_cpulist`).
    pub fn start(cpus: Option<&[u8]>) -> LazyFree {
        let (jobs, inbox) = channel();
        let counters = Arc::new(Counters::default());
        let (theirs, cpus) = (counters.clone(), cpus.map(<[u8]>::to_vec));
        std::thread::Builder::new()
            .name("bio_lazy_free".into())
            .spawn(move || work(inbox, &theirs, cpus))
            .expect("a server that cannot start a thread cannot run");
        LazyFree { jobs, counters, purge_next: false }
    }

    /// Hands over what the keyspace dropped; `lazy` says that upstream would have freed it lazily.
    pub fn free(&mut self, junk: Junk, lazy: bool) {
        let (objects, bytes) = match &junk {
            Junk::Value(v) => (1, v.heap_bytes() as isize),
            Junk::Dict(db) => (db.len(), db.bytes().cast_signed()),
        };
        self.send(Trash::Junk(junk), if lazy { objects } else { 0 }, bytes);
    }

    /// Hands over anything else: `objects` as upstream counts them, and about how many bytes it holds.
    pub fn free_other(&mut self, thing: Box<dyn Send>, objects: usize, bytes: usize) {
        self.send(Trash::Other(thing), objects, bytes as isize);
    }

    fn send(&mut self, trash: Trash, objects: usize, estimate: isize) {
        // Never more than there is: readers must not see less than nothing.
        let estimate = estimate.min(alloc::used() as isize);
        self.counters.pending.fetch_add(objects, Ordering::Relaxed);
        alloc::account(-estimate);
        let purge = std::mem::take(&mut self.purge_next);
        let sent = self.jobs.send(Job { trash, estimate, objects, purge });
        assert!(sent.is_ok(), "the lazy-free thread ends with the process");
    }

    /// The next thing that is handed over leaves its pages to the system.
    pub fn purge_after_next(&mut self) {
        self.purge_next = true;
    }

    pub fn pending(&self) -> usize {
        self.counters.pending.load(Ordering::Relaxed)
    }

    pub fn freed(&self) -> usize {
        self.counters.freed.load(Ordering::Relaxed)
    }

    /// CONFIG RESETSTAT.
    pub fn reset_stats(&self) {
        self.counters.freed.store(0, Ordering::Relaxed);
    }
}

fn work(inbox: Receiver<Job>, counters: &Counters, cpus: Option<Vec<u8>>) {
    alloc::register_thread(alloc::slot::LAZYFREE);
    crash::adopt_worker();
    if let Some(cpus) = cpus
        && let Err(e) = cpu::bind(&cpus)
    {
        crate::warning!("Can't bind the lazy-free thread to its processors: {e}");
    }
    for job in inbox {
        let freed = alloc::uncounted(|| match job.trash {
            Trash::Junk(junk) => drop(junk),
            Trash::Other(thing) => drop(thing),
        });
        alloc::account(job.estimate - freed);
        // `freed` first: a reader that sees nothing pending then finds everything counted.
        counters.freed.fetch_add(job.objects, Ordering::Relaxed);
        counters.pending.fetch_sub(job.objects, Ordering::Release);
        if job.purge {
            alloc::purge();
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::keyspace::store::{New, Ttl};
    use crate::keyspace::{Junk, Keyspace};
    use crate::proto::args::Key;

    fn wait_for(lazy: &LazyFree) {
        while lazy.pending() > 0 {
            std::thread::yield_now();
        }
    }

    #[test]
    fn a_database_is_counted_by_its_keys_and_only_when_lazy() {
        let mut ks = Keyspace::new(2);
        let mut lazy = LazyFree::start(None);
        for round in 0..2 {
            for i in 0..1000 {
                let name = format!("key:{i}");
                let key = Key::new(name.as_bytes());
                let found = ks.write(1, key);
                let _ = ks.set(1, key, New::Bytes(&[b'x'; 700]), Ttl::Clear, found);
            }
            assert_eq!(ks.flush(None, round == 0), 1000);
            for (junk, counts) in ks.junk.drain(..) {
                lazy.free(junk, counts);
            }
        }
        lazy.free_other(Box::new(vec![0u8; 1 << 20]), 7, 1 << 20);
        wait_for(&lazy);
        assert_eq!((lazy.pending(), lazy.freed()), (0, 1007));
        lazy.reset_stats();
        assert_eq!(lazy.freed(), 0);
    }

    #[test]
    fn a_database_knows_its_bytes() {
        std::thread::spawn(count_bytes).join().expect("the assertions hold");
    }

    fn count_bytes() {
        // A slot of its own, that no other test counts in.
        alloc::register_thread(alloc::slot::TESTS + 1);
        let mut ks = Keyspace::new(1);
        for i in 0..500u32 {
            let name = format!("key:{i}");
            let key = Key::new(name.as_bytes());
            let value = vec![b'v'; (i * 7) as usize];
            let found = ks.write(0, key);
            let _ = ks.set(
                0,
                key,
                New::Bytes(&value),
                if i % 3 == 0 { Ttl::At(1) } else { Ttl::Clear },
                found,
            );
        }
        let _ = ks.flush(None, true);
        let (junk, _) = ks.junk.pop().expect("the database that was there");
        let Junk::Dict(db) = &junk else { panic!("a database is no value") };
        let told = db.bytes().cast_signed();
        // The box was there before the database: it is not part of what the keys hold.
        let around = alloc::size_class(size_of::<crate::keyspace::Db>()) as isize;
        assert_eq!(alloc::uncounted(|| drop(junk)), told + around);
    }
}
