//! Texts with placeholders, each filled in as the place where it stands needs: an SMS gateway's request or command line.
//! Absent on purpose: conditions, loops, and whatever else makes a language; what is filled in is never read again.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;

use crate::secret::Secret;

/// How a value is written where its placeholder stands.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Encoding {
    /// As it is: a header, an argument of a program.
    #[default]
    Plain,
    /// Percent-encoded but for letters, digits and `-._~`: a URL, a form.
    Percent,
    /// As the inside of a JSON string.
    Json,
}

/// A placeholder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Slot {
    /// `{to}`: the phone, `+4915112345678`.
    To,
    /// `{to_digits}`: the phone without its `+`.
    ToDigits,
    /// `{text}`: what the SMS says.
    Text,
    /// `{from}`: the sender.
    From,
    /// `{secret}`: the credential.
    Secret,
    /// `{basic}`: user and credential as HTTP's Basic authentication has them (RFC 7617), without the word `Basic`.
    Basic,
}

impl Slot {
    /// All of them.
    pub const ALL: [Self; 6] = [Self::To, Self::ToDigits, Self::Text, Self::From, Self::Secret, Self::Basic];

    /// Its name between the braces.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::To => "to",
            Self::ToDigits => "to_digits",
            Self::Text => "text",
            Self::From => "from",
            Self::Secret => "secret",
            Self::Basic => "basic",
        }
    }
}

/// Why a text is no template.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum BadTemplate {
    /// Braces around a name that is none of [`Slot::ALL`].
    #[error(
        "unknown placeholder {{{0}}}; known here: {{to}}, {{to_digits}}, {{text}}, {{from}}, {{secret}}, {{basic}}"
    )]
    Unknown(String),
    /// A JSON body is none, or a placeholder stands outside of a string.
    #[error(
        "is no JSON once it is filled in: placeholders stand within strings ({{to_digits}} may stand alone)"
    )]
    NoJson,
}

/// What is filled in.
pub struct Values<'a> {
    /// The phone with its `+`.
    pub to: &'a str,
    /// What the SMS says.
    pub text: &'a str,
    /// The sender.
    pub from: &'a str,
    /// The user of `{basic}`.
    pub user: &'a str,
    /// The credential.
    pub secret: &'a str,
}

#[derive(Clone, Debug, PartialEq, Eq)]
enum Part {
    Literal(String),
    Slot(Slot),
}

/// A text with placeholders: a name in small letters and `_` between braces. Any other brace is a brace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Template {
    parts: Vec<Part>,
    encoding: Encoding,
}

impl Template {
    /// Reads `text`; a JSON one is checked as a whole.
    pub fn parse(text: &str, encoding: Encoding) -> Result<Self, BadTemplate> {
        let (mut parts, mut literal, mut rest) = (Vec::new(), String::new(), text);
        while let Some((before, behind)) = rest.split_once('{') {
            literal.push_str(before);
            let named = behind.split_once('}').filter(|(name, _)| {
                !name.is_empty() && name.bytes().all(|b| b.is_ascii_lowercase() || b == b'_')
            });
            let Some((name, after)) = named else {
                literal.push('{');
                rest = behind;
                continue;
            };
            let slot = Slot::ALL.into_iter().find(|slot| slot.as_str() == name);
            parts.push(Part::Literal(std::mem::take(&mut literal)));
            parts.push(Part::Slot(slot.ok_or_else(|| BadTemplate::Unknown(name.to_owned()))?));
            rest = after;
        }
        literal.push_str(rest);
        parts.push(Part::Literal(literal));
        let template = Self { parts, encoding };
        if encoding == Encoding::Json {
            // Outside of a string these values are no JSON, whatever stands around them.
            let odd = "a\"b\\";
            let sample = Values { to: "+4915112345678", text: odd, from: odd, user: odd, secret: odd };
            let sample = template.fill_with(&sample, |slot| match slot {
                Slot::ToDigits => None,
                Slot::To | Slot::Text | Slot::From | Slot::Secret | Slot::Basic => Some(odd),
            });
            let json = serde_json::from_str::<serde_json::Value>(sample.reveal());
            json.map_err(|_| BadTemplate::NoJson)?;
        }
        Ok(template)
    }

