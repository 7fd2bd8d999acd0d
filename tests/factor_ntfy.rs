//! ntfy, against a real server: what the phone presses counts once, for its question, in time, by POST alone.
//! Absent on purpose: servers that misbehave; `factor_ntfy_faults.rs` has them.

use crate::factor_common;
use crate::ntfy;

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::prelude::BASE64_STANDARD;
use factor_common::{listener, question};
use ntfy::{Ntfy, Page, Phone, Shown};
use pforte::clock::Clock;
use pforte::factor::callback::Callbacks;
use pforte::factor::ntfy::{Match, Ntfy as Provider_, NtfyConfig};
use pforte::factor::{
    Cause, Line, Provider, Purpose, Question, Reach, Said, Say, TheirEnd, Verdict, Way, message,
};
use pforte::names::Topic;
use pforte::secret::Secret;
use sha2::{Digest as _, Sha256};

const TOPIC: &str = "pforte-firm-jane_doe";

/// A hub on loopback; lives as long as the test.
async fn hub() -> Callbacks {
    let (listener, address) = listener().await;
    let url = format!("http://{address}/").parse().unwrap();
    let hub = Callbacks::new(url, rand::random::<u128>, Clock::system());
    tokio::spawn(hub.clone().serve(listener, None));
    hub
}

fn config(ntfy: &Ntfy, hub: &Callbacks) -> NtfyConfig {
    let mut config = NtfyConfig::new(ntfy.url.parse().unwrap(), Topic::default(), hub.clone());
    config.token = Some(Secret::new(ntfy.token.clone()));
    config.timeout = Duration::from_secs(20);
    config
}

fn provider(config: NtfyConfig) -> Provider_ {
    Provider_::new(config, Clock::system()).unwrap()
}

/// Asks; gives what was shown on the SSH side too.
async fn ask(provider: &Provider_, question: &Question) -> (Verdict, Vec<Said>) {
    let (mut line, TheirEnd { mut said, answers }) = Line::new(Reach::ALL, true);
    let verdict = provider.ask(question, Way::Push, &mut line).await;
    drop((line, answers));
    let mut heard = Vec::new();
    while let Some(said) = said.recv().await {
        heard.push(said);
    }
    (verdict, heard)
}

struct Scene {
    ntfy: Ntfy,
    hub: Callbacks,
    phone: Phone,
}

impl Scene {
    async fn open() -> Self {
        let ntfy = Ntfy::start();
        let phone = ntfy.phone(TOPIC).await;
        Self { ntfy, hub: hub().await, phone }
    }

    fn config(&self) -> NtfyConfig {
        config(&self.ntfy, &self.hub)
    }

    /// Asks while the phone does something with the notification; afterwards it goes away.
    async fn answered<T>(
        &mut self,
        number: Match,
        asked: &Question,
        press: impl AsyncFnOnce(Shown) -> T,
    ) -> (Verdict, T) {
        let provider = provider(NtfyConfig { number, ..self.config() });
        let phone = async {
            let shown = self.phone.notified().await;
            assert_eq!(shown.sequence(), asked.tx.to_string());
            press(shown).await
        };
        let ((verdict, _), done) = tokio::join!(ask(&provider, asked), phone);
        assert_eq!(self.phone.retracted().await, asked.tx.to_string());
        assert!(self.phone.unseen().is_empty(), "a second notification");
        (verdict, done)
    }
}

fn gone(page: &Page) -> bool {
    page.status == 404 && page.text.is_empty()
}

#[tokio::test]
async fn the_number_typed_on_the_phone_lets_in_and_the_notification_goes_away() {
    let mut scene = Scene::open().await;
    let asked = question(30);
    let (verdict, (page, told)) = scene
        .answered(Match::Typed, &asked, async |shown| {
            (shown.press("Approve").await, shown.submit("allow", "47").await)
        })
        .await;
    assert_eq!(verdict, Verdict::Allowed);
    assert_eq!(page.status, 200);
    assert!(told.status == 200 && told.text.contains("Approved."), "{told:?}");
}

#[tokio::test]
async fn a_wrong_number_is_a_no_and_there_is_no_second_try() {
    let mut scene = Scene::open().await;
    for wrong in ["46", "", "047", "4", "47&number=47", "47&number=46", "%34%37%00"] {
        let asked = question(30);
        let (verdict, (told, again)) = scene
            .answered(Match::Typed, &asked, async |shown| {
                (shown.submit("allow", wrong).await, shown.submit("allow", "47").await)
            })
            .await;
        assert_eq!(verdict, Verdict::Denied, "{wrong}");
        assert!(told.status == 200 && told.text.contains("not the number"), "{wrong}: {told:?}");
        assert!(gone(&again), "{wrong}: {again:?}");
    }
}

