//! The link over a real network of our own: behind NAT, cut, moved, lossy, half-open, over a gateway's restart, to two gateways.
#![allow(
    clippy::pedantic,
    clippy::wrong_self_convention,
    clippy::wildcard_enum_match_arm,
    clippy::disallowed_methods,
    clippy::large_futures,
    reason = "tests, which run real programs"
)]

use crate::wires;

use std::time::{Duration, Instant};

use tokio::io::AsyncReadExt as _;
use wires::{HOST, OUTER, World, ran};

const SOON: Duration = Duration::from_secs(20);

/// A visit: a session at the practice's machine that says when it is in.
async fn visit(world: &World, gateway: &wires::Gateway) -> tokio::process::Child {
    let mut ssh = world.ssh(gateway, &[HOST, "echo in; exec sleep 100"]);
    let mut child = ssh.stdout(std::process::Stdio::piped()).spawn().unwrap();
    let mut first = [0; 3];
    let mut out = child.stdout.take().unwrap();
    tokio::time::timeout(SOON, out.read_exact(&mut first)).await.unwrap().unwrap();
    child
}

#[tokio::test(flavor = "multi_thread")]
async fn a_practice_behind_nat_is_reached_over_its_own_link_and_over_nothing_else() {
    let world = World::new();
    let gateway = world.gateway("198.51.100.1").await;
    let _sshd = world.sshd(&[&gateway]);
    let mut site = world.site(&[&gateway], "");
    site.begin(&world).await;
    gateway.linked(1, SOON).await;
    // Nothing of the practice answers from outside.
    for (host, port) in [(OUTER, 22), (OUTER, 2022), (OUTER, 8022), ("192.168.77.2", 2022)] {
        let mut knock = world.world.command("timeout");
        knock.args(["2", "bash", "-c", &format!("echo > /dev/tcp/{host}/{port}")]);
        assert_ne!(ran(knock).await.code, 0, "{host}:{port}");
    }
    let refused = world.ran(&gateway, &[HOST, "echo there"]).await;
    assert!(refused.code == 255 && refused.stderr.contains("has not switched maintenance on"), "{refused:?}");
    // One step is not enough, and the second not without the first.
    assert_ne!(site.says(&["allow", "firm"]).await.code, 0);
    site.does(&["open", "--for", "30m"]).await;
    let refused = world.ran(&gateway, &[HOST, "echo there"]).await;
    assert_eq!(refused.code, 255, "{refused:?}");
    site.does(&["allow", "firm"]).await;
    let there = world.settles(&gateway, true, SOON).await;
    assert_eq!(there.stdout, "there\n");
    // The practice sees who is in, and what is done.
    let mut visiting = visit(&world, &gateway).await;
    let begun = Instant::now();
    let present = loop {
        let status = site.status().await;
        let present = status["present"].as_array().unwrap().clone();
        if present.iter().any(|who| who["deeds"].to_string().contains("exec sleep 100")) {
            break present;
        }
        assert!(begun.elapsed() < SOON, "{status:#}");
        tokio::time::sleep(Duration::from_millis(100)).await;
    };
    assert_eq!(present.last().unwrap()["user"], "firm-jane.doe");
    // Closed: out within a second, and nobody comes any more.
    let begun = Instant::now();
    site.does(&["close"]).await;
    let ended = tokio::time::timeout(SOON, visiting.wait()).await.unwrap().unwrap();
    assert!(!ended.success());
    assert!(begun.elapsed() < Duration::from_secs(3), "{:?}", begun.elapsed());
    let refused = world.ran(&gateway, &[HOST, "echo there"]).await;
    assert_eq!(refused.code, 255, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_cable_that_is_pulled_ends_the_visit_and_the_link_is_back_soon_after_it_is_plugged_in() {
    let world = World::new();
    let gateway = world.gateway("198.51.100.1").await;
    let _sshd = world.sshd(&[&gateway]);
    let mut site = world.site(&[&gateway], "[link]\nalive = \"2s\"\n");
    site.begin(&world).await;
    gateway.linked(1, SOON).await;
    site.does(&["open"]).await;
    site.does(&["allow", "firm"]).await;
    world.settles(&gateway, true, SOON).await;
    let mut visiting = visit(&world, &gateway).await;
    world.cable(false);
    // The gateway hears nothing, and its lease runs out: it cannot keep the door open by itself.
    let ended = tokio::time::timeout(Duration::from_secs(70), visiting.wait()).await.unwrap().unwrap();
    assert!(!ended.success());
    let refused = world.ran(&gateway, &[HOST, "echo there"]).await;
    assert_eq!(refused.code, 255, "{refused:?}");
    world.cable(true);
    let took = gateway.linked(2, SOON).await;
    assert!(took < Duration::from_secs(5), "{took:?}");
    // The customer said so for longer than that: they are still let in, by a lease of the new link.
    world.settles(&gateway, true, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_new_address_and_a_line_that_takes_nothing_are_noticed_and_dialled_anew() {
    let world = World::new();
    let gateway = world.gateway("198.51.100.1").await;
    let _sshd = world.sshd(&[&gateway]);
    let mut site = world.site(&[&gateway], "[link]\nalive = \"2s\"\n");
    site.begin(&world).await;
    gateway.linked(1, SOON).await;
    world.moves(OUTER, "198.51.100.78");
    gateway.linked(2, Duration::from_secs(40)).await;
    site.does(&["open"]).await;
    site.does(&["allow", "firm-jane.doe"]).await;
    world.settles(&gateway, true, SOON).await;
    let froms: Vec<String> = gateway
        .events("link")
        .iter()
        .map(|line| line["from"].as_str().unwrap_or_default().to_owned())
        .collect();
    assert!(froms.iter().any(|from| from.starts_with("198.51.100.78:")), "{froms:?}");
    // Half-open: everything is swallowed in silence, for a while.
    world.loses(100);
    tokio::time::sleep(Duration::from_secs(12)).await;
    world.loses(0);
    gateway.linked(3, Duration::from_secs(40)).await;
    world.settles(&gateway, true, SOON).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn with_a_tenth_of_all_packets_lost_technicians_work_all_the_same() {
    let world = World::new();
    let gateway = world.gateway("198.51.100.1").await;
    let _sshd = world.sshd(&[&gateway]);
    let mut site = world.site(&[&gateway], "");
    world.loses(10);
    site.begin(&world).await;
    gateway.linked(1, Duration::from_secs(60)).await;
    site.does(&["open"]).await;
    site.does(&["allow", "firm"]).await;
    world.settles(&gateway, true, Duration::from_secs(60)).await;
    let much = world.ran(&gateway, &[HOST, "head -c 300000 /dev/zero | sha256sum"]).await;
    assert_eq!(much.code, 0, "{much:?}");
    let data = world.ran(&gateway, &[HOST, "head -c 300000 /dev/zero"]).await;
    assert_eq!((data.code, data.stdout.len()), (0, 300_000));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_gateway_that_restarts_during_a_visit_knows_of_no_consent_until_the_site_says_so_again() {
    let world = World::new();
    let mut gateway = world.gateway("198.51.100.1").await;
    let _sshd = world.sshd(&[&gateway]);
    let mut site = world.site(&[&gateway], "");
    site.begin(&world).await;
    gateway.linked(1, SOON).await;
    site.does(&["open"]).await;
    site.does(&["allow", "firm"]).await;
    world.settles(&gateway, true, SOON).await;
    let mut visiting = visit(&world, &gateway).await;
    gateway.kill().await;
    assert!(!tokio::time::timeout(SOON, visiting.wait()).await.unwrap().unwrap().success());
    gateway.begin(&world).await;
    gateway.linked(2, Duration::from_secs(90)).await;
    world.settles(&gateway, true, SOON).await;
    // And a site that restarts is closed.
    site.kill().await;
    site.begin(&world).await;
    gateway.linked(3, SOON).await;
    let refused = world.ran(&gateway, &[HOST, "echo there"]).await;
    assert_eq!(refused.code, 255, "{refused:?}");
}

#[tokio::test(flavor = "multi_thread")]
async fn one_site_is_linked_to_two_gateways_and_a_copied_state_opens_neither() {
    let world = World::new();
    let one = world.gateway("198.51.100.1").await;
    let mut two = world.gateway("198.51.100.2").await;
    let _sshd = world.sshd(&[&one, &two]);
    let mut site = world.site(&[&one, &two], "");
    site.begin(&world).await;
    one.linked(1, SOON).await;
    two.linked(1, SOON).await;
    site.does(&["open"]).await;
    site.does(&["allow", "firm"]).await;
    world.settles(&one, true, SOON).await;
    world.settles(&two, true, SOON).await;
    let (mut first, mut second) = (visit(&world, &one).await, visit(&world, &two).await);
    site.does(&["close"]).await;
    for visiting in [&mut first, &mut second] {
        assert!(!tokio::time::timeout(SOON, visiting.wait()).await.unwrap().unwrap().success());
    }
    // The first one's state, while it is open there, in the second one's place, which the site does not reach.
    site.does(&["open"]).await;
    site.does(&["allow", "firm"]).await;
    world.settles(&one, true, SOON).await;
    two.kill().await;
    for file in std::fs::read_dir(one.dir.join("state")).unwrap() {
        let file = file.unwrap().path();
        let name = file.file_name().unwrap().to_str().unwrap().to_owned();
        if name.starts_with("pforte.sqlite") {
            std::fs::copy(&file, two.dir.join("state").join(name)).unwrap();
        }
    }
    std::fs::remove_file(two.dir.join(format!("keys/sites/{}.pub", wires::SITE))).unwrap();
    two.begin(&world).await;
    let refused = world.ran(&two, &[HOST, "echo there"]).await;
    assert!(refused.code == 255 && refused.stderr.contains("no link to this gateway"), "{refused:?}");
}
