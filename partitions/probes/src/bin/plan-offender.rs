//! Makes the health monitor change the plan: an undefined access enters the immediate plan at once, an
//! error of its own leaves it at the end of the frame. It may not ask for a plan itself.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::abi::info::event;
use bulkhead_sdk::{Partition, hypercall, info::Info, println, registers, time};
use probes::{fault, report, sysreg};

bulkhead_sdk::entry!(main);

/// Windows from one switch to the next: the watchers have compared theirs by then.
const WINDOWS_PER_PLAN: u64 = 7;
/// Switches that one line speaks of.
const SWITCHES_PER_LINE: u64 = 10;
/// Major frames of the plans with identifiers 0 and 1.
const FRAME_NS: [u64; 2] = [10_000_000, 7_000_000];

struct Offender {
    info: Info,
    switches: u64,
    wrong: u64,
}

impl Offender {
    fn expect(&mut self, good: bool, what: &str) {
        if !good {
            self.wrong += 1;
            println!("FAIL {what} after switch {}", self.switches);
        }
    }

    /// Goes on to the next window.
    fn idle(&mut self) {
        let idled = hypercall::idle().is_ok();
        self.expect(idled, "IDLE is refused");
    }

    /// What was announced after an offence in the plan that began at `since`: the plan and its tick.
    fn announced(&mut self, plan: u32) -> Option<u64> {
        let next = hypercall::plan_status().ok().and_then(|status| status.next);
        self.expect(next.is_some_and(|(next, _)| next == plan), "the plan was not asked for");
        next.map(|(_, tick)| tick)
    }

    /// Offends against the table row whose action is `switch-plan` to plan 1, which is immediate.
    fn enter(&mut self) -> Option<u64> {
        let frame = time::ticks_from_ns(FRAME_NS[0]);
        let [start, ..] = self.info.window_ticks();
        let since = self.info.plan_since_ticks();
        let frame_end = since + (start - since) / frame * frame + frame;
        let class = sysreg::PMCR_EL0.read().err().map(|fault| fault.class());
        self.expect(class == Some(fault::class::UNDEFINED), "the access is not UNDEFINED");
        let tick = self.announced(1);
        // Two guards after the request, long before the frame's end.
        self.expect(tick.is_some_and(|tick| tick + frame / 4 < frame_end), "an immediate plan waits");
        tick
    }

    /// Offends against the row whose action is `switch-plan` to plan 0, which is not immediate.
    fn leave(&mut self) -> Option<u64> {
        let raised = hypercall::raise_event(self.switches, event::APPLICATION_ERROR).is_ok();
        self.expect(raised, "RAISE_EVENT is refused");
        let tick = self.announced(0);
        let frame = time::ticks_from_ns(FRAME_NS[1]);
        let whole = tick.is_some_and(|tick| (tick - self.info.plan_since_ticks()).is_multiple_of(frame));
        self.expect(whole, "the frame is cut short");
        tick
    }
}

fn main(partition: Partition) -> ! {
    fault::install();
    registers::mask_interrupts();
    report::normal();
    let info = report::information(&partition);
    let mut offender = Offender { info, switches: 0, wrong: 0 };
    let refused = hypercall::plan_set(1) == Err(hypercall::Error::NotSupported);
    offender.expect(refused, "PLAN_SET is not refused");
    loop {
        for _ in 0..WINDOWS_PER_PLAN {
            offender.idle();
        }
        let plan = 1 - offender.info.plan().unwrap_or(0);
        let tick = if plan == 1 { offender.enter() } else { offender.leave() };
        while offender.info.plan() != Some(plan) {
            offender.idle();
        }
        offender.switches += 1;
        let begun = Some(offender.info.plan_since_ticks());
        offender.expect(begun == tick, "the plan did not begin where it was announced");
        if offender.switches.is_multiple_of(SWITCHES_PER_LINE) {
            println!("plan-offender switches={} wrong={}", offender.switches, offender.wrong);
        }
    }
}
