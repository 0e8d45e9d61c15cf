//! What goes with a granted device into its partition's tree: one test for each kind of provider.

mod common;

use common::Workshop;
use std::path::Path;
use std::process::Command;

/// The first partition's tree, as dtc shows it, if `nodes` stand in the board's tree and `access` is granted to it.
fn tree(nodes: &str, access: &str) -> String {
    let config = format!(
        "/dts-v1/;\n/include/ \"good.dtsi\"\n/ {{\n{nodes}\n}};\n&a {{\n\taccess = <{access}>;\n}};\n"
    );
    let shop = Workshop::small();
    let (_, image) = shop.build_text(&config).unwrap_or_else(|f| panic!("{f}\n{config}"));
    trees(image.bytes()).into_iter().next().expect("a tree")
}

/// Every device tree that an image packs, as dtc shows it.
fn trees(bytes: &[u8]) -> Vec<String> {
    let magic = |at: &usize| bytes[*at..*at + 4] == [0xd0, 0x0d, 0xfe, 0xed];
    let text = |at: usize| {
        let length = u32::from_be_bytes(bytes[at + 4..at + 8].try_into().expect("a length")) as usize;
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("guest.dtb");
        std::fs::write(&path, bytes.get(at..at + length)?).expect("a file");
        let output = Command::new("dtc").args(["-I", "dtb", "-O", "dts"]).arg(&path).output().expect("dtc");
        // dtc's own checks of clocks, resets, GPIOs, interrupts and the rest follow every phandle.
        assert_eq!(String::from_utf8_lossy(&output.stderr), "");
        Some(String::from_utf8(output.stdout).expect("text"))
    };
    (0..bytes.len() - 8).step_by(8).filter(magic).filter_map(text).collect()
}

/// The phandle of the node that begins with `name`.
fn phandle(tree: &str, name: &str) -> String {
    let node = tree.split_once(&format!("{name} {{")).unwrap_or_else(|| panic!("no {name}\n{tree}")).1;
    let end = node.find("\t};").unwrap_or(node.len());
    let value =
        node[..end].split_once("phandle = <").unwrap_or_else(|| panic!("no phandle of {name}\n{tree}")).1;
    value.split_once('>').expect("an end").0.to_owned()
}

fn assert_has(tree: &str, expected: &str) {
    assert!(tree.contains(expected), "{expected}\n{tree}");
}

const SPI: &str = "spi: spi@9060000 { compatible = \"acme,spi\"; reg = <0x0 0x09060000 0x0 0x1000>;";

#[test]
fn a_device_with_registers_stays_if_it_is_granted_too() {
    let providers = "manager: manager@9050000 { compatible = \"acme,all\"; reg = <0x0 0x09050000 0x0 0x1000>; \
                     #clock-cells = <1>; #reset-cells = <2>; #power-domain-cells = <0>; #mbox-cells = <1>; \
                     #dma-cells = <2>; };";
    let needs = "clocks = <&manager 7>; assigned-clocks = <&manager 7>; assigned-clock-rates = <1000000>; \
                 resets = <&manager 1 2>; power-domains = <&manager>; mboxes = <&manager 3>; \
                 dmas = <&manager 4 5>, <&manager 6 7>; dma-names = \"rx\", \"tx\"; };";
    let text = tree(&format!("{providers}\n{SPI} {needs}"), "&spi &manager");
    let manager = phandle(&text, "manager@9050000");
    for expected in [
        format!("clocks = <{manager} 0x07>;"),
        format!("assigned-clocks = <{manager} 0x07>;"),
        "assigned-clock-rates = <0xf4240>;".to_owned(),
        format!("resets = <{manager} 0x01 0x02>;"),
        format!("power-domains = <{manager}>;"),
        format!("mboxes = <{manager} 0x03>;"),
        format!("dmas = <{manager} 0x04 0x05 {manager} 0x06 0x07>;"),
    ] {
        assert_has(&text, &expected);
    }
}

