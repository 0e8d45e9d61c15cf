//! Every short sequence of events, and long random ones, against an oracle that knows no list
//! registers: a distributor with one state per interrupt and vCPU.
//!
//! After each event the machine settles. Then what the guest would acknowledge is, as IHI 0069
//! wants it, an interrupt that the oracle has pending, of the highest priority; and there is one if
//! the oracle has one. So nothing is lost, invented or late.

mod fake;

use fake::{Version, World};

/// An interrupt of the oracle. Edge-triggered interrupts have `line` false always.
#[derive(Clone, Debug, Default)]
struct Irq {
    intid: u32,
    /// vCPU whose own it is, or none for an SPI.
    bank: Option<usize>,
    target: usize,
    /// Pending, by sender for SGIs.
    senders: u8,
    line: bool,
    enabled: bool,
    priority: u8,
    active: bool,
}

impl Irq {
    fn deliverable(&self, vcpu: usize) -> bool {
        self.enabled && !self.active && self.target == vcpu && (self.senders != 0 || self.line)
    }
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Event {
    /// A physical interrupt fires.
    Fire(u32),
    /// EL2 raises a virtual SPI from the CPU of vCPU 0 or from a foreign one.
    Raise(u32),
    RaiseHere(u32),
    /// Another partition rings the doorbell.
    Ring(u32),
    /// The PL011's line changes.
    Line(bool),
    /// SGI from vCPU to vCPU.
    Sgi(usize, usize, u32),
    /// The vCPU acknowledges; ends what it acknowledged last.
    Acknowledge(usize),
    End(usize),
    /// With EOImode = 1 the end only drops the priority; this deactivates what was ended first.
    Deactivate(usize),
    /// The guest toggles the enable.
    Toggle(u32),
    /// The SPI moves to the other vCPU.
    Route(u32),
    /// The guest makes the interrupt's priority the highest or the lowest.
    Priority(u32),
    /// vCPU 0 leaves its CPU or comes back.
    Switch,
}

struct Run {
    world: World,
    irqs: Vec<Irq>,
    /// Acknowledged and not ended, by vCPU.
    nested: [Vec<usize>; 2],
    /// Ended and not deactivated, with EOImode = 1.
    dropped: [Vec<usize>; 2],
    split: bool,
    on: bool,
}

const PL011: u32 = 33;

impl Run {
    fn new(version: Version, lists: usize) -> Self {
        let world = World::new(version, 2, lists);
        world.enable_groups();
        let mut irqs = Vec::new();
        let mut add = |intid, bank: Option<usize>, priority| {
            let vcpu = bank.unwrap_or(0);
            irqs.push(Irq { intid, bank, target: vcpu, enabled: true, priority, ..Irq::default() });
            world.set_priority(vcpu, intid, priority);
            world.write_bit(vcpu, 0x100, intid);
        };
        for vcpu in 0..2 {
            add(1, Some(vcpu), 0x60);
            add(27, Some(vcpu), 0x40);
        }
        for (intid, priority) in [(PL011, 0x80), (40, 0x50), (41, 0x70), (64, 0x20), (65, 0x90)] {
            add(intid, None, priority);
        }
        world.file(0, 0xc00, 4, Some(0xaa));
        Self {
            world,
            irqs,
            nested: [Vec::new(), Vec::new()],
            dropped: [Vec::new(), Vec::new()],
            split: false,
            on: true,
        }
    }

    fn find(&mut self, intid: u32, vcpu: usize) -> &mut Irq {
        let found =
            self.irqs.iter_mut().find(|irq| irq.intid == intid && irq.bank.is_none_or(|bank| bank == vcpu));
        found.expect("the test knows its interrupts")
    }

    fn here(&self) -> Option<usize> {
        self.on.then_some(0)
    }

