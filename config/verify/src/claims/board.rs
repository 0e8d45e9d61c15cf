//! What EL2 does to the board by itself: console, watchdog, the stores that start, stop and reset it.

use super::{Claim, Ledger};
use crate::ranges::{Range, touches, union};
use crate::system::System;
use bulkhead_blueprint::layout::RegisterWrite;

pub static BOARD: Claim = Claim {
    id: "VFY-032",
    title: "EL2 has a console, visits it at an interval that leaves time between two visits and is below a second; a \
            watchdog is kicked if and only if CPUs show that they go on; no store of the board, the light's included, \
            hits memory that the system uses",
    method: "fields of the header compared with each other; address of each store against the image and the memory that \
             the boot demands",
    check: board,
};

fn board(system: &System<'_>, ledger: &mut Ledger) {
    console(system, ledger);
    watchdog(system, ledger);
    let header = system.view.header();
    let demanded = system.view.blueprint.required.iter().map(|range| Range::from(*range));
    let memory = union(demanded.chain([system.view.whole()]).collect());
    let stores = system.view.blueprint.register_writes.iter().map(|write| ("a store of the board", write));
    // Address 0: the board has none.
    let lights =
        [("the store that lights", &header.led_on), ("the store that darkens the light", &header.led_off)];
    let lights = lights.into_iter().filter(|(_, write)| write.address != 0);
    for (what, write) in stores.chain(lights) {
        ledger.examined(1, "stores");
        store(what, write, &memory, ledger);
    }
}

fn store(what: &str, write: &RegisterWrite, memory: &[Range], ledger: &mut Ledger) {
    if !write.address.is_multiple_of(4) || touches(memory, Range::of(write.address, 4)) {
        let found = format!("{:#x}", write.address);
        ledger.fail(what, found, "a register, at a multiple of 4, outside the memory that the system uses");
    }
}

fn console(system: &System<'_>, ledger: &mut Ledger) {
    let header = system.view.header();
    ledger.examined(2, "fields");
    if header.uart_base == 0 {
        ledger.fail(
            "registers of EL2's console",
            "none",
            "an address: EL2 writes there before anything else",
        );
    }
    // A visit takes less than a guard: with as much time between two of them a CPU goes on.
    let (least, most) = (u64::from(header.window_guard_ticks).max(1), u64::from(header.cntfrq_hz));
    let interval = header.console_interval_ticks;
    if !(least..=most).contains(&interval) {
        let expected = format!("{least} (the guard) to {most} (a second)");
        ledger.fail("ticks between two visits to the console", interval, expected);
    }
}

/// The CPUs that must go on are there, and each shows it at an interval that leaves it time.
fn watchdog(system: &System<'_>, ledger: &mut Ledger) {
    let header = system.view.header();
    ledger.examined(3, "fields");
    let is_kicked = header.kick_writes != 0;
    let cpus = u64::from(header.watchdog_cpus);
    let all = (1u64 << system.view.blueprint.cpus.len()) - 1;
    if (cpus != 0) != is_kicked || cpus & !all != 0 {
        let expected =
            if is_kicked { format!("some of {all:#b}") } else { "none: it is not kicked".to_owned() };
        ledger.fail("CPUs that must go on for the watchdog to be kicked", format!("{cpus:#b}"), expected);
    }
    let least = u64::from(header.window_guard_ticks).max(1);
    let fits = if is_kicked { header.beat_ticks >= least } else { header.beat_ticks == 0 };
    if !fits {
        let expected =
            if is_kicked { format!("at least {least}, the guard") } else { "0: it is not kicked".to_owned() };
        ledger.fail("ticks between two signs of life for the watchdog", header.beat_ticks, expected);
    }
}
