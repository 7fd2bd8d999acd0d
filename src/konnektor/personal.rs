//! What is card holders' data, to be taken out before anybody sees it (`gemSpec_Kon` TIP1-A_5647).
//! Absent on purpose: taking it out (`json::emit` does), and any record of it but its place.

use crate::konnektor::profile::Personal;

/// A key or card type as it is compared: lower case, letters and digits only.
pub(crate) fn folded(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

pub(crate) fn is_personal_key(key: &str, rules: &Personal) -> bool {
    let key = folded(key);
    rules.keys.contains(&key) || rules.key_prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
}

/// Whether this member says of its object that it is an eGK or HBA; `value` is compact JSON.
pub(crate) fn says_card(key: &str, value: &str, rules: &Personal) -> bool {
    value.starts_with('"')
        && value.len() <= 128
        && rules.card_type_keys.contains(&folded(key))
        && serde_json::from_str::<String>(value).is_ok_and(|text| rules.card_types.contains(&folded(&text)))
}

/// A pointer's segment (RFC 6901). A key that is not a plain word could itself be a number of a person: it is hidden.
pub(crate) fn segment(key: &str) -> String {
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    let plain = key.len() <= 48 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b));
    if plain && digits < 9 { key.to_owned() } else { "*".to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::{Value, json};

    use crate::konnektor::Profile;
    use crate::konnektor::json::Json;

    #[expect(clippy::needless_pass_by_value, reason = "called with json!")]
    fn stripped(value: Value) -> (Value, Vec<String>) {
        let (json, places) = Json::of(&value).stripped(&Profile::kocobox().unwrap().personal);
        (json.value(), places)
    }

    #[test]
    fn patients_cards_go_and_the_practices_stay() {
        let (value, places) = stripped(json!({"cards": [
            {"cardType": "EGK", "cardHolderName": "Erika Testpatientin", "iccsn": "1"},
            {"cardType": "SMC-B", "iccsn": "2", "CARD_HOLDER_NAME": "Praxis"},
            {"type": "HBAx", "iccsn": "3"},
        ]}));
        assert_eq!(value, json!({"cards": [{"cardType": "SMC-B", "iccsn": "2"}]}));
        assert_eq!(places, ["/cards/0", "/cards/1/CARD_HOLDER_NAME", "/cards/2"]);
    }

    #[test]
    fn a_card_as_member_root_or_map_goes_too_and_its_key_is_hidden() {
        let (value, places) =
            stripped(json!({"slot": {"no": 1, "card": {"CARDTYPE": "egk"}}, "A123456789": {"type": "EGK"}}));
        assert_eq!(value, json!({"slot": {"no": 1}}));
        assert_eq!(places, ["/slot/card", "/*"]);
        assert_eq!(stripped(json!({"type": "EGK"})), (Value::Null, vec![String::new()]));
    }

    #[test]
    fn fields_of_persons_go_whatever_their_case_and_others_stay() {
        let (value, places) = stripped(
            json!({"KVNR": "A1", "Insurant-Id": 7, "patientName": {}, "name": "x", "hostname": "y"}),
        );
        assert_eq!(value, json!({"name": "x", "hostname": "y"}));
        assert_eq!(places.len(), 3);
    }
}
