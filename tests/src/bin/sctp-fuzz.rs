//! An SCTP peer outside the kernel, which can break the rules; and `sctp-fuzz echo`, the program at the other
//! end, which uses the kernel's SCTP.
//!
//! The peer's address does not belong to its host: the peer sends by a raw socket and receives by a packet
//! socket, and no kernel answers in its stead. In this file, "the kernel" is the one at the other end, below
//! `sctp-fuzz echo`.

use std::collections::{BTreeMap, BTreeSet};
use std::io::{ErrorKind, Read};
use std::net::{IpAddr, Ipv4Addr, SocketAddrV4};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use clap::{Args, Parser, Subcommand};
use fastrand::Rng;
use sctptrace_tests::busy::Busy;
use sctptrace_tests::hostile::{STREAMS, View, ask, attack};
use sctptrace_tests::sctp::after;
use sctptrace_tests::socket::{AssocValue, InitMessage, Outgoing, SackInfo, SctpSocket, option};
use sctptrace_tests::wire::{self, UNORDERED, WHOLE, chunk, chunks, data, parts, word};
use socket2::{Domain, Protocol, Socket, Type};

/// How long the peer waits for an answer of the kernel, which may never come.
const PATIENCE: Duration = Duration::from_millis(250);

#[derive(Parser)]
#[command(about = "Break the rules of SCTP towards the kernel's, bounded and by seed", version)]
struct Flags {
    #[command(subcommand)]
    action: Action,
}

#[derive(Subcommand)]
enum Action {
    /// The kernel's side: do what messages ask for.
    Echo {
        /// Address to bind to.
        #[arg(long)]
        bind: IpAddr,
    },
    /// Send hostile packets.
    Attack {
        #[command(flatten)]
        ends: Ends,
        #[arg(long, default_value_t = 1)]
        seed: u64,
        /// Hostile packets to send.
        #[arg(long, default_value_t = 2000)]
        packets: u32,
    },
    /// Keep the rules, with numbers that wrap, an association that is reset, and one that restarts.
    Wrap {
        #[command(flatten)]
        ends: Ends,
        /// Messages to be sent back, in each part.
        #[arg(long, default_value_t = 160)]
        messages: u32,
    },
    /// Make associations, and end each with another ABORT.
    Abort {
        #[command(flatten)]
        ends: Ends,
    },
    /// Answer INITs as their port asks for, until killed.
    Refuse {
        #[command(flatten)]
        ends: Ends,
    },
    /// Keep the rules, but send messages on streams that do not exist, too.
    Strays {
        #[command(flatten)]
        ends: Ends,
        /// Packets with two such messages each.
        #[arg(long, default_value_t = 40)]
        packets: u16,
    },
    /// Keep the rules, and acknowledge with gap blocks.
    Gaps {
        #[command(flatten)]
        ends: Ends,
        /// In two of three SACKs.
        #[arg(long)]
        blocks: u16,
        /// Three SACKs in each.
        #[arg(long, default_value_t = 100)]
        rounds: u32,
    },
}

#[derive(Args, Clone, Copy)]
struct Ends {
    /// The peer's address, which the host must not own.
    #[arg(long, default_value = "10.1.0.9")]
    address: Ipv4Addr,
    /// Where the echo is.
    #[arg(long, default_value = "10.2.0.1")]
    to: Ipv4Addr,
}

/// The SCTP port of `sctp-fuzz echo`.
const PORT: u16 = 6000;

fn main() -> Result<()> {
    match Flags::parse().action {
        Action::Echo { bind } => echo(bind),
        Action::Attack { ends, seed, packets } => attack_all(Wire::new(ends)?, seed, packets),
        Action::Wrap { ends, messages } => wrap(&Wire::new(ends)?, messages),
        Action::Abort { ends } => abort(&Wire::new(ends)?),
        Action::Refuse { ends } => refuse(&Wire::new(ends)?),
        Action::Strays { ends, packets } => strays(&Wire::new(ends)?, packets),
        Action::Gaps { ends, blocks, rounds } => gaps(&Wire::new(ends)?, blocks, rounds),
    }
}

// --- the kernel's side ---

