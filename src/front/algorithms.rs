//! The outer door's algorithms and limits, as russh is told them. The reasons stand in `docs/ssh.md`.

use std::sync::Arc;
use std::time::Duration;

use russh::keys::PrivateKey;
use russh::{MethodKind, MethodSet, Preferred, SshId, cipher, compression, kex, mac, server};
use ssh_key::Certificate;

/// How the gateway names itself (RFC 4253 §4.2), to technicians and to links alike.
const IDENT: &str = "SSH-2.0-pforte";
/// Its first line.
pub(super) const FIRST_LINE: &[u8] = b"SSH-2.0-pforte\r\n";

/// The configuration for every connection. `key` is the host key, Ed25519; clients that know the authority behind
/// `certificate` are shown that, and all others the key alone.
pub fn configuration(key: PrivateKey, certificate: Option<Certificate>) -> Arc<server::Config> {
    Arc::new(settings(key, certificate))
}

/// The same for inner sessions: they live and die with their outer connection, which is watched.
pub fn inner_configuration(key: PrivateKey, certificate: Option<Certificate>) -> Arc<server::Config> {
    Arc::new(server::Config {
        max_auth_attempts: 8,
        inactivity_timeout: Some(Duration::from_hours(13)),
        ..settings(key, certificate)
    })
}

/// The same for sites' links: no certificate, one channel, and little held for each of many.
pub fn link_configuration(key: PrivateKey) -> Arc<server::Config> {
    Arc::new(server::Config {
        max_auth_attempts: 3,
        window_size: 1 << 20,
        channel_buffer_size: 16,
        event_buffer_size: 8,
        inactivity_timeout: Some(Duration::from_mins(2)),
        ..settings(key, None)
    })
}

fn settings(key: PrivateKey, certificate: Option<Certificate>) -> server::Config {
    let kex = [
        kex::MLKEM768X25519_SHA256,
        kex::CURVE25519,
        kex::CURVE25519_PRE_RFC_8731,
        // Without these four, strict key exchange (CVE-2023-48795) is silently off.
        kex::EXTENSION_SUPPORT_AS_CLIENT,
        kex::EXTENSION_SUPPORT_AS_SERVER,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_CLIENT,
        kex::EXTENSION_OPENSSH_STRICT_KEX_AS_SERVER,
    ];
    let algorithms = [
        ssh_key::Algorithm::Ed25519,
        ssh_key::Algorithm::Rsa { hash: Some(ssh_key::HashAlg::Sha512) },
        ssh_key::Algorithm::Rsa { hash: Some(ssh_key::HashAlg::Sha256) },
    ];
    let preferred = Preferred {
        kex: kex.to_vec().into(),
        key: algorithms.to_vec().into(),
        cipher: vec![cipher::CHACHA20_POLY1305, cipher::AES_256_GCM, cipher::AES_128_GCM].into(),
        mac: vec![mac::HMAC_SHA512_ETM, mac::HMAC_SHA256_ETM].into(),
        compression: vec![compression::NONE].into(),
        ..Preferred::default()
    };
    let mut methods = MethodSet::empty();
    methods.push(MethodKind::PublicKey);
    server::Config {
        server_id: SshId::Standard(IDENT.into()),
        methods,
        // Refusals are slowed by `login`; here it would slow the partial success and the harmless `none` too.
        auth_rejection_time: Duration::ZERO,
        auth_rejection_time_initial: Some(Duration::ZERO),
        keys: vec![key],
        certificates: certificate.into_iter().collect(),
        window_size: crate::flow::WINDOW,
        maximum_packet_size: 32 << 10,
        channel_buffer_size: 64,
        event_buffer_size: 32,
        preferred,
        // Probes of keys that are not registered count; an agent with twenty of them must come through.
        max_auth_attempts: 26,
        inactivity_timeout: Some(Duration::from_mins(10)),
        // It would fire before authentication too and break OpenSSH's second factor; see `keep_alive`.
        keepalive_interval: None,
        nodelay: true,
        ..server::Config::default()
    }
}
