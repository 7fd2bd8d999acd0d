//! A backup that the site makes and seals for itself: the gateway gets an encrypted file and what may be known of it.
//! Absent on purpose: opening it. Nobody here can.

use std::sync::Arc;

use bytes::Bytes;
use sha2::{Digest, Sha256};

use super::reading::Steps;
use super::session::Session;
use super::{Way, identity};
use crate::konnektor::{Error, Identity, Profile, Progress};
use crate::link::frames::{Called, Sealed, Wish};
use crate::names::{HostPort, ServiceName};

/// The largest archive that is taken, in bytes.
pub const LARGEST: u64 = 256 << 20;
/// It is held in pieces of this size.
const PIECE: usize = 1 << 20;
/// How every file of age begins (age-encryption.org/v1).
const AGE: &[u8] = b"age-encryption.org/v1\n";

/// An archive as the site sealed it.
#[derive(Clone, Debug)]
pub struct SiteArchive {
    /// The file, in its pieces.
    pub pieces: Vec<Bytes>,
    /// Its length.
    pub bytes: u64,
    /// `sha256:` and hex; checked.
    pub sha256: String,
    /// What the box says of itself.
    pub identity: Identity,
    /// What is in it: bytes of the box's answer, and at how many places something personal was taken out.
    pub services: Vec<(ServiceName, u64, u64)>,
    /// What is not.
    pub missing: Vec<(ServiceName, Error)>,
}

/// Makes backups at a site that seals them.
#[derive(Clone)]
pub struct Backups(pub(super) Arc<Way>);

impl Backups {
    /// A backup of these services (none: all of a backup), of the box at this address.
    ///
    /// # Errors
    /// Those of [`crate::konnektor::Konnektor::read`], and the link's.
    pub async fn take(
        &self,
        services: &[ServiceName],
        at: &HostPort,
        progress: &dyn Progress,
    ) -> Result<SiteArchive, Error> {
        let (way, profile) = (&self.0, &*self.0.profile);
        let wanted = profile.wanted(services)?;
        let wish = Wish::Backup {
            name: way.id.konnektor.to_string(),
            services: wanted.iter().map(|service| service.name.to_string()).collect(),
            at: (*at != way.home).then(|| at.to_string()),
        };
        let opened = way.stream(wish).await?;
        if !opened.sealed {
            return Err(Error::SiteUnclear);
        }
        let mut session = Session::over(opened.stream, way.patience);
        let mut steps = Steps::of(&wanted, profile, progress);
        loop {
            match steps.take(session.next().await?)? {
                None => {}
                Some(Called::Archive { bytes, sha256, about }) => {
                    let archive = taken(&mut session, profile, (bytes, sha256), about).await?;
                    session.end().await??;
                    return Ok(archive);
                }
                Some(Called::Failed { error }) => return session.failed(&error).and_then(Err),
                Some(
                    Called::Began { .. }
                    | Called::Read { .. }
                    | Called::NotRead { .. }
                    | Called::Value { .. }
                    | Called::Missing { .. }
                    | Called::Done { .. },
                ) => return Err(Error::SiteUnclear),
            }
        }
    }
}

async fn taken(
    session: &mut Session,
    profile: &Profile,
    (bytes, sum): (u64, String),
    about: Sealed,
) -> Result<SiteArchive, Error> {
    if bytes > LARGEST {
        return Err(Error::TooLarge { limit: usize::try_from(LARGEST).unwrap_or(usize::MAX) });
    }
    let known = |service: &str| {
        let service = profile.services().iter().find(|one| one.name.as_str() == service);
        service.map(|service| service.name.clone()).ok_or(Error::SiteUnclear)
    };
    let most = profile.limits.service_bytes as u64;
    let services = about.services.iter();
    let services = services.map(|one| Ok((known(&one.service)?, one.read.min(most), one.stripped.min(most))));
    let services = services.collect::<Result<Vec<_>, Error>>()?;
    let missing = about.missing.iter().map(|(name, error)| Ok((known(name)?, Error::from_wire(&error.0))));
    let missing = missing.collect::<Result<Vec<_>, Error>>()?;
    let identity = identity(about.identity)?;
    let (mut full, mut last, mut hash) = (Vec::new(), Vec::new(), Sha256::new());
    session
        .bytes(bytes, |piece| {
            hash.update(piece);
            last.extend_from_slice(piece);
            if last.len() >= PIECE {
                full.push(Bytes::from(std::mem::take(&mut last)));
            }
            Ok(())
        })
        .await?;
    full.push(Bytes::from(last));
    let sha256 = format!("sha256:{}", hex(&hash.finalize()));
    let begins = full.first().is_some_and(|first| first.starts_with(AGE));
    // What is not encrypted is not kept, and what is not whole neither.
    if !begins || sha256.strip_prefix("sha256:") != Some(sum.as_str()) {
        return Err(Error::SiteUnclear);
    }
    Ok(SiteArchive { pieces: full, bytes, sha256, identity, services, missing })
}

fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::new(), |mut text, byte| {
        // Writing into a String has no way to fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}
