//! Runs the examples of the man pages, and checks that they print what the pages say.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Result, ensure};
use sctptrace_manual::{Page, pages};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::{Map, Value};

use crate::suite::Suite;

/// `EXAMPLES` stands for lines that start each example in a folder of its own, `COUNT` for the number of
/// examples. [`longer()`] keeps examples from ending before the traffic comes.
const SCRIPT: &str = "
topology; path 10ms
serve --bind 10.2.0.1 --associations 2 --streams 4
run() {
    mkdir \"$1\"
    (cd \"$1\"; sh -o pipefail -c \"$2\" >out 2>err; echo $? >status) &
}
EXAMPLES
until_true 60 tracing COUNT
send --bind 10.1.0.1 --associations 2 --count 100 --size 3000 --rate 200 --streams 4 --sndbuf 20000
sleep 2
killall -TERM sctp-rtt sctp-rto sctp-bufmon sctp-jitter sctp-streamutil
wait
for pattern in */pattern; do
    folder=${pattern%/pattern}
    grep -Eqf $pattern $folder/$(cat $folder/file) || fail \"$folder: $(cat $folder/command $folder/out $folder/err)\"
done
";

/// Adds the case.
pub fn add(suite: &mut Suite) {
    let mut lines = String::new();
    let mut count = 0;
    for page in pages() {
        // A page whose examples cannot be read fails a test of the manual crate.
        for (n, example) in page.examples().unwrap_or_default().into_iter().enumerate() {
            let command = longer(&example.command);
            let folder = format!("{}-{n}", page.name());
            let file = example.file.as_deref().unwrap_or("out");
            lines += &format!("run {folder} \"$(cat <<'END'\n{command}\nEND\n)\"\n");
            lines += &format!("cat >{folder}/command <<'END'\n{command}\nEND\n");
            lines += &format!("cat >{folder}/pattern <<'END'\n{}\nEND\n", example.prints);
            lines += &format!("echo {file} >{folder}/file\n");
            count += 1;
        }
    }
    let script = SCRIPT.replace("EXAMPLES", &lines).replace("COUNT", &count.to_string());
    suite.add(Series::V6_12, Mode::Icount, Case::new("man-examples", &script), move |folder| {
        let pages = pages();
        let mut seen = 0;
        for page in &pages {
            for n in 0..page.examples()?.len() {
                let folder = folder.join(format!("{}-{n}", page.name()));
                let status = text(&folder.join("status"))?;
                let errors = text(&folder.join("err"))?;
                // With this many commands on one CPU, some events are missed. Only messages about these are allowed.
                let accounted =
                    [" samples skipped: ", " chunks unseen: "].map(|words| errors.matches(words).count());
                let accounted = accounted.iter().sum::<usize>() == errors.lines().count();
                ensure!(status == "0\n" && accounted, "{}: {status}{errors}", folder.display());
                ensure_known(page, &folder)?;
                seen += 1;
            }
        }
        ensure!(seen == count && seen > 20, "{seen} of {count} examples");
        Ok(())
    });
}

/// Lets an example with `-d 10` trace for 600 s instead, so that it does not end before the traffic comes.
fn longer(command: &str) -> String {
    match command.split_once("-d 10") {
        Some((before, after)) => format!("{before}-d 600{after}"),
        None => command.to_owned(),
    }
}

/// Ensures that the man page documents each CSV column and JSON member that the example in this folder wrote.
fn ensure_known(page: &Page, folder: &Path) -> Result<()> {
    let known: BTreeSet<&str> =
        page.tables().iter().flat_map(|table| &table.fields).map(|field| field.name.as_str()).collect();
    let command = text(&folder.join("command"))?;
    let mut names = BTreeSet::new();
    for file in fs::read_dir(folder)? {
        let path = file?.path();
        let content = text(&path)?;
        if command.contains(" --json") && path.ends_with("out") {
            for line in content.lines().filter(|line| !line.contains("\"type\":\"end\"")) {
                members(&serde_json::from_str(line)?, &mut names);
            }
        }
        let is_csv = path.extension().is_some_and(|end| end == "csv") || path.ends_with("out");
        if command.contains(" -c") && is_csv {
            names.extend(content.lines().take(1).flat_map(|line| line.split(',')).map(str::to_owned));
        }
    }
    for name in names.iter().filter(|name| !["type", "tool", "time"].contains(&name.as_str())) {
        ensure!(known.contains(name.as_str()), "{}: {name} is not in the man page", page.name());
    }
    Ok(())
}

fn members(object: &Map<String, Value>, names: &mut BTreeSet<String>) {
    for (name, value) in object {
        names.insert(name.clone());
        for part in value.as_array().into_iter().flatten().filter_map(Value::as_object) {
            members(part, names);
        }
    }
}
