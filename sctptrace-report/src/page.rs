//! Writes the page. Whatever comes from the input passes [`html`](crate::escape::html()).

use std::{cmp::Reverse, collections::BTreeMap, fmt::Write as _};

use crate::{
    association::{AckFigures, Association, MOST_MARKS, MOST_PATHS, MOST_STREAMS, TOOLS},
    bins::Bucket as _,
    charts::{self, plot::cell},
    escape::{html, short},
    findings::{Finding, documented},
    model::{MOST_ASSOCIATIONS, Model},
    time::{date_time, figures, length, thousands},
};

/// The style sheet of the page.
const STYLE: &str = include_str!("style.css");

/// SHA-256 of [`STYLE`] in base64: the page allows no other style. If the style changes, a test prints the new value.
const STYLE_HASH: &str = "a3XvDl7UU5iLTbV82/7F6CtAB8mQru4SiatqK+C5ot4=";

/// Bytes that the charts of a page may take. When they are used up, the other associations are in the table only.
const CHARTS: usize = 1_200_000;

/// The findings that are seen at once. The others are folded up.
const OPEN_FINDINGS: usize = 10;

/// At most this many findings are listed. Further ones are counted.
const MOST_FINDINGS: usize = 200;

/// The associations that have charts: indexes, worst first.
#[must_use]
pub fn drawn(model: &Model) -> Vec<usize> {
    sections(model).into_iter().map(|(index, _)| index).collect()
}

/// The associations that are shown, worst first.
fn order(model: &Model) -> Vec<usize> {
    let mut order: Vec<usize> = (0..model.associations.len()).collect();
    order.retain(|index| model.associations[*index].span.is_some());
    order.sort_by_key(|index| Reverse(model.associations[*index].rank()));
    order
}

/// The sections of the associations that have charts, worst first.
fn sections(model: &Model) -> Vec<(usize, String)> {
    let mut bytes = 0;
    let mut sections = Vec::new();
    for index in order(model) {
        let section = section(model, index);
        bytes += section.len();
        if bytes > CHARTS && !sections.is_empty() {
            break;
        }
        sections.push((index, section));
    }
    sections
}

/// Returns the page as HTML.
#[must_use]
pub fn page(model: &Model) -> String {
    let sections = sections(model);
    let mut page = String::with_capacity(1 << 16);
    // Writing to a String cannot fail, here and below.
    let _ = write!(
        page,
        "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n\
         <meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{STYLE_HASH}'; \
         base-uri 'none'; form-action 'none'\">\n\
         <meta name=\"viewport\" content=\"width=device-width, initial-scale=1\">\n\
         <meta name=\"referrer\" content=\"no-referrer\">\n\
         <meta name=\"generator\" content=\"sctptrace-report {}\">\n\
         <title>SCTP trace report</title>\n<style>{STYLE}</style>\n</head>\n<body>\n<main>\n",
        env!("CARGO_PKG_VERSION")
    );
    page.push_str(&head(model));
    page.push_str(&losses(model));
    page.push_str(&left_out(model, sections.len()));
    page.push_str(&findings(model, &sections));
    page.push_str(&table(model, &sections));
    page.push_str("<h2 id=\"charts\">Charts</h2>\n");
    page.push_str(
        "<p class=\"small\">The charts of an association have one axis of time (UTC). Dashed lines across them mark its \
         begins, restarts and ends. Below each chart are its numbers; “–” is what was not measured.</p>\n",
    );
    sections.iter().for_each(|(_, section)| page.push_str(section));
    page.push_str(&accounting(model));
    page.push_str("</main>\n</body>\n</html>\n");
    page
}

fn plural(count: u64, one: &str, many: &str) -> String {
    format!("{} {}", number(count), if count == 1 { one } else { many })
}

fn number(count: u64) -> String {
    thousands(i64::try_from(count).unwrap_or(i64::MAX))
}

fn optional(count: Option<u64>) -> String {
    count.map_or("–".to_owned(), number)
}

