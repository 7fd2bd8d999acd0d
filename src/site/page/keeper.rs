//! Keeps the page's certificate: makes one and another in time, or reads the operator's again; says which one is shown now.
//! Absent on purpose: connections. And giving up: while the next one is no good, the last one stays.

use std::fmt;
use std::fs::File;
use std::io::{self, Read as _};
use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use jiff::{SignedDuration, Timestamp};
use rustls::ServerConfig;
use rustls::crypto::aws_lc_rs;
use rustls::server::{ClientHello, ResolvesServerCert};
use rustls::sign::CertifiedKey;
use sha2::{Digest as _, Sha256};
use tokio::sync::watch;
use tokio_util::sync::CancellationToken;
use zeroize::Zeroizing;

use super::certificate::{self, BadCertificate, Certificate};
use crate::clock::Clock;
use crate::config::{Readable, Unread, read_guarded};
use crate::secret::Secret;
use crate::site::desk::{Access, Said, Seal};
use crate::site::record::replace;

/// How often it is looked at.
pub const EACH: Duration = Duration::from_mins(1);
/// The file of our own one, in the state's folder.
pub const FILE: &str = "page-tls.pem";
/// Ours is less than 1 KiB with a name or two.
const LARGEST: u64 = 64 << 10;
/// With less than this left there is another one, or somebody is told.
const SOON: SignedDuration = SignedDuration::from_hours(30 * 24);

/// Where the certificate comes from.
#[derive(Clone)]
pub enum Source {
    /// We make it, for these names and addresses, and keep it with its key in this file.
    Own {
        /// In the state's folder.
        file: PathBuf,
        /// As a browser calls the page.
        names: Vec<String>,
    },
    /// The operator gives it.
    Given {
        /// PEM: the page's own first, then those above it.
        certificate: PathBuf,
        /// PEM.
        key: PathBuf,
    },
}

/// Why there is none.
#[derive(Debug, thiserror::Error)]
pub enum NoCertificate {
    /// The operator's files.
    #[error("{path} {1}", path = .0.display())]
    Unread(PathBuf, Unread),
    /// What stands in them.
    #[error("{path} {1}", path = .0.display())]
    Bad(PathBuf, BadCertificate),
    /// Its time is over.
    #[error("{path} expired at {1}: put the renewed certificate there, and its key", path = .0.display())]
    Expired(PathBuf, Timestamp),
    /// Our own could not be made.
    #[error("no certificate could be made: {0}")]
    NotMade(rcgen::Error),
    /// Our own could not be kept.
    #[error("{path} cannot be written: {1}", path = .0.display())]
    NotKept(PathBuf, io::Error),
    /// TLS could not be set up.
    #[error("TLS could not be set up: {0}")]
    Tls(rustls::Error),
}

/// The certificate that is shown now.
pub struct Keeper {
    source: Source,
    clock: Clock,
    /// `https://192.168.1.5:8022/`
    url: String,
    shown: ArcSwap<Certificate>,
    /// SHA-256 of the operator's files as they were read last.
    read: Mutex<[u8; 32]>,
    told: watch::Sender<Vec<Access>>,
}

impl fmt::Debug for Keeper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the certificate of {}", self.url)
    }
}

impl ResolvesServerCert for Keeper {
    fn resolve(&self, _: ClientHello<'_>) -> Option<Arc<CertifiedKey>> {
        Some(self.shown.load().key())
    }
}

impl Source {
    /// Reads the operator's, or takes ours; makes it if there is none for these names that lasts.
    ///
    /// # Errors
    /// [`NoCertificate`]
    pub fn read(&self, now: Timestamp) -> Result<Certificate, NoCertificate> {
        match self {
            Self::Own { file, names } => own(file, names, now),
            Self::Given { certificate, key } => {
                let (given, _) = given(certificate, key)?;
                if given.until() < now {
                    return Err(NoCertificate::Expired(certificate.clone(), given.until()));
                }
                Ok(given)
            }
        }
    }
}

fn own(file: &Path, names: &[String], now: Timestamp) -> Result<Certificate, NoCertificate> {
    match kept(file) {
        Ok(text) => {
            let made = certificate::made_for(names, &text);
            // One that does not count yet is none to replace: a small machine's clock begins in the past.
            if let Some(made) = made.filter(|made| made.until().duration_since(now) > SOON) {
                return Ok(made);
            }
        }
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => tracing::warn!("{}: {e}: the page gets another certificate", file.display()),
    }
    let text = certificate::make(names, now).map_err(NoCertificate::NotMade)?;
    let bad = |e| NoCertificate::Bad(file.to_owned(), e);
    let made = Certificate::of(text.reveal(), &text).map_err(bad)?;
    replace(file, text.reveal().as_bytes()).map_err(|e| NoCertificate::NotKept(file.to_owned(), e))?;
    Ok(made)
}

/// Our own, as it was written. A key that others could have read is none.
fn kept(file: &Path) -> io::Result<Secret> {
    let mut open = File::open(file)?;
    if open.metadata()?.mode() & 0o077 != 0 {
        return Err(io::Error::new(io::ErrorKind::PermissionDenied, "others can read the key"));
    }
    let mut text = Zeroizing::new(String::new());
    open.by_ref().take(LARGEST).read_to_string(&mut text)?;
    Ok(Secret::new(text.to_string()))
}

