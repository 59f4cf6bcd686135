//! Hands SCTP sockets from process to process, in each way in which Linux allows that. Tests compare which
//! process has which socket, by `/proc`, with what the commands report. All associations go on sending until
//! the end.

use std::env::{args_os, current_exe, var};
use std::io::{IoSlice, IoSliceMut};
use std::net::{IpAddr, SocketAddr};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::os::unix::fs::symlink;
use std::os::unix::net::UnixDatagram;
use std::os::unix::process::CommandExt;
use std::process::{Command, id};
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Parser;
use nix::fcntl::{F_SETFD, FdFlag, fcntl};
use nix::sys::socket::{ControlMessage, ControlMessageOwned, MsgFlags, recvmsg, sendmsg};
use nix::unistd::pause;
use sctptrace_tests::socket::{Outgoing, SctpSocket, fork};

/// The payload protocol of all messages: NGAP.
const PPID: u32 = 60;
/// Time between two messages of an association.
const PAUSE: Duration = Duration::from_millis(100);
/// The first descriptor that a service gets from systemd (sd_listen_fds(3)).
const LISTEN_FD: RawFd = 3;

#[derive(Parser)]
#[command(about, version)]
enum Role {
    /// Accepts associations, each for a child process; at the next port, peels associations off
    Server {
        /// Own address
        #[arg(long)]
        bind: IpAddr,
        /// Own port
        #[arg(long)]
        port: u16,
        /// Accept on a socket that this process has got as a service gets it from systemd (sd_listen_fds(3))
        #[arg(long)]
        activated: bool,
    },
    /// Listens as systemd does for a service's socket unit, starts the service, and keeps the socket open
    Activate {
        /// Own address
        #[arg(long)]
        bind: IpAddr,
        /// Own port
        #[arg(long)]
        port: u16,
    },
    /// Makes associations and hands their sockets on
    Client {
        /// Own address
        #[arg(long)]
        bind: IpAddr,
        /// The server's address
        #[arg(long)]
        to: IpAddr,
        /// The server's port
        #[arg(long)]
        port: u16,
        /// Wait for this many milliseconds before the first association
        #[arg(long, default_value_t = 0)]
        delay: u64,
    },
    /// Sends on a socket that was open before exec(2)
    Hold {
        /// Its descriptor
        descriptor: RawFd,
    },
}

fn main() -> Result<()> {
    match Role::parse_from(args_os()) {
        Role::Server { bind, port, activated } => serve(bind, port, activated),
        Role::Activate { bind, port } => activate(bind, port),
        Role::Client { bind, to, port, delay } => {
            let ends = |offset| [SocketAddr::new(bind, 0), SocketAddr::new(to, port + offset)];
            make(&ends(0), &ends(1), Duration::from_millis(delay))
        }
        Role::Hold { descriptor } => {
            keep_sending(&inherited(descriptor));
            Ok(())
        }
    }
}

/// Sends, and receives the echo, until the association ends.
fn keep_sending(socket: &SctpSocket) {
    let mut buffer = [0; 1000];
    while socket.send(&[7; 100], Outgoing { ppid: PPID, ..Outgoing::default() }).is_ok()
        && socket.receive(&mut buffer).is_ok()
    {
        thread::sleep(PAUSE);
    }
}

/// Receives, and sends back what comes, until the association ends.
fn echo(socket: &SctpSocket) {
    let mut buffer = [0; 1000];
    while let Ok(received) = socket.receive(&mut buffer) {
        let to = Outgoing { ppid: PPID, ..Outgoing::default() };
        if received.length == 0 || socket.send(&buffer[..received.length], to).is_err() {
            return;
        }
    }
}

/// A socket that this process had before exec(2).
fn inherited(descriptor: RawFd) -> SctpSocket {
    // SAFETY: by the contract of the command line nothing else has this descriptor.
    #[allow(unsafe_code)]
    let socket = unsafe { OwnedFd::from_raw_fd(descriptor) };
    SctpSocket::of(socket)
}

fn listen(bind: IpAddr, port: u16) -> Result<SctpSocket> {
    let listener = SctpSocket::new(SocketAddr::new(bind, 0), false)?;
    listener.bind(&[SocketAddr::new(bind, port)])?;
    listener.plain().listen(16)?;
    Ok(listener)
}

fn activate(bind: IpAddr, port: u16) -> Result<()> {
    let listener = listen(bind, port)?;
    let addresses = ["--bind".to_owned(), bind.to_string(), "--port".to_owned(), port.to_string()];
    let program = current_exe()?;
    ensure!(listener.plain().as_raw_fd() == LISTEN_FD, "another descriptor than {LISTEN_FD}");
    fcntl(listener.plain(), F_SETFD(FdFlag::empty()))?;
    fork(|| {
        let mut service = Command::new(program);
        service.args(["server", "--activated"]).args(&addresses);
        let error = service.env("LISTEN_FDS", "1").env("LISTEN_PID", id().to_string()).exec();
        eprintln!("cannot run the service: {error}");
    })?;
    loop {
        pause();
    }
}

