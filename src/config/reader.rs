//! Reads one TOML file field by field and remembers every error with its place.
//! Absent on purpose: defaults, and any knowledge of what the fields mean.

use std::collections::BTreeSet;
use std::fmt::Display;
use std::ops::Range;
use std::path::{Path, PathBuf};
use std::str::FromStr;
use std::time::Duration;

use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::problems::{Place, Problem, Problems, near_miss, nearest};

/// A value and where it stands.
#[derive(Clone, Debug)]
pub struct At<T> {
    /// The value.
    pub value: T,
    /// Its place.
    pub place: Place,
}

/// A time span as people write it: the largest of h, m, s that leaves no rest.
pub struct Written(pub Duration);

impl Display for Written {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let seconds = self.0.as_secs();
        let units = [("h", 3600), ("m", 60), ("s", 1)];
        let whole =
            units.into_iter().find(|(_, n)| seconds > *n && seconds.is_multiple_of(*n) || seconds == *n);
        match whole.filter(|_| self.0.subsec_nanos() == 0) {
            Some((unit, n)) => write!(f, "{}{unit}", seconds / n),
            None => write!(f, "{}ms", self.0.as_millis()),
        }
    }
}

/// A parsed file. Its tables borrow from it.
pub struct Document<'t> {
    file: PathBuf,
    text: &'t str,
    root: Spanned<DeTable<'t>>,
}

impl<'t> Document<'t> {
    /// Parses `text` of `file`; syntax errors go to `problems`, all of them, and give `None`.
    pub fn parse(file: &Path, text: &'t str, problems: &mut Problems) -> Option<Self> {
        let (root, errors) = DeTable::parse_recoverable(text);
        for error in &errors {
            let offset = error.span().map_or(0, |s| s.start);
            let field = field_of(text, offset);
            let mut message = format!("{}{}", field.unwrap_or_default(), error.message().replace('\n', ", "));
            if looks_like_a_date(text, offset) {
                message.push_str("; expected a date such as 2027-01-01");
            }
            problems.add(Place::at(file, text, offset), message);
        }
        errors.is_empty().then(|| Self { file: file.to_owned(), text, root })
    }

    /// The file's top-level table.
    pub fn root(&self) -> Table<'_, 't> {
        Table {
            document: self,
            name: String::new(),
            span: self.root.span(),
            map: self.root.get_ref(),
            asked: BTreeSet::new(),
            lacking: Vec::new(),
        }
    }

    fn place(&self, span: &Range<usize>) -> Place {
        Place::at(&self.file, self.text, span.start)
    }
}

/// `until: ` where byte `offset` of `text` stands behind `until =` on the same line.
fn field_of(text: &str, offset: usize) -> Option<String> {
    let before = text.get(..offset)?;
    let line = before.rsplit('\n').next()?;
    let field = line.split_once('=')?.0.trim();
    let bare = !field.is_empty() && field.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.".contains(&b));
    bare.then(|| format!("{field}: "))
}

/// Does the value at byte `offset`, or the one that it stands in, begin as `2027-`?
fn looks_like_a_date(text: &str, offset: usize) -> bool {
    let before = text.get(..offset).unwrap_or_default();
    let line = text.get(before.rfind('\n').map_or(0, |at| at + 1)..).and_then(|rest| rest.lines().next());
    let value = line.and_then(|line| line.split_once('=')).map_or("", |(_, value)| value.trim_start());
    let (year, rest) = value.split_at_checked(4).unwrap_or_default();
    rest.starts_with('-') && year.bytes().all(|b| b.is_ascii_digit())
}

/// A table that is read field by field; [`Table::finish`] complains about what nobody asked for.
pub struct Table<'d, 't> {
    document: &'d Document<'t>,
    name: String,
    span: Range<usize>,
    map: &'d DeTable<'t>,
    asked: BTreeSet<&'static str>,
    /// Fields that are not there: said at the end, unless a misspelt one explains it.
    lacking: Vec<(&'static str, Problem)>,
}

impl<'d, 't> Table<'d, 't> {
    /// Where the table begins.
    pub fn place(&self) -> Place {
        self.document.place(&self.span)
    }

