//! What the demo says between what it shows, in both languages. Absent on purpose: the journal's lines, which have one.

use std::net::SocketAddr;
use std::path::Path;

use clap::ValueEnum;

use super::machine::Absent;

#[derive(Clone, Copy, ValueEnum)]
pub(super) enum Lang {
    De,
    En,
}

/// What the demo says between what it shows.
#[derive(Clone)]
pub(super) enum Heading {
    Asks,
    NothingRan,
    Kept,
    Compared { services: usize },
    Reset,
    BroughtBack,
    NoMachines(Absent),
    GoesOn,
    Journal,
}

impl Heading {
    pub(super) fn text(&self, lang: Lang) -> String {
        match (self, lang) {
            (Heading::Asks, Lang::En) => {
                "A technician asks for a backup; the phone rings; the box is read.".into()
            }
            (Heading::Asks, Lang::De) => {
                "Ein Techniker will sichern; das Telefon fragt; das Gerät wird gelesen.".into()
            }
            (Heading::NothingRan, Lang::En) => "Nothing ran, and the journal says why:".into(),
            (Heading::NothingRan, Lang::De) => "Nichts lief, und das Protokoll sagt, warum:".into(),
            (Heading::Kept, Lang::En) => "What is kept:".into(),
            (Heading::Kept, Lang::De) => "Was aufbewahrt wird:".into(),
            (Heading::Compared { services }, Lang::En) => format!(
                "Decrypted again and compared: all {services} services are as the box holds them, patients left out."
            ),
            (Heading::Compared { services }, Lang::De) => format!(
                "Wieder entschlüsselt und verglichen: alle {services} Dienste sind wie im Gerät, Patienten weggelassen."
            ),
            (Heading::Reset, Lang::En) => {
                "The box is put back to factory settings, and restored: the plan, then each service.".into()
            }
            (Heading::Reset, Lang::De) => {
                "Das Gerät wird auf Werkseinstellungen gesetzt und eingelesen: der Plan, dann jeder Dienst.".into()
            }
            (Heading::BroughtBack, Lang::En) => {
                "Read again and compared: it is as the backup has it, users aside, which are never written.".into()
            }
            (Heading::BroughtBack, Lang::De) => {
                "Wieder gelesen und verglichen: wie in der Sicherung, ohne Benutzer, die nie geschrieben werden."
                    .into()
            }
            (Heading::NoMachines(Absent::NoSshd), Lang::En) => {
                "No sshd is installed here (openssh-server), so portal and backup are left out.".into()
            }
            (Heading::NoMachines(Absent::NoSshd), Lang::De) => {
                "Hier ist kein sshd installiert (openssh-server), darum fehlen portal und backup.".into()
            }
            (Heading::NoMachines(Absent::NotHere(why)), Lang::En) => {
                format!("The system's sshd does not run here ({why}), so portal and backup are left out.")
            }
            (Heading::NoMachines(Absent::NotHere(why)), Lang::De) => {
                format!("Der sshd des Systems läuft hier nicht ({why}), darum fehlen portal und backup.")
            }
            (Heading::GoesOn, Lang::En) => {
                "They go on to the customer's backup machine, through the gateway; the phone rings again."
                    .into()
            }
            (Heading::GoesOn, Lang::De) => {
                "Weiter zum Backup-Rechner des Kunden, durch das Gateway; das Telefon fragt wieder.".into()
            }
            (Heading::Journal, Lang::En) => "The journal:".into(),
            (Heading::Journal, Lang::De) => "Das Protokoll:".into(),
        }
    }
}

/// The lines to try.
pub(super) fn to_try(dir: &Path, konnektor: SocketAddr, host: Option<&str>, lang: Lang) -> String {
    let dir = dir.display();
    let (first, answers, session, last) = match lang {
        Lang::En => (
            "It stays until Ctrl-C. Try, in another terminal:",
            "what the phone answers from now on: approve, deny, silent",
            "a terminal of the hops, as it was; SESSION stands in the journal",
            format!("The Konnektor listens on {konnektor}; what it holds stands in {dir}/konnektor/"),
        ),
        Lang::De => (
            "Sie läuft bis Strg-C. Zum Probieren, in einem anderen Terminal:",
            "was das Telefon von nun an antwortet: approve, deny, silent",
            "ein Terminal der Hops, wie es war; SESSION steht im Protokoll",
            format!("Der Konnektor lauscht auf {konnektor}; was er enthält, steht in {dir}/konnektor/"),
        ),
    };
    let ssh = format!("ssh -F {dir}/ssh_config");
    let mut lines = vec![
        first.to_owned(),
        format!("{ssh} gateway"),
        format!("{ssh} gateway konnektor backup"),
        format!("{ssh} -t gateway konnektor restore -f NAME"),
        format!("sftp -F {dir}/ssh_config gateway"),
        format!("{ssh} gateway help"),
    ];
    if let Some(host) = host {
        lines.extend([
            format!("{ssh} {host}"),
            format!("sftp -F {dir}/ssh_config {host}"),
            format!("{dir}/kit/bssh {}", host.trim_start_matches("backup.")),
            format!("PUTTYDIR={dir}/putty plink -load \"Fernwartung praxis-mueller Backup\""),
            format!("pforte play SESSION --config {dir}          # {session}"),
        ]);
    }
    lines.extend([
        format!("echo deny > {dir}/phone          # {answers}"),
        format!("pforte journal tail --config {dir}"),
        last,
    ]);
    lines.join("\n")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_heading_is_german_where_german_is_asked_for() {
        let all = [
            Heading::Asks,
            Heading::NothingRan,
            Heading::Kept,
            Heading::Compared { services: 19 },
            Heading::Reset,
            Heading::BroughtBack,
            Heading::NoMachines(Absent::NoSshd),
            Heading::NoMachines(Absent::NotHere("why".into())),
            Heading::GoesOn,
            Heading::Journal,
        ];
        for heading in all {
            assert_ne!(heading.text(Lang::De), heading.text(Lang::En));
            assert_eq!(heading.text(Lang::De).lines().count(), 1);
        }
        assert!(Heading::Compared { services: 19 }.text(Lang::De).contains("alle 19 Dienste"));
        let (dir, box_) = (Path::new("/d"), SocketAddr::from(([127, 0, 0, 1], 9443)));
        for (host, commands) in [(None, 4), (Some("backup.praxis-mueller.example"), 5)] {
            let (de, en) = (to_try(dir, box_, host, Lang::De), to_try(dir, box_, host, Lang::En));
            assert!(
                de.starts_with("Sie läuft bis Strg-C.")
                    && de.contains("Der Konnektor lauscht auf 127.0.0.1:9443")
            );
            let ssh = |text: &str| text.lines().filter(|line| line.starts_with("ssh ")).count();
            assert_eq!((ssh(&de), ssh(&en), de.lines().count()), (commands, commands, en.lines().count()));
        }
    }
}
