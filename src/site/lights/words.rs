//! What the lights say, to somebody who answers the telephone of a practice. Absent on purpose: how it was found out.

use crate::site::desk::{About, Light, Said, Shine};

/// What was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Sentence {
    NotYet,
    NoAddress,
    Addresses(String),
    NoRoute,
    NoRouterBetween,
    RouterAnswers(String),
    RouterSilent(String),
    NoNameNeeded,
    Found(String),
    NotFound(String),
    SeenFrom(String),
    Reached,
    ReachedNotIn,
    Resting,
    SaidNo { address: String, cause: String },
    NoAnswer { address: String, cause: String },
    BehindProxy { address: String, cause: String, answered: bool },
    Broken { cause: String },
    KeysRight,
    OtherKey { pinned: String, presented: String },
    NotLetIn { ours: String, site: String },
    ClockRight,
    ClockWrong { seconds: i64 },
    BoxAnswers { address: String },
    BoxAway { address: String, cause: String },
    BoxNoTls { address: String },
    BoxOtherCertificate { seen: String },
}

/// The light of that finding.
pub(super) fn light(about: About, which: Option<String>, found: &Sentence) -> Light {
    let (shine, says, advice) = found.said();
    Light { about, which, shine, says, advice }
}

fn said(de: impl Into<String>, en: impl Into<String>) -> Said {
    Said { de: de.into(), en: en.into() }
}

type Spoken = (Shine, Said, Option<Said>);

fn green(de: impl Into<String>, en: impl Into<String>) -> Spoken {
    (Shine::Green, said(de, en), None)
}

fn unknown(de: impl Into<String>, en: impl Into<String>) -> Spoken {
    (Shine::Unknown, said(de, en), None)
}

fn red(says: Said, advice: Said) -> Spoken {
    (Shine::Red, says, Some(advice))
}

