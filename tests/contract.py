#!/usr/bin/env python3
"""Check what a command printed against the contract, with regular expressions and the csv module.

usage: contract.py FORM OUTPUT [FILE]

FORM says which command and form; OUTPUT is what came on standard output, FILE what -f wrote.
Shares no code with the commands: an independent reading of the same contract.
"""

import csv
import json
import re
import sys

TIME = r"(?:[01]\d|2[0-3]):[0-5]\d:[0-5]\d"
# As Python prints a float of this size: shortest digits, always with a point.
FLOAT = re.compile(r"\d+\.\d+")


def fail(message):
    sys.exit(f"contract: {message}")


def expect(condition, message):
    if not condition:
        fail(message)


def lines_of(text):
    expect(text.endswith("\n"), "the output does not end with a line feed")
    return text[:-1].split("\n")


def strip_frame(text, banner):
    """Without the banner and the last two lines, which every run has."""
    lines = lines_of(text)
    # A file may have any name.
    expect(re.sub(r"'[^']+'", "'FILE'", lines[0]) == banner, f"banner: {lines[0]!r}")
    expect(lines[-2:] == ["", "Tracing completed."], f"the end: {lines[-2:]!r}")
    return lines[1:-2]


def rtt_summary(lines):
    """Association id to samples and times in us, from blocks of four lines."""
    found = {}
    expect(len(lines) % 4 == 0, f"the summary has {len(lines)} lines")
    for first in range(0, len(lines), 4):
        text = "\n".join(lines[first : first + 4])
        block = re.fullmatch(
            r"Association (\d+):\n"
            r"  Samples: (\d+)\n"
            r"  Avg RTT: (\d+\.\d{3}) us\n"
            r"  Min/Max RTT: (\d+\.\d{3})/(\d+\.\d{3}) us",
            text,
        )
        expect(block, f"summary: {text!r}")
        assoc, samples, *times = block.groups()
        expect(assoc not in found, f"association {assoc} twice")
        found[assoc] = (int(samples), *map(float, times))
    expect(found, "no summary")
    for samples, avg, low, high in found.values():
        expect(samples > 0 and low <= avg <= high, f"summary: {found}")
    return found


def rtt_text(output, _file):
    lines = strip_frame(output, "Tracing SCTP RTT... Ctrl+C to end")
    expect(lines[0] == "%-8s %-10s %-10s %-8s" % ("ASSOC", "TSN", "RTT(ms)", "TIME"), f"header: {lines[0]!r}")
    rows = [line for line in lines[1:] if re.match(r"\d", line)]
    expect(lines[1 : 1 + len(rows)] == rows, "a row amid the summary")
    times = {}
    for row in rows:
        fields = re.fullmatch(rf"(\d+) +(\d+) +(\d+\.\d{{3}}) +({TIME})", row)
        expect(fields, f"row: {row!r}")
        assoc, tsn, rtt, time = fields.groups()
        expect(row == "%-8d %-10u %-10.3f %-8s" % (int(assoc), int(tsn), float(rtt), time), f"widths: {row!r}")
        times.setdefault(assoc, []).append(float(rtt))
    summary = rtt_summary(lines[1 + len(rows) :])
    expect(set(summary) == set(times), f"rows of {set(times)}, summary of {set(summary)}")
    for assoc, (samples, avg, low, high) in summary.items():
        rows = times[assoc]
        expect(samples == len(rows), f"{len(rows)} rows, Samples: {samples}")
        # Rows are in ms, the summary in us.
        expect(abs(avg / 1000 - sum(rows) / len(rows)) < 0.001, f"average {avg} us")
        expect(abs(low / 1000 - min(rows)) < 0.001 and abs(high / 1000 - max(rows)) < 0.001, "extremes")


