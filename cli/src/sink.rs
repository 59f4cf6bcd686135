//! A destination of lines: a file, pipe, socket or terminal. A file takes lines at once. The reader of a
//! pipe, socket or terminal may be slow, or not read at all. Such a reader must not delay the command's
//! intervals and its end.

use std::{
    fs::{File, OpenOptions},
    io::{self, IsTerminal, Write},
    os::{
        fd::{AsFd, AsRawFd, OwnedFd},
        unix::fs::OpenOptionsExt,
    },
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::sleep,
    time::{Duration, Instant},
};

use anyhow::{Context, Result};
use nix::{
    errno::Errno,
    libc,
    sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout},
};
use probes::async_fd;
use serde::Serialize;
use tokio::io::{Interest, unix::AsyncFd};

/// When this many bytes are pending, [`Sink::line`] writes them at once and does not leave them to
/// [`Sink::flush`].
const BATCH: usize = 32 * 1024;
/// A reader counts as slow when this many bytes are pending for it.
const FULL: usize = 8 * 1024;

/// A JSON object that is longer than this many bytes is written in pieces of about this length.
const PIECE: usize = 256 * 1024;

/// `PIPE_BUF` (pipe(7)): a pipe that polls writable takes this many bytes without waiting, and in one piece.
const PIPE_BUF: usize = 4096;

/// While [`Sink::write`] waits for a slow reader, it checks this often whether a signal has come.
const LOOK: Duration = Duration::from_millis(50);

/// How long to sleep where a stream counts as ready and takes nothing, so that asking again does not take a whole CPU.
const NOT_READY: Duration = Duration::from_millis(1);

/// Opens a terminal anew, so that a write to it does not wait. A terminal may be ready for a few bytes only: it is stopped
/// (Ctrl-S), or nobody reads its other end. A longer write then waits for good. Non-blocking mode belongs to the open file
/// description, and the shell needs a blocking one: so this command needs a description of its own. Returns `file` itself
/// if it is not a terminal, or if it cannot be opened: the terminal belongs to another user (`su`), or /proc is missing.
pub(crate) fn unblocked(file: File) -> File {
    if !file.is_terminal() {
        return file;
    }
    let mut anew = OpenOptions::new();
    anew.write(true).custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY);
    anew.open(format!("/proc/self/fd/{}", file.as_raw_fd())).unwrap_or(file)
}

/// A destination of lines, with the pending lines: those not written yet.
pub(crate) struct Sink {
    name: String,
    to: To,
    pending: Vec<u8>,
    /// Bytes at the start of `pending` that are already written.
    written: usize,
    /// How long to wait for a slow reader before lines are dropped; `None`: never wait, and keep the lines
    /// pending.
    patience: Option<Patience>,
    /// Since when the reader has taken no bytes, although some are pending; `None` if the last write left
    /// none.
    stalled: Option<Instant>,
    /// Number of lines dropped so far.
    dropped: u64,
}

/// How long to wait for a slow reader.
#[derive(Clone)]
pub(crate) struct Patience {
    /// How long to wait for a reader that takes nothing in that time.
    pub(crate) within: Duration,
    /// The moment at which to stop waiting for any reader.
    pub(crate) until: Instant,
    /// True once a signal has come. From then on, waits at most [`END_PATIENCE`] for a reader that takes
    /// nothing.
    pub(crate) stopped: Arc<AtomicBool>,
}

/// At the end of the run, and after a signal: how long to wait for a reader that takes nothing, before lines
/// are dropped.
pub(crate) const END_PATIENCE: Duration = Duration::from_millis(500);

impl Patience {
    /// Returns whether to stop waiting for a reader that has taken nothing since `stalled`.
    fn is_over(&self, stalled: Instant) -> bool {
        let stopped = self.stopped.load(Ordering::Relaxed);
        let within = if stopped { self.within.min(END_PATIENCE) } else { self.within };
        let now = Instant::now();
        now >= self.until || now.duration_since(stalled) >= within
    }
}

/// Where the bytes of a sink go.
enum To {
    /// A file or other writer that accepts all bytes at once: its reader is never slow.
    File(Box<dyn Write>),
    /// A pipe, socket or terminal.
    Stream(Stream),
}

impl Sink {
    /// Makes a destination from a writer that accepts all bytes at once. `name`: what error messages call it.
    pub(crate) fn new(name: String, writer: Box<dyn Write>) -> Self {
        Self::to(name, To::File(writer))
    }

