//! The flags that all five commands have.

use std::{
    ffi::OsString,
    fs::{OpenOptions, metadata, read_to_string},
    io::{self, Write},
    net::IpAddr,
    os::unix::fs::{MetadataExt, OpenOptionsExt},
    path::{Path, PathBuf},
    process,
    time::Duration,
};

use clap::{Arg, ArgAction, Args, Command, CommandFactory, FromArgMatches, ValueEnum, error::ErrorKind};
use nix::{
    errno::Errno,
    libc::O_NONBLOCK,
    sys::{
        signal::kill,
        statfs::{CGROUP2_SUPER_MAGIC, statfs},
    },
    unistd::Pid,
};
use probes::{Config, Filter, HookKind, kernel, streams};

use crate::{Manual, MetricsFlags, live::terminal::hindrance, version::VERSION};

/// Flags common to all commands.
#[derive(Args, Clone, Debug)]
pub struct Common {
    /// Length of an interval
    #[arg(short, long, value_name = "SECONDS", default_value = "1", value_parser = seconds)]
    pub interval: Duration,
    /// Print CSV instead of text
    #[arg(short, long, help_heading = "Output")]
    pub csv: bool,
    /// Write CSV (or JSON) to FILE
    #[arg(short, long, value_name = "FILE", help_heading = "Output")]
    pub file: Option<PathBuf>,
    /// More columns; a row per association and path or stream
    #[arg(short = 'x', long, help_heading = "Output")]
    pub extended: bool,
    /// Draw histograms at the end, in powers of two
    #[arg(short = 'H', long = "hist", help_heading = "Output", hide_short_help = true)]
    pub histogram: bool,
    /// Print JSON Lines instead of text
    #[arg(long, conflicts_with_all = ["csv", "timestamp"], help_heading = "Output")]
    pub json: bool,
    /// With --json: no object per sample
    #[arg(long, help_heading = "Output", hide_short_help = true)]
    pub no_samples: bool,
    /// CSV rows at every interval, with a first column `time`
    #[arg(short = 'T', long, help_heading = "Output")]
    pub timestamp: bool,
    /// One screen, redrawn at each interval, the worst first
    #[arg(
        short = 'L',
        long,
        conflicts_with_all = ["csv", "file", "json", "timestamp", "histogram", "events"],
        help_heading = "Output"
    )]
    pub live: bool,
    /// With --live: sort by this column
    #[arg(long, value_name = "COLUMN", requires = "live", help_heading = "Output", hide_short_help = true)]
    pub sort: Option<String>,
    /// Begins, restarts and ends of associations, and why
    #[arg(short, long, help_heading = "Output", hide_short_help = true)]
    pub events: bool,
    /// No banner and no closing line
    #[arg(short, long, help_heading = "Output")]
    pub quiet: bool,
    /// Stop by itself
    #[arg(short, long, value_name = "SECONDS", value_parser = seconds)]
    pub duration: Option<Duration>,
    /// If SCTP is not loaded, wait for it
    #[arg(long, hide_short_help = true)]
    pub wait: bool,
    /// Only associations of this process's sockets
    #[arg(short, long, value_name = "PID", help_heading = "Filters", value_parser = pid)]
    pub pid: Option<u32>,
    /// Only this association
    #[arg(long, value_name = "ID", help_heading = "Filters", value_parser = clap::value_parser!(u32).range(1..))]
    pub assoc: Option<u32>,
    /// Only this local port
    #[arg(long, value_name = "PORT", help_heading = "Filters", value_parser = clap::value_parser!(u16).range(1..))]
    pub lport: Option<u16>,
    /// Only this remote port
    #[arg(long, value_name = "PORT", help_heading = "Filters", value_parser = clap::value_parser!(u16).range(1..))]
    pub rport: Option<u16>,
    /// Only paths from or to this address
    #[arg(long, value_name = "IP", help_heading = "Filters")]
    pub addr: Option<IpAddr>,
    /// Only this network namespace, of a file or a process
    #[arg(long, value_name = "PATH|PID", help_heading = "Filters", value_parser = netns)]
    pub netns: Option<u32>,
    /// Only sockets of processes in this cgroup (v2)
    #[arg(long, value_name = "PATH", help_heading = "Filters", hide_short_help = true, value_parser = cgroup)]
    pub cgroup: Option<u64>,
    /// Use hooks of this kind only, and do not fall back
    #[arg(long, value_name = "fentry|kprobe", hide_short_help = true, hide_possible_values = true)]
    hooks: Option<HookKindName>,
    /// Metrics for Prometheus.
    #[command(flatten)]
    pub metrics: MetricsFlags,
    /// Print the JSON schema of the objects, and end
    #[arg(long, hide_short_help = true, help_heading = "Output")]
    schema: bool,
}

