//! `sctp-jitter`: intervals between arrivals of SCTP DATA chunks and how they vary, per stream.

fn main() -> std::process::ExitCode {
    sctp_jitter::main()
}
