//! The thread that owns the file: takes what is queued, chains it, one write, one fdatasync, then answers everybody.
//! Absent on purpose: what an entry means. It knows three classes of lines and a full disk, nothing else.

use std::fs::File;
use std::io;
use std::num::NonZeroU64;
use std::os::unix::fs::FileExt as _;
use std::path::Path;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use arc_swap::ArcSwapOption;
use jiff::civil::Date;
use jiff::tz::TimeZone;
use jiff::{SignedDuration, Timestamp};
use ssh_key::PrivateKey;
use tokio::sync::{OwnedSemaphorePermit, oneshot};

use super::entry::{self, Class, Entry, Event};
use super::folder::{Folder, Reserve};
use super::head::{self, Record};
use super::line::{self, Hash, LINE_MAX};
use super::{CannotJournal, OpenError, Options, Tap, Tapped, Written, read, tail};
use crate::clock::Clock;
use crate::names::SiteName;

/// How long lines may stand without a signed head.
const HEAD_EVERY: SignedDuration = SignedDuration::from_mins(5);
/// How often a pause is used to look for room, or for a head that is due.
const TICK: Duration = Duration::from_secs(1);
/// The longest wait for colleagues that wrote in the last batch and are on their way again.
const GATHER_MAX: Duration = Duration::from_millis(1);
/// What number, time and `prev` add to a line's body, at most.
const LINK_BYTES: usize = 160;

type Answer = oneshot::Sender<Result<Written, CannotJournal>>;

pub(crate) struct Job {
    pub class: Class,
    pub body: String,
    pub site: Option<SiteName>,
    pub answer: Answer,
    pub _place: OwnedSemaphorePermit,
}

pub(crate) enum Message {
    Append(Job),
    Close(oneshot::Sender<Result<(), CannotJournal>>),
}

/// What went wrong with a write, and with that what may still be believed.
#[derive(Debug, thiserror::Error)]
enum Failure {
    /// The bytes were not taken; the file's end is to be cut off again.
    #[error("{0}")]
    Write(io::Error),
    /// They were taken and may be lost while the page cache shows them.
    /// Source: Rebello et al., "Can Applications Recover from fsync Failures?", USENIX ATC 2020.
    #[error("{0}")]
    Sync(io::Error),
    #[error(transparent)]
    Sign(#[from] head::CannotSign),
}

impl From<io::Error> for Failure {
    fn from(error: io::Error) -> Self {
        Self::Write(error)
    }
}

pub(crate) struct Writer {
    folder: Folder,
    key: PrivateKey,
    clock: Clock,
    reserve: Reserve,
    file: File,
    day: Date,
    /// Bytes of the file that are durable.
    len: u64,
    seq: u64,
    prev: Hash,
    /// Is the last line a head?
    sealed: bool,
    last_head: Timestamp,
    /// Is the file's end in doubt until it was opened and read again?
    doubtful: bool,
    /// Bytes written since the reserve was released.
    spent: u64,
    trouble: Arc<ArcSwapOption<String>>,
    tap: Tap,
    last_sync: Duration,
    #[cfg(test)]
    failing_syncs: Arc<std::sync::atomic::AtomicU32>,
}

impl Writer {
    /// Takes the folder and finds the end of the chain. The second value is the `loaded` line to write first.
    pub(crate) fn open(
        dir: &Path,
        key: PrivateKey,
        clock: Clock,
        options: &Options,
        (trouble, tap): (Arc<ArcSwapOption<String>>, Tap),
    ) -> Result<(Self, Entry), OpenError> {
        let failed = |source| OpenError::Io { what: "open the journal in", path: dir.to_owned(), source };
        let folder = Folder::lock(dir)?;
        let tail = tail::find(dir, key.public_key())?;
        let now = clock.now();
        let day = tail.day.unwrap_or_else(|| day_of(now));
        let file = folder.day(day).map_err(failed)?;
        file.set_len(tail.len).and_then(|()| file.sync_all()).map_err(failed)?;
        let mut cause = "journal opened".to_owned();
        if tail.headless {
            cause.push_str("; HEAD was missing or unreadable");
        }
        let first = Entry { cause: Some(cause), torn: tail.torn, ..Entry::new(Event::Loaded) };
        let writer = Self {
            reserve: Reserve::new(dir, options.reserve),
            folder,
            key,
            clock,
            file,
            day,
            len: tail.len,
            seq: tail.seq,
            prev: tail.hash,
            sealed: tail.sealed,
            last_head: now,
            doubtful: false,
            spent: 0,
            trouble,
            tap,
            last_sync: Duration::ZERO,
            #[cfg(test)]
            failing_syncs: Arc::clone(&options.failing_syncs),
        };
        // Also the proof that the key can sign, before a line depends on it.
        let record = Record { seq: writer.seq, hash: writer.prev }.signed(&writer.key)?;
        writer.folder.write_head(&record).map_err(failed)?;
        if let Err(error) = writer.reserve.make() {
            writer.set_trouble(&no_reserve(&error));
        }
        Ok((writer, first))
    }

