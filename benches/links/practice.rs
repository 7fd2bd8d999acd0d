//! All practices in one process: each keeps its link as the agent does, and signs what it is told to.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::Result;
use pforte::flow::{Line, Role, Wire};
use pforte::link::frames::{Head, Reply, ToGateway, ToSite};
use pforte::link::lease::{EVERYTHING, Grant, Lease};
use pforte::link::{ALIVE, Bounds, IDENT, Lines, Mux, SUBSYSTEM, Stream, VERSION, read_line, write_line};
use russh::client::{self, Msg};
use russh::keys::PrivateKeyWithHashAlg;
use russh::{Channel, ChannelMsg, Preferred, SshId, cipher, compression, kex, mac};
use serde::{Deserialize, Serialize};
use ssh_key::PrivateKey;
use ssh_key::private::Ed25519Keypair;
use tokio::sync::{Notify, mpsc, watch};

use super::client::{Anybody, dial};
use super::fleet::Linked;

pub const ROLE: &str = "PFORTE_BENCH_PRACTICES";

/// Where they are.
#[derive(Serialize, Deserialize)]
pub struct Place {
    pub links: usize,
    pub gateway: SocketAddr,
    pub fingerprint: String,
}

/// What they are told. Each is answered by a line.
#[derive(Serialize, Deserialize)]
pub enum Order {
    Link { count: usize },
    Linked { count: usize, seconds: u64 },
    Cut,
    Open { count: usize },
    Close { from: usize, to: usize },
}

pub fn name(n: usize) -> String {
    format!("praxis-{n:05}")
}

pub fn key(n: usize) -> PrivateKey {
    let mut seed = [7; 32];
    seed[..8].copy_from_slice(&(n as u64).to_le_bytes());
    PrivateKey::from(Ed25519Keypair::from_seed(&seed))
}

/// Of 127.0.0.0/8, and not 127.0.0.1.
fn address(n: usize) -> IpAddr {
    let [_, a, b, c] = (u32::try_from(n).unwrap() + (1 << 16)).to_be_bytes();
    Ipv4Addr::new(127, a, b, c).into()
}

/// What all of them see.
struct Common {
    place: Place,
    wanted: watch::Sender<usize>,
    cut: watch::Sender<u64>,
    linked: AtomicUsize,
    storm: Mutex<Storm>,
    one_more: Notify,
    open: Vec<Switch>,
    signed: AtomicUsize,
}

struct Storm {
    begun: Instant,
    took: Vec<f64>,
    failed: BTreeMap<String, usize>,
}

impl Storm {
    fn begin() -> Self {
        Self { begun: Instant::now(), took: Vec::new(), failed: BTreeMap::new() }
    }
}

#[derive(Default)]
struct Switch {
    open: AtomicBool,
    changed: Notify,
}

/// Plays the role that the environment gives, if it gives one.
pub async fn take() -> Result<bool> {
    let Ok(place) = std::env::var(ROLE) else { return Ok(false) };
    super::servers::raise_open_files();
    let place: Place = serde_json::from_str(&place)?;
    let links = place.links;
    let common = Arc::new(Common {
        place,
        wanted: watch::Sender::new(0),
        cut: watch::Sender::new(0),
        linked: 0.into(),
        storm: Mutex::new(Storm::begin()),
        one_more: Notify::new(),
        open: (0..links).map(|_| Switch::default()).collect(),
        signed: 0.into(),
    });
    for n in 0..links {
        tokio::spawn(live(n, common.clone()));
    }
    println!("null");
    let (said, mut orders) = mpsc::channel(4);
    tokio::task::spawn_blocking(move || {
        for order in std::io::stdin().lines().map_while(Result::ok) {
            said.blocking_send(order).ok();
        }
    });
    while let Some(order) = orders.recv().await {
        match serde_json::from_str(&order)? {
            Order::Link { count } => {
                *common.storm.lock().unwrap() = Storm::begin();
                common.wanted.send_replace(count);
                println!("null");
            }
            Order::Linked { count, seconds } => {
                let all = async {
                    loop {
                        let more = common.one_more.notified();
                        if common.linked.load(Ordering::SeqCst) >= count {
                            break;
                        }
                        more.await;
                    }
                };
                tokio::time::timeout(Duration::from_secs(seconds), all).await.ok();
                println!("{}", serde_json::to_string(&report(&common))?);
            }
            Order::Cut => {
                *common.storm.lock().unwrap() = Storm::begin();
                common.cut.send_modify(|n| *n += 1);
                // Until nobody is linked any more, or the first are again.
                println!("null");
            }
            Order::Open { count } => {
                common.signed.store(0, Ordering::SeqCst);
                for switch in common.open.iter().take(count) {
                    switch.open.store(true, Ordering::SeqCst);
                    switch.changed.notify_one();
                }
                while common.signed.load(Ordering::SeqCst) < count {
                    tokio::time::sleep(Duration::from_millis(5)).await;
                }
                println!("null");
            }
            Order::Close { from, to } => {
                for switch in common.open.iter().take(to).skip(from) {
                    if switch.open.swap(false, Ordering::SeqCst) {
                        switch.changed.notify_one();
                    }
                }
                println!("null");
            }
        }
    }
    Ok(true)
}