def rtt_csv_rows(lines):
    rows = list(csv.reader(lines, strict=True))
    expect(rows[0] == ["assoc_id", "samples", "rtt_avg_us", "rtt_min_us", "rtt_max_us"], f"header: {rows[0]}")
    expect(len(rows) > 1, "no rows")
    for row in rows[1:]:
        expect(len(row) == 5, f"columns: {row}")
        expect(row[0].isdigit() and row[1].isdigit(), f"not whole: {row}")
        for value in row[2:]:
            expect(FLOAT.fullmatch(value) and repr(float(value)) == value, f"not as Python prints a float: {value}")
        avg, low, high = map(float, row[2:])
        expect(int(row[1]) > 0 and low <= avg <= high, f"row: {row}")
    expect(len({row[0] for row in rows}) == len(rows), "an association twice")
    return rows[1:]


def rtt_csv(output, _file):
    rtt_csv_rows(strip_frame(output, "Tracing SCTP RTT to stdout in CSV format... Ctrl+C to end"))


def rtt_csv_quiet(output, _file):
    rtt_csv_rows(lines_of(output))


def rtt_csv_file(output, file):
    lines = strip_frame(output, "Tracing SCTP RTT to file 'FILE'... Ctrl+C to end")
    expect(lines == [], f"rows on standard output: {lines}")
    rtt_csv_rows(lines_of(file))


def rtt_file(output, file):
    summary = rtt_summary(strip_frame(output, "Tracing SCTP RTT to file 'FILE'... Ctrl+C to end"))
    for assoc, samples, avg, low, high in rtt_csv_rows(lines_of(file)):
        shown = summary[assoc]
        expect(shown[0] == int(samples), f"Samples of {assoc}")
        for text, value in zip((avg, low, high), shown[1:]):
            expect(abs(float(text) - value) <= 0.0006, f"{text} in the file, {value} in the summary")


# Charts are drawn of what comes on standard output by these names.
RTO_STDOUT = ("rto_ms", "srtt_ms", "rttvar_ms")
RTO_FILE = ("rto_avg_ms", "srtt_avg_ms", "rttvar_avg_ms")


def rto_text(output, _file):
    lines = strip_frame(output, "Tracing SCTP RTO updates... Hit Ctrl-C to end")
    widths = "%-12s %-15s %-6s %-10s %-10s %-10s %-12s"
    names = ("TRANSPORT", "IP", "PORT", "RTO(ms)", "SRTT(ms)", "RTTVAR(ms)", "TIME")
    expect(lines[0] == widths % names, f"header: {lines[0]!r}")
    rows = [line for line in lines[1:] if re.match(r"\d", line)]
    expect(lines[1 : 1 + len(rows)] == rows and rows, "rows, then the summary")
    shown = {}
    for row in rows:
        transport, ip, port, *times, time = row.split()
        expect(re.fullmatch(TIME, time), f"time: {row!r}")
        form = "%-12d %-15s %-6d %-10.2f %-10.2f %-10.2f %-12s"
        expect(row == form % (int(transport), ip, int(port), *map(float, times), time), f"widths: {row!r}")
        shown.setdefault((transport, ip, port), []).append(list(map(float, times)))
    summary = lines[1 + len(rows) :]
    expect(len(summary) == 5 * len(shown), f"the summary has {len(summary)} lines")
    for first in range(0, len(summary), 5):
        block = re.fullmatch(
            r"Transport (\d+) \((.*):(\d+)\):\n  Samples: (\d+)\n  RTO: (\d+\.\d{2}) ms avg\n"
            r"  SRTT: (\d+\.\d{2}) ms avg\n  RTTVAR: (\d+\.\d{2}) ms avg",
            "\n".join(summary[first : first + 5]),
        )
        expect(block, f"summary: {summary[first : first + 5]}")
        *path, samples, rto, srtt, rttvar = block.groups()
        of_path = shown[tuple(path)]
        expect(int(samples) == len(of_path), f"{len(of_path)} rows of {path}, Samples: {samples}")
        for column, mean in enumerate(map(float, (rto, srtt, rttvar))):
            exact = sum(times[column] for times in of_path) / len(of_path)
            expect(abs(exact - mean) < 0.0051, f"{path}: mean {mean}, not {exact}")


