//! What the compiler computes about time, against an enumeration of small systems.
//!
//! A figure below the worst case that the enumeration finds is a false promise and fails here. `PROPTEST_CASES=5000 cargo
//! test -p bulkhead-compile --test timing` looks longer.

mod oracle;

use bulkhead_compile::diag::Severity;
use bulkhead_compile::health::{Action, Event, HealthEntry, HealthTable, Step};
use bulkhead_compile::model::{Doorbell, Plan, PlanCpu, Port, PortEnd, PortKind, System, Timing, Window};
use bulkhead_compile::span::{Span, Spanned};
use bulkhead_compile::timing::facts::plan_switches;
use bulkhead_compile::timing::{blackout, facts, guard, ports, simulate, supply, transient};
use bulkhead_compile::{CheckOptions, check, rules};
use oracle::{Cpu, Guest, World};
use proptest::prelude::*;
use std::sync::OnceLock;

const HERE: Span = Span { file: 0, line: 1, column: 1, end_line: 1, end_column: 1, node: 0 };
/// The board's CPU of each of the oracle's: two are shared, the third belongs to whoever has it.
const CPUS: [usize; 3] = [2, 3, 1];

/// Nanoseconds: small ones, primes, and the longest of each unit.
const EXTREMES: [u64; 10] = [
    1,
    2,
    3_600_000_000_000,
    99_991,
    100_003,
    1_000_003,
    4_294_967_291,
    4_294_967_295,
    4_294_967_295_000,
    4_294_967_295_000_000,
];

fn spanned<T>(value: T) -> Spanned<T> {
    Spanned::new(value, HERE)
}

/// Three partitions on QEMU virt, read once.
fn base() -> &'static System {
    static BASE: OnceLock<System> = OnceLock::new();
    BASE.get_or_init(|| {
        let mut text = String::from(
            "/dts-v1/;\n/include/ \"board/qemu-virt.dtsi\"\n/ {\nhypervisor { compatible = \"bulkhead,system-v1\"; \
             part-number = \"T\"; console = <&uart0>; console-cpu = <&cpu0>; };\n\
             health { module { default-action = \"log\"; }; table: table { default-action = \"halt\"; }; };\ndomains {\n",
        );
        for id in 1..=3 {
            text.push_str(&format!(
                "p{id} {{ compatible = \"openamp,domain-v1\", \"bulkhead,partition\"; id = <{id}>; \
                 bulkhead,criticality = \"QM\"; cpus = <&cpus {:#x} 0x1>; memory = <0x0 0x40000000 0x0 0x800000>; \
                 bulkhead,image = \"raw.bin\"; bulkhead,load = <0x0 0x40080000>; bulkhead,entry = <0x0 0x40080000>; \
                 bulkhead,health = <&table>; }};\n",
                1 << id
            ));
        }
        text.push_str("};\n};\n");
        let directory = tempfile::tempdir().expect("a temporary directory");
        let file = directory.path().join("main.dts");
        std::fs::write(&file, text).expect("a file");
        let options = CheckOptions { payload_dirs: Vec::new(), payloads: false };
        let checked = check(&file, &options).expect("dtc runs");
        assert!(checked.is_clean(), "{}", checked.render(false));
        checked.model.expect("a model")
    })
}

fn plan_of(number: usize, plan: &oracle::Plan) -> Plan {
    let window = |(start, length, who): &oracle::Window| Window {
        span: HERE,
        name: String::new(),
        partition: spanned(*who),
        start_ns: spanned(*start),
        duration_ns: spanned(*length),
        clean: Vec::new(),
    };
    let cpu = |(at, cpu): (usize, &Cpu)| {
        let windows = cpu.windows.iter().map(window).collect();
        PlanCpu::new(HERE, spanned(CPUS[at]), cpu.background.map(spanned), windows)
    };
    let mut plan = Plan {
        span: HERE,
        name: spanned(format!("plan{number}")),
        id: spanned(number as u32),
        major_frame_ns: spanned(plan.frame),
        immediate: Some(HERE),
        cpus: plan.cpus.iter().enumerate().map(cpu).collect(),
        doubtful: false,
        sound: false,
    };
    plan.sound = supply::is_sound(&plan);
    assert!(plan.sound, "{plan:?}");
    for cpu in &mut plan.cpus {
        cpu.slots = simulate::windows(cpu, plan.major_frame_ns.value);
    }
    plan
}

