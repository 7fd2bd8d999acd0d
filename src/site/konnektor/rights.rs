//! What a visitor may have a Konnektor do, by the family of their command: held here, whatever the gateway thinks.
//! Absent on purpose: the switch; whoever calls has asked it.

use crate::konnektor::{Error, Json, Profile, perform};
use crate::link::frames::Visitor;
use crate::link::lease::SCHEDULE;
use crate::names::ActionName;

/// One kind of thing.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Right {
    Read,
    Write,
    /// To follow the box to another address of its own networks.
    Move,
    Perform,
    /// To have a sealed backup made.
    Backup,
}

/// What this visitor may. To ask who the box is, everybody may who may anything.
pub(super) struct Rights<'v> {
    rights: &'static [Right],
    visitor: &'v Visitor,
}

impl<'v> Rights<'v> {
    /// None: nothing at all. Where the site seals its backups, nobody reads values to make one.
    pub(super) fn of(visitor: &'v Visitor, seals: bool) -> Option<Self> {
        use Right::{Backup, Move, Perform, Read, Write};
        // The nightly jobs make backups, whatever else a gateway calls them.
        let family = if visitor.user == SCHEDULE { "konnektor backup" } else { visitor.family.as_str() };
        let rights: &[Right] = match (family, seals) {
            ("konnektor backup", true) => &[Backup],
            ("konnektor backup", false)
            | ("konnektor status" | "konnektor diff" | "konnektor terminals", _) => &[Read],
            ("konnektor restore" | "konnektor remap", true) => &[Read, Write, Move, Backup],
            ("konnektor restore" | "konnektor remap", false) => &[Read, Write, Move],
            ("konnektor perform", _) => &[Read, Perform],
            _ => return None,
        };
        Some(Self { rights, visitor })
    }

    pub(super) fn may(&self, right: Right) -> bool {
        self.rights.contains(&right)
    }

    /// The action that the command names, and no other; where none can be told, one that the profile lists. Its data has to
    /// fit.
    pub(super) fn acts(
        &self,
        profile: &Profile,
        action: &ActionName,
        data: Option<&Json>,
    ) -> Result<(), Error> {
        let named = named(&self.visitor.command);
        let spelled = named.iter().any(|name| *name == action.as_str());
        if !self.may(Right::Perform) || !named.is_empty() && !spelled {
            return Err(Error::SiteRefused { cause: "not-asked-for".into() });
        }
        perform::check(profile, action, data, spelled)
    }
}

/// What stands behind `-a` or `--action` in a command, before its data begins.
fn named(command: &str) -> Vec<&str> {
    let words: Vec<&str> = command.split_whitespace().collect();
    let unquoted = |word: &'static str| move |text: &&str| *text == word;
    let data = words.iter().position(unquoted("-d")).unwrap_or(words.len());
    // The data of an action may hold anything; it stands behind a quote, and its end is not looked for.
    let before = words.get(..data).unwrap_or_default();
    let mut found = Vec::new();
    for (nth, word) in before.iter().enumerate() {
        let glued = word.strip_prefix("--action=").or_else(|| {
            let short = word.strip_prefix("-a").filter(|rest| !rest.is_empty());
            short.map(|rest| rest.strip_prefix('=').unwrap_or(rest))
        });
        let name = if *word == "-a" || *word == "--action" { before.get(nth + 1).copied() } else { glued };
        found.extend(name.map(|name| name.trim_matches(['"', '\''])));
    }
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn visitor(user: &str, family: &str, command: &str) -> Visitor {
        Visitor { user: user.into(), session: "01J".into(), family: family.into(), command: command.into() }
    }

    #[test]
    fn each_family_may_its_own_and_the_schedule_makes_backups_whatever_it_is_called() {
        use Right::{Backup, Move, Perform, Read, Write};
        let all = [Read, Write, Move, Perform, Backup];
        let of = |user: &str, family: &str, seals: bool| {
            let visitor = visitor(user, family, "");
            Rights::of(&visitor, seals)
                .map(|rights| all.into_iter().filter(|right| rights.may(*right)).collect::<Vec<_>>())
        };
        let jane = "firm-jane.doe";
        for family in ["konnektor status", "konnektor diff", "konnektor terminals"] {
            assert_eq!(of(jane, family, false), Some(vec![Read]));
            assert_eq!(of(jane, family, true), Some(vec![Read]));
        }
        assert_eq!(of(jane, "konnektor backup", false), Some(vec![Read]));
        assert_eq!(of(jane, "konnektor backup", true), Some(vec![Backup]));
        for family in ["konnektor restore", "konnektor remap"] {
            assert_eq!(of(jane, family, false), Some(vec![Read, Write, Move]));
            assert_eq!(of(jane, family, true), Some(vec![Read, Write, Move, Backup]));
        }
        assert_eq!(of(jane, "konnektor perform", false), Some(vec![Read, Perform]));
        for family in
            ["", "konnektor", "konnektor list", "konnektor show", "hop backup", "*", "konnektor backup "]
        {
            assert_eq!(of(jane, family, false), None, "{family}");
        }
        for family in ["konnektor backup", "konnektor restore", "konnektor perform", "*"] {
            assert_eq!(of(SCHEDULE, family, false), Some(vec![Read]));
            assert_eq!(of(SCHEDULE, family, true), Some(vec![Backup]));
        }
    }

    #[test]
    fn an_action_is_the_one_that_the_command_names_and_its_data_names_none() {
        for (command, names) in [
            ("konnektor perform -a reboot", vec!["reboot"]),
            ("konnektor perform -i a/b --action reboot --yes", vec!["reboot"]),
            ("konnektor perform --action=reboot", vec!["reboot"]),
            ("konnektor perform -areboot", vec!["reboot"]),
            ("konnektor perform -a 'delete-ct' -d '{\"x\": \" -a reboot \"}'", vec!["delete-ct"]),
            ("konnektor perform -d '{}' -a reboot", vec![]),
            ("", vec![]),
        ] {
            assert_eq!(named(command), names, "{command}");
        }
        let profile = Profile::kocobox().unwrap();
        let acts = |family: &str, command: &str, action: &str| {
            let visitor = visitor("firm-jane.doe", family, command);
            let rights = Rights::of(&visitor, false).unwrap();
            rights.acts(&profile, &action.parse().unwrap(), None)
        };
        let refused = Err(Error::SiteRefused { cause: "not-asked-for".into() });
        let unknown = |action: &str| Err(Error::UnknownAction { action: action.parse().unwrap() });
        assert_eq!(acts("konnektor perform", "konnektor perform -a reboot", "reboot"), Ok(()));
        assert_eq!(acts("konnektor perform", "konnektor perform -a other", "reboot"), refused);
        assert_eq!(acts("konnektor restore", "konnektor perform -a reboot", "reboot"), refused);
        assert_eq!(acts("konnektor perform", "an order of three", "reboot"), Ok(()));
        assert_eq!(acts("konnektor perform", "an order of three", "flash"), unknown("flash"));
        assert_eq!(acts("konnektor perform", "konnektor perform -a flash", "flash"), Ok(()));
    }
}
