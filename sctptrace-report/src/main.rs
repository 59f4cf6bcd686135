//! `sctptrace-report`: makes one HTML page with charts from what the sctptrace commands print with `--json`.

fn main() -> std::process::ExitCode {
    sctptrace_report::main()
}
