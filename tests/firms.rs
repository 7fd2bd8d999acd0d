//! Firms and people who confirm otherwise than the gateway's file says: what their files may hold, and whose word counts.

use std::path::Path;

use pforte::config::{Config, Folder, Kind, Problems};
use pforte::init::{Start, write_new};
use pforte::names::Username;
use pforte::random::Random;

const SMS: &str =
    "[second_factor.sms]\nservice = \"seven\"\napi_key = { file = \"secrets/seven\" }\nsender = \"pforte\"\n";

fn folder(gateway_more: &str, firms: &[(&str, &str)]) -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let mut start = Start { konnektor_password: "Zauber".into(), ..Start::example(&Random::system()) };
    start.gateway += gateway_more;
    start.write(dir.path()).unwrap();
    write_new(&dir.path().join("secrets/seven"), b"0123456789\n", 0o600).unwrap();
    std::fs::create_dir(dir.path().join("policy/firms")).unwrap();
    for (name, text) in firms {
        write_new(&dir.path().join("policy/firms").join(name), text.as_bytes(), 0o644).unwrap();
    }
    dir
}

fn load(dir: &Path) -> Result<Config, Vec<String>> {
    let mut problems = Problems::default();
    let config = Config::load(&Folder::new(dir), &mut problems);
    if problems.0.is_empty() {
        Ok(config.unwrap())
    } else {
        Err(problems.0.iter().map(ToString::to_string).collect())
    }
}

fn problems(name: &str, text: &str) -> Vec<String> {
    let dir = folder("", &[(name, text)]);
    load(dir.path()).err().unwrap_or_default()
}

#[test]
fn a_persons_own_choice_comes_before_the_firms_and_that_before_the_gateways() {
    let firm = format!(
        "name = \"F\"\n[second_factor]\nprovider = \"sms\"\nsecond = \"totp\"\nmenu = true\n{SMS}\
         [people.\"firm-jane.doe\"]\nphone = \"+4915112345678\"\nas = \"jane@f.example\"\nprovider = \"totp\"\nsecond = \"sms\"\nmenu = false\n\
         [people.\"firm-bob.roe\"]\nphone = \"+49 151 8765 4321\"\n"
    );
    let dir = folder("", &[("firm.toml", &firm), ("other.toml", "name = \"O\"\n")]);
    let config = load(dir.path()).unwrap();
    let of = |user: &str| {
        let user: Username = user.parse().unwrap();
        let of = config.factor_of(&user);
        let phone = of.person.and_then(|p| p.phone.as_ref()).map(ToString::to_string);
        (of.first.1, of.first.0.is_some(), of.second.map(|(_, kind)| kind), of.menu, phone)
    };
    assert_eq!(of("firm-jane.doe"), (Kind::Totp, false, Some(Kind::Sms), false, Some("…78".into())));
    assert_eq!(of("firm-bob.roe"), (Kind::Sms, true, Some(Kind::Totp), true, Some("…21".into())));
    assert_eq!(of("firm-new.one"), (Kind::Sms, true, Some(Kind::Totp), true, None));
    assert_eq!(of("other-any.body"), (Kind::Webhook, false, None, false, None));
    assert_eq!(of("none-any.body"), (Kind::Webhook, false, None, false, None));
}

#[test]
fn what_a_firm_has_not_set_up_itself_is_the_gateways() {
    let dir = folder(SMS, &[("firm.toml", "[second_factor]\nprovider = \"sms\"\n")]);
    let config = load(dir.path()).unwrap();
    let of = config.factor_of(&"firm-jane.doe".parse().unwrap());
    assert_eq!((of.first.0.is_none(), of.first.1), (true, Kind::Sms));
}

#[test]
fn each_mistake_in_a_firms_file_is_one_line_with_its_place() {
    for (name, text, expected) in [
        (
            "firm.toml",
            "[second_factor]\nprovider = \"sms\"\n",
            "policy/firms/firm.toml:2:12: provider \"sms\" needs the table [second_factor.sms], here or in policy/gateway.toml",
        ),
        (
            "firm.toml",
            "[people.\"firm-jane.doe\"]\nsecond = \"sms\"\n",
            "policy/firms/firm.toml:2:10: provider \"sms\" needs the table",
        ),
        ("firm.toml", "[people.\"other-jane.doe\"]\n", "other-jane.doe is not of the firm firm"),
        ("firm.toml", "[people.\"Jane\"]\n", "firm-given.family in lower case"),
        ("firm.toml", "[people.\"firm-jane.doe\"]\nphone = \"0151\"\n", "+ and 7 to 15 digits"),
        ("firm.toml", "[people.\"firm-jane.doe\"]\nphnoe = \"+4915112345678\"\n", "did you mean \"phone\"?"),
        ("firm.toml", "[second_factor]\nprovider = \"smss\"\n", "provider: \"smss\" is none of"),
        ("firm.toml", "[second_factor]\ntimeout = \"5s\"\n", "unknown field \"timeout\""),
        ("Firm.toml", "", "the file's name is no firm's"),
        ("firm.txt", "", "a firm's file is named KÜRZEL.toml"),
    ] {
        let found = problems(name, text);
        assert_eq!(found.len(), 1, "{name} {text}: {found:#?}");
        assert!(found[0].contains(expected), "{found:#?}");
    }
    assert!(problems("firm.toml~", "?").is_empty(), "an editor's left-over");
}

#[test]
fn a_wrong_table_of_the_gateways_is_said_once_and_not_missing_for_each_firm() {
    let wrong = SMS.replace("api_key", "apikey");
    let dir = folder(
        &wrong,
        &[
            ("firm.toml", "[second_factor]\nprovider = \"sms\"\n"),
            ("other.toml", "[second_factor]\nsecond = \"sms\"\n"),
        ],
    );
    let found = load(dir.path()).err().unwrap();
    assert!(found.len() == 1 && found[0].starts_with("policy/gateway.toml:"), "{found:#?}");
}
