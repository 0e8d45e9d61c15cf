//! The reference RTOS partition: a 1 kHz control loop on the Bulkhead SDK.
//!
//! | priority | task |
//! |---|---|
//! | [`tasks::LOOP_PRIORITY`] | control loop, every millisecond |
//! | [`tasks::SERVICE_PRIORITY`] | telemetry at 10 Hz, set-points, the spinning half of the pre-emption test |
//! | thread | report each second, console commands (`p`: pre-emption test) |
//!
//! Only the thread level prints, so that lines stay whole. Bare, the ports are absent and said to be.

mod jitter;
mod preemption;
mod shared;
mod tasks;

use bulkhead_sdk::abi::info::mode;
use bulkhead_sdk::executor::{InterruptExecutor, ThreadExecutor};
use bulkhead_sdk::gpio::{Gpio, Output};
use bulkhead_sdk::info::Info;
use bulkhead_sdk::ports::{OpenError, QueuingDestination, QueuingSource, SamplingSource};
use bulkhead_sdk::{Partition, hypercall, interrupt, println};
use embedded_hal::digital::{OutputPin as _, StatefulOutputPin as _};
use static_cell::StaticCell;

bulkhead_sdk::manifest! {
    "state": sampling source 64,
    "telemetry": queuing source 256,
    "setpoint": queuing destination 16,
}
bulkhead_sdk::entry!(main);

static LOOP: InterruptExecutor = InterruptExecutor::new();
static SERVICE: InterruptExecutor = InterruptExecutor::new();
static THREAD: StaticCell<ThreadExecutor> = StaticCell::new();

/// Opens a port, or says why the partition runs without it.
fn open<P>(
    name: &str,
    info: Option<Info>,
    constructor: fn(Option<Info>, &str) -> Result<P, OpenError>,
) -> Option<P> {
    constructor(info, name).inspect_err(|error| println!("port {name} absent: {error}")).ok()
}

/// The ACT LED of a Raspberry Pi 4: the loop can be seen to run without a cable.
const LIGHT_PIN: u8 = 42;

/// The light, where the partition has the board's pins; tried at both levels first.
fn light() -> Option<Output> {
    let mut light = Gpio::find()?.output(LIGHT_PIN)?;
    let mut follows = true;
    for high in [true, false] {
        let Ok(()) = light.set_state(high.into());
        let Ok(level) = light.is_set_high();
        follows &= level == high;
    }
    let verdict = if follows { "follows its output" } else { "DOES NOT FOLLOW its output" };
    println!("pin {LIGHT_PIN} {verdict}, blinks from the control loop");
    Some(light)
}

fn main(partition: Partition) -> ! {
    let info = partition.info;
    let version = interrupt::controller_version();
    match info {
        Some(info) => println!(
            "partition {} start {} under Bulkhead, GICv{version}",
            info.name().as_str(),
            info.start_count()
        ),
        None => println!("rtos bare at EL1, GICv{version}"),
    }
    let state = open("state", info, SamplingSource::open);
    let telemetry = open("telemetry", info, QueuingSource::open);
    let setpoint = open("setpoint", info, QueuingDestination::open);

    let urgent = LOOP.start(tasks::LOOP_SGI, tasks::LOOP_PRIORITY).expect("the loop's interrupt is free");
    let service = SERVICE
        .start(tasks::SERVICE_SGI, tasks::SERVICE_PRIORITY)
        .expect("the service level's interrupt is free");
    service.spawn(tasks::telemetry(telemetry).expect("one telemetry task"));
    service.spawn(tasks::setpoints(setpoint).expect("one set-point task"));
    service.spawn(preemption::spinner().expect("one spinner"));
    urgent.spawn(tasks::control_loop(state, light()).expect("one control loop"));

    if let Err(error) = hypercall::set_mode(mode::NORMAL)
        && info.is_some()
    {
        println!("mode NORMAL refused: {error}");
    }
    THREAD.init(ThreadExecutor::new()).run(|spawner| {
        spawner.spawn(tasks::report().expect("one report task"));
        spawner.spawn(tasks::rejections().expect("one rejection task"));
        spawner.spawn(preemption::tester().expect("one tester"));
    })
}
