//! Against vectors that others have published or that Duo's own Python client made.

use super::*;

const DOC: (&str, &str, &str) =
    ("DIWJ8X6AEYOR5OMC6TQ1", "Zh5eGmUq9zpfQnyUIu5OL9iWoMMv5ZNmk3zLJ4Ep", "api-XXXXXXXX.duosecurity.com");
const MOCK: (&str, &str, &str) =
    ("DIXYZV6YM8IFYVWBINCA", "yWHSMhWucAcp7qvuH3HWTaSaKABs8Gaddiv1NIRo", "api-deadbeef.duosecurity.com");

fn signer((ikey, skey, host): (&str, &str, &str)) -> Signer {
    Signer::new(ikey, &Secret::new(skey.to_owned()), host)
}

fn tag(keys: &Signer, signature: Signature, request: &Signed<'_>) -> String {
    let header = keys.authorization(signature, request);
    let pair = BASE64_STANDARD.decode(header.strip_prefix("Basic ").unwrap()).unwrap();
    let pair = String::from_utf8(pair).unwrap();
    pair.strip_prefix(&format!("{}:", keys.ikey)).unwrap().to_owned()
}

fn first_last() -> Params {
    Params::default().with("username", "root").with("realname", "First Last")
}

#[test]
fn the_documents_example_has_its_lines_and_its_tag_in_version_2() {
    let (keys, body) = (signer(DOC), first_last().line());
    let request = Signed {
        date: "Tue, 21 Aug 2012 17:29:18 -0000",
        method: "POST",
        path: "/accounts/v1/account/list",
        query: "",
        body: &body,
    };
    let lines = "Tue, 21 Aug 2012 17:29:18 -0000\nPOST\napi-xxxxxxxx.duosecurity.com\n/accounts/v1/account/list\n\
                 realname=First%20Last&username=root";
    assert_eq!(keys.canonical(Signature::V2, &request), lines);
    // V1: the example as the document prints it, with the HMAC of its day.
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, DOC.1.as_bytes());
    let legacy = hex(hmac::sign(&key, lines.as_bytes()).as_ref());
    assert_eq!(legacy, "2d97d6166319781b5a3a07af39d366f491234edc");
    // V2.
    assert_eq!(
        tag(&keys, Signature::V2, &request),
        "1bffb8924348f7db7da9e7d7d749ded93aafd02d8e904960da7b96c57510220185a64a2827ee8f24ac5d30802a9ee97e59de44b304b18242f0d596d15a8122af"
    );
}

#[test]
fn the_go_clients_example_has_its_tag_in_version_5() {
    // V3: a query and a body at once, which we never send.
    let (keys, query) = (signer(DOC), Params::default().with("realname", "First Last").line());
    let body = Params::default().with("txid", "f22b1678-252a-4070-b176-0ca2be7319fd").json();
    let request = Signed {
        date: "Tue, 21 Aug 2012 17:29:18 -0000",
        method: "POST",
        path: "/accounts/v1/account/list",
        query: &query,
        body: &body,
    };
    let lines = keys.canonical(Signature::V5, &request);
    let last: Vec<&str> = lines.lines().skip(5).collect();
    assert_eq!(
        last,
        [
            "09a21b07c82c674c76e4560a5965c9bf02295015adc7317160b906ec0cf8fed95d181fb532cc3bffb9e558f928ed3cd58d49ad6df1af7f3f8edc3b23c37a2085",
            "cf83e1357eefb8bdf1542850d66d8007d620e4050b5715dc83f4a921d36ce9ce47d0d13c5d85f2b0ff8318d2877eec2f63b931bd47417a81a538327af927da3e",
        ]
    );
    assert_eq!(
        tag(&keys, Signature::V5, &request),
        "78f4327f831173cc78d0907e913e3c5a28fe72dd4545a342586bb67181f2ba393d20911e870362f6faba3dc6f7e9db5e93aed2f3bfc110c6dadaff4dc6179e0b"
    );
}

