//! All sites come back at once, or somebody pretends that they do: technicians notice nothing, and whoever says a link's name and
//! nothing else is ended.

use crate::door;
use crate::practice;

use std::net::{Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use door::{Door, Setup};
use pforte::link::IDENT;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

const GREETING: &[u8] = b"SSH-2.0-pforte\r\n";

/// From an address of its own.
async fn dial(door: &Door, from: u8) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(SocketAddr::new(Ipv4Addr::new(127, 7, 0, from).into(), 0)).unwrap();
    socket.connect(([127, 0, 0, 1], door.port).into()).await.unwrap()
}

/// Says a link's name.
async fn link(door: &Door, from: u8) -> TcpStream {
    let mut stream = dial(door, from).await;
    stream.write_all(format!("{IDENT}\r\n").as_bytes()).await.unwrap();
    stream
}

/// The gateway's first line, if it gets one.
async fn greeting(stream: &mut TcpStream) -> bool {
    let mut said = [0; GREETING.len()];
    let read = tokio::time::timeout(Duration::from_secs(10), stream.read_exact(&mut said));
    read.await.unwrap_or_else(|_| panic!("neither a greeting nor an end")).is_ok() && said == *GREETING
}

/// Returns when the gateway has ended the connection.
async fn ended(mut stream: TcpStream, within: Duration) -> bool {
    let all = async { while stream.read(&mut [0; 4096]).await.is_ok_and(|n| n > 0) {} };
    tokio::time::timeout(within, all).await.is_ok()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_technician_gets_in_while_every_turn_of_links_is_taken_by_slow_ones() {
    let door = Door::open(Setup::default()).await;
    let mut slow = Vec::new();
    for n in 0..200 {
        slow.push(link(&door, n % 25).await);
    }
    // 128 have their turn and our name; the others wait for theirs.
    let mut greeted = 0;
    for stream in &mut slow {
        let mut said = [0; GREETING.len()];
        let read = tokio::time::timeout(Duration::from_millis(500), stream.read_exact(&mut said));
        greeted += usize::from(read.await.is_ok_and(|read| read.is_ok()));
        if greeted == 128 {
            break;
        }
    }
    assert_eq!(greeted, 128);
    let begun = Instant::now();
    let ran = door.ssh(&["whoami"]).await;
    assert_eq!(ran.code, 0, "{ran:?}");
    // Sooner than the first of them gives its turn back.
    assert!(begun.elapsed() < Duration::from_secs(15), "{:?}", begun.elapsed());
    drop(slow);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whoever_says_a_links_name_and_nothing_else_is_ended_by_its_grace() {
    let more = "\n[limits]\nkey_grace = \"2s\"\n".to_owned();
    let door = Door::open(Setup { gateway_more: more, ..Setup::default() }).await;
    let mut stream = link(&door, 1).await;
    assert!(greeting(&mut stream).await);
    assert!(ended(stream, Duration::from_secs(15)).await, "it stays");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn more_handshakes_than_a_source_may_have_are_turned_away_and_another_sources_are_not() {
    let more = "\n[limits]\nlink_handshakes_per_source = 3\n".to_owned();
    let door = Door::open(Setup { gateway_more: more, ..Setup::default() }).await;
    let mut held = Vec::new();
    for _ in 0..3 {
        let mut stream = link(&door, 1).await;
        assert!(greeting(&mut stream).await);
        held.push(stream);
    }
    assert!(!greeting(&mut link(&door, 1).await).await, "a fourth of the same source");
    assert!(greeting(&mut link(&door, 2).await).await);
    drop(held);
    // A place comes back when its handshake has ended.
    let begun = Instant::now();
    while !greeting(&mut link(&door, 1).await).await {
        assert!(begun.elapsed() < Duration::from_secs(10), "no place comes back");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_handshake_more_than_there_may_be_waits_for_its_turn() {
    let more = "\n[limits]\nlink_handshakes = 2\n".to_owned();
    let door = Door::open(Setup { gateway_more: more, ..Setup::default() }).await;
    let mut held = Vec::new();
    for n in 1..=2 {
        let mut stream = link(&door, n).await;
        assert!(greeting(&mut stream).await);
        held.push(stream);
    }
    let mut third = link(&door, 3).await;
    let mut said = [0; 1];
    let early = tokio::time::timeout(Duration::from_secs(1), third.read(&mut said));
    assert!(early.await.is_err(), "it has a turn, or is turned away");
    held.pop();
    assert!(greeting(&mut third).await);
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn one_link_more_than_there_may_be_is_turned_away_until_another_has_ended() {
    let more = "\n[limits]\nlinks = 2\n".to_owned();
    let door = Door::open(Setup { gateway_more: more, ..Setup::default() }).await;
    let mut held = Vec::new();
    for n in 1..=2 {
        let mut stream = link(&door, n).await;
        assert!(greeting(&mut stream).await);
        held.push(stream);
    }
    assert!(!greeting(&mut link(&door, 3).await).await, "a third");
    held.pop();
    let begun = Instant::now();
    while !greeting(&mut link(&door, 3).await).await {
        assert!(begun.elapsed() < Duration::from_secs(10), "no place comes back");
    }
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_whose_first_line_does_not_come_is_ended_by_its_grace() {
    let setup = Setup {
        gateway_more: "\n[limits]\nkey_grace = \"5s\"\n".to_owned(),
        files: vec![("keys/sites/praxis-mueller.pub", practice::public(1), 0o644)],
        ..Setup::default()
    };
    let door = Door::open(setup).await;
    let mut site = practice::bare(([127, 0, 0, 1], door.port).into(), practice::SITE, 1).await;
    // It begins, and no more of it comes.
    site.to.write_all(b"{").await.unwrap();
    site.to.flush().await.unwrap();
    let ended = tokio::time::timeout(Duration::from_secs(20), site.mux.gone().cancelled());
    assert!(ended.await.is_ok(), "it stays");
    assert_eq!(door.wait_for("refused", 1).await[0]["cause"], "no-hello");
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_link_is_known_by_its_first_bytes_however_slowly_they_come() {
    // One place for technicians: a link that was taken for one would keep the other out.
    let more = "\n[limits]\nunproven_per_source = 1\n".to_owned();
    let door = Door::open(Setup { gateway_more: more, ..Setup::default() }).await;
    let pauses = [Duration::from_millis(2), Duration::from_millis(40)];
    let mut links = Vec::new();
    for pause in pauses {
        let mut stream = dial(&door, 1).await;
        for byte in format!("{IDENT}\r\n").bytes() {
            stream.write_all(&[byte]).await.unwrap();
            // The client's slowness is what is tested.
            tokio::time::sleep(pause).await;
        }
        assert!(greeting(&mut stream).await, "{pause:?}");
        links.push(stream);
    }
    // Both are links by now, and so is this one, that waits for the gateway's name before it says its own.
    let mut late = dial(&door, 1).await;
    assert!(greeting(&mut late).await);
    late.write_all(format!("{IDENT}\r\n").as_bytes()).await.unwrap();
    // Greeted once: what follows is the key exchange, a packet's length first.
    assert_eq!(late.read_u8().await.unwrap(), 0);
    let mut technician = dial(&door, 1).await;
    assert!(greeting(&mut technician).await, "a link holds a technician's place");
    assert!(!greeting(&mut dial(&door, 1).await).await, "a second technician before a key");
    drop((links, late));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_late_link_is_let_in_as_a_link() {
    let sites = "keys/sites/praxis-mueller.pub";
    let door =
        Door::open(Setup { files: vec![(sites, practice::public(1), 0o644)], ..Setup::default() }).await;
    let mut stream = dial(&door, 1).await;
    // It says nothing until it is greeted; what it reads is given to its SSH again.
    let mut said = [0; GREETING.len()];
    stream.read_exact(&mut said).await.unwrap();
    let (near, mut far) = tokio::io::duplex(64 << 10);
    far.write_all(&said).await.unwrap();
    let carrying = tokio::spawn(async move {
        tokio::io::copy_bidirectional(&mut stream, &mut far).await.ok();
    });
    let handle = practice::ssh_over(near, "site:praxis-mueller", 1, practice::IDENT).await;
    assert!(handle.is_ok(), "{:?}", handle.err());
    drop(handle);
    carrying.abort();
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_says_nothing_is_a_technicians_and_is_greeted_and_ended_by_its_grace() {
    let more = "\n[limits]\nkex_grace = \"2s\"\n".to_owned();
    let door = Door::open(Setup { gateway_more: more, ..Setup::default() }).await;
    let begun = Instant::now();
    let mut silent = dial(&door, 1).await;
    assert!(greeting(&mut silent).await);
    assert!(ended(silent, Duration::from_secs(15)).await, "it stays");
    assert!(begun.elapsed() >= Duration::from_millis(1800), "{:?}", begun.elapsed());
    door.close().await;
}
