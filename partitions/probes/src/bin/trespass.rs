//! Does one thing that it may not do at each start, until the health monitor halts it. The report
//! is EL2's; this program only says what it is about to do, and FAIL if it got through.
#![no_std]
#![no_main]
#![forbid(unsafe_code)]

use bulkhead_sdk::info::Info;
use bulkhead_sdk::ports::SamplingDestination;
use bulkhead_sdk::{Partition, println};
use core::sync::atomic::{AtomicU32, Ordering::Relaxed};
use probes::physical::{self, Width};
use probes::{fault, report};

bulkhead_sdk::entry!(main);

/// Where the observer's memory lies physically (tests/configs/trespass.dts).
const FOREIGN: u64 = 0x5800_0000;
/// Physical memory of EL2's image, beyond this partition's own addresses.
const HYPERVISOR: u64 = 0x4100_0000;
/// The physical UART, which EL2 drives; this partition has none.
const UART: u64 = 0x0900_0000;
/// Virtual interface control of the GICv2, EL2's.
const VIRTUAL_INTERFACE: u64 = 0x0803_0000;
/// A device of the board that nobody was granted.
const CLOCK: u64 = 0x0901_0000;
/// The information region's first page.
const INFO: u64 = 0x0c00_0000;
/// The emulated distributor.
const DISTRIBUTOR: u64 = 0x0800_0000;
/// Beyond the 39 bits of an intermediate physical address.
const BEYOND: u64 = 1 << 39;
/// `ret`, to be executed from data.
static DATA: AtomicU32 = AtomicU32::new(0xd65f_03c0);

fn address_of<T>(object: &T) -> u64 {
    core::ptr::from_ref(object).addr() as u64
}

/// What the port named "canary" gives: a page that only its writer may write.
fn port_page(info: Option<Info>) -> u64 {
    let opened = SamplingDestination::open(info, "canary").is_ok();
    let entry = info.and_then(|info| info.port("canary"));
    match entry {
        Some(entry) if opened => entry.writer_ipa,
        _ => panic!("the configuration gives no sampling port `canary`"),
    }
}

/// What each violation is, from number 1 on.
const VIOLATIONS: [&str; 18] = [
    "reads memory of another partition",
    "writes memory of another partition",
    "writes memory of the hypervisor",
    "writes the hypervisor's UART",
    "writes the virtual interface control of the GIC",
    "reads a device that nobody granted",
    "writes a port page of its peer",
    "writes the information page",
    "writes its own text",
    "executes data",
    "executes a port page",
    "reads beyond its address space",
    "reads a pair from the distributor",
    "reads the distributor with write-back",
    "loads exclusively from memory of another partition",
    "executes memory of another partition",
    "zeroes a block of the hypervisor",
    "lets its MMU walk foreign memory",
];

/// Commits violation `number`, from 1 on; what came of it.
fn trespass(number: u32, info: Option<Info>) -> Option<Result<(), fault::Fault>> {
    let what = VIOLATIONS.get(number.checked_sub(1)? as usize)?;
    println!("trespass {number}: {what}");
    let write = |address| physical::write(address, 0xdead_beef, Width::Word);
    Some(match number {
        1 => physical::read(FOREIGN, Width::Word).map(drop),
        2 => write(FOREIGN + 0x1000),
        3 => write(HYPERVISOR),
        4 => physical::write(UART, u64::from(b'!'), Width::Byte),
        5 => write(VIRTUAL_INTERFACE),
        6 => physical::read(CLOCK, Width::Half).map(drop),
        7 => write(port_page(info)),
        8 => write(INFO + 4),
        9 => write(trespass as *const () as u64 & !3),
        10 => {
            let _ = DATA.load(Relaxed);
            physical::execute(address_of(&DATA))
        }
        11 => physical::execute(port_page(info)),
        12 => physical::read(BEYOND, Width::Double).map(drop),
        13 => physical::read_pair(DISTRIBUTOR),
        14 => physical::read_write_back(DISTRIBUTOR),
        15 => physical::read_exclusive(FOREIGN),
        16 => physical::execute(FOREIGN),
        17 => physical::zero_block(HYPERVISOR),
        18 => physical::walk(FOREIGN),
        _ => return None,
    })
}

fn main(partition: Partition) -> ! {
    fault::install();
    report::normal();
    let number = partition.info.map_or(1, |info| info.start_count());
    match trespass(number, partition.info) {
        Some(outcome) => println!("FAIL trespass {number} came back: {outcome:x?}"),
        None => println!("FAIL trespass {number}: nothing left to do, and still not halted"),
    }
    report::sleep()
}
