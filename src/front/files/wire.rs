//! SFTP version 3 as OpenSSH, `WinSCP`, PuTTY, sshfs and `FileZilla` speak it (draft-ietf-secsh-filexfer-02), the server's side.
//! Absent on purpose: what a request means, and any text: a path stays the bytes that came.
//!
//! The crate `russh-sftp` (3.0.1, read) is not used: its server runs in a task that nobody can end, answers a length beyond its
//! limit by reading on in the middle of the packet, a packet that does not parse with request number 0, and makes text of a
//! path before anybody could write down what came.

use bytes::{Buf, Bytes, BytesMut};

/// The longest packet, its length left out: OpenSSH's own limit.
pub const PACKET: usize = 256 << 10;
/// The most bytes that one READ brings.
pub const READ: u32 = 255 << 10;

/// `SSH_FX_*`
pub mod status {
    /// Done.
    pub const OK: u32 = 0;
    /// The end of a file or folder.
    pub const EOF: u32 = 1;
    /// There is no such file; or it is not open to the person.
    pub const NO_SUCH_FILE: u32 = 2;
    /// Not allowed.
    pub const PERMISSION_DENIED: u32 = 3;
    /// Failed.
    pub const FAILURE: u32 = 4;
    /// No packet of the protocol.
    pub const BAD_MESSAGE: u32 = 5;
    /// Not here.
    pub const OP_UNSUPPORTED: u32 = 8;
}

/// `SSH_FXF_*`
pub mod flags {
    /// For writing.
    pub const WRITE: u32 = 0x02;
    /// At its end.
    pub const APPEND: u32 = 0x04;
    /// Made where there is none.
    pub const CREAT: u32 = 0x08;
    /// Emptied.
    pub const TRUNC: u32 = 0x10;
    /// Only where there is none.
    pub const EXCL: u32 = 0x20;
}

/// What a client asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Request {
    /// Open a file.
    Open { path: Bytes, flags: u32 },
    /// Close a file or folder.
    Close { handle: Bytes },
    /// So many bytes from there.
    Read { handle: Bytes, offset: u64, len: u32 },
    /// These bytes there.
    Write { handle: Bytes, offset: u64, data: Bytes },
    /// What is it? Links there are none, so LSTAT is STAT.
    Stat { path: Bytes },
    /// What is open there?
    FStat { handle: Bytes },
    /// Set a size, or times and permissions, which are nobody's.
    SetStat { path: Bytes, size: Option<u64> },
    /// The same of what is open.
    FSetStat { handle: Bytes, size: Option<u64> },
    /// Open a folder.
    OpenDir { path: Bytes },
    /// Its next entries.
    ReadDir { handle: Bytes },
    /// Remove a file.
    Remove { path: Bytes },
    /// Another name; `replace` what has it.
    Rename { from: Bytes, to: Bytes, replace: bool },
    /// The path written out.
    RealPath { path: Bytes },
    /// fsync@openssh.com
    Sync { handle: Bytes },
    /// limits@openssh.com
    Limits,
    /// Something that is never done here, and to what.
    Never { what: &'static str, path: Bytes },
    /// An extension or type that is not known.
    Unknown,
    /// Not what the type wants.
    Bad,
}

/// Bytes that begin no packet: nothing behind them can be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Broken {
    /// Longer than [`PACKET`].
    #[error("a packet of {0} bytes")]
    TooLong(u32),
    /// Too short for a type and a number.
    #[error("a packet without a number")]
    TooShort,
    /// INIT has to come first, and once.
    #[error("out of order")]
    Order,
}

/// Puts packets together again.
#[derive(Default)]
pub struct Packets {
    buffer: BytesMut,
    greeted: bool,
}

/// One packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    /// INIT.
    Init,
    /// A request and its number.
    Request(u32, Request),
}

impl Packets {
    /// More bytes.
    pub fn push(&mut self, bytes: &[u8]) {
        self.buffer.extend_from_slice(bytes);
    }

    /// The next whole packet.
    pub fn next(&mut self) -> Result<Option<Packet>, Broken> {
        let Some(mut head) = self.buffer.get(..4) else { return Ok(None) };
        let length = head.get_u32();
        let wanted = usize::try_from(length).ok().filter(|n| *n <= PACKET).ok_or(Broken::TooLong(length))?;
        if wanted < 5 {
            return Err(Broken::TooShort);
        }
        if self.buffer.len() < 4 + wanted {
            return Ok(None);
        }
        self.buffer.advance(4);
        let mut packet = Reader(self.buffer.split_to(wanted).freeze());
        let kind = packet.byte().ok_or(Broken::TooShort)?;
        let number = packet.u32().ok_or(Broken::TooShort)?;
        match (kind, self.greeted) {
            (1, false) => {
                self.greeted = true;
                Ok(Some(Packet::Init))
            }
            (1, true) | (_, false) => Err(Broken::Order),
            (kind, true) => Ok(Some(Packet::Request(number, packet.request(kind).unwrap_or(Request::Bad)))),
        }
    }
}

