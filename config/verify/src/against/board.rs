//! What no device tree says about the board (`board/NAME/board.toml`), read by an interpretation of its own, and what EL2
//! takes the board for.

use super::tree::Node;
use super::wanted::Partition;
use super::{Sides, part, ticks_up};
use crate::claims::Ledger;
use crate::image::text;
use crate::ranges::Range;
use crate::system::Part;
use bulkhead_blueprint::layout::{self, partition_flags, reach};
use serde::Deserialize;

/// Bytes of a PL011's transmit FIFO (ARM DDI 0183, 2.4.2), and bits that one takes on the line.
const FIFO_BYTES: u64 = 16;
const BITS_PER_BYTE: u64 = 10;

/// Facts of a board; what concerns the compiler's rules alone is left out.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
pub struct Facts {
    name: String,
    compatible: Vec<String>,
    image_base: u64,
    /// Frequency of the counter where the tree does not give it.
    pub counter_hz: u32,
    pa_bits: u32,
    vmid_bits: u32,
    maintenance_intid: u32,
    hypervisor_timer_intid: u32,
    window_guard_ns: u64,
    #[serde(default)]
    cleaning: Cleaning,
    bus_masters: Vec<String>,
    firmware: Vec<Kept>,
    uart_bits_per_second: u32,
    led: Option<Led>,
    #[serde(default)]
    boot_write: Vec<Store>,
    #[serde(default)]
    power_off: Vec<Store>,
    #[serde(default)]
    reset: Vec<Store>,
    watchdog: Option<Watchdog>,
    view: View,
}

#[derive(Default, Deserialize)]
#[serde(rename_all = "kebab-case")]
struct Cleaning {
    l1_cache_ns: Option<u64>,
    branch_predictor_ns: Option<u64>,
}

#[derive(Deserialize)]
struct Kept {
    base: u64,
    size: u64,
}

#[derive(Deserialize)]
struct Led {
    on: Store,
    off: Store,
}

#[derive(Deserialize, Clone, Copy, Default, PartialEq, Eq)]
struct Store {
    address: u64,
    #[serde(default)]
    keep: u32,
    value: u32,
}

impl Store {
    fn of(write: &layout::RegisterWrite) -> Store {
        Store { address: write.address, keep: write.keep, value: write.value }
    }
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:#x}: {:#x}, keeps {:#x}", self.address, self.value, self.keep)
    }
}

#[derive(Deserialize)]
struct Watchdog {
    hz: u32,
    most: u32,
    load: Store,
    start: Store,
}

/// Where partitions see the emulated devices unless they say otherwise.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct View {
    gicd: u64,
    gicc: u64,
    gicr: u64,
    uart: u64,
    uart_intid: u32,
}

impl Facts {
    /// Those among `boards` whose `compatible` the tree's root has; `None` if no board's are.
    ///
    /// # Errors
    /// What is wrong with a text.
    pub fn of(root: &Node, boards: &[&str]) -> Result<Option<Facts>, String> {
        for board in boards {
            let facts: Facts = toml::from_str(board).map_err(|e| e.to_string())?;
            if facts.compatible.iter().any(|name| root.is(name)) {
                return Ok(Some(facts));
            }
        }
        Ok(None)
    }

    /// RAM that firmware keeps.
    pub fn firmware(&self) -> impl Iterator<Item = Range> + '_ {
        self.firmware.iter().map(|kept| Range::of(kept.base, kept.size))
    }
}

