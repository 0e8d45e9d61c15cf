//! A running QEMU whose serial line is read and written by the driver.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::{Arc, Condvar, Mutex, MutexGuard};
use std::time::{Duration, Instant};

use regex_lite::Regex;

use crate::failure::{Failure, Result};
use crate::flash::start::Stub;

/// The processor that QEMU emulates unless something else is asked for.
pub const DEFAULT_CPU: &str = "cortex-a72";

/// What QEMU is started as.
#[derive(Clone, Debug)]
pub struct Machine {
    /// What `-kernel` names: a packed image, or a bare payload.
    pub kernel: PathBuf,
    /// The machine that QEMU emulates.
    pub board: Board,
    /// Version of the interrupt controller, 2 or 3.
    pub gic: u8,
    /// Processor model.
    pub cpu: String,
    /// Number of processors.
    pub cpus: usize,
    /// RAM in MiB.
    pub memory_mib: u64,
    /// Whether there is an EL2.
    pub virtualization: bool,
    /// Whether it starts again when the guest resets the board; otherwise QEMU ends.
    pub reboots: bool,
    /// Further options.
    pub options: Vec<String>,
}

/// A machine of QEMU's.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Board {
    /// `virt`, as large as asked for.
    Virt,
    /// `raspi4b`: four processors, 2 GiB, GICv2, a device tree from outside.
    RaspberryPi4 {
        /// The device tree that the board's firmware would hand over.
        device_tree: PathBuf,
        /// What starts at EL3 in the place of QEMU's own start-up code.
        stub: Option<Stub>,
    },
}

impl Board {
    /// Its RAM that is in one piece from the lowest address on: that address, and its size in MiB; of `virt`
    /// the size is the user's. QEMU's `raspi4b` has 2 GiB whatever the board's tree says.
    pub fn ram(&self, memory_mib: u64) -> (u64, u64) {
        match self {
            Board::Virt => (0x4000_0000, memory_mib),
            Board::RaspberryPi4 { .. } => (0, 2048),
        }
    }

    /// Frequency of the system counter that the board's description names, in hertz. QEMU would
    /// count at 62.5 MHz, and at 1 GHz with its newer processor models.
    fn counter_hz(&self) -> u32 {
        match self {
            Board::Virt => 62_500_000,
            Board::RaspberryPi4 { .. } => 54_000_000,
        }
    }
}

impl Machine {
    /// QEMU's command line, without the serial line's other end.
    pub fn command(&self) -> Command {
        let mut command = Command::new("qemu-system-aarch64");
        match &self.board {
            Board::Virt => {
                let virtualization = if self.virtualization { ",virtualization=on" } else { "" };
                command
                    .arg("-M")
                    .arg(format!("virt{virtualization},gic-version={}", self.gic))
                    .args(["-smp", &self.cpus.to_string(), "-m", &format!("{}M", self.memory_mib)])
                    // Debian's package has no option ROM for the network card that is there by default.
                    .args(["-nic", "none"]);
            }
            Board::RaspberryPi4 { device_tree, stub: Some(stub) } => {
                command.args(["-M", "raspi4b"]);
                let loads =
                    [(&stub.path, 0), (device_tree, stub.tree_address), (&self.kernel, stub.kernel_address)];
                for (file, address) in loads {
                    let file = file.display().to_string().replace(',', ",,");
                    command.arg("-device").arg(format!("loader,file={file},addr={address:#x},force-raw=on"));
                }
            }
            Board::RaspberryPi4 { device_tree, stub: None } => {
                command.args(["-M", "raspi4b", "-dtb"]).arg(device_tree);
            }
        }
        command.args(["-cpu", &self.cpu(), "-display", "none", "-monitor", "none"]).args(&self.options);
        if !matches!(self.board, Board::RaspberryPi4 { stub: Some(_), .. }) {
            command.arg("-kernel").arg(&self.kernel);
        }
        command
    }

    /// The processor model, with the counter frequency of the board's description unless the user
    /// gave one.
    fn cpu(&self) -> String {
        if self.cpu.contains("cntfrq=") {
            return self.cpu.clone();
        }
        format!("{},cntfrq={}", self.cpu, self.board.counter_hz())
    }

