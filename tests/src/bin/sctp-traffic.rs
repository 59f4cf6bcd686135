//! A generator of SCTP traffic, client and server. When one of them ends, it prints a JSON line with all that
//! it did ([`Truth`]).
//!
//! The client sends messages, waits until all are acknowledged, sends one more message (the *farewell*),
//! waits again, and reads the kernel's counters. The server reads its kernel's counters when the farewell
//! arrives: everything else has arrived before. The farewell has 4 bytes and goes on stream 0. It is in no
//! count of messages, but in the kernel's counts of chunks.

use std::collections::BTreeMap;
use std::io::{self, ErrorKind};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, anyhow, ensure};
use clap::{Args, Parser, Subcommand};
use nix::sys::resource::{Resource, UsageWho, getrusage, setrlimit};
use sctptrace_tests::busy::Busy;
use sctptrace_tests::socket::{
    AssocStats, AssocValue, DefaultPrInfo, InitMessage, MoreStreams, Outgoing, Path, PathParameters, Policy,
    PrStatus, RtoInfo, SackInfo, SctpSocket, option,
};
use serde::Serialize;

/// Payload protocol identifier of the farewell, the last message on each association.
const FAREWELL: u32 = 0x6279_6521;
/// How long to wait for acknowledgements, echoes and the peer's shutdown before giving up.
const PATIENCE: Duration = Duration::from_secs(90);
/// Flag in [`PathParameters`] that turns heartbeats on: `SPP_HB_ENABLE` of `linux/sctp.h`.
const HEARTBEAT_ENABLE: u32 = 1;
/// Value of [`option::ENABLE_STREAM_RESET`] that permits adding streams: `SCTP_ENABLE_CHANGE_ASSOC_REQ` of
/// `linux/sctp.h`.
const ENABLE_MORE_STREAMS: u32 = 4;

#[derive(Parser)]
#[command(about = "Make SCTP traffic and tell what was done", version)]
struct Flags {
    #[command(subcommand)]
    end: End,
}

#[derive(Subcommand)]
enum End {
    /// Receive, until every association has said farewell.
    Server {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        server: Server,
    },
    /// Connect and send.
    Client {
        #[command(flatten)]
        common: Common,
        #[command(flatten)]
        client: Client,
    },
}

#[derive(Args, Clone)]
struct Common {
    /// Ports of the server. Association i uses the i-th, cyclically.
    #[arg(long, value_delimiter = ',', default_value = "5000")]
    port: Vec<u16>,
    /// Number of associations.
    #[arg(long, default_value_t = 1)]
    associations: usize,
    /// One-to-many sockets. The client then has one socket for as many associations as there are ports.
    #[arg(long)]
    one_to_many: bool,
    /// Addresses to bind to (default: any).
    #[arg(long, value_delimiter = ',')]
    bind: Vec<IpAddr>,
    /// Number of streams to offer.
    #[arg(long, default_value_t = 1)]
    streams: u16,
    /// Offer I-DATA (with net.sctp.intl_enable=1 in both namespaces).
    #[arg(long)]
    idata: bool,
    /// Do not gather small messages (SCTP_NODELAY).
    #[arg(long)]
    nodelay: bool,
    /// Size of the send buffer, in bytes; the kernel doubles it.
    #[arg(long)]
    sndbuf: Option<usize>,
    /// Size of the receive buffer, in bytes; the kernel doubles it.
    #[arg(long)]
    rcvbuf: Option<usize>,
    /// First retransmission timeout, in ms.
    #[arg(long, default_value_t = 0)]
    rto_initial: u32,
    /// Lower limit of the retransmission timeout, in ms.
    #[arg(long, default_value_t = 0)]
    rto_min: u32,
    /// Upper limit of the retransmission timeout, in ms.
    #[arg(long, default_value_t = 0)]
    rto_max: u32,
    /// Delay of acknowledgements, in ms.
    #[arg(long)]
    sack_delay: Option<u32>,
    /// Acknowledge at latest after this many packets.
    #[arg(long)]
    sack_every: Option<u32>,
    /// Interval of heartbeats, in ms.
    #[arg(long)]
    heartbeat: Option<u32>,
    /// Failures after which a path is given up.
    #[arg(long)]
    path_retrans: Option<u16>,
    /// One association after the other, each for a single message; the client's rate is that of associations. Takes no
    /// counters: that both ends succeed says that all was sent and received.
    #[arg(long)]
    churn: bool,
}