/// Title, time and sources.
fn head(model: &Model) -> String {
    let mut text = "<header><h1>SCTP trace report</h1>\n".to_owned();
    if let Some([first, last]) = model.span {
        let _ = writeln!(
            text,
            "<p>{} to {} UTC ({})</p>",
            date_time(first),
            date_time(last),
            html(&length((last - first) as f64))
        );
    }
    let names: Vec<String> = model.sources.iter().take(20).map(|s| html(&short(&s.name, 60))).collect();
    let more = model.sources.len().saturating_sub(20);
    let more = if more > 0 { format!(" and {more} more") } else { String::new() };
    let _ = writeln!(
        text,
        "<p class=\"small\">{} of {}: {}{more}</p></header>",
        plural(model.lines(), "line", "lines"),
        plural(model.sources.len() as u64, "file", "files"),
        names.join(", ")
    );
    text
}

/// The paragraph about what was lost, which stands out if anything was.
fn losses(model: &Model) -> String {
    let sum = &model.accounting.sum;
    let mut text = String::new();
    if sum.is_any() {
        let mut what = Vec::new();
        let counts = [
            (sum.lost, "event", "lost (no room in the ring)"),
            (sum.unseen, "chunk", "unseen (the kernel counted it, no program saw it)"),
            (sum.evicted, "entry", "evicted (a table was full)"),
            (sum.dropped_lines, "line", "dropped (the reader of the output was too slow)"),
        ];
        for (count, one, words) in counts {
            if let Some(count) = count.filter(|count| *count > 0) {
                let many = if one == "entry" { "entries".to_owned() } else { format!("{one}s") };
                what.push(format!("{} {words}", plural(count, one, &many)));
            }
        }
        if sum.hooks_off {
            what.push("the kernel's function tracing was switched off meanwhile".to_owned());
        }
        let _ = writeln!(
            text,
            "<p class=\"loud\" id=\"losses\" role=\"alert\"><strong>Not all is here:</strong> {}. The figures below are of \
             the rest. <a href=\"#accounting\">Which command lost it</a></p>",
            what.join("; ")
        );
    } else if !model.accounting.runs.is_empty() {
        let _ = writeln!(
            text,
            "<p class=\"note small\" id=\"losses\">Nothing was lost, as far as the commands measure it: \
             <a href=\"#accounting\">accounting</a></p>"
        );
    }
    let mut without = Vec::new();
    for source in &model.sources {
        for (tool, [has_lines, has_end]) in TOOLS.iter().zip(source.tools) {
            if has_lines && !has_end {
                without.push(format!("sctp-{tool} in {}", html(&short(&source.name, 60))));
            }
        }
    }
    if !without.is_empty() {
        let more = without.len().saturating_sub(20);
        without.truncate(20);
        let more = if more > 0 { format!(" and {more} more") } else { String::new() };
        let _ = writeln!(
            text,
            "<p class=\"loud\"><strong>What was lost is not known</strong> of these, as their output has no end: {}{more}</p>",
            without.join(", ")
        );
    }
    for source in model.sources.iter().filter(|source| source.is_cut) {
        let _ = writeln!(
            text,
            "<p class=\"loud\"><strong>The last line of {} is cut</strong>, and left out.</p>",
            html(&short(&source.name, 60))
        );
    }
    text
}

