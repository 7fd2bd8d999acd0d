//! A hostile site at a Konnektor's stream: what does not fit is not believed, waited for, or held.
//! Absent on purpose: an honest one (`link_konnektor.rs`), and a hostile gateway (`link_hostile_gateway.rs`).
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::linked;

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use futures::future::BoxFuture;
use linked::{asked, id, profiles, visitor};
use pforte::konnektor::{Error, Konnektor, Product};
use pforte::link::frames::{Broken, Call, Called, Head, Reply, Sealed, Wish};
use pforte::link::{Bounds, Mux, Stream, read_line, write_line};
use pforte::names::{ServiceName, SiteName};
use pforte::uplink::konnektor::{Opened, Patience, open};
use pforte::uplink::{NoWay, Streams};
use serde_json::json;
use tokio::io::{AsyncReadExt, AsyncWriteExt};

const SHORT: Patience = Patience {
    open: Duration::from_secs(5),
    call: Duration::from_secs(2),
    silence: Duration::from_millis(700),
    rate: 1 << 20,
    idle: Duration::from_secs(10),
};

type Script = Box<dyn Fn(Stream, Head) -> BoxFuture<'static, ()> + Send + Sync>;

/// A site that does with each stream what a test says.
struct Evil(Script);

#[async_trait]
impl Streams for Evil {
    async fn open(&self, _site: &SiteName, head: &Head) -> Result<(Stream, Reply), NoWay> {
        let (near, far) = tokio::io::duplex(64 << 10);
        let (near, mut far) =
            (Mux::new(near, false, Bounds::ORDINARY), Mux::new(far, true, Bounds::ORDINARY));
        let stream = near.open().await?;
        let (head_too, script) = (head.clone(), &self.0);
        let opened = asked(stream, head);
        let scripted = async {
            let mut stream = far.next().await.unwrap();
            let head: Head = read_line(&mut stream).await.unwrap();
            assert_eq!(head, head_too);
            tokio::spawn(script(stream, head));
        };
        let (opened, ()) = tokio::join!(opened, scripted);
        tokio::spawn(async move {
            near.gone().cancelled().await;
            drop((near, far));
        });
        opened
    }
}

fn kocobox() -> Reply {
    Reply::Open { product: Some("kocobox".into()), address: Some("10.0.0.2:9443".into()), sealed: false }
}

/// Lines and bytes of a site.
enum Says {
    Line(Called),
    Bytes(Vec<u8>),
    /// A byte each so often, for ever.
    Drip(Duration),
    /// The same line for ever.
    Ever(Called),
    /// Nothing more, and the stream stays.
    Stay,
}

use Says::{Bytes, Drip, Ever, Line, Stay};

async fn says(stream: &mut Stream, all: Vec<Says>) -> Option<()> {
    for one in all {
        match one {
            Line(called) => write_line(stream, &called).await.ok()?,
            Bytes(bytes) => stream.write_all(&bytes).await.ok()?,
            Drip(pause) => loop {
                stream.write_all(b" ").await.ok()?;
                stream.flush().await.ok()?;
                tokio::time::sleep(pause).await;
            },
            Ever(called) => loop {
                write_line(stream, &called).await.ok()?;
            },
            Stay => std::future::pending().await,
        }
    }
    stream.shutdown().await.ok()
}

/// A site that answers its first call with this.
fn answering(what: impl Fn() -> Vec<Says> + Send + Sync + 'static) -> Arc<Evil> {
    let what = Arc::new(what);
    Arc::new(Evil(Box::new(move |mut stream, _| {
        let what = Arc::clone(&what);
        Box::pin(async move {
            write_line(&mut stream, &kocobox()).await.unwrap();
            let call: Call = read_line(&mut stream).await.unwrap();
            if let Call::Write { bytes, .. } = call {
                let mut body = vec![0; usize::try_from(bytes).unwrap()];
                stream.read_exact(&mut body).await.unwrap();
            }
            says(&mut stream, what()).await;
        })
    })))
}

async fn driver(streams: Arc<dyn Streams>) -> Arc<dyn Konnektor> {
    opened(streams, "konnektor restore").await.unwrap().driver
}