#[derive(Args, Clone)]
struct Server {
    /// Pause after each message, in ms.
    #[arg(long, default_value_t = 0)]
    read_delay: u64,
    /// Wait before the first read, in ms.
    #[arg(long, default_value_t = 0)]
    read_after: u64,
    /// Send each message back.
    #[arg(long)]
    echo: bool,
}

#[derive(Args, Clone)]
struct Client {
    /// Addresses of the server; all of them belong to each association.
    #[arg(long, value_delimiter = ',', default_value = "10.2.0.1")]
    to: Vec<IpAddr>,
    /// Port to bind the first socket to, counting up for the others (default: any).
    #[arg(long)]
    local_port: Option<u16>,
    /// Messages per association.
    #[arg(long, default_value_t = 100)]
    count: u64,
    /// Bytes per message.
    #[arg(long, default_value_t = 100)]
    size: usize,
    /// Messages per second and association (default: as many as go).
    #[arg(long)]
    rate: Option<f64>,
    /// Send every N-th message unordered.
    #[arg(long, default_value_t = 0, value_name = "N")]
    unordered_every: u64,
    /// Half of the messages on stream 0, a quarter on 1, and so on, instead of round robin.
    #[arg(long)]
    skew: bool,
    /// Use only this many of the streams.
    #[arg(long, value_name = "N")]
    used_streams: Option<u16>,
    /// Half-way, add this many streams and use them too (RFC 6525, with net.sctp.reconf_enable=1 in both namespaces).
    #[arg(long, default_value_t = 0, value_name = "N")]
    add_streams: u16,
    /// Do not wait for room in the send buffer: count refusals and try again after a millisecond.
    #[arg(long)]
    nonblocking: bool,
    /// Count and measure the sends that slept (one more system call per send).
    #[arg(long)]
    blocked: bool,
    /// Let PR-SCTP give messages up (RFC 7496).
    #[arg(long, value_enum)]
    policy: Option<Policy>,
    /// Limit of the policy: ms, or retransmissions; of priorities, the largest, as messages take turns.
    #[arg(long, default_value_t = 0)]
    limit: u32,
    /// First send this many messages on streams that were not negotiated, which the kernel has to refuse.
    #[arg(long, default_value_t = 0, value_name = "N")]
    invalid_streams: u16,
    /// Expect the server to send each message back.
    #[arg(long)]
    echo: bool,
    /// Pause before opening a socket, in ms.
    #[arg(long, default_value_t = 0)]
    delay: u64,
    /// Pause between connecting and sending, in ms.
    #[arg(long, default_value_t = 0)]
    pause: u64,
    /// Pause between the last acknowledgement and closing, in ms.
    #[arg(long, default_value_t = 0)]
    linger: u64,
    /// Serve all associations in turn, without a thread for each: for thousands of them. Takes no counters.
    #[arg(long)]
    crowd: bool,
}

/// The JSON line that the client or the server prints at its end.
#[derive(Serialize)]
struct Truth {
    role: &'static str,
    pid: u32,
    /// CPU times from before the client connects until it is done; with `--crowd`, from the first message until all
    /// before the farewells are acknowledged. Only in the client's line, and not with `--churn`.
    #[serde(flatten)]
    busy: Option<Busy>,
    associations: Vec<Association>,
}

/// The messages that one end sent and received on one association, by stream, and the kernel's state and
/// counters of the association. Bytes are payload.
#[derive(Serialize)]
struct Association {
    assoc_id: i32,
    local_port: u16,
    out_streams: u16,
    in_streams: u16,
    fragmentation_point_bytes: u32,
    stats: AssocStats,
    /// Messages given up by PR-SCTP after a part of them was sent, and before, by the kernel's count.
    abandoned_sent: u64,
    abandoned_unsent: u64,
    paths: Vec<Path>,
    primary_srtt_ms: u32,
    /// Chunks sent and not acknowledged, when the client had handed over its last message: the kernel's
    /// `next_tsn - 1 - ctsn_ack_point`, less those that a SACK's gap blocks named (`SCTP_STATUS`).
    unacked_after_sending: u16,
    sent: BTreeMap<u16, Count>,
    received: BTreeMap<u16, Count>,
    sending: Sending,
}

