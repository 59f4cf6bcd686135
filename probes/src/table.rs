//! Tables and other memory of the BPF programs, mapped into this process: so reading costs no system call.

use std::{
    cell::Cell,
    hint, io,
    marker::PhantomData,
    mem::MaybeUninit,
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::{self, NonNull},
    sync::atomic::{AtomicU32, AtomicU64, Ordering, fence},
    thread,
    time::Duration,
};

use libbpf_rs::{
    MapHandle, MapType, OpenMapMut,
    libbpf_sys::{BPF_F_MMAPABLE, bpf_map_create_opts},
};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};
use zerocopy::FromBytes;

use crate::raw;

/// Returns the largest number of entries that a table of `T` may have; a power of two. The verifier accepts
/// no index that may reach further than 512 MB into a table (`BPF_MAX_VAR_OFF`).
pub(crate) const fn max_len<T>() -> u32 {
    1 << ((1 << 29) / size_of::<T>()).ilog2()
}

/// Makes the memory of a table in the kernel, `size` bytes. libbpf could make the memory, but would also map
/// all of it into this process and fill it with zeroes.
///
/// # Errors
/// Where the kernel has too little memory.
pub(crate) fn make(map: &mut OpenMapMut<'_>, size: u32) -> libbpf_rs::Result<()> {
    map.set_value_size(size)?;
    let opts = bpf_map_create_opts {
        sz: size_of::<bpf_map_create_opts>() as u64,
        map_flags: BPF_F_MMAPABLE,
        ..Default::default()
    };
    let made = MapHandle::create(MapType::Array, Some(map.name()), 4, size, 1, &opts)?;
    map.reuse_fd(made.as_fd())
}

/// A map's memory, mapped into this process until this struct is dropped.
struct Mapping {
    start: NonNull<u8>,
    len: NonZeroUsize,
}

impl Mapping {
    fn new(map: &impl AsFd, len: usize, protection: ProtFlags) -> io::Result<Self> {
        let len = NonZeroUsize::new(len).ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: a new mapping at an address of the kernel's choice, no memory of ours is replaced.
        let start = unsafe { mmap(None, len, protection, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self { start: start.cast(), len })
    }
}

impl Drop for Mapping {
    fn drop(&mut self) {
        // SAFETY: this is the mapping that `new` made; nothing borrows from it, as all reads copy.
        let unmapped = unsafe { munmap(self.start.cast(), self.len.get()) };
        debug_assert!(unmapped.is_ok());
    }
}

/// The mapped `struct shared` (`shared.h`), which this process and the programs both read and write.
pub(crate) struct Shared<Accounting> {
    mapping: Mapping,
    shared: PhantomData<Accounting>,
}

impl<Accounting: FromBytes> Shared<Accounting> {
    /// Maps `map`, which is `.data.shared`, for reading and writing.
    ///
    /// # Errors
    /// Where the kernel refuses the mapping (out of memory or address space).
    pub(crate) fn new(map: &impl AsFd) -> io::Result<Self> {
        let protection = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        let mapping = Mapping::new(map, size_of::<raw::Shared<Accounting>>(), protection)?;
        Ok(Self { mapping, shared: PhantomData })
    }

    /// Returns a copy of the struct. Each integer is read whole, but the integers may be of different
    /// moments.
    pub(crate) fn get(&self) -> raw::Shared<Accounting> {
        // SAFETY: inside the mapping, which is page-aligned and lives as long as self. Volatile, as the
        // programs write at the same time; by `FromBytes` any bytes are a value.
        unsafe { ptr::read_volatile(self.ptr()) }
    }

    /// Returns the number of the last completed round of `owner_has()` (`owner.h`). Reads only this word of
    /// the struct.
    pub(crate) fn rounds_done(&self) -> u32 {
        // SAFETY: as in `get`.
        unsafe { ptr::read_volatile(&raw const (*self.ptr()).rounds_done) }
    }

    /// Ends the current interval and begins the next. Returns the number of the interval that has ended.
    pub(crate) fn next_epoch(&mut self) -> u32 {
        let ended = self.get().epoch;
        // Never 0, as an entry's `ended` is 0 while its path or association lives, and else an interval's
        // number.
        let next = ended.wrapping_add(1).max(1);
        // SAFETY: as in `get`; no reference to the memory exists.
        unsafe { ptr::write_volatile(&raw mut (*self.ptr()).epoch, next) };
        ended
    }

    /// Asks the programs to wake this process at the next record.
    pub(crate) fn want_wakeup(&mut self) {
        // SAFETY: as in `next_epoch`.
        unsafe { ptr::write_volatile(&raw mut (*self.ptr()).want_wakeup, 1) };
    }

