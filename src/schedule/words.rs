//! What a notice says, in English and in German.
//! Absent on purpose: values of a box.

use jiff::Timestamp;

use crate::names::KonnektorId;

/// A sentence in both languages, and the cause for programs.
pub(super) struct Words {
    pub(super) english: String,
    pub(super) german: String,
    pub(super) cause: String,
}

pub(super) fn failed(id: &KonnektorId, cause: &str, tries: u32) -> Words {
    Words {
        english: format!("The scheduled backup of {id} failed ({cause}), at try {tries}."),
        german: format!("Die geplante Sicherung von {id} ist gescheitert ({cause}), beim Versuch {tries}."),
        cause: cause.to_owned(),
    }
}

pub(super) fn missing(id: &KonnektorId, last: Timestamp, wanted: Timestamp) -> Words {
    Words {
        english: format!("There is no good backup of {id} since {last:.0}; one was due at {wanted:.0}."),
        german: format!(
            "Von {id} gibt es seit {last:.0} keine gute Sicherung; fällig war eine um {wanted:.0}."
        ),
        cause: format!("last={last:.0} due={wanted:.0}"),
    }
}

pub(super) fn changed(id: &KonnektorId, cause: &str) -> Words {
    Words {
        english: format!("The backup of {id} differs from the last one: {cause}."),
        german: format!("Die Sicherung von {id} weicht von der letzten ab: {cause}."),
        cause: cause.to_owned(),
    }
}

pub(super) fn check_failed(id: &KonnektorId, cause: &str) -> Words {
    Words {
        english: format!("Kept backups of {id} are no good ones ({cause})."),
        german: format!("Aufbewahrte Sicherungen von {id} taugen nichts ({cause})."),
        cause: cause.to_owned(),
    }
}

pub(super) fn removed(id: &KonnektorId, names: &[String]) -> Words {
    let (n, list) = (names.len(), names.iter().take(20).cloned().collect::<Vec<_>>().join(", "));
    Words {
        english: format!("{n} backups of {id} had had their time and were removed: {list}."),
        german: format!("{n} Sicherungen von {id} haben ihre Zeit gehabt und wurden entfernt: {list}."),
        cause: format!("removed={n}: {list}"),
    }
}

pub(super) fn interrupted(id: &KonnektorId) -> Words {
    Words {
        english: format!("A restore at {id} was interrupted; it can be resumed or undone."),
        german: format!(
            "Ein Einlesen an {id} wurde unterbrochen; es lässt sich fortsetzen oder zurücknehmen."
        ),
        cause: "unfinished".into(),
    }
}
