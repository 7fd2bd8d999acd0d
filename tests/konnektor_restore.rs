//! A restore into a simulated `KoCoBox` over real TLS: every service comes back, users never change, addresses are followed.
//! Absent on purpose: cuts and resuming; see `konnektor_cuts.rs`.

use crate::restores;

use std::sync::Arc;

use pforte::konnektor::restore::{
    ByHand, Certificates, End, Kind, LeftOut, NoPlan, Note, Options as What, StepResult, execute, find,
};
use pforte::konnektor::simulator::{Fault, Order, When};
use pforte::konnektor::{Error, Json};
use restores::{Case, case, case_with, given, name, only, profile_text, restorable, with};
use serde_json::{Value, json};

fn done(case: &Case, outcome: &pforte::konnektor::restore::Outcome) {
    assert_eq!(outcome.end, End::Done, "{outcome:?}\n{}", case.told.text());
}

#[tokio::test]
async fn each_service_alone_comes_back_after_a_factory_reset() {
    let case = case(|_| {}).await;
    // What the factory would leave as it is, is made another.
    let mut lan = case.held("lanwanservice");
    lan["MTU"] = json!(1399);
    case.put("lanwanservice", &lan);
    let before = case.all_held();
    let file = case.file().await;
    assert_eq!(restorable().len(), 17);
    for service in restorable() {
        case.simulator.factory_reset().unwrap();
        let reset = case.all_held();
        assert_ne!(reset[service], before[service], "{service} is as it was from the factory");
        let writes = case.simulator.writes();
        done(&case, &case.restore(&file, &only(service)).await);
        assert_eq!(case.simulator.writes(), writes + 1, "{service}");
        for (other, held) in case.all_held() {
            let wanted = if other == service { &before[service] } else { &reset[other] };
            assert_eq!(held, *wanted, "{other} after a restore of {service}");
        }
    }
    assert_eq!(case.simulator.user_writes(), 0);
    case.told.is_clean();
}

#[tokio::test]
async fn all_services_come_back_together_and_nothing_is_left_to_do_but_pairing() {
    let case = case(|_| {}).await;
    let before = case.all_held();
    let file = case.file().await;
    case.simulator.factory_reset().unwrap();
    let users = case.held("usermanagement");
    let plan = case.plan(&file, &What::default()).await.unwrap();
    assert_eq!(plan.steps.last().unwrap().service, name("lanwanservice"));
    assert_eq!(plan.steps.len(), 17);
    let left: Vec<_> = plan.left_out.iter().map(|(service, why)| (service.as_str(), why.clone())).collect();
    assert_eq!(left, [("infoservice", LeftOut::ReadOnly), ("usermanagement", LeftOut::Users)]);
    assert_eq!(plan.by_hand, [ByHand::Pair(vec!["CT_ID_0001".into(), "CT_ID_0002".into()])]);
    assert_eq!((plan.notes.as_slice(), &plan.moves_to), (&[][..], &None));
    done(&case, &case.execute(plan).await);
    assert_eq!(case.all_held(), before);
    assert_eq!(case.held("usermanagement"), users);
    assert_eq!(case.simulator.user_writes(), 0);
    let again = case.plan(&file, &What::default()).await.unwrap();
    assert_eq!((again.steps.len(), again.same.len()), (0, 17));
    case.told.is_clean();
}

#[tokio::test]
async fn an_edited_file_is_told_and_restored_as_it_was_edited() {
    let case = case(|_| {}).await;
    let text = String::from_utf8(case.backup().await.to_json()).unwrap();
    let edited = text.replace("\"192.168.2.1\"", "\"10.9.8.7\"").replace("\"pforte\"", "\n\n\"pforte\"");
    let file = given(edited.as_bytes());
    assert_eq!(file.changed, [name("dnsservice"), name("ntpservice")]);
    let plan = case.plan(&file, &What::default()).await.unwrap();
    assert_eq!(plan.notes, [Note::Edited(file.changed.clone())]);
    let lines: Vec<_> = plan.steps.iter().flat_map(|step| step.diff.lines(false)).collect();
    assert_eq!(
        lines,
        [
            "~ /NTP_SERVER_ADDR: \"192.168.2.1\" → \"10.9.8.7\"",
            "~ /DNS_SERVERS_INT/0: \"192.168.2.1\" → \"10.9.8.7\""
        ]
    );
    done(&case, &case.execute(plan).await);
    assert_eq!(case.held("ntpservice")["NTP_SERVER_ADDR"], "10.9.8.7");
    assert_eq!(case.simulator.writes(), 2);
}

