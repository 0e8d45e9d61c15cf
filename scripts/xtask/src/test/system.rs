//! Runs system test cases on QEMU, two at a time.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::time::{Duration, Instant};

use super::case::{Case, Damage, Pattern, Step, True};
use super::results;
use crate::failure::{Failure, Result};
use crate::files;
use crate::flash::start::{self, Started};
use crate::flash::{self, Contents, Target};
use crate::guest::{Board, Cursor, DEFAULT_CPU, Guest, Machine, NotSeen};
use crate::image;
use crate::paths::Paths;
use crate::run;
use crate::setup::firmware;
use crate::wrapper::{Overrides, Virtio};
use bulkhead_evidence::model::TestResult;
use bulkhead_evidence::sha256;

/// Cases that run side by side.
const PARALLEL: usize = 2;

/// Lines of the serial log that a failure shows.
const SHOWN: usize = 80;

/// A case on one version of the interrupt controller, ready to start.
struct Job<'a> {
    title: String,
    /// Version of the interrupt controller, as results name it.
    machine: String,
    /// Where its card lies, if it has one.
    card: Option<PathBuf>,
    case: &'a Case,
    start: Result<Start>,
    log: PathBuf,
}

/// What a case boots.
struct Start {
    machine: Machine,
    /// ID of the packed image; empty for a bare payload.
    image_id: String,
    /// SHA-256 of the EL2 executable; empty for a bare payload.
    el2_sha256: String,
}

/// How many passed and failed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Tally {
    /// Passed.
    pub passed: usize,
    /// Failed.
    pub failed: usize,
}

/// Runs all cases on all their versions of the interrupt controller, or on `only` that one.
pub fn run(paths: &Paths, cases: &[Case], only: Option<u8>) -> Result<Tally> {
    let logs = paths.products().join("logs");
    files::create_dir(&logs)?;
    let mut jobs = Vec::new();
    for case in cases {
        for &gic in case.gic.iter().filter(|&&gic| only.is_none_or(|only| only == gic)) {
            let machine = format!("GICv{gic}");
            let title = format!("{} ({machine})", case.name);
            let log = logs.join(format!("{}-gicv{gic}.log", case.name));
            let card = case.card.then(|| directory_of(paths, case));
            jobs.push(Job { title, machine, card, case, start: prepare(paths, case, gic), log });
        }
    }
    let total = jobs.len();
    let queue = Mutex::new(jobs.into_iter());
    let tally = Mutex::new(Tally::default());
    let results = Mutex::new(Vec::new());
    println!("system tests: {total}, {PARALLEL} at a time; logs in {}", logs.display());
    std::thread::scope(|scope| {
        for _ in 0..PARALLEL {
            scope.spawn(|| {
                while let Some(job) = next(&queue) {
                    let started = Instant::now();
                    let outcome = perform(&job);
                    report(&job, &outcome, started.elapsed(), &tally);
                    let given = result(&job, outcome.is_ok());
                    results.lock().unwrap_or_else(std::sync::PoisonError::into_inner).extend(given);
                }
            });
        }
    });
    results::add(paths, results.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))?;
    Ok(tally.into_inner().unwrap_or_else(std::sync::PoisonError::into_inner))
}

fn next<'a>(queue: &Mutex<std::vec::IntoIter<Job<'a>>>) -> Option<Job<'a>> {
    queue.lock().unwrap_or_else(std::sync::PoisonError::into_inner).next()
}

fn report(job: &Job, outcome: &Result<()>, took: Duration, tally: &Mutex<Tally>) {
    let mut tally = tally.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    match outcome {
        Ok(()) => {
            tally.passed += 1;
            // Hundreds of megabytes, of which only a failure has a use.
            if let Some(card) = &job.card {
                let _ = files::remove_dir(card);
            }
            println!("ok      {} ({:.1} s)", job.title, took.as_secs_f64());
        }
        Err(failure) => {
            tally.failed += 1;
            println!("FAILED  {} ({:.1} s)\n        {}", job.title, took.as_secs_f64(), job.case.about);
            println!("{failure}");
        }
    }
}