/// The operator's, and the SHA-256 of its files.
fn given(certificate: &Path, key: &Path) -> Result<(Certificate, [u8; 32]), NoCertificate> {
    let unread = |path: &Path, e| NoCertificate::Unread(path.to_owned(), e);
    let chain = read_guarded(certificate, Readable::ByAll).map_err(|e| unread(certificate, e))?;
    let secret = read_guarded(key, Readable::ByOwner).map_err(|e| unread(key, e))?;
    let secret = Secret::new(secret);
    let hash = Sha256::new().chain_update(&chain).chain_update([0]).chain_update(secret.reveal()).finalize();
    let read = Certificate::of(&chain, &secret).map_err(|e| {
        let path = if e.is_about_key() { key } else { certificate };
        NoCertificate::Bad(path.to_owned(), e)
    })?;
    Ok((read, hash.into()))
}

impl Keeper {
    /// Begins with this one, which `source` gave; `told` hears which one is shown at `url`.
    pub fn new(
        source: Source,
        first: Certificate,
        url: String,
        clock: Clock,
        told: watch::Sender<Vec<Access>>,
    ) -> Arc<Self> {
        let keeper =
            Self { source, clock, url, shown: ArcSwap::from_pointee(first), read: Mutex::default(), told };
        keeper.look();
        Arc::new(keeper)
    }

    /// For a listener: TLS 1.2 and 1.3, always with the certificate of that moment.
    ///
    /// # Errors
    /// None that depends on anything but the library.
    pub fn config(self: &Arc<Self>) -> Result<Arc<ServerConfig>, NoCertificate> {
        let mut config = ServerConfig::builder_with_provider(Arc::new(aws_lc_rs::default_provider()))
            .with_protocol_versions(&[&rustls::version::TLS13, &rustls::version::TLS12])
            .map_err(NoCertificate::Tls)?
            .with_no_client_auth()
            .with_cert_resolver(Arc::clone(self) as Arc<dyn ResolvesServerCert>);
        config.alpn_protocols = vec![b"http/1.1".to_vec()];
        Ok(Arc::new(config))
    }

    /// Looks again and again until `stop`.
    pub async fn run(self: Arc<Self>, each: Duration, stop: CancellationToken) {
        let mut tick = tokio::time::interval(each);
        tick.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        while stop.run_until_cancelled(tick.tick()).await.is_some() {
            let keeper = Arc::clone(&self);
            if let Err(e) = tokio::task::spawn_blocking(move || keeper.look()).await {
                tracing::error!("the page's certificate: {e}");
            }
        }
    }

    /// Is there another one, or does it have to be made? Then it is shown from now on.
    pub fn look(&self) {
        let now = self.clock.now();
        let trouble = match &self.source {
            Source::Own { file, names } => self.renew(file, names, now),
            Source::Given { certificate, key } => self.read_again(certificate, key),
        };
        let shown = self.shown.load();
        let access = Access {
            url: self.url.clone(),
            seal: match &self.source {
                Source::Own { .. } => Seal::Own,
                Source::Given { .. } => Seal::Given,
            },
            fingerprint: Some(shown.fingerprint().to_owned()),
            until: Some(shown.until()),
            warning: trouble.or_else(|| match &self.source {
                Source::Own { .. } => None,
                Source::Given { certificate, .. } => short(certificate, shown.until(), now),
            }),
        };
        let changed = self.told.send_if_modified(|all| {
            let changed = *all != [access.clone()];
            *all = vec![access.clone()];
            changed
        });
        if changed {
            let fingerprint = shown.fingerprint();
            tracing::info!("the page at {} shows the certificate SHA-256 {fingerprint}", self.url);
            if let Some(warning) = &access.warning {
                tracing::warn!("{}", warning.en);
            }
        }
    }

    fn renew(&self, file: &Path, names: &[String], now: Timestamp) -> Option<Said> {
        if self.shown.load().until().duration_since(now) > SOON {
            return None;
        }
        match own(file, names, now) {
            Ok(made) => {
                self.shown.store(Arc::new(made));
                None
            }
            Err(e) => Some(Said {
                de: format!("Das Zertifikat der Seite läuft ab und konnte nicht erneuert werden: {e}"),
                en: format!("The page's certificate ends soon and could not be renewed: {e}"),
            }),
        }
    }

    fn read_again(&self, certificate: &Path, key: &Path) -> Option<Said> {
        let other = match given(certificate, key) {
            Ok((read, hash)) => {
                let mut last = self.read.lock().unwrap_or_else(PoisonError::into_inner);
                if *last == hash {
                    return None;
                }
                *last = hash;
                read
            }
            // The certificate may be there before its key: whoever renews it needs a moment.
            Err(e) => {
                return Some(Said {
                    de: format!(
                        "Das neue Zertifikat der Seite wird nicht genommen, das alte gilt weiter: {e}"
                    ),
                    en: format!("The page's new certificate is not taken, the old one stays: {e}"),
                });
            }
        };
        self.shown.store(Arc::new(other));
        None
    }
}

/// What to say of an operator's certificate that ends soon, or has ended; ours is renewed by itself.
pub fn short(certificate: &Path, until: Timestamp, now: Timestamp) -> Option<Said> {
    let (left, path) = (until.duration_since(now), certificate.display());
    if left > SOON {
        return None;
    }
    let days = left.as_hours() / 24;
    Some(if left.is_negative() {
        Said {
            de: format!("Das Zertifikat der Seite ist abgelaufen. Das erneuerte gehört nach {path}."),
            en: format!("The page's certificate has expired. The renewed one belongs at {path}."),
        }
    } else {
        Said {
            de: format!("Das Zertifikat der Seite gilt noch {days} Tage. Das erneuerte gehört nach {path}."),
            en: format!(
                "The page's certificate counts for {days} more days. The renewed one belongs at {path}."
            ),
        }
    })
}