#[derive(Clone, Copy, Debug, ValueEnum)]
enum HookKindName {
    Fentry,
    Kprobe,
}

/// The format of the output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// Text for people.
    Text,
    /// CSV with a header line. Rows come at the end, or with `--timestamp` at every interval.
    Csv,
    /// JSON Lines: one object per line.
    Json,
    /// One screen on a terminal, redrawn at each interval.
    Live,
}

impl Common {
    /// Returns the output format. `-f FILE` implies CSV, unless `--json` is given.
    #[must_use]
    pub fn format(&self) -> Format {
        match self {
            Self { json: true, .. } => Format::Json,
            Self { live: true, .. } => Format::Live,
            Self { csv: true, .. } | Self { file: Some(_), .. } => Format::Csv,
            _ => Format::Text,
        }
    }

    /// Returns whether each sample is printed: in text, and in JSON without `--no-samples`; but not if no rows are
    /// printed.
    #[must_use]
    pub fn has_samples(&self) -> bool {
        self.has_rows() && matches!(self.format(), Format::Text | Format::Json) && !self.no_samples
    }

    /// Returns whether text lines, rows or objects are printed: without metrics always, with them only where `--csv`,
    /// `--file`, `--json`, `--live` or `--hist` asks for them, too.
    #[must_use]
    pub fn has_rows(&self) -> bool {
        !self.metrics.is_on() || self.histogram || self.format() != Format::Text
    }

    /// Returns whether the statistics of each interval are printed: with `--json`, `--timestamp` and `--live`.
    #[must_use]
    pub fn has_interval_rows(&self) -> bool {
        self.json || self.timestamp || self.live
    }

    /// Returns whether findings are looked for: to print them, to count them in metrics, or to show the present ones on
    /// a screen.
    #[must_use]
    pub fn has_findings(&self) -> bool {
        self.metrics.is_on() || self.prints_findings() || self.live
    }

    /// Returns whether findings are printed: with `--extended` as lines of text, so that CSV on standard output has none;
    /// and always in JSON.
    #[must_use]
    pub fn prints_findings(&self) -> bool {
        self.has_rows()
            && match self.format() {
                Format::Json => true,
                Format::Text => self.extended,
                Format::Csv => self.extended && self.file.is_some(),
                Format::Live => false,
            }
    }

    /// Returns whether the output has more columns than that of the Python script which this command replaces:
    /// with `--extended`, and always in JSON and on a screen.
    #[must_use]
    pub fn is_extended(&self) -> bool {
        self.extended || self.json || self.live
    }

    /// Returns whether some statistics are only printed when the run ends: histograms, and CSV rows without
    /// `--timestamp`.
    #[must_use]
    pub fn prints_at_end(&self) -> bool {
        self.histogram || self.format() == Format::Csv && !self.timestamp
    }

    /// The filter by which the kernel side chooses events.
    fn filter(&self) -> Filter {
        Filter {
            assoc_id: self.assoc,
            lport: self.lport,
            rport: self.rport,
            addr: self.addr.map(|a| a.to_canonical()),
            netns: self.netns,
            pid: self.pid,
            cgroup: self.cgroup,
        }
    }

    /// The configuration of the trace that the flags ask for. It has no records, and keeps no entries of
    /// ended associations: a command that needs either sets `records` or `keep_ended` itself.
    #[must_use]
    pub fn config(&self) -> Config {
        Config {
            filter: self.filter(),
            records: false,
            intervals: self.has_interval_rows() || self.has_findings(),
            extended: self.is_extended(),
            histograms: self.histogram,
            owners: self.is_extended() || self.events || self.metrics.is_on(),
            lifecycle: self.events || self.metrics.is_on(),
            keep_ended: false,
            metrics: self.metrics.is_on(),
            rows: self.has_rows(),
            hooks: self.hooks.map(|hooks| match hooks {
                HookKindName::Fentry => HookKind::Fentry,
                HookKindName::Kprobe => HookKind::Kprobe,
            }),
        }
    }
}

