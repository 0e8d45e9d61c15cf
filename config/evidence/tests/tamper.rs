//! Packs that somebody changed, and packs made over older ones.

#[path = "../../compile/tests/common/mod.rs"]
mod common;
mod packs;

use bulkhead_evidence::certify::{IMAGE, SUMS};
use bulkhead_evidence::sign::SIGNATURE;
use bulkhead_evidence::{certify, sha256, sign};
use common::Workshop;
use packs::{avionics, demo, request};
use std::path::Path;

// RFC 8410, section 10.3: the example key; and a key of another pair.
const PRIVATE: &str = "-----BEGIN PRIVATE KEY-----\nMC4CAQAwBQYDK2VwBCIEINTuctv5E1hK1bbY8fdp+K06/nwoy/HU++CXqI9EdVhC\n-----END PRIVATE KEY-----\n";
const PUBLIC: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEAGb9ECWmEzf6FQbrBZ9w7lshQhqowtrbLDFw4rXAxZuE=\n-----END PUBLIC KEY-----\n";
// RFC 8032, section 7.1, test 1, as RFC 8410 encodes it.
const OTHER: &str = "-----BEGIN PUBLIC KEY-----\nMCowBQYDK2VwAyEA11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=\n-----END PUBLIC KEY-----\n";

/// A signed pack, and what is wrong with it by its key.
fn signed(shop: &Workshop) -> std::path::PathBuf {
    let (_, pack) = demo(shop, "pack");
    shop.put("key.pem", PRIVATE.as_bytes());
    shop.put("key.pub", PUBLIC.as_bytes());
    shop.put("other.pub", OTHER.as_bytes());
    sign::sign(&pack, &shop.path("key.pem")).expect("a signature");
    pack
}

fn names(pack: &Path) -> Vec<String> {
    let entries = std::fs::read_dir(pack).expect("the pack").flatten();
    let mut list: Vec<String> = entries.map(|e| e.file_name().to_string_lossy().into_owned()).collect();
    list.sort();
    list
}

#[test]
fn every_change_of_a_signed_pack_is_found_and_named() {
    let shop = Workshop::small();
    let pack = signed(&shop);
    let key = shop.path("key.pub");
    let wrong = || sign::verify(&pack, Some(&key)).expect("a pack").join("\n");
    assert_eq!(wrong(), "");
    for name in names(&pack) {
        let path = pack.join(&name);
        let good = std::fs::read(&path).expect("a file");
        let mut bad = good.clone();
        let middle = bad.len() / 2;
        bad[middle] ^= 1;
        for harmed in [bad, good[..good.len() - 1].to_vec(), Vec::new()] {
            std::fs::write(&path, harmed).expect("a file");
            assert!(wrong().contains(&name), "{name} altered: {}", wrong());
        }
        std::fs::remove_file(&path).expect("removed");
        let missing = sign::verify(&pack, Some(&key)).map_or_else(|reason| reason, |list| list.join("\n"));
        assert!(missing.contains(&name), "{name} removed: {missing}");
        #[cfg(unix)]
        {
            let elsewhere = shop.path("elsewhere");
            std::fs::write(&elsewhere, &good).expect("a file");
            std::os::unix::fs::symlink(&elsewhere, &path).expect("a link");
            assert!(wrong().contains(&format!("{name}: no plain file")), "{name} linked: {}", wrong());
            std::fs::remove_file(&path).expect("removed");
        }
        std::fs::write(&path, good).expect("a file");
    }
    let (one, two) = (pack.join("flow.svg"), pack.join("memory.svg"));
    let swap = || {
        std::fs::rename(&one, shop.path("third")).expect("renamed");
        std::fs::rename(&two, &one).expect("renamed");
        std::fs::rename(shop.path("third"), &two).expect("renamed");
    };
    swap();
    assert!(wrong().contains("flow.svg: found digest") && wrong().contains("memory.svg: found digest"));
    swap();
    std::fs::create_dir(pack.join("more")).expect("a directory");
    assert!(wrong().contains("more: not listed"));
    std::fs::remove_dir(pack.join("more")).expect("removed");
    assert!(
        sign::verify(&pack, Some(&shop.path("other.pub")))
            .expect("a pack")
            .join("\n")
            .contains("not a signature")
    );
    let private = sign::verify(&pack, Some(&shop.path("key.pem"))).expect_err("a private key");
    assert!(!private.contains("MC4CAQ") && private.contains("public key"), "{private}");
    assert_eq!(wrong(), "");
}

#[test]
fn a_list_that_somebody_wrote_anew_does_not_hide_a_foreign_image_or_a_missing_report() {
    let shop = Workshop::small();
    let (_, pack) = demo(&shop, "pack");
    let again = |drop: &str| {
        let list = names(&pack).into_iter().filter(|n| n != SUMS && n != drop);
        let line = |n: String| format!("{}  {n}\n", sha256(&std::fs::read(pack.join(&n)).expect("a file")));
        let text: String = list.map(line).collect();
        std::fs::write(pack.join(SUMS), text).expect("the list");
    };
    again("");
    assert_eq!(sign::verify(&pack, None).expect("a pack"), Vec::<String>::new());
    std::fs::remove_file(pack.join("report.html")).expect("removed");
    again("");
    assert_eq!(sign::verify(&pack, None).expect("a pack"), ["SHA256SUMS does not list report.html"]);
    let other = Workshop::small();
    avionics(&other, &[]);
    std::fs::copy(other.path("pack").join(IMAGE), pack.join(IMAGE)).expect("copied");
    again("");
    let wrong = sign::verify(&pack, None).expect("a pack").join("\n");
    assert!(wrong.contains("evidence.json: speaks of BH-DEMO-1 rev A, bulkhead.img is BH-AVN-20"), "{wrong}");
}

#[test]
fn nothing_of_an_older_pack_stays_and_nothing_is_written_if_an_error_stands() {
    let shop = Workshop::small();
    avionics(&shop, &[]);
    let pack = shop.path("pack");
    shop.put("key.pem", PRIVATE.as_bytes());
    sign::sign(&pack, &shop.path("key.pem")).expect("a signature");
    assert!(pack.join("plan-maintenance.svg").exists());
    demo(&shop, "pack");
    assert!(!pack.join("plan-maintenance.svg").exists() && !pack.join(SIGNATURE).exists());
    assert_eq!(sign::verify(&pack, None).expect("a pack"), Vec::<String>::new());
    let before = std::fs::read(pack.join(SUMS)).expect("the list");
    let mut refused = request(&shop, std::fs::canonicalize("../bad/NAM-001.dts").expect("a file"), "pack");
    assert!(certify(&refused).is_err());
    assert_eq!(std::fs::read(pack.join(SUMS)).expect("the list"), before);
    refused.output = shop.path("never");
    assert!(certify(&refused).is_err() && !shop.path("never").exists());
}