    /// Makes a destination from an open file, pipe, socket or terminal. `name`: what error messages call it.
    ///
    /// # Errors
    /// Where this process may open no more descriptors.
    pub(crate) fn open(name: String, file: File) -> Result<Self> {
        Ok(Self::to(name, To::open(file)?))
    }

    fn to(name: String, to: To) -> Self {
        Self {
            name,
            to,
            pending: Vec::with_capacity(2 * BATCH),
            written: 0,
            patience: None,
            stalled: None,
            dropped: 0,
        }
    }

    /// Adds a line, which `write` appends to the pending bytes, with its newline. If 32 KiB are pending then,
    /// writes as much as the reader takes. If more than 32 KiB stay pending and the patience is over, drops the
    /// new line.
    ///
    /// # Errors
    /// Where the destination cannot be written to.
    pub(crate) fn line(&mut self, write: impl FnOnce(&mut Vec<u8>) -> Result<()>) -> Result<()> {
        let start = self.pending.len();
        write(&mut self.pending)?;
        self.added(self.pending.len() - start)
    }

    /// Adds a JSON object as a line, in the way of [`Sink::object`].
    ///
    /// # Errors
    /// Where the destination cannot be written to, or the object not be serialized.
    pub(crate) fn json(&mut self, object: &impl Serialize) -> Result<()> {
        let mut result = Ok(());
        self.object(|pieces| result = serde_json::to_writer(pieces, object))?;
        Ok(result?)
    }

