//! `pforte check`: reads everything, dials nothing; prints who may do what where, or every error with its place.

use std::path::Path;

use serde_json::json;

use crate::config::Problems;
use crate::house::{self, Loaded};
use crate::names::Username;

/// Prints to standard output, errors to standard error; gives the exit code: 0, or 78.
#[expect(clippy::print_stdout, clippy::print_stderr, reason = "the answer of a command")]
pub fn run(dir: &Path, user: Option<&Username>, as_json: bool) -> u8 {
    match house::load(dir) {
        Ok(loaded) if as_json => println!("{}", json_of(&loaded, user)),
        Ok(loaded) => print!("{}", text_of(&loaded, user)),
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

fn wanted<'l>(loaded: &'l Loaded, user: Option<&'l Username>) -> Vec<&'l Username> {
    match user {
        Some(user) => vec![user],
        None => loaded.keys.people().map(|(user, _)| user).collect(),
    }
}

fn text_of(loaded: &Loaded, user: Option<&Username>) -> String {
    let mut text = String::new();
    for user in wanted(loaded, user) {
        text.extend([user.as_str(), "\n"]);
        for (name, keys) in loaded.keys.people() {
            if name == user {
                for (fingerprint, comment) in keys {
                    text.extend(["  key  ", fingerprint.as_str(), " ", comment, "\n"]);
                }
            }
        }
        let reach = loaded.policy.reach(user);
        if reach.is_empty() {
            text.push_str("  may  nothing: no rule names this person\n");
        }
        for (family, site, terms) in reach {
            let consent = if terms.needs_consent { ", if the customer consents" } else { "" };
            let confirm = if terms.confirm { ", confirmed each time" } else { "" };
            let line = format!("  may  {} at {site} ({}{consent}{confirm})\n", family.as_str(), terms.rule);
            text.push_str(&line);
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
            })
        });
        json!({ "user": user.as_str(), "may": may.collect::<Vec<_>>() })
    });
    json!({ "ok": true, "users": people.collect::<Vec<_>>() })
}

fn problems_of(problems: &Problems) -> serde_json::Value {
    let list = problems.0.iter().map(|p| {
        json!({ "file": p.place.file, "line": p.place.line, "column": p.place.column, "message": p.message })
    });
    json!({ "ok": false, "problems": list.collect::<Vec<_>>() })
}