#[tokio::test]
async fn deny_and_not_me_are_told_apart() {
    let mut scene = Scene::open().await;
    for (mode, label) in [(Match::Typed, "Deny"), (Match::Shown, "Deny")] {
        let (verdict, page) =
            scene.answered(mode, &question(30), async |shown| shown.press(label).await).await;
        assert_eq!((verdict, page.status), (Verdict::Denied, 200));
    }
    for (button, expected) in [("deny", Verdict::Denied), ("fraud", Verdict::Fraud)] {
        let pressed = async |shown: Shown| shown.submit(button, "").await;
        let (verdict, page) = scene.answered(Match::Typed, &question(30), pressed).await;
        assert_eq!((verdict, page.status), (expected, 200), "{button}");
    }
}

#[tokio::test]
async fn a_shown_number_is_compared_and_approve_is_one_press() {
    let mut scene = Scene::open().await;
    let asked = question(30);
    let (verdict, (text, page)) = scene
        .answered(Match::Shown, &asked, async |shown| {
            assert_eq!(
                (&shown.action("Approve")["method"], &shown.message["priority"]),
                (&"POST".into(), &4.into())
            );
            (shown.text().to_owned(), shown.press("Approve").await)
        })
        .await;
    assert_eq!((verdict, page.status), (Verdict::Allowed, 200));
    assert_eq!(text, message(&asked, false));
    assert!(text.contains("Number: 47."), "{text}");
}

#[tokio::test]
async fn what_is_to_be_typed_stands_on_the_ssh_side_and_not_in_the_notification() {
    let mut scene = Scene::open().await;
    let provider = provider(NtfyConfig { german: true, ..scene.config() });
    let asked = question(30);
    let phone = async {
        let shown = scene.phone.notified().await;
        let whole = shown.message.to_string();
        let visible = whole.replace(shown.url("Zulassen"), "").replace(shown.url("Ablehnen"), "");
        let visible =
            visible.replace(shown.message["id"].as_str().unwrap(), "").replace(shown.sequence(), "");
        assert!(
            shown
                .text()
                .starts_with("Anmeldung am Wartungszugang. Firma firm, firm-jane.doe, von 203.0.113.7.")
        );
        assert!(!shown.text().contains("47") && !visible.contains("Zahl"), "{visible}");
        let german = shown.call("GET", shown.url("Zulassen"), "").await;
        assert!(german.text.contains("lang=\"de\"") && !german.text.contains("47"), "{}", german.text);
        assert_eq!(shown.press("Ablehnen").await.status, 200);
        (shown, german)
    };
    let ((verdict, said), (shown, _)) = tokio::join!(ask(&provider, &asked), phone);
    assert_eq!(verdict, Verdict::Denied);
    assert!(said.contains(&Said::Say(Say::Enter("47".into()))), "{said:?}");
    // What onlookers and logs get of it holds no address and no token.
    let said = format!("{said:?}");
    assert!(said.matches("Step").count() >= 3 && !said.contains(&scene.ntfy.token), "{said}");
    for label in ["Zulassen", "Ablehnen"] {
        let secret = shown.url(label).rsplit('/').next().unwrap();
        assert!(secret.len() == 32 && !said.contains(secret), "{said}");
    }
    // Nothing of it is on the server's disk.
    assert!(!scene.ntfy.kept(TOPIC).await.contains("Wartungszugang"));
}

#[tokio::test]
async fn where_no_number_can_be_shown_nobody_is_asked_for_one() {
    let mut scene = Scene::open().await;
    let typed = provider(scene.config());
    let (mut line, _theirs) = Line::new(Reach::NOTHING, false);
    let verdict = typed.ask(&question(30), Way::Push, &mut line).await;
    assert_eq!(verdict, Verdict::Failed(Cause::NoPlace));
    // Who read it in a banner is asked.
    let (mut line, _theirs) = Line::new(Reach { shown: true, ..Reach::NOTHING }, false);
    let asked = question(30);
    let phone = async {
        let shown = scene.phone.notified().await;
        assert_eq!(shown.sequence(), asked.tx.to_string(), "the first question rang all the same");
        shown.submit("allow", "47").await
    };
    let (verdict, _) = tokio::join!(typed.ask(&asked, Way::Push, &mut line), phone);
    assert_eq!(verdict, Verdict::Allowed);
}

