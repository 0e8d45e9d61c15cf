//! The partition's information region, read-only for the guest.
//!
//! Page 0 is dynamic: EL2 writes a word there when something changes. What follows is static,
//! written by the compiler: the partition's own description and its port table. The guest maps all
//! of it Normal write-back cacheable (stage 2 cannot force that on a CPU without FEAT_S2FWB).
//! Fields are naturally aligned little-endian words; each is written by a single store.

/// Page 0: words that EL2 updates.
pub mod dynamic {
    /// u32: [`crate::ABI_VERSION`].
    pub const ABI_VERSION: usize = 0x00;
    /// u32: how often the partition was started since the board's reset, this start included (1 at
    /// first). The partition's own epoch in [`crate::port`] protocols.
    pub const START_COUNT: usize = 0x04;
    /// u32: why it was started, one of [`super::start_condition`].
    pub const START_CONDITION: usize = 0x08;
    /// u32: operating mode, one of [`super::mode`].
    pub const MODE: usize = 0x0C;
    /// u32: identifier of the current plan, [`NO_PLAN`] where the partition owns its CPUs.
    pub const PLAN_ID: usize = 0x10;
    /// u64: system time (CNTPCT) since which the current plan runs, as PLAN_ID written at the first window in it.
    pub const PLAN_SINCE_TICKS: usize = 0x20;
    /// u64: system time (CNTPCT) of T0, the origin of all plans.
    pub const T0_TICKS: usize = 0x18;
    /// u32: what others ask of the partition, bits of [`super::request`]; 0 after a start.
    pub const REQUESTS: usize = 0x28;
    /// First of [`VCPU_COUNT_MAX`] records, one for each vCPU.
    pub const VCPUS: usize = 0x40;
    /// Bytes from one vCPU record to the next.
    pub const VCPU_STRIDE: usize = 0x40;
    /// In a vCPU record, u64: start of the current window in ticks of system time (CNTPCT).
    pub const VCPU_WINDOW_START_TICKS: usize = 0x00;
    /// In a vCPU record, u64: end of the current window in ticks of system time (CNTPCT), `u64::MAX` without windows.
    pub const VCPU_WINDOW_END_TICKS: usize = 0x08;
    /// In a vCPU record, u64: start of the next window in ticks of system time (CNTPCT), `u64::MAX` without windows.
    pub const VCPU_NEXT_WINDOW_TICKS: usize = 0x10;
    /// In a vCPU record, u64: subtract from system time (CNTPCT) to get the vCPU's execution time.
    pub const VCPU_EXEC_OFFSET_TICKS: usize = 0x18;
    /// 32 bytes: the image ID, the SHA-256 that EL2 compared at boot (the blueprint's own, big-endian as
    /// FIPS 180-4 writes it). It stands here, for the sealed pages are part of what it covers.
    pub const IMAGE_ID: usize = 0x240;
    /// Bytes of the image ID.
    pub const IMAGE_ID_BYTES: usize = 32;
    /// First of [`PORT_COUNT_MAX`] u32: start count of each port's peer, 0 while the peer is not
    /// running. Index as in the static port table. For a port with several readers the writer's
    /// word is always 0: it is told of none.
    pub const PEER_EPOCHS: usize = 0x400;
    /// First of [`VCPU_COUNT_MAX`] structures of stolen time (DEN0057 3.2.2), one for each vCPU, for
    /// partitions that have it: PV_TIME_ST returns the address.
    pub const STOLEN_TIMES: usize = 0x800;
    /// Bytes from one vCPU's structure to the next.
    pub const STOLEN_TIME_STRIDE: usize = 0x40;
    /// In it, u64: nanoseconds since the vCPU's start in which it did not run although it would have.
    /// Revision and attributes before it are 0.
    pub const STOLEN_NS: usize = 0x08;
    /// Value of [`PLAN_ID`] outside any plan.
    pub const NO_PLAN: u32 = u32::MAX;
    /// vCPU records that fit.
    pub const VCPU_COUNT_MAX: usize = 8;
    /// Ports a partition may have.
    pub const PORT_COUNT_MAX: usize = 128;
}

