//! What one EL2 binary can hold (rule LIM-001), and the size of its stacks.

/// Physical CPUs.
pub const CPUS_MAX: usize = 8;
/// Partitions.
pub const PARTITIONS_MAX: usize = 16;
/// vCPUs of the whole system.
pub const VCPUS_MAX: usize = 32;
/// vCPUs of one partition; each is bound to a CPU of its own.
pub const PARTITION_VCPUS_MAX: usize = 8;
/// Partitions with direct interrupts; each has a page of EL2's.
pub const DIRECT_PARTITIONS_MAX: usize = 2;
/// Plans: bits of a word.
pub const PLANS_MAX: usize = 32;
/// Words of an interrupt bitmap: INTIDs 0 to 287, as many as QEMU `virt` and the BCM2711 have.
pub const IRQ_WORDS: usize = 9;
/// Doorbells that one partition can receive.
pub const DOORBELLS_MAX: usize = 32;
/// Ends of all ports: of each, EL2 remembers when it last rang.
pub const PORT_ENDS_MAX: usize = 256;
/// Interrupts with a limit of their own.
pub const INTERRUPT_LIMITS_MAX: usize = 32;
/// Entries of the interrupt route table: a power of two, so that a masked INTID always indexes it
/// (special INTIDs 1020 to 1023 included).
pub const ROUTES: usize = 1024;
/// Bytes from one CPU's stack of EL2 to the next: a page that is not mapped, so that an overflow faults instead
/// of reaching a neighbour, then the stack.
pub const STACK_STRIDE: u64 = 0x2000;
/// Longest blueprint that EL2 reads: a length beyond it is not believed.
pub const BLUEPRINT_BYTES_MAX: usize = 1 << 20;
