//! A restart: what a vCPU's interface held when it was taken off its CPU does not come back.

mod fake;

use fake::{Version, World};

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
        world.vgic().reset_shared(&world.cpu(0));
        world.vgic().reset_vcpu(&world.cpu(0), 0);
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