/// Counts of the messages of one stream.
#[derive(Serialize, Clone, Copy, Default)]
struct Count {
    messages: u64,
    bytes: u64,
    unordered: u64,
}

impl Count {
    fn add(&mut self, bytes: usize, unordered: bool) {
        self.messages += 1;
        self.bytes += bytes as u64;
        self.unordered += u64::from(unordered);
    }
}

/// How long sending took, and how often it had to wait.
#[derive(Serialize, Clone, Copy, Default)]
struct Sending {
    duration_us: u64,
    /// Number of sends that slept; counted only with `--blocked`.
    blocked_sends: u64,
    blocked_us: u64,
    /// Number of sends that failed because the send buffer was full; only with `--nonblocking`.
    refused_sends: u64,
    /// Number of sends that failed because there was no such stream; only with `--invalid-streams`.
    refused_invalid_stream: u64,
}

fn main() -> Result<()> {
    let truth = match Flags::parse().end {
        End::Server { common, server } => serve(&common, &server)?,
        End::Client { common, client } => run_client(&common, &client)?,
    };
    println!("{}", serde_json::to_string(&truth)?);
    Ok(())
}

impl Common {
    /// Makes a socket with all options set, not yet bound.
    fn socket(&self, family: IpAddr) -> Result<SctpSocket> {
        let socket = SctpSocket::new((family, 0).into(), self.one_to_many)
            .context("this kernel has no SCTP loaded")?;
        let streams =
            InitMessage { ostreams: self.streams, max_instreams: self.streams, ..InitMessage::default() };
        socket.set(option::INITMSG, &streams)?;
        socket.set(
            option::RTOINFO,
            &RtoInfo { assoc_id: 0, initial: self.rto_initial, max: self.rto_max, min: self.rto_min },
        )?;
        socket.set(option::NODELAY, &i32::from(self.nodelay))?;
        socket.set(option::ENABLE_STREAM_RESET, &AssocValue { assoc_id: 0, value: ENABLE_MORE_STREAMS })?;
        if self.idata {
            socket.set(option::FRAGMENT_INTERLEAVE, &1)?;
            socket
                .set(option::INTERLEAVING_SUPPORTED, &AssocValue { assoc_id: 0, value: 1 })
                .context("I-DATA refused: is net.sctp.intl_enable=1?")?;
        }
        if let Some(bytes) = self.sndbuf {
            socket.plain().set_send_buffer_size(bytes)?;
        }
        if let Some(bytes) = self.rcvbuf {
            socket.plain().set_recv_buffer_size(bytes)?;
        }
        if self.sack_delay.is_some() || self.sack_every.is_some() {
            let mut info = socket.get(option::DELAYED_SACK, SackInfo::default())?;
            info.delay = self.sack_delay.unwrap_or(info.delay);
            info.frequency = self.sack_every.unwrap_or(info.frequency);
            socket.set(option::DELAYED_SACK, &info)?;
        }
        if self.heartbeat.is_some() || self.path_retrans.is_some() {
            let flags = if self.heartbeat.is_some() { HEARTBEAT_ENABLE } else { 0 };
            let heartbeat = self.heartbeat.unwrap_or(0);
            let max_retrans = self.path_retrans.unwrap_or(0);
            let parameters = PathParameters { heartbeat, max_retrans, flags, ..PathParameters::default() };
            socket.set(option::PEER_ADDR_PARAMS, &parameters)?;
        }
        Ok(socket)
    }

