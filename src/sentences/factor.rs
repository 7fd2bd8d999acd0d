//! What people read while the second factor is asked, and when it was not given.
//! Absent on purpose: what stands on the phone; that is the question's own text.

use std::time::Duration;

use crate::config::Language::{self, English, German};
use crate::factor::{Cause, Prompt, Say};
use crate::identity::second_factor::NotConfirmed;

/// What a provider has to say, as one line.
pub fn said(say: &Say, language: Language) -> String {
    match (say, language) {
        (Say::Compare(number), English) => {
            format!("Confirm on your phone. The number there must be {number}.")
        }
        (Say::Compare(number), German) => {
            format!("Bitte am Telefon bestätigen. Dort muss die Zahl {number} stehen.")
        }
        (Say::Enter(number), English) => format!("Your phone asks for a number. Enter {number} there."),
        (Say::Enter(number), German) => {
            format!("Ihr Telefon fragt nach einer Zahl. Geben Sie dort {number} ein.")
        }
        (Say::Ringing, English) => "Confirm on your phone.".into(),
        (Say::Ringing, German) => "Bitte am Telefon bestätigen.".into(),
        (Say::Sent(None), English) => "A code is on its way by SMS.".into(),
        (Say::Sent(None), German) => "Ein Code kommt per SMS.".into(),
        (Say::Sent(Some(to)), English) => format!("A code is on its way by SMS to {}.", masked(to)),
        (Say::Sent(Some(to)), German) => format!("Ein Code kommt per SMS an {}.", masked(to)),
        (Say::Waiting, English) => {
            "Another question of yours is still open; this one waits for its turn.".into()
        }
        (Say::Waiting, German) => {
            "Eine andere Anfrage von Ihnen ist noch offen; diese wartet, bis sie dran ist.".into()
        }
        (Say::Enrol(at), English) => format!("You are not enrolled yet. Do it here: {at}"),
        (Say::Enrol(at), German) => format!("Sie sind noch nicht angemeldet. Holen Sie es hier nach: {at}"),
        (Say::Remark(text), _) => text.clone(),
    }
}

/// Terminals and clients do not all show an ellipsis.
fn masked(to: &str) -> String {
    to.replace('…', "...")
}

/// What is to be typed; `words` may be typed beside it.
pub fn prompt(prompt: &Prompt, words: &[String], language: Language) -> String {
    let or = match (words, language) {
        ([], _) => String::new(),
        (words, English) => format!(" (or {})", words.join(", ")),
        (words, German) => format!(" (oder {})", words.join(", ")),
    };
    match (prompt, language) {
        (Prompt::Code, English | German) => format!("Code{or}: "),
        (Prompt::Again, English) => format!("That was not it. Code{or}: "),
        (Prompt::Again, German) => format!("Das war er nicht. Code{or}: "),
        (Prompt::Which, English) => format!("How to confirm: {}? [Enter: the first] ", words.join(", ")),
        (Prompt::Which, German) => format!("Wie bestätigen: {}? [Enter: das erste] ", words.join(", ")),
        (Prompt::Instead, English) => format!("No answer. Instead: {}? [Enter: give up] ", words.join(", ")),
        (Prompt::Instead, German) => {
            format!("Keine Antwort. Stattdessen: {}? [Enter: aufgeben] ", words.join(", "))
        }
    }
}

/// It works.
pub fn confirmed_by(factor: &str, language: Language) -> String {
    match language {
        English => format!("Confirmed by {factor}. A login would be let in."),
        German => format!("Bestätigt über {factor}. Eine Anmeldung käme durch."),
    }
}

/// What is about to be confirmed, before the phone rings.
pub fn to_be_confirmed(words: &str, language: Language) -> String {
    match language {
        English => format!("\"{words}\" wants to be confirmed."),
        German => format!("„{words}“ muss bestätigt werden."),
    }
}

/// The same of a host behind the gateway.
pub fn the_way_to(host: &str, language: Language) -> String {
    match language {
        English => format!("The way to {host} wants to be confirmed."),
        German => format!("Der Weg zu {host} muss bestätigt werden."),
    }
}

