//! Which box is this? Reads `connector.sds`, the service directory of `gemSpec_Kon` TIP1-A_4528, over https, else http.
//! Absent on purpose: the services it lists, and a login.

use std::sync::Arc;

use quick_xml::Reader;
use quick_xml::events::Event;
use serde::{Deserialize, Serialize};
use tokio::time::Instant;

use crate::konnektor::certificate::{Listener, Pinned, Pins};
use crate::konnektor::http::{Bounds, Target, Wire};
use crate::konnektor::{Error, Product, Spec};
use crate::names::HostPort;

/// A directory is a few kilobytes.
const LIMIT: usize = 1024 * 1024;
const DEPTH: usize = 64;

/// What a box says of itself, without login.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
pub struct Identity {
    /// `KOCOC`, `SECUN`, `RISEG`.
    pub vendor_id: String,
    /// `kocobox`.
    pub product_code: String,
    /// `KoCoBox MED+`.
    pub product_name: String,
    /// `5.1.8`.
    pub firmware: String,
    /// `2.0.0`.
    pub hardware: String,
    /// The directory does not list one; a driver may know it.
    pub serial: Option<String>,
}

impl Identity {
    /// The make with a driver's name, or [`Product::Auto`] where none is known.
    #[must_use]
    pub fn product(&self) -> Product {
        match self.vendor_id.as_str() {
            "KOCOC" => Product::Kocobox,
            "SECUN" => Product::Secunet,
            "RISEG" => Product::Rise,
            _ => Product::Auto,
        }
    }
}

/// Reads the directory over https; where that is away, over http (as `ANCL_DVD_OPEN` allows).
///
/// A changed certificate ends it: http is no way around a pin. What comes over http is a hint, and proves nothing.
///
/// # Errors
/// What the first of them met.
pub async fn identify(spec: &Spec, pins: Arc<dyn Pins>) -> Result<Identity, Error> {
    let deadline = Instant::now() + spec.timeouts.whole;
    let (secure, plain) = match &spec.sds_address {
        Some(address) => (address.clone(), address.clone()),
        None => (beside(&spec.address, 443)?, beside(&spec.address, 80)?),
    };
    let first = match fetch(spec, "https", &secure, Arc::clone(&pins), deadline).await {
        Err(error @ Error::CertificateChanged { .. }) => return Err(error),
        Err(error) => error,
        done @ Ok(_) => return done,
    };
    fetch(spec, "http", &plain, pins, deadline).await.map_err(|_| first)
}

fn beside(address: &HostPort, port: u16) -> Result<HostPort, Error> {
    let host = address.host();
    let text = if host.contains(':') { format!("[{host}]:{port}") } else { format!("{host}:{port}") };
    text.parse().map_err(|_| Error::Setup)
}

async fn fetch(
    spec: &Spec,
    scheme: &'static str,
    address: &HostPort,
    pins: Arc<dyn Pins>,
    deadline: Instant,
) -> Result<Identity, Error> {
    let same_listener = *address == spec.address;
    let listener = if same_listener { Listener::Management } else { Listener::Directory };
    let target = Target {
        scheme,
        address,
        pinned: Pinned { konnektor: spec.id.clone(), listener },
        configured: if same_listener { spec.certificate } else { None },
        welcome: spec.certificate,
        timeouts: spec.timeouts,
        connections: 1,
    };
    let wire = Wire::new(target, pins).await?;
    let bounds = Bounds { bytes: LIMIT, redirects: 3, cookies: 32, deadline };
    let answer = wire.follow(wire.get("/connector.sds")?, bounds).await?;
    if !answer.status.is_success() {
        return Err(Error::Http { status: answer.status.as_u16(), what: "connector.sds".into() });
    }
    parse(&answer.body)
}

/// Takes the texts of `ProductInformation`; the first of each name counts. Entities beyond XML's own five are not read.
fn parse(xml: &[u8]) -> Result<Identity, Error> {
    let text = std::str::from_utf8(xml).map_err(|_| Error::BadDirectory)?;
    let mut reader = Reader::from_str(text);
    let mut path: Vec<String> = Vec::new();
    let mut found = Identity::default();
    loop {
        match reader.read_event().map_err(|_| Error::BadDirectory)? {
            Event::Start(tag) => {
                path.push(String::from_utf8_lossy(tag.local_name().as_ref()).into_owned());
                if path.len() > DEPTH {
                    return Err(Error::BadDirectory);
                }
            }
            Event::End(_) => drop(path.pop()),
            Event::Text(text) => {
                let text = text.decode().map_err(|_| Error::BadDirectory)?;
                note(&mut found, path.last().map_or("", String::as_str), text.trim());
            }
            Event::DocType(_) => return Err(Error::BadDirectory),
            Event::Eof => break,
            Event::Empty(_)
            | Event::CData(_)
            | Event::Comment(_)
            | Event::Decl(_)
            | Event::PI(_)
            | Event::GeneralRef(_) => {}
        }
    }
    if found.vendor_id.is_empty() || !path.is_empty() { Err(Error::BadDirectory) } else { Ok(found) }
}

fn note(found: &mut Identity, tag: &str, text: &str) {
    let field = match tag {
        "ProductVendorID" => &mut found.vendor_id,
        "ProductCode" => &mut found.product_code,
        "ProductName" => &mut found.product_name,
        "FWVersion" => &mut found.firmware,
        "HWVersion" => &mut found.hardware,
        _ => return,
    };
    if field.is_empty() {
        field.extend(text.chars().filter(|c| !c.is_control()).take(128));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SAMPLE: &str = r#"<?xml version="1.0"?><ns:ConnectorServices xmlns:ns="http://ws.gematik.de/conn/ServiceDirectory/v3.1"
        xmlns:p="http://ws.gematik.de/int/version/ProductInformation/v1.1"><p:ProductInformation><p:ProductIdentification>
        <p:ProductVendorID>KOCOC</p:ProductVendorID><p:ProductCode>kocobox</p:ProductCode><p:ProductVersion><p:Local>
        <p:HWVersion>2.0.0</p:HWVersion><p:FWVersion>5.1.8</p:FWVersion></p:Local></p:ProductVersion></p:ProductIdentification>
        <p:ProductMiscellaneous><p:ProductName>KoCoBox MED+</p:ProductName></p:ProductMiscellaneous></p:ProductInformation>
        </ns:ConnectorServices>"#;

    #[test]
    fn a_directory_names_make_and_firmware() {
        let identity = parse(SAMPLE.as_bytes()).unwrap();
        assert_eq!(identity.product(), Product::Kocobox);
        assert_eq!(
            (identity.firmware.as_str(), identity.hardware.as_str(), identity.product_name.as_str()),
            ("5.1.8", "2.0.0", "KoCoBox MED+")
        );
    }

    #[test]
    fn what_is_no_directory_is_refused() {
        let bomb = SAMPLE.replace("<ns:Conn", "<!DOCTYPE x [<!ENTITY a \"b\">]><ns:Conn");
        let cut = &SAMPLE[..400];
        for text in ["", "<html><body>x</body></html>", bomb.as_str(), cut, &"<a>".repeat(100)] {
            assert_eq!(parse(text.as_bytes()), Err(Error::BadDirectory));
        }
    }
}
