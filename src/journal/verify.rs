//! Is the journal as it was written? Finds changed, missing, moved, doubled and cut lines, and says which.
//! Absent on purpose: any repair, and any trust in what the lines say beside their chain and signatures.
//!
//! A line's `prev` is the hash of the line before, so a break of the chain between two lines says that something is
//! wrong there; the numbers, the next line and `HEAD` say what. One line is looked ahead, nothing else is kept but
//! ranges of numbers that are missing and lines that stand where they do not belong.
//!
//! What it cannot see: who holds the journal's key can write another journal, and an old copy of the whole folder,
//! `HEAD` included, is a sound journal. Heads that were copied to another machine show both.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use ssh_key::PublicKey;

use super::folder;
use super::head::{self, Record};
use super::line::{Hash, Links};
use super::read::{self, End, Lines, RawLine};

/// Findings that are kept one by one; what comes after is counted.
const KEPT: usize = 1000;

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Lines read.
    pub lines: u64,
    /// Signed heads among them.
    pub heads: u64,
    /// The number of the last line in its place.
    pub last: u64,
    /// What is wrong, in the order of the files; empty in a sound journal.
    pub findings: Vec<Finding>,
    /// Findings beyond the first thousand.
    pub more: u64,
    /// Bytes behind the last whole line: a crash, or a writer at work. No finding.
    pub torn_bytes: u64,
}

impl Report {
    /// Nothing is wrong.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.more == 0
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for finding in &self.findings {
            writeln!(f, "{finding}")?;
        }
        if self.more > 0 {
            writeln!(f, "and {} more", self.more)?;
        }
        let verdict = if self.is_sound() { "sound" } else { "NOT as it was written" };
        let lines = if self.lines == 1 { "line" } else { "lines" };
        let heads = if self.heads == 1 { "signed head" } else { "signed heads" };
        write!(f, "{} {lines}, {} {heads}, last {}: {verdict}", self.lines, self.heads, self.last)
    }
}

/// What is wrong with a line.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// The line is not the one that was written.
    Changed,
    /// The line after it is changed too, so nothing vouches for this one.
    Unproven,
    /// Lines are gone; the place is the line after the gap.
    Missing,
    /// The line stands in another place than it was written in.
    Moved,
    /// The line stands here a second time.
    Doubled,
    /// A line that is none of this journal.
    Foreign,
    /// Lines at the end are gone: `HEAD` knows of them.
    CutOff,
    /// A `head` line that the journal's key did not sign for this place.
    BadSignature,
    /// A file that is not the newest and does not end with a head.
    Unsigned,
    /// The file `HEAD` is missing, damaged or not signed by the journal's key: a cut end would not show.
    NoHead,
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What.
    pub kind: Kind,
    /// The first line's number in the chain.
    pub first: u64,
    /// The last line's; the same for a single line.
    pub last: u64,
    /// The file's name in the folder.
    pub file: Arc<str>,
    /// The line in the file, from 1; 0 where it is about the file.
    pub line: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file)?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.first == self.last {
            write!(f, ": line {} ", self.first)?;
        } else {
            write!(f, ": lines {} to {} ", self.first, self.last)?;
        }
        f.write_str(match self.kind {
            Kind::Changed => "changed",
            Kind::Unproven => "not vouched for: the line after it is changed",
            Kind::Missing => "missing before this place",
            Kind::Moved => "stands in the wrong place",
            Kind::Doubled => "stands here a second time",
            Kind::Foreign => "none of this journal",
            Kind::CutOff => "cut off the end",
            Kind::BadSignature => "a head without a good signature",
            Kind::Unsigned => "ends a file without a signed head",
            Kind::NoHead => "last, and HEAD does not vouch for it: missing, damaged or not signed",
        })
    }
}

/// Reads the whole journal in `dir` and checks it against the public half of the journal's key. Constant memory.
/// May run beside the writer.
///
/// # Errors
/// A file cannot be read.
pub fn verify(dir: &Path, key: &PublicKey) -> io::Result<Report> {
    // HEAD first: beside a writer at work it is then behind the lines, never ahead.
    // It is written in place, so a reading in that very moment may be half old and half new: read again then.
    let mut record = None;
    for _attempt in 0..3 {
        record = Record::read(&folder::read_head(dir)?, key);
        if record.is_some() {
            break;
        }
    }
    let days = read::days(dir)?;
    let newest: Option<Arc<str>> = days.last().map(|day| read::file_name(*day).into());
    let mut lines = Lines::new(dir, days);
    let mut check = Check::new(key, record);
    let mut ahead = lines.next()?.map(Read::of);
    while let Some(read) = ahead {
        ahead = lines.next()?.map(Read::of);
        check.take(&read, ahead.as_ref(), newest.as_deref());
    }
    Ok(check.end(newest))
}

