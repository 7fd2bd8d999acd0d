//! What a site allows, signed by its key, for a moment: the gateway holds no consent but this, and cannot make one.
//! Absent on purpose: the switch that it comes from (`site`), and what it opens (`grants`).
//!
//! A lease names the gateway, a nonce of that gateway, and how many seconds it lasts. The gateway counts these by its own monotonic
//! clock from the moment it *asked*: no clock of either side can lengthen it, and one that was kept, copied or sent twice
//! answers no nonce that is open.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};
use ssh_key::{HashAlg, LineEnding, PrivateKey, PublicKey, SshSig};

use crate::names::{Fingerprint, Firm, SiteName, Username};

/// SSHSIG's namespace (OpenSSH PROTOCOL.sshsig); no signature for anything else can stand in.
pub const NAMESPACE: &str = "pforte-lease";
/// The longest a lease can last, whatever it says.
pub const LONGEST: Duration = Duration::from_mins(1);
/// How many grants one may hold.
pub const MOST: usize = 64;
/// Who the gateway's own nightly jobs are.
pub const SCHEDULE: &str = "@schedule";
/// All families.
pub const EVERYTHING: &str = "*";

/// Who may come.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Whose {
    /// Everybody of a firm.
    Firm(Firm),
    /// One person.
    User(Username),
    /// The gateway's nightly jobs.
    Schedule,
}

impl Whose {
    /// Is it this person?
    pub fn is(&self, user: &Username) -> bool {
        match self {
            Self::Firm(firm) => *firm == user.firm(),
            Self::User(name) => name == user,
            Self::Schedule => false,
        }
    }
}

impl fmt::Display for Whose {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Firm(firm) => write!(f, "{firm}"),
            Self::User(user) => write!(f, "{user}"),
            Self::Schedule => f.write_str(SCHEDULE),
        }
    }
}

/// Neither a firm's Kürzel nor a person's name.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("expected a firm (firm) or a person (firm-jane.doe)")]
pub struct BadWhose;

impl FromStr for Whose {
    type Err = BadWhose;
    fn from_str(text: &str) -> Result<Self, BadWhose> {
        if text == SCHEDULE {
            return Ok(Self::Schedule);
        }
        let user = text.parse().map(Self::User);
        user.or_else(|_| text.parse().map(Self::Firm)).map_err(|_| BadWhose)
    }
}

/// One line of a lease.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Grant {
    /// [`Whose`]
    pub who: String,
    /// Families as rules.toml writes them, or [`EVERYTHING`].
    pub may: BTreeSet<String>,
    /// How much longer the customer has said, in seconds; the lease itself lasts less.
    pub seconds: u32,
}

/// What is signed.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Lease {
    /// Whose door it is.
    pub site: String,
    /// The SHA-256 fingerprint of the host key of the gateway that it is for.
    pub gateway: String,
    /// The nonce that it answers.
    pub nonce: String,
    /// How long it lasts, in seconds from the moment the nonce was sent.
    pub seconds: u32,
    /// Who may come; empty: nobody.
    pub grants: Vec<Grant>,
}

/// A lease and its signature.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct SignedLease {
    /// The JSON of [`Lease`], byte by byte as it was signed.
    pub lease: String,
    /// SSHSIG, armoured.
    pub signature: String,
}

/// What a lease grants, once it is checked.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Granted {
    /// To whom.
    pub who: Whose,
    /// [`Grant::may`]
    pub may: BTreeSet<String>,
    /// How long it counts, from when it was asked for.
    pub lasts: Duration,
    /// How long the customer has said; renewed leases will carry it there.
    pub said: Duration,
}

/// Why a lease is none.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum BadLease {
    /// It is not JSON of a lease, or says what none can say.
    #[error("lease-not-understood")]
    NotUnderstood,
    /// The site's key has not signed this.
    #[error("lease-not-signed")]
    NotSigned,
    /// It is another site's.
    #[error("lease-of-another-site")]
    AnotherSite,
    /// It is for another gateway.
    #[error("lease-for-another-gateway")]
    AnotherGateway,
    /// It answers nothing that was asked and is open.
    #[error("lease-replayed")]
    Replayed,
}

/// What a lease has to be about.
pub struct Expected<'a> {
    /// The site that is on this link.
    pub site: &'a SiteName,
    /// The key that it has proven to hold.
    pub key: &'a PublicKey,
    /// Our host key.
    pub gateway: &'a Fingerprint,
    /// The nonce that is open.
    pub nonce: &'a str,
}

impl Lease {
    /// Signs it.
    ///
    /// # Errors
    /// The key cannot sign.
    pub fn sign(&self, key: &PrivateKey) -> Result<SignedLease, ssh_key::Error> {
        let lease = serde_json::to_string(self).map_err(|_| ssh_key::Error::FormatEncoding)?;
        let signature = key.sign(NAMESPACE, HashAlg::Sha512, lease.as_bytes())?.to_pem(LineEnding::LF)?;
        Ok(SignedLease { lease, signature })
    }
}

impl SignedLease {
    /// The nonce that it says it answers; nothing is checked yet.
    pub fn nonce(&self) -> Option<String> {
        serde_json::from_str::<Lease>(&self.lease).ok().map(|lease| lease.nonce)
    }

