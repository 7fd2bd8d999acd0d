//! An Infomodell as large as a hospital's, taken and given in pieces.
//! Absent on purpose: how much memory that takes; nothing here measures it.

use pforte::konnektor::simulator::{Make, big_infomodell};
use reqwest::Method;
use reqwest::header::CONTENT_TYPE;
use serde_json::Value;

use super::seat;

#[test]
fn a_big_infomodell_has_about_the_wanted_size_and_the_shape_of_the_small_one() {
    for bytes in [1 << 18, 5_000_000] {
        let big = big_infomodell(bytes);
        assert!((bytes..bytes + 65_536).contains(&big.len()), "{bytes}: {}", big.len());
        let value: Value = serde_json::from_slice(&big).unwrap();
        for list in ["mandanten", "arbeitsplaetze", "aufrufkontexte", "remotePinKts"] {
            assert!(value[list].as_array().unwrap().len() >= 200, "{list}");
        }
    }
}

#[tokio::test]
async fn fifty_megabytes_are_taken_and_given_back_byte_by_byte_the_same() {
    let seat = seat(Make::Kocobox, |_| {}).await;
    let token = seat.koco_login().await;
    let big = big_infomodell(50_000_000);
    let request = seat.ask(Method::POST, "/administration/json-store/infomodell").header("X-TOKEN", token);
    let answer = request.header(CONTENT_TYPE, "application/json").body(big.clone()).send().await.unwrap();
    assert_eq!(answer.status(), 200);
    assert!(std::fs::read(seat.dir.path().join("infomodell.json")).unwrap() == big);
    let read = seat.get("/administration/json-retrieve/infomodell").await;
    assert_eq!(read.content_length(), Some(big.len() as u64));
    assert!(read.bytes().await.unwrap() == big);
}
