//! Physical memory as a column of blocks, and the bar of a terminal.

use super::{Canvas, FREE, HYPERVISOR, Picture, colour};

/// A stretch of physical memory with one use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Block {
    /// First address.
    pub start: u64,
    /// First address behind it.
    pub end: u64,
    /// Whose and what for.
    pub what: String,
    /// Index of the partition that has it alone; `None` for EL2 and what is shared.
    pub owner: Option<usize>,
    /// Nobody's.
    pub free: bool,
}

const WIDTH: f64 = 760.0;
const ROW: f64 = 26.0;

/// The picture of blocks in ascending order.
#[must_use]
pub fn picture(blocks: &[Block]) -> Picture {
    let title = "Physical memory, in ascending order of addresses (not to scale)";
    let height = 30.0 + ROW * blocks.len() as f64 + 10.0;
    let mut canvas = Canvas::new(WIDTH as u32, height as u32);
    canvas.text((8.0, 18.0), "start", 12, "first address");
    canvas.text((740.0, 18.0), "end", 12, "bytes");
    for (number, block) in blocks.iter().enumerate() {
        let y = 28.0 + ROW * number as f64;
        let fill = match block.owner {
            _ if block.free => FREE,
            Some(owner) => colour(owner),
            None => HYPERVISOR,
        };
        let tip = format!("{:#x} to {:#x}", block.start, block.end);
        canvas.text((8.0, y + 17.0), "start", 12, &format!("{:#x}", block.start));
        canvas.rectangle((130.0, y), (500.0, ROW), fill, &tip);
        canvas.text((138.0, y + 17.0), "start", 12, &block.what);
        canvas.text((740.0, y + 17.0), "end", 12, &size(block.end - block.start));
    }
    Picture {
        name: "memory".to_owned(),
        title: title.to_owned(),
        svg: canvas.finish(title),
        text: text(blocks),
    }
}

fn text(blocks: &[Block]) -> String {
    let whole: u64 = blocks.iter().map(|b| b.end - b.start).sum();
    let mut out = String::from("Physical memory\n");
    for block in blocks {
        let bytes = block.end - block.start;
        let share = (u128::from(bytes) * 30).div_ceil(u128::from(whole.max(1))) as usize;
        let mark = if block.free { "." } else { "#" };
        let bar = mark.repeat(share);
        out.push_str(&format!("{:#012x} {:>14} {bar:<30} {}\n", block.start, size(bytes), block.what));
    }
    out
}

/// Bytes as people read them, without loss.
#[must_use]
pub fn size(bytes: u64) -> String {
    match bytes {
        _ if bytes >= 1 << 30 && bytes.is_multiple_of(1 << 28) => {
            format!("{} GiB", bytes as f64 / (1u64 << 30) as f64)
        }
        _ if bytes.is_multiple_of(1 << 20) => format!("{} MiB", bytes >> 20),
        _ if bytes > 1 << 20 && bytes.is_multiple_of(1 << 10) => {
            format!("{} MiB {} KiB", bytes >> 20, bytes >> 10 & 1023)
        }
        _ if bytes.is_multiple_of(1 << 10) => format!("{} KiB", bytes >> 10),
        _ => format!("{bytes} B"),
    }
}

#[cfg(test)]
mod tests {
    use super::size;

    #[test]
    fn sizes_are_exact() {
        let shown = [100, 4096, 4 << 20, (27 << 20) + (556 << 10), 3 << 29].map(size);
        assert_eq!(shown, ["100 B", "4 KiB", "4 MiB", "27 MiB 556 KiB", "1.5 GiB"]);
    }
}