    fn bind(&self, socket: &SctpSocket, family: IpAddr, port: u16) -> Result<()> {
        let any = [if family.is_ipv4() { Ipv4Addr::UNSPECIFIED.into() } else { IpAddr::from([0_u8; 16]) }];
        let addresses = if self.bind.is_empty() { &any[..] } else { &self.bind };
        let addresses: Vec<SocketAddr> = addresses.iter().map(|ip| (*ip, port).into()).collect();
        socket.bind(&addresses).with_context(|| format!("cannot bind to {addresses:?}"))
    }
}

/// Reads an association's state and counters from the kernel. The caller fills in the messages that it
/// counted.
fn association(socket: &SctpSocket, assoc_id: i32) -> Result<Association> {
    let status = socket.status(assoc_id)?;
    let local = socket.plain().local_addr()?.as_socket().context("a socket without an address")?;
    let abandoned = PrStatus { assoc_id, policy: PrStatus::ALL, ..PrStatus::default() };
    let abandoned = socket.get(option::PR_ASSOC_STATUS, abandoned)?;
    Ok(Association {
        assoc_id: status.assoc_id,
        local_port: local.port(),
        out_streams: status.outstreams,
        in_streams: status.instreams,
        fragmentation_point_bytes: status.fragmentation_point,
        stats: socket.stats(assoc_id)?,
        abandoned_sent: abandoned.abandoned_sent,
        abandoned_unsent: abandoned.abandoned_unsent,
        paths: socket.paths(assoc_id)?,
        primary_srtt_ms: status.primary.srtt,
        unacked_after_sending: 0,
        sent: BTreeMap::new(),
        received: BTreeMap::new(),
        sending: Sending::default(),
    })
}

/// Waits until the condition holds; fails after [`PATIENCE`]. `what` names in the error what was awaited.
fn wait_for(what: &str, mut condition: impl FnMut() -> io::Result<bool>) -> Result<()> {
    let deadline = Instant::now() + PATIENCE;
    while !condition().with_context(|| format!("waiting for {what}"))? {
        ensure!(Instant::now() < deadline, "gave up waiting for {what}");
        thread::sleep(Duration::from_millis(5));
    }
    Ok(())
}

/// Waits until the peer has acknowledged all DATA sent, and no TSN is missing below the highest one received.
fn drain(socket: &SctpSocket, assoc_id: i32) -> Result<()> {
    wait_for("acknowledgements", || {
        let status = socket.status(assoc_id)?;
        Ok(status.unacked == 0 && status.pending == 0)
    })
}

fn serve(common: &Common, server: &Server) -> Result<Truth> {
    let family = common.bind.first().copied().unwrap_or(IpAddr::from([0_u8; 16]));
    let sockets = common
        .port
        .iter()
        .map(|port| {
            let socket = common.socket(family)?;
            common.bind(&socket, family, *port)?;
            socket.plain().listen(128)?;
            Ok(socket)
        })
        .collect::<Result<Vec<_>>>()?;
    eprintln!("listening");
    let mut workers = Vec::new();
    for (index, socket) in sockets.into_iter().enumerate() {
        let share = share(common.associations, common.port.len(), index);
        let server = server.clone();
        if common.churn {
            workers.push(thread::spawn(move || receive_churn(&socket, share)));
        } else if common.one_to_many {
            workers.push(thread::spawn(move || receive_all(&socket, share, &server)));
        } else {
            workers.push(thread::spawn(move || {
                let children: Vec<_> = (0..share)
                    .map(|_| {
                        let child = socket.accept()?;
                        let server = server.clone();
                        Ok(thread::spawn(move || receive_all(&child, 1, &server)))
                    })
                    .collect::<Result<_>>()?;
                gather(children)
            }));
        }
    }
    Ok(Truth { role: "server", pid: std::process::id(), busy: None, associations: gather(workers)? })
}

/// If `total` things are distributed in turn over `places` places: the number of things at place `index`.
const fn share(total: usize, places: usize, index: usize) -> usize {
    (total + places - 1 - index) / places
}

fn gather(workers: Vec<thread::JoinHandle<Result<Vec<Association>>>>) -> Result<Vec<Association>> {
    let mut all = Vec::new();
    for worker in workers {
        all.extend(worker.join().map_err(|_| anyhow!("a thread panicked"))??);
    }
    Ok(all)
}

