//! Virtual GICv2/GICv3: distributor model and list-register allocation.