#[tokio::test]
async fn a_firmware_update_between_backup_and_restore_is_told_and_no_failure() {
    let mut case = case(|_| {}).await;
    let before = case.all_held();
    let file = case.file().await;
    case.simulator.update_firmware("5.5.20").unwrap();
    case.simulator.factory_reset().unwrap();
    case.identity = case.driver.identify().await.unwrap();
    let plan = case.plan(&file, &What::default()).await.unwrap();
    let (old, new) = ("5.5.16".to_owned(), "5.5.20".to_owned());
    assert_eq!(plan.notes, [Note::Firmware { file: old.clone(), konnektor: new.clone() }]);
    assert!(plan.by_hand.contains(&ByHand::Firmware { file: old, konnektor: new }));
    done(&case, &case.execute(plan).await);
    let mut after = case.all_held();
    assert_eq!(
        after.get_mut("protocolservice").unwrap().as_object_mut().unwrap().remove("LOG_NEW"),
        Some(json!("X"))
    );
    assert_eq!(after, before);
    assert!(case.told.text().contains("Grown { service: protocolservice, places: [\"/LOG_NEW\"] }"));
    // With nothing else to write, the member alone is no failure either, and is not written over and over.
    let writes = case.simulator.writes();
    done(&case, &case.restore(&file, &only("protocolservice")).await);
    assert_eq!(case.simulator.writes(), writes + 1);
    case.simulator.update_firmware("6.0").unwrap();
    case.identity = case.driver.identify().await.unwrap();
    let refused = case.plan(&file, &What::default()).await.unwrap_err();
    assert_eq!(refused, NoPlan::UnknownFirmware { firmware: "6.0".into() });
}

#[tokio::test]
async fn a_named_service_must_be_known_written_and_in_the_file() {
    let case = case(|_| {}).await;
    let mut file = case.file().await;
    file.services.remove(&name("update"));
    for (service, why) in [
        ("nosuch", NoPlan::Konnektor(Error::UnknownService { service: name("nosuch") })),
        ("infoservice", NoPlan::Konnektor(Error::ReadOnly { service: name("infoservice") })),
        ("usermanagement", NoPlan::Konnektor(Error::ReadOnly { service: name("usermanagement") })),
        ("update", NoPlan::NotInFile { service: name("update") }),
    ] {
        assert_eq!(case.plan(&file, &only(service)).await.unwrap_err(), why);
    }
    let plan = case.plan(&file, &What::default()).await.unwrap();
    assert!(plan.left_out.contains(&(name("update"), LeftOut::NotInFile)));
}

fn certificates(case: &Case) -> Vec<String> {
    let held = case.held("clientsystem-certificates");
    let of = |one: &Value| {
        format!("{} {}", one["name"].as_str().unwrap(), one["notAfter"].as_str().unwrap_or_default())
    };
    held["certificates"].as_array().unwrap().iter().map(of).collect()
}

#[tokio::test]
async fn client_certificates_are_added_overwritten_deleted_or_made_the_same() {
    let all = [
        (Certificates::New, vec!["Eigenes 1", "Labor 1", "PVS-Server 2029-08-06"], 1),
        (Certificates::Overwrite, vec!["Eigenes 1", "Labor 2029-08-06", "PVS-Server 2029-08-06"], 1),
        (Certificates::Delete, vec!["PVS-Server 2029-08-06", "Labor 2029-08-06"], 2),
        (Certificates::Exact, vec!["PVS-Server 2029-08-06", "Labor 2029-08-06"], 1),
    ];
    let case = case(|_| {}).await;
    let file = case.file().await;
    for (how, wanted, steps) in all {
        let own = json!({"certificates": [{"name": "Eigenes", "notAfter": "1"}, {"name": "Labor", "notAfter": "1"}]});
        case.put("clientsystem-certificates", &own);
        let plan = case.plan(&file, &with(how)).await.unwrap();
        assert_eq!(plan.steps.len(), steps, "{how:?}");
        assert_eq!(plan.steps[0].kind == Kind::DeleteCertificates, how == Certificates::Delete);
        done(&case, &case.execute(plan).await);
        assert_eq!(certificates(&case), wanted, "{how:?}");
        assert_eq!(case.plan(&file, &with(how)).await.unwrap().steps.len(), 0, "{how:?} again");
    }
    case.told.is_clean();
}