fn echo(address: IpAddr) -> Result<()> {
    let socket = SctpSocket::new((address, 0).into(), true)?;
    let streams = InitMessage { ostreams: STREAMS, max_instreams: STREAMS, ..InitMessage::default() };
    socket.set(option::INITMSG, &streams)?;
    socket.set(option::NODELAY, &1)?;
    // The kernel shall acknowledge every packet at once, so that captures show which chunks it accepted.
    socket.set(option::DELAYED_SACK, &SackInfo { assoc_id: 0, delay: 0, frequency: 1 })?;
    socket.set(option::RECONFIG_SUPPORTED, &AssocValue { assoc_id: 0, value: 1 })?;
    socket.set(option::ENABLE_STREAM_RESET, &AssocValue { assoc_id: 0, value: 7 })?;
    socket.bind(&[(address, PORT).into()])?;
    socket.plain().listen(128)?;
    eprintln!("listening");
    let mut buffer = vec![0; 1 << 16];
    let mut errors = 0;
    loop {
        // When an association is aborted, receive() returns its error: go on with the others.
        let got = match socket.receive(&mut buffer) {
            Ok(got) => got,
            Err(error) => {
                errors += 1;
                ensure!(errors < 10_000, "no end of errors: {error}");
                continue;
            }
        };
        let message = &buffer[..got.length];
        let to = Outgoing {
            assoc_id: got.assoc_id,
            stream: got.stream % STREAMS,
            nonblocking: true,
            ..Outgoing::default()
        };
        // Errors of sends and resets are ignored. A send fails when the send buffer is full or the
        // association has ended. A reset, which flipped bits in a message may ask for, fails while chunks are
        // outstanding.
        let times = match got.ppid {
            ask::ECHO => 1,
            ask::SEND => message.first().copied().unwrap_or(0),
            ask::RESET => {
                let _ = socket.set(option::RESET_ASSOC, &got.assoc_id);
                0
            }
            _ => 0,
        };
        for _ in 0..times {
            let _ = socket.send(message, to);
        }
    }
}

// --- the peer's side ---

/// The peer's sockets: `out` sends to the kernel, `tap` receives from it.
struct Wire {
    out: Socket,
    tap: Socket,
    ends: Ends,
}

impl Wire {
    fn new(ends: Ends) -> Result<Self> {
        let out = Socket::new(Domain::IPV4, Type::RAW, Some(Protocol::from(libc::IPPROTO_RAW)))?;
        let ip = Protocol::from(i32::from((libc::ETH_P_IP as u16).to_be()));
        let tap = Socket::new(Domain::PACKET, Type::DGRAM, Some(ip))?;
        tap.set_recv_buffer_size(8 << 20)?;
        Ok(Self { out, tap, ends })
    }

    fn send(&self, source: Ipv4Addr, port: u16, tag: u32, chunks: &[u8]) -> Result<()> {
        let packet = wire::packet(port, PORT, tag, chunks);
        self.put(&wire::datagram(source, self.ends.to, &packet))
    }

    fn put(&self, datagram: &[u8]) -> Result<()> {
        self.out.send_to(datagram, &SocketAddrV4::new(self.ends.to, 0).into()).context("cannot send")?;
        Ok(())
    }

    /// Answers a packet of the kernel's like a host without SCTP, or like a router: sends ICMP "destination
    /// unreachable" with this code (RFC 792).
    fn send_unreachable(&self, code: u8, packet: &[u8]) -> Result<()> {
        let quoted = wire::datagram(self.ends.to, self.ends.address, packet);
        self.put(&wire::unreachable(self.ends.address, self.ends.to, code, &quoted))
    }

    /// Returns the next SCTP packet to one of the peer's ports; `None` if none comes before the deadline.
    fn receive(&self, port: u16, deadline: Instant) -> Result<Option<Vec<u8>>> {
        self.receive_if(deadline, |packet| packet.get(2..4) == Some(&port.to_be_bytes()))
    }

    /// Returns the next SCTP packet to the peer that `wants` returns true for; `None` if none comes before the deadline.
    fn receive_if(&self, deadline: Instant, wants: impl Fn(&[u8]) -> bool) -> Result<Option<Vec<u8>>> {
        let mut buffer = vec![0; 1 << 16];
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            if left.is_zero() {
                return Ok(None);
            }
            self.tap.set_read_timeout(Some(left))?;
            let length = match (&self.tap).read(&mut buffer) {
                Ok(length) => length,
                Err(error) if [ErrorKind::WouldBlock, ErrorKind::Interrupted].contains(&error.kind()) => {
                    continue;
                }
                Err(error) => return Err(error.into()),
            };
            let Some((_, to, packet)) = wire::open(&buffer[..length]) else { continue };
            if to == self.ends.address && wants(packet) {
                return Ok(Some(packet.to_vec()));
            }
        }
    }
}

