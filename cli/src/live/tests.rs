//! Tests of the screen without a kernel: its lines, its order, and a run on a pseudo terminal.

use std::{
    env,
    fs::File,
    io::{self, Read},
    os::{
        fd::{AsFd, OwnedFd},
        unix::process::ExitStatusExt,
    },
    process::{Child, Command, ExitStatus},
    sync::{Arc, Mutex},
    thread::{self, sleep},
    time::{Duration, Instant},
};

use clap::Parser;
use nix::{
    pty::openpty,
    sys::signal::{Signal, kill},
    unistd::Pid,
};
use probes::{Accounting, Error};
use proptest::prelude::*;
use rustix::termios::{LocalModes, Termios, Winsize, tcgetattr, tcsetwinsize};
use tokio::{
    runtime::Builder,
    signal::unix::{SignalKind, signal},
};

use super::{
    Head, Picker, Screen, Size, Table, Terminal,
    layout::{Stress, lines, lost},
};
use crate::{
    Out, Run,
    confine::confine,
    fake::{BANNERS, COLUMNS, Fake, Flags, Row, SHOWN, Simple, row, some},
    progress::Progress,
    run::{Wakers, watch},
    signals::Signals,
};

fn table(rows: &[Row], sort: Option<&str>) -> Table {
    Picker::new(COLUMNS, &SHOWN, sort).table(COLUMNS, rows.iter().map(Ok::<_, Error>)).unwrap()
}

fn texts(findings: &[&str], table: &Table, width: usize, height: usize) -> Vec<String> {
    let head = Head {
        command: "sctp-x",
        time: "12:00:00".to_owned(),
        up: Duration::from_secs(3_725),
        lost: String::new(),
    };
    let findings: Vec<_> = findings.iter().map(|text| (*text).to_owned()).collect();
    let lines = lines(&head, &findings, table, Size { width, height });
    lines.into_iter().map(|line| line.text).collect()
}

#[test]
fn the_worst_comes_first_and_what_is_unknown_last() {
    let ids = |sort| table(&some(), sort).rows.iter().map(|row| row[0].to_string()).collect::<Vec<_>>();
    assert_eq!(ids(None), ["3", "4", "1", "2"]);
    assert_eq!(ids(Some("samples")), ["2", "4", "1", "3"]);
    assert_eq!(ids(Some("window")), ["2", "4", "1", "3"], "the lowest is the worst");
    assert_eq!(ids(Some("assoc_id")), ["1", "2", "3", "4"], "a label rises");
    assert_eq!(ids(Some("comm")), ["3", "1", "4", "2"]);
}

#[test]
fn a_screen_of_80_columns() {
    let screen = texts(&["Finding x: association 3"], &table(&some(), None), 80, 24);
    let expected = [
        "sctp-x: 12:00:00, up 01:02:05, 4 associations, nothing lost",
        "Finding x: association 3",
        "assoc_id    rtt_us samples window comm",
        "       3 30000.125       1     99 a-longer-name-of-a-process",
        "       4    20.500       5     95 hss",
        "       1    20.500       4     96 amf",
        "       2         -       9     91 mme",
    ];
    assert_eq!(screen, expected);
    assert_eq!(texts(&["Finding x: association 3"], &table(&some(), None), 200, 7), expected);
}

#[test]
fn what_does_not_fit_is_counted() {
    let screen = texts(&[], &table(&some(), None), 80, 5);
    assert_eq!(screen.len(), 5);
    assert!(screen[2].trim_start().starts_with("3 ") && screen[3].trim_start().starts_with("4 "));
    assert_eq!(screen[4], "... 2 more rows");
    let screen = texts(&["a", "b", "c", "d"], &table(&some(), None), 80, 8);
    assert_eq!(screen[1..4], ["a", "... 3 more findings", "assoc_id    rtt_us samples window comm"]);
    assert_eq!(screen[7], "       2         -       9     91 mme");
    // There are very many rows, of which only the worst are kept.
    let many: Vec<_> = (1..=5000).map(|n| row(n, Some(n.into()), 1, "x")).collect();
    let many = table(&many, None);
    assert_eq!((many.rows.len(), many.total, many.associations), (1000, 5000, 5000));
    assert_eq!(many.rows[0][0].to_string(), "5000");
    assert_eq!(texts(&[], &many, 80, 2000).last().unwrap(), "... 4000 more rows");
}

