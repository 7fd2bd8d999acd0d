//! The secunet box: bearer token, resources, settings, terminals, restart, roles.
//! Absent on purpose: what is not publicly known of it: factory backup, users, network.

use pforte::konnektor::simulator::{Fault, Make, Options, Order, PATIENTS, Role, When};
use reqwest::header::AUTHORIZATION;
use reqwest::{Method, RequestBuilder, Response};
use serde_json::{Value, json};

use super::{PASSWORD, Seat, seat};

const MGMT: &str = "/rest/mgmt";
const READABLE: [(&str, &str); 14] = [
    ("/ak/dienste/status", "vpnTiConnected"),
    ("/ak/dienste/status/version", "serialNumber"),
    ("/ak/dienste/status/releaseinfos", "fwVersion"),
    ("/nk/status/basic", "cpuTemperature"),
    ("/nk/ntp/zeit", "timeZone"),
    ("/nk/licence/features", "licenced"),
    ("/ak/info", "kartenTerminals"),
    ("/ak/info/mandanten", "managedSmbs"),
    ("/ak/info/clientsysteme", "keystore"),
    ("/ak/dienste/karten", "iccsn"),
    ("/ak/dienste/kartenterminals", "slotInfos"),
    ("/nk/protokoll/einstellungen", "logInfo"),
    ("/ak/dienste/ksr/einstellungen", "autoUpdateWave"),
    ("/ak/dienste/ksr/informationen/updates-konnektor", "lastUpdate"),
];

async fn secunet(change: impl FnOnce(&mut Options)) -> Seat {
    seat(Make::Secunet, change).await
}

async fn login(seat: &Seat, password: &str) -> Response {
    let account = json!({"username": "super", "password": password});
    seat.ask(Method::POST, "/rest/mgmt/ak/konten/login").json(&account).send().await.unwrap()
}

async fn token(seat: &Seat) -> String {
    let answer = login(seat, PASSWORD).await;
    assert_eq!(answer.status(), 204);
    answer.headers()[AUTHORIZATION].to_str().unwrap().to_owned()
}

async fn ask(seat: &Seat, token: &str, method: Method, path: &str, body: Option<Value>) -> (u16, Value) {
    let request = seat.ask(method, &format!("{MGMT}{path}")).header(AUTHORIZATION, token);
    let answer = body.iter().fold(request, RequestBuilder::json).send().await.unwrap();
    (answer.status().as_u16(), serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or_default())
}

async fn get(seat: &Seat, token: &str, path: &str) -> (u16, Value) {
    ask(seat, token, Method::GET, path, None).await
}

#[tokio::test]
async fn a_bearer_token_opens_every_known_resource_and_ends_with_the_logout() {
    let seat = secunet(|_| {}).await;
    let sds = seat.get("/connector.sds").await.text().await.unwrap();
    assert!(sds.contains("<ns2:ProductVendorID>SECUN<") && sds.contains(">2.0.2<"));
    let wrong = login(&seat, "wrong").await;
    assert_eq!((wrong.status().as_u16(), wrong.headers().get(AUTHORIZATION)), (401, None));
    let token = token(&seat).await;
    assert!(token.starts_with("Bearer eyJ"));
    for (path, member) in READABLE {
        assert_eq!(get(&seat, "Bearer eyJ", path).await.0, 401, "{path}");
        let (status, value) = get(&seat, &token, path).await;
        assert_eq!(status, 200, "{path}");
        assert!(value.to_string().contains(&format!("\"{member}\"")), "{path}");
    }
    assert_eq!(get(&seat, &token, "/ak/dienste/status/ping").await.0, 200);
    assert_eq!(get(&seat, &token, "/ak/backup").await.0, 404);
    assert_eq!(ask(&seat, &token, Method::DELETE, "/ak/konten/profil/logout", None).await.0, 204);
    assert_eq!(get(&seat, &token, "/nk/ntp/zeit").await.0, 401);
    assert_eq!(seat.simulator.writes(), 0, "a logout is no write");
}

