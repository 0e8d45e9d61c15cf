//! Number formatting against the standard library's.

use bulkhead_core::text::Text;

fn write(size: usize, compose: impl FnOnce(&mut Text<'_>)) -> String {
    let mut buffer = vec![0; size];
    let mut text = Text::new(&mut buffer);
    compose(&mut text);
    String::from_utf8(text.as_bytes().to_vec()).unwrap()
}

#[test]
fn numbers() {
    for shift in 0..64 {
        for value in [1u64 << shift, (1 << shift) - 1, u64::MAX >> shift] {
            assert_eq!(write(32, |t| _ = t.dec(value)), format!("{value}"));
            assert_eq!(write(32, |t| _ = t.hex(value)), format!("{value:#x}"));
            assert_eq!(write(32, |t| _ = t.hex_digits(value, 16)), format!("{value:016x}"));
            assert_eq!(write(32, |t| _ = t.dec_padded(value, 7)), format!("{value:07}"));
        }
    }
}

#[test]
fn what_does_not_fit_is_left_out() {
    assert_eq!(write(4, |t| _ = t.str("abc").dec(123).byte(b'x')), "abc1");
    assert_eq!(write(0, |t| _ = t.str("abc").hex(1)), "");
}

#[test]
fn names_and_times() {
    assert_eq!(write(32, |t| _ = t.name(b"ab\0\0", 4).byte(b'|')), "ab  |");
    assert_eq!(write(32, |t| _ = t.name(b"abcdef", 4)), "abcdef");
    let cases = [
        (62_500_000, 62_500_000, "1000.000"),
        (62_500, 62_500_000, "1.000"),
        (54, 54_000_000, "0.001"),
        (1, 0, "1000.000"),
    ];
    for (ticks, hz, expected) in cases {
        assert_eq!(write(32, |t| _ = t.milliseconds(ticks, hz)), expected);
    }
}
