//! A practice's end of a link, as src/link.rs describes it and no better: it signs what a test wants, and says what a test wants.
//! Absent on purpose: the real agent (`site`); this one is written from the protocol alone.
#![allow(
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::single_match_else,
    reason = "shared by several test files; helpers of tests are tests"
)]

use std::collections::BTreeSet;
use std::net::SocketAddr;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use pforte::link::frames::{Asked, Head, Refusal, Reply, ToGateway, ToSite, Wish};
use pforte::link::lease::{EVERYTHING, Grant, Lease, SignedLease};
use pforte::link::{Bounds, Lines, Mux, SUBSYSTEM, Stream, VERSION, read_line, write_line};
use pforte::site::konnektor::{Boxes, Tools, serve};
use russh::client::{self, Msg};
use russh::keys::{PrivateKeyWithHashAlg, PublicKeyOrCertificate};
use russh::{Channel, SshId};
use ssh_key::private::Ed25519Keypair;
use ssh_key::{HashAlg, PrivateKey};
use tokio::io::{AsyncRead, AsyncWrite, WriteHalf};
use tokio::net::TcpStream;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;

pub const SITE: &str = "praxis-mueller";

/// The machine's key.
pub fn key(seed: u8) -> PrivateKey {
    PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
}

/// What goes into `keys/sites/NAME.pub`.
pub fn public(seed: u8) -> String {
    format!("{}\n", key(seed).public_key().to_openssh().unwrap())
}

/// Takes every host key and no channel.
pub struct Guest;

impl client::Handler for Guest {
    type Error = russh::Error;

    async fn check_server_key(&mut self, _key: &PublicKeyOrCertificate) -> Result<bool, russh::Error> {
        Ok(true)
    }
}

/// A logged-in connection, before it asks for anything.
pub async fn ssh(
    gateway: SocketAddr,
    user: &str,
    seed: u8,
    ident: &str,
) -> Result<client::Handle<Guest>, russh::Error> {
    let stream = TcpStream::connect(gateway).await?;
    ssh_over(stream, user, seed, ident).await
}

pub async fn ssh_over(
    stream: impl AsyncRead + AsyncWrite + Unpin + Send + 'static,
    user: &str,
    seed: u8,
    ident: &str,
) -> Result<client::Handle<Guest>, russh::Error> {
    let config = client::Config {
        client_id: SshId::Standard(ident.to_owned().into()),
        window_size: 1 << 20,
        ..client::Config::default()
    };
    let mut handle = client::connect_stream(Arc::new(config), stream, Guest).await?;
    let key = PrivateKeyWithHashAlg::new(Arc::new(key(seed)), None);
    if handle.authenticate_publickey(user, key).await?.success() {
        Ok(handle)
    } else {
        Err(russh::Error::NotAuthenticated)
    }
}

pub const IDENT: &str = "SSH-2.0-pforte-site_test";

/// What the practice allows, as a test sets it.
#[derive(Clone, Debug, Default)]
pub struct Allows {
    /// Who, what (empty: everything), for how many seconds.
    pub grants: Vec<(String, Vec<String>, u32)>,
    /// How long a lease says it lasts.
    pub lasts: u32,
    /// Leases are not answered.
    pub mute: bool,
    /// Streams are refused for this.
    pub refuses: Option<Refusal>,
    /// Its Konnektors.
    pub konnektors: Option<Shelf>,
}

/// What `site.toml` has of Konnektors.
#[derive(Clone)]
pub struct Shelf(pub Arc<(Boxes, Tools)>);

impl std::fmt::Debug for Shelf {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Shelf")
    }
}

/// A site's file as it is when the site has a machine of its own: reached over its link, its Konnektors without an account.
pub fn behind_link(text: &str) -> String {
    let mut inside = false;
    let kept = text.lines().filter(|line| {
        if line.starts_with('[') {
            inside = line.starts_with("[konnektor.");
        }
        let key = line.split_once('=').map_or("", |(key, _)| key.trim());
        !(inside && ["user", "password", "certificate", "sds", "parallel"].contains(&key))
    });
    let kept: String = kept.flat_map(|line| [line, "\n"]).collect();
    kept.replace("via = \"direct\"", "via = \"link\"")
}

/// A link, kept by a task.
pub struct Practice {
    pub handle: client::Handle<Guest>,
    pub allows: Arc<Mutex<Allows>>,
    /// What the gateway told, journal lines.
    pub told: Arc<Mutex<Vec<String>>>,
    /// The nonces that were asked.
    pub nonces: Arc<Mutex<Vec<String>>>,
    /// Heads of all streams.
    pub heads: Arc<Mutex<Vec<Head>>>,
    pub asks: mpsc::Receiver<Asked>,
    pub say: mpsc::Sender<ToGateway>,
    task: JoinHandle<()>,
}

