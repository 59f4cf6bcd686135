//! A client whose steps change paths' retransmission timeouts: sends, HEARTBEATs on demand, HEARTBEATs
//! switched off, ASCONF, RE-CONFIG. A further step prints the client's paths as `SCTP_GET_PEER_ADDR_INFO`
//! reports them: so tests can compare the commands' records with the kernel's own values.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;
use std::str::FromStr;
use std::thread;
use std::time::Duration;

use anyhow::{Context, Result, bail};
use clap::Parser;
use sctptrace_tests::socket::{
    AssocValue, MoreStreams, Outgoing, PathParameters, SctpSocket, option, storage,
};

#[derive(Parser)]
#[command(about, version)]
enum Role {
    /// Reads what comes on each association
    Server {
        /// Own addresses
        #[arg(long, value_delimiter = ',', required = true)]
        bind: Vec<IpAddr>,
    },
    /// Connects, and does the steps one after the other
    Client {
        /// Own addresses
        #[arg(long, value_delimiter = ',', required = true)]
        bind: Vec<IpAddr>,
        /// Own port
        #[arg(long)]
        own_port: u16,
        /// The server's addresses
        #[arg(long, value_delimiter = ',', required = true)]
        to: Vec<IpAddr>,
        /// What to do
        #[arg(required = true)]
        steps: Vec<Step>,
    },
}

/// The server's port.
const PORT: u16 = 5000;

/// One step of the client, given as one word on the command line.
#[derive(Clone)]
enum Step {
    /// `send`: sends 100 bytes.
    Send,
    /// `burst`: sends 100 messages of 1000 bytes, one after the other, so that cwnd grows.
    Burst,
    /// `demand=ADDRESS`: asks for a HEARTBEAT on that path (`SPP_HB_DEMAND`).
    Demand(IpAddr),
    /// `silent=ADDRESS`: switches that path's HEARTBEATs off (`SPP_HB_DISABLE`).
    Silent(IpAddr),
    /// `beat=ADDRESS`: switches that path's HEARTBEATs on, every 500 ms.
    Beat(IpAddr),
    /// `add=ADDRESS`: adds an own address (ASCONF, RFC 5061).
    Add(IpAddr),
    /// `streams`: adds a stream (RE-CONFIG, RFC 6525).
    Streams,
    /// `sleep=MS`: waits for this many milliseconds.
    Sleep(Duration),
    /// `file=NAME`: makes a file. `wait=NAME`: waits for one.
    File(String),
    Wait(String),
    /// `show`: prints the paths, as one line of JSON.
    Show,
    /// `abort`: close() with `SO_LINGER` 0.
    Abort,
}

impl FromStr for Step {
    type Err = anyhow::Error;

    fn from_str(word: &str) -> Result<Self> {
        let (name, value) = word.split_once('=').unwrap_or((word, ""));
        Ok(match name {
            "send" => Self::Send,
            "burst" => Self::Burst,
            "demand" => Self::Demand(value.parse()?),
            "silent" => Self::Silent(value.parse()?),
            "beat" => Self::Beat(value.parse()?),
            "add" => Self::Add(value.parse()?),
            "streams" => Self::Streams,
            "sleep" => Self::Sleep(Duration::from_millis(value.parse()?)),
            "file" => Self::File(value.to_owned()),
            "wait" => Self::Wait(value.to_owned()),
            "show" => Self::Show,
            "abort" => Self::Abort,
            _ => bail!("no step {word}"),
        })
    }
}

// Flags of `struct sctp_paddrparams` (`enum sctp_spp_flags` of `linux/sctp.h`).
const HB_ENABLE: u32 = 1;
const HB_DISABLE: u32 = 2;
const HB_DEMAND: u32 = 4;
/// Request bit of `ENABLE_STREAM_RESET`: to add streams (`SCTP_ENABLE_CHANGE_ASSOC_REQ`).
const MAY_ADD_STREAMS: u32 = 4;

fn main() -> Result<()> {
    let at = |port: u16, addresses: &[IpAddr]| -> Vec<SocketAddr> {
        addresses.iter().map(|address| SocketAddr::new(*address, port)).collect()
    };
    match Role::parse() {
        Role::Server { bind } => {
            let own = at(PORT, &bind);
            let socket = SctpSocket::new(own[0], false)?;
            socket.bind(&own).context("bind")?;
            socket.plain().listen(16).context("listen")?;
            eprintln!("listening");
            loop {
                let peer = socket.accept().context("accept")?;
                thread::spawn(move || while peer.receive(&mut [0; 2000]).is_ok_and(|got| got.length > 0) {});
            }
        }
        Role::Client { bind, own_port, to, steps } => {
            let (own, peer) = (at(own_port, &bind), at(PORT, &to));
            let socket = SctpSocket::new(own[0], false)?;
            let may = AssocValue { assoc_id: 0, value: MAY_ADD_STREAMS };
            socket.set(option::ENABLE_STREAM_RESET, &may).context("ENABLE_STREAM_RESET")?;
            socket.bind(&own).context("bind")?;
            socket.connect(&peer).context("connect")?;
            eprintln!("up");
            steps.iter().try_for_each(|step| run(&socket, step))
        }
    }
}

fn run(socket: &SctpSocket, step: &Step) -> Result<()> {
    let heartbeats = |address: &IpAddr, flags, interval_ms| -> io::Result<()> {
        let address = storage(SocketAddr::new(*address, PORT));
        let parameters =
            PathParameters { address, flags, heartbeat: interval_ms, ..PathParameters::default() };
        socket.set(option::PEER_ADDR_PARAMS, &parameters)
    };
    match step {
        Step::Send => socket.send(&[0; 100], Outgoing::default())?,
        Step::Burst => {
            for _ in 0..100 {
                socket.send(&[0; 1000], Outgoing::default())?;
            }
        }
        Step::Demand(address) => heartbeats(address, HB_DEMAND, 0).context("SPP_HB_DEMAND")?,
        Step::Silent(address) => heartbeats(address, HB_DISABLE, 0).context("SPP_HB_DISABLE")?,
        Step::Beat(address) => heartbeats(address, HB_ENABLE, 500).context("SPP_HB_ENABLE")?,
        // Port 0 stands for the port to which the socket is bound.
        Step::Add(address) => socket.bind(&[SocketAddr::new(*address, 0)]).context("bindx")?,
        Step::Streams => {
            let more = MoreStreams { assoc_id: 0, instreams: 0, outstreams: 1 };
            socket.set(option::ADD_STREAMS, &more).context("ADD_STREAMS")?;
        }
        Step::Sleep(time) => thread::sleep(*time),
        Step::File(name) => std::fs::write(name, "")?,
        Step::Wait(name) => {
            while !Path::new(name).exists() {
                thread::sleep(Duration::from_millis(20));
            }
        }
        Step::Show => println!("{}", serde_json::to_string(&socket.paths(0)?)?),
        Step::Abort => socket.plain().set_linger(Some(Duration::ZERO))?,
    }
    Ok(())
}
