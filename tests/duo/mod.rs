//! A Duo of our own on loopback: one tenant, whose people, devices and faults a test sets.
//! Absent on purpose: any code of the client; what is signed is worked out here anew, from Duo's documentation.
#![allow(unused_imports, reason = "shared by several test files; helpers of tests are tests")]

mod tenant;
pub mod wire;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::body::{Body, Bytes};
use axum::http::{Request, Response, StatusCode};
use futures::{StreamExt, stream};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::net::TcpListener;
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

pub use tenant::{Answer, Device, Preauth, Seen, Tenant, User};

pub const IKEY: &str = "DIXYZV6YM8IFYVWBINCA";
pub const SKEY: &str = "yWHSMhWucAcp7qvuH3HWTaSaKABs8Gaddiv1NIRo";
/// Calls in the order of one push.
pub const STEPS: [&str; 4] = ["ping", "preauth", "auth", "auth_status"];

/// What is wrong with the answer at one call.
#[derive(Clone, Debug)]
pub enum Fault {
    /// The connection ends without an answer.
    Break,
    /// No answer, and the connection stays.
    Hang,
    /// The head, then a byte now and then.
    Drip,
    /// 429, so many times, with this header.
    Throttle(u32, Option<(&'static str, String)>),
    /// This status and this body, whatever was asked.
    Says(u16, String),
    /// 302 to somewhere else.
    Redirect,
    /// A body of 1 GB, announced or not.
    Huge { announced: bool },
    /// The answer, with more or other fields in its response.
    Other(Value),
}

/// The fake, running until the test ends.
#[derive(Clone)]
pub struct Duo {
    pub address: SocketAddr,
    pub ca_pem: String,
    shared: Arc<Shared>,
}

struct Shared {
    tenant: Mutex<Tenant>,
    /// Requests that are being answered right now.
    open: AtomicUsize,
}

struct Open(Arc<Shared>);

impl Drop for Open {
    fn drop(&mut self) {
        self.0.open.fetch_sub(1, Ordering::SeqCst);
    }
}

impl Duo {
    pub async fn start() -> Self {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()]).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(vec![made.cert.der().clone()], key)
            .unwrap();
        let acceptor = TlsAcceptor::from(Arc::new(tls));
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let shared = Arc::new(Shared { tenant: Mutex::default(), open: AtomicUsize::new(0) });
        let duo = Self { address, ca_pem: made.cert.pem(), shared };
        let serving = duo.clone();
        tokio::spawn(async move {
            while let Ok((stream, _)) = listener.accept().await {
                let (acceptor, serving) = (acceptor.clone(), serving.clone());
                tokio::spawn(async move {
                    let Ok(stream) = acceptor.accept(stream).await else { return };
                    let service = hyper::service::service_fn(move |request| {
                        let serving = serving.clone();
                        async move { serving.answer(request).await.ok_or("hung up") }
                    });
                    let http = hyper::server::conn::http1::Builder::new();
                    http.serve_connection(TokioIo::new(stream), service).await.ok();
                });
            }
        });
        duo
    }

    /// Reads or changes the tenant.
    pub fn tenant<T>(&self, look: impl FnOnce(&mut Tenant) -> T) -> T {
        look(&mut self.shared.tenant.lock().unwrap())
    }

    /// Sets one person.
    pub fn person(&self, name: &str, change: impl FnOnce(&mut User)) {
        self.tenant(|t| change(t.users.entry(name.to_owned()).or_default()));
    }

    pub fn pushes(&self) -> usize {
        self.tenant(|t| t.pushes)
    }

    pub fn texts(&self) -> usize {
        self.tenant(|t| t.texts)
    }

    /// Calls of one name so far.
    pub fn calls(&self, name: &str) -> Vec<Seen> {
        self.tenant(|t| t.seen.iter().filter(|seen| seen.call == name).cloned().collect())
    }

    /// Waits until so many requests are open.
    pub async fn until_open(&self, count: usize) {
        for _ in 0..500 {
            if self.shared.open.load(Ordering::SeqCst) == count {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{} requests are open, not {count}", self.shared.open.load(Ordering::SeqCst));
    }

    async fn answer(&self, request: Request<Incoming>) -> Option<Response<Body>> {
        self.shared.open.fetch_add(1, Ordering::SeqCst);
        let _open = Open(self.shared.clone());
        let (head, body) = request.into_parts();
        let body = axum::body::to_bytes(Body::new(body), 1 << 20).await.unwrap();
        let call = head.uri.path().strip_prefix("/auth/v2/").unwrap_or_default().to_owned();
        let throttled = self.tenant(|t| t.throttled(&call));
        if let Some(headers) = throttled {
            let mut answer = Response::builder().status(429);
            for (name, value) in headers {
                answer = answer.header(name, value);
            }
            let body = json!({ "stat": "FAIL", "code": 42901, "message": "Too Many Requests" });
            return Some(answer.body(Body::from(body.to_string())).unwrap());
        }
        // What the request does, it does, whatever becomes of the answer.
        let said = self.tenant(|t| t.take(&call, &head, &body));
        let (status, mut said) = match said {
            Ok(said) => (200, said),
            Err((hold, code)) => {
                tokio::time::sleep(hold).await;
                (code / 100, tenant::fail(code))
            }
        };
        match self.tenant(|t| t.faults.get(call.as_str()).cloned()) {
            None | Some(Fault::Throttle(..)) => {}
            Some(Fault::Break) => return None,
            Some(Fault::Hang) => std::future::pending().await,
            Some(Fault::Drip) => {
                let bytes = stream::repeat(()).then(|()| async {
                    tokio::time::sleep(Duration::from_millis(50)).await;
                    Ok::<_, Infallible>(Bytes::from_static(b" "))
                });
                return Some(Response::new(Body::from_stream(bytes)));
            }
            Some(Fault::Says(status, body)) => {
                return Some(Response::builder().status(status).body(Body::from(body)).unwrap());
            }
            Some(Fault::Redirect) => {
                let to = format!("https://{}/elsewhere", self.address);
                return Some(
                    Response::builder().status(302).header("location", to).body(Body::empty()).unwrap(),
                );
            }
            Some(Fault::Huge { announced }) => {
                let chunk = Bytes::from(vec![b' '; 1 << 20]);
                let body = stream::iter(std::iter::repeat_n(chunk, 1 << 10)).map(Ok::<_, Infallible>);
                let mut answer = Response::builder();
                if announced {
                    answer = answer.header("content-length", 1_u64 << 30);
                }
                return Some(answer.body(Body::from_stream(body)).unwrap());
            }
            Some(Fault::Other(fields)) => {
                for (name, value) in fields.as_object().unwrap() {
                    said["response"][name] = value.clone();
                }
            }
        }
        let status = StatusCode::from_u16(u16::try_from(status).unwrap()).unwrap();
        Some(Response::builder().status(status).body(Body::from(said.to_string())).unwrap())
    }
}
