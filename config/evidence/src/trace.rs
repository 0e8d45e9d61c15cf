//! Requirements, freedom from interference, interference channels: each statement with what shows it.

/// What shows a statement.
#[derive(Debug, Clone, Copy)]
pub struct Shown {
    /// Identity, where the statement has one.
    pub id: &'static str,
    /// Group of the statement.
    pub group: &'static str,
    /// The statement: a requirement, a fault model, a channel.
    pub what: &'static str,
    /// How the system meets it.
    pub how: &'static str,
    /// Rules of the compiler.
    pub rules: &'static [&'static str],
    /// Claims of the verifier.
    pub claims: &'static [&'static str],
    /// System tests: files of `tests/cases`.
    pub tests: &'static [&'static str],
    /// What stays open.
    pub residual: &'static str,
}

macro_rules! shown {
    ($($id:literal, $group:literal, $what:literal, $how:literal, [$($rule:literal),*], [$($claim:literal),*],
       [$($test:literal),*], $residual:literal;)*) => {
        &[$(Shown { id: $id, group: $group, what: $what, how: $how, rules: &[$($rule),*], claims: &[$($claim),*],
            tests: &[$($test),*], residual: $residual },)*]
    };
}

/// Requirements of a configuration.
pub const REQUIREMENTS: &[Shown] = shown![
    "REQ-SPA-1", "space", "No partition writes memory of another.", "stage-2 tables, compiled, walked in the image",
        ["MEM-001", "MEM-005"], ["VFY-011", "VFY-013"], ["trespass"], "bus masters without an IOMMU";
    "REQ-SPA-2", "space", "No partition reaches the hypervisor, its tables or a pristine payload.", "zones of the image",
        ["MEM-002", "IMG-003"], ["VFY-012", "VFY-022", "VFY-030"], ["trespass"], "none";
    "REQ-SPA-3", "space", "A device is one partition's, with whole pages of registers.", "device windows compared with grants",
        ["DEV-001", "DEV-002", "DEV-003"], ["VFY-011", "AGT-003"], ["trespass"], "functions that share a page (DEV-004)";
    "REQ-SPA-4", "space", "Instructions are fetched from a payload's own memory alone.", "execute-never everywhere else",
        ["MEM-008"], ["VFY-014"], ["trespass"], "payloads whose format does not tell code from data are W+X";
    "REQ-SPA-5", "space", "A partition starts from known content.", "the loader zeroes or copies every byte, digests compared",
        ["IMG-001", "IMG-002"], ["VFY-002", "VFY-020", "VFY-021", "AGT-012"], ["demo"], "regions that outlive a restart on purpose";
    "REQ-IRQ-1", "interrupts", "A physical interrupt has one owner.", "route table and bitmaps",
        ["IRQ-001", "IRQ-002", "IRQ-003"], ["VFY-050", "VFY-051", "AGT-004"], ["interrupts", "timer-active"], "shared lines (IRQ-004)";
    "REQ-TIM-1", "time", "A partition gets its windows, whatever others do.", "windows by an EL2 timer, guard before each end",
        ["PLN-001", "PLN-002", "PLN-003"], ["VFY-061", "AGT-007"], ["window-start", "shared-timer"], "shared caches and buses";
    "REQ-TIM-2", "time", "Period, duration and deadline are met in every plan.", "simulation over the hyperperiod",
        ["TMP-001", "TMP-002", "TMP-003"], ["AGT-007"], ["window-start"], "overheads that are estimated (TMP-007)";
    "REQ-TIM-3", "time", "All CPUs change plan together.", "one boundary for all CPUs",
        ["PLN-004", "PLN-006"], ["VFY-061"], ["plan-switch"], "none";
    "REQ-COM-1", "communication", "Data flows where a port is configured, in its direction.", "ports are memory with one writer",
        ["PRT-001", "PRT-002"], ["VFY-040", "AGT-005"], ["port-garbage", "port-garbage-linux"], "none";
    "REQ-COM-2", "communication", "Data is not older than its reader tolerates.", "worst ages and latencies computed",
        ["TMP-004", "TMP-005"], ["AGT-005", "AGT-007"], ["port-garbage"], "ports without a stated limit";
    "REQ-HLT-1", "health", "Every event of every partition has an action in every mode.", "tables with a default",
        ["HLT-001", "HLT-002"], ["AGT-009"], ["life"], "none";
    "REQ-AUT-1", "authority", "Nobody controls another but by a named right.", "authority records",
        ["AUT-001"], ["VFY-042", "AGT-006"], ["plan-switch"], "each accepted control of a higher criticality (AUT-001)";
];

