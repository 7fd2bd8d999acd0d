//! What people read of a restore, in English and German.
//! Absent on purpose: values of services; see [`crate::konnektor::diff`].

use super::{ByHand, End, Event, Kind, LeftOut, NoPlan, Note, Step, StepResult};
use crate::names::ServiceName;

fn list(services: &[ServiceName]) -> String {
    services.iter().map(ServiceName::as_str).collect::<Vec<_>>().join(", ")
}

impl Step {
    /// What it does, German or English.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        let service = &self.service;
        match (&self.kind, german) {
            (Kind::Write, false) => format!("Write {service}."),
            (Kind::Write, true) => format!("{service} schreiben."),
            (Kind::DeleteCertificates, false) => format!("Delete ALL client certificates ({service})."),
            (Kind::DeleteCertificates, true) => format!("ALLE Clientzertifikate löschen ({service})."),
            (Kind::ImportCertificates, false) => format!("Import client certificates ({service})."),
            (Kind::ImportCertificates, true) => format!("Clientzertifikate einlesen ({service})."),
            (Kind::Move(to), false) => {
                format!("Write {service}; the Konnektor is then found at {to}.")
            }
            (Kind::Move(to), true) => {
                format!("{service} schreiben; der Konnektor ist danach unter {to} zu finden.")
            }
        }
    }
}

impl LeftOut {
    /// Why a service is not written, German or English.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        match self {
            Self::ReadOnly if german => "wird nie geschrieben, nur gelesen".into(),
            Self::ReadOnly => "is never written, only read".into(),
            Self::Users if german => "Benutzer und Passwörter werden nie angefasst".into(),
            Self::Users => "users and passwords are never touched".into(),
            Self::NotInFile if german => "steht nicht in der Datei".into(),
            Self::NotInFile => "is not in the file".into(),
            Self::Empty if german => "ist in der Datei leer (null)".into(),
            Self::Empty => "is empty in the file (null)".into(),
            Self::NotRead(why) => {
                let why = why.as_ref().map_or_else(String::new, |why| format!(": {}", why.sentence(german)));
                if german {
                    format!("ließ sich jetzt nicht lesen und wäre also nicht rückgängig zu machen{why}")
                } else {
                    format!("could not be read now, and so could not be undone{why}")
                }
            }
            Self::NoWay(why) => why.sentence(german),
            Self::NoList if german => {
                "die Liste der Zertifikate steht nicht dort, wo das Profil sie nennt (certificates.list)"
                    .into()
            }
            Self::NoList => {
                "the list of certificates is not where the profile says (certificates.list)".into()
            }
        }
    }
}

impl ByHand {
    /// What a person has to do afterwards, German or English.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        match self {
            Self::Pair(ids) if german => format!(
                "Diese Kartenterminals sind neu zu pairen; ihr Geheimnis steht in keiner Sicherung: {}",
                ids.join(", ")
            ),
            Self::Pair(ids) => format!(
                "These card terminals have to be paired anew; their secret is in no backup: {}",
                ids.join(", ")
            ),
            Self::Reboot(services) if german => {
                format!("Den Konnektor neu starten; erst dann gilt: {}", list(services))
            }
            Self::Reboot(services) => {
                format!("Restart the Konnektor; only then this counts: {}", list(services))
            }
            Self::Firmware { file, konnektor } if german => format!(
                "Die Firmware wird nicht eingelesen: Der Konnektor hat {konnektor}, die Datei ist von {file}."
            ),
            Self::Firmware { file, konnektor } => {
                format!("Firmware is not restored: the Konnektor has {konnektor}, the file is of {file}.")
            }
        }
    }
}

impl Note {
    /// What a person should know before, German or English.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        match self {
            Self::NoHead if german => {
                "Die Datei hat keinen Kopf: Von welchem Gerät sie stammt, ist unbekannt.".into()
            }
            Self::NoHead => "The file has no head: which device it is of is not known.".into(),
            Self::Serial { file, konnektor } if german => {
                format!("Ein anderes Gerät: Seriennummer {konnektor}, in der Datei {file}.")
            }
            Self::Serial { file, konnektor } => {
                format!("Another device: serial number {konnektor}, in the file {file}.")
            }
            Self::OtherKonnektor { file } if german => format!("Die Datei wurde von {file} genommen."),
            Self::OtherKonnektor { file } => format!("The file was taken from {file}."),
            Self::Firmware { file, konnektor } if german => {
                format!("Andere Firmware: {konnektor}, in der Datei {file}.")
            }
            Self::Firmware { file, konnektor } => {
                format!("Another firmware: {konnektor}, in the file {file}.")
            }
            Self::Edited(services) if german => {
                format!("Seit der Sicherung bearbeitet: {}", list(services))
            }
            Self::Edited(services) => format!("Edited since the backup: {}", list(services)),
            Self::Containers(places) if german => {
                format!("PKCS#12, die nicht die gesicherten sind: {}", places.join(", "))
            }
            Self::Containers(places) => {
                format!("PKCS#12 that are not the ones that were taken: {}", places.join(", "))
            }
            Self::Unknown(names) if german => {
                format!("Kein Dienst dieses Konnektors, daher weggelassen: {}", names.join(", "))
            }
            Self::Unknown(names) => {
                format!("No service of this Konnektor, and so left out: {}", names.join(", "))
            }
            Self::NotFollowed { to } if german => format!(
                "Der Konnektor bekommt die Adresse {to}. Unter seiner eigenen wird er von hier nicht angesprochen, also wird ihm nicht gefolgt."
            ),
            Self::NotFollowed { to } => format!(
                "The Konnektor gets the address {to}. It is not dialled at its own from here, so it is not followed."
            ),
        }
    }
}

