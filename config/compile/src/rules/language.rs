//! LNG: the language. These rules are decided while the source is read, by `crate::read` and `crate::dtc`.

use super::{Check, rule};

rule!(LNG_001, "LNG-001", Error, Check::Reader,
    "A node, property or word is not in the vocabulary.",
    why: "A mistyped `refesh-us` must not silently mean \"no limit\": what nobody reads protects nobody.",
    example: "state { refesh-us = <2000>; };",
    fix: "write the name that the vocabulary has");

rule!(LNG_002, "LNG-002", Error, Check::Reader,
    "A reference names a node of the wrong kind, or nothing.",
    why: "dtc checks that a label exists, not what it labels: a window may name a CPU, a port a device.",
    example: "from = <&uart0>;",
    fix: "name a node of the expected kind");

rule!(LNG_003, "LNG-003", Error, Check::Reader,
    "A duration stands in two units, is zero where zero has no meaning, or parallel lists differ in length.",
    why: "Each of these has two readings, and the wrong one passes every later check.",
    example: "to = <&a &b>; max-age-us = <3000>;",
    fix: "give each duration once, above zero, and one entry for each element of the other list");

rule!(LNG_004, "LNG-004", Error, Check::Reader,
    "A required node or property is missing.",
    why: "Nothing that decides about separation has a default.",
    example: "linux { compatible = \"openamp,domain-v1\", \"bulkhead,partition\"; /* no id */ };",
    fix: "add what is named, in the shape shown");

rule!(LNG_005, "LNG-005", Error, Check::Reader,
    "A value has the wrong shape: number of cells, string for number, or the reverse.",
    why: "A device tree carries no types; a size in one cell where two are read swaps address and size.",
    example: "memory = <0x40000000 0x10000000>; /* always 2+2 cells */",
    fix: "write the value in the shape shown");

rule!(LNG_006, "LNG-006", Error, Check::Reader,
    "The device-tree compiler does not accept the source.",
    why: "Without a tree nothing can be judged, so this is reported alone.",
    example: "a = <1>  b; /* no semicolon */",
    fix: "mend the source at the place shown; properties come before child nodes");

rule!(LNG_007, "LNG-007", Error, Check::Reader,
    "The board is unknown, or its tree lacks CPUs, memory or the interrupt controller.",
    why: "Addresses and interrupts mean nothing without the board; the root's `compatible` selects it.",
    example: "/ { compatible = \"acme,board\"; };",
    fix: "include the device tree of a known board");

rule!(LNG_008, "LNG-008", Error, Check::Reader,
    "A property has no effect without another that is missing.",
    why: "It was written because somebody counts on it.",
    example: "state { doorbell-interval-us = <50>; /* and no doorbell */ };",
    fix: "add the property that it belongs to, or remove it");

rule!(LNG_009, "LNG-009", Error, Check::Reader,
    "Two nodes have one phandle.",
    why: "A reference names one of them, and nothing says which: a grant may be of the wrong device.",
    example: "x { phandle = <7>; }; y { phandle = <7>; };",
    fix: "use labels and let dtc number them");

rule!(LNG_010, "LNG-010", Error, Check::Reader,
    "A `reg` of the board's tree leaves 64 bits, or a cell count is absurd.",
    why: "Addresses are computed from both: what wraps or is skipped names other memory than the tree says.",
    example: "x { reg = <0xffffffff 0xfffff000 0x0 0x2000>; };",
    fix: "mend the tree: cells are 1 or 2 for addresses of the CPU, base plus size stays within 64 bits");

rule!(LNG_011, "LNG-011", Error, Check::Reader,
    "A device-tree blob is damaged.",
    why: "A blob that was cut off or changed on its way is not the configuration that somebody reviewed.",
    example: "/* a file whose header says more bytes than there are */",
    fix: "write it anew with dtc from its source");