async fn moving(case: &Case, to: &str) -> pforte::konnektor::Given {
    let mut file = case.file().await;
    let lan = file.services.get_mut(&name("lanwanservice")).unwrap();
    let mut value = lan.value();
    value["ANLW_LAN_IP_ADDRESS"] = json!(to);
    *lan = Json::of(&value);
    file
}

#[tokio::test]
async fn a_new_address_is_followed_with_the_same_certificate_and_leads_back() {
    let case = case(|_| {}).await;
    let home = case.driver.address().clone();
    let before = case.all_held();
    let back = case.file().await;
    let file = moving(&case, "127.0.0.2").await;
    let plan = case.plan(&file, &What::default()).await.unwrap();
    let there = plan.moves_to.clone().unwrap();
    assert_eq!(there.to_string(), format!("127.0.0.2:{}", home.port()));
    let outcome = case.execute(plan).await;
    done(&case, &outcome);
    assert_eq!((&outcome.address, case.simulator.address().to_string()), (&there, there.to_string()));
    let found = find(&case.driver, &[home.clone(), there.clone()]).await.unwrap();
    assert_eq!(*found.address(), there);
    let case = Case { driver: found, ..case };
    let outcome = case.restore(&back, &with(Certificates::Exact)).await;
    done(&case, &outcome);
    assert_eq!((outcome.address, case.all_held()), (home, before));
}

#[tokio::test]
async fn an_address_outside_of_the_networks_or_that_is_none_stops_all() {
    let case = case(|_| {}).await;
    let file = moving(&case, "127.9.0.2").await;
    let refused = case.plan(&file, &What::default()).await.unwrap_err();
    assert_eq!(refused, NoPlan::OutsideNetworks { address: "127.9.0.2".into() });
    assert!(
        refused.sentence(false).contains("networks = [") && refused.sentence(true).contains("networks = [")
    );
    let file = moving(&case, "gateway.example").await;
    let refused = case.plan(&file, &What::default()).await.unwrap_err();
    assert_eq!(refused, NoPlan::BadAddress { address: "gateway.example".into() });
    assert_eq!(case.simulator.writes(), 0);
}

#[tokio::test]
async fn a_box_that_is_not_dialled_at_its_own_address_is_not_followed() {
    let case = case(|options| options.real_lan_address = false).await;
    let file = moving(&case, "127.9.0.2").await;
    let plan = case.plan(&file, &What::default()).await.unwrap();
    assert_eq!(plan.moves_to, None);
    assert_eq!(plan.notes, [Note::Edited(vec![]), Note::NotFollowed { to: "127.9.0.2".into() }][1..]);
}

#[tokio::test]
async fn users_are_never_written_even_where_a_profile_and_a_file_say_so() {
    let text = profile_text().replace(
        "name = \"usermanagement\"                    # users and passwords are never written\nrestore = false",
        "name = \"usermanagement\"\nrestore = true\norder = 1",
    );
    assert!(text.contains("restore = true"));
    let case = case_with(&text, |_| {}).await;
    let mut file = case.file().await;
    file.services.insert(name("usermanagement"), Json::of(&json!({"MGM_USER_LIST": []})));
    let before = case.held("usermanagement");
    let plan = case.plan(&file, &What::default()).await.unwrap();
    assert!(plan.left_out.contains(&(name("usermanagement"), LeftOut::Users)));
    assert!(case.plan(&file, &only("usermanagement")).await.is_err());
    done(&case, &case.execute(plan).await);
    let direct = case.driver.write(&name("usermanagement"), &Json::of(&json!({}))).await;
    assert_eq!(direct, Err(Error::ReadOnly { service: name("usermanagement") }));
    assert_eq!((case.simulator.user_writes(), case.held("usermanagement")), (0, before));
}

