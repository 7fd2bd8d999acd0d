//! `pforte check`: reads everything, dials nothing; prints who may do what where, or every error with its place.

mod host;
mod schedules;

use std::path::Path;

use serde_json::json;

use crate::clock::Clock;
use crate::config::{Kind, Place, Problems, StateAt};
use crate::house::{self, Loaded};
use crate::init::{HOST_CA, USER_CA};
use crate::names::{Fingerprint, Firm, Username};
use crate::vault::{self, VaultError};
use host::Way;

/// Prints to standard output, errors to standard error; gives the exit code: 0, or 78.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the answer of a command")]
pub fn run(dir: &Path, user: Option<&Username>, as_json: bool) -> u8 {
    let now = Clock::system().now();
    match load(dir) {
        Ok(loaded) if as_json => {
            let mut json = json_of(&loaded, user);
            if let Some(json) = json.as_object_mut() {
                json.insert("state".into(), loaded.config.gateway.storage.state.to_string().into());
                json.insert("schedules".into(), schedules::json(&loaded.config, now).into());
                json.insert("warnings".into(), schedules::warnings(&loaded.config).into());
            }
            println!("{json}");
        }
        Ok(loaded) => {
            let state = state_of(&loaded.config.gateway.storage.state);
            print!("{}{}{state}", text_of(&loaded, user), schedules::text(&loaded.config, now));
        }
        Err(problems) if as_json => {
            println!("{}", problems_of(&problems));
            return 78;
        }
        Err(problems) => {
            eprintln!("{problems}");
            return 78;
        }
    }
    0
}

/// Everything that a start would read: the configuration, and the gateway's own keys.
fn load(dir: &Path) -> Result<Loaded, Problems> {
    let loaded = house::load(dir)?;
    let storage = &loaded.config.gateway.storage;
    let mut problems = Problems::default();
    let mut keys = vec![(&storage.host_key, "host key"), (&storage.journal_key, "journal key")];
    // A start makes an authority that is not there yet.
    let authorities = [(&storage.host_ca, HOST_CA), (&storage.user_ca, USER_CA)];
    keys.extend(authorities.into_iter().filter(|(file, _)| dir.join(file).symlink_metadata().is_ok()));
    for (file, what) in keys {
        if let Err(e) = house::private_key(&dir.join(file), what) {
            // The first of the chain is the file's name, which is the place.
            let why: Vec<String> = e.chain().skip(1).map(ToString::to_string).collect();
            problems.add(Place::file(file), format!("the {what}: {}", why.join(": ")));
        }
    }
    let file = &storage.vault_identity;
    let path = dir.join(file);
    if !path.exists() {
        let why = "the vault's key: there is none: run pforte init, or copy it there";
        problems.add(Place::file(file), why);
    } else if let Err(e) = vault::read_identities(&path) {
        let why = if let VaultError::BadIdentityFile(why) = e { why.into() } else { e.sentence(false) };
        problems.add(Place::file(file), format!("the vault's key: {why}"));
    }
    problems.check().map(|()| loaded)
}

/// What keeps the state, in words; whether it is there, a start tells.
fn state_of(state: &StateAt) -> String {
    let about = match state {
        StateAt::Sqlite(_) => "for gateways of this machine",
        StateAt::Postgres(at) if at.is_encrypted() => {
            "shared by all gateways that name it; over TLS, the server's name checked"
        }
        StateAt::Postgres(_) => "shared by all gateways that name it; on this machine",
    };
    format!("state  {state} ({about})\n")
}

fn wanted<'l>(loaded: &'l Loaded, user: Option<&'l Username>) -> Vec<&'l Username> {
    match user {
        Some(user) => vec![user],
        None => loaded.keys.people().map(|(user, _)| user).collect(),
    }
}

