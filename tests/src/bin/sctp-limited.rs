//! A sender that asks its own socket, every millisecond, why it does not send more: by the rules of RFC 9260 (6.1 A,
//! the peer's window; 6.1 B, cwnd) and RFC 896 (Nagle), from socket options and what it has sent itself. Its peer is
//! the server of `sctp-traffic`. At its end it prints a JSON line with the time of each answer.

use std::io::ErrorKind;
use std::net::{IpAddr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use clap::Parser;
use sctptrace_tests::socket::{Outgoing, SctpSocket, option};
use serde::Serialize;

/// Payload protocol identifier of the last message, which ends the server of `sctp-traffic`.
const FAREWELL: u32 = 0x6279_6521;
const PORT: u16 = 5000;
const TICK: Duration = Duration::from_millis(1);
/// Headers of IPv4 and SCTP, and of a DATA chunk, in bytes.
const PACKET_HEADERS: u64 = 20 + 12;
const CHUNK_HEADER: u64 = 16;

#[derive(Parser)]
#[command(about, version)]
struct Flags {
    /// Own address
    #[arg(long)]
    bind: IpAddr,
    /// Own port
    #[arg(long)]
    own_port: u16,
    /// The server's address
    #[arg(long)]
    to: IpAddr,
    /// Number of messages
    #[arg(long)]
    count: u64,
    /// Bytes of each
    #[arg(long)]
    size: usize,
    /// Messages a second (default: as many as go)
    #[arg(long)]
    rate: Option<f64>,
    /// `SO_SNDBUF`, which the kernel doubles
    #[arg(long)]
    sndbuf: Option<usize>,
    /// Do not wait for room: try again after a millisecond
    #[arg(long)]
    nonblocking: bool,
    /// `SCTP_NODELAY`
    #[arg(long)]
    nodelay: bool,
}

/// How long each limit applied to the sender, in microseconds.
#[derive(Default, Serialize)]
struct Limited {
    app_us: u128,
    sndbuf_us: u128,
    nagle_us: u128,
    cwnd_us: u128,
    rwnd_us: u128,
    other_us: u128,
}

/// What the sending thread tells the sampling one.
#[derive(Default)]
struct Sent {
    /// Chunks that the kernel has taken.
    chunks: AtomicU64,
    /// A send is under way, or the last one was refused.
    wants_room: AtomicBool,
    is_over: AtomicBool,
}

fn main() -> Result<()> {
    let flags = Flags::parse();
    let own = SocketAddr::new(flags.bind, flags.own_port);
    let socket = SctpSocket::new(own, false)?;
    if let Some(bytes) = flags.sndbuf {
        socket.plain().set_send_buffer_size(bytes).context("SO_SNDBUF")?;
    }
    socket.set(option::NODELAY, &i32::from(flags.nodelay)).context("SCTP_NODELAY")?;
    socket.bind(&[own]).context("bind")?;
    socket.connect(&[SocketAddr::new(flags.to, PORT)]).context("connect")?;
    let fragment = u64::from(socket.status(0)?.fragmentation_point);
    let sent = Sent::default();
    let limited = thread::scope(|scope| {
        let sampler = scope.spawn(|| sample(&socket, &flags, fragment, &sent));
        let result = send_all(&socket, &flags, fragment, &sent);
        sent.is_over.store(true, Ordering::SeqCst);
        result.and(sampler.join().unwrap_or_else(|_| panic!("the sampler panicked")))
    })?;
    println!("{}", serde_json::to_string(&limited)?);
    Ok(())
}

/// Sends all messages, waits until they are acknowledged, and says farewell.
fn send_all(socket: &SctpSocket, flags: &Flags, fragment: u64, sent: &Sent) -> Result<()> {
    let message = vec![0; flags.size];
    let begin = Instant::now();
    let to = Outgoing { ppid: 1, nonblocking: flags.nonblocking, ..Outgoing::default() };
    for n in 0..flags.count {
        if let Some(rate) = flags.rate {
            thread::sleep(Duration::from_secs_f64(n as f64 / rate).saturating_sub(begin.elapsed()));
        }
        sent.wants_room.store(true, Ordering::SeqCst);
        loop {
            match socket.send(&message, to) {
                Ok(()) => break,
                Err(error) if error.kind() == ErrorKind::WouldBlock => thread::sleep(TICK),
                Err(error) => return Err(error).context("send"),
            }
        }
        sent.chunks.fetch_add((flags.size as u64).div_ceil(fragment), Ordering::SeqCst);
        sent.wants_room.store(false, Ordering::SeqCst);
    }
    while socket.status(0)?.unacked > 0 || socket.stats(0)?.data_sent < sent.chunks.load(Ordering::SeqCst) {
        thread::sleep(TICK);
    }
    socket.send(&[0; 4], Outgoing { ppid: FAREWELL, ..Outgoing::default() })?;
    sent.chunks.fetch_add(1, Ordering::SeqCst);
    while socket.status(0)?.unacked > 0 {
        thread::sleep(TICK);
    }
    Ok(())
}

/// Asks the socket again and again. Each answer counts until the next one.
fn sample(socket: &SctpSocket, flags: &Flags, fragment: u64, sent: &Sent) -> Result<Limited> {
    let chunk = fragment.min(flags.size as u64);
    let mut limited = Limited::default();
    let mut last = Instant::now();
    while !sent.is_over.load(Ordering::SeqCst) {
        let chunks = sent.chunks.load(Ordering::SeqCst);
        let wants_room = sent.wants_room.load(Ordering::SeqCst);
        let status = socket.status(0)?;
        let queued = chunks.saturating_sub(socket.stats(0)?.data_sent);
        let in_flight = u64::from(status.unacked) * chunk;
        let waiting = PACKET_HEADERS + queued * (chunk + CHUNK_HEADER);
        let time = if queued == 0 {
            if wants_room { &mut limited.sndbuf_us } else { &mut limited.app_us }
        } else if chunk > u64::from(status.rwnd) && in_flight > 0 {
            &mut limited.rwnd_us
        } else if in_flight >= u64::from(status.primary.cwnd) {
            &mut limited.cwnd_us
        } else if !flags.nodelay && in_flight > 0 && waiting <= u64::from(status.primary.mtu) {
            &mut limited.nagle_us
        } else {
            &mut limited.other_us
        };
        thread::sleep(TICK);
        *time += last.elapsed().as_micros();
        last = Instant::now();
    }
    Ok(limited)
}
