//! A backup of a simulated `KoCoBox` over real TLS: whole, without card holders' data, within its limits.
//! Absent on purpose: failures; see `konnektor_faults.rs`.
#![allow(clippy::print_stdout, reason = "tests")]

use crate::boxes;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use boxes::{PASSWORD, PROFILE, Told, open, open_with, simulated};
use pforte::konnektor::archive::{Archive, Stamp};
use pforte::konnektor::simulator::{PATIENTS, SERVICES, TokenWay};
use pforte::konnektor::{CertificatePin, Error, NotKept, Pinned, Pins, Product};
use pforte::names::ServiceName;
use pforte::secret::Secret;
use serde_json::Value;

/// Keeps the first certificate of each listener.
#[derive(Default)]
pub struct Remember(pub Mutex<Vec<(Pinned, CertificatePin)>>);

#[async_trait]
impl Pins for Remember {
    async fn pinned(&self, what: &Pinned) -> Option<CertificatePin> {
        self.0.lock().unwrap().iter().find(|(pinned, _)| pinned == what).map(|(_, pin)| *pin)
    }
    async fn first_seen(&self, what: &Pinned, pin: CertificatePin) -> Result<(), NotKept> {
        self.0.lock().unwrap().push((what.clone(), pin));
        Ok(())
    }
}

const WITH_CARDS: [&str; 3] = ["cardservice", "cardterminals", "cardterminalservice"];

#[tokio::test]
async fn a_backup_equals_what_the_box_holds_but_for_card_holders() {
    let bench = simulated(|_| {}).await;
    let told = Told::default();
    let konnektor = bench.driver().await;
    let (identity, reading) = tokio::try_join!(konnektor.identify(), konnektor.read(&[], &told)).unwrap();
    assert_eq!((identity.vendor_id.as_str(), identity.firmware.as_str()), ("KOCOC", "5.5.16"));
    assert_eq!(reading.failed, []);
    let stamp = Stamp {
        identity,
        konnektor: bench.spec().id,
        taken: "2026-11-21T16:04:05Z".parse().unwrap(),
        by: Some("firm-jane.doe".parse().unwrap()),
        session: None,
    };
    let file = Archive::of(reading, stamp).to_json();
    let archive = Archive::parse(&file).unwrap();
    assert_eq!(archive.services().count(), 19);
    for service in SERVICES.iter().filter(|service| !WITH_CARDS.contains(service)) {
        let name: ServiceName = service.parse().unwrap();
        assert_eq!(archive.service(&name).unwrap(), &bench.value(service), "{service}");
    }
    let cards = archive.service(&"cardservice".parse().unwrap()).unwrap().value();
    assert_eq!(cards["CARDS"], serde_json::json!([bench.value("cardservice")["CARDS"][0]]));
    assert_eq!(archive.about.pkcs12.len(), 2);
    let text = format!("{}{}", String::from_utf8(file).unwrap(), told.text());
    for secret in PATIENTS.iter().copied().chain(["X110400001", "X110400002", "8027688104", PASSWORD]) {
        assert!(!text.contains(secret), "{secret}");
    }
    assert_eq!(archive.about.stripped.len(), 7, "{:?}", archive.about.stripped);
    assert_eq!(told.text().matches("Done").count(), 19);
}

#[tokio::test]
async fn an_edited_file_changes_the_box_and_a_named_service_is_read_alone() {
    let bench = simulated(|_| {}).await;
    std::fs::write(bench.dir.path().join("ntpservice.json"), "{\"edited\": 1}").unwrap();
    let reading = bench.driver().await.read(&["ntpservice".parse().unwrap()], &()).await.unwrap();
    assert_eq!(reading.services.len(), 1);
    assert_eq!(reading.services[0].value, serde_json::json!({"edited": 1}));
    assert_eq!(bench.asked("/json-retrieve/update"), 0);
    let service: ServiceName = "nosuch".parse().unwrap();
    let refused = bench.driver().await.read(std::slice::from_ref(&service), &()).await.unwrap_err();
    assert_eq!(refused, Error::UnknownService { service });
}

