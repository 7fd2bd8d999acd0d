use std::fs;
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::PathBuf;

use super::*;
use crate::init;

/// The shipped example, whole and right.
struct Example(tempfile::TempDir);

impl Example {
    fn new() -> Self {
        let example = Self(tempfile::tempdir().unwrap());
        example.write("policy/gateway.toml", init::GATEWAY, 0o644);
        example.write("policy/sites/praxis-mueller.toml", init::SITE, 0o644);
        example.write("secrets/praxis-mueller", "Zauber\n", 0o600);
        example.write("secrets/webhook", "0123456789abcdef\n", 0o600);
        example
    }

    /// The example with `more` at the end of gateway.toml.
    fn with_gateway(more: &str) -> Self {
        let example = Self::new();
        example.write("policy/gateway.toml", &format!("{}\n{more}\n", init::GATEWAY), 0o644);
        example
    }

    fn path(&self, path: &str) -> PathBuf {
        self.0.path().join(path)
    }

    fn write(&self, path: &str, text: &str, mode: u32) {
        let path = self.path(path);
        let folder = path.parent().unwrap();
        fs::create_dir_all(folder).unwrap();
        fs::set_permissions(folder, fs::Permissions::from_mode(0o755)).unwrap();
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
    }

    fn mode(&self, path: &str, mode: u32) {
        fs::set_permissions(self.path(path), fs::Permissions::from_mode(mode)).unwrap();
    }

    /// Every problem, a line each.
    fn problems(&self) -> Vec<String> {
        let mut problems = Problems::default();
        Config::load(&Folder::new(self.0.path()), &mut problems);
        problems.0.iter().map(ToString::to_string).collect()
    }
}

#[test]
fn the_example_is_right() {
    assert_eq!(Example::new().problems(), [""; 0]);
}

#[test]
fn a_folder_that_others_can_write_is_refused_once() {
    for folder in ["policy", "policy/sites", "secrets", "keys"] {
        let example = Example::new();
        fs::create_dir_all(example.path("keys")).unwrap();
        example.mode(folder, 0o777);
        let expected = format!("{folder}: the folder can be written by others (mode 777): chmod go-w");
        assert_eq!(example.problems(), [expected]);
        example.mode(folder, 0o755);
        assert_eq!(example.problems(), [""; 0], "{folder}");
    }
    let example = Example::new();
    example.mode("", 0o770);
    let problems = example.problems();
    assert_eq!(problems.len(), 1, "{problems:#?}");
    assert!(problems[0].contains("the folder can be written by others (mode 770)"), "{problems:#?}");
}

#[test]
fn a_sticky_folder_above_is_no_fault() {
    let example = Example::new();
    example.mode("secrets", 0o1777);
    assert_eq!(example.problems(), [""; 0]);
}

#[test]
fn a_link_is_followed_unless_it_leads_where_others_can_write() {
    let example = Example::new();
    example.write("elsewhere/webhook", "0123456789abcdef\n", 0o600);
    fs::remove_file(example.path("secrets/webhook")).unwrap();
    symlink(example.path("elsewhere/webhook"), example.path("secrets/webhook")).unwrap();
    assert_eq!(example.problems(), [""; 0]);
    example.mode("elsewhere", 0o777);
    assert!(example.problems()[0].starts_with("elsewhere: the folder can be written by others"));
}

#[test]
fn a_fifo_in_a_files_place_is_refused_and_does_not_wait() {
    let example = Example::new();
    fs::remove_file(example.path("secrets/webhook")).unwrap();
    let mode = rustix::fs::Mode::from_raw_mode(0o600);
    rustix::fs::mknodat(
        rustix::fs::CWD,
        example.path("secrets/webhook"),
        rustix::fs::FileType::Fifo,
        mode,
        0,
    )
    .unwrap();
    assert!(example.problems()[0].contains("is no file of at most 16 MiB"), "{:#?}", example.problems());
}

#[test]
fn a_file_of_another_user_is_refused() {
    let example = Example::new();
    if std::os::unix::fs::chown(example.path("policy/gateway.toml"), Some(12_345), None).is_err() {
        return; // only root can give files away
    }
    assert_eq!(
        example.problems(),
        ["policy/gateway.toml: belongs to user 12345: it must belong to root or to the gateway's own user"]
    );
}

