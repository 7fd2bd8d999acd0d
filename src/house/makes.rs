//! `policy/konnektor/MAKE.toml` in the place of the profile that this build ships for that make.
//! Absent on purpose: what a profile says; and a file for a make that nobody drives, which is refused.

use std::path::Path;

use crate::config::{Folder, Place, Problems, Readable, near_miss};
use crate::konnektor::{Error, Profile, Profiles};

const FOLDER: &str = "policy/konnektor";

/// The shipped profiles, each replaced where there is a file for it. A file's mistakes go to `problems`, with their place.
pub(super) fn load(folder: &Folder, problems: &mut Problems) -> Option<Profiles> {
    let mut profiles = match Profiles::shipped() {
        Ok(profiles) => profiles,
        Err(error) => {
            problems.add(Place::file(Path::new(FOLDER)), error.to_string());
            return None;
        }
    };
    for file in folder.list(Path::new(FOLDER), problems) {
        let name = file.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        let stem = name.strip_suffix(".toml");
        let Some((product, _)) = Profiles::MAKES.into_iter().find(|(_, make)| stem == Some(make)) else {
            let makes = Profiles::MAKES.map(|(_, make)| make);
            let hint = near_miss(stem.unwrap_or(&name), makes);
            let message = format!("expected one of {}, each .toml{hint}", makes.join(", "));
            problems.add(Place::file(&file), message);
            continue;
        };
        let Some(text) = folder.read(&file, Readable::ByAll, None, problems) else { continue };
        match Profile::parse(&text) {
            Ok(profile) => profiles = profiles.with(product, profile),
            Err(Error::BadProfile { what }) => {
                let (place, what) = placed(&file, &what);
                problems.add(place, what);
            }
            Err(error) => problems.add(Place::file(&file), error.to_string()),
        }
    }
    Some(profiles)
}

/// `12:3: why` is a place and a reason; anything else is about the file.
fn placed<'w>(file: &Path, what: &'w str) -> (Place, &'w str) {
    let parts = what.split_once(':').and_then(|(line, rest)| {
        let (column, why) = rest.split_once(": ")?;
        Some((line.parse().ok()?, column.parse().ok()?, why))
    });
    match parts {
        Some((line, column, why)) => (Place { file: file.to_owned(), line, column }, why),
        None => (Place::file(file), what),
    }
}
