//! Card terminals known again on another box, and the Infomodell that names them: nothing is guessed.
//! Absent on purpose: a box that pairs; a person does that.

use crate::restores;

use pforte::konnektor::Json;
use pforte::konnektor::restore::Options as What;
use pforte::konnektor::terminals::{
    BadChoice, By, Remap, Terminal, references, remap, rewrite, terminals, terminals_of,
};
use restores::{case, name};
use serde_json::json;

fn terminal(id: &str, mac: &str, serial: &str, hostname: &str) -> Terminal {
    let [id, mac, serial, hostname] = [id, mac, serial, hostname].map(ToOwned::to_owned);
    Terminal { id, mac, serial, hostname, ..Terminal::default() }
}

fn of(old: &[Terminal], new: &[Terminal]) -> Remap {
    remap(old, new, &[]).unwrap()
}

#[test]
fn a_terminal_is_known_by_mac_then_serial_then_hostname_however_written() {
    let old = [
        terminal("A", "00:0D:F8:00:00:01", "", "x"),
        terminal("B", "", "SN-2", "y"),
        terminal("C", "", "", "Empfang"),
        terminal("D", "00:00:00:00:00:00", "", ""),
    ];
    let new = [
        terminal("1", "", "", "EMPFANG"),
        terminal("2", "", " sn-2", "renamed"),
        terminal("3", "000d.f800.0001", "", "renamed too"),
        terminal("4", "00-00-00-00-00-00", "", ""),
    ];
    let remap = of(&old, &new);
    let pairs = [("A", "3", By::Mac), ("B", "2", By::Serial), ("C", "1", By::Hostname)];
    assert_eq!(remap.pairs, pairs.map(|(a, b, by)| (a.to_owned(), b.to_owned(), by)));
    assert_eq!(
        (remap.lost, remap.unused, remap.ambiguous),
        (vec!["D".to_owned()], vec!["4".to_owned()], vec![])
    );
}

#[test]
fn two_that_could_be_it_and_marks_that_contradict_each_other_are_asked_about() {
    let ambiguous = |old: &[Terminal], new: &[Terminal], could: &[&str]| {
        let remap = of(old, new);
        assert!(remap.pairs.is_empty(), "{remap:?}");
        let could: Vec<String> = could.iter().map(|&id| id.to_owned()).collect();
        assert_eq!(remap.ambiguous[0], ("A".to_owned(), could), "{remap:?}");
    };
    let a = terminal("A", "01", "", "host");
    // Two with the same MAC there; two with the same MAC here.
    ambiguous(
        std::slice::from_ref(&a),
        &[terminal("1", "01", "", ""), terminal("2", "01", "", "")],
        &["1", "2"],
    );
    ambiguous(&[a.clone(), terminal("B", "01", "", "")], &[terminal("1", "01", "", "")], &["1"]);
    // MAC says 1, host name says 2.
    ambiguous(
        std::slice::from_ref(&a),
        &[terminal("1", "01", "", ""), terminal("2", "02", "", "host")],
        &["1", "2"],
    );
    // The host name is the same, the device is another.
    ambiguous(std::slice::from_ref(&a), &[terminal("1", "02", "", "host")], &["1"]);
    // Another old one claims it by its host name.
    ambiguous(&[a, terminal("B", "", "", "b")], &[terminal("1", "01", "", "b")], &["1"]);
}

#[test]
fn the_same_hostname_on_several_does_not_weaken_a_mac() {
    let old = [terminal("A", "01", "", "ORGA"), terminal("B", "02", "", "ORGA")];
    let new = [terminal("1", "02", "", "ORGA"), terminal("2", "01", "", "ORGA")];
    let remap = of(&old, &new);
    assert_eq!(remap.pairs.len(), 2);
    assert_eq!((remap.pairs[0].1.as_str(), remap.pairs[1].1.as_str()), ("2", "1"));
}

#[test]
fn a_persons_answer_decides_and_must_name_what_is_there() {
    let old = [terminal("A", "01", "", ""), terminal("B", "01", "", "")];
    let new = [terminal("1", "01", "", ""), terminal("2", "01", "", "")];
    let chosen = |pairs: &[(&str, &str)]| {
        let pairs: Vec<_> = pairs.iter().map(|&(a, b)| (a.to_owned(), b.to_owned())).collect();
        remap(&old, &new, &pairs)
    };
    assert_eq!(of(&old, &new).ambiguous.len(), 2);
    let decided = chosen(&[("A", "2")]).unwrap();
    let pairs = [("A", "2", By::Person), ("B", "1", By::Mac)];
    assert_eq!(decided.pairs, pairs.map(|(a, b, by)| (a.to_owned(), b.to_owned(), by)));
    for (pairs, wrong) in [
        (&[("X\u{1b}", "1")][..], BadChoice::NoSuchOld { id: "X\\u{1b}".into() }),
        (&[("A", "9")], BadChoice::NoSuchNew { id: "9".into() }),
        (&[("A", "1"), ("A", "2")], BadChoice::Twice { id: "A".into() }),
        (&[("A", "1"), ("B", "1")], BadChoice::Twice { id: "1".into() }),
    ] {
        let refused = chosen(pairs).unwrap_err();
        assert_eq!(refused, wrong);
        assert_ne!(refused.sentence(true), refused.sentence(false));
    }
}