def rto_csv_rows(lines, means):
    rows = list(csv.reader(lines, strict=True))
    header = ["transport_id", "ip_address", "port", "samples", *means]
    expect(rows[0] == header and len(rows) > 1, f"header: {rows[0]}")
    for row in rows[1:]:
        expect(len(row) == len(header), f"columns: {row}")
        expect(all(re.fullmatch(r"\d+\.\d{2}", value) for value in row[4:]), f"decimals: {row}")
        expect(all(row[i].isdigit() for i in (0, 2, 3)), f"not whole: {row}")


def rto_csv(output, _file):
    rto_csv_rows(strip_frame(output, "Tracing SCTP RTO updates to stdout in CSV format... Ctrl+C to end"), RTO_STDOUT)


def rto_csv_quiet(output, _file):
    rto_csv_rows(lines_of(output), RTO_STDOUT)


def rto_file(output, file):
    lines = strip_frame(output, "Tracing SCTP RTO updates to file 'FILE'... Ctrl+C to end")
    expect(lines == [], f"rows on standard output: {lines}")
    rto_csv_rows(lines_of(file), RTO_FILE)


BUFMON_BANNER = "Tracing SCTP buffer utilisation... Hit Ctrl-C to end"
BUFMON_COLUMNS = (
    "Association ID,Avg_Util_%,Min_Util_%,Max_Util_%,Util_Samples,Avg_Outqueue_bytes,Max_Outqueue_bytes,"
    "Outqueue_Samples,Avg_RWND_bytes,Min_RWND_bytes,RWND_Samples,Sndbuf_Wait_Events"
)


def bufmon_text(output, _file):
    text = "\n".join(strip_frame(output, BUFMON_BANNER)) + "\n"
    one = r"(\d+\.\d)"
    block = re.compile(
        r"\nAssociation (\d+):\n"
        rf"  Send Buffer utilisation:\n    Average: {one}%\n    Min/Max: {one}%/{one}%\n    Samples: (\d+)\n"
        rf"  Outqueue Size:\n    Average: {one} bytes\n    Maximum: (\d+) bytes\n    Samples: (\d+)\n"
        rf"  Receiver Window \(RWND\):\n    Average: {one} bytes\n    Minimum: (\d+) bytes\n    Samples: (\d+)\n"
        r"  Send Buffer Pressure:\n    Wait events: (\d+)\n"
    )
    rest = block.sub("", text)
    expect(rest == "" and len(block.findall(text)) == 2, f"not two blocks: {text!r}")


def bufmon_csv_rows(lines):
    expect(lines[0] == BUFMON_COLUMNS, f"header: {lines[0]}")
    rows = list(csv.reader(lines[1:], strict=True))
    expect(rows, "no rows")
    for row in rows:
        expect(len(row) == 12, f"columns: {row}")
        expect(all(re.fullmatch(r"\d+\.\d", row[i]) for i in (1, 2, 3, 5, 8)), f"decimals: {row}")
        expect(all(row[i].isdigit() for i in (0, 4, 6, 7, 9, 10, 11)), f"not whole: {row}")
        expect(float(row[2]) <= float(row[1]) <= float(row[3]), f"average beyond extremes: {row}")


def bufmon_csv(output, _file):
    bufmon_csv_rows(strip_frame(output, BUFMON_BANNER))


def bufmon_csv_quiet(output, _file):
    bufmon_csv_rows(lines_of(output))


def bufmon_file(output, file):
    lines = strip_frame(output, BUFMON_BANNER)
    expect(lines == [], f"rows on standard output: {lines}")
    bufmon_csv_rows(lines_of(file))


FIXED3 = r"(\d+\.\d{3})"


def blocks(lines, pattern):
    """The values of blocks of lines that follow each other without anything between."""
    text = "".join(line + "\n" for line in lines)
    found, end = [], 0
    while end < len(text):
        block = pattern.match(text, end)
        expect(block, f"no block: {text[end : end + 200]!r}")
        found.append(block.groups())
        end = block.end()
    expect(found, "no block at all")
    return found


