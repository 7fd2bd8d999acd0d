//! Real clients against the system's sshd, as root on loopback: the tap names each file, its bytes and its hash.
//! Absent on purpose: the relay; a recorder stands where it will, so what is tested is how clients really speak.

use crate::transfers;

use std::ffi::OsStr;
use std::ops::Range;
use std::os::unix::ffi::OsStrExt as _;
use std::path::Path;

use pforte::transfers::{Change, Direction, Event, Extent, Moved, Outcome, Part};
use transfers::{Sshd, Told, content, moves, real, whole, whole_or_read_again};

const KIB: usize = 1024;
/// Names and sizes that break readers: nothing, a byte, one more than a packet's payload, many requests, a full pipeline.
const FILES: &[(&[u8], usize)] = &[
    (b"empty", 0),
    (b"one", 1),
    (b"with space", 32 * KIB + 1),
    ("Müller Straße".as_bytes(), 5 * KIB * KIB),
    (b"big", 64 * KIB * KIB),
];
/// Names that PuTTY's and sftp's command lines cannot say, but scp's and paramiko's can.
const ODD: &[(&[u8], usize)] = &[(b"new\nline", 700), (b"odd \"'\\$x\xff", 800)];

fn write(path: &Path, seed: usize, size: usize) {
    std::fs::write(path, content(seed as u64, size)).unwrap();
}

fn name(bytes: &[u8]) -> &OsStr {
    OsStr::from_bytes(bytes)
}

/// Puts all of `FILES` on one side.
fn lay(sshd: &Sshd, side: impl Fn(&Sshd, &OsStr) -> std::path::PathBuf) {
    for (n, (file, size)) in FILES.iter().enumerate() {
        write(&side(sshd, name(file)), n, *size);
    }
}

fn expected(sshd: &Sshd, direction: Direction) -> Vec<Told> {
    let mut told: Vec<Told> = FILES
        .iter()
        .map(|(file, _)| {
            let (here, there) = (sshd.here(name(file)), sshd.there(name(file)));
            assert_eq!(std::fs::read(&here).unwrap(), std::fs::read(&there).unwrap(), "it was not moved");
            real(&there, direction, &there)
        })
        .collect();
    told.sort();
    told
}

/// A batch of `put "here" "there"` or `get "there" "here"`.
fn batch(sshd: &Sshd, verb: &str) -> String {
    let lines = FILES.iter().map(|(file, _)| {
        let (here, there) = (sshd.here(name(file)), sshd.there(name(file)));
        let (from, to) = if verb == "put" { (here, there) } else { (there, here) };
        format!("{verb} \"{}\" \"{}\"\n", from.display(), to.display())
    });
    lines.collect()
}

#[test]
fn sftp_puts_and_gets_are_told_whole() {
    let sshd = Sshd::start();
    let client = || {
        let mut client = sshd.openssh("sftp");
        client.args(["-b", "-", "root@127.0.0.1"]);
        client
    };
    lay(&sshd, |s, n| s.here(n));
    let told = sshd.run(client(), batch(&sshd, "put").as_bytes());
    assert_eq!(whole(&told), expected(&sshd, Direction::Upload));
    lay(&sshd, |s, n| s.there(n));
    let told = sshd.run(client(), batch(&sshd, "get").as_bytes());
    assert_eq!(whole(&told), expected(&sshd, Direction::Download));
}

#[test]
fn psftp_puts_and_gets_are_told_whole() {
    let sshd = Sshd::start();
    let client = |batch: &str| {
        std::fs::write(sshd.here("batch"), batch).unwrap();
        let mut client = sshd.putty("psftp");
        client.arg("-b").arg(sshd.here("batch")).arg("root@127.0.0.1");
        client
    };
    lay(&sshd, |s, n| s.here(n));
    let told = sshd.run(client(&batch(&sshd, "put")), b"");
    assert_eq!(whole(&told), expected(&sshd, Direction::Upload));
    let told = sshd.run(client(&batch(&sshd, "get")), b"");
    assert_eq!(whole(&told), expected(&sshd, Direction::Download));
}

#[test]
fn paramiko_puts_and_gets_are_told_whole() {
    let sshd = Sshd::start();
    lay(&sshd, |s, n| s.here(n));
    let steps = |verb: &str| -> serde_json::Value {
        let steps = FILES.iter().map(|(file, _)| {
            let (here, there) = (sshd.here(name(file)), sshd.there(name(file)));
            if verb == "put" {
                serde_json::json!([verb, here, there])
            } else {
                serde_json::json!([verb, there, here])
            }
        });
        steps.collect()
    };
    let told = sshd.paramiko(&steps("put"));
    assert_eq!(whole(&told), expected(&sshd, Direction::Upload));
    // Where its prefetch falls behind, it asks for the same once more.
    let told = sshd.paramiko(&steps("get"));
    assert_eq!(whole_or_read_again(&told), expected(&sshd, Direction::Download));
}

