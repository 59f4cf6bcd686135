//! The page in a browser: the distribution's Chromium, without a screen. What the browser made of the page is compared with
//! figures that these tests compute from the JSON themselves.

mod common;

use std::{
    collections::BTreeMap,
    fs,
    path::Path,
    process::Command,
    time::{Duration, Instant},
};

use common::{data, generated, page_of, report};
use serde_json::Value;

/// What the browser says of a page.
struct Opened {
    /// The document, as the browser writes it: each attribute in double quotes, each `<` of a text as `&lt;`.
    dom: String,
    /// The browser's log, which has the messages of the console.
    log: String,
    /// The browser's log of the network.
    network: String,
    took: Duration,
}

/// Opens a page in Chromium.
fn open(page: &Path) -> Opened {
    let profile = tempfile::tempdir().unwrap();
    let network = profile.path().join("network.json");
    let begin = Instant::now();
    let output = Command::new("chromium")
        .args(["--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run"])
        .args(["--disable-background-networking", "--disable-component-update", "--disable-sync"])
        .args(["--enable-logging=stderr", "--dump-dom"])
        .arg(format!("--log-net-log={}", network.display()))
        .arg(format!("--user-data-dir={}", profile.path().join("profile").display()))
        .arg(format!("file://{}", page.display()))
        .output()
        .expect("this test needs Chromium: apt-get install -y --no-install-recommends chromium");
    let took = begin.elapsed();
    let dom = String::from_utf8(output.stdout).unwrap();
    let log = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(output.status.success() && dom.contains("</html>"), "{log}");
    Opened { dom, log, network: fs::read_to_string(network).unwrap_or_default(), took }
}

/// Makes a page of these files of test data, and opens it.
fn opened(names: &[&str]) -> Opened {
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html");
    page_of(names, &[], &page);
    let opened = open(&page);
    assert_is_harmless(&opened);
    opened
}

/// The tags of a document, without their brackets.
fn tags(dom: &str) -> impl Iterator<Item = &str> {
    dom.split('<').skip(1).filter_map(|rest| rest.split_once('>')).map(|(tag, _)| tag)
}

/// Fails if the page does anything but stand there.
fn assert_is_harmless(Opened { dom, log, network, .. }: &Opened) {
    let console: Vec<&str> = log.lines().filter(|line| line.contains("CONSOLE")).collect();
    assert!(console.is_empty(), "{console:?}");
    let known = [
        "!DOCTYPE", "html", "head", "meta", "title", "style", "body", "main", "header", "h1", "h2", "h3",
        "p", "a", "ol", "ul", "li", "strong", "code", "br", "div", "section", "table", "caption", "thead",
        "tbody", "tr", "th", "td", "details", "summary", "span", "svg", "desc", "text", "line", "polyline",
        "polygon", "rect", "circle",
    ];
    for tag in tags(dom) {
        let name = tag.trim_start_matches('/').split_whitespace().next().unwrap();
        assert!(known.contains(&name), "<{tag}>");
        let attributes: Vec<&str> = tag.split('"').step_by(2).collect();
        for attribute in attributes {
            let attribute = attribute.trim();
            assert!(!attribute.starts_with("on") && attribute != "src=" && attribute != "style=", "<{tag}>");
        }
        let outside = tag.replace("xmlns=\"http://www.w3.org/2000/svg\"", "");
        assert!(!outside.contains("://") && !outside.contains("javascript:"), "<{tag}>");
        assert!(!outside.contains("href=\"") || outside.contains("href=\"#"), "<{tag}>");
    }
    let style = dom.split_once("<style>").unwrap().1.split_once("</style>").unwrap().0;
    assert!(!style.contains("url(") && !style.contains("@import"));
    assert!(dom.contains("default-src 'none'"));
    assert!(!network.contains("example.org"));
}

/// The chart of association `a{n}` with this name: its tags, the root first.
fn chart<'a>(dom: &'a str, id: &str) -> Vec<&'a str> {
    let at = dom.find(&format!("aria-labelledby=\"{id}-t ")).unwrap_or_else(|| panic!("no chart {id}"));
    let begin = dom[..at].rfind("<svg").unwrap();
    let end = at + dom[at..].find("</svg>").unwrap();
    tags(&dom[begin..end]).collect()
}

