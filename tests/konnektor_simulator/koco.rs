//! The `KoCoBox`: who may write what, the cards that no write changes, reset, pairing, restart, firmware.
//! Absent on purpose: another address and failures; see `moves` and `faults`.

use pforte::konnektor::simulator::{Make, PATIENTS, SERVICES, TokenWay};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::{PASSWORD, Seat, seat, token_of};

const STORE: &str = "/administration/json-store/ntpservice";

async fn koco() -> Seat {
    seat(Make::Kocobox, |_| {}).await
}

#[tokio::test]
async fn the_recipes_steps_lead_to_a_restart_with_the_token_out_of_the_page_too() {
    let seat = koco().await;
    let cookie = seat.koco_login().await;
    let page = seat.get("/administration/start.htm").await.text().await.unwrap();
    let token = page.split("id=\"x-token\"").nth(1).unwrap().split(['>', '<']).nth(1).unwrap();
    assert_eq!(token, cookie);
    assert_eq!(seat.perform("reboot", "wrong", "").await.status(), 403);
    assert_eq!(seat.simulator.reboots(), 0);
    assert_eq!(seat.perform("reboot", token, "").await.status(), 200);
    assert!(seat.refuses().await);
    seat.back().await;
    assert_eq!(seat.simulator.reboots(), 1);
    assert_eq!(seat.simulator.performed(), [("reboot".to_owned(), Value::Null)]);
    assert_eq!(seat.get("/administration/json-retrieve/update").await.status(), 302, "the session is over");
    seat.koco_login().await;
}

#[tokio::test]
async fn a_write_is_kept_whole_and_read_back() {
    let seat = koco().await;
    let token = seat.koco_login().await;
    let value = json!({"NTP_SERVER_ADDR": "10.0.0.1", "b": 1, "a": [1.5, null]});
    seat.written("ntpservice", &token, &value).await;
    assert_eq!(seat.held("ntpservice"), value);
    let read = seat.get("/administration/json-retrieve/ntpservice").await;
    assert_eq!(read.headers()["content-length"], read.content_length().unwrap().to_string().as_str());
    assert_eq!(read.json::<Value>().await.unwrap(), value);
    let names = std::fs::read_dir(seat.dir.path()).unwrap();
    assert_eq!(names.filter(|name| name.as_ref().unwrap().path().extension().unwrap() == "part").count(), 0);
}

#[tokio::test]
async fn a_write_without_session_token_service_or_json_is_refused_and_changes_nothing() {
    let seat = koco().await;
    let before = seat.held("ntpservice");
    let value = json!({"changed": true});
    assert_eq!(seat.write("ntpservice", "x", &value).send().await.unwrap().status(), 302, "no session");
    let token = seat.koco_login().await;
    let without = seat.ask(Method::POST, STORE).json(&value).send().await.unwrap();
    assert_eq!(without.status(), 403);
    for (service, token, status) in [
        ("ntpservice", "wrong", 403),
        ("nosuchservice", &token, 404),
        ("..%2Fntpservice", &token, 404),
        (".physical", &token, 404),
        ("infoservice", &token, 405),
    ] {
        let answer = seat.write(service, token, &value).send().await.unwrap();
        assert_eq!(answer.status(), status, "{service}");
    }
    for (kind, body, status) in [
        ("application/json", "{\"cut\":", 400),
        ("application/json", "", 400),
        ("application/json", "{} {}", 400),
        ("application/json", "[1]", 400),
        ("text/plain", "{}", 415),
    ] {
        let request = seat.ask(Method::POST, STORE).header(CONTENT_TYPE, kind).header("X-TOKEN", &token);
        let answer = request.body(body).send().await.unwrap();
        assert_eq!(answer.status(), status, "{body}");
        assert_eq!(answer.json::<Value>().await.unwrap()["result"], "ERROR");
    }
    assert_eq!(seat.held("ntpservice"), before);
    assert_eq!(seat.held("infoservice")["SERIAL"], "DEMO-0000-0001");
}

#[tokio::test]
async fn a_box_that_takes_no_writes_knows_no_path_for_them() {
    let seat = seat(Make::Kocobox, |options| options.writable = false).await;
    let token = seat.koco_login().await;
    assert_eq!(seat.write("ntpservice", &token, &json!({})).send().await.unwrap().status(), 404);
}

#[tokio::test]
async fn rotating_tokens_are_good_for_one_write_each() {
    let seat = seat(Make::Kocobox, |options| {
        options.rotating = true;
        options.token = TokenWay::Cookie;
    })
    .await;
    let first = seat.koco_login().await;
    let answer = seat.write("ntpservice", &first, &json!({"n": 1})).send().await.unwrap();
    let second = token_of(&answer);
    assert_ne!(first, second);
    assert_eq!(seat.write("ntpservice", &first, &json!({"n": 2})).send().await.unwrap().status(), 403);
    seat.written("ntpservice", &second, &json!({"n": 3})).await;
}

