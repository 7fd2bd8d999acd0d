//! What people read when something is refused: one line that says what, why, and who can change it. English and German.
//! Absent on purpose: the cause for the journal, which is another text, and secrets, which have no text.

mod factor;

use crate::asks::Family;
use crate::config::Language::{self, English, German};
use crate::gate::{Refused, Unsettled};
use crate::grants::Missing;
use crate::names::SiteName;
use crate::policy::{Condition, Denied, Terms};
pub use factor::{confirmed_by, not_confirmed, prompt, said, the_way_to, to_be_confirmed};

fn place(site: Option<&SiteName>, language: Language) -> String {
    match (site, language) {
        (None, _) => String::new(),
        (Some(site), English) => format!(" at {site}"),
        (Some(site), German) => format!(" bei {site}"),
    }
}

/// Why the policy says no.
pub fn denied(why: &Denied, family: Family, site: Option<&SiteName>, language: Language) -> String {
    let what = family.as_str();
    let at = place(site, language);
    match (why, language) {
        (Denied::NoRule, English) if family == Family::Oneself => {
            "No rule names you, so nothing is open to you. The operator of this gateway can write one.".into()
        }
        (Denied::NoRule, German) if family == Family::Oneself => {
            "Keine Regel nennt Sie, also ist Ihnen nichts erlaubt. Der Betreiber dieses Gateways kann eine schreiben.".into()
        }
        (Denied::NoRule, English) => {
            format!("No rule lets you do \"{what}\"{at}. The operator of this gateway can write one.")
        }
        (Denied::NoRule, German) => {
            format!("Keine Regel erlaubt Ihnen „{what}“{at}. Der Betreiber dieses Gateways kann eine schreiben.")
        }
        (Denied::NotNow { rule, condition }, language) => not_now(rule, condition, what, &at, language),
        (Denied::NoConsent { missing, .. }, language) => no_consent(*missing, what, &at, site, language),
        (Denied::NotInOrders { rule, longest: None }, English) => {
            format!("{rule} does not allow \"{what}\"{at} in a work order, or the work order is over.")
        }
        (Denied::NotInOrders { rule, longest: None }, German) => {
            format!("{rule} erlaubt „{what}“{at} in keinem Arbeitsauftrag, oder der Arbeitsauftrag ist zu Ende.")
        }
        (Denied::NotInOrders { rule, longest: Some(longest) }, English) => {
            format!("{rule} allows \"{what}\"{at} in work orders of at most {} min.", longest.as_secs() / 60)
        }
        (Denied::NotInOrders { rule, longest: Some(longest) }, German) => {
            format!("{rule} erlaubt „{what}“{at} in Arbeitsaufträgen von höchstens {} min.", longest.as_secs() / 60)
        }
        (Denied::NeedsConfirmation { rule }, English) => {
            format!("\"{what}\"{at} asks for a confirmation of its own ({rule}).")
        }
        (Denied::NeedsConfirmation { rule }, German) => {
            format!("„{what}“{at} verlangt eine eigene Bestätigung ({rule}).")
        }
    }
}

fn not_now(rule: &str, condition: &Condition, what: &str, at: &str, language: Language) -> String {
    match (condition, language) {
        (Condition::Until, English) => {
            format!(
                "{rule} let you do \"{what}\"{at}, but it has ended. The operator of this gateway can renew it."
            )
        }
        (Condition::Until, German) => {
            format!(
                "{rule} erlaubte Ihnen „{what}“{at}, ist aber abgelaufen. Der Betreiber dieses Gateways kann sie verlängern."
            )
        }
        (Condition::From, English) => {
            format!(
                "{rule} lets you do \"{what}\"{at}, but not from your address. The operator of this gateway can add it."
            )
        }
        (Condition::From, German) => {
            format!(
                "{rule} erlaubt Ihnen „{what}“{at}, aber nicht von Ihrer Adresse. Der Betreiber dieses Gateways kann sie eintragen."
            )
        }
        (Condition::Hours(hours), English) => {
            format!(
                "{rule} lets you do \"{what}\"{at} within {hours} only. Come back then, or ask the operator of this gateway."
            )
        }
        (Condition::Hours(hours), German) => {
            format!(
                "{rule} erlaubt Ihnen „{what}“{at} nur {hours}. Versuchen Sie es dann, oder fragen Sie den Betreiber."
            )
        }
    }
}