    /// Starts QEMU with its serial line connected to the driver and a copy of it in a file.
    pub fn start(&self, log: Option<&Path>) -> Result<Guest> {
        let mut command = ending_with_us(&self.command());
        if !self.reboots {
            command.arg("-no-reboot");
        }
        command
            .args(["-chardev", "stdio,id=uart,signal=off", "-serial", "chardev:uart"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped());
        let log = match log {
            Some(path) => Some(std::fs::File::create(path).map_err(|e| Failure::file("create", path, &e))?),
            None => None,
        };
        let child = command
            .spawn()
            .map_err(|e| Failure::unusable(format!("cannot start qemu-system-aarch64: {e}")))?;
        Ok(Guest::attach(child, log))
    }
}

/// The command so that the kernel ends its process with the thread that starts it: no machine runs on
/// behind a driver that was killed (`setpriv` is part of util-linux, which every Linux system has).
fn ending_with_us(command: &Command) -> Command {
    let mut wrapped = Command::new("setpriv");
    wrapped.args(["--pdeathsig", "KILL"]).arg(command.get_program()).args(command.get_args());
    wrapped
}

#[derive(Default)]
struct Log {
    /// Complete lines, without line ends.
    lines: Vec<String>,
    /// What follows the last line end.
    open: Vec<u8>,
    /// Whether the serial line has been closed: QEMU is gone.
    closed: bool,
    /// What QEMU itself complained about; none until it has closed its error output.
    errors: Option<String>,
}

#[derive(Default)]
struct Shared {
    log: Mutex<Log>,
    changed: Condvar,
}

impl Shared {
    fn lock(&self) -> MutexGuard<'_, Log> {
        self.log.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    fn collect(&self, mut output: impl Read, mut copy: Option<std::fs::File>) {
        let mut buffer = [0; 4096];
        loop {
            let count = output.read(&mut buffer).unwrap_or(0);
            let mut log = self.lock();
            if count == 0 {
                log.closed = true;
                self.changed.notify_all();
                return;
            }
            if let Some(file) = &mut copy
                && file.write_all(&buffer[..count]).is_err()
            {
                copy = None;
            }
            log.append(&buffer[..count]);
            self.changed.notify_all();
        }
    }
}

impl Log {
    fn append(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            match byte {
                b'\n' => {
                    let line = std::mem::take(&mut self.open);
                    self.lines.push(String::from_utf8_lossy(&line).into_owned());
                }
                b'\r' => {}
                other => self.open.push(other),
            }
        }
    }
}

/// A place in the serial log: what was there before it is not looked at.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Cursor {
    line: usize,
    /// Bytes of that line that have been looked at while it was unfinished.
    column: usize,
}

/// How long the end of QEMU's error output may take to be read after that of its serial line.
const COMPLAINTS_WITHIN: Duration = Duration::from_secs(5);

/// A QEMU process; it is killed when this is dropped.
pub struct Guest {
    child: Child,
    input: Option<ChildStdin>,
    shared: Arc<Shared>,
    started: Instant,
}

/// Why waiting for a line ended without it.
#[derive(Debug, PartialEq, Eq)]
pub enum NotSeen {
    /// The time was over.
    Late,
    /// QEMU ended.
    Ended,
}

