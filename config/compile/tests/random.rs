//! Random systems: whatever is built keeps its partitions apart and loads what it should.

mod common;

use common::Workshop;
use common::walk::{assert_apart, load};
use proptest::prelude::*;
use std::fmt::Write;

/// A partition: RAM in pages, its offset from the canonical address in pages, pinned in MiB from the start of RAM,
/// console, whether its payload is an ELF file.
#[derive(Debug, Clone)]
struct Guest {
    pages: u64,
    offset: u64,
    pinned_mib: Option<u64>,
    console: &'static str,
    elf: bool,
}

/// A port: writer, reader, whether it is a queue, bytes of a message, doorbell.
type Port = (usize, usize, bool, u32, bool);

fn guests() -> impl Strategy<Value = Vec<Guest>> {
    let guest = (
        prop_oneof![600u64..3000, Just(16384)],
        prop_oneof![Just(0u64), 0u64..600],
        prop::option::weighted(0.25, 200u64..900),
        prop::sample::select(vec!["none", "hypercall", "pl011"]),
        any::<bool>(),
    );
    let guest = guest.prop_map(|(pages, offset, pinned_mib, console, elf)| Guest {
        pages,
        offset,
        pinned_mib,
        console,
        elf,
    });
    prop::collection::vec(guest, 1..5)
}

fn ports() -> impl Strategy<Value = Vec<Port>> {
    let port = (0usize..4, 0usize..4, any::<bool>(), 1u32..3000, any::<bool>());
    prop::collection::vec(port, 0..6)
}

fn configuration(guests: &[Guest], ports: &[Port]) -> String {
    let mut text = String::from(
        "/dts-v1/;\n/include/ \"board/qemu-virt.dtsi\"\n/ {\nhypervisor { compatible = \"bulkhead,system-v1\"; \
         part-number = \"R\"; console = <&uart0>; console-cpu = <&cpu0>; };\n\
         health { module { default-action = \"log\"; }; table: table { default-action = \"halt\"; }; };\ndomains {\n",
    );
    for (index, guest) in guests.iter().enumerate() {
        let base = 0x4000_0000 + guest.offset * 4096;
        let load = base + 0x1_0000;
        let payload = if guest.elf {
            format!("bulkhead,image = \"p{index}.elf\";")
        } else {
            format!(
                "bulkhead,image = \"raw.bin\"; bulkhead,load = <0x0 {load:#x}>; bulkhead,entry = <0x0 {load:#x}>;"
            )
        };
        let pinned = guest
            .pinned_mib
            .map(|mib| format!("bulkhead,memory-pa = <0x0 {:#x}>;", 0x4000_0000 + (mib << 20)));
        writeln!(
            text,
            "p{index}: p{index} {{ compatible = \"openamp,domain-v1\", \"bulkhead,partition\"; id = <{}>; \
             bulkhead,criticality = \"QM\"; cpus = <&cpus {:#x} 0x1>; memory = <0x0 {base:#x} 0x0 {:#x}>; \
             {payload} {} bulkhead,console = \"{}\"; bulkhead,health = <&table>; }};",
            index + 1,
            1 << index,
            guest.pages * 4096,
            pinned.unwrap_or_default(),
            guest.console,
        )
        .expect("text");
    }
    text.push_str("};\nports {\n");
    for (number, (from, to, queue, bytes, doorbell)) in ports.iter().enumerate() {
        let (from, to) = (from % guests.len(), to % guests.len());
        if from == to {
            continue;
        }
        let kind = if *queue {
            "compatible = \"bulkhead,queuing-port\"; depth = <7>;"
        } else {
            "compatible = \"bulkhead,sampling-port\";"
        };
        let doorbell = if *doorbell { "doorbell;" } else { "" };
        writeln!(
            text,
            "c{number} {{ {kind} from = <&p{from}>; to = <&p{to}>; message-bytes = <{bytes}>; {doorbell} }};"
        )
        .expect("text");
    }
    text.push_str("};\n};\n");
    text
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn what_is_built_is_apart_and_loads(guests in guests(), ports in ports()) {
        let shop = Workshop::new();
        shop.put("raw.bin", &[0x44; 777]);
        for (index, guest) in guests.iter().enumerate() {
            let base = 0x4000_0000 + guest.offset * 4096;
            shop.put(&format!("p{index}.elf"), &common::payload_elf(base + 0x2_0000));
        }
        match shop.build_text(&configuration(&guests, &ports)) {
            Ok((_, image)) => {
                assert_apart(&image);
                for partition in image.blueprint().partitions {
                    load(&image, partition);
                }
            }
            // Pinned partitions may meet each other or the firmware: that is refused, by these rules alone.
            Err(failure) => {
                let text = failure.to_string();
                let expected = ["error[MEM-001]", "error[MEM-003]"];
                let errors = text.matches("error[").count();
                let known: usize = expected.iter().map(|e| text.matches(e).count()).sum();
                prop_assert!(errors > 0 && errors == known && guests.iter().any(|g| g.pinned_mib.is_some()), "{}", text);
            }
        }
    }
}