/// The paragraph about what the page leaves out.
fn left_out(model: &Model, drawn: usize) -> String {
    let mut notes = Vec::new();
    if !model.is_whole() {
        notes.push("Only what --assoc, --peer, --from and --to asked for is shown.".to_owned());
    }
    if model.is_anonymous() {
        notes.push(
            "Addresses, names of processes, cgroups and files, and texts of ABORTs are replaced by numbered names."
                .to_owned(),
        );
    }
    let shown = model.associations.iter().filter(|association| association.span.is_some()).count();
    if drawn < shown {
        notes.push(format!(
            "{} of {} have charts: those with the most findings, stalls and T3-rtx expiries, then with the most lines. \
             The others are in the table only. --assoc and --peer choose others.",
            number(drawn as u64),
            plural(shown as u64, "association", "associations"),
        ));
    }
    let (left_out, is_exact) = model.left_out();
    if left_out > 0 {
        let count =
            if is_exact { number(left_out as u64) } else { format!("more than {}", number(left_out as u64)) };
        notes.push(format!(
            "{count} more associations, with {}, are not shown: the table has the first {}.",
            plural(model.left_out_lines, "line", "lines"),
            number(MOST_ASSOCIATIONS as u64),
        ));
    }
    if model.unknown > 0 {
        notes.push(format!(
            "{} of a type that this version does not know: left out.",
            plural(model.unknown, "line is", "lines are"),
        ));
    }
    if notes.is_empty() {
        return String::new();
    }
    format!("<p class=\"note\" id=\"left-out\">{}</p>\n", notes.join("<br>\n"))
}

/// The findings: those that last first, then the one that began last.
fn findings(model: &Model, sections: &[(usize, String)]) -> String {
    let sorted = model.findings.sorted();
    let mut text = "<h2 id=\"findings\">Findings</h2>\n".to_owned();
    if sorted.is_empty() {
        text.push_str("<p>None in the input. That does not mean that all is well.</p>\n");
        return text;
    }
    text.push_str("<ol class=\"findings\">\n");
    let listed = &sorted[..sorted.len().min(MOST_FINDINGS)];
    let (open, folded) = listed.split_at(listed.len().min(OPEN_FINDINGS));
    open.iter().for_each(|finding| text.push_str(&item(model, finding, sections)));
    text.push_str("</ol>\n");
    if !folded.is_empty() {
        let count = plural(folded.len() as u64, "more finding", "more findings");
        let _ = writeln!(text, "<details><summary>{count}</summary><ol class=\"findings\">");
        folded.iter().for_each(|finding| text.push_str(&item(model, finding, sections)));
        text.push_str("</ol></details>\n");
    }
    let mut more: BTreeMap<&str, u64> =
        model.findings.more.iter().map(|(code, count)| (code.as_str(), *count)).collect();
    for finding in sorted.iter().skip(MOST_FINDINGS) {
        *more.entry(&finding.code).or_default() += 1;
    }
    if !more.is_empty() {
        let more: Vec<_> =
            more.into_iter().map(|(code, n)| format!("{} {}", number(n), html(code))).collect();
        let _ = writeln!(text, "<p class=\"note\">More findings, not listed: {}</p>", more.join(", "));
    }
    text
}

fn item(model: &Model, finding: &Finding, sections: &[(usize, String)]) -> String {
    let class = if finding.end.is_some() { " class=\"over\"" } else { "" };
    let mut text = format!("<li{class}><p><strong><code>{}</code></strong> ", html(&finding.code));
    let _ = writeln!(text, "{}</p>", html(&finding.sentence));
    if let Some(cure) = documented(&finding.code, "cure") {
        let why = documented(&finding.code, "why").map_or(String::new(), |why| format!(" ({})", html(why)));
        let _ = writeln!(text, "<p>Cure: {}{why}</p>", html(cure));
    }
    let begin = finding.begin.map_or("not said".to_owned(), date_time);
    let when = finding.end.map_or_else(
        || format!("since {begin} UTC; lasts, as far as the input tells"),
        |end| format!("{begin} to {} UTC", date_time(end)),
    );
    let about = match finding.association {
        Some(index) => {
            let to = if sections.iter().any(|(drawn, _)| *drawn == index) { "a" } else { "row" };
            format!("<a href=\"#{to}{}\">{}</a>", index + 1, html(&finding.about))
        }
        None if finding.about.is_empty() => {
            format!("the host of {}", html(&short(&model.sources[finding.source].name, 60)))
        }
        None => html(&finding.about),
    };
    let path = finding.path.as_deref().map_or(String::new(), |path| format!(", path {}", html(path)));
    let _ = writeln!(text, "<p class=\"small\">{when}: {about}{path}</p>");
    if !finding.evidence.is_empty() {
        let evidence: Vec<_> =
            finding.evidence.iter().map(|(name, n)| format!("{} {}", html(name), figures(*n))).collect();
        let _ = writeln!(text, "<p class=\"small\">{}</p>", evidence.join(", "));
    }
    text.push_str("</li>\n");
    text
}

