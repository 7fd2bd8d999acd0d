//! The site's own record: a line of JSON for each thing that somebody changed here or a gateway was refused, on disk before it counts.
//! Absent on purpose: what was done in a visit; that stands in its report.

use std::fs::{File, OpenOptions};
use std::io::{self, Write as _};
use std::os::unix::fs::OpenOptionsExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use jiff::Timestamp;
use serde::Serialize;

/// The file's name in the state's folder.
pub const FILE: &str = "site.jsonl";
/// Beyond that a new file is begun; the one before stays.
const LARGEST: u64 = 16 << 20;

/// One line. A `None` is left out.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Line {
    /// When.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub time: Option<Timestamp>,
    /// `opened`, `closed`, `allowed`, …
    pub event: &'static str,
    /// Whom it is about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub who: Option<String>,
    /// Until when it holds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub until: Option<Timestamp>,
    /// Who did it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub by: Option<String>,
    /// The gateway.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub gateway: Option<String>,
    /// The visit.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub visit: Option<String>,
    /// Why, or what else.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub cause: Option<String>,
}

/// The open file.
#[derive(Clone)]
pub struct Record(Arc<Mutex<Open>>);

struct Open {
    file: File,
    path: PathBuf,
    length: u64,
}

impl Record {
    /// Opens it below `state`, or makes it.
    ///
    /// # Errors
    /// The file's.
    pub fn open(state: &Path) -> io::Result<Self> {
        let path = state.join(FILE);
        let file = append(&path)?;
        let mut length = file.metadata()?.len();
        // What a crash left of a last line is ended, so that the next one is one.
        if length > 0 && !ends_a_line(&path, length)? {
            (&file).write_all(b"\n")?;
            length += 1;
        }
        Ok(Self(Arc::new(Mutex::new(Open { file, path, length }))))
    }

    /// Writes a line, and returns when it is on the disk.
    ///
    /// # Errors
    /// The disk's; the line does not stand there then.
    pub async fn write(&self, line: Line) -> io::Result<()> {
        let mut text = serde_json::to_vec(&line)?;
        text.push(b'\n');
        let open = Arc::clone(&self.0);
        let written = tokio::task::spawn_blocking(move || {
            open.lock().unwrap_or_else(PoisonError::into_inner).write(&text)
        });
        written.await.map_err(io::Error::other)?
    }
}

impl Open {
    fn write(&mut self, text: &[u8]) -> io::Result<()> {
        let more = text.len() as u64;
        if self.length + more > LARGEST {
            std::fs::rename(&self.path, self.path.with_extension("jsonl.1"))?;
            self.file = append(&self.path)?;
            self.length = 0;
        }
        if let Err(e) = self.file.write_all(text).and_then(|()| self.file.sync_data()) {
            // Half a line helps nobody.
            self.file.set_len(self.length).ok();
            return Err(e);
        }
        self.length += more;
        Ok(())
    }
}

fn append(path: &Path) -> io::Result<File> {
    OpenOptions::new().append(true).create(true).mode(0o600).open(path)
}

fn ends_a_line(path: &Path, length: u64) -> io::Result<bool> {
    use std::os::unix::fs::FileExt as _;
    let mut last = [0];
    File::open(path)?.read_exact_at(&mut last, length - 1)?;
    Ok(last == *b"\n")
}

/// Writes a file whole or not at all, for its owner alone.
///
/// # Errors
/// The disk's; what was there before stays.
pub fn replace(path: &Path, content: &[u8]) -> io::Result<()> {
    let mut new = PathBuf::from(path);
    new.as_mut_os_string().push(".new");
    let mut file = OpenOptions::new().write(true).create(true).truncate(true).mode(0o600).open(&new)?;
    file.write_all(content)?;
    file.sync_all()?;
    std::fs::rename(&new, path)?;
    path.parent().map_or(Ok(()), |folder| File::open(folder)?.sync_all())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_torn_line_stands_alone_and_a_full_disk_leaves_none() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(FILE);
        std::fs::write(&path, "{\"event\":\"open").unwrap();
        let record = Record::open(dir.path()).unwrap();
        record.write(Line { event: "closed", by: Some("page".into()), ..Line::default() }).await.unwrap();
        let text = std::fs::read_to_string(&path).unwrap();
        assert_eq!(text, "{\"event\":\"open\n{\"event\":\"closed\",\"by\":\"page\"}\n");
        record.0.lock().unwrap().file = OpenOptions::new().append(true).open("/dev/full").unwrap();
        assert!(record.write(Line { event: "opened", ..Line::default() }).await.is_err());
        assert_eq!(std::fs::read_to_string(&path).unwrap(), text);
    }

    #[test]
    fn a_file_is_replaced_whole() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("x");
        replace(&path, b"1").unwrap();
        replace(&path, b"2").unwrap();
        assert_eq!(std::fs::read(&path).unwrap(), b"2");
        assert_eq!(std::fs::read_dir(dir.path()).unwrap().count(), 1);
    }
}
