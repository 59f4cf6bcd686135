//! `sctp-streamutil`: what the streams of SCTP associations carry, and how evenly they are used.

fn main() -> std::process::ExitCode {
    sctp_streamutil::main()
}
