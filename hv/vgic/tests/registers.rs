//! Every register of the distributor and redistributor frames, at each width, legal and not.

mod fake;

use bulkhead_vgic::{Frame, Refused};
use fake::{OWNED, PRESENT, Version, World, v2, v3};

const GICD: Frame = Frame::Distributor;
const GICR: Frame = Frame::Redistributor;
/// `SGI_base` of the first redistributor.
const SGI: u64 = 0x1_0000;

impl World {
    fn get(&self, frame: Frame, offset: u64, bytes: u32) -> u64 {
        self.access(0, frame, offset, bytes, None).unwrap()
    }

    fn put(&self, frame: Frame, offset: u64, bytes: u32, value: u64) {
        self.access(0, frame, offset, bytes, Some(value)).unwrap();
    }
}

/// What the short way answers, the long way answers too; and it answers what drivers repeat.
#[test]
fn the_short_way_reads_what_the_long_way_reads() {
    for world in [v2(), v3()] {
        for offset in (0x80..0x180).step_by(4) {
            world.put(GICD, offset, 4, 0x5a5a_5a5a_u64 << (offset & 4));
        }
        let mut answered = 0;
        for offset in 0..0x1_0010 {
            if let Some(value) = world.quick_read(0, offset) {
                assert_eq!(Ok(value), world.access(0, GICD, offset, 4, None), "{offset:#x}");
                answered += 1;
            }
        }
        assert_eq!(answered, 2 + 3 * 32);
    }
}

/// Registers of 32 bits: word accesses alone, and reserved words.
#[test]
fn words_take_words_only() {
    for (world, frame, offsets) in [
        (
            v2(),
            GICD,
            [0x0, 0x4, 0x8, 0x80, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380, 0xc00, 0xf00, 0xfe8, 0x10],
        ),
        (
            v3(),
            GICD,
            [0x0, 0x4, 0x8, 0x84, 0x104, 0x184, 0x204, 0x284, 0x304, 0x384, 0xc08, 0xd04, 0xffe8, 0x10],
        ),
        (
            v3(),
            GICR,
            [
                0x0,
                0x4,
                0x10,
                0x14,
                0xffe8,
                SGI + 0x80,
                SGI + 0x100,
                SGI + 0x180,
                SGI + 0x200,
                SGI + 0x280,
                SGI + 0x300,
                SGI + 0x380,
                SGI + 0xc00,
                SGI + 0xc04,
            ],
        ),
    ] {
        for offset in offsets {
            for write in [None, Some(0)] {
                assert!(world.access(0, frame, offset, 4, write).is_ok(), "{offset:#x}");
                for bytes in [1, 2] {
                    assert_eq!(
                        world.access(0, frame, offset, bytes, write),
                        Err(Refused::Width),
                        "{offset:#x}"
                    );
                }
                for misaligned in [1, 2, 3] {
                    assert_eq!(
                        world.access(0, frame, offset + misaligned, 4, write),
                        Err(Refused::Alignment)
                    );
                }
                let double = world.access(0, frame, offset & !7, 8, write);
                assert!(double == Err(Refused::Width) || offset & !7 == 8 && frame == GICR, "{offset:#x}");
            }
        }
        assert_eq!(world.access(0, frame, 0, 3, None), Err(Refused::Width));
        assert_eq!(world.access(0, frame, 0, 16, None), Err(Refused::Width));
    }
}

#[test]
fn frames_end_where_the_architecture_ends_them() {
    assert_eq!(v2().access(0, GICD, 0x1000, 4, None), Err(Refused::Outside));
    assert_eq!(v2().access(0, GICR, 0, 4, None), Err(Refused::Outside));
    assert_eq!(v3().access(0, GICD, 0x1_0000, 4, None), Err(Refused::Outside));
    assert!(v3().access(0, GICR, 0x3_fffc, 4, None).is_ok());
    assert_eq!(v3().access(0, GICR, 0x4_0000, 4, None), Err(Refused::Outside));
    assert_eq!(v3().access(0, GICR, u64::MAX - 3, 4, None), Err(Refused::Outside));
    assert_eq!(v3().access(2, GICD, 0, 4, None), Err(Refused::Outside));
}

