//! Which requests are looked at: to a name of ours, from a page of ours, small. And what every answer and cookie carries.
//! Absent on purpose: who is logged in.

use std::net::{IpAddr, SocketAddr};

use axum::body::Body;
use axum::http::header::{self, HeaderMap, HeaderName, HeaderValue};
use axum::http::{Method, Request, Response, StatusCode};

/// The connection of a request.
#[derive(Clone, Copy, Debug)]
pub(super) struct Peer {
    /// From where.
    pub(super) from: SocketAddr,
    /// To which address of this machine.
    pub(super) to: SocketAddr,
    /// How it is kept from others.
    pub(super) way: Way,
}

/// What keeps others from reading a connection.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Way {
    /// Nothing: this machine's own.
    Plain,
    /// Nothing here: the operator's own proxy speaks TLS to browsers, or should.
    Proxied,
    /// TLS with our own certificate.
    Tls,
    /// TLS with one that browsers take without a question.
    StrictTls,
    /// Nothing, though TLS is spoken there: somebody left out the `https://`.
    Astray,
}

impl Way {
    fn is_tls(self) -> bool {
        match self {
            Self::Tls | Self::StrictTls => true,
            Self::Plain | Self::Proxied | Self::Astray => false,
        }
    }
}

impl Peer {
    /// From this machine to this machine.
    pub(super) fn is_local(self) -> bool {
        self.from.ip().to_canonical().is_loopback() && self.to.ip().to_canonical().is_loopback()
    }
}

/// `Referrer-Policy` is same-origin: with no-referrer browsers send `Origin: null` in our own forms (Fetch §3.1), which
/// on a plain http address of the practice's network would leave nothing to check.
const HEADERS: [(HeaderName, &str); 8] = [
    (
        header::CONTENT_SECURITY_POLICY,
        "default-src 'none'; style-src 'self'; script-src 'self'; connect-src 'self'; img-src 'self'; form-action 'self'; \
         base-uri 'none'; frame-ancestors 'none'",
    ),
    (header::X_FRAME_OPTIONS, "DENY"),
    (header::X_CONTENT_TYPE_OPTIONS, "nosniff"),
    (header::REFERRER_POLICY, "same-origin"),
    (header::CACHE_CONTROL, "no-store"),
    (HeaderName::from_static("cross-origin-resource-policy"), "same-origin"),
    (
        HeaderName::from_static("permissions-policy"),
        "camera=(), microphone=(), geolocation=(), payment=(), usb=()",
    ),
    (HeaderName::from_static("x-robots-tag"), "noindex"),
];

/// RFC 6797, for 30 days. Only where the operator has given a certificate: with one that nobody has signed a browser would
/// offer no way on from its warning (§12.1), and the practice would be locked out of its page. Other names of the host are
/// left alone.
const STRICT: HeaderValue = HeaderValue::from_static("max-age=2592000");

/// On every answer, whatever it is.
pub(super) fn sealed(mut response: Response<Body>, way: Way) -> Response<Body> {
    for (name, value) in HEADERS {
        response.headers_mut().insert(name, HeaderValue::from_static(value));
    }
    if way == Way::StrictTls {
        response.headers_mut().insert(header::STRICT_TRANSPORT_SECURITY, STRICT);
    }
    response
}

/// The answer to a request without TLS where TLS is spoken: a browser is led on, to the same name and nowhere else; what
/// somebody meant to send is not taken.
pub(super) fn led_on(request: &Request<Body>, peer: Peer, names: &[String]) -> Response<Body> {
    let text = |status: StatusCode, text: &'static str| {
        let mut response = Response::new(Body::from(text));
        *response.status_mut() = status;
        response
    };
    let Some(authority) = host(request).filter(|authority| ours(authority, peer, names)) else {
        return text(StatusCode::MISDIRECTED_REQUEST, "");
    };
    let name =
        authority.rsplit_once(':').filter(|(_, port)| !port.contains(']')).map_or(&*authority, |(n, _)| n);
    let path = request.uri().path_and_query().map_or("/", |path| path.as_str());
    let whereto = HeaderValue::from_str(&format!("https://{name}:{}{path}", peer.to.port()));
    let mut response = match (request.method(), whereto) {
        (&Method::GET | &Method::HEAD, Ok(whereto)) => {
            let mut response = text(StatusCode::TEMPORARY_REDIRECT, "");
            response.headers_mut().insert(header::LOCATION, whereto);
            response
        }
        _ => text(
            StatusCode::BAD_REQUEST,
            "Diese Adresse beginnt mit https://\nThis address begins with https://\n",
        ),
    };
    let kind = HeaderValue::from_static("text/plain; charset=utf-8");
    response.headers_mut().insert(header::CONTENT_TYPE, kind);
    response.headers_mut().insert(header::CONNECTION, HeaderValue::from_static("close"));
    response
}

