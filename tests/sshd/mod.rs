//! The system's sshd on a loopback port of its own, as root, with a configuration of its own.
//! Absent on purpose: any account but root's, any file outside the test's folder.
#![allow(
    clippy::disallowed_methods,
    reason = "shared by several test files, which run real servers; helpers of tests are tests"
)]

use std::fs::DirBuilder;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::DirBuilderExt as _;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use tokio::process::{Child, Command};

/// Running until it is dropped.
pub struct Sshd {
    _child: Child,
    pub port: u16,
}

/// What an sshd sees of the machine otherwise than we do; in a mount namespace of its own.
#[derive(Default)]
pub struct World {
    /// More lines of /etc/hosts.
    pub hosts: String,
    /// More lines of /etc/passwd.
    pub passwd: String,
}

impl Sshd {
    /// Host key `dir/NAME`, log `dir/NAME.log`; `more` are lines of `sshd_config(5)`. Logins: root, by key.
    pub async fn start(dir: &Path, name: &str, more: &str) -> Self {
        // sshd takes no listening socket: a free port is looked for, and tried again if somebody was quicker.
        for _ in 0..10 {
            let address = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
            if let Some(sshd) = Self::start_at(dir, name, address, more, None).await {
                return sshd;
            }
        }
        panic!("sshd does not start: {:?}", std::fs::read_to_string(dir.join(format!("{name}.log"))));
    }

    /// The same at an address, in a world of its own; `None` if it does not stay.
    pub async fn start_at(
        dir: &Path,
        name: &str,
        address: SocketAddr,
        more: &str,
        world: Option<&World>,
    ) -> Option<Self> {
        DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd").expect("sshd is started as root");
        let (home, config) = (dir.join("empty"), dir.join(format!("{name}.config")));
        std::fs::create_dir_all(&home).unwrap();
        let text = format!(
            "ListenAddress {address}\nHostKey {0}/{name}\nStrictModes no\nPermitRootLogin prohibit-password\n\
             PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPidFile none\nPrintMotd no\n\
             PrintLastLog no\nLogLevel DEBUG1\nUseDNS no\nSetEnv HOME={1}\nAcceptEnv EMAIL\nSubsystem sftp internal-sftp\n{more}\n",
            dir.display(),
            home.display()
        );
        std::fs::write(&config, text).unwrap();
        let log = dir.join(format!("{name}.log"));
        let mut sshd = match world {
            None => Command::new("/usr/sbin/sshd"),
            Some(world) => {
                for (file, more) in [("hosts", &world.hosts), ("passwd", &world.passwd)] {
                    let text = std::fs::read_to_string(Path::new("/etc").join(file)).unwrap();
                    std::fs::write(dir.join(format!("{name}.{file}")), text + more).unwrap();
                }
                let mut unshare = Command::new("unshare");
                let binds = "mount --bind \"$1.hosts\" /etc/hosts && mount --bind \"$1.passwd\" /etc/passwd && shift && exec \"$@\"";
                unshare.args(["-m", "sh", "-c", binds, "sh"]).arg(dir.join(name)).arg("/usr/sbin/sshd");
                unshare
            }
        };
        let sshd = sshd.args(["-D", "-E"]).arg(&log).arg("-f").arg(&config);
        let mut child =
            sshd.stdin(Stdio::null()).kill_on_drop(true).spawn().expect("openssh-server is installed");
        for _ in 0..250 {
            // Ours, and not somebody else's at the same port.
            let log = std::fs::read_to_string(&log).unwrap_or_default();
            if log.contains("Server listening on") && TcpStream::connect(address).is_ok() {
                return Some(Self { _child: child, port: address.port() });
            }
            if child.try_wait().unwrap().is_some() {
                return None;
            }
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        None
    }
}
