//! Reads any JSON and writes it compactly, in one pass, without the members and cards that rules take out.
//! Absent on purpose: a tree; what is not kept is cut off the text again.

use std::fmt::Write as _;

use serde::de::{DeserializeSeed, Deserializer, Error as _, MapAccess, SeqAccess, Visitor};

use crate::konnektor::personal::{self, segment};
use crate::konnektor::profile::Personal;

/// From here on a text counts as large.
const LARGE: usize = 1 << 20;
/// What must be free at each value.
pub(super) const SPARE: usize = 64 << 10;
/// What is set aside.
const ROOM: usize = 64 << 20;

/// What came out.
#[derive(Default)]
pub(crate) struct Emitted {
    pub(crate) text: String,
    /// JSON pointers of what was taken out, into what was read.
    pub(crate) stripped: Vec<String>,
    /// Where we are.
    at: String,
}

/// A seed that writes the next value.
pub(crate) struct Emit<'a> {
    to: &'a mut Emitted,
    rules: Option<&'a Personal>,
    inner: bool,
}

impl<'a> Emit<'a> {
    pub(crate) fn new(to: &'a mut Emitted, rules: Option<&'a Personal>) -> Self {
        Self { to, rules, inner: false }
    }

    /// Once a text is large, room for a very large one is set aside at once: memory that is not written to costs nothing,
    /// and a text that grows by doubling would need twice its size more.
    fn make_room(&mut self) {
        let text = &mut self.to.text;
        if text.len() > LARGE && text.capacity() - text.len() < SPARE {
            text.reserve_exact(ROOM);
        }
    }

    fn inner(&mut self) -> Emit<'_> {
        Emit { to: self.to, rules: self.rules, inner: true }
    }
}

/// Whether the value stays. One that does not has left nothing in the text.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stays {
    Yes,
    No,
}

impl<'de> DeserializeSeed<'de> for Emit<'_> {
    type Value = Stays;
    fn deserialize<D: Deserializer<'de>>(mut self, deserializer: D) -> Result<Stays, D::Error> {
        self.make_room();
        deserializer.deserialize_any(self)
    }
}

macro_rules! scalar {
    ($method:ident, $type:ty) => {
        fn $method<E: serde::de::Error>(self, value: $type) -> Result<Stays, E> {
            let text = serde_json::to_string(&value).map_err(E::custom)?;
            self.to.text.push_str(&text);
            Ok(Stays::Yes)
        }
    };
}

impl<'de> Visitor<'de> for Emit<'_> {
    type Value = Stays;

    fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("a JSON value")
    }

    scalar!(visit_bool, bool);
    scalar!(visit_i64, i64);
    scalar!(visit_u64, u64);
    scalar!(visit_f64, f64);
    scalar!(visit_str, &str);

    fn visit_unit<E>(self) -> Result<Stays, E> {
        self.to.text.push_str("null");
        Ok(Stays::Yes)
    }

    fn visit_seq<A: SeqAccess<'de>>(mut self, mut items: A) -> Result<Stays, A::Error> {
        self.to.text.push('[');
        let (path, mut index, mut first) = (self.to.at.len(), 0_usize, true);
        loop {
            let start = self.to.text.len();
            if !first {
                self.to.text.push(',');
            }
            if self.rules.is_some() {
                self.to.at.truncate(path);
                // Writing into a String has no way to fail.
                write!(self.to.at, "/{index}").unwrap_or_default();
            }
            match items.next_element_seed(self.inner())? {
                Some(Stays::Yes) => first = false,
                Some(Stays::No) => {
                    self.to.text.truncate(start);
                    self.to.stripped.push(self.to.at.clone());
                }
                None => {
                    self.to.text.truncate(start);
                    break;
                }
            }
            index += 1;
        }
        self.to.at.truncate(path);
        self.to.text.push(']');
        Ok(Stays::Yes)
    }

    fn visit_map<A: MapAccess<'de>>(mut self, mut members: A) -> Result<Stays, A::Error> {
        let (begin, path, noted) = (self.to.text.len(), self.to.at.len(), self.to.stripped.len());
        self.to.text.push('{');
        let (mut first, mut persons_card) = (true, false);
        while let Some(key) = members.next_key::<String>()? {
            let start = self.to.text.len();
            if !first {
                self.to.text.push(',');
            }
            let quoted = serde_json::to_string(&key).map_err(A::Error::custom)?;
            self.to.text.push_str(&quoted);
            self.to.text.push(':');
            let value_start = self.to.text.len();
            if self.rules.is_some() {
                self.to.at.truncate(path);
                self.to.at.push('/');
                self.to.at.push_str(&segment(&key));
            }
            let before = self.to.stripped.len();
            let stays = members.next_value_seed(self.inner())?;
            let value = self.to.text.get(value_start..).unwrap_or_default();
            let goes = self.rules.is_some_and(|rules| personal::is_personal_key(&key, rules));
            persons_card |= self.rules.is_some_and(|rules| personal::says_card(&key, value, rules));
            if goes || stays == Stays::No {
                let was_null = stays == Stays::Yes && value == "null";
                self.to.text.truncate(start);
                self.to.stripped.truncate(before);
                if !was_null {
                    self.to.stripped.push(self.to.at.clone());
                }
            } else {
                first = false;
            }
        }
        self.to.at.truncate(path);
        if !persons_card {
            self.to.text.push('}');
            return Ok(Stays::Yes);
        }
        self.to.text.truncate(begin);
        self.to.stripped.truncate(noted);
        if self.inner {
            return Ok(Stays::No);
        }
        self.to.text.push_str("null");
        self.to.stripped.push(String::new());
        Ok(Stays::Yes)
    }
}
