use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use super::*;
use crate::asks::{Command, Into, Verb};
use crate::config::{Config, Folder, Problems};
use crate::grants::Missing;
use crate::identity::{Connection, Ended};
use crate::init;
use crate::names::{KonnektorId, SessionId};

const NOON: &str = "2026-11-20T12:00:00Z";

fn policy(rules: &str) -> Result<Policy, Vec<String>> {
    let dir = tempfile::tempdir().unwrap();
    let write = |path: &str, text: &str, mode: u32| {
        let path = dir.path().join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(mode)).unwrap();
    };
    write("policy/gateway.toml", init::GATEWAY, 0o644);
    write("policy/rules.toml", rules, 0o644);
    for site in ["praxis-mueller", "praxis-schmidt"] {
        let text = init::SITE.replace("praxis-mueller", site);
        write(&format!("policy/sites/{site}.toml"), &text, 0o644);
        write(&format!("secrets/{site}"), "x", 0o600);
    }
    write("secrets/webhook", "0123456789abcdef", 0o600);
    let mut problems = Problems::default();
    let folder = Folder::new(dir.path());
    let config = Config::load(&folder, &mut problems).expect("the example loads");
    let policy = parse::load(&folder, &config, &mut problems);
    if problems.0.is_empty() { Ok(policy) } else { Err(problems.0.iter().map(ToString::to_string).collect()) }
}

fn who(user: &str, from: &str) -> Who {
    let user: Username = user.parse().unwrap();
    let connection = Connection {
        session: SessionId::new(1, 2),
        from: format!("{from}:50122").parse().unwrap(),
        ended: Ended::default(),
    };
    let key = format!("SHA256:{}", "A".repeat(43)).parse().unwrap();
    crate::identity::second_factor::for_tests(user, key, connection)
}

fn backup(site: &str) -> Command {
    let konnektor = KonnektorId { site: site.parse().unwrap(), konnektor: "main".parse().unwrap() };
    let verb = Verb::KonnektorBackup { konnektor, into: Into::Store, services: vec![] };
    Command { verb, as_asked: b"konnektor backup".as_slice().into() }
}

fn whoami() -> Command {
    Command { verb: Verb::Whoami, as_asked: b"whoami".as_slice().into() }
}

fn ask(policy: &Policy, ask: Command, who: &Who, now: &str) -> Result<String, Denied> {
    let decided = decide(policy, ask, who, &Snapshot::default(), now.parse().unwrap(), None);
    decided.map(|permit| permit.rule().to_owned()).map_err(|(_, denied)| denied)
}

fn rule(name: &str) -> std::sync::Arc<str> {
    name.into()
}

#[test]
fn an_empty_policy_denies_everything() {
    let policy = policy("").unwrap();
    let jane = who("firm-jane.doe", "203.0.113.7");
    assert_eq!(ask(&policy, backup("praxis-mueller"), &jane, NOON), Err(Denied::NoRule));
    assert_eq!(ask(&policy, whoami(), &jane, NOON), Err(Denied::NoRule));
}

#[test]
fn the_example_lets_the_firm_back_up_and_nobody_else() {
    let policy = policy(init::RULES).unwrap();
    assert_eq!(
        ask(&policy, backup("praxis-mueller"), &who("firm-jane.doe", "203.0.113.7"), NOON).unwrap(),
        "rules.toml:3"
    );
    assert_eq!(ask(&policy, whoami(), &who("firm-jane.doe", "203.0.113.7"), NOON).unwrap(), "rules.toml:3");
    for other in ["firma-jane.doe", "fir-jane.doe", "other-jane.doe"] {
        assert_eq!(
            ask(&policy, backup("praxis-mueller"), &who(other, "203.0.113.7"), NOON),
            Err(Denied::NoRule),
            "{other}"
        );
    }
}

#[test]
fn an_unknown_site_and_a_forbidden_one_look_the_same() {
    let policy = policy(init::RULES).unwrap();
    let jane = who("firm-jane.doe", "203.0.113.7");
    let forbidden = ask(&policy, backup("praxis-schmidt"), &jane, NOON);
    assert_eq!(forbidden, Err(Denied::NoRule));
    assert_eq!(ask(&policy, backup("no-such-site"), &jane, NOON), forbidden);
    let everywhere =
        super::tests::policy("[[rule]]\nwho = [\"firm-*\"]\nmay = [\"*\"]\non = [\"*\"]\n").unwrap();
    assert_eq!(ask(&everywhere, backup("no-such-site"), &jane, NOON), Err(Denied::NoRule));
    assert!(ask(&everywhere, backup("praxis-schmidt"), &jane, NOON).is_ok());
}

