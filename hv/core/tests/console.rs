//! The console multiplexer against scripted sources.

use bulkhead_core::console::{Action, Console, ESCAPE, FIFO_BYTES, Sources};
use bulkhead_core::ring::{Ring, RingRef};
use bulkhead_core::text::Text;
use std::collections::VecDeque;
use std::sync::atomic::AtomicU8;

const GRACE: u64 = 100;

struct Bench {
    rings: Vec<(Ring, Vec<AtomicU8>)>,
    own: VecDeque<&'static str>,
}

const NAMES: [&[u8]; 4] = [b"bulkhead", b"linux\0\0", b"rtos", b"monitor"];

impl Bench {
    fn new(bytes: usize) -> Self {
        let ring = || (Ring::default(), (0..bytes).map(|_| AtomicU8::new(0)).collect());
        Self { rings: (0..NAMES.len()).map(|_| ring()).collect(), own: VecDeque::new() }
    }

    fn say(&self, source: usize, text: &str) {
        self.output(source).push(text.as_bytes());
    }

    fn drain(&mut self, console: &mut Console, now: u64) -> String {
        let mut text = Vec::new();
        let mut silent = 0;
        while silent < 6 {
            let mut out = [0; FIFO_BYTES];
            let count = console.drain(self, now, GRACE, &mut out);
            text.extend_from_slice(&out[..count]);
            silent = if count == 0 { silent + 1 } else { 0 };
        }
        String::from_utf8(text).unwrap()
    }
}

impl Sources for Bench {
    fn count(&self) -> usize {
        NAMES.len()
    }
    fn name(&self, source: usize) -> &[u8] {
        NAMES[source]
    }
    fn output(&self, source: usize) -> RingRef<'_> {
        self.rings[source].0.over(&self.rings[source].1)
    }
    fn status(&self, source: usize) -> (&'static str, u32) {
        ("running", source as u32)
    }
    fn own_waits(&self) -> bool {
        !self.own.is_empty()
    }
    fn own_line(&mut self, line: &mut Text<'_>) {
        line.str(self.own.pop_front().unwrap());
    }
}

#[test]
fn lines_are_prefixed_and_take_turns() {
    let (mut bench, mut console) = (Bench::new(256), Console::new());
    bench.say(1, "one\r\ntwo\nthree\r\r\n");
    bench.say(2, "uno\ndos\n");
    bench.own.push_back("stage 1");
    assert_eq!(
        bench.drain(&mut console, 0),
        "bulkhead| stage 1\r\n\
         linux   | one\r\n\
         rtos    | uno\r\n\
         linux   | two\r\n\
         rtos    | dos\r\n\
         linux   | three\r\n"
    );
}

#[test]
fn a_prompt_keeps_its_line_for_the_grace_time() {
    let (mut bench, mut console) = (Bench::new(256), Console::new());
    bench.say(1, "~ # ");
    assert_eq!(bench.drain(&mut console, 0), "linux   | ~ # ");
    bench.say(2, "tick\n");
    assert_eq!(bench.drain(&mut console, GRACE - 1), "");
    bench.say(1, "l");
    assert_eq!(bench.drain(&mut console, GRACE), "l");
    assert_eq!(bench.drain(&mut console, 2 * GRACE), "\r\nrtos    | tick\r\n");
    bench.say(1, "s\nbin\n");
    assert_eq!(bench.drain(&mut console, 2 * GRACE), "linux   | s\r\nlinux   | bin\r\n");
}

#[test]
fn the_end_of_a_broken_line_is_not_shown_twice() {
    let (mut bench, mut console) = (Bench::new(256), Console::new());
    bench.say(1, "login:");
    bench.drain(&mut console, 0);
    bench.say(3, "x\n");
    bench.drain(&mut console, 0);
    assert_eq!(bench.drain(&mut console, GRACE), "\r\nmonitor | x\r\n");
    bench.say(1, "\r\n\n");
    assert_eq!(bench.drain(&mut console, GRACE), "linux   | \r\n");
}