async fn opened(streams: Arc<dyn Streams>, family: &str) -> Result<Opened, Error> {
    open(streams, (&id(), Product::Auto), visitor(family), &profiles(), SHORT).await
}

fn ntp() -> ServiceName {
    "ntpservice".parse().unwrap()
}

fn value(service: &str, bytes: u64) -> Called {
    Called::Value { service: service.into(), bytes, read: bytes, stripped: 0 }
}

fn began(service: &str) -> Called {
    Called::Began { service: service.into() }
}

const DONE: Called = Called::Done { answer: None };

/// What comes of reading one service of a site that answers so; in bounded time, whatever it is.
async fn read(what: impl Fn() -> Vec<Says> + Send + Sync + 'static) -> Result<usize, Error> {
    let far = driver(answering(what)).await;
    let begun = Instant::now();
    let read = far.read(&[ntp()], &()).await;
    assert!(begun.elapsed() < Duration::from_secs(8), "{:?}", begun.elapsed());
    read.map(|reading| reading.services.len())
}

#[tokio::test]
async fn a_site_that_answers_otherwise_than_it_was_asked_is_not_believed() {
    let unclear = Err(Error::SiteUnclear);
    let whole = || vec![Line(value("ntpservice", 2)), Bytes(b"{}".to_vec()), Line(DONE)];
    assert_eq!(read(whole).await, Ok(1), "an honest one is");
    assert_eq!(read(|| vec![Line(began("vpnservice")), Stay]).await, unclear, "not asked for");
    assert_eq!(read(|| vec![Line(value("vpnservice", 2)), Bytes(b"{}".to_vec()), Line(DONE)]).await, unclear);
    assert_eq!(read(|| vec![Line(value("no such", 2)), Bytes(b"{}".to_vec()), Line(DONE)]).await, unclear);
    assert_eq!(
        read(|| {
            let one = || [Line(value("ntpservice", 2)), Bytes(b"{}".to_vec())];
            one().into_iter().chain(one()).chain([Line(DONE)]).collect()
        })
        .await,
        unclear,
        "twice"
    );
    assert_eq!(read(|| vec![Line(DONE)]).await, unclear, "nothing");
    let step = Called::Read { service: "ntpservice".into(), bytes: 1, millis: 1 };
    assert_eq!(read(move || vec![Line(step.clone()), Stay]).await, unclear, "it never began");
    let late = || vec![Line(value("ntpservice", 2)), Bytes(b"{}".to_vec()), Line(began("ntpservice")), Stay];
    assert_eq!(read(late).await, unclear, "a step behind its value");
    let archive = || {
        let about = Sealed { identity: json!({}), services: vec![], missing: vec![] };
        vec![Line(Called::Archive { bytes: 1, sha256: String::new(), about }), Stay]
    };
    assert_eq!(read(archive).await, unclear);
    assert_eq!(read(|| vec![Bytes(b"{\"is\":\"on-fire\"}\n".to_vec()), Stay]).await, unclear);
    let deep = || {
        let text = [b"[".repeat(130), b"]".repeat(130)].concat();
        vec![Line(value("ntpservice", 260)), Bytes(text), Line(DONE)]
    };
    assert_eq!(read(deep).await, unclear, "nested deeper than any profile allows");
    let list = || {
        let value = Called::Value { service: "ntpservice".into(), bytes: 2, read: 2, stripped: 2 };
        vec![Line(value), Bytes(b"{}{}".to_vec()), Line(DONE)]
    };
    assert_eq!(read(list).await, unclear, "what was taken out is a list of texts");
}

