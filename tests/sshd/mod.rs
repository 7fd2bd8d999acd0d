//! The system's sshd on a loopback port of its own, as root, with a configuration of its own.
//! Absent on purpose: any account but root's, any file outside the test's folder.
#![allow(
    dead_code,
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::panic,
    reason = "shared by several test files, which run real servers; helpers of tests are tests"
)]

use std::fs::DirBuilder;
use std::net::{TcpListener, TcpStream};
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

impl Sshd {
    /// Host key `dir/NAME`, log `dir/NAME.log`; `more` are lines of `sshd_config(5)`. Logins: root, by key.
    pub async fn start(dir: &Path, name: &str, more: &str) -> Self {
        DirBuilder::new().recursive(true).mode(0o755).create("/run/sshd").expect("sshd is started as root");
        let (home, config) = (dir.join("empty"), dir.join(format!("{name}.config")));
        std::fs::create_dir_all(&home).unwrap();
        // sshd takes no listening socket: a free port is looked for, and tried again if somebody was quicker.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let text = format!(
                "ListenAddress 127.0.0.1:{port}\nHostKey {0}/{name}\nStrictModes no\nPermitRootLogin prohibit-password\n\
                 PasswordAuthentication no\nKbdInteractiveAuthentication no\nUsePAM no\nPidFile none\nPrintMotd no\n\
                 PrintLastLog no\nLogLevel DEBUG1\nUseDNS no\nSetEnv HOME={1}\nAcceptEnv EMAIL\nSubsystem sftp internal-sftp\n{more}\n",
                dir.display(),
                home.display()
            );
            std::fs::write(&config, text).unwrap();
            let log = dir.join(format!("{name}.log"));
            let mut child = Command::new("/usr/sbin/sshd")
                .args(["-D", "-E"])
                .arg(&log)
                .arg("-f")
                .arg(&config)
                .stdin(Stdio::null())
                .kill_on_drop(true)
                .spawn()
                .expect("openssh-server is installed");
            for _ in 0..250 {
                if TcpStream::connect(("127.0.0.1", port)).is_ok() {
                    return Self { _child: child, port };
                }
                if child.try_wait().unwrap().is_some() {
                    break;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        }
        panic!("sshd does not start: {:?}", std::fs::read_to_string(dir.join(format!("{name}.log"))));
    }
}
