//! Where each request by SFTP is asked for: the gate decides, the phone confirms, and what is refused is on record.
//! Absent on purpose: doing it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use tokio::sync::{Mutex, OwnedSemaphorePermit, Semaphore};

use super::wire::status;
use crate::asks::{Ask, Family, FileAsk, FilePlace};
use crate::commands::exit;
use crate::commands::files::FileFailed;
use crate::config::Language;
use crate::factor::Reach;
use crate::front::Front;
use crate::front::connection::Shared;
use crate::gate::Refused;
use crate::identity::Who;
use crate::identity::second_factor::{Confirmation, NotConfirmed};
use crate::journal::started::{Outcome, Started, of};
use crate::journal::{Entry, Event};
use crate::names::SiteName;
use crate::policy::Denied;
use crate::sentences;

/// Files of one connection that are open for reading at once.
pub const READS: usize = 4;
/// Files of one connection that are being handed in at once.
pub const UPLOADS: usize = 2;
/// Folders of one connection that are open at once.
pub const FOLDERS: usize = 16;
/// Refusals on one channel that are written down one by one; of the rest the connection's last line has the number.
const WRITTEN: usize = 128;
/// Refusals after which the channel is ended.
const REFUSALS: usize = 1000;
/// What is permitted for all sites that are looked at.
const FAMILIES: [Family; 3] = [Family::KonnektorBackups, Family::KonnektorShow, Family::KonnektorRestore];

/// What the channels of one connection share.
pub struct Table {
    pub(super) reads: Arc<Semaphore>,
    pub(super) uploads: Arc<Semaphore>,
    pub(super) folders: Arc<Semaphore>,
    /// What the phone said, once for each family and site; a no counts until the person connects again.
    answers: Mutex<BTreeMap<(Family, SiteName), Result<Confirmation, String>>>,
}

impl Default for Table {
    fn default() -> Self {
        let of = |n| Arc::new(Semaphore::new(n));
        Self { reads: of(READS), uploads: of(UPLOADS), folders: of(FOLDERS), answers: Mutex::default() }
    }
}

/// A refusal as the client gets it.
#[derive(Clone, Debug)]
pub struct No {
    /// `SSH_FX_*`
    pub code: u32,
    /// For the person.
    pub sentence: String,
}

impl No {
    /// With this code and sentence.
    pub fn new(code: u32, sentence: impl Into<String>) -> Self {
        Self { code, sentence: sentence.into() }
    }
}

/// One channel's desk.
pub struct Desk {
    pub(super) front: Arc<Front>,
    pub(super) who: Who,
    pub(super) table: Arc<Table>,
    pub(super) language: Language,
    shared: Arc<Shared>,
    refusals: usize,
}

impl Desk {
    /// For a channel of this connection.
    pub fn new(
        front: Arc<Front>,
        who: Who,
        shared: Arc<Shared>,
        table: Arc<Table>,
        language: Language,
    ) -> Self {
        Self { front, who, table, language, shared, refusals: 0 }
    }

    /// The same for a task that outlives the channel.
    pub fn twin(&self) -> Self {
        let (shared, table) = (self.shared.clone(), self.table.clone());
        Self::new(self.front.clone(), self.who.clone(), shared, table, self.language)
    }