fn attribute<'a>(tag: &'a str, name: &str) -> &'a str {
    let begin =
        tag.find(&format!(" {name}=\"")).unwrap_or_else(|| panic!("no {name} in <{tag}>")) + name.len() + 3;
    tag[begin..].split('"').next().unwrap()
}

fn number(tag: &str, name: &str) -> f64 {
    attribute(tag, name).parse().unwrap()
}

/// The points of a polyline or polygon.
fn points(tag: &str) -> Vec<(f64, f64)> {
    let point = |point: &str| {
        let (x, y) = point.split_once(',').unwrap();
        (x.parse().unwrap(), y.parse().unwrap())
    };
    attribute(tag, "points").split_whitespace().map(point).collect()
}

/// The pixel of a time, by the scale that the chart's root says.
fn x(root: &str, time: i64) -> f64 {
    let [from, to, left, right] =
        ["from", "to", "left", "right"].map(|name| number(root, &format!("data-{name}")));
    left + (time as f64 - from) / (to - from) * (right - left)
}

/// The value of a pixel.
fn value(root: &str, y: f64) -> f64 {
    let [top, bottom, min, max] =
        ["top", "bottom", "min", "max"].map(|name| number(root, &format!("data-{name}")));
    let part = (bottom - y) / (bottom - top);
    if attribute(root, "data-log") == "true" {
        min * (max / min).powf(part)
    } else {
        min + part * (max - min)
    }
}

/// The cells of the first row of a chart's table of numbers, without its head.
fn first_row(dom: &str, id: &str) -> Vec<String> {
    rows(dom, id).swap_remove(0)
}

fn rows(dom: &str, id: &str) -> Vec<Vec<String>> {
    let table =
        dom.split_once(&format!("<details id=\"{id}-n\">")).unwrap().1.split_once("</details>").unwrap().0;
    let body = table.split_once("<tbody>").unwrap().1;
    let cells = |row: &str| {
        let cells = row.split("</td>").filter_map(|cell| cell.rsplit_once("<td"));
        cells.filter_map(|(_, cell)| Some(cell.split_once('>')?.1.to_owned())).collect()
    };
    body.split("</tr>").filter(|row| row.contains("<td")).map(cells).collect()
}

fn cell(cells: &[String], column: usize) -> f64 {
    cells[column].replace(',', "").parse().unwrap_or_else(|_| panic!("{cells:?}"))
}

/// The objects of a file with this type, about this association.
fn objects(name: &str, kind: &str, id: u64) -> Vec<Value> {
    let text = fs::read_to_string(data(name)).unwrap();
    let objects = text.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    objects.filter(|object| object["type"] == kind && object["assoc_id"] == id).collect()
}

/// Microseconds since 1970, by counting days: not as the command does it.
fn time(object: &Value) -> i64 {
    let text = object["time"].as_str().unwrap();
    let parts: Vec<i64> =
        text.split(['-', 'T', ':', '.', 'Z']).filter_map(|part| part.parse().ok()).collect();
    let [2026, 1, day, hour, minute, second, fraction] = parts[..] else { panic!("{text}") };
    let digits = text.split_once('.').unwrap().1.len() as u32 - 1;
    // From 1970 to 2026 there are 14 leap days.
    let days = 56 * 365 + 14 + day - 1;
    (((days * 24 + hour) * 60 + minute) * 60 + second) * 1_000_000 + fraction * 10_i64.pow(6 - digits)
}

/// The percentile `part` (0 to 1): this part of the values is not above it.
fn percentile(values: &mut [f64], part: f64) -> f64 {
    values.sort_by(f64::total_cmp);
    values[((values.len() as f64 * part).ceil() as usize).max(1) - 1]
}

fn assert_near(seen: f64, computed: f64, relative: f64) {
    assert!((seen - computed).abs() <= computed.abs() * relative + 0.002, "{seen} for {computed}");
}

const READER_STOPS: [&str; 3] =
    ["reader-stops-rtt.jsonl", "reader-stops-rto.jsonl", "reader-stops-bufmon.jsonl"];

