//! Firmware's device tree against the blueprint: what the board lacks is named with both values.

use bulkhead_blueprint::Blueprint;
use bulkhead_blueprint::layout::{Cpu, Header, Range, Route};
use bulkhead_blueprint::limits::ROUTES;
use bulkhead_core::board::{Mismatch, check};
use vm_fdt::{FdtReserveEntry, FdtWriter};
use zerocopy::FromZeros;

const TREE_AT: u64 = 0x4800_0000;
const IMAGE_AT: u64 = 0x4020_0000;

/// A board with memory at 1 GiB.
struct Board {
    cells: u32,
    megabytes: u64,
    cpus: usize,
    controller: &'static str,
    reserved: Vec<(u64, u64)>,
    /// Children of /reserved-memory.
    regions: Vec<(u64, u64)>,
}

impl Board {
    fn new() -> Self {
        let controller = "arm,gic-v3";
        Self { cells: 2, megabytes: 512, cpus: 4, controller, reserved: Vec::new(), regions: Vec::new() }
    }

    fn tree(&self) -> Vec<u8> {
        let entries = self.reserved.iter().map(|(base, bytes)| FdtReserveEntry::new(*base, *bytes).unwrap());
        let mut fdt = FdtWriter::new_with_mem_reserv(&entries.collect::<Vec<_>>()).unwrap();
        let root = fdt.begin_node("").unwrap();
        fdt.property_u32("#address-cells", self.cells).unwrap();
        fdt.property_u32("#size-cells", self.cells).unwrap();
        fdt.property_string("compatible", "a,board").unwrap();
        for (n, name) in ["memory@40000000", "memory@50000000"].into_iter().enumerate() {
            let memory = fdt.begin_node(name).unwrap();
            fdt.property_string("device_type", "memory").unwrap();
            let (base, bytes) = (0x4000_0000 + n as u64 * 0x1000_0000, self.megabytes << 19);
            if self.cells == 2 {
                fdt.property_array_u64("reg", &[base, bytes]).unwrap();
            } else {
                fdt.property_array_u32("reg", &[base as u32, bytes as u32]).unwrap();
            }
            fdt.end_node(memory).unwrap();
        }
        // Registers of a controller are no memory: the test of a small board relies on it.
        let controller = fdt.begin_node("memory-controller@40000000").unwrap();
        if self.cells == 2 {
            fdt.property_array_u64("reg", &[0x4000_0000, 0x2000_0000]).unwrap();
        }
        fdt.end_node(controller).unwrap();
        let kept = fdt.begin_node("reserved-memory").unwrap();
        for (base, bytes) in &self.regions {
            let region = fdt.begin_node(&format!("region@{base:x}")).unwrap();
            fdt.property_array_u64("reg", &[*base, *bytes]).unwrap();
            fdt.end_node(region).unwrap();
        }
        fdt.end_node(kept).unwrap();
        let cpus = fdt.begin_node("cpus").unwrap();
        fdt.property_u32("#address-cells", 1).unwrap();
        fdt.property_u32("#size-cells", 0).unwrap();
        for n in 0..self.cpus {
            let cpu = fdt.begin_node(&format!("cpu@{n}")).unwrap();
            fdt.property_u32("reg", n as u32).unwrap();
            fdt.end_node(cpu).unwrap();
        }
        let map = fdt.begin_node("cpu-map").unwrap();
        fdt.end_node(map).unwrap();
        fdt.end_node(cpus).unwrap();
        let gic = fdt.begin_node("intc@8000000").unwrap();
        fdt.property_string_list("compatible", vec!["a,first".into(), self.controller.into()]).unwrap();
        fdt.end_node(gic).unwrap();
        fdt.end_node(root).unwrap();
        fdt.finish().unwrap()
    }

    fn check(&self) -> Result<(), Mismatch> {
        check_tree(&self.tree(), TREE_AT)
    }
}

fn check_tree(tree: &[u8], address: u64) -> Result<(), Mismatch> {
    let required =
        [Range { base: 0x4000_0000, bytes: 0x100_0000 }, Range { base: 0x5000_0000, bytes: 0x100_0000 }];
    check_with(tree, address, IMAGE_AT, 3, &required)
}

fn check_with(tree: &[u8], address: u64, image: u64, gic: u32, required: &[Range]) -> Result<(), Mismatch> {
    let mut header = Header::new_zeroed();
    header.image_base = image;
    header.image_end = image + 0x40_0000;
    header.gic.version = gic;
    let cpus: Vec<Cpu> = (0..4).map(|_| Cpu::new_zeroed()).collect();
    let routes = vec![Route { owner: 0 }; ROUTES];
    let blueprint = Blueprint {
        register_writes: &[],
        header: &header,
        cpus: &cpus,
        partitions: &[],
        vcpus: &[],
        slots: &[],
        interrupt_limits: &[],
        routes: routes.as_slice().try_into().unwrap(),
        memory: &[],
        port_ends: &[],
        doorbells: &[],
        peer_words: &[],
        authorities: &[],
        health_rows: &[],
        plans: &[],
        plan_cpus: &[],
        windows: &[],
        required,
    };
    check(&blueprint, address, tree)
}

fn refused(result: Result<(), Mismatch>, what: &str, found: u64, expected: u64) {
    let Err(Mismatch(text, is, should)) = result else { panic!("accepted, instead of: {what}") };
    assert!(text.contains(what), "{text}");
    assert_eq!((is, should), (found, expected), "{text}");
}

#[test]
fn a_board_that_offers_enough_passes_with_either_cell_size() {
    assert_eq!(Board::new().check(), Ok(()));
    assert_eq!(Board { cells: 1, ..Board::new() }.check(), Ok(()));
    assert_eq!(Board { cpus: 5, ..Board::new() }.check(), Ok(()));
}