#[test]
fn paramiko_out_of_order_and_in_part_is_told_as_it_was() {
    let sshd = Sshd::start();
    let there = sshd.there("f");
    let told = sshd.paramiko(&serde_json::json!([["write_backwards", there, 20, 32768]]));
    assert_eq!(whole(&told), [real(&there, Direction::Upload, &there)]);
    let told = sshd.paramiko(&serde_json::json!([["read_part", there, 100, 50]]));
    let [part] = moves(&told)[..] else { panic!("{told:?}") };
    assert_eq!((part.bytes, part.sha256, part.extent), (50, None, Extent::Partly(Part::Gap)));
    assert_eq!(*one_range(part), 100..150);
}

fn one_range(moved: &Moved) -> &Range<u64> {
    assert!(moved.ranges.len() == 1 && !moved.more_ranges, "{moved:?}");
    &moved.ranges[0]
}

/// scp, new (SFTP) and old (`-O`), and pscp in its two modes.
fn scps(sshd: &Sshd) -> [std::process::Command; 4] {
    let mut clients = [sshd.openssh("scp"), sshd.openssh("scp"), sshd.putty("pscp"), sshd.putty("pscp")];
    clients[1].arg("-O");
    clients[2].arg("-sftp");
    clients[3].arg("-scp");
    clients
}

#[test]
fn every_scp_and_pscp_is_told_whole_both_ways() {
    let sshd = Sshd::start();
    let target = format!("root@127.0.0.1:{}", sshd.there(".").display());
    lay(&sshd, |s, n| s.here(n));
    for mut client in scps(&sshd) {
        let label = format!("{client:?}");
        client.args(FILES.iter().map(|(file, _)| sshd.here(name(file)))).arg(&target);
        let mut told = whole(&sshd.run(client, b""));
        for (path, ..) in &mut told {
            *path = String::from_utf8(path.clone()).unwrap().replace("/./", "/").into_bytes();
        }
        assert_eq!(told, expected(&sshd, Direction::Upload), "{label}");
    }
    for mut client in scps(&sshd) {
        let label = format!("{client:?}");
        let (from, to) = (sshd.there("big"), sshd.here("got"));
        client.arg(format!("root@127.0.0.1:{}", from.display())).arg(&to);
        assert_eq!(whole(&sshd.run(client, b"")), [real(&from, Direction::Download, &to)], "{label}");
    }
}

#[test]
fn a_file_with_another_name_at_the_target_is_told_with_both() {
    let sshd = Sshd::start();
    write(&sshd.here("a"), 1, 100);
    let mut client = sshd.openssh("scp");
    client.arg("-O").arg(sshd.here("a")).arg(format!("root@127.0.0.1:{}", sshd.there("b").display()));
    let told = sshd.run(client, b"");
    let [moved] = moves(&told)[..] else { panic!("{told:?}") };
    assert_eq!(moved.other.as_ref().unwrap().bytes, sshd.there("b").as_os_str().as_bytes());
    assert_eq!(moved.path.bytes, sshd.there("b/a").as_os_str().as_bytes());
    assert!(sshd.there("b").is_file());
}

#[test]
fn odd_names_come_through_both_protocols() {
    let sshd = Sshd::start();
    std::fs::create_dir(sshd.here("odd")).unwrap();
    for (n, (file, size)) in ODD.iter().enumerate() {
        write(&sshd.here("odd").join(name(file)), n, *size);
    }
    for (n, old) in [false, true].into_iter().enumerate() {
        let to = sshd.there(format!("{n}"));
        std::fs::create_dir(&to).unwrap();
        let mut client = sshd.openssh("scp");
        client
            .args(old.then_some("-O"))
            .arg("-r")
            .arg(sshd.here("odd"))
            .arg(format!("root@127.0.0.1:{}", to.display()));
        let told = whole(&sshd.run(client, b""));
        let mut names: Vec<Told> = ODD
            .iter()
            .map(|(file, _)| {
                let real_path = to.join("odd").join(name(file));
                if old && file.contains(&b'\n') {
                    // OpenSSH's old scp sends such a name in its vis(3) form: \^J.
                    let sent = to.join("odd").join("new\\^Jline");
                    real(&sent, Direction::Upload, &sent)
                } else {
                    real(&real_path, Direction::Upload, &real_path)
                }
            })
            .collect();
        names.sort();
        assert_eq!(told, names, "old: {old}");
    }
}

