//! The host at the end of a hop: a TCP sink, a source and an echo, in a process of their own.
//! Absent on purpose: SSH.

use std::net::SocketAddr;
use std::process::Stdio;

use anyhow::{Context as _, Result};
use tokio::io::{AsyncBufReadExt as _, AsyncReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::net::{TcpListener, TcpStream};
use tokio::process::{Child, ChildStdout, Command};

use super::roles;

const ROLE: &str = "PFORTE_BENCH_MACHINE";
const BUFFER: usize = 256 << 10;

/// Plays the machine if the environment says so; a source gives as many bytes as it says.
pub async fn take() -> Result<bool> {
    let Ok(bytes) = std::env::var(ROLE) else { return Ok(false) };
    let bytes: usize = bytes.parse()?;
    let mut addresses = Vec::new();
    for what in [Host::Sink, Host::Source, Host::Echo] {
        let listener = TcpListener::bind("127.0.0.1:0").await?;
        addresses.push(listener.local_addr()?.to_string());
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                tokio::spawn(what.serve(stream, bytes));
            }
        });
    }
    println!("{}", addresses.join(" "));
    roles::until_input_ends().await;
    Ok(true)
}

/// What a connection to it does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Host {
    Sink,
    Source,
    Echo,
}

impl Host {
    async fn serve(self, mut stream: TcpStream, bytes: usize) -> std::io::Result<()> {
        stream.set_nodelay(true)?;
        let mut buffer = vec![0; BUFFER];
        match self {
            Host::Sink => {
                println!("begun");
                while stream.read(&mut buffer).await? > 0 {}
                println!("ended");
            }
            Host::Source => {
                println!("begun");
                let mut left = bytes;
                while left > 0 {
                    let part = buffer.get(..left.min(BUFFER)).unwrap_or_default();
                    left -= stream.write(part).await?;
                }
                stream.shutdown().await?;
                while stream.read(&mut buffer).await? > 0 {}
            }
            Host::Echo => loop {
                match stream.read(&mut buffer).await? {
                    0 => break,
                    n => stream.write_all(buffer.get(..n).unwrap_or_default()).await?,
                }
            },
        }
        Ok(())
    }
}

/// The machine as the bench has it.
pub struct Machine {
    addresses: Vec<SocketAddr>,
    lines: Lines<BufReader<ChildStdout>>,
    _child: Child,
}

impl Machine {
    pub async fn start(bytes: usize) -> Result<Self> {
        let mut child = Command::new(std::env::current_exe()?)
            .env(ROLE, bytes.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let mut lines = BufReader::new(child.stdout.take().context("stdout")?).lines();
        let line = lines.next_line().await?.context("no machine")?;
        let addresses = line.split(' ').map(str::parse).collect::<Result<_, _>>()?;
        Ok(Self { addresses, lines, _child: child })
    }

    pub fn address(&self, host: Host) -> Result<SocketAddr> {
        self.addresses.get(host as usize).copied().context("no such machine")
    }

    /// Waits for "begun" or "ended".
    pub async fn said(&mut self, what: &str) -> Result<()> {
        let line = self.lines.next_line().await?.context("the machine ended")?;
        anyhow::ensure!(line == what, "the machine said {line}, not {what}");
        Ok(())
    }
}
