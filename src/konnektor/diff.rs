//! What differs between two values of a service, for people: places and short values, secrets hidden, bounded.
//! Absent on purpose: a tree of either value, and any judgement of what a difference means.

use std::borrow::Cow;
use std::collections::{HashMap, HashSet};
use std::fmt::Write;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use crate::konnektor::archive::{Sum, container};
use crate::konnektor::personal::folded;
use crate::konnektor::profile::Compare;
use crate::konnektor::{Json, Part, Parts, Profile};

/// Changes that are kept; the rest is counted.
const KEPT: usize = 500;
/// Characters of a value that are shown.
const SHOWN: usize = 80;
/// Places of members that a box added which are kept.
const GROWN: usize = 20;

/// One difference.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Change {
    /// JSON pointer; an item of a list whose items have names is `[name=Labor]`.
    pub place: String,
    /// What stood there; `None`: nothing.
    pub from: Option<String>,
    /// What stands there; `None`: nothing.
    pub to: Option<String>,
}

/// All differences of two values.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Diff {
    /// The first 500.
    pub changes: Vec<Change>,
    /// How many there are beyond these.
    pub more: usize,
}

impl Diff {
    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.more == 0
    }

    /// A line a change: `- /a: "x"`, `+ /a: "y"`, `~ /a: "x" → "y"`.
    #[must_use]
    pub fn lines(&self, german: bool) -> Vec<String> {
        let line = |change: &Change| {
            let place = if change.place.is_empty() { "/" } else { &change.place };
            match (&change.from, &change.to) {
                (Some(from), Some(to)) => format!("~ {place}: {from} → {to}"),
                (Some(from), None) => format!("- {place}: {from}"),
                (None, Some(to)) => format!("+ {place}: {to}"),
                (None, None) => format!("~ {place}"),
            }
        };
        let mut lines: Vec<String> = self.changes.iter().map(line).collect();
        match (self.more, german) {
            (0, _) => {}
            (more, true) => lines.push(format!("… und {more} weitere")),
            (more, false) => lines.push(format!("… and {more} more")),
        }
        lines
    }

    /// Notes a change, or counts it where there are many.
    pub(crate) fn note(&mut self, change: impl FnOnce() -> Change) {
        if self.changes.len() < KEPT { self.changes.push(change()) } else { self.more += 1 }
    }
}

/// What was before and what is after; transient members are not looked at.
#[must_use]
pub fn diff(before: &Json, after: &Json, profile: &Profile) -> Diff {
    let mut differ = Differ::new(&profile.compare);
    differ.compare(before.part(), after.part(), Secrecy::Shown);
    differ.found
}

/// Whether both are equal, but for transient members.
#[must_use]
pub fn same(one: &Json, other: &Json, profile: &Profile) -> bool {
    Differ::new(&profile.compare).equal(one.part(), other.part())
}

/// What of the wanted value is not there, and the places of members that the box has beside it (at most 20).
pub(crate) fn held(wanted: &Json, found: &Json, profile: &Profile) -> (Diff, Vec<String>) {
    let mut differ = Differ { grown: Some(Vec::new()), ..Differ::new(&profile.compare) };
    differ.compare(wanted.part(), found.part(), Secrecy::Shown);
    (differ.found, differ.grown.unwrap_or_default())
}

/// Text of others, on one line: what steers a terminal is escaped, and only so much of it is shown.
pub(crate) fn plain(text: &str, most: usize) -> String {
    let mut out = String::new();
    for (n, c) in text.chars().enumerate() {
        if n == most {
            out.push('…');
            break;
        }
        let steers = c.is_control()
            || matches!(c, '\u{200b}'..='\u{200f}' | '\u{2028}'..='\u{202e}' | '\u{2060}'..='\u{2069}' | '\u{feff}');
        if steers { out.extend(c.escape_unicode()) } else { out.push(c) }
    }
    out
}