/// Why the second factor was not given.
pub fn not_confirmed(why: &NotConfirmed, language: Language) -> String {
    let fixed = match (why, language) {
        (NotConfirmed::Denied, English) => "Not confirmed: it was denied on the phone.",
        (NotConfirmed::Denied, German) => "Nicht bestätigt: am Telefon abgelehnt.",
        (NotConfirmed::WrongCode(_), English) => "Not confirmed: the code was wrong or was used before.",
        (NotConfirmed::WrongCode(_), German) => "Nicht bestätigt: der Code war falsch oder schon benutzt.",
        (NotConfirmed::Locked(left), _) => return locked(*left, language),
        (NotConfirmed::Displaced, English) => {
            "Not confirmed: you are being asked for a login from your usual place, and this question gave way to it."
        }
        (NotConfirmed::Displaced, German) => {
            "Nicht bestätigt: Sie werden gerade von Ihrem gewohnten Ort aus gefragt; diese Anfrage hat dafür Platz gemacht."
        }
        (NotConfirmed::Fraud, English) => {
            "Not confirmed: it was reported as not yours. Your keys are barred for a day; tell the operator of this gateway."
        }
        (NotConfirmed::Fraud, German) => {
            "Nicht bestätigt: als fremd gemeldet. Ihre Schlüssel sind einen Tag gesperrt; sagen Sie es dem Betreiber."
        }
        (NotConfirmed::TimedOut, English) => "Not confirmed: nobody answered on the phone in time.",
        (NotConfirmed::TimedOut, German) => "Nicht bestätigt: am Telefon kam rechtzeitig keine Antwort.",
        (NotConfirmed::Failed(cause), _) => failed(*cause, language),
        (NotConfirmed::Broke(_), English) => {
            "Not confirmed: something in the gateway broke. Try again, or tell its operator the time."
        }
        (NotConfirmed::Broke(_), German) => {
            "Nicht bestätigt: im Gateway ist etwas zerbrochen. Versuchen Sie es noch einmal, oder nennen Sie dem Betreiber die Uhrzeit."
        }
    };
    fixed.to_owned()
}

fn locked(left: Duration, language: Language) -> String {
    let (minutes, seconds) = (left.as_secs() / 60, left.as_secs() % 60);
    match language {
        English => format!(
            "Too many questions in vain: none for you with this key from here for {minutes} min {seconds} s. Other people and places are not locked. Was it not you? Tell the operator of this gateway."
        ),
        German => format!(
            "Zu viele vergebliche Anfragen: für Sie mit diesem Schlüssel von hier noch {minutes} min {seconds} s lang keine. Andere Personen und Orte sind nicht gesperrt. Nicht Sie? Sagen Sie es dem Betreiber."
        ),
    }
}

/// Why no answer could be had, for the person: whose fault it may be, and what to do.
fn failed(cause: Cause, language: Language) -> &'static str {
    let (english, german) = match cause {
        Cause::NotEnrolled | Cause::NoEnrolment | Cause::BadEnrolment => (
            "Not confirmed: you have no usable device at the phone service. Your operator can enrol one.",
            "Nicht bestätigt: Sie haben beim Telefondienst kein brauchbares Gerät. Ihr Betreiber kann eines anmelden.",
        ),
        Cause::NotAllowed => (
            "Not confirmed: the phone service does not let you confirm. Tell the operator of this gateway.",
            "Nicht bestätigt: der Telefondienst lässt Sie nicht bestätigen. Sagen Sie es dem Betreiber.",
        ),
        Cause::Bypassed => (
            "Not confirmed: the phone service would let you through without asking you, and this gateway does not take that. Tell its operator.",
            "Nicht bestätigt: der Telefondienst würde Sie ungefragt durchlassen, und das gilt hier nicht. Sagen Sie es dem Betreiber.",
        ),
        Cause::NoPhone => (
            "Not confirmed: no phone number of yours is on file. Tell the operator of this gateway.",
            "Nicht bestätigt: von Ihnen ist keine Telefonnummer hinterlegt. Sagen Sie es dem Betreiber.",
        ),
        Cause::NoPlace | Cause::Switched => (
            "Not confirmed: something would have to be typed or shown, and this client has no place for it. Use a terminal, or a work order.",
            "Nicht bestätigt: es müsste etwas eingegeben oder gezeigt werden, und dieses Programm hat keinen Ort dafür. Nehmen Sie ein Terminal oder einen Arbeitsauftrag.",
        ),
        Cause::Busy | Cause::Throttled => (
            "Not confirmed: the phone service is too busy. Try again in a minute.",
            "Nicht bestätigt: der Telefondienst ist überlastet. Versuchen Sie es in einer Minute wieder.",
        ),
        Cause::Unreachable | Cause::TimedOutConnecting | Cause::TooSlow | Cause::Status(_) => (
            "Not confirmed: the phone service does not answer. Try later, or tell the operator of this gateway.",
            "Nicht bestätigt: der Telefondienst antwortet nicht. Versuchen Sie es später, oder sagen Sie es dem Betreiber.",
        ),
        Cause::Malformed
        | Cause::BadSignature
        | Cause::WrongTx
        | Cause::WrongPerson
        | Cause::Stale
        | Cause::TooLarge
        | Cause::Redirect
        | Cause::ForeignUrl
        | Cause::NoWayBack
        | Cause::Credentials
        | Cause::ProviderError
        | Cause::NotStarted
        | Cause::ExitCode(_)
        | Cause::Killed
        | Cause::OutputTooLarge
        | Cause::Replay => (
            "Not confirmed: the phone service gave no answer that counts. Tell the operator of this gateway.",
            "Nicht bestätigt: der Telefondienst gab keine gültige Antwort. Sagen Sie es dem Betreiber.",
        ),
        Cause::Storage => (
            "Not confirmed: this gateway cannot look up which codes were used. Try again in a minute, or tell its operator.",
            "Nicht bestätigt: dieses Gateway kann nicht nachsehen, welche Codes benutzt sind. Versuchen Sie es in einer Minute wieder, oder sagen Sie es dem Betreiber.",
        ),
    };
    match language {
        English => english,
        German => german,
    }
}
