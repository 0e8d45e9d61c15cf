//! A restart: what a vCPU's interface held when it was taken off its CPU does not come back.

mod fake;

use bulkhead_vgic::{Config, Frame};
use fake::{PRESENT, Version, World, v2, v3};

#[test]
fn reset_forgets_what_was_saved() {
    for version in [Version::V2, Version::V3] {
        let world = World::new(version, 2, 4);
        world.enable_groups();
        world.write_bit(0, 0x100, 27);
        world.set_priority(0, 27, 0x80);
        world.fire(0, 27);
        world.settle();
        assert!(world.acknowledge(0).is_some());
        // The guest asks for its reset between acknowledge and end: off the CPU, reset, on again.
        world.seat(0).save(&world.cpu(0));
        world.reset_shared(0);
        world.vgic().silence(&world.cpu(0), 0);
        world.seat(0).restore(&world.cpu(0));
        {
            let machine = world.machine.borrow();
            assert_eq!((machine.cpus[0].active, machine.cpus[0].vmcr), (0, 0));
        }
        world.enable_groups();
        world.write_bit(0, 0x100, 27);
        world.set_priority(0, 27, 0x80);
        world.fire(0, 27);
        world.settle();
        assert!(world.acknowledge(0).is_some(), "the next one is signalled");
    }
}

/// The reset of what vCPUs share has two pieces for each word of SPIs and one for each vCPU.
#[test]
fn reset_in_pieces() {
    for world in [v2(), v3()] {
        world.enable_groups();
        world.write_bit(1, 0x100, 40);
        world.set_target(0, 41, 1);
        world.seat(0).save(&world.cpu(0));
        world.seat(1).save(&world.cpu(1));
        world.vgic().ring(1, 3, 1);
        let words = PRESENT.iter().rposition(|word| *word != 0).unwrap();
        assert_eq!(world.reset_shared(1), 2 * words + world.interfaces.len());
        let machine = world.machine.borrow();
        assert_eq!((machine.enabled[0], machine.pending[0], machine.active[0]), ([0; 9], [0; 9], [0; 9]));
        assert_eq!(machine.routes[40..44], [0; 4]);
        drop(machine);
        world.seat(1).restore(&world.cpu(1));
        world.enable_groups();
        assert!(world.acknowledge(1).is_none(), "the doorbell of before is forgotten");
        let (offset, bytes, first) =
            if world.version == Version::V2 { (0x800 + 41, 1, 1) } else { (0x6000 + 8 * 41, 8, 0) };
        assert_eq!(world.access(1, Frame::Distributor, offset, bytes, None), Ok(first));
    }
}

/// A partition that has no SPI at all has its groups disabled, too.
#[test]
fn reset_without_spis() {
    for world in [v2(), v3()] {
        let mut present = [0; 9];
        present[0] = PRESENT[0];
        let none = [0; 32];
        world.distributor.init(&Config {
            cpus: [0, 1, 0, 0, 0, 0, 0, 0],
            owned: &[0; 9],
            present: &present,
            doorbell_intids: &none,
        });
        world.reset_shared(0);
        let control = |world: &World| world.access(0, Frame::Distributor, 0, 4, None).unwrap();
        let off = control(&world);
        world.enable_groups();
        assert_ne!(control(&world), off);
        assert_eq!(world.reset_shared(0), world.interfaces.len());
        assert_eq!(control(&world), off);
    }
}

/// What EL2 masks stays disabled in the hardware, on and off the CPU, until the reset.
#[test]
fn masked_until_the_reset() {
    for world in [v2(), v3()] {
        world.enable_groups();
        world.write_bit(0, 0x100, 40);
        world.write_bit(0, 0x100, 41);
        let enabled = |world: &World| world.machine.borrow().enabled[0][1] >> 8 & 3;
        assert_eq!(enabled(&world), 3);
        world.vgic().mask(&world.cpu(1), 40);
        assert_eq!(enabled(&world), 2);
        assert!(world.read_bit(0, 0x100, 40), "the guest sees it enabled");
        world.write_bit(0, 0x180, 40);
        world.write_bit(0, 0x100, 40);
        world.seat(0).save(&world.cpu(0));
        world.seat(0).restore(&world.cpu(0));
        assert_eq!(enabled(&world), 2);
        world.seat(0).save(&world.cpu(0));
        world.reset_shared(0);
        world.vgic().silence(&world.cpu(0), 0);
        world.seat(0).restore(&world.cpu(0));
        world.enable_groups();
        world.write_bit(0, 0x100, 40);
        assert_eq!(enabled(&world), 1);
    }
}

/// Who comes back onto its CPU is told how many of its interrupts waited in the hardware: those that it
/// has enabled and that are routed to it.
#[test]
fn what_waited_is_counted() {
    for world in [v2(), v3()] {
        world.enable_groups();
        for intid in [40, 41, 42] {
            world.write_bit(0, 0x100, intid);
        }
        world.set_target(0, 42, 1);
        world.seat(0).save(&world.cpu(0));
        world.machine.borrow_mut().pending[0][1] |= 0xf << 8;
        assert_eq!(world.seat(0).restore(&world.cpu(0)), 2);
        world.machine.borrow_mut().pending[0][1] = 0;
        world.seat(0).save(&world.cpu(0));
        assert_eq!(world.seat(0).restore(&world.cpu(0)), 0);
    }
}

/// A vCPU finds its PPIs enabled as it left them, or as another vCPU has set them meanwhile.
#[test]
fn ppis_are_enabled_again_at_the_return() {
    const TIMER: u32 = 1 << 27;
    let world = v3();
    world.enable_groups();
    world.write_bit(0, 0x100, 27);
    let away = |change: &dyn Fn()| {
        world.seat(0).save(&world.cpu(0));
        bulkhead_vgic::set_ppis(&world.cpu(0), 0);
        assert_eq!(world.machine.borrow().enabled[0][0], 0);
        change();
        world.seat(0).restore(&world.cpu(0));
        world.machine.borrow().enabled[0][0]
    };
    let other_writes = |offset: u64| {
        let register = 0x1_0000 + offset;
        world.access(1, Frame::Redistributor, register, 4, Some(u64::from(TIMER))).unwrap();
    };
    assert_eq!(away(&|| ()), TIMER);
    assert_eq!(away(&|| other_writes(0x180)), 0);
    assert_eq!(away(&|| ()), 0);
    assert_eq!(away(&|| other_writes(0x100)), TIMER);
    assert_eq!(away(&|| _ = world.access(1, Frame::Distributor, 0, 4, Some(0)).unwrap()), 0);
}