#[tokio::test]
async fn looking_changes_nothing() {
    let mut scene = Scene::open().await;
    for mode in [Match::Typed, Match::Shown] {
        let (verdict, ()) = scene
            .answered(mode, &question(30), async |shown| {
                for label in ["Approve", "Deny"] {
                    for method in ["GET", "HEAD", "OPTIONS", "PUT", "DELETE"] {
                        let page = shown.call(method, shown.url(label), "answer=allow&number=47").await;
                        let shows = mode == Match::Typed && label == "Approve" && method == "GET";
                        assert_eq!(page.status, if shows { 200 } else { 405 }, "{method} {label}");
                    }
                    let query = format!("{}?answer=allow&number=47", shown.url(label));
                    shown.call("GET", &query, "").await;
                }
                // Neither does a form without an answer.
                if mode == Match::Typed {
                    for body in [
                        "",
                        "number=47",
                        "answer=yes&number=47",
                        "answer=allow&answer=allow&number=47",
                        "\u{0}",
                    ] {
                        assert_eq!(
                            shown.call("POST", shown.url("Approve"), body).await.status,
                            400,
                            "{body}"
                        );
                    }
                }
                assert_eq!(shown.press("Deny").await.status, 200);
            })
            .await;
        assert_eq!(verdict, Verdict::Denied);
    }
}

#[tokio::test]
async fn an_old_link_leads_nowhere_and_every_nowhere_looks_the_same() {
    let mut scene = Scene::open().await;
    let (_, old) = scene
        .answered(Match::Typed, &question(30), async |shown| {
            assert_eq!(shown.submit("allow", "47").await.status, 200);
            shown
        })
        .await;
    let provider = provider(scene.config());
    let mut late = question(30);
    late.expires = factor_common::now() + Duration::from_millis(700);
    let (verdict, expired) = tokio::join!(ask(&provider, &late), scene.phone.notified());
    assert_eq!(verdict.0, Verdict::TimedOut);
    assert_eq!(scene.phone.retracted().await, late.tx.to_string());
    let unknown = format!("{}0123456789abcdef0123456789abcdef", hub_url(&old));
    let root = hub_url(&old);
    // While another question is open.
    let (verdict, pages) = scene
        .answered(Match::Typed, &question(30), async |shown| {
            let mut pages = Vec::new();
            for url in [
                old.url("Approve"),
                old.url("Deny"),
                expired.url("Approve"),
                expired.url("Deny"),
                &unknown,
                &root,
            ] {
                for (method, body) in
                    [("POST", "answer=allow&number=47"), ("POST", "answer=fraud"), ("GET", "")]
                {
                    pages.push(shown.call(method, url, body).await);
                }
            }
            shown.press("Deny").await;
            pages
        })
        .await;
    assert_eq!(verdict, Verdict::Denied);
    for page in &pages {
        let mut headers = page.headers.clone();
        headers.remove("date");
        let mut first = pages[0].headers.clone();
        first.remove("date");
        assert!(gone(page) && headers == first, "{page:?}");
    }
}

#[tokio::test]
async fn an_answer_counts_for_its_own_question_alone() {
    let mut scene = Scene::open().await;
    let provider = provider(scene.config());
    // The same person on two connections.
    let (one, two) = (question(30), question(30));
    let phone = async {
        let (first, second) = (scene.phone.notified().await, scene.phone.notified().await);
        let (at_one, at_two) =
            if first.sequence() == one.tx.to_string() { (first, second) } else { (second, first) };
        assert_eq!(at_one.press("Deny").await.status, 200);
        assert_eq!(at_two.press("Approve").await.status, 200, "still open");
        assert_eq!(at_two.submit("allow", "47").await.status, 200);
    };
    let ((one, _), (two, _), ()) = tokio::join!(ask(&provider, &one), ask(&provider, &two), phone);
    assert_eq!((one, two), (Verdict::Denied, Verdict::Allowed));
}