    fn value(&mut self, key: &'static str) -> Option<&'d Spanned<DeValue<'t>>> {
        self.asked.insert(key);
        self.map.iter().find(|(k, _)| k.get_ref() == key).map(|(_, v)| v)
    }

    /// Does the field stand there, right or wrong?
    pub fn holds(&self, key: &str) -> bool {
        self.map.keys().any(|k| k.get_ref() == key)
    }

    /// Does the field stand there, though it belongs elsewhere? Whoever asks complains; it is not looked at.
    pub fn elsewhere(&mut self, key: &'static str) -> bool {
        self.value(key).is_some()
    }

    fn wrong(&self, value: &Spanned<DeValue<'t>>, key: &str, expected: &str, problems: &mut Problems) {
        let found = value.get_ref().type_str();
        problems
            .add(self.document.place(&value.span()), format!("{key}: expected {expected}, found {found}"));
    }

    /// A complaint about this table: a field that is not there.
    pub fn missing(&mut self, key: &'static str) {
        let table = if self.name.is_empty() { String::new() } else { format!("[{}] ", self.name) };
        let message = format!("{table}needs the field \"{key}\"");
        self.lacking.push((key, Problem { place: self.place(), message }));
    }

    /// The same for a table below this one; `place` is what asks for it.
    pub fn missing_table(&mut self, key: &'static str, place: Place) {
        let table = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        self.lacking.push((key, Problem { place, message: format!("needs the table [{table}]") }));
    }

    /// A text.
    pub fn text(&mut self, key: &'static str, problems: &mut Problems) -> Option<At<String>> {
        let value = self.value(key)?;
        if let Some(text) = value.get_ref().as_str() {
            Some(At { value: text.to_owned(), place: self.document.place(&value.span()) })
        } else {
            self.wrong(value, key, "a text", problems);
            None
        }
    }

    /// A text that parses as `T`.
    pub fn parsed<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<T>> {
        let text = self.text(key, problems)?;
        match text.value.parse() {
            Ok(value) => Some(At { value, place: text.place }),
            Err(e) => {
                problems.add(text.place, format!("\"{}\": {e}", text.value.escape_debug()));
                None
            }
        }
    }

    /// As [`Table::parsed`], and a complaint if it is not there.
    pub fn required<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<At<T>> {
        if self.value(key).is_none() {
            self.missing(key);
        }
        self.parsed(key, problems)
    }

    /// A text out of a few: gives the value beside the one that stands there.
    pub fn one_of<T: Copy>(
        &mut self,
        key: &'static str,
        choices: &[(&str, T)],
        problems: &mut Problems,
    ) -> Option<T> {
        let text = self.text(key, problems)?;
        if let Some((_, value)) = choices.iter().find(|(name, _)| *name == text.value) {
            return Some(*value);
        }
        let names: Vec<&str> = choices.iter().map(|(n, _)| *n).collect();
        let hint = near_miss(&text.value, names.iter().copied());
        let list = names.join("\", \"");
        problems
            .add(text.place, format!("{key}: \"{}\" is none of \"{list}\"{hint}", text.value.escape_debug()));
        None
    }

    /// A whole number within `range`.
    pub fn number(&mut self, key: &'static str, range: Range<u64>, problems: &mut Problems) -> Option<u64> {
        let value = self.value(key)?;
        let number = value
            .get_ref()
            .as_integer()
            .and_then(|i| u64::from_str_radix(&i.as_str().replace('_', ""), i.radix()).ok())
            .filter(|n| range.contains(n));
        if number.is_none() {
            let expected =
                format!("{key}: expected a whole number from {} to {}", range.start, range.end - 1);
            problems.add(self.document.place(&value.span()), expected);
        }
        number
    }