#[tokio::test]
async fn a_site_that_never_ends_is_ended_and_nothing_is_held_for_what_it_announces() {
    assert_eq!(read(|| vec![Ever(began("ntpservice"))]).await, Err(Error::SiteUnclear), "endless steps");
    let endless = || vec![Bytes(vec![b'x'; 1 << 20]), Stay];
    assert_eq!(read(endless).await, Err(Error::SiteUnclear), "a line without an end");
    let limit = 64 << 20;
    for bytes in [limit + 1, u64::MAX] {
        let huge = move || vec![Line(value("ntpservice", bytes)), Drip(Duration::from_millis(1))];
        assert_eq!(read(huge).await, Err(Error::TooLarge { limit: 64 << 20 }));
    }
    let stripped = || {
        let value = Called::Value { service: "ntpservice".into(), bytes: 2, read: 2, stripped: u64::MAX };
        vec![Line(value), Bytes(b"{}".to_vec()), Stay]
    };
    assert!(matches!(read(stripped).await, Err(Error::TooLarge { .. })));
    // As much as may be, announced and never sent.
    let silent = move || vec![Line(value("ntpservice", limit)), Stay];
    assert_eq!(read(silent).await, Err(Error::TimedOut));
    let drip = || vec![Line(value("ntpservice", 1000)), Drip(Duration::from_millis(100))];
    assert_eq!(read(drip).await, Err(Error::TimedOut), "a byte now and then");
    assert_eq!(read(|| vec![Stay]).await, Err(Error::TimedOut));
}

#[tokio::test]
async fn lying_lengths_and_a_stream_that_ends_give_an_error_and_no_value() {
    let longer = || vec![Line(value("ntpservice", 10)), Bytes(b"{}".to_vec()), Line(DONE), Stay];
    assert_eq!(read(longer).await, Err(Error::SiteUnclear));
    let shorter = || vec![Line(value("ntpservice", 1)), Bytes(b"{}".to_vec()), Line(DONE), Stay];
    assert_eq!(read(shorter).await, Err(Error::SiteUnclear));
    let cut = || vec![Line(value("ntpservice", 100)), Bytes(b"{\"half\":".to_vec())];
    assert_eq!(read(cut).await, Err(Error::Dropped));
    assert_eq!(read(Vec::new).await, Err(Error::Dropped));
}

#[tokio::test]
async fn card_holders_that_a_site_leaves_in_are_taken_out_here_as_well() {
    let text = r#"{"CARDS":[{"CARD_TYPE":"EGK","NAME":"Erika Testpatientin"},{"CARD_TYPE":"SMC-B"}]}"#;
    let bytes = text.len() as u64;
    let service: ServiceName = "cardservice".parse().unwrap();
    let far =
        driver(answering(move || vec![Line(value("cardservice", bytes)), Bytes(text.into()), Line(DONE)]))
            .await;
    let reading = far.read(&[service], &()).await.unwrap();
    assert!(!reading.services[0].value.text().contains("Erika"));
    assert!(!reading.services[0].stripped.is_empty());
}

#[tokio::test]
async fn a_write_whose_answer_is_none_is_left_open_and_its_stream_is_not_met_again() {
    let json = pforte::konnektor::Json::of_data("{\"a\":1}").unwrap();
    let write = async |what: fn() -> Vec<Says>| {
        let far = driver(answering(what)).await;
        let written = far.write(&ntp(), &json).await;
        // The next call has a stream of its own, on which this site answers the same again.
        (written.clone(), far.write(&ntp(), &json).await == written)
    };
    assert_eq!(write(|| vec![Line(DONE)]).await, (Ok(()), true));
    assert_eq!(write(Vec::new).await, (Err(Error::Dropped), true));
    assert_eq!(write(|| vec![Stay]).await, (Err(Error::TimedOut), true));
    assert_eq!(write(|| vec![Line(began("ntpservice"))]).await, (Err(Error::SiteUnclear), true));
    let failed =
        || vec![Line(Called::Failed { error: Broken(json!({ "is": "not-allowed", "status": 403 })) })];
    assert_eq!(write(failed).await, (Err(Error::NotAllowed { status: 403 }), true));
    assert_eq!(
        write(|| vec![Line(Called::Failed { error: Broken(json!(7)) })]).await.0,
        Err(Error::SiteUnclear)
    );
}

