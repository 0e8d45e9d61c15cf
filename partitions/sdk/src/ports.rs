//! Ports of this partition, opened by name. The protocols are those of [`bulkhead_ports`]; this module
//! finds the port in the information region, maps its memory and rings its doorbell.

use crate::info::{Direction, Info, Kind, PortEntry};
use crate::{hypercall, interrupt, mmu, time};
use bulkhead_abi::port::{consumer, producer_bytes, sampling_bytes};
use bulkhead_ports::memory::{Geometry, Host, Memory};
use core::arch::asm;
use core::fmt;
use core::future::poll_fn;
use core::ptr;
use core::sync::atomic::{AtomicU32, AtomicU64, Ordering, fence};
use core::task::Poll;
use embassy_sync::waitqueue::AtomicWaker;

pub use bulkhead_ports::queuing::Received;
pub use bulkhead_ports::sampling::{Sample, Validity};
pub use bulkhead_ports::{ReceiveError, SendError};

/// Why a port could not be opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenError {
    /// There is no hypervisor, so there are no ports.
    Absent,
    /// The configuration gives this partition no port of that name.
    Unknown,
    /// The port has another kind or direction.
    WrongKind,
    /// The port was opened before.
    Taken,
    /// Its memory cannot be mapped, or does not fit its geometry: the port table is wrong.
    Memory,
}

impl fmt::Display for OpenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Absent => "no hypervisor, no ports",
            Self::Unknown => "the configuration gives no port of this name",
            Self::WrongKind => "the port has another kind or direction",
            Self::Taken => "the port was opened before",
            Self::Memory => "the port's memory cannot be mapped",
        })
    }
}

impl core::error::Error for OpenError {}

/// A mapped port region.
pub struct Region {
    base: u64,
    bytes: usize,
}

/// EL2's word about the peer of one port.
pub struct Peer {
    epoch: &'static AtomicU32,
}

impl Host for Peer {
    fn now_ticks(&self) -> u64 {
        time::now_ticks()
    }

    fn peer_epoch(&self) -> u32 {
        self.epoch.load(Ordering::Acquire)
    }
}

#[cold]
fn out_of_range(offset: usize, bytes: usize) -> ! {
    panic!("port access at {offset:#x} of {bytes:#x} bytes");
}

impl Region {
    fn map(base: u64, bytes: usize, writable: bool) -> Result<Self, OpenError> {
        let attributes = if writable { mmu::Attributes::READ_WRITE } else { mmu::Attributes::READ_ONLY };
        if base == 0 || !base.is_multiple_of(4096) || mmu::map(base, bytes as u64, attributes).is_err() {
            return Err(OpenError::Memory);
        }
        Ok(Self { base, bytes })
    }

    /// Address of a word of `T` at `offset`, rounded down to its alignment: cheaper than a check, and
    /// as sound.
    #[inline(always)]
    fn at<T>(&self, offset: usize) -> *mut T {
        let offset = offset & !(align_of::<T>() - 1);
        // Every region has 16 bytes at least (`map`), so this does not wrap.
        if offset > self.bytes - size_of::<T>() {
            out_of_range(offset, self.bytes);
        }
        ptr::with_exposed_provenance_mut(self.base as usize + offset)
    }

    /// Address of the words that `bytes` bytes at `offset` lie in.
    #[inline(always)]
    fn span(&self, offset: usize, bytes: usize) -> *mut u64 {
        let offset = offset & !7;
        let span = bytes.next_multiple_of(8);
        if span > self.bytes || offset > self.bytes - span {
            out_of_range(offset, self.bytes);
        }
        ptr::with_exposed_provenance_mut(self.base as usize + offset)
    }

    #[inline(always)]
    fn word(&self, offset: usize) -> &AtomicU32 {
        // SAFETY: aligned and within a region that stays mapped (`at`); it lies outside the image,
        // so that no Rust object is there; all of its accesses are atomic or opaque.
        unsafe { AtomicU32::from_ptr(self.at(offset)) }
    }

