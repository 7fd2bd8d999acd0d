//! `[second_factor.duo]`: which application at Duo, and how it is reached.
//! Absent on purpose: asking; and whether Duo knows these keys, which it says itself after the start.

use std::path::PathBuf;
use std::str::FromStr;

use crate::config::files::Folder;
use crate::config::problems::Problems;
use crate::config::reader::Table;
use crate::names::HostPort;
use crate::secret::Secret;

/// The Duo provider's settings.
pub struct DuoFactor {
    /// Duo's host for this customer, in lower case.
    pub host: HostPort,
    /// The application's public name.
    pub ikey: String,
    /// The application's key.
    pub skey: Secret,
    /// A CA file, PEM, instead of the system's.
    pub ca: Option<PathBuf>,
    /// A proxy for CONNECT.
    pub proxy: Option<String>,
    /// How requests are signed.
    pub signature: DuoSignature,
    /// Which device rings; `auto` unless the file says otherwise.
    pub device: String,
    /// Does it count if Duo lets somebody through unasked? Off unless the file says otherwise.
    pub bypass: bool,
}

/// How requests to Duo are signed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DuoSignature {
    /// Version 5.
    V5,
    /// Version 2, with SHA-512 too.
    V2,
}

/// `api-XXXXXXXX.duosecurity.com`, or with a port.
struct Host(HostPort);

impl FromStr for Host {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let lower = text.to_ascii_lowercase();
        let with_port = if lower.contains(':') { lower } else { format!("{lower}:443") };
        with_port.parse().map(Self).map_err(|_| "is no host name; Duo's is api-XXXXXXXX.duosecurity.com")
    }
}

/// `DI` and 18 letters or digits.
struct IntegrationKey(String);

impl FromStr for IntegrationKey {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let rest = text.strip_prefix("DI").filter(|rest| rest.len() == 18);
        let well = rest.is_some_and(|rest| rest.bytes().all(|b| b.is_ascii_alphanumeric()));
        if well { Ok(Self(text.to_owned())) } else { Err("is no ikey: DI and 18 letters or digits") }
    }
}

/// `http://HOST:PORT`, nothing behind it.
struct Proxy(String);

impl FromStr for Proxy {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let address = text.strip_prefix("http://").map(|rest| rest.strip_suffix('/').unwrap_or(rest));
        let address = address.and_then(|address| address.parse::<HostPort>().ok());
        address.map(|address| Self(format!("http://{address}"))).ok_or("is no proxy: http://HOST:PORT")
    }
}

/// `auto`, or Duo's name of a device.
struct DeviceName(String);

impl FromStr for DeviceName {
    type Err = &'static str;
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let well = (1..=64).contains(&text.len()) && text.bytes().all(|b| b.is_ascii_alphanumeric());
        if well { Ok(Self(text.to_owned())) } else { Err("is no device: auto, or DP and letters or digits") }
    }
}

pub(super) fn read(folder: &Folder, mut table: Table<'_, '_>, problems: &mut Problems) -> Option<DuoFactor> {
    let host = table.required::<Host>("host", problems);
    let ikey = table.required::<IntegrationKey>("ikey", problems);
    let skey = folder.secret(&mut table, "skey", problems);
    if !table.holds("skey") {
        table.missing("skey");
    }
    let ca = table.parsed::<PathBuf>("ca", problems).map(|ca| folder.path(ca.value));
    let proxy = table.parsed::<Proxy>("proxy", problems).map(|proxy| proxy.value.0);
    let versions = [("v5", DuoSignature::V5), ("v2", DuoSignature::V2)];
    let signature = table.one_of("signature", &versions, problems).unwrap_or(DuoSignature::V5);
    let device = table.parsed::<DeviceName>("device", problems);
    let bypass = table.flag("bypass", problems).unwrap_or(false);
    table.finish(problems);
    Some(DuoFactor {
        host: host?.value.0,
        ikey: ikey?.value.0,
        // A key has no spaces; a line may end with some.
        skey: skey.map(|skey| Secret::new(skey.reveal().trim().to_owned()))?,
        ca,
        proxy,
        signature,
        device: device.map_or_else(|| "auto".into(), |device| device.value.0),
        bypass,
    })
}