#[tokio::test]
async fn answers_of_another_kind_are_none_and_texts_of_a_site_can_do_nothing_to_a_terminal() {
    let with = |answer: serde_json::Value| {
        answering(move || vec![Line(Called::Done { answer: Some(answer.clone()) })])
    };
    let identity = |product: &str| {
        json!({"vendor_id": "KOCOC", "product_code": "k", "product_name": product, "firmware": "5.5.16",
            "hardware": "2", "serial": null})
    };
    let told = driver(with(identity("Koco\u{1b}[2J\nBox\u{202e}"))).await.identify().await.unwrap();
    assert_eq!(told.product_name, "Koco[2JBox");
    let told = driver(with(identity(&"x".repeat(5000)))).await.identify().await.unwrap();
    assert_eq!(told.product_name.len(), 128);
    assert_eq!(driver(with(json!(1))).await.identify().await, Err(Error::SiteUnclear));
    assert_eq!(driver(answering(|| vec![Line(DONE)])).await.identify().await, Err(Error::SiteUnclear));
    let reboot = "reboot".parse().unwrap();
    let performed = driver(with(json!("x".repeat(5000)))).await.perform(&reboot, None).await;
    assert_eq!(performed, Err(Error::SiteUnclear));
    assert_eq!(driver(with(json!("ok"))).await.perform(&reboot, None).await, Ok("ok".into()));
}

#[tokio::test]
async fn a_site_that_opens_what_is_no_konnektor_is_not_driven() {
    let replying = |reply: Reply| {
        Arc::new(Evil(Box::new(move |mut stream, _| {
            let reply = reply.clone();
            Box::pin(async move { write_line(&mut stream, &reply).await.unwrap() })
        })))
    };
    let (address, sealed) = (Some("10.0.0.2:9443".to_owned()), false);
    let product = |name: &str| Some(name.to_owned());
    for (reply, error) in [
        (
            Reply::Open { product: product("toaster"), address: address.clone(), sealed },
            Error::UnknownProduct,
        ),
        (Reply::Open { product: None, address, sealed }, Error::SiteUnclear),
        (Reply::Open { product: product("kocobox"), address: None, sealed }, Error::SiteUnclear),
        (Reply::Open { product: product("kocobox"), address: product("x y"), sealed }, Error::SiteUnclear),
        (Reply::Away { cause: "x".into(), error: None }, Error::Away),
        (
            Reply::Away { cause: "x".into(), error: Some(Broken(json!({"is": "login-failed"}))) },
            Error::LoginFailed,
        ),
    ] {
        assert_eq!(opened(replying(reply), "konnektor status").await.err(), Some(error));
    }
}

#[tokio::test]
async fn of_more_services_each_comes_once_and_at_least_one_with_a_value() {
    let missing = |service: &str| {
        let error = Broken(json!({ "is": "not-allowed", "status": 403 }));
        Line(Called::Missing { service: service.into(), error })
    };
    let both = async |more: bool| {
        let what = move || {
            let mut all = vec![Line(value("ntpservice", 2)), Bytes(b"{}".to_vec()), missing("cardservice")];
            all.extend(more.then(|| missing("cardservice")));
            all.push(Line(DONE));
            all
        };
        let services = [ntp(), "cardservice".parse().unwrap()];
        let read = driver(answering(what)).await.read(&services, &()).await;
        read.map(|reading| (reading.services.len(), reading.failed.len()))
    };
    assert_eq!(both(false).await, Ok((1, 1)));
    assert_eq!(both(true).await, Err(Error::SiteUnclear), "missing twice");
    assert_eq!(read(move || vec![missing("ntpservice"), Line(DONE)]).await, Err(Error::SiteUnclear));
}

#[tokio::test]
async fn a_box_that_is_of_another_make_on_a_later_stream_is_not_driven() {
    let streams = Arc::new(AtomicUsize::new(0));
    let evil = |later: &'static str| {
        let streams = Arc::clone(&streams);
        Arc::new(Evil(Box::new(move |mut stream, _| {
            let first = streams.fetch_add(1, Ordering::SeqCst).is_multiple_of(2);
            let product = Some(if first { "kocobox" } else { later }.to_owned());
            Box::pin(async move {
                let address = Some("10.0.0.2:9443".into());
                write_line(&mut stream, &Reply::Open { product, address, sealed: false }).await.unwrap();
                says(&mut stream, vec![Line(Called::Done { answer: Some("ok".into()) }), Stay]).await;
            })
        })))
    };
    let reboot = "reboot".parse().unwrap();
    for (later, answer) in [("kocobox", Ok("ok".to_owned())), ("secunet", Err(Error::SiteUnclear))] {
        let first = driver(evil(later)).await;
        let again = first.at(first.address().clone());
        assert_eq!(again.perform(&reboot, None).await, answer, "{later}");
    }
}