    /// A list of whole numbers within `range`, at least one.
    pub fn numbers(
        &mut self,
        key: &'static str,
        range: Range<u64>,
        problems: &mut Problems,
    ) -> Option<Vec<u64>> {
        let value = self.value(key)?;
        let numbers: Option<Vec<u64>> = value.get_ref().as_array().and_then(|array| {
            let number = |item: &Spanned<DeValue<'t>>| {
                let integer = item.get_ref().as_integer()?;
                u64::from_str_radix(&integer.as_str().replace('_', ""), integer.radix()).ok()
            };
            array.iter().map(number).collect()
        });
        let good = numbers.filter(|list| !list.is_empty() && list.iter().all(|n| range.contains(n)));
        if good.is_none() {
            let expected =
                format!("{key}: expected a list of whole numbers from {} to {}", range.start, range.end - 1);
            problems.add(self.document.place(&value.span()), expected);
        }
        good
    }

    /// `true` or `false`.
    pub fn flag(&mut self, key: &'static str, problems: &mut Problems) -> Option<bool> {
        let value = self.value(key)?;
        let flag = value.get_ref().as_bool();
        if flag.is_none() {
            self.wrong(value, key, "true or false", problems);
        }
        flag
    }

    /// A time span as people write it: `60s`, `10m`, `1h 30m`; a text.
    pub fn duration(&mut self, key: &'static str, problems: &mut Problems) -> Option<Duration> {
        let text = self.text(key, problems)?;
        let span = text.value.parse::<jiff::SignedDuration>().ok();
        let duration = span.and_then(|d| Duration::try_from(d).ok());
        if duration.is_none() {
            problems.add(text.place, format!("{key}: expected a time span such as \"60s\" or \"10m\""));
        }
        duration
    }

    /// As [`Table::duration`], within `shortest..=longest`.
    pub fn duration_within(
        &mut self,
        key: &'static str,
        (shortest, longest): (Duration, Duration),
        problems: &mut Problems,
    ) -> Option<At<Duration>> {
        let value = self.duration(key, problems)?;
        let place =
            self.map.iter().find(|(k, _)| k.get_ref() == key).map(|(_, v)| self.document.place(&v.span()));
        if (shortest..=longest).contains(&value) {
            return Some(At { value, place: place? });
        }
        let (shortest, longest) = (Written(shortest), Written(longest));
        problems.add(place?, format!("{key}: expected a time span from {shortest} to {longest}"));
        None
    }

    /// A date, `2027-01-01`, written without quotes or as a text.
    pub fn date(&mut self, key: &'static str, problems: &mut Problems) -> Option<jiff::civil::Date> {
        let value = self.value(key)?;
        let toml = value.get_ref();
        let written =
            toml.as_datetime().map(ToString::to_string).or_else(|| toml.as_str().map(ToOwned::to_owned));
        let written = written.unwrap_or_default();
        let date = written.parse::<jiff::civil::Date>().ok().filter(|d| d.to_string() == written);
        if date.is_none() {
            problems.add(
                self.document.place(&value.span()),
                format!("{key}: expected a date such as 2027-01-01"),
            );
        }
        date
    }

    /// A list of texts that each parse as `T`; a single text counts as a list of one.
    pub fn list<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Option<Vec<At<T>>> {
        let value = self.value(key)?;
        Some(self.items(key, value, problems))
    }

    /// As [`Table::list`], and a complaint if there is nothing in it.
    pub fn required_list<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Vec<At<T>> {
        let before = problems.0.len();
        let list = self.list(key, problems).unwrap_or_default();
        if list.is_empty() && problems.0.len() == before {
            self.missing(key);
        }
        list
    }