struct Read {
    raw: RawLine,
    hash: Hash,
    links: Option<Links>,
}

impl Read {
    fn of(raw: RawLine) -> Self {
        let hash = Hash::of(&raw.bytes);
        let links = if raw.end == End::Newline { Links::read(&raw.bytes) } else { None };
        Self { raw, hash, links }
    }
}

/// A line in its place, as the next one needs it.
struct Before {
    seq: u64,
    /// `None` where it is known to be wrong, or absent: the next line's `prev` proves nothing then.
    hash: Option<Hash>,
    file: Arc<str>,
    line: u64,
    is_head: bool,
}

struct Stray {
    seq: u64,
    file: Arc<str>,
    line: u64,
}

struct Check<'a> {
    key: &'a PublicKey,
    record: Option<Record>,
    report: Report,
    before: Before,
    /// Numbers without a line: first, last, and the finding's place.
    gaps: Vec<(u64, u64, Arc<str>, u64)>,
    strays: Vec<Stray>,
}

impl<'a> Check<'a> {
    fn new(key: &'a PublicKey, record: Option<Record>) -> Self {
        let report = Report { lines: 0, heads: 0, last: 0, findings: Vec::new(), more: 0, torn_bytes: 0 };
        let before = Before { seq: 0, hash: Some(Hash::ZERO), file: "".into(), line: 0, is_head: true };
        Self { key, record, report, before, gaps: Vec::new(), strays: Vec::new() }
    }

    fn find(&mut self, kind: Kind, (first, last): (u64, u64), file: &Arc<str>, line: u64) {
        if self.report.findings.len() < KEPT {
            self.report.findings.push(Finding { kind, first, last, file: Arc::clone(file), line });
        } else {
            self.report.more += 1;
        }
    }

    fn take(&mut self, read: &Read, next: Option<&Read>, newest: Option<&str>) {
        let raw = &read.raw;
        let at_end = next.is_none() && newest == Some(&*raw.file);
        let unproven = self.record.as_ref().is_some_and(|record| record.seq <= self.before.seq);
        if at_end && (raw.end == End::Torn || (read.links.is_none() && unproven)) {
            self.report.torn_bytes = raw.bytes.len() as u64;
            return;
        }
        self.report.lines += 1;
        if self.before.file != raw.file && !self.before.is_head {
            let (seq, file, line) = (self.before.seq, Arc::clone(&self.before.file), self.before.line);
            self.find(Kind::Unsigned, (seq, seq), &file, line);
        }
        let due = self.before.seq + 1;
        let next_seq = next.and_then(|n| n.links.as_ref()).map(|links| links.seq);
        let Some(links) = &read.links else {
            // A line that cannot be read is the one due here, unless that one follows.
            if next_seq == Some(due) {
                self.find(Kind::Foreign, (due, due), &raw.file, raw.number);
            } else {
                self.find(Kind::Changed, (due, due), &raw.file, raw.number);
                self.settle(read, due, None);
            }
            return;
        };
        let linked = self.before.hash.is_none_or(|hash| hash == links.prev);
        if self.before.hash == Some(links.prev) && links.seq != due {
            // It follows the line before and has another number: that number was written over.
            self.find(Kind::Changed, (due, due), &raw.file, raw.number);
            self.settle(read, due, None);
        } else if links.seq == due {
            self.in_place(read, links, next, linked);
        } else {
            self.out_of_place(read, links, next, due);
        }
    }

    fn in_place(&mut self, read: &Read, links: &Links, next: Option<&Read>, linked: bool) {
        if linked {
            self.settle(read, links.seq, Some(read.hash));
            return;
        }
        // One of the two is changed. The line that the next one, or HEAD, vouches for is not the one.
        let vouched = match next.and_then(|n| n.links.as_ref()) {
            Some(next) if next.seq == links.seq + 1 => next.prev == read.hash,
            Some(_) | None => {
                self.record.as_ref().is_none_or(|record| record.seq != links.seq || record.hash == read.hash)
            }
        };
        let (seq, file, line) = (self.before.seq, Arc::clone(&self.before.file), self.before.line);
        if vouched && seq > 0 {
            self.find(Kind::Changed, (seq, seq), &file, line);
            self.settle(read, links.seq, Some(read.hash));
        } else {
            if seq > 0 {
                self.find(Kind::Unproven, (seq, seq), &file, line);
            }
            self.find(Kind::Changed, (links.seq, links.seq), &read.raw.file, read.raw.number);
            self.settle(read, links.seq, None);
        }
    }

