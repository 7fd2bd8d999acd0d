//! The box's password: `-p`, a file, the environment, or typed without echo, in this order.
//! Absent on purpose: keeping it anywhere.

use std::path::Path;

use zeroize::Zeroizing;

use super::arguments::Globals;
use super::place::{self, Guard};
use super::terminal;
use super::words::{Words, complain};
use crate::commands::exit;
use crate::secret::Secret;

/// A password is short.
const LARGEST: u64 = 64 * 1024;
/// The variable that holds it.
pub(super) const VARIABLE: &str = "PFORTE_KONNEKTOR_PASSWORD";

/// Finds it; else the sentence and the exit code.
pub(super) async fn find(globals: &Globals, account: &str, words: Words) -> Result<Secret, (String, u32)> {
    if let Some(password) = &globals.password {
        complain(words.pick(
            "-p: everybody on this machine can read the password in the process list, and it cannot be taken out there. Better: --password-file, PFORTE_KONNEKTOR_PASSWORD, or none of them, and it is asked for.",
            "-p: Jeder an diesem Rechner kann das Passwort in der Prozessliste lesen, und es lässt sich dort nicht löschen. Besser: --password-file, PFORTE_KONNEKTOR_PASSWORD, oder nichts davon, dann wird danach gefragt.",
        ));
        return some(password.clone(), words);
    }
    if let Some(file) = &globals.password_file {
        return of_file(file, words);
    }
    if let Some(password) = std::env::var_os(VARIABLE) {
        let password = password.into_string().map_err(|_| no_text(words))?;
        return some(password, words);
    }
    let question = match words.language {
        crate::config::Language::English => format!("Password of {account}: "),
        crate::config::Language::German => format!("Passwort von {account}: "),
    };
    if !terminal::is_there() {
        let sentence = words.pick(
            "No password: --password-file FILE, PFORTE_KONNEKTOR_PASSWORD in the environment, or a terminal to ask at.",
            "Kein Passwort: --password-file DATEI, PFORTE_KONNEKTOR_PASSWORD in der Umgebung, oder ein Terminal, an dem gefragt werden kann.",
        );
        return Err((sentence.to_owned(), exit::USAGE));
    }
    let typed = terminal::hidden(&question).await.unwrap_or_default();
    text(typed, words)
}

fn of_file(file: &Path, words: Words) -> Result<Secret, (String, u32)> {
    let bytes = place::guarded(file, Guard::Secret, LARGEST).map(Zeroizing::new);
    let mut bytes = bytes.map_err(|e| (words.untaken(file, &e), exit::CONFIGURATION))?;
    if bytes.last() == Some(&b'\n') {
        bytes.pop();
        if bytes.last() == Some(&b'\r') {
            bytes.pop();
        }
    }
    text(bytes, words)
}

fn text(mut bytes: Zeroizing<Vec<u8>>, words: Words) -> Result<Secret, (String, u32)> {
    let text = String::from_utf8(std::mem::take(&mut *bytes)).map_err(|_| no_text(words))?;
    some(text, words)
}

fn some(text: String, words: Words) -> Result<Secret, (String, u32)> {
    let secret = Secret::new(text);
    if secret.reveal().is_empty() || secret.reveal().contains(['\n', '\0']) {
        let sentence = words.pick(
            "The password is empty, or has more than one line.",
            "Das Passwort ist leer oder hat mehr als eine Zeile.",
        );
        return Err((sentence.to_owned(), exit::USAGE));
    }
    Ok(secret)
}

fn no_text(words: Words) -> (String, u32) {
    let sentence = words.pick("The password is not UTF-8.", "Das Passwort ist nicht UTF-8.");
    (sentence.to_owned(), exit::USAGE)
}
