//! Ends associations in each of the ways in which an association can end. Tests compare what the commands
//! report of an end with what this program did.

use std::io::{self, ErrorKind};
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::process;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::{Parser, ValueEnum};
use nix::sys::signal::{SIGKILL, kill};
use nix::unistd::getpid;
use sctptrace_tests::socket::{
    AssocParameters, InitMessage, Outgoing, Received, RtoInfo, SctpSocket, option,
};

#[derive(Parser)]
#[command(about, version)]
enum Role {
    /// Does with each association what the peer asks for in its first message
    Server {
        /// Own address
        #[arg(long)]
        bind: IpAddr,
        /// Own port
        #[arg(long, default_value_t = 5000)]
        port: u16,
        /// Accept no association before this file is there
        #[arg(long)]
        after: Option<String>,
        /// One-to-many: of such sockets alone the kernel takes SCTP_ABORT
        #[arg(long)]
        many: bool,
    },
    /// Ends an association
    Client {
        /// Own address
        #[arg(long)]
        bind: IpAddr,
        /// Own port
        #[arg(long)]
        own_port: u16,
        /// The server's address
        #[arg(long)]
        to: IpAddr,
        /// The server's port
        #[arg(long, default_value_t = 5000)]
        port: u16,
        /// Go on from the association's begin only once this file is there
        #[arg(long)]
        after: Option<String>,
        /// Connect only once this file is there, and say `ready` before
        #[arg(long)]
        meet: Option<String>,
        /// How often INIT and COOKIE ECHO are sent again at most
        #[arg(long, default_value_t = 2)]
        attempts: u16,
        /// The reason to give with an ABORT, after which escape sequences are replaced: \xNN
        #[arg(long, default_value = "")]
        text: String,
        /// How to end
        how: How,
    },
}

#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum How {
    /// Three sends on a stream that does not exist, which are refused; then close()
    Close,
    /// close() with a message that was not read
    Unread,
    /// close() with SO_LINGER 0
    Linger,
    /// SCTP_ABORT
    Abort,
    /// The server aborts
    PeerAborts,
    /// connect() fails
    Connect,
    /// The first send on a one-to-many socket fails
    ConnectMany,
    /// close() while connecting
    Connecting,
    /// Messages are sent while connecting, and nobody answers
    Unanswered,
    /// Messages are sent, and nobody answers
    Silence,
    /// close(), and nobody answers the SHUTDOWN
    SilentShutdown,
    /// Messages are sent, and close(); nobody answers
    Abandon,
    /// Messages are sent, and the process kills itself
    Kill,
    /// Wait until the association ends
    Wait,
}

fn main() -> Result<()> {
    match Role::parse() {
        Role::Server { bind, port, many: true, .. } => serve_many(SocketAddr::new(bind, port)),
        Role::Server { bind, port, after, .. } => serve(SocketAddr::new(bind, port), after.as_deref()),
        Role::Client { bind, own_port, to, port, after, meet, attempts, text, how } => {
            if meet.is_some() {
                eprintln!("ready");
                wait_for(meet.as_deref());
            }
            let ends = [SocketAddr::new(bind, own_port), SocketAddr::new(to, port)];
            end(how, &ends, attempts, after.as_deref(), &unescape(&text)?)
        }
    }
}

fn wait_for(file: Option<&str>) {
    while file.is_some_and(|file| !Path::new(file).exists()) {
        thread::sleep(Duration::from_millis(20));
    }
}

/// Replaces `\xNN` by the byte of that number.
fn unescape(text: &str) -> Result<Vec<u8>> {
    let mut parts = text.split("\\x");
    let mut bytes = parts.next().unwrap_or_default().as_bytes().to_vec();
    for part in parts {
        let (number, rest) = part.split_at_checked(2).context("no number after \\x")?;
        bytes.push(u8::from_str_radix(number, 16)?);
        bytes.extend(rest.as_bytes());
    }
    Ok(bytes)
}

fn serve(own: SocketAddr, after: Option<&str>) -> Result<()> {
    let listener = SctpSocket::new(own, false)?;
    listener.bind(&[own])?;
    listener.plain().listen(100)?;
    eprintln!("listening");
    wait_for(after);
    loop {
        let socket = listener.accept()?;
        thread::spawn(move || serve_one(&socket));
    }
}

/// Reads what to do, does it, and reads on until the end.
fn serve_one(socket: &SctpSocket) -> io::Result<()> {
    let mut buffer = [0; 10_000];
    let asked = socket.receive(&mut buffer)?;
    if buffer[..asked.length].starts_with(b"t") {
        socket.send(&[0; 100], Outgoing::default())?;
    }
    while socket.receive(&mut buffer)?.length > 0 {}
    Ok(())
}