/// Receives messages until `count` associations have sent the farewell and shut down.
fn receive_all(socket: &SctpSocket, count: usize, server: &Server) -> Result<Vec<Association>> {
    let mut finished = Vec::new();
    let mut counts: BTreeMap<i32, BTreeMap<u16, Count>> = BTreeMap::new();
    let mut buffer = vec![0; 1 << 16];
    let mut partial = 0;
    thread::sleep(Duration::from_millis(server.read_after));
    while finished.len() < count {
        let got = socket.receive(&mut buffer)?;
        ensure!(got.length > 0, "the peer left without a farewell");
        partial += got.length;
        if !got.complete {
            continue;
        }
        let length = std::mem::take(&mut partial);
        if got.ppid == FAREWELL {
            drain(socket, got.assoc_id)?;
            let mut done = association(socket, got.assoc_id)?;
            done.received = counts.remove(&got.assoc_id).unwrap_or_default();
            if server.echo {
                done.sent.clone_from(&done.received);
            }
            finished.push(done);
            continue;
        }
        counts.entry(got.assoc_id).or_default().entry(got.stream).or_default().add(length, false);
        if server.echo {
            let to = Outgoing { assoc_id: got.assoc_id, stream: got.stream, ppid: 1, ..Outgoing::default() };
            socket.send(&buffer[..length.min(buffer.len())], to)?;
        }
        if server.read_delay > 0 {
            thread::sleep(Duration::from_millis(server.read_delay));
        }
    }
    // To close the socket now would begin a shutdown from this side: wait for the client's.
    wait_for("the peer's shutdown", || {
        Ok(match socket.get(option::GET_ASSOC_NUMBER, 0_u32) {
            Ok(left) => left == 0,
            // A one-to-one socket does not have this option. When its association has ended, getting the
            // state fails, too.
            Err(_) => socket.status(0).is_err(),
        })
    })?;
    Ok(finished)
}

/// Accepts an association, receives one message and closes the association; `count` times.
fn receive_churn(socket: &SctpSocket, count: usize) -> Result<Vec<Association>> {
    let mut buffer = vec![0; 1 << 16];
    for _ in 0..count {
        let got = socket.accept()?.receive(&mut buffer)?;
        ensure!(got.length > 0 && got.complete, "the peer left without a message");
    }
    Ok(Vec::new())
}

fn run_client(common: &Common, client: &Client) -> Result<Truth> {
    thread::sleep(Duration::from_millis(client.delay));
    let family = *client.to.first().context("no address to connect to")?;
    if client.crowd {
        return run_crowd(common, client, family);
    }
    if common.churn {
        return run_churn(common, client, family);
    }
    let begin = Busy::now();
    let mut workers = Vec::new();
    let mut shared: Option<Arc<Line>> = None;
    for index in 0..common.associations {
        let slot = index % common.port.len();
        let line = match &shared {
            Some(line) if common.one_to_many && slot != 0 => Arc::clone(line),
            _ => {
                let socket = common.socket(family)?;
                if !common.bind.is_empty() || client.local_port.is_some() {
                    let port = client.local_port.map_or(0, |port| port + index as u16);
                    common.bind(&socket, family, port)?;
                }
                Arc::new(Line { socket, echoed: AtomicU64::new(0) })
            }
        };
        let to: Vec<SocketAddr> = client.to.iter().map(|ip| (*ip, common.port[slot]).into()).collect();
        let assoc_id = line.socket.connect(&to).with_context(|| format!("cannot connect to {to:?}"))?;
        if client.echo && !shared.as_ref().is_some_and(|shared| Arc::ptr_eq(shared, &line)) {
            let line = Arc::clone(&line);
            thread::spawn(move || line.count_echoes());
        }
        shared = Some(Arc::clone(&line));
        let (client, streams) = (client.clone(), common.streams);
        workers.push(thread::spawn(move || {
            send_all(&line, assoc_id, streams, &client).map(|association| vec![association])
        }));
    }
    let associations = gather(workers)?;
    Ok(Truth { role: "client", pid: std::process::id(), busy: Busy::since(begin), associations })
}