#[test]
fn every_byte_that_is_not_plain_is_encoded_and_keys_are_sorted() {
    // V4.
    assert_eq!(
        encode(r##"!"#$%&'()*+,-./:;<=>?@[\]^_`{|}~"##),
        "%21%22%23%24%25%26%27%28%29%2A%2B%2C-.%2F%3A%3B%3C%3D%3E%3F%40%5B%5C%5D%5E_%60%7B%7C%7D~"
    );
    assert_eq!(encode("\t\n\r aZ09ü"), "%09%0A%0D%20aZ09%C3%BC");
    assert_eq!(Params::default().with("foo_bar", "2").with("foo", "1").line(), "foo=1&foo_bar=2");
    assert_eq!(Params::default().line(), "");
}

#[test]
fn keys_and_values_of_any_script_and_a_host_in_any_case_have_the_python_clients_tag() {
    // V6.
    let params = Params::default()
        .with(
            "\u{469a}\u{287b}\u{35d0}\u{8ef3}\u{6727}\u{502a}\u{0810}\u{d091}\u{c8}\u{c170}",
            "\u{0f45}\u{1a76}\u{341a}\u{654c}\u{c23f}\u{9b09}\u{abe2}\u{8343}\u{1b27}\u{60d0}",
        )
        .with(
            "\u{7449}\u{7e4b}\u{ccfb}\u{59ff}\u{fe5f}\u{83b7}\u{adcc}\u{900c}\u{cfd1}\u{7813}",
            "\u{8db7}\u{5022}\u{92d3}\u{42ef}\u{207d}\u{8730}\u{acfe}\u{5617}\u{0946}\u{4e30}",
        )
        .with(
            "\u{7470}\u{9314}\u{901c}\u{9eae}\u{40d8}\u{4201}\u{82d8}\u{8c70}\u{1d31}\u{a042}",
            "\u{17d9}\u{0ba8}\u{9358}\u{aadf}\u{a42a}\u{48be}\u{fb96}\u{6fe9}\u{b7ff}\u{32f3}",
        )
        .with(
            "\u{c2c5}\u{2c1d}\u{2620}\u{3617}\u{96b3}F\u{8605}\u{20e8}\u{ac21}\u{5934}",
            "\u{fba9}\u{41aa}\u{bd83}\u{840b}\u{2615}\u{3e6e}\u{652d}\u{a8b5}\u{d56b}U",
        );
    let keys = signer(("test_ikey", "gtdfxv9YgVBYcF6dl2Eq17KUQJN2PLM2ODVTkvoT", "foO.BAr52.cOm"));
    let body = params.line();
    let request = Signed {
        date: "Fri, 07 Dec 2012 17:18:00 -0000",
        method: "PoSt",
        path: "/Foo/BaR2/qux",
        query: "",
        body: &body,
    };
    assert_eq!(
        tag(&keys, Signature::V2, &request),
        "0508065035a03b2a1de2f453e629e791d180329e157f65df6b3e0f08299d4321e1c5c7a7c7ee6b9e5fc80d1fb6fbf3ad5eb7c44dd3b3985a02c37aca53ec3698"
    );
}

#[test]
fn a_body_of_version_5_is_sorted_json_and_its_hash_the_documents() {
    // V7.
    let body = Params::default()
        .with("username", "narroway")
        .with("factor", "push")
        .with("device", "auto")
        .with("ipaddr", "10.2.3.4")
        .with("hostname", "wks01")
        .json();
    assert_eq!(
        body,
        r#"{"device":"auto","factor":"push","hostname":"wks01","ipaddr":"10.2.3.4","username":"narroway"}"#
    );
    let hash = sha512(&body);
    assert!(hash.starts_with("571f07f529b16c2a") && hash.ends_with("031638aeb"), "{hash}");
    let request = Signed {
        date: "Tue, 21 Aug 2012 17:29:18 -0000",
        method: "POST",
        path: "/auth/v2/auth",
        query: "",
        body: &body,
    };
    assert_eq!(
        tag(&signer(DOC), Signature::V5, &request),
        "899b5ae9fc1c78e3dd57562ce43dfed6f0787e484f5d992295838d07e24a82969ff77f119ba35fe4e3cfdb2faaad22803452cc38759c4bd766f9d158fe3428dc"
    );
}

const DATE: &str = "Tue, 21 Aug 2012 17:29:18 +0000";

#[test]
fn a_push_in_version_2_encodes_its_pushinfo_twice() {
    // V8.
    let body = Params::default()
        .with("username", "hans.müller")
        .with("factor", "push")
        .with("device", "auto")
        .with("async", "1")
        .with("ipaddr", "203.0.113.7")
        .with("type", "Fernwartung")
        .with("pushinfo", "Ziel=backup.schule.example&Firma=M%C3%BCller+GmbH")
        .line();
    assert_eq!(
        body,
        "async=1&device=auto&factor=push&ipaddr=203.0.113.7&pushinfo=Ziel%3Dbackup.schule.example%26Firma%3DM%25C3%25BCller%2BGmbH&type=Fernwartung&username=hans.m%C3%BCller"
    );
    let request = Signed { date: DATE, method: "POST", path: "/auth/v2/auth", query: "", body: &body };
    assert_eq!(
        tag(&signer(MOCK), Signature::V2, &request),
        "f3516177ed25bbab8f558149f5fab718cf4dc2e911e2a0e417bf206a83717c2073c187655543f00a1ef6712a3a0993b19798f7ed436a0b3e0d104092f7015dd5"
    );
}

#[test]
fn a_poll_has_its_tag_in_both_versions() {
    // V9.
    let query = Params::default().with("txid", "45f7c92b-f45f-4862-8545-e0f58e78075a").line();
    let request = Signed { date: DATE, method: "GET", path: "/auth/v2/auth_status", query: &query, body: "" };
    assert_eq!(
        tag(&signer(MOCK), Signature::V2, &request),
        "e85629c6aced2ca4b4fcd1b66f86bffe1ce77f449154e0b774fdace42abf01a018608defd6e6c0301d8b041990a552e46f102ac45f6d1abd02b9cbc0ce96c4d6"
    );
    assert_eq!(
        tag(&signer(MOCK), Signature::V5, &request),
        "1cdf0ca18162e110abc6eb39551160e1948bafc9ad5e7b756815d1064ba65fdcfc3bf794954ae16b10f2a61b93fa74c7b8d4b18f402c5c53f83359bbf2dde15c"
    );
}

#[test]
fn exactly_the_bytes_of_the_body_are_signed_in_version_5() {
    // V10: the Python client escapes what is not ASCII; we do not, and sign what we send.
    let body = r#"{"async":"1","device":"auto","factor":"push","username":"hans.m\u00fcller"}"#;
    let request = Signed { date: DATE, method: "POST", path: "/auth/v2/auth", query: "", body };
    let python = tag(&signer(MOCK), Signature::V5, &request);
    assert_eq!(
        python,
        "6a9358f7b8281a3aa8db0e8094ae639461487363521167a98e9212955c0f12ab04185513ce93b2a23bd10f4f64bba1aed8c9dcacf1935048f3b76ad4f8d98bc4"
    );
    let ours = Params::default()
        .with("username", "hans.müller")
        .with("factor", "push")
        .with("device", "auto")
        .with("async", "1")
        .json();
    assert_eq!(ours, r#"{"async":"1","device":"auto","factor":"push","username":"hans.müller"}"#);
    assert_ne!(tag(&signer(MOCK), Signature::V5, &Signed { body: &ours, ..request }), python);
}