    fn apply(&mut self, event: Event) {
        match event {
            Event::Fire(intid) => {
                self.world.fire(0, intid);
                self.find(intid, 0).senders = 1;
            }
            Event::Raise(intid) => {
                self.world.raise(1, Some(1), intid);
                self.find(intid, 0).senders = 1;
            }
            Event::RaiseHere(intid) => {
                self.world.raise(0, self.here(), intid);
                self.find(intid, 0).senders = 1;
            }
            Event::Ring(bit) => {
                if self.world.vgic().ring(0, 5, bit) {
                    self.world.machine.borrow_mut().cpus[0].posted |= 1 << 5;
                }
                self.find(64 + bit, 0).senders = 1;
            }
            Event::Line(level) => {
                self.world.vgic().set_level(&self.world.cpu(1), Some(1), PL011, level);
                self.find(PL011, 0).line = level;
            }
            Event::Sgi(from, to, id) => {
                if from == 1 || self.on {
                    self.world.sgi(from, 1 << to, id);
                    self.find(id, to).senders |= 1 << from;
                }
            }
            Event::Acknowledge(vcpu) => self.acknowledge(vcpu),
            Event::End(vcpu) => self.end(vcpu),
            Event::Deactivate(vcpu) => self.deactivate(vcpu),
            Event::Toggle(intid) => {
                let on = !self.find(intid, 1).enabled;
                self.world.write_bit(1, if on { 0x100 } else { 0x180 }, intid);
                self.find(intid, 1).enabled = on;
            }
            Event::Route(intid) => {
                let target = 1 - self.find(intid, 0).target;
                self.world.set_target(1, intid, target);
                self.find(intid, 0).target = target;
            }
            Event::Priority(intid) => {
                let priority = if self.find(intid, 0).priority == 0x08 { 0xf0 } else { 0x08 };
                self.world.set_priority(1, intid, priority);
                self.find(intid, 1).priority = priority;
            }
            Event::Switch => {
                if self.on {
                    self.world.seat(0).save(&self.world.cpu(0));
                } else {
                    self.world.seat(0).restore(&self.world.cpu(0));
                }
                self.on = !self.on;
            }
        }
        self.world.settle();
        self.world.check_unique();
        for vcpu in 0..2 {
            self.check_offer(vcpu);
        }
    }

    fn is_on(&self, vcpu: usize) -> bool {
        vcpu == 1 || self.on
    }

    /// The best deliverable priority, if it pre-empts what the vCPU handles.
    fn expected(&self, vcpu: usize) -> Option<u8> {
        let running = self.world.machine.borrow().cpus[vcpu].active.trailing_zeros();
        let deliverable = self.irqs.iter().filter(|irq| irq.deliverable(vcpu));
        let best = deliverable
            .filter(|irq| irq.bank.is_none_or(|bank| bank == vcpu))
            .map(|irq| irq.priority)
            .min()?;
        (u32::from(best >> 3) < running).then_some(best)
    }

    /// Looks at what the CPU would signal, without taking it.
    fn check_offer(&self, vcpu: usize) {
        if self.is_on(vcpu) {
            let before = self.world.machine.borrow().clone();
            let offered = self.world.acknowledge(vcpu).map(|(_, _, priority)| priority);
            *self.world.machine.borrow_mut() = before;
            assert_eq!(
                offered,
                self.expected(vcpu),
                "vCPU {vcpu}: {:#?}\n{:?}",
                self.irqs,
                self.world.machine.borrow().cpus
            );
        }
    }

    fn acknowledge(&mut self, vcpu: usize) {
        if !self.is_on(vcpu) {
            return;
        }
        let expected = self.expected(vcpu);
        let Some((intid, source, priority)) = self.world.acknowledge(vcpu) else {
            assert_eq!(expected, None);
            return;
        };
        assert_eq!(Some(priority), expected);
        let v2 = self.world.version == Version::V2;
        let index = self
            .irqs
            .iter()
            .position(|irq| irq.intid == intid && irq.bank.is_none_or(|bank| bank == vcpu))
            .unwrap();
        let irq = &mut self.irqs[index];
        assert!(irq.deliverable(vcpu), "invented: {irq:?}");
        if v2 && intid < 16 {
            assert!(irq.senders & (1 << source) != 0, "invented sender {source}: {irq:?}");
            irq.senders &= !(1 << source);
        } else {
            // A physical edge after EL2's acknowledge is a second event.
            irq.senders = u8::from(fake::owns(intid) && self.world.fired(vcpu, intid));
        }
        irq.active = true;
        self.nested[vcpu].push(index);
    }