fn report(common: &Common) -> Linked {
    let mut storm = common.storm.lock().unwrap();
    storm.took.sort_by(f64::total_cmp);
    let at = |n: usize| storm.took.get(n.min(storm.took.len().max(1) - 1)).copied().unwrap_or(f64::NAN);
    let count = storm.took.len();
    Linked {
        links: common.linked.load(Ordering::SeqCst),
        half: at(count / 2),
        most: at(count * 99 / 100),
        all: at(count.max(1) - 1),
        failed: storm.failed.iter().map(|(cause, n)| (cause.clone(), *n)).collect(),
    }
}

/// How a try ended.
enum Ended {
    /// The link was there, and is lost.
    Lost,
    /// Somebody answered, and it came to nothing.
    Answered(String),
    /// Nobody answered.
    Unreachable(String),
}

async fn live(n: usize, common: Arc<Common>) {
    let mut wanted = common.wanted.subscribe();
    if wanted.wait_for(|wanted| *wanted > n).await.is_err() {
        return;
    }
    let key = Arc::new(key(n));
    let between = |from: u64, to: u64| Duration::from_millis(rand::random_range(from..=to));
    tokio::time::sleep(between(200, 3000)).await;
    let mut failures = 0;
    loop {
        let ended = once(n, &common, &key).await;
        if let Ended::Answered(why) | Ended::Unreachable(why) = &ended {
            *common.storm.lock().unwrap().failed.entry(why.clone()).or_default() += 1;
        }
        let pause = match ended {
            Ended::Lost => {
                failures = 0;
                between(200, 3000)
            }
            Ended::Answered(_) => {
                failures = (failures + 1).min(6);
                between(1000, (1000_u64 << failures).min(60_000))
            }
            Ended::Unreachable(_) => between(2000, 4000),
        };
        tokio::time::sleep(pause).await;
    }
}

/// Shuts the connection down, whatever russh's task is at. No descriptor of its own: there are 10,000.
struct Cut(Arc<Line>);

impl Drop for Cut {
    fn drop(&mut self) {
        self.0.cut();
    }
}

/// Counted while it is linked.
struct Counted<'a>(&'a Common);

impl Drop for Counted<'_> {
    fn drop(&mut self) {
        self.0.linked.fetch_sub(1, Ordering::SeqCst);
    }
}

async fn once(n: usize, common: &Arc<Common>, key: &Arc<PrivateKey>) -> Ended {
    let stream = match dial(common.place.gateway, address(n)).await {
        Ok(stream) => stream,
        Err(e) if e.kind() == std::io::ErrorKind::ConnectionRefused => {
            return Ended::Answered("refused".into());
        }
        Err(e) => return Ended::Unreachable(e.kind().to_string()),
    };
    let (wire, line) = Wire::new(stream, Role::Server, Arc::default());
    let cut = Cut(line);
    // As long as the agent waits.
    let opened = tokio::time::timeout(Duration::from_mins(1), Box::pin(opened(n, wire, key))).await;
    let (handle, channel) = match opened {
        Ok(Ok(opened)) => opened,
        Ok(Err(e)) => return Ended::Answered(e.to_string()),
        Err(_) => return Ended::Answered("no answer for a minute".into()),
    };
    let ended = kept(n, common, key, channel).await;
    drop((handle, cut));
    ended
}