/// Why a request is not looked at.
pub(super) fn refusal(request: &Request<Body>, peer: Peer, names: &[String]) -> Option<StatusCode> {
    let headers = request.headers();
    let Some(authority) = host(request) else { return Some(StatusCode::MISDIRECTED_REQUEST) };
    if !ours(&authority, peer, names) {
        return Some(StatusCode::MISDIRECTED_REQUEST);
    }
    match *request.method() {
        Method::GET | Method::HEAD => None,
        Method::POST if from_us(headers, &authority, peer) => None,
        Method::POST => Some(StatusCode::FORBIDDEN),
        _ => Some(StatusCode::METHOD_NOT_ALLOWED),
    }
}

/// The one Host that the request is to; a target with a host of its own has to say the same (RFC 9112 §3.2).
fn host(request: &Request<Body>) -> Option<String> {
    let mut all = request.headers().get_all(header::HOST).iter();
    let host = all.next()?.to_str().ok()?.to_ascii_lowercase();
    if all.next().is_some() {
        return None;
    }
    let target = request.uri().authority().map(|authority| authority.as_str().to_ascii_lowercase());
    target.is_none_or(|target| target == host).then_some(host)
}

/// One of the names that were set, or the very address that was dialled; else a name of somebody else leads here: a
/// rebound one, whose pages would be of our origin.
fn ours(authority: &str, peer: Peer, names: &[String]) -> bool {
    let (name, port) = match authority.rsplit_once(':') {
        Some((name, port)) if !port.contains(']') => (name, port.parse::<u16>().ok()),
        _ => (authority, Some(if peer.way.is_tls() { 443 } else { 80 })),
    };
    if port.is_none() {
        return false;
    }
    if names.iter().any(|ours| ours.eq_ignore_ascii_case(name)) {
        return true;
    }
    let bare = name.strip_prefix('[').and_then(|name| name.strip_suffix(']')).unwrap_or(name);
    let dialled = bare.parse::<IpAddr>().is_ok_and(|ip| ip.to_canonical() == peer.to.ip().to_canonical());
    port == Some(peer.to.port()) && (dialled || (peer.is_local() && name == "localhost"))
}

/// A form of our own page says so: by its Origin, or by Sec-Fetch-Site where there is none.
fn from_us(headers: &HeaderMap, authority: &str, peer: Peer) -> bool {
    let value = |name: &str| headers.get(name).map(|value| value.to_str().unwrap_or("?"));
    let site = value("sec-fetch-site");
    if site.is_some_and(|site| site != "same-origin") {
        return false;
    }
    let is = |scheme, origin: &str| origin.eq_ignore_ascii_case(&format!("{scheme}://{authority}"));
    match (value("origin"), peer.way) {
        (Some(origin), Way::Plain) => is("http", origin),
        (Some(origin), Way::Tls | Way::StrictTls) => is("https", origin),
        (Some(origin), Way::Proxied) => is("https", origin) || is("http", origin),
        (Some(_), Way::Astray) => false,
        (None, _) => site.is_some(),
    }
}

/// Does the browser speak TLS, to us or to a proxy before us? Then a cookie is to be sent over nothing else. A proxy is told by
/// the form's Origin, which nobody but the browser writes.
pub(super) fn seals_cookies(headers: &HeaderMap, peer: Peer) -> bool {
    let origin = || headers.get(header::ORIGIN).and_then(|origin| origin.to_str().ok()).unwrap_or_default();
    peer.way.is_tls() || (peer.way == Way::Proxied && origin().starts_with("https://"))
}

