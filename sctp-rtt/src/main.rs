//! `sctp-rtt`: round-trip time of SCTP DATA chunks, from transmission to the SACK that covers the TSN.

fn main() -> std::process::ExitCode {
    sctp_rtt::main()
}