    /// Adds a JSON object as a line, in the way of [`Sink::line`]; `write` appends the object, without a
    /// newline. A long object is written piece by piece while `write` makes it, so that it takes little
    /// memory if the reader keeps up.
    ///
    /// # Errors
    /// Where the destination cannot be written to.
    pub(crate) fn object(&mut self, write: impl FnOnce(&mut Pieces<'_>)) -> Result<()> {
        let mut pieces = Pieces { begin: self.pending.len(), length: 0, error: None, sink: self };
        write(&mut pieces);
        let (length, error) = (pieces.length + pieces.current() + 1, pieces.error);
        error.map_or(Ok(()), Err)?;
        self.pending.push(b'\n');
        self.added(length)
    }

    /// Writes or drops, as [`Sink::line`] says, after a line of `length` bytes was added.
    fn added(&mut self, length: usize) -> Result<()> {
        if self.unwritten() < BATCH {
            return Ok(());
        }
        self.write(BATCH)?;
        let untouched = self.unwritten() >= length;
        if self.unwritten() > BATCH && untouched && self.is_impatient() {
            self.pending.truncate(self.pending.len() - length);
            self.dropped += 1;
        }
        Ok(())
    }

    /// Writes the pending bytes: to a file all of them, to a stream as many as its reader takes without
    /// waiting.
    ///
    /// # Errors
    /// Where the destination cannot be written to.
    pub(crate) fn flush(&mut self) -> Result<()> {
        self.write(usize::MAX)?;
        if let To::File(writer) = &mut self.to {
            writer.flush().with_context(|| format!("cannot write to {}", self.name))?;
        }
        Ok(())
    }

    /// Writes pending bytes until the reader is no longer slow, and waits for the reader as long as the
    /// patience allows.
    ///
    /// # Errors
    /// Where the destination cannot be written to.
    pub(crate) fn catch_up(&mut self) -> Result<()> {
        self.write(FULL - 1)
    }

    /// Writes all pending bytes, and waits for the reader as long as the patience allows. Then drops and
    /// counts the lines that are left.
    ///
    /// # Errors
    /// Where the destination cannot be written to.
    pub(crate) fn finish(&mut self) -> Result<()> {
        self.write(0)?;
        self.flush()?;
        self.dropped += self.pending[self.written..].iter().filter(|byte| **byte == b'\n').count() as u64;
        self.pending.clear();
        self.written = 0;
        Ok(())
    }

    /// Returns how many lines were dropped so far.
    pub(crate) fn dropped(&self) -> u64 {
        self.dropped
    }

    /// Returns whether the reader is slow. If so, callers should add only lines that cannot wait.
    pub(crate) fn is_full(&self) -> bool {
        self.unwritten() >= FULL
    }

    /// Sets how long to wait for a slow reader from now on, before lines are dropped. `None`: never wait, and
    /// never drop lines, but keep them pending.
    pub(crate) fn set_patience(&mut self, patience: Option<Patience>) {
        self.patience = patience;
    }

    /// Registers a stream with the running tokio runtime, so that [`Sink::writable`] can wait for it.
    ///
    /// # Errors
    /// Where this process may open no more descriptors.
    pub(crate) fn watch(&mut self) -> io::Result<()> {
        let To::Stream(stream) = &mut self.to else { return Ok(()) };
        stream.watch = Some(async_fd(stream.file.as_fd().try_clone_to_owned()?, Interest::WRITABLE)?);
        Ok(())
    }

    /// Waits until a stream can be written to. Returns at once for a file, and before [`Sink::watch`] was
    /// called.
    pub(crate) async fn writable(&self) {
        let To::Stream(Stream { watch: Some(watch), ready, .. }) = &self.to else { return };
        while let Ok(mut guard) = watch.writable().await {
            if is_ready(ready, Duration::ZERO) {
                return;
            }
            guard.clear_ready();
        }
    }

    /// Returns whether bytes are pending: added, but not written yet.
    pub(crate) fn is_behind(&self) -> bool {
        self.unwritten() > 0
    }

    fn is_impatient(&self) -> bool {
        let stalled = self.stalled.unwrap_or_else(Instant::now);
        self.patience.as_ref().is_some_and(|patience| patience.is_over(stalled))
    }

    fn unwritten(&self) -> usize {
        self.pending.len() - self.written
    }

    /// Writes the pending bytes: to a file all of them, to a stream as many as its reader takes without
    /// waiting. If more than `rest` bytes stay unwritten, waits for the reader and goes on, as long as the
    /// patience allows.
    fn write(&mut self, rest: usize) -> Result<()> {
        let written = match &mut self.to {
            To::File(writer) => {
                let written = writer.write_all(&self.pending[self.written..]);
                self.written = self.pending.len();
                written
            }
            To::Stream(stream) => loop {
                let before = self.written;
                let result = stream.write(&self.pending, &mut self.written);
                let unwritten = self.pending.len() - self.written;
                if self.written > before || unwritten == 0 {
                    self.stalled = None;
                }
                if unwritten == 0 {
                    break result;
                }
                let stalled = *self.stalled.get_or_insert_with(Instant::now);
                match &self.patience {
                    Some(patience) if result.is_ok() && unwritten > rest && !patience.is_over(stalled) => {
                        let left = patience.until.saturating_duration_since(Instant::now());
                        is_ready(&stream.ready, left.min(LOOK));
                    }
                    _ => break result,
                }
            },
        };
        if self.written == self.pending.len() {
            self.pending.clear();
            self.written = 0;
        } else if self.written >= BATCH {
            self.pending.drain(..self.written);
            self.written = 0;
        }
        written.with_context(|| format!("cannot write to {}", self.name))
    }
}

/// Adds a line to a sink piece by piece. Whenever [`PIECE`] bytes were added, writes as many of them as the reader
/// takes without waiting.
pub(crate) struct Pieces<'a> {
    sink: &'a mut Sink,
    /// Where in the pending bytes the current piece begins.
    begin: usize,
    /// Bytes of the pieces before the current one.
    length: usize,
    /// Why the sink could not be written to.
    error: Option<anyhow::Error>,
}

impl Pieces<'_> {
    /// The bytes to which the line is appended.
    pub(crate) fn bytes(&mut self) -> &mut Vec<u8> {
        &mut self.sink.pending
    }

    /// Ends the current piece if it is long.
    ///
    /// # Errors
    /// Where the sink cannot be written to; [`Sink::object`] then returns the cause.
    pub(crate) fn end_if_long(&mut self) -> io::Result<()> {
        if self.current() < PIECE { Ok(()) } else { self.end() }
    }

    /// Returns the number of bytes of the current piece.
    fn current(&self) -> usize {
        self.sink.pending.len() - self.begin
    }

    /// Ends the current piece, and writes as much as the reader takes. Does not wait for the reader:
    /// [`Sink::added`] does, after the whole line.
    fn end(&mut self) -> io::Result<()> {
        self.length += self.current();
        let result = self.sink.write(usize::MAX);
        self.begin = self.sink.pending.len();
        result.map_err(|error| {
            self.error = Some(error);
            io::ErrorKind::Other.into()
        })
    }
}