#[test]
fn an_endless_line_gives_way() {
    let (mut bench, mut console) = (Bench::new(4096), Console::new());
    bench.say(1, &"x".repeat(1000));
    bench.say(2, "tick\n");
    let text = bench.drain(&mut console, 0);
    assert!(text.contains("x\r\nrtos    | tick\r\nlinux   | x"), "{text}");
    assert!(text.find("tick") < Some(300), "{text}");
    assert_eq!(text.matches('x').count(), 1000 + 2, "two in linux");
}

#[test]
fn loss_is_shown_where_it_happened() {
    let (mut bench, mut console) = (Bench::new(16), Console::new());
    bench.say(1, "0123456789abcdefGHI");
    assert_eq!(bench.drain(&mut console, 0), "linux   | 0123456789abcdef\r\nlinux   | [3 bytes lost]\r\n");
    bench.say(1, "on\n");
    assert_eq!(bench.drain(&mut console, 0), "linux   | on\r\n");
}

#[test]
fn a_flood_does_not_silence_others() {
    let (mut bench, mut console) = (Bench::new(64), Console::new());
    bench.say(3, "alive\n");
    let mut text = String::new();
    for _ in 0..40 {
        bench.say(1, "flood\nflood\nflood\n");
        bench.say(2, "no line end at all ");
        let mut out = [0; FIFO_BYTES];
        let count = console.drain(&mut bench, 0, GRACE, &mut out);
        text.push_str(std::str::from_utf8(&out[..count]).unwrap());
    }
    assert!(text.contains("monitor | alive\r\n"), "{text}");
}

#[test]
fn control_bytes() {
    let (mut bench, mut console) = (Bench::new(256), Console::new());
    bench.say(1, "a\x01\x7f\x1b[1mb\x08\x07\tc\n");
    assert_eq!(bench.drain(&mut console, 0), "linux   | a^A^?\x1b[1mb\x08\x07\tc\r\n");
    bench.say(1, "10%\r20%\r\n");
    assert_eq!(bench.drain(&mut console, 0), "linux   | 10%\rlinux   | 20%\r\n");
}

#[test]
fn own_lines_take_their_turn_and_break_prompts() {
    let (mut bench, mut console) = (Bench::new(256), Console::new());
    bench.say(1, "$ ");
    bench.drain(&mut console, 0);
    bench.own.extend(["fault 1", "cause"]);
    assert_eq!(bench.drain(&mut console, 0), "");
    assert_eq!(bench.drain(&mut console, GRACE), "\r\nbulkhead| fault 1\r\nbulkhead| cause\r\n");
}

#[test]
fn keys() {
    let (mut bench, mut console) = (Bench::new(16), Console::new());
    let deliver = |source, byte| Some(Action::Deliver { source, byte });
    assert_eq!(console.input(b'a', 4), deliver(1, b'a'));
    let mut command = |console: &mut Console, key| {
        assert_eq!(console.input(ESCAPE, 4), None);
        let action = console.input(key, 4);
        (action, bench.drain(console, 0))
    };
    assert_eq!(command(&mut console, b'2').1, "bulkhead| input goes to rtos\r\n");
    assert_eq!(console.input(b'b', 4), deliver(2, b'b'));
    assert_eq!(command(&mut console, b'n').1, "bulkhead| input goes to monitor\r\n");
    assert_eq!(command(&mut console, b'n').1, "bulkhead| input goes to linux\r\n");
    assert_eq!(command(&mut console, b'9').1, "bulkhead| input goes to linux\r\n");
    assert_eq!(command(&mut console, b'c').0, deliver(1, 3));
    assert_eq!(command(&mut console, ESCAPE).0, deliver(1, ESCAPE));
    assert_eq!(command(&mut console, b'x').0, Some(Action::PowerOff));
    assert_eq!(command(&mut console, b'z'), (None, String::new()));
    assert_eq!(command(&mut console, b'?').1.lines().count(), 1);
    bench.say(2, &"!".repeat(18));
    console.input(ESCAPE, 4);
    console.input(b's', 4);
    let text = bench.drain(&mut console, 0);
    assert!(
        text.starts_with(
            "bulkhead| status linux running starts=1 lost=0\r\n\
             bulkhead| status rtos running starts=2 lost=2\r\n\
             bulkhead| status monitor running starts=3 lost=0\r\n\
             bulkhead| status end\r\n"
        ),
        "{text}"
    );
}