#[tokio::test]
async fn a_weaker_account_is_refused_by_service() {
    let seat = seat(Make::Kocobox, |options| {
        options.forbidden = vec!["infomodell".into()];
        options.read_only = vec!["update".into()];
    })
    .await;
    let token = seat.koco_login().await;
    for (service, read, write) in [("infomodell", 403, 403), ("update", 200, 403), ("ntpservice", 200, 200)] {
        let path = format!("/administration/json-retrieve/{service}");
        assert_eq!(seat.get(&path).await.status(), read, "{service}");
        assert_eq!(
            seat.write(service, &token, &json!({})).send().await.unwrap().status(),
            write,
            "{service}"
        );
    }
}

#[tokio::test]
async fn writes_of_users_are_counted_even_refused_ones() {
    let seat = koco().await;
    let token = seat.koco_login().await;
    seat.written("ntpservice", &token, &json!({})).await;
    seat.get("/administration/json-retrieve/usermanagement").await;
    assert_eq!((seat.simulator.writes(), seat.simulator.user_writes()), (1, 0));
    seat.write("usermanagement", "wrong", &json!({})).send().await.unwrap();
    assert_eq!((seat.simulator.writes(), seat.simulator.user_writes()), (2, 1));
}

#[tokio::test]
async fn no_write_changes_the_cards_in_the_slots() {
    let seat = koco().await;
    let token = seat.koco_login().await;
    let (terminals, cards, slots) =
        (seat.held("cardterminals"), seat.held("cardservice"), seat.held("cardterminalservice"));
    let mut without = terminals.clone();
    without[0].as_object_mut().unwrap().remove("slotInfos");
    without[1]["slotInfos"] = json!([{"slotNo": 1, "cardHolderName": "Invented"}]);
    without[0]["HOSTNAME"] = json!("renamed");
    seat.written("cardterminals", &token, &without).await;
    assert_eq!(seat.held("cardterminals")[0]["slotInfos"], terminals[0]["slotInfos"]);
    assert_eq!(seat.held("cardterminals")[1]["slotInfos"], terminals[1]["slotInfos"]);
    assert_eq!(seat.held("cardterminals")[0]["HOSTNAME"], "renamed");
    seat.written("cardservice", &token, &json!({"CARD_TIMEOUT_CARD": 7, "CARDS": []})).await;
    assert_eq!(seat.held("cardservice"), json!({"CARD_TIMEOUT_CARD": 7, "CARDS": cards["CARDS"]}));
    seat.written("cardterminalservice", &token, &json!({"KEEP_ALIVE_INTERVAL": 9})).await;
    let shown =
        seat.get("/administration/json-retrieve/cardterminalservice").await.json::<Value>().await.unwrap();
    assert_eq!(shown, json!({"KEEP_ALIVE_INTERVAL": 9, "slotInfos": slots["slotInfos"]}));
}

#[tokio::test]
async fn after_a_factory_reset_there_is_no_configuration_but_the_cards_and_the_serial_number() {
    let seat = koco().await;
    seat.koco_login().await;
    let before: Vec<_> = SERVICES.map(|service| (service, seat.held(service))).into();
    seat.simulator.factory_reset().unwrap();
    for (service, before) in &before {
        assert_eq!(seat.held(service) == *before, *service == "infoservice", "{service}");
    }
    assert_eq!(seat.get("/administration/json-retrieve/update").await.status(), 302, "the session is over");
    seat.koco_login().await;
    assert_eq!(seat.held("cardterminals"), json!([]));
    assert_eq!(seat.held("clientsystem-certificates"), json!({"certificates": []}));
    assert_eq!(
        seat.held("usermanagement")["MGM_USER_LIST"],
        json!([{"USERNAME": "koco-root", "ROLE": "SUPER_ADMIN"}])
    );
    assert_eq!(seat.held("lanwanservice")["ANLW_LAN_IP_ADDRESS"], "192.168.2.100");
    assert!(seat.held("cardservice").to_string().contains(PATIENTS[0]));
    assert!(seat.held("cardterminalservice").to_string().contains(PATIENTS[1]));
}

