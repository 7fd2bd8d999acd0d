//! age around a content: written and read as streams, the sealed bytes held in pieces.
//! Absent on purpose: where they lie, and what the content is.

use std::io::{BufRead, Read, Write};

use age::x25519::{Identity, Recipient};
use bytes::Bytes;
use object_store::PutPayload;
use sha2::{Digest, Sha256};
use zeroize::Zeroizing;

use super::{LARGEST, VaultError};

/// Sealed bytes are held in pieces of this size: one growing buffer of 80 MB would need 200 MB while it grows.
const PIECE: usize = 1 << 20;

/// A sealed content.
pub struct Sealed {
    pieces: Vec<Bytes>,
    /// Bytes of the content.
    pub(super) bytes: u64,
    /// Of the sealed bytes, `sha256:` and hex.
    pub sha256: String,
}

impl Sealed {
    /// Bytes as it is sealed.
    #[must_use]
    pub fn sealed_bytes(&self) -> u64 {
        self.pieces.iter().map(|piece| piece.len() as u64).sum()
    }

    /// The sealed bytes, in pieces.
    #[must_use]
    pub fn pieces(&self) -> &[Bytes] {
        &self.pieces
    }

    /// All of it, shared.
    pub(super) fn payload(&self) -> PutPayload {
        self.pieces.iter().cloned().collect()
    }
}

/// Collects what is written, in pieces.
#[derive(Default)]
struct Pieces {
    full: Vec<Bytes>,
    last: Vec<u8>,
    hash: Sha256,
}

impl Write for Pieces {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        if self.last.capacity() == 0 {
            self.last.reserve_exact(PIECE);
        }
        let taken = buffer.get(..buffer.len().min(PIECE - self.last.len())).unwrap_or_default();
        self.last.extend_from_slice(taken);
        self.hash.update(taken);
        if self.last.len() == PIECE {
            self.full.push(std::mem::take(&mut self.last).into());
        }
        Ok(taken.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

/// Counts what goes through, and ends it where it grows too large.
struct Counted<W> {
    inner: W,
    bytes: u64,
}

impl<W: Write> Write for Counted<W> {
    fn write(&mut self, buffer: &[u8]) -> std::io::Result<usize> {
        self.bytes += buffer.len() as u64;
        if self.bytes > LARGEST {
            return Err(std::io::ErrorKind::FileTooLarge.into());
        }
        self.inner.write_all(buffer)?;
        Ok(buffer.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.inner.flush()
    }
}

/// Encrypts what is written, for these recipients.
///
/// # Errors
/// [`VaultError::NoRecipients`], [`VaultError::TooLarge`], [`VaultError::Store`].
pub fn seal(
    write: impl FnOnce(&mut dyn Write) -> std::io::Result<()>,
    recipients: &[Recipient],
) -> Result<Sealed, VaultError> {
    let failed = |e: std::io::Error| {
        let too_large = e.kind() == std::io::ErrorKind::FileTooLarge;
        if too_large { VaultError::TooLarge } else { VaultError::Store("age".into()) }
    };
    let all = recipients.iter().map(|recipient| recipient as &dyn age::Recipient);
    let encryptor = age::Encryptor::with_recipients(all).map_err(|_| VaultError::NoRecipients)?;
    let writer = encryptor.wrap_output(Pieces::default()).map_err(failed)?;
    // Values are written in small pieces; age seals 64 KiB at a time.
    let mut counted = Counted { inner: std::io::BufWriter::with_capacity(65_536, writer), bytes: 0 };
    write(&mut counted).map_err(failed)?;
    let writer = counted.inner.into_inner().map_err(|e| failed(e.into_error()))?;
    let Pieces { mut full, mut last, hash } = writer.finish().map_err(failed)?;
    last.shrink_to_fit();
    full.push(last.into());
    Ok(Sealed { pieces: full, bytes: counted.bytes, sha256: hex(&hash.finalize()) })
}

/// `sha256:` and hex.
pub(super) fn hex(digest: &[u8]) -> String {
    use std::fmt::Write as _;
    digest.iter().fold(String::from("sha256:"), |mut text, byte| {
        // Writing into a String has no way to fail.
        write!(text, "{byte:02x}").unwrap_or_default();
        text
    })
}

/// All of a stream.
pub(super) fn whole(from: &mut dyn Read) -> std::io::Result<Zeroizing<Vec<u8>>> {
    let mut content = Zeroizing::new(Vec::new());
    from.read_to_end(&mut content).map(|_| content)
}

/// What `read` makes of the content; it counts only if the stream has come to its end undamaged.
pub(super) fn unseal<T>(
    sealed: impl BufRead,
    identities: &[Identity],
    read: impl FnOnce(&mut dyn Read) -> T,
) -> Result<T, VaultError> {
    let decryptor = age::Decryptor::new_buffered(sealed).map_err(|_| VaultError::Damaged)?;
    let all = identities.iter().map(|identity| identity as &dyn age::Identity);
    let mut reader = decryptor.decrypt(all).map_err(|error| {
        let other_key = matches!(error, age::DecryptError::NoMatchingKeys);
        if other_key { VaultError::WrongIdentity } else { VaultError::Damaged }
    })?;
    let done = read(&mut reader);
    // A reader that stopped before the end has not seen whether the rest is whole.
    std::io::copy(&mut reader, &mut std::io::sink()).map_err(|_| VaultError::Damaged)?;
    Ok(done)
}
