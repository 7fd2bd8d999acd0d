//! Duo: claims about each way and each word of Duo's. The Duo is ours; no tenant of theirs was asked.
//! Absent on purpose: SSH (`door_duo.rs`), faults (`factor_duo_faults.rs`), and the vectors of the signature, which are unit
//! tests of the client.

use crate::asked;
use crate::duo;
use crate::factor_common;

use std::time::Duration;

use asked::{JANE, asked, client, config, janes, pushed};
use duo::{Answer, Duo, Fault, Preauth, SKEY, wire};
use factor_common::question;
use pforte::clock::Clock;
use pforte::factor::duo::{Duo as Client, DuoConfig, Signature};
use pforte::factor::{Cause, Line, Number, Prompt, Provider, Purpose, Reach, Say, Verdict, Way};
use serde_json::json;

#[test]
fn the_fake_signs_as_the_documentation_does() {
    let pairs = wire::decoded("username=root&realname=First%20Last");
    let (skey, host) = ("Zh5eGmUq9zpfQnyUIu5OL9iWoMMv5ZNmk3zLJ4Ep", "api-xxxxxxxx.duosecurity.com");
    let head = format!("Tue, 21 Aug 2012 17:29:18 -0000\nPOST\n{host}\n/accounts/v1/account/list\n");
    let two = wire::hmac_sha512(skey, &format!("{head}{}", wire::canonical(&pairs)));
    assert!(two.starts_with("1bffb8924348f7db") && two.ends_with("f0d596d15a8122af"), "{two}");
    let pairs = wire::decoded("realname=First%20Last");
    let body = br#"{"txid":"f22b1678-252a-4070-b176-0ca2be7319fd"}"#;
    let lines =
        format!("{head}{}\n{}\n{}", wire::canonical(&pairs), wire::sha512(body), wire::duo_headers(&[]));
    let five = wire::hmac_sha512(skey, &lines);
    assert!(five.starts_with("78f4327f831173cc") && five.ends_with("dadaff4dc6179e0b"), "{five}");
    let headers = wire::duo_headers(&[("X-Duo-Header-1".into(), "header_value_1".into())]);
    assert!(headers.starts_with("630b4bfe7e9abd03") && headers.ends_with("12a4092df3ed"), "{headers}");
}

#[tokio::test]
async fn a_push_says_whose_it_is_and_what_for_and_yes_is_yes_in_both_versions() {
    for (signature, version) in [(Signature::V5, "v5"), (Signature::V2, "v2")] {
        let duo = janes().await;
        let client = Client::new(DuoConfig { signature, ..config(&duo) }, Clock::system()).unwrap();
        let mut question = question(20);
        question.purpose = Purpose::Command {
            command: "konnektor backup -f \"Käse & Co\"".into(),
            site: Some("praxis-mueller".parse().unwrap()),
        };
        let asked = asked(&client, &question, Way::Push, Reach::ALL, &[]).await;
        assert_eq!(asked.verdict, Verdict::Allowed, "{asked:?}");
        assert_eq!(asked.says, [Say::Compare(Number::new(37))]);
        assert_eq!((duo.pushes(), duo.calls("ping").len()), (1, 1));
        let preauth = &duo.calls("preauth")[0];
        assert_eq!(preauth.version, version);
        assert_eq!(preauth.fields["client_supports_verified_push"], "1");
        let push = &duo.calls("auth")[0].fields;
        let fixed =
            ["username", "ipaddr", "factor", "device", "async", "type"].map(|name| push[name].as_str());
        assert_eq!(fixed, [JANE, "203.0.113.7", "push", "auto", "1", "Command"]);
        assert_eq!(
            wire::decoded(&push["pushinfo"]),
            [
                ("Number", "47"),
                ("Firm", "firm"),
                ("Site", "praxis-mueller"),
                ("Command", "konnektor backup -f \"Käse & Co\""),
                ("From", "203.0.113.7")
            ]
            .map(|(k, v)| (k.to_owned(), v.to_owned()))
        );
        assert!(!push.contains_key("txid"));
        assert_eq!(duo.calls("auth_status").len(), 2);
        // What looks on sees each step and nothing that opens anything.
        assert!(asked.steps.iter().any(|step| step == "duo: waiting, pushed"), "{:?}", asked.steps);
        let steps = asked.steps.join("\n");
        assert!(!steps.contains(SKEY) && !duo.tenant(|t| t.txids.iter().any(|t| steps.contains(t.as_str()))));
        // The time is known now.
        assert_eq!(pushed(&client).await.verdict, Verdict::Allowed);
        assert_eq!((duo.pushes(), duo.calls("ping").len()), (2, 1));
    }
}

