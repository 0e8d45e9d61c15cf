//! What the hardware answers about one address, and whether that is what the verifier's walk says.
//!
//! Source: Arm ARM D24.2.132 (PAR_EL1), D24.2.40 (ESR_EL2), D8.5 (memory types).

use bulkhead_verify::walk::Access;

/// Physical addresses of the processor that answers (Cortex-A72: ID_AA64MMFR0_EL1.PARange = 4).
const PA_BITS: u32 = 44;
/// PAR_EL1: the translation was aborted (F), by stage 2 (S).
const ABORTED: u64 = 1;
const BY_STAGE_2: u64 = 1 << 9;
/// PAR_EL1.PA.
const PA: u64 = 0x0000_ffff_ffff_f000;
/// Exception class of an instruction abort from below EL2.
const INSTRUCTION_ABORT: u64 = 0x20;
/// The same of a data abort.
const DATA_ABORT: u64 = 0x24;

/// Kind of a fault, without its level (FST, IFSC).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Fault {
    AddressSize,
    Translation,
    Permission,
    Other(u64),
}

impl Fault {
    fn of(status: u64) -> Fault {
        match status >> 2 & 0xf {
            0 => Fault::AddressSize,
            1 => Fault::Translation,
            3 => Fault::Permission,
            _ => Fault::Other(status & 0x3f),
        }
    }
}

/// What came of one way to use an address; the page for reads and writes, nothing for fetches.
type Outcome<T> = std::result::Result<T, Fault>;

/// What the hardware said about one address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Answer {
    read: u64,
    write: u64,
    fetch: u64,
    stored: bool,
}

impl Answer {
    /// Reads a line: PAR_EL1 of a read, PAR_EL1 of a write or, if that was `stored`, ESR_EL2, and ESR_EL2 of a fetch.
    pub fn parse(line: &str, stored: bool) -> Option<Answer> {
        let mut words = line.split(' ').map(|word| u64::from_str_radix(word, 16));
        let (read, write, fetch) = (words.next()?.ok()?, words.next()?.ok()?, words.next()?.ok()?);
        words.next().is_none().then_some(Answer { read, write, fetch, stored })
    }

    /// Holds the answer against what the walk says: the physical address and the access, `None` for nothing.
    ///
    /// # Errors
    /// What differs.
    pub fn compare(self, address: u64, walk: Option<(u64, Access)>) -> std::result::Result<(), String> {
        let expected = match walk {
            None => [Err(Fault::Translation); 3],
            // The walk does not know the processor, which takes no address that it does not have.
            Some((output, _)) if output >> PA_BITS != 0 => [Err(Fault::AddressSize); 3],
            Some((output, access)) => {
                let page = (output & PA, access.device);
                let may = |allowed: bool| if allowed { Ok(page) } else { Err(Fault::Permission) };
                [Ok(page), may(access.write), may(access.execute)]
            }
        };
        // What an access to memory says about the page itself is that it was reached.
        let read = translated(self.read);
        let reached = |esr, abort| aborted(esr, abort).and(read);
        let write = if self.stored { reached(self.write, DATA_ABORT) } else { translated(self.write) };
        let fetch = reached(self.fetch, INSTRUCTION_ABORT);
        for (what, found, expected) in
            [("read", read, expected[0]), ("write", write, expected[1]), ("fetch", fetch, expected[2])]
        {
            if found != expected {
                return Err(format!(
                    "{what} of {address:#x}: the hardware says {}, the walk {}",
                    shown(found),
                    shown(expected)
                ));
            }
        }
        Ok(())
    }
}

/// Page and whether it is Device memory. A memory type that no table of ours asks for is an outcome of its own.
fn translated(par: u64) -> Outcome<(u64, bool)> {
    if par & ABORTED != 0 {
        let fault = Fault::of(par >> 1 & 0x3f);
        return Err(if par & BY_STAGE_2 == 0 { Fault::Other(par) } else { fault });
    }
    match (par >> 56, par >> 7 & 3) {
        (0xff, 0b11) => Ok((par & PA, false)),
        (0x04, 0b10) => Ok((par & PA, true)),
        _ => Err(Fault::Other(par)),
    }
}

