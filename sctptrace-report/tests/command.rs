//! The command as a user meets it: files, standard input, errors, flags, and how much memory it takes.

mod common;

use std::{
    fmt::Write as _,
    fs,
    io::Write,
    process::{Command, Stdio},
    thread::sleep,
    time::{Duration, Instant},
};

use common::{data, generated, page_of, report, text};

const GOOD: &str = r#"{"type":"interval","tool":"rtt","time":"2026-01-01T12:00:01Z","assoc_id":7,"local":"10.1.0.1:1","peer":"10.2.0.1:2","netns":1,"samples":3,"rtt_p50_us":1000.0,"rtt_p99_us":2000.0,"rtt_max_us":2000.0}"#;

/// Runs the command on a file with this text. Returns its exit code, standard output and standard error.
fn run_on(input: &[u8], args: &[&str]) -> (Option<i32>, String, String) {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("run.jsonl");
    fs::write(&file, input).unwrap();
    let output = report().arg(&file).args(args).output().unwrap();
    let (stdout, stderr) = text(&output);
    (output.status.code(), stdout, stderr)
}

#[test]
fn a_bad_line_is_named_and_makes_no_page() {
    for (bad, what) in [
        ("nonsense", "expected"),
        (r#"{"role":"server","pid":3}"#, "missing field `type`"),
        (r#"{"type":"sample","tool":"rtt","time":"noon","assoc_id":7}"#, "`time` is not a time"),
        (r#"{"type":"sample","tool":"rtt","time":"2026-01-01T12:00:01Z"}"#, "no `assoc_id`"),
        (r#"{"type":"sample","tool":"rtt","time":"2026-01-01T12:00:01Z","assoc_id":"x"}"#, "invalid type"),
        (r#"{"type":"interval","tool":"rtt","#, "EOF"),
    ] {
        let (code, stdout, stderr) = run_on(format!("{GOOD}\n{bad}\n{GOOD}\n").as_bytes(), &[]);
        assert_eq!(code, Some(1), "{bad}");
        assert!(stderr.contains("run.jsonl:2: ") && stderr.contains(what), "{stderr}");
        assert_eq!(stdout, "", "{bad}");
    }
    let (code, _, stderr) = run_on(b"\xff\xfe\n", &[]);
    assert!(code == Some(1) && stderr.contains("run.jsonl:1: "), "{stderr}");
}

#[test]
fn lines_of_the_test_programs_are_no_input() {
    let (code, _, stderr) = run_on(br#"{"seed":13,"percent":20.0,"dropped":[[0,12,0]],"unknown":0}"#, &[]);
    assert!(code == Some(1) && stderr.contains("run.jsonl:1: not a line of a sctptrace command"), "{stderr}");
}

#[test]
fn a_cut_last_line_is_reported_and_left_out() {
    let (code, page, stderr) = run_on(format!("{GOOD}\n{}", &GOOD[..90]).as_bytes(), &[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(stderr.contains("run.jsonl:2: the last line is cut"), "{stderr}");
    assert!(page.contains("The last line of run.jsonl is cut"));
    // A last line that is whole but for its line feed is not cut.
    let (code, page, stderr) = run_on(format!("{GOOD}\n{GOOD}").as_bytes(), &[]);
    assert_eq!((code, &*stderr), (Some(0), ""));
    assert!(page.contains("2 lines of 1 file"));
}

#[test]
fn an_empty_input_is_an_error_of_one_sentence() {
    for input in ["", "\n\n"] {
        let (code, stdout, stderr) = run_on(input.as_bytes(), &[]);
        assert_eq!((code, &*stdout), (Some(1), ""));
        assert_eq!(stderr, "sctptrace-report: the input is empty: there is nothing to show\n");
    }
    let (code, _, stderr) = run_on(GOOD.as_bytes(), &["--assoc", "8"]);
    assert!(code == Some(1) && stderr.contains("nothing in the input is of that"), "{stderr}");
}

#[test]
fn a_line_without_end_is_refused() {
    let (code, _, stderr) = run_on(&vec![b'x'; (32 << 20) + 10], &[]);
    assert!(code == Some(1) && stderr.contains("run.jsonl:1: the line is longer than"), "{stderr}");
}

#[test]
fn wrong_usage_is_exit_code_2() {
    for args in [["--from", "soon"], ["--peer", "example"], ["--assoc", "-1"]] {
        assert_eq!(
            report().args(args).stdin(Stdio::null()).output().unwrap().status.code(),
            Some(2),
            "{args:?}"
        );
    }
    assert!(report().arg("--version").output().unwrap().status.success());
}

#[test]
fn standard_input_is_read_with_and_without_a_dash() {
    for args in [&[][..], &["-"]] {
        let mut command = report().args(args).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        command.stdin.take().unwrap().write_all(GOOD.as_bytes()).unwrap();
        let page = text(&command.wait_with_output().unwrap()).0;
        assert!(
            page.contains("<h3 id=\"h1\">Association 7: ") && page.contains("10.2.0.1:2</span>"),
            "{args:?}"
        );
    }
}

#[test]
fn unknown_types_keys_and_commands_are_left_out_and_counted() {
    let later = r#"{"type":"later","tool":"rtt","time":7}"#;
    let other = GOOD.replace("\"tool\":\"rtt\"", "\"tool\":\"later\",\"more\":{}");
    let (code, page, stderr) = run_on(format!("{later}\n{GOOD}\n{other}\n").as_bytes(), &[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(page.contains("2 lines are of a type that this version does not know: left out"));
}

#[test]
fn losses_are_at_the_top() {
    let page = tempfile::NamedTempFile::new().unwrap();
    page_of(&["abort.jsonl"], &[], page.path());
    let page = fs::read_to_string(page.path()).unwrap();
    let loud = "<strong>Not all is here:</strong> 3 events lost (no room in the ring); 1 line dropped";
    assert!(page.find(loud).unwrap() < page.find("<h2 id=\"findings\">").unwrap());
    // What was not measured is shown as a dash, not as 0.
    assert!(page.contains("<td>10</td><td>3</td><td>–</td><td>0</td><td>1</td>"));

    let (_, page, _) = run_on(GOOD.as_bytes(), &[]);
    assert!(page.contains("What was lost is not known"), "there is no end object");
}

#[test]
fn flags_choose_association_peer_and_time() {
    let of = |id: u32, peer: &str, time: &str| {
        GOOD.replace("\"assoc_id\":7", &format!("\"assoc_id\":{id}"))
            .replace("10.2.0.1", peer)
            .replace("12:00:01", time)
    };
    let input = [of(7, "10.2.0.1", "12:00:01"), of(8, "10.2.0.2", "12:00:02"), of(9, "10.2.0.3", "12:00:03")]
        .join("\n");
    for (args, ids) in [
        (&["--assoc", "8", "--assoc", "9"][..], &[8, 9][..]),
        (&["--peer", "10.2.0.1"], &[7]),
        (&["--peer", "10.2.0.3:2"], &[9]),
        (&["--from", "2026-01-01T12:00:02Z"], &[8, 9]),
        (&["--from", "12:00:02", "--to", "12:00:03"], &[8]),
    ] {
        let (code, page, stderr) = run_on(input.as_bytes(), args);
        assert_eq!(code, Some(0), "{stderr}");
        for id in 7..=9 {
            let shown = page.contains(&format!("Association {id}: "));
            assert_eq!(shown, ids.contains(&id), "{args:?}: {id}");
        }
    }
}

#[test]
fn an_association_in_several_files_is_one_and_its_other_end_is_linked() {
    let dir = tempfile::tempdir().unwrap();
    let file = |name: &str, line: &str| {
        let path = dir.path().join(name);
        fs::write(&path, line).unwrap();
        path
    };
    let here = file("here-rtt.jsonl", GOOD);
    let here_too =
        file("here-rto.jsonl", &GOOD.replace("\"tool\":\"rtt\"", "\"tool\":\"rto\",\"rto_last_ms\":200.0"));
    let there = GOOD
        .replace("10.1.0.1:1", "x")
        .replace("10.2.0.1:2", "10.1.0.1:1")
        .replace("\"x\"", "\"10.2.0.1:2\"");
    let there = file("there.jsonl", &there.replace("\"netns\":1", "\"netns\":9"));
    let page = text(&report().args([here, here_too, there]).output().unwrap()).0;
    assert_eq!(page.matches("<section class=\"association\"").count(), 2);
    assert!(page.contains("in here-rtt.jsonl, here-rto.jsonl</p>"));
    assert!(page.contains("cannot be known from the input, so do not compare times of the two ends"));
}

#[test]
fn anonymous_pages_name_nobody() {
    let names = [
        "abort.jsonl",
        "loss-rto.jsonl",
        "loss-bufmon.jsonl",
        "two-paths-rto.jsonl",
        "reader-stops-rtt.jsonl",
    ];
    let page = tempfile::NamedTempFile::new().unwrap();
    page_of(&names, &["--anonymous"], page.path());
    let page = fs::read_to_string(page.path()).unwrap();
    for original in
        ["10.1.", "10.2.", "sctp-traffic", "amf", "going down", "example.org", "system.slice", "jsonl"]
    {
        assert!(!page.contains(original), "{original}");
    }
    assert!(page.contains("address-1:46957</span> → <span class=\"whole\">address-2:5002<"));
    assert!(page.contains("process-1[1682]") && page.contains("“text-1”"));
    // The same address is the same name: the two-paths peer's first address is that of the others.
    assert!(page.contains("path address-2"));
}

#[test]
fn charts_are_files_too() {
    let dir = tempfile::tempdir().unwrap();
    let svg = dir.path().join("new/charts");
    page_of(
        &[
            "loss-rtt.jsonl",
            "loss-rto.jsonl",
            "loss-bufmon.jsonl",
            "loss-jitter.jsonl",
            "loss-streamutil.jsonl",
        ],
        &["--svg", svg.to_str().unwrap()],
        &dir.path().join("page.html"),
    );
    let mut names: Vec<_> =
        fs::read_dir(&svg).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    for chart in ["events", "latency", "rto", "limited", "buffers", "windows", "streams"] {
        assert!(names.contains(&format!("a1-{chart}.svg")), "{chart}: {names:?}");
    }
    for name in names {
        let text = fs::read_to_string(svg.join(&name)).unwrap();
        assert!(text.starts_with("<?xml") && text.trim_end().ends_with("</svg>"), "{name}");
    }
}

#[test]
fn a_thousand_associations_make_a_page_below_3_mb() {
    let dir = tempfile::tempdir().unwrap();
    let (input, page) = (dir.path().join("run.jsonl"), dir.path().join("page.html"));
    fs::write(&input, generated(1100, 12)).unwrap();
    let begin = Instant::now();
    let output = report().arg(&input).arg("-o").arg(&page).output().unwrap();
    assert!(output.status.success(), "{}", text(&output).1);
    let (took, size) = (begin.elapsed(), fs::metadata(&page).unwrap().len());
    println!("1,100 associations, 66,000 lines: {took:?}, {size} bytes");
    assert!(size < 3_000_000, "{size}");
    // Seconds, but other programs may keep the machine busy.
    assert!(took < Duration::from_secs(180), "{took:?}");
    let page = fs::read_to_string(&page).unwrap();
    assert_eq!(page.matches("<tr id=\"row").count(), 1000);
    assert!(page.contains("100 more associations, with 6,000 lines, are not shown"));
    assert!(page.contains(" of 1,000 associations have charts"));
}

/// Feeds the command with samples of an hour. Returns the most memory that it had, in kB, and the page.
fn peak_memory(samples: u64, associations: u64) -> (u64, String) {
    // The command waits for a reader of the pipe once it has made the page.
    let dir = tempfile::tempdir().unwrap();
    let pipe = dir.path().join("page");
    assert!(Command::new("mkfifo").arg(&pipe).status().unwrap().success());
    let mut command = report().arg("-o").arg(&pipe).stdin(Stdio::piped()).spawn().unwrap();
    let mut stdin = command.stdin.take().unwrap();
    let mut block = String::new();
    let mut random = 1_u64;
    for n in 0..samples {
        random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        // Latencies of all magnitudes from 10 us to 10 s: the worst for the histograms.
        let us = 10.0 * 10_f64.powf((random >> 40) as f64 / (1 << 24) as f64 * 6.0);
        let ms = n * 3_600_000 / samples;
        let id = n % associations;
        let _ = writeln!(
            block,
            r#"{{"type":"sample","tool":"rtt","time":"2026-01-01T12:{:02}:{:02}.{:03}Z","assoc_id":{id},"local":"10.1.0.1:{id}","peer":"10.2.0.1:5000","netns":1,"path":"10.2.0.1","tsn":{n},"rtt_us":{us:.3},"prompt":{}}}"#,
            ms / 60_000,
            ms / 1000 % 60,
            ms % 1000,
            random >> 33 & 1 == 0
        );
        if block.len() > 1 << 16 {
            stdin.write_all(block.as_bytes()).unwrap();
            block.clear();
        }
    }
    stdin.write_all(block.as_bytes()).unwrap();
    drop(stdin);
    let status = || fs::read_to_string(format!("/proc/{}/status", command.id())).unwrap();
    let field = |status: &str, name: &str| {
        status.lines().find_map(|line| line.strip_prefix(name)).unwrap().trim().to_owned()
    };
    let mut sleeps = 0;
    while sleeps < 5 {
        sleep(Duration::from_millis(50));
        sleeps = if field(&status(), "State:").starts_with('S') { sleeps + 1 } else { 0 };
    }
    let peak = field(&status(), "VmHWM:").trim_end_matches(" kB").parse().unwrap();
    let page = fs::read_to_string(&pipe).unwrap();
    assert!(command.wait().unwrap().success());
    (peak, page)
}

/// Runs half a million samples. By construction, more samples take no more memory: a series has at most `MOST_BUCKETS`
/// buckets, and all of them together at most `MEMORY` bytes. `SCTPTRACE_REPORT_SAMPLES` sets another number.
#[test]
fn memory_is_bounded() {
    let samples =
        std::env::var("SCTPTRACE_REPORT_SAMPLES").ok().and_then(|n| n.parse().ok()).unwrap_or(500_000);
    for (samples, associations) in [(samples, 1), (samples / 2, 1000)] {
        let begin = Instant::now();
        let (peak, page) = peak_memory(samples, associations);
        println!(
            "{samples} samples of {associations} associations: {peak} kB, {} bytes of page, {:?}",
            page.len(),
            begin.elapsed()
        );
        assert!(peak < 100_000, "{peak} kB");
        assert!(page.len() < 3_000_000, "{}", page.len());
    }
}

#[test]
fn each_input_of_the_test_data_makes_a_page() {
    for entry in fs::read_dir(data("")).unwrap() {
        let output = report().arg(entry.unwrap().path()).output().unwrap();
        assert!(output.status.success(), "{}", text(&output).1);
        assert_eq!(text(&output).1, "");
    }
}

#[test]
fn no_number_stops_it() {
    let big = u64::MAX;
    let mut input = String::new();
    for (second, number) in ["1e308", "-1e308", "0", "1e-308", "1e15"].iter().enumerate() {
        for time in [format!("2026-01-01T12:00:0{second}Z"), format!("{second}001-01-01T00:00:00Z")] {
            let line = |kind: &str, tool: &str, members: &str| {
                format!(r#"{{"type":"{kind}","tool":"{tool}","time":"{time}","assoc_id":1,{members}}}"#)
                    + "\n"
            };
            input += &line("sample", "rtt", &format!(r#""rtt_us":{number},"prompt":true"#));
            input += &line(
                "interval",
                "rtt",
                &format!(r#""samples":{big},"rtt_p50_us":{number},"rtt_p99_us":{number}"#),
            );
            input += &line(
                "interval",
                "rto",
                &format!(r#""rto_last_ms":{number},"t3_expiries":{big},"state":"new""#),
            );
            input += &line("stall", "bufmon", &format!(r#""lasted_ms":{number}"#));
            input +=
                &line("interval", "bufmon", &format!(r#""util_max_pct":{number},"rwnd_min_bytes":{number}"#));
            input += &line("interval", "jitter", &format!(r#""jitter_us":{number}"#));
            let streams =
                format!(r#""streams":[{{"stream_id":1,"bytes":{big}}},{{"stream_id":2,"bytes":{big}}}]"#);
            input += &line(
                "interval",
                "streamutil",
                &format!(r#"{streams},"hol_messages":{big},"hol_wait_us":{number}"#),
            );
            input += &line(
                "finding",
                "rto",
                &format!(r#""code":"x","begin":"{time}","evidence":{{"n":{number}}}"#),
            );
            input += &line(
                "end",
                "rto",
                &format!(r#""lost":{big},"duration_s":{number},"skipped":{{"a":{big}}}"#),
            );
        }
    }
    let (code, page, stderr) = run_on(input.as_bytes(), &[]);
    assert_eq!(code, Some(0), "{stderr}");
    assert!(page.ends_with("</html>\n"));
}
