//! Images made by somebody who knows EL2 and keeps every record consistent with the others: tables and windows are good,
//! and still EL2 would act on something that breaks separation or the schedule. Each is looked at by a claim.

#[path = "../../compile/tests/common/mod.rs"]
mod common;
mod forge;

use bulkhead_abi::info::{event, fixed};
use bulkhead_blueprint::Defect;
use bulkhead_blueprint::layout::{
    Cpu, HealthRow, InterruptLimit, Partition, Plan, PlanCpu, RegisterWrite, Route, Window, action, route,
    step,
};
use bulkhead_blueprint::limits::BLUEPRINT_BYTES_MAX;
use bulkhead_verify::{Image, Unreadable, verify};
use common::{PAGE, Workshop, payload_elf};
use forge::Forge;
use std::path::Path;

/// The avionics example: shared CPUs, two plans, ports of both kinds, and a limit of interrupts.
fn avionics() -> Forge {
    let shop = Workshop::small();
    shop.put("avionics.elf", &payload_elf(0x4020_0000));
    let example = std::fs::read_to_string("../examples/avionics.dts").expect("the example");
    let limit = "&gateway { grants { rtc { device = <&rtc>; max-interrupts = <10>; per-ms = <5>; }; }; };\n";
    let (_, image) = shop.build_text(&format!("{example}{limit}")).unwrap_or_else(|f| panic!("{f}"));
    good(image.bytes())
}

fn good(bytes: &[u8]) -> Forge {
    let report = verify(&Image::from_bytes(bytes)).expect("an image");
    assert!(report.holds(), "{}", report.to_text());
    Forge::new(bytes)
}

/// Two partitions on a Raspberry Pi 4, whose watchdog EL2 kicks.
fn rpi4() -> Forge {
    let demo = std::fs::read_to_string("../examples/demo-rpi4.dts").expect("the demo");
    let text = demo.replacen("health-log-records", "watchdog-ms = <1500>;\n\t\thealth-log-records", 1);
    good(Workshop::rpi4().build_text(&text).unwrap_or_else(|f| panic!("{f}")).1.bytes())
}

