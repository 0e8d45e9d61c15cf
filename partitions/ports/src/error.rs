//! What can go wrong at a port. Each error says whose fault it is.

use core::fmt;

/// Why a port could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// The region is smaller than message size and slot count need: the port table is wrong.
    RegionTooSmall {
        /// Bytes of the region.
        found: usize,
        /// Bytes that the layout needs.
        expected: usize,
    },
    /// Message size or slot count is zero.
    EmptyGeometry,
}

/// Why a message was not taken.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SendError {
    /// The caller's message is empty or longer than the configured message size.
    Length {
        /// Bytes of the caller's message.
        found: usize,
        /// Configured message size in bytes.
        limit: usize,
    },
    /// The queue is full: this message, the newest, is refused and counted (ARINC NOT_AVAILABLE).
    Full,
}

/// Why nothing was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ReceiveError {
    /// EL2 says that the peer is not running.
    PeerDown,
    /// The peer runs, but has not opened the port since its start.
    PeerStarting,
    /// No message is there.
    Empty,
    /// The writer overwrote the message in each of the permitted attempts, or during the copy.
    Overrun,
    /// The peer broke the protocol: an impossible length or count. The message is dropped.
    Violation,
    /// The caller's buffer is smaller than the message, which stays where it is.
    BufferTooSmall {
        /// Bytes of the message.
        needed: usize,
    },
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::RegionTooSmall { found, expected } => {
                write!(f, "port region has {found} bytes, its geometry needs {expected}")
            }
            Self::EmptyGeometry => f.write_str("port has no slots or no message size"),
        }
    }
}

impl fmt::Display for SendError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { found, limit } => {
                write!(f, "message has {found} bytes, the port takes 1 to {limit}")
            }
            Self::Full => f.write_str("queue full, message refused"),
        }
    }
}

impl fmt::Display for ReceiveError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::PeerDown => f.write_str("peer is not running"),
            Self::PeerStarting => f.write_str("peer has not opened the port"),
            Self::Empty => f.write_str("no message"),
            Self::Overrun => f.write_str("writer overran the reader"),
            Self::Violation => f.write_str("peer broke the port protocol"),
            Self::BufferTooSmall { needed } => {
                write!(f, "buffer too small, message has {needed} bytes")
            }
        }
    }
}

impl core::error::Error for OpenError {}
impl core::error::Error for SendError {}
impl core::error::Error for ReceiveError {}
