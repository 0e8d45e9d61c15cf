//! The bytes of the image.

use super::emit::{self, Input, Roots};
use super::guest::Guest;
use super::hypervisor::{self, Hypervisor};
use super::layout::{self, Addresses, Sizes};
use super::ports::{self, View};
use super::tables::{Arena, Conflict, Stage};
use super::{content, guest, info_page, load_list, maps};
use crate::diag::Finding;
use crate::model::System;
use crate::rules;
use crate::rules::limits::LIM_001;
use crate::rules::memory::MEM_005;
use crate::span::Span;
use bulkhead_abi::loader;

use bulkhead_blueprint::layout::Header;
use sha2::{Digest, Sha256};

/// Bytes of the digest at the start of the blueprint's header.
const DIGEST_BYTES: usize = 32;
/// Placement is repeated until the sizes that it was made for are those that it gives; three rounds suffice.
const ROUNDS_MAX: usize = 8;

/// Executables that go into every image.
pub struct Binaries {
    /// EL2.
    pub hypervisor: Vec<u8>,
    /// The EL1 loader.
    pub loader: Vec<u8>,
}

/// A packed image.
pub struct Packed {
    /// Its bytes.
    pub file: Vec<u8>,
    /// The image ID: what EL2 compares at boot.
    pub image_id: [u8; DIGEST_BYTES],
    /// Where everything lies.
    pub addresses: Addresses,
    /// What each partition starts with.
    pub guests: Vec<Guest>,
}

impl Packed {
    /// The image ID as it is shown everywhere: 64 hexadecimal digits.
    pub fn image_id(&self) -> String {
        self.image_id.iter().map(|byte| format!("{byte:02x}")).collect()
    }
}

/// Tables and blueprint for one placement.
struct Sealed {
    tables: Arena,
    lists: Vec<Vec<u8>>,
    blueprint: Vec<u8>,
}

/// Packs the image.
///
/// # Errors
/// Every finding of the rules that need sizes and addresses.
pub fn pack(system: &System, binaries: &Binaries) -> Result<Packed, Vec<Finding>> {
    let one = |finding: Finding| vec![finding];
    let mut hypervisor = Hypervisor::read(system, &binaries.hypervisor).map_err(one)?;
    let loader = hypervisor::read_loader(system, &binaries.loader).map_err(one)?;
    let views = ports::views(system)?;
    let guests = guests(system, &views)?;
    let (addresses, sealed) = converge(system, &hypervisor, &loader, &views, &guests)?;
    let findings = rules::judge_layout(system, &layout::judged(system, &views, &addresses));
    if findings.iter().any(Finding::blocks) {
        return Err(findings);
    }
    hypervisor.set_image_size(addresses.image_end - addresses.image_base);
    let info: Vec<Vec<u8>> =
        (views.iter().enumerate()).map(|(index, view)| info_page::build(system, index, view)).collect();
    let mut file = File::new(&addresses);
    file.put(addresses.image_base, &hypervisor.flat);
    file.put(addresses.blueprint, &sealed.blueprint);
    for index in 0..views.len() {
        file.put(addresses.info[index], &info[index]);
        file.put(addresses.lists[index], &sealed.lists[index]);
        for (copy, at) in guests[index].copies.iter().zip(&addresses.copies[index]) {
            file.put(*at, &copy.bytes);
        }
    }
    file.put(addresses.loader, &loader);
    file.put(addresses.tables, &sealed.tables.to_bytes());
    for (segment, range) in system.segments.iter().zip(&addresses.segments) {
        if let (None, Some(payload)) = (&segment.writer, &segment.file) {
            file.put(range.base, &content(payload, range.size).map_err(one)?);
        }
    }
    let image_id = file.seal(&addresses, &hypervisor);
    Ok(Packed { file: file.bytes, image_id, addresses, guests })
}

fn guests(system: &System, views: &[View]) -> Result<Vec<Guest>, Vec<Finding>> {
    let all = views.iter().enumerate();
    let all: Vec<_> = all.map(|(index, view)| guest(system, index, view)).collect();
    let (good, bad): (Vec<_>, Vec<_>) = all.into_iter().partition(Result::is_ok);
    if bad.is_empty() {
        Ok(good.into_iter().filter_map(Result::ok).collect())
    } else {
        Err(bad.into_iter().filter_map(Result::err).collect())
    }
}

