//! The webhook over https: claims about whose certificate is trusted.
//! Absent on purpose: what the answers say; they are `allow` here.

use crate::factor_common;

use std::convert::Infallible;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use axum::body::Body;
use axum::http::{Request, Response};
use factor_common::{SECRET, listener, question, secret, signed, tx_of};
use hyper::body::Incoming;
use hyper_util::rt::TokioIo;
use pforte::clock::Clock;
use pforte::factor::webhook::{Webhook, WebhookConfig};
use pforte::factor::{Cause, Push, Verdict};
use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::ServerConfig;
use tokio_rustls::rustls::crypto::aws_lc_rs;
use tokio_rustls::rustls::pki_types::PrivateKeyDer;

async fn provider(name: &str, sign: bool) -> (SocketAddr, Vec<u8>) {
    counting_provider(name, sign, Arc::default()).await
}

/// A provider for `name` with a certificate of its own making; signs its replies if told to; counts its connections.
/// Returns the certificate as PEM.
async fn counting_provider(name: &str, sign: bool, connections: Arc<AtomicU64>) -> (SocketAddr, Vec<u8>) {
    let made = rcgen::generate_simple_self_signed([name.to_owned()]).unwrap();
    let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
    let tls = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
        .with_safe_default_protocol_versions()
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(vec![made.cert.der().clone()], key)
        .unwrap();
    let acceptor = TlsAcceptor::from(Arc::new(tls));
    let (listener, address) = listener().await;
    tokio::spawn(async move {
        while let Ok((stream, _)) = listener.accept().await {
            let Ok(stream) = acceptor.accept(stream).await else { continue };
            connections.fetch_add(1, Ordering::SeqCst);
            let service = hyper::service::service_fn(move |request: Request<Incoming>| async move {
                let body = axum::body::to_bytes(Body::new(request.into_body()), 1 << 20).await.unwrap();
                let answer = format!(r#"{{"tx":"{}","result":"allow"}}"#, tx_of(&body));
                let plain = Response::new(Body::from(answer.clone()));
                Ok::<_, Infallible>(if sign { signed(200, &answer, 0, SECRET) } else { plain })
            });
            tokio::spawn(
                hyper::server::conn::http1::Builder::new().serve_connection(TokioIo::new(stream), service),
            );
        }
    });
    (address, made.cert.pem().into_bytes())
}

async fn verdict(address: SocketAddr, ca_pem: Option<Vec<u8>>, verify_replies: bool) -> Verdict {
    let mut config = WebhookConfig::new(format!("https://{address}/ask").parse().unwrap(), secret());
    config.timeout = Duration::from_secs(20);
    config.ca_pem = ca_pem;
    config.verify_replies = verify_replies;
    Webhook::new(config, Clock::system()).unwrap().ask(&question(30)).await
}

#[tokio::test]
async fn the_configured_certificate_alone_is_trusted() {
    let (address, pem) = provider("127.0.0.1", true).await;
    let (_, other) = provider("127.0.0.1", true).await;
    assert_eq!(verdict(address, Some(pem), true).await, Verdict::Allowed);
    assert_eq!(verdict(address, Some(other), true).await, Verdict::Failed(Cause::Unreachable));
    assert_eq!(
        verdict(address, None, true).await,
        Verdict::Failed(Cause::Unreachable),
        "the system's do not cover it"
    );
}

#[tokio::test]
async fn a_certificate_for_another_name_is_refused() {
    let (address, pem) = provider("push.example", true).await;
    assert_eq!(verdict(address, Some(pem), true).await, Verdict::Failed(Cause::Unreachable));
}

#[tokio::test]
async fn unsigned_replies_count_over_https_only_where_that_is_configured() {
    let (address, pem) = provider("127.0.0.1", false).await;
    assert_eq!(verdict(address, Some(pem.clone()), false).await, Verdict::Allowed);
    assert_eq!(verdict(address, Some(pem), true).await, Verdict::Failed(Cause::BadSignature));
}

#[tokio::test]
async fn one_connection_serves_one_question_after_the_other() {
    let connections = Arc::new(AtomicU64::new(0));
    let (address, pem) = counting_provider("127.0.0.1", true, Arc::clone(&connections)).await;
    let mut config = WebhookConfig::new(format!("https://{address}/ask").parse().unwrap(), secret());
    config.ca_pem = Some(pem);
    let webhook = Webhook::new(config, Clock::system()).unwrap();
    for _ in 0..20 {
        assert_eq!(webhook.ask(&question(30)).await, Verdict::Allowed);
    }
    assert_eq!(connections.load(Ordering::SeqCst), 1);
}
