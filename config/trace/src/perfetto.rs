//! Perfetto's JSON (the trace event format of its user interface): for each CPU a track of what was
//! planned and one of what ran, for each partition a track for each vCPU.

use crate::{CAUSE_NAMES, CpuTrace, Event, Layout};
use serde_json::{Value, json};

/// Process numbers of the tracks.
const PLANNED: u32 = 1;
const MEASURED: u32 = 2;
const FIRST_PARTITION: u32 = 10;

/// The whole trace as one JSON document.
#[must_use]
pub fn json(layout: &Layout, cpus: &[CpuTrace]) -> String {
    let mut events = names(layout, cpus.len());
    for (cpu, trace) in cpus.iter().enumerate() {
        Track { layout, cpu, open: None, visits: Vec::new(), events: &mut events }.fill(trace);
    }
    json!({ "displayTimeUnit": "ns", "traceEvents": events }).to_string()
}

fn names(layout: &Layout, cpus: usize) -> Vec<Value> {
    let named = |what: &str, pid: u32, tid: u32, name: String| json!({ "ph": "M", "name": what, "pid": pid, "tid": tid, "args": { "name": name } });
    let mut out = vec![
        named("process_name", PLANNED, 0, "planned".into()),
        named("process_name", MEASURED, 0, "measured".into()),
    ];
    for cpu in 0..cpus as u32 {
        out.push(named("thread_name", PLANNED, cpu, format!("CPU {cpu} planned")));
        out.push(named("thread_name", MEASURED, cpu, format!("CPU {cpu}")));
    }
    for (index, name) in layout.partitions.iter().enumerate() {
        out.push(named("process_name", FIRST_PARTITION + index as u32, 0, name.clone()));
    }
    for vcpu in &layout.vcpus {
        let pid = FIRST_PARTITION + vcpu.partition as u32;
        out.push(named("thread_name", pid, vcpu.index, format!("vCPU {}", vcpu.index)));
    }
    out
}

/// A vCPU that has the CPU.
struct Open {
    vcpu: u32,
    window: bool,
    start: u64,
    planned: u64,
}

struct Track<'a> {
    layout: &'a Layout,
    cpu: usize,
    open: Option<Open>,
    visits: Vec<(usize, u32)>,
    events: &'a mut Vec<Value>,
}

impl Track<'_> {
    fn us(&self, ticks: u64) -> f64 {
        ticks as f64 * 1e6 / self.layout.hz.max(1) as f64
    }

    fn slice(&mut self, pid: u32, tid: u32, name: &str, times: (u64, u64), args: &Value) {
        let (ts, dur) = (self.us(times.0), self.us(times.1.saturating_sub(times.0)));
        self.events.push(
            json!({ "ph": "X", "name": name, "pid": pid, "tid": tid, "ts": ts, "dur": dur, "args": args }),
        );
    }

    fn instant(&mut self, name: String, ticks: u64) {
        let ts = self.us(ticks);
        self.events
            .push(json!({ "ph": "i", "s": "t", "name": name, "pid": MEASURED, "tid": self.cpu, "ts": ts }));
    }

    fn fill(&mut self, trace: &CpuTrace) {
        for record in &trace.records {
            match record.event {
                Event::Start { vcpu, window, late } => {
                    let planned = record.ticks.saturating_sub(u64::from(late));
                    self.visits.clear();
                    self.open = Some(Open { vcpu, window, start: record.ticks, planned });
                }
                Event::Visits { first, counts } => {
                    self.visits.extend(counts.into_iter().enumerate().map(|(n, count)| (first + n, count)));
                }
                Event::End { vcpu, left } => self.end(vcpu, record.ticks, record.ticks + u64::from(left)),
                Event::Plan { plan } => {
                    let id = self.layout.plans.get(usize::from(plan)).map_or(u32::from(plan), |p| p.id);
                    self.instant(format!("plan {id} begins"), record.ticks);
                }
                Event::PlanAsked { plan, .. } => {
                    let id = self.layout.plans.get(usize::from(plan)).map_or(u32::from(plan), |p| p.id);
                    self.instant(format!("plan {id} is asked for"), record.ticks);
                }
                Event::Deferred { count, away } => {
                    let text = format!("{count} interrupts have waited, {away} ticks at most");
                    self.instant(text, record.ticks);
                }
                Event::Straggler { intid, partition } => {
                    let name = self.layout.partition_name(partition as usize);
                    let text = format!("interrupt {intid} of {name} comes late");
                    self.instant(text, record.ticks);
                }
                Event::Health { event, action, partition } => {
                    let name = self.layout.partition_name(partition as usize);
                    let text = format!("health: {name}, event {event}, action {action}");
                    self.instant(text, record.ticks);
                }
                Event::Cleaned { ticks, .. } => {
                    self.instant(format!("cleaned in {ticks} ticks"), record.ticks);
                }
                Event::Unknown(_) => {}
            }
        }
    }

    fn end(&mut self, vcpu: u32, ticks: u64, slot_end: u64) {
        let Some(open) = self.open.take().filter(|open| open.vcpu == vcpu) else {
            return;
        };
        let late_ns = self.us(open.start - open.planned) * 1000.0;
        let mut args = json!({ "late_ns": late_ns, "window": open.window });
        for (cause, count) in self.visits.drain(..).filter(|(_, count)| *count != 0) {
            if let Some(name) = CAUSE_NAMES.get(cause) {
                args[*name] = json!(count);
            }
        }
        let name = self.layout.vcpu_name(vcpu);
        let cpu = self.cpu as u32;
        self.slice(MEASURED, cpu, &name, (open.start, ticks), &args);
        if open.window {
            self.slice(PLANNED, cpu, &name, (open.planned, slot_end), &json!({}));
        }
        if let Some(place) = self.layout.vcpus.get(vcpu as usize).cloned() {
            let pid = FIRST_PARTITION + place.partition as u32;
            let on = format!("CPU {cpu}");
            self.slice(pid, place.index, &on, (open.start, ticks), &args);
        }
    }
}
