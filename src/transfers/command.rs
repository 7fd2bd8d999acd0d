//! Which program will take a channel's bytes, read from the command that an exec request carries.
//! Absent on purpose: a shell. A command line that a shell would do more with than split and unquote is none of ours.

use super::event::Direction;

/// What speaks on the channel.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Kind {
    Sftp,
    Scp(Request),
    Rsync,
    Other,
}

/// What scp was asked for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    /// `-t` is an upload, `-f` a download.
    pub(super) direction: Direction,
    /// `-d`: the path must be a folder.
    pub(super) folder: bool,
    /// The paths, unquoted. A glob or a `~` stands as it is.
    pub(super) paths: Vec<Vec<u8>>,
}

/// The longest command that is looked into; OpenSSH's packets take no longer one.
const COMMAND_MAX: usize = 256 * 1024;
/// scp's options that take a value, from OpenSSH's scp.c.
const SCP_VALUED: &[u8] = b"DFJMPSXcilo";

/// Tells the kind of a command.
pub(super) fn kind(command: &[u8]) -> Kind {
    let Some(words) = words(command) else { return Kind::Other };
    let Some((program, arguments)) = words.split_first() else { return Kind::Other };
    match file_name(program) {
        b"scp" => scp(arguments).map_or(Kind::Other, Kind::Scp),
        b"sftp-server" | b"internal-sftp" => Kind::Sftp,
        b"rsync" if arguments.iter().any(|a| a == b"--server") => Kind::Rsync,
        _ => Kind::Other,
    }
}

/// What follows the last slash.
pub(super) fn file_name(path: &[u8]) -> &[u8] {
    path.rsplit(|b| *b == b'/').next().unwrap_or(path)
}

fn scp(arguments: &[Vec<u8>]) -> Option<Request> {
    let mut direction = None;
    let mut folder = false;
    let mut arguments = arguments.iter();
    let mut paths = Vec::new();
    while let Some(argument) = arguments.next() {
        let Some((b'-', options)) = argument.split_first().filter(|(_, options)| !options.is_empty()) else {
            paths.push(argument.clone());
            break;
        };
        if options == b"-" {
            break;
        }
        for (at, option) in options.iter().enumerate() {
            match option {
                b't' => direction = Some(Direction::Upload),
                b'f' => direction = Some(Direction::Download),
                b'd' => folder = true,
                valued if SCP_VALUED.contains(valued) => {
                    if at + 1 == options.len() {
                        arguments.next()?;
                    }
                    break;
                }
                _ => {}
            }
        }
    }
    paths.extend(arguments.cloned());
    Some(Request { direction: direction?, folder, paths }).filter(|request| !request.paths.is_empty())
}

/// Splits as POSIX shells do; none for what they would do more with.
fn words(command: &[u8]) -> Option<Vec<Vec<u8>>> {
    if command.len() > COMMAND_MAX {
        return None;
    }
    let mut words = Vec::new();
    let mut word: Option<Vec<u8>> = None;
    let mut bytes = command.iter().copied();
    while let Some(byte) = bytes.next() {
        match byte {
            b' ' | b'\t' => words.extend(word.take()),
            b'\'' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next()? {
                        b'\'' => break,
                        inside => word.push(inside),
                    }
                }
            }
            b'"' => {
                let word = word.get_or_insert_default();
                loop {
                    match bytes.next()? {
                        b'"' => break,
                        b'$' | b'`' => return None,
                        b'\\' => match bytes.next()? {
                            b'\n' => {}
                            escaped @ (b'"' | b'\\' | b'$' | b'`') => word.push(escaped),
                            other => word.extend([b'\\', other]),
                        },
                        inside => word.push(inside),
                    }
                }
            }
            b'\\' => match bytes.next()? {
                b'\n' => {}
                escaped => word.get_or_insert_default().push(escaped),
            },
            b';' | b'&' | b'|' | b'<' | b'>' | b'(' | b')' | b'$' | b'`' | b'\n' | b'\0' => return None,
            b'#' if word.is_none() => return None,
            plain => word.get_or_insert_default().push(plain),
        }
    }
    words.extend(word);
    Some(words)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn request(command: &str) -> Option<(Direction, bool, Vec<String>)> {
        match kind(command.as_bytes()) {
            Kind::Scp(r) => {
                let paths = r.paths.into_iter().map(|p| String::from_utf8(p).unwrap()).collect();
                Some((r.direction, r.folder, paths))
            }
            Kind::Sftp | Kind::Rsync | Kind::Other => None,
        }
    }

    #[test]
    fn scp_is_known_with_its_options_in_any_order() {
        let upload = |path: &str| Some((Direction::Upload, false, vec![path.to_owned()]));
        let into = |path: &str| Some((Direction::Upload, true, vec![path.to_owned()]));
        let download = |path: &str| Some((Direction::Download, false, vec![path.to_owned()]));
        assert_eq!(request("scp -t /tmp/x"), upload("/tmp/x"));
        assert_eq!(request("/usr/bin/scp -r -p -v -t -- -odd"), upload("-odd"));
        assert_eq!(request("scp -prdt ."), into("."));
        assert_eq!(request("scp  -t -d 'a b'\\''c'"), into("a b'c"));
        assert_eq!(request("'scp' -f \"x \\\"y\\\" \\z\""), download("x \"y\" \\z"));
        assert_eq!(request("scp -l 100 -f a\\ b"), download("a b"));
        assert_eq!(request("scp -f a b").map(|r| r.2), Some(vec!["a".into(), "b".into()]));
    }

    #[test]
    fn a_shells_work_is_not_taken_for_a_program() {
        for command in [
            "scp -t /tmp; rm -rf /",
            "scp -f $(id)",
            "scp -f \"$HOME\"",
            "scp -f x > y",
            "cd /tmp && scp -t .",
            "scp -t x\nid",
            "scp -t 'x",
            "scp -t x\\",
            "scp -t",
            "scp x",
            "scp a host:b",
            "myscp -t x",
            "rsync -a a b",
            "",
            "'",
        ] {
            assert_eq!(kind(command.as_bytes()), Kind::Other, "{command}");
        }
    }

    #[test]
    fn sftp_servers_and_rsync_are_known() {
        assert_eq!(kind(b"/usr/lib/openssh/sftp-server -e"), Kind::Sftp);
        assert_eq!(kind(b"internal-sftp"), Kind::Sftp);
        assert_eq!(kind(b"/usr/bin/rsync --server --sender -r . x"), Kind::Rsync);
    }
}
