//! Pure machines of the hypervisor: PSCI, console, traps, health, life cycle.