/// The flag for the size of a table of streams.
#[derive(Args, Clone, Debug)]
pub struct TableSize {
    /// Room for this many streams, over all associations; more evict those that were silent longest
    #[arg(long, value_name = "N", default_value_t = 16_384, help_heading = "Memory", hide_short_help = true, value_parser = clap::value_parser!(u32).range(1..=i64::from(streams::MAX_STREAMS)))]
    max_streams: u32,
}

impl TableSize {
    /// The size of the tables.
    #[must_use]
    pub fn sizes(&self) -> streams::Sizes {
        streams::Sizes { max_streams: self.max_streams }
    }
}

/// Template of the help text: the usage, and right below it the description. That is one blank line less than
/// in clap's own template, so that `-h` fits a screen of 24 lines.
const HELP: &str = "{usage-heading} {usage}\n{about-with-newline}\n{all-args}{after-help}";

/// The definition of a command's flags for clap, from which parser, help, man page and completions are made.
#[must_use]
pub fn command<T: CommandFactory>() -> Command {
    // The argparse of the Python scripts accepts unambiguous beginnings of long flags. So do the commands.
    T::command()
        .version(VERSION.as_str())
        .infer_long_args(true)
        .help_template(HELP)
        .disable_version_flag(true)
        .disable_help_flag(true)
        .arg(
            Arg::new("help")
                .short('h')
                .long("help")
                .action(ArgAction::Help)
                .help("Print help (see more with '--help')")
                .long_help("Print help (see a summary with '-h')"),
        )
        .mut_args(beginnings)
        .arg(
            Arg::new("version")
                .short('V')
                .long("version")
                .action(ArgAction::Version)
                .hide_short_help(true)
                .help("Print version"),
        )
}

/// Names of the long flags that the Python scripts have: the scripts that these commands replace.
const SCRIPTS: [&str; 5] = ["csv", "file", "help", "interval", "pid"];

/// If the flag is one of [`SCRIPTS`], makes each beginning of its name an alias, because the scripts accept
/// these beginnings. An alias keeps its meaning whatever flags are added to the command.
fn beginnings(flag: Arg) -> Arg {
    let Some(name) = SCRIPTS.into_iter().find(|name| flag.get_long() == Some(name)) else { return flag };
    flag.aliases((1..name.len()).map(|len| &name[..len]))
}

/// Returns the flags of the command line. Ends the process instead if the command line asks for help, version or JSON
/// schema, which it prints (exit status 0), or has a usage error, which it reports (exit status 2); `--live` without a
/// terminal is such an error. `common` finds the shared flags among the command's; `manual` has the schema and the
/// columns by which `--sort` sorts.
pub fn parse<T: CommandFactory + FromArgMatches>(
    common: impl Fn(&T) -> &Common,
    manual: impl Fn() -> Manual,
) -> T {
    let flags = try_parse(std::env::args_os(), &common).unwrap_or_else(|e| e.exit());
    if common(&flags).schema {
        let written = writeln!(io::stdout(), "{}", manual().schema());
        process::exit(i32::from(written.is_err()));
    }
    if common(&flags).live {
        let sort = common(&flags).sort.as_deref();
        let unknown = sort.and_then(|sort| unknown_column(sort, manual().live.columns));
        if let Some(why) = unknown.or_else(|| hindrance().map(str::to_owned)) {
            command::<T>().error(ErrorKind::InvalidValue, why).exit();
        }
    }
    flags
}

/// Returns what is wrong with `--sort`; `None` if it names one of the columns.
fn unknown_column(sort: &str, columns: &[&str]) -> Option<String> {
    let is_known = columns.contains(&sort);
    (!is_known).then(|| format!("--sort: the screen has no column '{sort}'. It has {}", columns.join(", ")))
}

fn try_parse<T: CommandFactory + FromArgMatches>(
    args: impl IntoIterator<Item = OsString>,
    common: impl Fn(&T) -> &Common,
) -> Result<T, clap::Error> {
    let mut command = command::<T>();
    let flags = T::from_arg_matches(&command.try_get_matches_from_mut(args)?)?;
    let c = common(&flags);
    if c.timestamp && c.format() != Format::Csv {
        let why = "--timestamp adds a column to CSV: use it with --csv or --file";
        return Err(command.error(ErrorKind::MissingRequiredArgument, why));
    }
    if c.no_samples && !c.json {
        let why = "--no-samples leaves out objects of JSON: use it with --json";
        return Err(command.error(ErrorKind::MissingRequiredArgument, why));
    }
    if c.events && c.csv && c.file.is_none() {
        let why = "--events prints lines of text, which are no CSV: use --json, or --file for the CSV";
        return Err(command.error(ErrorKind::ArgumentConflict, why));
    }
    if c.histogram && c.format() != Format::Text {
        let why = "--hist draws for people: use it without --csv, --file and --json";
        return Err(command.error(ErrorKind::ArgumentConflict, why));
    }
    Ok(flags)
}

