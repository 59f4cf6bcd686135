//! A kernel table (`TABLE` of `stats.h`) as this process sees it: reads cost no system call.

use std::{
    hint, io,
    marker::PhantomData,
    mem::MaybeUninit,
    num::NonZeroUsize,
    os::fd::AsFd,
    ptr::NonNull,
    sync::atomic::{AtomicU64, Ordering, fence},
};

use libbpf_rs::{
    MapHandle, MapType, OpenMapMut,
    libbpf_sys::{BPF_F_MMAPABLE, bpf_map_create_opts},
};
use nix::sys::mman::{MapFlags, ProtFlags, mmap, munmap};

use crate::pod::Pod;

/// The most entries that a table may have, a power of two: the verifier follows no index further than 512 MB
/// (`BPF_MAX_VAR_OFF`).
pub(crate) const fn most<T>() -> u32 {
    1 << ((1 << 29) / size_of::<T>()).ilog2()
}

/// Makes the memory of a table with so many entries. libbpf would do so itself, but map all of it into this process, and
/// fill it with zeroes from there.
///
/// # Errors
/// Where the kernel refuses (out of memory).
pub(crate) fn make<T>(map: &mut OpenMapMut<'_>, len: u32) -> libbpf_rs::Result<()> {
    let size = len * size_of::<T>() as u32;
    map.set_value_size(size)?;
    let opts = bpf_map_create_opts {
        sz: size_of::<bpf_map_create_opts>() as u64,
        map_flags: BPF_F_MMAPABLE,
        ..Default::default()
    };
    let made = MapHandle::create(MapType::Array, Some(map.name()), 4, size, 1, &opts)?;
    map.reuse_fd(made.as_fd())
}

/// `len` entries of `T`, which the kernel side goes on writing.
pub(crate) struct Table<T> {
    start: NonNull<AtomicU64>,
    len: usize,
    entry: PhantomData<T>,
}

impl<T: Pod> Table<T> {
    const WORDS: usize = size_of::<T>() / 8;

    /// Maps the array `map`, read-only.
    ///
    /// # Errors
    /// Where the kernel refuses (out of memory or address space).
    pub(crate) fn new(map: &impl AsFd, len: u32) -> io::Result<Self> {
        // The kernel rounds an entry up to 8 bytes; our structs are multiples of that already.
        const { assert!(size_of::<T>().is_multiple_of(8) && size_of::<T>() > 0) };
        let len = len as usize;
        let bytes = NonZeroUsize::new(len * size_of::<T>())
            .ok_or_else(|| io::Error::from(io::ErrorKind::InvalidInput))?;
        // SAFETY: a new mapping at an address of the kernel's choice, no memory of ours is replaced.
        let start = unsafe { mmap(None, bytes, ProtFlags::PROT_READ, MapFlags::MAP_SHARED, map, 0) }?;
        Ok(Self { start: start.cast(), len, entry: PhantomData })
    }

    /// A word of an entry, which by itself is always whole: for a look at entries of which most are of no interest.
    pub(crate) fn word(&self, index: usize, word: usize) -> Option<u64> {
        // SAFETY: as in `get`.
        let get = || unsafe { self.start.add(index * Self::WORDS + word).as_ref() }.load(Ordering::Relaxed);
        (index < self.len && word < Self::WORDS).then(get)
    }

    /// A copy of an entry, word by word upwards, so that the entry's first and last words can tell whether it is whole
    /// (`begun` and `done`: see `stats.h`).
    pub(crate) fn get(&self, index: usize) -> Option<T> {
        if index >= self.len {
            return None;
        }
        let mut copy = MaybeUninit::<T>::uninit();
        for word in 0..Self::WORDS {
            // SAFETY: inside the mapping (index < len), which is page-aligned and lives as long as self. Atomic,
            // because the kernel writes at the same time.
            let value =
                unsafe { self.start.add(index * Self::WORDS + word).as_ref() }.load(Ordering::Relaxed);
            fence(Ordering::Acquire);
            // SAFETY: word < WORDS, inside `copy`; unaligned, as T may ask for less than a u64 does.
            unsafe { copy.as_mut_ptr().cast::<u64>().add(word).write_unaligned(value) };
        }
        // SAFETY: every byte was written, and by `Pod` any bytes are a `T`.
        Some(unsafe { copy.assume_init() })
    }

    /// A copy of an entry that no writer was busy with. A writer is busy for less than a microsecond.
    pub(crate) fn whole(&self, index: usize, is_whole: impl Fn(&T) -> bool) -> Option<T> {
        let mut entry = self.get(index)?;
        while !is_whole(&entry) {
            hint::spin_loop();
            entry = self.get(index)?;
        }
        Some(entry)
    }

    /// The number of entries.
    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

impl<T> Drop for Table<T> {
    fn drop(&mut self) {
        // SAFETY: the very mapping of `new`; nothing borrows from it, as `get` copies.
        let unmapped = unsafe { munmap(self.start.cast(), self.len * size_of::<T>()) };
        debug_assert!(unmapped.is_ok());
    }
}