/// What is done, the claim that must see it, a word of what it says.
type Harm = (&'static str, &'static str, &'static str, fn(&mut Forge));

fn assert_each_is_seen(good: &Forge, harms: &[Harm]) {
    let unseen = harms.iter().filter_map(|(what, claim, word, harm)| {
        let mut forge = good.clone();
        harm(&mut forge);
        let found = forge.against(claim);
        (!found.iter().any(|f| f.contains(word))).then(|| format!("{what}: {claim} says {found:?}"))
    });
    let unseen: Vec<String> = unseen.collect();
    assert!(unseen.is_empty(), "{}", unseen.join("\n"));
}

fn routes(forge: &mut Forge) -> &mut [Route] {
    forge.table(|h| h.routes)
}

fn rows(forge: &mut Forge) -> &mut [HealthRow] {
    forge.table(|h| h.health_rows)
}

fn partitions(forge: &mut Forge) -> &mut [Partition] {
    forge.table(|h| h.partitions)
}

#[test]
fn interrupts_by_which_el2_keeps_its_promises_are_its_own() {
    assert_each_is_seen(
        &avionics(),
        &[
            ("EL2's timer is an interrupt that never comes", "VFY-050", "EL2's timer", |f| {
                f.header().gic.hyp_timer_intid = 200;
                routes(f)[200].owner = route::HYPERVISOR;
                routes(f)[26].owner = route::NOBODY;
            }),
            ("EL2's timer is another PPI", "VFY-050", "EL2's timer", |f| {
                f.header().gic.hyp_timer_intid = f.header().gic.maintenance_intid;
                routes(f)[26].owner = route::NOBODY;
            }),
            ("the maintenance interrupt is a software-generated one", "VFY-050", "maintenance", |f| {
                f.header().gic.maintenance_intid = 3;
                routes(f)[25].owner = route::NOBODY;
            }),
            ("the console's interrupt is EL2's timer", "VFY-050", "console", |f| {
                f.header().uart_intid = 26;
                routes(f)[33].owner = route::NOBODY;
            }),
            ("a PPI whose state no switch moves is everybody's", "VFY-050", "interrupt 23", |f| {
                for partition in partitions(f) {
                    partition.irq_owned[0] |= 1 << 23;
                    partition.irq_present[0] |= 1 << 23;
                }
                routes(f)[23].owner = route::CURRENT;
            }),
            ("a limit that its interrupt's route does not name", "VFY-050", "limit", |f| {
                let limit = f.table::<InterruptLimit>(|h| h.interrupt_limits)[0];
                routes(f)[limit.intid as usize].owner = limit.owner;
            }),
            ("a limit that limits nothing", "VFY-050", "limit", |f| {
                f.table::<InterruptLimit>(|h| h.interrupt_limits)[0].per_ticks = 0;
            }),
        ],
    );
}

#[test]
fn a_step_of_the_health_monitor_names_what_exists() {
    assert_each_is_seen(
        &avionics(),
        &[
            ("a plan that does not exist", "VFY-043", "plan", |f| {
                rows(f)[event::WATCHDOG as usize].normal = action::SWITCH_PLAN | 31 << step::PLAN_SHIFT;
            }),
            ("an action that nobody knows", "VFY-043", "action", |f| {
                rows(f)[event::WATCHDOG as usize].normal = 200;
            }),
            ("an interrupt masked for another event", "VFY-043", "masks", |f| {
                rows(f)[event::MEMORY_VIOLATION as usize].normal = action::MASK_INTERRUPT;
            }),
            ("a partition that does not exist is told", "VFY-043", "tells", |f| {
                rows(f)[event::WATCHDOG as usize].normal = action::NOTIFY | 99 << step::NOTIFY_SHIFT;
            }),
            ("a step behind a gap, which never comes", "VFY-043", "step", |f| {
                let steps = &mut rows(f)[event::WATCHDOG as usize].steps;
                (steps[0].count, steps[1].count) = (0, 3);
                (steps[1].action, steps[1].within_ticks) = (action::HALT, 1);
            }),
            ("the module's answer is another in each partition's rows", "VFY-043", "module", |f| {
                rows(f)[event::COUNT + event::EL2_ERROR as usize].normal = action::IGNORE;
                rows(f)[event::EL2_ERROR as usize].normal = action::RESET_BOARD;
            }),
            ("a restart limit without an action that is known", "VFY-043", "action", |f| {
                let limit = &mut partitions(f)[0].restart_limit;
                (limit.count, limit.within_ticks, limit.action) = (1, 1, 77);
            }),
        ],
    );
}

#[test]
fn frames_guards_and_flags_are_what_the_schedule_needs() {
    assert_each_is_seen(
        &avionics(),
        &[
            ("a frame of one tick, without windows", "VFY-061", "major frame", |f| {
                f.table::<Plan>(|h| h.plans)[1].frame_ticks = 1;
                for cpu in f.table::<PlanCpu>(|h| h.plan_cpus) {
                    (cpu.window_first, cpu.window_count) = (0, 0);
                }
            }),
            ("a plan that shares a CPU which the initial one does not", "VFY-061", "CPU 0 in plan", |f| {
                let other = f.table::<PlanCpu>(|h| h.plan_cpus).len() / 2;
                f.table::<PlanCpu>(|h| h.plan_cpus)[other].background = 0;
            }),
            ("no guard", "VFY-061", "guard", |f| {
                f.table::<Cpu>(|h| h.cpus).iter_mut().for_each(|cpu| cpu.guard_ticks = 0);
                f.header().window_guard_ticks = 0;
            }),
            ("a flag of a plan that nobody knows", "VFY-061", "flags", |f| {
                f.table::<Plan>(|h| h.plans)[0].flags |= 1 << 7;
            }),
            ("a flag of a window that nobody knows", "VFY-061", "flags", |f| {
                f.table::<Window>(|h| h.windows)[0].flags |= 1 << 7;
            }),
            ("a CPU that boots as another", "VFY-060", "MPIDR", |f| {
                f.table::<Cpu>(|h| h.cpus)[3].mpidr = 4;
            }),
            ("a console that takes the CPU at every instruction", "VFY-032", "console", |f| {
                f.header().console_interval_ticks = 0;
            }),
            ("a console that is never drained", "VFY-032", "console", |f| {
                f.header().console_interval_ticks = u64::MAX;
            }),
            ("a console without registers", "VFY-032", "console", |f| f.header().uart_base = 0),
            ("signs of life without a watchdog", "VFY-032", "watchdog", |f| f.header().watchdog_cpus = 1),
        ],
    );
}

#[test]
fn nobody_has_a_loaders_calls() {
    assert_each_is_seen(
        &avionics(),
        &[
            ("a guest that says it is loaded", "VFY-042", "calls", |f| partitions(f)[0].grants |= 1 << 0x3e),
            ("a call that nobody knows", "VFY-042", "calls", |f| partitions(f)[1].grants |= 1 << 0x20),
        ],
    );
}

#[test]
fn the_stores_of_the_board_hit_no_memory() {
    assert_each_is_seen(
        &rpi4(),
        &[
            ("a store of boot into the image", "VFY-032", "store", |f| {
                let at = f.header().sealed_end - 8;
                f.table::<RegisterWrite>(|h| h.register_writes)[0].address = at;
            }),
            ("a store of boot into a partition's memory", "VFY-032", "store", |f| {
                let at = f.table::<bulkhead_blueprint::layout::Range>(|h| h.required)[0].base;
                f.table::<RegisterWrite>(|h| h.register_writes)[0].address = at;
            }),
            ("a store that is not aligned", "VFY-032", "store", |f| {
                f.table::<RegisterWrite>(|h| h.register_writes)[0].address += 2;
            }),
            ("a light in the image", "VFY-032", "light", |f| {
                f.header().led_off.address = f.header().image_base
            }),
            ("a watchdog that waits for a CPU that is not there", "VFY-032", "watchdog", |f| {
                f.header().watchdog_cpus |= 1 << 31;
            }),
            ("a watchdog that is kicked all the time", "VFY-032", "watchdog", |f| f.header().beat_ticks = 0),
            ("a watchdog that nobody feeds", "VFY-032", "watchdog", |f| f.header().watchdog_cpus = 0),
        ],
    );
}

#[test]
fn ports_have_room_for_a_message() {
    let mut forge =
        good(Workshop::small().build_text("/dts-v1/;\n/include/ \"good.dtsi\"\n").expect("good").1.bytes());
    for (slots, bytes) in [(0, 64), (1, 64), (4, 0)] {
        for partition in [0, 1] {
            forge.tell_of_port(partition, 0, fixed::PORT_SLOTS, slots);
            forge.tell_of_port(partition, 0, fixed::PORT_MESSAGE_BYTES, bytes);
        }
        let found = forge.against("VFY-040");
        assert!(found.iter().any(|f| f.contains("slots")), "{slots} slots of {bytes} bytes: {found:?}");
    }
}

/// EL2 takes the blueprint behind its own sections, wherever a reader of the file would find one.
#[test]
fn an_image_with_two_blueprints_is_refused() {
    let (_, image) = Workshop::new().build(Path::new("../examples/demo.dts"));
    let good = Image::from_bytes(image.bytes());
    let view = good.open().expect("good");
    let at = (view.blueprint_at - view.header().image_base) as usize;
    let page = image.bytes()[at..at + PAGE as usize].to_vec();
    let payload = (view.payloads().start - view.header().image_base) as usize;
    for decoy in [at - PAGE as usize, payload] {
        let mut bytes = image.bytes().to_vec();
        bytes[decoy..decoy + PAGE as usize].copy_from_slice(&page);
        let (first, second) = (decoy.min(at) as u64, decoy.max(at) as u64);
        let refused = Image::from_bytes(&bytes).open().err();
        assert_eq!(refused, Some(Unreadable::TwoBlueprints { first, second }));
    }
}

/// EL2 believes no length beyond a bound; what it would refuse, the verifier does not read.
#[test]
fn a_blueprint_that_el2_would_not_read_is_refused() {
    let (_, image) = Workshop::new().build(Path::new("../examples/demo.dts"));
    let mut forge = Forge::new(image.bytes());
    forge.header().total_bytes = BLUEPRINT_BYTES_MAX as u32 + 8;
    assert_eq!(forge.image.open().err(), Some(Unreadable::Blueprint(Defect::Truncated)));
}

/// More ends of ports than EL2 remembers the rings of: their doorbells would have no least interval.
#[test]
fn no_port_end_lies_beyond_what_el2_remembers() {
    let (_, image) = Workshop::new().build(Path::new("../examples/demo.dts"));
    let mut forge = Forge::new(image.bytes());
    let (first, bytes) = {
        let view = forge.image.open().expect("good");
        (view.blueprint_at, view.sealed().bytes() as usize)
    };
    let at = forge.offset(first);
    let need = 257 * 16;
    let zeros = (0..bytes - need)
        .step_by(8)
        .find(|from| forge.image.bytes()[at + from..at + from + need].iter().all(|b| *b == 0))
        .expect("a stretch of zeros in the sealed part");
    let header = forge.header();
    header.port_ends = bulkhead_blueprint::layout::Table { offset: zeros as u32, count: 257 };
    header.total_bytes = (zeros + need) as u32;
    let found = forge.against("VFY-005");
    assert!(found.iter().any(|f| f.contains("256")), "{found:?}");
}