/// Parses `bytes` as arguments, with a line feed between two. The parser may accept or refuse them, but must
/// not panic, nor accept a time of zero or flags that exclude each other.
#[cfg(any(test, feature = "fuzz"))]
#[doc(hidden)]
pub fn fuzz_flags(bytes: &[u8]) {
    use std::os::unix::ffi::OsStrExt;

    #[derive(clap::Parser)]
    struct Flags {
        #[command(flatten)]
        common: Common,
    }
    let args = bytes.split(|byte| *byte == b'\n').map(|arg| std::ffi::OsStr::from_bytes(arg).to_owned());
    let args = std::iter::once("x".into()).chain(args);
    if let Ok(Flags { common }) = try_parse(args, |flags: &Flags| &flags.common) {
        assert!(!common.interval.is_zero() && common.duration.is_none_or(|d| !d.is_zero()));
        assert!(!common.timestamp || common.format() == Format::Csv);
        assert!(!common.histogram || common.format() == Format::Text);
        let _ = common.filter();
    }
}

/// The largest value of a flag in seconds, some 31 years: adding it to an `Instant` does not overflow.
const MAX_SECONDS: f64 = 1e9;

fn seconds(text: &str) -> Result<Duration, String> {
    text.parse::<f64>()
        .ok()
        .filter(|s| *s > 0.0 && *s <= MAX_SECONDS)
        .and_then(|s| Duration::try_from_secs_f64(s).ok())
        .filter(|d| !d.is_zero())
        .ok_or_else(|| "not a number of seconds above 0, and at most 1000000000 (31 years)".to_owned())
}

/// Parses a number of milliseconds: 0 or more, at most an hour.
///
/// # Errors
/// For anything else; the text says what is wrong.
pub fn milliseconds(text: &str) -> Result<Duration, String> {
    const MAX: f64 = 3.6e6;
    text.parse::<f64>()
        .ok()
        .filter(|ms| (0.0..=MAX).contains(ms))
        .and_then(|ms| Duration::try_from_secs_f64(ms / 1e3).ok())
        .ok_or_else(|| "not a number of milliseconds from 0 to 3600000 (an hour)".to_owned())
}

/// Parses the argument of `--pid`: the number of an existing process, in this process's pid namespace.
fn pid(text: &str) -> Result<u32, String> {
    let pid = text.parse().ok().filter(|pid: &i32| *pid > 0).ok_or("not the number of a process")?;
    if kill(Pid::from_raw(pid), None) == Err(Errno::ESRCH) {
        return Err("there is no such process: pgrep(1) finds one by its name".to_owned());
    }
    // kill(2) takes the number of any thread.
    let status = read_to_string(format!("/proc/{pid}/status")).unwrap_or_default();
    let process = status.lines().find_map(|line| line.strip_prefix("Tgid:")?.trim().parse::<i32>().ok());
    match process.filter(|process| *process != pid) {
        Some(process) => Err(format!("a thread of process {process}: use {process}")),
        None => Ok(pid.unsigned_abs()),
    }
}

/// Parses the argument of `--netns`: a namespace's file, or the number of a process in the namespace. Returns
/// the inode number of the network namespace.
fn netns(text: &str) -> Result<u32, String> {
    let path = match text.parse::<u32>() {
        Ok(pid) => PathBuf::from(format!("/proc/{pid}/ns/net")),
        Err(_) => Path::new(text).to_owned(),
    };
    // A FIFO is no namespace: with O_NONBLOCK, opening one does not wait for a writer.
    let file = OpenOptions::new()
        .read(true)
        .custom_flags(O_NONBLOCK)
        .open(&path)
        .map_err(|e| format!("cannot look at {}: {e}", path.display()))?;
    let inode = kernel::net_namespace(&file);
    inode.ok_or_else(|| format!("{} is no network namespace", path.display()))
}

/// Where cgroup v2 is mounted on most hosts.
const CGROUP_ROOT: &str = "/sys/fs/cgroup";