    /// Begins a round of the iterator over open files (`owner.h`).
    pub(crate) fn begin_round(&mut self) {
        let shared = self.get();
        // SAFETY: as in `next_epoch`.
        unsafe {
            ptr::write_volatile(&raw mut (*self.ptr()).rounds_due, shared.rounds_due.saturating_sub(1));
            ptr::write_volatile(&raw mut (*self.ptr()).round, shared.rounds_done.wrapping_add(1));
        }
    }

    /// Ends the round that [`Shared::begin_round`] began.
    pub(crate) fn end_round(&mut self) {
        let round = self.get().round;
        // SAFETY: as in `next_epoch`.
        unsafe { ptr::write_volatile(&raw mut (*self.ptr()).rounds_done, round) };
    }

    /// Switches the programs off: they stay attached, and do nothing more.
    pub(crate) fn switch_off(&mut self) {
        // SAFETY: as in `next_epoch`.
        unsafe { ptr::write_volatile(&raw mut (*self.ptr()).is_off, 1) };
    }

    fn ptr(&self) -> *mut raw::Shared<Accounting> {
        self.mapping.start.cast().as_ptr()
    }
}

/// A mapped table (`TABLE` in `stats.h`): `len` entries of `T`, which the kernel side keeps writing.
pub(crate) struct Table<T> {
    mapping: Mapping,
    len: usize,
    writable: bool,
    /// How often `read()` has given up an entry, because the entry's writer did not finish in time.
    busy: Cell<u64>,
    entry: PhantomData<T>,
}

/// How often [`Table::read`] reads an entry again without a pause, while a writer is changing the entry: a
/// writer that is running finishes in less than a microsecond.
const SPINS: u32 = 1000;
/// How often [`Table::read`] pauses before it gives up an entry that a writer is changing. The writer may
/// have been preempted, even by this process, or have used up its share of the CPU (`cpu.max`, whose period
/// is 100 ms by default).
const PAUSES: u32 = 150;
/// Length of each of these pauses.
const PAUSE: Duration = Duration::from_millis(1);

impl<T: FromBytes> Table<T> {
    const WORDS: usize = size_of::<T>() / 8;

    /// Maps the table `map`, read-only.
    ///
    /// # Errors
    /// Where the kernel refuses the mapping (out of memory or address space).
    pub(crate) fn new(map: &impl AsFd, len: u32) -> io::Result<Self> {
        Self::with(map, len, ProtFlags::PROT_READ)
    }

    /// Maps the table `map`, for reading and for [`Table::compare_exchange`].
    ///
    /// # Errors
    /// Where the kernel refuses the mapping (out of memory or address space).
    pub(crate) fn writable(map: &impl AsFd, len: u32) -> io::Result<Self> {
        Self::with(map, len, ProtFlags::PROT_READ | ProtFlags::PROT_WRITE)
    }

    fn with(map: &impl AsFd, len: u32, protection: ProtFlags) -> io::Result<Self> {
        const { assert!(size_of::<T>().is_multiple_of(8) && size_of::<T>() > 0) };
        let len = len as usize;
        let mapping = Mapping::new(map, len * size_of::<T>(), protection)?;
        Ok(Self {
            mapping,
            len,
            writable: protection.contains(ProtFlags::PROT_WRITE),
            busy: Cell::new(0),
            entry: PhantomData,
        })
    }

    /// Returns the 8-byte word at `offset` bytes of an entry; `None` beyond the table. A single word is
    /// always consistent. So this is a quick way to look for the few entries that are worth a copy.
    pub(crate) fn word(&self, index: usize, offset: usize) -> Option<u64> {
        (index < self.len && offset < size_of::<T>()).then(|| self.load(index, offset / 8))
    }

    /// Changes the 32-bit member at `offset` bytes of an entry from the value `from` to `to`. Returns false
    /// if the member has another value than `from`, or the table is mapped read-only.
    pub(crate) fn compare_exchange(&self, index: usize, offset: usize, from: u32, to: u32) -> bool {
        if !self.writable || index >= self.len || !offset.is_multiple_of(4) || offset >= size_of::<T>() {
            return false;
        }
        let place = (index * size_of::<T>() + offset) / 4;
        // SAFETY: inside the mapping, which is page-aligned, writable, and lives as long as self. Atomic,
        // because the kernel writes at the same time.
        let word = unsafe { self.mapping.start.cast::<AtomicU32>().add(place).as_ref() };
        word.compare_exchange(from, to, Ordering::SeqCst, Ordering::SeqCst).is_ok()
    }