fn serve(bind: IpAddr, port: u16, activated: bool) -> Result<()> {
    let many = SctpSocket::new(SocketAddr::new(bind, 0), true)?;
    many.bind(&[SocketAddr::new(bind, port + 1)])?;
    many.plain().listen(16)?;
    fork(|| peel(&many))?;
    drop(many);

    let listener = if activated {
        let is_mine = |name, value: String| var(name).as_deref() == Ok(&value);
        ensure!(
            is_mine("LISTEN_FDS", "1".to_owned()) && is_mine("LISTEN_PID", id().to_string()),
            "no socket"
        );
        inherited(LISTEN_FD)
    } else {
        listen(bind, port)?
    };
    eprintln!("listening");
    loop {
        let socket = listener.accept()?;
        fork(|| echo(&socket))?;
    }
}

/// Gives each association of a one-to-many socket a socket and a thread of its own.
fn peel(many: &SctpSocket) {
    let mut buffer = [0; 1000];
    while let Ok(received) = many.receive(&mut buffer) {
        if let Ok(peeled) = many.peel_off(received.assoc_id) {
            let first = buffer[..received.length].to_vec();
            thread::spawn(move || {
                let to = Outgoing { ppid: PPID, ..Outgoing::default() };
                if peeled.send(&first, to).is_ok() {
                    echo(&peeled);
                }
            });
        }
    }
}

fn make(accepted: &[SocketAddr; 2], peeled: &[SocketAddr; 2], delay: Duration) -> Result<()> {
    let connect = |[local, peer]: &[SocketAddr; 2]| -> Result<SctpSocket> {
        let socket = SctpSocket::new(*local, false)?;
        socket.bind(&[*local])?;
        socket.connect(&[*peer]).with_context(|| format!("cannot connect to {peer}"))?;
        Ok(socket)
    };
    // A process gets a socket in a message (`SCM_RIGHTS`).
    let (ours, theirs) = UnixDatagram::pair()?;
    fork(|| {
        if let Ok(socket) = take(&theirs) {
            keep_sending(&socket);
        }
    })?;
    thread::sleep(delay);

    let passed = connect(accepted)?;
    pass(&ours, &passed)?;
    drop(passed);
    // A child process has the socket, and the parent has closed it.
    let given = connect(accepted)?;
    fork(|| keep_sending(&given))?;
    drop(given);
    // Parent and child both have the socket.
    let shared = connect(accepted)?;
    fork(|| keep_sending(&shared))?;
    // A child process has the socket, and runs another program (exec(2)).
    let held = connect(peeled)?;
    fcntl(held.plain(), F_SETFD(FdFlag::empty()))?;
    let descriptor = held.plain().as_raw_fd().to_string();
    let program = current_exe()?;
    fork(move || {
        let name = "/tmp/held-by-exec";
        let _ = symlink(program, name);
        let error = Command::new(name).args(["hold", &descriptor]).exec();
        eprintln!("cannot run {name}: {error}");
    })?;
    drop(held);
    // A thread other than the first of the process makes the socket.
    let threads: Vec<_> = [accepted, peeled]
        .map(|ends| {
            let (local, peer) = (ends[0], ends[1]);
            thread::spawn(move || {
                let socket = SctpSocket::new(local, false)?;
                socket.connect(&[peer])?;
                keep_sending(&socket);
                std::io::Result::Ok(())
            })
        })
        .into();
    for thread in threads {
        thread.join().ok().context("a thread has panicked")??;
    }
    Ok(())
}

/// Hands a socket to the process at the other end (`SCM_RIGHTS`).
fn pass(to: &UnixDatagram, socket: &SctpSocket) -> Result<()> {
    let descriptors = [socket.plain().as_raw_fd()];
    let message = [ControlMessage::ScmRights(&descriptors)];
    sendmsg::<()>(to.as_raw_fd(), &[IoSlice::new(b"x")], &message, MsgFlags::empty(), None)?;
    Ok(())
}

/// Takes the socket that the process at the other end hands over.
fn take(from: &UnixDatagram) -> Result<SctpSocket> {
    let mut byte = [0];
    let mut parts = [IoSliceMut::new(&mut byte)];
    let mut space = nix::cmsg_space!([RawFd; 1]);
    let message = recvmsg::<()>(from.as_raw_fd(), &mut parts, Some(&mut space), MsgFlags::empty())?;
    let mut descriptors = Vec::new();
    for control in message.cmsgs()? {
        if let ControlMessageOwned::ScmRights(got) = control {
            descriptors.extend(got);
        }
    }
    ensure!(descriptors.len() == 1, "{} descriptors", descriptors.len());
    // SAFETY: the kernel has just made this descriptor, and nothing else has it.
    #[allow(unsafe_code)]
    let socket = unsafe { OwnedFd::from_raw_fd(descriptors[0]) };
    Ok(SctpSocket::of(socket))
}