#[test]
fn a_tree_of_two_hundred_files_is_told_file_by_file() {
    let sshd = Sshd::start();
    for n in 0..200usize {
        let folder = sshd.here(format!("tree/{}/{}", n % 7, n % 3));
        std::fs::create_dir_all(&folder).unwrap();
        write(&folder.join(format!("file {n}")), n, n * 101);
    }
    for (n, mut client) in scps(&sshd).into_iter().enumerate() {
        let label = format!("{client:?}");
        let to = sshd.there(format!("{n}"));
        std::fs::create_dir(&to).unwrap();
        client.arg("-r").arg(sshd.here("tree")).arg(format!("root@127.0.0.1:{}", to.display()));
        let events = sshd.run(client, b"");
        let on_disk = |direction: Direction, below: &Path| {
            let mut all: Vec<Told> = (0..200usize)
                .map(|f| format!("tree/{}/{}/file {f}", f % 7, f % 3))
                .map(|file| real(&to.join(&file), direction, &below.join(&file)))
                .collect();
            all.sort();
            all
        };
        assert_eq!(whole(&events), on_disk(Direction::Upload, &to), "{label}");
        let made = |e: &&Event| matches!(e, Event::Changed(c) if c.change == Change::FolderMade && c.outcome == Outcome::Done);
        assert_eq!(events.iter().filter(made).count(), 1 + 7 + 21, "{label}");
        let mut back = scps(&sshd).into_iter().nth(n).unwrap();
        let got = sshd.here(format!("got {n}"));
        std::fs::create_dir(&got).unwrap();
        back.arg("-r").arg(format!("root@127.0.0.1:{}/tree", to.display())).arg(&got);
        assert_eq!(whole(&sshd.run(back, b"")), on_disk(Direction::Download, &got), "{label}");
    }
}

#[test]
fn resumed_transfers_are_told_as_the_part_they_are() {
    let sshd = Sshd::start();
    let all = content(5, 300_000);
    for (verb, direction) in
        [("reget", Direction::Download), ("reput", Direction::Upload), ("put -a", Direction::Upload)]
    {
        let (here, there) = (sshd.here("part"), sshd.there("part"));
        let (from, to) = if direction == Direction::Upload { (&here, &there) } else { (&there, &here) };
        std::fs::write(from, &all).unwrap();
        std::fs::write(to, &all[..100_000]).unwrap();
        let mut client = sshd.openssh("sftp");
        client.args(["-b", "-", "root@127.0.0.1"]);
        let line = format!("{verb} {} {}\n", from.display(), to.display());
        let told = sshd.run(client, line.as_bytes());
        assert_eq!(std::fs::read(to).unwrap(), all, "{verb}");
        let [part] = moves(&told)[..] else { panic!("{told:?}") };
        assert_eq!((part.direction, part.bytes, part.sha256), (direction, 200_000, None), "{verb}");
        assert!(matches!(part.extent, Extent::Partly(Part::Gap | Part::Appended)), "{verb} {part:?}");
        assert_eq!(*one_range(part), 100_000..300_000, "{verb}");
    }
}

#[test]
fn changes_are_told_with_their_outcome() {
    let sshd = Sshd::start();
    write(&sshd.there("a"), 1, 10);
    let mut client = sshd.openssh("sftp");
    client.args(["-b", "-", "root@127.0.0.1"]);
    let there = sshd.there("");
    let script = "mkdir d\nrename a b\nln b hard\nln -s b soft\nchmod 600 b\nchown 1 b\ncp b copy\nrm hard\nrmdir d\n-rm none\nls -l\n";
    let told = sshd.run(client, format!("cd {}\n{script}", there.display()).as_bytes());
    let told: Vec<(String, String, Outcome)> = told
        .iter()
        .filter_map(|event| match event {
            Event::Changed(c) => {
                let path = String::from_utf8_lossy(&c.path.bytes).rsplit('/').next().unwrap().to_owned();
                let what = format!("{:?}", c.change);
                Some((what.split('(').next().unwrap().to_owned(), path, c.outcome))
            }
            Event::Moved(_) | Event::Script(_) | Event::Totals(_) => None,
            Event::Unreadable(why) => panic!("{why}"),
        })
        .collect();
    let expected = [
        ("FolderMade", "d", Outcome::Done),
        ("Renamed", "a", Outcome::Done),
        ("HardLinked", "hard", Outcome::Done),
        ("Linked", "soft", Outcome::Done),
        ("Attributes", "b", Outcome::Done),
        ("Attributes", "b", Outcome::Done),
        ("Copied", "b", Outcome::Done),
        ("Removed", "hard", Outcome::Done),
        ("FolderRemoved", "d", Outcome::Done),
        ("Removed", "none", Outcome::Failed(2)),
    ];
    let expected = expected.map(|(what, path, outcome)| (what.to_owned(), path.to_owned(), outcome));
    assert_eq!(told, expected);
}

#[test]
fn a_script_on_stdin_is_kept() {
    let sshd = Sshd::start();
    let mut client = sshd.openssh("ssh");
    client.args(["root@127.0.0.1", "sh"]);
    let told = sshd.run(client, b"echo done\n");
    let [Event::Script(script)] = told.as_slice() else { panic!("{told:?}") };
    assert_eq!((script.kept.as_deref(), script.bytes), (Some(b"echo done\n".as_slice()), 10));
}
