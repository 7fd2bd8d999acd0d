//! The PROXY header: from listed peers it is demanded and believed, from others it is nothing (R61).

use crate::door;

use std::time::Duration;

use door::{Door, Setup};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};

async fn behind(proxies: &str) -> Door {
    let gateway = vec![("# proxies = [\"10.0.0.5/32\"]".into(), format!("proxies = {proxies}"))];
    Door::open(Setup { gateway, gateway_more: "\n".into(), ..Setup::default() }).await
}

/// A listed (127.0.0.2) or any other balancer's connection.
async fn from(door: &Door, address: &str) -> TcpStream {
    let socket = TcpSocket::new_v4().unwrap();
    socket.bind(format!("{address}:0").parse().unwrap()).unwrap();
    socket.connect(([127, 0, 0, 1], door.port).into()).await.unwrap()
}

/// What the gateway says to these bytes within two seconds.
async fn answer(mut stream: TcpStream, bytes: &[u8]) -> String {
    stream.write_all(bytes).await.unwrap();
    let mut said = vec![0; 64];
    let n = tokio::time::timeout(Duration::from_secs(2), stream.read(&mut said))
        .await
        .unwrap_or(Ok(0))
        .unwrap_or(0);
    String::from_utf8_lossy(&said[..n]).into_owned()
}

const V1: &[u8] = b"PROXY TCP4 198.51.100.9 192.0.2.1 50122 22\r\n";

#[tokio::test(flavor = "multi_thread")]
async fn r61_a_listed_peers_header_is_demanded_and_believed() {
    let door = behind("[\"127.0.0.2/32\"]").await;
    assert!(answer(from(&door, "127.0.0.2").await, V1).await.starts_with("SSH-2.0-pforte"));
    assert_eq!(answer(from(&door, "127.0.0.2").await, b"SSH-2.0-x\r\n").await, "", "mandatory");
    assert_eq!(
        answer(from(&door, "127.0.0.2").await, b"PROXY UNKNOWN\r\n").await,
        "",
        "a health check is no client"
    );
    assert_eq!(answer(from(&door, "127.0.0.2").await, &[b'P'; 4096]).await, "");
    let v2 = ppp::v2::Builder::with_addresses(
        ppp::v2::Version::Two | ppp::v2::Command::Proxy,
        ppp::v2::Protocol::Stream,
        ("198.51.100.9:50122".parse::<std::net::SocketAddr>().unwrap(), "192.0.2.1:22".parse().unwrap()),
    );
    assert!(answer(from(&door, "127.0.0.2").await, &v2.build().unwrap()).await.starts_with("SSH-2.0-pforte"));
    door.close().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn r61_the_source_in_the_journal_is_the_headers_and_a_strangers_header_is_no_header() {
    let door = behind("[\"127.0.0.2/32\"]").await;
    // Anybody else: the header is text before the version, which ends the connection.
    let said = answer(from(&door, "127.0.0.3").await, V1).await;
    assert!(said.starts_with("SSH-2.0-pforte"), "it is let in as itself: {said}");
    // A real client through a balancer of our own.
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let gateway = door.port;
    let relay = tokio::spawn(async move {
        let (mut client, _) = listener.accept().await.unwrap();
        let socket = TcpSocket::new_v4().unwrap();
        socket.bind("127.0.0.2:0".parse().unwrap()).unwrap();
        let mut inner = socket.connect(([127, 0, 0, 1], gateway).into()).await.unwrap();
        inner.write_all(V1).await.unwrap();
        tokio::io::copy_bidirectional(&mut client, &mut inner).await.ok();
    });
    let mut ssh = door.ssh_command_to(port, door::JANE, "jane");
    ssh.args(["127.0.0.1", "whoami"]);
    let ran = door::ran(ssh).await;
    relay.abort();
    assert!(ran.stdout.contains("from: 198.51.100.9:50122\n"), "{ran:?}");
    assert_eq!(door.events("login")[0]["from"], "198.51.100.9:50122");
    door.close().await;
}