/// A port from guest 0 to guest 1.
fn port(name: &str, kind: PortKind, rings: bool) -> Port {
    let end = |partition: usize| PortEnd {
        span: HERE,
        partition,
        name: spanned(name.to_owned()),
        max_age_ns: Some(spanned(1)),
    };
    Port {
        span: HERE,
        name: spanned(name.to_owned()),
        kind,
        from: vec![end(0)],
        to: vec![end(1)],
        message_bytes: spanned(8),
        doorbell: rings.then_some(Doorbell { span: HERE, min_interval_ns: None }),
    }
}

/// The system as the compiler would have read it: a nanosecond for each unit. Every requirement is one unit, so that every
/// worst case exceeds it and is told. Ports: sampling, polled and rung, all from guest 0 to guest 1.
fn system_of(world: &World) -> System {
    let mut system = base().clone();
    system.board.facts.window_guard_ns = world.guard;
    system.board.facts.counter_hz = 1_000_000_000;
    system.plans = world.plans.iter().enumerate().map(|(at, plan)| plan_of(at, plan)).collect();
    system.plans_span = Some(HERE);
    system.initial_plan = Some(spanned(0));
    for (partition, guest) in system.partitions.iter_mut().zip(&world.guests) {
        partition.vcpus = spanned(guest.cpus.iter().map(|c| CPUS[*c]).collect());
        partition.watchdog_ns = Some(spanned(1));
        partition.timing = Some(Timing {
            span: HERE,
            period_ns: spanned(guest.period),
            offset_ns: spanned(guest.offset),
            duration_ns: spanned(vec![guest.duration]),
            deadline_ns: Some(spanned(1)),
            max_blackout_ns: Some(spanned(1)),
            not_required_in: guest.exempt.iter().map(|p| spanned(*p)).collect(),
        });
    }
    let queue =
        || PortKind::Queuing { depth: spanned(1), max_latency_ns: Some(spanned(1)), per_period: spanned(1) };
    system.ports = vec![
        port("port", PortKind::Sampling { refresh_ns: None }, false),
        port("polled", queue(), false),
        port("rung", queue(), true),
    ];
    let entry = |plan: usize| HealthEntry {
        event: spanned(Event::WindowOverrun),
        step: Step { action: spanned(Action::SwitchPlan), notify: Vec::new(), plan: Some(spanned(plan)) },
        in_init: None,
        escalation: Vec::new(),
    };
    system.module_health = Some(HealthTable {
        span: HERE,
        name: "module".to_owned(),
        default_action: Some(spanned(Action::Log)),
        entries: (0..world.plans.len()).map(entry).collect(),
        restart_limit: None,
    });
    system
}

/// Windows of one CPU as they are drawn, and its background.
type Draft = (Vec<(u64, u64, usize)>, Option<usize>);

/// Windows one after another: gap before it, length beyond the guard, whose. What passes the frame's end or has no vCPU there
/// is left out.
fn cpu_of(cpu: usize, frame: u64, guard: u64, draft: &Draft, guests: &[Guest]) -> Cpu {
    let (cuts, background) = draft;
    let mut at = 0;
    let mut windows = Vec::new();
    for (gap, length, who) in cuts {
        let length = length + guard;
        let (start, end) = (at + gap, at + gap + length);
        if end <= frame && guests[*who].cpus.contains(&cpu) {
            windows.push((start, length, *who));
            at = end;
        }
    }
    Cpu { windows, background: background.filter(|b| guests[*b].cpus.contains(&cpu)) }
}

fn guests(plans: usize) -> impl Strategy<Value = Vec<Guest>> {
    let cpus = prop_oneof![4 => Just(vec![0]), 3 => Just(vec![1]), 2 => Just(vec![0, 1])];
    let exempt = prop::collection::vec(prop::bool::weighted(0.1), plans);
    let guest = (cpus, 2u64..13, 0u64..12, 1u64..4, exempt);
    let guest = guest.prop_map(|(cpus, period, offset, duration, exempt)| Guest {
        cpus,
        period,
        offset: offset % period,
        duration: duration.min(period),
        exempt: (0..exempt.len()).filter(|p| exempt[*p]).collect(),
    });
    // At most one guest has a CPU of its own.
    (prop::collection::vec(guest, 3), prop::option::weighted(0.3, 0usize..3)).prop_map(
        |(mut guests, alone)| {
            if let Some(alone) = alone {
                guests[alone].cpus = vec![2];
            }
            guests
        },
    )
}

