//! What the tests share: the command, its test data, and a browser.
#![allow(dead_code, reason = "each test uses a part")]

use std::{
    path::{Path, PathBuf},
    process::{Command, Output},
};

/// The path of the file `name` in `tests/data`.
pub fn data(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/data").join(name)
}

/// Returns a call of `sctptrace-report`, without arguments.
pub fn report() -> Command {
    Command::new(env!("CARGO_BIN_EXE_sctptrace-report"))
}

/// What the command wrote to standard output and standard error.
pub fn text(output: &Output) -> (String, String) {
    (
        String::from_utf8_lossy(&output.stdout).into_owned(),
        String::from_utf8_lossy(&output.stderr).into_owned(),
    )
}

/// Makes a page of these files of test data.
pub fn page_of(names: &[&str], args: &[&str], page: &Path) {
    let files: Vec<PathBuf> = names.iter().map(|name| data(name)).collect();
    let output = report().args(files).args(args).arg("-o").arg(page).output().unwrap();
    assert!(output.status.success(), "{}", text(&output).1);
}

/// Makes JSON Lines of `associations` associations, with `intervals` seconds of each, that have something of each kind
/// that a page draws.
pub fn generated(associations: u32, intervals: u32) -> String {
    let mut lines = String::new();
    for second in 0..intervals {
        let time = format!("2026-01-01T12:{:02}:{:02}.5Z", second / 60, second % 60);
        for id in 1..=associations {
            let ends = format!(
                r#""assoc_id":{id},"local":"10.{}.{}.1:2905","peer":"10.200.0.1:2905","netns":1,"comm":"amf","pid":7,"life":1"#,
                id / 250,
                id % 250
            );
            let wave = f64::from((second * 7 + id) % 11) + 1.0;
            lines += &format!(
                concat!(
                    r#"{{"type":"interval","tool":"rtt","time":"{time}",{ends},"samples":100,"rtt_p50_us":{a},"rtt_p99_us":{b},"rtt_max_us":{b},"prompt_samples":5,"prompt_rtt_p50_us":{a},"prompt_rtt_p99_us":{a}}}"#,
                    "\n",
                    r#"{{"type":"interval","tool":"rto","time":"{time}",{ends},"path":"10.200.0.1","rto_last_ms":{r},"rto_max_ms":{r},"t3_expiries":{t3},"state":"active"}}"#,
                    "\n",
                    r#"{{"type":"interval","tool":"bufmon","time":"{time}",{ends},"util_max_pct":{u},"outqueue_max_bytes":{b},"in_flight_max_bytes":{a},"rwnd_min_bytes":{b},"limited_app_us":{x},"limited_sndbuf_us":0.0,"limited_nagle_us":0.0,"limited_cwnd_us":{y},"limited_rwnd_us":0.0,"limited_other_us":0.0}}"#,
                    "\n",
                    r#"{{"type":"interval","tool":"jitter","time":"{time}",{ends},"stream_id":0,"jitter_us":{a}}}"#,
                    "\n",
                    r#"{{"type":"interval","tool":"streamutil","time":"{time}",{ends},"streams":[{{"stream_id":0,"bytes":{n}}},{{"stream_id":1,"bytes":700}}],"hol_messages":1,"hol_wait_us":{a}}}"#,
                    "\n",
                ),
                time = time,
                ends = ends,
                a = wave * 1000.0,
                b = wave * 3000.0,
                r = 200.0 * wave,
                t3 = u32::from((second + id) % 17 == 0),
                u = wave * 8.0,
                x = wave * 90_000.0,
                y = 1e6 - wave * 90_000.0,
                n = (wave * 1000.0) as u64,
            );
        }
    }
    lines
}