/// The peer's end of an association with the kernel.
struct Association<'a> {
    wire: &'a Wire,
    port: u16,
    /// The verification tags that the kernel and the peer have chosen.
    tags: (u32, u32),
    view: View,
    /// The kernel's TSNs that have come and lie above the last one in sequence.
    above: BTreeSet<u32>,
    /// A TSN of the kernel's to ignore when it comes for the first time, as if it was lost.
    deaf_to: Option<u32>,
    acknowledge: bool,
    heartbeat: Option<u32>,
    /// Request sequence number of the last RE-CONFIG from the kernel: its request for an SSN/TSN reset.
    reset: Option<u32>,
    /// Number of ERROR chunks from the kernel with the cause "Invalid Stream Identifier" (RFC 9260 3.3.10.1).
    invalid_streams: u32,
    alive: bool,
}

impl<'a> Association<'a> {
    /// Sets up an association. A second call with the same port restarts the first association.
    fn connect(wire: &'a Wire, port: u16, tag: u32, tsn: u32) -> Result<Self> {
        let mut new = Self {
            wire,
            port,
            tags: (0, tag),
            view: View { next: tsn, ..View::default() },
            above: BTreeSet::new(),
            deaf_to: None,
            acknowledge: true,
            heartbeat: None,
            reset: None,
            invalid_streams: 0,
            alive: true,
        };
        new.send(&wire::init(tag, 1 << 20, STREAMS, tsn))?;
        let (start, cookie) = new.answer(2, |value| {
            let cookie = parts(value.get(16..)?).into_iter().find(|(kind, _)| *kind == 7)?.1;
            Some(((word(value, 0), word(value, 12)), cookie.to_vec()))
        })?;
        new.tags.0 = start.0;
        new.view.top = start.1.wrapping_sub(1);
        new.view.acked = new.view.top;
        new.send(&chunk(10, 0, &cookie))?;
        new.answer(11, |_| Some(()))?;
        Ok(new)
    }

    /// Waits for a chunk of type `kind` in which `read` finds something, and returns what it finds. Fails if
    /// none comes in time.
    fn answer<T>(&self, kind: u8, read: impl Fn(&[u8]) -> Option<T>) -> Result<T> {
        let deadline = Instant::now() + 8 * PATIENCE;
        while let Some(packet) = self.wire.receive(self.port, deadline)? {
            for (_, _, value) in chunks(&packet).into_iter().filter(|(found, ..)| *found == kind) {
                if let Some(found) = read(value) {
                    return Ok(found);
                }
            }
        }
        bail!("no answer of type {kind} at port {}", self.port)
    }

    fn send(&self, chunks: &[u8]) -> Result<()> {
        self.wire.send(self.wire.ends.address, self.port, self.tags.0, chunks)
    }

    /// Handles packets from the kernel until `time` is over, `done` returns true, or the association ends.
    fn listen(&mut self, time: Duration, done: impl Fn(&Self) -> bool) -> Result<()> {
        let deadline = Instant::now() + time;
        while self.alive && !done(self) {
            let Some(packet) = self.wire.receive(self.port, deadline)? else { break };
            let mut has_data = false;
            for (kind, _, value) in chunks(&packet) {
                match kind {
                    0 => {
                        self.take(word(value, 0));
                        has_data = true;
                    }
                    // SACK: the kernel expects the TSN after the cumulative one next.
                    3 => self.view.next = word(value, 0).wrapping_add(1),
                    4 => self.send(&chunk(5, 0, value))?,
                    5 => self.heartbeat = Some(word(value, 4)),
                    // ABORT, SHUTDOWN, SHUTDOWN ACK
                    6..=8 => self.alive = false,
                    9 => self.invalid_streams += u32::from(value.starts_with(&[0, 1])),
                    130 => self.reset = Some(word(value, 4)),
                    _ => {}
                }
            }
            if has_data && self.acknowledge {
                self.sack()?;
            }
        }
        Ok(())
    }

