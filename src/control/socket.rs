//! The socket in the file system: nobody but its group can reach it at any moment. Absent on purpose: who is served.

use std::os::unix::fs::{DirBuilderExt, FileTypeExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::{fs, io};

use tokio::net::{UnixListener, UnixStream};

/// For the owner and the group.
const MODE: u32 = 0o660;

/// Why there is no socket.
#[derive(Debug, thiserror::Error)]
pub enum NotBound {
    /// Another gateway answers on it.
    #[error("{0}: another gateway answers there")]
    Answered(PathBuf),
    /// Something else is there.
    #[error("{0}: there is something that is no socket")]
    Occupied(PathBuf),
    /// The system says no.
    #[error("{0}: {1}")]
    Failed(PathBuf, io::Error),
}

/// Binds it in a folder of our own, gives it its owner and mode, and only then moves it to its place.
pub(super) async fn bind(path: &Path, group: Option<u32>) -> Result<UnixListener, NotBound> {
    let failed = |e: io::Error| NotBound::Failed(path.to_owned(), e);
    match fs::symlink_metadata(path) {
        Ok(there) if !there.file_type().is_socket() => return Err(NotBound::Occupied(path.to_owned())),
        Ok(_) => match UnixStream::connect(path).await {
            Ok(_) => return Err(NotBound::Answered(path.to_owned())),
            // A dead gateway's.
            Err(e) if e.kind() == io::ErrorKind::ConnectionRefused => {}
            Err(e) => return Err(failed(e)),
        },
        Err(e) if e.kind() == io::ErrorKind::NotFound => {}
        Err(e) => return Err(failed(e)),
    }
    let folder = path.with_extension(format!("new.{}", std::process::id()));
    // Of a process with our number that died right here.
    fs::remove_dir_all(&folder).ok();
    fs::DirBuilder::new().mode(0o700).create(&folder).map_err(failed)?;
    let placed = place(&folder.join("s"), path, group);
    fs::remove_dir_all(&folder).ok();
    placed.map_err(failed)
}

fn place(made: &Path, path: &Path, group: Option<u32>) -> io::Result<UnixListener> {
    let listener = UnixListener::bind(made)?;
    if let Some(group) = group
        && let Err(e) = std::os::unix::fs::chown(made, None, Some(group))
    {
        tracing::warn!("the operator's socket is not given to its group: {e}");
    }
    fs::set_permissions(made, fs::Permissions::from_mode(MODE))?;
    fs::rename(made, path)?;
    Ok(listener)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_dead_socket_is_replaced_and_a_living_one_is_not() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        let first = bind(&path, None).await.unwrap();
        assert_eq!(fs::metadata(&path).unwrap().permissions().mode() & 0o777, MODE);
        assert!(matches!(bind(&path, None).await, Err(NotBound::Answered(_))));
        drop(first);
        let second = bind(&path, None).await.unwrap();
        UnixStream::connect(&path).await.unwrap();
        drop(second);
        assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 1, "nothing else is left");
    }

    #[tokio::test]
    async fn what_is_no_socket_is_left_alone() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("control.sock");
        fs::write(&path, "a file").unwrap();
        assert!(matches!(bind(&path, None).await, Err(NotBound::Occupied(_))));
        fs::remove_file(&path).unwrap();
        std::os::unix::fs::symlink("/nowhere", &path).unwrap();
        assert!(matches!(bind(&path, None).await, Err(NotBound::Occupied(_))));
    }
}