#[test]
fn a_secret_of_root_alone_in_a_folder_that_was_given_away_is_refused_when_root_looks_too() {
    let example = Example::new();
    if std::os::unix::fs::chown(example.path("secrets"), Some(12_345), None).is_err() {
        return; // only root can give files away
    }
    let why = "belongs to root alone, its folder to user 12345, who cannot read it: chown it like its folder";
    let found = files::read_file(&example.path("secrets/webhook"), Readable::ByOwner).unwrap_err();
    assert_eq!(found.to_string(), why);
}

#[test]
fn a_secret_written_in_the_place_of_its_files_name_is_not_repeated() {
    let example = Example::new();
    let wrong = |text: &str, from: &str| text.replace(from, "file = \"Sommer2026!\"");
    example.write(
        "policy/sites/praxis-mueller.toml",
        &wrong(init::SITE, "file = \"secrets/praxis-mueller\""),
        0o644,
    );
    example.write("policy/gateway.toml", &wrong(init::GATEWAY, "file = \"secrets/webhook\""), 0o644);
    let problems = example.problems().join("\n");
    assert!(!problems.contains("Sommer2026"), "{problems}");
    let why = "the file named here cannot be read: No such file or directory (os error 2)";
    assert!(problems.contains(&format!("policy/gateway.toml:18:19: {why}")), "{problems}");
    assert!(problems.contains(&format!("policy/sites/praxis-mueller.toml:14:21: {why}")), "{problems}");
    // Nor where it is found, but not good.
    example.write("Sommer2026!", "x", 0o644);
    let problems = example.problems().join("\n");
    assert!(!problems.contains("Sommer2026"), "{problems}");
    assert!(problems.contains("the file named here can be read by others (mode 644)"), "{problems}");
}

#[test]
fn a_secret_that_nobody_has_replaced_is_refused() {
    let example = Example::new();
    example.write("secrets/praxis-mueller", "replace-me\n", 0o600);
    assert_eq!(
        example.problems(),
        [
            "policy/sites/praxis-mueller.toml:14:21: the file named here still says replace-me: write the secret into its first line"
        ]
    );
    example.write("secrets/praxis-mueller", "\n", 0o600);
    assert!(example.problems()[0].contains("is empty"));
}

#[test]
fn limits_have_bounds_and_say_them() {
    for good in ["kex_grace = \"1s\"", "idle = \"24h\"", "connection_age = \"168h\"", "keepalive = \"10m\""] {
        assert_eq!(Example::with_gateway(&format!("[limits]\n{good}")).problems(), [""; 0], "{good}");
    }
    for (bad, from, to) in [
        ("kex_grace = \"0s\"", "100ms", "24h"),
        ("key_grace = \"99ms\"", "100ms", "24h"),
        ("factor_grace = \"25h\"", "100ms", "24h"),
        ("idle = \"86401s\"", "100ms", "24h"),
        ("connection_age = \"169h\"", "100ms", "168h"),
        ("keepalive = \"11m\"", "100ms", "10m"),
    ] {
        let problems = Example::with_gateway(&format!("[limits]\n{bad}")).problems();
        let (key, _) = bad.split_once(' ').unwrap();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        let expected = format!("{key}: expected a time span from {from} to {to}");
        assert!(problems[0].ends_with(&expected), "{problems:#?}");
    }
}

#[test]
fn a_question_that_outlives_the_login_is_refused() {
    assert_eq!(Example::with_gateway("[limits]\nfactor_grace = \"61s\"").problems(), [""; 0]);
    assert_eq!(
        Example::with_gateway("[limits]\nfactor_grace = \"60s\"").problems(),
        [
            "policy/gateway.toml:13:11: second_factor.timeout (1m) must be shorter than limits.factor_grace (1m): the login would end before the question does"
        ]
    );
}

