//! A client and a server that speak as they are told.

use super::super::super::Tap;
use super::super::super::event::{Direction, Event, Extent, Moved, Name};

pub fn p32(n: u32) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

pub fn p64(n: u64) -> Vec<u8> {
    n.to_be_bytes().to_vec()
}

pub fn string(bytes: &[u8]) -> Vec<u8> {
    [&p32(bytes.len().try_into().unwrap()), bytes].concat()
}

pub fn packet(kind: u8, body: &[u8]) -> Vec<u8> {
    [p32(u32::try_from(body.len() + 1).unwrap()), vec![kind], body.to_vec()].concat()
}

pub fn hash(bytes: &[u8]) -> [u8; 32] {
    use sha2::Digest as _;
    sha2::Sha256::digest(bytes).into()
}

pub fn moved(path: &str, direction: Direction, content: &[u8], extent: Extent) -> Event {
    Event::Moved(Moved {
        path: Name::new(path.as_bytes()),
        other: None,
        direction,
        bytes: content.len() as u64,
        sha256: (extent != Extent::Unfinished).then(|| hash(content)),
        extent,
        ranges: if content.is_empty() { vec![] } else { std::iter::once(0..content.len() as u64).collect() },
        more_ranges: false,
    })
}

pub struct Wire {
    pub tap: Tap,
    next: u32,
}

impl Wire {
    /// With the versions told.
    pub fn new(version: u32) -> Self {
        let mut tap = Tap::for_subsystem(b"sftp");
        assert!(tap.client_sent(&packet(1, &p32(6))).is_empty());
        Self::of(tap, version)
    }

    pub fn of(mut tap: Tap, version: u32) -> Self {
        assert!(tap.target_sent(&packet(2, &[p32(version), string(b"x"), string(b"1")].concat())).is_empty());
        Self { tap, next: 0 }
    }

    /// Sends a request that tells nothing yet; its number.
    pub fn send(&mut self, kind: u8, body: &[u8]) -> u32 {
        self.next += 1;
        assert_eq!(self.tap.client_sent(&packet(kind, &[p32(self.next), body.to_vec()].concat())), []);
        self.next
    }

    pub fn status(&mut self, id: u32, status: u32) -> Vec<Event> {
        let body = [p32(id), p32(status), string(b"said"), string(b"en")].concat();
        self.tap.target_sent(&packet(101, &body))
    }

    pub fn ask(&mut self, kind: u8, body: &[u8], status: u32) -> Vec<Event> {
        let id = self.send(kind, body);
        self.status(id, status)
    }

    pub fn raw_open(&mut self, body: &[u8], handle: &[u8]) {
        let id = self.send(3, body);
        assert_eq!(self.tap.target_sent(&packet(102, &[p32(id), string(handle)].concat())), []);
    }

    pub fn open_as(&mut self, path: &str, flags: u32, handle: &[u8]) {
        self.raw_open(&[string(path.as_bytes()), p32(flags), p32(0)].concat(), handle);
    }

    /// Opens with the handle `h`.
    pub fn open(&mut self, path: &str, flags: u32) {
        self.open_as(path, flags, b"h");
    }

    pub fn write(&mut self, offset: u64, piece: &[u8], status: u32) {
        assert_eq!(self.ask(6, &[string(b"h"), p64(offset), string(piece)].concat(), status), []);
    }

    pub fn ask_read(&mut self, offset: u64, length: u32) -> u32 {
        self.send(5, &[string(b"h"), p64(offset), p32(length)].concat())
    }

    pub fn data(&mut self, id: u32, piece: &[u8]) {
        assert_eq!(self.tap.target_sent(&packet(103, &[p32(id), string(piece)].concat())), []);
    }

    pub fn read(&mut self, offset: u64, length: u32, piece: &[u8]) {
        let id = self.ask_read(offset, length);
        self.data(id, piece);
    }

    pub fn read_status(&mut self, offset: u64, status: u32) {
        let id = self.ask_read(offset, 4);
        assert_eq!(self.status(id, status), []);
    }

    pub fn close(&mut self, status: u32) -> Vec<Event> {
        self.ask(4, &string(b"h"), status)
    }
}