#[tokio::test]
async fn what_the_account_may_not_write_is_refused_and_the_rest_goes_on() {
    let case = case(|options| {
        options.read_only = vec!["infomodell".into()];
        options.forbidden = vec!["vpnservice".into()];
    })
    .await;
    let mut file = case.file().await;
    for service in ["infomodell", "vpnservice", "update"] {
        file.services.insert(name(service), Json::of(&json!({"x": service})));
    }
    let plan = case.plan(&file, &What::default()).await.unwrap();
    let unread = LeftOut::NotRead(Some(Error::NotAllowed { status: 403 }));
    assert!(plan.left_out.contains(&(name("vpnservice"), unread)));
    let outcome = case.execute(plan).await;
    assert_eq!(outcome.end, End::Failed);
    assert_eq!(
        outcome.results[0],
        (name("infomodell"), StepResult::Refused(Error::NotAllowed { status: 403 }))
    );
    assert!(matches!(outcome.results[1], (_, StepResult::Done { .. })), "{outcome:?}");
    assert_eq!(outcome.attempted(), [name("infomodell"), name("update")]);
    assert_eq!(case.held("update"), json!({"x": "update"}));
}

#[tokio::test]
async fn a_file_of_another_make_or_a_way_of_writing_that_is_not_known_stops_all() {
    let shipped = profile_text().replace("/administration/json-store/{service}", "");
    let case = case_with(&shipped, |_| {}).await;
    let mut file = case.file().await;
    assert_eq!(case.plan(&file, &What::default()).await.unwrap().steps.len(), 0);
    file.services.insert(name("update"), Json::of(&json!({})));
    let unknown = NoPlan::Konnektor(Error::NotInProfile { key: "write.path".into() });
    assert_eq!(case.plan(&file, &What::default()).await.unwrap_err(), unknown);
    assert_eq!(case.plan(&file, &only("update")).await.unwrap_err(), unknown);
    file.about.as_mut().unwrap().vendor = "SECUN".into();
    let refused = case.plan(&file, &What::default()).await.unwrap_err();
    assert!(matches!(refused, NoPlan::OtherMake { .. }), "{refused:?}");
}

#[tokio::test]
async fn another_device_and_changed_containers_are_told() {
    let case = case(|_| {}).await;
    let mut file = case.file().await;
    let about = file.about.as_mut().unwrap();
    about.konnektor = "praxis-other/main".into();
    about.serial = Some("OLD-1".into());
    file.containers = vec!["/clientsystem-certificates/certificates/0/pkcs12".into()];
    file.unknown = vec!["x\\u{1b}".into()];
    let notes = case.plan(&file, &What::default()).await.unwrap().notes;
    assert_eq!(
        notes,
        [
            Note::Serial { file: "OLD-1".into(), konnektor: "DEMO-0000-0001".into() },
            Note::OtherKonnektor { file: "praxis-other/main".into() },
            Note::Containers(file.containers.clone()),
            Note::Unknown(file.unknown.clone()),
        ]
    );
    assert!(notes.iter().all(|note| note.sentence(true) != note.sentence(false)));
}

#[tokio::test]
async fn a_service_that_always_fails_is_refused_after_three_writes_and_the_rest_goes_on() {
    let case = case(|_| {}).await;
    let mut file = case.file().await;
    file.services.insert(name("ntpservice"), Json::of(&json!({"x": 1})));
    for (n, fault) in [Fault::Status(500), Fault::Html, Fault::Drop].into_iter().enumerate() {
        file.services.insert(name("update"), Json::of(&json!({"x": n})));
        let writes = case.simulator.writes();
        case.simulator.set_fault(Order {
            fault,
            when: When::Path("/json-store/ntpservice".into()),
            times: None,
        });
        let plan = case.plan(&file, &What::default()).await.unwrap();
        let outcome = execute(plan, Arc::clone(&case.driver), &case.told, case.patience).await;
        assert_eq!((&outcome.end, outcome.results.len()), (&End::Failed, 2));
        assert!(matches!(outcome.results[0].1, StepResult::Refused(_)), "{outcome:?}");
        assert!(matches!(outcome.results[1].1, StepResult::Done { .. }), "{outcome:?}");
        assert_eq!(case.told.text().matches("Again { service: ntpservice").count(), 2 * (n + 1));
        assert_eq!((case.held("update"), case.simulator.writes()), (json!({"x": n}), writes + 4));
        case.simulator.clear_faults();
    }
    assert_eq!(case.held("ntpservice")["NTP_SERVER_ADDR"], "192.168.2.1");
}
