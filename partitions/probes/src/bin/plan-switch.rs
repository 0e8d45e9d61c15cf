//! Watches plan switches from its own CPU and compares with a peer on another: both must see the same
//! plan begin at the same tick, and their first window in it at its planned start. The one with the
//! authority switches to and fro.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::ports::{SamplingDestination, SamplingSource};
use bulkhead_sdk::{Partition, hypercall, info::Info, println, registers, time};
use probes::report;

bulkhead_sdk::entry!(main);

/// Windows from one switch to the next.
const WINDOWS_PER_PLAN: u64 = 7;
/// Switches that one line speaks of.
const SWITCHES_PER_LINE: u64 = 20;
/// Major frames of the plans with identifiers 0 and 1.
const FRAME_NS: [u64; 2] = [10_000_000, 7_000_000];

/// What both sides tell each other after a switch: the tick, the plan.
fn message(since: u64, plan: u32) -> [u8; 16] {
    let mut bytes = [0; 16];
    for (chunk, word) in bytes.chunks_exact_mut(8).zip([since, u64::from(plan)]) {
        chunk.copy_from_slice(&word.to_le_bytes());
    }
    bytes
}

/// One side of the comparison.
struct Side {
    info: Info,
    out: SamplingSource,
    peer: SamplingDestination,
    switches: u64,
    compared: u64,
    wrong: u64,
    mine: [u8; 16],
    announced: u64,
}

impl Side {
    fn expect(&mut self, good: bool, what: &str) {
        if !good {
            self.wrong += 1;
            println!("FAIL {what} after switch {}", self.switches);
        }
    }

    /// The first window in another plan.
    fn changed(&mut self, plan: u32, now: u64) {
        self.switches += 1;
        let since = self.info.plan_since_ticks();
        let [start, ..] = self.info.window_ticks();
        // Every frame of this case begins with a window of this partition; an emulator's host may have
        // kept it from the first ones.
        let frame = time::ticks_from_ns(FRAME_NS[plan as usize % FRAME_NS.len()]);
        self.expect((start - since).is_multiple_of(frame), "the plan's frames do not begin with it");
        self.expect(now >= start, "the window began before its start");
        let status = hypercall::plan_status();
        let fits = status.is_ok_and(|s| s.plan == plan && s.since_ticks == since && s.next.is_none());
        self.expect(fits, "PLAN_STATUS tells another story");
        self.expect(
            self.announced == 0 || self.announced == since,
            "the switch is not where it was announced",
        );
        self.mine = message(since, plan);
        let sent = self.out.write(&self.mine).is_ok();
        self.expect(sent, "the port refuses");
    }

    /// Compares with the peer once it has seen the same switch.
    fn compare(&mut self) {
        let mut theirs = [0; 16];
        if self.compared < self.switches
            && self.peer.read(&mut theirs).is_ok()
            && theirs[..8] == self.mine[..8]
        {
            self.compared = self.switches;
            self.expect(theirs == self.mine, "the peer saw another plan");
            if self.compared.is_multiple_of(SWITCHES_PER_LINE) {
                println!("plan-switch switches={} wrong={}", self.compared, self.wrong);
            }
        }
    }

    /// Asks for the other plan.
    fn ask(&mut self, plan: u32) {
        let other = 1 - plan;
        let asked = hypercall::plan_set(other).is_ok();
        self.expect(asked, "PLAN_SET is refused");
        let next = hypercall::plan_status().ok().and_then(|status| status.next);
        self.announced = next.map_or(0, |(_, tick)| tick);
        let now = registers::counter();
        let fits = next.is_some_and(|(next, tick)| next == other && tick > now);
        self.expect(fits, "the switch is not announced");
        let again = hypercall::plan_set(other) == Err(hypercall::Error::NoAction);
        self.expect(again, "asking twice is something else than asking once");
    }
}

fn main(partition: Partition) -> ! {
    registers::mask_interrupts();
    report::normal();
    let (Some(info), Ok(out), Ok(peer)) = (
        partition.info,
        SamplingSource::open(partition.info, "mine"),
        SamplingDestination::open(partition.info, "theirs"),
    ) else {
        println!("FAIL information region or ports are missing");
        report::sleep()
    };
    let switcher = hypercall::features().is_ok_and(|bits| bits >> 0x11 & 1 != 0);
    let unknown = hypercall::plan_set(77);
    let expected = [hypercall::Error::NotSupported, hypercall::Error::InvalidParameter];
    if unknown != Err(expected[usize::from(switcher)]) {
        println!("FAIL PLAN_SET of an unknown plan: {unknown:?}");
    }
    let mine = [0; 16];
    let mut side = Side { info, out, peer, switches: 0, compared: 0, wrong: 0, mine, announced: 0 };
    // The plan at the start counts as a change: the peer learns of it.
    let mut plan = None;
    println!("plan-switch begins, switcher {switcher}");
    let mut windows = 0;
    loop {
        if hypercall::idle().is_err() {
            println!("FAIL IDLE refused");
        }
        let now = registers::counter();
        windows += 1;
        if info.plan() != plan {
            plan = info.plan();
            windows = 0;
            side.changed(plan.unwrap_or(99), now);
        }
        side.compare();
        if switcher && windows == WINDOWS_PER_PLAN && side.compared == side.switches {
            side.ask(plan.unwrap_or(0));
        } else if switcher && windows > WINDOWS_PER_PLAN {
            windows = WINDOWS_PER_PLAN - 1;
        }
    }
}