#[test]
fn identification() {
    let (v2, v3) = (v2(), v3());
    assert_eq!(v2.get(GICD, 4, 4), 8 | 1 << 5);
    assert_eq!(v3.get(GICD, 4, 4), 8 | 9 << 19 | 1 << 25);
    assert_eq!(v2.get(GICD, 0xfe8, 4) >> 4 & 0xf, 2);
    assert_eq!(v3.get(GICD, 0xffe8, 4) >> 4 & 0xf, 3);
    assert_eq!(v3.get(GICR, 0xffe8, 4) >> 4 & 0xf, 3);
    assert_eq!((v3.get(GICD, 0xffe0, 4), v3.get(GICR, 0xffe0, 4)), (0x92, 0x93));
    for (frame, base) in [(GICD, 0xffd0), (GICR, 0xffd0), (GICR, SGI + 0xffd0)] {
        let component: Vec<u64> = (8..12).map(|n| v3.get(frame, base + 4 * n, 4)).collect();
        assert_eq!(component, [0x0d, 0xf0, 0x05, 0xb1]);
    }
    assert_eq!(v2.get(GICD, 8, 4), v3.get(GICR, 4, 4));
    // Affinity, processor number, Last; whole and by halves.
    assert_eq!(v3.get(GICR, 8, 8), 0);
    assert_eq!(v3.get(GICR, 0x2_0008, 8), 1 << 32 | 1 << 8 | 1 << 4);
    assert_eq!((v3.get(GICR, 0x2_0008, 4), v3.get(GICR, 0x2_000c, 4)), (1 << 8 | 1 << 4, 1));
    assert_eq!(v3.access(0, GICR, 8, 2, None), Err(Refused::Width));
}

#[test]
fn control_and_waker() {
    let (v2, v3) = (v2(), v3());
    for (world, fixed) in [(&v2, 0), (&v3, 0x50)] {
        assert_eq!(world.get(GICD, 0, 4), fixed);
        world.put(GICD, 0, 4, 0xffff_ffff);
        assert_eq!(world.get(GICD, 0, 4), fixed | 3);
        world.put(GICD, 0, 4, 2);
        assert_eq!(world.get(GICD, 0, 4), fixed | 2);
    }
    assert_eq!(v3.get(GICR, 0x14, 4), 6);
    v3.put(GICR, 0x14, 4, 0);
    assert_eq!((v3.get(GICR, 0x14, 4), v3.get(GICR, 0x2_0014, 4)), (0, 6));
    v3.put(GICR, 0x14, 4, 2);
    assert_eq!(v3.get(GICR, 0x14, 4), 6);
}

#[test]
fn register_files_hold_what_is_present() {
    for world in [v2(), v3()] {
        for word in 0..9 {
            let sgis_fixed = word == 0 && world.version == Version::V2;
            let present = if word == 0 { 0xffff_ffff } else { u64::from(PRESENT[word as usize]) };
            for (set, clear) in [(0x100, 0x180), (0x200, 0x280), (0x300, 0x380)] {
                // Of a GICv2's SGIs the active state alone: enables are fixed, pending has registers of its own.
                let changeable = if sgis_fixed && set != 0x300 { present & !0xffff } else { present };
                let always = if sgis_fixed && set == 0x100 { 0xffff } else { 0 };
                world.file(0, set, word, Some(!0));
                assert_eq!(world.file(0, set, word, None), changeable | always, "{word} {set:#x}");
                assert_eq!(world.file(0, clear, word, None), changeable | always);
                world.file(0, clear, word, Some(0x5555_5555));
                assert_eq!(world.file(0, set, word, None), changeable & 0xaaaa_aaaa | always);
                world.file(0, set, word, Some(0));
                world.file(0, clear, word, Some(0xaaaa_aaaa));
                assert_eq!(world.file(0, set, word, None), always);
            }
            world.file(0, 0x80, word, Some(0xffff_0000));
            assert_eq!(world.file(0, 0x80, word, None), present & 0xffff_0000);
            world.file(0, 0x80, word, Some(0xffff));
            assert_eq!(world.file(0, 0x80, word, None), present & 0xffff);
        }
        for word in 9..32 {
            for offset in [0x80, 0x100, 0x180, 0x200, 0x280, 0x300, 0x380] {
                world.put(GICD, offset + 4 * word, 4, !0);
                assert_eq!(world.get(GICD, offset + 4 * word, 4), 0);
            }
        }
    }
}

