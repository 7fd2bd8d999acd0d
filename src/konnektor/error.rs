//! Why a Konnektor could not be read, a variant a cause, each with a sentence for people.
//! Absent on purpose: any text of an answer's body, any password, any token.

mod wire;

pub(crate) use wire::cleaned;

use crate::konnektor::certificate::CertificatePin;
use crate::names::{ActionName, ServiceName};

/// A cause. `Display` is for the journal; [`Error::sentence`] is for people.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// No connection: refused, no route, no answer to the dial in time, name not found.
    #[error("konnektor=away")]
    Away,
    /// TLS could not be agreed on (below 1.2, no common suite, broken handshake).
    #[error("konnektor=tls-failed")]
    TlsFailed,
    /// The box shows another certificate than the one that is pinned.
    #[error("konnektor=certificate-changed pinned={pinned} presented={presented}")]
    CertificateChanged {
        /// What the site's file, or the first connection, said.
        pinned: CertificatePin,
        /// What was shown now.
        presented: CertificatePin,
    },
    /// No certificate is pinned and the first one seen could not be kept.
    #[error("konnektor=certificate-unknown presented={presented}")]
    CertificateUnknown {
        /// What was shown.
        presented: CertificatePin,
    },
    /// The box shows its login page again: wrong user or password, or a locked account.
    #[error("konnektor=login-failed")]
    LoginFailed,
    /// The box wants a new password before anything else.
    #[error("konnektor=password-change-forced")]
    PasswordChangeForced,
    /// Logged in, it seems, but neither a token nor a readable service was found.
    #[error("konnektor=no-token")]
    NoToken,
    /// The session ended, and ended again after one new login.
    #[error("konnektor=session-expired")]
    SessionExpired,
    /// The account may not read this service, or this firmware does not have it (403, 404).
    #[error("konnektor=not-allowed status={status}")]
    NotAllowed {
        /// The HTTP status.
        status: u16,
    },
    /// An unexpected HTTP status.
    #[error("konnektor=http status={status} what={what}")]
    Http {
        /// The HTTP status.
        status: u16,
        /// The step or service, a word of ours.
        what: String,
    },
    /// The answer is not HTTP/1.1 as we read it.
    #[error("konnektor=not-http")]
    NotHttp,
    /// A service answered with something that is not JSON.
    #[error("konnektor=not-json service={service}")]
    NotJson {
        /// Which.
        service: ServiceName,
    },
    /// A service holds an integer of more than 64 bits, which would not come back as it was.
    #[error("konnektor=inexact-number service={service}")]
    Inexact {
        /// Which.
        service: ServiceName,
    },
    /// An answer is larger than the profile allows.
    #[error("konnektor=too-large limit={limit}")]
    TooLarge {
        /// The limit in bytes.
        limit: usize,
    },
    /// JSON nested deeper than the profile allows.
    #[error("konnektor=too-deep limit={limit}")]
    TooDeep {
        /// The limit in levels.
        limit: usize,
    },
    /// More headers or cookies than a box has reason to send.
    #[error("konnektor=too-many-headers")]
    TooManyHeaders,
    /// More redirects than the profile allows.
    #[error("konnektor=too-many-redirects")]
    TooManyRedirects,
    /// A redirect to another host, port or scheme; it was not followed.
    #[error("konnektor=redirect-elsewhere")]
    RedirectElsewhere,
    /// The answer is compressed though we asked for it as it is.
    #[error("konnektor=encoded")]
    Encoded,
    /// The connection ended in the middle of an answer.
    #[error("konnektor=dropped")]
    Dropped,
    /// The answer took longer than allowed.
    #[error("konnektor=timed-out")]
    TimedOut,
    /// `connector.sds` is not what `gemSpec_Kon` TIP1-A_4528 describes.
    #[error("konnektor=bad-directory")]
    BadDirectory,
    /// The box is of a make this build has no driver for.
    #[error("konnektor=unknown-product")]
    UnknownProduct,
    /// A service the profile does not list.
    #[error("konnektor=unknown-service service={service}")]
    UnknownService {
        /// Which.
        service: ServiceName,
    },
    /// The profile does not know how, so it is not tried.
    #[error("konnektor=not-in-profile key={key}")]
    NotInProfile {
        /// The profile's key that is empty or missing, `write.path`.
        key: String,
    },
    /// The service is read only: the make's, or ours (users and passwords are never written).
    #[error("konnektor=read-only service={service}")]
    ReadOnly {
        /// Which.
        service: ServiceName,
    },
    /// An action that the profile does not list, and no rule spells out.
    #[error("konnektor=unknown-action action={action}")]
    UnknownAction {
        /// Which.
        action: ActionName,
    },
    /// An action's data is not what its schema wants.
    #[error("konnektor=bad-data action={action} {what}")]
    BadData {
        /// Which.
        action: ActionName,
        /// The place in the data and what is wrong there; never a value.
        what: String,
    },
    /// The profile file is wrong; the text names the place, never a secret.
    #[error("konnektor=bad-profile {what}")]
    BadProfile {
        /// Line, column and cause.
        what: String,
    },
    /// The TLS or HTTP client could not be set up.
    #[error("konnektor=client-setup")]
    Setup,
    /// The box is behind a site's own link, and the site does not allow it.
    #[error("konnektor=site-refused cause={cause}")]
    SiteRefused {
        /// A word of the link's, `switch-closed`.
        cause: String,
    },
    /// The box is behind a site's own link, and what came over it was no answer to what was asked; it was not believed.
    #[error("konnektor=site-unclear")]
    SiteUnclear,
}

