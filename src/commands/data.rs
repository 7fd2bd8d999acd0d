//! `-d JSON` in a line: found as one word, and its secrets kept out of what is written down.
//! Absent on purpose: what the data means; the profile's schema says that.

use crate::asks::Data;

/// Members whose values are never written down, compared without case, `_` and `-`.
const SECRET: [&str; 17] = [
    "password",
    "passwort",
    "kennwort",
    "passwd",
    "pass",
    "secret",
    "pin",
    "puk",
    "token",
    "pkcs12",
    "keystore",
    "privatekey",
    "credential",
    "geheimnis",
    "passphrase",
    "pwd",
    "pw",
];
/// And members whose names end so, such as `newPin`.
const SECRET_END: [&str; 4] = ["pin", "puk", "pwd", "pass"];

/// A line's words, the JSON behind `-d` as one of them; it may stand in single quotes, as a shell would want it.
pub(super) fn words(line: &str) -> (Vec<&str>, Option<Data>) {
    let split = |text| str::split_ascii_whitespace(text).collect::<Vec<_>>();
    let Some((before, behind)) = line.split_once(" -d ") else { return (split(line), None) };
    let behind = behind.trim_start();
    let (quoted, from) = behind.strip_prefix('\'').map_or((false, behind), |rest| (true, rest));
    let mut values = serde_json::Deserializer::from_str(from).into_iter::<&serde_json::value::RawValue>();
    let Some(Ok(value)) = values.next() else { return (split(line), None) };
    let end = values.byte_offset();
    let rest = from.get(end..).unwrap_or_default();
    let rest = if quoted { rest.strip_prefix('\'') } else { Some(rest) };
    // What hangs on to the value without a space is no JSON any more.
    let Some(rest) = rest.filter(|rest| rest.is_empty() || rest.starts_with(' ')) else {
        return (split(line), None);
    };
    let mut words = split(before);
    words.extend(["-d", from.get(..end).unwrap_or_default().trim()]);
    words.extend(split(rest));
    (words, Some(Data(value.get().to_owned())))
}

/// The line with the values of secret members as `"***"`, whether it parses or not. `None`: there are none.
pub fn masked(line: &[u8]) -> Option<Vec<u8>> {
    let members = of_members(line);
    let bare = of_bare_words(members.as_deref().unwrap_or(line));
    bare.or(members)
}

/// Shells take quotes away, and people forget them: behind a secret's name and a colon or `=` nothing stays, up to the
/// line's end, for where such a value ends nobody knows.
fn of_bare_words(line: &[u8]) -> Option<Vec<u8>> {
    let is_word = |b: &u8| b.is_ascii_alphanumeric() || b"_-".contains(b) || !b.is_ascii();
    let is_between = |b: &&u8| b"\\\"'".contains(b) || b.is_ascii_whitespace();
    let skipped =
        |from: usize| from + line.get(from..).unwrap_or_default().iter().take_while(is_between).count();
    let mut at = 0;
    while let Some(begins) = line.get(at..)?.iter().position(is_word).map(|n| at + n) {
        let ends = begins + line.get(begins..)?.iter().take_while(|b| is_word(b)).count();
        at = ends;
        let colon = skipped(ends);
        if !line.get(colon).is_some_and(|b| b":=".contains(b)) || !says_secret(line.get(begins..ends)?) {
            continue;
        }
        let value = line.get(skipped(colon + 1)..)?;
        if value.is_empty() || value.starts_with(b"***") {
            continue;
        }
        let kept = line.get(..=colon)?;
        return Some([kept, b"\"***\""].concat());
    }
    None
}

fn of_members(line: &[u8]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(line.len());
    let (mut rest, mut any) = (line, false);
    while let Some(at) = memchr::memchr(b'"', rest) {
        let (before, quoted) = rest.split_at(at);
        out.extend_from_slice(before);
        let name = string(quoted);
        let behind = quoted.get(name.len()..).unwrap_or_default();
        out.extend_from_slice(name);
        rest = behind;
        let space = behind.iter().take_while(|b| b.is_ascii_whitespace()).count();
        if !is_secret(name) || behind.get(space) != Some(&b':') {
            continue;
        }
        let value = behind.get(space + 1..).unwrap_or_default();
        let space = value.iter().take_while(|b| b.is_ascii_whitespace()).count();
        let value = value.get(space..).unwrap_or_default();
        let length = match value.first() {
            Some(b'"') => string(value).len(),
            // A number, or a whole object or list: to the line's end, lest a part of it stays.
            Some(b'[' | b'{') => value.len(),
            _ => value.iter().take_while(|b| !b",}] '".contains(b)).count(),
        };
        out.extend_from_slice(b":\"***\"");
        rest = value.get(length..).unwrap_or_default();
        any = true;
    }
    out.extend_from_slice(rest);
    any.then_some(out)
}