#[test]
fn fixed_clocks_and_regulators_are_repeated_with_what_they_need() {
    let text = tree(
        &format!(
            "shelf {{ compatible = \"simple-bus\"; osc: osc {{ compatible = \"fixed-clock\"; #clock-cells = <0>; clock-frequency = <8000>; }}; }};\n\
             half: half {{ compatible = \"fixed-factor-clock\"; #clock-cells = <0>; clocks = <&osc>; clock-div = <2>; \
             clock-mult = <1>; }};\n\
             mains: mains {{ compatible = \"regulator-fixed\"; regulator-name = \"mains\"; }};\n\
             card: card {{ compatible = \"regulator-fixed\"; regulator-name = \"card\"; vin-supply = <&mains>; }};\n\
             other: other {{ compatible = \"regulator-fixed\"; regulator-name = \"other\"; }};\n\
             {SPI} clocks = <&half>; assigned-clocks = <&half>; assigned-clock-rates = <4000>; vcc-supply = <&card>; }};"
        ),
        "&spi",
    );
    let (osc, half) = (phandle(&text, "shelf-osc"), phandle(&text, "half"));
    assert_has(&text, &format!("clocks = <{half}>;"));
    assert_has(&text, &format!("clocks = <{osc}>;"));
    assert_has(&text, &format!("vin-supply = <{}>;", phandle(&text, "mains")));
    assert_has(&text, &format!("vcc-supply = <{}>;", phandle(&text, "card")));
    assert!(!text.contains("assigned-clock") && !text.contains("\"other\""), "{text}");
}

#[test]
fn of_a_pin_controller_only_the_groups_stay_that_a_granted_device_uses() {
    let pins = "pins: gpio@9050000 { compatible = \"acme,gpio\"; reg = <0x0 0x09050000 0x0 0x1000>; gpio-controller; \
                #gpio-cells = <2>; interrupt-controller; #address-cells = <0>; #interrupt-cells = <2>; gpio-ranges = <&pins 0 0 58>; \
                spi_pins: spi-group { mux { pins = \"gpio4\"; }; }; i2c_pins: i2c-group { pins = \"gpio5\"; }; \
                keep { gpio-hog; gpios = <9 0>; output-high; }; };";
    let needs = "pinctrl-names = \"default\"; pinctrl-0 = <&spi_pins>; cs-gpios = <0>, <&pins 8 1>; acme,nr-gpios = <2>; \
                 interrupts-extended = <&gic 0 12 4>, <&pins 3 2>; };";
    let i2c = "i2c@9070000 { compatible = \"acme,i2c\"; reg = <0x0 0x09070000 0x0 0x1000>; pinctrl-0 = <&i2c_pins>; };";
    let text = tree(&format!("{pins}\n{SPI} {needs}\n{i2c}"), "&spi &pins");
    let pins = phandle(&text, "gpio@9050000");
    assert_has(&text, &format!("gpio-ranges = <{pins} 0x00 0x00 0x3a>;"));
    assert_has(&text, &format!("cs-gpios = <0x00 {pins} 0x08 0x01>;"));
    assert_has(&text, "acme,nr-gpios = <0x02>;");
    assert_has(&text, &format!("interrupts-extended = <0x01 0x00 0x0c 0x04 {pins} 0x03 0x02>;"));
    assert_has(&text, "spi-group {");
    assert_has(&text, "mux {");
    assert_has(&text, "gpio-hog;");
    assert!(!text.contains("i2c"), "{text}");
}

#[test]
fn what_lies_in_a_granted_device_goes_with_it() {
    let text = tree(
        "card: ethernet@9060000 { compatible = \"acme,mac\"; reg = <0x0 0x09060000 0x0 0x1000>; interrupts = <0 12 4>; \
         phy-handle = <&phy1>; mdio { #address-cells = <1>; #size-cells = <0>; phy1: ethernet-phy@1 { reg = <1>; }; \
         ethernet-phy@2 { reg = <2>; status = \"disabled\"; }; }; };\n\
         aliases { ethernet0 = &card; };",
        "&card",
    );
    assert_has(&text, &format!("phy-handle = <{}>;", phandle(&text, "ethernet-phy@1")));
    assert_has(&text, "mdio {");
    assert!(!text.contains("ethernet-phy@2") && !text.contains("aliases"), "{text}");
}

