//! What a site's own schedule has done, as data.
//! Absent on purpose: persons. Nobody asks for these; the customer's file does.

use crate::names::ServiceName;

/// Something that is done at a Konnektor without a person.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Chore {
    /// A backup, and then those go that have had their time.
    Backup {
        /// All of them, if empty.
        services: Vec<ServiceName>,
    },
    /// All that is kept is opened and looked through.
    Check,
    /// Those go that have had their time.
    Tidy,
}

impl Chore {
    /// As a person would ask for it; for the journal and the list of jobs.
    #[must_use]
    pub fn as_asked(&self) -> String {
        match self {
            Chore::Backup { services } if services.is_empty() => "konnektor backup".into(),
            Chore::Backup { services } => {
                let services: Vec<&str> = services.iter().map(ServiceName::as_str).collect();
                format!("konnektor backup -s {}", services.join(","))
            }
            Chore::Check => "konnektor backups --check".into(),
            Chore::Tidy => "konnektor backups, retention".into(),
        }
    }
}
