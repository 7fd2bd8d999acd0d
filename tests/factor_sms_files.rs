//! `[second_factor.sms]`: what a file may not say, each with its place.
//! Absent on purpose: what is sent.

use crate::sms_desk;

use sms_desk::read;

const URL: &str = "url = \"https://sms.example/\"";
const GOOD: &str = "encoding = \"form\"\nbody = \"to={to}&text={text}\"";
const KEY: &str = "api_key = { file = \"key\" }";

fn http(more: &str) -> String {
    format!("service = \"http\"\n{more}")
}

fn problems(sms: &str) -> Vec<String> {
    read(tempfile::tempdir().unwrap().path(), sms, "").err().unwrap_or_default()
}

/// One mistake gives one line, at its place.
fn refused(cases: &[(String, &str)]) {
    for (sms, expected) in cases {
        let problems = problems(sms);
        assert!(
            problems[0].starts_with(&format!("policy/gateway.toml:{expected}")),
            "{sms}\n{problems:#?}\n{expected}"
        );
        assert_eq!(problems.len(), 1, "{sms}\n{problems:#?}");
    }
}

#[test]
fn what_could_send_is_read() {
    assert_eq!(problems(&http(&format!("{URL}\n{GOOD}"))), [""; 0]);
    assert_eq!(problems("service = \"http\"\nurl = \"http://[::1]:8080/?t={text}&n={to}\""), [""; 0]);
}

#[test]
fn a_service_without_its_credentials_or_with_odd_names_is_refused() {
    refused(&[
        ("sender = \"x\"".to_owned(), "4:1: [second_factor.sms] needs the field \"service\""),
        ("service = \"seven\"".into(), "4:1: [second_factor.sms] needs the field \"api_key\""),
        (
            "service = \"sipgate\"\ntoken_id = \"t\"\ntoken = { file = \"key\" }".into(),
            "4:1: [second_factor.sms] needs the field \"device\"",
        ),
        (
            "service = \"twilio\"\naccount = \"AC1\"\ntoken = { file = \"key\" }".into(),
            "4:1: [second_factor.sms] needs the field \"sender\"",
        ),
        (
            "service = \"twilio\"\naccount = \"../x\"\nsender = \"x\"\ntoken = { file = \"key\" }".into(),
            "6:11: \"../x\": expected letters, digits and -._@ of ASCII",
        ),
        (
            format!("service = \"seven\"\n{KEY}\nbody = \"x\""),
            "7:1: unknown field \"body\"; known here: api_key, ca, lasts, proxy, sender, service, url",
        ),
        (
            format!("service = \"seven\"\n{KEY}\nsender = \"a\\\"b\""),
            "7:10: \"a\\\"b\": expected at most 16 letters and digits of ASCII",
        ),
        (
            format!("service = \"seven\"\n{KEY}\nsender = \"-x\""),
            "7:10: \"-x\": expected at most 16 letters and digits of ASCII",
        ),
        (
            format!("service = \"seven\"\n{KEY}\nurl = \"http://sms.example/\""),
            "7:7: url: must be https; http is for this machine alone",
        ),
        (
            format!("service = \"seven\"\n{KEY}\nlasts = \"11m\""),
            "7:9: lasts: expected a time span from 1s to 10m",
        ),
    ]);
}

