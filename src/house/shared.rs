//! The state that other gateways may share: opened as gateway.toml says, and what they change in it followed here.
//! Absent on purpose: what a change means; each part knows that of its own.

use std::path::Path;
use std::sync::Arc;

use crate::clock::Clock;
use crate::config::{StateAt, Storage};
use crate::front::Front;
use crate::identity::second_factor::SecondFactor;
use crate::names::Source;
use crate::state::{Change, Changes, State, StateError, UsualRecord};

/// The state, and what others change in it from now on.
pub(super) async fn state(
    dir: &Path,
    storage: &Storage,
    clock: &Clock,
) -> Result<(State, Changes), StateError> {
    let at = match &storage.state {
        StateAt::Sqlite(path) => StateAt::Sqlite(dir.join(path)),
        StateAt::Postgres(at) => StateAt::Postgres(at.clone()),
    };
    let state = State::open_at(&at, storage.lost_after, clock.clone()).await?;
    let changes = state.changes().await?;
    Ok((state, changes))
}

/// Where people have confirmed before this start.
pub(super) async fn remembered(state: &State, factor: &SecondFactor) -> Result<(), StateError> {
    remember(state.usual(factor.usual_since()).await?, factor);
    Ok(())
}

fn remember(places: Vec<UsualRecord>, factor: &SecondFactor) {
    for UsualRecord { user, key, address, confirmed } in places {
        let address: Result<std::net::IpAddr, _> = address.parse();
        if let (Ok(user), Ok(key), Ok(address)) = (user.parse(), key.parse(), address) {
            factor.remember(user, key, Source::of(address), confirmed);
        }
    }
}

/// Does here what follows from it, until the gateway ends.
pub(super) async fn followed(mut changes: Changes, front: Arc<Front>) {
    loop {
        match changes.next().await {
            Change::Orders => {
                let (keys, now) = (front.keys.load_full(), front.clock.now());
                let holds = |user: &_, key: &_, from| keys.holds(user, key, from, now).is_ok();
                match front.works.orders.refresh(holds).await {
                    // Who closed one here, from under it, still hears so; then it ends them too.
                    Ok(0) => {}
                    Ok(_) => front.recheck(),
                    Err(e) => tracing::debug!("the work orders are not read: {e}"),
                }
            }
            Change::Usual(places) => remember(places, &front.factor.load()),
            Change::Penalties(penalties) => front.heard_of(&penalties),
        }
    }
}
