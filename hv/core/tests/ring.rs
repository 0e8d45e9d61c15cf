//! Byte ring: order, loss, wrap-around, runs, and two threads at once.

use bulkhead_core::ring::Ring;
use std::sync::atomic::AtomicU8;

fn memory(bytes: usize) -> Vec<AtomicU8> {
    (0..bytes).map(|_| AtomicU8::new(0)).collect()
}

#[test]
fn what_does_not_fit_is_counted() {
    let (ring, memory) = (Ring::default(), memory(8));
    let ring = ring.over(&memory);
    assert_eq!(ring.push(b"hello"), 5);
    assert_eq!(ring.push(b"world"), 3);
    assert_eq!((ring.len(), ring.lost()), (8, 2));
    let text: Vec<u8> = std::iter::from_fn(|| ring.pop()).collect();
    assert_eq!(text, b"hellowor");
    assert!(ring.is_empty());
}

#[test]
fn every_start_and_length_wraps() {
    for start in 0..16usize {
        for length in 0..=16usize {
            let (ring, memory) = (Ring::default(), memory(16));
            let ring = ring.over(&memory);
            ring.push(&vec![b'.'; start]);
            while ring.pop().is_some() {}
            let bytes: Vec<u8> = (0..length as u8).collect();
            assert_eq!(ring.push(&bytes), length);
            let back: Vec<u8> = std::iter::from_fn(|| ring.pop()).collect();
            assert_eq!(back, bytes);
            assert_eq!(ring.lost(), 0);
        }
    }
}

#[test]
fn runs_end_with_the_line_or_a_return() {
    let (ring, memory) = (Ring::default(), memory(8));
    let ring = ring.over(&memory);
    ring.push(b"123456");
    while ring.pop().is_some() {}
    ring.push(b"abc\r\nde");
    let mut out = [0; 16];
    assert_eq!(ring.take_run(&mut out), 4);
    assert_eq!(&out[..4], b"abc\r");
    assert_eq!(ring.take_run(&mut out), 1);
    assert_eq!(out[0], b'\n');
    assert_eq!(ring.take_run(&mut out[..1]), 1);
    assert_eq!(ring.take_run(&mut out), 1);
    assert_eq!(ring.take_run(&mut out), 0);
    ring.push(b"x\n");
    ring.clear();
    assert!(ring.is_empty());
}

#[test]
fn odd_memory_is_harmless() {
    let ring = Ring::default();
    let none = ring.over(&[]);
    assert_eq!((none.push(b"abc"), none.lost(), none.pop()), (0, 3, None));
    let ring = Ring::default();
    let twelve = memory(12);
    assert_eq!(ring.over(&twelve).capacity(), 8);
}

#[test]
fn producer_and_consumer_at_once_keep_order() {
    let (ring, memory) = (Ring::default(), memory(32));
    let ring = ring.over(&memory);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut next = 0u32;
            while next < 20_000 {
                if ring.push(&[next as u8]) == 1 {
                    next += 1;
                }
            }
        });
        for expected in 0..20_000u32 {
            let byte = loop {
                match ring.pop() {
                    Some(byte) => break byte,
                    None => std::thread::yield_now(),
                }
            };
            assert_eq!(byte, expected as u8);
        }
    });
    assert!(ring.is_empty());
}