impl Write for Pieces<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.write_all(bytes).map(|()| bytes.len())
    }

    fn write_all(&mut self, bytes: &[u8]) -> io::Result<()> {
        self.bytes().extend_from_slice(bytes);
        self.end_if_long()
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// A pipe, socket or terminal. A pipe or socket stays in blocking mode, as other processes that have it open expect. A
/// write must not block all the same: so each write waits until the stream is ready, and has at most [`PIPE_BUF`] bytes. A
/// terminal, which may be ready for fewer bytes, is opened anew: see [`unblocked`].
struct Stream {
    file: File,
    /// An epoll instance with only the stream's descriptor, level-triggered: it shows whether the stream is
    /// ready for a write now.
    ready: Epoll,
    watch: Option<AsyncFd<OwnedFd>>,
}

impl To {
    /// Makes a [`To::Stream`], or a [`To::File`] if the descriptor cannot be polled, such as that of a
    /// regular file.
    fn open(file: File) -> Result<Self> {
        let file = unblocked(file);
        let ready = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
        match ready.add(&file, EpollEvent::new(EpollFlags::EPOLLOUT, 0)) {
            Ok(()) => Ok(Self::Stream(Stream { file, ready, watch: None })),
            Err(Errno::EPERM) => Ok(Self::File(Box::new(file))),
            Err(e) => Err(e.into()),
        }
    }
}

impl Stream {
    /// Writes `bytes[*written..]`, as many of them as the reader takes without waiting, and adds their number
    /// to `written`. Each write has whole lines, unless a line is longer than [`PIPE_BUF`].
    fn write(&mut self, bytes: &[u8], written: &mut usize) -> io::Result<()> {
        while *written < bytes.len() && is_ready(&self.ready, Duration::ZERO) {
            let left = &bytes[*written..];
            let most = &left[..left.len().min(PIPE_BUF)];
            let lines = most.iter().rposition(|byte| *byte == b'\n').map_or(most.len(), |end| end + 1);
            match self.file.write(&most[..lines]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(n) => *written += n,
                // A terminal that has room for one byte is ready, and does not take a line's end, which is two. Or another
                // process has set the stream to non-blocking mode.
                Err(e) if e.kind() == io::ErrorKind::WouldBlock => {
                    sleep(NOT_READY);
                    return Ok(());
                }
                Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
                Err(e) => return Err(e),
            }
        }
        Ok(())
    }
}

/// Returns whether the descriptor in an epoll instance is ready for a write, or becomes ready in the time
/// `within`. A descriptor with an error counts as ready: the next write reports that error.
fn is_ready(epoll: &Epoll, within: Duration) -> bool {
    let timeout = EpollTimeout::try_from(within).unwrap_or(EpollTimeout::ZERO);
    epoll.wait(&mut [EpollEvent::empty()], timeout).is_ok_and(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use std::io::Read;

    use nix::{pty::openpty, unistd::pipe};
    use rustix::termios::{Action, tcflow};

    use super::*;

    const HOUR: Duration = Duration::from_secs(3600);

    /// Writes more than a terminal holds. Nobody reads the terminal's other end. Returns the number of dropped lines.
    fn dropped_by_a_terminal(stop: bool) -> u64 {
        let pty = openpty(None, None).unwrap();
        if stop {
            tcflow(&pty.slave, Action::OOff).unwrap();
        }
        let mut sink = Sink::open("the terminal".to_owned(), pty.slave.into()).unwrap();
        let patience = Duration::from_millis(20);
        sink.set_patience(Some(Patience {
            within: patience,
            until: Instant::now() + HOUR,
            stopped: Arc::default(),
        }));
        for number in 0..20_000 {
            sink.line(|line| Ok(writeln!(line, "line {number}")?)).unwrap();
        }
        sink.finish().unwrap();
        sink.dropped()
    }

    /// Without a description of its own, the sink waited here for good.
    #[test]
    fn a_terminal_that_nobody_reads_is_not_waited_for() {
        assert!((1..20_000).contains(&dropped_by_a_terminal(false)));
        assert_eq!(dropped_by_a_terminal(true), 20_000);
    }

    fn pipe_sink() -> (File, Sink) {
        let (reader, writer) = pipe().unwrap();
        (reader.into(), Sink::open("the pipe".to_owned(), writer.into()).unwrap())
    }

    fn patience(until: Duration) -> Option<Patience> {
        Some(Patience { within: until, until: Instant::now() + until, stopped: Arc::default() })
    }

    fn lines(sink: &mut Sink, count: usize) {
        for _ in 0..count {
            sink.line(|to| {
                to.extend_from_slice(b"0123456789abcde\n");
                Ok(())
            })
            .unwrap();
        }
    }

    #[test]
    fn what_nobody_reads_stays_or_is_dropped_and_counted() {
        let (mut reader, mut sink) = pipe_sink();
        // A pipe holds 64 KiB.
        lines(&mut sink, 10_000);
        sink.flush().unwrap();
        assert!(sink.is_full());
        assert_eq!(sink.unwritten(), 10_000 * 16 - 65_536);
        sink.set_patience(patience(Duration::from_millis(1)));
        lines(&mut sink, 100);
        sink.finish().unwrap();
        let dropped = sink.dropped();
        drop(sink);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text.lines().count() as u64 + dropped, 10_100);
        assert!(text.ends_with("e\n"));
    }

    #[test]
    fn a_slow_reader_is_waited_for() {
        let (mut reader, mut sink) = pipe_sink();
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        sink.set_patience(patience(Duration::from_secs(60)));
        lines(&mut sink, 50_000);
        sink.finish().unwrap();
        assert_eq!(sink.dropped(), 0);
        drop(sink);
        assert_eq!(read.join().unwrap().unwrap().lines().count(), 50_000);
    }

    #[test]
    fn a_signal_ends_the_wait() {
        let (_reader, mut sink) = pipe_sink();
        let stopped = Arc::new(AtomicBool::new(true));
        sink.set_patience(Some(Patience { within: HOUR, until: Instant::now() + HOUR, stopped }));
        lines(&mut sink, 10_000);
        sink.finish().unwrap();
        assert_eq!(sink.dropped(), 10_000 - 65_536 / 16);
    }

    #[test]
    fn a_long_line_is_written_in_pieces() {
        let (mut reader, mut sink) = pipe_sink();
        let long = vec![b'x'; 3 * PIPE_BUF + 1];
        sink.line(|to| {
            to.extend_from_slice(&long);
            to.push(b'\n');
            Ok(())
        })
        .unwrap();
        sink.finish().unwrap();
        assert_eq!(sink.dropped(), 0);
        drop(sink);
        let mut text = Vec::new();
        reader.read_to_end(&mut text).unwrap();
        assert_eq!(text.len(), long.len() + 1);
    }

    #[test]
    fn a_long_object_takes_little_memory() {
        let path = tempfile::NamedTempFile::new().unwrap();
        let file = File::create(path.path()).unwrap();
        let mut sink = Sink::open("the file".to_owned(), file).unwrap();
        let object = vec![12_345_678; 1_000_000];
        sink.json(&object).unwrap();
        assert!(sink.pending.capacity() < 4 * PIECE, "{} bytes", sink.pending.capacity());
        sink.finish().unwrap();
        let text = std::fs::read_to_string(path.path()).unwrap();
        assert_eq!(text, format!("{}\n", serde_json::to_string(&object).unwrap()));
    }

    /// A long object of which a part is written stays whole for a reader that comes late. A long object of
    /// which nothing is written is dropped whole.
    #[test]
    fn a_long_object_is_dropped_whole_or_not_at_all() {
        let (mut reader, mut sink) = pipe_sink();
        sink.set_patience(patience(Duration::ZERO));
        let object = vec![12_345_678; 100_000];
        sink.json(&object).unwrap();
        sink.json(&object).unwrap();
        assert_eq!(sink.dropped(), 1);
        let read = std::thread::spawn(move || {
            let mut text = String::new();
            reader.read_to_string(&mut text).map(|_| text)
        });
        sink.set_patience(patience(Duration::from_secs(60)));
        sink.finish().unwrap();
        drop(sink);
        assert_eq!(read.join().unwrap().unwrap(), format!("{}\n", serde_json::to_string(&object).unwrap()));
    }

    #[test]
    fn an_object_for_a_reader_that_left_is_an_error() {
        let (reader, mut sink) = pipe_sink();
        drop(reader);
        let error = sink.json(&vec![12_345_678; 100_000]).unwrap_err();
        let cause = error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind);
        assert_eq!(cause, Some(io::ErrorKind::BrokenPipe));
    }

    #[test]
    fn a_reader_that_left_is_an_error() {
        let (reader, mut sink) = pipe_sink();
        drop(reader);
        lines(&mut sink, 1);
        let error = sink.flush().unwrap_err();
        let cause = error.root_cause().downcast_ref::<io::Error>().map(io::Error::kind);
        assert_eq!(cause, Some(io::ErrorKind::BrokenPipe));
    }
}
