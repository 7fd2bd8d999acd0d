//! "That was not me": the person is locked with every key they have, what they had open ends, and somebody is told.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;

use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::http::{HeaderMap, StatusCode};
use door::{Door, JANE, Setup};
use serde_json::Value;

const BOB: &str = "firm-bob.roe";

type Heard = Arc<Mutex<Vec<(HeaderMap, String)>>>;

async fn receiver() -> (String, Heard) {
    let heard: Heard = Arc::default();
    let state = heard.clone();
    let take = move |headers: HeaderMap, body: String| async move {
        state.lock().unwrap().push((headers, body));
        StatusCode::NO_CONTENT
    };
    let app = axum::Router::new().route("/told", axum::routing::post(take));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/told", listener.local_addr().unwrap());
    tokio::spawn(async move { axum::serve(listener, app).await });
    (url, heard)
}

async fn told(heard: &Heard) -> Value {
    for _ in 0..1000 {
        if let Some((headers, body)) = heard.lock().unwrap().first() {
            assert!(headers.contains_key("x-pforte-signature"));
            return serde_json::from_str(body).unwrap();
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    panic!("nobody was told");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_report_locks_the_person_with_all_their_keys_and_is_told_and_reaches_no_colleague() {
    let (url, heard) = receiver().await;
    let more = format!("\n[notify]\nurl = \"{url}\"\nsecret = {{ file = \"secrets/notify\" }}\n");
    let secret = ("secrets/notify", "0123456789abcdef\n".to_owned(), 0o600);
    let door = Door::open(Setup { gateway_more: more, files: vec![secret], ..Setup::default() }).await;
    let bobs = door.make_key("bob");
    door.register(BOB, &bobs);
    let first = std::fs::read_to_string(door.path().join("keys").join(format!("{JANE}.pub"))).unwrap();
    let second = door.make_key("second");
    door.register(JANE, &format!("{}\n{second}", first.trim_end()));
    door.reload().await;
    // She is in, from her desk, when somebody tries her key.
    let mut desk = door.ssh_command(JANE, "jane");
    desk.args(["-N", "127.0.0.1"]);
    let desk = desk.spawn().unwrap();
    door.wait_for("login", 1).await;
    door.phone_does("fraud");
    let thief = door.ssh_as(JANE, "jane", &["-o", "BindAddress=127.0.0.9"], &["whoami"]).await;
    assert!(thief.code == 255 && thief.stderr.contains("reported as not yours"), "{thief:?}");
    let notice = told(&heard).await;
    assert_eq!((&notice["event"], &notice["user"]), (&"fraud".into(), &JANE.into()));
    assert!(notice["text_en"].as_str().unwrap().contains("127.0.0.9"), "{notice}");
    assert!(notice["text_de"].as_str().unwrap().contains("als fremd gemeldet"), "{notice}");
    let ended = tokio::time::timeout(Duration::from_secs(10), desk.wait_with_output()).await;
    let ended = ended.unwrap().unwrap();
    assert_eq!(ended.status.code(), Some(255));
    door.phone_does("approve");
    for key in ["jane", "second"] {
        let barred = door.ssh_as(JANE, key, &[], &["whoami"]).await;
        assert!(barred.code == 255 && barred.stderr.contains("Barred"), "{key}: {barred:?}");
    }
    assert_eq!(door.ssh_as(BOB, "bob", &[], &["whoami"]).await.code, 0, "a colleague is not locked");
    let lines = door.events("loaded");
    assert!(
        lines.iter().any(|l| l["cause"].as_str().unwrap().starts_with("notice fraud: ") && l["user"] == JANE)
    );
    // The operator gives her a new key: that one is not barred.
    let third = door.make_key("third");
    door.register(JANE, &third);
    door.reload().await;
    assert_eq!(door.ssh_as(JANE, "third", &[], &["whoami"]).await.code, 0);
    door.close().await;
}