struct Reader(Bytes);

/// The size of ATTRS, if it has one.
struct Size(Option<u64>);

impl Reader {
    fn byte(&mut self) -> Option<u8> {
        self.0.try_get_u8().ok()
    }

    fn u32(&mut self) -> Option<u32> {
        self.0.try_get_u32().ok()
    }

    fn u64(&mut self) -> Option<u64> {
        self.0.try_get_u64().ok()
    }

    fn string(&mut self) -> Option<Bytes> {
        let length = usize::try_from(self.u32()?).ok()?;
        (length <= self.0.len()).then(|| self.0.split_to(length))
    }

    /// ATTRS, of which only a size counts.
    fn attributes(&mut self) -> Option<Size> {
        let present = self.u32()?;
        let size = if present & 1 == 0 { None } else { Some(self.u64()?) };
        for words in [(2, 2), (4, 1), (8, 2)].map(|(flag, words)| if present & flag == 0 { 0 } else { words })
        {
            for _ in 0..words {
                self.u32()?;
            }
        }
        Some(Size(size))
    }

    fn request(&mut self, kind: u8) -> Option<Request> {
        let never = |what, path| Some(Request::Never { what, path });
        Some(match kind {
            3 => Request::Open { path: self.string()?, flags: self.u32()? },
            4 => Request::Close { handle: self.string()? },
            5 => Request::Read { handle: self.string()?, offset: self.u64()?, len: self.u32()? },
            6 => Request::Write { handle: self.string()?, offset: self.u64()?, data: self.string()? },
            7 | 17 => Request::Stat { path: self.string()? },
            8 => Request::FStat { handle: self.string()? },
            9 => Request::SetStat { path: self.string()?, size: self.attributes()?.0 },
            10 => Request::FSetStat { handle: self.string()?, size: self.attributes()?.0 },
            11 => Request::OpenDir { path: self.string()? },
            12 => Request::ReadDir { handle: self.string()? },
            13 => Request::Remove { path: self.string()? },
            14 => return never("mkdir", self.string()?),
            15 => return never("rmdir", self.string()?),
            16 => Request::RealPath { path: self.string()? },
            18 => Request::Rename { from: self.string()?, to: self.string()?, replace: false },
            19 => return never("readlink", self.string()?),
            20 => return never("symlink", self.string()?),
            200 => return self.extended(),
            _ => Request::Unknown,
        })
    }

    fn extended(&mut self) -> Option<Request> {
        let name = self.string()?;
        Some(match name.as_ref() {
            b"posix-rename@openssh.com" => {
                Request::Rename { from: self.string()?, to: self.string()?, replace: true }
            }
            b"fsync@openssh.com" => Request::Sync { handle: self.string()? },
            b"limits@openssh.com" => Request::Limits,
            b"hardlink@openssh.com" => Request::Never { what: "link", path: self.string()? },
            b"expand-path@openssh.com" => {
                let path = self.string()?;
                Request::RealPath {
                    path: path.strip_prefix(b"~").map_or(path.clone(), |rest| path.slice_ref(rest)),
                }
            }
            _ => Request::Unknown,
        })
    }
}

/// What a client is told of a file or folder.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Attributes {
    /// Bytes.
    pub size: u64,
    /// Type and permissions, as in stat(2).
    pub mode: u32,
    /// Seconds since 1970.
    pub time: u32,
}

/// A packet on its way out.
struct Writer(Vec<u8>);

impl Writer {
    fn new(kind: u8, number: u32) -> Self {
        let mut packet = Self(vec![0, 0, 0, 0, kind]);
        packet.u32(number);
        packet
    }

    fn u32(&mut self, n: u32) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    fn u64(&mut self, n: u64) {
        self.0.extend_from_slice(&n.to_be_bytes());
    }

    fn string(&mut self, bytes: &[u8]) {
        self.u32(u32::try_from(bytes.len()).unwrap_or(u32::MAX));
        self.0.extend_from_slice(bytes);
    }

    fn attributes(&mut self, attributes: &Attributes) {
        // Size, permissions, times; owners here have no numbers.
        self.u32(0x1 | 0x4 | 0x8);
        self.u64(attributes.size);
        self.u32(attributes.mode);
        self.u32(attributes.time);
        self.u32(attributes.time);
    }

    fn end(mut self) -> Bytes {
        let length = u32::try_from(self.0.len().saturating_sub(4)).unwrap_or(u32::MAX).to_be_bytes();
        for (to, from) in self.0.iter_mut().zip(length) {
            *to = from;
        }
        self.0.into()
    }
}

/// VERSION.
pub fn version() -> Bytes {
    let mut packet = Writer::new(2, 3);
    for name in
        ["posix-rename@openssh.com", "fsync@openssh.com", "limits@openssh.com", "expand-path@openssh.com"]
    {
        packet.string(name.as_bytes());
        packet.string(b"1");
    }
    packet.end()
}

