//! The system's sshd on loopback, with a recorder between it and what it runs; and the recordings read by a tap.

use std::ffi::OsStr;
use std::io::{Read as _, Write as _};
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use pforte::init::{make_key, write_new};
use pforte::transfers::{Direction, Event, Extent, Moved, Part, Tap};
use sha2::{Digest as _, Sha256};
use tempfile::TempDir;

/// No client may take longer.
const PATIENCE: Duration = Duration::from_mins(2);

/// sshd and its folder; ends with it.
pub struct Sshd {
    dir: TempDir,
    child: Child,
    pub port: u16,
}

impl Drop for Sshd {
    fn drop(&mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

fn command(program: impl AsRef<OsStr>) -> Command {
    #[expect(clippy::disallowed_methods, reason = "real clients are the test")]
    Command::new(program)
}

impl Sshd {
    pub fn start() -> Self {
        let dir = tempfile::tempdir().unwrap();
        let root = dir.path();
        std::fs::DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd").unwrap();
        for folder in ["records", "here", "there"] {
            std::fs::create_dir(root.join(folder)).unwrap();
        }
        let key = make_key(&root.join("key"), "client").unwrap();
        let public = key.public_key().to_openssh().unwrap();
        write_new(&root.join("authorized_keys"), format!("{public}\n").as_bytes(), 0o600).unwrap();
        let host = make_key(&root.join("host"), "host").unwrap();
        let print = host.public_key().fingerprint(russh::keys::HashAlg::Sha256).to_string();
        write_new(&root.join("host_print"), print.as_bytes(), 0o600).unwrap();
        let recorder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transfers/record.py");
        // sshd takes no listening socket: a free port is looked for, and tried again if somebody was quicker.
        for _ in 0..5 {
            let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let text = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {0}/host\nAuthorizedKeysFile {0}/authorized_keys\nStrictModes no\n\
                 PermitRootLogin yes\nPasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPidFile none\n\
                 LogLevel QUIET\nUseDNS no\nSetEnv HOME={0}/there\nSubsystem sftp /usr/lib/openssh/sftp-server\n\
                 ForceCommand exec {1} {2} {0}/records\n",
                root.display(),
                python().display(),
                recorder.display(),
            );
            std::fs::write(root.join("sshd_config"), text).unwrap();
            let mut child = command("/usr/sbin/sshd")
                .args(["-D", "-e", "-f"])
                .arg(root.join("sshd_config"))
                .stdin(Stdio::null())
                .spawn()
                .unwrap();
            let until = Instant::now() + Duration::from_secs(10);
            while Instant::now() < until && child.try_wait().unwrap().is_none() {
                if std::net::TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { dir, child, port };
                }
                std::thread::yield_now();
            }
            child.kill().ok();
            child.wait().unwrap();
        }
        panic!("sshd does not start");
    }

    /// A file on the client's side.
    pub fn here(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.dir.path().join("here").join(name.as_ref())
    }

    /// A file on the target's side.
    pub fn there(&self, name: impl AsRef<OsStr>) -> PathBuf {
        self.dir.path().join("there").join(name.as_ref())
    }

    /// OpenSSH's `program` with the connection's options.
    pub fn openssh(&self, program: &str) -> Command {
        let mut client = command(program);
        client
            .args(["-F", "none", "-q", "-o", "BatchMode=yes", "-o", "StrictHostKeyChecking=no"])
            .args(["-o", "UserKnownHostsFile=/dev/null", "-o", "IdentitiesOnly=yes"])
            .args(["-o", &format!("Port={}", self.port), "-i"])
            .arg(self.dir.path().join("key"));
        client
    }

    /// PuTTY's `program` with the connection's options.
    pub fn putty(&self, program: &str) -> Command {
        let root = self.dir.path();
        if !root.join("key.ppk").exists() {
            let made = command("puttygen")
                .arg(root.join("key"))
                .arg("-o")
                .arg(root.join("key.ppk"))
                .output()
                .unwrap();
            assert!(made.status.success(), "{made:?}");
        }
        let mut client = command(program);
        client
            .env("HOME", root)
            .args(["-batch", "-P", &self.port.to_string(), "-hostkey"])
            .arg(std::fs::read_to_string(root.join("host_print")).unwrap())
            .arg("-i")
            .arg(root.join("key.ppk"));
        client
    }