    fn items<T: FromStr<Err: Display>>(
        &self,
        key: &str,
        value: &Spanned<DeValue<'t>>,
        problems: &mut Problems,
    ) -> Vec<At<T>> {
        let items: Vec<&Spanned<DeValue<'t>>> =
            value.get_ref().as_array().map_or_else(|| vec![value], |array| array.iter().collect());
        let mut list = Vec::with_capacity(items.len());
        for item in items {
            let place = self.document.place(&item.span());
            match item.get_ref().as_str().map(|text| (text, text.parse::<T>())) {
                Some((_, Ok(value))) => list.push(At { value, place }),
                Some((text, Err(e))) => {
                    problems.add(place, format!("{key}: \"{}\": {e}", text.escape_debug()));
                }
                None => self.wrong(item, key, "a list of texts", problems),
            }
        }
        list
    }

    fn child(
        &self,
        name: String,
        value: &'d Spanned<DeValue<'t>>,
        problems: &mut Problems,
    ) -> Option<Table<'d, 't>> {
        if let Some(map) = value.get_ref().as_table() {
            return Some(Table {
                document: self.document,
                name,
                span: value.span(),
                map,
                asked: BTreeSet::new(),
                lacking: Vec::new(),
            });
        }
        self.wrong(value, &name, "a table", problems);
        None
    }

    /// A table below this one.
    pub fn table(&mut self, key: &'static str, problems: &mut Problems) -> Option<Table<'d, 't>> {
        let value = self.value(key)?;
        let name = if self.name.is_empty() { key.to_owned() } else { format!("{}.{key}", self.name) };
        self.child(name, value, problems)
    }

    /// The tables of `[[key]]`, in the file's order.
    pub fn tables(&mut self, key: &'static str, problems: &mut Problems) -> Vec<Table<'d, 't>> {
        let Some(value) = self.value(key) else { return Vec::new() };
        let Some(array) = value.get_ref().as_array() else {
            self.wrong(value, key, &format!("[[{key}]] tables"), problems);
            return Vec::new();
        };
        array.iter().filter_map(|item| self.child(format!("[{key}]"), item, problems)).collect()
    }

    /// The tables below `key` under names of their own, each name parsed as `T`: `[hosts.backup]`, `[users."a-b.c"]`.
    pub fn named<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Vec<(T, Table<'d, 't>)> {
        let Some(parent) = self.table(key, problems) else { return Vec::new() };
        let mut found = Vec::new();
        for (name, value) in parent.map {
            let Some(table) = parent.child(format!("{}.{}", parent.name, name.get_ref()), value, problems)
            else {
                continue;
            };
            match name.get_ref().parse() {
                Ok(parsed) => found.push((parsed, table)),
                Err(e) => {
                    let place = self.document.place(&name.span());
                    problems.add(place, format!("{key}: \"{}\": {e}", name.get_ref().escape_debug()));
                }
            }
        }
        found
    }

    /// The lists below `key` under names of their own: `[groups]`, `admins = ["a-b.c"]`.
    pub fn named_lists<T: FromStr<Err: Display>>(
        &mut self,
        key: &'static str,
        problems: &mut Problems,
    ) -> Vec<(String, Vec<At<T>>)> {
        let Some(parent) = self.table(key, problems) else { return Vec::new() };
        let lists = parent.map.iter();
        lists
            .map(|(name, value)| (name.get_ref().to_string(), parent.items(name.get_ref(), value, problems)))
            .collect()
    }

    /// Complains about every field that nobody asked for, and about those that are not there. A misspelt field is said
    /// once: as misspelt.
    pub fn finish(mut self, problems: &mut Problems) {
        for key in self.map.keys() {
            if !self.asked.contains(key.get_ref().as_ref()) {
                let hint = near_miss(key.get_ref(), self.asked.iter().copied());
                let known = self.asked.iter().copied().collect::<Vec<_>>().join(", ");
                let hint = if hint.is_empty() { format!("; known here: {known}") } else { hint };
                let place = self.document.place(&key.span());
                problems.add(place, format!("unknown field \"{}\"{hint}", key.get_ref().escape_debug()));
                let meant = nearest(key.get_ref(), self.asked.iter().copied());
                self.lacking.retain(|(lacking, _)| meant != Some(lacking));
            }
        }
        problems.0.extend(self.lacking.into_iter().map(|(_, problem)| problem));
    }
}
