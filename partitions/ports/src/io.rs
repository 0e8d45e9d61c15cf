//! `embedded-io` for queuing ports, where a byte stream is what the caller has: one write is one
//! message of at most the port's message size, one read takes one message.

use crate::error::{ReceiveError, SendError};
use crate::memory::{Host, Memory};
use crate::queuing::{QueuingReader, QueuingWriter};
use embedded_io::{Error, ErrorKind, ErrorType, Read, ReadReady, Write, WriteReady};

impl Error for SendError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::Length { .. } => ErrorKind::InvalidInput,
            Self::Full => ErrorKind::OutOfMemory,
        }
    }
}

impl Error for ReceiveError {
    fn kind(&self) -> ErrorKind {
        match self {
            Self::PeerDown | Self::PeerStarting => ErrorKind::NotConnected,
            Self::Empty => ErrorKind::TimedOut,
            Self::Overrun => ErrorKind::Interrupted,
            Self::Violation => ErrorKind::InvalidData,
            Self::BufferTooSmall { .. } => ErrorKind::InvalidInput,
        }
    }
}

impl<M: Memory, H: Host> ErrorType for QueuingWriter<M, H> {
    type Error = SendError;
}

impl<M: Memory, H: Host> Write for QueuingWriter<M, H> {
    /// Sends up to one message; never waits, a full queue is the error [`SendError::Full`].
    fn write(&mut self, bytes: &[u8]) -> Result<usize, SendError> {
        if bytes.is_empty() {
            return Ok(0);
        }
        let length = bytes.len().min(self.message_bytes());
        let now = self.now_ticks();
        self.send(&bytes[..length], now)?;
        Ok(length)
    }

    fn flush(&mut self) -> Result<(), SendError> {
        Ok(())
    }
}

impl<M: Memory, H: Host> WriteReady for QueuingWriter<M, H> {
    fn write_ready(&mut self) -> Result<bool, SendError> {
        Ok(!self.is_full())
    }
}

impl<M: Memory, H: Host> ErrorType for QueuingReader<M, H> {
    type Error = ReceiveError;
}

impl<M: Memory, H: Host> Read for QueuingReader<M, H> {
    /// Takes one message; never waits, an empty queue is the error [`ReceiveError::Empty`].
    fn read(&mut self, buffer: &mut [u8]) -> Result<usize, ReceiveError> {
        if buffer.is_empty() {
            return Ok(0);
        }
        self.receive(buffer).map(|received| received.length)
    }
}

impl<M: Memory, H: Host> ReadReady for QueuingReader<M, H> {
    fn read_ready(&mut self) -> Result<bool, ReceiveError> {
        Ok(self.depth_used()? != 0)
    }
}