/// The table of associations, worst first.
fn table(model: &Model, sections: &[(usize, String)]) -> String {
    let mut text = "<h2 id=\"associations\">Associations</h2>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" \
                    aria-labelledby=\"associations\">\n<table><thead><tr><th scope=\"col\" class=\"text\">id</th>\
                    <th scope=\"col\" class=\"text\">from, to</th><th scope=\"col\" class=\"text\">process</th>\
                    <th scope=\"col\">latency p50 ms</th><th scope=\"col\">p99 ms</th>\
                    <th scope=\"col\">round trip p50 ms</th><th scope=\"col\">T3-rtx expiries</th>\
                    <th scope=\"col\">stalls</th><th scope=\"col\">longest</th><th scope=\"col\">findings</th>\
                    <th scope=\"col\" class=\"text last\">what happened last</th></tr></thead>\n<tbody>\n"
        .to_owned();
    for index in order(model) {
        let association = &model.associations[index];
        let n = index + 1;
        let is_drawn = sections.iter().any(|(drawn, _)| *drawn == index);
        let id = if is_drawn {
            format!("<a href=\"#a{n}\">{}</a>", association.id)
        } else {
            association.id.to_string()
        };
        let [p50, p99, round_trip] = latencies(association);
        let longest = association.longest_stall().map_or(String::new(), |stall| {
            let at_least = if stall.is_over { "" } else { "at least " };
            format!("{at_least}{}", html(&length(stall.lasted_ms * 1e3)))
        });
        let last = association.events.last().map_or(String::new(), |event| html(&short(&event.text, 80)));
        let _ = writeln!(
            text,
            "<tr id=\"row{n}\"><th scope=\"row\">{id}</th><td class=\"text\">{}</td><td class=\"text\">{}</td>\
             <td>{p50}</td><td>{p99}</td><td>{round_trip}</td><td>{}</td><td>{}</td><td>{longest}</td>\
             <td>{}</td><td class=\"text\">{last}</td></tr>",
            ends(association),
            process(association),
            optional(association.t3_expiries()),
            optional(association.stall_count()),
            number(association.findings),
        );
    }
    text.push_str("</tbody></table></div>\n");
    if text.contains("<td>~") {
        text.push_str(
            "<p class=\"small\">~: by the figures of intervals, as there is no object for each sample: mean of their \
             medians, and the largest of their 99th percentiles.</p>\n",
        );
    }
    text
}

/// Median and 99th percentile of the acknowledgement latency, and median of the round-trip time, in milliseconds, as cells.
/// Without an object for each sample they are made from the figures of intervals, and begin with `~`.
fn latencies(association: &Association) -> [String; 3] {
    let latency = &association.latency;
    let acks = &latency.all;
    if latency.has_all_samples() || latency.intervals.is_empty() {
        let figures = [acks.all.percentile(0.5), acks.all.percentile(0.99), acks.prompt.percentile(0.5)];
        return figures.map(|us| cell(us.map(|us| us / 1e3)));
    }
    let mut whole = AckFigures::default();
    latency.intervals.iter().for_each(|(_, figures)| whole.merge(figures));
    [whole.p50(), whole.p99, whole.prompt_p50()]
        .map(|us| us.map_or(cell(None), |us| format!("~{}", cell(Some(us / 1e3)))))
}

