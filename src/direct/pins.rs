//! The certificate of a box that no gateway pins: seen for the first time it is shown and asked about, then kept in a file of the person's.
//! Absent on purpose: any way around one that changed; the file's line has to be taken out by hand.

use std::io;
use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::PoisonError;
use std::sync::atomic::{AtomicBool, Ordering};

use async_trait::async_trait;

use super::place::{self, Guard, There, Untaken};
use super::terminal;
use super::words::{Words, complain};
use crate::konnektor::{CertificatePin, Listener, NotKept, Pinned, Pins};
use crate::names::HostPort;

/// A file of lines is small.
const LARGEST: u64 = 1024 * 1024;

/// Pins in `konnektor-pins`, one line each: `host:port listener sha256:…`.
pub(super) struct FilePins {
    pub(super) file: PathBuf,
    /// Where the management interface is.
    pub(super) management: Mutex<HostPort>,
    pub(super) directory: HostPort,
    /// Named by the person.
    pub(super) named: Vec<CertificatePin>,
    pub(super) accept_new: bool,
    pub(super) words: Words,
    /// Said no to, or nobody could be asked: not asked again.
    pub(super) declined: AtomicBool,
}

impl FilePins {
    fn key(&self, listener: Listener) -> String {
        match listener {
            Listener::Management => {
                format!("{} management", self.management.lock().unwrap_or_else(PoisonError::into_inner))
            }
            Listener::Directory => format!("{} directory", self.directory),
        }
    }

    /// Its port is known now, or it was followed.
    pub(super) fn is_at(&self, management: &HostPort) {
        *self.management.lock().unwrap_or_else(PoisonError::into_inner) = management.clone();
    }

    fn text(&self) -> io::Result<String> {
        match place::guarded(&self.file, Guard::Text, LARGEST) {
            Ok(bytes) => String::from_utf8(bytes).map_err(|_| io::ErrorKind::InvalidData.into()),
            Err(Untaken::Io(e)) if e.kind() == io::ErrorKind::NotFound => Ok(String::new()),
            Err(Untaken::Io(e)) => Err(e),
            Err(Untaken::Others) => Err(io::ErrorKind::PermissionDenied.into()),
            Err(Untaken::NoFile | Untaken::TooLarge) => Err(io::ErrorKind::InvalidData.into()),
        }
    }

    /// What the file holds for this listener; a file that cannot be read, or a line that is no pin, is an error.
    fn kept(&self, listener: Listener) -> io::Result<Option<(usize, CertificatePin)>> {
        let (text, key) = (self.text()?, self.key(listener));
        for (n, line) in text.lines().enumerate() {
            if let Some(pin) = line.trim().strip_prefix(&key).and_then(|rest| rest.strip_prefix(' ')) {
                let pin = pin.trim().parse().map_err(|_| io::ErrorKind::InvalidData)?;
                return Ok(Some((n + 1, pin)));
            }
        }
        Ok(None)
    }

    /// The first line whose pin is this one: `FILE:LINE`.
    pub(super) fn place_of(&self, pin: CertificatePin) -> Option<String> {
        let of = |listener| self.kept(listener).ok().flatten().filter(|(_, kept)| *kept == pin);
        let (line, _) = of(Listener::Management).or_else(|| of(Listener::Directory))?;
        Some(format!("{}:{line}", self.file.display()))
    }

    fn keep(&self, listener: Listener, pin: CertificatePin) -> io::Result<()> {
        let folder = self.file.parent().ok_or(io::ErrorKind::InvalidInput)?;
        place::make(folder)?;
        // Two at different boxes must not lose each other's line.
        let lock = self.file.with_extension("lock");
        let lock = std::fs::OpenOptions::new().create(true).truncate(false).write(true).open(lock)?;
        rustix::fs::flock(&lock, rustix::fs::FlockOperation::LockExclusive)?;
        match self.kept(listener)? {
            Some((_, kept)) if kept == pin => return Ok(()),
            Some(_) => return Err(io::ErrorKind::AlreadyExists.into()),
            None => {}
        }
        let mut text = self.text()?;
        if !text.is_empty() && !text.ends_with('\n') {
            text.push('\n');
        }
        text.extend([self.key(listener).as_str(), " ", &pin.to_string(), "\n"]);
        place::write(&self.file, text.as_bytes(), There::Goes)
    }