/// STATUS.
pub fn status(number: u32, code: u32, sentence: &str, language: &str) -> Bytes {
    let mut packet = Writer::new(101, number);
    packet.u32(code);
    packet.string(sentence.as_bytes());
    packet.string(language.as_bytes());
    packet.end()
}

/// HANDLE.
pub fn handle(number: u32, handle: u32) -> Bytes {
    let mut packet = Writer::new(102, number);
    packet.string(&handle.to_be_bytes());
    packet.end()
}

/// DATA.
pub fn data(number: u32, bytes: &[u8]) -> Bytes {
    let mut packet = Writer::new(103, number);
    packet.0.reserve_exact(bytes.len().saturating_add(4));
    packet.string(bytes);
    packet.end()
}

/// NAME: names, long names, attributes.
pub fn names(number: u32, names: &[(String, String, Attributes)]) -> Bytes {
    let mut packet = Writer::new(104, number);
    packet.u32(u32::try_from(names.len()).unwrap_or(u32::MAX));
    for (name, long, attributes) in names {
        packet.string(name.as_bytes());
        packet.string(long.as_bytes());
        packet.attributes(attributes);
    }
    packet.end()
}

/// ATTRS.
pub fn attributes(number: u32, attributes: &Attributes) -> Bytes {
    let mut packet = Writer::new(105, number);
    packet.attributes(attributes);
    packet.end()
}

/// The reply to limits@openssh.com: the longest packet, READ and WRITE, and how many handles.
pub fn limits(number: u32, handles: u64) -> Bytes {
    let mut packet = Writer::new(201, number);
    for n in [PACKET as u64, u64::from(READ), u64::from(READ), handles] {
        packet.u64(n);
    }
    packet.end()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn greeted() -> Packets {
        let mut packets = Packets::default();
        packets.push(&[0, 0, 0, 5, 1, 0, 0, 0, 3]);
        assert_eq!(packets.next(), Ok(Some(Packet::Init)));
        packets
    }

    fn packet(kind: u8, rest: &[u8]) -> Vec<u8> {
        let mut packet = Writer::new(kind, 7);
        packet.0.extend_from_slice(rest);
        packet.end().to_vec()
    }

    #[test]
    fn a_packet_that_comes_byte_by_byte_is_one_packet() {
        let mut packets = greeted();
        let bytes = packet(11, b"\0\0\0\x01/");
        for byte in &bytes[..bytes.len() - 1] {
            packets.push(&[*byte]);
            assert_eq!(packets.next(), Ok(None));
        }
        packets.push(&bytes[bytes.len() - 1..]);
        let request = Request::OpenDir { path: Bytes::from_static(b"/") };
        assert_eq!(packets.next(), Ok(Some(Packet::Request(7, request))));
    }

    #[test]
    fn what_begins_no_packet_ends_it() {
        for (head, why) in [
            ([0xff, 0xff, 0xff, 0xff], Broken::TooLong(u32::MAX)),
            ([0, 4, 0, 1], Broken::TooLong(0x4_0001)),
            ([0, 0, 0, 0], Broken::TooShort),
            ([0, 0, 0, 4], Broken::TooShort),
        ] {
            let mut packets = greeted();
            packets.push(&head);
            assert_eq!(packets.next(), Err(why));
        }
        let mut packets = greeted();
        packets.push(&[0, 0, 0, 5, 1, 0, 0, 0, 3]);
        assert_eq!(packets.next(), Err(Broken::Order), "INIT twice");
        let mut packets = Packets::default();
        packets.push(&packet(11, b"\0\0\0\x01/"));
        assert_eq!(packets.next(), Err(Broken::Order), "INIT not first");
    }

    #[test]
    fn what_does_not_parse_keeps_its_number() {
        for (kind, rest) in [
            (3, &b""[..]),
            (3, b"\xff\xff\xff\xff/x"),
            (6, b"\0\0\0\x04abcd\0\0\0\0\0\0\0\0\0\0\0\x09short"),
            (9, b"\0\0\0\x01/\0\0\0\x0f\0"),
            (200, b"\0\0\0\x18posix-rename@openssh.com\0\0\0\x01a"),
        ] {
            let mut packets = greeted();
            packets.push(&packet(kind, rest));
            assert_eq!(packets.next(), Ok(Some(Packet::Request(7, Request::Bad))), "{kind}");
        }
        for kind in [0, 2, 21, 99, 101, 105, 201, 255] {
            let mut packets = greeted();
            packets.push(&packet(kind, b"x"));
            assert_eq!(packets.next(), Ok(Some(Packet::Request(7, Request::Unknown))), "{kind}");
        }
    }

    proptest::proptest! {
        #[test]
        fn whatever_comes_is_read_or_refused(bytes: Vec<u8>, kind: u8) {
            let mut packets = greeted();
            packets.push(&packet(kind, &bytes));
            packets.push(&bytes);
            while let Ok(Some(_)) = packets.next() {}
        }
    }
}