#[test]
fn what_the_board_lacks_is_named() {
    let memory = Board { megabytes: 1, ..Board::new() };
    refused(memory.check(), "memory the blueprint uses", 0, 0x4000_0000);
    refused(Board { cpus: 3, ..Board::new() }.check(), "fewer CPUs", 3, 4);
    refused(Board { controller: "arm,gic-400", ..Board::new() }.check(), "interrupt controller", 2, 3);
}

#[test]
fn reserved_memory_in_use_is_refused_but_for_the_tree_itself() {
    let reserved = |base, bytes| Board { reserved: vec![(0x100, 0x10), (base, bytes)], ..Board::new() };
    refused(reserved(0x5000_0800, 0x1000).check(), "firmware reserves", 0x5000_0800, 0x5000_0000);
    assert_eq!(reserved(TREE_AT, 0x1_0000).check(), Ok(()));
    assert_eq!(check_tree(&reserved(0x5000_0800, 0x1000).tree(), 0x5000_0800), Ok(()));
}

#[test]
fn regions_of_reserved_memory_in_use_are_refused() {
    let kept = |regions: Vec<(u64, u64)>| Board { regions, ..Board::new() }.check();
    refused(kept(vec![(0x100, 0x10), (0x50ff_f000, 0x2000)]), "firmware reserves", 0x50ff_f000, 0x5000_0000);
    // As the Pi's tree has it before its firmware fills it in: of no size.
    assert_eq!(kept(vec![(0, 0), (0x5100_0000, 0x1000)]), Ok(()));
    refused(kept(vec![(0x100, 0x10); 17]), "more regions", 17, 16);
}

/// A Raspberry Pi 4's tree as its firmware hands it over: #address-cells 2, #size-cells 1, memory in pieces below
/// and above VideoCore's share and the peripherals.
fn pi(pieces: &[(u64, u32)]) -> Vec<u8> {
    let mut fdt = FdtWriter::new_with_mem_reserv(&[FdtReserveEntry::new(0, 0x1000).unwrap()]).unwrap();
    let root = fdt.begin_node("").unwrap();
    fdt.property_u32("#address-cells", 2).unwrap();
    fdt.property_u32("#size-cells", 1).unwrap();
    let memory = fdt.begin_node("memory@0").unwrap();
    let entry = |(base, bytes): &(u64, u32)| [(base >> 32) as u32, *base as u32, *bytes];
    fdt.property_array_u32("reg", &pieces.iter().flat_map(entry).collect::<Vec<_>>()).unwrap();
    fdt.end_node(memory).unwrap();
    let cpus = fdt.begin_node("cpus").unwrap();
    for n in 0..4 {
        let cpu = fdt.begin_node(&format!("cpu@{n}")).unwrap();
        fdt.end_node(cpu).unwrap();
    }
    fdt.end_node(cpus).unwrap();
    let gic = fdt.begin_node("interrupt-controller@40041000").unwrap();
    fdt.property_string("compatible", "arm,gic-400").unwrap();
    fdt.end_node(gic).unwrap();
    fdt.end_node(root).unwrap();
    fdt.finish().unwrap()
}

#[test]
fn one_image_passes_on_every_model_of_the_pi_and_a_large_one_only_where_there_is_memory() {
    const LOW: (u64, u32) = (0, 0x3b40_0000);
    let models: [&[(u64, u32)]; 4] = [
        &[LOW],
        &[LOW, (0x4000_0000, 0x4000_0000)],
        &[LOW, (0x4000_0000, 0xbc00_0000)],
        &[LOW, (0x4000_0000, 0xbc00_0000), (0x1_0000_0000, 0x8000_0000), (0x1_8000_0000, 0x8000_0000)],
    ];
    let small =
        [Range { base: 0x20_0000, bytes: 0x300_0000 }, Range { base: 0x1000_0000, bytes: 0x1000_0000 }];
    let large = [Range { base: 0x8000_0000, bytes: 0x1000_0000 }];
    for (model, pieces) in models.into_iter().enumerate() {
        assert_eq!(check_pi(pieces, &small), Ok(()), "model {model}");
        match model {
            0 | 1 => refused(check_pi(pieces, &large), "memory the blueprint uses", 0, 0x8000_0000),
            _ => assert_eq!(check_pi(pieces, &large), Ok(()), "model {model}"),
        }
    }
    // A larger share of VideoCore's (gpu_mem) takes what the blueprint counted on.
    let taken = [Range { base: 0x3000_0000, bytes: 0xb40_0000 }];
    refused(check_pi(&[(0, 0x3000_0000)], &taken), "memory the blueprint uses", 0, 0x3000_0000);
}

fn check_pi(pieces: &[(u64, u32)], required: &[Range]) -> Result<(), Mismatch> {
    check_with(&pi(pieces), 0x800_0000, 0x20_0000, 2, required)
}

#[test]
fn a_tree_in_the_image_is_refused() {
    refused(
        check_tree(&Board::new().tree(), IMAGE_AT + 8),
        "lies in the image",
        IMAGE_AT + 8,
        IMAGE_AT + 0x40_0000,
    );
}

#[test]
fn a_damaged_tree_neither_panics_nor_passes_when_cut() {
    let tree = Board::new().tree();
    for length in 0..tree.len() - 200 {
        assert!(check_tree(&tree[..length], TREE_AT).is_err(), "cut to {length}");
    }
    for at in 0..tree.len() {
        for value in [0, 1, 0x7F, 0xFF] {
            let mut damaged = tree.clone();
            damaged[at] = value;
            let _ = check_tree(&damaged, TREE_AT);
        }
    }
}
