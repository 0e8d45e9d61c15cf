//! What each partition does in a window.

use bulkhead_sdk::info::Info;
use bulkhead_sdk::ports::{
    OpenError, QueuingSource, ReceiveError, SamplingDestination, SamplingSource, Validity,
};
use core::fmt;

/// Bytes of air data, of which the first eight are used.
const AIR_DATA_BYTES: usize = 128;
/// Bytes of a navigation solution.
const NAVIGATION_BYTES: usize = 96;
/// Bytes of a surface command.
const COMMAND_BYTES: usize = 32;
/// Bytes of a fault report.
const REPORT_BYTES: usize = 64;

/// The work of a partition.
pub trait Role {
    /// Once in each window.
    fn step(&mut self);
    /// What a line says of it.
    fn line(&self) -> Line;
}

/// Messages read, and those that were too old or unreadable.
#[derive(Clone, Copy, Default)]
pub struct Line {
    /// Messages that were valid.
    pub valid: u64,
    /// Messages that were not.
    pub stale: u64,
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "valid={} stale={}", self.valid, self.stale)
    }
}

impl Line {
    /// Reads a number from a port. `None` if there is no valid one.
    fn read<const N: usize>(&mut self, port: &mut SamplingDestination) -> Option<u64> {
        let mut bytes = [0; N];
        match port.read(&mut bytes) {
            Ok(sample) if sample.validity == Validity::Valid => {
                self.valid += 1;
                bytes.first_chunk().map(|first| u64::from_le_bytes(*first))
            }
            Ok(_) => {
                self.stale += 1;
                None
            }
            // Before the writer's first message there is nothing to be late.
            Err(ReceiveError::Empty | ReceiveError::PeerDown | ReceiveError::PeerStarting) => None,
            Err(_) => {
                self.stale += 1;
                None
            }
        }
    }
}

/// A message of `N` bytes that begins with a number.
fn message<const N: usize>(number: u64) -> [u8; N] {
    let mut bytes = [0; N];
    if let Some(first) = bytes.first_chunk_mut() {
        *first = number.to_le_bytes();
    }
    bytes
}

/// Samples the air data and moves the surfaces.
pub struct IoServer {
    air_data: SamplingSource,
    commands: SamplingDestination,
    pressure: u64,
    line: Line,
}

impl IoServer {
    /// With its ports.
    pub fn open(info: Info) -> Result<Self, OpenError> {
        Ok(Self {
            air_data: SamplingSource::open(Some(info), "air-data")?,
            commands: SamplingDestination::open(Some(info), "surface-cmd")?,
            pressure: 101_325,
            line: Line::default(),
        })
    }
}

impl Role for IoServer {
    fn step(&mut self) {
        if let Some(command) = self.line.read::<COMMAND_BYTES>(&mut self.commands) {
            // The aircraft follows: a quarter of the way in each window.
            self.pressure = (3 * self.pressure + command) / 4;
        }
        if self.air_data.write(&message::<AIR_DATA_BYTES>(self.pressure)).is_err() {
            self.line.stale += 1;
        }
    }

    fn line(&self) -> Line {
        self.line
    }
}

/// Holds the altitude.
pub struct FlightControl {
    air_data: SamplingDestination,
    navigation: SamplingDestination,
    commands: SamplingSource,
    reports: QueuingSource,
    line: Line,
}

impl FlightControl {
    /// With its ports.
    pub fn open(info: Info) -> Result<Self, OpenError> {
        Ok(Self {
            air_data: SamplingDestination::open(Some(info), "air-data")?,
            navigation: SamplingDestination::open(Some(info), "NAV_IN")?,
            commands: SamplingSource::open(Some(info), "surface-cmd")?,
            reports: QueuingSource::open(Some(info), "fault-report")?,
            line: Line::default(),
        })
    }
}

impl Role for FlightControl {
    fn step(&mut self) {
        let before = self.line.stale;
        let pressure = self.line.read::<AIR_DATA_BYTES>(&mut self.air_data);
        let target = self.line.read::<NAVIGATION_BYTES>(&mut self.navigation);
        if let Some(pressure) = pressure {
            let command = (pressure + target.unwrap_or(pressure)) / 2;
            if self.commands.write(&message::<COMMAND_BYTES>(command)).is_err() {
                self.line.stale += 1;
            }
        }
        // A full queue keeps what it has: the first reports tell most.
        if self.line.stale != before {
            self.reports.send(&message::<REPORT_BYTES>(self.line.stale)).ok();
        }
    }

    fn line(&self) -> Line {
        self.line
    }
}

/// Says where to go.
pub struct Navigation {
    air_data: SamplingDestination,
    solution: SamplingSource,
    line: Line,
}

impl Navigation {
    /// With its ports.
    pub fn open(info: Info) -> Result<Self, OpenError> {
        Ok(Self {
            air_data: SamplingDestination::open(Some(info), "air-data")?,
            solution: SamplingSource::open(Some(info), "nav-solution")?,
            line: Line::default(),
        })
    }
}

impl Role for Navigation {
    fn step(&mut self) {
        let pressure = self.line.read::<AIR_DATA_BYTES>(&mut self.air_data);
        let target = pressure.map_or(90_000, |pressure| pressure.saturating_sub(10).max(30_000));
        if self.solution.write(&message::<NAVIGATION_BYTES>(target)).is_err() {
            self.line.stale += 1;
        }
    }

    fn line(&self) -> Line {
        self.line
    }
}

/// Shows both, in whatever time is left.
pub struct Display {
    air_data: SamplingDestination,
    navigation: SamplingDestination,
    line: Line,
}

impl Display {
    /// With its ports.
    pub fn open(info: Info) -> Result<Self, OpenError> {
        Ok(Self {
            air_data: SamplingDestination::open(Some(info), "air-data")?,
            navigation: SamplingDestination::open(Some(info), "nav")?,
            line: Line::default(),
        })
    }
}

impl Role for Display {
    fn step(&mut self) {
        self.line.read::<AIR_DATA_BYTES>(&mut self.air_data);
        self.line.read::<NAVIGATION_BYTES>(&mut self.navigation);
    }

    fn line(&self) -> Line {
        self.line
    }
}