#[tokio::test]
async fn the_person_has_the_name_that_duo_knows_with_its_umlauts_and_a_device_that_was_chosen() {
    for signature in [Signature::V5, Signature::V2] {
        let duo = Duo::start().await;
        duo.person("Jürgen Müller+ß@firma", |user| user.passcodes = vec!["123456"]);
        let device = "DP80Z4GVU82OT8O1BNJF".to_owned();
        let client = Client::new(DuoConfig { signature, device, ..config(&duo) }, Clock::system()).unwrap();
        let mut question = question(20);
        question.contact.external = Some("Jürgen Müller+ß@firma".into());
        // An address that is no dotted quad is left out.
        question.from = "[2001:db8::1]:50122".parse().unwrap();
        assert_eq!(asked(&client, &question, Way::Push, Reach::ALL, &[]).await.verdict, Verdict::Allowed);
        let push = &duo.calls("auth")[0].fields;
        assert_eq!(push["device"], "DP80Z4GVU82OT8O1BNJF");
        assert!(
            !push.contains_key("ipaddr") && push["pushinfo"].ends_with("From=2001%3Adb8%3A%3A1"),
            "{push:?}"
        );
        let typed = asked(&client, &question, Way::Code, Reach::ALL, &["123456"]).await;
        assert_eq!(typed.verdict, Verdict::Allowed, "{typed:?}");
        // Under our own name nobody is known.
        let stranger = pushed(&client).await;
        assert_eq!(stranger.verdict, Verdict::Failed(Cause::NotEnrolled));
        assert_eq!(duo.pushes(), 1);
    }
}

#[tokio::test]
async fn every_end_of_a_push_but_a_yes_refuses() {
    let words = |status: &str| Say::Remark(format!("Duo's words for {status}"));
    for (answer, expected, remark) in [
        (Answer::Deny, Verdict::Denied, None),
        (Answer::Fraud, Verdict::Fraud, None),
        (Answer::Timeout, Verdict::TimedOut, None),
        (Answer::LockedOut, Verdict::Failed(Cause::NotAllowed), Some(words("locked_out"))),
        (Answer::Silent(Duration::from_millis(50)), Verdict::TimedOut, None),
        (Answer::Silent(Duration::from_mins(1)), Verdict::TimedOut, None),
        (Answer::States(vec![("allow", "bypass")]), Verdict::Failed(Cause::Bypassed), None),
        (Answer::States(vec![("allow", "fraud")]), Verdict::Failed(Cause::Malformed), None),
        (Answer::States(vec![("deny", "sent")]), Verdict::Failed(Cause::Malformed), None),
        (Answer::States(vec![("maybe", "allow")]), Verdict::Failed(Cause::Malformed), None),
        (Answer::States(vec![("deny", "of tomorrow")]), Verdict::Denied, None),
    ] {
        let duo = janes().await;
        duo.person(JANE, |user| user.answer = answer.clone());
        let asked = asked(&client(&duo), &question(2), Way::Push, Reach::ALL, &[]).await;
        assert_eq!(asked.verdict, expected, "{answer:?}: {asked:?}");
        assert_eq!(asked.says.get(1), remark.as_ref(), "{answer:?}");
        assert_eq!(duo.pushes(), 1, "{answer:?}");
        assert!(duo.calls("auth_status").len() <= 5, "{answer:?}: a Duo that holds no poll is not run down");
    }
    let duo = janes().await;
    let words = vec![("waiting", "calling"), ("waiting", "push_failed"), ("waiting", "?"), ("allow", "?")];
    duo.person(JANE, |user| user.answer = Answer::States(words));
    assert_eq!(pushed(&client(&duo)).await.verdict, Verdict::Allowed, "the result decides, not the status");
}

#[tokio::test]
async fn twenty_polls_are_enough() {
    let duo = janes().await;
    let states = [("waiting", "calling"), ("waiting", "answered")].into_iter().cycle().take(50).collect();
    duo.person(JANE, |user| user.answer = Answer::States(states));
    assert_eq!(pushed(&client(&duo)).await.verdict, Verdict::TimedOut);
    assert_eq!((duo.pushes(), duo.calls("auth_status").len()), (1, 20));
}