#[test]
fn what_hangs_on_a_mailbox_stays_with_it_and_below_what_it_belongs_to() {
    let nodes = "mailbox: mailbox@9050000 { compatible = \"acme,mailbox\"; reg = <0x0 0x09050000 0x0 0x1000>; \
                 #mbox-cells = <0>; };\n\
                 firmware: firmware { compatible = \"acme,firmware\"; mboxes = <&mailbox>; \
                 expander: gpio { compatible = \"acme,expander\"; gpio-controller; #gpio-cells = <2>; }; \
                 lines: clocks { compatible = \"acme,clocks\"; #clock-cells = <1>; }; };\n\
                 power: power { compatible = \"acme,power\"; firmware = <&firmware>; #power-domain-cells = <1>; };\n\
                 switch: switch { compatible = \"regulator-fixed\"; regulator-name = \"card\"; gpio = <&expander 6 0>; };";
    let text = tree(
        &format!("{nodes}\n{SPI} vmmc-supply = <&switch>; power-domains = <&power 2>; }};"),
        "&spi &mailbox",
    );
    assert_has(&text, &format!("mboxes = <{}>;", phandle(&text, "mailbox@9050000")));
    assert_has(&text, &format!("gpio = <{} 0x06 0x00>;", phandle(&text, "\t\tgpio")));
    assert_has(&text, &format!("power-domains = <{} 0x02>;", phandle(&text, "power")));
    assert_has(&text, "firmware = <0x");
    // Without the mailbox each of the two is refused with the way that leads there.
    let shop = Workshop::small();
    let config = format!(
        "/dts-v1/;\n/include/ \"good.dtsi\"\n/ {{\n{nodes}\n{SPI} vmmc-supply = <&switch>; }};\n}};\n&a {{ access = <&spi>; \
         }};\n"
    );
    let refusal = shop.build_text(&config).map(|_| ()).expect_err("it needs the mailbox").to_string();
    for expected in ["CLO-001", "leads to /mailbox@9050000 by /switch, /firmware/gpio", "granted to nobody"] {
        assert!(refusal.contains(expected), "{expected}\n{refusal}");
    }
}

#[test]
fn the_ethernet_of_a_raspberry_pi_4_has_its_bus_and_its_phy() {
    let shop = Workshop::rpi4();
    for file in ["rpi4.dtsi", "payload.bin"] {
        shop.put(file, &std::fs::read(Path::new("../bad").join(file)).expect("a file"));
    }
    let config = "/dts-v1/;\n/include/ \"rpi4.dtsi\"\n&a { access = <&genet>; bulkhead,accept = \"DMA-001: test\"; };\n";
    let (_, image) = shop.build_text(config).unwrap_or_else(|f| panic!("{f}"));
    let text = trees(image.bytes()).remove(0);
    assert_has(&text, "ethernet@7d580000 {");
    assert_has(&text, "reg = <0x00 0xfd580000 0x00 0x10000>;");
    assert_has(&text, &format!("phy-handle = <{}>;", phandle(&text, "ethernet-phy@1")));
    assert_has(&text, "reg = <0xe14 0x08>;");
}

/// A chain of references is followed so far and no farther: its end is refused by name, whatever its length.
#[test]
fn a_chain_without_end_is_refused() {
    const LENGTH: usize = 4000;
    let link = |n: usize| {
        let next = if n + 1 < LENGTH { format!("clocks = <&c{}>;", n + 1) } else { String::new() };
        format!("c{n}: c{n} {{ compatible = \"acme,divider\"; #clock-cells = <0>; {next} }};\n")
    };
    let chain: String = (0..LENGTH).map(link).collect();
    let config = format!(
        "/dts-v1/;\n/include/ \"good.dtsi\"\n/ {{\n{chain}{SPI} clocks = <&c0>; }};\n}};\n&a {{ access = <&spi>; }};\n"
    );
    let refused = Workshop::small().build_text(&config).map(drop).expect_err("a chain too long").to_string();
    assert!(refused.contains("CLO-001") && refused.contains("/c64"), "{refused}");
}
