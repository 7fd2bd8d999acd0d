//! `[second_factor.privacyidea]`: where the service is, and who the gateway is to it.
//! Absent on purpose: asking; reading certificates and keys, whose files are named here.

use std::path::PathBuf;

use super::super::files::Folder;
use super::super::problems::Problems;
use super::super::reader::{At, Table};
use crate::secret::Secret;

/// The privacyIDEA provider's settings.
pub struct PrivacyIdeaFactor {
    /// The service's base address.
    pub url: String,
    /// The realm of all people, if it is not the service's default one.
    pub realm: Option<String>,
    /// Who the gateway is there.
    pub service: PrivacyIdeaService,
    /// A CA file, PEM, that alone is trusted.
    pub ca: Option<PathBuf>,
    /// `http://HOST:PORT`, where CONNECT goes.
    pub proxy: Option<String>,
    /// The service's public key, PEM: its answers must be signed.
    pub verify: Option<PathBuf>,
}

/// Who may trigger challenges.
pub enum PrivacyIdeaService {
    /// A long-lived token.
    Token(Secret),
    /// An administrator's name and password.
    User(String, Secret),
}

pub(super) fn read(
    folder: &Folder,
    mut table: Table<'_, '_>,
    problems: &mut Problems,
) -> Option<PrivacyIdeaFactor> {
    let url = table.required::<url::Url>("url", problems).filter(|url| fits(url, problems));
    let mut text = |key, problems: &mut Problems| table.text(key, problems).map(|text| text.value);
    let (realm, user, proxy) = (text("realm", problems), text("user", problems), text("proxy", problems));
    let (has_user, has_password, has_token) =
        (table.holds("user"), table.holds("password"), table.holds("token"));
    let token = folder.secret(&mut table, "token", problems);
    let password = folder.secret(&mut table, "password", problems);
    match (has_token, has_user, has_password) {
        (true, false, false) | (false, true, true) => {}
        (true, _, _) => problems.add(table.place(), "token, or user and password: not both"),
        (false, true, false) => table.missing("password"),
        (false, false, true) => table.missing("user"),
        (false, false, false) => table.missing("token"),
    }
    let path = |table: &mut Table<'_, '_>, key, problems: &mut Problems| {
        table.parsed::<PathBuf>(key, problems).map(|path| folder.path(path.value))
    };
    let ca = path(&mut table, "ca", problems);
    let verify = path(&mut table, "verify", problems);
    table.finish(problems);
    let service = match (token, user, password) {
        (Some(token), None, None) => PrivacyIdeaService::Token(token),
        (None, Some(user), Some(password)) => PrivacyIdeaService::User(user, password),
        _ => return None,
    };
    Some(PrivacyIdeaFactor { url: url?.value.to_string(), realm, service, ca, proxy, verify })
}

/// https, or http to this very machine; passwords and codes go there.
fn fits(url: &At<url::Url>, problems: &mut Problems) -> bool {
    let here = match url.value.host() {
        Some(url::Host::Domain(name)) => name == "localhost",
        Some(url::Host::Ipv4(address)) => address.is_loopback(),
        Some(url::Host::Ipv6(address)) => address.is_loopback(),
        None => false,
    };
    let plain = url.value.query().is_none()
        && url.value.fragment().is_none()
        && url.value.username().is_empty()
        && url.value.password().is_none();
    let message = match url.value.scheme() {
        "https" | "http" if !plain => "url: expected nothing but https://HOST/PATH",
        "https" => return true,
        "http" if here => return true,
        _ => "url: expected https:// (http:// to this machine only)",
    };
    problems.add(url.place.clone(), message);
    false
}
