//! The bystander: a 1 kHz periodic timer, canaries in 64 KiB of memory and in every register. Each
//! second it says how it fared; nothing that others do may change that line.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::{Partition, println, registers};
use probes::{canary, gic, report, timer};

bulkhead_sdk::entry!(main);

const PERIOD_NS: u64 = 1_000_000;
const PERIODS_PER_LINE: u64 = 1000;
/// A period begun later than this counts as late: far above what an emulator's own host can cause,
/// far below what losing the CPU to another partition would.
const LATE_NS: u64 = 2_000_000_000;

fn main(partition: Partition) -> ! {
    let starts = partition.info.map_or(0, |info| info.start_count());
    println!("observer start {starts}");
    canary::prepare();
    timer::start_periodic(PERIOD_NS).expect("the physical timer's interrupt is free");
    report::normal();
    let (mut line, mut late, mut spoilt, mut seed) = (0, 0u64, 0u64, 0u64);
    loop {
        seed = seed.wrapping_add(0x0123_4567_89ab_cdef);
        // Masked, so that no end of interrupt comes between the look and the sleep, which ends on a
        // pending interrupt all the same. EL2 takes it with the canaries in the registers.
        registers::mask_interrupts();
        gic::look_again(timer::INTID);
        spoilt += u64::from(!canary::sleep_with_registers(seed));
        registers::unmask_interrupts();
        if timer::periods() < (line + 1) * PERIODS_PER_LINE {
            continue;
        }
        line += 1;
        spoilt += canary::spoilt_words();
        let latest_ns = timer::take_latest_ns();
        late += u64::from(latest_ns > LATE_NS);
        let verdict = if spoilt == 0 { "ok" } else { "SPOILT" };
        println!(
            "observer periods={PERIODS_PER_LINE} late={late} canary {verdict} latest={} us",
            latest_ns / 1000
        );
    }
}
