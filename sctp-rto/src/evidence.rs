//! What was measured of a path lately, for the findings: sums over the last intervals, and figures of single events.

use std::{
    cmp::Ordering,
    collections::{BTreeMap, VecDeque},
    mem,
    time::Duration,
};

use probes::{
    Identity,
    rto::{Cause, PathCounts, PathState, Row, Update, Values},
};

/// Evidence covers this many intervals. What belongs together may be in several: T3-rtx expires in one, and the peer
/// names the duplicates in the next.
const WINDOW: usize = 3;

/// A path is forgotten after this long without an event: twice RTO.Max, the longest time between two HEARTBEATs of a
/// path that does not answer (RFC 9260 8.3, 16).
const FORGOTTEN: Duration = Duration::from_secs(120);

/// What was measured of a path in the last [`WINDOW`] intervals.
#[derive(Clone, Debug, Default)]
pub struct Evidence {
    /// Counts of the window.
    pub counts: Counts,
    /// Fast retransmissions that are so long ago that the peer would have named their duplicates by now.
    pub settled_fast: u64,
    /// Chunks of the path whose retransmission is as long ago as that.
    pub settled_rtx: u64,
    /// Chunks of any path of the association that the peer has named as duplicates, or has acknowledged too soon after they
    /// were sent again.
    pub assoc_needless: u64,
    /// The T3-rtx expiries; `None` unless the RTO before each was seen.
    pub expiries: Option<Expiries>,
    /// The round-trip time of the last answer since T3-rtx expired last: of a HEARTBEAT or of data.
    pub answer: Option<Duration>,
    /// Length of a failover to this path that ended in the last interval.
    pub failover: Option<Duration>,
    /// The association's paths by state; `None` if two of its paths have counted them differently.
    pub paths: Option<PathCounts>,
    /// Unconfirmed paths of the association of which a HEARTBEAT was not answered.
    pub unanswered_paths: u64,
}

/// Counts of a path in an interval, or in several: those fields of [`Row`] that findings rest on.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    /// T3-rtx expiries.
    pub t3_expiries: u64,
    /// Times that data was sent again because SACKs reported it missing.
    pub fast_retransmits: u64,
    /// Chunks that this path had sent first, and that were sent again.
    pub rtx_for_path: u64,
    /// Retransmissions that the peer has named as duplicates.
    pub spurious: u64,
    /// How often the peer has named retransmitted chunks as duplicates.
    pub dup_tsns: u64,
    /// Chunks that were acknowledged too soon after they were sent again.
    pub early_acks: u64,
    /// Cuts of the congestion window by ECN-Echo.
    pub ecn_cuts: u64,
}

/// Expiries of T3-rtx.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Expiries {
    /// The shortest RTO that expired.
    pub shortest: Duration,
    /// The longest time that an answer should have taken when the RTO expired, by the path's round-trip times: SRTT + 4
    /// RTTVAR (RFC 9260 6.3.1).
    pub usual_rtt: Duration,
}

impl Counts {
    fn of(row: &Row) -> Self {
        Self {
            t3_expiries: row.t3_expiries,
            fast_retransmits: row.fast_retransmits,
            rtx_for_path: row.rtx_for_path,
            spurious: row.spurious,
            dup_tsns: row.dup_tsns,
            early_acks: row.early_acks,
            ecn_cuts: row.cwnd_cuts.ecn,
        }
    }

    fn add(&mut self, other: &Self) {
        self.t3_expiries += other.t3_expiries;
        self.fast_retransmits += other.fast_retransmits;
        self.rtx_for_path += other.rtx_for_path;
        self.spurious += other.spurious;
        self.dup_tsns += other.dup_tsns;
        self.early_acks += other.early_acks;
        self.ecn_cuts += other.ecn_cuts;
    }
}

/// The evidence of all paths.
#[derive(Default)]
pub struct Evidences {
    /// The paths by their numbers ([`Row::transport_id`]).
    paths: BTreeMap<u32, Path>,
}

/// The evidence of a path.
#[derive(Default)]
struct Path {
    id: Identity,
    /// The last intervals, the latest at the end.
    window: VecDeque<Part>,
    /// T3-rtx expiries of the current interval, as far as records came.
    noted: Noted,
    answer: Option<Duration>,
    last: Option<Values>,
    failover: Option<Duration>,
    /// Length of the failover that ended in the last interval.
    new_failover: Option<Duration>,
    /// Time of the last event of the path: that of its record, or the end of the interval.
    seen: Duration,
}