#[test]
fn a_narrow_screen_narrows_names_and_cuts_the_right() {
    let screen = texts(&[], &table(&some(), None), 50, 24);
    assert_eq!(screen[2], "       3 30000.125       1     99 a-longer-name-of");
    let screen = texts(&[], &table(&some(), None), 20, 24);
    assert_eq!(screen[0], "sctp-x: 12:00:00, up");
    assert_eq!(screen[2], "       3 30000.125  ");
}

#[test]
fn losses_are_the_first_that_is_said() {
    assert_eq!(lost(&Accounting::default(), 0), "");
    let accounting = Accounting { lost: 3, evicted: 2, unseen: Some(1), ..Accounting::default() };
    let lost = lost(&accounting, 4);
    assert_eq!(lost, "events LOST: 3, table entries EVICTED: 2, chunks UNSEEN: 1, screens SKIPPED: 4");
    let head = Head { command: "sctp-x", lost, ..Head::default() };
    let first = &lines(&head, &[], &Table::default(), Size { width: 31, height: 2 })[0];
    assert_eq!((first.text.as_str(), first.stress), ("sctp-x: events LOST: 3, table e", Stress::Lost));
}

#[test]
fn nothing_is_said_in_words() {
    assert_eq!(texts(&[], &Table::default(), 80, 24)[1], "The first interval is not over yet.");
    assert_eq!(texts(&[], &table(&[], None), 80, 24)[1], "Nothing happened in the last interval.");
    assert_eq!(texts(&["x"], &table(&some(), None), 80, 1).len(), 1);
}

#[test]
fn without_colour_words_and_bold_remain() {
    let head = Head { command: "sctp-x", lost: "events LOST: 1".to_owned(), ..Head::default() };
    let frame = |colour| Screen::with_colour(colour).frame(&head, &["f".to_owned()], &Table::default());
    assert!(
        frame(true).contains("\x1b[1;31msctp-x: events LOST: 1") && frame(true).contains("\x1b[33mf\x1b[0m")
    );
    assert!(!frame(false).contains(";31m") && !frame(false).contains("[33m"));
}

/// What a terminal of this size shows after a frame, if it began with `#` in every place.
fn shown(frame: &str, size: Size) -> Vec<String> {
    let mut screen = vec![vec!['#'; size.width]; size.height];
    // The column may be one after the last: the next character would begin a new line.
    let (mut at, mut column) = (0, 0);
    let mut rest = frame;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '\x1b' => {
                let (sequence, after) =
                    rest.split_at(rest.find(|c: char| c.is_ascii_alphabetic()).unwrap() + 1);
                rest = after;
                let begin = column.min(size.width - 1);
                match sequence {
                    "[H" => (at, column) = (0, 0),
                    "[K" => screen[at][begin..].fill(' '),
                    "[J" => {
                        screen[at][begin..].fill(' ');
                        screen[at + 1..].iter_mut().for_each(|line| line.fill(' '));
                    }
                    stress => assert!(stress.ends_with('m'), "{stress}"),
                }
            }
            '\r' => column = 0,
            '\n' => at += 1,
            c => {
                assert!(c == ' ' || c.is_ascii_graphic(), "{c:?}");
                screen[at][column] = c;
                column += 1;
            }
        }
    }
    screen.into_iter().map(|line| line.into_iter().collect()).collect()
}

