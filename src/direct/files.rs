//! Backups as files: read in any form, encrypted or not; written for the person alone.
//! Absent on purpose: a store. The person says where a file is.

use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use age::x25519::{Identity, Recipient};
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use super::place;
use super::words::Words;
use crate::commands::exit;
use crate::config::Language;
use crate::konnektor::given::LARGEST;
use crate::konnektor::{CertificatePin, Given, Profile};
use crate::vault::read_identities;

/// The first bytes of an age file.
const AGE: &[u8] = b"age-encryption.org/v1\n";

/// A file as it lies there, its content opened.
pub(super) struct Opened {
    /// Of the file as it lies there.
    pub(super) sum: CertificatePin,
    /// Its content.
    pub(super) bytes: Zeroizing<Vec<u8>>,
}

/// A file, and what it was when it was read or written.
#[derive(Clone, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct Lies {
    pub(super) path: PathBuf,
    /// `sha256:…` of the file as it lies there.
    pub(super) sum: String,
}

/// A sentence and an exit code.
type Bad = (String, u32);

/// Reads all of it; `-` is standard input.
pub(super) fn open(path: &Path, identity: Option<&Path>, words: Words) -> Result<Opened, Bad> {
    let bad = |e: std::io::Error| (format!("{}: {e}", path.display()), exit::USAGE);
    let mut bytes = Zeroizing::new(Vec::new());
    let most = LARGEST + 1024 * 1024;
    if path == Path::new("-") {
        std::io::stdin().lock().take(most).read_to_end(&mut bytes).map_err(bad)?;
    } else {
        std::fs::File::open(path).and_then(|file| file.take(most).read_to_end(&mut bytes)).map_err(bad)?;
    }
    let sum = CertificatePin::of(&bytes);
    if !bytes.starts_with(AGE) {
        return Ok(Opened { sum, bytes });
    }
    let Some(identity) = identity else {
        let path = path.display();
        let sentence = match words.language {
            Language::English => format!("{path} is encrypted: --identity FILE opens it."),
            Language::German => format!("{path} ist verschlüsselt: --identity DATEI öffnet sie."),
        };
        return Err((sentence, exit::USAGE));
    };
    let identities = read_identities(identity).map_err(|e| {
        let sentence = e.sentence(words.language == Language::German);
        (format!("{}: {sentence}", identity.display()), exit::CONFIGURATION)
    })?;
    let opened = unsealed(&bytes, &identities).ok_or_else(|| {
        let (path, key) = (path.display(), identity.display());
        let sentence = match words.language {
            Language::English => format!("{path} cannot be decrypted with {key}: another key, or damaged."),
            Language::German => {
                format!(
                    "{path} lässt sich mit {key} nicht entschlüsseln: anderer Schlüssel, oder beschädigt."
                )
            }
        };
        (sentence, exit::FAILED)
    })?;
    Ok(Opened { sum, bytes: opened })
}

fn unsealed(sealed: &[u8], identities: &[Identity]) -> Option<Zeroizing<Vec<u8>>> {
    let decryptor = age::Decryptor::new_buffered(sealed).ok()?;
    let all = identities.iter().map(|identity| identity as &dyn age::Identity);
    let mut from = decryptor.decrypt(all).ok()?;
    let mut bytes = Zeroizing::new(Vec::with_capacity(sealed.len()));
    from.read_to_end(&mut bytes).ok()?;
    Some(bytes)
}

/// The file's services, whatever its form.
pub(super) fn given(path: &Path, bytes: &[u8], profile: &Profile, words: Words) -> Result<Given, Bad> {
    Given::read(&mut &*bytes, profile).map_err(|e| {
        let sentence = e.sentence(words.language == Language::German);
        (format!("{}: {sentence}", path.display()), exit::USAGE)
    })
}

/// Encrypted to these; as it is, where there are none.
pub(super) fn sealed(
    plain: Zeroizing<Vec<u8>>,
    recipients: &[Recipient],
) -> std::io::Result<Zeroizing<Vec<u8>>> {
    if recipients.is_empty() {
        return Ok(plain);
    }
    let all = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(all).map_err(std::io::Error::other)?;
    let mut sealed = Zeroizing::new(Vec::with_capacity(plain.len() + 4096));
    let mut into = encryptor.wrap_output(&mut *sealed)?;
    into.write_all(&plain)?;
    into.finish()?;
    Ok(sealed)
}

/// `.json`, or `.json.age`.
pub(super) fn ending(recipients: &[Recipient]) -> &'static str {
    if recipients.is_empty() { ".json" } else { ".json.age" }
}

/// With `.age` at its end where it is encrypted.
pub(super) fn named(file: &Path, recipients: &[Recipient]) -> PathBuf {
    if recipients.is_empty() || file.extension().is_some_and(|ending| ending == "age") {
        return file.to_owned();
    }
    let mut name = file.as_os_str().to_owned();
    name.push(".age");
    name.into()
}

/// Where it lies, from wherever this is read later.
pub(super) fn absolute(path: &Path) -> PathBuf {
    std::path::absolute(path).unwrap_or_else(|_| path.to_owned())
}

/// The folder a file is in.
pub(super) fn folder(path: &Path) -> PathBuf {
    match path.parent() {
        Some(parent) if parent != Path::new("") && path != Path::new("-") => parent.to_owned(),
        Some(_) | None => PathBuf::from("."),
    }
}

/// Writes beside it, under a name of the minute.
pub(super) fn beside(
    folder: &Path,
    (time, what): (&str, &str),
    bytes: Zeroizing<Vec<u8>>,
    recipients: &[Recipient],
) -> std::io::Result<Lies> {
    let bytes = sealed(bytes, recipients)?;
    let path = place::write_free(folder, &format!("{time}{what}"), ending(recipients), &bytes)?;
    Ok(Lies { path: absolute(&path), sum: CertificatePin::of(&bytes).to_string() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_sealed_is_opened_by_its_key_alone() {
        let (one, two) = (Identity::generate(), Identity::generate());
        let text = Zeroizing::new(b"{\"a\": 1}".to_vec());
        let shut = sealed(text.clone(), &[one.to_public()]).unwrap();
        assert!(shut.starts_with(AGE) && !shut.windows(3).any(|three| three == b"\"a\""));
        assert_eq!(unsealed(&shut, &[one]).unwrap(), text);
        assert!(unsealed(&shut, &[two]).is_none());
    }

    #[test]
    fn an_encrypted_file_is_named_so_once() {
        let to = [Identity::generate().to_public()];
        assert_eq!(named(Path::new("a/x.json"), &to), Path::new("a/x.json.age"));
        assert_eq!(named(Path::new("x.age"), &to), Path::new("x.age"));
        assert_eq!(named(Path::new("x"), &[]), Path::new("x"));
    }
}