/// Whatever happened then, it was let through unless it was aborted itself.
fn aborted(esr: u64, class: u64) -> Outcome<()> {
    if esr >> 26 & 0x3f == class { Err(Fault::of(esr & 0x3f)) } else { Ok(()) }
}

fn shown(outcome: Outcome<(u64, bool)>) -> String {
    match outcome {
        Ok((page, device)) => format!("{page:#x}{}", if device { " device" } else { "" }),
        Err(Fault::Other(word)) => format!("something else, {word:#x}"),
        Err(fault) => format!("{fault:?} fault"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const PAGE: u64 = 0x4123_4000;
    const MEMORY: u64 = 0xff << 56 | 1 << 11 | 0b11 << 7 | PAGE;
    const DEVICE: u64 = 0x04 << 56 | 1 << 11 | 0b10 << 7 | PAGE;
    /// Stage-2 translation and permission faults of level 3.
    const UNMAPPED: u64 = 1 << 11 | BY_STAGE_2 | 0b000111 << 1 | ABORTED;
    const REFUSED: u64 = 1 << 11 | BY_STAGE_2 | 0b001111 << 1 | ABORTED;
    const STORE_REFUSED: u64 = DATA_ABORT << 26 | 0b001111;
    const STEPPED: u64 = 0x32 << 26;
    const NOT_FETCHED: u64 = INSTRUCTION_ABORT << 26 | 0b000111;
    const NOT_EXECUTABLE: u64 = INSTRUCTION_ABORT << 26 | 0b001111;

    fn outcome(read: u64, write: u64, fetch: u64, walk: Option<Access>) -> bool {
        let answer = Answer { read, write, fetch, stored: write >> 26 == DATA_ABORT };
        answer.compare(0x8000_0123, walk.map(|access| (PAGE + 0x123, access))).is_ok()
    }

    #[test]
    fn each_access_is_told_from_every_other() {
        let access = |write, execute, device| Some(Access { write, execute, device });
        let good = [
            (MEMORY, MEMORY, STEPPED, access(true, true, false)),
            (MEMORY, MEMORY, NOT_EXECUTABLE, access(true, false, false)),
            (MEMORY, STORE_REFUSED, STEPPED, access(false, true, false)),
            (MEMORY, REFUSED, NOT_EXECUTABLE, access(false, false, false)),
            (DEVICE, DEVICE, NOT_EXECUTABLE, access(true, false, true)),
            (DEVICE, REFUSED, NOT_EXECUTABLE, access(false, false, true)),
            (UNMAPPED, UNMAPPED, NOT_FETCHED, None),
        ];
        for (row, (read, write, fetch, _)) in good.iter().enumerate() {
            for (other, (.., walk)) in good.iter().enumerate() {
                assert_eq!(outcome(*read, *write, *fetch, *walk), row == other, "{row} as {other}");
            }
        }
    }

    #[test]
    fn another_page_type_or_stage_is_something_else() {
        let all = Some(Access { write: true, execute: true, device: false });
        assert!(!outcome(MEMORY + 0x1000, MEMORY, STEPPED, all));
        assert!(!outcome(MEMORY & !(1 << 7), MEMORY, STEPPED, all));
        assert!(!outcome(UNMAPPED & !BY_STAGE_2, UNMAPPED, NOT_FETCHED, None));
    }

    #[test]
    fn a_store_that_goes_through_is_a_write() {
        let answer = Answer { read: MEMORY, write: STEPPED, fetch: STEPPED, stored: true };
        let access = |write| Some((PAGE, Access { write, execute: true, device: false }));
        assert!(answer.compare(PAGE, access(true)).is_ok());
        assert!(answer.compare(PAGE, access(false)).is_err());
    }

    #[test]
    fn lines_are_three_words() {
        let good = Answer { read: 1, write: 10, fetch: 255, stored: true };
        assert_eq!(Answer::parse("1 0a ff", true), Some(good));
        assert_eq!(Answer::parse("!0000000000000004 5", false), None);
        assert_eq!(Answer::parse("1 2", false), None);
        assert_eq!(Answer::parse("1 2 3 4", false), None);
    }
}
