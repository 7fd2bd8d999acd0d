//! Somebody at a client that goes on running, and the operator's command. Absent on purpose: what they do.
#![allow(
    clippy::disallowed_methods,
    reason = "shared by several test files, which run real clients; helpers of tests are tests"
)]

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::UnixStream;
use tokio::process::{Child, ChildStdin, Command};
use tokio::task::JoinHandle;

use crate::door::{Door, ran};

/// A program with a person at it.
pub struct Seat {
    child: Child,
    keys: Option<ChildStdin>,
    out: Arc<Mutex<Vec<u8>>>,
    err: Arc<Mutex<Vec<u8>>>,
    readers: Vec<JoinHandle<()>>,
}

impl Seat {
    pub fn take(mut command: Command) -> Self {
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let (out, err) = (Arc::default(), Arc::default());
        let readers =
            vec![collect(child.stdout.take().unwrap(), &out), collect(child.stderr.take().unwrap(), &err)];
        Self { keys: child.stdin.take(), child, out, err, readers }
    }

    pub async fn types(&mut self, keys: &str) {
        let stdin = self.keys.as_mut().unwrap();
        stdin.write_all(keys.as_bytes()).await.unwrap();
        stdin.flush().await.unwrap();
    }

    /// End of input.
    pub fn hangs_up(&mut self) {
        self.keys = None;
    }

    /// Ctrl-C.
    pub fn interrupts(&self) {
        let pid = rustix::process::Pid::from_raw(self.child.id().unwrap().try_into().unwrap()).unwrap();
        rustix::process::kill_process(pid, rustix::process::Signal::INT).unwrap();
    }

    /// Waits until its output holds this.
    pub async fn shows(&mut self, text: &str) {
        for _ in 0..3000 {
            if self.shown().contains(text) {
                return;
            }
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        panic!("{text:?} is not shown: {:?} {:?}", self.shown(), self.said());
    }

    /// All output so far.
    pub fn shown(&self) -> String {
        String::from_utf8_lossy(&self.out.lock().unwrap()).into_owned()
    }

    /// All of standard error so far.
    pub fn said(&self) -> String {
        String::from_utf8_lossy(&self.err.lock().unwrap()).into_owned()
    }

    /// Its exit code, when all of its output is there.
    pub async fn ends(&mut self) -> i32 {
        let ending = async {
            let status = self.child.wait().await.unwrap();
            for reader in self.readers.drain(..) {
                reader.await.unwrap();
            }
            status.code().unwrap_or(-1)
        };
        let ended = tokio::time::timeout(Duration::from_mins(1), ending).await;
        ended.unwrap_or_else(|_| panic!("it does not end: {:?} {:?}", self.shown(), self.said()))
    }
}

fn collect(mut from: impl AsyncRead + Unpin + Send + 'static, into: &Arc<Mutex<Vec<u8>>>) -> JoinHandle<()> {
    let into = into.clone();
    tokio::spawn(async move {
        let mut piece = vec![0; 64 << 10];
        while let Ok(read @ 1..) = from.read(&mut piece).await {
            into.lock().unwrap().extend_from_slice(&piece[..read]);
        }
    })
}

/// The same program on a terminal of 100 columns and 30 rows.
pub fn on_terminal(command: &Command) -> Command {
    const SCRIPT: &str = "import pty,os,sys,fcntl,termios,struct,select\n\
        pid,fd=pty.fork()\n\
        if pid==0:\n\
        \x20 os.environ['TERM']='xterm'; fcntl.ioctl(0,termios.TIOCSWINSZ,struct.pack('HHHH',30,100,0,0))\n\
        \x20 os.execvp(sys.argv[1],sys.argv[1:])\n\
        try:\n\
        \x20 while True:\n\
        \x20   ready=select.select([fd,0],[],[])[0]\n\
        \x20   if fd in ready: os.write(1,os.read(fd,65536))\n\
        \x20   if 0 in ready: os.write(fd,os.read(0,65536))\n\
        except OSError: pass\n\
        sys.exit(os.waitstatus_to_exitcode(os.waitpid(pid,0)[1]))\n";
    let mut python = Command::new("python3");
    python.args(["-c", SCRIPT]).arg(command.as_std().get_program()).args(command.as_std().get_args());
    python
}

/// `pforte sessions WORDS`
pub fn sessions(door: &Door, words: &[&str]) -> Command {
    let mut pforte = Command::new(env!("CARGO_BIN_EXE_pforte"));
    pforte.arg("sessions").args(words).arg("--config").arg(door.path()).kill_on_drop(true);
    pforte
}

/// `pforte sessions --json`
pub async fn listed(door: &Door) -> Value {
    let list = ran(sessions(door, &["--json"])).await;
    assert_eq!(list.code, 0, "{list:?}");
    serde_json::from_str(&list.stdout).unwrap()
}

/// Its only session.
pub async fn first_session(door: &Door) -> String {
    listed(door).await["sessions"][0]["session"].as_str().unwrap().to_owned()
}

pub fn socket(door: &Door) -> PathBuf {
    door.path().join("state/control.sock")
}

/// The socket, after this was said.
pub async fn asked(door: &Door, request: &str) -> UnixStream {
    let mut stream = UnixStream::connect(socket(door)).await.unwrap();
    stream.write_all(request.as_bytes()).await.unwrap();
    stream
}

/// Waits until it is so.
pub async fn until(mut so: impl AsyncFnMut() -> bool) {
    for _ in 0..1000 {
        if so().await {
            return;
        }
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    panic!("it does not come");
}
