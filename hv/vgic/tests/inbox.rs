//! The inbox under every interleaving and reordering of loom's model of weak memory.
//!
//! A sender writes data, then posts; the receiver takes the event and its handler reads the data.
//! Whatever the order, after the last post a handler runs that sees the last data.

/// The module, on loom's atomics.
#[path = "../src/inbox.rs"]
#[allow(dead_code)] // The constants of the model are not needed here.
mod inbox;

mod atomics {
    // loom's atomics begin as zeros by their default alone.
    pub(crate) use core::default::Default as FromZeros;
    pub(crate) use loom::sync::atomic::{AtomicU64, Ordering, fence};
}

use inbox::{Inbox, SOURCES};
use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, AtomicU64, Ordering};

struct Shared {
    inbox: Inbox,
    data: AtomicU64,
    kick: AtomicBool,
}

fn shared() -> Arc<Shared> {
    Arc::new(Shared {
        inbox: Inbox {
            sent: core::array::from_fn(|_| AtomicU64::new(0)),
            seen: core::array::from_fn(|_| AtomicU64::new(0)),
        },
        data: AtomicU64::new(0),
        kick: AtomicBool::new(false),
    })
}

/// What a kick makes the receiver do; returns the data that the handler saw, if it ran.
fn receive(shared: &Shared, source: usize, event: u64) -> Option<u64> {
    let events = shared.inbox.take(source);
    (events & event != 0).then(|| shared.data.load(Ordering::Relaxed))
}

#[test]
fn the_last_event_is_handled_with_its_data() {
    loom::model(|| {
        let shared = shared();
        // A kick that came at any time, perhaps between the posts. The receiver is the spawned thread
        // because loom does not look for orders that put another thread's load of a word before a
        // thread's own load and store of it.
        let receiver = {
            let shared = shared.clone();
            loom::thread::spawn(move || receive(&shared, 3, 1 << 7))
        };
        for value in 1..=2 {
            shared.data.store(value, Ordering::Relaxed);
            if shared.inbox.post(3, 1 << 7) {
                shared.kick.store(true, Ordering::Release);
            }
        }
        let early = receiver.join().unwrap();
        // A later kick is taken if one was sent after the early visit began.
        let late = if shared.kick.load(Ordering::Acquire) { receive(&shared, 3, 1 << 7) } else { None };
        assert_eq!(late.or(early), Some(2), "early {early:?}, late {late:?}");
    });
}

#[test]
fn sources_do_not_disturb_each_other() {
    loom::model(|| {
        let shared = shared();
        let senders: Vec<_> = (0..2)
            .map(|source| {
                let shared = shared.clone();
                loom::thread::spawn(move || assert!(shared.inbox.post(source, 1 << source)))
            })
            .collect();
        let mut taken = [shared.inbox.take(0), shared.inbox.take(1)];
        for sender in senders {
            sender.join().unwrap();
        }
        taken[0] |= shared.inbox.take(0);
        taken[1] |= shared.inbox.take(1);
        assert_eq!(taken, [1, 2]);
        for source in 0..SOURCES {
            assert_eq!(shared.inbox.take(source), 0, "an event came twice");
        }
    });
}

#[test]
fn pending_events_coalesce_and_others_do_not() {
    loom::model(|| {
        let shared = shared();
        assert!(shared.inbox.post(1, 0b01));
        assert!(!shared.inbox.post(1, 0b01));
        assert!(shared.inbox.post(1, 0b11));
        assert_eq!(shared.inbox.take(1), 0b11);
        assert!(shared.inbox.post(1, 0b01));
        assert_eq!(shared.inbox.take(1), 0b01);
        assert_eq!(shared.inbox.take(1), 0);
    });
}