proptest! {
    #[test]
    fn whatever_the_text_a_frame_is_the_whole_screen_and_no_more(
        rows in prop::collection::vec((any::<u32>(), any::<Option<f64>>(), any::<u64>(), any::<String>()), 0..40),
        findings in prop::collection::vec(any::<String>(), 0..6),
        (width, height) in prop_oneof![(1_usize..250, 1_usize..60), (Just(20), Just(5)), (Just(80), Just(24))],
        colour: bool,
    ) {
        let rows: Vec<_> = rows.iter().map(|(id, rtt, samples, comm)| row(*id, *rtt, *samples, comm)).collect();
        let table = table(&rows, None);
        let size = Size { width, height };
        let head = Head { command: "sctp-x", time: "12:00:00".to_owned(), ..Head::default() };
        let lines = lines(&head, &findings, &table, size);
        prop_assert!(!lines.is_empty() && lines.len() <= height);
        for line in &lines {
            prop_assert!(line.text.chars().all(|c| c == ' ' || c.is_ascii_graphic()), "{line:?}");
            prop_assert!(line.text.len() <= width, "{line:?}");
        }
        let mut screen = Screen::with_colour(colour);
        screen.size = size;
        let shown = shown(&screen.frame(&head, &findings, &table), size);
        for (n, shown) in shown.iter().enumerate() {
            let expected = lines.get(n).map_or("", |line| line.text.as_str());
            prop_assert_eq!(shown, &format!("{expected:<width$}"));
        }
    }
}

/// The run of a command as `Session::run()` does it, confined, in a process that [`OnTerminal`] starts.
#[test]
#[ignore = "the other tests start it"]
fn child() {
    let Ok(mode) = env::var("SCREEN_MODE") else { return };
    // In mode "stuck" the run writes more than a pseudo terminal can hold while nobody reads it.
    let [interval, duration] = if mode == "stuck" { ["0.001", "2"] } else { ["0.05", "60"] };
    let common = Flags::parse_from(["sctp-x", "-L", "-i", interval, "-d", duration]).common;
    let is_stuck = mode == "stuck";
    let runtime = Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let signals = Signals::new().unwrap();
        let terminal = Terminal::open().unwrap();
        let resized = signal(SignalKind::window_change()).unwrap();
        let mut out = Out::frames().unwrap();
        out.watch().unwrap();
        let mut run = Run::new(&BANNERS, &common, Fake { mode, ended: 0 }, Simple::new(&common), out);
        let stderr = io::stderr().as_fd().try_clone_to_owned().unwrap();
        let mut progress = Progress::new(&BANNERS, &common, run.started(), stderr.into());
        confine(&run.needs(Vec::new(), Some(terminal.descriptor()))).unwrap();
        terminal.enter().unwrap();
        run.resize(terminal.size());
        run.begin().unwrap();
        let resized = Some((&terminal, resized));
        let wakers =
            Wakers { signals, ring: None, lifecycle: None, stdout: None, server: None, terminal: resized };
        watch(&mut run, &common, wakers, &mut progress).await.unwrap();
        run.end().unwrap();
    });
    if is_stuck {
        // The harness would print that this test has passed, and would wait for the terminal that nobody reads.
        signal_hook::low_level::exit(0);
    }
}

/// A pseudo terminal, with [`child`] on it.
struct OnTerminal {
    child: Child,
    master: Arc<File>,
    slave: OwnedFd,
    /// The modes before the child.
    modes: Termios,
    /// What the terminal got.
    output: Arc<Mutex<Vec<u8>>>,
}

const ENTER: &str = "\x1b[?1049h\x1b[?25l";
const LEAVE: &str = "\x1b[?25h\x1b[?1049l";

impl OnTerminal {
    fn start(mode: &str, width: u16, height: u16) -> Self {
        let pty = openpty(None, None).unwrap();
        tcsetwinsize(&pty.slave, size(width, height)).unwrap();
        let stdio = || pty.slave.try_clone().unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args(["--exact", "live::tests::child", "--ignored", "--nocapture"])
            .env("SCREEN_MODE", mode)
            .stdin(stdio())
            .stdout(stdio())
            .stderr(stdio())
            .spawn()
            .unwrap();
        let modes = tcgetattr(&pty.slave).unwrap();
        let master = Arc::new(File::from(pty.master));
        let started = Self { child, master, slave: pty.slave, modes, output: Arc::default() };
        if mode != "stuck" {
            started.read();
        }
        started
    }

