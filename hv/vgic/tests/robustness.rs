//! Reset, list register formats, and guests that program rubbish.

mod fake;

use bulkhead_vgic::{Frame, Lr};
use fake::{Version, World, v2, v3};

const GICD: Frame = Frame::Distributor;
const GICR: Frame = Frame::Redistributor;
/// `SGI_base` of the first redistributor.
const SGI: u64 = 0x1_0000;

#[test]
fn reset_leaves_nothing() {
    for world in [v2(), v3()] {
        world.enable_groups();
        for intid in [27, 40, 64] {
            world.write_bit(0, 0x100, intid);
            world.set_priority(0, intid, 0x80);
        }
        for intid in [27, 40] {
            world.fire(0, intid);
        }
        world.settle();
        world.raise(0, Some(0), 64);
        assert!(world.acknowledge(0).is_some());
        world.vgic().ring(0, 3, 1);
        world.seat(0).save(&world.cpu(0));
        world.reset_shared(1);
        world.vgic().silence(&world.cpu(0), 0);
        world.seat(0).restore(&world.cpu(0));
        world.settle();
        let fixed = if world.version == Version::V2 { 0xffff } else { 0 };
        assert_eq!((world.file(0, 0x100, 0, None), world.file(0, 0x100, 1, None)), (fixed, 0));
        for offset in [0x80, 0x200, 0x300] {
            for word in 0..9 {
                assert_eq!(world.file(0, offset, word, None), 0, "{offset:#x} {word}");
            }
        }
        let machine = world.machine.borrow();
        let cpu = &machine.cpus[0];
        assert!(cpu.lists.iter().all(|lr| *lr == Lr::EMPTY) && cpu.active == 0 && cpu.vmcr == 0);
        assert_eq!((machine.enabled[0], machine.pending[0], machine.active[0]), ([0; 9], [0; 9], [0; 9]));
        drop(machine);
        world.vgic().on_kick(&world.cpu(0), 0);
        assert_eq!(world.file(0, 0x200, 2, None), 0, "the inbox is empty");
    }
}

#[test]
fn list_register_formats() {
    // IHI 0069, ICH_LR<n>_EL2; IHI 0048, GICH_LRn.
    let hardware = Lr::hardware(40, 0xa8, true);
    assert_eq!(hardware.bits(), 1 << 62 | 1 << 61 | 1 << 60 | 0xa8 << 48 | 40 << 32 | 40);
    assert_eq!(hardware.to_v2(), 1 << 31 | 1 << 30 | 1 << 28 | 0x15 << 23 | 40 << 10 | 40);
    let sgi = Lr::software(3, 0x20, false, true, 5);
    assert_eq!(sgi.to_v2(), 1 << 28 | 4 << 23 | 1 << 19 | 5 << 10 | 3);
    assert_eq!(sgi.with_active(true).with_pending(false).to_v2() >> 28, 2);
    for lr in
        [hardware, sgi, sgi.with_active(true), Lr::EMPTY, Lr::hardware(1019, 0xf8, false).with_active(true)]
    {
        assert_eq!(Lr::from_v2(lr.to_v2()), lr);
        assert_eq!(Lr::from_bits(lr.bits()), lr);
    }
    assert_eq!(
        (sgi.intid(), sgi.source(), sgi.priority(), sgi.is_eoi(), sgi.is_hardware()),
        (3, 5, 0x20, true, false)
    );
    assert!(!Lr::hardware(512, 0, false).is_eoi(), "bit 9 of a physical INTID is no EOI flag");
}

#[test]
fn an_edge_made_a_level_is_sampled_at_its_end() {
    for world in [v2(), v3()] {
        world.enable_groups();
        world.write_bit(0, 0x100, 33);
        world.set_priority(0, 33, 0x80);
        world.file(0, 0xc00, 2, Some(0b1000));
        world.vgic().set_level(&world.cpu(0), Some(0), 33, true);
        assert_eq!(world.acknowledge(0).map(|a| a.0), Some(33));
        world.file(0, 0xc00, 2, Some(0));
        world.end(0, 33);
        world.settle();
        assert_eq!(world.acknowledge(0).map(|a| a.0), Some(33), "the line is high");
        world.vgic().set_level(&world.cpu(1), Some(1), 33, false);
        world.end(0, 33);
        world.settle();
        assert_eq!(world.acknowledge(0), None);
    }
}