#[tokio::test]
async fn both_ways_to_the_token_work_also_where_it_rotates_and_is_asked_for() {
    for token in [TokenWay::Cookie, TokenWay::Textarea, TokenWay::Both] {
        for (rotating, token_on_reads) in [(false, false), (false, true), (true, false), (true, true)] {
            let bench = simulated(|options| {
                (options.token, options.rotating, options.token_on_reads) = (token, rotating, token_on_reads);
            })
            .await;
            let reading = bench.driver().await.read(&[], &()).await.unwrap();
            assert_eq!(reading.failed, [], "{token:?} rotating={rotating} asked={token_on_reads}");
            assert_eq!(reading.services.len(), 19);
        }
    }
}

#[tokio::test]
async fn a_token_that_is_not_sent_is_refused_by_a_box_that_asks_for_it() {
    let bench = simulated(|options| options.token_on_reads = true).await;
    let silent = PROFILE.replace("send_on_read = true", "send_on_read = false");
    let konnektor = open_with(bench.spec(), &silent, Arc::new(Remember::default())).await;
    let reading = konnektor.read(&[], &()).await.unwrap();
    assert_eq!((reading.services.len(), reading.failed.len()), (1, 18));
    assert!(reading.failed.iter().all(|(_, error)| *error == Error::NotAllowed { status: 403 }));
}

#[tokio::test]
async fn every_printable_character_and_umlauts_arrive_in_a_password() {
    let ascii: String = (' '..='~').collect();
    for password in [ascii.as_str(), "äöüßÄÖÜ€ 漢字 \u{1F511}", " lead and trail ", "%41+&=;"] {
        let bench = simulated(|options| options.password = Secret::new(password.into())).await;
        let mut spec = bench.spec();
        spec.password = Secret::new(password.into());
        assert!(open(spec.clone()).await.read(&[], &()).await.is_ok(), "{password}");
        spec.password = Secret::new(format!("{password}x"));
        let refused = open(spec).await.read(&[], &()).await.unwrap_err();
        assert_eq!(refused, Error::LoginFailed);
        assert!(!boxes::faces(&refused).contains(password));
    }
}

#[tokio::test]
async fn a_wrong_password_is_sent_once_and_an_old_one_is_told_apart() {
    let bench = simulated(|_| {}).await;
    let mut spec = bench.spec();
    spec.password = Secret::new("wrong".into());
    assert_eq!(open(spec).await.read(&[], &()).await.unwrap_err(), Error::LoginFailed);
    assert_eq!(bench.asked("/j_security_check"), 1, "a second try could lock the account");
    let bench = simulated(|options| options.forced_password_change = true).await;
    assert_eq!(bench.driver().await.read(&[], &()).await.unwrap_err(), Error::PasswordChangeForced);
    assert_eq!(bench.asked("/j_security_check"), 1);
}

#[tokio::test]
async fn no_more_than_the_ordered_number_of_requests_run_at_once() {
    for (parallel, most) in [(0, 1), (1, 1), (3, 3), (4, 4), (16, 16), (99, 16)] {
        let bench = simulated(|options| options.latency = std::time::Duration::from_millis(30)).await;
        let mut spec = bench.spec();
        spec.parallel = parallel;
        assert_eq!(open(spec).await.read(&[], &()).await.unwrap().services.len(), 19);
        assert!(bench.simulator.most_parallel() <= most, "{} of {most}", bench.simulator.most_parallel());
        assert!(parallel < 2 || bench.simulator.most_parallel() > 1);
    }
}