    fn end(&mut self, vcpu: usize) {
        if self.is_on(vcpu)
            && let Some(index) = self.nested[vcpu].pop()
        {
            self.world.end(vcpu, self.irqs[index].intid);
            if self.split {
                self.dropped[vcpu].push(index);
            } else {
                self.irqs[index].active = false;
            }
        }
    }

    fn deactivate(&mut self, vcpu: usize) {
        if !self.is_on(vcpu) || self.dropped[vcpu].is_empty() {
            return;
        }
        let index = self.dropped[vcpu].remove(0);
        self.world.deactivate_register(vcpu, self.irqs[index].intid);
        self.irqs[index].active = false;
    }

    fn split_ends(&mut self) {
        self.split = true;
        for vcpu in 0..2 {
            self.world.set_eoi_mode(vcpu);
        }
    }

    /// Everything still pending reaches the guest in the end.
    fn drain(&mut self) {
        if !self.on {
            self.apply(Event::Switch);
        }
        self.apply(Event::Line(false));
        for irq in 0..self.irqs.len() {
            if !self.irqs[irq].enabled {
                let intid = self.irqs[irq].intid;
                self.apply(Event::Toggle(intid));
            }
        }
        let mut rounds = 0;
        while self.irqs.iter().any(|irq| irq.senders != 0 || irq.active) && rounds < 100 {
            rounds += 1;
            for vcpu in 0..2 {
                self.apply(Event::Acknowledge(vcpu));
                for _ in 0..2 {
                    self.apply(Event::End(vcpu));
                    self.apply(Event::Deactivate(vcpu));
                }
            }
        }
        for irq in &self.irqs {
            assert!(irq.senders == 0 && !irq.active, "lost: {irq:?}");
        }
        for interface in &self.world.machine.borrow().cpus {
            assert!(interface.lists.iter().all(|lr| lr.is_empty()));
            assert_eq!(interface.control.bits(), 0);
        }
    }
}

/// All sequences of `depth` events of `alphabet`.
fn enumerate(version: Version, lists: usize, alphabet: &[Event], depth: u32) {
    for mut code in 0..alphabet.len().pow(depth) {
        let mut run = Run::new(version, lists);
        let sequence: Vec<Event> = (0..depth)
            .map(|_| {
                let event = alphabet[code % alphabet.len()];
                code /= alphabet.len();
                event
            })
            .collect();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for event in &sequence {
                run.apply(*event);
            }
            run.drain();
        }));
        if let Err(cause) = outcome {
            eprintln!("{version:?}, {lists} list registers: {sequence:?}");
            std::panic::resume_unwind(cause);
        }
    }
}

const OVERFLOW: [Event; 6] = [
    Event::Fire(40),
    Event::Fire(27),
    Event::Raise(64),
    Event::Sgi(1, 0, 1),
    Event::Acknowledge(0),
    Event::End(0),
];

const CHANGES: [Event; 7] = [
    Event::Fire(40),
    Event::Raise(64),
    Event::Acknowledge(0),
    Event::End(0),
    Event::Toggle(40),
    Event::Priority(64),
    Event::Switch,
];

const LINES: [Event; 7] = [
    Event::Line(true),
    Event::Line(false),
    Event::RaiseHere(64),
    Event::Acknowledge(0),
    Event::End(0),
    Event::Toggle(PL011),
    Event::Ring(1),
];

const ROUTES: [Event; 7] = [
    Event::Raise(64),
    Event::Route(64),
    Event::Acknowledge(0),
    Event::Acknowledge(1),
    Event::End(0),
    Event::End(1),
    Event::Switch,
];