#[test]
fn latencies_are_those_of_the_samples() {
    let dom = opened(&READER_STOPS).dom;
    let samples = objects(READER_STOPS[0], "sample", 77);
    let ms = |sample: &Value| sample["rtt_us"].as_f64().unwrap() / 1e3;
    let mut all: Vec<f64> = samples.iter().map(ms).collect();
    let mut prompt: Vec<f64> = samples.iter().filter(|sample| sample["prompt"] == true).map(ms).collect();

    // The numbers.
    let cells = first_row(&dom, "a1-latency");
    assert_eq!(cell(&cells, 0), all.len() as f64);
    assert_near(cell(&cells, 1), percentile(&mut all, 0.5), 0.046);
    assert_near(cell(&cells, 2), percentile(&mut all, 0.99), 0.046);
    assert_near(cell(&cells, 3), percentile(&mut all, 1.0), 0.001);
    assert_eq!(cell(&cells, 4), prompt.len() as f64);
    assert_near(cell(&cells, 5), percentile(&mut prompt, 0.5), 0.046);

    // The marks: each bucket of 1/64 s has its median there.
    let mut buckets: BTreeMap<i64, Vec<f64>> = BTreeMap::new();
    for sample in &samples {
        buckets.entry(time(sample).div_euclid(15_625)).or_default().push(ms(sample));
    }
    let chart = chart(&dom, "a1-latency");
    let root = chart[0];
    let blue = |tag: &&&str| tag.contains("stroke=\"#0072B2\"") || tag.contains("fill=\"#0072B2\"");
    let mut drawn: Vec<(f64, f64)> = Vec::new();
    for tag in chart.iter().filter(blue) {
        match tag.split(' ').next() {
            Some("circle") => drawn.push((number(tag, "cx"), number(tag, "cy"))),
            // The first polyline belongs to the legend.
            Some("polyline") if points(tag)[0].1 >= number(root, "data-top") => drawn.extend(points(tag)),
            _ => {}
        }
    }
    drawn.sort_by(|a, b| a.0.total_cmp(&b.0));
    assert_eq!(drawn.len(), buckets.len());
    let pixel = value(root, 0.0) - value(root, 1.0);
    for ((number, mut values), (px, py)) in buckets.into_iter().zip(drawn) {
        assert!((px - x(root, number * 15_625 + 7_812)).abs() <= 1.0);
        let median = percentile(&mut values, 0.5);
        assert!(
            (value(root, py) - median).abs() <= median * 0.046 + pixel,
            "{} for {median}",
            value(root, py)
        );
    }
}

#[test]
fn expiries_stalls_and_limits_are_where_they_were() {
    let dom = opened(&READER_STOPS).dom;

    // A triangle for each T3-rtx expiry, besides that of the legend.
    let expiries: Vec<i64> = objects(READER_STOPS[1], "sample", 77)
        .iter()
        .filter(|sample| sample["cause"] == "t3")
        .map(time)
        .collect();
    let rto = chart(&dom, "a1-rto");
    let triangles = rto.iter().filter(|tag| tag.starts_with("polygon") && tag.contains("#D55E01"));
    let in_plot = triangles.map(|tag| points(tag)).filter(|points| points[0].1 >= number(rto[0], "data-top"));
    let drawn: Vec<f64> = in_plot.map(|points| points[2].0).collect();
    assert_eq!(drawn.len(), expiries.len());
    assert!(!expiries.is_empty());
    for (px, time) in drawn.iter().zip(&expiries) {
        assert!((px - x(rto[0], *time)).abs() <= 2.0, "{px}");
    }
    let cells = first_row(&dom, "a1-rto");
    assert_eq!(cell(&cells, 4), expiries.len() as f64);
    let rtos = objects(READER_STOPS[1], "sample", 77);
    let rtos = rtos.iter().map(|sample| sample["rto_ms"].as_f64().unwrap());
    assert_near(cell(&cells, 2), rtos.fold(0.0, f64::max), 0.001);

    // The stall began when its line says, and lasted as long as the interval says in which it ended.
    let stall = &objects(READER_STOPS[2], "stall", 77)[0];
    let intervals = objects(READER_STOPS[2], "interval", 77);
    let longest =
        intervals.iter().map(|interval| interval["stall_max_ms"].as_f64().unwrap()).fold(0.0, f64::max);
    let windows = chart(&dom, "a1-windows");
    let shades = windows.iter().filter(|tag| tag.starts_with("rect") && tag.contains("#D55E01"));
    let shades: Vec<_> = shades.filter(|tag| number(tag, "y") >= number(windows[0], "data-top")).collect();
    assert_eq!(shades.len(), 1);
    let (left, width) = (number(shades[0], "x"), number(shades[0], "width"));
    assert!((left - x(windows[0], time(stall))).abs() <= 1.0);
    assert!((left + width - x(windows[0], time(stall) + (longest * 1e3) as i64)).abs() <= 1.0);

    // The shares of all time.
    let limits = ["app", "sndbuf", "nagle", "cwnd", "rwnd", "other"];
    let sum = |limit: &str| -> f64 {
        intervals.iter().map(|interval| interval[format!("limited_{limit}_us")].as_f64().unwrap()).sum()
    };
    let all: f64 = limits.iter().map(|limit| sum(limit)).sum();
    let cells = first_row(&dom, "a1-limited");
    for (column, limit) in limits.iter().enumerate() {
        assert_near(cell(&cells, column), 100.0 * sum(limit) / all, 0.001);
    }

    // The windows.
    let of = |key: &str| intervals.iter().filter_map(|i| i[key].as_f64()).collect::<Vec<_>>();
    let cells = first_row(&dom, "a1-windows");
    assert_eq!(cell(&cells, 0), of("rwnd_min_bytes").into_iter().fold(f64::INFINITY, f64::min));
    assert_eq!(cell(&cells, 1), of("outqueue_max_bytes").into_iter().fold(0.0, f64::max).round());
    assert_eq!(cell(&cells, 2), of("in_flight_max_bytes").into_iter().fold(0.0, f64::max).round());
}