#[tokio::test]
async fn who_is_denied_or_not_enrolled_is_told_and_nothing_rings() {
    let duo = janes().await;
    for (preauth, verdict, say) in [
        (
            Preauth::Deny("Your account is\u{1b} disabled"),
            Verdict::Failed(Cause::NotAllowed),
            "Your account is  disabled",
        ),
        (Preauth::Deny(""), Verdict::Failed(Cause::NotAllowed), ""),
        (
            Preauth::Enroll("https://duo.example/enrol/1"),
            Verdict::Failed(Cause::NotEnrolled),
            "https://duo.example/enrol/1",
        ),
        (Preauth::Enroll("javascript:alert(1)"), Verdict::Failed(Cause::NotEnrolled), ""),
    ] {
        duo.person(JANE, |user| user.preauth = preauth.clone());
        for way in [Way::Push, Way::Sms, Way::Code] {
            let asked = asked(&client(&duo), &question(20), way, Reach::ALL, &["123456"]).await;
            assert_eq!(asked.verdict, verdict, "{preauth:?}: {asked:?}");
            let told = asked.says.first().map_or("", |say| match say {
                Say::Remark(text) | Say::Enrol(text) => text,
                other @ (Say::Compare(_) | Say::Enter(_) | Say::Ringing | Say::Waiting | Say::Sent(_)) => {
                    panic!("{other:?}")
                }
            });
            assert_eq!((told, asked.prompts.len()), (say, 0), "{preauth:?}");
        }
    }
    duo.person(JANE, |user| {
        user.preauth = Preauth::Auth;
        user.devices[0].can = vec!["mobile_otp"];
    });
    for way in [Way::Push, Way::Sms] {
        let asked = asked(&client(&duo), &question(20), way, Reach::ALL, &[]).await;
        assert_eq!(asked.verdict, Verdict::Failed(Cause::NotEnrolled), "no device can do that");
    }
    assert_eq!((duo.pushes(), duo.texts(), duo.calls("auth").len()), (0, 0, 0));
}

#[tokio::test]
async fn whoever_duo_lets_through_unasked_passes_only_where_the_settings_say_so() {
    for (bypass, expected) in [(false, Verdict::Failed(Cause::Bypassed)), (true, Verdict::Allowed)] {
        let duo = janes().await;
        let client = Client::new(DuoConfig { bypass, ..config(&duo) }, Clock::system()).unwrap();
        duo.person(JANE, |user| user.preauth = Preauth::Allow);
        for way in [Way::Push, Way::Sms, Way::Code] {
            assert_eq!(asked(&client, &question(20), way, Reach::ALL, &[]).await.verdict, expected);
        }
        assert_eq!(duo.calls("auth").len(), 0);
        duo.person(JANE, |user| {
            user.preauth = Preauth::Auth;
            user.answer = Answer::States(vec![("allow", "bypass")]);
        });
        assert_eq!(pushed(&client).await.verdict, expected);
    }
}

#[tokio::test]
async fn a_verified_push_shows_its_code_and_rings_with_its_own_transaction() {
    let duo = janes().await;
    duo.person(JANE, |user| user.verified = Some("047"));
    let asked_here = pushed(&client(&duo)).await;
    assert_eq!(asked_here.verdict, Verdict::Allowed, "{asked_here:?}");
    assert_eq!(asked_here.says, [Say::Enter("047".into())]);
    assert!(asked_here.steps.iter().all(|step| !step.contains("047")), "{:?}", asked_here.steps);
    assert!(duo.calls("auth")[0].fields["txid"].starts_with("verified-"));
    assert_eq!(duo.pushes(), 1);
    // Where nothing can be shown it is not offered, and Duo lists no device that could ring.
    let blind = asked(&client(&duo), &question(20), Way::Push, Reach::NOTHING, &[]).await;
    assert_eq!(blind.verdict, Verdict::Failed(Cause::NotEnrolled));
    assert!(!duo.calls("preauth")[1].fields.contains_key("client_supports_verified_push"));
    // A Duo that demands it all the same rings nobody.
    let demanded = json!({ "verification_code": "123", "txid": "x", "devices": [] });
    duo.tenant(|t| t.faults.insert("preauth", Fault::Other(demanded)));
    let blind = asked(&client(&duo), &question(20), Way::Push, Reach::NOTHING, &[]).await;
    assert_eq!(blind.verdict, Verdict::Failed(Cause::NoPlace));
    for odd in [json!("12"), json!("1234567"), json!("12a4"), json!(["123"])] {
        let odd = Fault::Other(json!({ "verification_code": odd }));
        duo.tenant(|t| t.faults.insert("preauth", odd));
        assert_eq!(pushed(&client(&duo)).await.verdict, Verdict::Failed(Cause::Malformed));
    }
    assert_eq!(duo.pushes(), 1);
}