#[test]
fn a_template_that_could_not_send_is_refused() {
    refused(&[
        (
            http(&format!("url = \"http://127.0.0.2.example/\"\n{GOOD}")),
            "6:7: url: must be https; http is for this machine alone",
        ),
        (
            http(&format!("url = \"https://{{to}}.example/\"\n{GOOD}")),
            "6:7: url: placeholders stand behind the host",
        ),
        (http(&format!("url = \"https://sms.example{{to}}/\"\n{GOOD}")), "6:7: url: "),
        (http(&format!("url = \"ftp://sms.example/\"\n{GOOD}")), "6:7: url: must be https"),
        (
            http(&format!("{URL}\nbody = \"{{to}} {{text}}\"")),
            "4:1: [second_factor.sms] needs the field \"encoding\"",
        ),
        (
            http(&format!("{URL}\nencoding = \"form\"\nbody = \"to={{to}}&text={{txt}}\"")),
            "8:8: body: unknown placeholder {txt}; known here: {to}, ",
        ),
        (
            http(&format!("{URL}\nencoding = \"json\"\nbody = '{{\"to\": \"{{to}}\", \"text\": {{text}}}}'")),
            "8:8: body: is no JSON once it is filled in",
        ),
        (
            http(&format!("{URL}\nencoding = \"form\"\nbody = \"to={{to}}\"")),
            "6:7: the code is sent nowhere: {text} is missing",
        ),
        (
            http(&format!("{URL}\nencoding = \"form\"\nbody = \"text={{text}}\"")),
            "6:7: the phone is sent nowhere: {to} or {to_digits} is missing",
        ),
        (
            http(&format!("{URL}\n{GOOD}\nheaders = {{ X-Key = \"{{secret}}\" }}")),
            "6:7: {secret} and {basic} need the field \"secret\"",
        ),
        (
            http(&format!("{URL}\n{GOOD}\nheaders = {{ X = \"{{from}}\" }}")),
            "6:7: {from} needs the field \"sender\"",
        ),
        (
            http(&format!("{URL}\n{GOOD}\nheaders = {{ \"X Y\" = \"z\" }}")),
            "9:21: headers: \"X Y\" is no name",
        ),
        (
            http(&format!("{URL}\n{GOOD}\nheaders = {{ X = \"a\\nb\" }}")),
            "9:17: headers: a value may not have line breaks or control characters",
        ),
        (
            http(&format!("{URL}\n{GOOD}\nsuccess = {{ status = [99] }}")),
            "9:22: status: expected a list of whole numbers from 200 to 299",
        ),
        (
            http(&format!("{URL}\n{GOOD}\nsuccess = {{ json = \"ok\", equals = \"1\" }}")),
            "9:20: json: expected a JSON pointer such as /success",
        ),
        (
            http(&format!("{URL}\n{GOOD}\nsuccess = {{ json = \"/ok\" }}")),
            "9:11: [second_factor.sms.success] needs the field \"equals\"",
        ),
    ]);
}

#[test]
fn a_program_that_could_not_send_and_a_code_that_outlives_the_login_are_refused() {
    refused(&[
        (
            "service = \"sevn\"".into(),
            "5:11: service: \"sevn\" is none of \"seven\", \"sipgate\", \"twilio\", \"http\", \"exec\", did you mean \"seven\"?",
        ),
        ("service = \"exec\"".into(), "4:1: [second_factor.sms] needs the field \"command\""),
        (
            "service = \"exec\"\ncommand = [\"/bin/{to}\", \"{to}\"]".into(),
            "6:12: command: the program itself has no placeholders",
        ),
        (
            "service = \"exec\"\ncommand = [\"/bin/true\", \"{text}\"]".into(),
            "6:12: the phone is sent nowhere",
        ),
        (
            "service = \"exec\"\ncommand = [\"/bin/true\", \"{to}\", \"{secret}\"]".into(),
            "6:12: command: everybody on this machine could read a {secret} there",
        ),
        (
            format!("service = \"seven\"\n{KEY}\n[limits]\nfactor_grace = \"5m\""),
            "4:1: second_factor.sms.lasts (5m) must be shorter than limits.factor_grace (5m): the login would end before the question does",
        ),
        (
            format!("service = \"seven\"\n{KEY}\nlasts = \"400s\""),
            "7:9: second_factor.sms.lasts (400s) must be shorter than limits.factor_grace (390s): the login would end before the question does",
        ),
    ]);
}

#[test]
fn a_firms_own_sms_is_held_to_the_gateways_grace_too() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::create_dir_all(dir.path().join("policy/firms")).unwrap();
    let firm = "[second_factor]\nprovider = \"sms\"\n[second_factor.sms]\nservice = \"exec\"\ncommand = [\"/bin/true\", \"{to}\"]\nlasts = \"2m\"\n";
    std::fs::write(dir.path().join("policy/firms/firm.toml"), firm).unwrap();
    let gateway = "service = \"exec\"\nlasts = \"1m\"\ncommand = [\"/bin/true\", \"{to}\"]";
    assert!(read(dir.path(), gateway, "[limits]\nfactor_grace = \"121s\"").is_ok());
    assert_eq!(
        read(dir.path(), gateway, "[limits]\nfactor_grace = \"2m\"").err().unwrap(),
        [
            "policy/firms/firm.toml:6:9: second_factor.sms.lasts (2m) must be shorter than limits.factor_grace (2m): the login would end before the question does"
        ]
    );
}
