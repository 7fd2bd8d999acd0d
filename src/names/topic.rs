//! Where a person's phone reads on an ntfy server: a topic with the person's name in it.
//! Absent on purpose: topics of a fixed name; everybody would read everybody's questions.

use std::str::FromStr;

use super::{BadName, Username};

/// The most characters of a topic (ntfy's own limit).
const LONGEST: usize = 64;

/// `pforte-{user}` or `pforte-{external}`: ntfy's letters, and one place for a name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Topic {
    before: String,
    after: String,
    external: bool,
}

impl Default for Topic {
    fn default() -> Self {
        Self { before: "pforte-".into(), after: String::new(), external: false }
    }
}

impl Topic {
    /// The topic of one person; none if they have no name at the provider, or none that a topic may hold.
    /// ntfy knows no dot: `firm-jane.doe` reads at `pforte-firm-jane_doe`. No name of ours holds a `_`.
    #[must_use]
    pub fn of(&self, user: &Username, external: Option<&str>) -> Option<String> {
        let name = if self.external { external?.to_owned() } else { user.as_str().replace('.', "_") };
        let topic = format!("{}{name}{}", self.before, self.after);
        (!name.is_empty() && letters(&topic) && topic.len() <= LONGEST).then_some(topic)
    }
}

fn letters(text: &str) -> bool {
    text.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'))
}

impl FromStr for Topic {
    type Err = BadName;
    fn from_str(text: &str) -> Result<Self, BadName> {
        let bad = BadName { what: "topic", form: "A-Z a-z 0-9 - _ with one {user} or {external} in it" };
        let found = [("{user}", false), ("{external}", true)]
            .into_iter()
            .find_map(|(mark, external)| text.split_once(mark).map(|parts| (parts, external)));
        let Some(((before, after), external)) = found else { return Err(bad) };
        let fits = letters(before) && letters(after) && before.len() + after.len() < LONGEST;
        fits.then(|| Self { before: before.into(), after: after.into(), external }).ok_or(bad)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_topic_holds_one_name_and_only_letters_of_ntfy() {
        let jane: Username = "firm-jane.doe".parse().unwrap();
        let topic = |text: &str| text.parse::<Topic>().unwrap();
        assert_eq!(Topic::default(), topic("pforte-{user}"));
        assert_eq!(topic("pforte-{user}").of(&jane, Some("j")).as_deref(), Some("pforte-firm-jane_doe"));
        assert_eq!(topic("a_{external}_b").of(&jane, Some("Jane-1")).as_deref(), Some("a_Jane-1_b"));
        assert_eq!(topic("a-{external}").of(&jane, None), None);
        for bad in ["", "../x", "jane@firm", "j.d", "ä", "?x"] {
            assert_eq!(topic("a-{external}").of(&jane, Some(bad)), None, "{bad}");
        }
        assert_eq!(topic("a-{external}").of(&jane, Some(&"x".repeat(63))), None);
        for bad in
            ["", "pforte", "{user}{external}", "{user}{user}", "a/{user}", "a.{user}", "{User}", "{user"]
        {
            assert!(bad.parse::<Topic>().is_err(), "{bad}");
        }
    }
}