#[tokio::test]
async fn terminals_show_their_patients_and_are_found_by_their_id() {
    let seat = secunet(|_| {}).await;
    let token = token(&seat).await;
    let (_, terminals) = get(&seat, &token, "/ak/dienste/kartenterminals").await;
    assert!(PATIENTS[..2].iter().all(|patient| terminals.to_string().contains(patient)));
    assert_eq!((&terminals[0]["adminPassword"], &terminals[0]["port"]), (&Value::Null, &json!(4742)));
    let id = terminals[1]["internalId"].as_str().unwrap();
    let one = format!("/ak/dienste/kartenterminals/{id}/erweitert");
    assert_eq!(get(&seat, &token, &one).await, (200, terminals[1].clone()));
    assert_eq!(get(&seat, &token, "/ak/dienste/kartenterminals/x/erweitert").await.0, 404);
    assert_eq!(get(&seat, &token, "/ak/info").await.1["kartenTerminals"], terminals);
    assert_eq!(get(&seat, &token, "/ak/dienste/karten/SMC-B-1").await.1["type"], "SMC_B");
    let pin = "/ak/dienste/karten/smb/SMC-B-1/DE-M-HQ/pin";
    assert_eq!(get(&seat, &token, pin).await.1["status"], "VERIFIABLE");
}

#[tokio::test]
async fn settings_are_stored_whole_and_strictly() {
    for (path, member) in
        [("/nk/protokoll/einstellungen", "securityLogDays"), ("/ak/dienste/ksr/einstellungen", "autoUpdate")]
    {
        let seat = secunet(|_| {}).await;
        let token = token(&seat).await;
        let (_, before) = get(&seat, &token, path).await;
        let mut after = before.clone();
        after[member] = json!(77);
        let (mut more, mut less) = (after.clone(), after.clone());
        more["unknown"] = json!(1);
        less.as_object_mut().unwrap().remove(member);
        let strict = format!("{path}?strict=true");
        for (path, body) in [
            (path, after.clone()),
            (&strict, more),
            (&strict, less),
            (&strict, json!([])),
            (&strict, Value::Null),
        ] {
            assert_eq!(ask(&seat, &token, Method::PUT, path, Some(body)).await.0, 400, "{path}");
        }
        assert_eq!(get(&seat, &token, path).await.1, before);
        assert_eq!(ask(&seat, &token, Method::PUT, &strict, Some(after.clone())).await.0, 200);
        assert_eq!(get(&seat, &token, path).await.1, after);
    }
}

#[tokio::test]
async fn a_terminal_goes_the_known_ways_and_no_others() {
    let seat = secunet(|_| {}).await;
    let token = token(&seat).await;
    let id = seat.held("kartenterminals")[0]["internalId"].as_str().unwrap().to_owned();
    for (method, step, status, state) in [
        (Method::PUT, "/verbinden", 200, "AKTIV"),
        (Method::DELETE, "/aktivieren", 200, "GEPAIRT"),
        (Method::PUT, "/verbinden", 409, "GEPAIRT"),
        (Method::PUT, "/aktivieren", 200, "AKTIV"),
        (Method::DELETE, "/zuweisen", 200, "BEKANNT"),
        (Method::PUT, "/aktivieren", 409, "BEKANNT"),
        (Method::PUT, "/umbenennen", 404, "BEKANNT"),
    ] {
        let path = format!("/ak/dienste/kartenterminals/{id}{step}");
        assert_eq!(ask(&seat, &token, method, &path, None).await.0, status, "{step}");
        assert_eq!(seat.held("kartenterminals")[0]["correlation"], state, "{step}");
    }
    let path = format!("/ak/dienste/kartenterminals/{id}");
    assert_eq!(ask(&seat, &token, Method::DELETE, &path, None).await.0, 200);
    assert_eq!(ask(&seat, &token, Method::DELETE, &path, None).await.0, 404);
    assert_eq!(seat.held("kartenterminals").as_array().unwrap().len(), 1);
}