#[test]
fn ids_are_swapped_where_a_text_is_an_id_and_nowhere_else() {
    let value = Json::of(
        &json!({"A": ["A", "B", "AB", {"ct/Id": "B", "x": "a A"}], "n": [1, "\u{e4}\"A"], "e": "ä\"\\"}),
    );
    let pair = |a: &str, b: &str| (a.to_owned(), b.to_owned(), By::Mac);
    let (new, diff) = rewrite(&value, &[pair("A", "B"), pair("B", "A"), pair("ä\"\\", "C\n")]);
    assert_eq!(
        new,
        json!({"A": ["B", "A", "AB", {"ct/Id": "A", "x": "a A"}], "n": [1, "\u{e4}\"A"], "e": "C\n"})
    );
    assert_eq!(
        diff.lines(false),
        [
            "~ /A/0: \"A\" → \"B\"",
            "~ /A/1: \"B\" → \"A\"",
            "~ /A/3/ct~1Id: \"B\" → \"A\"",
            "~ /e: \"ä\\\"\\\\\" → \"C\\n\""
        ]
    );
    let (same, diff) = rewrite(&value, &[pair("A", "A"), pair("x", "y")]);
    assert!(diff.is_empty() && same == value);
    let many = Json::of(&json!(vec!["A"; 700]));
    let (_, diff) = rewrite(&many, &[pair("A", "B")]);
    assert_eq!(
        (diff.changes.len(), diff.more, diff.lines(true).pop().unwrap()),
        (500, 200, "… und 200 weitere".into())
    );
}

proptest::proptest! {
    #[test]
    fn rewriting_there_and_back_gives_what_was(texts in proptest::collection::vec("[ab\"\\\\ä]{0,3}", 0..30)) {
        let value = Json::of(&json!({"a": texts, "b": {"b": texts.first()}}));
        let there = [("a", "#1"), ("b", "#2"), ("\"", "#3"), ("\\", "#4")].map(|(a, b)| (a.to_owned(), b.to_owned(), By::Mac));
        let back = there.clone().map(|(a, b, by)| (b, a, by));
        let (new, diff) = rewrite(&value, &there);
        proptest::prop_assert_eq!(diff.is_empty(), new == value);
        proptest::prop_assert_eq!(rewrite(&new, &back).0, value);
    }
}

#[tokio::test]
async fn after_a_factory_reset_terminals_with_new_ids_get_their_places_back() {
    let case = case(|options| options.new_ids_on_pairing = true).await;
    let infomodell = case.held("infomodell");
    let file = case.file().await;
    case.simulator.factory_reset().unwrap();
    let outcome = case.restore(&file, &What::default()).await;
    assert!(outcome.results.iter().all(|(service, _)| *service != name("usermanagement")));
    let before = terminals_of(case.driver.profile(), &file).unwrap();
    assert_eq!((before.len(), before[0].id.as_str(), before[0].state.as_str()), (2, "CT_ID_0001", "aktiv"));
    for terminal in &before {
        case.simulator.pair(&terminal.mac).unwrap();
    }
    let now = terminals(case.driver.profile(), &case.read().await).unwrap();
    let remap = remap(&before, &now, &[]).unwrap();
    let pairs = [("CT_ID_0001", "CT_ID_0011", By::Mac), ("CT_ID_0002", "CT_ID_0012", By::Mac)];
    assert_eq!(remap.pairs, pairs.map(|(a, b, by)| (a.to_owned(), b.to_owned(), by)));
    let named = references(case.driver.profile()).unwrap();
    let (value, diff) = rewrite(&file.services[named], &remap.pairs);
    assert_eq!(diff.changes.len(), 3);
    case.driver.write(&name("infomodell"), &value).await.unwrap();
    let text = infomodell.to_string().replace("CT_ID_0001", "CT_ID_0011").replace("CT_ID_0002", "CT_ID_0012");
    assert_eq!(case.held("infomodell"), serde_json::from_str::<serde_json::Value>(&text).unwrap());
}
