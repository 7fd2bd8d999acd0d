//! Where and how a profile has a service read, written, or an action asked for.
//! Absent on purpose: sending it; and any path that the profile does not hold.

use std::fmt::Write as _;

use bytes::Bytes;
use reqwest::Method;

use super::{Action, Profile};
use crate::konnektor::{Error, Json, Part};
use crate::names::{ActionName, ServiceName};

/// The most characters of a value that becomes part of a path.
const SEGMENT: usize = 128;

/// An action as it is sent.
#[derive(Debug)]
pub(crate) struct Performed {
    pub(crate) method: Method,
    pub(crate) path: String,
    /// Empty where nothing is sent.
    pub(crate) body: Bytes,
}

impl Profile {
    /// The path a service is read at.
    ///
    /// # Errors
    /// [`Error::UnknownService`], [`Error::NotInProfile`].
    pub(crate) fn read_path(&self, name: &ServiceName) -> Result<String, Error> {
        let service = self.service(name).ok_or_else(|| Error::UnknownService { service: name.clone() })?;
        let path = match &service.read {
            Some(path) => path.clone(),
            None => self.read.path.replace("{service}", name.as_str()),
        };
        if path.is_empty() {
            Err(Error::NotInProfile { key: format!("service.{name}.read") })
        } else {
            Ok(path)
        }
    }

    /// Verb and path by which a service is written.
    ///
    /// # Errors
    /// [`Error::UnknownService`], [`Error::ReadOnly`], [`Error::NotInProfile`].
    pub(crate) fn write_way(&self, name: &ServiceName) -> Result<(Method, String), Error> {
        let service = self.service(name).ok_or_else(|| Error::UnknownService { service: name.clone() })?;
        if !service.restore || self.holds_users(name) {
            return Err(Error::ReadOnly { service: name.clone() });
        }
        let template = service.write.as_ref().unwrap_or(&self.write.path);
        if template.is_empty() {
            // A make without a path for all services has one for each.
            let key = match (&service.write, &service.read) {
                (None, None) => "write.path".into(),
                _ => format!("service.{name}.write"),
            };
            return Err(Error::NotInProfile { key });
        }
        let verb = service.verb.as_ref().unwrap_or(&self.write.verb);
        Ok((method(verb)?, template.replace("{service}", name.as_str())))
    }

    /// Verb, path and body by which an action is asked for. `{member}` in its own path is taken out of `data`.
    ///
    /// # Errors
    /// [`Error::NotInProfile`], and [`Error::BadData`] where a member that belongs into the path is no plain word.
    pub(crate) fn perform_way(&self, name: &ActionName, data: Option<&Json>) -> Result<Performed, Error> {
        let action = self.action(name);
        let own = action.and_then(|action| action.path.as_ref());
        if own.unwrap_or(&self.perform.path).is_empty() {
            let key =
                if action.is_some() { format!("perform.action.{name}.path") } else { "perform.path".into() };
            return Err(Error::NotInProfile { key });
        }
        let method = method(action.and_then(|action| action.verb.as_deref()).unwrap_or("POST"))?;
        let (path, taken) = match own {
            Some(own) => filled(own, name, data)?,
            None => (self.perform.path.replace("{action}", name.as_str()), Vec::new()),
        };
        let body = match data {
            Some(data) if taken.is_empty() => data.bytes(),
            Some(data) => rest(data.part(), &taken),
            None => Bytes::new(),
        };
        let instead = action.and_then(|action| action.body.as_ref()).filter(|_| body.is_empty());
        let body = instead.map_or(body, |text| Bytes::from(text.clone()));
        Ok(Performed { method, path, body })
    }
}

