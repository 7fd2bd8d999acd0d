//! Before and after a box does something: does the data fit, would it lock everybody out, is the box back?
//! Absent on purpose: asking the box to do it; that is the driver's. And who may: that is the policy's.

use std::time::Duration;

use jsonschema::Validator;
use tokio::time::{Instant, sleep, timeout};

use crate::konnektor::profile::{Action, Administrators};
use crate::konnektor::{Error, Json, Konnektor, Part, Parts, Profile};
use crate::names::{ActionName, ServiceName};

/// How long a box that reboots is waited for: more than the 600 s that a known tool allows secunet's are not needed.
pub const REBOOT: Duration = Duration::from_mins(10);

/// So long a box may go on answering after it was told to reboot; one that never went away counts as back then.
const LINGERS: Duration = Duration::from_secs(20);

/// A single look at `connector.sds`.
const LOOK: Duration = Duration::from_secs(15);

/// Whether `action` may be sent with `data`. `spelled`: a rule names this very action, so that it need not be in the
/// profile; it takes any object then. An action without a schema takes no data.
///
/// # Errors
/// [`Error::UnknownAction`]; [`Error::BadData`] with the place and the reason, never a value.
pub fn check(
    profile: &Profile,
    action: &ActionName,
    data: Option<&Json>,
    spelled: bool,
) -> Result<(), Error> {
    let bad = |what: String| Error::BadData { action: action.clone(), what };
    let Some(known) = profile.action(action) else {
        return match data.map(|data| data.part().parts()) {
            _ if !spelled => Err(Error::UnknownAction { action: action.clone() }),
            None | Some(Parts::Object(_)) => Ok(()),
            Some(Parts::Array(_) | Parts::Text(_) | Parts::Other(_)) => {
                Err(bad("expected a JSON object".into()))
            }
        };
    };
    let Some(validator) = compiled(known).map_err(|what| Error::BadProfile { what })? else {
        return if data.is_some() { Err(bad("it takes none".into())) } else { Ok(()) };
    };
    let Some(data) = data else { return Err(bad("it needs some".into())) };
    let value = data.value();
    let Some(error) = validator.iter_errors(&value).next() else { return Ok(()) };
    let place = error.instance_path().to_string();
    Err(bad(format!("{}: {}", if place.is_empty() { "/" } else { &place }, error.masked())))
}

/// A profile's action, as it is read: its schema is one.
pub(crate) fn checked(action: &Action) -> Result<(), String> {
    compiled(action).map(|_| ())
}

fn compiled(action: &Action) -> Result<Option<Validator>, String> {
    let compile = |schema| {
        jsonschema::draft202012::new(schema)
            .map_err(|error| format!("action {}: schema: {error}", action.name))
    };
    action.schema.as_ref().map(compile).transpose()
}

/// Whether the action could take away the last user who may administer the box: one that the profile does not list, or
/// whose name says that it removes, and any text in whose data is that user's name. Where users stand is asked of the
/// box; a profile without `[administrators]` cannot say.
///
/// # Errors
/// Those of [`Konnektor::read`].
pub async fn would_remove_last_administrator(
    driver: &dyn Konnektor,
    action: &ActionName,
    data: Option<&Json>,
) -> Result<bool, Error> {
    const REMOVES: [&str; 4] = ["delete", "remove", "loesch", "deactivate"];
    let profile = driver.profile();
    let Some(data) = data else { return Ok(false) };
    let removes = REMOVES.iter().any(|word| action.as_str().contains(word));
    let Some(administrators) = &profile.administrators else { return Ok(false) };
    if profile.action(action).is_some() && !removes {
        return Ok(false);
    }
    let reading = driver.read(std::slice::from_ref(&administrators.service), &()).await?;
    let Some(users) = reading.services.first() else { return Ok(false) };
    Ok(match names(&users.value, administrators).as_slice() {
        [last] => says(data.part(), &last.to_lowercase()),
        _ => false,
    })
}

/// The names of the users with an administrator's role.
fn names(users: &Json, known: &Administrators) -> Vec<String> {
    let list = users.at(&known.list).map(Part::items).unwrap_or_default();
    let is_role =
        |part: Part<'_>| part.word().is_some_and(|word| known.roles.iter().any(|role| *role == word));
    let has_role = |user: &Part<'_>| {
        user.member(&known.role).is_some_and(|role| is_role(role) || role.items().into_iter().any(is_role))
    };
    let all = list.into_iter().filter(has_role);
    all.filter_map(|user| Some(user.member(&known.name)?.word()?.into_owned())).collect()
}

/// Whether a text anywhere in it is this one, in whatever case.
fn says(part: Part<'_>, lower: &str) -> bool {
    match part.parts() {
        Parts::Object(members) => members.into_iter().any(|(_, part)| says(part, lower)),
        Parts::Array(items) => items.into_iter().any(|part| says(part, lower)),
        Parts::Text(text) => text.to_lowercase() == lower,
        Parts::Other(_) => false,
    }
}

/// How far a box is on its way back.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Return {
    /// It does not answer any more.
    Away,
    /// Its directory answers again.
    Answers,
    /// A login worked.
    LoggedIn,
}