fn ends(association: &Association) -> String {
    let end = |end: &Option<String>| end.as_deref().map_or("?".to_owned(), html);
    format!(
        "<span class=\"whole\">{}</span> → <span class=\"whole\">{}</span>",
        end(&association.local),
        end(&association.peer)
    )
}

fn process(association: &Association) -> String {
    match (&association.comm, association.pid) {
        (Some(comm), Some(pid)) => format!("{}[{pid}]", html(comm)),
        (Some(comm), None) => html(comm),
        _ => "–".to_owned(),
    }
}

/// An association: what is known of it, its events, and its charts.
fn section(model: &Model, index: usize) -> String {
    let association = &model.associations[index];
    let n = index + 1;
    let mut text = format!(
        "<section class=\"association\" id=\"a{n}\" aria-labelledby=\"h{n}\">\n<h3 id=\"h{n}\">Association {}: {}</h3>\n",
        association.id,
        ends(association)
    );
    let mut facts = Vec::new();
    if association.comm.is_some() {
        facts.push(format!("process {}", process(association)));
    }
    for (what, value) in [
        ("cgroup", association.cgroup.clone()),
        ("protocol", association.protocol.clone()),
        ("network namespace", association.netns.map(|netns| netns.to_string())),
        ("host", association.host.clone()),
        ("send buffer", association.sndbuf_bytes.map(|bytes| format!("{} bytes", number(bytes)))),
        ("receive buffer", association.rcvbuf_bytes.map(|bytes| format!("{} bytes", number(bytes)))),
    ] {
        if let Some(value) = value {
            facts.push(format!("{what} {}", html(&value)));
        }
    }
    let sources =
        association.sources.iter().take(8).map(|source| html(&short(&model.sources[*source].name, 60)));
    facts.push(format!("in {}", sources.collect::<Vec<_>>().join(", ")));
    let _ = writeln!(text, "<p class=\"small\">{}</p>", facts.join("; "));
    if let Some(other) = model.other_end(index) {
        text.push_str(&other_end(model, index, other));
    }
    if !association.events.is_empty() {
        text.push_str("<ul class=\"small\">\n");
        for event in &association.events {
            let _ = writeln!(text, "<li>{} {}</li>", date_time(event.time), html(&event.text));
        }
        text.push_str("</ul>\n");
    }
    let charts = charts::of(model, index);
    if charts.is_empty() {
        text.push_str("<p>There is nothing to draw: no interval, sample or event is in the input.</p>\n");
    }
    let _ = writeln!(
        text,
        "<div class=\"charts\" tabindex=\"0\" role=\"region\" aria-label=\"Charts of association {}\">",
        association.id
    );
    for chart in charts {
        let svg = chart.inline(&format!("a{n}"));
        let numbers = chart.table.html(&format!("{}: {}", chart.title, chart.description));
        let _ = writeln!(
            text,
            "{svg}\n<details id=\"a{n}-{}-n\"><summary>Numbers: {}</summary>{numbers}</details>",
            chart.name,
            html(&chart.title)
        );
    }
    text.push_str("</div>\n");
    let streams = &association.streams;
    if streams.ids.len() >= MOST_STREAMS {
        let _ = writeln!(
            text,
            "<p class=\"small\">The first {MOST_STREAMS} streams are told apart; the others are summed up.</p>"
        );
    }
    if association.more_paths > 0 {
        let _ = writeln!(text, "<p class=\"small\">The first {MOST_PATHS} paths are shown.</p>");
    }
    for (more, what) in [(association.more_events, "events"), (association.more_stalls, "stalls")] {
        if more > 0 {
            let _ = writeln!(
                text,
                "<p class=\"small\">The first {MOST_MARKS} {what} are shown, {} more are not.</p>",
                number(more)
            );
        }
    }
    text.push_str("</section>\n");
    text
}