/// What was measured of a path in one interval.
#[derive(Default)]
struct Part {
    counts: Counts,
    noted: Noted,
    /// When the interval ended.
    ended: Duration,
}

/// What records have said about T3-rtx expiries.
#[derive(Clone, Copy, Debug, Default)]
struct Noted {
    /// Number of expiries before which the RTO is known.
    count: u64,
    expiries: Option<Expiries>,
}

impl Noted {
    fn add(&mut self, other: Self) {
        self.count += other.count;
        self.expiries = match (self.expiries, other.expiries) {
            (Some(a), Some(b)) => Some(Expiries {
                shortest: a.shortest.min(b.shortest),
                usual_rtt: a.usual_rtt.max(b.usual_rtt),
            }),
            (a, b) => a.or(b),
        };
    }
}

impl Evidences {
    /// Adds the record of one event to the evidence of its path.
    pub fn note(&mut self, update: &Update) {
        let path = self.paths.entry(update.transport_id).or_default();
        path.seen = update.at;
        match (update.cause, update.old_rto) {
            (Cause::T3, old_rto) => {
                path.answer = None;
                let usual_rtt = usual_rtt(&update.values);
                if let Some(shortest) = old_rto {
                    path.noted.add(Noted { count: 1, expiries: Some(Expiries { shortest, usual_rtt }) });
                }
            }
            (Cause::Rtt { rtt } | Cause::Heartbeat { rtt }, _) => path.answer = Some(rtt),
            _ => {}
        }
    }

    /// Forgets a path whose association has ended.
    pub fn forget(&mut self, transport_id: u32) {
        self.paths.remove(&transport_id);
    }

    /// Ends an interval, whose rows are `rows`. Returns the evidence of each path that has a row in the window, with
    /// the path's identity. `now`: the end of the interval, on `CLOCK_MONOTONIC`.
    pub fn end_interval(&mut self, rows: &[Row], now: Duration) -> Vec<(Identity, Evidence)> {
        for path in self.paths.values_mut() {
            let noted = mem::take(&mut path.noted);
            path.window.push_back(Part { noted, ended: now, ..Part::default() });
            path.new_failover = None;
        }
        for row in rows {
            let path = self.paths.entry(row.transport_id).or_default();
            if path.window.is_empty() {
                path.window.push_back(Part { ended: now, ..Part::default() });
            }
            if let Some(part) = path.window.back_mut() {
                part.counts = Counts::of(row);
            }
            path.id = row.id.clone();
            path.new_failover = row.failover.filter(|_| row.failover != path.failover);
            (path.failover, path.last, path.seen) = (row.failover, Some(row.last.clone()), now);
        }
        self.paths.retain(|_, path| now.saturating_sub(path.seen) < FORGOTTEN);
        for path in self.paths.values_mut() {
            let more = path.window.len().saturating_sub(WINDOW);
            path.window.drain(..more);
        }
        let assocs = self.associations();
        let paths = self.paths.values().filter(|path| path.last.is_some());
        paths.map(|path| (path.id.clone(), path.evidence(&assocs, now))).collect()
    }

    /// Makes, for each association, what is common to its paths.
    fn associations(&self) -> BTreeMap<[u32; 3], Assoc> {
        let mut assocs = BTreeMap::<_, Assoc>::new();
        for path in self.paths.values() {
            let assoc = assocs.entry(path.id.life_key()).or_default();
            assoc.needless +=
                path.window.iter().map(|p| p.counts.dup_tsns + p.counts.early_acks).sum::<u64>();
            let paths = path.last.as_ref().and_then(|last| last.more.as_ref()?.paths);
            match path.seen.cmp(&assoc.seen) {
                Ordering::Greater => (assoc.seen, assoc.paths) = (path.seen, paths),
                Ordering::Equal => assoc.paths = assoc.paths.filter(|known| paths == Some(*known)),
                Ordering::Less => {}
            }
            let state =
                path.last.as_ref().and_then(|last| Some((last.error_count, last.more.as_ref()?.state)));
            assoc.unanswered += u64::from(matches!(state, Some((1.., PathState::Unconfirmed))));
        }
        assocs
    }
}