    /// Handles a DATA chunk from the kernel, with this TSN.
    fn take(&mut self, tsn: u32) {
        if after(tsn, self.view.top) {
            self.view.top = tsn;
            if self.deaf_to == Some(tsn) {
                return;
            }
        }
        self.above.insert(tsn);
        while self.acknowledge && self.above.remove(&self.view.acked.wrapping_add(1)) {
            self.view.acked = self.view.acked.wrapping_add(1);
        }
    }

    /// Sends a SACK that is correct by RFC 9260: it reports exactly the TSNs that came.
    fn sack(&self) -> Result<()> {
        let mut gaps: Vec<(u16, u16)> = Vec::new();
        let offsets: BTreeSet<u16> = self
            .above
            .iter()
            .map(|tsn| tsn.wrapping_sub(self.view.acked) as u16)
            .filter(|n| *n < 1 << 15)
            .collect();
        for offset in offsets {
            match gaps.last_mut() {
                Some((_, last)) if *last + 1 == offset => *last = offset,
                _ => gaps.push((offset, offset)),
            }
        }
        self.send(&wire::sack(self.view.acked, 100_000, &gaps, &[]))
    }

    /// Returns whether the association still exists: sends a HEARTBEAT and waits for the answer. The kernel
    /// answers only after it has handled all packets sent before.
    fn survives(&mut self, number: u32) -> Result<bool> {
        let info = [&[0, 1, 0, 8][..], &number.to_be_bytes()].concat();
        self.send(&chunk(4, 0, &info))?;
        self.listen(PATIENCE, |this| this.heartbeat == Some(number))?;
        self.alive &= self.heartbeat == Some(number);
        Ok(self.alive)
    }
}

// --- attacks ---

fn attack_all(wire: Wire, seed: u64, packets: u32) -> Result<()> {
    let mut rng = Rng::with_seed(seed);
    let mut sent: BTreeMap<&str, u32> = BTreeMap::new();
    let (mut associations, mut restarts, mut port) = (0, 0, 20_000);
    let mut current: Option<Association<'_>> = None;
    for number in 0..packets {
        let association = match &mut current {
            Some(association) if association.alive => association,
            gone => {
                port += 1;
                associations += 1;
                end(gone.as_ref())?;
                gone.insert(hostile_association(&wire, port, &mut rng)?)
            }
        };
        if rng.u16(..400) == 0 {
            restarts += 1;
            *association = hostile_association(&wire, association.port, &mut rng)?;
        }
        if rng.u16(..400) == 0 {
            flood(&wire, &mut rng)?;
        }
        let (name, chunks) = attack(&mut rng, association.view);
        *sent.entry(name).or_default() += 1;
        let cumulative = word(&chunks, 4);
        association.send(&chunks)?;
        if chunks[0] == 0 {
            // Let the echo answer before the next SACK comes.
            association.listen(Duration::from_millis(3), |_| false)?;
        }
        if association.survives(number)? && chunks[0] == 3 && !after(association.view.acked, cumulative) {
            association.view.acked = cumulative;
        }
        // Now and then, give the kernel's timers time to expire.
        if rng.u8(..40) == 0 {
            association.listen(Duration::from_millis(rng.u64(..1500)), |_| false)?;
        }
    }
    end(current.as_ref())?;
    println!("{}", serde_json::json!({ "associations": associations, "restarts": restarts, "sent": sent }));
    Ok(())
}

/// Sends an ABORT: the kernel may still have the association, although the peer gives it up.
fn end(association: Option<&Association<'_>>) -> Result<()> {
    association.map_or(Ok(()), |association| association.send(&chunk(6, 0, &[])))
}

fn hostile_association<'a>(wire: &'a Wire, port: u16, rng: &mut Rng) -> Result<Association<'a>> {
    let tsn = match rng.u8(..4) {
        0 => rng.u32(..),
        1 => rng.u32(..40),
        _ => 0_u32.wrapping_sub(rng.u32(1..40)),
    };
    let mut new = Association::connect(wire, port, rng.u32(1..), tsn)?;
    new.acknowledge = false;
    Ok(new)
}

/// Sends 200 random INITs, as of many peers: from random ports, at which nothing listens, and half of them
/// from random addresses.
fn flood(wire: &Wire, rng: &mut Rng) -> Result<()> {
    for _ in 0..200 {
        let source = if rng.bool() { wire.ends.address } else { Ipv4Addr::new(10, 1, 0, rng.u8(10..250)) };
        let init = wire::init(rng.u32(..), rng.u32(..), rng.u16(..), rng.u32(..));
        wire.send(source, rng.u16(1..20_000), 0, &init)?;
    }
    Ok(())
}