fn worlds(plans: std::ops::RangeInclusive<usize>) -> impl Strategy<Value = World> {
    plans.prop_flat_map(|plans| {
        let cuts = || prop::collection::vec((0u64..3, 1u64..5, 0usize..3), 1..6);
        let cpu = move || (cuts(), prop::option::weighted(0.2, 0usize..3));
        let plan = (4u64..13, cpu(), cpu());
        (0u64..3, guests(plans), prop::collection::vec(plan, plans)).prop_map(|(guard, guests, plans)| {
            let plan = |(frame, one, two): &(u64, Draft, Draft)| {
                let cpus =
                    vec![cpu_of(0, *frame, guard, one, &guests), cpu_of(1, *frame, guard, two, &guests)];
                oracle::Plan { frame: *frame, cpus }
            };
            let plans = plans.iter().map(plan).collect();
            World { guard, plans, guests }
        })
    })
}

/// Plans under which the requirement of `guest` holds and is met.
fn met(world: &World, guest: usize) -> Vec<usize> {
    (0..world.plans.len()).filter(|plan| world.is_met(guest, *plan)).collect()
}

/// A worst case that was found by enumeration, beside what the compiler says.
fn promised(what: &str, found: Option<u64>, promise: Option<u64>) -> Result<(), TestCaseError> {
    prop_assert!(found <= promise, "{}: {:?} happens, {:?} was promised", what, found, promise);
    Ok(())
}

#[test]
fn a_guard_between_two_ticks_is_taken_as_the_later_one() {
    let mut system = base().clone();
    system.board.facts.counter_hz = 54_000_000;
    system.board.facts.window_guard_ns = 25_200;
    // 1,360.8 ticks: EL2 takes 1,361, which are 25,203.7 ns.
    assert_eq!((guard::guard_of(&system, 2), guard::longest_guard(&system)), (25_204, 25_204));
}

