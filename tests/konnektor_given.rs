//! The file that is to be restored and what differs in it: every form, every fault with its place, no secret shown.
//! Absent on purpose: a box; see `konnektor_restore.rs`.

use std::io::Read;

use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use pforte::konnektor::archive::{Archive, Stamp};
use pforte::konnektor::diff::{Diff, diff, same};
use pforte::konnektor::{BadGiven, Given, Identity, Json, Profile, Reading, ServiceRead};
use pforte::names::{KonnektorId, ServiceName};
use proptest::prelude::*;
use serde_json::{Value, json};

fn profile() -> Profile {
    Profile::kocobox().unwrap()
}

fn read(text: &[u8]) -> Result<Given, BadGiven> {
    Given::read(&mut &*text, &profile())
}

fn name(service: &str) -> ServiceName {
    service.parse().unwrap()
}

fn archive(services: &[(&str, Value)]) -> String {
    let of = |(service, value): &(&str, Value)| ServiceRead {
        service: name(service),
        value: Json::of(value),
        bytes: 0,
        stripped: vec![],
    };
    let reading = Reading { services: services.iter().map(of).collect(), failed: vec![] };
    let stamp = Stamp {
        identity: Identity::default(),
        konnektor: KonnektorId { site: "praxis".parse().unwrap(), konnektor: "main".parse().unwrap() },
        taken: "2026-11-21T16:04:00Z".parse().unwrap(),
        by: None,
        session: None,
    };
    String::from_utf8(Archive::of(reading, stamp).to_json()).unwrap()
}