/// What an evidence pack is told; nothing where no EL2 ran.
fn result(job: &Job, passed: bool) -> Option<TestResult> {
    let start = job.start.as_ref().ok().filter(|start| !start.el2_sha256.is_empty())?;
    let (case, el2_sha256) = (job.case.name.clone(), start.el2_sha256.clone());
    Some(TestResult { case, machine: job.machine.clone(), el2_sha256, passed })
}

fn prepare(paths: &Paths, case: &Case, gic: u8) -> Result<Start> {
    if let Some(payload) = &case.bare {
        let machine = Machine {
            board: Board::Virt,
            kernel: paths.payloads().join(payload),
            gic,
            cpu: case.cpu.clone().unwrap_or(DEFAULT_CPU.to_string()),
            cpus: 1,
            memory_mib: 256,
            virtualization: false,
            reboots: false,
            options: Vec::new(),
        };
        return Ok(Start { machine, image_id: String::new(), el2_sha256: String::new() });
    }
    let configuration = paths.root.join(case.configuration.as_deref().unwrap_or(Path::new("")));
    // Other boards than `virt` have the one version that they have.
    let gic = (image::board(&configuration)? == "qemu-virt").then_some(gic);
    let virtio = case.net.then_some(Virtio::Network).into_iter().collect();
    let trusted_firmware = case.trusted_firmware;
    let overrides = Overrides { gic, virtio, trusted_firmware, ..Overrides::default() };
    let image = image::compile(paths, &configuration, &overrides)?;
    let mut machine = run::machine(paths, &image, &overrides, case.cpu.as_deref())?;
    if case.card {
        let firmware = firmware::ensure(&paths.cache)?;
        let contents = Contents { image: &image, firmware: &firmware, trusted_firmware };
        let directory = directory_of(paths, case);
        files::create_dir(&directory)?;
        let card = directory.join("card.img");
        flash::flash(paths, &contents, &Target::File(card.clone()))?;
        let Started { kernel, device_tree, stub } = start::load(&card, &directory)?;
        (machine.kernel, machine.board) = (kernel, Board::RaspberryPi4 { device_tree, stub });
    }
    if case.sd {
        let slot = directory_of(paths, case).join("slot.img");
        fill_slot(&directory_of(paths, case).join("card.img"), &slot)?;
        let drive = format!("if=sd,format=raw,file={}", slot.display().to_string().replace(',', ",,"));
        machine.options.extend(["-drive".into(), drive]);
    }
    if let Some(part) = case.damage {
        let harmed = image.path.with_extension("harmed");
        harm(&image.path, part, &harmed)?;
        machine.kernel = harmed;
    }
    machine.reboots = case.reboot;
    if case.icount {
        machine.options.extend(run::ICOUNT.map(String::from));
    }
    let el2_sha256 = sha256(&files::read(&image.el2)?);
    Ok(Start { machine, image_id: image.report.image_id.clone(), el2_sha256 })
}

/// Copies an image with one bit of a part flipped, in the middle.
fn harm(image: &Path, part: Damage, copy: &Path) -> Result<()> {
    let failed = |e: bulkhead_verify::Unreadable| Failure::failed(e.to_string());
    let mut packed = bulkhead_verify::Image::read(image).map_err(failed)?;
    let view = packed.open().map_err(failed)?;
    let range = match part {
        Damage::Constants => view.constants(),
    };
    if range.is_empty() {
        return Err(Failure::failed(format!("the image has no {part:?} to damage")));
    }
    let middle = (range.start - view.header().image_base + range.bytes() / 2) as usize;
    packed.bytes_mut()[middle] ^= 1;
    files::write(copy, packed.bytes())
}

/// Where the card of a case lies.
fn directory_of(paths: &Paths, case: &Case) -> PathBuf {
    paths.products().join("cards").join(&case.name)
}

/// Copies a card to one of QEMU's sizes, which are powers of two.
fn fill_slot(card: &Path, slot: &Path) -> Result<()> {
    files::copy(card, slot)?;
    let failed = |e: std::io::Error| Failure::file("resize", slot, &e);
    let file = std::fs::OpenOptions::new().write(true).open(slot).map_err(failed)?;
    let bytes = file.metadata().map_err(failed)?.len().next_power_of_two();
    file.set_len(bytes).map_err(failed)
}

