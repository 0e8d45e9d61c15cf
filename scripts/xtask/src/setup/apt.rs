//! A private package state: apt with its own lists, status and cache, away from the host's dpkg.
//!
//! Nothing here needs root rights, and nothing here is seen by the host's package manager. The
//! archive's signature is checked with the keyring that Debian installs on every host.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::failure::{Failure, Result};
use crate::files;
use crate::process;

const KEYRING: &str = "/usr/share/keyrings/debian-archive-keyring.gpg";
const DOWNLOADER: &str = "/usr/lib/apt/apt-helper";

/// Bytes per second that the announced times assume.
const ASSUMED_RATE: u64 = 5_000_000;

/// A private state of apt for one architecture and one set of suites.
pub struct PrivateApt {
    directory: PathBuf,
}

/// What a private state is made of.
pub struct StateRequest<'a> {
    /// Directory that holds the state.
    pub directory: PathBuf,
    /// Architecture that unqualified package names mean.
    pub architecture: &'a str,
    /// Further architectures whose packages can be named.
    pub foreign: &'a [&'a str],
    /// (mirror, suite) pairs.
    pub suites: &'a [(String, &'a str)],
    /// Components of the suites, separated by blanks.
    pub components: &'a str,
    /// The host's network settings for apt, from [`host_proxies`].
    pub proxies: String,
    /// A dpkg status file whose packages count as installed; none: an empty system.
    pub installed: Option<&'a Path>,
}

/// One file of the archive, as apt resolved it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Download {
    /// Where it is.
    pub url: String,
    /// Its file name, without escapes.
    pub file: String,
    /// Its size in bytes.
    pub bytes: u64,
    /// Checksum in apt's notation, for example `SHA256:...`.
    pub checksum: String,
}

/// The host's settings of how apt reaches the network: proxies and time-outs.
///
/// The private state reads no configuration of the host, whose hooks would touch the host.
pub fn host_proxies() -> Result<String> {
    let mut command = Command::new("apt-config");
    command.args(["dump", "--no-empty", "--format", "%F \"%v\";%n"]);
    command.args(["Acquire::http", "Acquire::https"]);
    process::capture(&mut command)
}

impl PrivateApt {
    /// Writes the state's configuration; its lists are fetched by [`PrivateApt::update`].
    pub fn create(request: &StateRequest) -> Result<PrivateApt> {
        if !Path::new(KEYRING).exists() {
            return Err(Failure::unusable(format!(
                "{KEYRING} is missing: install the package debian-archive-keyring, which holds the \
                 keys that Debian signs its archive with"
            )));
        }
        let directory = &request.directory;
        for sub in ["lists/partial", "cache/archives/partial", "etc/apt.conf.d", "etc/preferences.d"] {
            files::create_dir(&directory.join(sub))?;
        }
        let status = directory.join("status");
        match request.installed {
            Some(installed) => files::copy(installed, &status)?,
            None => files::write(&status, b"")?,
        }
        files::write(&directory.join("sources.list"), sources(request).as_bytes())?;
        files::write(&directory.join("apt.conf"), configuration(request).as_bytes())?;
        Ok(PrivateApt { directory: directory.clone() })
    }

    /// Fetches the package lists.
    ///
    /// # Errors
    /// When the mirror cannot be reached; the message says how to go on.
    pub fn update(&self) -> Result<()> {
        let mut command = self.tool("apt-get");
        command.args(["update", "-q", "--error-on=any"]);
        process::run(&mut command).map_err(|failure| {
            Failure::unusable(format!(
                "the package lists of Debian could not be fetched ({failure}). Check the network and \
                 run the same command again; it goes on where it stopped. Another mirror can be \
                 named by BULKHEAD_DEBIAN_MIRROR"
            ))
        })
    }

    /// The packages that a package depends on, first alternatives only.
    pub fn depends(&self, package: &str) -> Result<Vec<String>> {
        let mut command = self.tool("apt-cache");
        command.args(["show", "--no-all-versions", package]);
        let stanza = process::capture(&mut command)?;
        let field = stanza.lines().find_map(|line| line.strip_prefix("Depends: "));
        Ok(field.map(names_of).unwrap_or_default())
    }