/// What is common to the paths of an association.
#[derive(Default)]
struct Assoc {
    needless: u64,
    unanswered: u64,
    /// The association's paths by state, after the last event; `None` if two paths had events in that interval and have
    /// different counts.
    paths: Option<PathCounts>,
    seen: Duration,
}

impl Path {
    fn evidence(&self, assocs: &BTreeMap<[u32; 3], Assoc>, now: Duration) -> Evidence {
        let mut evidence =
            Evidence { answer: self.answer, failover: self.new_failover, ..Evidence::default() };
        let mut noted = Noted::default();
        let usual_rtt = self.last.as_ref().map(usual_rtt).unwrap_or_default();
        for part in &self.window {
            evidence.counts.add(&part.counts);
            noted.add(part.noted);
            if now.saturating_sub(part.ended) > usual_rtt {
                evidence.settled_fast += part.counts.fast_retransmits;
                evidence.settled_rtx += part.counts.rtx_for_path;
            }
        }
        // `None` if any expiry lacks its record: it may be lost, or come in the next interval.
        evidence.expiries = noted.expiries.filter(|_| noted.count >= evidence.counts.t3_expiries);
        if let Some(assoc) = assocs.get(&self.id.life_key()) {
            (evidence.assoc_needless, evidence.unanswered_paths) = (assoc.needless, assoc.unanswered);
            evidence.paths = assoc.paths;
        }
        evidence
    }
}

fn usual_rtt(values: &Values) -> Duration {
    values.srtt + 4 * values.rttvar
}

#[cfg(test)]
mod tests {
    use std::rc::Rc;

    use probes::{
        DurationDist,
        rto::{CwndCuts, More, PathTransitions},
    };

    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn id(path: u32) -> Identity {
        Identity { assoc_id: 3, life: 1, path: Some([10, 2, path as u8, 1].into()), ..Identity::default() }
    }

    fn values(state: PathState, error_count: u16, paths: [u8; 4]) -> Values {
        let [active, potentially_failed, inactive, unconfirmed] = paths;
        Values {
            rto: SECOND,
            srtt: Duration::from_millis(20),
            rttvar: Duration::from_millis(8),
            error_count,
            more: Some(More {
                error_limit: 5,
                cwnd_bytes: 4380,
                ssthresh_bytes: 106_496,
                flight_bytes: 0,
                pmtu_bytes: 1500,
                state,
                primary: false,
                assoc_errors: 0,
                assoc_error_limit: 10,
                paths: Some(PathCounts { active, potentially_failed, inactive, unconfirmed }),
            }),
        }
    }

    fn row(path: u32) -> Row {
        Row {
            transport_id: path,
            id: id(path),
            rto: DurationDist::default(),
            histogram: None,
            srtt: DurationDist::default(),
            rttvar: DurationDist::default(),
            t3_expiries: 0,
            heartbeat_timeouts: 0,
            t3_retransmits: 0,
            fast_retransmits: 0,
            pmtud_retransmits: 0,
            rtx_chunks: 0,
            rtx_for_path: 0,
            spurious: 0,
            dup_tsns: 0,
            early_acks: 0,
            cwnd_cuts: CwndCuts::default(),
            failover: None,
            transitions: PathTransitions::default(),
            last: values(PathState::Active, 0, [2, 0, 0, 0]),
        }
    }

    fn update(path: u32, cause: Cause, old_rto: Option<Duration>) -> Update {
        Update {
            at: SECOND,
            assoc_id: 3,
            transport_id: path,
            id: Some(Rc::new(id(path))),
            cause,
            old_rto,
            values: values(PathState::Active, 0, [2, 0, 0, 0]),
        }
    }

    /// The evidence of one path at the end of a second.
    fn of(evidences: &mut Evidences, rows: &[Row], second: u32, path: u32) -> Evidence {
        let found = evidences.end_interval(rows, second * SECOND);
        found.into_iter().find(|(of, _)| *of == id(path)).unwrap().1
    }