/// Where there is no figure nothing can happen, but for plans that take turns: a requirement is refused then.
fn unbounded(found: Option<u64>, reason: ports::Unknown) -> Result<(), TestCaseError> {
    let refused = matches!(reason, ports::Unknown::TakeTurns(..));
    prop_assert!(refused || found.is_none(), "{:?}, but {:?} happens", reason, found);
    Ok(())
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_blackout_is_longer_than_promised(world in worlds(1..=3)) {
        let system = system_of(&world);
        for (guest, of) in world.guests.iter().enumerate() {
            for cpu in of.cpus.iter().filter(|cpu| **cpu < 2) {
                let plans: Vec<usize> = (0..world.plans.len()).filter(|p| world.runs(guest, *cpu, *p)).collect();
                let longest = blackout::longest(&system, guest, CPUS[*cpu]).map(|b| b.ns);
                promised("blackout", world.blackout(guest, *cpu, &world.histories(&plans, true)), longest)?;
            }
        }
    }

    #[test]
    fn every_unmet_requirement_is_refused(world in worlds(1..=2)) {
        let system = system_of(&world);
        let refused = rules::judge(&system, false).into_iter().filter(|f| f.severity == Severity::Error);
        let refused: Vec<String> = refused.filter(|f| f.rule.id == "TMP-001").map(|f| f.message).collect();
        for (guest, of) in world.guests.iter().enumerate().filter(|(guest, _)| !world.is_alone(*guest)) {
            for plan in (0..world.plans.len()).filter(|p| !of.exempt.contains(p)) {
                let text = format!("p{} misses its period under plan plan{plan}:", guest + 1);
                let told = refused.iter().any(|message| message.starts_with(&text));
                prop_assert_eq!(told, !world.is_met(guest, plan), "guest {} in plan {}: {:?}", guest, plan, refused);
            }
        }
    }

    #[test]
    fn no_change_of_plan_takes_longer_than_promised(world in worlds(2..=3)) {
        for switch in plan_switches(&system_of(&world)) {
            let found = world.switch_latency(switch.from, switch.to);
            prop_assert_eq!(found, switch.worst_ns, "from {} to {}", switch.from, switch.to);
        }
    }

    #[test]
    fn no_message_is_older_than_promised(world in worlds(1..=3)) {
        let system = system_of(&world);
        let plans = if world.is_alone(0) { vec![0] } else { met(&world, 0) };
        let found = world.age(0, 1, &world.histories(&plans, true));
        match ports::age(&system, 0, 1) {
            Ok(worst) => promised(&format!("age {worst:?}"), found, Some(worst.ns))?,
            Err(reason) => unbounded(found, reason)?,
        }
    }

    #[test]
    fn no_polled_message_waits_longer_than_promised(world in worlds(1..=3)) {
        let system = system_of(&world);
        let plans = if world.is_alone(1) { vec![0] } else { met(&world, 1) };
        let histories = world.histories(&plans, true);
        let found = world.polled(0, 1, &histories);
        match ports::latency(&system, &system.ports[1]) {
            Ok(worst) => {
                promised(&format!("latency {worst:?}"), found, Some(worst.ns))?;
            }
            Err(reason) => unbounded(found, reason)?,
        }
    }

    #[test]
    fn no_rung_message_waits_longer_than_promised(world in worlds(1..=3)) {
        let system = system_of(&world);
        let first = world.guests[1].cpus[0];
        let all = 0..world.plans.len();
        let plans: Vec<usize> = if first == 2 { vec![0] } else { all.filter(|p| world.runs(1, first, *p)).collect() };
        let found = world.rung(0, 1, &world.histories(&plans, true));
        match ports::latency(&system, &system.ports[2]) {
            Ok(worst) => promised(&format!("latency {worst:?}"), found, Some(worst.ns))?,
            Err(reason) => unbounded(found, reason)?,
        }
    }

    #[test]
    fn what_a_cut_does_is_told(world in worlds(2..=2)) {
        let system = system_of(&world);
        let all = transient::all(&system);
        let told = |partition: usize, what: &str| {
            let of = |t: &&transient::Transient| {
                (t.from, t.to, t.at_once, t.partition, t.requirement.as_str()) == (0, 1, true, partition, what)
            };
            all.iter().find(of).map(|t| t.worst_ns)
        };
        let cuts = world.cuts(0, 1);
        let above = |found: Option<u64>, known: u64| found.filter(|ns| *ns > known);
        for guest in 0..3 {
            let holds = met(&world, guest) == [0, 1] && !world.is_alone(guest);
            if holds {
                let alone = world.response(guest, &world.histories(&[0, 1], false));
                let found = above(world.response(guest, &cuts), alone.unwrap_or(1));
                promised(&format!("response of {guest}"), found, told(guest, "deadline"))?;
            }
            let cpus: Vec<usize> = world.guests[guest].cpus.iter().copied().filter(|c| *c < 2).collect();
            let known = cpus.iter().filter_map(|c| blackout::longest(&system, guest, CPUS[*c])).map(|b| b.ns).max();
            let dark = cpus.iter().filter(|c| (0..2).all(|p| world.runs(guest, **c, p)));
            let dark = dark.filter_map(|c| world.blackout(guest, *c, &cuts)).max();
            for what in ["max-blackout", "watchdog"] {
                promised(&format!("{what} of {guest}"), above(dark, known.unwrap_or(1).max(1)), told(guest, what))?;
            }
        }
        // Without a figure for changes at a frame's end a requirement is refused.
        let both = |guest: usize| met(&world, guest) == [0, 1] && !world.is_alone(guest);
        if let (Ok(known), true) = (ports::age(&system, 0, 1), both(0)) {
            let found = above(world.age(0, 1, &cuts), known.ns.max(1));
            promised("age", found, told(1, "max-age of port"))?;
        }
        if let (Ok(known), true) = (ports::latency(&system, &system.ports[1]), both(1)) {
            let found = above(world.polled(0, 1, &cuts), known.ns.max(1));
            promised("polled", found, told(1, "max-latency of polled"))?;
        }
        let first = world.guests[1].cpus[0];
        if first < 2 && (0..2).all(|p| world.runs(1, first, p)) {
            let known = ports::latency(&system, &system.ports[2]).map_or(1, |worst| worst.ns.max(1));
            let found = above(world.rung(0, 1, &cuts), known);
            promised("rung", found, told(1, "max-latency of rung"))?;
        }
    }

    #[test]
    fn what_a_change_at_a_frames_end_does_is_told(world in worlds(2..=3)) {
        let system = system_of(&world);
        let all = transient::all(&system);
        for guest in (0..3).filter(|guest| !world.is_alone(*guest)) {
            let plans = met(&world, guest);
            let alone = world.response(guest, &world.histories(&plans, false));
            let found = world.response(guest, &world.histories(&plans, true));
            let of = |t: &&transient::Transient| !t.at_once && t.partition == guest;
            let worst = all.iter().filter(of).map(|t| t.worst_ns).max();
            promised(&format!("response of {guest}"), found.filter(|_| found > alone), worst)?;
        }
    }

    #[test]
    fn in_one_plan_every_figure_is_the_worst_that_happens(world in worlds(1..=1)) {
        let system = system_of(&world);
        let alone = world.histories(&[0], false);
        if !world.is_alone(0) && world.is_met(0, 0) {
            let worst = ports::age(&system, 0, 1).map(|worst| worst.ns).ok();
            prop_assert_eq!(worst, world.age(0, 1, &alone));
        }
        if !world.is_alone(1) && world.is_met(1, 0) {
            let worst = ports::latency(&system, &system.ports[1]).map(|worst| worst.ns).ok();
            prop_assert_eq!(worst, world.polled(0, 1, &alone));
        }
        if !world.is_alone(1) && world.runs(1, world.guests[1].cpus[0], 0) {
            let worst = ports::latency(&system, &system.ports[2]).map(|worst| worst.ns).ok();
            prop_assert_eq!(worst, world.rung(0, 1, &alone));
        }
        for (guest, of) in world.guests.iter().enumerate() {
            for cpu in of.cpus.iter().filter(|cpu| **cpu < 2) {
                let longest = blackout::longest(&system, guest, CPUS[*cpu]).map(|b| b.ns);
                prop_assert_eq!(longest, world.blackout(guest, *cpu, &alone));
            }
        }
    }

    #[test]
    fn no_more_messages_wait_than_promised(world in worlds(1..=3)) {
        let system = system_of(&world);
        if let Ok(latency) = ports::latency(&system, &system.ports[1]) {
            let mut plans = if world.is_alone(1) { vec![0] } else { met(&world, 1) };
            plans.retain(|plan| world.is_alone(0) || met(&world, 0).contains(plan));
            let found = world.waiting(0, 1, &world.histories(&plans, true));
            promised(&format!("{latency:?}"), found, ports::backlog(&system, 0, latency.ns, 1))?;
        }
    }
}