#[test]
fn one_mistake_gives_one_line() {
    let alone = |file: &str, from: &str, to: &str, expected: &str| {
        let example = Example::new();
        let text = fs::read_to_string(example.path(file)).unwrap();
        assert!(text.contains(from), "{from}");
        example.write(file, &text.replace(from, to), 0o644);
        let problems = example.problems();
        assert_eq!(problems.len(), 1, "{problems:#?}");
        assert!(problems[0].contains(expected), "{problems:#?}");
    };
    let gateway = "policy/gateway.toml";
    let site = "policy/sites/praxis-mueller.toml";
    alone(gateway, "listen =", "lisen =", ":4:1: unknown field \"lisen\", did you mean \"listen\"?");
    alone(gateway, "listen =", "# listen =", "needs the field \"listen\"");
    alone(gateway, "[\"127.0.0.1:2222\"]", "[\"here\"]", ":4:11: listen: \"here\"");
    alone(gateway, "secret = {", "secrte = {", "unknown field \"secrte\", did you mean \"secret\"?");
    alone(gateway, "\nsecret = {", "\n# secret = {", "[second_factor.webhook] needs the field \"secret\"");
    alone(gateway, "secrets/webhook", "secrets/nothing", "the file named here cannot be read");
    alone(gateway, "[second_factor.webhook]", "[second_factor.webhok]", "did you mean \"webhook\"?");
    alone(gateway, "\"webhook\"  ", "\"exec\"  ", "needs the table [second_factor.exec]");
    alone(gateway, "provider =", "provder =", "unknown field \"provder\", did you mean \"provider\"?");
    alone(gateway, "\"webhook\"  ", "\"webhok\"  ", "provider: \"webhok\" is none of");
    alone(site, "password = {", "pasword = {", "unknown field \"pasword\", did you mean \"password\"?");
    alone(site, "[konnektor.main]", "[konnektor.incoming]", "no Konnektor can be called \"incoming\"");
    alone(site, "\npassword = {", "\n# password = {", "[konnektor.main] needs the field \"password\"");
    alone(site, "secrets/praxis-mueller", "secrets/nothing", "the file named here cannot be read");
    alone(site, "\"192.168.2.100:9443\"", "\"nowhere\"", "\"nowhere\"");
}

#[test]
fn privacyidea_wants_https_and_one_way_to_sign_in() {
    let problems = |lines: &str| {
        let example = Example::with_gateway(&format!("[second_factor.privacyidea]\n{lines}"));
        example.write("secrets/pi", "geheim\n", 0o600);
        example.problems()
    };
    let (https, token) = ("url = \"https://pi.example/path\"\n", "token = { file = \"secrets/pi\" }\n");
    let user = "user = \"pforte\"\npassword = { file = \"secrets/pi\" }\n";
    for url in [
        https,
        "url = \"http://127.0.0.1:5000\"\n",
        "url = \"http://[::1]/\"\n",
        "url = \"http://localhost/\"\n",
    ] {
        assert_eq!(
            problems(&format!("{url}{token}realm = \"partner\"\nca = \"ca.pem\"\n")),
            [""; 0],
            "{url}"
        );
        assert_eq!(problems(&format!("{url}{user}verify = \"pi.pem\"\n")), [""; 0], "{url}");
    }
    for (lines, expected) in [
        (
            format!("url = \"http://pi.example/\"\n{token}"),
            "url: expected https:// (http:// to this machine only)",
        ),
        (format!("url = \"http://127.0.0.1.example/\"\n{token}"), "(http:// to this machine only)"),
        (format!("url = \"ftp://127.0.0.1/\"\n{token}"), "(http:// to this machine only)"),
        (
            format!("url = \"https://a:b@pi.example/\"\n{token}"),
            "url: expected nothing but https://HOST/PATH",
        ),
        (
            format!("url = \"https://pi.example/?a=b\"\n{token}"),
            "url: expected nothing but https://HOST/PATH",
        ),
        (token.to_owned(), "[second_factor.privacyidea] needs the field \"url\""),
        (https.to_owned(), "needs the field \"token\""),
        (format!("{https}user = \"pforte\"\n"), "needs the field \"password\""),
        (format!("{https}password = {{ file = \"secrets/pi\" }}\n"), "needs the field \"user\""),
        (format!("{https}{user}{token}"), "token, or user and password: not both"),
        (format!("{https}{token}realn = \"x\"\n"), "did you mean \"realm\"?"),
    ] {
        let problems = problems(&lines);
        assert!(problems.len() == 1 && problems[0].contains(expected), "{lines}{problems:#?}");
    }
}