/// The client with `--crowd`: opens all associations, each on a socket of its own, then sends all messages of
/// the first, all of the second, and so on.
fn run_crowd(common: &Common, client: &Client, family: IpAddr) -> Result<Truth> {
    let files = common.associations as u64 + 100;
    setrlimit(Resource::RLIMIT_NOFILE, files, files).context("cannot open so many sockets")?;
    let to: Vec<SocketAddr> = client.to.iter().map(|ip| (*ip, common.port[0]).into()).collect();
    let message = vec![b'.'; client.size];
    let mut sockets = Vec::new();
    for _ in 0..common.associations {
        let socket = common.socket(family)?;
        let assoc_id = socket.connect(&to)?;
        sockets.push((socket, assoc_id));
    }
    let begin = Busy::now();
    for (socket, assoc_id) in &sockets {
        for index in 0..client.count {
            let stream = (index % u64::from(common.streams)) as u16;
            socket
                .send(&message, Outgoing { assoc_id: *assoc_id, stream, ppid: 1, ..Outgoing::default() })?;
        }
    }
    for (socket, assoc_id) in &sockets {
        drain(socket, *assoc_id)?;
    }
    let busy = Busy::since(begin);
    thread::sleep(Duration::from_millis(client.linger));
    for (socket, assoc_id) in &sockets {
        socket.send(b"bye!", Outgoing { assoc_id: *assoc_id, ppid: FAREWELL, ..Outgoing::default() })?;
    }
    for (socket, assoc_id) in &sockets {
        drain(socket, *assoc_id)?;
    }
    Ok(Truth { role: "client", pid: std::process::id(), busy, associations: Vec::new() })
}

/// The client with `--churn`: connects, sends one message and closes, again for each association.
fn run_churn(common: &Common, client: &Client, family: IpAddr) -> Result<Truth> {
    let to: Vec<SocketAddr> = client.to.iter().map(|ip| (*ip, common.port[0]).into()).collect();
    let message = vec![b'.'; client.size];
    let begin = Instant::now();
    for index in 0..common.associations {
        pace(begin, index as u64, client.rate);
        let socket = common.socket(family)?;
        let assoc_id = socket.connect(&to)?;
        socket.send(&message, Outgoing { assoc_id, ppid: 1, ..Outgoing::default() })?;
    }
    Ok(Truth { role: "client", pid: std::process::id(), busy: None, associations: Vec::new() })
}