/// The sentence that the input has the other end of the association, too, and whether times of the two ends can be
/// compared.
fn other_end(model: &Model, index: usize, other: usize) -> String {
    let [this, that] = [index, other].map(|index| &model.associations[index]);
    let link = format!("<a href=\"#row{}\">association {}</a>", other + 1, that.id);
    if this.sources.intersection(&that.sources).next().is_some() {
        return format!(
            "<p class=\"small\">The other end is {link}, in the same file: both have the same clock.</p>\n"
        );
    }
    let sources: Vec<_> =
        that.sources.iter().take(8).map(|s| html(&short(&model.sources[*s].name, 60))).collect();
    format!(
        "<p class=\"note small\">The other end is {link}, in {}. If that is another host, its clock is another one: how far \
         the two are apart cannot be known from the input, so do not compare times of the two ends.</p>\n",
        sources.join(", ")
    )
}

/// What each run of a command saw and lost.
fn accounting(model: &Model) -> String {
    let accounting = &model.accounting;
    if accounting.runs.is_empty() {
        return String::new();
    }
    let mut text = "<h2 id=\"accounting\">Accounting</h2>\n<div class=\"wide\" tabindex=\"0\" role=\"region\" \
                    aria-labelledby=\"accounting\">\n<table><thead><tr><th scope=\"col\" class=\"text\">command</th>\
                    <th scope=\"col\" class=\"text\">in</th><th scope=\"col\" class=\"text\">ended (UTC)</th>\
                    <th scope=\"col\">lasted</th><th scope=\"col\">events</th><th scope=\"col\">lost</th>\
                    <th scope=\"col\">unseen</th><th scope=\"col\">evicted</th><th scope=\"col\">dropped lines</th>\
                    <th scope=\"col\" class=\"text\">samples left out, at most</th></tr></thead>\n<tbody>\n"
        .to_owned();
    for run in &accounting.runs {
        let skipped: Vec<_> =
            run.skipped.iter().map(|(why, n)| format!("{} {}", number(*n), html(why))).collect();
        let _ = writeln!(
            text,
            "<tr><th scope=\"row\">sctp-{}</th><td class=\"text\">{}</td><td class=\"text\">{}</td><td>{}</td><td>{}</td>\
             <td>{}</td><td>{}</td><td>{}</td><td>{}</td><td class=\"text\">{}</td></tr>",
            html(&run.tool),
            html(&short(&model.sources[run.source].name, 60)),
            run.time.map_or("–".to_owned(), date_time),
            run.duration_s.map_or("–".to_owned(), |s| html(&length(s * 1e6))),
            optional(run.events),
            optional(run.losses.lost),
            optional(run.losses.unseen),
            optional(run.losses.evicted),
            optional(run.losses.dropped_lines),
            skipped.join(", "),
        );
    }
    text.push_str("</tbody></table></div>\n");
    if !model.is_whole() {
        text.push_str(
            "<p class=\"small\">The accounting is of whole runs, whatever part of them is shown.</p>\n",
        );
    }
    if accounting.more > 0 {
        let _ = writeln!(
            text,
            "<p>{} more are summed up at the top only.</p>",
            plural(accounting.more, "run", "runs")
        );
    }
    text
}

#[cfg(test)]
mod tests {
    use sha2::{Digest, Sha256};

    use super::*;

    fn base64(bytes: &[u8]) -> String {
        const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
        let mut text = String::new();
        for chunk in bytes.chunks(3) {
            let bits = chunk.iter().chain([&0; 2]).take(3).fold(0, |bits, byte| bits << 8 | u32::from(*byte));
            for n in 0..4 {
                let is_padding = n > chunk.len();
                let letter = LETTERS[(bits >> (18 - 6 * n) & 63) as usize];
                text.push(if is_padding { '=' } else { char::from(letter) });
            }
        }
        text
    }

    #[test]
    fn the_policy_allows_the_style_sheet() {
        assert_eq!(base64(b"ab"), "YWI=");
        assert_eq!(base64(&Sha256::digest(STYLE)), STYLE_HASH, "set STYLE_HASH to the left one");
    }
}
