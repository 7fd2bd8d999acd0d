//! Card holders' data leaves a value before anybody sees it (`gemSpec_Kon` TIP1-A_5647).
//! Absent on purpose: any record of what was taken but its place.

use serde_json::Value;

use crate::konnektor::profile::Personal;

/// A key or card type as it is compared: lower case, letters and digits only.
pub(crate) fn folded(text: &str) -> String {
    text.chars().filter(|c| c.is_alphanumeric()).flat_map(char::to_lowercase).collect()
}

/// Takes card holders' data out of `value`; returns the JSON pointers of what was there, never what it was.
pub(crate) fn strip(value: &mut Value, rules: &Personal) -> Vec<String> {
    let mut stripped = Vec::new();
    if is_persons_card(value, rules) {
        *value = Value::Null;
        stripped.push(String::new());
    } else {
        descend(value, rules, "", &mut stripped);
    }
    stripped
}

/// Depth is bounded by the parser's limit.
fn descend(value: &mut Value, rules: &Personal, at: &str, stripped: &mut Vec<String>) {
    match value {
        Value::Array(items) => {
            let mut index = 0;
            items.retain_mut(|item| {
                let here = format!("{at}/{index}");
                index += 1;
                if is_persons_card(item, rules) {
                    stripped.push(here);
                    return false;
                }
                descend(item, rules, &here, stripped);
                true
            });
        }
        Value::Object(members) => members.retain(|key, member| {
            let here = format!("{at}/{}", segment(key));
            if is_personal_key(key, rules) || is_persons_card(member, rules) {
                if !member.is_null() {
                    stripped.push(here);
                }
                return false;
            }
            descend(member, rules, &here, stripped);
            true
        }),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {}
    }
}

fn is_personal_key(key: &str, rules: &Personal) -> bool {
    let key = folded(key);
    rules.keys.contains(&key) || rules.key_prefixes.iter().any(|prefix| key.starts_with(prefix.as_str()))
}

/// An object that says of itself that it is an eGK or HBA.
fn is_persons_card(value: &Value, rules: &Personal) -> bool {
    let Value::Object(members) = value else { return false };
    members.iter().any(|(key, member)| {
        let says = member.as_str().is_some_and(|text| rules.card_types.contains(&folded(text)));
        says && rules.card_type_keys.contains(&folded(key))
    })
}

/// A pointer's segment (RFC 6901). A key that is not a plain word could itself be a number of a person: it is hidden.
fn segment(key: &str) -> String {
    let digits = key.bytes().filter(u8::is_ascii_digit).count();
    let plain = key.len() <= 48 && key.bytes().all(|b| b.is_ascii_alphanumeric() || b"_-.:".contains(&b));
    if plain && digits < 9 { key.to_owned() } else { "*".to_owned() }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::konnektor::Profile;

    fn stripped(mut value: Value) -> (Value, Vec<String>) {
        let places = strip(&mut value, &Profile::kocobox().unwrap().personal);
        (value, places)
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