fn perform(job: &Job) -> Result<()> {
    let start = job.start.as_ref().map_err(|failure| Failure::failed(failure.to_string()))?;
    let mut guest = start.machine.start(Some(&job.log))?;
    let outcome = steps(job.case, &mut guest, &start.image_id).and_then(|()| end(job.case, &mut guest));
    outcome.map_err(|failure| {
        Failure::failed(format!(
            "        {failure}\n{}--- last {SHOWN} lines of {}\n{}\n---",
            complaints(&guest),
            job.log.display(),
            guest.tail(SHOWN)
        ))
    })
}

fn complaints(guest: &Guest) -> String {
    match guest.complaints() {
        text if text.is_empty() => text,
        text => format!("QEMU says: {text}\n"),
    }
}

fn steps(case: &Case, guest: &mut Guest, image_id: &str) -> Result<()> {
    let mut cursor = Cursor::default();
    let net = Duration::from_secs(case.timeout_s);
    for (number, step) in (1..).zip(&case.steps) {
        let left = net.saturating_sub(guest.age());
        step_once(step, guest, &mut cursor, left, image_id)
            .map_err(|failure| failure.within(&format!("step {number}")))?;
        forbidden(case, guest)?;
    }
    Ok(())
}

fn step_once(
    step: &Step,
    guest: &mut Guest,
    cursor: &mut Cursor,
    left: Duration,
    image_id: &str,
) -> Result<()> {
    match step {
        Step::Send { send } => guest.send(send.as_bytes()),
        Step::Wait { wait, within_s, anywhere, at_least, at_most, image_id: is_id } => {
            let within = limit(*within_s, left);
            let mut start = Cursor::default();
            let from = if *anywhere { &mut start } else { cursor };
            let line = expect(wait, within, guest.wait_for(&wait.0, from, within))?;
            if *is_id {
                same_image(wait, &line, image_id)?;
            }
            within_bounds(wait, &line, *at_least, *at_most)
        }
        Step::Prompt { prompt, within_s } => {
            let within = limit(*within_s, left);
            expect(prompt, within, guest.wait_for_prompt(&prompt.0, cursor, within)).map(drop)
        }
        Step::Count { count, during_s, at_least, at_most } => {
            let found = count_lines(guest, count, cursor, limit(*during_s, left));
            let most = at_most.unwrap_or(usize::MAX);
            if (*at_least..=most).contains(&found) && !guest.has_ended() {
                return Ok(());
            }
            let bounds = match at_most {
                Some(most) => format!("{at_least} to {most}"),
                None => format!("at least {at_least}"),
            };
            Err(Failure::failed(format!(
                "`{}` came {found} times in {during_s} s, expected {bounds}",
                count.0.as_str()
            )))
        }
        Step::States { states, within_s } => reach(guest, states, limit(*within_s, left)),
        Step::Exit { exit: True, within_s } => match guest.wait_exit(limit(*within_s, left)) {
            Some(status) if status.success() => Ok(()),
            Some(status) => Err(Failure::failed(format!("QEMU ended with {status}"))),
            None => Err(Failure::failed(format!("QEMU did not end within {within_s} s"))),
        },
    }
}

/// Asks for the partitions' states until they are the expected ones.
fn reach(guest: &mut Guest, states: &BTreeMap<String, String>, within: Duration) -> Result<()> {
    let deadline = Instant::now() + within;
    loop {
        let listed = run::states(guest)?;
        let fits =
            |(name, word): (&String, &String)| listed.iter().any(|s| s.name == *name && s.word == *word);
        if states.iter().all(fits) {
            return Ok(());
        }
        if Instant::now() >= deadline {
            return Err(Failure::failed(format!(
                "states are {}, expected {states:?}",
                run::states_text(&listed)
            )));
        }
        std::thread::sleep(Duration::from_millis(200));
    }
}

fn limit(seconds: f64, left: Duration) -> Duration {
    Duration::try_from_secs_f64(seconds).unwrap_or(left).min(left)
}