impl Error {
    /// Whether it concerns the whole box and not the one service that met it.
    #[must_use]
    pub fn ends_all(&self) -> bool {
        matches!(
            self,
            Self::CertificateChanged { .. }
                | Self::CertificateUnknown { .. }
                | Self::LoginFailed
                | Self::PasswordChangeForced
                | Self::TlsFailed
                | Self::Setup
                | Self::SiteRefused { .. }
        )
    }

    /// One sentence for a person, German or English: what happened and what to do.
    #[must_use]
    pub fn sentence(&self, german: bool) -> String {
        if german { self.german() } else { self.english() }
    }

    fn english(&self) -> String {
        match self {
            Self::Away => "The Konnektor does not answer. Is it switched on and reachable from here?".into(),
            Self::TlsFailed => "The Konnektor and the gateway found no common TLS (1.2 at least).".into(),
            Self::CertificateChanged { pinned, presented } => format!(
                "The Konnektor shows another certificate ({presented}) than the pinned one ({pinned}). Nothing was sent. Ask the site whether the box was changed."
            ),
            Self::CertificateUnknown { presented } => format!(
                "No certificate is pinned for this Konnektor. It shows {presented}; compare it with the site and enter it in the site's file."
            ),
            Self::LoginFailed => "The Konnektor refused user or password. It was tried once only, lest the account be locked.".into(),
            Self::PasswordChangeForced => "The Konnektor wants a new password first. Set one in its own interface, then in the site's file.".into(),
            Self::NoToken => "The Konnektor's login gave neither a token nor a readable service. Is this firmware known?".into(),
            Self::SessionExpired => "The Konnektor ended the session, and again after a new login.".into(),
            Self::NotAllowed { status } => format!("The account may not read this, or the firmware does not have it (HTTP {status})."),
            Self::Http { status, what } => format!("The Konnektor answered HTTP {status} to {what}."),
            Self::NotHttp => "The Konnektor's answer is not HTTP.".into(),
            Self::NotJson { service } => format!("The answer of {service} is not JSON."),
            Self::Inexact { service } => format!("{service} holds a number too large to be kept exactly."),
            Self::TooLarge { limit } => format!("The answer is larger than {limit} bytes and was cut off."),
            Self::TooDeep { limit } => format!("The answer is nested deeper than {limit} levels."),
            Self::TooManyHeaders => "The Konnektor sent more headers or cookies than any box has reason to.".into(),
            Self::TooManyRedirects => "The Konnektor redirects without end.".into(),
            Self::RedirectElsewhere => "The Konnektor redirects to another host; that was not followed.".into(),
            Self::Encoded => "The Konnektor's answer is compressed though it was not asked to be.".into(),
            Self::Dropped => "The Konnektor ended the connection in the middle of its answer.".into(),
            Self::TimedOut => "The Konnektor did not answer in time.".into(),
            Self::BadDirectory => "The Konnektor's connector.sds cannot be read.".into(),
            Self::UnknownProduct => "This build has no driver for this make of Konnektor.".into(),
            Self::UnknownService { service } => format!("This Konnektor has no service {service}."),
            Self::NotInProfile { key } => format!("It is not publicly known how this make takes that: {key} is empty in its profile. Fill it in (docs/konnektor.md says how), and it works."),
            Self::ReadOnly { service } => format!("{service} is never written."),
            Self::UnknownAction { action } => format!("The profile lists no action {action}; a rule would have to spell it out: may = [\"konnektor perform {action}\"]."),
            Self::BadData { action, what } => format!("The data for {action} does not fit: {what}"),
            Self::BadProfile { what } => format!("The Konnektor's profile file is wrong: {what}"),
            Self::Setup => "The gateway could not set up its TLS client.".into(),
            Self::SiteRefused { cause } => format!("The site's own machine does not allow this ({cause}). What it allows is said by its switch and its site.toml."),
            Self::SiteUnclear => "The site's own machine answered something that was not asked. It was not believed; is its pforte as new as the gateway's?".into(),
        }
    }