// --- ends ---

/// An ABORT: its flags, its causes, and whether its verification tag is the one that the peer expects.
struct Abort {
    flags: u8,
    causes: Vec<u8>,
    tag: Tag,
}

#[derive(Clone, Copy)]
enum Tag {
    /// The receiver's value, as it must be.
    Receiver,
    /// The sender's, reflected: with the T bit (RFC 9260 8.5.1).
    Sender,
    /// Neither.
    Wrong,
}

/// Returns a text that could harm a terminal, a spreadsheet or a web page, with 64 kB of plain text behind.
fn hostile_text() -> Vec<u8> {
    [b"=cmd\x1b[2J\n\xe2\x80\xae</script>\"\xff\0", &[b'x'; 65_000][..]].concat()
}

fn cause(code: u16, value: &[u8]) -> Vec<u8> {
    let mut bytes = code.to_be_bytes().to_vec();
    bytes.extend((value.len() as u16 + 4).to_be_bytes());
    bytes.extend(value);
    bytes.resize(bytes.len().next_multiple_of(4), 0);
    bytes
}

/// Makes an association from each port from 40,000 on, and ends it: first with ABORTs that the kernel must
/// ignore, then with one that the kernel must accept.
fn abort(wire: &Wire) -> Result<()> {
    let right = |causes: Vec<u8>| Abort { flags: 0, causes, tag: Tag::Receiver };
    let bare = || right(Vec::new());
    let all = [
        vec![bare()],
        vec![Abort { flags: 1, causes: Vec::new(), tag: Tag::Sender }],
        vec![right(cause(0x1234, b"text"))],
        vec![right(cause(12, &hostile_text()))],
        // The first cause counts; those after it must be ignored.
        vec![right([cause(1, &[0, 7, 0, 0]), cause(12, b"second")].concat())],
        vec![right(cause(13, b"violation"))],
        // Causes of a wrong length, which the kernel drops (sctp_err_chunk_valid()).
        vec![right(vec![0, 12, 0, 3]), right(vec![0, 12, 0, 200, 1, 2, 3, 4]), bare()],
        // ABORTs with wrong verification tags, which the kernel drops, too.
        vec![
            Abort { flags: 0, causes: cause(12, b"wrong"), tag: Tag::Wrong },
            Abort { flags: 1, causes: cause(12, b"wrong"), tag: Tag::Receiver },
            Abort { flags: 0, causes: cause(12, b"wrong"), tag: Tag::Sender },
            right(cause(12, b"right")),
        ],
    ];
    for (port, aborts) in (40_000..).zip(&all) {
        let mut association = Association::connect(wire, port, u32::from(port), 1)?;
        let mut number = 1;
        if port == 40_000 {
            // ICMP ends an association only until that is up: so this association goes on.
            let quoted = wire::packet(PORT, port, association.tags.1, &wire::sack(0, 1 << 20, &[], &[]));
            wire.send_unreachable(PROTOCOL_UNREACHABLE, &quoted)?;
            ensure!(association.survives(number)?, "ICMP has ended an association");
        }
        for abort in aborts {
            let tag = match abort.tag {
                Tag::Receiver => association.tags.0,
                Tag::Sender => association.tags.1,
                Tag::Wrong => !association.tags.0,
            };
            number += 1;
            ensure!(association.survives(number)?, "the association of {port} has ended too early");
            wire.send(wire.ends.address, port, tag, &chunk(6, abort.flags, &abort.causes))?;
        }
        ensure!(!association.survives(number + 1)?, "the association of {port} has not ended");
    }
    Ok(())
}

/// Codes of ICMP "destination unreachable" (RFC 792).
const HOST_UNREACHABLE: u8 = 1;
const PROTOCOL_UNREACHABLE: u8 = 2;
const PORT_UNREACHABLE: u8 = 3;