#[test]
fn our_form_the_old_tools_and_a_mixture_are_read() {
    let ours = archive(&[("update", json!({"a": 1})), ("infomodell", json!({"b": [1.5]}))]);
    let given = read(ours.as_bytes()).unwrap();
    assert_eq!((given.about.is_some(), given.services.len(), given.changed.len()), (true, 2, 0));
    assert_eq!(given.services[&name("infomodell")], json!({"b": [1.5]}));
    let old = read(br#"{"update": {"a": 1}, "infomodell": {"b": [1.5]}}"#).unwrap();
    assert_eq!((old.about, &old.services), (None, &given.services));
    let head = ours.split("\"services\": {\n    \"infomodell\": {\n      \"b\"").next().unwrap();
    let mixed = format!("{head}\"update\": {{\"a\": 1}}, \"infomodell\": {{\"b\": [1.5]}}}}");
    let mixed = read(mixed.as_bytes()).unwrap();
    assert_eq!((mixed.about, mixed.services, mixed.changed), (given.about, given.services, vec![]));
}

#[test]
fn an_edited_value_is_told_and_so_is_a_container_that_is_not_the_one_that_was_taken() {
    let p12 = |n: u8| BASE64_STANDARD.encode([&[0x30, 0x80, 2, 1, 3][..], &[n; 200]].concat());
    let ours = archive(&[
        ("update", json!({"a": "alt"})),
        ("clientsystem-certificates", json!({"certificates": [{"pkcs12": p12(1)}]})),
    ]);
    let given = read(ours.replace("\"alt\"", "\"neu\"").as_bytes()).unwrap();
    assert_eq!((given.changed, given.containers.len()), (vec![name("update")], 0));
    let given = read(ours.replace(&p12(1), &p12(2)).as_bytes()).unwrap();
    assert_eq!(given.changed, [name("clientsystem-certificates")]);
    assert_eq!(given.containers, ["/clientsystem-certificates/certificates/0/pkcs12"]);
}

#[test]
fn names_that_are_no_service_are_told_escaped_and_at_most_twenty() {
    let mut object = serde_json::Map::new();
    object.insert("update".into(), json!({}));
    for n in 0..30 {
        object.insert(format!("x\u{1b}[{n}m"), json!({"big": [1]}));
    }
    let given = read(Value::Object(object).to_string().as_bytes()).unwrap();
    assert_eq!((given.services.len(), given.unknown.len()), (1, 20));
    assert_eq!(given.unknown[0], "x\\u{1b}[0m");
}

#[test]
fn card_holders_in_a_file_are_taken_out_again() {
    let given = read(br#"{"cardservice": {"CARDS": [{"cardType": "EGK", "n": "Erika"}, {"type": "SMC-B"}], "kvnr": "A1"}}"#);
    assert_eq!(given.unwrap().services[&name("cardservice")], json!({"CARDS": [{"type": "SMC-B"}]}));
}

#[test]
fn a_bom_is_skipped_and_utf_16_refused_with_what_to_do() {
    let text = r#"{"update": {}}"#;
    assert!(read(&[b"\xef\xbb\xbf", text.as_bytes()].concat()).is_ok());
    let wide = |bytes: fn(u16) -> [u8; 2]| text.encode_utf16().flat_map(bytes).collect::<Vec<u8>>();
    for (bom, units) in [
        (&b"\xff\xfe"[..], wide(u16::to_le_bytes)),
        (b"\xfe\xff", wide(u16::to_be_bytes)),
        (b"", wide(u16::to_le_bytes)),
        (b"", wide(u16::to_be_bytes)),
    ] {
        let refused = read(&[bom, &units].concat()).unwrap_err();
        assert_eq!(refused, BadGiven::Utf16);
        assert!(refused.sentence(true).contains("UTF-8") && refused.sentence(false).contains("UTF-8"));
    }
}

#[test]
fn what_is_wrong_is_told_with_its_place_and_without_its_text() {
    let deep = |levels: usize| format!("{{\"update\":\n{}{}}}", "[".repeat(levels), "]".repeat(levels));
    let ours = archive(&[("update", json!({}))]);
    let cases: Vec<(String, BadGiven)> = vec![
        (String::new(), BadGiven::Form { line: 1, column: 0 }),
        ("[1]".into(), BadGiven::Form { line: 1, column: 0 }),
        ("{\"update\": {\n \"geheim\": tru}}".into(), BadGiven::Form { line: 2, column: 15 }),
        ("{\"update\": {}} {}".into(), BadGiven::Form { line: 1, column: 16 }),
        ("{\"nosuch\": {}}".into(), BadGiven::NoService),
        ("{}".into(), BadGiven::NoService),
        ("{\"services\": {}}".into(), BadGiven::NoService),
        ("{\"services\": [1]}".into(), BadGiven::Services),
        ("{\"services\": null}".into(), BadGiven::Services),
        ("{\"pforte\": {\"format\": 2}, \"update\": {}}".into(), BadGiven::Version { found: "2".into() }),
        ("{\"pforte\": {\"format\": 1}, \"update\": {}}".into(), BadGiven::Head),
        ("{\"pforte\": 1, \"update\": {}}".into(), BadGiven::Head),
        (deep(121), BadGiven::TooDeep { line: 2, column: 242 }),
        (deep(1000), BadGiven::TooDeep { line: 2, column: 122 }),
        (
            "{\"update\":\n {\"iccsn\": 80276001011699901501}}".into(),
            BadGiven::Inexact { line: 2, column: 32 },
        ),
        (format!("{{\"update\": {}}}", "9".repeat(70_000)), BadGiven::Inexact { line: 1, column: 70_012 }),
    ];
    for (text, wrong) in cases {
        let refused = read(text.as_bytes()).unwrap_err();
        let shown: String = text.chars().take(60).collect();
        match (&wrong, &refused) {
            (BadGiven::Form { line, .. }, BadGiven::Form { line: found, .. })
            | (BadGiven::TooDeep { line, .. }, BadGiven::TooDeep { line: found, .. }) => {
                assert_eq!(line, found, "{shown}");
            }
            _ => assert_eq!(refused, wrong, "{shown}"),
        }
        assert_ne!(refused.sentence(true), refused.sentence(false));
        assert!(!refused.sentence(false).contains("geheim"));
    }
    assert!(read(deep(120).as_bytes()).is_ok());
    assert!(read(b"{\"update\": [18446744073709551615, -9223372036854775808, 0.12345678901234567890123456789012345, 1e3]}").is_ok());
    let twice = ours.replace(
        "\"services\": {\n    \"update\": {}",
        "\"services\": {\n    \"update\": {},\n    \"update\": {}",
    );
    assert!(
        matches!(read(twice.as_bytes()), Err(BadGiven::Twice { service, line, .. }) if service == name("update") && line > 5)
    );
    let heads = ours.replacen("{\n", "{\"pforte\": {},\n", 1);
    assert!(matches!(read(heads.as_bytes()), Err(BadGiven::TwoHeads { member: "pforte", .. })));
    assert!(matches!(
        read(b"{\"services\": {}, \"services\": {}}"),
        Err(BadGiven::TwoHeads { member: "services", .. })
    ));
}

#[test]
fn a_stream_that_breaks_is_refused() {
    struct Broken;
    impl Read for Broken {
        fn read(&mut self, _: &mut [u8]) -> std::io::Result<usize> {
            Err(std::io::ErrorKind::ConnectionReset.into())
        }
    }
    let mut broken = b"{\"x\":".chain(Broken);
    assert_eq!(Given::read(&mut broken, &profile()).unwrap_err(), BadGiven::Unread);
}

fn lines(before: &Value, after: &Value) -> Vec<String> {
    diff(&Json::of(before), &Json::of(after), &profile()).lines(false)
}

#[test]
fn changes_are_told_by_place_and_list_items_by_their_names() {
    assert_eq!(
        lines(
            &json!({"a": {"b/c": "x", "gone": 1}, "list": [{"name": "Labor", "n": 1}, {"name": "Alt", "n": 2}]}),
            &json!({"a": {"b/c": "y", "come": null}, "list": [{"name": "Neu", "n": 3}, {"name": "Labor", "n": 9}]}),
        ),
        [
            "~ /a/b~1c: \"x\" → \"y\"",
            "- /a/gone: 1",
            "+ /a/come: null",
            "~ /list/[name=Labor]/n: 1 → 9",
            "- /list/[name=Alt]: {\"name\":\"Alt\",\"n\":2}",
            "+ /list/[name=Neu]: {\"name\":\"Neu\",\"n\":3}",
        ]
    );
    assert_eq!(lines(&json!([1, 2, 3, 4]), &json!([1, 3, 4])), ["- /1: 2"]);
    assert_eq!(lines(&json!([1, 2, 3]), &json!([1, 5, 6, 3])), ["~ /1: 2 → 5", "+ /2: 6"]);
    assert_eq!(
        lines(&json!([{"name": "a"}, {"name": "b"}]), &json!([{"name": "b"}, {"name": "a"}])),
        ["~ /: [a, b] → [b, a]"]
    );
    assert_eq!(lines(&json!(1), &json!("1")), ["~ /: 1 → \"1\""]);
}

#[test]
fn transient_members_and_the_order_of_members_are_no_change() {
    let (a, b) =
        (json!({"CARDS": [1], "x": {"y": 1, "z": 2}}), &json!({"x": {"z": 2, "connected": true, "y": 1}}));
    assert!(lines(&a, b).is_empty());
    assert!(same(&Json::of(&a), &Json::of(b), &profile()));
}

#[test]
fn secrets_and_keys_are_never_shown_and_long_values_are_cut() {
    let p12 = BASE64_STANDARD.encode([&[0x30, 0x80, 2, 1, 3][..], &[7; 1800]].concat());
    let shown = lines(
        &json!({"Admin_Password": "geheim1", "k": {"PIN": [1, "geheim2"]}, "pkcs12": "x", "pem": "a", "b64": "a", "esc": "a", "key": {"A123456789": 1}}),
        &json!({"Admin_Password": "geheim3", "k": {"PIN": "geheim4", "new": {"token": "geheim5", "p": p12}}, "pkcs12": p12,
            "pem": "-----BEGIN PRIVATE KEY-----\ngeheim6", "b64": BASE64_STANDARD.encode([9; 100]), "esc": "\u{1b}[2J\u{202e}\u{9b}", "key": {"A123456789": 2}, "long": "ä".repeat(500)}),
    );
    let text = shown.join("\n");
    assert!(!text.contains("geheim") && !text.contains("MIA") && !text.contains("A123456789"), "{text}");
    assert!(!text.contains(['\u{1b}', '\u{9b}', '\u{202e}']), "{text:?}");
    assert!(text.contains("~ /Admin_Password: *** → ***") && text.contains("~ /k/PIN: *** → ***"), "{text}");
    assert!(
        text.contains("~ /pkcs12: *** → PKCS#12, 1805 bytes, sha256:") && text.contains("base64, 100 bytes"),
        "{text}"
    );
    assert!(shown.iter().all(|line| line.chars().count() < 260), "{text}");
}

#[test]
fn many_changes_are_counted() {
    let Diff { changes, more } = diff(
        &Json::of(&json!((0..2000).collect::<Vec<_>>())),
        &Json::of(&json!((1..2001).map(|n| n * 7).collect::<Vec<_>>())),
        &profile(),
    );
    assert_eq!((changes.len(), more), (500, 1500));
}

fn value() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::Bool),
        (0..4_i64).prop_map(Value::from),
        "[ab\"é\\\\]{0,3}".prop_map(Value::from),
    ];
    leaf.prop_recursive(5, 48, 5, |inner| {
        let key = prop_oneof![
            Just("name"),
            Just("CTID"),
            Just("CARDS"),
            Just("Pin"),
            Just("a/~"),
            Just("b"),
            Just("é\"")
        ];
        prop_oneof![
            proptest::collection::vec(inner.clone(), 0..5).prop_map(Value::Array),
            proptest::collection::vec((key, inner), 0..5).prop_map(|members| Value::Object(
                members.into_iter().map(|(k, v)| (k.to_owned(), v)).collect()
            )),
        ]
    })
}