/// Places and builds until the sizes assumed are the sizes found: the number of tables depends on addresses, which
/// depend on the number of tables.
fn converge(
    system: &System,
    hypervisor: &Hypervisor,
    loader: &[u8],
    views: &[View],
    guests: &[Guest],
) -> Result<(Addresses, Sealed), Vec<Finding>> {
    let mut sizes = Sizes {
        el2: hypervisor.flat.len() as u64,
        state: hypervisor.state_bytes(system),
        loader: loader.len() as u64,
        blueprint: size_of::<Header>() as u64,
        table_pages: 1,
    };
    for _ in 0..ROUNDS_MAX {
        let addresses = layout::place(system, views, guests, &sizes)?;
        let sealed = seal(system, hypervisor, views, guests, &addresses, &sizes)?;
        let found = (sealed.blueprint.len() as u64, sealed.tables.len() as u64);
        if found.0 <= sizes.blueprint && found.1 <= sizes.table_pages {
            return Ok((addresses, sealed));
        }
        sizes.blueprint = sizes.blueprint.max(found.0);
        sizes.table_pages = sizes.table_pages.max(found.1);
    }
    let message = "the image's layout does not settle";
    Err(vec![
        Finding::new(&LIM_001, message, system.hypervisor.span, "this system")
            .found(format!("{} table pages after {ROUNDS_MAX} rounds", sizes.table_pages))
            .expected("a number of tables that does not depend on itself"),
    ])
}

/// Turns what the tables refuse into a finding about `what`.
fn conflict(what: String, span: Span) -> impl FnOnce(Conflict) -> Vec<Finding> {
    move |conflict| {
        let message = format!("{what} cannot be mapped");
        vec![
            Finding::new(&MEM_005, message, span, "of this")
                .found(conflict.0)
                .expected("each address once, inside the address width"),
        ]
    }
}

fn seal(
    system: &System,
    hypervisor: &Hypervisor,
    views: &[View],
    guests: &[Guest],
    addresses: &Addresses,
    sizes: &Sizes,
) -> Result<Sealed, Vec<Finding>> {
    let mut tables = Arena::new(addresses.tables);
    let mut roots = Roots::default();
    let mut lists = Vec::new();
    let mut stretches = Vec::new();
    let own = maps::el2(system, hypervisor, addresses);
    let what = "the hypervisor's own memory".to_owned();
    let refuse = conflict(what, system.hypervisor.span);
    roots.el2 = tables.build(Stage::El2, &own).map_err(refuse)?;
    for (index, partition) in system.partitions.iter().enumerate() {
        let (view, guest) = (&views[index], &guests[index]);
        let refuse = |what: &str| {
            let what = format!("{what} of {}", partition.name.value);
            conflict(what, partition.span)
        };
        let running = maps::run_time(system, index, view, guest, addresses);
        let mappings: Vec<_> = running.iter().map(|s| s.mapping).collect();
        let root = tables.build(Stage::Guest, &mappings);
        stretches.push(running);
        roots.run_time.push(root.map_err(refuse("memory"))?);
        let (loading, copies) = maps::loading(system, index, view, guest, addresses, sizes.loader);
        let root = tables.build(Stage::Guest, &loading);
        roots.loading.push(root.map_err(refuse("the loader's view"))?);
        let filled = maps::filled(system, index, view, addresses);
        let list = load_list::build(guest, &copies, &filled);
        lists.push(list.map_err(|count| vec![too_many_entries(partition, count)])?);
    }
    let blueprint = emit::blueprint(&Input {
        system,
        hypervisor,
        views,
        guests,
        addresses,
        stretches: &stretches,
        roots: &roots,
    });
    Ok(Sealed { tables, lists, blueprint })
}

fn too_many_entries(partition: &crate::model::Partition, count: usize) -> Finding {
    let message = format!("too many pieces to load: {}", partition.name.value);
    Finding::new(&LIM_001, message, partition.span, "this partition")
        .found(format!("{count} pieces"))
        .expected(format!("at most {}, which is what a load list holds", loader::ENTRIES_MAX))
}

/// The file under construction, addressed by physical address.
struct File {
    base: u64,
    bytes: Vec<u8>,
}

impl File {
    fn new(addresses: &Addresses) -> File {
        let length = (addresses.file_end - addresses.image_base) as usize;
        File { base: addresses.image_base, bytes: vec![0; length] }
    }

    fn put(&mut self, at: u64, bytes: &[u8]) {
        let start = (at - self.base) as usize;
        self.bytes[start..start + bytes.len()].copy_from_slice(bytes);
    }

    fn slice(&self, from: u64, to: u64) -> &[u8] {
        &self.bytes[(from - self.base) as usize..(to - self.base) as usize]
    }

    /// Computes the digest and writes it into the blueprint's header.
    fn seal(&mut self, addresses: &Addresses, hypervisor: &Hypervisor) -> [u8; DIGEST_BYTES] {
        let code = self.slice(hypervisor.text.base, hypervisor.rodata.end_saturating());
        let rest = addresses.blueprint + DIGEST_BYTES as u64;
        let sealed = self.slice(rest, addresses.hashed_end);
        let mut digest = Sha256::new();
        digest.update(code);
        digest.update(sealed);
        let sha256: [u8; DIGEST_BYTES] = digest.finalize().into();
        self.put(addresses.blueprint, &sha256);
        sha256
    }
}
