//! `pforte site` at a terminal: what it prints in which language, what it ends with, what it refuses to start with.
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::posing;

use std::os::unix::fs::PermissionsExt as _;

use posing::site::{Site, pforte, secret, table};

fn nowhere() -> String {
    table("127.0.0.1:1".parse().unwrap(), 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn the_commands_say_what_they_did_in_both_languages_and_end_as_scripts_expect() {
    let mut site = Site::new("", &nowhere()).await;
    assert_eq!(site.says(&["status"]).await.code, 69, "nobody runs");
    site.start().await;
    let cases: &[(&[&str], i32, &str, &str)] = &[
        (&["allow", "firm"], 77, "geschlossen", "is closed"),
        (&["open", "--for", "5h"], 77, "höchstens für 240 Minuten", "at most 240 minutes"),
        (&["open", "--for", "2h"], 0, "Offen", "Open"),
        (&["allow", "Firm!"], 64, "So heißt keine Firma", "No firm and no person"),
        (&["allow", "@schedule"], 64, "So heißt keine Firma", "No firm and no person"),
        (&["allow", "firm"], 0, "firm darf herein", "firm may come in"),
        (&["withdraw", "other"], 1, "gibt es nicht mehr", "is gone"),
        (&["withdraw", "firm"], 0, "nicht mehr", "no more"),
        (&["end", "01J"], 1, "gibt es nicht mehr", "is gone"),
        (&["grant", "A1"], 1, "gibt es nicht mehr", "is gone"),
        (&["deny", "A1"], 1, "gibt es nicht mehr", "is gone"),
        (&["report"], 1, "keinen Bericht", "no report"),
        (&["open", "--for", "today"], 0, "Offen", "Open"),
        (&["close"], 0, "Geschlossen", "Closed"),
        (&["standing", "backup", "on"], 0, "Nächtliche Sicherungen laufen", "Nightly backups run"),
    ];
    for (words, code, german, english) in cases {
        for (language, expected) in [("de", german), ("en", english)] {
            let mut all = words.to_vec();
            all.extend(["--lang", language]);
            let ran = site.says(&all).await;
            if *code == 0 && words[0] == "withdraw" && language == "en" {
                continue;
            }
            assert_eq!(ran.code, *code, "{all:?}: {ran:?}");
            assert!(ran.err.contains(expected) && ran.out.is_empty(), "{all:?}: {ran:?}");
        }
    }
    let status = site.says(&["status", "--lang", "de"]).await.out;
    assert!(status.contains("Praxis Dr. Müller") && status.contains("Schalter: GESCHLOSSEN"), "{status}");
    assert!(status.contains("Nächtliche Sicherungen laufen."), "{status}");
    assert!(site.says(&["status", "--lang", "en"]).await.out.contains("Switch: CLOSED"));
    for wrong in
        [&["open", "--for", "soon"][..], &["open", "--for", "90s"], &["allow"], &["standing", "x", "on"]]
    {
        assert_eq!(site.says(wrong).await.code, 64, "{wrong:?}");
    }
    let socket = site.home().join("state/site.sock");
    assert_eq!(std::fs::metadata(&socket).unwrap().permissions().mode() & 0o777, 0o660);
    let by = site.record().iter().map(|line| line["by"].to_string()).collect::<Vec<_>>();
    assert!(by.iter().any(|by| by.contains("terminal ")), "{by:?}");
    site.stop().await;
    assert!(!socket.exists());
    assert_eq!(site.events().last().unwrap(), "stopped");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_init_made_is_not_overwritten_and_its_secrets_are_its_owners() {
    let site = Site::new("", &nowhere()).await;
    let home = site.home();
    let again = pforte(&["site", "init", home.to_str().unwrap(), "--name", "other"]).await;
    assert!(again.code == 1 && again.err.contains("nothing was written"), "{again:?}");
    for file in ["secrets/site_ed25519", "secrets/pin"] {
        assert_eq!(std::fs::metadata(home.join(file)).unwrap().permissions().mode() & 0o777, 0o600, "{file}");
    }
    // The shipped file itself lacks nothing but what only its operator knows.
    std::fs::remove_file(home.join("site.toml")).unwrap();
    let other = site.dir.path().join("other");
    assert_eq!(pforte(&["site", "init", other.to_str().unwrap(), "--name", "praxis"]).await.code, 0);
    let ran = pforte(&["site", "serve", "--config", other.to_str().unwrap()]).await;
    assert_eq!(ran.code, 78, "{ran:?}");
    let said = format!("{}{}", ran.out, ran.err);
    assert!(said.matches("site.toml:").count() == 1 && said.contains("AAAA"), "{said}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_file_is_refused_with_every_place() {
    let site = Site::new("", &nowhere()).await;
    let cases = [
        ("colour = \"red\"", "unknown field \"colour\""),
        ("allow = [\"10.0.0.2\"]", "host:port"),
        ("zone = \"Europe/Müllheim\"", "time zone"),
        ("recipient = \"age1x\"", "site.toml:"),
    ];
    for (top, expected) in cases {
        site.configure(top, &nowhere());
        let ran = site.says(&["serve"]).await;
        let said = format!("{}{}", ran.out, ran.err);
        assert!(ran.code == 78 && said.contains("site.toml:5:") && said.contains(expected), "{top}: {said}");
    }
    let tables = [
        ("proxy = \"ftp://x:1\"", "socks5://"),
        ("proxy = \"http://u:p@x:1\"", "proxy_user"),
        ("proxy_user = \"x\"", "belong together"),
        ("[switch]\nmost = \"25h\"", "24h"),
        ("[page]\nlisten = \"0.0.0.0:80\"\npin = { file = \"secrets/pin\" }", "this machine itself"),
        (
            "[page]\nlisten = \"127.0.0.1:80\"\nlan = \"203.0.113.7:80\"\npin = { file = \"secrets/pin\" }",
            "own network",
        ),
        ("[link]\ndial = \"never\"", "none of"),
    ];
    for (more, expected) in tables {
        site.configure("", &format!("{}{more}\n", nowhere()));
        let ran = site.says(&["serve"]).await;
        let said = format!("{}{}", ran.out, ran.err);
        assert!(ran.code == 78 && said.contains(expected), "{more}: {said}");
        assert!(!said.contains("u:p@") || more.contains("u:p@"), "{said}");
    }
    site.configure("", &nowhere());
    let key = site.home().join("secrets/site_ed25519");
    std::fs::set_permissions(&key, std::fs::Permissions::from_mode(0o644)).unwrap();
    let said = site.says(&["serve"]).await;
    assert!(
        said.code == 78 && format!("{}{}", said.out, said.err).contains("can be read by others"),
        "{said:?}"
    );
    secret(&key, "no key");
    assert_eq!(site.says(&["serve"]).await.code, 78);
}