/// A segment of a pointer as it is shown. A key with many digits could be a number of a person: it is hidden.
pub(crate) fn segment(key: &str) -> String {
    if key.bytes().filter(u8::is_ascii_digit).count() >= 9 {
        return "*".into();
    }
    plain(key, SHOWN).replace('~', "~0").replace('/', "~1")
}

/// Whether a value is shown.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Secrecy {
    Shown,
    Hidden,
}

struct Differ<'r> {
    rules: &'r Compare,
    found: Diff,
    /// Where we are.
    at: String,
    /// Where it is there: members that only the second value has are put here, and are no change.
    grown: Option<Vec<String>>,
}

type Members<'t> = Vec<(Cow<'t, str>, Part<'t>)>;

impl<'r> Differ<'r> {
    fn new(rules: &'r Compare) -> Self {
        Self { rules, found: Diff::default(), at: String::new(), grown: None }
    }

    fn compare(&mut self, before: Part<'_>, after: Part<'_>, secrecy: Secrecy) {
        if before == after {
            return;
        }
        if secrecy == Secrecy::Hidden {
            if !self.equal(before, after) {
                self.change(Some(before), Some(after), secrecy);
            }
            return;
        }
        match (before.parts(), after.parts()) {
            (Parts::Object(old), Parts::Object(new)) => {
                let (old, new) = (self.lasting(old), self.lasting(new));
                let (Some(old), Some(new)) = (old, new) else {
                    return self.change(Some(before), Some(after), secrecy);
                };
                self.objects(&old, &new);
            }
            (Parts::Array(old), Parts::Array(new)) => self.lists(&old, &new),
            (
                Parts::Object(_) | Parts::Array(_) | Parts::Text(_) | Parts::Other(_),
                Parts::Object(_) | Parts::Array(_) | Parts::Text(_) | Parts::Other(_),
            ) => self.change(Some(before), Some(after), secrecy),
        }
    }

