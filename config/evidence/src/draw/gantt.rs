//! Plans as time charts: a row for each CPU.

use super::{Canvas, FREE, Picture, colour, fold};
use bulkhead_compile::model::{Plan, System};
use bulkhead_compile::rules::plan::time;

const WIDTH: f64 = 760.0;
const LEFT: f64 = 70.0;
/// Room for half of the last tick's label.
const RIGHT: f64 = 28.0;
const ROW: f64 = 44.0;
const TOP: f64 = 30.0;
/// Height of a line of the legend, and how many partitions stand in one.
const LINE: f64 = 18.0;
const COLUMNS: usize = 4;
/// Cells of a row in the terminal.
const CELLS: usize = 48;

/// A stretch of a row.
struct Bar {
    start_ns: u64,
    end_ns: u64,
    partition: usize,
    id: u32,
    name: String,
}

/// A CPU's row.
struct Row {
    name: String,
    bars: Vec<Bar>,
    /// Who runs in the gaps.
    background: Option<usize>,
    note: String,
}

/// A chart for each plan; where no CPU is shared, one that shows who owns which CPU.
#[must_use]
pub fn pictures(system: &System) -> Vec<Picture> {
    if system.plans.is_empty() {
        let rows = rows(system, None, 1);
        return vec![chart(
            "plan-none",
            "CPUs: each is one partition's for good, there is no plan",
            &rows,
            None,
        )];
    }
    let plans = system.plans.iter();
    plans
        .map(|plan| {
            let frame = plan.major_frame_ns.value.max(1);
            let rows = rows(system, Some(plan), frame);
            let title = format!("Plan {}: major frame {}", plan.name.value, time(frame));
            chart(&format!("plan-{}", plan.name.value), &title, &rows, Some(frame))
        })
        .collect()
}

fn rows(system: &System, plan: Option<&Plan>, frame: u64) -> Vec<Row> {
    let cpus = system.board.cpus.iter().enumerate();
    cpus.map(|(cpu, _)| row(system, plan, cpu, frame)).collect()
}

fn row(system: &System, plan: Option<&Plan>, cpu: usize, frame: u64) -> Row {
    let name = format!("CPU {cpu}");
    let schedule = plan.and_then(|p| p.cpus.iter().find(|c| c.cpu.value == cpu));
    if let Some(schedule) = schedule {
        let windows = schedule.windows.iter();
        let bar = |w: &bulkhead_compile::model::Window| Bar {
            start_ns: w.start_ns.value,
            end_ns: w.start_ns.value.saturating_add(w.duration_ns.value).min(frame),
            partition: w.partition.value,
            id: system.partitions[w.partition.value].id.value,
            name: system.partitions[w.partition.value].name.value.clone(),
        };
        let mut bars: Vec<Bar> = windows.map(bar).collect();
        bars.sort_by_key(|b| b.start_ns);
        let background = schedule.background.as_ref().map(|b| b.value);
        let note = match background {
            Some(partition) => format!("gaps: {}", system.partitions[partition].name.value),
            None => "gaps: nobody runs".to_owned(),
        };
        return Row { name, bars, background, note };
    }
    let owner = system.partitions.iter().enumerate().find(|(_, p)| p.vcpus.value.contains(&cpu));
    let bars = owner.map(|(partition, p)| Bar {
        start_ns: 0,
        end_ns: frame,
        partition,
        id: p.id.value,
        name: p.name.value.clone(),
    });
    let note = if bars.is_some() { "owned, no tick at EL2" } else { "nobody's" };
    Row { name, bars: bars.into_iter().collect(), background: None, note: note.to_owned() }
}