pub fn facts(sides: &Sides<'_>, ledger: &mut Ledger) {
    let Some(facts) = &sides.facts else {
        let compatible = sides.root.texts("compatible").join(", ");
        return ledger.fail(
            "facts of the board",
            format!("none for {compatible}"),
            "a board that the verifier knows",
        );
    };
    let header = sides.system.view.header();
    ledger.examined(6, "facts");
    ledger.same("board", text(&header.board), facts.name.clone());
    let (found, expected) = (header.image_base, facts.image_base);
    ledger.same("address of the image", format!("{found:#x}"), format!("{expected:#x}"));
    ledger.same("maintenance interrupt", header.gic.maintenance_intid, facts.maintenance_intid);
    ledger.same("interrupt of EL2's timer", header.gic.hyp_timer_intid, facts.hypervisor_timer_intid);
    let bits = FIFO_BYTES * BITS_PER_BYTE * u64::from(header.cntfrq_hz);
    let interval = bits / u64::from(facts.uart_bits_per_second.max(1));
    ledger.same("ticks between two visits to the console", header.console_interval_ticks, interval);
    guards(sides, facts, ledger);
    stores(sides, facts, ledger);
    for wanted in sides.partitions {
        let Some(part) = part(sides, &wanted.node.name) else { continue };
        ledger.examined(5, "facts");
        one_partition(sides, facts, wanted, part, ledger);
    }
}

/// How long before a window's end EL2 takes each CPU back: the board's guard, and the dearest cleaning there.
fn guards(sides: &Sides<'_>, facts: &Facts, ledger: &mut Ledger) {
    let cost = |window: &Node| {
        let word = |word: &str| match word {
            "l1-cache" => facts.cleaning.l1_cache_ns.unwrap_or(0),
            _ => facts.cleaning.branch_predictor_ns.unwrap_or(0),
        };
        window.texts("clean").iter().map(|w| word(w)).sum::<u64>()
    };
    let schedules: Vec<&Node> = sides.root.list("plans").iter().flat_map(|plan| &plan.children).collect();
    for (number, cpu) in sides.system.view.blueprint.cpus.iter().enumerate() {
        ledger.examined(1, "facts");
        let own = schedules.iter().filter(|schedule| sides.index.cpu(schedule, "cpu") == Some(number));
        let dearest = own.flat_map(|schedule| &schedule.children).map(cost).max().unwrap_or(0);
        let guard = ticks_up(sides, facts.window_guard_ns.saturating_add(dearest));
        ledger.same(&format!("guard of CPU {number}, ticks"), u64::from(cpu.guard_ticks), guard);
    }
}

/// Stores of boot, power-off, watchdog and reset, and those of the light.
fn stores(sides: &Sides<'_>, facts: &Facts, ledger: &mut Ledger) {
    let (header, writes) = (sides.system.view.header(), sides.system.view.blueprint.register_writes);
    let asked = sides.root.child("hypervisor").and_then(|node| node.duration_ns("watchdog"));
    let kick = facts.watchdog.as_ref().zip(asked).map_or(Vec::new(), |(watchdog, ns)| {
        let count = (u128::from(ns) * u128::from(watchdog.hz)).div_ceil(1_000_000_000);
        let count = u32::try_from(count).unwrap_or(u32::MAX).min(watchdog.most);
        vec![Store { value: watchdog.load.value | count, ..watchdog.load }, watchdog.start]
    });
    let mut found = writes.iter().map(Store::of);
    let mut next = |count: usize| found.by_ref().take(count).collect::<Vec<Store>>();
    let lists = [
        ("at boot", next(header.boot_writes as usize), &facts.boot_write),
        ("that switch the board off", next(header.off_writes as usize), &facts.power_off),
        ("that start its watchdog anew", next(header.kick_writes as usize), &kick),
        ("that reset it", next(usize::MAX), &facts.reset),
    ];
    for (what, found, expected) in lists {
        ledger.examined(expected.len() as u64, "facts");
        if found != *expected {
            ledger.fail(format!("stores {what}"), format!("{found:x?}"), format!("{expected:x?}"));
        }
    }
    let led = facts.led.as_ref().map(|led| (led.on, led.off)).unwrap_or_default();
    let found = (Store::of(&header.led_on), Store::of(&header.led_off));
    if found != led {
        ledger.fail("stores that switch the light", format!("{found:x?}"), format!("{led:x?}"));
    }
}

