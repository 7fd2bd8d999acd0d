//! `policy/firms/KÜRZEL.toml`: a partner firm, how its people confirm, and where they are reached.
//! Absent on purpose: who may do what; that is `rules.toml`.

use std::collections::BTreeMap;
use std::path::Path;

use super::factor::{self, Factors, Kind};
use super::files::{Folder, Readable};
use super::problems::Problems;
use super::reader::{At, Document, Table};
use crate::names::{Firm, Phone, Username};

/// One firm's file.
pub struct FirmFile {
    /// The firm's Kürzel; the file's name.
    pub firm: Firm,
    /// Its name for people.
    pub name: Option<String>,
    /// How its people confirm.
    pub factor: Factors,
    /// What differs for one of them.
    pub people: BTreeMap<Username, PersonsFactor>,
}

/// `[people."firm-jane.doe"]`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct PersonsFactor {
    /// Their name at the provider, if it is another.
    pub external: Option<String>,
    /// Their phone, for SMS.
    pub phone: Option<Phone>,
    /// Asked first.
    pub provider: Option<Kind>,
    /// May be chosen instead.
    pub second: Option<Kind>,
    /// Are they asked which way they want?
    pub menu: Option<bool>,
}

impl FirmFile {
    /// Reads one file; `known` are the kinds that the gateway's own file sets up.
    pub(super) fn load(
        folder: &Folder,
        file: &Path,
        known: &dyn Fn(Kind) -> bool,
        problems: &mut Problems,
    ) -> Option<Self> {
        let stem = file.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
        if file.extension().is_none_or(|end| end != "toml") {
            problems.add(super::Place::file(file), "a firm's file is named KÜRZEL.toml");
            return None;
        }
        let firm: Firm = match stem.parse() {
            Ok(firm) => firm,
            Err(e) => {
                problems.add(super::Place::file(file), format!("the file's name is no firm's: {e}"));
                return None;
            }
        };
        let text = folder.read(file, Readable::ByAll, None, problems)?;
        let document = Document::parse(file, &text, problems)?;
        let mut root = document.root();
        let name = root.parsed::<String>("name", problems).map(|name| name.value);
        let mut elsewhere = Vec::new();
        let mut factor = Factors::default();
        if let Some(mut table) = root.table("second_factor", problems) {
            (factor, elsewhere) = Factors::read(folder, &mut table, problems);
            table.finish(problems);
        }
        let mut people = BTreeMap::new();
        for (user, table) in root.named::<Username>("people", problems) {
            if user.firm() != firm {
                problems.add(table.place(), format!("{user} is not of the firm {firm}"));
            }
            let (person, named) = person(table, problems);
            elsewhere.extend(named.into_iter().filter(|named| !factor.sets_up(named.value)));
            people.insert(user, person);
        }
        root.finish(problems);
        for At { value: kind, place } in elsewhere {
            if !known(kind) {
                factor::nowhere(kind, place, problems);
            }
        }
        Some(Self { firm, name, factor, people })
    }
}

fn person(mut table: Table<'_, '_>, problems: &mut Problems) -> (PersonsFactor, Vec<At<Kind>>) {
    let external = table.parsed::<String>("as", problems).map(|name| name.value);
    let phone = table.parsed::<Phone>("phone", problems).map(|phone| phone.value);
    let provider = factor::kind(&mut table, "provider", problems);
    let second = factor::kind(&mut table, "second", problems);
    let menu = table.flag("menu", problems);
    table.finish(problems);
    let person = PersonsFactor {
        external,
        phone,
        provider: provider.as_ref().map(|p| p.value),
        second: second.as_ref().map(|s| s.value),
        menu,
    };
    (person, [provider, second].into_iter().flatten().collect())
}
