//! Serves metrics over HTTP/1, on the command's one thread.
//!
//! A connection has one request and one answer. Made of tokio's sockets and the parser `httparse`, the server is 140 kB
//! smaller than with hyper, in each command (408 kB instead of 551 kB for a server alone, built as the commands are).
//! It has no tasks: so a connection cannot outlive the loop, and all limits are in this file.

use std::{
    future::poll_fn,
    io::{self, ErrorKind},
    net::{SocketAddr, TcpListener as StdListener},
    os::fd::{AsRawFd, RawFd},
    pin::Pin,
    task::{Context as Wakeup, Poll},
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use probes::inherited_listeners;
use tokio::{
    net::{TcpListener, TcpStream},
    time::{Sleep, sleep},
};

use super::{
    TextFormat,
    request::{MAX_REQUEST, Request, answer},
};

/// Largest number of connections at a time: one more closes the oldest.
const MAX_CONNECTIONS: usize = 64;
/// How long a connection may take from its beginning to the last byte of the answer.
const PATIENCE: Duration = Duration::from_secs(5);
/// After accepting this many connections, the loop does other work first.
const ACCEPTS: usize = 64;
/// Pause after a connection could not be accepted (no descriptor, no memory).
const PAUSE: Duration = Duration::from_millis(100);

/// Opens the sockets to serve on: those that systemd has handed over, and one at `listen`.
///
/// # Errors
/// Where the address is taken, or a descriptor is not that of a listening socket.
pub(crate) fn open(listen: Option<SocketAddr>) -> Result<Vec<StdListener>> {
    let mut sockets = inherited_listeners().context("cannot use a socket that was handed over")?;
    if let Some(addr) = listen {
        sockets.push(StdListener::bind(addr).with_context(|| format!("cannot listen at {addr}"))?);
    }
    Ok(sockets)
}

/// A server: its listening sockets and its connections.
pub(crate) struct Server {
    sockets: Vec<TcpListener>,
    connections: Vec<Connection>,
    /// Number of the next connection.
    next: u64,
    /// Until when no connection is accepted.
    pause: Option<Pin<Box<Sleep>>>,
    /// When the time of the oldest connection is over, and the timer that wakes the loop then.
    deadline: Option<(Instant, Pin<Box<Sleep>>)>,
}

/// A request for metrics.
pub(crate) struct Asked {
    /// Number of the connection.
    connection: u64,
    /// The text format to answer in.
    pub(crate) format: TextFormat,
    is_head: bool,
}

struct Connection {
    number: u64,
    stream: TcpStream,
    begun: Instant,
    state: State,
}

enum State {
    /// The bytes of the request that have come.
    Reading(Vec<u8>),
    /// The command was asked for metrics.
    Asked,
    /// The answer, and how many bytes of it are written.
    Writing(Vec<u8>, usize),
}

impl Server {
    /// Serves on these sockets. To be called in the runtime.
    ///
    /// # Errors
    /// Where a socket cannot be waited for.
    pub(crate) fn new(sockets: Vec<StdListener>) -> Result<Self> {
        let sockets = sockets.into_iter().map(|socket| {
            socket.set_nonblocking(true)?;
            TcpListener::from_std(socket)
        });
        Ok(Self {
            sockets: sockets.collect::<io::Result<_>>().context("cannot listen")?,
            connections: Vec::new(),
            next: 0,
            pause: None,
            deadline: None,
        })
    }

    /// The descriptors on which connections are accepted.
    pub(crate) fn sockets(&self) -> Vec<RawFd> {
        self.sockets.iter().map(AsRawFd::as_raw_fd).collect()
    }

    /// Waits for the next request for metrics, and meanwhile answers others. Nothing is lost if the wait is given up.
    pub(crate) async fn asked(&mut self) -> Asked {
        poll_fn(|wakeup| self.poll(wakeup)).await
    }

    /// Answers a request.
    pub(crate) fn answer(&mut self, asked: &Asked, text: &str) {
        if let Some(connection) = self.connections.iter_mut().find(|c| c.number == asked.connection) {
            let answer = answer("200 OK", asked.format.content_type(), text, asked.is_head);
            connection.state = State::Writing(answer, 0);
        }
    }

    fn poll(&mut self, wakeup: &mut Wakeup<'_>) -> Poll<Asked> {
        self.accept(wakeup);
        let now = Instant::now();
        self.connections.retain(|connection| now.duration_since(connection.begun) < PATIENCE);
        let mut asked = None;
        self.connections.retain_mut(|connection| {
            if asked.is_some() {
                return true;
            }
            match connection.poll(wakeup) {
                Ok(Step::Wait) => true,
                Ok(Step::Asked { format, is_head }) => {
                    asked = Some(Asked { connection: connection.number, format, is_head });
                    true
                }
                Ok(Step::Done) | Err(_) => false,
            }
        });
        if let Some(asked) = asked {
            return Poll::Ready(asked);
        }
        self.wait_for_deadline(wakeup);
        Poll::Pending
    }

    fn accept(&mut self, wakeup: &mut Wakeup<'_>) {
        if let Some(pause) = &mut self.pause {
            if pause.as_mut().poll(wakeup).is_pending() {
                return;
            }
            self.pause = None;
        }
        for socket in &self.sockets {
            for n in 0..=ACCEPTS {
                if n == ACCEPTS {
                    wakeup.waker().wake_by_ref();
                    break;
                }
                match socket.poll_accept(wakeup) {
                    Poll::Pending => break,
                    Poll::Ready(Ok((stream, _))) => {
                        if self.connections.len() >= MAX_CONNECTIONS {
                            self.connections.remove(0);
                        }
                        let (number, begun) = (self.next, Instant::now());
                        self.next += 1;
                        let state = State::Reading(Vec::new());
                        self.connections.push(Connection { number, stream, begun, state });
                    }
                    // The client has left before it was accepted.
                    Poll::Ready(Err(e)) if e.kind() == ErrorKind::ConnectionAborted => {}
                    Poll::Ready(Err(_)) => {
                        let mut pause = Box::pin(sleep(PAUSE));
                        let _ = pause.as_mut().poll(wakeup);
                        self.pause = Some(pause);
                        return;
                    }
                }
            }
        }
    }

    /// Has the loop woken when the oldest connection has had its time.
    fn wait_for_deadline(&mut self, wakeup: &mut Wakeup<'_>) {
        let Some(oldest) = self.connections.first() else {
            self.deadline = None;
            return;
        };
        let due = oldest.begun + PATIENCE;
        if self.deadline.as_ref().is_none_or(|(at, _)| *at != due) {
            self.deadline = Some((due, Box::pin(sleep(due.saturating_duration_since(Instant::now())))));
        }
        if let Some((_, sleep)) = &mut self.deadline
            && sleep.as_mut().poll(wakeup).is_ready()
        {
            self.deadline = None;
            wakeup.waker().wake_by_ref();
        }
    }
}

enum Step {
    /// The client has to send, or to read, before the connection can go on.
    Wait,
    /// The request is for metrics.
    Asked { format: TextFormat, is_head: bool },
    /// The connection is to be closed.
    Done,
}

impl Connection {
    fn poll(&mut self, wakeup: &mut Wakeup<'_>) -> io::Result<Step> {
        loop {
            match &mut self.state {
                State::Asked => return Ok(Step::Wait),
                State::Reading(request) => {
                    if self.stream.poll_read_ready(wakeup)?.is_pending() {
                        return Ok(Step::Wait);
                    }
                    let mut bytes = [0; 1024];
                    let room = bytes.len().min(MAX_REQUEST - request.len());
                    match self.stream.try_read(&mut bytes[..room]) {
                        Ok(0) => return Ok(Step::Done),
                        Ok(len) => request.extend_from_slice(&bytes[..len]),
                        Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                        Err(e) => return Err(e),
                    }
                    match Request::parse(request) {
                        Request::Incomplete => {}
                        Request::Metrics { format, is_head } => {
                            self.state = State::Asked;
                            return Ok(Step::Asked { format, is_head });
                        }
                        Request::Refused(status, why) => {
                            let answer = answer(status, "text/plain; charset=utf-8", why, false);
                            self.state = State::Writing(answer, 0);
                        }
                    }
                }
                State::Writing(answer, written) => {
                    if self.stream.poll_write_ready(wakeup)?.is_pending() {
                        return Ok(Step::Wait);
                    }
                    match self.stream.try_write(&answer[*written..]) {
                        Ok(len) => *written += len,
                        Err(e) if e.kind() == ErrorKind::WouldBlock => continue,
                        Err(e) => return Err(e),
                    }
                    if *written == answer.len() {
                        return Ok(Step::Done);
                    }
                }
            }
        }
    }
}
