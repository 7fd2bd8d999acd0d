//! A host that does what a test wants: SSH's server side by hand, up to a login that takes anybody.
//! Absent on purpose: manners, as in the client beside it.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use aws_lc_rs::agreement::{self, UnparsedPublicKey, X25519};
use sha2::{Digest, Sha256};
use ssh_key::PrivateKey;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::JoinHandle;

use super::{CURVE, Fields, Gcm, Payload, Proposal, Rx, Tx, mpint, msg, sign};

/// The host. Gone when dropped.
pub struct Evil {
    pub port: u16,
    /// Connections that it serves.
    pub open: Arc<AtomicUsize>,
    task: JoinHandle<()>,
}

impl Drop for Evil {
    fn drop(&mut self) {
        self.task.abort();
    }
}

struct Open(Arc<AtomicUsize>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::SeqCst);
    }
}

/// One connection, as the host sees it.
pub struct Host {
    pub tx: Tx,
    pub rx: Rx,
    pub key: PrivateKey,
    session: Option<Vec<u8>>,
    their_version: String,
}

/// A host key out of nothing.
pub fn host_key(seed: u8) -> PrivateKey {
    ssh_key::private::Ed25519Keypair::from_seed(&[seed; 32]).into()
}

impl Evil {
    /// Serves every connection with `serve`; a connection counts as open until `serve` returns and the peer has closed.
    pub async fn start<F, R>(serve: F) -> Self
    where
        F: Fn(Host) -> R + Send + Sync + 'static,
        R: Future<Output = ()> + Send + 'static,
    {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let open = Arc::new(AtomicUsize::new(0));
        let count = open.clone();
        let task = tokio::spawn(async move {
            let mut running = tokio::task::JoinSet::new();
            while let Ok((stream, _)) = listener.accept().await {
                count.fetch_add(1, Ordering::SeqCst);
                let open = Open(count.clone());
                let serving = serve(Host::over(stream));
                running.spawn(async move {
                    serving.await;
                    drop(open);
                });
            }
        });
        Self { port, open, task }
    }

    /// Waits until nobody is connected any more, for so many seconds at most.
    pub async fn is_left_within(&self, seconds: u64) -> bool {
        for _ in 0..seconds * 20 {
            if self.open.load(Ordering::SeqCst) == 0 {
                return true;
            }
            tokio::time::sleep(std::time::Duration::from_millis(50)).await;
        }
        false
    }

    /// Waits until somebody is connected.
    pub async fn is_met(&self) {
        while self.open.load(Ordering::SeqCst) == 0 {
            tokio::time::sleep(std::time::Duration::from_millis(10)).await;
        }
    }
}

impl Host {
    fn over(stream: TcpStream) -> Self {
        stream.set_nodelay(true).unwrap();
        let (read, write) = stream.into_split();
        Self {
            tx: Tx { stream: write, keys: None },
            rx: Rx { stream: read, keys: None, buffer: Vec::new() },
            key: host_key(1),
            session: None,
            their_version: String::new(),
        }
    }

    pub async fn versions(&mut self) -> Option<()> {
        self.tx.raw(b"SSH-2.0-evil\r\n").await;
        self.their_version = self.rx.line().await?;
        Some(())
    }

    /// A key exchange, the first or a later one; what else comes before it is passed over.
    pub async fn kex(&mut self) -> Option<()> {
        let ours = Proposal { kex: format!("{CURVE},kex-strict-s-v00@openssh.com"), ..Proposal::default() }
            .payload();
        self.tx.send(&ours).await;
        let theirs = self.rx.read_one_of(&[msg::KEXINIT]).await?;
        let init = self.rx.read_one_of(&[msg::KEX_INIT]).await?;
        let their_public = Fields::of(&init).text();
        let private = agreement::PrivateKey::generate(&X25519).unwrap();
        let public = private.compute_public_key().unwrap();
        let peer = UnparsedPublicKey::new(&X25519, their_public);
        let secret = agreement::agree(&private, peer, (), |secret| Ok::<_, ()>(mpint(secret))).unwrap();
        let host_key = self.key.public_key().to_bytes().unwrap();
        let mut hash = Sha256::new();
        let parts = [
            self.their_version.as_bytes(),
            b"SSH-2.0-evil",
            &theirs,
            &ours,
            &host_key,
            their_public,
            public.as_ref(),
        ];
        for part in parts {
            hash.update((part.len() as u32).to_be_bytes());
            hash.update(part);
        }
        hash.update(&secret);
        let hash = hash.finalize().to_vec();
        let session = self.session.get_or_insert_with(|| hash.clone()).clone();
        let signature = Payload(Vec::new()).text("ssh-ed25519").text(sign(&self.key, &hash)).0;
        self.tx.send(Payload::of(msg::KEX_REPLY).text(&host_key).text(&public).text(signature).0).await;
        let derive = |letter: u8| {
            Sha256::new()
                .chain_update(&secret)
                .chain_update(&hash)
                .chain_update([letter])
                .chain_update(&session)
                .finalize()
        };
        self.tx.send([msg::NEWKEYS]).await;
        self.tx.keys = Some(Gcm::new(&derive(b'D'), &derive(b'B')));
        self.rx.read_one_of(&[msg::NEWKEYS]).await?;
        self.rx.keys = Some(Gcm::new(&derive(b'C'), &derive(b'A')));
        Some(())
    }

