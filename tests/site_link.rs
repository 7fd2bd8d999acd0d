//! The site's agent against a gateway made for the test: dialled, proven, kept, lost and back; proxies; keys.
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::posing;

use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use pforte::link::frames::{ToGateway, ToSite};
use pforte::site::desk::{About, Shine};
use posing::proxies::{self, Wire};
use posing::site::{Site, table};
use posing::{Gateway, WITHIN, soon};

/// A site and its gateway, running and linked.
async fn linked(more: &str) -> (Gateway, Site, posing::Talk) {
    let (mut gateway, mut site) = apart(more).await;
    site.start().await;
    let talk = gateway.linked().await;
    (gateway, site, talk)
}

/// The same, the site not started.
async fn apart(more: &str) -> (Gateway, Site) {
    let site = Site::new("", &table("127.0.0.1:1".parse().unwrap(), 1)).await;
    let gateway = Gateway::start(1, Some(site.public.clone())).await;
    site.configure("", &format!("{}{more}", table(gateway.address, 1)));
    (gateway, site)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_says_who_it_is_at_once_and_keeps_its_link() {
    let (gateway, site, mut talk) = linked("[link]\nalive = \"1s\"\n").await;
    assert_eq!(gateway.counts.idents.lock().unwrap()[0], pforte::link::IDENT);
    assert_eq!(talk.up.user, "site:praxis-mueller");
    // It lives, counted up; answered, the link stays.
    for number in 1..=4 {
        let alive = |line| match line {
            ToGateway::Alive { number } => Some(number),
            _ => None,
        };
        assert_eq!(talk.hear(alive).await, number);
    }
    let view = site
        .until(|view| {
            let green = |about| view.lights.iter().any(|l| l.about == about && l.shine == Shine::Green);
            [About::Gateway, About::Key, About::Clock, About::PublicAddress].into_iter().all(green)
        })
        .await;
    let address = view.lights.iter().find(|light| light.about == About::PublicAddress).unwrap();
    assert!(address.says.de.contains("203.0.113.7:50122"), "{address:?}");
    assert_eq!(gateway.connections(), 1);
    assert!(!view.switch.open && view.named.is_empty());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_clock_that_is_wrong_is_a_red_light() {
    let (mut gateway, mut site) = apart("").await;
    site.start().await;
    let ahead = Timestamp::now() - SignedDuration::from_mins(7);
    let _talk = gateway.up().await.greet(ahead).await;
    let red = |l: &pforte::site::desk::Light| l.about == About::Clock && l.shine == Shine::Red;
    let view = site.until(|view| view.lights.iter().any(red)).await;
    let light = view.lights.iter().find(|light| red(light)).unwrap();
    assert!(light.says.en.contains("minutes fast") && light.advice.is_some(), "{light:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn to_another_key_nothing_is_sent_and_the_light_says_which() {
    let mut site = Site::new("", &table("127.0.0.1:1".parse().unwrap(), 1)).await;
    let gateway = Gateway::start(2, Some(site.public.clone())).await;
    site.configure("", &table(gateway.address, 1));
    site.start().await;
    let red = |l: &pforte::site::desk::Light| l.about == About::Key && l.shine == Shine::Red;
    let view = site.until(|view| view.lights.iter().any(red)).await;
    let light = view.lights.iter().find(|light| red(light)).unwrap();
    let advice = &light.advice.as_ref().unwrap().en;
    let pinned = posing::key(1).public_key().fingerprint(ssh_key::HashAlg::Sha256).to_string();
    assert!(advice.contains(&gateway.fingerprint()) && advice.contains(&pinned), "{advice}");
    assert_eq!(gateway.logins(), 0, "no key was shown, no name said");
    assert!(site.events().contains(&"link-refused".to_owned()), "{:?}", site.record());
}

#[tokio::test(flavor = "multi_thread")]
async fn a_site_that_is_not_known_there_says_so_and_tries_ever_more_slowly() {
    let (_, mut site) = apart("").await;
    let gateway = Gateway::start(1, None).await;
    site.configure("", &table(gateway.address, 1));
    site.start().await;
    let red = |l: &pforte::site::desk::Light| l.about == About::Key && l.shine == Shine::Red;
    let view = site.until(|view| view.lights.iter().any(red)).await;
    let advice = view.lights.iter().find(|light| red(light)).unwrap().advice.clone().unwrap();
    assert!(advice.en.contains("keys/sites/praxis-mueller.pub"), "{advice:?}");
    soon(async {
        while gateway.connections() < 3 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    })
    .await;
    let times = gateway.counts.times.lock().unwrap().clone();
    assert!(times.windows(2).all(|two| two[1] - two[0] >= Duration::from_secs(1)), "{times:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_comes_back_is_linked_again_and_after_a_good_bye_within_seconds() {
    let (gateway, site, mut talk) = linked("").await;
    let (address, public) = (gateway.address, site.public.clone());
    let began = tokio::time::Instant::now();
    talk.say(&ToSite::Bye { reason: "restart".into() }).await;
    let mut gateway = gateway;
    let talk = gateway.linked().await;
    assert!(began.elapsed() < Duration::from_secs(4), "{:?}", began.elapsed());
    // Without a word: it is gone, and there again.
    drop((talk, gateway));
    let mut gateway = Gateway::at(address, 1, Some(public)).await;
    gateway.linked().await;
    let ups = || site.events().iter().filter(|event| *event == "link-up").count();
    soon(async {
        while ups() < 3 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    })
    .await;
    let events = site.events();
    assert!(events.iter().filter(|event| *event == "link-down").count() >= 2, "{events:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_on_which_nobody_answers_is_given_up_and_made_anew() {
    let (mut gateway, mut site) = apart("").await;
    let wire = Wire::to(gateway.address).await;
    site.configure("", &format!("{}[link]\nalive = \"1s\"\n", table(wire.address, 1)));
    site.start().await;
    let _half_open = gateway.linked().await;
    site.until(|view| view.lights.iter().any(|l| l.about == About::Gateway && l.shine == Shine::Green)).await;
    // Half open: TCP lives, nothing comes.
    wire.freezes(true);
    let began = tokio::time::Instant::now();
    site.until(|view| view.lights.iter().any(|l| l.about == About::Gateway && l.shine == Shine::Red)).await;
    let noticed = began.elapsed();
    assert!(noticed < Duration::from_secs(5), "{noticed:?}");
    wire.freezes(false);
    gateway.linked().await;
    let causes: Vec<String> = site.record().iter().map(|line| line["cause"].to_string()).collect();
    assert!(causes.iter().any(|cause| cause.contains("silent")), "{causes:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn through_an_http_proxy_with_its_password_and_through_socks() {
    for kind in ["http", "socks5"] {
        let (mut gateway, mut site) = apart("").await;
        let (proxy, asked) = match kind {
            "http" => proxies::http("HTTP/1.1 200 Connection established\r\nX-Proxy: squid\r\n\r\n").await,
            _ => proxies::socks().await,
        };
        let password = site.home().join("secrets/proxy");
        posing::site::secret(&password, "hunter2");
        let port = gateway.address.port();
        let host_key = gateway.key.public_key().to_openssh().unwrap();
        let tables = format!(
            "[[gateway]]\naddress = \"localhost:{port}\"\nhost_key = \"{host_key}\"\nproxy = \"{kind}://{proxy}\"\n\
             proxy_user = \"praxis\"\nproxy_password = {{ file = \"secrets/proxy\" }}\n"
        );
        site.configure("", &tables);
        site.start().await;
        gateway.linked().await;
        let asked = asked.lock().unwrap()[0].clone();
        if kind == "http" {
            assert!(asked.starts_with(&format!("CONNECT localhost:{port} HTTP/1.1\r\n")), "{asked}");
            assert!(asked.contains("Proxy-Authorization: Basic cHJheGlzOmh1bnRlcjI=\r\n"), "{asked}");
        } else {
            assert_eq!(asked, format!("praxis:hunter2 localhost:{port}"), "the proxy looks the name up");
        }
        assert!(!site.log().contains("hunter2"), "no password in a log");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_proxy_that_says_no_or_says_too_much_is_no_way_and_a_red_light() {
    let endless: &'static str = Box::leak(format!("HTTP/1.1 200 OK\r\nX: {}", "x".repeat(20_000)).into());
    for (answer, says) in [
        ("HTTP/1.1 407 Proxy Authentication Required\r\n\r\n", "407"),
        (endless, "too long"),
        ("SSH-2.0-x\r\n\r\n", "no HTTP"),
    ] {
        let (gateway, mut site) = apart("").await;
        let (proxy, _) = proxies::http(answer).await;
        site.configure("", &format!("{}proxy = \"http://{proxy}\"\n", table(gateway.address, 1)));
        site.start().await;
        let red = |l: &pforte::site::desk::Light| l.about == About::Gateway && l.shine == Shine::Red;
        let view = site.until(|view| view.lights.iter().any(red)).await;
        let light = view.lights.iter().find(|light| red(light)).unwrap();
        assert!(light.says.en.contains(says), "{light:?}");
        assert_eq!(gateway.logins(), 0);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_is_dialled_by_ipv6() {
    let mut site = Site::new("", &table("[::1]:1".parse().unwrap(), 1)).await;
    let mut gateway = Gateway::at("[::1]:0".parse().unwrap(), 1, Some(site.public.clone())).await;
    site.configure("", &table(gateway.address, 1));
    site.start().await;
    let _talk = gateway.linked().await;
    let green = |l: &pforte::site::desk::Light| l.about == About::Key && l.shine == Shine::Green;
    site.until(|view| view.lights.iter().any(green)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_gateways_have_a_link_each_and_the_next_address_is_tried() {
    let (mut one, mut site) = apart("").await;
    let mut two = Gateway::start(2, Some(site.public.clone())).await;
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
    let host_key = two.key.public_key().to_openssh().unwrap();
    let second =
        format!("[[gateway]]\naddress = [\"{nobody}\", \"{}\"]\nhost_key = \"{host_key}\"\n", two.address);
    site.configure("", &format!("{}{second}", table(one.address, 1)));
    site.start().await;
    let (_first, _second) = (one.linked().await, two.linked().await);
    let green = |l: &&pforte::site::desk::Light| l.about == About::Key && l.shine == Shine::Green;
    site.until(|view| view.lights.iter().filter(green).count() == 2).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn when_open_nothing_is_dialled_while_it_is_closed() {
    let (mut gateway, mut site) = apart("[link]\ndial = \"when-open\"\n").await;
    site.start().await;
    tokio::time::sleep(Duration::from_millis(1500)).await;
    assert_eq!(gateway.connections(), 0);
    site.does(&["open"]).await;
    let mut talk = gateway.linked().await;
    site.does(&["close"]).await;
    talk.hear(|line| matches!(line, ToGateway::Closed).then_some(())).await;
    tokio::time::timeout(WITHIN, talk.up.mux.gone().cancelled()).await.unwrap();
}
