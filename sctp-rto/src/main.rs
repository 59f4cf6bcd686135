//! `sctp-rto`: retransmission timeouts of SCTP paths, at every update.

fn main() -> std::process::ExitCode {
    sctp_rto::main()
}
