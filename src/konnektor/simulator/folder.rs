//! A simulated box's content: one JSON file a service, read and written in pieces, each file replaced whole.
//! Absent on purpose: what is in them, and a copy in memory.

use std::io::{BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use axum::body::{Body, Bytes};
use futures::StreamExt;
use hyper::header::{self, HeaderValue};
use hyper::{Response, StatusCode};
use serde::de::IgnoredAny;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{lock, random, replies};

/// Of one request's body.
const BODY_LIMIT: u64 = 256 << 20;
const PIECE: usize = 64 << 10;

pub(super) struct Folder {
    dir: PathBuf,
    changing: Mutex<()>,
}

/// A body that came whole and is JSON; its file is gone when it was not kept.
pub(super) struct Received(PathBuf);

impl Drop for Received {
    fn drop(&mut self) {
        // It is no longer there where it was kept.
        drop(std::fs::remove_file(&self.0));
    }
}

impl Received {
    /// The JSON in it.
    pub(super) fn value(&self) -> std::io::Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(&self.0)?)?)
    }

    /// The first byte that is no white space: what kind of JSON it is.
    pub(super) fn kind(&self) -> std::io::Result<u8> {
        kind(&self.0)
    }
}

fn kind(file: &Path) -> std::io::Result<u8> {
    let mut bytes = BufReader::new(std::fs::File::open(file)?).bytes();
    bytes
        .find(|byte| !byte.as_ref().is_ok_and(u8::is_ascii_whitespace))
        .unwrap_or_else(|| Err(std::io::ErrorKind::UnexpectedEof.into()))
}

impl Folder {
    pub(super) fn new(dir: PathBuf) -> Self {
        Self { dir, changing: Mutex::new(()) }
    }

    pub(super) fn path(&self, name: &str) -> PathBuf {
        self.dir.join(format!("{name}.json"))
    }

    pub(super) fn has(&self, name: &str) -> bool {
        self.path(name).is_file()
    }

    /// Whether that body is the same kind of JSON as what the file holds; what a file cannot tell is no reason.
    pub(super) fn same_kind(&self, name: &str, received: &Received) -> bool {
        match (kind(&self.path(name)), received.kind()) {
            (Ok(held), Ok(came)) => held == came,
            _ => true,
        }
    }

    pub(super) fn value(&self, name: &str) -> std::io::Result<Value> {
        Ok(serde_json::from_slice(&std::fs::read(self.path(name))?)?)
    }

    /// Replaces the file.
    pub(super) fn put(&self, name: &str, value: &Value) -> std::io::Result<()> {
        let part = self.part();
        std::fs::File::create(&part.0)?.write_all(format!("{value:#}\n").as_bytes())?;
        std::fs::rename(&part.0, self.path(name))
    }

    /// Replaces the file by what came.
    pub(super) fn keep(&self, name: &str, received: &Received) -> std::io::Result<()> {
        std::fs::rename(&received.0, self.path(name))
    }

    /// Changes one at a time; must not be called within itself.
    pub(super) fn change<T>(&self, change: impl FnOnce(&Self) -> T) -> T {
        let _one = lock(&self.changing);
        change(self)
    }

    /// Writes the file where there is none yet.
    pub(super) fn write_missing(&self, name: &str, value: impl FnOnce() -> Value) -> std::io::Result<()> {
        if self.has(name) { Ok(()) } else { self.put(name, &value()) }
    }

    fn part(&self) -> Received {
        Received(self.dir.join(format!(".{}.part", random())))
    }

    /// The file as an answer, read while it is sent; 404 where there is none.
    pub(super) async fn answer(&self, name: &str) -> Response<Body> {
        let Ok(file) = tokio::fs::File::open(self.path(name)).await else {
            return replies::status(StatusCode::NOT_FOUND);
        };
        let length = file.metadata().await.ok().map(|data| data.len());
        let pieces = futures::stream::try_unfold(file, |mut file| async move {
            let mut piece = vec![0; PIECE];
            let read = file.read(&mut piece).await?;
            piece.truncate(read);
            Ok::<_, std::io::Error>((read > 0).then(|| (Bytes::from(piece), file)))
        });
        let mut answer = replies::json(Body::from_stream(pieces));
        if let Some(length) = length {
            answer.headers_mut().insert(header::CONTENT_LENGTH, HeaderValue::from(length));
        }
        answer
    }

    /// Takes a body piece by piece into a file beside the others; refuses what is too long or not JSON.
    pub(super) async fn receive(&self, body: Body) -> Result<Received, StatusCode> {
        let part = self.part();
        let failed = |_: std::io::Error| StatusCode::INTERNAL_SERVER_ERROR;
        let mut file = tokio::fs::File::create(&part.0).await.map_err(failed)?;
        let (mut pieces, mut length) = (body.into_data_stream(), 0);
        while let Some(piece) = pieces.next().await {
            let piece = piece.map_err(|_| StatusCode::BAD_REQUEST)?;
            length += piece.len() as u64;
            if length > BODY_LIMIT {
                return Err(StatusCode::PAYLOAD_TOO_LARGE);
            }
            file.write_all(&piece).await.map_err(failed)?;
        }
        file.flush().await.map_err(failed)?;
        drop(file);
        let checked = tokio::task::spawn_blocking(move || {
            let file = BufReader::with_capacity(PIECE, std::fs::File::open(&part.0)?);
            serde_json::from_reader::<_, IgnoredAny>(file)?;
            Ok::<_, std::io::Error>(part)
        });
        match checked.await {
            Ok(Ok(part)) => Ok(part),
            Ok(Err(_)) => Err(StatusCode::BAD_REQUEST),
            Err(_) => Err(StatusCode::INTERNAL_SERVER_ERROR),
        }
    }
}
