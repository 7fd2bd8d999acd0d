//! Who is at the other end of the socket, as the kernel says (`SO_PEERCRED`, unix(7)), and may they ask?
//! Absent on purpose: passwords, and groups that stand elsewhere than in `/etc/group`.

use std::fmt;

use tokio::net::UnixStream;

/// Somebody who may ask.
#[derive(Debug, Clone)]
pub(super) struct Operator {
    uid: u32,
    login: Option<String>,
    /// The user who logged in before `sudo` (audit's loginuid); a hint.
    before: Option<u32>,
}

impl fmt::Display for Operator {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "uid={}", self.uid)?;
        if let Some(login) = &self.login {
            write!(f, " login={login}")?;
        }
        self.before.map_or(Ok(()), |before| write!(f, " loginuid={before}"))
    }
}

/// A line of `/etc/group`.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Group {
    pub(super) id: u32,
    members: Vec<String>,
}

/// The group of that name, if the system has it.
pub(super) fn group(name: &str) -> Option<Group> {
    find_group(&std::fs::read_to_string("/etc/group").ok()?, name)
}

/// group(5)
fn find_group(file: &str, name: &str) -> Option<Group> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        if fields.next() != Some(name) {
            return None;
        }
        let id = fields.nth(1)?.parse().ok()?;
        let members = fields.next()?.split(',').filter(|m| !m.is_empty()).map(ToOwned::to_owned).collect();
        Some(Group { id, members })
    })
}

/// passwd(5)
fn find_login(file: &str, uid: u32) -> Option<String> {
    file.lines().find_map(|line| {
        let mut fields = line.split(':');
        let name = fields.next()?;
        (fields.nth(1)?.parse() == Ok(uid)).then(|| name.to_owned())
    })
}

/// Two small files are read; the answer to who may not is what is known of them.
pub(super) fn admit(stream: &UnixStream, named: &str) -> Result<Operator, String> {
    let peer = stream.peer_cred().map_err(|e| format!("unknown: {e}"))?;
    let login = std::fs::read_to_string("/etc/passwd").ok().and_then(|file| find_login(&file, peer.uid()));
    let before = peer
        .pid()
        .and_then(|pid| std::fs::read_to_string(format!("/proc/{pid}/loginuid")).ok())
        .and_then(|text| text.trim().parse().ok())
        .filter(|before| *before != u32::MAX && *before != peer.uid());
    let own = rustix::process::geteuid().as_raw();
    let member = || {
        group(named).is_some_and(|group| {
            group.id == peer.gid() || login.as_ref().is_some_and(|login| group.members.contains(login))
        })
    };
    let operator = |login| Operator { uid: peer.uid(), login, before };
    if peer.uid() == 0 || peer.uid() == own || member() {
        Ok(operator(login))
    } else {
        Err(format!("{} gid={}", operator(login.clone()), peer.gid()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn groups_and_logins_are_found_by_whole_fields() {
        let groups = "root:x:0:\npforte-x:x:7:eve\npforte:x:990:jane,joe\nbroken\npforte:x:991:eve\n";
        let members = ["jane", "joe"].map(ToOwned::to_owned).to_vec();
        assert_eq!(find_group(groups, "pforte"), Some(Group { id: 990, members }));
        assert_eq!(find_group(groups, "root").unwrap().members, Vec::<String>::new());
        assert!(find_group(groups, "x").is_none() && find_group(groups, "broken").is_none());
        let logins = "root:x:0:0:root:/root:/bin/sh\njane:x:10:100::/:\n";
        assert_eq!(find_login(logins, 10).as_deref(), Some("jane"));
        assert_eq!(find_login(logins, 100), None);
    }
}