#[test]
fn a_failover_shows_states_and_findings() {
    let names = ["two-paths-rto.jsonl", "two-paths-bufmon.jsonl", "two-paths-streamutil.jsonl"];
    let dom = opened(&names).dom;
    for code in ["no_spare_path", "path_jumped", "path_silent"] {
        assert!(dom.contains(&format!("<code>{code}</code>")), "{code}");
    }
    assert!(dom.contains("Cure: look at the path that failed"));
    // The first change of state is the failure of the first path.
    let change = &objects(names[0], "path", 43)[0];
    assert_eq!(change["new_state"], "inactive");
    let rto = chart(&dom, "a1-rto");
    let inactive = rto.iter().filter(|tag| tag.starts_with("rect") && tag.contains("#D55E01"));
    let lefts: Vec<f64> = inactive.map(|tag| number(tag, "x")).collect();
    assert!(lefts.iter().any(|left| (left - x(rto[0], time(change))).abs() <= 1.0), "{lefts:?}");

    let bytes: u64 =
        objects(names[2], "interval", 43).iter().map(|i| i["total_bytes"].as_u64().unwrap()).sum();
    let in_table: f64 = rows(&dom, "a1-streams").iter().map(|row| cell(row, 0)).sum();
    assert_eq!(in_table, bytes as f64);
}

/// A run with `--no-samples` has lines of changes of paths' states, which are no samples: expiries and RTOs are those of its
/// intervals.
#[test]
fn a_failover_without_samples_has_the_expiries_of_its_intervals() {
    let names =
        ["failover-rto.jsonl", "failover-rtt.jsonl", "failover-bufmon.jsonl", "failover-streamutil.jsonl"];
    let dom = opened(&names).dom;
    for (row, path) in rows(&dom, "a1-rto").iter().zip(["10.2.0.1", "10.2.1.1"]) {
        let intervals: Vec<_> =
            objects(names[0], "interval", 57).into_iter().filter(|i| i["path"] == path).collect();
        let sum = |key: &str| intervals.iter().filter_map(|i| i[key].as_f64()).sum::<f64>();
        // An expiry raises `rto_last_ms`. It is no update: `rto_max_ms`, the largest RTO of the updates, does not count
        // it.
        let rtos = intervals.iter().flat_map(|i| [&i["rto_max_ms"], &i["rto_last_ms"]]);
        let largest = rtos.filter_map(Value::as_f64).fold(0.0, f64::max);
        let seen = [2, 4, 5].map(|column| cell(row, column));
        assert_eq!(seen, [largest, sum("t3_expiries"), sum("heartbeat_timeouts")], "{path}");
    }
}

