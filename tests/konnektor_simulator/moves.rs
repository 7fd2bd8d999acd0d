//! Another LAN address, and what is left of the old one.
//! Absent on purpose: addresses beside loopback; nobody could be reached there.

use std::net::SocketAddr;
use std::time::Duration;

use pforte::konnektor::simulator::{Fault, Make, Moment, Order};
use serde_json::json;

use super::{Seat, client, seat};

const LAN: &str = "ANLW_LAN_IP_ADDRESS";

async fn refused(address: SocketAddr) -> bool {
    client()
        .get(format!("https://{address}/connector.sds"))
        .send()
        .await
        .is_err_and(|error| error.is_connect())
}

async fn moved_to(seat: &Seat, address: &str) -> SocketAddr {
    let before = seat.simulator.address();
    let token = seat.koco_login().await;
    let mut value = seat.held("lanwanservice");
    value[LAN] = json!(address);
    seat.written("lanwanservice", &token, &value).await;
    assert_eq!(seat.held("lanwanservice"), value);
    before
}

#[tokio::test]
async fn the_answer_to_the_new_address_still_comes_and_then_the_box_is_there_alone() {
    let seat = seat(Make::Kocobox, |_| {}).await;
    let before = moved_to(&seat, "127.0.0.2").await;
    assert_eq!(seat.simulator.address(), format!("127.0.0.2:{}", before.port()).parse().unwrap());
    assert!(refused(before).await && !refused(seat.simulator.address()).await);
    moved_to(&seat, "192.168.2.100").await;
    assert_eq!(seat.simulator.address(), before, "what the first address was called leads home");
}

#[tokio::test]
async fn the_old_address_may_answer_for_a_while() {
    let seat =
        seat(Make::Kocobox, |options| options.old_address_closes_after = Duration::from_millis(700)).await;
    let before = moved_to(&seat, "127.0.0.2").await;
    assert!(!refused(before).await && !refused(seat.simulator.address()).await);
    let closed = async {
        while !refused(before).await {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(20), closed).await.unwrap();
    assert!(!refused(seat.simulator.address()).await);
}

#[tokio::test]
async fn the_same_address_changes_nothing_and_what_is_none_is_refused() {
    let seat = seat(Make::Kocobox, |options| options.real_lan_address = true).await;
    assert_eq!(seat.held("lanwanservice")[LAN], "127.0.0.1");
    let before = moved_to(&seat, "127.0.0.1").await;
    assert_eq!(seat.simulator.address(), before);
    let token = seat.koco_login().await;
    for wrong in [json!("127.0.0.300"), json!(1), json!("")] {
        let answer = seat.write("lanwanservice", &token, &json!({ LAN: wrong })).send().await.unwrap();
        assert_eq!(answer.status(), 400);
    }
    seat.written("lanwanservice", &token, &json!({"MTU": 1300})).await;
    assert_eq!(seat.simulator.address(), before);
    assert!(!refused(before).await);
}

#[tokio::test]
async fn power_lost_after_the_new_address_was_taken_brings_the_box_back_there() {
    let seat = seat(Make::Kocobox, |_| {}).await;
    let before = seat.simulator.address();
    let token = seat.koco_login().await;
    seat.simulator.set_fault(Order::of_write(1, Fault::Power).at(Moment::After));
    assert!(seat.write("lanwanservice", &token, &json!({ LAN: "127.0.0.2" })).send().await.is_err());
    assert!(seat.simulator.address().ip().to_string() == "127.0.0.2" && refused(before).await);
    seat.back().await;
}

#[tokio::test]
async fn a_reset_box_stays_where_it_was_moved_to() {
    let seat = seat(Make::Kocobox, |_| {}).await;
    moved_to(&seat, "127.0.0.2").await;
    seat.simulator.factory_reset().unwrap();
    assert_eq!(seat.held("lanwanservice")[LAN], "127.0.0.2");
    seat.koco_login().await;
}
