//! The line to the gateway: one question, its answers. Absent on purpose: what they mean.

use std::io;
use std::path::Path;

use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::UnixStream;

use crate::config::Language;
use crate::control::{Ask, LONGEST, Reply, Request, Say, VERSION};

/// Why nobody can be asked.
#[derive(Debug)]
pub(super) enum NotReached {
    /// Nobody answers.
    NoGateway,
    /// The system lets this user not that far.
    NotPermitted,
    /// Something else.
    Failed(io::Error),
}

/// An open question.
pub(super) struct Line(BufReader<UnixStream>);

impl From<io::Error> for NotReached {
    fn from(e: io::Error) -> Self {
        if matches!(e.kind(), io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused) {
            NotReached::NoGateway
        } else if e.kind() == io::ErrorKind::PermissionDenied {
            NotReached::NotPermitted
        } else {
            NotReached::Failed(e)
        }
    }
}

impl NotReached {
    pub(super) fn sentence(&self, socket: &Path, language: Language) -> String {
        let socket = socket.display();
        match (self, language) {
            (NotReached::NoGateway, Language::English) => {
                format!("No gateway runs here: nobody answers on {socket}.")
            }
            (NotReached::NoGateway, Language::German) => {
                format!("Hier läuft kein Gateway: auf {socket} antwortet niemand.")
            }
            (NotReached::NotPermitted, Language::English) => {
                format!("{socket} is open to root, to who runs the gateway, and to its group.")
            }
            (NotReached::NotPermitted, Language::German) => {
                format!("{socket} steht root, dem Benutzer des Gateways und seiner Gruppe offen.")
            }
            (NotReached::Failed(e), _) => format!("{socket}: {e}"),
        }
    }
}

impl Line {
    pub(super) async fn open(socket: &Path, ask: Ask) -> Result<Self, NotReached> {
        let mut stream = UnixStream::connect(socket).await?;
        let request = serde_json::to_string(&Request { v: VERSION, ask }).unwrap_or_default();
        // Who is refused is told so before they have asked: what was said is read all the same.
        stream.write_all(format!("{request}\n").as_bytes()).await.ok();
        Ok(Self(BufReader::with_capacity(LONGEST, stream)))
    }

    /// Something beside the question.
    pub(super) async fn write(&mut self, bytes: &[u8]) -> anyhow::Result<()> {
        Ok(self.0.get_mut().write_all(bytes).await?)
    }

    /// The next answer. Cancelled, it has lost part of a line: nobody asks again then.
    pub(super) async fn next(&mut self) -> anyhow::Result<Say> {
        let mut line = Vec::new();
        (&mut self.0).take(LONGEST as u64).read_until(b'\n', &mut line).await?;
        if line.last() != Some(&b'\n') {
            anyhow::bail!("the gateway broke off");
        }
        let reply: Reply = serde_json::from_slice(&line)?;
        if reply.v != VERSION {
            anyhow::bail!("the gateway is of another version than this command");
        }
        Ok(reply.say)
    }
}
