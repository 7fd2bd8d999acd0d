//! Restoring a box: what would be written is planned first, then done step by step, each read back and compared.
//! Absent on purpose: consent, journal and backup, which the caller sees to; and users and passwords, never written.

mod certificates;
mod execute;
mod plan;
mod words;

use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use ipnet::IpNet;

use crate::konnektor::diff::Diff;
use crate::konnektor::{Error, Given, Identity, Json, Konnektor, Profile, Reading};
use crate::names::{HostPort, KonnektorId, ServiceName};

pub use execute::{execute, find};
pub use plan::{around, plan};

/// What of the file is restored, and how.
#[derive(Debug, Clone, Default)]
pub struct Options {
    /// These services alone; empty: all.
    pub services: Vec<ServiceName>,
    /// What becomes of client certificates.
    pub certificates: Certificates,
}

/// What becomes of the client certificates that the box has.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Certificates {
    /// They stay; of the file's, those come whose names the box does not have.
    #[default]
    New,
    /// They stay, but for those of which the file has one with the same name.
    Overwrite,
    /// They go, all, before the file's come.
    Delete,
    /// The list becomes the file's in one step: to undo.
    Exact,
}

/// What a plan is made from: the file, the box as it is now, and where it stands.
#[derive(Clone, Copy)]
pub struct Situation<'a> {
    /// The file.
    pub given: &'a Given,
    /// All services of the box's backup, read just now.
    pub now: &'a Reading,
    /// What the box says of itself.
    pub identity: &'a Identity,
    /// Its name here.
    pub konnektor: &'a KonnektorId,
    /// What is known of its make.
    pub profile: &'a Profile,
    /// Where it was dialled.
    pub address: &'a HostPort,
    /// Networks into which its address may change; see [`around`].
    pub networks: &'a [IpNet],
    /// A firmware that the profile does not know is written to all the same.
    pub any_firmware: bool,
}

/// What would be done, in this order.
#[derive(Debug, Clone, Default)]
pub struct Plan {
    /// Each write.
    pub steps: Vec<Step>,
    /// Services that are as in the file already.
    pub same: Vec<ServiceName>,
    /// Services that are not written, and why.
    pub left_out: Vec<(ServiceName, LeftOut)>,
    /// What a person has to do afterwards.
    pub by_hand: Vec<ByHand>,
    /// What a person should know before.
    pub notes: Vec<Note>,
    /// Where the box is found after the last step.
    pub moves_to: Option<HostPort>,
}

/// One write.
#[derive(Debug, Clone)]
pub struct Step {
    /// Which service.
    pub service: ServiceName,
    /// What it does.
    pub kind: Kind,
    /// What is written, as a whole.
    pub value: Json,
    /// What changes on the box.
    pub diff: Diff,
}

/// What a step does.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Kind {
    /// Writes the service.
    Write,
    /// Empties the list of client certificates.
    DeleteCertificates,
    /// Writes the list of client certificates.
    ImportCertificates,
    /// Writes the service that holds the box's own address, which becomes this one.
    Move(HostPort),
}

/// Why a service is not written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum LeftOut {
    /// It cannot be written.
    ReadOnly,
    /// Users and passwords are never touched.
    Users,
    /// The file does not have it.
    NotInFile,
    /// The file has `null` for it.
    Empty,
    /// It could not be read now, so it could not be undone.
    NotRead(Option<Error>),
    /// The profile does not know how it is written.
    NoWay(Error),
    /// Its list of certificates is not where the profile says.
    NoList,
}

/// What a person has to do after a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ByHand {
    /// Pair these card terminals anew: their ids in the file.
    Pair(Vec<String>),
    /// Restart the box: these services count only then.
    Reboot(Vec<ServiceName>),
    /// Bring the box to the file's firmware, if that is wanted; a restore does not.
    Firmware {
        /// The file's.
        file: String,
        /// The box's.
        konnektor: String,
    },
}

/// What a person should know before a restore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Note {
    /// The file has no head: nobody knows which box it was taken from.
    NoHead,
    /// Another device than the file's, a replacement.
    Serial {
        /// The file's.
        file: String,
        /// The box's.
        konnektor: String,
    },
    /// The file was taken from another Konnektor of the gateway.
    OtherKonnektor {
        /// The file's.
        file: String,
    },
    /// Another firmware than the file's.
    Firmware {
        /// The file's.
        file: String,
        /// The box's.
        konnektor: String,
    },
    /// Services that somebody edited in the file.
    Edited(Vec<ServiceName>),
    /// PKCS#12 containers that are not the ones that were taken.
    Containers(Vec<String>),
    /// Names in the file that are no service.
    Unknown(Vec<String>),
    /// The box's address changes, and it is not the one that is dialled: it is not followed.
    NotFollowed {
        /// The new one, as the file has it.
        to: String,
    },
}

