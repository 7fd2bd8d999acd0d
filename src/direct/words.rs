//! What people read where no gateway is: causes whose remedy is an option here, and the questions about certificates.
//! Absent on purpose: what reads the same with a gateway.

use std::io::Write;
use std::path::Path;

use super::place::Untaken;
use crate::commands::harmless;
use crate::config::Language::{self, English, German};
use crate::konnektor::restore::NoPlan;
use crate::konnektor::{CertificatePin, Error};

/// Says it on standard error; where that is closed, nobody wanted to know.
pub(super) fn complain(sentence: &str) {
    writeln!(std::io::stderr(), "{}", harmless(sentence)).ok();
}

/// Sentences in a language.
#[derive(Clone, Copy)]
pub(super) struct Words {
    pub(super) language: Language,
}

impl Words {
    /// German where `--lang` or the locale says so.
    pub(super) fn of(german: Option<bool>) -> Self {
        let named = |name| std::env::var(name).ok().filter(|value| !value.is_empty());
        let locale = named("LC_ALL").or_else(|| named("LC_MESSAGES")).or_else(|| named("LANG"));
        let german = german.unwrap_or_else(|| locale.is_some_and(|locale| locale.starts_with("de")));
        Self { language: if german { German } else { English } }
    }

    pub(super) fn pick<'t>(self, english: &'t str, german: &'t str) -> &'t str {
        match self.language {
            English => english,
            German => german,
        }
    }

    pub(super) fn untaken(self, file: &Path, why: &Untaken) -> String {
        let file = file.display();
        match (why, self.language) {
            (Untaken::Io(e), _) => format!("{file}: {e}"),
            (Untaken::NoFile, English) => format!("{file} is no plain file."),
            (Untaken::NoFile, German) => format!("{file} ist keine gewöhnliche Datei."),
            (Untaken::Others, English) => {
                format!("{file}: others can read or write it, or it is another user's. chmod 600 {file}")
            }
            (Untaken::Others, German) => {
                format!(
                    "{file}: Andere können die Datei lesen oder schreiben, oder sie gehört jemand anderem. chmod 600 {file}"
                )
            }
            (Untaken::TooLarge, English) => format!("{file} is too large."),
            (Untaken::TooLarge, German) => format!("{file} ist zu groß."),
        }
    }

    pub(super) fn certificate_question(self, key: &str, pin: CertificatePin) -> String {
        match self.language {
            English => format!(
                "The certificate of {key} was never seen here. Its SHA-256:\n  {pin}\nCompare it by telephone with who stands at the box. Is it the same? (yes/no) "
            ),
            German => format!(
                "Das Zertifikat von {key} wurde hier noch nie gesehen. Sein SHA-256:\n  {pin}\nVergleichen Sie es am Telefon mit dem, der am Gerät steht. Ist es dasselbe? (ja/nein) "
            ),
        }
    }

    pub(super) fn certificate_accepted(self, key: &str, pin: CertificatePin, file: &Path) -> String {
        let file = file.display();
        match self.language {
            English => format!("The certificate of {key} is kept without a comparison, in {file}: {pin}"),
            German => format!("Das Zertifikat von {key} wird ohne Vergleich hinterlegt, in {file}: {pin}"),
        }
    }

    /// Why the box could not be read or written, and what to do here.
    pub(super) fn error(self, e: &Error, place: Option<&str>) -> String {
        let german = self.language == German;
        if let Error::CertificateUnknown { presented } = e {
            return match self.language {
                English => format!(
                    "The certificate {presented} was not accepted, and nothing was sent. Without a terminal: --certificate {presented} once it was compared, or --accept-new."
                ),
                German => format!(
                    "Das Zertifikat {presented} wurde nicht angenommen, und es wurde nichts gesendet. Ohne Terminal: --certificate {presented}, wenn es verglichen ist, oder --accept-new."
                ),
            };
        }
        if let Error::CertificateChanged { pinned, presented } = e {
            let place = place.unwrap_or("--certificate");
            return match self.language {
                English => format!(
                    "The Konnektor shows another certificate ({presented}) than the known one ({pinned}, {place}). Nothing was sent. If the box was really changed, take that line out and compare the new one."
                ),
                German => format!(
                    "Der Konnektor zeigt ein anderes Zertifikat ({presented}) als das bekannte ({pinned}, {place}). Es wurde nichts gesendet. Wurde das Gerät wirklich getauscht, dann nehmen Sie diese Zeile heraus und vergleichen das neue."
                ),
            };
        }
        if let Error::UnknownAction { action } = e {
            return match self.language {
                English => {
                    format!("The profile lists no action {action}; --unknown-action sends it all the same.")
                }
                German => {
                    format!("Das Profil kennt keine Aktion {action}; --unknown-action schickt sie trotzdem.")
                }
            };
        }
        if let Error::PasswordChangeForced = e {
            return self
                .pick(
                    "The Konnektor wants a new password first. Set one in its own interface.",
                    "Der Konnektor verlangt erst ein neues Passwort. Bitte in seiner Oberfläche setzen.",
                )
                .to_owned();
        }
        let own = match (e, self.language) {
            (Error::TlsFailed, English) => {
                "The Konnektor and this program found no common TLS (1.2 at least)."
            }
            (Error::TlsFailed, German) => {
                "Konnektor und Programm fanden kein gemeinsames TLS (mindestens 1.2)."
            }
            (Error::Setup, English) => "The TLS client could not be set up.",
            (Error::Setup, German) => "Der TLS-Client ließ sich nicht einrichten.",
            _ => return self.with_profile(e, e.sentence(german)),
        };
        own.to_owned()
    }

    fn with_profile(self, e: &Error, sentence: String) -> String {
        if !matches!(e, Error::NotInProfile { .. }) {
            return sentence;
        }
        match self.language {
            English => format!("{sentence} Here: --profile FILE."),
            German => format!("{sentence} Hier: --profile DATEI."),
        }
    }

    /// Why nothing is restored, and what to do here.
    pub(super) fn no_plan(self, no: &NoPlan) -> String {
        match (no, self.language) {
            (NoPlan::Konnektor(e), _) => self.error(e, None),
            (NoPlan::UnknownFirmware { firmware }, _) => self.unknown_firmware(firmware),
            (NoPlan::OutsideNetworks { address }, English) => format!(
                "The Konnektor would get the address {address}, outside of its network; it is not followed there. --network CIDR allows it."
            ),
            (NoPlan::OutsideNetworks { address }, German) => format!(
                "Der Konnektor bekäme die Adresse {address}, außerhalb seines Netzes; dorthin wird ihm nicht gefolgt. --network CIDR erlaubt es."
            ),
            (NoPlan::OtherMake { .. } | NoPlan::NotInFile { .. } | NoPlan::BadAddress { .. }, language) => {
                no.sentence(language == German)
            }
        }
    }

    pub(super) fn unknown_firmware(self, firmware: &str) -> String {
        let firmware = crate::prompt::printable(firmware);
        match self.language {
            English => format!(
                "The firmware {firmware} is not known here, so the box is read only. --firmware any writes all the same."
            ),
            German => format!(
                "Die Firmware {firmware} ist hier nicht bekannt, also wird nur gelesen. --firmware any schreibt trotzdem."
            ),
        }
    }
}
