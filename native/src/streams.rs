//! What the tests of programs with statistics per stream share: the arguments of their hooks
//! (`stream_args.h`), and the entries of associations and streams, as `streams.rs` of `probes` reads them.

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    Program,
    association::AssocArgs,
    raw::{Assoc, Shared, Stream},
};

/// `SCTP_STATE_ESTABLISHED` of the kernel's `enum sctp_state`: data may flow.
pub const ESTABLISHED: u32 = 3;

/// `struct stream_args` (`stream_args.h`): arguments of the hooks of programs with statistics per stream.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
pub struct StreamArgs {
    /// The association that the hook runs for.
    pub assoc: AssocArgs,
    /// Which copies of an fentry or fexit program run: bit 0 for the first copy, bit 1 for the second.
    pub copies: u32,
    /// Nesting depth of the hooked kernel function, which decides its stack pointer: a call inside another
    /// has a greater depth.
    pub depth: u32,
    /// How often the chunk that is sent was sent before.
    pub times: u32,
    /// Stream identifier of the chunk that is sent.
    pub stream: u32,
    /// State of the association, of the kernel's `enum sctp_state`.
    pub state: u32,
    /// 1 if the association is in partial delivery mode, else 0.
    pub pd_mode: u32,
    /// Number of chunks that the kernel has counted as sent so far, new ones and retransmissions.
    pub counted: u32,
    /// Number of the function that changes the lobby in unknown ways (`lobby_programs` in `streamutil.c`).
    pub function: u32,
    /// Flags of a send (`sinfo_flags`).
    pub flags: u32,
}

impl StreamArgs {
    /// Returns arguments for an established association at `index` in memory, with both copies of programs
    /// running.
    pub fn new(index: u32, assoc_id: u32) -> Self {
        let assoc = AssocArgs { index, assoc_id, ..AssocArgs::default() };
        Self {
            assoc,
            copies: 3,
            depth: 0,
            times: 0,
            stream: 0,
            state: ESTABLISHED,
            pd_mode: 0,
            counted: 0,
            function: 0,
            flags: 0,
        }
    }
}

/// `struct epoch_args` (`stream_args.h`): the argument of the hook `begin_interval`.
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
pub struct EpochArgs {
    /// Number of the interval that begins.
    pub epoch: u32,
}

/// Returns the header of a DATA chunk (RFC 9260 3.3.1). `bytes`: the length of the user data, which is left
/// out.
pub fn data(tsn: u32, stream: u16, flags: u8, bytes: u16) -> Vec<u8> {
    let mut chunk = vec![0, flags];
    chunk.extend((16 + bytes).to_be_bytes());
    chunk.extend(tsn.to_be_bytes());
    chunk.extend(stream.to_be_bytes());
    chunk.resize(16, 0);
    chunk
}

/// `struct accounting` (`streams.h`): counts of entries and events evicted or left out, and of unseen chunks.
#[allow(missing_docs, reason = "the C struct has them")]
#[repr(C)]
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, FromBytes)]
pub struct Accounting {
    pub assocs_evicted: u64,
    pub streams_evicted: u64,
    pub events_evicted: u64,
    pub events_gone: u64,
    pub no_place: u64,
    pub unseen: u64,
    pub uncounted: u64,
    pub lobby_limit: u64,
    pub no_id: u64,
}

/// Returns the program's accounting up to now.
pub fn accounting(program: &Program) -> Accounting {
    program.variable::<Shared<Accounting>>("shared").accounting
}

/// An association's entry, and the entries of its streams, which have the association's generation.
pub type Entry<A, S> = (Assoc<A>, Vec<Stream<S>>);

/// Returns the entry of each association that has one, living or ended, with the entries of its streams.
pub fn entries<A: FromBytes, S: FromBytes>(program: &Program) -> Vec<Entry<A, S>> {
    let mut streams: Vec<Stream<S>> = program.table("streams");
    let mut entries = Vec::new();
    for assoc in program.table::<Assoc<A>>("assocs") {
        assert_eq!(assoc.seq_head, assoc.seq_tail, "a writer did not finish");
        if assoc.generation != 0 {
            let (own, others) = streams
                .into_iter()
                .partition(|stream: &Stream<S>| stream.assoc_generation == assoc.generation);
            streams = others;
            entries.push((assoc, own));
        }
    }
    entries
}
