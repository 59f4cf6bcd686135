//! Associations and their streams, as hooks see them (`stream_args.h`) and as user space reads them (`streams.rs` of
//! `probes`).

use zerocopy::{FromBytes, Immutable, IntoBytes};

use crate::{
    Program,
    association::AssocArgs,
    raw::{Assoc, Shared, Stream},
};

/// `enum sctp_state`: data may flow.
pub const ESTABLISHED: u32 = 3;

/// `struct stream_args` (`stream_args.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
pub struct StreamArgs {
    /// The association.
    pub assoc: AssocArgs,
    /// Which copies of a program run: bit 0 the first, bit 1 the second.
    pub copies: u32,
    /// How many functions with probes at their return this one was called in.
    pub depth: u32,
    /// How often the chunk was sent before.
    pub times: u32,
    /// Stream identifier of a chunk that is sent.
    pub stream: u32,
    /// `enum sctp_state`.
    pub state: u32,
    /// Whether the association is in partial delivery.
    pub pd_mode: u32,
    /// Chunks sent so far, new ones and again, by the kernel's count.
    pub counted: u32,
}

impl StreamArgs {
    /// An established association that lies at `index`, both copies of its programs run.
    pub fn new(index: u32, assoc_id: u32) -> Self {
        let assoc = AssocArgs { index, assoc_id, ..AssocArgs::default() };
        Self { assoc, copies: 3, depth: 0, times: 0, stream: 0, state: ESTABLISHED, pd_mode: 0, counted: 0 }
    }
}

/// `struct epoch_args` (`stream_args.h`).
#[repr(C)]
#[derive(Clone, Copy, Debug, Immutable, IntoBytes)]
pub struct EpochArgs {
    /// Number of the interval that begins.
    pub epoch: u32,
}

/// A DATA chunk: RFC 9260 3.3.1.
pub fn data(tsn: u32, stream: u16, flags: u8, bytes: u16) -> Vec<u8> {
    let mut chunk = vec![0, flags];
    chunk.extend((16 + bytes).to_be_bytes());
    chunk.extend(tsn.to_be_bytes());
    chunk.extend(stream.to_be_bytes());
    chunk.resize(16, 0);
    chunk
}

/// `struct accounting` (`streams.h`).
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
    pub lobby_limit: u64,
}

/// The program's counts, up to now, of what lost its place.
pub fn accounting(program: &Program) -> Accounting {
    program.variable::<Shared<Accounting>>("shared").accounting
}

/// An association's entry and its streams, as user space finds them: by the association's generation.
pub type Entry<A, S> = (Assoc<A>, Vec<Stream<S>>);

/// All entries that belong to an association.
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