    /// Writes until the last handle is gone or the journal is closed.
    pub(crate) fn run(mut self, messages: &Receiver<Message>) {
        let gone = SetGone(Arc::clone(&self.trouble));
        let mut usual = 1;
        loop {
            let first = if self.sealed && self.trouble.load().is_none() {
                messages.recv().map_err(|_| RecvTimeoutError::Disconnected)
            } else {
                messages.recv_timeout(TICK)
            };
            let (jobs, close) = match first {
                Ok(Message::Append(job)) => self.gather(job, messages, usual),
                Ok(Message::Close(answer)) => (Vec::new(), Some(answer)),
                Err(RecvTimeoutError::Timeout) => {
                    self.tick();
                    continue;
                }
                Err(RecvTimeoutError::Disconnected) => {
                    if let Err(why) = self.seal() {
                        tracing::error!(%why, "the journal ends without a signed head");
                    }
                    return;
                }
            };
            usual = jobs.len();
            self.commit(jobs);
            if let Some(answer) = close {
                let sealed = self.seal();
                // The lock goes before the answer: who hears it may open the journal again.
                drop(self);
                drop(gone);
                answer.send(sealed).ok();
                return;
            }
        }
    }

    /// Everything that is queued, and, where the last batch had more, what arrives within a fraction of a sync.
    fn gather(
        &self,
        first: Job,
        messages: &Receiver<Message>,
        usual: usize,
    ) -> (Vec<Job>, Option<oneshot::Sender<Result<(), CannotJournal>>>) {
        let until = Instant::now() + (self.last_sync / 4).min(GATHER_MAX);
        let mut jobs = vec![first];
        while jobs.len() < super::QUEUE {
            let patience = if jobs.len() < usual {
                until.saturating_duration_since(Instant::now())
            } else {
                Duration::ZERO
            };
            match messages.recv_timeout(patience) {
                Ok(Message::Append(job)) => jobs.push(job),
                Ok(Message::Close(answer)) => return (jobs, Some(answer)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => break,
            }
        }
        (jobs, None)
    }

    /// One write, one sync, all answers. On a full disk: new work is refused, the rest is written into the reserve.
    fn commit(&mut self, mut jobs: Vec<Job>) {
        if self.trouble.load().is_some() && jobs.iter().any(|job| job.class == Class::New) {
            self.recover();
        }
        for again in [true, false] {
            if let Some(why) = self.trouble() {
                jobs = self.what_the_reserve_takes(jobs, &why);
            }
            if jobs.is_empty() {
                return;
            }
            match self.write(&jobs) {
                Ok(()) => {
                    let first = self.seq + 1 - jobs.len() as u64;
                    for (seq, job) in (first..).zip(jobs) {
                        // A caller that went away has its line all the same.
                        job.answer.send(Ok(Written { seq })).ok();
                    }
                    return;
                }
                Err(failure) => {
                    self.fall(&failure);
                    if !again {
                        let why = self.trouble().unwrap_or(CannotJournal::Closed);
                        jobs = jobs.into_iter().filter_map(|job| refuse(job, &why)).collect();
                    }
                }
            }
        }
    }

    /// Closing lines, and refusals up to half of the reserve; the rest is answered with `why`.
    fn what_the_reserve_takes(&self, jobs: Vec<Job>, why: &CannotJournal) -> Vec<Job> {
        let mut left = (self.reserve.size() / 2).saturating_sub(self.spent);
        let takes = |job: Job| match job.class {
            Class::Closing => Some(job),
            Class::Refusal => match left.checked_sub((job.body.len() + LINK_BYTES) as u64) {
                Some(less) => {
                    left = less;
                    Some(job)
                }
                None => refuse(job, why),
            },
            Class::New => refuse(job, why),
        };
        jobs.into_iter().filter_map(takes).collect()
    }

    /// Chains and writes the jobs, behind a head where one is due.
    fn write(&mut self, jobs: &[Job]) -> Result<(), Failure> {
        if self.doubtful {
            self.reopen()?;
        }
        let now = self.clock.now();
        self.roll(now)?;
        let due = self.head_is_due(now);
        let bytes = self.put(now, due, jobs.iter().map(|job| job.body.as_str()))?;
        self.pass_on(&bytes, jobs);
        Ok(())
    }

    /// Lines about sites go to whoever listens, who is not waited for.
    fn pass_on(&self, bytes: &[u8], jobs: &[Job]) {
        let Some(tap) = self.tap.get() else { return };
        let lines = bytes.strip_suffix(b"\n").unwrap_or(bytes).rsplit(|&byte| byte == b'\n');
        let mut lines: Vec<&[u8]> = lines.take(jobs.len()).collect();
        lines.reverse();
        for (line, job) in lines.into_iter().zip(jobs) {
            if let Some(site) = &job.site {
                let line = String::from_utf8_lossy(line).into_owned();
                tap.try_send(Tapped { site: site.clone(), line }).ok();
            }
        }
    }

    /// Chains, writes and syncs: a head if wanted, then the bodies. Nothing counts before all of it is durable.
    fn put<'a>(
        &mut self,
        now: Timestamp,
        head_first: bool,
        bodies: impl Iterator<Item = &'a str>,
    ) -> Result<Vec<u8>, Failure> {
        let (mut seq, mut prev) = (self.seq, self.prev);
        let mut bytes = Vec::new();
        let mut sealed = self.sealed;
        if head_first {
            let signed = head::sign(&self.key, seq, &prev)?;
            seq += 1;
            let body = entry::head_body(&signed.signature, &signed.signed);
            prev = line::put_line(&mut bytes, seq, now, &prev, &body);
            sealed = true;
        }
        for body in bodies {
            seq += 1;
            prev = line::put_line(&mut bytes, seq, now, &prev, body);
            sealed = false;
        }
        let record = Record { seq, hash: prev }.signed(&self.key)?;
        self.file.write_all_at(&bytes, self.len)?;
        self.sync().map_err(Failure::Sync)?;
        self.len += bytes.len() as u64;
        self.spent += bytes.len() as u64;
        (self.seq, self.prev, self.sealed) = (seq, prev, sealed);
        if head_first {
            self.last_head = now;
        }
        if let Err(error) = self.folder.write_head(&record) {
            tracing::error!(%error, "the journal's HEAD cannot be written: a cut tail would not show");
        }
        Ok(bytes)
    }

