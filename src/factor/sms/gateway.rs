//! How one SMS leaves the house: an HTTP request or a program, filled in from templates.
//! Absent on purpose: the names of services (those are templates of the configuration), a shell, and any log of what was sent.

use std::time::Duration;

use reqwest::{Client, Url, header::HeaderValue};
use tokio::sync::Semaphore;

use super::{SmsConfig, SmsError};
use crate::factor::exec::program::Program;
use crate::factor::http::{self, Reply};
use crate::factor::{Cause, Line};
use crate::names::Phone;
use crate::secret::Secret;
use crate::template::{Request, Slot, Success, Template, Values};

/// Programs that run at once.
const AT_ONCE: usize = 16;

/// Who sends.
pub enum Gateway {
    /// A service on the net.
    Http {
        /// What it is sent.
        request: Box<Request>,
        /// PEM certificates that alone are trusted for https; without them the system's.
        ca_pem: Option<Vec<u8>>,
        /// A proxy, `http://HOST:PORT`.
        proxy: Option<String>,
    },
    /// A program: its absolute path and its arguments. Without `{text}` among them the text is its standard input.
    Exec {
        /// Program and arguments.
        command: Vec<Template>,
    },
}

/// For a gateway to answer. None of them lengthens a question.
pub struct Bounds {
    /// For a connection, with TLS.
    pub connect: Duration,
    /// For a reply's body after its head.
    pub body: Duration,
    /// For all of it; for a program, to end.
    pub whole: Duration,
}

impl Default for Bounds {
    fn default() -> Self {
        let five = Duration::from_secs(5);
        Self { connect: five, body: five, whole: Duration::from_secs(20) }
    }
}

pub(super) struct Sender {
    by: By,
    from: String,
    user: String,
    secret: Secret,
    bounds: Bounds,
}

enum By {
    Http(Box<Request>, Client),
    Exec { program: Program, arguments: Vec<Template>, running: Semaphore },
}

impl Sender {
    pub(super) fn new(config: SmsConfig) -> Result<Self, SmsError> {
        let SmsConfig { gateway, sender, user, secret, bounds, .. } = config;
        let by = match gateway {
            Gateway::Http { request, ca_pem, proxy } => {
                let client = http::client(ca_pem.as_deref(), proxy.as_deref(), bounds.connect)?;
                By::Http(request, client)
            }
            Gateway::Exec { command } => {
                let mut command = command.into_iter();
                let program = command.next().map(|path| path.beginning().to_owned()).unwrap_or_default();
                let running = Semaphore::new(AT_ONCE);
                By::Exec { program: Program::new(program)?, arguments: command.collect(), running }
            }
        };
        let secret = secret.unwrap_or_else(|| Secret::new(String::new()));
        Ok(Self { by, from: sender, user, secret, bounds })
    }

    /// `http` or `exec`.
    pub(super) fn name(&self) -> &'static str {
        match self.by {
            By::Http(..) => "http",
            By::Exec { .. } => "exec",
        }
    }

    /// Sends one SMS, once.
    pub(super) async fn send(&self, phone: &Phone, text: &Secret, line: &mut Line) -> Result<(), Cause> {
        let values = Values {
            to: phone.number(),
            text: text.reveal(),
            from: &self.from,
            user: &self.user,
            secret: self.secret.reveal(),
        };
        let sent = async {
            match &self.by {
                By::Http(request, client) => self.post(request, client, &values, line).await,
                By::Exec { program, arguments, running } => {
                    let _turn = running.acquire().await.map_err(|_| Cause::Busy)?;
                    run(program, arguments, &values).await
                }
            }
        };
        tokio::time::timeout(self.bounds.whole, sent).await.map_err(|_| Cause::TooSlow)?
    }

    async fn post(
        &self,
        request: &Request,
        client: &Client,
        values: &Values<'_>,
        line: &mut Line,
    ) -> Result<(), Cause> {
        let url: Url = request.url.fill(values).reveal().parse().map_err(|_| Cause::NotStarted)?;
        let mut post = client.request(request.method.clone(), url);
        for (name, template) in &request.headers {
            let value = HeaderValue::from_str(template.fill(values).reveal());
            let mut value = value.map_err(|_| Cause::NotStarted)?;
            value.set_sensitive(true);
            post = post.header(name, value);
        }
        if let Some(body) = &request.body {
            post = post.body(body.fill(values).reveal().to_owned());
        }
        let reply = http::exchange(post, self.bounds.body).await?;
        line.step(format!("sms: status {}", reply.status.as_u16())).await;
        done(&request.success, &reply)
    }
}

/// Does the reply say that the SMS was taken?
fn done(success: &Success, reply: &Reply) -> Result<(), Cause> {
    let status = reply.status.as_u16();
    if !success.statuses.contains(&status) {
        return Err(match status {
            401 | 403 => Cause::Credentials,
            429 => Cause::Throttled,
            _ => Cause::Status(status),
        });
    }
    let Some((pointer, equals)) = &success.json else { return Ok(()) };
    let json: serde_json::Value = reply.json()?;
    let found = json.pointer(pointer).ok_or(Cause::Malformed)?;
    let found = found.as_str().map_or_else(|| found.to_string(), ToOwned::to_owned);
    if found == *equals { Ok(()) } else { Err(Cause::ProviderError) }
}

async fn run(program: &Program, arguments: &[Template], values: &Values<'_>) -> Result<(), Cause> {
    let by_argument = arguments.iter().flat_map(Template::slots).any(|slot| slot == Slot::Text);
    let input = if by_argument { &[] } else { values.text.as_bytes() };
    let filled: Vec<Secret> = arguments.iter().map(|argument| argument.fill(values)).collect();
    let ended = program.run(filled.iter().map(Secret::reveal), input).await;
    let status = ended.status?;
    if status.success() {
        return Ok(());
    }
    if !ended.complaint.is_empty() {
        tracing::warn!(line = ?without_digits(&ended.complaint), "the SMS program says");
    }
    Err(status.code().map_or(Cause::Killed, Cause::ExitCode))
}

/// A program may repeat what it was given: phone and code.
fn without_digits(line: &str) -> String {
    line.chars().map(|c| if c.is_numeric() { '#' } else { c }).collect()
}