/// Answers the INITs that come to the ports from 41,000 on: at each port in another way.
fn refuse(wire: &Wire) -> Result<()> {
    eprintln!("listening");
    loop {
        let deadline = Instant::now() + Duration::from_secs(60);
        let Some(packet) = wire.receive_if(deadline, |packet| packet.len() > 12)? else { continue };
        let port = |at: usize| u16::from_be_bytes([packet[at], packet[at + 1]]);
        let (theirs, ours) = (port(0), port(2));
        let Some((kind, _, value)) = chunks(&packet).first().copied() else { continue };
        let send = |tag: u32, chunks: &[u8]| {
            let packet = wire::packet(ours, theirs, tag, chunks);
            wire.put(&wire::datagram(wire.ends.address, wire.ends.to, &packet))
        };
        let tag = word(value, 0);
        match (kind, ours) {
            (1, 41_000) => send(tag, &chunk(6, 0, &[]))?,
            (1, 41_001) => send(tag, &chunk(6, 0, &cause(12, &hostile_text())))?,
            // An ABORT whose cause has a wrong length. The kernel checks that length only once the
            // association is up.
            (1, 41_002) => send(tag, &chunk(6, 0, &[0, 12, 0xff, 0xff, b't', b'e', b'x', b't']))?,
            (1, 41_003) => wire.send_unreachable(PROTOCOL_UNREACHABLE, &packet)?,
            (1, 41_004) => wire.send_unreachable(PORT_UNREACHABLE, &packet)?,
            (1, 41_005) => wire.send_unreachable(HOST_UNREACHABLE, &packet)?,
            // A collision (RFC 9260 5.2.4, case B): answers the INIT with an INIT, and ends the association
            // once it is up.
            (1, 41_006) => send(0, &wire::init(OWN_TAG, 1 << 20, STREAMS, 1))?,
            (2, 41_006) => {
                let cookie = value.get(16..).map(parts).unwrap_or_default();
                let cookie = cookie.into_iter().find(|(kind, _)| *kind == 7).context("no cookie")?.1;
                send(tag, &chunk(10, 0, cookie))?;
                std::thread::sleep(PATIENCE);
                send(tag, &chunk(6, 0, &[]))?;
            }
            _ => {}
        }
    }
}

/// The verification tag of the peer's end in `refuse`.
const OWN_TAG: u32 = 77;

// --- numbers that wrap ---

fn wrap(wire: &Wire, messages: u32) -> Result<()> {
    let before_wrap = 0_u32.wrapping_sub(messages / 2);
    let mut association = Association::connect(wire, 30_000, 1, before_wrap)?;
    converse(&mut association, messages)?;
    ensure!(association.view.next < messages, "our numbers have not wrapped");

    reset(&mut association, before_wrap)?;
    converse(&mut association, messages)?;
    ensure!(association.view.top < messages, "the kernel's numbers have not wrapped");

    // A reset to a TSN that is nearly 2^31 below the last one.
    let far = association.view.top.wrapping_add(0x9000_0000);
    reset(&mut association, far)?;
    converse(&mut association, messages)?;

    // The peer restarts the association (an INIT from the same port) while the kernel has data outstanding.
    association.acknowledge = false;
    ask_for(&mut association, ask::SEND, 5)?;
    association.listen(PATIENCE, |_| false)?;
    let mut association = Association::connect(wire, 30_000, 2, before_wrap)?;
    converse(&mut association, messages)?;
    ask_for(&mut association, ask::SEND, 5)?;
    association.listen(PATIENCE, |_| false)?;
    ensure!(association.alive, "the kernel has ended the association");
    association.send(&chunk(6, 0, &[]))
}

/// Has the kernel ask for an SSN/TSN reset, and grants it: in the response (RFC 6525 4.4), `next` is the next
/// TSN of both ends.
fn reset(association: &mut Association<'_>, next: u32) -> Result<()> {
    association.reset = None;
    ask_for(association, ask::RESET, 0)?;
    association.listen(8 * PATIENCE, |this| this.reset.is_some())?;
    let number = association.reset.context("the kernel does not ask for a reset")?;
    association.view.next = next;
    association.view.top = next.wrapping_sub(1);
    association.view.acked = association.view.top;
    let response: Vec<u8> = [number, 1, next, next].iter().flat_map(|word| word.to_be_bytes()).collect();
    association.send(&chunk(130, 0, &[&[0, 16, 0, 20][..], &response].concat()))
}

