//! A real Prometheus, which takes what the commands wrote and answers queries about it.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::thread::sleep;
use std::time::{Duration, Instant};

use anyhow::{Context, Result, bail, ensure};
use serde_json::Value;
use tempfile::TempDir;

/// Labels of a series, its name as `__name__` among them.
pub type Series = BTreeMap<String, String>;

/// Metrics of one job over time, in Prometheus' text format.
#[derive(Default)]
pub struct History {
    families: BTreeMap<String, Family>,
}

/// A metric: its lines of help and type, and the values of each of its series, each with its time.
#[derive(Default)]
struct Family {
    heads: Vec<String>,
    series: BTreeMap<String, Vec<String>>,
}

impl History {
    /// Adds the text of a file as it stood at `time`, in seconds since 1970. Times must not go back.
    ///
    /// # Errors
    /// Where a line is not of the format.
    pub fn add(&mut self, job: &str, time: u64, text: &str) -> Result<()> {
        let mut family = String::new();
        for line in text.lines() {
            if let Some(head) = line.strip_prefix("# ") {
                let mut words = head.splitn(3, ' ');
                let (word, name, rest) = (words.next(), words.next(), words.next());
                let (Some(word), Some(name), Some(rest)) = (word, name, rest) else { bail!("{line}") };
                // In OpenMetrics `_total` belongs to the sample.
                family = name.strip_suffix("_total").unwrap_or(name).to_owned();
                let heads = &mut self.families.entry(family.clone()).or_default().heads;
                if !heads.iter().any(|head| head.starts_with(word)) {
                    heads.push(format!("{word} {family} {rest}"));
                }
                continue;
            }
            let (series, value) = line.rsplit_once(' ').with_context(|| line.to_owned())?;
            let series = match series.split_once('{') {
                Some((name, labels)) => format!("{name}{{job=\"{job}\",instance=\"guest\",{labels}"),
                None => format!("{series}{{job=\"{job}\",instance=\"guest\"}}"),
            };
            let values = &mut self.families.entry(family.clone()).or_default().series;
            values.entry(series).or_default().push(format!("{value} {time}"));
        }
        Ok(())
    }

    fn open_metrics(&self) -> String {
        let mut text = String::new();
        for Family { heads, series } in self.families.values() {
            heads.iter().for_each(|head| text += &format!("# {head}\n"));
            for (series, values) in series {
                for value in values {
                    // Writing to a String cannot fail.
                    let _ = writeln!(text, "{series} {value}");
                }
            }
        }
        text + "# EOF\n"
    }
}

/// A server on a port of this host's, which ends with this value.
pub struct Prometheus {
    server: Child,
    port: u16,
    folder: TempDir,
}

impl Prometheus {
    /// Starts a server that has this history: `promtool` and `prometheus` of the Debian package `prometheus`. A series
    /// counts as gone `lookback` after its last value, as files have no other sign of that.
    ///
    /// # Errors
    /// Where a program is missing, or does not take the history.
    pub fn start(history: &History, lookback: Duration) -> Result<Self> {
        let folder = tempfile::tempdir()?;
        let (metrics, data) = (folder.path().join("metrics"), folder.path().join("data"));
        fs::write(&metrics, history.open_metrics())?;
        let import = Command::new("promtool")
            .args(["tsdb", "create-blocks-from", "openmetrics"])
            .args([&metrics, &data])
            .output()
            .context("promtool of the Debian package prometheus")?;
        ensure!(import.status.success(), "promtool: {}", String::from_utf8_lossy(&import.stderr));
        Self::serve(folder, "{}\n", &[flag("query.lookback-delta", &format!("{}s", lookback.as_secs()))])
    }

    /// Starts a server without data, which scrapes as `configuration` says.
    ///
    /// # Errors
    /// Where the program is missing, or does not take the configuration.
    pub fn scrape(configuration: &str) -> Result<Self> {
        Self::serve(tempfile::tempdir()?, configuration, &["--web.enable-admin-api".to_owned()])
    }

    /// Starts a server upon the folder `data` in `folder`.
    fn serve(folder: TempDir, configuration: &str, flags: &[String]) -> Result<Self> {
        fs::write(folder.path().join("prometheus.yml"), configuration)?;
        let port = TcpListener::bind("127.0.0.1:0")?.local_addr()?.port();
        let server = Command::new("prometheus")
            .arg(flag("config.file", &folder.path().join("prometheus.yml").display().to_string()))
            .arg(flag("storage.tsdb.path", &folder.path().join("data").display().to_string()))
            // Whatever the guest's clock says.
            .arg(flag("storage.tsdb.retention.time", "100y"))
            .args(flags)
            .arg(flag("web.listen-address", &format!("127.0.0.1:{port}")))
            .stdout(Stdio::null())
            .stderr(fs::File::create(folder.path().join("log"))?)
            .spawn()
            .context("prometheus of the Debian package of that name")?;
        let this = Self { server, port, folder };
        let until = Instant::now() + Duration::from_secs(60);
        while this.get("/-/ready").is_err() {
            ensure!(Instant::now() < until, "prometheus does not get ready");
            sleep(Duration::from_millis(100));
        }
        Ok(this)
    }

    /// The value of each series that an expression has at `time`, in seconds since 1970.
    ///
    /// # Errors
    /// Where the server does not take the expression.
    pub fn at(&self, expression: &str, time: u64) -> Result<BTreeMap<Series, f64>> {
        self.moment(&[("query", expression), ("time", &time.to_string())])
    }

