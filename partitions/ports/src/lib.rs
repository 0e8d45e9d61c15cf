//! Sampling and queuing port protocols over shared memory.
