//! An SSH client that says whatever a test wants, whenever it wants: curve25519-sha256, aes256-gcm, Ed25519.
//! Absent on purpose: manners. The host key is not verified, windows are not kept, no order of messages is held.
#![allow(
    clippy::disallowed_methods,
    clippy::missing_panics_doc,
    clippy::cast_possible_truncation,
    clippy::doc_markdown,
    clippy::unused_self,
    clippy::redundant_closure_for_method_calls,
    reason = "shared by several test files; helpers of tests are tests"
)]

pub mod evil;

use std::net::Ipv4Addr;
use std::path::Path;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use aws_lc_rs::signature::Ed25519KeyPair;
use sha2::{Digest, Sha256};
use ssh_key::PrivateKey;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpSocket, TcpStream};

/// Message numbers of RFC 4250 §4.1.2 and RFC 8308.
pub mod msg {
    pub const DISCONNECT: u8 = 1;
    pub const IGNORE: u8 = 2;
    pub const UNIMPLEMENTED: u8 = 3;
    pub const DEBUG: u8 = 4;
    pub const SERVICE_REQUEST: u8 = 5;
    pub const SERVICE_ACCEPT: u8 = 6;
    pub const EXT_INFO: u8 = 7;
    pub const KEXINIT: u8 = 20;
    pub const NEWKEYS: u8 = 21;
    pub const KEX_INIT: u8 = 30;
    pub const KEX_REPLY: u8 = 31;
    pub const USERAUTH_REQUEST: u8 = 50;
    pub const USERAUTH_FAILURE: u8 = 51;
    pub const USERAUTH_SUCCESS: u8 = 52;
    pub const USERAUTH_BANNER: u8 = 53;
    pub const PK_OK: u8 = 60;
    pub const INFO_REQUEST: u8 = 60;
    pub const INFO_RESPONSE: u8 = 61;
    pub const GLOBAL_REQUEST: u8 = 80;
    pub const REQUEST_SUCCESS: u8 = 81;
    pub const REQUEST_FAILURE: u8 = 82;
    pub const CHANNEL_OPEN: u8 = 90;
    pub const OPEN_CONFIRMATION: u8 = 91;
    pub const OPEN_FAILURE: u8 = 92;
    pub const WINDOW_ADJUST: u8 = 93;
    pub const DATA: u8 = 94;
    pub const EXTENDED_DATA: u8 = 95;
    pub const EOF: u8 = 96;
    pub const CLOSE: u8 = 97;
    pub const CHANNEL_REQUEST: u8 = 98;
    pub const CHANNEL_SUCCESS: u8 = 99;
    pub const CHANNEL_FAILURE: u8 = 100;
}

/// How long the client waits for anything before it calls the server hung.
const PATIENCE: Duration = Duration::from_secs(20);
pub const VERSION: &str = "SSH-2.0-raw";
pub const CURVE: &str = "curve25519-sha256";
pub const STRICT: &str = "kex-strict-c-v00@openssh.com";

/// A message under construction.
#[derive(Clone, Debug)]
pub struct Payload(pub Vec<u8>);

impl Payload {
    pub fn of(number: u8) -> Self {
        Self(vec![number])
    }

    pub fn byte(mut self, value: u8) -> Self {
        self.0.push(value);
        self
    }

    pub fn flag(self, value: bool) -> Self {
        self.byte(value.into())
    }

    pub fn number(mut self, value: u32) -> Self {
        self.0.extend(value.to_be_bytes());
        self
    }

    pub fn text(mut self, value: impl AsRef<[u8]>) -> Self {
        let value = value.as_ref();
        self.0.extend((value.len() as u32).to_be_bytes());
        self.0.extend(value);
        self
    }

    pub fn bytes(mut self, value: impl AsRef<[u8]>) -> Self {
        self.0.extend(value.as_ref());
        self
    }
}

/// Reads a message's fields.
pub struct Fields<'a>(pub &'a [u8]);

impl<'a> Fields<'a> {
    /// Behind the message number.
    pub fn of(payload: &'a [u8]) -> Self {
        Self(&payload[1..])
    }

    pub fn byte(&mut self) -> u8 {
        let (first, rest) = self.0.split_first().unwrap();
        self.0 = rest;
        *first
    }

    pub fn number(&mut self) -> u32 {
        let (first, rest) = self.0.split_first_chunk::<4>().unwrap();
        self.0 = rest;
        u32::from_be_bytes(*first)
    }

