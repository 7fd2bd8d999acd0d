//! Who is in and what runs, line by line. Absent on purpose: what has ended; the journal has that.

use super::{Client, Desk, Gone, Say, protocol};
use crate::live;

/// The longest command that is listed, in characters.
const COMMAND_MAX: usize = 500;

pub(super) async fn serve(desk: &Desk, client: &mut Client) -> Result<(), Gone> {
    let ways = desk.front.relays.live.ways();
    let mut people = desk.front.registry.all();
    people.sort_by_key(|who| who.connection().session.to_string());
    for who in people {
        let session = who.connection().session;
        client
            .say(Say::Session(protocol::Session {
                session: session.to_string(),
                user: who.user().to_string(),
                firm: who.firm().to_string(),
                key: who.key().to_string(),
                from: who.connection().from.to_string(),
                factor: who.factor().to_owned(),
                since: who.since(),
            }))
            .await?;
        for way in ways.iter().filter(|way| way.session == session) {
            let (bytes_in, bytes_out) = way.bytes();
            let inner = match way.inner {
                live::Inner::Sealed => "sealed",
                live::Inner::Recorded => "recorded",
            };
            client
                .say(Say::Way(protocol::Way {
                    site: way.site.to_string(),
                    host: way.host.to_string(),
                    inner: inner.to_owned(),
                    since: way.since,
                    bytes_in,
                    bytes_out,
                }))
                .await?;
            for act in way.acts() {
                client.say(Say::Act(line(&act))).await?;
            }
        }
    }
    client.say(Say::Done {}).await
}

fn line(act: &live::Act) -> protocol::Act {
    let (bytes_in, bytes_out) = act.counted.read();
    let about = &act.about;
    protocol::Act {
        channel: act.channel,
        kind: about.kind.to_owned(),
        command: String::from_utf8_lossy(&about.command).chars().take(COMMAND_MAX).collect(),
        since: about.since,
        terminal: about.terminal,
        recording: about.recording.clone(),
        bytes_in,
        bytes_out,
        watchers: act.screen.as_ref().map_or(0, live::Screen::watchers),
    }
}
