//! The payload's manifest: an ELF note that lists the ports the partition's code opens, which the
//! compiler holds against the configuration (rule PRT-003).
//!
//! Section `.note.bulkhead.ports`, one note (ELF gABI, "Note Section"): name `Bulkhead`, type
//! [`NOTE_TYPE`], descriptor = one 48-byte entry for each port, little-endian:
//!
//! | offset | size | field |
//! |---|---|---|
//! | 0 | 32 | name, NUL-padded |
//! | 32 | 4 | kind: 1 sampling, 2 queuing ([`bulkhead_abi::port::kind`]) |
//! | 36 | 4 | direction: 1 source, 2 destination ([`bulkhead_abi::port::direction`]) |
//! | 40 | 4 | longest message in bytes |
//! | 44 | 4 | reserved, 0 |

/// Type of the note.
pub const NOTE_TYPE: u32 = 1;

/// One port that the payload wants.
#[repr(C)]
pub struct Entry {
    name: [u8; 32],
    kind: u32,
    direction: u32,
    message_bytes: u32,
    reserved: u32,
}

impl Entry {
    /// An entry; a name of more than 31 bytes does not compile.
    pub const fn new(name: &str, kind: u32, direction: u32, message_bytes: u32) -> Self {
        let source = name.as_bytes();
        assert!(source.len() < 32, "a port's name has at most 31 bytes");
        let mut bytes = [0; 32];
        let mut index = 0;
        while index < source.len() {
            bytes[index] = source[index];
            index += 1;
        }
        Self { name: bytes, kind, direction, message_bytes, reserved: 0 }
    }
}

/// The note as it lies in the section.
#[repr(C, align(4))]
pub struct Note<const N: usize> {
    name_bytes: u32,
    descriptor_bytes: u32,
    kind: u32,
    name: [u8; 12],
    entries: [Entry; N],
}

impl<const N: usize> Note<N> {
    /// A note over `entries`.
    pub const fn new(entries: [Entry; N]) -> Self {
        Self {
            name_bytes: 9,
            descriptor_bytes: (N * size_of::<Entry>()) as u32,
            kind: NOTE_TYPE,
            name: *b"Bulkhead\0\0\0\0",
            entries,
        }
    }
}

/// Writes the manifest: `manifest! { "state": sampling source 64, "setpoint": queuing destination 16 }`.
/// To be used once in a payload.
#[macro_export]
macro_rules! manifest {
    (@kind sampling) => { $crate::abi::port::kind::SAMPLING };
    (@kind queuing) => { $crate::abi::port::kind::QUEUING };
    (@direction source) => { $crate::abi::port::direction::SOURCE };
    (@direction destination) => { $crate::abi::port::direction::DESTINATION };
    ($($name:literal: $kind:ident $direction:ident $bytes:literal),* $(,)?) => {
        const _: () = {
            const ENTRIES: usize = [$($name),*].len();
            #[used]
            #[unsafe(link_section = ".note.bulkhead.ports")]
            static NOTE: $crate::manifest::Note<ENTRIES> = $crate::manifest::Note::new([
                $($crate::manifest::Entry::new(
                    $name,
                    $crate::manifest!(@kind $kind),
                    $crate::manifest!(@direction $direction),
                    $bytes,
                )),*
            ]);
        };
    };
}
