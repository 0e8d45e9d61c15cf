//! `cargo xtask run`: a configuration on QEMU, with the terminal attached or for a given time.

use std::io::Write;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use regex_lite::Regex;

use crate::failure::{Failure, Result};
use crate::guest::{Board, Cursor, DEFAULT_CPU, Guest, Machine, NotSeen};
use crate::image::Image;
use crate::paths::Paths;
use crate::setup::kernel::{self, RPI4_DEVICE_TREE};
use crate::wrapper::Overrides;

/// Port of QEMU's debugger stub.
const DEBUGGER_PORT: u16 = 1234;

/// QEMU's options for time in instructions, one to a nanosecond.
pub const ICOUNT: [&str; 2] = ["-icount", "shift=0,sleep=off"];

/// Ctrl-], which EL2 takes as the start of a command.
const ESCAPE: u8 = 0x1d;

/// How long EL2 may take to list the states of all partitions.
const STATUS_WITHIN: Duration = Duration::from_secs(20);

/// How the image is run.
pub struct Options {
    /// Without a terminal, for this time after the start.
    pub duration: Option<Duration>,
    /// After a run for a time: where to write the trace.
    pub trace: Option<PathBuf>,
    /// Time is counted in instructions.
    pub icount: bool,
    /// Wait for a debugger before the first instruction.
    pub debugger: bool,
    /// Where the sources lie, for the debugger.
    pub sources: PathBuf,
    /// Processor model; none: the board's usual one.
    pub cpu: Option<String>,
    /// Where to keep a copy of the serial log of a run without terminal.
    pub log: PathBuf,
}

/// The machine that an image was compiled for.
///
/// # Errors
/// QEMU does not emulate the board, or what it needs is not there.
pub fn machine(paths: &Paths, image: &Image, overrides: &Overrides, cpu: Option<&str>) -> Result<Machine> {
    let board = match image.board.as_str() {
        "qemu-virt" => Board::Virt,
        "rpi4" => Board::RaspberryPi4 {
            device_tree: kernel::unpacked(&paths.cache, kernel::BOARDS).device_tree(RPI4_DEVICE_TREE)?,
            stub: None,
        },
        other => return Err(Failure::unusable(format!("QEMU is not known to emulate the board {other}"))),
    };
    Ok(Machine {
        kernel: image.path.clone(),
        board,
        gic: image.gic,
        cpu: cpu.unwrap_or(DEFAULT_CPU).to_string(),
        cpus: image.cpus,
        memory_mib: image.memory_mib,
        virtualization: true,
        reboots: false,
        options: overrides.qemu_options(),
    })
}

/// Runs an image.
///
/// # Errors
/// With a duration: why not every partition is running at its end.
pub fn run(paths: &Paths, image: &Image, overrides: &Overrides, options: &Options) -> Result<()> {
    let mut machine = machine(paths, image, overrides, options.cpu.as_deref())?;
    if options.icount {
        machine.options.extend(ICOUNT.map(String::from));
    }
    if options.debugger {
        machine.options.extend(["-S".into(), "-gdb".into(), format!("tcp::{DEBUGGER_PORT}")]);
        println!(
            "waiting for a debugger; in another terminal:\n  gdb-multiarch {} -ex 'directory {}' \
             -ex 'target remote :{DEBUGGER_PORT}'",
            image.el2.display(),
            options.sources.display()
        );
    }
    match options.duration {
        Some(duration) => match &options.trace {
            Some(output) => traced(image, machine, duration, &options.log, output),
            None => for_a_time(image, &machine, duration, &options.log),
        },
        None => attached(&machine),
    }
}

/// Gives the terminal to QEMU, which takes the place of this process.
fn attached(machine: &Machine) -> Result<()> {
    println!(
        "keys: Ctrl-] 1-9 or n = input to a partition, Ctrl-] c = Ctrl-C to it, Ctrl-] x or Ctrl-C = end"
    );
    let mut command = machine.command();
    command.args(["-chardev", "stdio,id=uart,signal=on", "-serial", "chardev:uart"]);
    let error = command.exec();
    Err(Failure::unusable(format!("cannot start qemu-system-aarch64: {error}")))
}

/// Runs with the board's RAM in a file, from which the trace rings are read at the end.
fn traced(image: &Image, mut machine: Machine, duration: Duration, log: &Path, output: &Path) -> Result<()> {
    let ram = log.with_extension("ram");
    let (base, mib) = machine.board.ram(machine.memory_mib);
    // QEMU takes a file that is there only if it is of the size that it wants: an interrupted run left another.
    if ram.exists() {
        std::fs::remove_file(&ram).map_err(|e| Failure::file("remove", &ram, &e))?;
    }
    let backend = format!(
        "memory-backend-file,id=ram,size={}M,mem-path={},share=on",
        mib,
        ram.display().to_string().replace(',', ",,")
    );
    machine.options.extend(["-object".into(), backend, "-machine".into(), "memory-backend=ram".into()]);
    let ran = for_a_time(image, &machine, duration, log);
    let converted = convert_trace(image, &ram, base, output);
    let removed = std::fs::remove_file(&ram).map_err(|e| Failure::file("remove", &ram, &e));
    ran.and(converted).and(removed)
}