#[tokio::test]
async fn a_wish_that_is_not_answered_or_without_an_end_is_not_waited_for() {
    let saying = |what: fn() -> Vec<Says>| {
        let evil = Evil(Box::new(move |mut stream, _| {
            Box::pin(async move {
                says(&mut stream, what()).await;
            })
        }));
        tokio::time::timeout(SHORT.open * 2, opened(Arc::new(evil), "konnektor status"))
    };
    let endless = saying(|| vec![Bytes(vec![b'x'; 1 << 20]), Stay]).await;
    assert_eq!(endless.expect("it is ended").err(), Some(Error::SiteUnclear));
    let silent = saying(|| vec![Stay]).await;
    assert_eq!(silent.expect("it is ended").err(), Some(Error::Away));
}

/// What comes of a sealed backup of a site that answers so.
async fn sealed(reply: bool, what: impl Fn() -> Vec<Says> + Send + Sync + 'static) -> Result<u64, Error> {
    let what = Arc::new(what);
    let evil = Evil(Box::new(move |mut stream, head| {
        let what = Arc::clone(&what);
        Box::pin(async move {
            let sealed = matches!(head.wish, Wish::Konnektor { .. }) || reply;
            let Reply::Open { product, address, .. } = kocobox() else { panic!() };
            write_line(&mut stream, &Reply::Open { product, address, sealed }).await.unwrap();
            if matches!(head.wish, Wish::Backup { .. }) {
                says(&mut stream, what()).await;
            }
        })
    }));
    let opened = opened(Arc::new(evil), "konnektor backup").await.unwrap();
    let made = opened.sealed.unwrap().take(&[], opened.driver.address(), &()).await;
    made.map(|archive| archive.bytes)
}

#[tokio::test]
async fn an_archive_that_is_not_encrypted_not_whole_or_too_large_is_not_taken() {
    let sum = |bytes: &[u8]| pforte::konnektor::CertificatePin::of(bytes).to_string().replace("sha256:", "");
    let archive = |bytes: u64, sha256: String| {
        let identity = json!({"vendor_id": "KOCOC", "product_code": "k", "product_name": "K", "firmware": "5",
            "hardware": "2", "serial": null});
        let about = Sealed { identity, services: vec![], missing: vec![] };
        Line(Called::Archive { bytes, sha256, about })
    };
    let age = b"age-encryption.org/v1\n-> X25519 abc".to_vec();
    let long = age.len() as u64;
    let good = sum(&age);
    let honest = {
        let (age, good) = (age.clone(), good.clone());
        move || vec![archive(long, good.clone()), Bytes(age.clone()), Line(DONE)]
    };
    assert_eq!(sealed(true, honest.clone()).await, Ok(long));
    assert_eq!(sealed(false, honest).await, Err(Error::SiteUnclear), "it says that it does not seal");
    let plain = br#"{"pforte":{"format":1}}"#.to_vec();
    let plain = move || vec![archive(plain.len() as u64, sum(&plain)), Bytes(plain.clone()), Line(DONE)];
    assert_eq!(sealed(true, plain).await, Err(Error::SiteUnclear));
    let other = {
        let age = age.clone();
        move || vec![archive(long, "00".repeat(32)), Bytes(age.clone()), Line(DONE)]
    };
    assert_eq!(sealed(true, other).await, Err(Error::SiteUnclear));
    let huge = move || vec![archive(u64::MAX, String::new()), Drip(Duration::from_millis(1))];
    assert!(matches!(sealed(true, huge).await, Err(Error::TooLarge { .. })));
    let cut = move || vec![archive(long + 100, good.clone()), Bytes(age.clone())];
    assert_eq!(sealed(true, cut).await, Err(Error::Dropped));
    assert_eq!(sealed(true, || vec![Line(DONE)]).await, Err(Error::SiteUnclear));
}
