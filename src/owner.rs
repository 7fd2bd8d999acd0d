//! Whose files count as ours: root's, our own user's, and, when root asks, those of the users that the package's units run as.
//! Absent on purpose: rights. Who reads a file looks at its mode, too; and users that stand elsewhere than in `/etc/passwd`.

use std::io;
use std::os::unix::fs::{MetadataExt as _, lchown};
use std::path::Path;

/// The users of `contrib/deb/pforte.sysusers`: the gateway's, and a practice's machine's.
pub const SERVICES: [&str; 2] = ["pforte", "pforte-site"];

/// A user, by numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct User {
    /// passwd(5): UID
    pub uid: u32,
    /// passwd(5): GID
    pub gid: u32,
}

/// May a file of this user be believed as far as its owner goes?
///
/// A service believes root and itself. Root, who types `pforte check` or `pforte site status`, believes the services' users as well:
/// what they own is what the services run on.
pub fn is_ours(uid: u32) -> bool {
    let us = rustix::process::geteuid().as_raw();
    trusted(uid, us, || SERVICES.iter().filter_map(|name| user(name)).collect())
}

fn trusted(uid: u32, us: u32, services: impl FnOnce() -> Vec<User>) -> bool {
    uid == 0 || uid == us || (us == 0 && services().iter().any(|service| service.uid == uid))
}

/// The user of that name, if the system has them.
pub fn user(name: &str) -> Option<User> {
    find(&std::fs::read_to_string("/etc/passwd").ok()?, name)
}

/// passwd(5)
fn find(file: &str, name: &str) -> Option<User> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        Some(User { uid: fields.nth(1)?.parse().ok()?, gid: fields.next()?.parse().ok()? })
    })
}

/// Gives these folders below `dir`, and all in them, to a service, if we are root and the system has that service's user: so that
/// what root made can be read by what root starts. `false`: nothing was given.
///
/// # Errors
/// The disk's.
pub fn hand_over(dir: &Path, folders: &[&str], service: &str) -> io::Result<bool> {
    let Some(to) = user(service).filter(|_| rustix::process::geteuid().is_root()) else { return Ok(false) };
    for folder in folders {
        give(&dir.join(folder), to)?;
    }
    Ok(true)
}

/// No link is followed: what it leads to may be anybody's.
fn give(path: &Path, to: User) -> io::Result<()> {
    lchown(path, Some(to.uid), Some(to.gid))?;
    if path.symlink_metadata()?.is_dir() {
        for entry in std::fs::read_dir(path)? {
            give(&entry?.path(), to)?;
        }
    }
    Ok(())
}

/// Gives a file that root has just made beside others to the owner of its folder.
///
/// # Errors
/// The disk's.
pub fn as_its_folder(path: &Path) -> io::Result<()> {
    let Some(folder) = path.parent().filter(|_| rustix::process::geteuid().is_root()) else { return Ok(()) };
    let folder = folder.metadata()?;
    lchown(path, Some(folder.uid()), Some(folder.gid()))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::symlink;

    use super::*;

    #[test]
    fn a_service_believes_root_and_itself_and_root_the_services_too() {
        let services = || vec![User { uid: 995, gid: 995 }];
        assert!(trusted(0, 995, services) && trusted(995, 995, services));
        assert!(!trusted(996, 995, services) && !trusted(994, 995, || vec![User { uid: 994, gid: 1 }]));
        assert!(trusted(995, 0, services) && !trusted(996, 0, services));
    }

    #[test]
    fn users_are_found_by_their_whole_name() {
        let file = "root:x:0:0:root:/root:/bin/sh\npforte-site:x:994:993::/:\nbroken\npforte:x:995:992:,:/:/bin/false\n";
        assert_eq!(find(file, "pforte"), Some(User { uid: 995, gid: 992 }));
        assert_eq!(find(file, "pforte-site"), Some(User { uid: 994, gid: 993 }));
        assert_eq!(find(file, "broken"), None);
    }

    #[test]
    fn what_is_given_is_given_whole_and_nothing_beyond_it() {
        if !rustix::process::geteuid().is_root() {
            return; // only root can give files away
        }
        let dir = tempfile::tempdir().unwrap();
        std::fs::create_dir_all(dir.path().join("state/journal")).unwrap();
        std::fs::write(dir.path().join("outside"), "x").unwrap();
        symlink(dir.path().join("outside"), dir.path().join("state/journal/link")).unwrap();
        give(&dir.path().join("state"), User { uid: 12_345, gid: 12_346 }).unwrap();
        let owner = |path: &str| dir.path().join(path).symlink_metadata().unwrap().uid();
        assert_eq!(["state", "state/journal", "state/journal/link"].map(owner), [12_345; 3]);
        assert_eq!(owner("outside"), 0);
        std::fs::write(dir.path().join("state/new"), "x").unwrap();
        as_its_folder(&dir.path().join("state/new")).unwrap();
        assert_eq!(owner("state/new"), 12_345);
    }
}