fn keys_of<'l>(loaded: &'l Loaded, user: &Username) -> Vec<(&'l Fingerprint, &'l str)> {
    loaded.keys.people().filter(|(name, _)| *name == user).flat_map(|(_, keys)| keys).collect()
}

fn text_of(loaded: &Loaded, user: Option<&Username>) -> String {
    let mut text = String::new();
    for user in wanted(loaded, user) {
        text.extend([user.as_str(), "\n"]);
        let keys = keys_of(loaded, user);
        for (fingerprint, comment) in &keys {
            text.extend(["  key  ", fingerprint.as_str(), " ", comment, "\n"]);
        }
        if keys.is_empty() {
            text.push_str("  no key in keys/: cannot log in\n");
        }
        text.extend(["  confirms by  ", &confirms(loaded, user), "\n"]);
        let reach = loaded.policy.reach(user);
        if reach.is_empty() {
            text.push_str("  may  nothing: no rule names this person\n");
        }
        for (family, site, terms) in reach {
            let consent = if terms.needs_consent { ", if the customer consents" } else { "" };
            let confirm = if terms.confirm { ", confirmed each time" } else { "" };
            let order =
                terms.order.map(|longest| format!(", in orders up to {} min", longest.as_secs() / 60));
            let (family_name, rule, order) = (family.as_str(), &terms.rule, order.unwrap_or_default());
            let line = format!("  may  {family_name} at {site} ({rule}{consent}{confirm}{order})\n");
            text.push_str(&line);
            if let Some(way) = Way::of(&loaded.config, family, &site).text() {
                text.extend(["       ", &way, "\n"]);
            }
        }
    }
    if text.is_empty() {
        text.push_str("Nobody can log in: keys/ holds no key yet.\n");
    }
    text
}

fn json_of(loaded: &Loaded, user: Option<&Username>) -> serde_json::Value {
    let people = wanted(loaded, user).into_iter().map(|user| {
        let may = loaded.policy.reach(user).into_iter().map(|(family, site, terms)| {
            json!({
                "command": family.as_str(), "site": site.as_str(), "rule": &*terms.rule,
                "needs_consent": terms.needs_consent, "confirm": terms.confirm,
                "order_minutes": terms.order.map(|longest| longest.as_secs() / 60),
                "host": Way::of(&loaded.config, family, &site).json(),
            })
        });
        let keys: Vec<&str> = keys_of(loaded, user).iter().map(|(key, _)| key.as_str()).collect();
        let of = loaded.config.factor_of(user);
        json!({
            "user": user.as_str(), "keys": keys, "may": may.collect::<Vec<_>>(),
            "second_factor": {
                "provider": of.first.1.as_str(), "second": of.second.map(|(_, kind)| kind.as_str()),
                "menu": of.menu, "as": of.person.and_then(|p| p.external.as_deref()),
                "phone": of.person.and_then(|p| p.phone.as_ref()).is_some(),
            },
        })
    });
    json!({ "ok": true, "users": people.collect::<Vec<_>>() })
}

/// `duo, or sms to …78; asked which`
fn confirms(loaded: &Loaded, user: &Username) -> String {
    let of = loaded.config.factor_of(user);
    let named = |(firm, kind): (Option<&Firm>, Kind)| {
        let whose = firm.map(|firm| format!(" of {firm}")).unwrap_or_default();
        let phone = of.person.and_then(|person| person.phone.as_ref());
        if kind != Kind::Sms {
            return format!("{kind}{whose}");
        }
        match phone {
            Some(phone) => format!("{kind}{whose} to {phone}"),
            None => format!("{kind}{whose}, but no phone is on file"),
        }
    };
    let mut text = named(of.first);
    if let Some(second) = of.second {
        text.extend([", or ", &named(second)]);
    }
    if let Some(name) = of.person.and_then(|person| person.external.as_deref()) {
        text.extend([", as ", name]);
    }
    if of.menu {
        text.push_str("; asked which");
    }
    text
}

