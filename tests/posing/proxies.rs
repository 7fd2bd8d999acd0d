//! Proxies and a wire: an HTTP proxy that knows CONNECT, a SOCKS 5 proxy with a password, and a wire that can be cut or freeze.

use std::net::SocketAddr;
use std::sync::{Arc, Mutex};

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _, copy_bidirectional};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::watch;

/// What was asked of a proxy.
pub type Asked = Arc<Mutex<Vec<String>>>;

/// Takes CONNECT; the answer before the tunnel is `answer`.
pub async fn http(answer: &'static str) -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Asked::default());
    let log = asked.clone();
    tokio::spawn(async move {
        loop {
            let (mut stream, _) = listener.accept().await.unwrap();
            let log = log.clone();
            tokio::spawn(async move {
                let mut header = Vec::new();
                while !header.ends_with(b"\r\n\r\n") {
                    header.push(stream.read_u8().await.unwrap());
                }
                let header = String::from_utf8(header).unwrap();
                let to = header.split(' ').nth(1).unwrap().to_owned();
                log.lock().unwrap().push(header);
                stream.write_all(answer.as_bytes()).await.ok();
                if answer.contains(" 200 ") {
                    let mut target = TcpStream::connect(to).await.unwrap();
                    copy_bidirectional(&mut stream, &mut target).await.ok();
                }
            });
        }
    });
    (address, asked)
}

/// SOCKS 5 with user and password (RFC 1928, 1929), by hand.
pub async fn socks() -> (SocketAddr, Asked) {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let (address, asked) = (listener.local_addr().unwrap(), Asked::default());
    let log = asked.clone();
    tokio::spawn(async move {
        loop {
            let (mut s, _) = listener.accept().await.unwrap();
            let log = log.clone();
            tokio::spawn(async move {
                assert_eq!(s.read_u8().await.unwrap(), 5);
                let mut methods = vec![0; usize::from(s.read_u8().await.unwrap())];
                s.read_exact(&mut methods).await.unwrap();
                assert!(methods.contains(&2));
                s.write_all(&[5, 2]).await.unwrap();
                assert_eq!(s.read_u8().await.unwrap(), 1);
                let mut said = Vec::new();
                for _ in 0..2 {
                    let mut text = vec![0; usize::from(s.read_u8().await.unwrap())];
                    s.read_exact(&mut text).await.unwrap();
                    said.push(String::from_utf8(text).unwrap());
                }
                s.write_all(&[1, 0]).await.unwrap();
                let mut head = [0; 4];
                s.read_exact(&mut head).await.unwrap();
                let host = match head[3] {
                    1 => {
                        let mut ip = [0; 4];
                        s.read_exact(&mut ip).await.unwrap();
                        std::net::Ipv4Addr::from(ip).to_string()
                    }
                    3 => {
                        let mut name = vec![0; usize::from(s.read_u8().await.unwrap())];
                        s.read_exact(&mut name).await.unwrap();
                        String::from_utf8(name).unwrap()
                    }
                    other => panic!("address of kind {other}"),
                };
                let port = s.read_u16().await.unwrap();
                log.lock().unwrap().push(format!("{} {host}:{port}", said.join(":")));
                s.write_all(&[5, 0, 0, 1, 0, 0, 0, 0, 0, 0]).await.unwrap();
                let mut target = TcpStream::connect((host, port)).await.unwrap();
                copy_bidirectional(&mut s, &mut target).await.ok();
            });
        }
    });
    (address, asked)
}

/// Between a site and a gateway.
pub struct Wire {
    pub address: SocketAddr,
    frozen: watch::Sender<bool>,
}

impl Wire {
    pub async fn to(target: SocketAddr) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let (frozen, is_frozen) = watch::channel(false);
        tokio::spawn(async move {
            loop {
                let (stream, _) = listener.accept().await.unwrap();
                let is_frozen = is_frozen.clone();
                tokio::spawn(async move {
                    let Ok(target) = TcpStream::connect(target).await else { return };
                    let ((a, b), (c, d)) = (stream.into_split(), target.into_split());
                    tokio::spawn(carry(a, d, is_frozen.clone()));
                    carry(c, b, is_frozen).await;
                });
            }
        });
        Self { address, frozen }
    }

    /// Nothing more goes through what is open, and nobody is told; what comes later goes through if `later`.
    pub fn freezes(&self, frozen: bool) {
        self.frozen.send_replace(frozen);
    }
}

async fn carry(
    mut from: tokio::net::tcp::OwnedReadHalf,
    mut to: tokio::net::tcp::OwnedWriteHalf,
    mut frozen: watch::Receiver<bool>,
) {
    let mut buffer = vec![0; 16 << 10];
    loop {
        let Ok(n) = from.read(&mut buffer).await else { return };
        if n == 0 {
            return;
        }
        if frozen.wait_for(|frozen| !frozen).await.is_err() || to.write_all(&buffer[..n]).await.is_err() {
            return;
        }
    }
}