/// Sleeps until the `index`-th message or association is due, at `rate` per second since `begin`. Without a
/// rate, returns at once.
fn pace(begin: Instant, index: u64, rate: Option<f64>) {
    if let Some(rate) = rate {
        let due = begin + Duration::from_secs_f64(index as f64 / rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
    }
}

/// A client's socket, and the number of messages that the server sent back on it.
struct Line {
    socket: SctpSocket,
    echoed: AtomicU64,
}

impl Line {
    fn count_echoes(&self) {
        let mut buffer = vec![0; 1 << 16];
        while let Ok(got) = self.socket.receive(&mut buffer) {
            if got.length == 0 {
                break;
            }
            if got.complete {
                self.echoed.fetch_add(1, Ordering::Relaxed);
            }
        }
    }
}

fn send_all(line: &Line, assoc_id: i32, streams: u16, client: &Client) -> Result<Association> {
    let socket = &line.socket;
    thread::sleep(Duration::from_millis(client.pause));
    let used = client.used_streams.unwrap_or(streams).min(streams);
    let mut streams = u64::from(socket.status(assoc_id)?.outstreams.min(used));
    let message = vec![b'.'; client.size];
    let mut sent: BTreeMap<u16, Count> = BTreeMap::new();
    let mut sending = Sending::default();
    for more in 0..client.invalid_streams {
        let to = Outgoing { assoc_id, stream: (streams as u16).saturating_add(more), ..Outgoing::default() };
        let error = socket.send(&message, to).err().context("sent on a stream that does not exist")?;
        ensure!(error.raw_os_error() == Some(libc::EINVAL), "{error}");
        sending.refused_invalid_stream += 1;
    }
    let begin = Instant::now();
    for index in 0..client.count {
        pace(begin, index, client.rate);
        if let Some(policy) = client.policy {
            let is_prio = policy == Policy::Prio;
            let value = if is_prio { index as u32 % (client.limit + 1) } else { client.limit };
            set_policy(socket, assoc_id, policy as u16, value)?;
        }
        if client.add_streams > 0 && index == client.count / 2 {
            streams = add_streams(socket, assoc_id, client.add_streams)?;
        }
        let stream =
            if client.skew { u64::from(index.trailing_ones()).min(streams - 1) } else { index % streams }
                as u16;
        let unordered = client.unordered_every > 0 && index % client.unordered_every == 0;
        let nonblocking = client.nonblocking;
        let policy = client.policy;
        let to =
            Outgoing { assoc_id, stream, ppid: 1, unordered, nonblocking, policy, ..Outgoing::default() };
        send_one(socket, &message, to, client.blocked, &mut sending)?;
        sent.entry(stream).or_default().add(message.len(), unordered);
    }
    sending.duration_us = micros(begin);
    if client.policy.is_some() {
        // The farewell is not to be given up: without a policy, a limit is a lifetime.
        set_policy(socket, assoc_id, 0, 0)?;
    }
    let unacked_after_sending = socket.status(assoc_id)?.unacked;
    drain(socket, assoc_id)?;
    if client.echo {
        wait_for("echoes", || Ok(line.echoed.load(Ordering::Relaxed) >= client.count))?;
    }
    socket.send(b"bye!", Outgoing { assoc_id, ppid: FAREWELL, ..Outgoing::default() })?;
    drain(socket, assoc_id)?;
    let mut done = association(socket, assoc_id)?;
    done.unacked_after_sending = unacked_after_sending;
    done.sent = sent;
    done.sending = sending;
    thread::sleep(Duration::from_millis(client.linger));
    Ok(done)
}

fn set_policy(socket: &SctpSocket, assoc_id: i32, policy: u16, value: u32) -> io::Result<()> {
    socket.set(option::DEFAULT_PRINFO, &DefaultPrInfo { assoc_id, value, policy, end: 0 })
}

/// Adds outbound streams to an association, and waits for acknowledgements. Returns the new number of all
/// outbound streams.
fn add_streams(socket: &SctpSocket, assoc_id: i32, more: u16) -> Result<u64> {
    let before = socket.status(assoc_id)?.outstreams;
    socket
        .set(option::ADD_STREAMS, &MoreStreams { assoc_id, instreams: 0, outstreams: more })
        .context("no streams can be added: is net.sctp.reconf_enable=1?")?;
    // The kernel counts the new streams at once, but they stay closed until the peer agrees: until then, a
    // chunk on one of them at the queue's head holds back all streams (sctp_outq_flush_data()).
    wait_for("more streams", || Ok(socket.status(assoc_id)?.outstreams == before + more))?;
    drain(socket, assoc_id)?;
    Ok(u64::from(before + more))
}

fn send_one(
    socket: &SctpSocket,
    message: &[u8],
    to: Outgoing,
    blocked: bool,
    sending: &mut Sending,
) -> Result<()> {
    let before = if blocked { Some((sleeps()?, Instant::now())) } else { None };
    loop {
        match socket.send(message, to) {
            Ok(()) => break,
            Err(error) if to.nonblocking && error.kind() == ErrorKind::WouldBlock => {
                sending.refused_sends += 1;
                thread::sleep(Duration::from_millis(1));
            }
            Err(error) => return Err(error).context("cannot send"),
        }
    }
    if let Some((slept, start)) = before
        && sleeps()? > slept
    {
        sending.blocked_sends += 1;
        sending.blocked_us += micros(start);
    }
    Ok(())
}

/// Number of voluntary context switches of this thread so far: how often it has gone to sleep.
fn sleeps() -> Result<i64> {
    Ok(getrusage(UsageWho::RUSAGE_THREAD)?.voluntary_context_switches())
}

fn micros(since: Instant) -> u64 {
    since.elapsed().as_micros() as u64
}