impl NoPlan {
    /// Why nothing is done, and what to do, German or English.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        match self {
            Self::OtherMake { file, konnektor } if german => format!(
                "Die Datei ist von einem anderen Fabrikat ({file}) als dieser Konnektor ({konnektor})."
            ),
            Self::OtherMake { file, konnektor } => {
                format!("The file is of another make ({file}) than this Konnektor ({konnektor}).")
            }
            Self::UnknownFirmware { firmware } if german => format!(
                "Firmware {firmware} kennt das Profil nicht; sie wird gelesen, nicht geschrieben (known_firmware)."
            ),
            Self::UnknownFirmware { firmware } => format!(
                "The profile does not know firmware {firmware}: it is read, not written (known_firmware)."
            ),
            Self::NotInFile { service } if german => format!("{service} steht nicht in der Datei."),
            Self::NotInFile { service } => format!("{service} is not in the file."),
            Self::Konnektor(error) => error.sentence(german),
            Self::BadAddress { address } if german => {
                format!("Die neue Adresse des Konnektors in der Datei ist keine: {address}")
            }
            Self::BadAddress { address } => {
                format!("The Konnektor's new address in the file is none: {address}")
            }
            Self::OutsideNetworks { address } if german => format!(
                "Der Konnektor bekäme die Adresse {address}, außerhalb seines Netzes; dorthin folgt ihm das Gateway nicht. In der Datei des Kunden erlaubt es networks = [\"…\"] bei diesem Konnektor."
            ),
            Self::OutsideNetworks { address } => format!(
                "The Konnektor would get the address {address}, outside of its network; the gateway does not follow it there. networks = [\"…\"] for this Konnektor in the site's file allows it."
            ),
        }
    }
}

impl Event<'_> {
    /// What happens, German or English.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        match self {
            Self::Writing { n, of, service, bytes } if german => {
                format!("{n} von {of}: {service} wird geschrieben ({bytes} Bytes)")
            }
            Self::Writing { n, of, service, bytes } => {
                format!("{n} of {of}: writing {service} ({bytes} bytes)")
            }
            Self::ReadingBack { service } if german => format!("{service} wird zurückgelesen"),
            Self::ReadingBack { service } => format!("reading {service} back"),
            Self::Again { service, why } => {
                let why = why.map_or_else(String::new, |why| format!(": {}", why.sentence(german)));
                if german {
                    format!("{service} ist nicht angekommen und wird noch einmal geschrieben{why}")
                } else {
                    format!("{service} did not arrive and is written again{why}")
                }
            }
            Self::Waiting { why, since } if german => {
                format!("warte auf den Konnektor, seit {} s: {}", since.as_secs(), why.sentence(true))
            }
            Self::Waiting { why, since } => {
                format!("waiting for the Konnektor, for {} s: {}", since.as_secs(), why.sentence(false))
            }
            Self::Back if german => "der Konnektor antwortet wieder".into(),
            Self::Back => "the Konnektor answers again".into(),
            Self::Moved { to } if german => format!("der Konnektor antwortet jetzt unter {to}"),
            Self::Moved { to } => format!("the Konnektor answers at {to} now"),
            Self::Grown { service, places } if german => {
                format!("{service}: der Konnektor hat dort noch Eigenes: {}", places.join(", "))
            }
            Self::Grown { service, places } => {
                format!("{service}: the Konnektor has more there of its own: {}", places.join(", "))
            }
        }
    }
}

impl StepResult {
    /// What came of a step, German or English.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        match self {
            Self::Done { bytes } if german => format!("geschrieben und geprüft ({bytes} Bytes)"),
            Self::Done { bytes } => format!("written and verified ({bytes} bytes)"),
            Self::AlreadySo if german => "war schon so".into(),
            Self::AlreadySo => "was so already".into(),
            Self::Differs(diff) => {
                let count = diff.changes.len() + diff.more;
                if german {
                    format!("geschrieben, aber der Konnektor hält es anders ({count} Abweichungen)")
                } else {
                    format!("written, but the Konnektor holds it otherwise ({count} differences)")
                }
            }
            Self::Refused(error) if german => {
                format!("nicht angenommen, unverändert. {}", error.sentence(true))
            }
            Self::Refused(error) => format!("not taken, unchanged. {}", error.sentence(false)),
            Self::Open(error) if german => {
                format!("es ist unklar, ob es angekommen ist. {}", error.sentence(true))
            }
            Self::Open(error) => format!("it is not known whether it arrived. {}", error.sentence(false)),
            Self::NotReached if german => "nicht mehr erreicht".into(),
            Self::NotReached => "not reached".into(),
        }
    }
}

impl End {
    /// How a restore ended, German or English.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        match self {
            Self::Done if german => "Eingelesen und geprüft.".into(),
            Self::Done => "Restored and verified.".into(),
            Self::Failed if german => "Eingelesen, aber nicht alles wurde so übernommen.".into(),
            Self::Failed => "Restored, but not all was taken as it is.".into(),
            Self::Interrupted(why) if german => {
                format!(
                    "Unterbrochen: {} Der Rest lässt sich fortsetzen oder rückgängig machen.",
                    why.sentence(true)
                )
            }
            Self::Interrupted(why) => {
                format!("Interrupted: {} The rest can be resumed, or all undone.", why.sentence(false))
            }
            Self::Stopped if german => "Vor dem nächsten Schritt angehalten.".into(),
            Self::Stopped => "Stopped before the next step.".into(),
        }
    }
}
