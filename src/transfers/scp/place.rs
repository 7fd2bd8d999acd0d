//! Where on the target a file lies that scp names without its folder.
//! Absent on purpose: certainty where only the target has it: both possible paths are given.

use super::super::command::{Request, file_name};
use super::super::event::{Direction, Name};

/// Where a name lies: under the command's path, and where else if that is no folder.
pub(super) fn of(request: &Request, folders: &[Vec<u8>], name: &[u8]) -> (Name, Option<Name>) {
    let below = folders.iter().map(Vec::as_slice).chain([name]);
    match request.direction {
        Direction::Upload => {
            let base = request.paths.first().map_or(b"".as_slice(), Vec::as_slice);
            let folder = request.folder || matches!(file_name(base), b"" | b"." | b"..");
            let other = (!folder).then(|| Name::new(&joined(base, below.clone().skip(1))));
            (Name::new(&joined(base, below)), other)
        }
        Direction::Download => {
            let first = folders.first().map_or(name, Vec::as_slice);
            let named = |path: &&Vec<u8>| file_name(trimmed(path)) == first;
            let base = request.paths.iter().find(named).or(match request.paths.as_slice() {
                [one] => Some(one),
                _ => None,
            });
            let base = base.map_or(b"".as_slice(), |path| trimmed(path));
            let above = base.get(..base.len().saturating_sub(file_name(base).len())).unwrap_or_default();
            (Name::new(&joined(above, below)), None)
        }
    }
}

fn trimmed(path: &[u8]) -> &[u8] {
    let end = path.iter().rposition(|b| *b != b'/').map_or(0, |at| at + 1);
    path.get(..end).unwrap_or(path)
}

fn joined<'a>(base: &[u8], names: impl Iterator<Item = &'a [u8]>) -> Vec<u8> {
    let mut path = base.to_vec();
    for name in names {
        if !path.is_empty() && !path.ends_with(b"/") {
            path.push(b'/');
        }
        path.extend_from_slice(name);
    }
    path
}