/// The static description: starts at the region's second page.
pub mod fixed {
    /// Offset of the static part in the information region.
    pub const START: usize = 0x1000;
    /// 32 bytes: the partition's name, NUL-padded.
    pub const NAME: usize = START;
    /// Bytes of every name field, NUL included.
    pub const NAME_BYTES: usize = 32;
    /// u32: the partition's identifier from the configuration.
    pub const ID: usize = START + 0x20;
    /// u32: number of vCPUs.
    pub const VCPU_COUNT: usize = START + 0x24;
    /// u32: entries of the port table.
    pub const PORT_COUNT: usize = START + 0x28;
    /// u32: entries of the authority table.
    pub const AUTHORITY_COUNT: usize = START + 0x2C;
    /// u32: frequency of CNTVCT in hertz.
    pub const CNTFRQ_HZ: usize = START + 0x30;
    /// u32: what CNTVCT counts, one of [`super::clock`]. CNTPCT counts system time for everybody.
    pub const CLOCK: usize = START + 0x34;
    /// 64 bytes: the system's part number, NUL-padded.
    pub const PART_NUMBER: usize = START + 0x40;
    /// Bytes of the part number's field, NUL included.
    pub const PART_NUMBER_BYTES: usize = 64;
    /// u64: IPA of the trace rings ([`crate::trace`]), 0 without the right to read them.
    pub const TRACE_IPA: usize = START + 0xA0;
    /// u64: their bytes, all CPUs together.
    pub const TRACE_BYTES: usize = START + 0xA8;
    /// u64: IPA of the health log ([`crate::health`]), 0 without the right to read it.
    pub const HEALTH_IPA: usize = START + 0xB0;
    /// u64: its bytes.
    pub const HEALTH_BYTES: usize = START + 0xB8;
    /// u32: INTID of the interrupt that tells of health events and of requests
    /// ([`super::dynamic::REQUESTS`]), [`NO_DOORBELL`] without one.
    pub const EVENT_INTID: usize = START + 0xC0;
    /// u32: entries of the partition table, which follows the authority table and has its layout (the
    /// rights are 0): all partitions by index, for readers of the health log or the trace; else 0.
    pub const PARTITION_COUNT: usize = START + 0xC4;
    /// u64: watchdog period in nanoseconds, 0 without one.
    pub const WATCHDOG_NS: usize = START + 0xC8;
    /// First entry of the port table.
    pub const PORTS: usize = START + 0x100;
    /// Bytes from one port entry to the next.
    pub const PORT_STRIDE: usize = 0x60;
    /// First entry of the authority table: it follows the port table at the next page.
    pub const AUTHORITIES_ALIGN: usize = 0x1000;
    /// Bytes from one authority entry to the next: name (32 bytes), u32 partition id, u32 rights
    /// (bits of [`crate::hypercall::control`]), 24 bytes reserved.
    pub const AUTHORITY_STRIDE: usize = 0x40;
    /// In an authority entry, u32: identifier of the target.
    pub const AUTHORITY_ID: usize = 0x20;
    /// In an authority entry, u32: rights.
    pub const AUTHORITY_RIGHTS: usize = 0x24;
    /// In an entry of the partition table, u32: index of the partition's first vCPU in the trace.
    pub const PARTITION_VCPU_FIRST: usize = 0x28;
    /// In an entry of the partition table, u32: its number of vCPUs.
    pub const PARTITION_VCPU_COUNT: usize = 0x2C;

    /// In a port entry, 32 bytes: what this end calls the port, NUL-padded.
    pub const PORT_NAME: usize = 0x00;
    /// In a port entry, u32: one of [`crate::port::kind`].
    pub const PORT_KIND: usize = 0x20;
    /// In a port entry, u32: one of [`crate::port::direction`].
    pub const PORT_DIRECTION: usize = 0x24;
    /// In a port entry, u32: longest message in bytes.
    pub const PORT_MESSAGE_BYTES: usize = 0x28;
    /// In a port entry, u32: slots of a sampling port, depth of a queuing port.
    pub const PORT_SLOTS: usize = 0x2C;
    /// In a port entry, u64: IPA of the writer's (producer's) region.
    pub const PORT_WRITER_IPA: usize = 0x30;
    /// In a port entry, u64: IPA of the consumer's region, 0 for sampling ports.
    pub const PORT_CONSUMER_IPA: usize = 0x38;
    /// In a port entry, u64: refresh period in nanoseconds, 0 for queuing ports.
    pub const PORT_REFRESH_NS: usize = 0x40;
    /// In a port entry, u32: INTID of the doorbell at the receiver, [`NO_DOORBELL`] without one. At
    /// the writer: 0 if there is one to ring.
    pub const PORT_DOORBELL_INTID: usize = 0x48;
    /// In a port entry, u32: identifier of the peer partition (of the first, where there are more).
    pub const PORT_PEER_ID: usize = 0x4C;
    /// Value of [`PORT_DOORBELL_INTID`] where the port has none.
    pub const NO_DOORBELL: u32 = u32::MAX;
}

