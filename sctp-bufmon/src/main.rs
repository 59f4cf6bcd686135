//! `sctp-bufmon`: buffers of SCTP associations.

fn main() -> std::process::ExitCode {
    sctp_bufmon::main()
}