    #[inline(always)]
    fn long(&self, offset: usize) -> &AtomicU64 {
        // SAFETY: as in `word`.
        unsafe { AtomicU64::from_ptr(self.at(offset)) }
    }
}

impl Memory for Region {
    fn bytes(&self) -> usize {
        self.bytes
    }

    #[inline(always)]
    fn load_u32(&self, offset: usize, order: Ordering) -> u32 {
        self.word(offset).load(order)
    }

    #[inline(always)]
    fn load_u64(&self, offset: usize, order: Ordering) -> u64 {
        self.long(offset).load(order)
    }

    #[inline(always)]
    fn store_u32(&self, offset: usize, value: u32, order: Ordering) {
        self.word(offset).store(value, order);
    }

    #[inline(always)]
    fn store_u64(&self, offset: usize, value: u64, order: Ordering) {
        self.long(offset).store(value, order);
    }

    fn copy_out(&self, offset: usize, to: &mut [u8]) {
        let from = self.span(offset, to.len());
        let words = to.len() / 8;
        // SAFETY: `words` whole words of the region, and as many bytes of `to`.
        unsafe { copy_words(from, to.as_mut_ptr().cast(), words) };
        let (_, rest) = to.split_at_mut(words * 8);
        if !rest.is_empty() {
            let last = self.long(offset + words * 8).load(Ordering::Relaxed);
            for (index, byte) in rest.iter_mut().enumerate() {
                *byte = (last >> (8 * index)) as u8;
            }
        }
    }

    fn copy_in(&self, offset: usize, from: &[u8]) {
        let to = self.span(offset, from.len());
        let words = from.len() / 8;
        // SAFETY: `words` whole words of the region, and as many bytes of `from`.
        unsafe { copy_words(from.as_ptr().cast(), to, words) };
        let rest = &from[words * 8..];
        if !rest.is_empty() {
            let last = rest.iter().rev().fold(0, |word, &byte| word << 8 | u64::from(byte));
            self.long(offset + words * 8).store(last, Ordering::Relaxed);
        }
    }

    #[inline(always)]
    fn fence(&self, order: Ordering) {
        fence(order);
    }
}

/// Copies 64-bit words; each word of the shared side is one access. The private side may be
/// unaligned (SCTLR_EL1.A is 0 and the memory is Normal).
///
/// # Safety
/// `from` is readable and `to` writable for `words` * 8 bytes; they do not overlap; at most one of
/// them is shared with a peer.
#[inline(always)]
unsafe fn copy_words(from: *const u64, to: *mut u64, words: usize) {
    // SAFETY: by the caller. In assembly because the compiler must not assume that the peer keeps
    // its hands off meanwhile, and because it would copy unaligned buffers by bytes.
    unsafe {
        asm!(
            "tbz {words}, #0, 2f",
            "ldr {a}, [{from}], #8",
            "str {a}, [{to}], #8",
            "2: tbz {words}, #1, 3f",
            "ldp {a}, {b}, [{from}], #16",
            "stp {a}, {b}, [{to}], #16",
            "3: lsr {words}, {words}, #2",
            "cbz {words}, 5f",
            "4: ldp {a}, {b}, [{from}], #16",
            "ldp {c}, {d}, [{from}], #16",
            "stp {a}, {b}, [{to}], #16",
            "stp {c}, {d}, [{to}], #16",
            "sub {words}, {words}, #1",
            "cbnz {words}, 4b",
            "5:",
            from = inout(reg) from => _, to = inout(reg) to => _, words = inout(reg) words => _,
            a = out(reg) _, b = out(reg) _, c = out(reg) _, d = out(reg) _,
            options(nostack, preserves_flags),
        );
    }
}

/// Ports that were opened, by index.
static OPENED: [AtomicU64; 2] = [AtomicU64::new(0), AtomicU64::new(0)];

struct Found {
    info: Info,
    entry: PortEntry,
    geometry: Geometry,
}