    fn out_of_place(&mut self, read: &Read, links: &Links, next: Option<&Read>, due: u64) {
        let raw = &read.raw;
        let next = next.and_then(|n| n.links.as_ref());
        let goes_on = next.is_none_or(|n| n.seq == links.seq + 1 && n.prev == read.hash);
        if links.seq > due && goes_on {
            // The journal goes on behind a gap.
            self.gaps.push((due, links.seq - 1, Arc::clone(&raw.file), raw.number));
            self.settle(read, links.seq, Some(read.hash));
            self.fold_gaps();
            return;
        }
        if self.strays.len() < KEPT {
            self.strays.push(Stray { seq: links.seq, file: Arc::clone(&raw.file), line: raw.number });
        } else {
            self.report.more += 1;
        }
        if next.is_some_and(|n| n.seq == due + 1) {
            // It stands in the place of the line that is due.
            self.gaps.push((due, due, Arc::clone(&raw.file), raw.number));
            self.settle(read, due, None);
            self.fold_gaps();
        }
    }

    /// Bounds the memory: of very many gaps the later ones are reported as missing at once.
    fn fold_gaps(&mut self) {
        if self.gaps.len() > KEPT
            && let Some((first, last, file, line)) = self.gaps.pop()
        {
            self.find(Kind::Missing, (first, last), &file, line);
        }
    }

    /// The line is the one numbered `seq`; what it says about itself is checked against its signatures.
    fn settle(&mut self, read: &Read, seq: u64, hash: Option<Hash>) {
        let head = read.links.as_ref().and_then(|links| links.head.as_ref().map(|head| (links, head)));
        if let Some((links, head)) = head {
            self.report.heads += 1;
            if !head::is_signed(self.key, links, head) {
                self.find(Kind::BadSignature, (seq, seq), &read.raw.file, read.raw.number);
            }
        }
        let mut hash = hash;
        if hash.is_some()
            && self.record.as_ref().is_some_and(|record| record.seq == seq && record.hash != read.hash)
        {
            self.find(Kind::Changed, (seq, seq), &read.raw.file, read.raw.number);
            hash = None;
        }
        let (file, line) = (Arc::clone(&read.raw.file), read.raw.number);
        self.before = Before { seq, hash, file, line, is_head: head.is_some() };
    }

    fn end(mut self, newest: Option<Arc<str>>) -> Report {
        let mut last = self.before.seq;
        for stray in std::mem::take(&mut self.strays) {
            let kind = if self.fill_gap(stray.seq) || stray.seq > self.before.seq {
                Kind::Moved
            } else {
                Kind::Doubled
            };
            last = last.max(stray.seq);
            self.find(kind, (stray.seq, stray.seq), &stray.file, stray.line);
        }
        for (first, last, file, line) in std::mem::take(&mut self.gaps) {
            self.find(Kind::Missing, (first, last), &file, line);
        }
        let file = newest.unwrap_or_else(|| "HEAD".into());
        match &self.record {
            Some(record) if record.seq > last => {
                self.find(Kind::CutOff, (last + 1, record.seq), &file, self.before.line);
            }
            None if last > 0 => self.find(Kind::NoHead, (last, last), &"HEAD".into(), 0),
            Some(_) | None => {}
        }
        self.report.last = last;
        self.report
    }

    /// Takes a number out of the gaps; `false` if it is in none.
    fn fill_gap(&mut self, seq: u64) -> bool {
        let Some(at) = self.gaps.iter().position(|(first, last, ..)| (*first..=*last).contains(&seq)) else {
            return false;
        };
        let (first, last, file, line) = self.gaps.swap_remove(at);
        if first < seq {
            self.gaps.push((first, seq - 1, Arc::clone(&file), line));
        }
        if seq < last {
            self.gaps.push((seq + 1, last, file, line));
        }
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_line_and_one_head_are_not_many() {
        let report =
            |lines, heads| Report { lines, heads, last: lines, findings: Vec::new(), more: 0, torn_bytes: 0 };
        assert_eq!(report(1, 1).to_string(), "1 line, 1 signed head, last 1: sound");
        assert_eq!(report(9, 2).to_string(), "9 lines, 2 signed heads, last 9: sound");
    }
}
