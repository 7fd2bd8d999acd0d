//! A site's machine behind a link, in one process: a duplex pipe whose every byte is kept, `link::Mux` at both ends, and
//! `site::konnektor` at the far one. Absent on purpose: SSH, and the switch.

use std::pin::Pin;
use std::sync::{Arc, Mutex};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use async_trait::async_trait;
use pforte::clock::Clock;
use pforte::konnektor::simulator::{Make, Options, Simulator};
use pforte::konnektor::{LearnNothing, Product, Profiles, Spec, Timeouts};
use pforte::link::frames::{Head, Reply, Visitor};
use pforte::link::{Bounds, Mux, Opener, Stream, read_line, write_line};
use pforte::names::{KonnektorId, SiteName};
use pforte::secret::Secret;
use pforte::site::konnektor::{Boxes, Ended, Patience, SiteBox, Tools, serve};
use pforte::uplink::{NoWay, Streams};
use tempfile::TempDir;
use tokio::io::{AsyncRead, AsyncWrite, DuplexStream, ReadBuf};
use tokio_util::sync::CancellationToken;

pub const PASSWORD: &str = "Geh/eim+4711&x=%20";
pub const NOW: &str = "2026-11-21T16:04:05Z";

pub fn id() -> KonnektorId {
    KonnektorId { site: "praxis-mueller".parse().unwrap(), konnektor: "main".parse().unwrap() }
}

pub fn visitor(family: &str) -> Visitor {
    Visitor {
        user: "firm-jane.doe".into(),
        session: "01JD8Z2M3N4P5Q6R7S8T9V0W1X".into(),
        family: family.into(),
        command: family.into(),
    }
}

pub fn clock() -> Clock {
    Clock::of(|| NOW.parse().unwrap())
}

/// The shipped profiles, the KoCoBox's with the way of writing that the simulated box takes.
pub fn profiles() -> Profiles {
    let shipped = include_str!("../../src/konnektor/kocobox.toml");
    let known = "[write]\npath = \"/administration/json-store/{service}\"";
    let text = shipped.replacen("[write]\npath = \"\"", known, 1);
    assert!(text.contains(known));
    let profile = pforte::konnektor::Profile::parse(&text).unwrap();
    Profiles::shipped().unwrap().with(Product::Kocobox, profile)
}

/// A simulated box and the spec for it.
pub struct Bench {
    pub dir: TempDir,
    pub simulator: Simulator,
    pub spec: Spec,
}

pub async fn bench(make: Make, change: impl FnOnce(&mut Options)) -> Bench {
    let dir = tempfile::tempdir().unwrap();
    let password = Secret::new(PASSWORD.into());
    let mut options = Options::of(make, dir.path().to_owned(), password, Clock::system());
    options.real_lan_address = true;
    change(&mut options);
    let user = options.user.clone();
    let simulator = Simulator::start(options).await.unwrap();
    let address: pforte::names::HostPort = simulator.address().to_string().parse().unwrap();
    let spec = Spec {
        id: id(),
        product: match make {
            Make::Kocobox => Product::Kocobox,
            Make::Secunet => Product::Secunet,
            Make::Rise => Product::Rise,
        },
        address: address.clone(),
        sds_address: Some(address),
        certificate: Some(simulator.certificate_pin()),
        user,
        password: Secret::new(PASSWORD.into()),
        parallel: Spec::PARALLEL,
        timeouts: Timeouts {
            connect: Duration::from_secs(10),
            read: Duration::from_secs(20),
            whole: Duration::from_secs(40),
        },
    };
    Bench { dir, simulator, spec }
}

/// Everything that went over the wire, either way.
pub type Wire = Arc<Mutex<Vec<u8>>>;

struct Recorded {
    inner: DuplexStream,
    wire: Wire,
}

impl AsyncRead for Recorded {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<std::io::Result<()>> {
        let before = buf.filled().len();
        let polled = Pin::new(&mut self.inner).poll_read(cx, buf);
        self.wire.lock().unwrap().extend_from_slice(&buf.filled()[before..]);
        polled
    }
}

impl AsyncWrite for Recorded {
    fn poll_write(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &[u8],
    ) -> Poll<std::io::Result<usize>> {
        let polled = Pin::new(&mut self.inner).poll_write(cx, buf);
        if let Poll::Ready(Ok(n)) = &polled {
            self.wire.lock().unwrap().extend_from_slice(&buf[..*n]);
        }
        polled
    }
    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_flush(cx)
    }
    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<std::io::Result<()>> {
        Pin::new(&mut self.inner).poll_shutdown(cx)
    }
}

pub const QUICK: Patience =
    Patience { idle: Duration::from_secs(20), silence: Duration::from_secs(5), rate: 1 << 20 };

/// What a site's machine has.
pub struct Site {
    pub boxes: Boxes,
    pub tools: Tools,
    /// What each stream was for, and how it ended.
    pub heads: Mutex<Vec<Head>>,
    pub ends: Mutex<Vec<Ended>>,
    /// Answers heads instead of serving them.
    pub instead: Mutex<Option<Reply>>,
}