fn find(info: Option<Info>, name: &str, kind: Kind, direction: Direction) -> Result<Found, OpenError> {
    let info = info.ok_or(OpenError::Absent)?;
    let entry = info.port(name).ok_or(OpenError::Unknown)?;
    if (entry.kind, entry.direction) != (kind, direction) {
        return Err(OpenError::WrongKind);
    }
    let bit = 1 << (entry.index % 64);
    let opened = &OPENED[entry.index as usize / 64 % OPENED.len()];
    if opened.fetch_or(bit, Ordering::Relaxed) & bit != 0 {
        return Err(OpenError::Taken);
    }
    Ok(Found { info, entry, geometry: Geometry { message_bytes: entry.message_bytes, slots: entry.slots } })
}

impl Found {
    fn peer(&self) -> Peer {
        Peer { epoch: self.info.peer_epoch(self.entry.index) }
    }

    fn writer_region(&self, bytes: usize, writable: bool) -> Result<Region, OpenError> {
        Region::map(self.entry.writer_ipa, bytes, writable)
    }

    fn queue_regions(&self, producing: bool) -> Result<(Region, Region), OpenError> {
        let bytes = producer_bytes(self.entry.message_bytes, self.entry.slots);
        let sent = self.writer_region(bytes, producing)?;
        let taken = Region::map(self.entry.consumer_ipa, consumer::BYTES, !producing)?;
        Ok((sent, taken))
    }
}

/// Asks for a ring that is put off because the doorbell's minimum interval has not passed. More than
/// any interval needs on a CPU that does a call in 100 instructions; a bound all the same.
const RING_ATTEMPTS: u32 = 100_000;

/// Rings the port's doorbell after something was stored, where it has one. Within the doorbell's
/// minimum interval it waits, at this partition's own expense: a message whose ring is dropped could
/// lie unseen until the next one.
fn ring(doorbell: Option<u32>) {
    let Some(index) = doorbell else { return };
    for _ in 0..RING_ATTEMPTS {
        // Any other refusal is the peer's business: it is not there, and looks when it starts.
        if hypercall::doorbell(index) != Err(hypercall::Error::NotAvailable) {
            return;
        }
    }
}

/// Writing end of a sampling port.
pub struct SamplingSource {
    port: bulkhead_ports::SamplingWriter<Region>,
    doorbell: Option<u32>,
}

impl SamplingSource {
    /// Opens the sampling port that this partition calls `name` and writes.
    pub fn open(info: Option<Info>, name: &str) -> Result<Self, OpenError> {
        let found = find(info, name, Kind::Sampling, Direction::Source)?;
        let bytes = sampling_bytes(found.entry.message_bytes, found.entry.slots);
        let region = found.writer_region(bytes, true)?;
        let epoch = found.info.start_count();
        let port = bulkhead_ports::SamplingWriter::open(region, found.geometry, epoch)
            .map_err(|_| OpenError::Memory)?;
        Ok(Self { port, doorbell: found.entry.doorbell_intid.map(|_| found.entry.index) })
    }

    /// Publishes `message`, stamped with the time of this call; rings the doorbell if there is one.
    pub fn write(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.port.write(message, time::now_ticks())?;
        ring(self.doorbell);
        Ok(())
    }
}

/// Reading end of a sampling port.
pub struct SamplingDestination {
    port: bulkhead_ports::SamplingReader<Region, Peer>,
    refresh_ns: u64,
}

impl SamplingDestination {
    /// Opens the sampling port that this partition calls `name` and reads.
    pub fn open(info: Option<Info>, name: &str) -> Result<Self, OpenError> {
        let found = find(info, name, Kind::Sampling, Direction::Destination)?;
        let bytes = sampling_bytes(found.entry.message_bytes, found.entry.slots);
        let region = found.writer_region(bytes, false)?;
        let refresh_ns = found.entry.refresh_ns;
        let refresh_ticks = time::ticks_from_ns(refresh_ns);
        let port = bulkhead_ports::SamplingReader::open(region, found.peer(), found.geometry, refresh_ticks)
            .map_err(|_| OpenError::Memory)?;
        Ok(Self { port, refresh_ns })
    }

    /// Reads the newest message into `buffer`; look at [`Sample::validity`].
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<Sample, ReceiveError> {
        self.port.read(buffer)
    }

