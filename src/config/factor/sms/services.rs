//! The services that need no more than their credentials, each as the template that one would write oneself.
//! Absent on purpose: anything that a template of the file's own could not say.

use reqwest::Method;
use reqwest::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, HeaderName};

use super::{Account, SmsBy, SmsFactor, checked_url, complete, literal, way_out};
use crate::config::files::Folder;
use crate::config::problems::Problems;
use crate::config::reader::{At, Table};
use crate::template::{Encoding, Request, Success, Template};

/// A service whose request is known here.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum Ready {
    /// seven.io: <https://docs.seven.io/en/rest-api/endpoints/sms>.
    Seven,
    /// sipgate: <https://api.sipgate.com/v2/doc>, `POST /sessions/sms`.
    Sipgate,
    /// Twilio: <https://www.twilio.com/docs/messaging/api/message-resource>.
    Twilio,
}

impl Ready {
    pub(super) const ALL: [Self; 3] = [Self::Seven, Self::Sipgate, Self::Twilio];

    pub(super) const fn as_str(self) -> &'static str {
        match self {
            Self::Seven => "seven",
            Self::Sipgate => "sipgate",
            Self::Twilio => "twilio",
        }
    }

    /// Reads its credentials; what is missing is said with its name there.
    pub(super) fn read(
        self,
        folder: &Folder,
        table: &mut Table<'_, '_>,
        found: &mut SmsFactor,
        problems: &mut Problems,
    ) -> Option<SmsBy> {
        let (secret, user) = match self {
            Self::Seven => ("api_key", None),
            Self::Sipgate => ("token", Some("token_id")),
            Self::Twilio => ("token", Some("account")),
        };
        if !table.holds(secret) {
            table.missing(secret);
        }
        found.secret = folder.secret(table, secret, problems);
        let mut account = |key| table.required::<Account>(key, problems).map(|name| name.value.0);
        let user = user.map_or(Some(String::new()), &mut account);
        let device = if self == Self::Sipgate { account("device") } else { Some(String::new()) };
        if self == Self::Twilio && !table.holds("sender") {
            table.missing("sender");
        }
        let url = table.text("url", problems);
        let (ca, proxy) = way_out(folder, table, problems);
        // All fields are read by now: what is missing has been said.
        let (user, device) = (user?, device?);
        found.secret.as_ref()?;
        if self == Self::Twilio && found.sender.is_empty() {
            return None;
        }
        let url = url.unwrap_or_else(|| At { value: self.url(&user), place: table.place() });
        found.user = user;
        let (kind, encoding, body) = self.body(!found.sender.is_empty(), &device);
        let (name, credential) = self.credential();
        let headers = vec![
            (ACCEPT, literal("application/json")),
            (CONTENT_TYPE, literal(kind)),
            (name, literal(credential)),
        ];
        let body = Template::parse(&body, encoding).ok()?;
        let url_template = checked_url(&url, problems)?;
        let request = Request {
            method: Method::POST,
            url: url_template,
            headers,
            body: Some(body),
            success: self.success(),
        };
        complete(&request, found, &url.place, problems);
        Some(SmsBy::Http { request: Box::new(request), ca, proxy })
    }

    fn url(self, account: &str) -> String {
        match self {
            Self::Seven => "https://gateway.seven.io/api/sms".into(),
            Self::Sipgate => "https://api.sipgate.com/v2/sessions/sms".into(),
            Self::Twilio => format!("https://api.twilio.com/2010-04-01/Accounts/{account}/Messages.json"),
        }
    }

    fn credential(self) -> (HeaderName, &'static str) {
        match self {
            Self::Seven => (HeaderName::from_static("x-api-key"), "{secret}"),
            Self::Sipgate | Self::Twilio => (AUTHORIZATION, "Basic {basic}"),
        }
    }

    fn body(self, has_sender: bool, device: &str) -> (&'static str, Encoding, String) {
        let json = "application/json";
        match self {
            Self::Seven => {
                let from = if has_sender { r#""from":"{from}","# } else { "" };
                (json, Encoding::Json, format!(r#"{{"to":"{{to}}",{from}"text":"{{text}}","json":1}}"#))
            }
            Self::Sipgate => {
                let body = format!(r#"{{"smsId":"{device}","recipient":"{{to}}","message":"{{text}}"}}"#);
                (json, Encoding::Json, body)
            }
            Self::Twilio => {
                let body = "To={to}&From={from}&Body={text}".into();
                ("application/x-www-form-urlencoded", Encoding::Percent, body)
            }
        }
    }

    /// seven answers 200 whatever came of it; Twilio's 201 has an `error_code`.
    fn success(self) -> Success {
        let json = |pointer: &str, equals: &str| Some((pointer.to_owned(), equals.to_owned()));
        match self {
            Self::Seven => Success { statuses: vec![200], json: json("/success", "100") },
            Self::Sipgate => Success { statuses: vec![200, 202, 204], json: None },
            Self::Twilio => Success { statuses: vec![201], json: json("/error_code", "null") },
        }
    }
}