#[test]
fn the_first_rule_that_is_in_force_decides() {
    let rules = r#"
[[rule]]
who = ["firm-jane.doe"]
may = ["konnektor backup"]
on = ["praxis-mueller"]
until = 2026-01-01

[[rule]]
who = ["@admins"]
may = ["konnektor backup"]
on = ["*"]
needs = "consent"

[[rule]]
who = ["firm-*"]
may = ["*"]
on = ["*"]
"#;
    let policy = policy(rules).unwrap();
    let jane = who("firm-jane.doe", "203.0.113.7");
    let consent = Denied::NoConsent { rule: rule("rules.toml:8"), missing: Missing::Link };
    assert_eq!(
        ask(&policy, backup("praxis-mueller"), &jane, NOON),
        Err(consent),
        "an ended rule is passed over"
    );
    let grants = Snapshot::of([(
        "praxis-mueller".parse().unwrap(),
        "firm".parse().unwrap(),
        "2026-11-20T13:00:00Z".parse().unwrap(),
    )]);
    let at = |now: &str| {
        let decided = decide(&policy, backup("praxis-mueller"), &jane, &grants, now.parse().unwrap(), None);
        decided.map(|permit| permit.rule().to_owned()).map_err(|(_, denied)| denied)
    };
    assert_eq!(at(NOON), Ok("rules.toml:8".into()));
    assert!(at("2026-11-20T13:00:00Z").is_err(), "consent ends with its time");
    let john = who("firm-john.roe", "203.0.113.7");
    assert_eq!(ask(&policy, backup("praxis-mueller"), &john, NOON).unwrap(), "rules.toml:14");
}

#[test]
fn until_from_and_hours_each_close_their_rule_and_say_which() {
    let with = |line: &str| {
        policy(&format!("[[rule]]\nwho = [\"firm-*\"]\nmay = [\"*\"]\non = [\"*\"]\n{line}\n")).unwrap()
    };
    let near = with("from = \"203.0.113.0/24\"");
    let (inside, outside) = (who("firm-jane.doe", "203.0.113.7"), who("firm-jane.doe", "198.51.100.7"));
    assert!(ask(&near, backup("praxis-mueller"), &inside, NOON).is_ok());
    let denied = Denied::NotNow { rule: rule("rules.toml:1"), condition: Condition::From };
    assert_eq!(ask(&near, backup("praxis-mueller"), &outside, NOON), Err(denied));
    assert!(ask(&near, whoami(), &outside, NOON).is_ok(), "one may ask why");

    let office = with("hours = \"Mon-Fri 07:00-19:00 UTC\"");
    assert!(ask(&office, backup("praxis-mueller"), &inside, NOON).is_ok());
    let night = ask(&office, backup("praxis-mueller"), &inside, "2026-11-20T19:00:00Z");
    let hours = Condition::Hours("Mon-Fri 07:00-19:00 UTC".into());
    assert_eq!(night, Err(Denied::NotNow { rule: rule("rules.toml:1"), condition: hours }));

    let ended = with("until = 2026-11-20");
    let denied = Denied::NotNow { rule: rule("rules.toml:1"), condition: Condition::Until };
    assert_eq!(ask(&ended, backup("praxis-mueller"), &inside, NOON), Err(denied.clone()));
    assert_eq!(ask(&ended, whoami(), &inside, NOON), Err(denied), "whose rules have ended is nobody");
    assert!(ask(&ended, backup("praxis-mueller"), &inside, "2026-11-18T12:00:00Z").is_ok());
}

#[test]
fn confirm_wants_a_yes_to_these_words_from_this_person() {
    let policy =
        policy("[[rule]]\nwho = [\"firm-*\"]\nmay = [\"*\"]\non = [\"*\"]\nconfirm = true\n").unwrap();
    let jane = who("firm-jane.doe", "203.0.113.7");
    let denied = Denied::NeedsConfirmation { rule: rule("rules.toml:1") };
    assert_eq!(ask(&policy, backup("praxis-mueller"), &jane, NOON), Err(denied));
    assert!(ask(&policy, whoami(), &jane, NOON).is_ok());
}