    /// Is it what was expected? Then what it says.
    ///
    /// # Errors
    /// [`BadLease`]; nothing of it counts.
    pub fn check(&self, expected: &Expected<'_>) -> Result<Vec<Granted>, BadLease> {
        let signature = SshSig::from_pem(&self.signature).map_err(|_| BadLease::NotSigned)?;
        let verified = expected.key.verify(NAMESPACE, self.lease.as_bytes(), &signature);
        verified.map_err(|_| BadLease::NotSigned)?;
        let lease: Lease = serde_json::from_str(&self.lease).map_err(|_| BadLease::NotUnderstood)?;
        if lease.site != expected.site.as_str() {
            return Err(BadLease::AnotherSite);
        }
        if lease.gateway != expected.gateway.to_string() {
            return Err(BadLease::AnotherGateway);
        }
        if lease.nonce != expected.nonce {
            return Err(BadLease::Replayed);
        }
        if lease.grants.len() > MOST {
            return Err(BadLease::NotUnderstood);
        }
        let lease_lasts = Duration::from_secs(lease.seconds.into()).min(LONGEST);
        let granted = |grant: Grant| {
            let who = grant.who.parse().map_err(|_| BadLease::NotUnderstood)?;
            let said = Duration::from_secs(grant.seconds.into());
            Ok(Granted { who, may: grant.may, lasts: said.min(lease_lasts), said })
        };
        lease.grants.into_iter().map(granted).collect()
    }
}

#[cfg(test)]
mod tests {
    use ssh_key::private::Ed25519Keypair;

    use super::*;

    fn key(seed: u8) -> PrivateKey {
        PrivateKey::from(Ed25519Keypair::from_seed(&[seed; 32]))
    }

    fn lease() -> Lease {
        let grant = |who: &str| Grant {
            who: who.into(),
            may: BTreeSet::from([EVERYTHING.to_owned()]),
            seconds: 1800,
        };
        Lease {
            site: "praxis-mueller".into(),
            gateway: key(9).public_key().fingerprint(HashAlg::Sha256).to_string(),
            nonce: "n1".into(),
            seconds: 45,
            grants: vec![grant("firm"), grant("other-jane.doe"), grant(SCHEDULE)],
        }
    }

    fn checked(signed: &SignedLease, nonce: &str) -> Result<Vec<Granted>, BadLease> {
        let key = key(1);
        let gateway = self::key(9).public_key().fingerprint(HashAlg::Sha256);
        signed.check(&Expected {
            site: &"praxis-mueller".parse().unwrap(),
            key: key.public_key(),
            gateway: &gateway.to_string().parse().unwrap(),
            nonce,
        })
    }

    #[test]
    fn a_lease_counts_once_for_the_gateway_that_asked_and_no_longer_than_it_says() {
        let grants = checked(&lease().sign(&key(1)).unwrap(), "n1").unwrap();
        let who: Vec<String> = grants.iter().map(|granted| granted.who.to_string()).collect();
        assert_eq!(who, ["firm", "other-jane.doe", SCHEDULE]);
        assert!(grants.iter().all(|granted| granted.lasts.as_secs() == 45 && granted.said.as_secs() == 1800));
        let long = Lease { seconds: u32::MAX, ..lease() };
        let grants = checked(&long.sign(&key(1)).unwrap(), "n1").unwrap();
        assert!(grants.iter().all(|granted| granted.lasts.as_secs() == 60), "a minute is the most");
        // What the customer has said for less than the lease ends there.
        let mut short = lease();
        short.grants[0].seconds = 7;
        let grants = checked(&short.sign(&key(1)).unwrap(), "n1").unwrap();
        let lasts: Vec<u64> = grants.iter().map(|granted| granted.lasts.as_secs()).collect();
        assert_eq!(lasts, [7, 45, 45]);
    }

    #[test]
    fn what_is_forged_or_meant_for_others_is_refused() {
        let good = lease().sign(&key(1)).unwrap();
        assert_eq!(checked(&good, "n2"), Err(BadLease::Replayed));
        assert_eq!(checked(&lease().sign(&key(2)).unwrap(), "n1"), Err(BadLease::NotSigned));
        let changed = SignedLease { lease: good.lease.replace("firm", "fern"), ..good.clone() };
        assert_eq!(checked(&changed, "n1"), Err(BadLease::NotSigned));
        let pem = key(1).sign("pforte-journal", HashAlg::Sha512, good.lease.as_bytes()).unwrap();
        let elsewhere = SignedLease { signature: pem.to_pem(LineEnding::LF).unwrap(), ..good };
        assert_eq!(checked(&elsewhere, "n1"), Err(BadLease::NotSigned), "another namespace");
        let signed = |change: fn(&mut Lease)| {
            let mut lease = lease();
            change(&mut lease);
            checked(&lease.sign(&key(1)).unwrap(), "n1")
        };
        assert_eq!(signed(|l| l.site = "praxis-meier".into()), Err(BadLease::AnotherSite));
        assert_eq!(signed(|l| l.gateway = "SHA256:x".into()), Err(BadLease::AnotherGateway));
        assert_eq!(
            signed(|l| l.grants.push(Grant { who: "*".into(), ..l.grants[0].clone() })),
            Err(BadLease::NotUnderstood)
        );
        assert_eq!(signed(|l| l.grants = vec![l.grants[0].clone(); MOST + 1]), Err(BadLease::NotUnderstood));
    }

    #[test]
    fn whose_is_a_firm_or_a_person_and_neither_is_the_other() {
        let jane: Username = "firm-jane.doe".parse().unwrap();
        let is = |text: &str| text.parse::<Whose>().unwrap().is(&jane);
        assert!(is("firm") && is("firm-jane.doe"));
        assert!(!is("firma") && !is("fir") && !is("firm-john.doe") && !is(SCHEDULE));
        for bad in ["", "*", "Firm", "firm-", "@all", "firm jane"] {
            assert_eq!(bad.parse::<Whose>(), Err(BadWhose), "{bad:?}");
        }
    }
}