#[tokio::test]
async fn a_box_takes_twenty_one_requests_and_a_second_reading_logs_in_no_more() {
    let bench = simulated(|_| {}).await;
    let konnektor = bench.driver().await;
    konnektor.read(&[], &()).await.unwrap();
    assert_eq!(bench.simulator.requests().len(), 21, "login, start page, 19 services");
    konnektor.read(&[], &()).await.unwrap();
    assert_eq!(bench.simulator.requests().len(), 40);
    konnektor.logout().await;
    konnektor.read(&[], &()).await.unwrap();
    assert_eq!(bench.asked("/j_security_check"), 2);
}

#[tokio::test]
async fn the_make_is_found_out() {
    let bench = simulated(|_| {}).await;
    let mut spec = bench.spec();
    spec.product = Product::Auto;
    assert!(open(spec).await.read(&[], &()).await.is_ok());
}

#[tokio::test]
async fn another_certificate_is_refused_before_the_password_and_the_pinned_one_taken() {
    let bench = simulated(|_| {}).await;
    let pinned: CertificatePin = format!("sha256:{}", "ab".repeat(32)).parse().unwrap();
    let mut spec = bench.spec();
    spec.certificate = Some(pinned);
    let presented = bench.simulator.certificate_pin();
    let refused = open(spec.clone()).await;
    assert_eq!(refused.read(&[], &()).await.unwrap_err(), Error::CertificateChanged { pinned, presented });
    assert_eq!(refused.identify().await.unwrap_err(), Error::CertificateChanged { pinned, presented });
    spec.certificate = None;
    assert_eq!(open(spec).await.read(&[], &()).await.unwrap_err(), Error::CertificateUnknown { presented });
    assert_eq!(bench.simulator.requests(), [], "nothing was asked over an unproven connection");
    assert!(bench.driver().await.read(&[], &()).await.is_ok());
}

#[tokio::test]
async fn the_first_certificate_seen_is_kept_and_a_change_refused() {
    let bench = simulated(|_| {}).await;
    let pins = Arc::new(Remember::default());
    let mut spec = bench.spec();
    spec.certificate = None;
    let pinned = bench.simulator.certificate_pin();
    open_with(spec.clone(), PROFILE, pins.clone()).await.read(&[], &()).await.unwrap();
    assert_eq!(pins.0.lock().unwrap().len(), 1);
    bench.simulator.change_certificate().unwrap();
    let presented = bench.simulator.certificate_pin();
    let error = open_with(spec, PROFILE, pins.clone()).await.read(&[], &()).await.unwrap_err();
    assert_eq!(error, Error::CertificateChanged { pinned, presented });
    assert_eq!(pins.0.lock().unwrap().len(), 1);
}

#[tokio::test]
async fn the_boxs_certificate_without_its_key_is_refused() {
    use rustls::pki_types::{PrivateKeyDer, PrivatePkcs8KeyDer};
    let right = rcgen::generate_simple_self_signed(["box".to_owned()]).unwrap();
    let wrong = rcgen::KeyPair::generate().unwrap();
    let der = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(wrong.serialize_der()));
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let key = provider.key_provider.load_private_key(der).unwrap();
    let thief = rustls::sign::CertifiedKey::new(vec![right.cert.der().clone()], key);
    let config = rustls::ServerConfig::builder_with_provider(Arc::new(provider))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_cert_resolver(Arc::new(rustls::sign::SingleCertAndKey::from(thief)));
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
    let served = tokio::spawn(async move {
        let (stream, _) = listener.accept().await.unwrap();
        acceptor.accept(stream).await.is_ok()
    });
    let bench = simulated(|_| {}).await;
    let mut spec = bench.spec();
    spec.address = address.to_string().parse().unwrap();
    spec.certificate = Some(CertificatePin::of(right.cert.der()));
    assert_eq!(open(spec).await.read(&[], &()).await.unwrap_err(), Error::TlsFailed);
    assert!(!served.await.unwrap());
}