#[tokio::test]
async fn a_restored_terminal_shows_its_cards_again_and_is_paired_by_hand_only() {
    for (new_ids, id) in [(false, "CT_ID_0001"), (true, "CT_ID_0011")] {
        let seat = seat(Make::Kocobox, |options| options.new_ids_on_pairing = new_ids).await;
        let mut terminals = seat.held("cardterminals");
        let slots = terminals[0]["slotInfos"].take();
        seat.simulator.factory_reset().unwrap();
        let token = seat.koco_login().await;
        seat.written("cardterminals", &token, &terminals).await;
        for _ in 0..2 {
            let restored = &seat.held("cardterminals")[0];
            assert_eq!(
                (&restored["CORRELATION"], &restored["CONNECTED"]),
                (&json!("bekannt"), &json!(false))
            );
            assert_eq!(restored["slotInfos"], slots);
            seat.written("cardterminals", &token, &terminals).await;
        }
        assert!(seat.simulator.pair("00:00:00:00:00:00").is_err());
        assert_eq!(seat.simulator.pair("00-0d-f8-00-00-01").unwrap(), id);
        assert_eq!(seat.simulator.pair("00:0D:F8:00:00:01").unwrap(), id, "a second time changes nothing");
        let now = seat.held("cardterminals");
        assert_eq!((&now[0]["CORRELATION"], &now[0]["CONNECTED"]), (&json!("aktiv"), &json!(true)));
        assert_eq!((&now[0]["CTID"], &now[1]["CORRELATION"]), (&json!(id), &json!("bekannt")));
        assert_eq!(seat.held("cardterminalservice")["slotInfos"][0]["ctId"], id, "the card is where it was");
        seat.written("infomodell", &token, &json!({"arbeitsplaetze": [{"ctIds": ["CT_ID_0001"]}]})).await;
        assert_eq!(seat.held("infomodell")["arbeitsplaetze"][0]["ctIds"][0], "CT_ID_0001", "nobody remaps");
        if new_ids {
            assert_eq!(seat.simulator.pair("00:0D:F8:00:00:02").unwrap(), "CT_ID_0012");
        }
    }
}

#[tokio::test]
async fn actions_answer_and_are_recorded_and_a_deleted_terminal_is_no_longer_paired() {
    let seat = seat(Make::Kocobox, |options| options.actions = vec!["log-export".into()]).await;
    let token = seat.koco_login().await;
    let terminals = seat.held("cardterminals");
    for (action, body, status) in [
        ("delete-ct", "{\"CTID\":\"CT_ID_0099\"}", 404),
        ("delete-ct", "{\"ctid\":\"CT_ID_0001\"}", 400),
        ("delete-ct", "{", 400),
        ("delete-ct", "", 400),
        ("delete-ct", "{\"CTID\":\"CT_ID_0001\"}", 200),
        ("delete-ct", "{\"CTID\":\"CT_ID_0001\"}", 404),
        ("log-export", "{\"days\":3}", 200),
        ("factory-reset", "", 404),
    ] {
        assert_eq!(seat.perform(action, &token, body).await.status(), status, "{action} {body}");
    }
    let done = [("delete-ct", json!({"CTID": "CT_ID_0001"})), ("log-export", json!({"days": 3}))];
    assert_eq!(seat.simulator.performed(), done.map(|(action, body)| (action.to_owned(), body)));
    assert_eq!(seat.held("cardterminals"), json!([terminals[1]]));
    seat.written("cardterminals", &token, &terminals).await;
    let now = seat.held("cardterminals");
    assert_eq!((&now[0]["CORRELATION"], &now[1]["CORRELATION"]), (&json!("bekannt"), &json!("aktiv")));
}

#[tokio::test]
async fn a_new_firmware_is_shown_and_its_new_member_outlives_an_older_write() {
    let seat = koco().await;
    let older = seat.held("protocolservice");
    seat.simulator.update_firmware("5.6.0").unwrap();
    let sds = seat.get("/connector.sds").await.text().await.unwrap();
    assert!(sds.contains("<ns2:FWVersion>5.6.0<") && sds.contains("KOCOC"));
    let info = seat.held("infoservice");
    assert_eq!((&info["FW_VERSION"], &info["SERIAL"]), (&json!("5.6.0"), &json!("DEMO-0000-0001")));
    let token = seat.koco_login().await;
    let mut expected = older.clone();
    expected["LOG_NEW"] = json!("X");
    assert_eq!(seat.held("protocolservice"), expected);
    seat.written("protocolservice", &token, &older).await;
    assert_eq!(seat.held("protocolservice"), expected);
    expected["LOG_NEW"] = json!("Y");
    seat.written("protocolservice", &token, &expected).await;
    assert_eq!(seat.held("protocolservice"), expected);
}

#[tokio::test]
async fn a_wrong_password_is_the_login_page_again() {
    let seat = koco().await;
    let form = [("j_username", "koco-root"), ("j_password", &PASSWORD[1..])];
    let answer = seat.ask(Method::POST, "/j_security_check").form(&form).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(answer.text().await.unwrap().contains("j_password"));
}
