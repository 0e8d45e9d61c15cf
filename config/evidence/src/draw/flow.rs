//! Information flow as a lane diagram: a column for each party, a lane for each flow, arrows in its direction.

use super::{Canvas, HYPERVISOR, Picture, colour};

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

/// The picture; the last party is EL2.
#[must_use]
pub fn picture(parties: &[String], flows: &[Flow]) -> Picture {
    let title = "Information flow: solid arrows carry data or control as configured, dashed ones influence indirectly";
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
    for (lane, (flow, both)) in lanes.into_iter().enumerate() {
        let y = TOP + LANE * lane as f64 + 12.0;
        let (from, to) = (centre(flow.from), centre(flow.to));
        canvas.arrow(y, from, to, flow.indirect, both);
        canvas.text(((from + to) / 2.0, y - 4.0), "middle", 11, &flow.what);
    }
    let text = flows.iter().fold(String::from("Information flow\n"), |out, flow| {
        let arrow = if flow.indirect { "- ->" } else { "--->" };
        format!("{out}  {:<14} {arrow} {:<14} {}\n", parties[flow.from], parties[flow.to], flow.what)
    });
    Picture { name: "flow".to_owned(), title: title.to_owned(), svg: canvas.finish(title), text }
}

/// Flows with whether they go both ways: one that follows its own reverse shares the lane.
fn lanes(flows: &[Flow]) -> Vec<(&Flow, bool)> {
    let mut out: Vec<(&Flow, bool)> = Vec::new();
    for flow in flows {
        match out.last_mut() {
            Some((last, both)) if (last.from, last.to) == (flow.to, flow.from) && last.what == flow.what => {
                *both = true;
            }
            _ => out.push((flow, false)),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_goes_both_ways_has_one_lane() {
        let flow = |from, to, what: &str| Flow { from, to, what: what.to_owned(), indirect: true };
        let flows = [flow(0, 1, "bus"), flow(1, 0, "bus"), flow(0, 1, "bus"), flow(1, 0, "port")];
        let both: Vec<bool> = lanes(&flows).into_iter().map(|(_, both)| both).collect();
        assert_eq!(both, [true, false, false]);
    }
}
