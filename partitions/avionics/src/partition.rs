//! Four partitions that share two CPUs. Each does its work once in each window and gives the rest of
//! the window back; what they exchange is time-stamped by the ports.
//!
//! | partition | reads | writes |
//! |---|---|---|
//! | `io-server` | surface commands | air data |
//! | `flight-control` | air data, navigation | surface commands, fault reports |
//! | `navigation` | air data | navigation |
//! | `display` | air data, navigation | nothing; background time is its |

use crate::roles::{Display, FlightControl, IoServer, Navigation, Role};
use bulkhead_sdk::abi::info::mode;
use bulkhead_sdk::{Partition, hypercall, info::Info, println, registers, time};

bulkhead_sdk::entry!(main);

/// Time from one line to the next.
const LINE_NS: u64 = 2_000_000_000;

fn main(partition: Partition) -> ! {
    registers::mask_interrupts();
    let Some(info) = partition.info else {
        println!("no hypervisor: the avionics example runs as partitions only");
        sleep()
    };
    println!("start {} in plan {:?}", info.start_count(), info.plan());
    match info.name().as_str() {
        "io-server" => run(info, IoServer::open(info)),
        "flight-control" => run(info, FlightControl::open(info)),
        "navigation" => run(info, Navigation::open(info)),
        "display" => run(info, Display::open(info)),
        other => {
            println!("no role is called {other}");
            sleep()
        }
    }
}

/// What a partition saw of its own time since the last line.
#[derive(Default)]
struct Seen {
    windows: u64,
    latest_ticks: u64,
}

/// Does the work of a role, once in each window.
fn run<R: Role>(info: Info, role: Result<R, bulkhead_sdk::ports::OpenError>) -> ! {
    let mut role = match role {
        Ok(role) => role,
        Err(error) => {
            println!("a port is missing: {error:?}");
            sleep()
        }
    };
    if let Err(error) = hypercall::set_mode(mode::NORMAL) {
        println!("mode NORMAL: {error}");
    }
    let watched = hypercall::watchdog_granted();
    let mut plan = info.plan();
    let mut seen = Seen::default();
    let mut next_line = time::now_ticks() + time::ticks_from_ns(LINE_NS);
    loop {
        let now = time::now_ticks();
        let [start, end, _] = info.window_ticks();
        if now < end {
            seen.windows += 1;
            seen.latest_ticks = seen.latest_ticks.max(now.saturating_sub(start));
        }
        role.step();
        if watched && let Err(error) = hypercall::watchdog_kick() {
            println!("watchdog: {error}");
        }
        if info.plan() != plan {
            plan = info.plan();
            println!("plan {plan:?} since tick {}", info.plan_since_ticks());
        }
        if now >= next_line {
            next_line = now + time::ticks_from_ns(LINE_NS);
            let latest_us = time::ns_from_ticks(seen.latest_ticks) / 1000;
            println!("windows={} latest={latest_us} us {}", seen.windows, role.line());
            seen = Seen::default();
        }
        if hypercall::idle().is_err() {
            registers::wait_for_interrupt();
        }
    }
}

/// Nothing is left to do.
fn sleep() -> ! {
    loop {
        registers::wait_for_interrupt();
    }
}