/// `base`: physical address of the RAM in the file.
fn convert_trace(image: &Image, ram: &Path, base: u64, output: &Path) -> Result<()> {
    use std::io::{Read, Seek, SeekFrom};
    let packed = std::fs::read(&image.path).map_err(|e| Failure::file("read", &image.path, &e))?;
    let layout = bulkhead_trace::Layout::of(&packed).map_err(Failure::failed)?;
    let mut dump = vec![0; layout.bytes];
    let mut file = std::fs::File::open(ram).map_err(|e| Failure::file("open", ram, &e))?;
    file.seek(SeekFrom::Start(layout.base.saturating_sub(base)))
        .and_then(|_| file.read_exact(&mut dump))
        .map_err(|e| Failure::file("read", ram, &e))?;
    let cpus = bulkhead_trace::decode(&layout, &dump).map_err(Failure::failed)?;
    crate::files::write(output, bulkhead_trace::perfetto::json(&layout, &cpus).as_bytes())?;
    print!("{}", bulkhead_trace::report::text(&layout, &cpus));
    println!("trace: {}", output.display());
    Ok(())
}

fn for_a_time(image: &Image, machine: &Machine, duration: Duration, log: &Path) -> Result<()> {
    let mut guest = machine.start(Some(log))?;
    let mut shown = Cursor::default();
    while guest.age() < duration && !guest.has_ended() {
        shown = print_new(&guest, shown)?;
        guest.wait_change(shown, duration.saturating_sub(guest.age()));
    }
    print_new(&guest, shown)?;
    if guest.has_ended() {
        return Err(ended_early(&mut guest));
    }
    let states = states(&mut guest)?;
    power_off(&mut guest)?;
    judge(&image.partitions, &states)?;
    println!("after {} s all partitions are running: {}", duration.as_secs(), states_text(&states));
    Ok(())
}

/// Shows what is new. Output that nobody reads any more (`| head`) is an error: a panic would leave QEMU behind.
fn print_new(guest: &Guest, shown: Cursor) -> Result<Cursor> {
    let (lines, end) = guest.lines_after(shown);
    show(std::io::stdout().lock(), &lines)?;
    Ok(end)
}

fn show(mut output: impl Write, lines: &[String]) -> Result<()> {
    lines
        .iter()
        .try_for_each(|line| writeln!(output, "{line}"))
        .map_err(|e| Failure::unusable(format!("the output of the partitions cannot be shown: {e}")))
}

fn ended_early(guest: &mut Guest) -> Failure {
    let status = guest
        .wait_exit(Duration::from_secs(5))
        .map_or("without an exit status".to_string(), |status| format!("with {status}"));
    Failure::failed(format!(
        "QEMU ended {status} after {:.1} s\n{}\nlast lines:\n{}",
        guest.age().as_secs_f64(),
        guest.complaints(),
        guest.tail(20)
    ))
}

/// A partition as EL2 lists it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct State {
    /// Its name.
    pub name: String,
    /// The state's word, as `running`.
    pub word: String,
    /// How often it was started.
    pub starts: u32,
}

/// Asks EL2 for the state of every partition, in EL2's order.
///
/// # Errors
/// When no complete list comes: EL2 hangs, or its boot has not finished.
pub fn states(guest: &mut Guest) -> Result<Vec<State>> {
    let line = Regex::new(r"^bulkhead *\| status ").expect("a valid pattern");
    let mut cursor = guest.end();
    guest.send(&[ESCAPE, b's'])?;
    let mut states = Vec::new();
    loop {
        let found = guest.wait_for(&line, &mut cursor, STATUS_WITHIN).map_err(|cause| {
            let reason = match cause {
                NotSeen::Late => {
                    "the hypervisor does not answer Ctrl-] s: it has not finished booting, or hangs"
                }
                NotSeen::Ended => "QEMU ended while the partitions' states were asked for",
            };
            Failure::failed(format!("{reason}\nlast lines:\n{}", guest.tail(20)))
        })?;
        match parse_status(&found) {
            Some(Status::Partition(state)) => states.push(state),
            Some(Status::End) => return Ok(states),
            None => {}
        }
    }
}

#[derive(Debug, PartialEq, Eq)]
enum Status {
    Partition(State),
    End,
}