#[test]
fn word_0_is_banked() {
    for world in [v2(), v3()] {
        world.file(0, 0x100, 0, Some(1 << 20));
        assert!(world.read_bit(0, 0x100, 20) && !world.read_bit(1, 0x100, 20));
        world.set_priority(1, 20, 0x48);
        let (frame, one, other) = match world.version {
            Version::V2 => (GICD, 0x414, 0x414),
            Version::V3 => (GICR, SGI + 0x2_0414, SGI + 0x414),
        };
        assert_eq!(world.access(1, frame, one, 1, None), Ok(0x48));
        assert_eq!(world.access(0, frame, other, 1, None), Ok(0));
    }
    // GICv3: the distributor's word 0 is reserved; any vCPU reaches any redistributor.
    let world = v3();
    for offset in [0x80, 0x100, 0x200, 0x300, 0x400, 0xc00, 0xc04] {
        world.put(GICD, offset, 4, !0);
        assert_eq!(world.get(GICD, offset, 4), 0, "{offset:#x}");
    }
    world.put(GICR, SGI + 0x2_0100, 4, 1 << 21);
    assert!(world.read_bit(1, 0x100, 21) && !world.read_bit(0, 0x100, 21));
}

#[test]
fn priorities_by_byte_and_word() {
    for world in [v2(), v3()] {
        world.put(GICD, 0x400 + 40, 4, 0xffff_ffff);
        assert_eq!(world.get(GICD, 0x400 + 40, 4), 0xf8f8_f8f8);
        world.put(GICD, 0x400 + 41, 1, 0x57);
        assert_eq!(world.get(GICD, 0x400 + 40, 4), 0xf8f8_50f8);
        assert_eq!(world.get(GICD, 0x400 + 41, 1), 0x50);
        assert_eq!(world.access(0, GICD, 0x400 + 40, 2, None), Err(Refused::Width));
        assert_eq!(world.access(0, GICD, 0x400 + 40, 8, None), Err(Refused::Width));
        // Absent interrupts, and those beyond the last.
        for offset in [0x400 + 36, 0x400 + 288, 0x400 + 1016] {
            world.put(GICD, offset, 4, !0);
            assert_eq!(world.get(GICD, offset, 4), 0);
        }
        world.put(GICD, 0x400 + 287, 1, 0xa0);
        assert_eq!(world.get(GICD, 0x400 + 284, 4), 0xa000_0000);
    }
    let world = v3();
    world.put(GICR, SGI + 0x41c, 4, 0x1020_3040);
    assert_eq!(world.get(GICR, SGI + 0x41d, 1), 0x30);
    assert_eq!(world.access(0, GICR, SGI + 0x400, 2, None), Err(Refused::Width));
}