/// Sends messages and has the kernel send them back. Now and then, the peer sends two messages in the wrong
/// order, or ignores the first transmission of one that comes back, as if it was lost.
fn converse(association: &mut Association<'_>, messages: u32) -> Result<()> {
    for i in 0..messages {
        association.deaf_to = (i % 16 == 0).then(|| association.view.top.wrapping_add(1));
        if i % 20 == 7 {
            let second = association.view.next.wrapping_add(1);
            let late = association.view.next;
            association.send(&data(WHOLE | UNORDERED, second, 1, 0, ask::ECHO, b"sooner"))?;
            association.listen(Duration::from_millis(10), |_| false)?;
            association.send(&data(WHOLE | UNORDERED, late, 1, 0, ask::ECHO, b"later"))?;
            association.listen(Duration::from_millis(10), |_| false)?;
        } else {
            ask_for(association, ask::ECHO, 0)?;
        }
        ensure!(association.alive, "the kernel has ended the association");
    }
    association.listen(Duration::from_secs(2), |this| this.view.acked == this.view.top)?;
    ensure!(association.view.acked == association.view.top, "some messages never came");
    Ok(())
}

fn ask_for(association: &mut Association<'_>, ask: u32, first: u8) -> Result<()> {
    association.send(&data(WHOLE | UNORDERED, association.view.next, 0, 0, ask, &[first; 20]))?;
    association.listen(Duration::from_millis(10), |_| false)
}

// --- streams that do not exist ---

/// Sends packets of two messages on streams that do not exist, each fifth one twice, and messages between them that
/// come back. Prints how many there were, and how many of them the kernel has reported.
fn strays(wire: &Wire, packets: u16) -> Result<()> {
    let mut association = Association::connect(wire, 30_000, 1, 1)?;
    for i in 0..packets {
        let next = association.view.next;
        let streams = [STREAMS + i * 7 % 1000, u16::MAX - i];
        let message = |n: usize| data(WHOLE, next + n as u32, streams[n], 0, 0, b"stray");
        let both = [message(0), message(1)].concat();
        for _ in 0..if i % 5 == 0 { 2 } else { 1 } {
            association.send(&both)?;
        }
        association.listen(4 * PATIENCE, |this| this.view.next == next + 2)?;
        ask_for(&mut association, ask::ECHO, 0)?;
        association.listen(4 * PATIENCE, |this| this.view.next == next + 3)?;
        ensure!(association.alive && association.view.next == next + 3, "not all was acknowledged");
    }
    let errors = association.invalid_streams;
    println!("{}", serde_json::json!({ "sent": 2 * packets, "errors": errors }));
    association.send(&chunk(6, 0, &[]))
}

// --- gap blocks ---

/// Measures the kernel's CPU time for `rounds` rounds of SACKs, and prints it. In each round, the kernel
/// sends messages; the peer answers with two SACKs with gap blocks, too few for a fast retransmission, and
/// with one that acknowledges everything.
fn gaps(wire: &Wire, blocks: u16, rounds: u32) -> Result<()> {
    const MESSAGES: u8 = 132;
    ensure!(blocks < u16::from(MESSAGES) / 2, "a round has {MESSAGES} messages");
    let mut association = Association::connect(wire, 30_000, 1, 1)?;
    association.acknowledge = false;
    // Rounds without gap blocks let the congestion window grow, until the messages of a whole round fit.
    for size in 1..=MESSAGES {
        round(&mut association, size, 0)?;
    }
    let begin = Busy::now();
    for _ in 0..rounds {
        round(&mut association, MESSAGES, blocks)?;
    }
    println!("{}", serde_json::to_string(&Busy::since(begin))?);
    association.send(&chunk(6, 0, &[]))
}

fn round(association: &mut Association<'_>, messages: u8, blocks: u16) -> Result<()> {
    let top = association.view.top.wrapping_add(messages.into());
    association.send(&data(WHOLE | UNORDERED, association.view.next, 0, 0, ask::SEND, &[messages; 100]))?;
    association.listen(Duration::from_secs(5), |this| this.view.top == top)?;
    ensure!(
        association.view.top == top,
        "the kernel has sent {} too few",
        top.wrapping_sub(association.view.top)
    );
    let gaps: Vec<(u16, u16)> = (1..=blocks).map(|n| (2 * n, 2 * n)).collect();
    for gaps in [&gaps[..gaps.len() / 2], &gaps[..]] {
        association.send(&wire::sack(association.view.acked, 1 << 20, gaps, &[]))?;
    }
    association.view.acked = top;
    association.send(&wire::sack(top, 1 << 20, &[], &[]))?;
    // Receive the kernel's SACK for the message that asked for this round's messages.
    association.listen(Duration::from_millis(1), |_| false)
}
