//! Failures at every step of a sequence of writes, before and after each took effect.
//! Absent on purpose: what a driver makes of them.

use std::time::{Duration, Instant};

use pforte::konnektor::simulator::{Fault, Make, Moment, Order, When};
use serde_json::{Value, json};

use super::{Seat, seat};

const SEQUENCE: [&str; 3] = ["ntpservice", "dnsservice", "update"];

async fn koco() -> Seat {
    seat(Make::Kocobox, |options| options.reboot_takes = Duration::from_millis(50)).await
}

#[tokio::test]
async fn each_write_can_fail_before_and_after_it_takes_effect() {
    for nth in 1..=SEQUENCE.len() {
        for fault in
            [Fault::Drop, Fault::Power, Fault::Network(Duration::from_millis(50)), Fault::Status(500)]
        {
            for moment in [Moment::Before, Moment::After] {
                let seat = koco().await;
                let token = seat.koco_login().await;
                seat.simulator.set_fault(Order::of_write(nth, fault.clone()).at(moment));
                let mut failed_at = None;
                for (at, service) in SEQUENCE.iter().enumerate() {
                    let answer = seat.write(service, &token, &json!({"new": at})).send().await;
                    if !answer.is_ok_and(|answer| answer.status() == 200) {
                        failed_at = Some(at + 1);
                        break;
                    }
                }
                let case = format!("{nth} {fault:?} {moment:?}");
                assert_eq!(failed_at, Some(nth), "{case}");
                let applied =
                    SEQUENCE.iter().filter(|service| seat.held(service).get("new").is_some()).count();
                assert_eq!(applied, if moment == Moment::Before { nth - 1 } else { nth }, "{case}");
                let away = matches!(fault, Fault::Power | Fault::Network(_));
                assert_eq!(seat.simulator.writes(), nth, "{case}");
                if away {
                    seat.back().await;
                }
                let session = seat.get("/administration/json-retrieve/update").await.status() == 200;
                assert_eq!(session, fault != Fault::Power, "{case}");
                assert_eq!(seat.simulator.reboots(), 0, "{case}");
            }
        }
    }
}

#[tokio::test]
async fn without_power_or_network_all_connections_end_and_new_ones_are_refused() {
    for fault in [Fault::Power, Fault::Network(Duration::from_secs(3))] {
        let seat = seat(Make::Kocobox, |options| options.reboot_takes = Duration::from_secs(3)).await;
        let token = seat.koco_login().await;
        seat.simulator.set_fault(Order {
            fault: Fault::Stall,
            when: When::Path("/connector.sds".into()),
            times: Some(1),
        });
        seat.simulator.set_fault(Order::of_write(1, fault));
        let other = tokio::spawn(seat.ask(reqwest::Method::GET, "/connector.sds").send());
        let begun = Instant::now();
        while !seat.simulator.requests().iter().any(|request| request.path == "/connector.sds") {
            assert!(begun.elapsed() < Duration::from_secs(10));
            tokio::task::yield_now().await;
        }
        assert!(seat.write("update", &token, &json!({})).send().await.is_err());
        assert!(other.await.unwrap().is_err(), "the stalled one too");
        assert!(seat.refuses().await);
        seat.back().await;
    }
}

#[tokio::test]
async fn power_can_be_cut_by_hand() {
    let seat = seat(Make::Kocobox, |options| options.reboot_takes = Duration::from_secs(1)).await;
    seat.koco_login().await;
    seat.simulator.cut_power().await;
    assert!(seat.refuses().await);
    seat.back().await;
    assert_eq!(seat.get("/administration/json-retrieve/update").await.status(), 302);
    assert_eq!(seat.simulator.reboots(), 0);
}

#[tokio::test]
async fn a_changed_token_refuses_the_old_one_and_is_read_anew() {
    let seat = koco().await;
    let token = seat.koco_login().await;
    seat.simulator.set_fault(Order::of_write(1, Fault::TokenRotated));
    let value = json!({"new": 1});
    for _ in 0..2 {
        assert_eq!(seat.write("update", &token, &value).send().await.unwrap().status(), 403);
    }
    let info = seat.get("/administration/json-retrieve/infoservice").await;
    assert_eq!(info.status(), 200, "the session lives");
    let new = super::token_of(&info);
    assert_ne!(new, token);
    seat.written("update", &new, &value).await;
}

#[tokio::test]
async fn a_slow_answer_ends_and_is_the_right_one() {
    for moment in [Moment::Before, Moment::After] {
        let seat = koco().await;
        let token = seat.koco_login().await;
        let pause = Duration::from_millis(20);
        seat.simulator.set_fault(Order::of_write(1, Fault::Slow(pause)).at(moment));
        let begun = Instant::now();
        let answer = seat.write("update", &token, &json!({"new": 1})).send().await.unwrap();
        assert_eq!(answer.status(), 200);
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({"result": "OK"}));
        assert!(begun.elapsed() >= pause * 15, "{:?}: {{\"result\":\"OK\"}} has 15 bytes", begun.elapsed());
        assert_eq!(seat.held("update"), json!({"new": 1}));
    }
}

#[tokio::test]
async fn a_session_can_end_after_the_write_it_carried() {
    let seat = koco().await;
    let token = seat.koco_login().await;
    seat.simulator.set_fault(Order::of_write(1, Fault::SessionExpired).at(Moment::After));
    assert_eq!(seat.write("update", &token, &json!({"new": 1})).send().await.unwrap().status(), 302);
    assert_eq!(seat.held("update"), json!({"new": 1}));
    assert_eq!(seat.get("/administration/json-retrieve/update").await.status(), 302);
}
