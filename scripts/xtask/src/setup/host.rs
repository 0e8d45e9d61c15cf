//! The tools that the host must have, installed from Debian when they are missing.

use std::io::IsTerminal;
use std::process::Command;

use super::apt;
use super::mirror::Host;
use crate::failure::{Failure, Result};
use crate::process;

/// The oldest QEMU whose `virt` machine does what the tests rely on.
const OLDEST_QEMU: u32 = 9;

const BACKPORTS_SOURCE: &str = "/etc/apt/sources.list.d/bulkhead-backports.list";

/// A program that the driver runs or a file that it needs, the Debian packages it comes with, and what it is for.
struct Tool {
    program: &'static str,
    packages: &'static [&'static str],
    purpose: &'static str,
}

const TOOLS: &[Tool] = &[
    Tool {
        program: "qemu-system-aarch64",
        packages: &["qemu-system-arm"],
        purpose: "the emulated board (version 9 or newer)",
    },
    Tool { program: "dtc", packages: &["device-tree-compiler"], purpose: "reads configurations" },
    Tool {
        program: "aarch64-linux-gnu-gcc",
        packages: &["gcc-aarch64-linux-gnu"],
        purpose: "builds the Linux partition's module and tool",
    },
    Tool {
        program: "/usr/aarch64-linux-gnu/lib/libc.a",
        packages: &["libc6-dev-arm64-cross"],
        purpose: "C library of the Linux partition's tool",
    },
    Tool { program: "make", packages: &["make"], purpose: "builds the Linux partition's module" },
];

const DEBUGGER: Tool = Tool {
    program: "gdb-multiarch",
    packages: &["gdb-multiarch"],
    purpose: "the debugger that --gdb waits for",
};

const BROWSER: Tool = Tool {
    program: "chromium",
    packages: &["chromium", "fonts-dejavu-core"],
    purpose: "the browser in which a test opens the evidence report",
};

const FUZZER: Tool = Tool {
    program: "c++",
    packages: &["g++"],
    purpose: "builds libFuzzer, by which tests damage foreign bytes",
};

/// Installs what is missing, for tests what they need besides; asks for root rights only then, and says what for.
///
/// # Errors
/// Exit code 2 with the exact commands when there is no way to root rights here.
pub fn ensure(debugger: bool, tests: bool) -> Result<()> {
    let more = [(debugger, &DEBUGGER), (tests, &BROWSER), (tests, &FUZZER)];
    let wanted = TOOLS.iter().chain(more.into_iter().filter_map(|(wanted, tool)| wanted.then_some(tool)));
    let missing: Vec<&Tool> = wanted.filter(|tool| !is_usable(tool)).collect();
    if missing.is_empty() {
        return Ok(());
    }
    if process::find("apt-get").is_none() {
        let list: Vec<String> =
            missing.iter().map(|tool| format!("  {}: {}", tool.program, tool.purpose)).collect();
        return Err(Failure::unusable(format!(
            "these programs are missing and there is no apt-get to install them with:\n{}",
            list.join("\n")
        )));
    }
    let steps = steps_for(&missing)?;
    println!("Root rights are needed to install these programs with apt-get:");
    for tool in &missing {
        println!("  {:<22} {} (package {})", tool.program, tool.purpose, tool.packages.join(", "));
    }
    let elevation = elevation(&steps)?;
    for step in &steps {
        if let Some(mut question) = size_question(step) {
            let downloads = apt::parse_uris(&process::capture(&mut question)?)?;
            apt::announce("host tools", downloads.len(), downloads.iter().map(|d| d.bytes).sum());
        }
        println!("running: {}", step.join(" "));
        let mut command = Command::new("env");
        if let Some(sudo) = &elevation {
            command = Command::new(&sudo[0]);
            command.args(&sudo[1..]).arg("env");
        }
        command.arg("DEBIAN_FRONTEND=noninteractive").args(step);
        process::run(&mut command).map_err(|failure| {
            Failure::unusable(format!("{failure}\nRun the same command again when it can work."))
        })?;
    }
    match missing.iter().find(|tool| !is_usable(tool)) {
        None => Ok(()),
        Some(tool) => Err(Failure::unusable(format!(
            "{} is still not usable after its package was installed: {}",
            tool.program, tool.purpose
        ))),
    }
}

fn is_usable(tool: &Tool) -> bool {
    let Some(path) = process::find(tool.program) else {
        return false;
    };
    if tool.program != "qemu-system-aarch64" {
        return true;
    }
    let version = process::capture(Command::new(path).arg("--version")).unwrap_or_default();
    qemu_major(&version).is_some_and(|major| major >= OLDEST_QEMU)
}