/// The path with its holes filled, and which members went into it.
fn filled<'p>(
    template: &'p str,
    action: &ActionName,
    data: Option<&Json>,
) -> Result<(String, Vec<&'p str>), Error> {
    let mut path = String::new();
    let mut taken = Vec::new();
    let mut left = template;
    while let Some((before, (name, after))) =
        left.split_once('{').and_then(|(before, rest)| Some((before, rest.split_once('}')?)))
    {
        path.push_str(before);
        let word = data.and_then(|data| data.part().member(name)).and_then(Part::word);
        match word {
            Some(word) if is_segment(&word) => {
                for byte in word.bytes() {
                    if byte.is_ascii_alphanumeric() || b"-._~".contains(&byte) {
                        path.push(char::from(byte));
                    } else {
                        // Writing to a String does not fail.
                        write!(path, "%{byte:02X}").ok();
                    }
                }
            }
            _ => {
                let what = format!("/{name}: expected 1 to {SEGMENT} letters, digits, or one of _:.-");
                return Err(Error::BadData { action: action.clone(), what });
            }
        }
        taken.push(name);
        left = after;
    }
    path.push_str(left);
    Ok((path, taken))
}

fn is_segment(word: &str) -> bool {
    let plain = |b: u8| b.is_ascii_alphanumeric() || b"_:.-".contains(&b);
    !word.is_empty() && word.len() <= SEGMENT && word.bytes().all(plain) && word.bytes().any(|b| b != b'.')
}

/// The members that are not in the path, as JSON; nothing where there are none.
fn rest(data: Part<'_>, taken: &[&str]) -> Bytes {
    let members = data.members().into_iter().filter(|(key, _)| !taken.contains(&key.as_ref()));
    let members: Vec<String> =
        members.map(|(key, part)| format!("{}:{}", serde_json::Value::from(key), part.text())).collect();
    if members.is_empty() { Bytes::new() } else { format!("{{{}}}", members.join(",")).into() }
}

/// The members that an action's own path wants.
pub(super) fn holes(action: &Action) -> Vec<&str> {
    let path = action.path.as_deref().unwrap_or_default();
    path.split('{').skip(1).filter_map(|rest| rest.split_once('}')).map(|(name, _)| name).collect()
}

pub(super) fn method(verb: &str) -> Result<Method, Error> {
    match verb {
        "POST" => Ok(Method::POST),
        "PUT" => Ok(Method::PUT),
        "DELETE" => Ok(Method::DELETE),
        _ => Err(Error::BadProfile { what: "verb: expected POST, PUT or DELETE".into() }),
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[expect(clippy::needless_pass_by_value, reason = "called with json!")]
    fn sent(action: &str, data: serde_json::Value) -> Result<(String, String), Error> {
        let profile = Profile::secunet().unwrap();
        let way = profile.perform_way(&action.parse().unwrap(), Some(&Json::of(&data)))?;
        Ok((format!("{} {}", way.method, way.path), String::from_utf8(way.body.to_vec()).unwrap()))
    }

    #[test]
    fn a_member_goes_into_the_path_encoded_and_the_others_into_the_body() {
        let (line, body) = sent("delete-ct", json!({"id": "a:b.c", "more": [1, "ü\""]})).unwrap();
        assert_eq!(line, "DELETE /rest/mgmt/ak/dienste/kartenterminals/a%3Ab.c");
        assert_eq!(body, "{\"more\":[1,\"ü\\\"\"]}");
        let (line, body) = sent("connect-ct", json!({"id": "7"})).unwrap();
        assert_eq!(
            (line.as_str(), body.as_str()),
            ("PUT /rest/mgmt/ak/dienste/kartenterminals/7/verbinden", "")
        );
    }

    #[test]
    fn what_would_be_more_than_one_segment_is_refused_without_its_value() {
        for id in ["", ".", "..", "a/b", "../x", "a?b", "a#b", "a%2fb", "ü", "a b", &"x".repeat(129)] {
            let error = sent("delete-ct", json!({ "id": id })).unwrap_err();
            let Error::BadData { what, .. } = error else { panic!("{error}") };
            assert!(what.starts_with("/id: "), "{what}");
            assert!(id.len() < 3 || !what.contains(id), "{what}");
        }
        for data in [json!({}), json!({"id": {}}), json!([]), json!({"ID": "a"})] {
            assert!(matches!(sent("delete-ct", data), Err(Error::BadData { .. })));
        }
    }
}