    /// The files of exactly the packages named.
    pub fn resolve(&self, packages: &[String]) -> Result<Vec<Download>> {
        let mut command = self.tool("apt-get");
        command.args(["download", "--print-uris", "-qq"]).args(packages);
        parse_uris(&process::capture(&mut command)?)
    }

    /// The files of the packages named and of all they need that the state does not have.
    pub fn resolve_with_dependencies(&self, packages: &[&str]) -> Result<Vec<Download>> {
        let mut command = self.tool("apt-get");
        command.args(["install", "--simulate", "--yes", "--no-install-recommends"]);
        let plan = process::capture(command.args(packages))?;
        self.resolve(&planned(&plan))
    }

    /// Removes the state: its lists take 200 MB and are out of date at the next use.
    pub fn discard(self) -> Result<()> {
        files::remove_dir(&self.directory)
    }

    fn tool(&self, program: &str) -> Command {
        let mut command = Command::new(program);
        command.env("APT_CONFIG", self.directory.join("apt.conf")).env("LC_ALL", "C.UTF-8");
        command
    }
}

fn sources(request: &StateRequest) -> String {
    let mut architectures = vec![request.architecture];
    architectures.extend(request.foreign);
    request
        .suites
        .iter()
        .map(|(mirror, suite)| {
            format!(
                "deb [arch={} signed-by={KEYRING}] {mirror} {suite} {}\n",
                architectures.join(","),
                request.components
            )
        })
        .collect()
}

fn configuration(request: &StateRequest) -> String {
    let root = request.directory.display();
    let mut architectures = vec![request.architecture];
    architectures.extend(request.foreign);
    let list: String = architectures.iter().map(|a| format!(" \"{a}\";")).collect();
    format!(
        "Dir::State \"{root}\";\n\
         Dir::State::lists \"{root}/lists\";\n\
         Dir::State::status \"{root}/status\";\n\
         Dir::Cache \"{root}/cache\";\n\
         Dir::Etc \"{root}/etc\";\n\
         Dir::Etc::SourceList \"{root}/sources.list\";\n\
         Dir::Etc::SourceParts \"-\";\n\
         APT::Architecture \"{architecture}\";\n\
         APT::Architectures {{{list} }};\n\
         APT::Sandbox::User \"root\";\n\
         Acquire::Languages \"none\";\n\
         Acquire::Retries \"3\";\n\
         {proxies}",
        architecture = request.architecture,
        proxies = request.proxies,
    )
}

/// Splits a `Depends:` field: first alternatives, without versions.
fn names_of(field: &str) -> Vec<String> {
    field
        .split(',')
        .filter_map(|item| item.split('|').next()?.split_whitespace().next())
        .map(str::to_string)
        .collect()
}

/// The packages, as `name=version`, that a simulated installation would unpack.
fn planned(simulation: &str) -> Vec<String> {
    let unpacked = simulation.lines().filter_map(|line| line.strip_prefix("Inst "));
    unpacked
        .filter_map(|rest| {
            let (name, rest) = rest.split_once(' ')?;
            let version = rest.split_once('(')?.1.split_whitespace().next()?;
            Some(format!("{name}={version}"))
        })
        .collect()
}

/// Reads what `--print-uris` prints: `'url' file bytes checksum`.
pub(super) fn parse_uris(text: &str) -> Result<Vec<Download>> {
    text.lines().filter(|line| line.starts_with('\'')).map(parse_uri).collect()
}

fn parse_uri(line: &str) -> Result<Download> {
    let words: Vec<&str> = line.split_whitespace().collect();
    if let [url, file, bytes, checksum] = words[..]
        && let Ok(bytes) = bytes.parse()
    {
        return Ok(Download {
            url: url.trim_matches('\'').to_string(),
            file: file.replace("%3a", ":"),
            bytes,
            checksum: checksum.to_string(),
        });
    }
    Err(Failure::unusable(format!("apt printed a download that cannot be read: {line}")))
}