fn problems_of(problems: &Problems) -> serde_json::Value {
    let list = problems.0.iter().map(|p| {
        json!({ "file": p.place.file, "line": p.place.line, "column": p.place.column, "message": p.message })
    });
    json!({ "ok": false, "problems": list.collect::<Vec<_>>() })
}

#[cfg(test)]
mod tests {
    use std::fs;
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::init::{Start, make_key};
    use crate::random::Random;

    fn example() -> tempfile::TempDir {
        let dir = tempfile::tempdir().unwrap();
        Start { konnektor_password: "Zauber".into(), ..Start::example(&Random::system()) }
            .write(dir.path())
            .unwrap();
        dir
    }

    fn problems(dir: &tempfile::TempDir) -> String {
        load(dir.path()).err().unwrap().to_string()
    }

    #[test]
    fn the_gateways_own_keys_are_read() {
        let dir = example();
        assert!(load(dir.path()).is_ok());
        assert_eq!(run(dir.path(), None, false), 0);
        for (file, what) in [
            ("state/host_ed25519", "host key"),
            ("state/journal_ed25519", "journal key"),
            ("state/vault.agekey", "vault's key"),
        ] {
            let path = dir.path().join(file);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o640)).unwrap();
            let found = problems(&dir);
            assert!(found.starts_with(&format!("{file}: the {what}: ")), "{found}");
            assert!(found.contains("others") && found.lines().count() == 1, "{found}");
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            let text = fs::read(&path).unwrap();
            fs::write(&path, "nothing").unwrap();
            assert!(problems(&dir).starts_with(&format!("{file}: the {what}: no")), "{}", problems(&dir));
            fs::remove_file(&path).unwrap();
            let none = format!("{file}: the {what}: there is none: run pforte init, or copy it there");
            assert_eq!(problems(&dir), none);
            assert_eq!(run(dir.path(), None, false), 78);
            fs::write(&path, text).unwrap();
            fs::set_permissions(&path, fs::Permissions::from_mode(0o600)).unwrap();
            assert!(load(dir.path()).is_ok());
        }
    }

    #[test]
    fn a_host_key_of_another_kind_is_refused() {
        let dir = example();
        let rsa = include_str!("../tests/door/rsa/2048");
        fs::write(dir.path().join("state/host_ed25519"), rsa).unwrap();
        assert_eq!(problems(&dir), "state/host_ed25519: the host key: must be ssh-ed25519");
    }

    #[test]
    fn an_authority_may_be_missing_but_not_be_read_by_others() {
        let dir = example();
        for (file, what) in [("state/host_ca", HOST_CA), ("state/user_ca", USER_CA)] {
            let path = dir.path().join(file);
            fs::set_permissions(&path, fs::Permissions::from_mode(0o644)).unwrap();
            let found = problems(&dir);
            assert!(found.starts_with(&format!("{file}: the {what}: can be read by others")), "{found}");
            fs::remove_file(&path).unwrap();
            assert!(load(dir.path()).is_ok(), "a start makes it");
        }
    }

    #[test]
    fn a_user_without_a_key_is_said_to_be_unable_to_log_in() {
        let dir = example();
        let key = make_key(&dir.path().join("jane"), "jane").unwrap();
        let line = key.public_key().to_openssh().unwrap();
        crate::init::write_new(&dir.path().join("keys/firm-jane.doe.pub"), line.as_bytes(), 0o644).unwrap();
        let loaded = load(dir.path()).unwrap();
        let text = |user: &str| text_of(&loaded, Some(&user.parse().unwrap()));
        assert!(text("firm-no.body").starts_with("firm-no.body\n  no key in keys/: cannot log in\n"));
        assert!(text("firm-jane.doe").starts_with("firm-jane.doe\n  key  SHA256:"));
        assert!(json_of(&loaded, Some(&"firm-no.body".parse().unwrap()))["users"][0]["keys"] == json!([]));
    }
}