    /// The box was followed to another address: its certificate is expected there from now on.
    pub(super) fn moved(&self, to: &HostPort, pin: CertificatePin) -> io::Result<()> {
        self.is_at(to);
        self.keep(Listener::Management, pin)
    }

    /// What is kept of the management interface.
    pub(super) fn of_management(&self) -> Option<CertificatePin> {
        self.kept(Listener::Management).ok().flatten().map(|(_, pin)| pin)
    }

    async fn wanted(&self, what: &Pinned, pin: CertificatePin) -> bool {
        let other = match what.listener {
            Listener::Management => Listener::Directory,
            Listener::Directory => Listener::Management,
        };
        let known_beside = matches!(self.kept(other), Ok(Some((_, kept))) if kept == pin);
        if self.named.contains(&pin) || known_beside {
            return true;
        }
        let key = self.key(what.listener);
        if self.accept_new {
            terminal::show_progress("", "");
            complain(&self.words.certificate_accepted(&key, pin, &self.file));
            return true;
        }
        if self.declined.load(Ordering::Acquire) || !self.named.is_empty() {
            return false;
        }
        let yes = terminal::answer(&self.words.certificate_question(&key, pin)).await;
        yes.is_some_and(|yes| ["yes", "ja"].contains(&yes.to_lowercase().as_str()))
    }
}

#[async_trait]
impl Pins for FilePins {
    async fn pinned(&self, what: &Pinned) -> Option<CertificatePin> {
        match self.kept(what.listener) {
            Ok(kept) => kept.map(|(_, pin)| pin),
            Err(e) => {
                // What cannot be read trusts nobody: `first_seen` meets the same.
                self.declined.store(true, Ordering::Release);
                complain(&format!("{}: {e}", self.file.display()));
                None
            }
        }
    }

    async fn first_seen(&self, what: &Pinned, pin: CertificatePin) -> Result<(), NotKept> {
        if !self.wanted(what, pin).await {
            self.declined.store(true, Ordering::Release);
            return Err(NotKept);
        }
        self.keep(what.listener, pin).map_err(|e| {
            complain(&format!("{}: {e}", self.file.display()));
            NotKept
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Language;

    fn pins(file: PathBuf) -> FilePins {
        FilePins {
            file,
            management: Mutex::new("192.168.2.100:9443".parse().unwrap()),
            directory: "192.168.2.100:443".parse().unwrap(),
            named: Vec::new(),
            accept_new: true,
            words: Words { language: Language::English },
            declined: AtomicBool::new(false),
        }
    }

    #[test]
    fn a_pin_is_kept_beside_others_and_never_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("a/konnektor-pins");
        let pins = pins(file.clone());
        let (one, two) = (CertificatePin::of(b"1"), CertificatePin::of(b"2"));
        pins.keep(Listener::Management, one).unwrap();
        pins.keep(Listener::Directory, two).unwrap();
        assert_eq!(
            std::fs::read_to_string(&file).unwrap(),
            format!("192.168.2.100:9443 management {one}\n192.168.2.100:443 directory {two}\n")
        );
        assert!(pins.keep(Listener::Management, two).is_err());
        assert_eq!(pins.of_management(), Some(one));
        assert_eq!(pins.place_of(two), Some(format!("{}:2", file.display())));
        // A longer port is another address.
        pins.is_at(&"192.168.2.100:944".parse().unwrap());
        assert_eq!(pins.of_management(), None);
        std::fs::write(&file, "192.168.2.100:944 management nonsense\n").unwrap();
        assert!(pins.kept(Listener::Management).is_err());
    }
}
