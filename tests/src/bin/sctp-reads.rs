//! Reads messages in all the ways that there are, and notes how long each one has waited, so that tests can compare
//! what `sctp-bufmon --recv-wait` says. `send` has the messages come in a way that the reader knows of each when it can
//! be read: poll(2) wakes the reader, whose queue was empty before.

use std::io::{self, ErrorKind};
use std::mem::MaybeUninit;
use std::net::{IpAddr, SocketAddr};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::{Parser, ValueEnum};
use nix::time::{ClockId, clock_gettime};
use sctptrace_tests::socket::{AssocValue, Outgoing, Received, SctpSocket, option};
use serde::Serialize;

#[derive(Parser)]
#[command(about, version)]
enum Role {
    /// Reads, and prints what it did as a line of JSON
    Read {
        /// Own address
        #[arg(long)]
        bind: IpAddr,
        /// Own port
        #[arg(long)]
        port: u16,
        /// How to read
        how: How,
    },
    /// Sends
    Send {
        /// Own address
        #[arg(long)]
        bind: IpAddr,
        /// Own port. A second association has the next one
        #[arg(long)]
        own_port: u16,
        /// The reader's address
        #[arg(long)]
        to: IpAddr,
        /// The reader's port
        #[arg(long)]
        port: u16,
        /// How the reader reads
        how: How,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    /// One message after the other
    Single,
    /// One message after the other, with I-DATA
    Idata,
    /// The first of 51 messages is lost: all can be read once it has come again
    Loss,
    /// MSG_PEEK before it is read
    Peek,
    /// A message in two parts
    TwoParts,
    /// The second message on another socket than the first
    PeelOff,
    /// close() with unread messages
    Close,
    /// After the association has ended
    Late,
    /// Partial delivery of a message whose last chunk is lost, while another association's messages wait
    Partial,
}

/// How long the reader waits for a message.
const PATIENCE: Duration = Duration::from_secs(30);
/// Messages of each scenario in which more than one come at once.
const MANY: u32 = 5;
/// The lost message, and those behind it. They fit into the first congestion window.
const BEHIND_LOSS: u32 = 50;
/// User data of a full chunk, with an MTU of 1,500 bytes.
const CHUNK: usize = 1452;
/// Bytes of a message of 14 chunks.
const LARGE: usize = 13 * CHUNK + 100;

/// What the reader did.
#[derive(Default, Serialize)]
struct Done {
    /// How long each message of the first association had waited when it was read, in us.
    waits_us: Vec<f64>,
    /// How long each message of the second association had waited when it was read, in us.
    others_us: Vec<f64>,
    /// Messages that were there and were not read.
    unread: u32,
}

fn main() -> Result<()> {
    match Role::parse() {
        Role::Read { bind, port, how } => {
            let done = read(SocketAddr::new(bind, port), how)?;
            println!("{}", serde_json::to_string(&done)?);
            Ok(())
        }
        Role::Send { bind, own_port, to, port, how } => {
            send(SocketAddr::new(bind, own_port), SocketAddr::new(to, port), how)
        }
    }
}

fn ms(n: u64) -> Duration {
    Duration::from_millis(n)
}

/// `CLOCK_MONOTONIC`.
fn now() -> Result<Duration> {
    Ok(clock_gettime(ClockId::CLOCK_MONOTONIC)?.into())
}

/// Waits until the socket can be read, and returns when that was.
fn ready(socket: &SctpSocket) -> Result<Duration> {
    ensure!(socket.is_readable_within(PATIENCE)?, "nothing comes");
    now()
}

/// Reads after a pause. Returns how long the message had waited, in us: since it arrived, if the kernel has noted that, or
/// else since `ready`. (While the kernel's own work holds the CPU, the reader learns some ms later that it can read.)
fn read_after(pause: Duration, socket: &SctpSocket, ready: Duration) -> Result<f64> {
    let got = part_after(pause, socket, 1 << 16)?;
    ensure!(got.complete && got.length > 0, "{got:?}");
    waited(&got, ready)
}

/// How long a message that was just read had waited, in us.
fn waited(got: &Received, ready: Duration) -> Result<f64> {
    let real: Duration = clock_gettime(ClockId::CLOCK_REALTIME)?.into();
    let now = now()?;
    let arrived = got.arrived.map(|arrived| now.saturating_sub(real.saturating_sub(arrived)));
    Ok((now - arrived.map_or(ready, |arrived| arrived.min(ready))).as_secs_f64() * 1e6)
}

fn part_after(pause: Duration, socket: &SctpSocket, bytes: usize) -> io::Result<Received> {
    thread::sleep(pause);
    socket.receive(&mut vec![0; bytes])
}

fn new_socket(own: SocketAddr, how: How, many: bool) -> Result<SctpSocket> {
    let socket = SctpSocket::new(own, many).context("this kernel has no SCTP loaded")?;
    socket.set(option::NODELAY, &1)?;
    if how == How::Idata {
        socket.set(option::FRAGMENT_INTERLEAVE, &1)?;
        socket
            .set(option::INTERLEAVING_SUPPORTED, &AssocValue { assoc_id: 0, value: 1 })
            .context("I-DATA refused: is net.sctp.intl_enable=1?")?;
    }
    note_arrivals(&socket, how)?;
    socket.bind(&[own])?;
    Ok(socket)
}

/// Has the kernel note when messages arrive, unless a message may have to wait after it has arrived, until it can be
/// read.
fn note_arrivals(socket: &SctpSocket, how: How) -> io::Result<()> {
    if matches!(how, How::Loss | How::Partial) { Ok(()) } else { socket.note_arrivals() }
}

fn read(own: SocketAddr, how: How) -> Result<Done> {
    let many = matches!(how, How::PeelOff | How::Partial);
    let listener = new_socket(own, how, many)?;
    if how == How::Partial {
        listener.set(option::PARTIAL_DELIVERY_POINT, &2000)?;
    }
    listener.plain().listen(8)?;
    eprintln!("listening");
    let mut done = Done::default();
    if how == How::Partial {
        read_partial(&listener, &mut done)?;
    } else if many {
        let since = ready(&listener)?;
        thread::sleep(ms(5));
        let first = listener.receive(&mut [0; 1000])?;
        done.waits_us.push(waited(&first, since)?);
        let peeled = listener.peel_off(first.assoc_id)?;
        note_arrivals(&peeled, how)?;
        done.waits_us.push(read_after(ms(12), &peeled, since)?);
        thread::sleep(ms(500));
    } else {
        let socket = listener.accept()?;
        note_arrivals(&socket, how)?;
        read_one(&socket, how, &mut done)?;
    }
    Ok(done)
}

/// Reads from a one-to-one socket.
fn read_one(socket: &SctpSocket, how: How, done: &mut Done) -> Result<()> {
    match how {
        How::Single | How::Idata => {
            for pause in 1..=u64::from(MANY) {
                let since = ready(socket)?;
                done.waits_us.push(read_after(ms(4 * pause), socket, since)?);
            }
        }
        How::Peek => {
            let since = ready(socket)?;
            for _ in 0..3 {
                thread::sleep(ms(7));
                socket.plain().peek(&mut [MaybeUninit::uninit(); 1000])?;
            }
            done.waits_us.push(read_after(ms(7), socket, since)?);
        }
        How::TwoParts => {
            let since = ready(socket)?;
            let got = part_after(ms(9), socket, 400)?;
            ensure!(!got.complete && got.length == 400, "{got:?}");
            done.waits_us.push(read_after(ms(9), socket, since)?);
        }
        How::Close => {
            ready(socket)?;
            thread::sleep(ms(100));
            done.unread = MANY;
            return Ok(()); // and close
        }
        _ => {
            let since = ready(socket)?;
            let first = if how == How::Late { 600 } else { 30 };
            let count = if how == How::Late { MANY } else { BEHIND_LOSS + 1 };
            for n in 0..count {
                let pause = ms(if n == 0 { first } else { 1 });
                done.waits_us.push(read_after(pause, socket, since)?);
            }
        }
    }
    // The sender closes first.
    while socket.receive(&mut [0; 1000]).is_ok_and(|got| got.length > 0) {}
    Ok(())
}

/// Reads a message that comes in parts, and then the other association's messages, which could not be read before.
fn read_partial(socket: &SctpSocket, done: &mut Done) -> Result<()> {
    let mut bytes = 0;
    ready(socket)?;
    while socket.is_readable_within(ms(500))? {
        let got = part_after(ms(0), socket, 1 << 16)?;
        ensure!(!got.complete, "whole, or another's: {got:?}");
        bytes += got.length;
    }
    ensure!(bytes > 0 && bytes < LARGE, "{bytes} bytes came before the last chunk");
    let since = ready(socket)?;
    let last = part_after(ms(15), socket, 1 << 16)?;
    done.waits_us.push((now()? - since).as_secs_f64() * 1e6);
    ensure!(last.complete && bytes + last.length == LARGE, "{bytes} bytes, and {last:?}");
    for _ in 0..MANY {
        done.others_us.push(read_after(ms(5), socket, since)?);
    }
    thread::sleep(ms(500));
    Ok(())
}

fn send(own: SocketAddr, to: SocketAddr, how: How) -> Result<()> {
    let socket = new_socket(own, how, false)?;
    socket.connect(&[to])?;
    let send = |socket: &SctpSocket, bytes: usize| socket.send(&vec![b'.'; bytes], Outgoing::default());
    match how {
        How::Single | How::Idata => {
            for _ in 0..MANY {
                send(&socket, 700)?;
                thread::sleep(ms(100));
            }
        }
        How::Peek | How::TwoParts => send(&socket, 1000)?,
        How::Loss => (0..=BEHIND_LOSS).try_for_each(|_| send(&socket, 50))?,
        How::PeelOff => (0..2).try_for_each(|_| send(&socket, 50))?,
        How::Close | How::Late => (0..MANY).try_for_each(|_| send(&socket, 50))?,
        How::Partial => {
            let other = new_socket(SocketAddr::new(own.ip(), own.port() + 1), how, false)?;
            other.connect(&[to])?;
            send(&socket, LARGE)?;
            thread::sleep(ms(300));
            (0..MANY).try_for_each(|_| send(&other, 50))?;
            thread::sleep(ms(3000));
            return Ok(());
        }
    }
    match how {
        How::Late => Ok(()), // and close
        // The reader aborts the association.
        How::Close => match socket.receive(&mut [0; 1000]) {
            Err(e) if e.kind() == ErrorKind::ConnectionReset => Ok(()),
            other => Err(anyhow::anyhow!("{other:?}")),
        },
        _ => {
            thread::sleep(ms(2000));
            Ok(())
        }
    }
}
