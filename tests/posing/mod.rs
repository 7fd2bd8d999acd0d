//! A gateway that is none: russh's server and a Mux, made from what `src/link.rs` says; it does what a test tells it, well or ill.
//! And a real `pforte site serve` in a folder of its own, with its terminal.
#![allow(
    unreachable_pub,
    clippy::disallowed_methods,
    clippy::wildcard_enum_match_arm,
    reason = "shared by several test files; helpers of tests are tests"
)]

pub mod proxies;
pub mod site;

use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use jiff::Timestamp;
use pforte::link::frames::{Head, Reply, ToGateway, ToSite, Visitor, Wish};
use pforte::link::lease::{Expected, Granted, SignedLease};
use pforte::link::{self, Bounds, Lines, Mux, Stream, read_line, write_line};
use russh::server::{self, Msg};
use russh::{Channel, ChannelId, MethodKind, MethodSet};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, PrivateKey, PublicKey};
use tokio::io::{AsyncRead, AsyncReadExt as _, ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub const WITHIN: Duration = Duration::from_secs(20);

/// Waits for what has to come.
pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    tokio::time::timeout(WITHIN, what).await.expect("it does not come")
}

pub fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// What the gateway saw.
#[derive(Default)]
pub struct Counts {
    pub connections: AtomicUsize,
    /// Of them, so many showed a key.
    pub logins: AtomicUsize,
    pub times: Mutex<Vec<tokio::time::Instant>>,
    /// The client's first line of each.
    pub idents: Mutex<Vec<String>>,
}

/// The gateway. Dropped, it is gone with all its connections.
pub struct Gateway {
    pub address: SocketAddr,
    pub key: PrivateKey,
    pub counts: Arc<Counts>,
    links: mpsc::Receiver<Up>,
    task: JoinHandle<()>,
}

impl Drop for Gateway {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A link that came up.
pub struct Up {
    pub mux: Mux,
    pub handle: server::Handle,
    pub user: String,
}

impl Gateway {
    /// On a free port, with the key of `seed`; lets in whoever shows `site`'s key.
    pub async fn start(seed: u8, site: Option<PublicKey>) -> Self {
        Self::at("127.0.0.1:0".parse().unwrap(), seed, site).await
    }

    pub async fn at(address: SocketAddr, seed: u8, site: Option<PublicKey>) -> Self {
        let listener = loop {
            // The one before may still be closing.
            match TcpListener::bind(address).await {
                Ok(listener) => break listener,
                Err(_) => tokio::time::sleep(Duration::from_millis(20)).await,
            }
        };
        let address = listener.local_addr().unwrap();
        let counts: Arc<Counts> = Arc::default();
        let (came, links) = mpsc::channel(8);
        let task = tokio::spawn(accept(listener, key(seed), site, counts.clone(), came));
        Self { address, key: key(seed), counts, links, task }
    }

    pub fn fingerprint(&self) -> String {
        self.key.public_key().fingerprint(HashAlg::Sha256).to_string()
    }

    /// The next link, nothing said yet.
    pub async fn up(&mut self) -> Up {
        soon(self.links.recv()).await.expect("the gateway is gone")
    }

    /// The same, greeted.
    pub async fn linked(&mut self) -> Talk {
        self.up().await.greet(Timestamp::now()).await
    }

    pub fn logins(&self) -> usize {
        self.counts.logins.load(Ordering::SeqCst)
    }

    pub fn connections(&self) -> usize {
        self.counts.connections.load(Ordering::SeqCst)
    }
}

async fn accept(
    listener: TcpListener,
    key: PrivateKey,
    site: Option<PublicKey>,
    counts: Arc<Counts>,
    came: mpsc::Sender<Up>,
) {
    let mut methods = MethodSet::empty();
    methods.push(MethodKind::PublicKey);
    let config = Arc::new(server::Config {
        methods,
        keys: vec![key],
        auth_rejection_time: Duration::from_millis(1),
        auth_rejection_time_initial: Some(Duration::ZERO),
        ..server::Config::default()
    });
    let mut connections = tokio::task::JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        counts.connections.fetch_add(1, Ordering::SeqCst);
        counts.times.lock().unwrap().push(tokio::time::Instant::now());
        let (config, counts, came, site) = (config.clone(), counts.clone(), came.clone(), site.clone());
        connections.spawn(async move {
            let Some(ident) = peeked(&stream).await else { return };
            counts.idents.lock().unwrap().push(ident);
            let door = Door { site, counts, came, channels: HashMap::new(), user: String::new() };
            if let Ok(session) = server::run_stream(config, stream, door).await {
                session.await.ok();
            }
        });
    }
}