    fn sync(&mut self) -> io::Result<()> {
        let begin = Instant::now();
        #[cfg(test)]
        if self.failing_syncs.load(std::sync::atomic::Ordering::SeqCst) > 0 {
            self.failing_syncs.fetch_sub(1, std::sync::atomic::Ordering::SeqCst);
            return Err(io::Error::from_raw_os_error(rustix::io::Errno::IO.raw_os_error()));
        }
        self.file.sync_data()?;
        self.last_sync = begin.elapsed();
        Ok(())
    }

    /// On a new day: a head ends the old file and a new one begins. Never back into an older file, and not on a full
    /// disk: the reserve's room is behind the end of the old one.
    fn roll(&mut self, now: Timestamp) -> Result<(), Failure> {
        let today = day_of(now);
        if today <= self.day || self.trouble.load().is_some() {
            return Ok(());
        }
        if !self.sealed {
            self.put(now, true, std::iter::empty())?;
        }
        let file = self.folder.day(today)?;
        if file.metadata()?.len() > 0 {
            return Err(io::Error::other(format!("{} is not ours", read::file_name(today))).into());
        }
        (self.file, self.day, self.len) = (file, today, 0);
        Ok(())
    }

    fn head_is_due(&mut self, now: Timestamp) -> bool {
        if self.sealed || now < self.last_head {
            self.last_head = now;
            return false;
        }
        now.duration_since(self.last_head) >= HEAD_EVERY
    }