#[test]
fn mistakes_are_named_with_place_and_near_miss() {
    let rules = r#"[[rule]]
who = ["firm-jane.doe", "Jane", "@admin"]
may = ["konnektor bakcup"]
on = ["praxis-muller"]
need = "consent"
hours = "Mon-Fri 7-19"

[[rules]]
who = ["firm-*"]
"#;
    let problems = policy(rules).err().unwrap();
    insta::assert_snapshot!(problems.join("\n"), @r#"
    policy/rules.toml:2:25: who: "Jane": user: expected firm-given.family in lower case, at most 64 bytes; or firm-*, or @group
    policy/rules.toml:6:9: "Mon-Fri 7-19": expected hours such as "Mon-Fri 07:00-19:00 Europe/Berlin"
    policy/rules.toml:5:1: unknown field "need", did you mean "needs"?
    policy/rules.toml:2:33: no group "admin" in [groups] of gateway.toml, did you mean "admins"?
    policy/rules.toml:3:8: unknown command "konnektor bakcup", did you mean "konnektor backup"?
    policy/rules.toml:4:7: unknown site "praxis-muller", did you mean "praxis-mueller"?
    policy/rules.toml:8:3: unknown field "rules", did you mean "rule"?
    "#);
}

#[test]
fn a_rule_from_one_address_holds_for_that_address_and_no_other() {
    let rules = format!("{}\nfrom = \"203.0.113.7\"\n", init::RULES);
    let policy = policy(&rules).unwrap();
    let from = |address: &str| ask(&policy, backup("praxis-mueller"), &who("firm-jane.doe", address), NOON);
    assert!(from("203.0.113.7").is_ok());
    assert!(from("203.0.113.8").is_err());
    let wide = self::policy(&rules.replace("113.7", "113.7/24")).err().unwrap();
    assert!(wide[0].contains("did you mean 203.0.113.0/24"), "{wide:#?}");
}

#[test]
fn a_site_that_is_wrong_itself_is_not_unknown_too() {
    let dir = tempfile::tempdir().unwrap();
    let loaded = {
        init::Start {
            konnektor_password: "x".into(),
            ..init::Start::example(&crate::random::Random::system())
        }
        .write(dir.path())
        .unwrap();
        let site = dir.path().join("policy/sites/praxis-mueller.toml");
        std::fs::write(&site, init::SITE.replace("domain =", "domian =")).unwrap();
        crate::house::load(dir.path())
    };
    let problems = loaded.err().unwrap();
    assert_eq!(
        problems.to_string(),
        "policy/sites/praxis-mueller.toml:4:1: unknown field \"domian\", did you mean \"domain\"?"
    );
    std::fs::remove_file(dir.path().join("policy/rules.toml")).unwrap();
    let problems = crate::house::load(dir.path()).err().unwrap().to_string();
    assert!(problems.starts_with("policy/rules.toml: cannot be read: No such file"), "{problems}");
}

#[test]
fn a_date_that_is_none_is_refused_with_its_field() {
    for until in ["2027-13-01", "2027-02-30", "\"2027-13-01\"", "2027-1-1"] {
        let problems = policy(&format!("{}\nuntil = {until}\n", init::RULES)).err().unwrap();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].contains(": until: "), "{problems:#?}");
        assert!(problems[0].ends_with("expected a date such as 2027-01-01"), "{problems:#?}");
    }
    assert!(policy(&format!("{}\nuntil = 2027-01-01\n", init::RULES)).is_ok());
}

#[test]
fn a_rule_without_who_may_or_on_is_no_rule() {
    let problems = policy("[[rule]]\nmay = []\n").err().unwrap();
    assert_eq!(problems.len(), 3, "{problems:#?}");
    assert!(problems.iter().all(|p| p.contains("needs the field")), "{problems:#?}");
}

#[test]
fn same_input_same_answer() {
    let policy = policy(init::RULES).unwrap();
    let jane = who("firm-jane.doe", "203.0.113.7");
    let first = ask(&policy, backup("praxis-mueller"), &jane, NOON);
    for _ in 0..100 {
        assert_eq!(ask(&policy, backup("praxis-mueller"), &jane, NOON), first);
    }
    assert!(Path::new("policy/rules.toml").exists(), "the shipped example is what these tests read");
}