/// The session's cookie. Over TLS its name has the browser see to it that neither a page without TLS nor another name of the
/// host has set it (RFC 6265bis §4.1.3.2).
pub(super) fn session_name(sealed: bool) -> &'static str {
    if sealed { "__Host-pforte" } else { "pforte" }
}

/// The session's cookie of a request.
pub(super) fn session(headers: &HeaderMap, peer: Peer) -> Option<&str> {
    let of = |sealed| cookie(headers, session_name(sealed));
    match peer.way {
        Way::Tls | Way::StrictTls => of(true),
        Way::Plain => of(false),
        // Which of them the browser got, its login told.
        Way::Proxied => of(true).or_else(|| of(false)),
        Way::Astray => None,
    }
}

/// A cookie of ours.
pub(super) fn cookie<'a>(headers: &'a HeaderMap, name: &str) -> Option<&'a str> {
    let lines = headers.get_all(header::COOKIE).iter().filter_map(|line| line.to_str().ok());
    lines.flat_map(|line| line.split(';')).find_map(|pair| pair.trim().strip_prefix(name)?.strip_prefix('='))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn peer(to: &str) -> Peer {
        Peer { from: "127.0.0.1:50000".parse().unwrap(), to: to.parse().unwrap(), way: Way::Plain }
    }

    #[test]
    fn only_names_of_ours_and_the_address_dialled_are_hosts() {
        let names = ["fernwartung.praxis.example".to_owned()];
        let here = peer("127.0.0.1:8622");
        for good in [
            "127.0.0.1:8622",
            "localhost:8622",
            "fernwartung.praxis.example",
            "Fernwartung.Praxis.example:8622",
        ] {
            assert!(ours(good, here, &names), "{good}");
        }
        for bad in [
            "evil.example:8622",
            "127.0.0.1.evil.example:8622",
            "127.0.0.1:80",
            "127.0.0.1",
            "10.0.0.1:8622",
            "",
            "localhost:x",
            "[::1]:8622",
        ] {
            assert!(!ours(bad, here, &names), "{bad}");
        }
        let network = Peer {
            from: "192.168.1.9:50000".parse().unwrap(),
            to: "192.168.1.2:8622".parse().unwrap(),
            way: Way::Plain,
        };
        assert!(ours("192.168.1.2:8622", network, &names));
        assert!(!ours("localhost:8622", network, &names));
        assert!(ours("[::1]:8622", peer("[::1]:8622"), &names));
    }

    #[test]
    fn a_form_of_another_page_is_told_by_its_headers() {
        let sent = |pairs: &[(&'static str, &'static str)]| {
            let mut headers = HeaderMap::new();
            for (name, value) in pairs {
                headers.insert(*name, HeaderValue::from_static(value));
            }
            from_us(&headers, "localhost:8622", peer("127.0.0.1:8622"))
        };
        assert!(sent(&[("origin", "http://localhost:8622")]));
        assert!(sent(&[("sec-fetch-site", "same-origin")]));
        assert!(!sent(&[]));
        assert!(!sent(&[("origin", "null")]));
        assert!(!sent(&[("origin", "https://localhost:8622")]));
        assert!(!sent(&[("origin", "http://localhost:8623")]));
        assert!(!sent(&[("origin", "http://localhost:8622"), ("sec-fetch-site", "same-site")]));
        assert!(!sent(&[("sec-fetch-site", "cross-site")]));
    }

    #[test]
    fn behind_a_proxy_the_browsers_scheme_may_be_either_and_decides_the_cookie() {
        let proxied = Peer { way: Way::Proxied, ..peer("192.168.1.2:8622") };
        let headers = |scheme: &str| {
            let origin = format!("{scheme}://fernwartung.praxis.example");
            HeaderMap::from_iter([(header::ORIGIN, HeaderValue::from_str(&origin).unwrap())])
        };
        for (scheme, sealed) in [("https", true), ("http", false)] {
            assert!(from_us(&headers(scheme), "fernwartung.praxis.example", proxied), "{scheme}");
            assert_eq!(seals_cookies(&headers(scheme), proxied), sealed, "{scheme}");
        }
        assert!(!from_us(&headers("https"), "evil.example", proxied));
        // On this machine's own address nobody stands between.
        assert!(!seals_cookies(&headers("https"), peer("127.0.0.1:8622")));
    }
}
