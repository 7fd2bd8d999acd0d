//! A box of a few lines over real TLS: each request is handed to a function, whose answer goes out as it is.
//! Absent on purpose: any make's behaviour, and keeping a promise; it may drop, stall, or never end.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use pforte::konnektor::{CertificatePin, Product, Spec, Timeouts};
use pforte::names::KonnektorId;
use pforte::secret::Secret;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, PrivatePkcs8KeyDer};
use tokio::io::{AsyncBufReadExt, AsyncReadExt, AsyncWriteExt, BufReader};
use tokio::net::TcpListener;

pub const PASSWORD: &str = "Geh/eim+4711&\"x=%20";

/// A request as it came.
#[derive(Clone, Debug)]
pub struct Asked {
    pub line: String,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Asked {
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }
}

/// What goes out.
#[derive(Clone, Debug)]
pub enum Reply {
    /// Status, more headers, body.
    Http(u16, Vec<(&'static str, String)>, String),
    /// Half an answer, then the end of the connection.
    Drop,
    /// Nothing, for as long as the client waits.
    Stall,
    /// A byte now and then.
    Drip,
    /// So many bytes.
    Endless(usize),
}

pub fn json(text: &str) -> Reply {
    Reply::Http(200, vec![("content-type", "application/json".into())], text.into())
}

pub fn status(status: u16) -> Reply {
    Reply::Http(status, Vec::new(), String::new())
}

pub struct Small {
    pub spec: Spec,
    asked: Arc<Mutex<Vec<Asked>>>,
    served: tokio::task::JoinHandle<()>,
}

impl Drop for Small {
    fn drop(&mut self) {
        self.served.abort();
    }
}

impl Small {
    pub async fn start(product: Product, answer: impl Fn(&Asked) -> Reply + Send + Sync + 'static) -> Self {
        let made = rcgen::generate_simple_self_signed(vec!["box".to_owned()]).unwrap();
        let der = CertificateDer::from(made.cert.der().to_vec());
        let pin = CertificatePin::of(&der);
        let key = PrivateKeyDer::Pkcs8(PrivatePkcs8KeyDer::from(made.signing_key.serialize_der()));
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![der], key)
            .unwrap();
        let acceptor = tokio_rustls::TlsAcceptor::from(Arc::new(config));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let asked: Arc<Mutex<Vec<Asked>>> = Arc::default();
        let (noted, answer) = (asked.clone(), Arc::new(answer));
        let served = tokio::spawn(async move {
            let mut wires = tokio::task::JoinSet::new();
            while let Ok((tcp, _)) = listener.accept().await {
                let (acceptor, noted, answer) = (acceptor.clone(), noted.clone(), answer.clone());
                wires.spawn(async move {
                    let Ok(tls) = acceptor.accept(tcp).await else { return };
                    let mut wire = BufReader::new(tls);
                    while let Some(asked) = next(&mut wire).await {
                        noted.lock().unwrap().push(asked.clone());
                        if !send(&mut wire, answer(&asked)).await {
                            return;
                        }
                    }
                });
            }
        });
        let spec = Spec {
            id: KonnektorId { site: "praxis-mueller".parse().unwrap(), konnektor: "main".parse().unwrap() },
            product,
            address: address.parse().unwrap(),
            sds_address: Some(address.parse().unwrap()),
            certificate: Some(pin),
            user: "wartung".into(),
            password: Secret::new(PASSWORD.into()),
            parallel: Spec::PARALLEL,
            timeouts: Timeouts {
                connect: Duration::from_secs(10),
                read: Duration::from_secs(20),
                whole: Duration::from_secs(40),
            },
        };
        Self { spec, asked, served }
    }

    /// All requests whose line begins so.
    pub fn asked(&self, line: &str) -> Vec<Asked> {
        self.asked.lock().unwrap().iter().filter(|asked| asked.line.starts_with(line)).cloned().collect()
    }
}

type Wire = BufReader<tokio_rustls::server::TlsStream<tokio::net::TcpStream>>;

async fn next(wire: &mut Wire) -> Option<Asked> {
    let mut line = String::new();
    wire.read_line(&mut line).await.ok().filter(|n| *n > 0)?;
    let line = line.trim_end().trim_end_matches(" HTTP/1.1").to_owned();
    let mut headers = Vec::new();
    loop {
        let mut header = String::new();
        wire.read_line(&mut header).await.ok()?;
        match header.trim_end().split_once(": ") {
            Some((name, value)) => headers.push((name.to_ascii_lowercase(), value.to_owned())),
            None => break,
        }
    }
    let length = headers.iter().find(|(n, _)| n == "content-length").map_or(0, |(_, v)| v.parse().unwrap());
    let mut body = vec![0; length];
    wire.read_exact(&mut body).await.ok()?;
    Some(Asked { line, headers, body: String::from_utf8(body).unwrap() })
}

async fn send(wire: &mut Wire, reply: Reply) -> bool {
    match reply {
        Reply::Http(status, headers, body) => {
            let mut head = format!("HTTP/1.1 {status} X\r\n");
            for (name, value) in headers {
                head.push_str(&format!("{name}: {value}\r\n"));
            }
            if status != 204 {
                head.push_str(&format!("content-length: {}\r\n", body.len()));
            }
            let whole = format!("{head}\r\n{body}");
            wire.write_all(whole.as_bytes()).await.is_ok() && wire.flush().await.is_ok()
        }
        Reply::Drop => {
            wire.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\n{\"half\":").await.ok();
            wire.flush().await.ok();
            wire.shutdown().await.ok();
            false
        }
        Reply::Stall => std::future::pending().await,
        Reply::Drip => {
            wire.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 1000000\r\n\r\n").await.ok();
            while wire.write_all(b" ").await.is_ok() && wire.flush().await.is_ok() {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
            false
        }
        Reply::Endless(bytes) => {
            wire.write_all(b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n").await.ok();
            let chunk = [b"10000\r\n".as_slice(), &vec![b'['; 0x10000], b"\r\n"].concat();
            for _ in 0..bytes / 0x10000 {
                if wire.write_all(&chunk).await.is_err() {
                    break;
                }
            }
            false
        }
    }
}

/// What can go wrong with one service, and what is said of it; `SERVICE` is its name.
pub fn faults(service: &str) -> Vec<(Reply, pforte::konnektor::Error)> {
    use pforte::konnektor::Error;
    let name = || service.parse().unwrap();
    let with = |header: (&'static str, &str), body: &str| {
        Reply::Http(200, vec![(header.0, header.1.into())], body.into())
    };
    let to = |url: &str| Reply::Http(302, vec![("location", url.into())], String::new());
    vec![
        (status(403), Error::NotAllowed { status: 403 }),
        (status(404), Error::NotAllowed { status: 404 }),
        (status(500), Error::Http { status: 500, what: service.into() }),
        (with(("content-type", "text/html"), "<html>Wartung</html>"), Error::NotJson { service: name() }),
        (with(("content-type", "text/html; charset=utf-8"), "{}"), Error::NotJson { service: name() }),
        (with(("x", "y"), "<html>Wartung</html>"), Error::NotJson { service: name() }),
        (status(204), Error::NotJson { service: name() }),
        (json("{\"half\":"), Error::NotJson { service: name() }),
        (json("{\"iccsn\":80276001011699901501}"), Error::Inexact { service: name() }),
        (json(&"[".repeat(100_000)), Error::TooDeep { limit: 120 }),
        (with(("content-encoding", "gzip"), "{}"), Error::Encoded),
        (to("https://evil.example/x"), Error::RedirectElsewhere),
        (to("http://127.0.0.1/x"), Error::RedirectElsewhere),
        (Reply::Drop, Error::Dropped),
        (Reply::Endless(80 << 20), Error::TooLarge { limit: 64 << 20 }),
    ]
}