    /// Reads what the terminal gets, from now on.
    fn read(&self) {
        let (master, output) = (Arc::clone(&self.master), Arc::clone(&self.output));
        thread::spawn(move || {
            let mut bytes = [0; 4096];
            while let Ok(n) = master.as_ref().read(&mut bytes) {
                output.lock().unwrap().extend_from_slice(&bytes[..n]);
            }
        });
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.output.lock().unwrap()).into_owned()
    }

    fn wait_for(&self, what: &str) {
        let begun = Instant::now();
        while !self.text().contains(what) {
            assert!(begun.elapsed() < Duration::from_secs(60), "no {what:?} in {:?}", self.text());
            sleep(Duration::from_millis(10));
        }
    }

    fn signal(&self, signal: Signal) {
        kill(Pid::from_raw(self.child.id() as i32), signal).unwrap();
    }

    fn echoes(&self) -> bool {
        tcgetattr(self.slave.as_fd()).unwrap().local_modes.contains(LocalModes::ECHO)
    }

    /// Waits for the child's end. Checks that the terminal is as it was; returns the exit status, and what the terminal got.
    fn end(mut self) -> (ExitStatus, String) {
        let status = self.child.wait().unwrap();
        let modes = tcgetattr(&self.slave).unwrap();
        assert_eq!(modes.local_modes, self.modes.local_modes);
        let codes = |modes: &Termios| format!("{:?}", modes.special_codes);
        assert_eq!(codes(&modes), codes(&self.modes));
        self.wait_for(LEAVE);
        let text = self.text();
        assert_eq!((text.matches(ENTER).count(), text.matches(LEAVE).count()), (1, 1), "{text:?}");
        (status, text)
    }
}

fn size(width: u16, height: u16) -> Winsize {
    Winsize { ws_col: width, ws_row: height, ws_xpixel: 0, ws_ypixel: 0 }
}

#[test]
fn a_run_on_a_terminal_fits_it_and_leaves_it_as_it_was() {
    let on = OnTerminal::start("end", 80, 24);
    on.wait_for("a-longer-name-of-a-process");
    assert!(!on.echoes());
    assert!(!on.text().contains("more rows"));
    tcsetwinsize(&on.slave, size(40, 4)).unwrap();
    on.signal(Signal::SIGWINCH);
    on.wait_for("... 3 more rows");
    on.signal(Signal::SIGINT);
    let (status, text) = on.end();
    assert!(status.success(), "{text:?}");
    let frames: Vec<_> = text.split("\x1b[H").collect();
    // The command leaves the screen after the last frame.
    assert!(frames[frames.len() - 1].contains(LEAVE) && frames.len() > 3, "{text:?}");
    assert!(text.contains("The first interval is not over yet."), "{text:?}");
}

#[test]
fn a_panic_leaves_the_terminal_before_it_is_reported() {
    let (status, text) = OnTerminal::start("panic", 80, 24).end();
    assert!(!status.success());
    let (_, after) = text.split_once(LEAVE).unwrap();
    assert!(after.contains("as the test wants"), "{text:?}");
}

#[test]
fn a_second_signal_leaves_the_terminal_at_once() {
    let on = OnTerminal::start("second", 80, 24);
    on.wait_for("a-longer-name-of-a-process");
    on.signal(Signal::SIGINT);
    sleep(Duration::from_millis(500));
    on.signal(Signal::SIGTERM);
    let (status, text) = on.end();
    assert_eq!((status.code(), status.signal()), (Some(128 + Signal::SIGTERM as i32), None), "{text:?}");
}

/// Nobody reads the terminal: neither the run nor its end waits for a reader.
#[test]
fn a_terminal_that_takes_nothing_keeps_nobody() {
    let begun = Instant::now();
    let mut on = OnTerminal::start("stuck", 250, 60);
    let status = on.child.wait().unwrap();
    assert!(status.success());
    assert!(begun.elapsed() < Duration::from_secs(20), "{:?}", begun.elapsed());
    assert!(on.echoes());
    // The run did get stuck: not even the bytes that leave the screen reached the terminal.
    on.read();
    on.wait_for(ENTER);
    sleep(Duration::from_millis(300));
    assert!(!on.text().contains(LEAVE), "{}", on.text().len());
}