/// Without what is transient, its members in order.
fn lasting(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(lasting).collect(),
        Value::Object(members) => {
            let mut kept: Vec<_> = members.iter().filter(|(key, _)| *key != "CARDS").collect();
            kept.sort_by_key(|(key, _)| key.as_str());
            Value::Object(kept.into_iter().map(|(key, value)| (key.clone(), lasting(value))).collect())
        }
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => value.clone(),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn nothing_differs_exactly_where_both_are_equal_but_for_what_is_transient(a in value(), b in value()) {
        let (one, other) = (Json::of(&a), Json::of(&b));
        prop_assert!(diff(&one, &one, &profile()).is_empty());
        let equal = lasting(&a) == lasting(&b);
        prop_assert_eq!(diff(&one, &other, &profile()).is_empty(), equal);
        prop_assert_eq!(same(&one, &other, &profile()), equal);
        let lasting = Json::of(&lasting(&a));
        prop_assert!(same(&one, &lasting, &profile()));
        prop_assert!(diff(&one, &lasting, &profile()).is_empty());
    }

    #[test]
    fn any_bytes_are_read_or_refused(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
        read(&bytes).ok();
        let wrapped = [b"{\"update\": ", bytes.as_slice(), b"}"].concat();
        read(&wrapped).ok();
    }
}