    fn tick(&mut self) {
        if self.trouble.load().is_some() {
            self.recover();
        }
        let now = self.clock.now();
        if self.head_is_due(now)
            && let Err(failure) = self.put(now, true, std::iter::empty())
        {
            self.fall(&failure);
        }
    }

    /// The last head, for a clean end.
    fn seal(&mut self) -> Result<(), CannotJournal> {
        if self.sealed {
            return Ok(());
        }
        let now = self.clock.now();
        for _attempt in 0..2 {
            let sound = if self.doubtful { self.reopen() } else { Ok(()) };
            match sound.map_err(Failure::from).and_then(|()| self.put(now, true, std::iter::empty())) {
                Ok(_) => return Ok(()),
                Err(failure) => self.fall(&failure),
            }
        }
        Err(self.trouble().unwrap_or(CannotJournal::Closed))
    }

    /// A write failed: the file ends again where it was durable, and the reserve is there for what must be written.
    fn fall(&mut self, failure: &Failure) {
        let lost = matches!(failure, Failure::Sync(_));
        let cut = self.file.set_len(self.len).and_then(|()| self.file.sync_all());
        self.doubtful |= lost || cut.is_err();
        if self.trouble.load().is_none() {
            self.spent = 0;
        }
        self.reserve.release(&self.file, self.len);
        self.set_trouble(&failure.to_string());
    }

    /// Room and a sound file again? Then new work again.
    fn recover(&mut self) {
        if self.doubtful
            && let Err(error) = self.reopen()
        {
            return self.set_trouble(&error.to_string());
        }
        if let Err(error) = self.reserve.make() {
            return self.set_trouble(&no_reserve(&error));
        }
        // Gives back what was claimed behind the file's end.
        if self.file.set_len(self.len).is_ok() {
            tracing::info!("the journal takes new work again");
            self.trouble.store(None);
        }
    }

    /// After a failed sync the page cache is no witness: open anew, drop it, cut, read the last line from the disk.
    fn reopen(&mut self) -> io::Result<()> {
        let file = self.folder.day(self.day)?;
        file.set_len(self.len)?;
        file.sync_all()?;
        rustix::fs::fadvise(&file, 0, None::<NonZeroU64>, rustix::fs::Advice::DontNeed)?;
        if self.len > 0 {
            let start = self.len.saturating_sub(LINE_MAX as u64 + 2);
            let mut bytes = vec![0; usize::try_from(self.len - start).unwrap_or(usize::MAX)];
            file.read_exact_at(&mut bytes, start)?;
            let whole = bytes.strip_suffix(b"\n").unwrap_or_default();
            let last = whole.rsplit(|&b| b == b'\n').next().unwrap_or_default();
            if Hash::of(last) != self.prev {
                return Err(io::Error::other("the last durable line reads back differently"));
            }
        }
        (self.file, self.doubtful) = (file, false);
        Ok(())
    }

    fn trouble(&self) -> Option<CannotJournal> {
        self.trouble.load().as_ref().map(|why| CannotJournal::Disk(Arc::clone(why)))
    }

    fn set_trouble(&self, why: &str) {
        let place = self.folder.path().display();
        if self.trouble.load().is_none() {
            tracing::error!(%place, why, "the journal takes no new work");
        }
        self.trouble.store(Some(Arc::new(format!("{place}: {why}"))));
    }
}

/// However the thread ends, health says so.
struct SetGone(Arc<ArcSwapOption<String>>);

impl Drop for SetGone {
    fn drop(&mut self) {
        self.0.store(Some(Arc::new("the writer has ended".into())));
    }
}

fn refuse(job: Job, why: &CannotJournal) -> Option<Job> {
    job.answer.send(Err(why.clone())).ok();
    None
}

fn no_reserve(error: &io::Error) -> String {
    format!("no room for the reserve: {error}")
}

fn day_of(now: Timestamp) -> Date {
    now.to_zoned(TimeZone::UTC).date()
}
