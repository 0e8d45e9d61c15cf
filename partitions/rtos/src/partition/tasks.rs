//! The periodic tasks.

use super::jitter::{self, Recorder};
use super::shared::{MISSED, OUTPUT, PERIODS, POSITION, REJECTED, SETPOINT};
use bulkhead_sdk::gpio::Output;
use bulkhead_sdk::ports::{QueuingDestination, QueuingSource, ReceiveError, SamplingSource};
use bulkhead_sdk::{hypercall, println};
use core::fmt::Write as _;
use core::sync::atomic::Ordering::Relaxed;
use embassy_time::{Duration, Instant, Ticker, Timer};
use embedded_hal::digital::StatefulOutputPin as _;
use heapless::String;
use rtos_logic::control::Loop;
use rtos_logic::setpoint;
use rtos_logic::state::State;
use rtos_logic::statistics::spread;

/// Software-generated interrupt of the control loop's executor.
pub const LOOP_SGI: u8 = 1;
/// GIC priority of the control loop.
pub const LOOP_PRIORITY: u8 = 0x40;
/// Software-generated interrupt of the service level's executor.
pub const SERVICE_SGI: u8 = 2;
/// GIC priority of the service level.
pub const SERVICE_PRIORITY: u8 = 0x80;

const PERIOD: Duration = Duration::from_millis(1);
/// Later than this, periods are left out instead of being made up for.
const CATCH_UP: Duration = Duration::from_millis(100);

/// Periods between two changes of the light: half a second.
const BLINK_PERIODS: u64 = 500;

/// The 1 kHz loop: controls the plant, publishes its state, blinks, kicks the watchdog.
#[embassy_executor::task]
pub async fn control_loop(mut port: Option<SamplingSource>, mut light: Option<Output>) {
    let mut control = Loop::new();
    let mut recorder = Recorder::new();
    let watchdog = hypercall::watchdog_granted();
    let mut period = 0u64;
    let mut release = Instant::now() + PERIOD;
    loop {
        Timer::at(release).await;
        let late = release.elapsed();
        let jitter_ns = u32::try_from(late.as_ticks()).unwrap_or(u32::MAX);
        let setpoint = SETPOINT.get();
        control.step(setpoint);
        period += 1;
        let state = State {
            period,
            release_ns: release.as_ticks(),
            setpoint,
            position: control.position(),
            output: control.output(),
            jitter_ns,
        };
        if let Some(port) = &mut port
            && port.write(&state.to_bytes()).is_err()
        {
            MISSED.fetch_add(1, Relaxed);
        }
        if let Some(light) = &mut light
            && period.is_multiple_of(BLINK_PERIODS)
        {
            let Ok(()) = light.toggle();
        }
        POSITION.set(state.position);
        OUTPUT.set(state.output);
        PERIODS.store(period as u32, Relaxed);
        recorder.record(jitter_ns);
        if watchdog {
            // Granted at the start and for ever: there is nothing that could refuse it.
            let _ = hypercall::watchdog_kick();
        }
        release += PERIOD;
        if late > CATCH_UP {
            let skipped = late.as_ticks() / PERIOD.as_ticks();
            MISSED.fetch_add(skipped as u32, Relaxed);
            release += PERIOD * skipped as u32;
        }
    }
}

/// Ten lines of telemetry a second.
#[embassy_executor::task]
pub async fn telemetry(port: Option<QueuingSource>) {
    let Some(mut port) = port else { return };
    let mut ticker = Ticker::every(Duration::from_millis(100));
    loop {
        ticker.next().await;
        let ms = Instant::now().as_millis();
        let mut line = String::<160>::new();
        let written = writeln!(
            line,
            "t={}.{:03} setpoint={} position={} output={}",
            ms / 1000,
            ms % 1000,
            SETPOINT.get(),
            POSITION.get(),
            OUTPUT.get()
        );
        if written.is_ok() {
            // A full queue refuses the newest line and counts it: the reader sees the gap.
            let _ = port.send(line.as_bytes());
        }
    }
}

/// Polls for set-points: a partition of lower criticality may not interrupt this one.
#[embassy_executor::task]
pub async fn setpoints(port: Option<QueuingDestination>) {
    let Some(mut port) = port else { return };
    let mut ticker = Ticker::every(Duration::from_millis(10));
    let mut buffer = [0; 16];
    loop {
        ticker.next().await;
        match port.receive(&mut buffer) {
            Ok(message) => match setpoint::parse(&buffer[..message.length]) {
                Ok(value) => SETPOINT.set(value),
                Err(rejection) => {
                    let _ = REJECTED.try_send(rejection);
                }
            },
            Err(ReceiveError::Violation) => {
                let _ = REJECTED.try_send(setpoint::Rejection::NotANumber);
            }
            Err(_) => {}
        }
    }
}

/// Tells of rejected set-points (REQ-RTOS-12).
#[embassy_executor::task]
pub async fn rejections() {
    loop {
        let reason = REJECTED.receive().await;
        println!("setpoint rejected (REQ-RTOS-12): {reason}; keeping {}", SETPOINT.get());
    }
}

/// One line a second on the release jitter of the second's periods.
#[embassy_executor::task]
pub async fn report() {
    let mut samples = [0; jitter::PERIODS];
    let mut missed = 0;
    loop {
        jitter::next(&mut samples).await;
        let Some(spread) = spread(&mut samples) else {
            continue;
        };
        println!(
            "jitter min={} median={} max={} ns periods={} setpoint={} position={}",
            spread.min,
            spread.median,
            spread.max,
            samples.len(),
            SETPOINT.get(),
            POSITION.get()
        );
        let now_missed = MISSED.load(Relaxed);
        if now_missed != missed {
            println!("{} periods missed", now_missed.wrapping_sub(missed));
            missed = now_missed;
        }
    }
}
