//! The list of client certificates that is wanted, out of the file's and the box's.
//! Absent on purpose: a look into a certificate; they are told apart by their names.

use std::borrow::Cow;
use std::collections::HashSet;

use super::Certificates;
use crate::konnektor::profile::List;
use crate::konnektor::{Json, Part};

/// The box's certificates are not a list where the profile says.
pub(super) struct NoList;

/// What is to stand on the box: first, where that is a step of its own, then in the end.
pub(super) struct Wanted {
    pub(super) emptied: Option<Json>,
    pub(super) whole: Json,
}

/// The service's value that is wanted.
pub(super) fn wanted(file: &Json, now: &Json, rules: &List, how: Certificates) -> Result<Wanted, NoList> {
    let theirs = list(file, &rules.list)?.ok_or(NoList)?;
    let ours = list(now, &rules.list)?;
    let whole = match how {
        Certificates::New => replaced(file, theirs, &added(ours, theirs, &rules.name)),
        Certificates::Overwrite => replaced(file, theirs, &overwritten(ours, theirs, &rules.name)),
        Certificates::Delete | Certificates::Exact => file.clone(),
    };
    let emptied = match (how, ours) {
        (Certificates::Delete, Some(ours)) if !ours.items().is_empty() => Some(replaced(now, ours, "[]")),
        (
            Certificates::New | Certificates::Overwrite | Certificates::Delete | Certificates::Exact,
            Some(_) | None,
        ) => None,
    };
    Ok(Wanted { emptied, whole })
}

/// The list; `None` where the value has none there.
fn list<'t>(value: &'t Json, pointer: &str) -> Result<Option<Part<'t>>, NoList> {
    match value.at(pointer) {
        Some(part) if part.text().starts_with('[') => Ok(Some(part)),
        Some(part) if part.text() != "null" => Err(NoList),
        Some(_) | None => Ok(None),
    }
}

fn items(list: Option<Part<'_>>) -> Vec<Part<'_>> {
    list.map(Part::items).unwrap_or_default()
}

/// The name of an item; without one, the item itself.
fn name<'t>(item: Part<'t>, member: &str) -> Cow<'t, str> {
    item.member(member).and_then(Part::word).unwrap_or(Cow::Borrowed(item.text()))
}

fn added(ours: Option<Part<'_>>, theirs: Part<'_>, member: &str) -> String {
    let ours = items(ours);
    let there: HashSet<Cow<'_, str>> = ours.iter().map(|item| name(*item, member)).collect();
    let new = theirs.items().into_iter().filter(|item| !there.contains(&name(*item, member)));
    joined(ours.iter().copied().chain(new))
}

/// Where the box had one of that name, the file's stands in its place.
fn overwritten(ours: Option<Part<'_>>, theirs: Part<'_>, member: &str) -> String {
    let theirs = theirs.items();
    let names: HashSet<Cow<'_, str>> = theirs.iter().map(|item| name(*item, member)).collect();
    let mut placed: HashSet<Cow<'_, str>> = HashSet::new();
    let mut all = Vec::new();
    for item in items(ours) {
        let name_here = name(item, member);
        if !names.contains(&name_here) {
            all.push(item);
        } else if placed.insert(name_here.clone()) {
            all.extend(theirs.iter().filter(|item| name(**item, member) == name_here));
        }
    }
    all.extend(theirs.iter().filter(|item| !placed.contains(&name(**item, member))));
    joined(all.into_iter())
}

fn joined<'t>(items: impl Iterator<Item = Part<'t>>) -> String {
    let mut text = String::from("[");
    for (n, item) in items.enumerate() {
        text.push_str(if n == 0 { "" } else { "," });
        text.push_str(item.text());
    }
    text.push(']');
    text
}

/// The value with another text in the place of a part of it.
fn replaced(value: &Json, part: Part<'_>, with: &str) -> Json {
    let text = value.text();
    // A part is a slice of its value's text.
    let start = part.text().as_ptr().addr().saturating_sub(text.as_ptr().addr());
    let before = text.get(..start).unwrap_or_default();
    let after = text.get(start + part.text().len()..).unwrap_or_default();
    Json::of_text([before, with, after].concat())
}