#[test]
fn who_is_called_back_needs_the_listener_and_is_told_where() {
    const NEEDS: &str = "needs the table [second_factor.callback] in policy/gateway.toml";
    let ntfy = "[second_factor.ntfy]\nurl = \"https://ntfy.example\"";
    let of_gateway = Example::with_gateway(ntfy);
    let lines = fs::read_to_string(of_gateway.path("policy/gateway.toml")).unwrap();
    let line = lines.lines().position(|line| line == "[second_factor.ntfy]").unwrap() + 1;
    let told = format!("policy/gateway.toml:{line}:1: [second_factor.ntfy] {NEEDS}");
    assert_eq!(of_gateway.problems(), [told]);
    let of_firm = Example::new();
    of_firm.write("policy/firms/firm.toml", &format!("name = \"F\"\n{ntfy}\n"), 0o644);
    assert_eq!(of_firm.problems(), [format!("policy/firms/firm.toml:2:1: [second_factor.ntfy] {NEEDS}")]);
    let hook = Example::new();
    let text = init::GATEWAY.replace("[second_factor.webhook]", "[second_factor.webhook]\ncallback = true");
    hook.write("policy/gateway.toml", &text, 0o644);
    assert_eq!(hook.problems(), [format!("policy/gateway.toml:16:1: [second_factor.webhook] {NEEDS}")]);
    // With it, all three are right; one that is wrong is not missing as well.
    let listener = "[second_factor.callback]\nlisten = \"0.0.0.0:8443\"\nurl = \"https://gw.example:8443\"";
    let whole = Example::with_gateway(&format!("{ntfy}\n{listener}"));
    whole.write("policy/firms/firm.toml", &format!("{ntfy}\n"), 0o644);
    assert_eq!(whole.problems(), [""; 0]);
    let wrong = Example::with_gateway(&format!("{ntfy}\n{listener}").replace(":8443\"\nurl", "\"\nurl"));
    wrong.write("policy/firms/firm.toml", &format!("{ntfy}\n"), 0o644);
    assert_eq!(wrong.problems().len(), 1, "{:?}", wrong.problems());
}

#[test]
fn what_is_wrong_with_ntfy_and_with_the_listener_is_one_line_each() {
    let right = "[second_factor.ntfy]\nurl = \"https://ntfy.example\"\ntopic = \"p-{user}\"\nnumber = \"typed\"\n\
        priority = 4\ntoken = { file = \"secrets/ntfy\" }\nproxy = \"http://proxy.example:3128\"\n\
        [second_factor.callback]\nlisten = \"[::]:8443\"\nurl = \"https://gw.example\"\n\
        certificate = \"secrets/cert.pem\"\nkey = \"secrets/key.pem\"";
    let problems = |from: &str, to: &str| {
        assert!(right.contains(from), "{from}");
        let example = Example::with_gateway(&right.replace(from, to));
        for file in ["ntfy", "cert.pem", "key.pem"] {
            example.write(&format!("secrets/{file}"), "x\n", 0o600);
        }
        example.problems()
    };
    assert_eq!(problems("typed", "shown"), [""; 0]);
    assert_eq!(problems("https://gw.example", "http://127.0.0.1:1"), [""; 0]);
    assert_eq!(problems("\"p-{user}\"", "\"p-{external}\""), [""; 0]);
    for (from, to, expected) in [
        (
            "https://ntfy.example",
            "http://ntfy.example",
            "expected https://HOST; http is for this machine alone",
        ),
        ("https://ntfy.example", "https://ntfy.example/topic", "and nothing behind it"),
        ("https://ntfy.example", "https://a:b@ntfy.example", "and nothing behind it"),
        ("https://gw.example", "http://gw.example", "http is for this machine alone"),
        ("https://gw.example", "https://gw.example/x", "and nothing behind it"),
        ("p-{user}", "p", "with one {user} or {external} in it"),
        ("p-{user}", "p.{user}", "with one {user} or {external} in it"),
        ("typed", "both", "number: \"both\" is none of \"typed\", \"shown\""),
        ("priority = 4", "priority = 6", "priority: expected a whole number from 1 to 5"),
        ("secrets/ntfy", "secrets/none", "the file named here cannot be read"),
        ("\nkey = \"secrets/key.pem\"", "", "[second_factor.callback] needs the field \"key\""),
        ("certificate = \"secrets/cert.pem\"\n", "", "needs the field \"certificate\""),
        ("secrets/cert.pem", "secrets/none.pem", "secrets/none.pem cannot be read"),
        ("listen = \"[::]:8443\"\n", "", "[second_factor.callback] needs the field \"listen\""),
    ] {
        let problems = problems(from, to);
        assert_eq!(problems.len(), 1, "{to}: {problems:#?}");
        assert!(problems[0].contains(expected), "{to}: {problems:#?}");
    }
}

