//! Which release of Debian the host is, and from where it takes packages.

use std::path::Path;

use crate::failure::{Failure, Result};
use crate::files;

/// Environment variable that names a mirror, for hosts without a source of Debian.
const VARIABLE: &str = "BULKHEAD_DEBIAN_MIRROR";

/// What the host says about itself.
#[derive(Debug, Default)]
pub struct Host {
    /// Whether it is Debian itself, not something made from it.
    pub is_debian: bool,
    /// Major version; none for the development branch.
    pub version: Option<u32>,
    /// Name of the release, for example `bookworm`.
    pub codename: String,
    /// Binary package sources: (mirror, suite).
    sources: Vec<(String, String)>,
}

impl Host {
    /// Reads `/etc/os-release` and the sources below `/etc/apt`.
    pub fn read() -> Result<Host> {
        let mut host = parse_release(&files::read_text(Path::new("/etc/os-release"))?);
        let mut sources = files::list(Path::new("/etc/apt/sources.list.d"))?;
        sources.extend(Some("/etc/apt/sources.list".into()).filter(|p: &std::path::PathBuf| p.exists()));
        for file in sources {
            match file.extension().and_then(|extension| extension.to_str()) {
                Some("list") => host.sources.extend(parse_lines(&files::read_text(&file)?)),
                Some("sources") => host.sources.extend(parse_stanzas(&files::read_text(&file)?)),
                _ => {}
            }
        }
        Ok(host)
    }

    /// The mirror that the host takes a suite from.
    pub fn mirror_of(&self, suite: &str) -> Option<&str> {
        self.sources.iter().find(|(_, s)| s == suite).map(|(mirror, _)| mirror.as_str())
    }

    /// A mirror of Debian's archive: it serves every suite but the security one.
    ///
    /// # Errors
    /// When the host has no source for its own release and the variable is not set.
    pub fn mirror(&self) -> Result<String> {
        if let Some(mirror) = std::env::var(VARIABLE).ok().filter(|mirror| !mirror.is_empty()) {
            return Ok(mirror);
        }
        self.mirror_of(&self.codename).map(str::to_string).ok_or_else(|| {
            Failure::unusable(format!(
                "no source for the suite `{}` in /etc/apt: set {VARIABLE} to the address of a mirror \
                 of Debian (what stands after `deb` or `URIs:` in a source)",
                self.codename
            ))
        })
    }

    /// The mirror of security updates: the host's, else the one that lies beside its archive.
    pub fn security_mirror(&self) -> Result<String> {
        match self.mirror_of(&format!("{}-security", self.codename)) {
            Some(mirror) => Ok(mirror.to_string()),
            None => Ok(format!("{}-security", self.mirror()?.trim_end_matches('/'))),
        }
    }
}

fn parse_release(text: &str) -> Host {
    let field = |name: &str| {
        let value = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix('='));
        value.map(|value| value.trim_matches('"'))
    };
    Host {
        is_debian: field("ID") == Some("debian"),
        version: field("VERSION_ID").and_then(|version| version.parse().ok()),
        codename: field("VERSION_CODENAME").unwrap_or_default().to_string(),
        sources: Vec::new(),
    }
}

/// The one-line form of sources.list(5): `deb [options] URI suite component...`.
fn parse_lines(text: &str) -> Vec<(String, String)> {
    let without_options = |rest: &str| -> String {
        match rest.trim_start().strip_prefix('[') {
            Some(options) => options.split_once(']').map_or("", |(_, rest)| rest).to_string(),
            None => rest.to_string(),
        }
    };
    text.lines()
        .filter_map(|line| line.trim().strip_prefix("deb "))
        .filter_map(|rest| {
            let rest = without_options(rest);
            let mut words = rest.split_whitespace();
            Some((words.next()?.to_string(), words.next()?.to_string()))
        })
        .collect()
}

/// The deb822 form of sources.list(5): stanzas with `Types:`, `URIs:` and `Suites:`.
fn parse_stanzas(text: &str) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let lines: Vec<&str> = text.lines().filter(|line| !line.starts_with('#')).collect();
    for stanza in lines.split(|line| line.trim().is_empty()) {
        let words = |name: &str| -> Vec<&str> {
            let value = stanza.iter().find_map(|line| line.strip_prefix(name)?.strip_prefix(':'));
            value.unwrap_or_default().split_whitespace().collect()
        };
        if !words("Types").contains(&"deb") || words("Enabled") == ["no"] {
            continue;
        }
        for uri in words("URIs") {
            found.extend(words("Suites").iter().map(|s| (uri.to_string(), s.to_string())));
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn both_forms_of_sources_are_read() {
        let lines = "# deb http://no no main\ndeb [arch=amd64 signed-by=/k] http://a/debian x main\n\
                     deb-src http://s/debian x main\ndeb http://b/debian x-updates main contrib\n";
        let expected = [("http://a/debian", "x"), ("http://b/debian", "x-updates")];
        assert_eq!(parse_lines(lines), expected.map(|(u, s)| (u.to_string(), s.to_string())));
        let stanzas = "Types: deb deb-src\n# comment\nURIs: http://a/debian\nSuites: x x-updates\n\n\
                       Types: deb\nEnabled: no\nURIs: http://b\nSuites: y\n\nTypes: deb-src\n\
                       URIs: http://c\nSuites: z\n";
        let expected = [("http://a/debian", "x"), ("http://a/debian", "x-updates")];
        assert_eq!(parse_stanzas(stanzas), expected.map(|(u, s)| (u.to_string(), s.to_string())));
    }

    #[test]
    fn security_updates_lie_beside_the_archive_unless_the_host_says_otherwise() {
        let mut host = parse_release("ID=debian\nVERSION_ID=\"12\"\nVERSION_CODENAME=x\n");
        assert_eq!((host.is_debian, host.version), (true, Some(12)));
        host.sources = parse_lines("deb http://a/debian/ x main\n");
        assert_eq!(host.security_mirror().unwrap(), "http://a/debian-security");
        host.sources.extend(parse_lines("deb http://s x-security main\n"));
        assert_eq!(host.security_mirror().unwrap(), "http://s");
        assert_eq!(host.mirror().unwrap(), "http://a/debian/");
    }
}