#[test]
fn losses_of_packets_without_samples_are_drawn_by_intervals() {
    let names = [
        "loss-rtt.jsonl",
        "loss-rto.jsonl",
        "loss-bufmon.jsonl",
        "loss-jitter.jsonl",
        "loss-streamutil.jsonl",
    ];
    let dom = opened(&names).dom;
    let intervals = objects(names[0], "interval", 7);
    let cells = first_row(&dom, "a1-latency");
    let samples = |i: &Value| i["samples"].as_f64().unwrap();
    assert_eq!(cell(&cells, 0), intervals.iter().map(samples).sum::<f64>());
    let p99 = intervals.iter().filter_map(|i| i["rtt_p99_us"].as_f64()).fold(0.0, f64::max);
    assert_near(cell(&cells, 2), p99 / 1e3, 0.001);
    // The table of associations says that its figures are of intervals.
    let p50 = |i: &Value| Some(i["rtt_p50_us"].as_f64()? * samples(i));
    let mean =
        intervals.iter().filter_map(p50).sum::<f64>() / intervals.iter().map(samples).sum::<f64>() / 1e3;
    let row = dom.split_once("<tr id=\"row1\">").unwrap().1.split_once("<td>~").unwrap().1;
    assert_near(row.split('<').next().unwrap().parse().unwrap(), mean, 0.001);
    let jitters = objects(names[3], "interval", 8);
    let jitter = jitters.iter().filter_map(|i| i["jitter_us"].as_f64()).fold(0.0, f64::max);
    assert_near(cell(&first_row(&dom, "a2-jitter"), 0), jitter / 1e3, 0.001);
    assert!(dom.contains("<code>real_loss</code>"));
    // The file of sctp-jitter was cut before its `end` object.
    assert!(dom.contains("sctp-jitter in loss-jitter.jsonl"));
}

#[test]
fn an_abort_of_a_hostile_peer_is_text() {
    let opened = opened(&["abort.jsonl"]);
    let dom = &opened.dom;
    assert!(dom.contains(
        "ended after 6.5 s: ABORT received, by peer, cause 12 (user initiated) “going down &lt;/script&gt;"
    ));
    assert!(dom.contains("\\u{7}\\u{85}\\u{202e}gnp") && !dom.contains('\u{202e}'));
    assert!(dom.contains("&lt;/td&gt;&lt;b&gt;amf") && dom.contains("/system.slice/&lt;i&gt;amf"));
    // Begin and end are marked at their times.
    let text = fs::read_to_string(data("abort.jsonl")).unwrap();
    let times: Vec<i64> =
        text.lines().take(2).map(|line| time(&serde_json::from_str(line).unwrap())).collect();
    let events = chart(dom, "a1-events");
    let marks = events.iter().filter(|tag| tag.starts_with("polyline") && tag.contains("#777777"));
    let drawn: Vec<f64> = marks.map(|tag| points(tag)[0].0).collect();
    assert_eq!(drawn.len(), 2);
    for (px, time) in drawn.iter().zip(times) {
        assert!((px - x(events[0], time)).abs() <= 1.0);
    }
}

#[test]
fn a_style_that_the_policy_does_not_allow_is_noticed() {
    // Shows that the other tests would see a violation.
    let dir = tempfile::tempdir().unwrap();
    let page = dir.path().join("page.html");
    page_of(&["abort.jsonl"], &[], &page);
    let text = fs::read_to_string(&page).unwrap();
    fs::write(&page, text.replace("<style>", "<style>p{color:red}")).unwrap();
    let log = open(&page).log;
    assert!(
        log.lines().any(|line| line.contains("CONSOLE") && line.contains("Content Security Policy")),
        "{log}"
    );
}

#[test]
fn a_thousand_associations_are_opened() {
    let dir = tempfile::tempdir().unwrap();
    let [input, page, blank] = ["run.jsonl", "page.html", "blank.html"].map(|name| dir.path().join(name));
    fs::write(&input, generated(1000, 12)).unwrap();
    assert!(report().arg(&input).arg("-o").arg(&page).status().unwrap().success());
    fs::write(&blank, "<!DOCTYPE html><html><title>x</title></html>").unwrap();
    let size = fs::metadata(&page).unwrap().len();
    let opened = open(&page);
    // The browser's own start is not the page's.
    println!("{size} bytes opened in {:?}, a blank page in {:?}", opened.took, open(&blank).took);
    assert_is_harmless(&opened);
    assert_eq!(opened.dom.matches("<tr id=\"row").count(), 1000);
    assert!(size < 3_000_000);
}