JITTER_BANNER = "Tracing SCTP packet reception jitter... Hit Ctrl-C to end"
JITTER_BLOCK = re.compile(
    rf"Stream (\d+):\n"
    rf"  Samples: (\d+)\n"
    rf"  Packet Interval: {FIXED3} us avg, {FIXED3}/{FIXED3} min/max\n"
    rf"  Jitter: {FIXED3} us\n"
)


def jitter_values(stream, samples, avg, low, high, jitter):
    expect(int(samples) > 0 and float(low) <= float(avg) <= float(high), f"stream {stream}: {avg} {low} {high}")
    return int(stream), (int(samples), float(avg), float(low), float(high), float(jitter))


def jitter_text(output, _file):
    rows = [jitter_values(*block) for block in blocks(strip_frame(output, JITTER_BANNER), JITTER_BLOCK)]
    # Each interval's streams come in their order; samples never become fewer.
    seen = {}
    for stream, values in rows:
        expect(values[0] >= seen.get(stream, (0,))[0], f"stream {stream}: samples become fewer")
        seen[stream] = values
    last = [stream for stream, _ in rows[-len(seen) :]]
    expect(last == sorted(seen), f"the last block has streams {last}")


def jitter_rows(lines, samples):
    rows = list(csv.reader(lines, strict=True))
    columns = ["stream_id", samples, "delta_avg_us", "delta_min_us", "delta_max_us", "jitter_us"]
    expect(rows[0] == columns, f"header: {rows[0]}")
    expect(len(rows) > 1, "no rows")
    for row in rows[1:]:
        expect(all(re.fullmatch(FIXED3, value) for value in row[2:]), f"not three decimals: {row}")
        jitter_values(*row)
    streams = [int(row[0]) for row in rows[1:]]
    expect(streams == sorted(set(streams)), f"streams: {streams}")


def jitter_csv(output, _file):
    jitter_rows(strip_frame(output, JITTER_BANNER), "samples")


def jitter_csv_quiet(output, _file):
    jitter_rows(lines_of(output), "samples")


def jitter_file(output, file):
    lines = strip_frame(output, JITTER_BANNER)
    expect(lines == [], f"on standard output: {lines}")
    jitter_rows(lines_of(file), "sample_count")


STREAMUTIL_BANNER = "Tracing SCTP stream utilization... Ctrl+C to end"
STREAMUTIL_BLOCK = re.compile(
    r"Association (\d+):\n"
    r"  Streams: (\d+) active out of (\d+) total\n"
    r"  Data: (\d+) bytes across (\d+) chunks\n"
    r"  Ordering: (\d+) ordered, (\d+) unordered\n"
    r"  Stream Utilization Index: (\d\.\d{4})\n"
    r"  Stream Parallelism: (\d+\.\d)%\n"
)
STREAMUTIL_COLUMNS = (
    "assoc_id,total_streams,active_streams,total_bytes,total_chunks,ordered,unordered,sui,stream_parallelism"
)


def streamutil_values(active, total, data, chunks, ordered, unordered, sui, parallelism):
    values = [active, total, data, chunks, ordered, unordered]
    active, total, data, chunks, ordered, unordered = map(int, values)
    expect(0 < active <= total and data > 0 and chunks == ordered + unordered, f"values: {values}")
    expect(0 <= float(sui) <= 1 and abs(float(parallelism) - 100 * active / total) <= 0.051, f"{sui} {parallelism}")


def streamutil_text(output, _file):
    chunks = {}
    for assoc, *values in blocks(strip_frame(output, STREAMUTIL_BANNER), STREAMUTIL_BLOCK):
        streamutil_values(*values)
        expect(int(values[3]) >= chunks.get(assoc, 0), f"association {assoc}: chunks become fewer")
        chunks[assoc] = int(values[3])