    pub fn text(&mut self) -> &'a [u8] {
        let length = self.number() as usize;
        let (text, rest) = self.0.split_at(length);
        self.0 = rest;
        text
    }

    pub fn string(&mut self) -> String {
        String::from_utf8(self.text().to_vec()).unwrap()
    }
}

/// What the client proposes in KEXINIT.
#[derive(Clone, Debug)]
pub struct Proposal {
    pub kex: String,
    pub host_key: String,
    pub cipher: String,
    pub mac: String,
    pub compression: String,
    /// `first_kex_packet_follows`
    pub guess: bool,
}

impl Default for Proposal {
    fn default() -> Self {
        Self {
            kex: format!("{CURVE},{STRICT}"),
            host_key: "ssh-ed25519".into(),
            cipher: "aes256-gcm@openssh.com".into(),
            mac: "hmac-sha2-256-etm@openssh.com".into(),
            compression: "none".into(),
            guess: false,
        }
    }
}

impl Proposal {
    pub fn kex(list: &str) -> Self {
        Self { kex: list.into(), ..Self::default() }
    }

    pub fn payload(&self) -> Vec<u8> {
        let mut p = Payload::of(msg::KEXINIT).bytes([7; 16]).text(&self.kex).text(&self.host_key);
        for list in [&self.cipher, &self.mac, &self.compression] {
            p = p.text(list).text(list);
        }
        p.text("").text("").flag(self.guess).number(0).0
    }
}

/// One direction's keys (RFC 5647).
struct Gcm {
    key: LessSafeKey,
    iv: [u8; 12],
}

impl Gcm {
    fn new(key: &[u8], iv: &[u8]) -> Self {
        let key = LessSafeKey::new(UnboundKey::new(&AES_256_GCM, key).unwrap());
        Self { key, iv: iv[..12].try_into().unwrap() }
    }

    fn nonce(&mut self) -> Nonce {
        let now = self.iv;
        let counter = u64::from_be_bytes(now[4..].try_into().unwrap()).wrapping_add(1);
        self.iv[4..].copy_from_slice(&counter.to_be_bytes());
        Nonce::assume_unique_for_key(now)
    }
}

/// The sending half.
pub struct Tx {
    stream: OwnedWriteHalf,
    keys: Option<Gcm>,
}

impl Tx {
    /// Bytes as they are. `false`: the connection is gone.
    pub async fn raw(&mut self, bytes: &[u8]) -> bool {
        self.stream.write_all(bytes).await.is_ok()
    }

    /// A packet with the current keys. `false`: the connection is gone.
    pub async fn send(&mut self, payload: impl AsRef<[u8]>) -> bool {
        let packet = self.packet(payload.as_ref());
        self.raw(&packet).await
    }

    /// The same, not sent yet.
    pub fn packet(&mut self, payload: &[u8]) -> Vec<u8> {
        let (block, aside) = if self.keys.is_some() { (16, 0) } else { (8, 4) };
        let mut padding = block - (aside + 1 + payload.len()) % block;
        if padding < 4 {
            padding += block;
        }
        let mut body = vec![padding as u8];
        body.extend(payload);
        body.resize(body.len() + padding, 0);
        self.sealed(body)
    }

    /// A packet whose padding length, payload and padding are `body` as it is.
    pub fn sealed(&mut self, mut body: Vec<u8>) -> Vec<u8> {
        let length = (body.len() as u32).to_be_bytes();
        if let Some(keys) = &mut self.keys {
            let nonce = keys.nonce();
            keys.key.seal_in_place_append_tag(nonce, Aad::from(length), &mut body).unwrap();
        }
        let mut packet = length.to_vec();
        packet.append(&mut body);
        packet
    }

    /// No more will come.
    pub async fn end(&mut self) {
        self.stream.shutdown().await.ok();
    }
}

/// The receiving half.
pub struct Rx {
    stream: OwnedReadHalf,
    keys: Option<Gcm>,
    buffer: Vec<u8>,
}

impl Rx {
    async fn fill(&mut self, length: usize) -> Option<()> {
        while self.buffer.len() < length {
            let read = self.stream.read_buf(&mut self.buffer).await;
            if !matches!(read, Ok(1..)) {
                return None;
            }
        }
        Some(())
    }