impl Drop for Practice {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// A link's control stream and its streams, with nobody who keeps it.
pub struct Bare {
    pub handle: client::Handle<Guest>,
    pub mux: Mux,
    pub lines: Lines<tokio::io::ReadHalf<Stream>>,
    pub to: WriteHalf<Stream>,
}

pub async fn bare(gateway: SocketAddr, site: &str, seed: u8) -> Bare {
    let handle = ssh(gateway, &format!("site:{site}"), seed, IDENT).await.unwrap();
    let channel: Channel<Msg> = handle.channel_open_session().await.unwrap();
    channel.request_subsystem(true, SUBSYSTEM).await.unwrap();
    let mux = Mux::new(channel.into_stream(), true, Bounds::ORDINARY);
    let control = mux.open().await.unwrap();
    let (reading, to) = tokio::io::split(control);
    Bare { handle, mux, lines: Lines::new(reading), to }
}

pub fn hello() -> ToGateway {
    ToGateway::Hello { version: VERSION, software: "practice of the tests".into() }
}

/// Signs what is allowed.
pub fn lease(allows: &Allows, site: &str, gateway: &str, nonce: &str, seed: u8) -> SignedLease {
    let grant = |(who, may, seconds): &(String, Vec<String>, u32)| Grant {
        who: who.clone(),
        may: if may.is_empty() {
            BTreeSet::from([EVERYTHING.to_owned()])
        } else {
            may.iter().cloned().collect()
        },
        seconds: *seconds,
    };
    let lease = Lease {
        site: site.into(),
        gateway: gateway.into(),
        nonce: nonce.into(),
        seconds: allows.lasts,
        grants: allows.grants.iter().map(grant).collect(),
    };
    lease.sign(&key(seed)).unwrap()
}

impl Practice {
    /// Links `SITE` with the key of `seed`; closed.
    pub async fn link(gateway: SocketAddr, fingerprint: String, seed: u8) -> Self {
        Self::of(gateway, SITE, fingerprint, seed).await
    }

    pub async fn of(gateway: SocketAddr, site: &str, fingerprint: String, seed: u8) -> Self {
        let Bare { handle, mut mux, mut lines, mut to } = bare(gateway, site, seed).await;
        write_line(&mut to, &hello()).await.unwrap();
        let allows = Arc::new(Mutex::new(Allows { lasts: 45, ..Allows::default() }));
        let (told, nonces, heads) = (
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::<Mutex<Vec<String>>>::default(),
            Arc::<Mutex<Vec<Head>>>::default(),
        );
        let (asked, asks) = mpsc::channel(16);
        let (say, mut said) = mpsc::channel::<ToGateway>(16);
        let site = site.to_owned();
        let (allowed, telling, asking, heading) =
            (allows.clone(), told.clone(), nonces.clone(), heads.clone());
        let task = tokio::spawn(async move {
            let mut alive = tokio::time::interval(Duration::from_secs(5));
            loop {
                tokio::select! {
                    line = lines.next::<ToSite>() => match line {
                        Ok(ToSite::Renew { nonce }) => {
                            asking.lock().unwrap().push(nonce.clone());
                            let allows = allowed.lock().unwrap().clone();
                            if !allows.mute {
                                let lease = lease(&allows, &site, &fingerprint, &nonce, seed);
                                write_line(&mut to, &ToGateway::Lease(lease)).await.unwrap();
                            }
                        }
                        Ok(ToSite::Told { line }) => telling.lock().unwrap().push(line),
                        Ok(ToSite::Ask(ask)) => asked.send(ask).await.unwrap(),
                        Ok(_) => {}
                        Err(_) => return,
                    },
                    line = said.recv() => match line {
                        Some(line) => write_line(&mut to, &line).await.unwrap(),
                        None => return,
                    },
                    stream = mux.next() => match stream {
                        Some(stream) => {
                            tokio::spawn(carry(stream, allowed.clone(), heading.clone()));
                        }
                        None => return,
                    },
                    _ = alive.tick() => {
                        if write_line(&mut to, &ToGateway::Alive { number: 1 }).await.is_err() {
                            return;
                        }
                    }
                }
            }
        });
        Self { handle, allows, told, nonces, heads, asks, say, task }
    }

    /// From now on that is allowed.
    pub async fn allow(&self, grants: &[(&str, &[&str], u32)]) {
        {
            let mut allows = self.allows.lock().unwrap();
            allows.grants = grants
                .iter()
                .map(|(who, may, seconds)| {
                    ((*who).to_owned(), may.iter().map(|m| (*m).to_owned()).collect(), *seconds)
                })
                .collect();
        }
        self.say(ToGateway::Changed).await;
    }

    pub async fn close(&self) {
        self.allows.lock().unwrap().grants.clear();
        self.say(ToGateway::Closed).await;
    }

    pub async fn say(&self, line: ToGateway) {
        self.say.send(line).await.unwrap();
    }

    pub fn is_over(&self) -> bool {
        self.task.is_finished()
    }
}

/// One stream of the gateway: bytes to where its head says.
async fn carry(mut stream: Stream, allows: Arc<Mutex<Allows>>, heads: Arc<Mutex<Vec<Head>>>) {
    let Ok(head) = read_line::<Head>(&mut stream).await else { return };
    heads.lock().unwrap().push(head.clone());
    let refuses = allows.lock().unwrap().refuses;
    if let Some(cause) = refuses {
        write_reply(&mut stream, &Reply::Refused { cause }).await;
        return;
    }
    let Wish::Dial { to } = &head.wish else {
        let shelf = allows.lock().unwrap().konnektors.clone();
        match shelf {
            Some(shelf) => drop(serve(stream, &head, &shelf.0.0, &shelf.0.1).await),
            None => {
                let cause = "no such thing here".into();
                write_reply(&mut stream, &Reply::Away { cause, error: None }).await;
            }
        }
        return;
    };
    match TcpStream::connect(to).await {
        Ok(mut host) => {
            write_reply(&mut stream, &Reply::Open { product: None, address: None, sealed: false }).await;
            tokio::io::copy_bidirectional(&mut stream, &mut host).await.ok();
        }
        Err(e) => write_reply(&mut stream, &Reply::Away { cause: e.to_string(), error: None }).await,
    }
}

async fn write_reply(to: &mut (impl AsyncWrite + Unpin), reply: &Reply) {
    write_line(to, reply).await.ok();
}

/// The fingerprint of a gateway's host key.
pub fn fingerprint(dir: &std::path::Path) -> String {
    let text = std::fs::read_to_string(dir.join("state/host_ed25519.pub")).unwrap();
    ssh_key::PublicKey::from_openssh(&text).unwrap().fingerprint(HashAlg::Sha256).to_string()
}