    /// The sentence in the person's language.
    pub fn pick(&self, english: &'static str, german: &'static str) -> &'static str {
        match self.language {
            Language::English => english,
            Language::German => german,
        }
    }

    /// Has it refused so much that nobody who means well is there?
    pub fn has_enough(&self) -> bool {
        self.refusals > REFUSALS
    }

    /// Would the gate let this be done there, a confirmation left aside? For what is shown, not for what is done.
    pub fn may(&self, family: Family, site: &SiteName) -> bool {
        self.front.gate.explain(&self.who, family, site).is_ok()
    }

    /// The sites where the person may do something with files now.
    pub fn sites(&self) -> Vec<SiteName> {
        let mut sites: Vec<_> =
            FAMILIES.iter().flat_map(|family| self.front.gate.sites_for(&self.who, *family)).collect();
        sites.sort();
        sites.dedup();
        sites
    }

    /// Is there a rule for this, there, now?
    pub fn sees(&self, families: &[Family], site: &SiteName) -> bool {
        families.iter().any(|family| self.front.gate.sites_for(&self.who, *family).contains(site))
    }

    /// The same of all families.
    pub fn sees_site(&self, site: &SiteName) -> bool {
        self.sees(&FAMILIES, site)
    }

    /// There is no such file, or it is not open to the person; nobody learns which.
    pub fn missing(&self) -> No {
        let english = "No file of that name is open to you.";
        let german = "Keine Datei dieses Namens steht Ihnen offen.";
        No::new(status::NO_SUCH_FILE, self.pick(english, german))
    }

    /// What the vault says.
    pub fn failed(&self, failed: &FileFailed) -> No {
        if failed.is_missing() {
            return self.missing();
        }
        No::new(status::FAILURE, failed.sentence(self.language))
    }

    /// Opens the gate for `verb`, whose path is in `as_asked`. What is refused is on record.
    pub async fn ask(&mut self, place: FilePlace, as_asked: &[u8]) -> Result<Started<FileAsk>, No> {
        let ask = FileAsk::new(place, as_asked);
        if self.refusals >= WRITTEN
            && let Some(site) = ask.site()
            && !self.may(ask.family(), site)
        {
            self.count();
            return Err(self.missing());
        }
        match self.front.gate.open(ask.clone(), &self.who, None).await {
            Ok(started) => Ok(started),
            Err(Refused::Denied { why: Denied::NeedsConfirmation { .. }, .. }) => self.confirmed(ask).await,
            Err(refused) => Err(self.turned_away(&refused)),
        }
    }

    /// Writes down what never comes before the gate: a name that is none, a change of what is read only.
    pub async fn refuse(&mut self, cause: &str, as_asked: &[u8], no: No) -> No {
        if self.refusals >= WRITTEN {
            self.count();
            return no;
        }
        self.refusals += 1;
        match self.front.gate.refuse(&self.who, cause, as_asked).await {
            Ok(()) => no,
            Err(refused) => self.no(&refused),
        }
    }

    fn count(&mut self) {
        self.refusals += 1;
        self.shared.unwritten.fetch_add(1, Ordering::Relaxed);
    }

    fn turned_away(&mut self, refused: &Refused) -> No {
        self.refusals += 1;
        self.no(refused)
    }

    fn no(&self, refused: &Refused) -> No {
        match refused {
            Refused::Denied { why: Denied::NoRule, .. } => self.missing(),
            Refused::Denied { .. } | Refused::Unsettled(_) => {
                No::new(status::PERMISSION_DENIED, sentences::refused(refused, self.language))
            }
            Refused::CannotJournal(_) => self.cannot_journal(),
        }
    }

    /// No line, no action.
    pub fn cannot_journal(&self) -> No {
        No::new(status::FAILURE, sentences::cannot_journal(self.language))
    }

    /// `confirm = true`: the phone is asked once for all of a family's files at a site. There is no place to show a number,
    /// nor to type a code.
    async fn confirmed(&mut self, ask: FileAsk) -> Result<Started<FileAsk>, No> {
        let Some(site) = ask.site().cloned() else { return Err(self.missing()) };
        let table = self.table.clone();
        // Held while the phone rings: another channel of the connection waits for the same answer.
        let mut answers = table.answers.lock().await;
        let key = (ask.family(), site);
        if !answers.contains_key(&key) {
            let answer = self.ring(&ask).await;
            answers.insert(key.clone(), answer);
        } else if let Some(Err(_)) = answers.get(&key) {
            self.refuse("not-confirmed", ask.as_asked(), self.missing()).await;
        }
        match answers.get(&key) {
            Some(Ok(confirmation)) => {
                let opened = self.front.gate.open(ask, &self.who, Some(confirmation)).await;
                opened.map_err(|refused| self.turned_away(&refused))
            }
            Some(Err(sentence)) => Err(No::new(status::PERMISSION_DENIED, sentence.clone())),
            None => Err(self.missing()),
        }
    }

    async fn ring(&mut self, ask: &FileAsk) -> Result<Confirmation, String> {
        let factor = self.front.factor.load_full();
        if !factor.rings_a_phone(self.who.user()) {
            let english = "This wants a code of its own, and SFTP has no place to type one. Open the prompt instead: ssh GATEWAY";
            let german = "Das verlangt einen eigenen Code, und bei SFTP gibt es keinen Ort dafür. Nehmen Sie die Eingabe: ssh GATEWAY";
            let no = No::new(status::PERMISSION_DENIED, self.pick(english, german));
            return Err(self.refuse("no-prompt-for-a-code", ask.as_asked(), no).await.sentence);
        }
        let asking = factor.confirm(&self.who, &ask.words(), ask.site(), factor.number(), Reach::NOTHING);
        let answered = asking.settled().await;
        match answered {
            Ok(confirmation) => Ok(confirmation),
            Err(why) => {
                let no = No::new(status::PERMISSION_DENIED, sentences::not_confirmed(&why, self.language));
                let no = self.refuse(&why.to_string(), ask.as_asked(), no).await;
                if why == NotConfirmed::Fraud {
                    self.front.fraud(self.who.user(), self.who.key());
                }
                Err(no.sentence)
            }
        }
    }

    /// Is what is open no longer permitted? That is on record then.
    pub async fn withdrawn(&self, ask: &FileAsk) -> Option<No> {
        let refused = self.front.gate.withdrawn(ask, &self.who).await?;
        Some(No::new(status::PERMISSION_DENIED, sentences::refused(&refused, self.language)))
    }

    /// One of so many, or the sentence.
    pub fn turn(&self, of: &Arc<Semaphore>) -> Result<OwnedSemaphorePermit, No> {
        of.clone().try_acquire_owned().map_err(|_| {
            let english = "Too many files are open on this connection. Close one first.";
            let german = "Auf dieser Verbindung sind zu viele Dateien offen. Schließen Sie erst eine.";
            No::new(status::FAILURE, self.pick(english, german))
        })
    }

    /// The gateway's memory for files is taken.
    pub fn no_room(&self) -> No {
        self.failed(&FileFailed::NoRoom)
    }

    /// A `file` line.
    pub async fn file(&self, ask: &FileAsk, line: FileLine<'_>) -> Result<(), No> {
        let entry = Entry {
            site: ask.site().cloned(),
            target: ask.target(),
            path: Some(line.path.as_bytes().to_vec()),
            bytes: line.bytes,
            sha256: line.sha256,
            change: Some(line.change.to_owned()),
            to: line.to.map(|to| to.as_bytes().to_vec()),
            cause: line.cause.map(ToOwned::to_owned),
            ..of(&self.who, Event::File)
        };
        self.front.journal.append(entry).await.map(|_| ()).map_err(|_| self.cannot_journal())
    }

    /// The last line of something that was begun.
    pub async fn finish(&self, started: Started<FileAsk>, outcome: Outcome) -> Result<(), No> {
        started.finish(outcome).await.map_err(|_| self.cannot_journal())
    }

    /// The last line of something that failed; gives the client's answer.
    pub async fn gave_up(&self, started: Started<FileAsk>, failed: &FileFailed, bytes_in: u64) -> No {
        let cause = Some(failed.to_string());
        let outcome = Outcome { exit: exit::FAILED, cause, bytes_in, ..Outcome::default() };
        match self.finish(started, outcome).await {
            Ok(()) => self.failed(failed),
            Err(no) => no,
        }
    }
}

/// What a `file` line tells.
pub struct FileLine<'l> {
    /// Where in the tree.
    pub path: &'l str,
    /// `download`, `upload`, `removed`, `renamed`.
    pub change: &'l str,
    /// Bytes that went over.
    pub bytes: Option<u64>,
    /// Of the whole file, if all of it did.
    pub sha256: Option<[u8; 32]>,
    /// A second path.
    pub to: Option<&'l str>,
    /// Why it is not the whole.
    pub cause: Option<&'l str>,
}