#[test]
fn what_editors_leave_behind_is_no_site() {
    let example = Example::new();
    for name in ["praxis-mueller.toml~", "#praxis-mueller.toml#", "praxis-mueller.toml.bak"] {
        example.write(&format!("policy/sites/{name}"), "?", 0o644);
    }
    assert_eq!(example.problems(), [""; 0]);
    example.write("policy/sites/praxis-mueller.txt", "?", 0o644);
    assert_eq!(example.problems(), ["policy/sites/praxis-mueller.txt: a site's file is named SITE.toml"]);
}

#[test]
fn a_domain_of_two_sites_is_refused_with_both_files() {
    let example = Example::new();
    example.write("policy/sites/praxis-schmidt.toml", init::SITE, 0o644);
    assert_eq!(
        example.problems(),
        [
            "policy/sites/praxis-schmidt.toml: the domain praxis-mueller.example stands in policy/sites/praxis-mueller.toml too: one domain leads to one site"
        ]
    );
}

#[test]
fn public_names_are_hosts_with_a_port_where_it_is_not_22() {
    let with = |list: &str| {
        let example = Example::new();
        let text = init::GATEWAY.replacen("\nlanguage =", &format!("\nnames = {list}\nlanguage ="), 1);
        example.write("policy/gateway.toml", &text, 0o644);
        example
    };
    let right = with(r#"["Gateway.firm.example", "gateway.firm.example:2222", "[2001:db8::1]:22"]"#);
    let config = Config::load(&Folder::new(right.0.path()), &mut Problems::default()).unwrap();
    let names: Vec<String> = config.gateway.names.iter().map(ToString::to_string).collect();
    assert_eq!(names, ["gateway.firm.example:22", "gateway.firm.example:2222", "[2001:db8::1]:22"]);
    for bad in ["*.firm.example", "gate way", "gateway:0", "gateway:70000", "user@gateway", ""] {
        let problems = with(&format!("[\"{bad}\"]")).problems();
        let [problem] = &problems[..] else { panic!("{bad:?}: {problems:?}") };
        assert!(problem.starts_with("policy/gateway.toml:6:10: names: "), "{problem}");
        assert!(problem.contains("expected a host name or an address"), "{problem}");
    }
}

#[test]
fn a_gateway_without_names_is_reached_at_what_it_listens_on_but_for_everywhere() {
    let config = Config::load(&Folder::new(Example::new().0.path()), &mut Problems::default()).unwrap();
    let addresses = ["0.0.0.0:22", "[::]:22", "203.0.113.7:22", "[2001:db8::1]:2222", "127.0.0.1:0"];
    let listening = addresses.map(|address| address.parse().unwrap());
    let names: Vec<String> = config.gateway.reached_at(&listening).iter().map(ToString::to_string).collect();
    assert_eq!(names, ["203.0.113.7:22", "[2001:db8::1]:2222"]);
}

const DUO: &str = "[second_factor.duo]\nhost = \"API-deadbeef.duosecurity.com\"\nikey = \"DIXYZV6YM8IFYVWBINCA\"\n\
                   skey = { file = \"secrets/duo\" }\n";

fn with_duo(more: &str) -> Example {
    let example = Example::with_gateway(&format!("{DUO}{more}"));
    example.write("secrets/duo", "yWHSMhWucAcp7qvuH3HWTaSaKABs8Gaddiv1NIRo \n", 0o600);
    example
}

fn loaded(example: &Example) -> Config {
    let mut problems = Problems::default();
    let config = Config::load(&Folder::new(example.0.path()), &mut problems);
    assert!(problems.0.is_empty(), "{:#?}", example.problems());
    config.unwrap()
}

#[test]
fn duos_settings_have_their_defaults_and_a_host_in_lower_case() {
    let config = loaded(&with_duo(""));
    let Some(FactorSettings::Duo(duo)) = config.gateway.factor.settings.get(&Kind::Duo) else { panic!() };
    assert_eq!(duo.host.to_string(), "api-deadbeef.duosecurity.com:443");
    assert_eq!(duo.skey.reveal(), "yWHSMhWucAcp7qvuH3HWTaSaKABs8Gaddiv1NIRo");
    assert_eq!((duo.signature, duo.device.as_str(), duo.bypass), (DuoSignature::V5, "auto", false));
    assert!(duo.ca.is_none() && duo.proxy.is_none());
    let more = "signature = \"v2\"\ndevice = \"DP80Z4GVU82OT8O1BNJF\"\nbypass = true\nca = \"duo.pem\"\n\
                proxy = \"http://proxy.example:3128/\"\n";
    let config = loaded(&with_duo(more));
    let Some(FactorSettings::Duo(duo)) = config.gateway.factor.settings.get(&Kind::Duo) else { panic!() };
    assert_eq!(
        (duo.signature, duo.device.as_str(), duo.bypass),
        (DuoSignature::V2, "DP80Z4GVU82OT8O1BNJF", true)
    );
    assert_eq!(duo.proxy.as_deref(), Some("http://proxy.example:3128"));
    assert!(duo.ca.as_ref().is_some_and(|ca| ca.ends_with("duo.pem")));
}

#[test]
fn what_cannot_be_duos_is_refused_with_its_place() {
    for (from, to, expected) in [
        ("API-deadbeef.duosecurity.com", "https://api-deadbeef.duosecurity.com", "is no host name"),
        ("API-deadbeef.duosecurity.com", "api_deadbeef", "is no host name"),
        ("API-deadbeef.duosecurity.com", "", "is no host name"),
        ("API-deadbeef.duosecurity.com", "127.0.0.1:0", "is no host name"),
        ("DIXYZV6YM8IFYVWBINCA", "DIXYZV6YM8IFYVWBINC", "is no ikey"),
        ("DIXYZV6YM8IFYVWBINCA", "AIXYZV6YM8IFYVWBINCA", "is no ikey"),
        ("DIXYZV6YM8IFYVWBINCA", "DIXYZV6YM8IFYVWBIN-A", "is no ikey"),
        ("\nskey = ", "\n# skey = ", "[second_factor.duo] needs the field \"skey\""),
        ("secrets/duo", "secrets/empty", "is empty"),
    ] {
        let example = with_duo("");
        example.write("secrets/empty", "  \n", 0o600);
        let file = "policy/gateway.toml";
        let text = fs::read_to_string(example.path(file)).unwrap();
        example.write(file, &text.replace(from, to), 0o644);
        let problems = example.problems();
        assert_eq!(problems.len(), 1, "{to}: {problems:#?}");
        assert!(
            problems[0].starts_with("policy/gateway.toml:") && problems[0].contains(expected),
            "{problems:#?}"
        );
    }
    for (more, expected) in [
        ("signature = \"v3\"", "none of \"v5\", \"v2\""),
        ("proxy = \"socks5://127.0.0.1:1080\"", "is no proxy"),
        ("proxy = \"http://127.0.0.1\"", "is no proxy"),
        ("device = \"\"", "is no device"),
        ("fail_open = true", "unknown field \"fail_open\""),
    ] {
        let problems = with_duo(&format!("{more}\n")).problems();
        assert_eq!(problems.len(), 1, "{more}: {problems:#?}");
        assert!(problems[0].contains(expected), "{problems:#?}");
    }
}

#[test]
fn behind_a_link_a_konnektor_needs_no_account_and_a_password_belongs_to_the_site() {
    let text = |table: &str| {
        format!("name = \"P\"\ndomain = \"p.example\"\nvia = \"link\"\n[konnektor.main]\n{table}\n")
    };
    let problems = |table: &str| {
        let example = Example::new();
        example.write("policy/sites/praxis-mueller.toml", &text(table), 0o644);
        example.problems()
    };
    assert_eq!(problems(""), [""; 0]);
    assert_eq!(
        problems("product = \"rise\"\naddress = \"10.0.0.2:8443\"\nnetworks = [\"10.0.0.0/24\"]"),
        [""; 0]
    );
    for wrong in
        ["password = { file = \"secrets/praxis-mueller\" }", "user = \"koco-root\"", "certificate = \"x\""]
    {
        let problems = problems(wrong);
        let key = wrong.split(' ').next().unwrap();
        assert_eq!(problems.len(), 1, "{problems:?}");
        assert!(
            problems[0]
                .contains(&format!("{key}: with via = \"link\" it belongs into the site's own site.toml")),
            "{problems:?}"
        );
    }
}