#[tokio::test]
async fn the_simulators_log_names_each_request_and_holds_no_password() {
    let bench = simulated(|options| options.log_file = true).await;
    bench.driver().await.read(&[], &()).await.unwrap();
    let log = std::fs::read_to_string(bench.dir.path().join("requests.log")).unwrap();
    let lines: Vec<Value> = log.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    assert_eq!(lines.len(), bench.simulator.requests().len());
    assert_eq!(lines[0]["path"], "/j_security_check");
    assert!(!log.contains("eim"));
}

#[tokio::test]
async fn a_directory_is_read_over_http_where_there_is_no_https() {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let served = tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let mut start = [0; 4];
            if stream.read_exact(&mut start).await.is_ok() && start == *b"GET " {
                let body = "<a><ProductVendorID>KOCOC</ProductVendorID><FWVersion>5.1.8</FWVersion></a>";
                let head =
                    format!("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: {}\r\n\r\n", body.len());
                stream.write_all(format!("{head}{body}").as_bytes()).await.unwrap();
                stream.shutdown().await.unwrap();
                while stream.read(&mut start).await.is_ok_and(|n| n > 0) {}
            }
        }
    });
    let bench = simulated(|_| {}).await;
    let mut spec = bench.spec();
    spec.sds_address = Some(address.to_string().parse().unwrap());
    let identity = open(spec).await.identify().await.unwrap();
    assert_eq!((identity.product(), identity.firmware.as_str()), (Product::Kocobox, "5.1.8"));
    served.abort();
}

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl std::io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.lock().unwrap().extend_from_slice(bytes);
        Ok(bytes.len())
    }
    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

#[tokio::test]
async fn the_most_talkative_log_holds_no_password_no_token_and_no_patient() {
    let lines = Lines::default();
    let writer = lines.clone();
    tracing_subscriber::fmt()
        .with_max_level(tracing::Level::TRACE)
        .with_writer(move || writer.clone())
        .init();
    for token in [TokenWay::Cookie, TokenWay::Textarea] {
        let bench = simulated(|options| options.token = token).await;
        bench.driver().await.read(&[], &()).await.unwrap();
    }
    let text = String::from_utf8_lossy(&lines.0.lock().unwrap()).into_owned();
    assert!(text.contains("cookie"), "the log was not taken");
    for secret in ["KBXTOKEN=", "JSESSIONID=", "j_password", "Geh", PATIENTS[0]] {
        assert!(!text.contains(secret), "{secret}");
    }
}

#[tokio::test]
async fn the_last_administrator_is_not_removed_and_an_ordinary_action_asks_nobody() {
    use pforte::konnektor::perform::would_remove_last_administrator;
    let bench = simulated(|_| {}).await;
    let users = |roles: &[(&str, &str)]| {
        let list: Vec<_> = roles.iter().map(|(n, r)| serde_json::json!({"USERNAME": n, "ROLE": r})).collect();
        let value = serde_json::json!({ "MGM_USER_LIST": list }).to_string();
        std::fs::write(bench.dir.path().join("usermanagement.json"), value).unwrap();
    };
    let konnektor = bench.driver().await;
    let would = async |action: &str, name: &str| {
        let data = pforte::konnektor::Json::of(&serde_json::json!({ "CTID": name }));
        would_remove_last_administrator(&*konnektor, &action.parse().unwrap(), Some(&data)).await.unwrap()
    };
    users(&[("koco-root", "SUPER_ADMIN"), ("anna", "USER")]);
    assert!(would("user-aendern", "koco-root").await, "not in the profile: it could be anything");
    assert!(would("delete-ct", "koco-root").await);
    assert!(!would("delete-ct", "anna").await && !would("delete-ct", "koco").await);
    users(&[("koco-root", "SUPER_ADMIN"), ("anna", "LOCAL_ADMIN")]);
    assert!(!would("delete-ct", "koco-root").await);
    let asked = bench.asked("/usermanagement");
    assert!(!would("reboot", "koco-root").await);
    assert_eq!(bench.asked("/usermanagement"), asked);
}
