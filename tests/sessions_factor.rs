//! `pforte factor test USER` beside a running gateway: the phone is asked for real, each step is shown, nobody is let in.
//! Absent on purpose: the providers' own failures; those are `factor_*`.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real programs")]

use crate::door;
use crate::seat;
use crate::served;
use crate::sms_desk;

use std::path::Path;

use door::{Door, JANE, Ran, Setup, ran};
use seat::Seat;
use served::Served;
use sms_desk::{Desk, PHONE, SERVICES, code_in};
use tokio::net::TcpListener;
use tokio::process::Command;

/// `pforte factor test USER MORE`
fn test_of(folder: &Path, user: &str, more: &[&str]) -> Command {
    let mut pforte = Command::new(env!("CARGO_BIN_EXE_pforte"));
    pforte.args(["factor", "test", user]).args(more).arg("--config").arg(folder);
    pforte.stdin(std::process::Stdio::null()).kill_on_drop(true);
    pforte
}

/// The door's folder, and a gateway on it that is a process of its own.
struct Running {
    door: Door,
    served: Served,
}

impl Running {
    async fn start(setup: Setup) -> Self {
        let mut door = Door::open(setup).await;
        door.house.close().await;
        let served = Served::start(door.path()).await;
        Self { door, served }
    }

    async fn test(&self, user: &str, more: &[&str]) -> Ran {
        ran(test_of(self.door.path(), user, more)).await
    }

    /// The causes that the journal gives for tests of jane's factor, in their order.
    fn causes(&self) -> Vec<String> {
        let lines = self.door.journal().into_iter().filter(|line| line["target"] == "second factor");
        let causes = lines.map(|line| {
            assert_eq!((line["user"].as_str(), line["firm"].as_str()), (Some(JANE), Some("firm")), "{line}");
            line["cause"].as_str().unwrap().to_owned()
        });
        causes.collect()
    }

