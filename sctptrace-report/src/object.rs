//! The objects that the commands print: the members that the page uses.

use std::{borrow::Cow, collections::BTreeMap};

use serde::Deserialize;

/// The members that say what kind of object a line is.
#[derive(Debug, Deserialize)]
pub struct Head<'a> {
    /// `sample`, `interval`, `summary`, `path`, `stall`, `finding`, `association`, `end`, or one of a later version.
    #[serde(borrow)]
    pub r#type: Cow<'a, str>,
}

/// The kinds of objects that the page uses.
pub const TYPES: &[&str] =
    &["sample", "interval", "summary", "path", "stall", "finding", "association", "end"];

/// A line may have at most this many bytes. The longest lines are those of `sctp-streamutil` about an association of
/// 65,535 streams.
pub const MAX_LINE: usize = 32 << 20;

/// Makes a struct with these members, all of which may be missing or null.
macro_rules! members {
    ($($(#[$doc:meta])* $name:ident: $type:ty,)*) => {
        /// An object of any type and command. A member that an object does not have is `None`.
        #[derive(Debug, Default, Deserialize)]
        #[serde(default)]
        #[allow(missing_docs, reason = "the commands' man pages describe each member")]
        pub struct Object<'a> {
            /// The kind of the object: one of [`TYPES`].
            #[serde(borrow)]
            pub r#type: Cow<'a, str>,
            /// The command's name without `sctp-`.
            #[serde(borrow)]
            pub tool: Cow<'a, str>,
            /// When the event happened, in the format of RFC 3339.
            #[serde(borrow)]
            pub time: Cow<'a, str>,
            $($(#[$doc])* pub $name: Option<$type>,)*
        }
    };
}

members! {
    // Identity.
    #[serde(borrow)] host: Cow<'a, str>,
    assoc_id: u32,
    #[serde(borrow)] local: Cow<'a, str>,
    #[serde(borrow)] peer: Cow<'a, str>,
    netns: u64,
    #[serde(borrow)] path: Cow<'a, str>,
    pid: u64,
    #[serde(borrow)] comm: Cow<'a, str>,
    #[serde(borrow)] cgroup: Cow<'a, str>,
    #[serde(borrow)] protocol: Cow<'a, str>,
    life: u32,
    // sctp-rtt.
    rtt_us: f64,
    prompt: bool,
    samples: u64,
    rtt_max_us: f64,
    rtt_p50_us: f64,
    rtt_p99_us: f64,
    prompt_samples: u64,
    prompt_rtt_p50_us: f64,
    prompt_rtt_p99_us: f64,
    // sctp-rto.
    rto_ms: f64,
    #[serde(borrow)] cause: Cow<'a, str>,
    #[serde(borrow)] old_state: Cow<'a, str>,
    #[serde(borrow)] new_state: Cow<'a, str>,
    #[serde(borrow)] state: Cow<'a, str>,
    rto_last_ms: f64,
    rto_max_ms: f64,
    t3_expiries: u64,
    heartbeat_timeouts: u64,
    // sctp-bufmon.
    util_max_pct: f64,
    recv_util_max_pct: f64,
    outqueue_max_bytes: f64,
    in_flight_max_bytes: f64,
    rwnd_min_bytes: f64,
    own_rwnd_min_bytes: f64,
    limited_app_us: f64,
    limited_sndbuf_us: f64,
    limited_nagle_us: f64,
    limited_cwnd_us: f64,
    limited_rwnd_us: f64,
    limited_other_us: f64,
    sndbuf_bytes: u64,
    rcvbuf_bytes: u64,
    stalls: u64,
    stall_total_ms: f64,
    stall_max_ms: f64,
    lasted_ms: f64,
    over: bool,
    #[serde(borrow)] cause_text: Cow<'a, str>,
    // sctp-jitter.
    stream_id: u32,
    jitter_us: f64,
    // sctp-streamutil.
    streams: Vec<Stream>,
    hol_messages: u64,
    hol_wait_us: f64,
    // finding.
    #[serde(borrow)] code: Cow<'a, str>,
    #[serde(borrow)] sentence: Cow<'a, str>,
    #[serde(borrow)] begin: Cow<'a, str>,
    #[serde(borrow)] end: Cow<'a, str>,
    evidence: BTreeMap<String, Option<f64>>,
    // association.
    #[serde(borrow)] event: Cow<'a, str>,
    #[serde(borrow)] reason: Cow<'a, str>,
    #[serde(borrow)] by: Cow<'a, str>,
    #[serde(borrow)] why: Cow<'a, str>,
    #[serde(borrow)] limit: Cow<'a, str>,
    cause_code: u32,
    #[serde(borrow)] text: Cow<'a, str>,
    left_bytes: u64,
    duration_s: f64,
    handshake_us: f64,
    // end.
    events: u64,
    lost: u64,
    evicted: u64,
    unseen: u64,
    hooks_off: bool,
    skipped: BTreeMap<String, u64>,
    dropped_lines: u64,
}

/// What one stream carried in an interval.
#[derive(Clone, Copy, Debug, Deserialize)]
pub struct Stream {
    /// The stream's number.
    pub stream_id: u32,
    /// User data, in bytes.
    #[serde(default)]
    pub bytes: u64,
}

/// What [`parse`] makes of a line.
pub enum Parsed<'a> {
    /// An object that the page uses.
    Object(Box<Object<'a>>),
    /// An object of a type that the page does not use. A later version of the commands may print it.
    Unknown,
}

/// Parses a line.
///
/// # Errors
/// Where the line is not JSON, has no `type`, or is of a known type but has a member of the wrong type.
pub fn parse(line: &[u8]) -> Result<Parsed<'_>, serde_json::Error> {
    match serde_json::from_slice::<Object<'_>>(line) {
        Ok(object) if TYPES.contains(&&*object.r#type) => Ok(Parsed::Object(Box::new(object))),
        result => {
            // Says so if the object has no type.
            let head: Head<'_> = serde_json::from_slice(line)?;
            match result {
                Err(error) if TYPES.contains(&&*head.r#type) => Err(error),
                _ => Ok(Parsed::Unknown),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn unknown_keys_and_types_are_skipped() {
        let line =
            br#"{"type":"interval","tool":"rtt","time":"x","samples":3,"new_key":[1,{}],"rtt_p50_us":null}"#;
        let Ok(Parsed::Object(object)) = parse(line) else { panic!("not parsed") };
        assert_eq!((object.samples, object.rtt_p50_us), (Some(3), None));
        assert!(matches!(parse(br#"{"type":"later","samples":"three"}"#), Ok(Parsed::Unknown)));
    }

    #[test]
    fn an_object_without_a_type_or_with_a_wrong_member_is_an_error() {
        let error = |line: &[u8]| parse(line).err().unwrap().to_string();
        assert!(error(br#"{"role":"server"}"#).contains("missing field `type`"));
        assert!(error(br#"{"type":"sample","rtt_us":"fast"}"#).contains("invalid type"));
        assert!(error(b"nonsense").contains("expected"));
    }
}