    /// The members that count; `None` where two have the same name.
    fn lasting<'t>(&self, members: Members<'t>) -> Option<Members<'t>> {
        let mut members = members;
        members.retain(|(key, _)| !self.rules.transient.contains(&folded(key)));
        let names: HashSet<&str> = members.iter().map(|(key, _)| key.as_ref()).collect();
        (names.len() == members.len()).then_some(members)
    }

    fn secrecy(&self, key: &str) -> Secrecy {
        if self.rules.secret.contains(&folded(key)) { Secrecy::Hidden } else { Secrecy::Shown }
    }

    fn objects(&mut self, old: &Members<'_>, new: &Members<'_>) {
        let mut after: HashMap<&str, Part<'_>> =
            new.iter().map(|(key, part)| (key.as_ref(), *part)).collect();
        for (key, before) in old {
            let secrecy = self.secrecy(key);
            let after = after.remove(key.as_ref());
            self.within(&segment(key), |differ| match after {
                Some(after) => differ.compare(*before, after, secrecy),
                None => differ.change(Some(*before), None, secrecy),
            });
        }
        for (key, part) in new.iter().filter(|(key, _)| after.contains_key(key.as_ref())) {
            let secrecy = self.secrecy(key);
            self.within(&segment(key), |differ| {
                let Differ { grown, at, .. } = differ;
                match grown {
                    Some(grown) if grown.len() < GROWN => grown.push(at.clone()),
                    Some(_) => {}
                    None => differ.change(None, Some(*part), secrecy),
                }
            });
        }
    }

    fn lists(&mut self, old: &[Part<'_>], new: &[Part<'_>]) {
        // What is equal at both ends is not looked into: names of a long list would cost more than the list.
        let (first, old, new) = trimmed(old, new, |one, other| one == other);
        if let Some((key, before, after)) = self.names(old, new) {
            return self.named(key, &before, &after);
        }
        // Where as many stand here as there, the same index is compared anyway.
        let uneven = old.len() != new.len();
        let alike = |one: Part<'_>, other: Part<'_>| one == other || (uneven && self.equal(one, other));
        let (second, old, new) = trimmed(old, new, alike);
        let start = first + second;
        for n in 0..old.len().max(new.len()) {
            let (before, after) = (old.get(n).copied(), new.get(n).copied());
            self.within(&(start + n).to_string(), |differ| match (before, after) {
                (Some(before), Some(after)) => differ.compare(before, after, Secrecy::Shown),
                (before, after) => differ.change(before, after, Secrecy::Shown),
            });
        }
    }

    /// The member that names each item of both lists, the first of the profile's that does.
    fn names<'t>(&self, old: &[Part<'t>], new: &[Part<'t>]) -> Option<(&'r str, Named<'t>, Named<'t>)> {
        let of = |items: &[Part<'t>], name: &str| -> Option<Named<'t>> {
            let wanted = folded(name);
            let mut spelled: Option<String> = None;
            let mut seen = HashSet::new();
            let mut named = Vec::with_capacity(items.len());
            for item in items {
                let member = if let Some(key) = &spelled {
                    item.member(key)?
                } else {
                    let (key, part) = item.members().into_iter().find(|(key, _)| folded(key) == wanted)?;
                    spelled = Some(key.into_owned());
                    part
                };
                let word = member.word()?;
                if !seen.insert(word.clone()) {
                    return None;
                }
                named.push((word, *item));
            }
            Some(named)
        };
        self.rules.identity.iter().find_map(|name| Some((name.as_str(), of(old, name)?, of(new, name)?)))
    }

    fn named(&mut self, key: &str, old: &Named<'_>, new: &Named<'_>) {
        let mut after: HashMap<&str, Part<'_>> =
            new.iter().map(|(name, item)| (name.as_ref(), *item)).collect();
        let place = |name: &str| format!("[{}={}]", segment(key), plain(name, 40).replace('/', "~1"));
        for (name, before) in old {
            let after = after.remove(name.as_ref());
            self.within(&place(name), |differ| match after {
                Some(after) => differ.compare(*before, after, Secrecy::Shown),
                None => differ.change(Some(*before), None, Secrecy::Shown),
            });
        }
        for (name, item) in new.iter().filter(|(name, _)| after.contains_key(name.as_ref())) {
            self.within(&place(name), |differ| differ.change(None, Some(*item), Secrecy::Shown));
        }
        let common: HashSet<&str> = old.iter().map(|(name, _)| name.as_ref()).collect();
        let mine: HashSet<&str> = new.iter().map(|(name, _)| name.as_ref()).collect();
        let order = |of: &Named<'_>, there: &HashSet<&str>| -> Vec<String> {
            of.iter()
                .map(|(name, _)| name.as_ref())
                .filter(|name| there.contains(name))
                .map(Into::into)
                .collect()
        };
        let (before, now) = (order(old, &mine), order(new, &common));
        if before != now {
            let at = self.at.clone();
            let shown = |names: &[String]| plain(&format!("[{}]", names.join(", ")), SHOWN);
            self.found.note(|| Change { place: at, from: Some(shown(&before)), to: Some(shown(&now)) });
        }
    }

    fn within(&mut self, segment: &str, then: impl FnOnce(&mut Self)) {
        let here = self.at.len();
        self.at.push('/');
        self.at.push_str(segment);
        then(self);
        self.at.truncate(here);
    }

    fn change(&mut self, from: Option<Part<'_>>, to: Option<Part<'_>>, secrecy: Secrecy) {
        let Self { rules, found, at, .. } = self;
        let shown = |part: Part<'_>| {
            let mut out = String::new();
            show(part, secrecy, rules, &mut out);
            plain(&out, SHOWN)
        };
        found.note(|| Change { place: at.clone(), from: from.map(shown), to: to.map(shown) });
    }

    fn equal(&self, one: Part<'_>, other: Part<'_>) -> bool {
        if one == other {
            return true;
        }
        match (one.parts(), other.parts()) {
            (Parts::Object(one), Parts::Object(other)) => {
                let (Some(one), Some(other)) = (self.lasting(one), self.lasting(other)) else { return false };
                let other: HashMap<&str, Part<'_>> =
                    other.iter().map(|(key, part)| (key.as_ref(), *part)).collect();
                one.len() == other.len()
                    && one.iter().all(|(key, part)| {
                        other.get(key.as_ref()).is_some_and(|other| self.equal(*part, *other))
                    })
            }
            (Parts::Array(one), Parts::Array(other)) => {
                one.len() == other.len() && one.iter().zip(&other).all(|(a, b)| self.equal(*a, *b))
            }
            (
                Parts::Object(_) | Parts::Array(_) | Parts::Text(_) | Parts::Other(_),
                Parts::Object(_) | Parts::Array(_) | Parts::Text(_) | Parts::Other(_),
            ) => false,
        }
    }
}

