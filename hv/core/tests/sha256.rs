//! The digest against the standard's example and another implementation.

use bulkhead_core::sha256::Sha256;
use sha2::Digest;

#[test]
fn the_standards_example() {
    let mut digest = Sha256::new();
    digest.update(b"abc");
    let found = digest.finish();
    assert_eq!(found[..4], [0xba, 0x78, 0x16, 0xbf]);
    assert_eq!(found[28..], [0xf2, 0x00, 0x15, 0xad]);
}

#[test]
fn every_length_in_pieces_agrees_with_sha2() {
    let message: Vec<u8> = (0..300u32).map(|n| (n * 7 + n / 11) as u8).collect();
    for length in 0..message.len() {
        let (first, second) = message[..length].split_at(length / 3);
        let mut digest = Sha256::new();
        digest.update(first);
        digest.update(second);
        let expected: [u8; 32] = sha2::Sha256::digest(&message[..length]).into();
        assert_eq!(digest.finish(), expected, "length {length}");
    }
}