#[tokio::test]
async fn it_restarts_with_an_empty_body_or_an_empty_object() {
    for (body, status) in [("", 200), ("{}", 200), ("\"\"", 200), ("{\"x\":1}", 400)] {
        let seat = secunet(|_| {}).await;
        let token = token(&seat).await;
        let request = seat.ask(Method::POST, "/rest/mgmt/nk/system").header(AUTHORIZATION, &token);
        assert_eq!(request.body(body).send().await.unwrap().status(), status, "{body}");
        assert_eq!(seat.refuses().await, status == 200);
        seat.back().await;
        assert_eq!(seat.simulator.reboots(), usize::from(status == 200));
        assert_eq!(get(&seat, &token, "/nk/ntp/zeit").await.0, if status == 200 { 401 } else { 200 });
    }
}

#[tokio::test]
async fn an_idle_token_ends_by_order_and_services_fail_by_order() {
    let seat = secunet(|options| options.read_only = vec!["ksr".into()]).await;
    let token = token(&seat).await;
    let when = When::Path("/nk/ntp/zeit".into());
    seat.simulator.set_fault(Order { fault: Fault::Status(503), when: when.clone(), times: Some(1) });
    seat.simulator.set_fault(Order { fault: Fault::SessionExpired, when, times: Some(1) });
    assert_eq!(get(&seat, &token, "/nk/ntp/zeit").await.0, 503);
    let ksr = seat.held("ksr");
    let path = "/ak/dienste/ksr/einstellungen?strict=true";
    assert_eq!(ask(&seat, &token, Method::PUT, path, Some(ksr)).await.0, 403);
    for _ in 0..2 {
        assert_eq!(get(&seat, &token, "/nk/ntp/zeit").await.0, 401);
    }
}

#[tokio::test]
async fn each_role_enters_by_its_own_port() {
    for (role, remote_port, status) in [
        (Role::Super, false, 204),
        (Role::Lokal, false, 204),
        (Role::Remote, false, 403),
        (Role::Super, true, 403),
        (Role::Lokal, true, 403),
        (Role::Remote, true, 204),
    ] {
        let seat = secunet(|options| (options.role, options.remote_port) = (role, remote_port)).await;
        assert_eq!(login(&seat, PASSWORD).await.status(), status, "{role:?} {remote_port}");
    }
}

#[tokio::test]
async fn a_remote_admin_sees_no_keystores_and_no_persons_cards() {
    let seat = secunet(|options| (options.role, options.remote_port) = (Role::Remote, true)).await;
    let token = token(&seat).await;
    assert_eq!(get(&seat, &token, "/ak/info/clientsysteme").await.0, 403);
    let pin = "/ak/dienste/karten/smb/SMC-B-1/DE-M-HQ/CT/pin";
    assert_eq!(ask(&seat, &token, Method::POST, pin, None).await.0, 403);
    for path in
        ["/ak/dienste/karten", "/ak/dienste/kartenterminals", "/ak/info", "/nk/protokoll/einstellungen"]
    {
        let (status, value) = get(&seat, &token, path).await;
        assert_eq!(status, 200);
        assert!(!PATIENTS.iter().any(|patient| value.to_string().contains(patient)), "{path}");
    }
}

#[tokio::test]
async fn log_entries_are_asked_for_by_time_and_none_is_404() {
    let seat = secunet(|_| {}).await;
    let token = token(&seat).await;
    let path = |from: u64, to: u64| {
        format!("/ak/dienste/protokoll/datei/system/OP/{from}/{to}?severities=IWEF&limit=1000")
    };
    assert_eq!(ask(&seat, &token, Method::POST, &path(1_767_225_600, 1_767_225_601), None).await.0, 200);
    assert_eq!(ask(&seat, &token, Method::POST, &path(1, 2), None).await.0, 404);
}

#[tokio::test]
async fn an_expired_password_is_403_without_a_token() {
    let seat = secunet(|options| options.forced_password_change = true).await;
    let answer = login(&seat, PASSWORD).await;
    assert_eq!((answer.status().as_u16(), answer.headers().get(AUTHORIZATION)), (403, None));
    assert!(!answer.text().await.unwrap().is_empty());
}
