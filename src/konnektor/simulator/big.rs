//! An Infomodell as large as wanted, in the shape of the one that the simulated `KoCoBox` holds.
//! Absent on purpose: chance; the same size gives the same bytes.

use std::io::Write;

/// `gemSpec_Kon` asks for at least 999 Mandanten.
const MANDANTEN: usize = 999;

/// The JSON of an Infomodell for the service `infomodell`, at least this many bytes and at most 64 KiB more, but never less
/// than its 999 Mandanten need (some 130 KiB).
#[must_use]
pub fn big_infomodell(bytes: usize) -> Vec<u8> {
    let mut made = Vec::with_capacity(bytes.max(1 << 17) + (64 << 10));
    // Writing to a Vec does not fail.
    drop(write(&mut made, bytes));
    made
}

fn write(out: &mut Vec<u8>, bytes: usize) -> std::io::Result<()> {
    out.write_all(b"{\"mandanten\":[")?;
    for n in 0..MANDANTEN {
        let iccsn = 80_276_883_110_000_000_000_u128 + n as u128;
        write!(
            out,
            "{}{{\"mandantId\":\"M{n:04}\",\"name\":\"Betriebsst\u{e4}tte {n}\",\"smb\":[\"{iccsn}\"]}}",
            comma(n)
        )?;
    }
    let (start, left) = (out.len(), bytes.saturating_sub(out.len()));
    out.write_all(b"],\"arbeitsplaetze\":[")?;
    let mut places = 0;
    while places == 0 || out.len() < start + left / 4 {
        write!(
            out,
            "{}{{\"workplaceId\":\"Arbeitsplatz-{places:06}\",\"ctIds\":[\"{}\"]}}",
            comma(places),
            terminal(places)
        )?;
        places += 1;
    }
    out.write_all(b"],\"aufrufkontexte\":[")?;
    let mut contexts = 0;
    while contexts == 0 || out.len() < start + left / 8 * 7 {
        let (mandant, place) = (contexts % MANDANTEN, contexts % places);
        write!(
            out,
            "{}{{\"mandantId\":\"M{mandant:04}\",\"clientSystemId\":\"PVS-{contexts}\",\"workplaceId\":\"Arbeitsplatz-{place:06}\"}}",
            comma(contexts)
        )?;
        contexts += 1;
    }
    out.write_all(b"],\"remotePinKts\":[")?;
    let mut pins = 0;
    while pins == 0 || out.len() < bytes {
        let (mandant, place) = (pins % MANDANTEN, pins % places);
        write!(
            out,
            "{}{{\"mandantId\":\"M{mandant:04}\",\"workplaceId\":\"Arbeitsplatz-{place:06}\",\"ctId\":\"{}\"}}",
            comma(pins),
            terminal(pins)
        )?;
        pins += 1;
    }
    out.write_all(b"]}\n")
}

fn comma(nth: usize) -> &'static str {
    if nth == 0 { "" } else { "," }
}

fn terminal(number: usize) -> String {
    format!("CT_ID_{:04}", number % 9999 + 1)
}
