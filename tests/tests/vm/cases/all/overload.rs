//! Readers that are slow, or do not read at all: a command still ends in time, prints its intervals in time,
//! and counts what it could not write.

use std::path::Path;

use anyhow::{Context, Result, ensure};
use sctptrace_tests::kernel::Series;
use sctptrace_tests::vm::{Case, Mode, text};
use serde_json::Value;

use crate::compare::{objects, traffic};
use crate::suite::Suite;

/// Shell functions: `slowly FILE` copies standard input to FILE, at most 300 kB a second; `now` prints the
/// seconds since boot.
const SLOWLY: &str = "
slowly() {
    while [ $(dd bs=3000 count=1 2>/dev/null | tee -a $1 | wc -c) -gt 0 ]; do sleep 0.01; done
}
now() { cut -d' ' -f1 /proc/uptime; }
";

/// Some 50,000 chunks a second, each of which gives a line of some 200 bytes, for a reader that is too slow.
const SLOW_READER: &str = "
topology
serve --bind 10.2.0.1 --streams 8
mkfifo pipe
slowly rows.json <pipe &
reader=$!
sctp-rtt --json -q -i 1 --netns /run/netns/a >pipe 2>rtt.err &
tracer=$!
until_true 60 attached $tracer
send --bind 10.1.0.1 --count 150000 --size 100 --streams 8 &
sleep 5
now >before
kill -TERM $tracer
wait $tracer && echo 0 >status || echo $? >status
now >after
wait
";

/// All commands write to a FIFO whose other end nobody ever opens.
const NO_READER: &str = "
topology; path 10ms
mkfifo nobody
for tool in $TOOLS; do
    for how in -d INT TERM; do
        duration=; [ $how != -d ] || duration='-d 2'
        sctp-$tool --json -q -i 1 -x -f nobody $duration >$tool$how.out 2>$tool$how.err &
        tracer=$!
        until_true 60 attached $tracer
        [ $how != INT ] || { serve --bind 10.2.0.1; send --bind 10.1.0.1 --count 3000 --nodelay; }
        if [ $how = -d ]; then sleep 2; else sleep 0.5; fi
        now >before
        [ $how = -d ] || kill -$how $tracer
        wait $tracer && status=0 || status=$?
        echo \"$tool$how $status $(cat before) $(now)\" >>ends
    done
done
# The summary of text is on standard output, which is read.
sctp-rtt -f nobody -d 1 >text.out 2>text.err
";

/// Adds the cases.
pub fn add(suite: &mut Suite) {
    let case = |name, script| Case::new(name, &format!("{SLOWLY}{script}"));
    suite.add(Series::V6_12, Mode::Icount, case("overload-slow-reader", SLOW_READER), check_slow_reader);
    suite.add(Series::V6_12, Mode::Icount, case("overload-no-reader", NO_READER), check_no_reader);
}

/// How long a command may take to end, in seconds of the guest's time.
const END_S: f64 = 1.0;

fn seconds(folder: &Path, file: &str) -> Result<f64> {
    Ok(text(&folder.join(file))?.trim().parse()?)
}

fn check_slow_reader(folder: &Path) -> Result<()> {
    let took = seconds(folder, "after")? - seconds(folder, "before")?;
    ensure!(text(&folder.join("status"))? == "0\n", "{}", text(&folder.join("rtt.err"))?);
    let rows: Vec<Value> = objects(&folder.join("rows.json"))?;
    let of = |kind: &'static str| rows.iter().filter(move |row| row["type"] == kind);
    let shown = of("sample").count() as u64;
    let end = of("end").next().context("no end")?;
    let number = |key: &str| end[key].as_u64().with_context(|| format!("{key} of {end}"));
    let (events, lost) = (number("events")?, number("lost")?);
    eprintln!("    {shown} samples shown, {lost} lost of {events}; ended after {took:.2} s");
    ensure!(lost > 0, "the reader was not slow enough");
    ensure!(shown + lost == events, "{shown} shown and {lost} lost, of {events}");
    ensure!(number("dropped_lines")? == 0, "{end}");
    let summaries: u64 = of("summary").filter_map(|row| row["samples"].as_u64()).sum();
    ensure!(summaries == events, "{summaries} in summaries, of {events}");
    // The client may have gone on sending after the command ended.
    let client = traffic(folder, "client.json")?.pop().context("no association")?;
    ensure!(events <= client.stats.data_sent, "{events} of {client:?}");
    ensure!(of("interval").count() >= 4, "{} intervals in 5 s", of("interval").count());
    ensure!(took < END_S, "it took {took} s to end");
    Ok(())
}

fn check_no_reader(folder: &Path) -> Result<()> {
    let ends = text(&folder.join("ends"))?;
    ensure!(ends.lines().count() == 15, "{ends}");
    for end in ends.lines() {
        let [how, status, before, after] =
            end.split(' ').collect::<Vec<_>>().try_into().ok().context("an end")?;
        let took = after.parse::<f64>()? - before.parse::<f64>()?;
        let errors = text(&folder.join(format!("{how}.err")))?;
        eprintln!("    {how}: {took:.2} s to end");
        ensure!(status == "0" && took < END_S, "{how}: status {status} after {took} s: {errors}");
    }
    // The lines of 3,000 samples are more than a FIFO holds: so events and lines are lost.
    let errors = text(&folder.join("rttINT.err"))?;
    ensure!(errors.contains("events lost") && errors.contains("lines dropped"), "{errors}");
    ensure!(text(&folder.join("text.out"))?.contains("Tracing completed."), "text");
    Ok(())
}