/// Fault models of ISO 26262-6:2018, annex D.
pub const FREEDOM: &[Shown] = shown![
    "D.2.2-1", "timing and execution", "blocking of execution", "own CPU or windows; every EL2 visit is bounded", ["CPU-003", "PLN-002"], ["VFY-060", "VFY-061"], ["window-start", "console-flood"], "hardware that stalls the CPU";
    "D.2.2-2", "timing and execution", "deadlock", "no lock is shared with a guest; ports are wait-free for writers", ["PRT-002"], ["VFY-040"], ["port-garbage"], "inside a partition";
    "D.2.2-3", "timing and execution", "livelock", "readers retry a bounded number of times; doorbells have a least interval", ["PRT-001"], ["VFY-041"], ["doorbells", "port-garbage"], "inside a partition";
    "D.2.2-4", "timing and execution", "incorrect allocation of execution time", "windows are compiled and compared", ["PLN-001", "PLN-003", "TMP-001"], ["VFY-061", "AGT-007"], ["window-start"], "shared caches and buses";
    "D.2.2-5", "timing and execution", "incorrect synchronization between elements", "one T0, one plan word", ["PLN-004"], ["VFY-061"], ["plan-switch"], "none";
    "D.2.3-1", "memory", "corruption of content", "one writer for each page", ["MEM-001", "MEM-005", "DMA-002"], ["VFY-011", "VFY-013"], ["trespass"], "bus masters, bit errors without ECC";
    "D.2.3-2", "memory", "inconsistent data", "sequence numbers, copies validated after copying", ["PRT-002"], ["VFY-040"], ["port-garbage"], "none";
    "D.2.3-3", "memory", "stack overflow or underflow", "EL2 stacks have guard pages; a guest's stack is in its own memory", ["MEM-005"], ["VFY-030"], ["trespass"], "inside a partition";
    "D.2.3-4", "memory", "read or write access to memory of another element", "stage-2 tables", ["MEM-001", "MEM-002"], ["VFY-012", "VFY-013"], ["trespass"], "bus masters without an IOMMU";
    "D.2.4-1", "exchange of information", "repetition of information", "sequence number and time stamp of each message", ["PRT-002"], ["VFY-040"], ["port-garbage"], "left to the receiver";
    "D.2.4-2", "exchange of information", "loss of information", "a full queue refuses and counts; depth against blackout", ["TMP-005"], ["VFY-040"], ["port-garbage"], "sampling ports keep the newest alone";
    "D.2.4-3", "exchange of information", "delay of information", "worst age and latency computed; validity at the reader", ["TMP-004", "TMP-005"], ["AGT-005"], ["port-garbage"], "ports without a limit";
    "D.2.4-4", "exchange of information", "insertion of information", "nobody but the writer can write", ["PRT-001", "PRT-002"], ["VFY-013", "VFY-040"], ["trespass"], "none";
    "D.2.4-5", "exchange of information", "masquerade or incorrect addressing", "a port names its peer; epochs tell a restart", ["PRT-001"], ["VFY-040", "VFY-041"], ["port-garbage"], "none";
    "D.2.4-6", "exchange of information", "incorrect sequence of information", "queues are first in, first out", ["PRT-002"], ["VFY-040"], ["port-garbage"], "none";
    "D.2.4-7", "exchange of information", "corruption of information", "memory of a port is its ends' alone; lengths are bounded", ["MEM-005"], ["VFY-013", "VFY-040"], ["port-garbage"], "no end-to-end checksum: add one where the standard asks for it";
    "D.2.4-8", "exchange of information", "asymmetric information to several receivers", "one memory for all readers of a sampling port", ["PRT-002"], ["VFY-040"], ["demo"], "readers at different times";
    "D.2.4-9", "exchange of information", "information received by a subset of receivers", "readers are fixed by the tables", ["PRT-001"], ["VFY-040", "AGT-005"], ["demo"], "a stopped reader";
    "D.2.4-10", "exchange of information", "blocking access to a channel", "a writer never waits for a reader", ["PRT-002"], ["VFY-040"], ["port-garbage-linux"], "none";
];