fn chart(name: &str, title: &str, rows: &[Row], frame: Option<u64>) -> Picture {
    let legend = legend(rows);
    let height = TOP + ROW * rows.len() as f64 + 24.0 + LINE * legend.len().div_ceil(COLUMNS) as f64;
    let mut canvas = Canvas::new(WIDTH as u32, height as u32);
    let whole = frame.unwrap_or(1);
    let scale = (WIDTH - LEFT - RIGHT) / whole as f64;
    if let Some(frame) = frame {
        for tenth in 0..=10u64 {
            let at = frame / 10 * tenth;
            let x = LEFT + at as f64 * scale;
            canvas.line((x, TOP - 6.0), (x, TOP + ROW * rows.len() as f64 + 4.0), true);
            canvas.text((x, TOP - 10.0), "middle", 10, &time(at));
        }
    }
    for (number, row) in rows.iter().enumerate() {
        let y = TOP + ROW * number as f64;
        canvas.text((8.0, y + 18.0), "start", 13, &row.name);
        canvas.rectangle((LEFT, y), (WIDTH - LEFT - RIGHT, ROW - 18.0), FREE, "no window");
        if let Some(partition) = row.background {
            canvas.pale((LEFT, y), (WIDTH - LEFT - RIGHT, ROW - 18.0), colour(partition), &row.note);
        }
        for bar in &row.bars {
            let (x, width) = (LEFT + bar.start_ns as f64 * scale, (bar.end_ns - bar.start_ns) as f64 * scale);
            let tip = format!("{}: {} to {}", bar.name, time(bar.start_ns), time(bar.end_ns));
            canvas.rectangle((x, y), (width, ROW - 18.0), colour(bar.partition), &tip);
            canvas.text((x + width / 2.0, y + 17.0), "middle", 12, &label(bar, width));
        }
        let pale = if row.background.is_some() { " (pale)" } else { "" };
        canvas.label((LEFT + 3.0, y + ROW - 7.0), "start", 10, &format!("{}{pale}", row.note));
    }
    for (number, (partition, words)) in legend.iter().enumerate() {
        let x = LEFT + (WIDTH - LEFT - RIGHT) / COLUMNS as f64 * (number % COLUMNS) as f64;
        let y = TOP + ROW * rows.len() as f64 + 14.0 + LINE * (number / COLUMNS) as f64;
        canvas.rectangle((x, y), (12.0, 12.0), colour(*partition), words);
        canvas.text((x + 18.0, y + 10.0), "start", 11, words);
    }
    Picture {
        name: name.to_owned(),
        title: title.to_owned(),
        svg: canvas.finish(title),
        text: text(title, rows, whole),
    }
}

/// The partition's name where it fits, else its id, which the legend explains: about seven units for a character.
fn label(bar: &Bar, width: f64) -> String {
    let fits = |text: &str| text.chars().count() as f64 * 7.0 <= width - 4.0;
    let id = bar.id.to_string();
    match (fits(&bar.name), fits(&id)) {
        (true, _) => bar.name.clone(),
        (_, true) => id,
        _ => String::new(),
    }
}

/// Index, and id with name, of each partition in the chart.
fn legend(rows: &[Row]) -> Vec<(usize, String)> {
    let bars = rows.iter().flat_map(|row| &row.bars);
    let mut list: Vec<(u32, usize, &str)> = bars.map(|b| (b.id, b.partition, b.name.as_str())).collect();
    list.sort_unstable();
    list.dedup();
    list.into_iter().map(|(id, partition, name)| (partition, format!("{id} {name}"))).collect()
}

fn text(title: &str, rows: &[Row], frame: u64) -> String {
    let mut out = format!("{title}\n");
    for row in rows {
        let mut cells = vec!['.'; CELLS];
        for (number, bar) in row.bars.iter().enumerate() {
            let cell = |ns: u64| (u128::from(ns) * CELLS as u128 / u128::from(frame)) as usize;
            let (from, to) = (cell(bar.start_ns), cell(bar.end_ns).clamp(cell(bar.start_ns) + 1, CELLS));
            let room = to.saturating_sub(from + 1);
            let label = if bar.name.chars().count() <= room { bar.name.clone() } else { bar.id.to_string() };
            let mut name = label.chars();
            cells[from] = if number == 0 && from == 0 { '|' } else { '>' };
            cells[from + 1..to.max(from + 1)].iter_mut().for_each(|c| *c = name.next().unwrap_or('='));
        }
        let cells: String = cells.into_iter().collect();
        let (line, note) = (format!("{:<7}{cells}|", row.name), row.note.as_str());
        let between =
            if line.len() + 2 + note.chars().count() > super::TERMINAL { "\n       " } else { "  " };
        out.push_str(&format!("{line}{between}{note}\n"));
    }
    let names: Vec<String> = legend(rows).into_iter().map(|(_, words)| words).collect();
    out + &fold(&names.join(", "), 7)
}