proptest! {
    // Up to 100,000 releases of each partition are looked at.
    #![proptest_config(ProptestConfig { cases: 12, failure_persistence: None, ..ProptestConfig::default() })]

    /// Whatever a configuration can write is answered, and soon: primes, hours in nanoseconds, the longest times there are.
    #[test]
    fn extremes_are_answered(
        mut world in worlds(1..=3), times in prop::collection::vec(prop::sample::select(EXTREMES.to_vec()), 24),
    ) {
        let mut next = times.into_iter().cycle();
        let mut draw = || next.next().expect("cycle");
        for plan in &mut world.plans {
            plan.frame = draw().max(plan.frame);
            for (start, length, _) in plan.cpus.iter_mut().filter_map(|cpu| cpu.windows.last_mut()) {
                *length = draw().clamp(*length, plan.frame - *start);
            }
        }
        for guest in &mut world.guests {
            (guest.period, guest.duration) = (draw(), draw());
            guest.offset = draw() % guest.period;
        }
        let system = system_of(&world);
        let asked = std::time::Instant::now();
        let figures = facts::facts(&system);
        let findings = rules::judge(&system, false);
        prop_assert!(asked.elapsed().as_secs() < 60, "{:?}", asked.elapsed());
        prop_assert!(figures.plans.len() == world.plans.len() && !findings.is_empty());
    }
}