    fn german(&self) -> String {
        match self {
            Self::Away => "Der Konnektor antwortet nicht. Ist er eingeschaltet und von hier erreichbar?".into(),
            Self::TlsFailed => "Konnektor und Gateway fanden kein gemeinsames TLS (mindestens 1.2).".into(),
            Self::CertificateChanged { pinned, presented } => format!(
                "Der Konnektor zeigt ein anderes Zertifikat ({presented}) als das hinterlegte ({pinned}). Es wurde nichts gesendet. Bitte beim Kunden nachfragen, ob das Gerät getauscht wurde."
            ),
            Self::CertificateUnknown { presented } => format!(
                "Für diesen Konnektor ist kein Zertifikat hinterlegt. Er zeigt {presented}; bitte mit dem Kunden vergleichen und in dessen Datei eintragen."
            ),
            Self::LoginFailed => "Der Konnektor hat Benutzer oder Passwort abgelehnt. Es wurde nur einmal versucht, damit das Konto nicht gesperrt wird.".into(),
            Self::PasswordChangeForced => "Der Konnektor verlangt erst ein neues Passwort. Bitte in seiner Oberfläche setzen, dann in der Datei des Kunden.".into(),
            Self::NoToken => "Die Anmeldung am Konnektor ergab weder Token noch lesbaren Dienst. Ist diese Firmware bekannt?".into(),
            Self::SessionExpired => "Der Konnektor hat die Sitzung beendet, auch nach erneuter Anmeldung.".into(),
            Self::NotAllowed { status } => format!("Das Konto darf das nicht lesen, oder die Firmware kennt es nicht (HTTP {status})."),
            Self::Http { status, what } => format!("Der Konnektor antwortete mit HTTP {status} auf {what}."),
            Self::NotHttp => "Die Antwort des Konnektors ist kein HTTP.".into(),
            Self::NotJson { service } => format!("Die Antwort von {service} ist kein JSON."),
            Self::Inexact { service } => format!("{service} enthält eine Zahl, die zu groß ist, um genau erhalten zu bleiben."),
            Self::TooLarge { limit } => format!("Die Antwort ist größer als {limit} Bytes und wurde abgebrochen."),
            Self::TooDeep { limit } => format!("Die Antwort ist tiefer als {limit} Ebenen verschachtelt."),
            Self::TooManyHeaders => "Der Konnektor schickte mehr Kopfzeilen oder Cookies, als ein Gerät Grund hat.".into(),
            Self::TooManyRedirects => "Der Konnektor leitet endlos weiter.".into(),
            Self::RedirectElsewhere => "Der Konnektor leitet auf ein anderes Gerät weiter; dem wurde nicht gefolgt.".into(),
            Self::Encoded => "Die Antwort des Konnektors ist komprimiert, obwohl das nicht verlangt war.".into(),
            Self::Dropped => "Der Konnektor hat die Verbindung mitten in der Antwort beendet.".into(),
            Self::TimedOut => "Der Konnektor hat nicht rechtzeitig geantwortet.".into(),
            Self::BadDirectory => "Die connector.sds des Konnektors ist nicht lesbar.".into(),
            Self::UnknownProduct => "Für dieses Fabrikat gibt es hier keinen Treiber.".into(),
            Self::UnknownService { service } => format!("Dieser Konnektor hat keinen Dienst {service}."),
            Self::NotInProfile { key } => format!("Wie dieses Fabrikat das annimmt, ist nicht öffentlich bekannt: {key} ist in seinem Profil leer. Tragen Sie es ein (docs/konnektor.md sagt, wie), dann geht es."),
            Self::ReadOnly { service } => format!("{service} wird nie geschrieben."),
            Self::UnknownAction { action } => format!("Das Profil kennt keine Aktion {action}; eine Regel müsste sie ausdrücklich nennen: may = [\"konnektor perform {action}\"]."),
            Self::BadData { action, what } => format!("Die Daten für {action} passen nicht: {what}"),
            Self::BadProfile { what } => format!("Die Profildatei des Konnektors ist fehlerhaft: {what}"),
            Self::Setup => "Das Gateway konnte seinen TLS-Client nicht einrichten.".into(),
            Self::SiteRefused { cause } => format!("Der Rechner beim Kunden erlaubt das nicht ({cause}). Was er erlaubt, sagen dort der Schalter und site.toml."),
            Self::SiteUnclear => "Der Rechner beim Kunden hat etwas geantwortet, was nicht gefragt war. Es wurde nicht geglaubt; ist pforte dort so neu wie auf dem Gateway?".into(),
        }
    }
}
