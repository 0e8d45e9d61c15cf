//! IMG: what is said about payloads and has no effect, or not the one that was meant.

use super::image::{Content, classify, head};
use super::{Check, rule};
use crate::diag::Finding;
use crate::model::{Payload, System};

rule!(IMG_005, "IMG-005", Error, Check::System(boot_arguments),
    "Boot arguments are too long, or hold characters that end them.",
    why: "Linux cuts its command line off at 2,048 bytes without a word; the argument at the end is the one that is lost.",
    example: "bulkhead,bootargs = \"console=ttyAMA0\\nquiet\";",
    fix: "shorten them; separate arguments by blanks");

rule!(IMG_006, "IMG-006", Warning, Check::Payloads(not_raw),
    "`bulkhead,load` or `bulkhead,entry` stands beside a payload that says both itself.",
    why: "An ELF file or arm64 Image is loaded where its header says; the property looks like an order and is none.",
    example: "bulkhead,image = \"a.elf\"; bulkhead,load = <0x0 0x40080000>;",
    fix: "remove the property, or link the payload for that address");

rule!(IMG_007, "IMG-007", Warning, Check::System(absolute),
    "A payload is named by an absolute path.",
    why: "The same configuration then builds another image, or none, on another machine.",
    example: "bulkhead,image = \"/srv/payloads/a.elf\";",
    fix: "name it relative to the configuration and give its directory with --payloads");

rule!(IMG_008, "IMG-008", Warning, Check::System(own_tree),
    "An initrd or boot arguments stand beside a device tree of the user's.",
    why: "Both are told to the guest by the device tree that Bulkhead generates: in one of your own nobody enters them.",
    example: "bulkhead,dtb = \"a.dtb\"; bulkhead,initrd = \"a.cpio\";",
    fix: "write /chosen into that tree yourself, or leave bulkhead,dtb out");

/// Linux's COMMAND_LINE_SIZE on arm64, its final zero included.
const COMMAND_LINE_BYTES: usize = 2048;

fn boot_arguments(system: &System, out: &mut Vec<Finding>) {
    for partition in &system.partitions {
        let Some(text) = &partition.bootargs else { continue };
        let odd = text.chars().find(|c| c.is_control());
        if text.len() < COMMAND_LINE_BYTES && odd.is_none() {
            continue;
        }
        let found =
            odd.map_or(format!("{} bytes", text.len()), |c| format!("the character {:#04x}", u32::from(c)));
        let message = format!("boot arguments of {} do not arrive as they are", partition.name.value);
        let finding = Finding::new(&IMG_005, message, text.span, "these arguments")
            .found(found)
            .expected(format!("less than {COMMAND_LINE_BYTES} printable characters"));
        out.push(finding);
    }
}

fn not_raw(system: &System, out: &mut Vec<Finding>) {
    for partition in &system.partitions {
        let Some(image) = &partition.image else { continue };
        let kind = match head(image).and_then(classify) {
            Ok(Content::Elf(_)) => "an ELF file",
            Ok(Content::Image) => "an arm64 Image",
            _ => continue,
        };
        if let Some(property) = image.load.as_ref().or(image.entry.as_ref()) {
            let message = format!("{} is {kind}: load and entry are its own", image.written);
            let finding = Finding::new(&IMG_006, message, property.span, "has no effect")
                .also(image.span, kind)
                .found(format!("{:#x}", property.value))
                .expected("no load and entry address");
            out.push(finding);
        }
    }
}

/// Every file that a configuration names.
pub fn files(system: &System) -> impl Iterator<Item = &Payload> {
    let of_partitions = system.partitions.iter().flat_map(|p| {
        let regions = p.regions.iter().filter_map(|r| r.file.as_deref());
        p.image.iter().chain(&p.initrd).chain(&p.dtb).chain(regions)
    });
    of_partitions.chain(system.segments.iter().filter_map(|s| s.file.as_ref()))
}

fn absolute(system: &System, out: &mut Vec<Finding>) {
    for file in files(system).filter(|f| std::path::Path::new(&f.written).is_absolute()) {
        let finding = Finding::new(&IMG_007, "a payload has an absolute path", file.span, "this path")
            .found(file.written.clone())
            .expected("a path relative to the configuration");
        out.push(finding);
    }
}

fn own_tree(system: &System, out: &mut Vec<Finding>) {
    for partition in &system.partitions {
        let Some(tree) = &partition.dtb else { continue };
        let initrd = partition.initrd.as_ref().map(|i| ("the initrd", i.span));
        let arguments = partition.bootargs.as_ref().map(|b| ("boot arguments", b.span));
        for (what, span) in initrd.into_iter().chain(arguments) {
            let message = format!("nobody tells {} about {what}", partition.name.value);
            let finding = Finding::new(&IMG_008, message, span, "not entered into the tree")
                .also(tree.span, "the user's tree")
                .found(format!("{what} beside bulkhead,dtb"))
                .expected("a generated tree, or /chosen in the user's");
            out.push(finding);
        }
    }
}