/// Fetches files into a directory, each checked; complete ones are not fetched again.
///
/// Size and expected time are printed first.
///
/// # Errors
/// Names the file that could not be had and how to go on.
pub fn fetch(what: &str, downloads: &[Download], into: &Path) -> Result<()> {
    files::create_dir(into)?;
    let missing: Vec<&Download> = downloads.iter().filter(|d| !into.join(&d.file).exists()).collect();
    let total: u64 = missing.iter().map(|d| d.bytes).sum();
    announce(what, missing.len(), total);
    let mut done = 0;
    for download in missing {
        println!("  {:>3} %  {}", done * 100 / total.max(1), download.file);
        let target = into.join(&download.file);
        let partial = into.join(format!("{}.part", download.file));
        let mut command = Command::new(DOWNLOADER);
        command.args(["-q", "-o", "APT::Sandbox::User=root", "-o", "Acquire::Retries=3"]);
        command.arg("download-file").arg(&download.url).arg(&partial).arg(&download.checksum);
        process::run_quiet(&mut command).map_err(|failure| {
            Failure::unusable(format!(
                "{} could not be fetched from {}: {failure}\nCheck the network and run the same \
                 command again: what is complete is kept. If the mirror no longer has the file, \
                 `cargo xtask setup --update` reads the package lists again",
                download.file, download.url
            ))
        })?;
        files::rename(&partial, &target)?;
        done += download.bytes;
    }
    Ok(())
}

/// Says how much is to be downloaded and how long that may take.
pub fn announce(what: &str, count: usize, bytes: u64) {
    println!(
        "{what}: {count} file(s) to download, {:.1} MB, about {} s at {} MB/s",
        bytes as f64 / 1e6,
        bytes.div_ceil(ASSUMED_RATE).max(1),
        ASSUMED_RATE / 1_000_000,
    );
}

/// Unpacks packages below a directory, as plain files.
pub fn unpack(downloads: &[Download], from: &Path, into: &Path) -> Result<()> {
    files::create_dir(into)?;
    for download in downloads {
        let mut command = Command::new("dpkg-deb");
        command.arg("--extract").arg(from.join(&download.file)).arg(into);
        process::run_quiet(&mut command)?;
    }
    Ok(())
}

/// Removes downloads that have been unpacked.
pub fn discard(downloads: &[Download], from: &Path) -> Result<()> {
    for download in downloads {
        let path = from.join(&download.file);
        std::fs::remove_file(&path).map_err(|e| Failure::file("remove", &path, &e))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn depends_gives_first_alternatives_without_versions() {
        let field = "linux-base (>= 4.12~), a (= 1) | b (= 1), c:any, gcc-12";
        assert_eq!(names_of(field), ["linux-base", "a", "c:any", "gcc-12"]);
    }

    #[test]
    fn uris_are_read_and_other_lines_skipped() {
        let text = "Reading...\n'http://m/p/b_1%3a2.deb' b_1%3a2_arm64.deb 822236 SHA256:73\n";
        let expected = Download {
            url: "http://m/p/b_1%3a2.deb".into(),
            file: "b_1:2_arm64.deb".into(),
            bytes: 822_236,
            checksum: "SHA256:73".into(),
        };
        assert_eq!(parse_uris(text).unwrap(), [expected]);
        assert!(parse_uris("'http://m/x' x many SHA256:1").is_err());
    }

    #[test]
    fn plan_of_a_simulated_installation_is_read() {
        let text = "Inst lld (1:22 Debian:12 [amd64])\nRemv old [1]\nInst up [1.0] (2.0 D [all])\n\
                    Conf lld (1:22 Debian:12 [amd64])\n";
        assert_eq!(planned(text), ["lld=1:22", "up=2.0"]);
    }

    #[test]
    fn configuration_keeps_away_from_the_host() {
        let request = StateRequest {
            directory: "/c/apt".into(),
            architecture: "arm64",
            foreign: &["amd64"],
            suites: &[("http://m/debian".into(), "bookworm")],
            components: "main",
            proxies: String::new(),
            installed: None,
        };
        let text = configuration(&request);
        assert!(text.contains("Dir::State::status \"/c/apt/status\";"));
        assert!(text.contains("APT::Architectures { \"arm64\"; \"amd64\"; };"));
        assert_eq!(
            sources(&request),
            format!("deb [arch=arm64,amd64 signed-by={KEYRING}] http://m/debian bookworm main\n")
        );
    }
}