#[tokio::test]
async fn a_code_by_sms_is_sent_once_and_typed_wrong_twice_at_most() {
    let duo = janes().await;
    duo.person(JANE, |user| user.passcodes = vec!["1234567"]);
    let right = asked(&client(&duo), &question(20), Way::Sms, Reach::ALL, &["7654321", " 1234567 "]).await;
    assert_eq!(right.verdict, Verdict::Allowed, "{right:?}");
    assert_eq!(right.says, [Say::Sent(Some("…4788".into()))]);
    assert_eq!(right.prompts, [Prompt::Code, Prompt::Again]);
    assert!(right.steps.iter().all(|step| !step.contains("1234567") && !step.contains("7654321")));
    assert_eq!((duo.texts(), duo.pushes()), (1, 0));
    // A second time it does not count.
    let again = asked(&client(&duo), &question(20), Way::Sms, Reach::ALL, &["1234567"; 5]).await;
    assert_eq!(again.verdict, Verdict::Denied, "{again:?}");
    assert_eq!(again.prompts, [Prompt::Code, Prompt::Again, Prompt::Again]);
    assert_eq!(duo.texts(), 2);
    for call in duo.calls("auth").iter().filter(|call| call.fields["factor"] == "passcode") {
        assert!(!call.fields.contains_key("device") && call.fields["username"] == JANE);
    }
    // Which of two phones it went to is not known here.
    duo.person(JANE, |user| user.devices.push(user.devices[0].clone()));
    let two = asked(&client(&duo), &question(20), Way::Sms, Reach::ALL, &["1", "2", "3"]).await;
    assert_eq!((two.verdict, two.says), (Verdict::Denied, vec![Say::Sent(None)]));
    // Where nothing can be typed nothing is sent.
    let nowhere = asked(&client(&duo), &question(20), Way::Sms, Reach::NOTHING, &[]).await;
    assert_eq!(nowhere.verdict, Verdict::Failed(Cause::NoPlace));
    assert_eq!(duo.texts(), 3);
    // A yes before anything was typed is none.
    let yes = Fault::Other(json!({ "result": "allow", "status": "allow" }));
    duo.tenant(|t| t.faults.insert("auth_status", yes));
    let early = asked(&client(&duo), &question(20), Way::Sms, Reach::ALL, &["1"]).await;
    assert_eq!(early.verdict, Verdict::Failed(Cause::Malformed));
}

#[tokio::test]
async fn a_code_of_ones_own_needs_no_message_and_what_is_no_code_is_not_sent() {
    let duo = janes().await;
    duo.person(JANE, |user| user.passcodes = vec!["123456"]);
    let right = asked(&client(&duo), &question(20), Way::Code, Reach::ALL, &["123456"]).await;
    assert_eq!((right.verdict, right.prompts.len()), (Verdict::Allowed, 1), "{:?}", right.steps);
    assert_eq!(duo.calls("auth").len(), 1);
    let junk = ["", "a b c", "1234é"];
    let junk = asked(&client(&duo), &question(20), Way::Code, Reach::ALL, &junk).await;
    assert_eq!((junk.verdict, junk.prompts.len()), (Verdict::Denied, 3));
    assert_eq!((duo.calls("auth").len(), duo.texts(), duo.pushes()), (1, 0, 0));
    let silent = asked(&client(&duo), &question(20), Way::Code, Reach::ALL, &[]).await;
    assert_eq!(silent.verdict, Verdict::Failed(Cause::NoPlace), "they have gone");
}

#[tokio::test]
async fn a_question_that_has_expired_asks_nobody() {
    let duo = janes().await;
    let asked = asked(&client(&duo), &question(0), Way::Push, Reach::ALL, &[]).await;
    assert_eq!((asked.verdict, duo.calls("ping").len()), (Verdict::TimedOut, 0));
}

#[tokio::test]
async fn who_hangs_up_is_waited_for_no_longer() {
    let duo = janes().await;
    duo.person(JANE, |user| user.answer = Answer::Silent(Duration::from_mins(10)));
    let client = client(&duo);
    let (mut line, _theirs) = Line::new(Reach::ALL, false);
    let question = question(60);
    {
        let asking = client.ask(&question, Way::Push, &mut line);
        let polling = async {
            while duo.calls("auth_status").len() < 2 {
                tokio::time::sleep(Duration::from_millis(5)).await;
            }
        };
        tokio::select! {
            verdict = asking => panic!("{verdict:?}"),
            polled = tokio::time::timeout(Duration::from_secs(20), polling) => polled.unwrap(),
        }
        duo.until_open(1).await;
    }
    duo.until_open(0).await;
    assert_eq!((duo.pushes(), duo.calls("auth_status").len()), (1, 2));
}