/// Waits for a box that was told to reboot: until its directory was away, or 20 s passed, and answers again, and a login
/// works. Tells each [`Return`] once. Gives how long it took.
///
/// # Errors
/// [`Error::TimedOut`] after `wait`; at once what waiting does not cure: another certificate, a refused password (which is
/// not tried again).
pub async fn back_after_reboot(
    driver: &dyn Konnektor,
    wait: Duration,
    told: &(dyn Fn(Return) + Send + Sync),
) -> Result<Duration, Error> {
    let begun = Instant::now();
    let back = async {
        // The session ends with the box; who kept it would log in twice.
        driver.logout().await;
        let mut was_away = false;
        loop {
            match timeout(LOOK, driver.identify()).await.unwrap_or(Err(Error::TimedOut)) {
                Ok(_) if was_away || begun.elapsed() >= LINGERS => break,
                Err(error) if is_lasting(&error) => return Err(error),
                Err(_) if !was_away => {
                    was_away = true;
                    told(Return::Away);
                }
                Ok(_) | Err(_) => {}
            }
            pause(begun).await;
        }
        told(Return::Answers);
        let probe = probe(driver.profile())?;
        loop {
            match driver.read(std::slice::from_ref(&probe), &()).await {
                // The account may not read it, or this firmware has it not: the login worked.
                Ok(_) | Err(Error::NotAllowed { .. }) => break,
                Err(error) if is_lasting(&error) => return Err(error),
                Err(_) => pause(begun).await,
            }
        }
        told(Return::LoggedIn);
        Ok(begun.elapsed())
    };
    timeout(wait, back).await.unwrap_or(Err(Error::TimedOut))
}

/// Often at first, to see it go; then every two seconds.
async fn pause(begun: Instant) {
    let early = begun.elapsed() < LINGERS;
    sleep(if early { Duration::from_millis(250) } else { Duration::from_secs(2) }).await;
}

/// What time alone does not change. TLS and the client may fail while a box starts.
fn is_lasting(error: &Error) -> bool {
    error.ends_all() && *error != Error::TlsFailed
}

/// A small service that the profile has a path for: one of the status, else the first.
fn probe(profile: &Profile) -> Result<ServiceName, Error> {
    let status = profile.status.iter().map(|line| &line.service);
    let mut all = status.chain(profile.services().iter().map(|service| &service.name));
    let known = all.find(|name| profile.read_path(name).is_ok());
    known.cloned().ok_or_else(|| Error::NotInProfile { key: "read.path".into() })
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use super::*;

    fn judged(profile: &Profile, action: &str, data: Option<Value>, spelled: bool) -> Result<(), String> {
        let data = data.map(|value| Json::of(&value));
        check(profile, &action.parse().unwrap(), data.as_ref(), spelled)
            .map_err(|error| if let Error::BadData { what, .. } = error { what } else { error.to_string() })
    }

    #[test]
    fn data_fits_its_schema_or_is_refused_with_the_place_and_without_the_value() {
        let profile = Profile::secunet().unwrap();
        let of = |action, data| judged(&profile, action, Some(data), false);
        assert_eq!(of("delete-ct", json!({"id": "4f0c-11"})), Ok(()));
        assert_eq!(
            of("schedule-update", json!({"updateId": "u1", "schedule": 1, "nachTerminals": null})),
            Ok(())
        );
        for (data, place) in [
            (json!({"id": "Geheim/Wort"}), "/id: "),
            (json!({"id": {"Geheim": "Wort"}}), "/id: "),
            (json!({}), "/: "),
            (json!(["Geheim"]), "/: "),
            (json!("Geheim"), "/: "),
        ] {
            let what = of("delete-ct", data).unwrap_err();
            assert!(what.starts_with(place) && what.len() > place.len(), "{what}");
            assert!(!what.contains("Geheim") && !what.contains("Wort"), "{what}");
        }
        assert!(judged(&profile, "delete-ct", None, true).is_err(), "its path cannot be filled");
    }

    #[test]
    fn an_action_without_schema_takes_no_data() {
        let profile = Profile::secunet().unwrap();
        assert_eq!(judged(&profile, "reboot", None, false), Ok(()));
        assert!(judged(&profile, "reboot", Some(json!({})), true).is_err());
    }

    #[test]
    fn an_action_that_is_not_in_the_profile_has_to_be_spelled_out() {
        let profile = Profile::kocobox().unwrap();
        assert_eq!(judged(&profile, "werksreset", Some(json!({"a": 1})), true), Ok(()));
        assert_eq!(judged(&profile, "werksreset", None, true), Ok(()));
        assert!(judged(&profile, "werksreset", Some(json!([1])), true).is_err());
        for data in [None, Some(json!({}))] {
            let error = judged(&profile, "werksreset", data, false).unwrap_err();
            assert_eq!(error, "konnektor=unknown-action action=werksreset");
        }
    }

    #[test]
    fn the_only_administrator_is_found_whatever_stands_beside() {
        let known = Profile::kocobox().unwrap().administrators.unwrap();
        let users = |roles: [&str; 3]| {
            let list: Vec<Value> = ["root", "anna", "bert"]
                .into_iter()
                .zip(roles)
                .map(|(name, role)| json!({"USERNAME": name, "ROLE": role}))
                .collect();
            names(&Json::of(&json!({ "MGM_USER_LIST": list })), &known)
        };
        assert_eq!(users(["SUPER_ADMIN", "USER", "USER"]), ["root"]);
        assert_eq!(users(["SUPER_ADMIN", "LOCAL_ADMIN", "USER"]), ["root", "anna"]);
        let data = Json::of(&json!({"who": [{"USER": "Root"}]}));
        assert!(says(data.part(), "root") && !says(data.part(), "who"));
    }
}