/// As the agent has it.
fn configuration() -> Arc<client::Config> {
    let kex = [
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    let preferred = Preferred {
        kex: kex.to_vec().into(),
        key: vec![ssh_key::Algorithm::Ed25519].into(),
        cipher: vec![cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_128_GCM].into(),
        mac: vec![mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM].into(),
        compression: vec![compression::NONE].into(),
        ..Preferred::default()
    };
    Arc::new(client::Config {
        client_id: SshId::Standard(IDENT.into()),
        window_size: 1 << 20,
        maximum_packet_size: 32 << 10,
        preferred,
        ..client::Config::default()
    })
}

async fn opened(
    n: usize,
    stream: Wire,
    key: &Arc<PrivateKey>,
) -> Result<(client::Handle<Anybody>, Channel<Msg>), russh::Error> {
    let mut handle = client::connect_stream(configuration(), stream, Anybody).await?;
    let user = format!("site:{}", name(n));
    let key = PrivateKeyWithHashAlg::new(key.clone(), None);
    if !handle.authenticate_publickey(user, key).await?.success() {
        return Err(russh::Error::NotAuthenticated);
    }
    let mut channel = handle.channel_open_session().await?;
    channel.request_subsystem(true, SUBSYSTEM).await?;
    loop {
        match channel.wait().await {
            Some(ChannelMsg::Success) => return Ok((handle, channel)),
            Some(ChannelMsg::WindowAdjusted { .. }) => {}
            _ => return Err(russh::Error::Disconnect),
        }
    }
}

/// From the link's first line to its end.
async fn kept(n: usize, common: &Arc<Common>, key: &PrivateKey, channel: Channel<Msg>) -> Ended {
    let mut mux = Mux::new(channel.into_stream(), true, Bounds::ORDINARY);
    let Ok(control) = mux.open().await else { return Ended::Answered("no stream".into()) };
    let (reading, mut to) = tokio::io::split(control);
    let mut lines = Lines::new(reading);
    let hello = ToGateway::Hello { version: VERSION, software: "bench".into() };
    let first = match write_line(&mut to, &hello).await {
        Ok(()) => tokio::time::timeout(Duration::from_secs(15), lines.next::<ToSite>()).await,
        Err(e) => return Ended::Answered(e.to_string()),
    };
    let Ok(Ok(ToSite::Hello { .. })) = first else { return Ended::Answered("no hello".into()) };
    let mut cut = common.cut.subscribe();
    common.linked.fetch_add(1, Ordering::SeqCst);
    let _counted = Counted(common);
    {
        let mut storm = common.storm.lock().unwrap();
        let took = storm.begun.elapsed().as_secs_f64();
        storm.took.push(took);
    }
    common.one_more.notify_one();
    let Some(switch) = common.open.get(n) else { return Ended::Lost };
    let mut number = 0;
    let mut alive = tokio::time::interval_at(tokio::time::Instant::now() + ALIVE, ALIVE);
    loop {
        let line = tokio::select! {
            line = lines.next::<ToSite>() => match line {
                Ok(ToSite::Renew { nonce }) => match lease(n, common, switch, nonce).sign(key) {
                    Ok(signed) => {
                        if switch.open.load(Ordering::SeqCst) {
                            common.signed.fetch_add(1, Ordering::SeqCst);
                        }
                        ToGateway::Lease(signed)
                    }
                    Err(_) => return Ended::Lost,
                },
                Ok(_) => continue,
                Err(_) => return Ended::Lost,
            },
            stream = mux.next() => match stream {
                Some(stream) => {
                    tokio::spawn(echo(stream));
                    continue;
                }
                None => return Ended::Lost,
            },
            () = switch.changed.notified() => {
                if switch.open.load(Ordering::SeqCst) { ToGateway::Changed } else { ToGateway::Closed }
            }
            _ = alive.tick() => {
                number += 1;
                ToGateway::Alive { number }
            }
            _ = cut.changed() => return Ended::Lost,
        };
        if write_line(&mut to, &line).await.is_err() {
            return Ended::Lost;
        }
    }
}

fn lease(n: usize, common: &Common, switch: &Switch, nonce: String) -> Lease {
    let may = BTreeSet::from([EVERYTHING.to_owned()]);
    let firm = Grant { who: "firm".into(), may, seconds: 1800 };
    let grants = if switch.open.load(Ordering::SeqCst) { vec![firm] } else { Vec::new() };
    Lease { site: name(n), gateway: common.place.fingerprint.clone(), nonce, seconds: 45, grants }
}

/// What the gateway opens comes back.
async fn echo(mut stream: Stream) {
    if read_line::<Head>(&mut stream).await.is_err() {
        return;
    }
    if write_line(&mut stream, &Reply::Open { product: None, address: None, sealed: false }).await.is_ok() {
        let (mut from, mut to) = tokio::io::split(stream);
        tokio::io::copy(&mut from, &mut to).await.ok();
    }
}