#[test]
fn targets() {
    let world = v2();
    // SGIs and PPIs name their reader and cannot be changed.
    for vcpu in 0..2 {
        world.access(vcpu, GICD, 0x800, 4, Some(!0)).unwrap();
        assert_eq!(world.access(vcpu, GICD, 0x81c, 4, None), Ok(0x0101_0101 << vcpu));
    }
    assert_eq!(world.get(GICD, 0x800 + 40, 4), 0x0101_0101);
    world.put(GICD, 0x800 + 40, 4, 0xff02_0301);
    assert_eq!(world.get(GICD, 0x800 + 40, 4), 0x0302_0301);
    let routes = |world: &World| world.machine.borrow().routes[40..44].to_vec();
    assert_eq!(routes(&world), [0, 0, 1, 0]);
    world.put(GICD, 0x800 + 40, 1, 2);
    assert_eq!(routes(&world), [1, 0, 1, 0]);
    assert_eq!(world.access(0, GICD, 0x800 + 40, 2, None), Err(Refused::Width));
    world.put(GICD, 0x800 + 36, 4, !0);
    assert_eq!(world.get(GICD, 0x800 + 36, 4), 0);

    let world = v3();
    world.put(GICD, 0x800 + 40, 4, !0);
    assert_eq!(world.get(GICD, 0x800 + 40, 4), 0);
    let router = |intid: u64| 0x6000 + 8 * intid;
    world.put(GICD, router(40), 8, 0xff_8000_0001);
    assert_eq!(world.get(GICD, router(40), 8), 1);
    world.put(GICD, router(41), 4, 1);
    world.put(GICD, router(41) + 4, 4, !0);
    assert_eq!((world.get(GICD, router(41), 4), world.get(GICD, router(41) + 4, 4)), (1, 0));
    assert_eq!(routes(&world), [1, 1, 0, 0]);
    for bytes in [1, 2] {
        assert_eq!(world.access(0, GICD, router(40), bytes, None), Err(Refused::Width));
    }
    for absent in [31, 36, 288, 1019] {
        let bytes = if absent == 31 { 4 } else { 8 };
        world.put(GICD, router(absent), bytes, 1);
        assert_eq!(world.get(GICD, router(absent), bytes), 0);
    }
}

#[test]
fn configuration() {
    for world in [v2(), v3()] {
        let own = |index: u64, write| match (world.version, index) {
            (Version::V3, 0 | 1) => world.access(0, GICR, SGI + 0xc00 + 4 * index, 4, write).unwrap(),
            _ => world.access(0, GICD, 0xc00 + 4 * index, 4, write).unwrap(),
        };
        own(0, Some(0));
        assert_eq!(own(0, None), 0xaaaa_aaaa);
        // The partitions of a CPU share its PPIs: levels they are, and stay.
        own(1, Some(!0));
        assert_eq!(own(1, None), 0);
        // INTIDs 40 to 43 are owned: mirrored; 33 is not.
        own(2, Some(!0));
        assert_eq!(own(2, None), 0x00aa_0008);
        own(2, Some(0x0020_0000));
        assert_eq!(own(2, None), 0x0020_0000);
        let config = world.machine.borrow().config;
        assert_eq!(config[2], 0x0020_0000);
        assert_eq!(config[1], 0);
    }
}

/// Doorbells need no maintenance interrupt at their end, whether the guest configures them or not.
#[test]
fn doorbells_are_edges_after_reset() {
    for world in [v2(), v3()] {
        assert_eq!(world.get(GICD, 0xc00 + 16, 4), 0xaaaa_aaaa);
        world.enable_groups();
        world.write_bit(0, 0x100, 64);
        world.set_priority(0, 64, 0x80);
        assert!(world.vgic().ring(0, 5, 0));
        world.machine.borrow_mut().cpus[0].posted |= 1 << 5;
        world.settle();
        assert_eq!(world.acknowledge(0).map(|a| a.0), Some(64));
        world.end(0, 64);
        assert!(!world.maintenance(0));
    }
}

