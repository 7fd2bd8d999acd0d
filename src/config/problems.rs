//! Where a configuration is wrong and what to do about it; all of it at once.
//! Absent on purpose: warnings. A file is right, or the start fails.

use std::fmt;
use std::path::{Path, PathBuf};

/// A place in a configuration file, for people: line and column count from 1, columns in characters.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Place {
    /// Relative to the configuration's folder.
    pub file: PathBuf,
    /// 0 where the whole file is meant.
    pub line: usize,
    /// 0 where the whole line is meant.
    pub column: usize,
}

impl Place {
    /// The whole file.
    pub fn file(file: &Path) -> Self {
        Self { file: file.to_owned(), line: 0, column: 0 }
    }

    /// The place of byte `offset` in `text`.
    pub fn at(file: &Path, text: &str, offset: usize) -> Self {
        let before = text.get(..offset).unwrap_or(text);
        let line = before.matches('\n').count() + 1;
        let column = before.rsplit('\n').next().unwrap_or("").chars().count() + 1;
        Self { file: file.to_owned(), line, column }
    }

    /// `rules.toml:3`: the file's own name and the line, as the journal names a rule.
    pub fn short(&self) -> String {
        let name = self.file.file_name().map(|n| n.to_string_lossy().into_owned()).unwrap_or_default();
        format!("{name}:{}", self.line)
    }
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.file.display())?;
        if self.line > 0 {
            write!(f, ":{}", self.line)?;
        }
        if self.column > 0 {
            write!(f, ":{}", self.column)?;
        }
        Ok(())
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Problem {
    /// Where.
    pub place: Place,
    /// What, and what to do; one line.
    pub message: String,
}

impl fmt::Display for Problem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.message)
    }
}

/// Everything that is wrong.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Problems(pub Vec<Problem>);

impl Problems {
    /// Adds one.
    pub fn add(&mut self, place: Place, message: impl Into<String>) {
        self.0.push(Problem { place, message: message.into() });
    }

    /// Adds one unless the same is said already.
    pub fn add_once(&mut self, place: Place, message: impl Into<String>) {
        let problem = Problem { place, message: message.into() };
        if !self.0.contains(&problem) {
            self.0.push(problem);
        }
    }

    /// `Ok` if nothing was wrong.
    pub fn check(self) -> Result<(), Self> {
        if self.0.is_empty() { Ok(()) } else { Err(self) }
    }
}

impl fmt::Display for Problems {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (i, problem) in self.0.iter().enumerate() {
            if i > 0 {
                f.write_str("\n")?;
            }
            problem.fmt(f)?;
        }
        Ok(())
    }
}

impl std::error::Error for Problems {}

/// The one of `known` that is nearest to `wrong`, if it is near enough to be meant.
pub fn nearest<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    known
        .into_iter()
        .map(|k| (strsim::damerau_levenshtein(wrong, k), k))
        .filter(|(distance, k)| *distance <= (k.len() / 3).max(1))
        .min()
        .map(|(_, k)| k)
}

/// `, did you mean "…"?` if one of `known` is near enough to `wrong`, else nothing.
pub fn near_miss<'a>(wrong: &str, known: impl IntoIterator<Item = &'a str>) -> String {
    nearest(wrong, known).map_or_else(String::new, |k| format!(", did you mean \"{k}\"?"))
}