    /// Ends the gateway in order; nobody was ever let in.
    async fn end(self) {
        for event in ["login", "started", "finished"] {
            assert!(self.door.events(event).is_empty(), "{:#?}", self.door.journal());
        }
        self.served.signal(rustix::process::Signal::TERM);
        assert!(self.served.ended().await.success());
        door::verify(self.door.path());
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_yes_is_told_with_number_and_steps_and_a_no_ends_with_77() {
    let running = Running::start(Setup::default()).await;
    let yes = running.test(JANE, &[]).await;
    assert_eq!((yes.code, yes.stderr.as_str()), (0, ""), "{yes:?}");
    let seen = running.door.phone.seen();
    assert_eq!((seen.len(), seen[0].user.as_str(), seen[0].purpose.as_str()), (1, JANE, "command"));
    assert_eq!(seen[0].command.as_deref(), Some("pforte factor test"));
    for told in [
        format!("Confirm on your phone. The number there must be {}.\n", seen[0].code),
        "  webhook is asked\n".to_owned(),
        "Confirmed by webhook. A login would be let in.\n".to_owned(),
    ] {
        assert!(yes.stdout.contains(&told), "{told:?} {yes:?}");
    }
    running.door.phone_does("deny");
    let no = running.test(JANE, &[]).await;
    assert_eq!(no.code, 77, "{no:?}");
    assert!(no.stdout.contains("Not confirmed: it was denied on the phone.\n"), "{no:?}");
    assert!(!no.stdout.contains("Confirmed by"), "{no:?}");
    assert!(no.stderr.contains("factor-denied"), "{no:?}");
    assert_eq!(running.door.phone.questions(), 2, "once each");
    let causes = running.causes();
    assert_eq!(causes.len(), 4, "{causes:?}");
    for begun in [&causes[0], &causes[2]] {
        assert!(begun.starts_with("factor-test by operator uid="), "{causes:?}");
    }
    assert_eq!(
        [causes[1].as_str(), &causes[3]],
        ["factor-test: confirmed by webhook", "factor-test: factor-denied"]
    );
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_provider_that_is_down_is_69_and_named_and_so_is_a_gateway_that_is() {
    let closed = TcpListener::bind("127.0.0.1:0").await.unwrap().local_addr().unwrap();
    let phone_url = Some(format!("http://{closed}/ask"));
    let running = Running::start(Setup { phone_url, ..Setup::default() }).await;
    let down = running.test(JANE, &[]).await;
    assert_eq!(down.code, 69, "{down:?}");
    assert!(down.stdout.contains("Not confirmed: the phone service does not answer"), "{down:?}");
    assert!(down.stderr.contains("factor-failed: provider unreachable"), "{down:?}");
    assert_eq!(running.causes()[1], "factor-test: factor-failed: provider unreachable");
    let folder = running.door.path().to_owned();
    for event in ["login", "started"] {
        assert!(running.door.events(event).is_empty());
    }
    running.served.signal(rustix::process::Signal::TERM);
    assert!(running.served.ended().await.success());
    let none = ran(test_of(&folder, JANE, &[])).await;
    assert_eq!((none.code, none.stdout.as_str()), (69, ""), "{none:?}");
    assert!(!none.stderr.is_empty(), "{none:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn who_has_no_key_could_not_log_in_and_is_not_asked() {
    let running = Running::start(Setup::default()).await;
    for (more, told) in [
        (&[][..], "firm-no.body has no key here, so nobody could log in as them."),
        (&["--lang", "de"], "firm-no.body hat hier keinen Schlüssel"),
    ] {
        let nobody = running.test("firm-no.body", more).await;
        assert_eq!((nobody.code, nobody.stdout.as_str()), (1, ""), "{nobody:?}");
        assert!(nobody.stderr.contains(told), "{nobody:?}");
    }
    let none = running.test("../jane", &[]).await;
    assert!(none.code != 0 && none.stdout.is_empty(), "{none:?}");
    assert_eq!((running.door.phone.questions(), running.causes().len()), (0, 0));
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn it_is_told_as_the_gateway_speaks_or_as_lang_says() {
    let setup =
        Setup { gateway: vec![("language = \"en\"".into(), "language = \"de\"".into())], ..Setup::default() };
    let running = Running::start(setup).await;
    let yes = running.test(JANE, &[]).await;
    assert_eq!(yes.code, 0, "{yes:?}");
    let code = running.door.phone.seen()[0].code;
    assert!(yes.stdout.contains(&format!("Dort muss die Zahl {code} stehen.\n")), "{yes:?}");
    assert!(yes.stdout.contains("Bestätigt über webhook. Eine Anmeldung käme durch.\n"), "{yes:?}");
    running.door.phone_does("deny");
    let no = running.test(JANE, &[]).await;
    assert_eq!(no.code, 77, "{no:?}");
    assert!(no.stdout.contains("Nicht bestätigt: am Telefon abgelehnt.\n"), "{no:?}");
    let english = running.test(JANE, &["--lang", "en"]).await;
    assert!(english.stdout.contains("The number there must be "), "{english:?}");
    assert!(english.stdout.contains("Not confirmed: it was denied on the phone.\n"), "{english:?}");
    running.end().await;
    let running = Running::start(Setup::default()).await;
    let german = running.test(JANE, &["--lang", "de"]).await;
    assert!(german.stdout.contains("Bestätigt über webhook."), "{german:?}");
    assert!(!german.stdout.contains("Confirm"), "{german:?}");
    running.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_code_by_sms_is_typed_and_neither_it_nor_number_nor_key_is_shown_or_kept() {
    let (service, settings, status, answer) = SERVICES[0];
    let desk = Desk::open(status, answer).await;
    let settings = settings.replace("\"key\"", "\"secrets/seven\"");
    let firm = "name = \"Firma\"\n[people.\"firm-jane.doe\"]\nphone = \"+49 151 1234-5678\"\n";
    let setup = Setup {
        gateway: vec![("provider = \"webhook\"".into(), "provider = \"sms\"".into())],
        gateway_more: format!("\n[second_factor.sms]\n{}", desk.settings(service, &settings)),
        files: vec![
            ("policy/firms/firm.toml", firm.into(), 0o644),
            ("secrets/seven", "s3cret\n".into(), 0o600),
        ],
        ..Setup::default()
    };
    let running = Running::start(setup).await;
    let mut codes = Vec::new();
    for right in [true, false] {
        let mut seat = Seat::take(test_of(running.door.path(), JANE, &[]));
        seat.shows("Code: ").await;
        let code = code_in(&desk.sent().last().unwrap().body);
        let wrong = if code == "111111" { "222222" } else { "111111" };
        let typed = if right { code.as_str() } else { wrong };
        for _ in 0..if right { 1 } else { 3 } {
            seat.types(&format!("{typed}\n")).await;
        }
        let ended = seat.ends().await;
        let shown = seat.shown() + &seat.said();
        assert_eq!(ended, if right { 0 } else { 77 }, "{shown}");
        let steps = if right { "  sms: the right code\n" } else { "  sms: a wrong code\n" };
        let last = if right { "Confirmed by sms." } else { "Not confirmed: the code was wrong" };
        for told in
            ["  sms: one is sent to ", " by http\n", "  sms: status 200\n", "by SMS to ...78.\n", steps, last]
        {
            assert!(shown.contains(told), "{told:?}: {shown}");
        }
        codes.extend([code.clone(), typed.to_owned(), shown]);
    }
    let sent = desk.sent();
    assert_eq!((sent.len(), sent[0].json()["to"].as_str()), (2, Some(PHONE)));
    let journal: String = running.door.journal().iter().map(ToString::to_string).collect();
    let log = running.served.log.lock().unwrap().join("\n");
    for secret in [&codes[0], &codes[1], &codes[3], &PHONE[1..], "151 1234", "1234-5678", "s3cret"] {
        for (place, text) in [("yes", &codes[2]), ("no", &codes[5]), ("journal", &journal), ("log", &log)] {
            assert!(!text.contains(secret), "{secret} in {place}: {text}");
        }
    }
    let causes = running.causes();
    assert_eq!(
        [causes[1].as_str(), &causes[3]],
        ["factor-test: confirmed by sms", "factor-test: factor-denied: wrong code"]
    );
    running.end().await;
}