/// No visit has more than eight doorbells to deliver; it kicks its own CPU for the others, and none is lost.
#[test]
fn doorbells_at_once_come_eight_by_eight() {
    for world in [v2(), v3()] {
        let arrived = || (0..32).filter(|bit| world.read_bit(0, 0x200, 64 + bit)).count();
        world.enable_groups();
        world.file(0, 0x100, 2, Some(0xffff_ffff));
        for bit in 0..32 {
            world.vgic().ring(0, 5 + bit as usize % 2, bit);
        }
        world.seat(0).take(&world.cpu(0), 5);
        assert_eq!(arrived(), 4, "its half of the first eight");
        let mut before = 4;
        for _ in 0..7 {
            assert!(std::mem::take(&mut world.machine.borrow_mut().cpus[0].kicked), "the rest has a kick");
            world.vgic().on_kick(&world.cpu(0), 0);
            let now = arrived();
            assert!((1..=8).contains(&(now - before)), "{before} to {now}");
            before = now;
        }
        assert_eq!((before, world.machine.borrow().cpus[0].kicked), (32, false));
    }
}

#[test]
fn owned_interrupts_are_mirrored_and_no_others() {
    for world in [v2(), v3()] {
        let physical = |files: fn(&fake::Physical) -> &Vec<[u32; 9]>| {
            let machine = world.machine.borrow();
            (files(&machine)[0][0], files(&machine)[0][1])
        };
        world.file(0, 0x100, 0, Some(!0));
        world.file(0, 0x100, 1, Some(!0));
        assert_eq!(physical(|m| &m.enabled), (0, 0), "no group is enabled");
        world.put(GICD, 0, 4, 1);
        assert_eq!(physical(|m| &m.enabled), (OWNED[0], OWNED[1]));
        world.file(0, 0x80, 1, Some(1 << 8));
        assert_eq!(physical(|m| &m.enabled), (OWNED[0], OWNED[1] & !(1 << 8)), "40 is in Group 1");
        world.put(GICD, 0, 4, 2);
        assert_eq!(physical(|m| &m.enabled), (0, 1 << 8));
        world.file(0, 0x180, 1, Some(1 << 8));
        assert_eq!(physical(|m| &m.enabled), (0, 0));
        world.file(0, 0x200, 1, Some(0x300 | 2));
        assert_eq!(physical(|m| &m.pending).1, 0x300);
        world.file(0, 0x280, 1, Some(0x100 | 2));
        assert_eq!(physical(|m| &m.pending).1, 0x200);
        world.file(0, 0x300, 1, Some(0x500));
        assert_eq!(physical(|m| &m.active).1, 0x500);
        world.file(0, 0x380, 1, Some(0x400));
        assert_eq!(physical(|m| &m.active).1, 0x100);
        world.file(1, 0x200, 0, Some(1 << 27));
        assert_eq!(world.machine.borrow().pending[1][0], 1 << 27);
        assert_eq!(physical(|m| &m.pending).0, 0);
    }
}

#[test]
fn sgi_register_of_gicv2() {
    let world = World::new(Version::V2, 3, 4);
    world.enable_groups();
    let pending = |vcpu| world.file(vcpu, 0x200, 0, None) & 0xffff;
    // List, all but self, self, reserved.
    for (value, expected) in [
        (0b101 << 16 | 3, [8, 0, 8]),
        (1 << 24 | 3, [0, 8, 8]),
        (2 << 24 | 3, [8, 0, 0]),
        (3 << 24 | 0xff << 16 | 3, [0; 3]),
    ] {
        world.put(GICD, 0xf00, 4, value);
        world.settle();
        assert_eq!([0, 1, 2].map(pending), expected, "{value:#x}");
        for (vcpu, pended) in expected.into_iter().enumerate() {
            // One byte for each SGI, one bit for each sender.
            let senders = if pended == 0 { 0 } else { 1 << 24 };
            assert_eq!(world.access(vcpu, GICD, 0xf20, 4, None), Ok(senders));
            world.access(vcpu, GICD, 0xf13, 1, Some(1)).unwrap();
            assert_eq!(pending(vcpu), 0);
        }
    }
    assert_eq!(world.get(GICD, 0xf00, 4), 0);
    world.put(GICD, 0xf20, 4, 0x0000_0600);
    assert_eq!(world.get(GICD, 0xf10, 4), 0x0000_0600);
    assert_eq!(world.acknowledge(0).map(|(intid, source, _)| (intid, source)), Some((1, 1)));
    world.end(0, 1);
    world.settle();
    assert_eq!(world.acknowledge(0).map(|(intid, source, _)| (intid, source)), Some((1, 2)));
    assert_eq!(world.access(0, GICD, 0xf20, 2, None), Err(Refused::Width));
    // ISPENDR0 does not reach SGIs.
    world.put(GICD, 0x200, 4, 0xffff);
    assert_eq!(pending(0), 0);
}