/// The JSON string at the beginning, with its quotes; to the end where it has none.
fn string(from: &[u8]) -> &[u8] {
    let mut escaped = false;
    for (at, byte) in from.iter().enumerate().skip(1) {
        match byte {
            _ if escaped => escaped = false,
            b'\\' => escaped = true,
            b'"' => return from.get(..=at).unwrap_or(from),
            _ => {}
        }
    }
    from
}

fn is_secret(name: &[u8]) -> bool {
    says_secret(serde_json::from_slice::<String>(name).unwrap_or_default().as_bytes())
}

fn says_secret(name: &[u8]) -> bool {
    let text = String::from_utf8_lossy(name);
    let folded: String = text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect();
    SECRET.iter().any(|secret| folded == *secret || (secret.len() > 4 && folded.contains(secret)))
        || SECRET_END.iter().any(|end| folded.ends_with(end))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn data(line: &str) -> Option<String> {
        words(line).1.map(|data| data.0)
    }

    #[test]
    fn json_is_one_word_with_its_spaces_quoted_or_not() {
        for line in [
            r#"konnektor perform -a x -d {"a": "b  c", "d": [1, 2]} -i praxis"#,
            r#"konnektor perform -a x -d '{"a": "b  c", "d": [1, 2]}' -i praxis"#,
        ] {
            let (words, data) = words(line);
            assert_eq!(data.unwrap().0, r#"{"a": "b  c", "d": [1, 2]}"#);
            assert_eq!(words.len(), 8, "{words:?}");
            assert_eq!(words[6..], ["-i", "praxis"]);
        }
        for line in ["x -d {", "x -d", "x -d {}y", "x -d '{}", "x -d '{}'y", "x --data {}"] {
            assert_eq!(data(line), None, "{line}");
        }
    }

    #[test]
    fn secrets_are_masked_whether_the_line_parses_or_not() {
        let of = |line: &str| masked(line.as_bytes()).map(|line| String::from_utf8(line).unwrap());
        for (line, shown) in [
            (r#"-d {"PASS_WORD": "a\"b", "x": 1}"#, r#"-d {"PASS_WORD":"***", "x": 1}"#),
            (r#"-d {"newPasswort":"a" "#, r#"-d {"newPasswort":"***" "#),
            (r#"-d {"pin":1234}"#, r#"-d {"pin":"***"}"#),
            (r#"-d {"admin-password" : "unfinished"#, r#"-d {"admin-password":"***""#),
            (r#"-d {"secret":{"a":["x"]}}"#, r#"-d {"secret":"***""#),
            (r#"-d {"a":{"token":"x"},"b":"y"}"#, r#"-d {"a":{"token":"***"},"b":"y"}"#),
        ] {
            assert_eq!(of(line).as_deref(), Some(shown), "{line}");
        }
        // What is left of it when a shell took the quotes away, or where they are none of JSON's.
        for (line, shown) in [
            (r"-d {user:anna,password:Geheim 4711}", r#"-d {user:anna,password:"***""#),
            (r"-d {'newPin':'123456'}", r#"-d {'newPin':"***""#),
            (r#"-d {\"password\":\"Geheim\"}"#, r#"-d {\"password\":"***""#),
            (r"-d password=Geheim", r#"-d password="***""#),
            (r#"-d {"passphrase":"Geheim"}"#, r#"-d {"passphrase":"***"}"#),
            (r#"-d {"userPin":"123456","pw":"Geheim"}"#, r#"-d {"userPin":"***","pw":"***"}"#),
        ] {
            assert_eq!(of(line).as_deref(), Some(shown), "{line}");
        }
        for line in [r#"-d {"CTID":"CT_ID_0001"}"#, "konnektor backup", r#""password" backup"#, "\""] {
            assert_eq!(of(line), None, "{line}");
        }
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_are_looked_at_without_harm(line in proptest::collection::vec(proptest::num::u8::ANY, 0..80)) {
            masked(&line);
            words(&String::from_utf8_lossy(&line));
        }
    }
}
