//! A box's turn among gateways that share a state: within one, jobs wait for each other in memory.
//! Absent on purpose: an order among gateways; the first one that looks when the box is free has it.

use super::{Job, LOOK};
use crate::commands::{Ended, Gone, Out, Works, exit};
use crate::config::Language;
use crate::names::KonnektorId;

/// Waits until no other gateway works at the job's box, and takes it; it is given back with the job's end.
pub(super) async fn taken(works: &Works, job: &Job, out: &Out) -> Result<(), Ended> {
    let id = job.id.to_string();
    let mut said = false;
    loop {
        match works.state.take_turn(&id, job.number).await {
            Ok(None) => return Ok(()),
            Ok(Some(other)) => say_once(&mut said, other, &job.id, out).await?,
            Err(e) => {
                tracing::error!(job = job.number, "a box's turn could not be taken: {e}");
                let english =
                    "The turn at the box could not be noted, so nothing was done there. Tell the operator.";
                let german = "Der Zugang zum Gerät ließ sich nicht vermerken, also wurde dort nichts getan. Sagen Sie es dem Betreiber.";
                out.say(out.pick(english, german)).await?;
                return Err(Ended::failed(exit::FAILED, "state"));
            }
        }
        tokio::time::sleep(LOOK).await;
    }
}

/// Waits until no other gateway's job works at the box. What only looks takes no turn; without the state it goes on.
pub(in crate::commands) async fn free_elsewhere(
    works: &Works,
    id: &KonnektorId,
    out: &Out,
) -> Result<(), Gone> {
    let mut said = false;
    while let Ok(Some(other)) = works.state.turn_elsewhere(&id.to_string()).await {
        say_once(&mut said, other, id, out).await?;
        tokio::time::sleep(LOOK).await;
    }
    Ok(())
}

async fn say_once(said: &mut bool, other: u32, id: &KonnektorId, out: &Out) -> Result<(), Gone> {
    if std::mem::replace(said, true) {
        return Ok(());
    }
    out.say(match out.language {
        Language::English => {
            format!("Another gateway is at work at {id} (job {other}). This waits until that has ended.")
        }
        Language::German => format!(
            "Ein anderes Gateway arbeitet gerade an {id} (Auftrag {other}). Dies wartet, bis das zu Ende ist."
        ),
    })
    .await
}
