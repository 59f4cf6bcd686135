//! Ways in for the fuzz targets: any bytes, where the kernel's would come. They are read or refused, and never panic.

use std::{fs::File, io::Write};

use nix::sys::memfd::{MFdFlags, memfd_create};

use crate::{
    bufmon,
    entries::{Entries, Entry},
    jitter, rto, rtt,
    streams::{AssocEntry, Association, StreamEntry, Tables},
    streamutil,
};

/// Records of ring buffers.
pub fn records(bytes: &[u8]) {
    rtt::decode(bytes);
    rto::decode(bytes);
    bufmon::decode(bytes);
}

/// Tables of statistics, and histograms. The first byte chooses whose.
pub fn tables(bytes: &[u8]) {
    let Some((whose, rest)) = bytes.split_first() else { return };
    let read = [rtt::fuzz, rto::fuzz, bufmon::fuzz, jitter::fuzz, streamutil::fuzz];
    read[usize::from(*whose) % read.len()](&Bytes { rest });
}

/// What stands for the memory of tables.
pub(crate) struct Bytes<'a> {
    pub(crate) rest: &'a [u8],
}

impl Bytes<'_> {
    /// A table of as many entries as there are bytes for, at least one. Their first words become their last ones, as in
    /// entries that no writer is busy with: for others the reader waits.
    fn table<E: Copy>(&self) -> Option<(File, u32)> {
        let size = size_of::<E>();
        let len = self.rest.len().div_ceil(size).clamp(1, 8);
        let mut bytes = self.rest[..self.rest.len().min(len * size)].to_vec();
        bytes.resize(len * size, 0);
        for entry in bytes.chunks_exact_mut(size) {
            entry.copy_within(..8, size - 8);
        }
        let mut file = File::from(memfd_create(c"table", MFdFlags::empty()).ok()?);
        file.write_all(&bytes).ok()?;
        Some((file, len as u32))
    }

    pub(crate) fn entries<E: Entry>(&self) -> Option<Entries<E>> {
        let (file, len) = self.table::<E>()?;
        let mut entries = Entries::new(&file, len).ok()?;
        let live: Vec<_> = entries.live().map(|(of, _)| of).collect();
        live.into_iter().for_each(|of| assert!(entries.identity(of).is_some(), "an entry without an owner"));
        Some(entries)
    }

    /// Every stream of two tables over the same bytes, in the order in which commands have them.
    pub(crate) fn streams<A: AssocEntry, S: StreamEntry>(&self, mut each: impl FnMut(Association, A, S)) {
        let (Some((assocs, some)), Some((streams, others))) = (self.table::<A>(), self.table::<S>()) else {
            return;
        };
        let Ok(mut tables) = Tables::<A, S>::new(&assocs, &streams, some.min(others)) else { return };
        let Ok(sorted) = tables.sort(&streams, u32::MAX, |_| true) else { return };
        for n in 0..sorted {
            if let Some((_, association, assoc, stream)) = tables.get(n) {
                each(association, assoc, stream);
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::{collection::vec, prelude::*};

    use super::*;

    proptest! {
        #[test]
        fn no_record_panics(bytes in vec(any::<u8>(), 0..300)) {
            records(&bytes);
        }

        #[test]
        fn no_table_panics(whose: u8, bytes in vec(any::<u8>(), 0..9000)) {
            tables(&[&[whose], bytes.as_slice()].concat());
        }
    }
}