#[tokio::test]
async fn whoever_hangs_up_takes_the_notification_back() {
    let mut scene = Scene::open().await;
    let provider = provider(scene.config());
    let asked = question(30);
    let shown = {
        let (mut line, _theirs) = Line::new(Reach::ALL, false);
        let asking = provider.ask(&asked, Way::Push, &mut line);
        tokio::select! {
            verdict = asking => panic!("{verdict:?}"),
            shown = scene.phone.notified() => shown,
        }
    };
    assert_eq!(scene.phone.retracted().await, asked.tx.to_string());
    assert!(gone(&shown.submit("allow", "47").await));
}

#[tokio::test]
async fn a_server_that_refuses_our_token_is_named_as_such() {
    let scene = Scene::open().await;
    for token in [None, Some("tk_0123456789abcdefghijklmnopqrs")] {
        let token = token.map(|token| Secret::new(token.to_owned()));
        let provider = provider(NtfyConfig { token, ..scene.config() });
        assert_eq!(ask(&provider, &question(30)).await.0, Verdict::Failed(Cause::Credentials));
    }
    // The right token, and a topic that it may not write to.
    let topic = "other-{user}".parse().unwrap();
    let provider = provider(NtfyConfig { topic, ..scene.config() });
    assert_eq!(ask(&provider, &question(30)).await.0, Verdict::Failed(Cause::Credentials));
}

#[tokio::test]
async fn the_page_says_who_wants_what_and_runs_nothing() {
    let mut scene = Scene::open().await;
    let mut asked = question(30);
    asked.purpose = Purpose::Command {
        command: "restore <script>alert('x')</script> \"&\u{202e}".into(),
        site: Some("praxis-mueller".parse().unwrap()),
    };
    let (_, page) = scene
        .answered(Match::Typed, &asked, async |shown| {
            let page = shown.press("Approve").await;
            shown.press("Deny").await;
            page
        })
        .await;
    let text = &page.text;
    assert!(!text.contains("<script") && !text.contains('\u{202e}') && !text.contains("47"), "{text}");
    assert!(
        text.contains("restore &lt;script&gt;alert(&#39;x&#39;)&lt;/script&gt; &quot;&amp;\\u{202e}"),
        "{text}"
    );
    for told in [
        "firm-jane.doe",
        "<dd>firm</dd>",
        "203.0.113.7",
        "praxis-mueller",
        "<label for=\"number\">",
        "id=\"number\"",
    ] {
        assert!(text.contains(told), "{told}: {text}");
    }
    assert!(text.contains("width=device-width") && text.contains("<html lang=\"en\">"), "{text}");
    for outside in ["http:", "https:", "src=", "href=", "onclick", "url("] {
        assert!(!text.contains(outside), "{outside}: {text}");
    }
    let header = |name: &str| page.headers[name].to_str().unwrap();
    let policy = header("content-security-policy");
    for rule in ["default-src 'none'", "frame-ancestors 'none'", "form-action 'self'", "base-uri 'none'"] {
        assert!(policy.contains(rule), "{policy}");
    }
    assert!(!policy.contains("unsafe"), "{policy}");
    assert_eq!((header("cache-control"), header("referrer-policy")), ("no-store", "no-referrer"));
    assert_eq!(header("content-type"), "text/html; charset=utf-8");
    // The one style is the one that the policy allows.
    let style = text.split("<style>").nth(1).unwrap().split("</style>").next().unwrap();
    let hash = BASE64_STANDARD.encode(Sha256::digest(style));
    assert!(policy.contains(&format!("style-src 'sha256-{hash}'")), "{policy}");
}

#[tokio::test]
async fn a_question_is_published_once_and_one_that_is_over_not_at_all() {
    let mut scene = Scene::open().await;
    let provider = provider(scene.config());
    let asked = question(30);
    let phone = async {
        let shown = scene.phone.notified().await;
        let (again, _) = ask(&provider, &asked).await;
        assert_eq!(again, Verdict::Failed(Cause::Replay));
        shown.press("Deny").await;
    };
    let ((verdict, _), ()) = tokio::join!(ask(&provider, &asked), phone);
    assert_eq!(verdict, Verdict::Denied);
    let start = Instant::now();
    assert_eq!(ask(&provider, &question(0)).await.0, Verdict::TimedOut);
    assert!(start.elapsed() < Duration::from_secs(1));
    scene.phone.retracted().await;
    assert!(scene.phone.unseen().is_empty());
}

/// The root of the hub that a notification's addresses lead to.
fn hub_url(shown: &Shown) -> String {
    let url = shown.url("Approve");
    url[..=url.rfind('/').unwrap()].to_owned()
}