    /// The next message; `None` when the connection is closed. May be dropped while it waits.
    pub async fn next(&mut self) -> Option<Vec<u8>> {
        self.fill(4).await?;
        let length = u32::from_be_bytes(self.buffer[..4].try_into().unwrap()) as usize;
        assert!(length < 1 << 20, "not a packet: {:?}", &self.buffer[..4]);
        let tag = if self.keys.is_some() { 16 } else { 0 };
        self.fill(4 + length + tag).await?;
        let rest = self.buffer.split_off(4 + length + tag);
        let mut packet = std::mem::replace(&mut self.buffer, rest);
        let head: [u8; 4] = packet[..4].try_into().unwrap();
        let mut body = packet.split_off(4);
        if let Some(keys) = &mut self.keys {
            let nonce = keys.nonce();
            let opened = keys.key.open_in_place(nonce, Aad::from(head), &mut body).expect("a good tag").len();
            body.truncate(opened);
        }
        let padding = usize::from(body[0]);
        Some(body[1..body.len() - padding].to_vec())
    }

    /// The next message, or a panic if none comes and the connection stays open.
    pub async fn read(&mut self) -> Option<Vec<u8>> {
        tokio::time::timeout(PATIENCE, self.next()).await.expect("the server hangs")
    }

    /// The next message of a kind among these; others are passed over. `None` when the connection is closed before.
    pub async fn read_one_of(&mut self, kinds: &[u8]) -> Option<Vec<u8>> {
        loop {
            let message = self.read().await?;
            if kinds.contains(&message[0]) {
                return Some(message);
            }
        }
    }

    /// Everything until the end of the connection, which has to come.
    pub async fn read_all(&mut self) -> Vec<Vec<u8>> {
        let mut all = Vec::new();
        while let Some(message) = self.read().await {
            all.push(message);
        }
        all
    }

    /// Bytes without a look at them, until the end of the connection, which has to come.
    pub async fn drain(&mut self) {
        let mut heap = vec![0; 16 << 10];
        let drained = async { while matches!(self.stream.read(&mut heap).await, Ok(1..)) {} };
        tokio::time::timeout(PATIENCE, drained).await.expect("the server hangs");
    }