/// What a partition's CNTVCT counts.
pub mod clock {
    /// System time, as CNTPCT does.
    pub const SYSTEM: u32 = 0;
    /// Execution time of the partition's vCPU: it stands still while it does not run.
    pub const EXECUTION: u32 = 1;
}

/// What others may ask of a partition.
pub mod request {
    /// To come to an orderly end by itself.
    pub const SHUTDOWN: u32 = 1 << 0;
}

/// ARINC 653 operating modes.
pub mod mode {
    /// Being loaded or initialising after a cold start.
    pub const COLD_START: u32 = 0;
    /// Initialising after a warm start.
    pub const WARM_START: u32 = 1;
    /// Initialised: the partition said so, or has no init time-out.
    pub const NORMAL: u32 = 2;
    /// Stopped by its own wish.
    pub const IDLE: u32 = 3;
}

/// Why a partition was started.
pub mod start_condition {
    /// The board was reset.
    pub const POWER_ON: u32 = 0;
    /// The partition asked for it (PSCI SYSTEM_RESET or control of itself).
    pub const OWN_REQUEST: u32 = 1;
    /// Another partition with authority asked for it.
    pub const AUTHORITY: u32 = 2;
    /// The health monitor decided it.
    pub const HEALTH_MONITOR: u32 = 3;
}

/// Life-cycle states, as [`crate::hypercall::control::STATUS`] tells them.
pub mod state {
    /// The EL1 loader fills the partition's memory.
    pub const LOADING: u32 = 0;
    /// Running (or waiting for an interrupt).
    pub const RUNNING: u32 = 1;
    /// Stopped by authority, may be resumed.
    pub const SUSPENDED: u32 = 2;
    /// Stopped by the health monitor or by authority.
    pub const HALTED: u32 = 3;
    /// Switched itself off (PSCI SYSTEM_OFF, mode IDLE).
    pub const OFF: u32 = 4;
    /// Could not be loaded: a payload's digest differs.
    pub const FAILED: u32 = 5;
    /// A restart is under way: its vCPUs are being collected.
    pub const RESTARTING: u32 = 6;
}

/// Health-monitor events.
pub mod event {
    /// Access to an address that the partition does not have.
    pub const MEMORY_VIOLATION: u32 = 0;
    /// A hypercall that was not granted or does not exist.
    pub const DENIED_HYPERCALL: u32 = 1;
    /// A system register that the partition does not have.
    pub const UNDEFINED_SYSREG: u32 = 2;
    /// Synchronous external abort or SError attributed to the partition.
    pub const EXTERNAL_ABORT: u32 = 3;
    /// A data abort that carries no syndrome, on an emulated device.
    pub const UNDECODABLE_ACCESS: u32 = 4;
    /// An emulated device refused the access's width or alignment.
    pub const ILLEGAL_DEVICE_ACCESS: u32 = 5;
    /// The watchdog was not kicked in time.
    pub const WATCHDOG: u32 = 6;
    /// Mode NORMAL was not reached in time.
    pub const INIT_TIMEOUT: u32 = 7;
    /// The partition reports a missed deadline.
    pub const DEADLINE_MISS: u32 = 8;
    /// A port library found its peer breaking the protocol.
    pub const PORT_VIOLATION: u32 = 9;
    /// The console ring overflowed.
    pub const CONSOLE_OVERFLOW: u32 = 10;
    /// An interrupt came more often than it may.
    pub const INTERRUPT_STORM: u32 = 11;
    /// A payload's digest differs from the blueprint's.
    pub const INTEGRITY: u32 = 12;
    /// EL2 itself took an exception.
    pub const EL2_ERROR: u32 = 13;
    /// The application raised an error of its own.
    pub const APPLICATION_ERROR: u32 = 14;
    /// A window began later than planned.
    pub const WINDOW_OVERRUN: u32 = 15;
    /// Number of events.
    pub const COUNT: usize = 16;
}
