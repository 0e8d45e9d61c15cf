//! Information flow as a lane diagram: a column for each party, a lane for each sort of flow, arrows in its direction.

use super::{Canvas, HYPERVISOR, Picture, colour, fold};
use std::collections::BTreeSet;

/// One flow or influence.
#[derive(Debug, Clone)]
pub struct Flow {
    /// Column it starts at.
    pub from: usize,
    /// Column it ends at.
    pub to: usize,
    /// What flows.
    pub what: String,
    /// An influence that carries no data on purpose.
    pub indirect: bool,
}

const COLUMN: f64 = 176.0;
const LANE: f64 = 22.0;
const TOP: f64 = 62.0;

/// Width of a character of a label, about.
const CHARACTER: f64 = 6.0;

/// Flows of one sort that are drawn as one line.
struct Lane<'a> {
    what: &'a str,
    indirect: bool,
    sources: BTreeSet<usize>,
    targets: BTreeSet<usize>,
}

impl Lane<'_> {
    /// First and last column that it touches.
    fn span(&self) -> (usize, usize) {
        let ends = || self.sources.iter().chain(&self.targets).copied();
        (ends().min().unwrap_or(0), ends().max().unwrap_or(0))
    }
}

/// The picture; the last party is EL2.
#[must_use]
pub fn picture(parties: &[String], flows: &[Flow]) -> Picture {
    let title = "Information flow: solid lines carry data or control as configured, dashed ones influence indirectly; a \
                 dot is where a line starts, a head where it acts";
    let width = COLUMN * parties.len().max(2) as f64 + 40.0;
    let lanes = lanes(flows);
    let height = TOP + LANE * lanes.len() as f64 + 20.0;
    let mut canvas = Canvas::new(width as u32, height as u32);
    let centre = |column: usize| 20.0 + COLUMN * (column as f64 + 0.5);
    for (number, party) in parties.iter().enumerate() {
        let fill = if number + 1 == parties.len() { HYPERVISOR } else { colour(number) };
        canvas.line((centre(number), 42.0), (centre(number), height - 8.0), true);
        canvas.rectangle((centre(number) - 64.0, 14.0), (128.0, 28.0), fill, party);
        canvas.text((centre(number), 33.0), "middle", 13, &party.chars().take(18).collect::<String>());
    }
    for (number, lane) in lanes.iter().enumerate() {
        let y = TOP + LANE * number as f64 + 12.0;
        let (first, last) = lane.span();
        canvas.line((centre(first), y), (centre(last), y), lane.indirect);
        for column in first..=last {
            let (source, target) = (lane.sources.contains(&column), lane.targets.contains(&column));
            // A head points away from where the line comes from: outwards at its ends.
            let rightwards = lane.sources.iter().any(|s| *s < column);
            let leftwards = lane.sources.iter().any(|s| *s > column);
            if target && rightwards {
                canvas.head(y, centre(column), true);
            }
            if target && leftwards {
                canvas.head(y, centre(column), false);
            }
            if source {
                canvas.dot((centre(column), y));
            }
        }
        let half = lane.what.chars().count() as f64 * CHARACTER / 2.0;
        let middle = (centre(first) + centre(last)) / 2.0;
        canvas.label((middle.min(width - half - 4.0).max(half + 4.0), y - 6.0), "middle", 11, lane.what);
    }
    Picture {
        name: "flow".to_owned(),
        title: title.to_owned(),
        svg: canvas.finish(title),
        text: text(parties, &lanes),
    }
}

fn text(parties: &[String], lanes: &[Lane<'_>]) -> String {
    let names =
        |set: &BTreeSet<usize>| set.iter().map(|p| parties[*p].as_str()).collect::<Vec<_>>().join(", ");
    lanes.iter().fold(String::from("Information flow\n"), |out, lane| {
        let arrow = if lane.indirect { "- ->" } else { "--->" };
        let flow = match lane.sources == lane.targets {
            true => format!("{} on each other", names(&lane.sources)),
            false => format!("{} {arrow} {}", names(&lane.sources), names(&lane.targets)),
        };
        out + &fold(&flow, 2) + &fold(lane.what, 6)
    })
}

/// One lane for what each of some parties does to each other of them, else one for each source, or for each target
/// where those are fewer.
fn lanes(flows: &[Flow]) -> Vec<Lane<'_>> {
    let mut out: Vec<Lane<'_>> = Vec::new();
    let same = |a: &Flow, b: &Flow| a.what == b.what && a.indirect == b.indirect;
    for (number, flow) in flows.iter().enumerate() {
        if flows[..number].iter().any(|f| same(f, flow)) {
            continue;
        }
        let pairs: BTreeSet<(usize, usize)> =
            flows.iter().filter(|f| same(f, flow)).map(|f| (f.from, f.to)).collect();
        let ends: BTreeSet<usize> = pairs.iter().flat_map(|(from, to)| [*from, *to]).collect();
        let lane = |sources, targets| Lane { what: &flow.what, indirect: flow.indirect, sources, targets };
        if pairs.len() == ends.len() * (ends.len() - 1) {
            out.push(lane(ends.clone(), ends));
            continue;
        }
        let sources: BTreeSet<usize> = pairs.iter().map(|(from, _)| *from).collect();
        let targets: BTreeSet<usize> = pairs.iter().map(|(_, to)| *to).collect();
        if targets.len() < sources.len() {
            out.extend(targets.iter().map(|target| {
                let sources = pairs.iter().filter(|(_, to)| to == target).map(|(from, _)| *from).collect();
                lane(sources, [*target].into())
            }));
        } else {
            out.extend(sources.iter().map(|source| {
                let targets = pairs.iter().filter(|(from, _)| from == source).map(|(_, to)| *to).collect();
                lane([*source].into(), targets)
            }));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_everybody_does_to_everybody_has_one_lane_and_a_port_with_readers_too() {
        let flow = |from, to, what: &str| Flow { from, to, what: what.to_owned(), indirect: true };
        let bus = [(0, 1), (1, 0), (0, 2), (2, 0), (1, 2), (2, 1)].map(|(a, b)| flow(a, b, "bus"));
        let flows = [
            &bus[..],
            &[flow(1, 0, "port"), flow(1, 2, "port"), flow(0, 3, "console"), flow(1, 3, "console")],
        ];
        let flows = flows.concat();
        let drawn: Vec<(&str, Vec<usize>, Vec<usize>)> = lanes(&flows)
            .into_iter()
            .map(|l| (l.what, l.sources.into_iter().collect(), l.targets.into_iter().collect()))
            .collect();
        assert_eq!(
            drawn,
            [
                ("bus", vec![0, 1, 2], vec![0, 1, 2]),
                ("port", vec![1], vec![0, 2]),
                ("console", vec![0, 1], vec![3])
            ]
        );
    }
}