/// What the customer has not done, and how to ask for it.
fn no_consent(missing: Missing, what: &str, at: &str, site: Option<&SiteName>, language: Language) -> String {
    let site = site.map(SiteName::as_str).unwrap_or_default();
    match (missing, language) {
        (Missing::Link, English) => format!(
            "The customer's machine{at} has no link to this gateway now, so nobody can be let in. Ask them to look at its lights."
        ),
        (Missing::Link, German) => format!(
            "Der Rechner des Kunden{at} hat zurzeit keine Verbindung hierher, also kann niemand hereingelassen werden. Bitten Sie, dort auf die Lichter zu sehen."
        ),
        (Missing::Open, English) => format!(
            "The customer has not switched maintenance on{at}. Only the customer can; ask with: ask {site} --why \"…\""
        ),
        (Missing::Open, German) => format!(
            "Der Kunde hat die Wartung{at} nicht eingeschaltet. Das kann nur der Kunde; fragen Sie mit: ask {site} --why \"…\""
        ),
        (Missing::Name, English) => format!(
            "The customer has switched maintenance on{at}, but not for you. Ask with: ask {site} --why \"…\""
        ),
        (Missing::Name, German) => format!(
            "Der Kunde hat die Wartung{at} eingeschaltet, aber nicht für Sie. Fragen Sie mit: ask {site} --why \"…\""
        ),
        (Missing::This, English) => format!("The customer lets you in{at}, but not for \"{what}\"."),
        (Missing::This, German) => format!("Der Kunde lässt Sie herein{at}, aber nicht für „{what}“."),
    }
}

/// On which terms the policy says yes.
pub fn allowed(terms: &Terms, _family: Family, language: Language) -> String {
    let Terms { rule, needs_consent, confirm, order } = terms;
    let longest =
        order.map(|longest| format!("{:#}", jiff::SignedDuration::try_from(longest).unwrap_or_default()));
    match language {
        English => {
            let consent = if *needs_consent { ", the customer consents" } else { "" };
            let confirm = if *confirm { ", with a confirmation each time" } else { "" };
            let order = longest.map(|l| format!(", in work orders up to {l}")).unwrap_or_default();
            format!("yes, by {rule}{consent}{confirm}{order}")
        }
        German => {
            let consent = if *needs_consent { ", der Kunde stimmt zu" } else { "" };
            let confirm = if *confirm { ", mit einer Bestätigung jedes Mal" } else { "" };
            let order = longest.map(|l| format!(", in Arbeitsaufträgen bis {l}")).unwrap_or_default();
            format!("ja, durch {rule}{consent}{confirm}{order}")
        }
    }
}

/// Why the inner door stays shut.
pub fn refused(refused: &Refused, language: Language) -> String {
    match refused {
        Refused::Denied { family, site, why } => denied(why, *family, site.as_ref(), language),
        Refused::Unsettled(unsettled) => self::unsettled(unsettled, language),
        Refused::CannotJournal(_) => cannot_journal(language).into(),
    }
}

/// The journal cannot be written.
pub fn cannot_journal(language: Language) -> &'static str {
    match language {
        English => {
            "The journal cannot be written, so nothing was done. Tell the operator of this gateway: the disk may be full."
        }
        German => {
            "Das Protokoll kann nicht geschrieben werden, darum wurde nichts getan. Sagen Sie es dem Betreiber: vielleicht ist die Platte voll."
        }
    }
}

fn unsettled(unsettled: &Unsettled, language: Language) -> String {
    match (unsettled, language) {
        (Unsettled::Nowhere(family), English) => {
            format!(
                "No rule lets you do \"{}\" at any Konnektor. The operator of this gateway can write one.",
                family.as_str()
            )
        }
        (Unsettled::Nowhere(family), German) => format!(
            "Keine Regel erlaubt Ihnen „{}“ an irgendeinem Konnektor. Der Betreiber dieses Gateways kann eine schreiben.",
            family.as_str()
        ),
        (Unsettled::Several(boxes), language) => {
            let list = boxes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            match language {
                English => format!("Which one? Say -i with one of: {list}"),
                German => format!("Welcher? Nennen Sie mit -i einen von: {list}"),
            }
        }
        (Unsettled::NoSuch(site, boxes), language) => {
            let list = boxes.iter().map(ToString::to_string).collect::<Vec<_>>().join(", ");
            match (language, boxes.is_empty()) {
                (English, true) => format!("{site} has no Konnektor. The operator can add one to its file."),
                (German, true) => {
                    format!("{site} hat keinen Konnektor. Der Betreiber kann einen in die Datei eintragen.")
                }
                (English, false) => format!("{site} has no Konnektor of that name, but: {list}"),
                (German, false) => format!("{site} hat keinen Konnektor dieses Namens, aber: {list}"),
            }
        }
    }
}

/// A text for DISCONNECT and keyboard-interactive: OpenSSH shows other letters as octal, dbclient drops them.
pub fn ascii(text: &str) -> String {
    let mut plain = String::with_capacity(text.len() + 8);
    for c in text.chars() {
        match c {
            'ä' => plain.push_str("ae"),
            'ö' => plain.push_str("oe"),
            'ü' => plain.push_str("ue"),
            'Ä' => plain.push_str("Ae"),
            'Ö' => plain.push_str("Oe"),
            'Ü' => plain.push_str("Ue"),
            'ß' => plain.push_str("ss"),
            '„' | '“' | '”' => plain.push('"'),
            '–' => plain.push('-'),
            c if c.is_ascii() && (!c.is_ascii_control() || c == '\n') => plain.push(c),
            _ => plain.push('?'),
        }
    }
    plain
}