/// Interference channels in the sense of A(M)C 20-193.
pub const CHANNELS: &[Shown] = shown![
    "CH-1", "cache", "first-level caches and TLB of a shared CPU", "windows; cleaning of L1 at a window's start where asked for", ["PLN-001"], ["VFY-061"], ["window-start", "cleaning"], "refill after a switch is in the partition's own window";
    "CH-2", "cache", "last-level cache", "none: not coloured in this version", [], [], [], "execution time depends on other CPUs; measure with all of them loaded";
    "CH-3", "interconnect", "bus and memory controller", "none: no bandwidth regulation", [], [], [], "execution time depends on other CPUs and bus masters";
    "CH-4", "predictor", "branch predictor of a shared CPU", "cleared by firmware at a window's start where asked for", ["PLN-001"], ["VFY-061"], ["rpi4-predictor"], "timing and covert channel where not cleared";
    "CH-5", "interrupts", "interrupts of another partition inside a window", "a shared interrupt is enabled only while its owner runs", ["IRQ-001"], ["VFY-050"], ["interrupts", "window-start"], "one late straggler, counted";
    "CH-6", "interrupts", "distributor and its one shared register", "bounded turns (decision 0017)", ["IRQ-001"], ["VFY-015"], ["gic-registers"], "one read and write of each other CPU";
    "CH-7", "hypervisor", "visits to EL2", "bounded, counted in instructions, masked from entry to return", ["PLN-002"], ["VFY-030"], ["window-start", "console-flood"], "visits in another's window: console input, a plan entered at once, a request that crosses a window's start";
    "CH-8", "console", "UART and console CPU", "rings, drained by one CPU, dropped when full", ["CPU-002"], ["VFY-031"], ["console-flood"], "time of the console's CPU";
    "CH-9", "DMA", "bus masters", "listed as open findings where no IOMMU stands before them", ["DMA-001", "DMA-002", "DMA-003"], ["VFY-011"], ["network"], "memory and bandwidth of everybody";
    "CH-10", "doorbells", "virtual interrupts of a peer", "coalesced, least interval enforced at the sender", ["PRT-004"], ["VFY-041"], ["doorbells"], "one interrupt in each interval";
    "CH-11", "interrupts", "a partition that has its CPUs' interrupts without EL2", "its CPUs and all shared interrupts of partitions are its own; EL2's priorities stand above all that it can give", ["IRQ-009", "IRQ-010", "IRQ-011", "IRQ-012"], ["VFY-052"], ["direct", "direct-watchdog"], "none on others; EL2 does not count its interrupts";
    "CH-12", "cache", "TLB and instruction-cache invalidation by a guest, broadcast to all CPUs", "none: not trapped, not bounded", [], [], [], "a guest that does nothing else slows others, without a bound";
    "CH-13", "hardware", "clock, power and temperature of the whole chip", "none: no frequency is set or watched", [], [], [], "firmware or hardware may slow all CPUs; measure at the operating limits";
    "CH-14", "devices", "registers that reach more than their own device", "device windows are whole pages, compared with grants", ["DEV-002", "DEV-003", "DEV-004"], ["VFY-011", "AGT-003"], ["trespass"], "functions that share a page, each accepted by name (DEV-004)";
];

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_statement_names_rules_claims_and_tests_that_exist() {
        let claims: Vec<&str> = bulkhead_verify::claims::CLAIMS.iter().map(|c| c.id).collect();
        for shown in [REQUIREMENTS, FREEDOM, CHANNELS].into_iter().flatten() {
            // What nothing stands against names nothing that would show it; all else names a rule, a claim and a test.
            let unmitigated = shown.how.starts_with("none:");
            let named = [shown.rules, shown.claims, shown.tests].map(|list| !list.is_empty());
            assert_eq!(named, [!unmitigated; 3], "{}", shown.id);
            for rule in shown.rules {
                assert!(bulkhead_compile::rules::by_id(rule).is_some(), "{}: no rule {rule}", shown.id);
            }
            for claim in shown.claims {
                let known = claims.contains(claim) || bulkhead_verify::against::IDS.contains(claim);
                assert!(known, "{}: no claim {claim}", shown.id);
            }
            for test in shown.tests {
                let path = format!("../../tests/cases/{test}.toml");
                assert!(std::path::Path::new(&path).exists(), "{}: no case {test}", shown.id);
            }
        }
    }
}
