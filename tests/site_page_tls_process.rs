//! `pforte site serve` with its page in the network: what a client that trusts the shown certificate sees, what status and log
//! say, which settings are refused.
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::page;
use crate::posing;

use std::net::SocketAddr;
use std::os::unix::fs::PermissionsExt as _;

use page::tls::{dial, private, put};
use pforte::site::desk::{Access, Seal};
use posing::site::{Site, table};

const HOST: &str = "fernwartung.praxis.example";

fn tables(page: &str) -> String {
    let nowhere = table("127.0.0.1:1".parse().unwrap(), 1);
    format!(
        "{nowhere}[page]\nlisten = \"127.0.0.1:0\"\nlan = \"127.0.0.1:0\"\npin = {{ file = \"secrets/pin\" }}\n{page}\n"
    )
}

/// Where the page is in the network.
async fn access(site: &Site) -> (Access, SocketAddr) {
    let access = site.until(|view| !view.access.is_empty()).await.access[0].clone();
    let address = access.url.rsplit('/').nth(1).unwrap().parse().unwrap();
    (access, address)
}

/// A client that trusts this certificate alone.
fn client(pem: &str, address: SocketAddr) -> reqwest::Client {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    reqwest::Client::builder()
        .tls_certs_only(reqwest::Certificate::from_pem_bundle(pem.as_bytes()).unwrap())
        .redirect(reqwest::redirect::Policy::none())
        .resolve(HOST, address)
        .no_proxy()
        .build()
        .unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn the_fingerprint_in_the_status_is_that_of_the_served_certificate_and_stays_over_a_restart() {
    let mut site = Site::new("", &tables(&format!("hosts = [\"{HOST}\"]"))).await;
    let pin = site.says(&["pin"]).await.out.trim().to_owned();
    site.start().await;
    let (first, address) = access(&site).await;
    assert_eq!((first.seal, first.warning.clone()), (Seal::Own, None));
    let shown = first.fingerprint.clone().unwrap();
    assert_eq!(dial(address, rustls::ALL_VERSIONS).await.unwrap().1, shown);
    for (language, words) in [("de", "nur wenn sein SHA-256"), ("en", "only if its SHA-256")] {
        let status = site.says(&["status", "--lang", language]).await.out;
        assert!(status.contains(&shown) && status.contains(&first.url), "{status}");
        assert!(status.to_lowercase().contains(&words.to_lowercase()), "{status}");
    }
    let file = site.home().join("state/page-tls.pem");
    let pem = std::fs::read_to_string(&file).unwrap();
    assert_eq!(std::fs::metadata(&file).unwrap().permissions().mode() & 0o777, 0o600);
    let certificate = &pem[..pem.find("-----BEGIN PRIVATE KEY-----").unwrap()];
    // With the certificate as its only root: every name that it has to have is in it, and it is one for servers.
    let trusting = client(certificate, address);
    for url in [first.url.clone(), format!("https://{HOST}:{}/", address.port())] {
        let answer = trusting.get(format!("{url}login")).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{url}");
    }
    let other = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
    client(&other.cert.pem(), address).get(&first.url).send().await.unwrap_err();
    let origin = format!("https://{address}");
    let log_in = async |client: &reqwest::Client, origin: &str, pin: &str| {
        let form = format!("pin={pin}");
        let request = client.post(format!("{origin}/login")).header("origin", origin).body(form);
        let request = request.header("content-type", "application/x-www-form-urlencoded");
        request.send().await.unwrap().status().as_u16()
    };
    assert_eq!(log_in(&trusting, &origin, &pin).await, 303);
    for _ in 0..5 {
        assert_eq!(log_in(&trusting, &origin, "000001").await, 403);
    }
    // Nothing is said good-bye to: what counts is on the disk already.
    site.kill().await;
    site.start().await;
    let (second, address) = access(&site).await;
    assert_eq!(second.fingerprint, first.fingerprint);
    let trusting = client(certificate, address);
    assert_eq!(log_in(&trusting, &format!("https://{address}"), &pin).await, 429, "the right one waits too");
    // Another PIN, which only who is at the device can set, is the way out.
    let another = site.says(&["pin"]).await.out.trim().to_owned();
    site.stop().await;
    site.start().await;
    let (_, address) = access(&site).await;
    let trusting = client(certificate, address);
    assert_eq!(log_in(&trusting, &format!("https://{address}"), &another).await, 303);
    site.stop().await;

    site.configure("", &tables("hosts = [\"other.praxis.example\"]"));
    site.start().await;
    assert_ne!(access(&site).await.0.fingerprint, first.fingerprint, "made again for its new name");
    let log = site.log();
    assert!(log.contains(&shown), "{log}");
    for secret in ["PRIVATE KEY", pin.as_str(), another.as_str(), "000001", "argon2"] {
        assert!(!log.contains(secret), "{secret}");
    }
    let key: String = pem.lines().skip_while(|line| !line.contains("PRIVATE KEY")).nth(1).unwrap().into();
    assert!(!log.contains(&key));
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_that_is_plain_in_the_network_is_warned_of_wherever_it_is_looked_at() {
    let mut site = Site::new("", &tables("plain = true")).await;
    let checked = site.says(&["check"]).await;
    assert!(checked.code == 0 && checked.err.contains("WARNING: The page is not encrypted"), "{checked:?}");
    let checked = site.says(&["check", "--lang", "de"]).await;
    assert!(checked.err.contains("ACHTUNG: Die Seite ist im Netz der Praxis unverschlüsselt"), "{checked:?}");
    site.start().await;
    let (access, address) = access(&site).await;
    assert_eq!((access.seal, access.fingerprint), (Seal::Plain, None));
    let status = site.says(&["status"]).await.out;
    assert!(status.contains("WARNING: The page is not encrypted"), "{status}");
    let any = rcgen::generate_simple_self_signed([HOST.to_owned()]).unwrap();
    let answer = client(&any.cert.pem(), address).get(format!("http://{address}/login")).send().await;
    let body = answer.unwrap().text().await.unwrap();
    assert!(body.contains("jeder die PIN mitlesen"), "{body}");
    site.stop().await;
    assert!(!site.home().join("state/page-tls.pem").exists());
    site.configure("", &tables(""));
    let checked = site.says(&["check"]).await;
    assert!(checked.code == 0 && !checked.err.contains("WARNING"), "{checked:?}");

    // An address that this machine does not have: nothing else is without its service for that, and it is said.
    site.configure("", &tables("").replace("lan = \"127.0.0.1:0\"", "lan = \"192.168.255.254:8022\""));
    site.start().await;
    let gone = site.view().await.access;
    let warning = gone[0].warning.clone().unwrap();
    assert!(warning.en.contains("cannot be reached there") && gone[0].fingerprint.is_none(), "{gone:?}");
    let status = site.says(&["status", "--lang", "de"]).await.out;
    assert!(
        status.contains("ACHTUNG: Dort ist die Seite nicht zu erreichen")
            && !status.contains("Fingerabdruck")
    );
    site.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_that_is_no_good_is_refused_with_its_file_and_what_to_do() {
    let site = Site::new("", &tables("")).await;
    let secrets = site.home().join("secrets");
    let both = "certificate = \"secrets/page.pem\"\nkey = \"secrets/page.key\"";
    put(&secrets, (2099, 1, 1));
    let read = |name: &str| std::fs::read_to_string(secrets.join(name)).unwrap();
    let (certificate, key) = (read("page.pem"), read("page.key"));
    put(&secrets, (2099, 1, 1));
    let other = read("page.key");
    put(&secrets, (2021, 6, 1));
    let (old, old_key) = (read("page.pem"), read("page.key"));
    let refused = async |page: &str, certificate: &str, key: &str, mode: u32, expected: &[&str]| {
        site.configure("", &tables(page));
        std::fs::write(secrets.join("page.pem"), certificate).unwrap();
        private(&secrets.join("page.key"), key);
        std::fs::set_permissions(secrets.join("page.key"), std::fs::Permissions::from_mode(mode)).unwrap();
        for words in [&["check"][..], &["serve"]] {
            let ran = site.says(words).await;
            let said = format!("{}{}", ran.out, ran.err);
            assert!(ran.code == 78 && said.contains("site.toml:"), "{words:?} {expected:?}: {ran:?}");
            assert!(expected.iter().all(|it| said.contains(it)), "{words:?} {expected:?}: {said}");
            assert!(!said.contains("PRIVATE KEY-----\nM"), "{said}");
        }
    };
    let (cert, secret) = ("secrets/page.pem", "secrets/page.key");
    refused(both, &certificate, &other, 0o600, &[secret, "key of another certificate: put in"]).await;
    refused(both, "", &key, 0o600, &[cert, "no certificate in PEM: it begins with"]).await;
    refused(both, &certificate, "x", 0o600, &[secret, "no private key in PEM", "openssl pkey"]).await;
    refused(both, &certificate, &key, 0o640, &[secret, "can be read by others (mode 640): chmod go-rwx"])
        .await;
    refused(both, &old, &old_key, 0o600, &[cert, "expired at 2021-06-01", "put the renewed"]).await;
    let (one, none) =
        ("key = \"secrets/page.key\"", "certificate = \"secrets/none.pem\"\nkey = \"secrets/page.key\"");
    refused(one, &certificate, &key, 0o600, &["belong together"]).await;
    refused(none, &certificate, &key, 0o600, &["secrets/none.pem", "cannot be read"]).await;
    let plain = format!("{both}\nplain = true");
    refused(&plain, &certificate, &key, 0o600, &["either certificate and key, or plain = true"]).await;
    refused("hosts = [\"192.168.1.5\"]", &certificate, &key, 0o600, &["expected a name such as"]).await;
    site.configure("", &tables(both).replace("lan = \"127.0.0.1:0\"\n", ""));
    private(&secrets.join("page.key"), &key);
    let ran = site.says(&["check"]).await;
    assert!(ran.code == 78 && ran.err.contains("about lan, which is not set"), "{ran:?}");
    site.configure("", &tables(both));
    let ran = site.says(&["check"]).await;
    assert!(ran.code == 0 && ran.err == "site.toml is right.\n", "{ran:?}");
}