/// The gateway's side of one site's link, which can be cut and made anew.
pub struct Linked {
    pub site: Arc<Site>,
    pub wire: Wire,
    open: Mutex<Option<(Opener, CancellationToken)>>,
}

impl Linked {
    pub fn to(spec: &Spec, change: impl FnOnce(&mut Boxes)) -> Arc<Self> {
        Self::patient(spec, QUICK, change)
    }

    pub fn patient(spec: &Spec, patience: Patience, change: impl FnOnce(&mut Boxes)) -> Arc<Self> {
        let known = SiteBox { spec: spec.clone(), networks: Vec::new() };
        let mut boxes = Boxes { boxes: [(spec.id.konnektor.clone(), known)].into(), recipients: Vec::new() };
        change(&mut boxes);
        let tools =
            Tools { profiles: Arc::new(profiles()), pins: Arc::new(LearnNothing), clock: clock(), patience };
        let (heads, ends, instead) = Default::default();
        let site = Arc::new(Site { boxes, tools, heads, ends, instead });
        let linked = Arc::new(Self { site, wire: Wire::default(), open: Mutex::default() });
        linked.relink();
        linked
    }

    /// The site dials out, and is there.
    pub fn relink(&self) {
        let (gateway, far) = tokio::io::duplex(64 << 10);
        let gateway = Recorded { inner: gateway, wire: Arc::clone(&self.wire) };
        let gateway = Mux::new(gateway, false, Bounds::ORDINARY);
        let mut far = Mux::new(far, true, Bounds::ORDINARY);
        let site = Arc::clone(&self.site);
        tokio::spawn(async move {
            // Dropped with the connection, and what is served with it: as an agent whose link has gone.
            let mut serving = tokio::task::JoinSet::new();
            while let Some(stream) = far.next().await {
                let site = Arc::clone(&site);
                serving.spawn(async move { site.serve(stream).await });
            }
        });
        let gone = gateway.gone().clone();
        *self.open.lock().unwrap() = Some((gateway.opener(), gone));
        tokio::spawn(async move {
            gateway.gone().cancelled().await;
            drop(gateway);
        });
    }

    /// The line is cut, now.
    pub fn cut(&self) {
        if let Some((_, gone)) = self.open.lock().unwrap().take() {
            gone.cancel();
        }
    }

    pub fn carried(&self) -> usize {
        self.wire.lock().unwrap().len()
    }

    /// Is this on the wire, in any of the ways in which it could stand there?
    pub fn carries(&self, secret: &str) -> bool {
        let wire = self.wire.lock().unwrap();
        let json = serde_json::to_string(secret).unwrap();
        let form: String = url::form_urlencoded::byte_serialize(secret.as_bytes()).collect();
        let hex: String = secret.bytes().fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let coded = base64::Engine::encode(&base64::prelude::BASE64_STANDARD, secret);
        let coded = coded.trim_end_matches('=').to_owned();
        let ways = [secret.to_owned(), json.trim_matches('"').to_owned(), form, hex, coded];
        ways.iter().any(|way| memchr::memmem::find(&wire, way.as_bytes()).is_some())
    }

    /// Waits until so many streams have ended at the site.
    pub async fn ended(&self, count: usize) -> Vec<Ended> {
        until(|| self.site.ends.lock().unwrap().len() >= count).await;
        self.site.ends.lock().unwrap().clone()
    }
}

impl Site {
    async fn serve(&self, mut stream: Stream) {
        let head: Head = read_line(&mut stream).await.unwrap();
        self.heads.lock().unwrap().push(head.clone());
        let instead = self.instead.lock().unwrap().clone();
        if let Some(reply) = instead {
            write_line(&mut stream, &reply).await.unwrap();
            return;
        }
        let ended = serve(stream, &head, &self.boxes, &self.tools).await;
        self.ends.lock().unwrap().push(ended);
    }
}

#[async_trait]
impl Streams for Linked {
    async fn open(&self, site: &SiteName, head: &Head) -> Result<(Stream, Reply), NoWay> {
        assert_eq!(*site, id().site);
        let opener = self.open.lock().unwrap().as_ref().map(|(opener, _)| opener.clone());
        let stream = opener.ok_or(NoWay::NoLink)?.open().await?;
        asked(stream, head).await
    }
}

/// What a gateway makes of a site's answer.
pub async fn asked(mut stream: Stream, head: &Head) -> Result<(Stream, Reply), NoWay> {
    write_line(&mut stream, head).await?;
    match read_line(&mut stream).await? {
        open @ Reply::Open { .. } => Ok((stream, open)),
        Reply::Refused { cause } => Err(NoWay::Refused(cause)),
        Reply::Away { cause, error } => Err(NoWay::Away { cause, error }),
    }
}

/// Looks until it is so.
pub async fn until(so: impl Fn() -> bool) {
    let begun = Instant::now();
    while !so() {
        assert!(begun.elapsed() < Duration::from_secs(20), "it does not come to be so");
        tokio::time::sleep(Duration::from_millis(5)).await;
    }
}
