//! Sites' links, and what follows from them: consent as it comes and goes, and the journal's lines that a site gets.
//! Absent on purpose: the links themselves.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use ssh_key::HashAlg;
use tokio::sync::mpsc;
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use crate::authority::Authorities;
use crate::clock::Clock;
use crate::config::Limits;
use crate::front::link_configuration;
use crate::gate::Gate;
use crate::grants::Grants;
use crate::identity::keys::KeyBook;
use crate::journal::Journal;
use crate::random::Random;
use crate::uplink::{Parts, Settings, Uplinks};

/// Lines for sites that wait for their links.
const LINES: usize = 4096;

/// Between two looks at what sites allow.
const PAUSE: Duration = Duration::from_millis(10);

/// What links are built from.
pub(super) struct Around<'a> {
    pub(super) keys: &'a Arc<ArcSwap<KeyBook>>,
    pub(super) gate: &'a Arc<Gate>,
    pub(super) journal: &'a Journal,
    pub(super) clock: &'a Clock,
    pub(super) random: &'a Random,
    pub(super) authorities: &'a Authorities,
    pub(super) limits: &'a Limits,
    pub(super) stop: &'a CancellationToken,
}

/// No link yet, and the tasks that follow them.
pub(super) fn begin(around: &Around<'_>) -> anyhow::Result<(Arc<Uplinks>, Vec<JoinHandle<()>>)> {
    let host_key = around.authorities.host_key.clone();
    let gateway = host_key.public_key().fingerprint(HashAlg::Sha256).to_string().parse()?;
    let grants = Arc::new(Grants::default());
    let limits = around.limits;
    let parts = Parts {
        keys: around.keys.clone(),
        grants: grants.clone(),
        journal: around.journal.clone(),
        clock: around.clock.clone(),
        random: around.random.clone(),
        gateway,
        ssh: link_configuration(host_key),
        settings: Settings {
            most: limits.links,
            handshakes: limits.link_handshakes,
            per_source: limits.link_handshakes_per_source,
            grace: limits.key_grace,
        },
    };
    let uplinks = Uplinks::new(parts, around.stop.child_token());
    let (tap, lines) = mpsc::channel(LINES);
    around.journal.tap(tap);
    let telling = tokio::spawn(uplinks.clone().tell(lines));
    let (gate, clock) = (around.gate.clone(), around.clock.clone());
    let following = tokio::spawn(async move {
        let mut seen = grants.watch();
        loop {
            let begun = tokio::time::Instant::now();
            gate.consent(grants.snapshot(clock.now()));
            // With many links it costs something: never more than a tenth of a core.
            tokio::time::sleep((begun.elapsed() * 9).max(PAUSE)).await;
            grants.moved(&mut seen).await;
        }
    });
    Ok((uplinks, vec![telling, following]))
}