/// Both without what is alike at their beginnings and ends; how many stood before.
fn trimmed<'s, 't>(
    old: &'s [Part<'t>],
    new: &'s [Part<'t>],
    alike: impl Fn(Part<'t>, Part<'t>) -> bool,
) -> (usize, &'s [Part<'t>], &'s [Part<'t>]) {
    let start = old.iter().zip(new).take_while(|(a, b)| alike(**a, **b)).count();
    let rest = old.len().min(new.len()) - start;
    let ends = old.iter().rev().zip(new.iter().rev()).take(rest);
    let end = ends.take_while(|(a, b)| alike(**a, **b)).count();
    let inner = |list: &'s [Part<'t>]| list.get(start..list.len() - end).unwrap_or_default();
    (start, inner(old), inner(new))
}

type Named<'t> = Vec<(Cow<'t, str>, Part<'t>)>;

/// Writes the beginning of a value, its secrets as stars, its containers and keys as their sums.
fn show(part: Part<'_>, secrecy: Secrecy, rules: &Compare, out: &mut String) {
    // Four bytes a character at most, and a little more so that the cut is seen.
    if out.len() > 4 * SHOWN + 8 {
        return;
    }
    match part.parts() {
        Parts::Text(text) => out.push_str(&text_shown(&text, part, secrecy)),
        Parts::Object(_) | Parts::Array(_) | Parts::Other(_) if secrecy == Secrecy::Hidden => {
            out.push_str("***");
        }
        Parts::Other(word) => out.push_str(word),
        Parts::Array(items) => {
            out.push('[');
            for (n, item) in items.iter().enumerate().take(SHOWN) {
                out.push_str(if n == 0 { "" } else { "," });
                show(*item, secrecy, rules, out);
            }
            out.push(']');
        }
        Parts::Object(members) => {
            out.push('{');
            for (n, (key, member)) in members.iter().enumerate().take(SHOWN) {
                out.push_str(if n == 0 { "" } else { "," });
                out.push_str(&plain(&format!("{key:?}:"), SHOWN));
                let hidden = secrecy == Secrecy::Hidden || rules.secret.contains(&folded(key));
                show(*member, if hidden { Secrecy::Hidden } else { Secrecy::Shown }, rules, out);
            }
            out.push('}');
        }
    }
}

fn text_shown(text: &str, part: Part<'_>, secrecy: Secrecy) -> String {
    if let Some(sum) = container(text) {
        return summed("PKCS#12", &sum);
    }
    if secrecy == Secrecy::Hidden {
        return "***".into();
    }
    if text.starts_with("-----BEGIN ") {
        return summed("PEM", &Sum::of(text.as_bytes()));
    }
    if text.len() >= 88 && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"+/=\r\n".contains(&b)) {
        let joined: String = text.split_ascii_whitespace().collect();
        if let Ok(bytes) = BASE64_STANDARD.decode(joined) {
            return summed("base64", &Sum::of(&bytes));
        }
    }
    part.text().chars().take(SHOWN + 1).collect()
}

fn summed(what: &str, sum: &Sum) -> String {
    let mut out = format!("{what}, {} bytes, ", sum.bytes);
    let short: String = sum.sha256.chars().take("sha256:".len() + 8).collect();
    // Writing into a text does not fail.
    write!(out, "{short}…").ok();
    out
}