/// Reads `bulkhead| status NAME STATE ...` or `bulkhead| status end`.
fn parse_status(line: &str) -> Option<Status> {
    let mut words = line.split_once("| status ")?.1.split_whitespace();
    match (words.next()?, words.next()) {
        ("end", None) => Some(Status::End),
        (name, Some(word)) => {
            let starts = words.find_map(|word| word.strip_prefix("starts="))?.parse().ok()?;
            Some(Status::Partition(State { name: name.to_string(), word: word.to_string(), starts }))
        }
        _ => None,
    }
}

/// Every partition of the configuration must be listed, and as running.
fn judge(partitions: &[String], states: &[State]) -> Result<()> {
    let mut reasons = Vec::new();
    for partition in partitions {
        match states.iter().find(|state| state.name == *partition) {
            Some(state) if state.word == "running" => {}
            Some(state) => reasons.push(format!("partition {partition} is {}", state.word)),
            None => reasons.push(format!("partition {partition} is not listed by the hypervisor")),
        }
    }
    if reasons.is_empty() {
        return Ok(());
    }
    Err(Failure::failed(format!("not every partition is running: {}", reasons.join("; "))))
}

/// `a running, b running (start 3)`: a partition that came back is shown as one.
pub fn states_text(states: &[State]) -> String {
    let text = |state: &State| match state.starts {
        0 | 1 => format!("{} {}", state.name, state.word),
        starts => format!("{} {} (start {starts})", state.name, state.word),
    };
    states.iter().map(text).collect::<Vec<_>>().join(", ")
}

/// Ends the machine through EL2's key sequence; a QEMU that does not end is killed by its owner.
pub fn power_off(guest: &mut Guest) -> Result<()> {
    guest.send(&[ESCAPE, b'x'])?;
    match guest.wait_exit(Duration::from_secs(10)) {
        Some(status) if status.success() => Ok(()),
        Some(status) => {
            Err(Failure::failed(format!("QEMU ended with {status} on Ctrl-] x: {}", guest.complaints())))
        }
        None => Err(Failure::failed("the hypervisor did not power the board off on Ctrl-] x")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn status_lines_are_read_whatever_their_padding() {
        let running = Status::Partition(state("rtos", "running", 1));
        assert_eq!(parse_status("bulkhead| status rtos running starts=1 lost=0"), Some(running));
        assert_eq!(parse_status("bulkhead    | status end"), Some(Status::End));
        assert_eq!(parse_status("bulkhead| status rtos"), None);
        assert_eq!(parse_status("bulkhead| status rtos running starts=x"), None);
    }

    fn state(name: &str, word: &str, starts: u32) -> State {
        State { name: name.into(), word: word.into(), starts }
    }

    /// Answers two bytes with a status report and ends at the next two, like EL2.
    const FAKE_EL2: &str = "head -c 2 >/dev/null; echo 'bulkhead| status a running starts=1'; \
                            echo 'a       | noise'; echo 'bulkhead| status end'; head -c 2 >/dev/null";

    #[test]
    fn states_are_asked_for_and_the_board_powered_off() {
        let mut guest = crate::guest::tests::script(FAKE_EL2);
        let states = states(&mut guest).unwrap();
        assert_eq!(states, [state("a", "running", 1)]);
        power_off(&mut guest).unwrap();
    }

    #[test]
    fn a_hypervisor_that_dies_while_asked_is_told_with_its_last_lines() {
        let mut guest = crate::guest::tests::script("echo boot stage 3; head -c 2 >/dev/null");
        let message = states(&mut guest).unwrap_err().to_string();
        assert!(message.contains("QEMU ended while"), "{message}");
        assert!(message.contains("boot stage 3"), "{message}");
    }

    #[test]
    fn output_that_nobody_reads_is_an_error() {
        struct Closed;
        impl Write for Closed {
            fn write(&mut self, _: &[u8]) -> std::io::Result<usize> {
                Err(std::io::ErrorKind::BrokenPipe.into())
            }
            fn flush(&mut self) -> std::io::Result<()> {
                Ok(())
            }
        }
        assert!(show(Closed, &["line".into()]).unwrap_err().to_string().contains("cannot be shown"));
        assert!(show(Closed, &[]).is_ok());
    }

    #[test]
    fn a_missing_and_a_failed_partition_are_named() {
        let names = ["linux".to_string(), "rtos".to_string(), "monitor".to_string()];
        let states = [state("linux", "failed", 1), state("rtos", "running", 2)];
        assert_eq!(states_text(&states), "linux failed, rtos running (start 2)");
        let message = judge(&names, &states).unwrap_err().to_string();
        assert_eq!(
            message,
            "not every partition is running: partition linux is failed; partition monitor is not \
             listed by the hypervisor"
        );
        assert!(judge(&names[1..2], &states).is_ok());
    }
}
