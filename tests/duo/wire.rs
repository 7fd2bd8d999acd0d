//! Who signed a request to Duo, by the documentation's words alone.

use axum::http::request::Parts;
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use jiff::Timestamp;
use sha2::{Digest, Sha512};

/// Names and values, decoded.
pub type Pairs = Vec<(String, String)>;

pub fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect::<Vec<_>>().concat()
}

pub fn sha512(bytes: &[u8]) -> String {
    hex(&Sha512::digest(bytes))
}

pub fn hmac_sha512(skey: &str, text: &str) -> String {
    let mut mac = Hmac::<Sha512>::new_from_slice(skey.as_bytes()).unwrap();
    mac.update(text.as_bytes());
    hex(&mac.finalize().into_bytes())
}

/// `a=b&c=d` as pairs, decoded.
pub fn decoded(text: &str) -> Pairs {
    let part = |text: &str| {
        let mut bytes = Vec::new();
        let mut rest = text.as_bytes();
        while let [first, tail @ ..] = rest {
            if let (b'%', [high, low, more @ ..]) = (first, tail) {
                let code = [*high, *low];
                bytes.push(u8::from_str_radix(std::str::from_utf8(&code).unwrap(), 16).unwrap());
                rest = more;
            } else {
                bytes.push(if *first == b'+' { b' ' } else { *first });
                rest = tail;
            }
        }
        String::from_utf8(bytes).unwrap()
    };
    let pairs = text.split('&').filter(|pair| !pair.is_empty());
    pairs.map(|pair| pair.split_once('=').unwrap_or((pair, ""))).map(|(k, v)| (part(k), part(v))).collect()
}

/// Pairs in Duo's canonical form.
pub fn canonical(pairs: &[(String, String)]) -> String {
    let plain = |text: &str| {
        let keep = |b: u8| b.is_ascii_alphanumeric() || b"_.~-".contains(&b);
        text.bytes()
            .map(|b| if keep(b) { char::from(b).to_string() } else { format!("%{b:02X}") })
            .collect::<String>()
    };
    let mut pairs: Vec<_> = pairs.iter().map(|(k, v)| (plain(k), plain(v))).collect();
    pairs.sort();
    pairs.iter().map(|(k, v)| format!("{k}={v}")).collect::<Vec<_>>().join("&")
}

/// The last line of version 5.
pub fn duo_headers(headers: &[(String, String)]) -> String {
    let mut lower: Vec<_> = headers.iter().map(|(k, v)| (k.to_lowercase(), v)).collect();
    lower.retain(|(name, _)| name.starts_with("x-duo-"));
    lower.sort();
    let joined: Vec<String> = lower.iter().map(|(k, v)| format!("{k}\0{v}")).collect();
    sha512(joined.join("\0").as_bytes())
}

/// Which version a request was signed in, and what it carried; or Duo's number of what is wrong.
pub fn verify(
    (ikey, skey, host): (&str, &str, &str),
    now: Timestamp,
    head: &Parts,
    body: &[u8],
) -> Result<(&'static str, Pairs), u32> {
    let header = |name: &str| head.headers.get(name).map(|value| value.to_str().unwrap().to_owned());
    let basic = header("authorization").ok_or(40101_u32)?;
    let pair =
        BASE64_STANDARD.decode(basic.strip_prefix("Basic ").ok_or(40101_u32)?).map_err(|_| 40101_u32)?;
    let pair = String::from_utf8(pair).map_err(|_| 40101_u32)?;
    let (name, tag) = pair.split_once(':').ok_or(40101_u32)?;
    if name != ikey {
        return Err(40102);
    }
    let date = header("x-duo-date").or_else(|| header("date")).ok_or(40104_u32)?;
    let sent = jiff::fmt::rfc2822::DateTimeParser::new().parse_timestamp(&date).map_err(|_| 40104_u32)?;
    if sent.duration_since(now).abs() > jiff::SignedDuration::from_mins(5) {
        return Err(40105);
    }
    let (method, path) = (head.method.as_str(), head.uri.path());
    let query = decoded(head.uri.query().unwrap_or_default());
    let common = format!("{date}\n{method}\n{host}\n{path}\n");
    let headers: Vec<_> = head
        .headers
        .iter()
        .map(|(name, value)| (name.as_str().to_owned(), value.to_str().unwrap().to_owned()))
        .collect();
    let five = format!("{common}{}\n{}\n{}", canonical(&query), sha512(body), duo_headers(&headers));
    let form = std::str::from_utf8(body).ok().filter(|_| method == "POST").map(decoded);
    let two = format!("{common}{}", canonical(form.as_ref().unwrap_or(&query)));
    let content = header("content-type");
    if tag == hmac_sha512(skey, &five) {
        if method == "GET" {
            return Ok(("v5", query));
        }
        if content.as_deref() != Some("application/json") {
            return Err(40106);
        }
        let object: serde_json::Map<String, serde_json::Value> =
            serde_json::from_slice(body).map_err(|_| 40002_u32)?;
        let pairs = object.into_iter().map(|(k, v)| (k, v.as_str().unwrap().to_owned()));
        return Ok(("v5", pairs.collect()));
    }
    if tag == hmac_sha512(skey, &two) {
        if method == "GET" {
            return Ok(("v2", query));
        }
        if content.as_deref() != Some("application/x-www-form-urlencoded") {
            return Err(40106);
        }
        return Ok(("v2", form.unwrap()));
    }
    Err(40103)
}