    /// The port's refresh period in nanoseconds.
    pub fn refresh_ns(&self) -> u64 {
        self.refresh_ns
    }
}

/// Producing end of a queuing port.
pub struct QueuingSource {
    port: bulkhead_ports::QueuingWriter<Region, Peer>,
    doorbell: Option<u32>,
}

impl QueuingSource {
    /// Opens the queuing port that this partition calls `name` and writes.
    pub fn open(info: Option<Info>, name: &str) -> Result<Self, OpenError> {
        let found = find(info, name, Kind::Queuing, Direction::Source)?;
        let (own, peer) = found.queue_regions(true)?;
        let epoch = found.info.start_count();
        let port = bulkhead_ports::QueuingWriter::open(own, peer, found.peer(), found.geometry, epoch)
            .map_err(|_| OpenError::Memory)?;
        Ok(Self { port, doorbell: found.entry.doorbell_intid.map(|_| found.entry.index) })
    }

    /// Appends `message`, stamped with the time of this call; rings the doorbell if there is one.
    pub fn send(&mut self, message: &[u8]) -> Result<(), SendError> {
        self.port.send(message, time::now_ticks())?;
        ring(self.doorbell);
        Ok(())
    }

    /// Messages refused because the queue was full.
    pub fn refused(&self) -> u64 {
        self.port.refused()
    }
}

/// Consuming end of a queuing port.
pub struct QueuingDestination {
    port: bulkhead_ports::QueuingReader<Region, Peer>,
    doorbell: Option<&'static AtomicWaker>,
}

impl QueuingDestination {
    /// Opens the queuing port that this partition calls `name` and reads.
    pub fn open(info: Option<Info>, name: &str) -> Result<Self, OpenError> {
        let found = find(info, name, Kind::Queuing, Direction::Destination)?;
        let (sent, taken) = found.queue_regions(false)?;
        let epoch = found.info.start_count();
        let port = bulkhead_ports::QueuingReader::open(taken, sent, found.peer(), found.geometry, epoch)
            .map_err(|_| OpenError::Memory)?;
        Ok(Self { port, doorbell: found.entry.doorbell_intid.and_then(listen) })
    }

    /// Takes the oldest message into `buffer`, without waiting.
    pub fn receive(&mut self, buffer: &mut [u8]) -> Result<Received, ReceiveError> {
        self.port.receive(buffer)
    }

    /// Takes the oldest message into `buffer`, asleep until the doorbell rings while there is none.
    /// On a port without a doorbell it answers at once, as [`receive`](Self::receive) does.
    pub async fn received(&mut self, buffer: &mut [u8]) -> Result<Received, ReceiveError> {
        poll_fn(|context| {
            if let Some(waker) = self.doorbell {
                // Registered before looking, so that a ring in between is not lost.
                waker.register(context.waker());
            }
            match self.port.receive(buffer) {
                Err(ReceiveError::Empty | ReceiveError::PeerDown | ReceiveError::PeerStarting)
                    if self.doorbell.is_some() =>
                {
                    Poll::Pending
                }
                outcome => Poll::Ready(outcome),
            }
        })
        .await
    }
}

/// Doorbells that this partition may listen to.
const DOORBELLS: usize = 16;
static WAKERS: [(AtomicU32, AtomicWaker); DOORBELLS] =
    [const { (AtomicU32::new(0), AtomicWaker::new()) }; DOORBELLS];

/// Enables the doorbell's interrupt; `None` if no place is left or the INTID is taken.
fn listen(intid: u32) -> Option<&'static AtomicWaker> {
    let (_, waker) = WAKERS
        .iter()
        .find(|(slot, _)| slot.compare_exchange(0, intid, Ordering::Relaxed, Ordering::Relaxed).is_ok())?;
    interrupt::enable(intid, interrupt::priority::TIMER, on_doorbell).ok()?;
    Some(waker)
}

fn on_doorbell(intid: u32) {
    for (_, waker) in WAKERS.iter().filter(|(slot, _)| slot.load(Ordering::Relaxed) == intid) {
        waker.wake();
    }
}