def streamutil_rows(lines):
    expect(lines[0] == STREAMUTIL_COLUMNS, f"header: {lines[0]}")
    expect(len(lines) > 1, "no rows")
    rows = list(csv.reader(lines[1:], strict=True))
    for _, total, active, *values in rows:
        expect(re.fullmatch(r"\d\.\d{4}", values[-2]) and re.fullmatch(r"\d+\.\d", values[-1]), f"decimals: {values}")
        streamutil_values(active, total, *values)
    expect(len({row[0] for row in rows}) == len(rows), "an association twice")


def streamutil_csv(output, _file):
    banner = "Tracing SCTP stream utilization to stdout in CSV format... Ctrl+C to end"
    streamutil_rows(strip_frame(output, banner))


def streamutil_csv_quiet(output, _file):
    streamutil_rows(lines_of(output))


def streamutil_file(output, file):
    lines = strip_frame(output, STREAMUTIL_BANNER)
    expect(lines == [], f"on standard output: {lines}")
    streamutil_rows(lines_of(file))


JSON_TYPES = {"integer": int, "number": (int, float), "string": str, "boolean": bool, "null": type(None), "array": list}


def fits(value, schema, where):
    """A value is as its part of the schema says, and has no member beyond it."""
    if "const" in schema:
        return expect(value == schema["const"], f"{where}: {value!r}")
    if schema["type"] == "object":
        expect(isinstance(value, dict), f"{where}: {value!r}")
        others = schema.get("additionalProperties")
        if others:
            return [fits(member, others, f"{where}.{name}") for name, member in value.items()]
        missing = [name for name in schema["required"] if name not in value]
        unknown = [name for name in value if name not in schema["properties"]]
        expect(not missing and not unknown, f"{where}: {list(value)}: {missing} are missing, {unknown} are too many")
        return [fits(member, schema["properties"][name], f"{where}.{name}") for name, member in value.items()]
    types = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
    is_bool = isinstance(value, bool)
    right = any(isinstance(value, JSON_TYPES[name]) and is_bool == (name == "boolean") for name in types)
    expect(right, f"{where}: {value!r} is no {types}")
    if "array" in types:
        for index, item in enumerate(value):
            fits(item, schema["items"], f"{where}[{index}]")


def json_lines(output, schema):
    """Each line is of one of the schema's objects, which have just the members that it names; the last is the end."""
    objects = {of["properties"]["type"]["const"]: of for of in json.loads(schema)["oneOf"]}
    lines = [json.loads(line) for line in lines_of(output)]
    for line in lines:
        expect(line["type"] in objects, f"type {line['type']}")
        fits(line, objects[line["type"]], line["type"])
    expect([line["type"] == "end" for line in lines] == [False] * (len(lines) - 1) + [True], "the end is not last")


FORMS = {
    "json": json_lines,
    "bufmon-text": bufmon_text,
    "bufmon-csv": bufmon_csv,
    "bufmon-csv-quiet": bufmon_csv_quiet,
    "bufmon-csv-file": bufmon_file,
    "bufmon-file": bufmon_file,
    "rto-text": rto_text,
    "rto-csv": rto_csv,
    "rto-csv-quiet": rto_csv_quiet,
    "rto-csv-file": rto_file,
    "rto-file": rto_file,
    "rtt-text": rtt_text,
    "rtt-csv": rtt_csv,
    "rtt-csv-quiet": rtt_csv_quiet,
    "rtt-csv-file": rtt_csv_file,
    "rtt-file": rtt_file,
    "jitter-text": jitter_text,
    "jitter-csv": jitter_csv,
    "jitter-csv-quiet": jitter_csv_quiet,
    "jitter-csv-file": jitter_file,
    "jitter-file": jitter_file,
    "streamutil-text": streamutil_text,
    "streamutil-csv": streamutil_csv,
    "streamutil-csv-quiet": streamutil_csv_quiet,
    "streamutil-csv-file": streamutil_file,
    "streamutil-file": streamutil_file,
}


def read(path):
    # Line feeds as they are: a carriage return is a difference.
    with open(path, encoding="utf-8", newline="") as file:
        return file.read()


if __name__ == "__main__":
    FORMS[sys.argv[1]](read(sys.argv[2]), read(sys.argv[3]) if len(sys.argv) > 3 else None)
