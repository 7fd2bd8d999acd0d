//! Where a file comes from: the vault, a site's incoming folder, standard input.
//! Absent on purpose: what is done with it.

use std::sync::Arc;

use super::super::{Ended, Input, NoInput, Out, Works, exit};
use super::kept::bad_archive;
use super::{said, vault_failed};
use crate::asks::Source;
use crate::config::Language;
use crate::konnektor::archive::Sum;
use crate::konnektor::given::BadGiven;
use crate::konnektor::{Given, Profile};
use crate::names::KonnektorId;
use crate::vault::VaultError;

/// How a file of age begins: what a site sealed, and somebody handed in as it is.
const AGE: &[u8] = b"age-encryption.org/v1\n";

/// Reads it, whatever form it has.
pub(super) async fn given(
    works: &Works,
    out: &Out,
    (id, source): (&KonnektorId, &Source),
    input: Option<&Arc<Input>>,
    profile: &Profile,
) -> Result<Given, Ended> {
    with_sum(works, out, (id, source), input, profile).await.map(|(given, _)| given)
}

/// Reads it, with the sum of a file that was handed in, for another one can take its place.
pub(super) async fn with_sum(
    works: &Works,
    out: &Out,
    (id, source): (&KonnektorId, &Source),
    input: Option<&Arc<Input>>,
    profile: &Profile,
) -> Result<(Given, Option<String>), Ended> {
    let rules = profile.clone();
    let vault = &works.konnektors.vault;
    let read = match source {
        Source::Kept(name) => {
            let read = vault.get_read(id, name, move |from| Given::read(from, &rules)).await;
            let given = match read {
                Ok(given) => given,
                Err(e) => return Err(vault_failed(out, &e).await),
            };
            // age proves no sender: what is kept of this box has to say that it is of this box.
            let own =
                |given: &Given| given.about.as_ref().is_some_and(|about| about.konnektor == id.to_string());
            return match given {
                Ok(given) if own(&given) => Ok((given, None)),
                Ok(_) => Err(bad_archive(out, name, "another-box").await),
                Err(e) => Err(bad_given(out, source, &e).await),
            };
        }
        Source::Incoming(name) => match vault.get_incoming(&id.site, name).await {
            Ok(bytes) => bytes,
            Err(e) => return Err(vault_failed(out, &e).await),
        },
        Source::Input => whole_input(out, input).await?,
    };
    let sum = (*source != Source::Input).then(|| Sum::of(&read).sha256);
    given_of(out, source, &Arc::new(read), profile).await.map(|given| (given, sum))
}

/// All of standard input.
pub(super) async fn whole_input(
    out: &Out,
    input: Option<&Arc<Input>>,
) -> Result<zeroize::Zeroizing<Vec<u8>>, Ended> {
    let bytes = match input {
        Some(input) => input.whole().await,
        None => Err(NoInput::Cut),
    };
    match bytes {
        Ok(bytes) => Ok(bytes),
        Err(no) => Err(no_input(out, no).await),
    }
}

/// The file of these bytes; read beside the runtime, for a large one takes seconds.
pub(super) async fn given_of(
    out: &Out,
    source: &Source,
    bytes: &Arc<zeroize::Zeroizing<Vec<u8>>>,
    profile: &Profile,
) -> Result<Given, Ended> {
    if bytes.starts_with(AGE) {
        return Err(super::vault_failed(out, &VaultError::SealedForSite).await);
    }
    let (bytes, rules) = (Arc::clone(bytes), profile.clone());
    let read = tokio::task::spawn_blocking(move || Given::read(&mut bytes.as_slice(), &rules)).await;
    match read.unwrap_or(Err(BadGiven::Unread)) {
        Ok(given) => Ok(given),
        Err(e) => Err(bad_given(out, source, &e).await),
    }
}

/// What a person calls it.
pub(super) fn called(source: &Source, out: &Out) -> String {
    match source {
        Source::Kept(name) => name.to_string(),
        Source::Incoming(name) => format!("incoming/{name}"),
        Source::Input => out.pick("standard input", "Standardeingabe").to_owned(),
    }
}

async fn bad_given(out: &Out, source: &Source, e: &BadGiven) -> Ended {
    let sentence = format!("{}: {}", called(source, out), e.sentence(out.language == Language::German));
    said(out, sentence, exit::USAGE, format!("file: {e}")).await
}

async fn no_input(out: &Out, no: NoInput) -> Ended {
    let (english, german, cause) = match no {
        NoInput::TooLarge => (
            "What came on standard input is larger than 128 MiB, or too much comes in at the same time.",
            "Auf der Standardeingabe kam mehr als 128 MiB, oder zu viel gleichzeitig.",
            "input-too-large",
        ),
        NoInput::Cut => (
            "No file came on standard input: ssh GATEWAY konnektor restore -f - < FILE",
            "Auf der Standardeingabe kam keine Datei: ssh GATEWAY konnektor einlesen -f - < DATEI",
            "no-input",
        ),
    };
    said(out, out.pick(english, german).to_owned(), exit::USAGE, cause.into()).await
}