    #[test]
    fn an_expiry_counts_only_if_the_rto_before_it_is_known() {
        let mut evidences = Evidences::default();
        let answer = Cause::Heartbeat { rtt: Duration::from_millis(21) };
        evidences.note(&update(0, answer, None));
        evidences.note(&update(0, Cause::T3, Some(SECOND)));
        let expired = |n| Row { t3_expiries: n, ..row(0) };
        let known = of(&mut evidences, &[expired(1)], 1, 0);
        let expiries = Expiries { shortest: SECOND, usual_rtt: Duration::from_millis(52) };
        assert_eq!((known.expiries, known.answer), (Some(expiries), None), "the answer came before");
        evidences.note(&update(0, answer, None));
        let later = of(&mut evidences, &[], 2, 0);
        assert_eq!((later.expiries, later.answer), (Some(expiries), Some(Duration::from_millis(21))));
        // The second expiry has no record.
        assert_eq!(of(&mut evidences, &[expired(1)], 3, 0).expiries, None);
        let mut evidences = Evidences::default();
        evidences.note(&update(0, Cause::T3, None));
        assert_eq!(of(&mut evidences, &[expired(1)], 1, 0).expiries, None, "the first event of the path");
    }

    #[test]
    fn retransmissions_settle_and_leave_the_window() {
        let mut evidences = Evidences::default();
        let lost = Row { fast_retransmits: 1, rtx_for_path: 2, ..row(0) };
        let now = of(&mut evidences, &[lost], 1, 0);
        assert_eq!((now.counts.rtx_for_path, now.settled_rtx, now.settled_fast), (2, 0, 0));
        for second in 2..=3 {
            let later = of(&mut evidences, &[], second, 0);
            assert_eq!((later.counts.rtx_for_path, later.settled_rtx, later.settled_fast), (2, 2, 1));
        }
        assert_eq!(of(&mut evidences, &[], 4, 0).settled_rtx, 0);
    }

    #[test]
    fn duplicates_of_one_path_concern_the_other() {
        let mut evidences = Evidences::default();
        let rows = [row(0), Row { dup_tsns: 1, early_acks: 2, ..row(1) }];
        assert_eq!(of(&mut evidences, &rows, 1, 0).assoc_needless, 3);
    }

    #[test]
    fn a_failover_is_new_once() {
        let mut evidences = Evidences::default();
        let jumped = |ms| Row { failover: Some(Duration::from_millis(ms)), ..row(1) };
        assert_eq!(of(&mut evidences, &[row(1)], 1, 1).failover, None);
        assert_eq!(of(&mut evidences, &[jumped(900)], 2, 1).failover, Some(Duration::from_millis(900)));
        assert_eq!(of(&mut evidences, &[jumped(900)], 3, 1).failover, None);
        assert_eq!(of(&mut evidences, &[], 4, 1).failover, None);
        assert_eq!(of(&mut evidences, &[jumped(800)], 5, 1).failover, Some(Duration::from_millis(800)));
    }

    #[test]
    fn the_states_of_paths_are_those_after_the_last_event() {
        let mut evidences = Evidences::default();
        let with = |path, paths| Row { last: values(PathState::Active, 0, paths), ..row(path) };
        let one = PathCounts { active: 1, potentially_failed: 0, inactive: 1, unconfirmed: 0 };
        let rows = [with(0, [2, 0, 0, 0]), with(1, [1, 0, 1, 0])];
        assert_eq!(of(&mut evidences, &rows, 1, 0).paths, None, "which came last is not known");
        let later = of(&mut evidences, &[with(1, [1, 0, 1, 0])], 2, 0);
        assert_eq!(later.paths, Some(one));
        // The evidence of an idle association stays the same for a while, and is then forgotten.
        assert_eq!(of(&mut evidences, &[], 100, 0).paths, Some(one));
        assert!(evidences.end_interval(&[], 200 * SECOND).is_empty());
    }

    #[test]
    fn an_unconfirmed_path_counts_once_it_did_not_answer() {
        let mut evidences = Evidences::default();
        let last = |errors| values(PathState::Unconfirmed, errors, [1, 0, 0, 1]);
        let rows = |errors| [row(0), Row { last: last(errors), ..row(1) }];
        assert_eq!(of(&mut evidences, &rows(0), 1, 0).unanswered_paths, 0);
        assert_eq!(of(&mut evidences, &rows(1), 2, 0).unanswered_paths, 1);
        evidences.forget(1);
        assert_eq!(of(&mut evidences, &[], 3, 0).unanswered_paths, 0);
    }
}
