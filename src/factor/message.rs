//! What a person reads on the phone before saying yes.
//! Absent on purpose: texts of the SSH side, and any markup.

use super::{Purpose, Question};

/// What the person reads on the phone: firm, user, source address, what is approved, number.
/// Characters of the command that a phone would not show as they are come escaped (`\n`, `\u{202e}`).
#[must_use]
pub fn message(question: &Question, german: bool) -> String {
    text(question, german, true)
}

/// [`message`] without the number, for a person who has to know it from the SSH side.
#[must_use]
pub fn message_unnumbered(question: &Question, german: bool) -> String {
    text(question, german, false)
}

fn text(question: &Question, german: bool, numbered: bool) -> String {
    let Question { user, firm, number, .. } = question;
    let ip = question.from.ip().to_canonical();
    let what = match (&question.purpose, german) {
        (Purpose::Login, true) => "Anmeldung am Wartungszugang".to_owned(),
        (Purpose::Login, false) => "login to the maintenance gateway".to_owned(),
        (Purpose::Command { command, site: None }, true) => format!("Befehl „{}“", shown(command)),
        (Purpose::Command { command, site: None }, false) => format!("command \"{}\"", shown(command)),
        (Purpose::Command { command, site: Some(site) }, true) => {
            format!("Befehl „{}“ für {site}", shown(command))
        }
        (Purpose::Command { command, site: Some(site) }, false) => {
            format!("command \"{}\" on {site}", shown(command))
        }
    };
    let number = match (numbered, german) {
        (true, true) => format!(" Zahl: {number}."),
        (true, false) => format!(" Number: {number}."),
        (false, _) => String::new(),
    };
    if german {
        format!("{what}. Firma {firm}, {user}, von {ip}.{number} Nicht Sie? Dann ablehnen.")
    } else {
        format!("{what}. Firm {firm}, {user}, from {ip}.{number} Not you? Then deny.")
    }
}

/// [`message`] in ASCII, for SMS and for terminals: umlauts as ae, oe, ue, ss; what else is not ASCII, as `?`.
#[must_use]
pub fn message_ascii(question: &Question, german: bool) -> String {
    ascii(&message(question, german))
}

/// A text in ASCII, as [`message_ascii`] has it.
pub(super) fn ascii(text: &str) -> String {
    let mut ascii = String::new();
    for c in text.chars() {
        match c {
            'ä' => ascii.push_str("ae"),
            'ö' => ascii.push_str("oe"),
            'ü' => ascii.push_str("ue"),
            'Ä' => ascii.push_str("Ae"),
            'Ö' => ascii.push_str("Oe"),
            'Ü' => ascii.push_str("Ue"),
            'ß' => ascii.push_str("ss"),
            '„' | '“' => ascii.push('"'),
            '…' => ascii.push_str("..."),
            c if c.is_ascii() => ascii.push(c),
            _ => ascii.push('?'),
        }
    }
    ascii
}

/// The most characters of a command that a person is shown.
const SHOWN: usize = 160;

/// A command as a phone may show it: one line, nothing invisible, at most [`SHOWN`] characters.
pub(super) fn shown(command: &str) -> String {
    let mut text = String::new();
    let mut shown = 0;
    for c in command.chars() {
        // Blanks would push what matters out of sight.
        if c == ' ' && text.ends_with(' ') {
            continue;
        }
        if shown == SHOWN {
            text.push('…');
            break;
        }
        shown += 1;
        // Letters, digits, ASCII and spaces only: all that reorders, hides or breaks lines is escaped.
        if c.is_alphanumeric() || c.is_ascii_graphic() || c == ' ' {
            text.push(c);
        } else {
            text.extend(c.escape_default());
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::factor::{Number, Tx};
    use crate::names::{SessionId, Username};

    fn question(purpose: Purpose) -> Question {
        let user: Username = "firm-jane.doe".parse().unwrap();
        Question {
            tx: Tx::new(0xab),
            firm: user.firm(),
            contact: crate::factor::Contact::default(),
            user,
            key: format!("SHA256:{}", "A".repeat(43)).parse().unwrap(),
            from: "[::ffff:203.0.113.7]:50122".parse().unwrap(),
            session: SessionId::new(1, 2),
            purpose,
            number: Number::new(37),
            expires: Timestamp::UNIX_EPOCH,
        }
    }

    #[test]
    fn a_message_names_firm_user_source_purpose_and_number() {
        insta::assert_snapshot!(message(&question(Purpose::Login), false),
            @"login to the maintenance gateway. Firm firm, firm-jane.doe, from 203.0.113.7. Number: 47. Not you? Then deny.");
        let command = Purpose::Command {
            command: "konnektor backup".into(),
            site: Some("praxis-mueller".parse().unwrap()),
        };
        insta::assert_snapshot!(message(&question(command.clone()), true),
            @"Befehl „konnektor backup“ für praxis-mueller. Firma firm, firm-jane.doe, von 203.0.113.7. Zahl: 47. Nicht Sie? Dann ablehnen.");
        insta::assert_snapshot!(message_ascii(&question(command), true),
            @r#"Befehl "konnektor backup" fuer praxis-mueller. Firma firm, firm-jane.doe, von 203.0.113.7. Zahl: 47. Nicht Sie? Dann ablehnen."#);
    }

    #[test]
    fn a_command_cannot_hide_or_reorder_the_message() {
        let nasty = Purpose::Command {
            command: format!("a\n\u{202e}b\u{200b}\u{1b}[2Jж{}", "x".repeat(500)),
            site: None,
        };
        let text = message(&question(nasty.clone()), false);
        assert!(text.starts_with("command \"a\\n\\u{202e}b\\u{200b}\\u{1b}[2Jжxxx"), "{text}");
        assert!(text.contains("x…\"") && text.len() < 400, "{text}");
        assert!(message_ascii(&question(nasty), true).bytes().all(|b| (0x20..0x7f).contains(&b)));
    }
}