#[test]
fn groups_enabled_by_one_vcpu_enable_the_ppis_of_all() {
    for world in [v2(), v3()] {
        world.write_bit(0, 0x100, 27);
        world.set_priority(0, 27, 0x80);
        world.access(1, GICD, 0, 4, Some(1)).unwrap();
        world.settle();
        world.fire(0, 27);
        world.settle();
        assert_eq!(world.acknowledge(0).map(|a| a.0), Some(27));
        world.access(1, GICD, 0, 4, Some(0)).unwrap();
        world.settle();
        assert_eq!(world.machine.borrow().enabled[0][0], 0);
    }
}

#[test]
fn a_spilled_interrupt_is_not_freed_by_another_vcpu() {
    for version in [Version::V2, Version::V3] {
        let world = World::new(version, 2, 1);
        world.enable_groups();
        for (intid, priority) in [(40, 0x80), (41, 0x40)] {
            world.write_bit(0, 0x100, intid);
            world.set_priority(0, intid, priority);
            world.fire(0, intid);
            world.settle();
            assert_eq!(world.acknowledge(0).map(|a| a.0), Some(intid));
        }
        world.write_bit(1, 0x380, 40);
        assert!(world.read_bit(1, 0x300, 40) && world.read_bit(0, 0x300, 40));
        assert_eq!(world.machine.borrow().active[0][1], 0x300);
        for intid in [41, 40] {
            world.end(0, intid);
            world.settle();
        }
        assert_eq!(world.machine.borrow().active[0][1], 0);
    }
}

/// Whatever a guest writes, at whatever width and place, EL2 neither panics nor is interrupted for
/// ever, and an INTID stands in one list register.
#[test]
fn rubbish() {
    let mut state = 7u64;
    let mut random = |limit: u64| {
        state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (state >> 33) % limit
    };
    for world in [v2(), v3()] {
        for round in 0..200_000 {
            let vcpu = random(2) as usize;
            let frame = if random(3) == 0 { GICR } else { GICD };
            let offset = match random(8) {
                0 => random(0x4_0000),
                1 => SGI + 0x2_0000 * random(2) + 4 * random(0x400),
                2 => 0x6000 + 8 * random(300),
                _ => 4 * random(0x400),
            };
            let value = random(1 << 31) << 33 | random(1 << 31) << 2 | random(4);
            let write = (random(4) != 0).then_some(value);
            let _ = world.access(vcpu, frame, offset, 1 << random(4), write);
            match random(12) {
                0 => world.fire(vcpu, [27, 30, 40, 41, 42, 43][random(6) as usize]),
                1 => world.raise(vcpu, Some(vcpu), random(400) as u32),
                2 => world.vgic().set_level(&world.cpu(vcpu), Some(vcpu), 33, random(2) == 0),
                3 => world.seat(vcpu).sgi1r(&world.cpu(vcpu), value),
                4 => world.end(vcpu, random(300) as u32),
                5 => world.vgic().deactivate(&world.cpu(vcpu), vcpu, random(400)),
                6 if round % 64 == 0 => world.set_eoi_mode(vcpu),
                _ => {}
            }
            if let Some((intid, ..)) = world.acknowledge(vcpu)
                && random(4) != 0
            {
                world.end(vcpu, intid);
            }
            world.settle();
            world.check_unique();
        }
    }
}

/// A straggler: taken on the CPU of a vCPU that has left it meanwhile. The list registers there are
/// another partition's.
#[test]
fn an_interrupt_for_a_vcpu_off_its_cpu_waits_for_its_return() {
    for world in [v2(), v3()] {
        world.enable_groups();
        world.write_bit(0, 0x100, 40);
        world.set_priority(0, 40, 0x80);
        world.seat(0).save(&world.cpu(0));
        world.machine.borrow_mut().active[0][1] |= 1 << 8;
        world.inject(0, 40);
        assert!(world.machine.borrow().cpus[0].lists.iter().all(|lr| lr.is_empty()));
        world.seat(0).restore(&world.cpu(0));
        assert_eq!(world.acknowledge(0).map(|a| a.0), Some(40));
        world.end(0, 40);
        assert_eq!(world.machine.borrow().active[0][1], 0);
    }
}