    /// Up to the first request for a login.
    pub async fn asked_for_login(&mut self) -> Option<()> {
        self.versions().await?;
        self.kex().await?;
        self.rx.read_one_of(&[msg::SERVICE_REQUEST]).await?;
        self.tx.send(Payload::of(msg::SERVICE_ACCEPT).text("ssh-userauth").0).await;
        self.rx.read_one_of(&[msg::USERAUTH_REQUEST]).await.map(|_| ())
    }

    /// Lets anybody in.
    pub async fn lets_in(&mut self) -> Option<()> {
        self.asked_for_login().await?;
        self.tx.send([msg::USERAUTH_SUCCESS]).await;
        Some(())
    }

    /// The next channel, opened with this window; gives the other side's number of it. It is our 0.
    pub async fn channel(&mut self, window: u32) -> Option<u32> {
        let open = self.any(&[msg::CHANNEL_OPEN]).await?;
        let mut fields = Fields::of(&open);
        fields.text();
        let theirs = fields.number();
        let yes =
            Payload::of(msg::OPEN_CONFIRMATION).number(theirs).number(0).number(window).number(32 << 10);
        self.tx.send(yes.0).await;
        Some(theirs)
    }

    /// The next message of these kinds, however long it takes.
    pub async fn any(&mut self, kinds: &[u8]) -> Option<Vec<u8>> {
        loop {
            let message = self.rx.next().await?;
            if kinds.contains(&message[0]) {
                return Some(message);
            }
        }
    }

    /// The next command; it is not answered yet.
    pub async fn command(&mut self) -> Option<Vec<u8>> {
        loop {
            let request = self.any(&[msg::CHANNEL_REQUEST]).await?;
            let mut fields = Fields::of(&request);
            fields.number();
            let kind = fields.string();
            fields.byte();
            match kind.as_str() {
                "exec" | "subsystem" => return Some(fields.text().to_vec()),
                "shell" => return Some(Vec::new()),
                _ => {}
            }
        }
    }

    /// Up to a command that was accepted; gives the other side's number of the channel.
    pub async fn runs(&mut self) -> Option<u32> {
        self.lets_in().await?;
        let theirs = self.channel(2 << 20).await?;
        self.command().await?;
        self.tx.send(Payload::of(msg::CHANNEL_SUCCESS).number(theirs).0).await;
        Some(theirs)
    }

    /// Exit-status and CLOSE, and on to the peer's end.
    pub async fn exits(&mut self, theirs: u32, code: u32) {
        self.tx.send(exit_status(theirs, code)).await;
        self.tx.send(Payload::of(msg::CLOSE).number(theirs).0).await;
        self.stays().await;
    }

    /// Reads until the peer has gone, and understands nothing.
    pub async fn stays_raw(&mut self) {
        use tokio::io::AsyncReadExt as _;
        let mut heap = [0; 4096];
        while matches!(self.rx.stream.read(&mut heap).await, Ok(1..)) {}
    }

    /// Reads until the peer has gone.
    pub async fn stays(&mut self) {
        while self.rx.next().await.is_some() {}
    }
}

pub fn exit_status(theirs: u32, code: u32) -> Vec<u8> {
    super::channel_request(theirs, "exit-status", false, &Payload(Vec::new()).number(code).0)
}