    /// A line of text, before the first packet. `None`: closed.
    pub async fn line(&mut self) -> Option<String> {
        loop {
            if let Some(end) = self.buffer.iter().position(|b| *b == b'\n') {
                let rest = self.buffer.split_off(end + 1);
                let line = std::mem::replace(&mut self.buffer, rest);
                return Some(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
            let more = self.buffer.len() + 1;
            tokio::time::timeout(PATIENCE, self.fill(more)).await.expect("the server hangs")?;
        }
    }
}

/// A connection.
pub struct Raw {
    pub tx: Tx,
    pub rx: Rx,
    /// RFC 4253 §7.2; known after the first key exchange.
    pub session: Option<Vec<u8>>,
    /// The server's KEXINIT.
    pub offered: Vec<u8>,
    pub server_version: String,
    pub channels: u32,
}

/// How a command on a channel went.
#[derive(Debug, Default)]
pub struct Ended {
    pub code: Option<u32>,
    pub stdout: String,
    pub stderr: String,
    /// Message numbers in their order, WINDOW_ADJUST left out.
    pub order: Vec<u8>,
}

static SOURCES: AtomicU32 = AtomicU32::new(0);

/// An address of 127/8 that no other connection of this process came from: penalties and shares are per source.
pub fn fresh_source() -> Ipv4Addr {
    let n = SOURCES.fetch_add(1, Ordering::Relaxed);
    Ipv4Addr::from(0x7f01_0000 + (n / 250) * 256 + n % 250 + 2)
}

impl Raw {
    /// TCP alone, from an address of its own.
    pub async fn tcp(port: u16) -> Self {
        Self::tcp_from(port, fresh_source()).await
    }

    pub async fn tcp_from(port: u16, source: Ipv4Addr) -> Self {
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind((source, 0).into()).unwrap();
        let stream: TcpStream = socket.connect(([127, 0, 0, 1], port).into()).await.unwrap();
        stream.set_nodelay(true).unwrap();
        let (read, write) = stream.into_split();
        Self {
            tx: Tx { stream: write, keys: None },
            rx: Rx { stream: read, keys: None, buffer: Vec::new() },
            session: None,
            offered: Vec::new(),
            server_version: String::new(),
            channels: 0,
        }
    }

    /// With the versions exchanged.
    pub async fn versions(port: u16) -> Self {
        let mut raw = Self::tcp(port).await;
        raw.say_version().await;
        raw
    }

    pub async fn say_version(&mut self) {
        self.tx.raw(format!("{VERSION}\r\n").as_bytes()).await;
        self.server_version = self.rx.line().await.expect("the server's version");
    }

    /// With the first key exchange done.
    pub async fn keyed(port: u16) -> Self {
        let mut raw = Self::versions(port).await;
        raw.kex(&Proposal::default()).await.expect("a key exchange");
        raw
    }

    /// With the service accepted: authentication may begin.
    pub async fn asking(port: u16) -> Self {
        let mut raw = Self::keyed(port).await;
        assert!(raw.service().await, "ssh-userauth is accepted");
        raw
    }

    /// With both factors proven.
    pub async fn inside(port: u16, user: &str, key: &PrivateKey) -> Self {
        let mut raw = Self::asking(port).await;
        raw.log_in(user, key).await;
        raw
    }

    pub async fn service(&mut self) -> bool {
        self.tx.send(Payload::of(msg::SERVICE_REQUEST).text("ssh-userauth").0).await;
        self.rx.read_one_of(&[msg::SERVICE_ACCEPT]).await.is_some()
    }

    /// A key exchange, the first or a later one. `None`: the server closed.
    pub async fn kex(&mut self, proposal: &Proposal) -> Option<()> {
        let ours = proposal.payload();
        self.tx.send(&ours).await;
        self.kex_after(&ours).await
    }

    /// The rest of it, when our KEXINIT has gone out. What else the server sends meanwhile is passed over.
    pub async fn kex_after(&mut self, ours: &[u8]) -> Option<()> {
        let theirs = self.rx.read_one_of(&[msg::KEXINIT]).await?;
        self.offered.clone_from(&theirs);
        let private = agreement::PrivateKey::generate(&X25519).unwrap();
        let public = private.compute_public_key().unwrap();
        self.tx.send(Payload::of(msg::KEX_INIT).text(&public).0).await;
        let reply = self.rx.read_one_of(&[msg::KEX_REPLY]).await?;
        let mut fields = Fields::of(&reply);
        let (host_key, their_public) = (fields.text(), fields.text());
        let peer = UnparsedPublicKey::new(&X25519, their_public);
        let secret = agreement::agree(&private, peer, (), |secret| Ok::<_, ()>(mpint(secret)))
            .expect("a shared secret");
        let mut hash = Sha256::new();
        for part in [VERSION.as_bytes(), self.server_version.as_bytes(), ours, &theirs, host_key] {
            hash.update((part.len() as u32).to_be_bytes());
            hash.update(part);
        }
        for part in [public.as_ref(), their_public] {
            hash.update((part.len() as u32).to_be_bytes());
            hash.update(part);
        }
        hash.update(&secret);
        let hash = hash.finalize().to_vec();
        let session = self.session.get_or_insert_with(|| hash.clone()).clone();
        let derive = |letter: u8| {
            Sha256::new()
                .chain_update(&secret)
                .chain_update(&hash)
                .chain_update([letter])
                .chain_update(&session)
                .finalize()
        };
        self.tx.send([msg::NEWKEYS]).await;
        self.tx.keys = Some(Gcm::new(&derive(b'C'), &derive(b'A')));
        self.rx.read_one_of(&[msg::NEWKEYS]).await?;
        self.rx.keys = Some(Gcm::new(&derive(b'D'), &derive(b'B')));
        Some(())
    }

    /// A publickey request with its signature over this session.
    pub fn signed(&self, user: &str, key: &PrivateKey) -> Vec<u8> {
        let blob = key.public_key().to_bytes().unwrap();
        self.signed_as(user, "ssh-ed25519", &blob, |data| {
            Payload(Vec::new()).text("ssh-ed25519").text(sign(key, data)).0
        })
    }

    /// The same with any key blob and any signature.
    pub fn signed_as(
        &self,
        user: &str,
        algorithm: &str,
        blob: &[u8],
        sign: impl FnOnce(&[u8]) -> Vec<u8>,
    ) -> Vec<u8> {
        let request = request(user, "publickey").flag(true).text(algorithm).text(blob);
        let data = Payload(Vec::new()).text(self.session.as_ref().unwrap()).bytes(&request.0);
        request.text(sign(&data.0)).0
    }

    /// Sends, and gives the next answer to an authentication request; banners and the like are passed over.
    pub async fn ask(&mut self, payload: impl AsRef<[u8]>) -> Option<Vec<u8>> {
        self.tx.send(payload).await;
        self.answer().await
    }

    pub async fn answer(&mut self) -> Option<Vec<u8>> {
        let kinds = [msg::DISCONNECT, msg::USERAUTH_FAILURE, msg::USERAUTH_SUCCESS, msg::PK_OK];
        self.rx.read_one_of(&kinds).await
    }

    /// The first factor; panics unless it is a partial success.
    pub async fn prove_key(&mut self, user: &str, key: &PrivateKey) {
        let request = self.signed(user, key);
        let answer = self.ask(request).await.expect("an answer");
        assert!(is_partial(&answer), "{answer:?}");
    }

    /// Opens the second factor; panics unless the server asks.
    pub async fn begin_factor(&mut self, user: &str) {
        let answer = self.ask(interactive(user)).await.expect("an answer");
        assert_eq!(answer[0], msg::INFO_REQUEST, "{answer:?}");
    }

    /// Answers rounds without prompts until something else comes.
    pub async fn rounds(&mut self) -> Option<Vec<u8>> {
        for _ in 0..64 {
            let answer = self.ask(answers(&[])).await?;
            if answer[0] != msg::INFO_REQUEST {
                return Some(answer);
            }
        }
        panic!("rounds without end");
    }

    pub async fn log_in(&mut self, user: &str, key: &PrivateKey) {
        self.prove_key(user, key).await;
        self.begin_factor(user).await;
        let last = self.rounds().await.expect("an answer");
        assert_eq!(last, [msg::USERAUTH_SUCCESS]);
    }

    /// Is this connection still a stranger's, and alive? Opens a channel and sees nothing come of it.
    pub async fn is_out(&mut self) -> bool {
        self.tx.send(open_session(77)).await;
        self.tx.send(request("nobody-at.home", "none").0).await;
        match self.rx.read().await {
            None => true,
            Some(first) => ![msg::OPEN_CONFIRMATION, msg::OPEN_FAILURE].contains(&first[0]),
        }
    }

    /// A session channel; gives (our, their) number. Panics if it is refused.
    pub async fn channel(&mut self) -> (u32, u32) {
        let ours = self.channels;
        self.channels += 1;
        self.tx.send(open_session(ours)).await;
        let answer = self.rx.read_one_of(&[msg::OPEN_CONFIRMATION, msg::OPEN_FAILURE, msg::DISCONNECT]).await;
        let answer = answer.expect("an answer");
        assert_eq!(answer[0], msg::OPEN_CONFIRMATION, "{:?}", String::from_utf8_lossy(&answer));
        let mut fields = Fields::of(&answer);
        assert_eq!(fields.number(), ours);
        (ours, fields.number())
    }

    /// A request on a channel; was it taken?
    pub async fn channel_request(&mut self, channel: u32, kind: &str, more: &[u8]) -> bool {
        self.tx.send(channel_request(channel, kind, true, more)).await;
        let kinds = [msg::CHANNEL_SUCCESS, msg::CHANNEL_FAILURE];
        self.rx.read_one_of(&kinds).await.expect("an answer")[0] == msg::CHANNEL_SUCCESS
    }

    /// Runs a command on a channel of its own and collects it to its end.
    pub async fn run(&mut self, command: &[u8]) -> Ended {
        let (_, theirs) = self.channel().await;
        self.tx.send(channel_request(theirs, "exec", true, &Payload(Vec::new()).text(command).0)).await;
        self.collect(theirs).await
    }

    /// Everything of the one channel that is open, up to its CLOSE, which is answered.
    pub async fn collect(&mut self, theirs: u32) -> Ended {
        let mut ended = Ended::default();
        loop {
            let message = self.rx.read().await.expect("the connection lives");
            let mut fields = Fields::of(&message);
            match message[0] {
                msg::GLOBAL_REQUEST => {
                    self.tx.send([msg::REQUEST_FAILURE]).await;
                    continue;
                }
                msg::WINDOW_ADJUST => continue,
                msg::DATA => {
                    fields.number();
                    ended.stdout.push_str(&String::from_utf8_lossy(fields.text()));
                }
                msg::EXTENDED_DATA => {
                    fields.number();
                    assert_eq!(fields.number(), 1);
                    ended.stderr.push_str(&String::from_utf8_lossy(fields.text()));
                }
                msg::CHANNEL_REQUEST => {
                    fields.number();
                    if fields.text() == b"exit-status" {
                        fields.byte();
                        ended.code = Some(fields.number());
                    }
                }
                _ => {}
            }
            ended.order.push(message[0]);
            match message[0] {
                msg::CLOSE => {
                    self.tx.send(Payload::of(msg::CLOSE).number(theirs).0).await;
                    return ended;
                }
                msg::DISCONNECT | msg::CHANNEL_FAILURE => return ended,
                _ => {}
            }
        }
    }

    /// Goes without a word: the socket is closed.
    pub fn vanish(self) {}
}

fn mpint(bytes: &[u8]) -> Vec<u8> {
    let first = bytes.iter().position(|b| *b != 0).unwrap_or(bytes.len());
    let mut number = if bytes.get(first).is_some_and(|b| *b >= 0x80) { vec![0] } else { Vec::new() };
    number.extend(&bytes[first..]);
    Payload(Vec::new()).text(number).0
}

/// A raw Ed25519 signature.
pub fn sign(key: &PrivateKey, data: &[u8]) -> Vec<u8> {
    let seed = key.key_data().ed25519().unwrap().private.to_bytes();
    Ed25519KeyPair::from_seed_unchecked(&seed).unwrap().sign(data).as_ref().to_vec()
}

pub fn read_key(path: &Path) -> PrivateKey {
    PrivateKey::read_openssh_file(path).unwrap()
}

/// The head of a USERAUTH_REQUEST.
pub fn request(user: &str, method: &str) -> Payload {
    Payload::of(msg::USERAUTH_REQUEST).text(user).text("ssh-connection").text(method)
}

/// A key without its signature.
pub fn probe(user: &str, algorithm: &str, blob: &[u8]) -> Vec<u8> {
    request(user, "publickey").flag(false).text(algorithm).text(blob).0
}

pub fn interactive(user: &str) -> Vec<u8> {
    request(user, "keyboard-interactive").text("").text("").0
}

pub fn answers(texts: &[&str]) -> Vec<u8> {
    let head = Payload::of(msg::INFO_RESPONSE).number(texts.len() as u32);
    texts.iter().fold(head, |payload, text| payload.text(text)).0
}

pub fn is_partial(answer: &[u8]) -> bool {
    answer[0] == msg::USERAUTH_FAILURE && answer.last() == Some(&1)
}

pub fn is_refusal(answer: &[u8]) -> bool {
    answer[0] == msg::USERAUTH_FAILURE && answer.last() == Some(&0)
}

pub fn open_session(ours: u32) -> Vec<u8> {
    open(ours, "session").number(2 << 20).number(32 << 10).0
}

/// CHANNEL_OPEN up to our number; window and packet size are to follow.
pub fn open(ours: u32, kind: &str) -> Payload {
    Payload::of(msg::CHANNEL_OPEN).text(kind).number(ours)
}

pub fn open_forward(ours: u32) -> Vec<u8> {
    let head = open(ours, "direct-tcpip").number(2 << 20).number(32 << 10);
    head.text("127.0.0.1").number(22).text("127.0.0.1").number(4711).0
}

pub fn channel_request(theirs: u32, kind: &str, reply: bool, more: &[u8]) -> Vec<u8> {
    Payload::of(msg::CHANNEL_REQUEST).number(theirs).text(kind).flag(reply).bytes(more).0
}

pub fn exec(theirs: u32, command: &[u8]) -> Vec<u8> {
    channel_request(theirs, "exec", true, &Payload(Vec::new()).text(command).0)
}

pub fn data(theirs: u32, bytes: &[u8]) -> Vec<u8> {
    Payload::of(msg::DATA).number(theirs).text(bytes).0
}

/// A public key's blob as it goes over the wire.
pub fn blob(key: &PrivateKey) -> Vec<u8> {
    key.public_key().to_bytes().unwrap()
}

/// Bytes of this process that are resident; its program's pages, which come as code is first run, are not counted.
pub fn resident() -> u64 {
    let status = std::fs::read_to_string("/proc/self/status").unwrap();
    let line = status.lines().find(|line| line.starts_with("RssAnon:")).unwrap();
    line.split_whitespace().nth(1).unwrap().parse::<u64>().unwrap() * 1024
}

/// How much the process grew since `before`.
pub fn growth(before: u64) -> u64 {
    resident().saturating_sub(before)
}

/// The middle one.
pub fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// The lists of the server's KEXINIT, in RFC 4253 §7.1's order.
pub fn lists(kexinit: &[u8]) -> Vec<Vec<String>> {
    let mut fields = Fields(&kexinit[17..]);
    (0..10).map(|_| fields.string().split(',').map(ToOwned::to_owned).collect()).collect()
}