    /// paramiko's `SFTPClient` with these calls.
    pub fn paramiko(&self, steps: &serde_json::Value) -> Vec<Event> {
        let mut client = command(python());
        client
            .args(["-W", "ignore"])
            .arg(Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/transfers/paramiko_sftp.py"));
        let key = self.dir.path().join("key");
        let order = serde_json::json!({ "port": self.port, "key": key, "steps": steps });
        self.run(client, order.to_string().as_bytes())
    }

    /// Runs a client to its end, which must be a good one; what the tap says of it.
    pub fn run(&self, client: Command, stdin: &[u8]) -> Vec<Event> {
        let (output, events) = self.try_run(client, stdin);
        assert!(output.status.success(), "{output:?}\n{events:?}");
        events
    }

    /// Runs a client to its end.
    pub fn try_run(&self, mut client: Command, stdin: &[u8]) -> (Output, Vec<Event>) {
        let records = self.dir.path().join("records");
        std::fs::remove_dir_all(&records).unwrap();
        std::fs::create_dir(&records).unwrap();
        let mut child = client
            .current_dir(self.dir.path().join("here"))
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap_or_else(|e| panic!("{client:?}: {e}"));
        let mut to = child.stdin.take().unwrap();
        let stdin = stdin.to_vec();
        std::thread::spawn(move || to.write_all(&stdin));
        let output = child.wait_with_output().unwrap();
        let mut events = Vec::new();
        let mut names: Vec<PathBuf> =
            std::fs::read_dir(&records).unwrap().map(|e| e.unwrap().path()).collect();
        names.sort();
        for name in names {
            events.extend(replay(&name));
        }
        (output, events)
    }
}

fn python() -> PathBuf {
    let venv = std::env::var("PFORTE_VENV")
        .expect("PFORTE_VENV names no Python environment with paramiko; tests/run makes one");
    Path::new(&venv).join("bin/python")
}

/// One recording, once its last piece is there, through a tap.
fn replay(path: &Path) -> Vec<Event> {
    let until = Instant::now() + PATIENCE;
    loop {
        if let Some(events) = replayed(path) {
            return events;
        }
        assert!(Instant::now() < until, "{} has no end", path.display());
        std::thread::yield_now();
    }
}

fn replayed(path: &Path) -> Option<Vec<Event>> {
    let mut file = std::io::BufReader::new(std::fs::File::open(path).unwrap());
    let mut tap = None;
    let mut events = Vec::new();
    loop {
        let mut head = [0; 5];
        file.read_exact(&mut head).ok()?;
        let [who, length @ ..] = head;
        let mut piece = vec![0; u32::from_be_bytes(length) as usize];
        file.read_exact(&mut piece).ok()?;
        let Some(tap) = &mut tap else {
            tap = Some(Tap::for_exec(&piece));
            continue;
        };
        match who {
            b'c' => events.extend(tap.client_sent(&piece)),
            b't' => events.extend(tap.target_sent(&piece)),
            _ => break,
        }
    }
    events.extend(tap?.end());
    Some(events)
}

/// What is told of a file: path, direction, bytes, hash.
pub type Told = (Vec<u8>, Direction, u64, [u8; 32]);

/// What should be told of a file that is now on the disk.
pub fn real(path: &Path, direction: Direction, on_disk: &Path) -> Told {
    let content = std::fs::read(on_disk).unwrap();
    (path.as_os_str().as_bytes().to_vec(), direction, content.len() as u64, Sha256::digest(&content).into())
}

/// The moves among events; each must be whole.
pub fn whole(events: &[Event]) -> Vec<Told> {
    told(events, |m| assert_eq!(m.extent, Extent::Whole, "{m:?}"))
}

/// The moves among events; each must be whole, or read twice in part.
pub fn whole_or_read_again(events: &[Event]) -> Vec<Told> {
    told(events, |m| assert!(matches!(m.extent, Extent::Whole | Extent::Partly(Part::Overlap)), "{m:?}"))
}

fn told(events: &[Event], check: impl Fn(&Moved)) -> Vec<Told> {
    let mut told: Vec<Told> = moves(events)
        .into_iter()
        .map(|m| {
            check(m);
            let [range] = m.ranges.as_slice() else {
                assert!(m.ranges.is_empty(), "{m:?}");
                return (m.path.bytes.clone(), m.direction, 0, m.sha256.unwrap());
            };
            (m.path.bytes.clone(), m.direction, range.end, m.sha256.unwrap())
        })
        .collect();
    told.sort();
    told
}

/// The moves among events, none of which may say that reading failed.
pub fn moves(events: &[Event]) -> Vec<&Moved> {
    events
        .iter()
        .filter_map(|event| match event {
            Event::Moved(moved) => Some(moved),
            Event::Changed(_) | Event::Script(_) | Event::Totals(_) => None,
            Event::Unreadable(why) => panic!("{why}"),
        })
        .collect()
}

/// Content that no compression or repetition hides.
pub fn content(seed: u64, size: usize) -> Vec<u8> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) | 1;
    std::iter::repeat_with(|| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        state.to_le_bytes()
    })
    .flatten()
    .take(size)
    .collect()
}