    /// Its placeholders, in their order.
    pub fn slots(&self) -> impl Iterator<Item = Slot> + '_ {
        self.parts.iter().filter_map(|part| match part {
            Part::Slot(slot) => Some(*slot),
            Part::Literal(_) => None,
        })
    }

    /// What stands before its first placeholder.
    #[must_use]
    pub fn beginning(&self) -> &str {
        match self.parts.first() {
            Some(Part::Literal(text)) => text,
            Some(Part::Slot(_)) | None => "",
        }
    }

    /// The text with `values` filled in. It holds a code and may hold a credential.
    #[must_use]
    pub fn fill(&self, values: &Values<'_>) -> Secret {
        self.fill_with(values, |_| None)
    }

    fn fill_with(&self, values: &Values<'_>, instead: impl Fn(Slot) -> Option<&'static str>) -> Secret {
        let mut filled = String::new();
        for part in &self.parts {
            match part {
                Part::Literal(text) => filled.push_str(text),
                Part::Slot(slot) => {
                    if let Some(value) = instead(*slot) {
                        self.write(value, &mut filled);
                        continue;
                    }
                    match slot {
                        Slot::To => self.write(values.to, &mut filled),
                        Slot::ToDigits => self.write(values.to.trim_start_matches('+'), &mut filled),
                        Slot::Text => self.write(values.text, &mut filled),
                        Slot::From => self.write(values.from, &mut filled),
                        Slot::Secret => self.write(values.secret, &mut filled),
                        Slot::Basic => {
                            let pair = Secret::new(format!("{}:{}", values.user, values.secret));
                            self.write(Secret::new(STANDARD.encode(pair.reveal())).reveal(), &mut filled);
                        }
                    }
                }
            }
        }
        Secret::new(filled)
    }

    fn write(&self, value: &str, into: &mut String) {
        match self.encoding {
            Encoding::Plain => into.push_str(value),
            Encoding::Percent => {
                for byte in value.bytes() {
                    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                        into.push(char::from(byte));
                    } else {
                        into.extend(['%', hex(byte >> 4), hex(byte & 15)]);
                    }
                }
            }
            Encoding::Json => {
                let quoted = serde_json::Value::from(value).to_string();
                into.push_str(quoted.strip_prefix('"').and_then(|q| q.strip_suffix('"')).unwrap_or_default());
            }
        }
    }
}

fn hex(half: u8) -> char {
    char::from_digit(half.into(), 16).unwrap_or_default().to_ascii_uppercase()
}

/// An HTTP request, and what its reply is when it was done.
#[derive(Clone, Debug)]
pub struct Request {
    /// `POST`, `GET`, `PUT`.
    pub method: reqwest::Method,
    /// Where to, percent-encoded; no placeholder comes before the path.
    pub url: Template,
    /// Headers, their names checked.
    pub headers: Vec<(reqwest::header::HeaderName, Template)>,
    /// The body, if there is one.
    pub body: Option<Template>,
    /// What a reply must be.
    pub success: Success,
}

/// What a reply must be for its request to have been done.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Success {
    /// One of these statuses.
    pub statuses: Vec<u16>,
    /// And at this JSON pointer (RFC 6901), this value: a text, or a number, `true`, `false`, `null` as JSON writes it.
    pub json: Option<(String, String)>,
}

impl Default for Success {
    fn default() -> Self {
        Self { statuses: vec![200, 201, 202, 204], json: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const VALUES: Values<'static> = Values {
        to: "+4915112345678",
        text: "a \"ü\"\n& {to} \\=%",
        from: "Wartung+1",
        user: "tok en",
        secret: "s&\"\\:ß",
    };

    fn filled(text: &str, encoding: Encoding) -> String {
        Template::parse(text, encoding).unwrap().fill(&VALUES).reveal().to_owned()
    }

    #[test]
    fn each_placeholder_is_written_as_its_place_needs() {
        let form = filled("to={to}&d={to_digits}&text={text}&f={from}&k={secret}", Encoding::Percent);
        let pairs: Vec<(String, String)> =
            url::form_urlencoded::parse(form.as_bytes()).into_owned().collect();
        let expected = [
            ("to", VALUES.to),
            ("d", "4915112345678"),
            ("text", VALUES.text),
            ("f", VALUES.from),
            ("k", VALUES.secret),
        ];
        assert_eq!(pairs, expected.map(|(k, v)| (k.to_owned(), v.to_owned())));

        let json = filled(
            r#"{"to": "{to}", "n": {to_digits}, "text": "x{text}", "k": ["{secret}"]}"#,
            Encoding::Json,
        );
        let json: serde_json::Value = serde_json::from_str(&json).unwrap();
        let expected = serde_json::json!({
            "to": VALUES.to, "n": 4_915_112_345_678_u64, "text": format!("x{}", VALUES.text), "k": [VALUES.secret],
        });
        assert_eq!(json, expected);

        assert_eq!(
            filled("Basic {basic}", Encoding::Plain),
            format!("Basic {}", STANDARD.encode("tok en:s&\"\\:ß"))
        );
    }

    #[test]
    fn what_was_filled_in_is_not_read_again_and_other_braces_are_braces() {
        assert_eq!(filled("{text}", Encoding::Plain), VALUES.text);
        assert_eq!(filled("{{}} { to } {To} {to", Encoding::Plain), "{{}} { to } {To} {to");
        assert_eq!(filled("{{to}}", Encoding::Plain), "{+4915112345678}");
    }

    #[test]
    fn an_unknown_placeholder_and_a_broken_body_are_refused() {
        let refused = |text, encoding| Template::parse(text, encoding).unwrap_err();
        assert_eq!(refused("a {txt}", Encoding::Plain), BadTemplate::Unknown("txt".into()));
        for broken in [
            r#"{"to": {to}}"#,
            r#"{"text": {text}}"#,
            r#"{"text": "{text}"#,
            r#"{"k": {secret}, "text": "{text}"}"#,
            r#"{"text": "\{text}"}"#,
            "",
        ] {
            assert_eq!(refused(broken, Encoding::Json), BadTemplate::NoJson, "{broken}");
        }
    }
}