fn one_partition(
    sides: &Sides<'_>,
    facts: &Facts,
    wanted: &Partition<'_>,
    part: &Part<'_>,
    ledger: &mut Ledger,
) {
    let (record, name) = (part.record, &part.name);
    if record.vmid.checked_shr(facts.vmid_bits).unwrap_or(0) != 0 {
        ledger.fail(format!("VMID of {name}"), record.vmid, format!("{} bits", facts.vmid_bits));
    }
    let beyond = part
        .run
        .mapped
        .iter()
        .find(|m| m.outputs().end > 1u64.checked_shl(facts.pa_bits).unwrap_or(u64::MAX));
    if let Some(beyond) = beyond {
        let expected = format!("addresses of {} bits", facts.pa_bits);
        ledger.fail(format!("physical memory of {name}"), beyond.outputs(), expected);
    }
    let found = record.flags & partition_flags::RESTARTABLE != 0;
    ledger.same(&format!("whether {name} may be restarted"), found, may_restart(sides, facts, wanted));
    let view = wanted.node.child("view");
    let place = |property: &str, usual: u64| {
        view.and_then(|node| node.wides(property).first().copied()).unwrap_or(usual)
    };
    let version = sides.system.view.header().gic.version;
    let is_pl011 = record.flags & partition_flags::PL011 != 0;
    let interface = part.declared(&[reach::CPU_INTERFACE]).first().map_or(0, |range| range.start);
    let usual = |given: bool, property: &str, usual: u64| if given { place(property, usual) } else { 0 };
    let places = [
        ("distributor", record.gicd_ipa, place("distributor", facts.view.gicd)),
        ("redistributors", record.gicr_ipa, usual(version == 3, "redistributors", facts.view.gicr)),
        ("CPU interface", interface, usual(version == 2, "cpu-interface", facts.view.gicc)),
        ("PL011", record.pl011_ipa, usual(is_pl011, "uart", facts.view.uart)),
    ];
    for (what, found, expected) in places {
        ledger.same(&format!("{what} as {name} sees it"), format!("{found:#x}"), format!("{expected:#x}"));
    }
    let intid = view.and_then(|node| node.cell("uart-interrupt")).unwrap_or(facts.view.uart_intid);
    let expected = if is_pl011 { intid } else { 0 };
    ledger.same(&format!("interrupt of the PL011 of {name}"), record.pl011_intid, expected);
}

/// A partition whose bus masters are all said to be quiet, or that something restarts with a written acceptance (DMA-004).
fn may_restart(sides: &Sides<'_>, facts: &Facts, wanted: &Partition<'_>) -> bool {
    let node = wanted.node;
    let is_master = |phandle: &u32| {
        sides.index.node(*phandle).is_some_and(|n| facts.bus_masters.iter().any(|name| n.is(name)))
    };
    let is_quiet = |phandle: &u32| {
        node.list("grants").iter().any(|g| g.cell("device") == Some(*phandle) && g.flag("quiesce"))
    };
    let masters = node.cells("access");
    masters.iter().filter(|p| is_master(p)).all(is_quiet) || is_restarted(sides, node)
}

/// Whether the partition's health table restarts it, or somebody may.
fn is_restarted(sides: &Sides<'_>, node: &Node) -> bool {
    let restarts = |n: &Node| {
        let words = ["default-action", "action"].into_iter().filter_map(|property| n.text(property));
        words.into_iter().any(|word| word == "warm-restart" || word == "cold-restart")
    };
    let mut found = false;
    if let Some(table) = node.cell("bulkhead,health").and_then(|p| sides.index.node(p)) {
        table.visit(&mut Vec::new(), &mut |_, n| found |= restarts(n));
    }
    let over =
        |a: &Node| a.cells("over").iter().any(|p| sides.index.node(*p).is_some_and(|n| n.name == node.name));
    let may = |a: &Node| over(a) && a.texts("allow").iter().any(|word| word == "restart");
    found || sides.partitions.iter().any(|p| p.node.list("authority").iter().any(may))
}