#[test]
fn sgi_register_of_gicv3() {
    let world = World::new(Version::V3, 3, 4);
    let pending = |vcpu| world.file(vcpu, 0x200, 0, None) & 0xffff;
    let all_but_self = 1 << 40 | 0xff << 32;
    for (value, expected) in [
        (5 << 24 | 0b110, [0, 32, 32]),
        (5 << 24 | 0b001, [32, 0, 0]),
        (5 << 24 | all_but_self, [0, 32, 32]),
        (5 << 24 | 1 << 16 | 7, [0; 3]),
        (5 << 24 | 1 << 32 | 7, [0; 3]),
        (5 << 24 | 1 << 48 | 7, [0; 3]),
        (5 << 24 | 1 << 44 | 7, [0; 3]),
        (5 << 24 | 0xfff8, [0; 3]),
    ] {
        world.seat(0).sgi1r(&world.cpu(0), value);
        world.settle();
        assert_eq!([0, 1, 2].map(pending), expected, "{value:#x}");
        for vcpu in 0..3 {
            world.file(vcpu, 0x280, 0, Some(0xffff));
        }
    }
    // A disabled SGI stays pending, and ISPENDR of another's redistributor sends one.
    world.enable_groups();
    world.access(0, GICR, 0x2_0000 + SGI + 0x200, 4, Some(4)).unwrap();
    world.settle();
    assert_eq!((pending(1), world.acknowledge(1)), (4, None));
    world.write_bit(1, 0x100, 2);
    assert_eq!(world.acknowledge(1).map(|(intid, ..)| intid), Some(2));
    assert_eq!(world.file(1, 0x300, 0, None), 4);
}

#[test]
fn state_in_list_registers_is_read_and_changed() {
    for world in [v2(), v3()] {
        world.enable_groups();
        world.write_bit(0, 0x100, 40);
        world.write_bit(0, 0x100, 64);
        world.file(0, 0xc00, 4, Some(2));
        world.fire(0, 40);
        world.settle();
        assert!(world.read_bit(0, 0x200, 40) && !world.read_bit(0, 0x300, 40));
        assert!(world.read_bit(1, 0x300, 40), "in another CPU's list register it reads as active");
        world.write_bit(0, 0x380, 40);
        assert!(world.read_bit(0, 0x200, 40), "ICACTIVER leaves a pending interrupt");
        assert_eq!(world.acknowledge(0).map(|a| a.0), Some(40));
        assert!(!world.read_bit(0, 0x200, 40) && world.read_bit(0, 0x300, 40));
        world.write_bit(0, 0x380, 40);
        assert!(!world.read_bit(0, 0x300, 40));
        assert_eq!(world.machine.borrow().active[0][1], 0);
        world.end(0, 40);
        world.fire(0, 40);
        world.settle();
        world.write_bit(0, 0x280, 40);
        assert_eq!(world.acknowledge(0), None);
        assert_eq!(world.machine.borrow().active[0][1], 0, "the next one can fire");
        world.raise(0, Some(0), 64);
        assert!(world.read_bit(0, 0x200, 64));
        world.write_bit(0, 0x180, 64);
        assert_eq!(world.acknowledge(0), None);
        assert!(world.read_bit(0, 0x200, 64), "disabled, still pending");
        world.write_bit(0, 0x280, 64);
        world.write_bit(0, 0x100, 64);
        assert_eq!(world.acknowledge(0), None);
    }
}