/// Aborts an association if its peer asks for that, with the text that the peer gives.
fn serve_many(own: SocketAddr) -> Result<()> {
    let socket = SctpSocket::new(own, true)?;
    socket.bind(&[own])?;
    socket.plain().listen(100)?;
    eprintln!("listening");
    let mut buffer = [0; 10_000];
    loop {
        let Received { length, assoc_id, .. } = socket.receive(&mut buffer)?;
        if let Some((b'a', text)) = buffer[..length].split_first() {
            socket.send(text, Outgoing { assoc_id, abort: true, ..Outgoing::default() })?;
        }
    }
}

fn end(
    how: How,
    [own, peer]: &[SocketAddr; 2],
    max_attempts: u16,
    after: Option<&str>,
    text: &[u8],
) -> Result<()> {
    let many = matches!(how, How::ConnectMany | How::Abort | How::Unanswered);
    let socket = SctpSocket::new(*own, many)?;
    // Short timeouts, so that a peer's silence ends an association in seconds.
    socket.set(option::RTOINFO, &RtoInfo { initial: 300, max: 400, min: 200, ..RtoInfo::default() })?;
    socket
        .set(option::INITMSG, &InitMessage { max_attempts, max_timeout_ms: 300, ..InitMessage::default() })?;
    let errors = if matches!(how, How::Silence | How::Abandon) { 3 } else { 200 };
    socket.set(option::ASSOCINFO, &AssocParameters { max_retrans: errors, ..AssocParameters::default() })?;
    socket.bind(&[*own])?;
    let assoc_id = match how {
        How::Connect => {
            let error = socket.connect(&[*peer]).err().context("connected")?;
            eprintln!("{}", error.kind());
            return Ok(());
        }
        How::ConnectMany => {
            socket.connect(&[*peer]).err().context("connected")?;
            return Ok(());
        }
        How::Connecting => {
            socket.plain().set_nonblocking(true)?;
            let error = socket.connect(&[*peer]).err().context("connected")?;
            ensure!(error.raw_os_error() == Some(libc::EINPROGRESS), "{error}");
            thread::sleep(Duration::from_millis(100));
            return Ok(());
        }
        How::Unanswered => {
            socket.plain().set_nonblocking(true)?;
            // The first send begins the association. (On a one-to-one socket the kernel refuses sends until
            // the association is up.)
            for _ in 0..2 {
                socket.plain().send_to(&[0; 100], &(*peer).into())?;
            }
            // Long enough for three INITs, 300 ms apart, and for the wait after the last.
            thread::sleep(Duration::from_millis(2000));
            return Ok(());
        }
        _ => socket.connect(&[*peer])?,
    };
    let send = |message: &[u8]| socket.send(message, Outgoing { assoc_id, ..Outgoing::default() });
    let mut buffer = [0; 1000];
    let asked = match how {
        How::Unread => b"t".to_vec(),
        How::PeerAborts => [b"a", text].concat(),
        _ => b"h".to_vec(),
    };
    send(&asked)?;
    // After this time the request has arrived at the server, and an answer, if there is one, here.
    thread::sleep(Duration::from_millis(300));
    eprintln!("up");
    wait_for(after);
    match how {
        How::Close => {
            // Streams are numbered from 0: so this stream is the first that does not exist.
            let stream = socket.status(assoc_id)?.outstreams;
            for _ in 0..3 {
                let to = Outgoing { assoc_id, stream, ..Outgoing::default() };
                let refused =
                    socket.send(&[0; 100], to).err().context("sent on a stream that does not exist")?;
                ensure!(refused.raw_os_error() == Some(libc::EINVAL), "{refused}");
            }
        }
        How::Unread | How::SilentShutdown => {}
        How::Linger => socket.plain().set_linger(Some(Duration::ZERO))?,
        How::Abort => socket.send(text, Outgoing { assoc_id, abort: true, ..Outgoing::default() })?,
        How::Silence => {
            for _ in 0..5 {
                send(&[0; 1000])?;
            }
            until_over(&socket, &mut buffer);
        }
        How::Abandon | How::Kill => {
            for _ in 0..5 {
                send(&[0; 1000])?;
            }
            if how == How::Kill {
                kill(getpid(), SIGKILL)?;
            }
        }
        How::PeerAborts | How::Wait => until_over(&socket, &mut buffer),
        How::Connect | How::ConnectMany | How::Connecting | How::Unanswered => bail!("ended before"),
    }
    drop(socket);
    process::exit(0)
}

fn until_over(socket: &SctpSocket, buffer: &mut [u8]) {
    loop {
        match socket.receive(buffer) {
            Ok(received) if received.length > 0 => {}
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            _ => return,
        }
    }
}