/// The first line, left where it is.
async fn peeked(stream: &TcpStream) -> Option<String> {
    let mut first = [0; 64];
    loop {
        let n = stream.peek(&mut first).await.ok().filter(|n| *n > 0)?;
        if let Some(end) = first[..n].iter().position(|b| *b == b'\r') {
            return Some(String::from_utf8_lossy(&first[..end]).into_owned());
        }
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}

struct Door {
    site: Option<PublicKey>,
    counts: Arc<Counts>,
    came: mpsc::Sender<Up>,
    channels: HashMap<ChannelId, Channel<Msg>>,
    user: String,
}

impl server::Handler for Door {
    type Error = russh::Error;

    async fn auth_publickey(
        &mut self,
        user: &str,
        key: russh::server::VerifiedPublicKey<'_>,
    ) -> Result<server::Auth, russh::Error> {
        self.counts.logins.fetch_add(1, Ordering::SeqCst);
        user.clone_into(&mut self.user);
        let good = self.site.as_ref().is_some_and(|site| site.key_data() == key.public_key.key_data());
        Ok(if good { server::Auth::Accept } else { server::Auth::reject() })
    }

    async fn channel_open_session(
        &mut self,
        channel: Channel<Msg>,
        reply: server::ChannelOpenHandle,
        _session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        reply.accept().await;
        self.channels.insert(channel.id(), channel);
        Ok(())
    }

    async fn subsystem_request(
        &mut self,
        id: ChannelId,
        name: &str,
        session: &mut server::Session,
    ) -> Result<(), russh::Error> {
        assert_eq!(name, link::SUBSYSTEM);
        session.channel_success(id)?;
        let channel = self.channels.remove(&id).unwrap();
        let (came, handle, user) = (self.came.clone(), session.handle(), self.user.clone());
        let mux = Mux::new(channel.into_stream(), false, Bounds { streams: 256, window: 128 << 20 });
        came.send(Up { mux, handle, user }).await.ok();
        Ok(())
    }
}

impl Up {
    /// Takes the site's first stream, and says hello as if it were `now`.
    pub async fn greet(mut self, now: Timestamp) -> Talk {
        let control = soon(self.mux.next()).await.expect("no control stream");
        let (read, mut to) = tokio::io::split(control);
        let mut lines = Lines::new(read);
        let first = soon(lines.next::<ToGateway>()).await.unwrap();
        assert!(
            matches!(&first, ToGateway::Hello { version: 1, software } if software.starts_with("pforte "))
        );
        let hello = ToSite::Hello { version: 1, now, seen_from: "203.0.113.7:50122".into() };
        write_line(&mut to, &hello).await.unwrap();
        Talk { up: self, lines, to, nonces: 0 }
    }
}

/// A greeted link.
pub struct Talk {
    pub up: Up,
    pub lines: Lines<ReadHalf<Stream>>,
    pub to: WriteHalf<Stream>,
    nonces: u32,
}

impl Talk {
    pub async fn say(&mut self, what: &ToSite) {
        write_line(&mut self.to, what).await.unwrap();
    }

    /// The site's next line that `is` takes; those that say it lives are answered.
    pub async fn hear<T>(&mut self, is: impl Fn(ToGateway) -> Option<T>) -> T {
        soon(async {
            loop {
                let line: ToGateway = self.lines.next().await.unwrap();
                if let ToGateway::Alive { number } = line {
                    write_line(&mut self.to, &ToSite::Alive { number }).await.unwrap();
                }
                if let Some(found) = is(line) {
                    return found;
                }
            }
        })
        .await
    }

    /// What the site allows now.
    pub async fn lease(&mut self, site: &site::Site, gateway: &str) -> Vec<Granted> {
        self.nonces += 1;
        let nonce = format!("nonce-{}", self.nonces);
        self.say(&ToSite::Renew { nonce: nonce.clone() }).await;
        let signed: SignedLease = self
            .hear(|line| match line {
                ToGateway::Lease(lease) => Some(lease),
                _ => None,
            })
            .await;
        let expected = Expected {
            site: &site::NAME.parse().unwrap(),
            key: &site.public,
            gateway: &gateway.parse().unwrap(),
            nonce: &nonce,
        };
        signed.check(&expected).unwrap()
    }

    /// Opens a stream, and what the site answers.
    pub async fn open(&self, user: &str, session: &str, wish: Wish) -> (Stream, Reply) {
        let mut stream = self.up.mux.open().await.unwrap();
        let family = if user.starts_with('@') { "konnektor backup" } else { "hop backup" };
        let visitor = Visitor {
            user: user.into(),
            session: session.into(),
            family: family.into(),
            command: "hop backup".into(),
        };
        write_line(&mut stream, &Head { visitor, wish }).await.unwrap();
        let reply = soon(read_line::<Reply>(&mut stream)).await.unwrap();
        (stream, reply)
    }

    pub async fn dial(&self, user: &str, session: &str, to: SocketAddr) -> (Stream, Reply) {
        self.open(user, session, Wish::Dial { to: to.to_string() }).await
    }
}

pub const OPEN: Reply = Reply::Open { product: None, address: None, sealed: false };

/// What the site refuses with.
pub fn cause(reply: &Reply) -> String {
    match reply {
        Reply::Refused { cause } => cause.to_string(),
        other => format!("{other:?}"),
    }
}

/// Waits until the stream is cut; how long that took.
pub async fn cut(stream: &mut (impl AsyncRead + Unpin)) -> Duration {
    let began = tokio::time::Instant::now();
    let mut rest = Vec::new();
    soon(stream.read_to_end(&mut rest)).await.ok();
    began.elapsed()
}

/// A server that sends back what it gets, and counts who came.
pub async fn echo() -> (SocketAddr, Arc<AtomicUsize>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let came = Arc::new(AtomicUsize::new(0));
    let count = came.clone();
    tokio::spawn(async move {
        loop {
            let (stream, _) = listener.accept().await.unwrap();
            count.fetch_add(1, Ordering::SeqCst);
            tokio::spawn(async move {
                let (mut read, mut write) = stream.into_split();
                tokio::io::copy(&mut read, &mut write).await.ok();
            });
        }
    });
    (address, came)
}