const SGIS: [Event; 7] = [
    Event::Sgi(0, 0, 1),
    Event::Sgi(1, 0, 1),
    Event::Sgi(0, 1, 1),
    Event::Acknowledge(0),
    Event::End(0),
    Event::Acknowledge(1),
    Event::End(1),
];

/// More than is dealt out at once, some of it of the same priority or pending already.
const WAITS: [Event; 8] = [
    Event::Fire(40),
    Event::Fire(41),
    Event::Fire(27),
    Event::Sgi(0, 0, 1),
    Event::Ring(1),
    Event::Priority(41),
    Event::Acknowledge(0),
    Event::End(0),
];

fn every_sequence(alphabet: &[Event], depth: u32) {
    for version in [Version::V3, Version::V2] {
        for lists in 1..=3 {
            enumerate(version, lists, alphabet, depth);
        }
    }
}

#[test]
fn overflow() {
    every_sequence(&OVERFLOW, 6);
}

#[test]
fn changes_while_pending() {
    every_sequence(&CHANGES, 5);
}

#[test]
fn lines() {
    every_sequence(&LINES, 5);
}

#[test]
fn routes() {
    every_sequence(&ROUTES, 5);
}

#[test]
fn waits() {
    every_sequence(&WAITS, 5);
}

/// Of three that are pending two are in list registers, and who is below them waits there without a
/// look at the hardware.
#[test]
fn a_third_one_waits() {
    for version in [Version::V3, Version::V2] {
        let mut run = Run::new(version, 4);
        for event in [Event::Sgi(0, 0, 1), Event::Ring(1), Event::Fire(27)] {
            run.apply(event);
        }
        run.apply(Event::Priority(40));
        let lists = run.world.machine.borrow().cpus[0].lists.clone();
        run.apply(Event::Toggle(40));
        run.apply(Event::Toggle(40));
        assert_eq!(lists.iter().filter(|lr| lr.is_pending()).count(), 3);
        run.apply(Event::Sgi(0, 0, 1));
        let count =
            |run: &Run| run.world.machine.borrow().cpus[0].lists.iter().filter(|lr| lr.is_pending()).count();
        assert_eq!(count(&run), 2);
        run.drain();
    }
}

#[test]
fn sgis() {
    every_sequence(&SGIS, 5);
}

/// A generator whose runs repeat (xorshift64*).
struct Random(u64);

impl Random {
    fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) as usize % limit
    }
}

fn random_runs(split: bool, seeds: u64) {
    let mut alphabet: Vec<Event> = Vec::new();
    for events in [&OVERFLOW[..], &CHANGES, &LINES, &ROUTES, &SGIS, &WAITS] {
        alphabet.extend(events);
    }
    alphabet.extend([41, 40].map(Event::Priority));
    alphabet.extend([Event::Fire(41), Event::Toggle(64), Event::Raise(65)]);
    alphabet.extend([0, 1, 0].map(Event::Deactivate));
    for seed in 1..=seeds {
        let mut random = Random(seed);
        let version = if seed % 2 == 0 && !split { Version::V2 } else { Version::V3 };
        let mut run = Run::new(version, 1 + seed as usize / 2 % 4);
        if split {
            run.split_ends();
        }
        let mut sequence = Vec::new();
        let outcome = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
            for _ in 0..200 {
                let event = alphabet[random.below(alphabet.len())];
                sequence.push(event);
                run.apply(event);
            }
            run.drain();
        }));
        if let Err(cause) = outcome {
            eprintln!("seed {seed}, {version:?}: {sequence:?}");
            std::panic::resume_unwind(cause);
        }
    }
}

#[test]
fn random_with_plain_ends() {
    random_runs(false, 10_000);
}

/// GICv3 alone: GICv2 does not tell EL2 what a guest deactivates.
#[test]
fn random_with_split_ends() {
    random_runs(true, 10_000);
}