    /// Returns a consistent copy of an entry: one that no writer changed while it was made, as
    /// `is_consistent` finds out. `None` beyond the table, or if a writer does not finish within about 150
    /// ms; [`Table::busy`] counts that.
    pub(crate) fn read(&self, index: usize, is_consistent: impl Fn(&T) -> bool) -> Option<T> {
        if index >= self.len {
            return None;
        }
        for pause in 0..=PAUSES {
            for _ in 0..SPINS {
                let entry = self.copy(index);
                if is_consistent(&entry) {
                    return Some(entry);
                }
                hint::spin_loop();
            }
            if pause < PAUSES {
                thread::sleep(PAUSE);
            }
        }
        self.busy.set(self.busy.get() + 1);
        None
    }

    /// Returns how often [`Table::read`] has given up an entry, because its writer did not finish in time.
    pub(crate) fn busy(&self) -> u64 {
        self.busy.get()
    }

    /// Returns the number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }

    /// Returns a copy of an entry, made word by word from the lowest address upwards. Thus the first and the
    /// last word of the copy, `seq_tail` and `seq_head`, show whether the copy is consistent (see
    /// `begin_update()` in `stats.h`).
    fn copy(&self, index: usize) -> T {
        let mut copy = MaybeUninit::<T>::uninit();
        for word in 0..Self::WORDS {
            let value = self.load(index, word);
            fence(Ordering::Acquire);
            // SAFETY: word < WORDS, inside `copy`; unaligned, as T may have a smaller alignment than u64.
            unsafe { copy.as_mut_ptr().cast::<u64>().add(word).write_unaligned(value) };
        }
        // SAFETY: every byte was written, and by `FromBytes` any bytes are a `T`.
        unsafe { copy.assume_init() }
    }

    fn load(&self, index: usize, word: usize) -> u64 {
        debug_assert!(index < self.len && word < Self::WORDS);
        // SAFETY: inside the mapping, as both callers check; the mapping is page-aligned and lives as long as
        // self. Atomic, because the kernel writes at the same time.
        unsafe { self.mapping.start.cast::<AtomicU64>().add(index * Self::WORDS + word).as_ref() }
            .load(Ordering::Relaxed)
    }
}

#[cfg(test)]
mod tests {
    use std::{fs::File, io::Write, os::unix::fs::FileExt};

    use nix::sys::memfd::{MFdFlags, memfd_create};

    use super::*;

    /// `[seq_tail, value, seq_head]`: consistent if the two numbers are equal.
    type Entry = [u64; 3];

    fn is_consistent(entry: &Entry) -> bool {
        entry[0] == entry[2]
    }

    fn bytes(entries: &[Entry]) -> Vec<u8> {
        entries.iter().flatten().flat_map(|word| word.to_ne_bytes()).collect()
    }

    #[test]
    fn no_interval_has_the_number_0() {
        let mut memory: File = memfd_create("shared", MFdFlags::empty()).unwrap().into();
        let mut bytes = vec![0; size_of::<raw::Shared<u64>>()];
        bytes[..4].copy_from_slice(&(u32::MAX - 1).to_ne_bytes());
        memory.write_all(&bytes).unwrap();
        let mut shared = Shared::<u64>::new(&memory).unwrap();
        let ended = [(); 4].map(|()| shared.next_epoch());
        assert_eq!(ended, [u32::MAX - 1, u32::MAX, 1, 2]);
    }

    #[test]
    fn a_writer_that_does_not_finish_costs_its_entry_and_no_other() {
        let mut memory: File = memfd_create("entries", MFdFlags::empty()).unwrap().into();
        memory.write_all(&bytes(&[[1, 7, 2], [5, 8, 5]])).unwrap();
        let table: Table<Entry> = Table::new(&memory, 2).unwrap();
        assert_eq!(table.read(0, is_consistent), None);
        assert_eq!(table.busy(), 1);
        assert_eq!(table.read(1, is_consistent), Some([5, 8, 5]));
        assert_eq!(table.read(2, is_consistent), None);
        assert_eq!(table.busy(), 1);
    }

    #[test]
    fn a_writer_that_pauses_is_waited_for() {
        let mut memory: File = memfd_create("entries", MFdFlags::empty()).unwrap().into();
        // A writer raises `seq_head` first, and `seq_tail` last.
        memory.write_all(&bytes(&[[1, 7, 2]])).unwrap();
        let table: Table<Entry> = Table::new(&memory, 1).unwrap();
        let writer = thread::spawn(move || {
            thread::sleep(PAUSE * 20);
            memory.write_all_at(&9_u64.to_ne_bytes(), 8).unwrap();
            memory.write_all_at(&2_u64.to_ne_bytes(), 0).unwrap();
        });
        assert_eq!(table.read(0, is_consistent), Some([2, 9, 2]));
        assert_eq!(table.busy(), 0);
        writer.join().unwrap();
    }
}
