//! The RISE box: its session, the headers it insists on, status, restart, terminals.
//! Absent on purpose: what is not publicly known of it.

use pforte::konnektor::simulator::Make;
use reqwest::header::{COOKIE, REFERER};
use reqwest::{Method, RequestBuilder};
use serde_json::{Value, json};

use super::{PASSWORD, Seat, seat, token_of};

const MAC: &str = "00:0D:F8:00:02:02";

async fn ask(seat: &Seat, cookie: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = seat.ask(method, &format!("/api/v1{path}")).header(REFERER, seat.url(""));
    let request = request.header("X-Requested-With", "RISEHttpRequest").header(COOKIE, cookie);
    let answer = body.iter().fold(request, RequestBuilder::json).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

async fn begun(seat: &Seat) -> String {
    let request = seat.ask(Method::GET, "/api/v1/users/current").header(REFERER, seat.url(""));
    let answer = request.header("X-Requested-With", "RISEHttpRequest").send().await.unwrap();
    assert_eq!(answer.status(), 204);
    format!("JSESSIONID={}", token_of(&answer))
}

async fn login(seat: &Seat) -> String {
    let cookie = begun(seat).await;
    let account = json!({"user": "superadmin", "password": PASSWORD});
    assert_eq!(ask(seat, &cookie, Method::POST, "/auth/login", Some(account)).await.0, 200);
    cookie
}

async fn step(seat: &Seat, cookie: &str, step: &str, body: Value) -> (u16, Value) {
    ask(seat, cookie, Method::POST, &format!("/ctm/terminals/{step}"), Some(body)).await
}

#[tokio::test]
async fn the_recipes_steps_lead_to_the_status_and_to_a_restart() {
    let seat = seat(Make::Rise, |_| {}).await;
    let sds = seat.get("/connector.sds").await.text().await.unwrap();
    assert!(sds.contains(">RISEG<") && sds.contains(">RKONN<") && sds.contains(">4.2.8<"));
    let cookie = login(&seat).await;
    let (status, value) = ask(&seat, &cookie, Method::GET, "/status", None).await;
    assert_eq!((status, &value["vpnState"]["tiOnline"]), (200, &json!(true)));
    assert_eq!(ask(&seat, &cookie, Method::POST, "/mgm/reboot", None).await.0, 200);
    assert!(seat.refuses().await);
    seat.back().await;
    assert_eq!(seat.simulator.reboots(), 1);
    assert_eq!(ask(&seat, &cookie, Method::GET, "/status", None).await.0, 403, "the session is over");
}

#[tokio::test]
async fn a_login_without_its_cookie_or_headers_or_with_another_field_is_refused() {
    let seat = seat(Make::Rise, |_| {}).await;
    let account = json!({"user": "superadmin", "password": PASSWORD});
    let cookie = begun(&seat).await;
    let (base, with) = (seat.url(""), "RISEHttpRequest");
    for (cookie, referer, requested) in [
        ("", base.as_str(), with),
        (&cookie, "", with),
        (&cookie, &seat.url("/"), with),
        (&cookie, "https://127.0.0.1:1", with),
        (&cookie, &base, "XMLHttpRequest"),
    ] {
        let plain = super::client().post(seat.url("/api/v1/auth/login")).json(&account);
        let answer =
            plain.header(COOKIE, cookie).header(REFERER, referer).header("X-Requested-With", requested);
        assert_eq!(answer.send().await.unwrap().status(), 403, "{cookie} {referer} {requested}");
    }
    for wrong in [
        json!({"username": "superadmin", "password": PASSWORD}),
        json!({"user": "superadmin", "password": "x"}),
    ] {
        assert_eq!(ask(&seat, &cookie, Method::POST, "/auth/login", Some(wrong)).await.0, 401);
    }
    assert_eq!(ask(&seat, &cookie, Method::GET, "/status", None).await.0, 401);
    assert_eq!(ask(&seat, &cookie, Method::POST, "/auth/login", Some(account)).await.0, 200);
    assert_eq!(ask(&seat, &cookie, Method::GET, "/status", None).await.0, 200);
}

#[tokio::test]
async fn a_terminal_is_assigned_paired_and_activated_step_by_step() {
    let seat = seat(Make::Rise, |_| {}).await;
    let cookie = login(&seat).await;
    let (_, terminals) = ask(&seat, &cookie, Method::GET, "/ctm/state", None).await;
    assert_eq!((&terminals[1]["CTID"], &terminals[1]["CORRELATION"]), (&json!(MAC), &json!("BEKANNT")));
    let id = json!({"ctId": MAC});
    assert_eq!(step(&seat, &cookie, "pairing/initialize", id.clone()).await.0, 409);
    assert_eq!(step(&seat, &cookie, "assign", id.clone()).await.0, 200);
    let (status, mut pairing) = step(&seat, &cookie, "pairing/initialize", id.clone()).await;
    assert_eq!((status, &pairing["ctId"]), (200, &json!(MAC)));
    let good = pairing.clone();
    pairing["fingerprint"] = json!("other");
    assert_eq!(step(&seat, &cookie, "pairing/finalize", pairing).await.0, 400);
    assert_eq!(step(&seat, &cookie, "pairing/finalize", good).await.0, 200);
    let aktiv = |correlation: &str| json!({"ctId": MAC, "correlation": correlation});
    assert_eq!(step(&seat, &cookie, "change-correlation", aktiv("aktiv")).await.0, 400);
    assert_eq!(step(&seat, &cookie, "change-correlation", aktiv("AKTIV")).await.0, 200);
    assert_eq!(step(&seat, &cookie, "begin-session", id.clone()).await.0, 200);
    let (_, one) = ask(&seat, &cookie, Method::GET, &format!("/ctm/state/{MAC}"), None).await;
    assert_eq!((&one["CORRELATION"], &one["CONNECTED"]), (&json!("AKTIV"), &json!(true)));
    assert_eq!(step(&seat, &cookie, "end-session", id).await.0, 200);
    assert_eq!(seat.held("ctm")[1]["CONNECTED"], false);
}

#[tokio::test]
async fn terminals_are_found_and_added_and_unknown_ones_are_404() {
    let seat = seat(Make::Rise, |_| {}).await;
    let cookie = login(&seat).await;
    assert_eq!(step(&seat, &cookie, "add", json!({"ipAddress": "10.0.0.9", "tcpPort": 4742})).await.0, 200);
    assert_eq!(step(&seat, &cookie, "add", json!({"ipAddress": "10.0.0.9"})).await.0, 400);
    let (_, found) = step(&seat, &cookie, "discover", json!({})).await;
    assert_eq!((found.as_array().unwrap().len(), &found[2]["IP_ADDRESS"]), (3, &json!("10.0.0.9")));
    assert_eq!(step(&seat, &cookie, "assign", json!({"ctId": "x"})).await.0, 404);
    assert_eq!(ask(&seat, &cookie, Method::GET, "/ctm/state/x", None).await.0, 404);
    assert_eq!(seat.simulator.writes(), 4);
    assert!(seat.simulator.factory_reset().is_err() && seat.simulator.pair(MAC).is_err());
}

#[tokio::test]
async fn terminals_closed_to_writes_can_still_be_read() {
    let seat = seat(Make::Rise, |options| options.read_only = vec!["ctm".into()]).await;
    let cookie = login(&seat).await;
    assert_eq!(ask(&seat, &cookie, Method::GET, "/ctm/state", None).await.0, 200);
    assert_eq!(step(&seat, &cookie, "assign", json!({"ctId": MAC})).await.0, 403);
}