fn qemu_major(version: &str) -> Option<u32> {
    version.split("version ").nth(1)?.split('.').next()?.parse().ok()
}

/// The commands that install the tools: each a program with its arguments, to be run as root.
fn steps_for(missing: &[&Tool]) -> Result<Vec<Vec<String>>> {
    let host = Host::read()?;
    let wants_qemu = missing.iter().any(|tool| tool.program == "qemu-system-aarch64");
    let backports = wants_qemu.then(|| backports_suite(&host)).flatten();
    let mut steps = Vec::new();
    if let Some(suite) = &backports
        && host.mirror_of(suite).is_none()
    {
        let line = format!("echo 'deb {} {suite} main' > {BACKPORTS_SOURCE}", host.mirror()?);
        steps.push(vec!["sh".into(), "-c".into(), line]);
    }
    steps.push(words("apt-get update -q"));
    let mut install = words("apt-get install -q --yes --no-install-recommends");
    for tool in missing {
        for package in tool.packages {
            match &backports {
                Some(suite) if *package == "qemu-system-arm" => {
                    steps.push([install.clone(), words(&format!("-t {suite} {package}"))].concat());
                }
                _ => install.push((*package).to_string()),
            }
        }
    }
    if install.last().is_some_and(|word| !word.starts_with('-')) {
        steps.push(install);
    }
    Ok(steps)
}

/// What asks apt, without root rights, for the files that an installing step would download.
fn size_question(step: &[String]) -> Option<Command> {
    let arguments = step.strip_prefix(["apt-get".to_string(), "install".to_string()].as_slice())?;
    let mut question = Command::new("apt-get");
    question.args(["install", "--print-uris", "-qq"]).args(arguments);
    Some(question)
}

fn words(line: &str) -> Vec<String> {
    line.split(' ').map(str::to_string).collect()
}

/// The suite whose QEMU is new enough; none if the host's own is.
fn backports_suite(host: &Host) -> Option<String> {
    let is_old = host.is_debian && host.version.is_some_and(|version| version < 13);
    is_old.then(|| format!("{}-backports", host.codename))
}

/// How a command gets root rights: nothing before it, or sudo.
fn elevation(steps: &[Vec<String>]) -> Result<Option<Vec<String>>> {
    let identity = process::capture(Command::new("id").arg("-u"))?;
    if identity.trim() == "0" {
        return Ok(None);
    }
    if process::find("sudo").is_some() {
        if can_prompt() {
            return Ok(Some(words("sudo")));
        }
        if process::run_quiet(Command::new("sudo").args(["-n", "true"])).is_ok() {
            return Ok(Some(words("sudo -n")));
        }
    }
    let commands: Vec<String> = steps
        .iter()
        .map(|step| {
            let mut command = Command::new(&step[0]);
            command.args(&step[1..]);
            format!("  {}", process::line(&command))
        })
        .collect();
    Err(Failure::unusable(format!(
        "this user is not root and cannot use sudo here. Have these commands run as root, then run \
         the same command again:\n{}",
        commands.join("\n")
    )))
}

/// Whether somebody is there to answer: never in CI.
pub fn can_prompt() -> bool {
    std::env::var_os("CI").is_none() && std::io::stdin().is_terminal()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn version_of_qemu_is_read() {
        let text = "QEMU emulator version 10.0.2 (Debian 1:10.0.2+ds-2)\nCopyright";
        assert_eq!(qemu_major(text), Some(10));
        assert_eq!(qemu_major("no such thing"), None);
    }

    #[test]
    fn what_a_step_would_download_is_asked_for_before_it_runs() {
        let step = words("apt-get install -q --yes -t x-backports qemu-system-arm");
        assert_eq!(
            process::line(&size_question(&step).unwrap()),
            "apt-get install --print-uris -qq -q --yes -t x-backports qemu-system-arm"
        );
        assert!(size_question(&words("apt-get update -q")).is_none());
    }

    #[test]
    fn tools_of_the_host_need_no_backports() {
        let make = TOOLS.iter().find(|tool| tool.program == "make").unwrap();
        let steps = steps_for(&[make]).unwrap();
        let lines: Vec<String> = steps.iter().map(|step| step.join(" ")).collect();
        assert_eq!(lines, ["apt-get update -q", "apt-get install -q --yes --no-install-recommends make"]);
    }
}
