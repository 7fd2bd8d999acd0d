//! What an SMS says: the code, what it opens, who asks, from where.
//! Absent on purpose: the number that is shown on the SSH side; a code is proof enough of having read it.

use crate::factor::message::{ascii, shown};
use crate::factor::{Purpose, Question};
use crate::secret::Secret;

/// What one SMS holds (3GPP TS 23.038, 7-bit).
const ONE: usize = 160;
/// A command is not cut below this.
const LEAST: usize = 16;
/// Nor is a work order below this: all that it names is confirmed at once.
const ORDER: usize = 240;
/// What stands for the rest of a command.
const CUT: &str = "...";

/// The text: ASCII, beginning with a letter. It fits into one SMS unless names are very long; a command is cut to fit.
pub(super) fn of(question: &Question, code: &str, german: bool) -> Secret {
    let Question { user, firm, .. } = question;
    let ip = question.from.ip().to_canonical();
    let write = |what: &str| {
        if german {
            format!("Code {code}: {what}. Firma {firm}, {user}, von {ip}. Nicht Sie? Niemandem nennen.")
        } else {
            format!("Code {code}: {what}. Firm {firm}, {user}, from {ip}. Not you? Tell nobody.")
        }
    };
    let text = match &question.purpose {
        Purpose::Login if german => write("Anmeldung am Wartungszugang"),
        Purpose::Login => write("login to the maintenance gateway"),
        Purpose::Command { command, site } => {
            let on = match (site, german) {
                (None, _) => String::new(),
                (Some(site), true) => format!(" fuer {site}"),
                (Some(site), false) => format!(" on {site}"),
            };
            let what = |command: &str| {
                if german {
                    format!("Befehl \"{command}\"{on}")
                } else {
                    format!("command \"{command}\"{on}")
                }
            };
            let frame = Secret::new(write(&what("")));
            let least = if command.trim_start().starts_with("order ") { ORDER } else { LEAST };
            let room = ONE.saturating_sub(septets(frame.reveal())).max(least);
            // A grave accent is none of the 7-bit letters: one would make the whole SMS half as long.
            write(&what(&cut(&ascii(&shown(command)).replace('`', "'"), room)))
        }
    };
    Secret::new(text)
}

/// At most `room` septets of `command`.
fn cut(command: &str, room: usize) -> String {
    if septets(command) <= room {
        return command.to_owned();
    }
    let room = room.saturating_sub(CUT.len());
    let mut used = 0;
    let fits = |c: &char| {
        used += width(*c);
        used <= room
    };
    command.chars().take_while(fits).chain(CUT.chars()).collect()
}

fn septets(text: &str) -> usize {
    text.chars().map(width).sum()
}

/// Some letters of ASCII take two.
fn width(c: char) -> usize {
    if matches!(c, '^' | '{' | '}' | '\\' | '[' | ']' | '~' | '|') { 2 } else { 1 }
}

#[cfg(test)]
mod tests {
    use jiff::Timestamp;

    use super::*;
    use crate::factor::{Contact, Number, Tx};
    use crate::names::{SessionId, Username};

    fn question(command: Option<&str>, from: &str) -> Question {
        let user: Username = "firm-jane.doe".parse().unwrap();
        let purpose = command.map_or(Purpose::Login, |command| Purpose::Command {
            command: command.into(),
            site: Some("praxis-mueller".parse().unwrap()),
        });
        Question {
            tx: Tx::new(0xab),
            firm: user.firm(),
            contact: Contact::default(),
            user,
            key: format!("SHA256:{}", "A".repeat(43)).parse().unwrap(),
            from: from.parse().unwrap(),
            session: SessionId::new(1, 2),
            purpose,
            number: Number::new(37),
            expires: Timestamp::UNIX_EPOCH,
        }
    }

    fn text(command: Option<&str>, german: bool) -> String {
        of(&question(command, "[::ffff:203.0.113.7]:50122"), "012345", german).reveal().to_owned()
    }

    #[test]
    fn an_sms_says_code_purpose_firm_user_and_source_in_either_language() {
        insta::assert_snapshot!(text(None, false), @"Code 012345: login to the maintenance gateway. Firm firm, firm-jane.doe, from 203.0.113.7. Not you? Tell nobody.");
        insta::assert_snapshot!(text(None, true), @"Code 012345: Anmeldung am Wartungszugang. Firma firm, firm-jane.doe, von 203.0.113.7. Nicht Sie? Niemandem nennen.");
        insta::assert_snapshot!(text(Some("konnektor backup"), false), @r#"Code 012345: command "konnektor backup" on praxis-mueller. Firm firm, firm-jane.doe, from 203.0.113.7. Not you? Tell nobody."#);
        insta::assert_snapshot!(text(Some("konnektor backup"), true), @r#"Code 012345: Befehl "konnektor backup" fuer praxis-mueller. Firma firm, firm-jane.doe, von 203.0.113.7. Nicht Sie? Niemandem nennen."#);
    }

    #[test]
    fn a_long_command_is_cut_and_nothing_else_is() {
        let nasty = format!("ä`$(id)\n\u{202e}|{}{}", "\"; {to} ".repeat(20), "[".repeat(200));
        for german in [false, true] {
            let text = text(Some(&nasty), german);
            assert!(text.starts_with("Code 012345: ") && text.contains("firm-jane.doe, "), "{text}");
            assert!(text.contains("203.0.113.7") && text.contains("...\" "), "{text}");
            assert!(text.bytes().all(|b| (0x20..0x7f).contains(&b) && b != b'`'), "{text}");
            assert!(septets(&text) <= ONE && septets(&text) > ONE - 3, "{}", septets(&text));
        }
        let far = of(&question(Some(&nasty), "[2001:db8:1111:2222:3333:4444:5555:6666]:22"), "012345", true);
        assert!(far.reveal().contains("2001:db8:1111:2222:3333:4444:5555:6666"));
    }

    #[test]
    fn a_work_order_is_named_to_its_last_word_though_it_takes_a_second_sms() {
        let sites = "praxis-a,praxis-b,praxis-c,praxis-d,praxis-e,praxis-f,praxis-g,praxis-h";
        let order = format!("order T-1 -i {sites} --may backup,restore,hop-backup --for 60m");
        for german in [false, true] {
            assert!(text(Some(&order), german).contains(&order));
        }
    }

    #[test]
    fn a_login_from_the_longest_address_fits_into_one() {
        for german in [false, true] {
            let text = of(&question(None, "[2001:db8:1111:2222:3333:4444:5555:6666]:22"), "012345", german);
            assert!(septets(text.reveal()) <= ONE, "{}", text.reveal());
        }
    }
}