/// Why nothing is done at all.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum NoPlan {
    /// The file was taken from another make of box.
    #[error("restore=other-make file={file} konnektor={konnektor}")]
    OtherMake {
        /// The file's, escaped.
        file: String,
        /// The box's.
        konnektor: String,
    },
    /// The profile does not know this firmware.
    #[error("restore=unknown-firmware firmware={firmware}")]
    UnknownFirmware {
        /// The box's.
        firmware: String,
    },
    /// A service was named that the file lacks.
    #[error("restore=not-in-file service={service}")]
    NotInFile {
        /// Which.
        service: ServiceName,
    },
    /// A service was named that is never written, or not known, or nothing is known to write.
    #[error("{0}")]
    Konnektor(#[from] Error),
    /// The address in the file is none.
    #[error("restore=bad-address")]
    BadAddress {
        /// Escaped.
        address: String,
    },
    /// The box would move to where the gateway may not follow.
    #[error("restore=address-outside address={address}")]
    OutsideNetworks {
        /// The new one.
        address: String,
    },
}

/// Stops before a write.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stop;

/// What happens while a plan is executed; must not hold values of services.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step is being written.
    Writing {
        /// From 1.
        n: usize,
        /// Of so many.
        of: usize,
        /// Which service.
        service: &'a ServiceName,
        /// Bytes.
        bytes: usize,
    },
    /// What was written is being read back.
    ReadingBack {
        /// Which service.
        service: &'a ServiceName,
    },
    /// It is not there: it is written again.
    Again {
        /// Which service.
        service: &'a ServiceName,
        /// What the last write met, if anything.
        why: Option<&'a Error>,
    },
    /// The box does not answer, or not as it should; it is asked again.
    Waiting {
        /// What it met.
        why: &'a Error,
        /// For so long already.
        since: Duration,
    },
    /// It answers again.
    Back,
    /// The box answers at its new address.
    Moved {
        /// Where.
        to: &'a HostPort,
    },
    /// The box has members of its own beside what was written; that is no failure.
    Grown {
        /// Which service.
        service: &'a ServiceName,
        /// JSON pointers, at most 20.
        places: &'a [String],
    },
}

/// Told before and after each write, and what happens meanwhile.
#[async_trait]
pub trait Watch: Send + Sync {
    /// Before a write: notes it durably. An `Err` ends the restore before this write.
    async fn before(&self, step: &Step) -> Result<(), Stop>;
    /// After a step, whatever came of it.
    async fn after(&self, step: &Step, result: &StepResult);
    /// Must return at once.
    fn told(&self, event: &Event<'_>);
}

/// Nobody is told.
#[async_trait]
impl Watch for () {
    async fn before(&self, _step: &Step) -> Result<(), Stop> {
        Ok(())
    }
    async fn after(&self, _step: &Step, _result: &StepResult) {}
    fn told(&self, _event: &Event<'_>) {}
}

/// How long a box may be away, and how often it is asked.
#[derive(Debug, Clone, Copy)]
pub struct Patience {
    /// How long a box may give no usable answer before the restore is interrupted; it may restart by itself.
    pub away: Duration,
    /// How often one step is written at most.
    pub tries: usize,
}

impl Default for Patience {
    fn default() -> Self {
        Self { away: Duration::from_mins(10), tries: 3 }
    }
}

/// What came of one step.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StepResult {
    /// Written, read back, as wanted.
    Done {
        /// Of what was written.
        bytes: usize,
    },
    /// It was so already.
    AlreadySo,
    /// Written, but the box holds something else: from what was wanted to what is there.
    Differs(Diff),
    /// The box did not take it, and holds what it held.
    Refused(Error),
    /// Nobody knows whether it arrived.
    Open(Error),
    /// The restore ended before it.
    NotReached,
}

/// How an execution ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum End {
    /// All is as wanted.
    Done,
    /// To the last step, but not each was taken as it was.
    Failed,
    /// In the middle; the step's result is [`StepResult::Open`].
    Interrupted(Error),
    /// By [`Watch::before`].
    Stopped,
}

/// What came of a plan.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Outcome {
    /// Of each step, in their order.
    pub results: Vec<(ServiceName, StepResult)>,
    /// Where the box is now.
    pub address: HostPort,
    /// How it ended.
    pub end: End,
}

impl Outcome {
    /// The services that may have been changed: what an undo has to look at.
    #[must_use]
    pub fn attempted(&self) -> Vec<ServiceName> {
        let mut attempted: Vec<ServiceName> = Vec::new();
        for (service, result) in &self.results {
            if !matches!(result, StepResult::NotReached | StepResult::AlreadySo)
                && !attempted.contains(service)
            {
                attempted.push(service.clone());
            }
        }
        attempted
    }
}

/// The driver as it stands now: the box may have moved.
type Driver = Arc<dyn Konnektor>;