impl Guest {
    /// Takes over a process whose three standard streams are pipes.
    fn attach(mut child: Child, log: Option<std::fs::File>) -> Guest {
        let shared = Arc::new(Shared::default());
        let (input, output, errors) = (child.stdin.take(), child.stdout.take(), child.stderr.take());
        if let Some(output) = output {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || shared.collect(output, log));
        }
        if let Some(mut errors) = errors {
            let shared = Arc::clone(&shared);
            std::thread::spawn(move || {
                let mut bytes = Vec::new();
                // What was read before an error is all that there is to show.
                let _ = errors.read_to_end(&mut bytes);
                shared.lock().errors = Some(String::from_utf8_lossy(&bytes).trim().to_string());
                shared.changed.notify_all();
            });
        }
        Guest { child, input, shared, started: Instant::now() }
    }

    /// Time since the start.
    pub fn age(&self) -> Duration {
        self.started.elapsed()
    }

    /// Sends bytes to the serial line.
    pub fn send(&mut self, bytes: &[u8]) -> Result<()> {
        let sent = self.input.as_mut().map(|input| input.write_all(bytes).and_then(|()| input.flush()));
        match sent {
            Some(Ok(())) => Ok(()),
            _ => Err(Failure::failed("QEMU no longer reads its serial line")),
        }
    }

    /// Waits for a complete line after the cursor that matches, and moves the cursor behind it.
    pub fn wait_for(
        &self,
        pattern: &Regex,
        cursor: &mut Cursor,
        within: Duration,
    ) -> std::result::Result<String, NotSeen> {
        self.wait_until(within, |log| complete(log, pattern, cursor))
    }

    /// Waits for a line as [`Guest::wait_for`] does, or for an unfinished one: a prompt.
    pub fn wait_for_prompt(
        &self,
        pattern: &Regex,
        cursor: &mut Cursor,
        within: Duration,
    ) -> std::result::Result<String, NotSeen> {
        self.wait_until(within, |log| {
            complete(log, pattern, cursor).or_else(|| {
                let open = String::from_utf8_lossy(&log.open);
                let rest = open.get(cursor.column..).filter(|rest| pattern.is_match(rest))?;
                cursor.column = open.len();
                Some(rest.to_string())
            })
        })
    }

    fn wait_until(
        &self,
        within: Duration,
        mut look: impl FnMut(&Log) -> Option<String>,
    ) -> std::result::Result<String, NotSeen> {
        let deadline = Instant::now() + within;
        let mut log = self.shared.lock();
        loop {
            if let Some(found) = look(&log) {
                return Ok(found);
            }
            if log.closed {
                return Err(NotSeen::Ended);
            }
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Err(NotSeen::Late);
            }
            let wait = self.shared.changed.wait_timeout(log, left);
            log = wait.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        }
    }

    /// The cursor behind all that has been printed.
    pub fn end(&self) -> Cursor {
        let log = self.shared.lock();
        Cursor { line: log.lines.len(), column: String::from_utf8_lossy(&log.open).len() }
    }

    /// All complete lines after a cursor, and the cursor behind them.
    pub fn lines_after(&self, cursor: Cursor) -> (Vec<String>, Cursor) {
        let log = self.shared.lock();
        let lines = log.lines.get(cursor.line..).unwrap_or_default().to_vec();
        (lines, Cursor { line: log.lines.len(), column: 0 })
    }

    /// Whether QEMU has closed its serial line.
    pub fn has_ended(&self) -> bool {
        self.shared.lock().closed
    }

    /// Waits until new output arrives, QEMU ends or the time is over.
    pub fn wait_change(&self, cursor: Cursor, within: Duration) {
        let log = self.shared.lock();
        let unchanged = |log: &mut Log| log.lines.len() <= cursor.line && !log.closed;
        drop(self.shared.changed.wait_timeout_while(log, within, unchanged));
    }

    /// Waits for QEMU to end by itself; whether it did and how.
    pub fn wait_exit(&mut self, within: Duration) -> Option<std::process::ExitStatus> {
        let deadline = Instant::now() + within;
        loop {
            if let Ok(Some(status)) = self.child.try_wait() {
                return Some(status);
            }
            if Instant::now() >= deadline {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// What QEMU itself wrote to its error output; complete once it has ended.
    pub fn complaints(&self) -> String {
        // The serial line and the error output are read by two threads: one may be behind the other.
        let unread = |log: &mut Log| log.closed && log.errors.is_none();
        let wait = self.shared.changed.wait_timeout_while(self.shared.lock(), COMPLAINTS_WITHIN, unread);
        let log = wait.unwrap_or_else(std::sync::PoisonError::into_inner).0;
        log.errors.clone().unwrap_or_default()
    }

    /// The last lines of the serial log.
    pub fn tail(&self, count: usize) -> String {
        let log = self.shared.lock();
        let mut lines = log.lines[log.lines.len().saturating_sub(count)..].to_vec();
        if !log.open.is_empty() {
            lines.push(String::from_utf8_lossy(&log.open).into_owned());
        }
        lines.join("\n")
    }
}

/// The next complete line that matches, what has been looked at left out.
fn complete(log: &Log, pattern: &Regex, cursor: &mut Cursor) -> Option<String> {
    while let Some(line) = log.lines.get(cursor.line) {
        let rest = line.get(cursor.column..).unwrap_or_default();
        *cursor = Cursor { line: cursor.line + 1, column: 0 };
        if pattern.is_match(rest) {
            return Some(rest.to_string());
        }
    }
    None
}

impl Drop for Guest {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(Some(_))) {
            // Both fail only if the process is gone already, which is what is wanted.
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
    }
}

#[cfg(test)]
pub mod tests {
    use super::*;

    /// A guest whose serial line is a shell script's.
    pub fn script(text: &str) -> Guest {
        let mut command = Command::new("sh");
        command.args(["-c", text]);
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped());
        Guest::attach(command.spawn().unwrap(), None)
    }

    fn regex(text: &str) -> Regex {
        Regex::new(text).unwrap()
    }

    const SOON: Duration = Duration::from_secs(10);

    #[test]
    fn a_machine_ends_with_the_thread_that_started_it() {
        let start = || {
            let mut shell = ending_with_us(Command::new("sh").args(["-c", "echo; exec sleep 600"]));
            let mut child = shell.stdout(Stdio::piped()).spawn().unwrap();
            // Its wish has to be known before the thread ends.
            child.stdout.as_mut().unwrap().read_exact(&mut [0]).unwrap();
            child
        };
        let mut child = std::thread::spawn(start).join().unwrap();
        assert_eq!(std::os::unix::process::ExitStatusExt::signal(&child.wait().unwrap()), Some(9));
    }

    #[test]
    fn lines_are_matched_in_order_and_once() {
        let guest = script("printf 'a1\\r\\nb\\r\\na2\\r\\n'");
        let mut cursor = Cursor::default();
        assert_eq!(guest.wait_for(&regex("^a"), &mut cursor, SOON).unwrap(), "a1");
        assert_eq!(guest.wait_for(&regex("^a"), &mut cursor, SOON).unwrap(), "a2");
        assert_eq!(guest.wait_for(&regex("^a"), &mut cursor, SOON), Err(NotSeen::Ended));
    }

    #[test]
    fn a_prompt_without_line_end_is_seen_and_answered() {
        let mut guest = script("printf 'name? '; read x; echo hello $x");
        let mut cursor = Cursor::default();
        let short = Duration::from_millis(50);
        let line = guest.wait_for(&regex("name"), &mut cursor, short);
        assert_eq!(line, Err(NotSeen::Late), "an unfinished line is no line");
        guest.wait_for_prompt(&regex(r"\? $"), &mut cursor, SOON).unwrap();
        let again = guest.wait_for_prompt(&regex("name"), &mut cursor, short);
        assert_eq!(again, Err(NotSeen::Late), "a prompt is seen once");
        guest.send(b"you\n").unwrap();
        guest.wait_for(&regex("hello you"), &mut cursor, SOON).unwrap();
        assert!(guest.wait_exit(SOON).is_some());
    }

    #[test]
    fn complaints_are_complete_once_the_serial_line_is_closed() {
        let guest = script("exec >&-; sleep 0.3; echo no such disk >&2");
        while !guest.has_ended() {
            guest.wait_change(guest.end(), SOON);
        }
        assert_eq!(guest.complaints(), "no such disk");
    }

    #[test]
    fn what_does_not_come_is_late() {
        let guest = script("sleep 5");
        let mut cursor = Cursor::default();
        let within = Duration::from_millis(50);
        assert_eq!(guest.wait_for(&regex("x"), &mut cursor, within), Err(NotSeen::Late));
    }

    #[test]
    fn command_line_names_board_and_kernel() {
        let machine = Machine {
            board: Board::Virt,
            kernel: "/i.img".into(),
            gic: 2,
            cpu: DEFAULT_CPU.into(),
            cpus: 4,
            memory_mib: 1024,
            virtualization: true,
            reboots: false,
            options: vec!["-S".into()],
        };
        let line = crate::process::line(&machine.command());
        assert_eq!(
            line,
            "qemu-system-aarch64 -M virt,virtualization=on,gic-version=2 -smp 4 -m 1024M -nic none -cpu \
             cortex-a72,cntfrq=62500000 -display none -monitor none -S -kernel /i.img"
        );
        assert_eq!(machine.board.ram(machine.memory_mib), (0x4000_0000, 1024));
        let board = Board::RaspberryPi4 { device_tree: "/b.dtb".into(), stub: None };
        assert_eq!(board.ram(948), (0, 2048));
        let line = crate::process::line(&Machine { board, ..machine }.command());
        assert_eq!(
            line,
            "qemu-system-aarch64 -M raspi4b -dtb /b.dtb -cpu cortex-a72,cntfrq=54000000 -display none -monitor \
             none -S -kernel /i.img"
        );
    }
}