    /// The values of each series that an expression has from `from` to `to`, one every `step` seconds.
    ///
    /// # Errors
    /// Where the server does not take the expression.
    pub fn between(
        &self,
        expression: &str,
        from: u64,
        to: u64,
        step: u64,
    ) -> Result<BTreeMap<Series, Vec<f64>>> {
        let [from, to, step] = [from, to, step].map(|number| number.to_string());
        let arguments = [("query", expression), ("start", &from), ("end", &to), ("step", &step)];
        let found = self.ask("query_range", &arguments)?;
        let values = |found: &Value| {
            let values = found["values"].as_array().context("no values")?;
            values.iter().map(|pair| number(&pair[1])).collect::<Result<Vec<_>>>()
        };
        found.into_iter().map(|(series, found)| Ok((series, values(&found)?))).collect()
    }

    /// The value of each series that an expression has now.
    ///
    /// # Errors
    /// Where the server does not take the expression.
    pub fn now(&self, expression: &str) -> Result<BTreeMap<Series, f64>> {
        self.moment(&[("query", expression)])
    }

    fn moment(&self, arguments: &[(&str, &str)]) -> Result<BTreeMap<Series, f64>> {
        let found = self.ask("query", arguments)?;
        found.into_iter().map(|(series, found)| Ok((series, number(&found["value"][1])?))).collect()
    }

    /// The value of one of the server's metrics of itself: the sum of its series.
    ///
    /// # Errors
    /// Where it has no such metric.
    pub fn own(&self, name: &str) -> Result<f64> {
        let metrics = self.get("/metrics")?;
        let of_metric =
            |line: &&str| line.strip_prefix(name).is_some_and(|rest| rest.starts_with([' ', '{']));
        let values = metrics.lines().filter(of_metric).filter_map(|line| line.rsplit_once(' '));
        let values: Vec<f64> = values.map(|(_, value)| Ok(value.parse()?)).collect::<Result<_>>()?;
        ensure!(!values.is_empty(), "no metric {name}");
        Ok(values.iter().sum())
    }

    /// Has the server write what it has as blocks, and returns their size in bytes.
    ///
    /// # Errors
    /// Where the disk is full.
    pub fn snapshot(&self) -> Result<u64> {
        self.request("POST", "/api/v1/admin/tsdb/snapshot")?;
        size(&self.folder.path().join("data/snapshots"))
    }

    fn ask(&self, what: &str, arguments: &[(&str, &str)]) -> Result<Vec<(Series, Value)>> {
        let arguments: Vec<_> =
            arguments.iter().map(|(name, value)| format!("{name}={}", escaped(value))).collect();
        let body = self.get(&format!("/api/v1/{what}?{}", arguments.join("&")))?;
        let answer: Value = serde_json::from_str(&body).with_context(|| body.clone())?;
        ensure!(answer["status"] == "success", "{arguments:?}: {body}");
        let results = answer["data"]["result"].as_array().context("no result")?;
        results
            .iter()
            .map(|result| Ok((serde_json::from_value(result["metric"].clone())?, result.clone())))
            .collect()
    }

    fn get(&self, path: &str) -> Result<String> {
        self.request("GET", path)
    }

    fn request(&self, method: &str, path: &str) -> Result<String> {
        let mut stream = TcpStream::connect(("127.0.0.1", self.port))?;
        write!(stream, "{method} {path} HTTP/1.0\r\nHost: localhost\r\n\r\n")?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer)?;
        let (head, body) = answer.split_once("\r\n\r\n").context("no answer")?;
        ensure!(head.contains(" 200 ") || path.starts_with("/api"), "{head}");
        Ok(body.to_owned())
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        // It may have ended by itself.
        let _ = self.server.kill();
        let _ = self.server.wait();
    }
}

fn flag(name: &str, value: &str) -> String {
    format!("--{name}={value}")
}

/// The size of all files in a folder and its folders, in bytes.
fn size(folder: &Path) -> Result<u64> {
    let mut size = 0;
    for entry in fs::read_dir(folder)? {
        let entry = entry?;
        size +=
            if entry.file_type()?.is_dir() { self::size(&entry.path())? } else { entry.metadata()?.len() };
    }
    Ok(size)
}

/// The folder with what the project has for Prometheus.
pub fn monitoring() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../packaging/monitoring")
}

/// The queries of the dashboard, for the instances that a regular expression fits and all services, with this interval for
/// rates.
///
/// # Errors
/// Where the dashboard cannot be read.
pub fn dashboard_queries(instance: &str, rate_interval: &str) -> Result<Vec<String>> {
    let dashboard: Value = serde_json::from_str(&fs::read_to_string(monitoring().join("dashboard.json"))?)?;
    let panels = dashboard["panels"].as_array().context("no panels")?;
    let targets = panels.iter().filter_map(|panel| panel["targets"].as_array()).flatten();
    let expression = |target: &Value| {
        let expression = target["expr"].as_str().context("no expression")?;
        let expression = expression.replace("$instance", instance).replace("$service_port", ".*");
        Ok(expression.replace("$__rate_interval", rate_interval))
    };
    targets.map(expression).collect()
}

fn number(value: &Value) -> Result<f64> {
    let text = value.as_str().context("no number")?;
    match text {
        "+Inf" => Ok(f64::INFINITY),
        "-Inf" => Ok(f64::NEG_INFINITY),
        text => Ok(text.parse()?),
    }
}

/// Percent-encodes all but letters and digits.
fn escaped(text: &str) -> String {
    let mut escaped = String::new();
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' => escaped.push(byte.into()),
            // Writing to a String cannot fail.
            _ => drop(write!(escaped, "%{byte:02X}")),
        }
    }
    escaped
}
