//! What relays need: the gateway's own key at hosts, the user authority, the hosts' keys, and who can open recordings.
//! Absent on purpose: any login.

use std::path::Path;
use std::sync::Arc;

use russh::keys::PrivateKey;

use super::pins::LearnedHostKeys;
use super::private_key;
use crate::authority::{Authorities, Extension, UserIdentity};
use crate::clock::Clock;
use crate::identity::Who;
use crate::journal::Journal;
use crate::relay;
use crate::state::State;

/// How the gateway logs in at hosts. `key` is the file of its own key there.
pub(super) fn login(
    key: &Path,
    authorities: &Arc<Authorities>,
    clock: &Clock,
    state: &State,
    journal: &Journal,
) -> anyhow::Result<relay::Login> {
    Ok(relay::Login {
        key: Arc::new(own_key(key)?),
        authority: Arc::new(Certifier { authorities: authorities.clone(), clock: clock.clone() }),
        host_keys: Arc::new(LearnedHostKeys::new(state.clone(), journal.clone())),
    })
}

/// The user authority, as relays ask it.
struct Certifier {
    authorities: Arc<Authorities>,
    clock: Clock,
}

impl relay::Certifies for Certifier {
    fn certify(&self, who: &Who, forwards: bool) -> Result<(PrivateKey, ssh_key::Certificate), String> {
        let both = [Extension::PermitPty, Extension::PermitPortForwarding];
        let extensions = if forwards { &both[..] } else { &both[..1] };
        let session = who.connection().session;
        let made =
            self.authorities.user.user_certificate(who.user(), session, &[], extensions, self.clock.now());
        let UserIdentity { key, certificate } = made.map_err(|e| e.to_string())?;
        Ok((key, certificate))
    }
}

/// The key with which the gateway logs in at hosts; made at the first start of a gateway that has none.
fn own_key(path: &Path) -> anyhow::Result<PrivateKey> {
    if !path.exists() {
        crate::init::make_key(path, crate::init::TARGET_KEY)?;
        tracing::info!("made {}: its .pub goes into the authorized_keys of hosts", path.display());
    }
    private_key(path, "the key for targets")
}

/// Who can open backups and recordings: the vault's own keys, and those that the file names.
pub(super) fn recipients(
    identities: &[age::x25519::Identity],
    more: &[String],
) -> anyhow::Result<Vec<age::x25519::Recipient>> {
    let more = more.iter().map(|r| r.parse().map_err(|e| anyhow::anyhow!("recipient {r}: {e}")));
    identities.iter().map(|identity| Ok(identity.to_public())).chain(more).collect()
}