impl Sentence {
    fn said(&self) -> Spoken {
        match self {
            Self::NotYet => unknown("Noch nicht bekannt.", "Not known yet."),
            Self::NoAddress
            | Self::Addresses(_)
            | Self::NoRoute
            | Self::NoRouterBetween
            | Self::RouterAnswers(_)
            | Self::RouterSilent(_)
            | Self::NoNameNeeded
            | Self::Found(_)
            | Self::NotFound(_)
            | Self::SeenFrom(_) => self.network(),
            Self::Reached
            | Self::ReachedNotIn
            | Self::Resting
            | Self::SaidNo { .. }
            | Self::NoAnswer { .. }
            | Self::BehindProxy { .. }
            | Self::Broken { .. } => self.gateway(),
            Self::KeysRight
            | Self::OtherKey { .. }
            | Self::NotLetIn { .. }
            | Self::ClockRight
            | Self::ClockWrong { .. } => self.keys(),
            Self::BoxAnswers { .. }
            | Self::BoxAway { .. }
            | Self::BoxNoTls { .. }
            | Self::BoxOtherCertificate { .. } => self.konnektor(),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`said` names them all")]
    fn network(&self) -> Spoken {
        match self {
            Self::Addresses(all) => green(
                format!("Dieses Gerät ist im Netz der Praxis: {all}."),
                format!("This device is in the practice's network: {all}."),
            ),
            Self::NoAddress => red(
                said("Dieses Gerät ist in keinem Netz.", "This device is in no network."),
                said(
                    "Steckt das Netzwerkkabel an beiden Enden, und leuchtet dort ein Lämpchen? Sonst das Kabel tauschen und das Gerät neu starten.",
                    "Is the network cable plugged in at both ends, and is there a small lamp on? If not, change the cable and restart the device.",
                ),
            ),
            Self::RouterAnswers(ip) => green(
                format!("Der Router der Praxis ({ip}) antwortet."),
                format!("The practice's router ({ip}) answers."),
            ),
            Self::NoRouterBetween => green(
                "Dieses Gerät ist ohne Router mit dem Internet verbunden.",
                "This device is connected to the internet without a router.",
            ),
            Self::NoRoute => red(
                said("Dieses Gerät kennt keinen Router.", "This device knows no router."),
                said(
                    "Den Router (meist die Internet-Box) aus- und wieder einschalten und zwei Minuten warten. Bleibt es rot: das Systemhaus anrufen, der Router verteilt keine Adresse.",
                    "Switch the router (often the internet box) off and on again and wait two minutes. Still red: call your IT company, the router hands out no address.",
                ),
            ),
            Self::RouterSilent(ip) => red(
                said(
                    format!("Der Router der Praxis ({ip}) antwortet nicht."),
                    format!("The practice's router ({ip}) does not answer."),
                ),
                said(
                    "Ist der Router (meist die Internet-Box) eingeschaltet? Aus- und wieder einschalten und zwei Minuten warten.",
                    "Is the router (often the internet box) switched on? Switch it off and on again and wait two minutes.",
                ),
            ),
            Self::NoNameNeeded => green(
                "Es wird kein Name gebraucht: die Adresse der Gegenstelle ist eingetragen.",
                "No name is needed: the gateway's address is set.",
            ),
            Self::Found(name) => {
                green(format!("Der Name {name} wird gefunden."), format!("The name {name} is found."))
            }
            Self::NotFound(name) => red(
                said(
                    format!("Der Name {name} wird nicht gefunden."),
                    format!("The name {name} is not found."),
                ),
                said(
                    "Geht das Internet an einem anderen Rechner? Wenn nein: den Internetanbieter anrufen. Wenn ja: das Systemhaus anrufen, die Namensauflösung (DNS) dieses Geräts stimmt nicht.",
                    "Does the internet work on another computer? If not, call your internet provider. If it does, call your IT company: this device's name resolution (DNS) is wrong.",
                ),
            ),
            Self::SeenFrom(address) => green(
                format!("Von außen ist die Praxis unter {address} zu sehen."),
                format!("From outside the practice is seen at {address}."),
            ),
            _ => Self::NotYet.said(),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`said` names them all")]
    fn gateway(&self) -> Spoken {
        match self {
            Self::Reached => green("Die Gegenstelle ist verbunden.", "The gateway is connected."),
            Self::ReachedNotIn => green("Die Gegenstelle antwortet.", "The gateway answers."),
            Self::Resting => unknown(
                "Geschlossen: es wird keine Verbindung gehalten, bis Sie öffnen.",
                "Closed: no connection is held until you open.",
            ),
            Self::SaidNo { address, cause } => red(
                said(
                    format!("Die Gegenstelle {address} nimmt die Verbindung nicht an ({cause})."),
                    format!("The gateway {address} does not take the connection ({cause})."),
                ),
                said(
                    "Es wird von selbst weiter versucht. Bleibt es länger als zehn Minuten rot: das Systemhaus anrufen.",
                    "It keeps trying by itself. Still red after ten minutes: call your IT company.",
                ),
            ),
            Self::NoAnswer { address, cause } => red(
                said(
                    format!("Die Gegenstelle {address} ist nicht zu erreichen ({cause})."),
                    format!("The gateway {address} cannot be reached ({cause})."),
                ),
                said(
                    "Sind die Lichter darüber grün und geht das Internet an einem anderen Rechner? Dann sperrt vielleicht eine Firewall: das Systemhaus anrufen und diese Adresse nennen.",
                    "Are the lights above green, and does the internet work on another computer? Then a firewall may be in the way: call your IT company and tell them this address.",
                ),
            ),
            Self::BehindProxy { address, cause, answered } => red(
                said(
                    format!("Die Gegenstelle {address} ist durch den Proxy nicht zu erreichen ({cause})."),
                    format!("The gateway {address} cannot be reached through the proxy ({cause})."),
                ),
                if *answered {
                    said(
                        "Das Systemhaus anrufen: der Proxy der Praxis muss diese Adresse erlauben, oder sein Passwort ist falsch eingetragen.",
                        "Call your IT company: the practice's proxy has to allow this address, or its password is set wrongly.",
                    )
                } else {
                    said(
                        "Geht das Internet an einem anderen Rechner? Wenn ja: das Systemhaus anrufen, der Proxy der Praxis antwortet nicht.",
                        "Does the internet work on another computer? If it does, call your IT company: the practice's proxy does not answer.",
                    )
                },
            ),
            Self::Broken { cause } => red(
                said(
                    format!("Die Verbindung zur Gegenstelle ist abgebrochen ({cause})."),
                    format!("The connection to the gateway broke off ({cause})."),
                ),
                said(
                    "Es wird von selbst neu verbunden. Bleibt es länger als zehn Minuten rot: das Systemhaus anrufen.",
                    "It connects again by itself. Still red after ten minutes: call your IT company.",
                ),
            ),
            _ => Self::NotYet.said(),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`said` names them all")]
    fn keys(&self) -> Spoken {
        match self {
            Self::KeysRight => green(
                "Die Gegenstelle ist die richtige, und sie kennt dieses Gerät.",
                "The gateway is the right one, and it knows this device.",
            ),
            Self::OtherKey { pinned, presented } => red(
                said(
                    "Am anderen Ende ist nicht die Gegenstelle, die eingetragen ist. Es wurde nichts gesendet.",
                    "At the other end is not the gateway that is set. Nothing was sent.",
                ),
                said(
                    format!(
                        "Nichts ändern und das Systemhaus anrufen, unter der Nummer, die Sie schon haben. Vorlesen: erwartet {pinned}, gezeigt {presented}. Nur wenn das Systemhaus den neuen Schlüssel bestätigt, gehört er als host_key in site.toml."
                    ),
                    format!(
                        "Change nothing and call your IT company, at the number that you already have. Read out: expected {pinned}, shown {presented}. Only if they confirm the new key does it belong into site.toml as host_key."
                    ),
                ),
            ),
            Self::NotLetIn { ours, site } => red(
                said("Die Gegenstelle kennt dieses Gerät nicht.", "The gateway does not know this device."),
                said(
                    format!(
                        "Das Systemhaus anrufen: dort muss der Schlüssel dieses Geräts ({ours}) als keys/sites/{site}.pub eingetragen werden."
                    ),
                    format!(
                        "Call your IT company: the key of this device ({ours}) has to be put there as keys/sites/{site}.pub."
                    ),
                ),
            ),
            Self::ClockRight => green("Die Uhr dieses Geräts geht richtig.", "This device's clock is right."),
            Self::ClockWrong { seconds } => {
                let minutes = seconds.unsigned_abs().div_ceil(60);
                let (de, en) = if *seconds > 0 { ("vor", "fast") } else { ("nach", "slow") };
                red(
                    said(
                        format!("Die Uhr dieses Geräts geht {minutes} Minuten {de}."),
                        format!("This device's clock is {minutes} minutes {en}."),
                    ),
                    said(
                        "Das Systemhaus anrufen: die Uhr muss sich selbst stellen (NTP). Was Sie öffnen, endet trotzdem pünktlich.",
                        "Call your IT company: the clock has to set itself (NTP). What you open still ends in time.",
                    ),
                )
            }
            _ => Self::NotYet.said(),
        }
    }

    #[expect(clippy::wildcard_enum_match_arm, reason = "`said` names them all")]
    fn konnektor(&self) -> Spoken {
        match self {
            Self::BoxAnswers { address } => green(
                format!("Der Konnektor ({address}) antwortet."),
                format!("The Konnektor ({address}) answers."),
            ),
            Self::BoxAway { address, cause } => red(
                said(
                    format!("Der Konnektor ({address}) ist nicht zu erreichen ({cause})."),
                    format!("The Konnektor ({address}) cannot be reached ({cause})."),
                ),
                said(
                    "Ist der Konnektor eingeschaltet und steckt sein Netzwerkkabel? Sonst das Systemhaus anrufen.",
                    "Is the Konnektor switched on, and is its network cable plugged in? Otherwise call your IT company.",
                ),
            ),
            Self::BoxNoTls { address } => red(
                said(
                    format!("Unter {address} antwortet etwas, aber kein Konnektor."),
                    format!("Something answers at {address}, but no Konnektor."),
                ),
                said(
                    "Startet der Konnektor gerade neu? Fünf Minuten warten. Sonst das Systemhaus anrufen: die Adresse stimmt nicht mehr.",
                    "Is the Konnektor just restarting? Wait five minutes. Otherwise call your IT company: its address is no longer right.",
                ),
            ),
            Self::BoxOtherCertificate { seen } => red(
                said(
                    "Der Konnektor zeigt ein anderes Zertifikat als das eingetragene.",
                    "The Konnektor shows another certificate than the one that is set.",
                ),
                said(
                    format!(
                        "Wurde der Konnektor getauscht oder erneuert? Das Systemhaus anrufen und vorlesen: sha256:{seen}"
                    ),
                    format!(
                        "Was the Konnektor replaced or renewed? Call your IT company and read out: sha256:{seen}"
                    ),
                ),
            ),
            _ => Self::NotYet.said(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_red_says_what_to_do_in_both_languages() {
        let text = String::new;
        let all = [
            Sentence::NoAddress,
            Sentence::NoRoute,
            Sentence::RouterSilent(text()),
            Sentence::NotFound(text()),
            Sentence::SaidNo { address: text(), cause: text() },
            Sentence::NoAnswer { address: text(), cause: text() },
            Sentence::BehindProxy { address: text(), cause: text(), answered: true },
            Sentence::Broken { cause: text() },
            Sentence::OtherKey { pinned: "A1".into(), presented: "B2".into() },
            Sentence::NotLetIn { ours: "C3".into(), site: "praxis".into() },
            Sentence::ClockWrong { seconds: -90 },
            Sentence::BoxAway { address: text(), cause: text() },
            Sentence::BoxNoTls { address: text() },
            Sentence::BoxOtherCertificate { seen: "D4".into() },
        ];
        for found in &all {
            let light = light(About::Gateway, None, found);
            assert_eq!(light.shine, Shine::Red, "{found:?}");
            let advice = light.advice.unwrap();
            assert!(advice.de != advice.en && light.says.de != light.says.en, "{found:?}");
        }
        let exact = |at: usize| light(About::Key, None, &all[at]).advice.unwrap().en;
        assert!(exact(8).contains("A1") && exact(8).contains("B2"));
        assert!(exact(9).contains("C3") && exact(9).contains("keys/sites/praxis.pub"));
        assert!(light(About::Clock, None, &all[10]).says.de.contains("2 Minuten nach"));
    }
}