/// Parses the argument of `--cgroup`: a folder of cgroup v2, or its path from the root of that. Returns the id
/// of the cgroup, which is the folder's inode number (`kernfs_ino()`).
fn cgroup(text: &str) -> Result<u64, String> {
    let below_root = Path::new(CGROUP_ROOT).join(text.trim_start_matches('/'));
    let is_cgroup = |path: &&Path| {
        path.is_dir() && statfs(*path).is_ok_and(|fs| fs.filesystem_type() == CGROUP2_SUPER_MAGIC)
    };
    let path = [Path::new(text), &below_root].into_iter().find(is_cgroup).ok_or_else(|| {
        format!("{text} is no cgroup of cgroup v2: /proc/PID/cgroup has that of a process, after 0::")
    })?;
    Ok(metadata(path).map_err(|e| format!("cannot look at {}: {e}", path.display()))?.ino())
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use clap::Parser;
    use nix::unistd::gettid;
    use proptest::prelude::*;

    use super::*;

    #[derive(Parser, Debug)]
    struct Flags {
        #[command(flatten)]
        common: Common,
    }

    fn flags(args: &[&str]) -> Result<Common, clap::Error> {
        let args = std::iter::once("x").chain(args.iter().copied()).map(OsString::from);
        try_parse(args, |f: &Flags| &f.common).map(|f| f.common)
    }

    fn usage(args: &[&str]) -> bool {
        flags(args).is_err_and(|e| e.exit_code() == 2)
    }

    #[test]
    fn the_scripts_own_flags_are_taken() {
        let c = flags(&["-p", "1", "-i", "2", "-c", "-f", "out.csv"]).unwrap();
        assert_eq!((c.pid, c.interval, c.csv), (Some(1), Duration::from_secs(2), true));
        assert_eq!(c.file.as_deref(), Some(Path::new("out.csv")));
        let c = flags(&["--pid=1", "--inter", "0.5", "--cs"]).unwrap();
        assert_eq!((c.pid, c.interval, c.csv), (Some(1), Duration::from_millis(500), true));
        assert_eq!(flags(&["-cfout"]).unwrap().file.as_deref(), Some(Path::new("out")));
    }

    #[test]
    fn wrong_ones_are_usage_errors() {
        for args in [
            &["-i", "0"][..],
            &["-i", "-1"],
            &["-i", "x"],
            &["-i", "inf"],
            &["-i", "nan"],
            &["-d", "0"],
            &["-i", "1e19"],
            &["-d", "1e19"],
            &["-i", "1000000001"],
            &["-p", "0"],
            &["-p", "-1"],
            &["-p", "2147483647"], // above the kernel's largest pid
            &["--netns", "/proc/self/ns/uts"],
            &["--netns", "/proc/self/status"],
            &["--addr", "10.0.0"],
            &["--lport", "65536"],
            &["--netns", "/nonexistent"],
            &["--nothing"],
            &["positional"],
            &["--json", "--csv"],
            &["-T"],
            &["-T", "--json"],
            &["-H", "--json"],
            &["--no-samples"],
            &["--no-samples", "-c"],
            &["-Hc"],
            &["-ec"],
            &["-eqcT"],
            &["-H", "-f", "x"],
            &["-L", "-c"],
            &["-L", "-f", "x"],
            &["-L", "--json"],
            &["-L", "-T"],
            &["-LH"],
            &["-Le"],
            &["--sort", "samples"],
        ] {
            assert!(usage(args), "{args:?}");
        }
    }

    #[test]
    fn milliseconds_may_be_fractions() {
        assert_eq!(milliseconds("0.25"), Ok(Duration::from_micros(250)));
        assert_eq!(milliseconds("0"), Ok(Duration::ZERO));
        for wrong in ["-1", "nan", "inf", "x", "", "3600001"] {
            assert!(milliseconds(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn samples_are_printed_in_text_and_json_unless_they_are_not_wanted() {
        let has = |args| flags(args).unwrap().has_samples();
        assert!(has(&[]) && has(&["-x"]) && has(&["--json"]) && has(&["--json", "-f", "x"]));
        assert!(!has(&["-L"]) && !has(&["-Lx"]));
        assert!(!has(&["-c"]) && !has(&["-f", "x"]) && !has(&["--json", "--no-samples"]));
    }

    #[test]
    fn a_screen_has_all_columns_of_each_interval_and_metrics_beside_it() {
        for args in [&["-L"][..], &["-Lq"], &["--live", "--textfile", "x", "--sort", "y"]] {
            let common = flags(args).unwrap();
            assert_eq!(common.format(), Format::Live);
            assert!(common.has_rows() && common.has_interval_rows() && common.is_extended());
            assert!(common.has_findings() && !common.prints_findings() && !common.prints_at_end());
        }
    }

    #[test]
    fn who_sorts_by_an_unknown_column_is_told_the_known_ones() {
        assert_eq!(unknown_column("b", &["a", "b"]), None);
        let why = unknown_column("c", &["a", "b"]).unwrap();
        assert!(why.ends_with("no column 'c'. It has a, b"), "{why}");
    }

    #[test]
    fn file_means_csv_unless_json() {
        assert_eq!(flags(&[]).unwrap().format(), Format::Text);
        assert_eq!(flags(&["-f", "x"]).unwrap().format(), Format::Csv);
        assert_eq!(flags(&["-f", "x", "--json"]).unwrap().format(), Format::Json);
    }

    /// A test runs in a thread of its own: the thread's number is not the process's.
    #[test]
    fn a_thread_is_no_process() {
        let thread = gettid().to_string();
        assert_ne!(thread, process::id().to_string());
        let error = flags(&["-p", &thread]).unwrap_err();
        assert!(error.to_string().contains(&format!("a thread of process {0}: use {0}", process::id())));
    }

    #[test]
    fn a_namespace_is_its_inode() {
        let own = metadata("/proc/self/ns/net").unwrap().ino();
        assert_eq!(flags(&["--netns", "/proc/self/ns/net"]).unwrap().netns.map(u64::from), Some(own));
        let pid = process::id().to_string();
        assert_eq!(flags(&["--netns", &pid]).unwrap().netns.map(u64::from), Some(own));
    }

    #[test]
    fn mapped_addresses_are_ipv4() {
        let filter = flags(&["--addr", "::ffff:10.0.0.1"]).unwrap().filter();
        assert_eq!(filter.addr, Some("10.0.0.1".parse().unwrap()));
    }

    #[test]
    fn each_beginning_of_a_scripts_flag_keeps_its_meaning() {
        for len in 1.."interval".len() {
            assert_eq!(
                flags(&[&format!("--{}=7", &"interval"[..len])]).unwrap().interval,
                Duration::from_secs(7)
            );
        }
        for len in 1.."csv".len() {
            assert!(flags(&[&format!("--{}", &"csv"[..len])]).unwrap().csv);
        }
        for len in 1.."file".len() {
            let file = flags(&[&format!("--{}", &"file"[..len]), "x"]).unwrap().file;
            assert_eq!(file.as_deref(), Some(Path::new("x")));
        }
        for len in 1.."pid".len() {
            assert_eq!(flags(&[&format!("--{}", &"pid"[..len]), "1"]).unwrap().pid, Some(1));
        }
        for len in 1.."help".len() {
            let help = flags(&[&format!("--{}", &"help"[..len])]).unwrap_err();
            assert_eq!(help.kind(), ErrorKind::DisplayHelp);
        }
        for name in SCRIPTS {
            let command = command::<Flags>();
            let others = command.get_arguments().filter_map(Arg::get_long).map(str::to_owned);
            let clash: Vec<_> = others.filter(|other| name.starts_with(other) && other != name).collect();
            assert!(clash.is_empty(), "{clash:?} is a flag and a beginning of --{name}");
        }
    }

    proptest! {
        #[test]
        fn no_arguments_panic(
            args in prop::collection::vec(
                prop_oneof![
                    "--?(interval|csv|file|json|timestamp|duration|pid|lport|addr|netns|hooks|nothing)(=.*)?",
                    "-[icfxHTqdph]+.*",
                    ".*",
                ],
                0..6,
            ),
        ) {
            fuzz_flags(args.join("\n").as_bytes());
        }

        #[test]
        fn seconds_never_panic(text: String) {
            if let Ok(d) = seconds(&text) {
                prop_assert!(!d.is_zero() && Instant::now().checked_add(d).is_some());
            }
        }

        #[test]
        fn whole_and_half_seconds(n in 1_u32..1_000_000_000) {
            prop_assert_eq!(seconds(&n.to_string()), Ok(Duration::from_secs(n.into())));
            prop_assert_eq!(seconds(&format!("{n}.5")), Ok(Duration::from_millis(u64::from(n) * 1000 + 500)));
        }
    }
}