fn expect(wait: &Pattern, within: Duration, seen: std::result::Result<String, NotSeen>) -> Result<String> {
    seen.map_err(|cause| {
        let cause = match cause {
            NotSeen::Late => format!("did not come within {:.0} s", within.as_secs_f64()),
            NotSeen::Ended => "did not come before QEMU ended".to_string(),
        };
        Failure::failed(format!("`{}` {cause}", wait.0.as_str()))
    })
}

fn within_bounds(wait: &Pattern, line: &str, at_least: Option<f64>, at_most: Option<f64>) -> Result<()> {
    if at_least.is_none() && at_most.is_none() {
        return Ok(());
    }
    let captured = wait.0.captures(line).and_then(|captures| captures.get(1).map(|c| c.as_str()));
    let value: Option<f64> = captured.and_then(|text| text.parse().ok());
    match value {
        Some(value)
            if at_least.is_none_or(|least| value >= least) && at_most.is_none_or(|most| value <= most) =>
        {
            Ok(())
        }
        _ => Err(Failure::failed(format!(
            "`{}` gave {}, expected {} to {}; the line was: {line}",
            wait.0.as_str(),
            captured.unwrap_or("no number"),
            at_least.map_or("anything".into(), |least| least.to_string()),
            at_most.map_or("anything".into(), |most| most.to_string()),
        ))),
    }
}

fn same_image(wait: &Pattern, line: &str, image_id: &str) -> Result<()> {
    let shown = wait.0.captures(line).and_then(|captures| captures.get(1).map(|c| c.as_str()));
    if shown == Some(image_id) {
        return Ok(());
    }
    let (pattern, shown) = (wait.0.as_str(), shown.unwrap_or("nothing"));
    Err(Failure::failed(format!("`{pattern}` gave {shown}, expected the image ID {image_id}")))
}

fn count_lines(guest: &Guest, count: &Pattern, cursor: &mut Cursor, during: Duration) -> usize {
    *cursor = guest.end();
    let end = Instant::now() + during;
    let mut found = 0;
    loop {
        let left = end.saturating_duration_since(Instant::now());
        match guest.wait_for(&count.0, cursor, left) {
            Ok(_) => found += 1,
            Err(_) => return found,
        }
    }
}

fn forbidden(case: &Case, guest: &Guest) -> Result<()> {
    let (lines, _) = guest.lines_after(Cursor::default());
    for pattern in &case.forbid {
        if let Some(line) = lines.iter().find(|line| pattern.0.is_match(line)) {
            return Err(Failure::failed(format!("forbidden `{}`: {line}", pattern.0.as_str())));
        }
    }
    Ok(())
}

/// Ends a case that has not ended itself: through EL2, which must still answer unless it was not to
/// boot at all, or by the owner of a payload that runs bare.
fn end(case: &Case, guest: &mut Guest) -> Result<()> {
    let ends_itself = case.steps.iter().any(|step| matches!(step, Step::Exit { .. }));
    if case.bare.is_some() || case.damage.is_some() || ends_itself {
        return Ok(());
    }
    run::power_off(guest)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pattern(text: &str) -> Pattern {
        Pattern::try_from(text.to_string()).unwrap()
    }

    #[test]
    fn bounds_apply_to_the_first_capture() {
        let wait = pattern(r"max=(\d+)");
        let check = |line, least, most| within_bounds(&wait, line, least, most);
        assert!(check("max=5", None, Some(5.0)).is_ok());
        assert!(check("max=5", Some(6.0), None).is_err());
        assert!(check("max=5", None, Some(4.0)).unwrap_err().to_string().contains("gave 5"));
        let none = within_bounds(&pattern("max"), "max=5", Some(1.0), None).unwrap_err();
        assert!(none.to_string().contains("no number"));
    }

    /// Runs steps against a shell script as the guest.
    fn outcome(script: &str, steps: &str) -> std::result::Result<(), String> {
        let text = format!("about = \"x\"\nbare = \"x\"\nforbid = ['oops']\n{steps}");
        let case = super::super::case::parse("x", &text).unwrap();
        let mut guest = crate::guest::tests::script(script);
        super::steps(&case, &mut guest, "5a").map_err(|failure| failure.to_string())
    }

    #[test]
    fn each_kind_of_step_passes_and_fails() {
        let wait = "[[step]]\nwait = 'v=(\\d+)'\nat-most = 5\nwithin-s = 0.5\n";
        assert_eq!(outcome("echo v=5; sleep 1", wait), Ok(()));
        assert!(outcome("echo v=6; sleep 1", wait).unwrap_err().contains("step 1: `v="));
        assert!(outcome("sleep 1", wait).unwrap_err().contains("did not come within"));
        assert!(outcome("true", wait).unwrap_err().contains("before QEMU ended"));

        let id = "[[step]]\nwait = 'ID (\\w+)'\nimage-id = true\nwithin-s = 0.5\n";
        assert_eq!(outcome("echo ID 5a; sleep 1", id), Ok(()));
        assert!(
            outcome("echo ID 5b; sleep 1", id).unwrap_err().contains("gave 5b, expected the image ID 5a")
        );

        let order = "[[step]]\nwait = 'b'\n[[step]]\nwait = 'a'\nwithin-s = 0.2\n";
        assert!(outcome("echo a; echo b; sleep 1", order).unwrap_err().contains("step 2"));
        let anywhere = format!("{order}anywhere = true\n");
        assert_eq!(outcome("echo a; echo b; sleep 1", &anywhere), Ok(()));

        let count = "[[step]]\ncount = 'tick'\nduring-s = 1.5\nat-least = 2\nat-most = 3\n";
        let ticks = |n: usize| format!("{} sleep 2", "sleep 0.05; echo tick; ".repeat(n));
        assert_eq!(outcome(&ticks(2), count), Ok(()));
        assert!(outcome(&ticks(1), count).unwrap_err().contains("came 1 times"));
        assert!(outcome(&ticks(4), count).unwrap_err().contains("expected 2 to 3"));

        let talk = "[[step]]\nsend = \"you\\n\"\n[[step]]\nwait = 'hello you'\n[[step]]\nexit = true\n\
                    within-s = 5\n";
        assert_eq!(outcome("read x; echo hello $x", talk), Ok(()));
        let dies = outcome("read x; echo hello $x; exit 3", talk).unwrap_err();
        assert!(dies.contains("step 3: QEMU ended with exit status: 3"), "{dies}");

        let prompt = "[[step]]\nprompt = '\\$ $'\nwithin-s = 0.5\n";
        assert_eq!(outcome("printf '$ '; sleep 1", prompt), Ok(()));
        assert!(outcome("printf '# '; sleep 1", prompt).unwrap_err().contains("did not come"));

        let stays = "[[step]]\nexit = true\nwithin-s = 0.1\n";
        assert!(outcome("sleep 2", stays).unwrap_err().contains("did not end within 0.1 s"));
        let states = "[[step]]\nstates = { a = \"failed\" }\nwithin-s = 0.1\n";
        let answer =
            "head -c 2 >/dev/null; echo 'bulkhead| status a failed starts=1'; echo 'bulkhead| status end'";
        assert_eq!(outcome(answer, states), Ok(()));
        let other = answer.replace("a failed", "a running");
        let stubborn = format!("for i in 1 2 3 4 5 6 7 8; do {other}; done");
        assert!(outcome(&stubborn, states).unwrap_err().contains("states are a running, expected"));
    }

    #[test]
    fn forbidden_lines_fail_a_case_that_passes_otherwise() {
        let wait = "[[step]]\nwait = 'done'\n";
        assert_eq!(outcome("echo done", wait), Ok(()));
        assert!(outcome("echo oops; echo done", wait).unwrap_err().contains("forbidden `oops`"));
    }

    #[test]
    fn the_safety_net_limits_every_step() {
        let net = Duration::from_secs(7);
        assert_eq!(limit(60.0, net), net);
        assert_eq!(limit(0.5, net), Duration::from_millis(500));
        assert_eq!(limit(-1.0, net), net);
    }
}
