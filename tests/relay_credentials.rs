//! How the gateway logs in at hosts: by a certificate for the technician, by the account's password, and never with theirs.
#![allow(clippy::disallowed_methods, reason = "helpers of tests are tests, and run real clients")]

use crate::door;
use crate::machine;

use std::sync::Arc;

use door::{Door, JANE, Setup, ran};
use machine::{HOST, RULES, Sshd, ssh_config};
use russh::server::{Auth, ChannelOpenHandle, Msg, Response, Server as _, Session};
use russh::{Channel, ChannelId, MethodKind, MethodSet, server};

/// A gateway, and its site's host at this address with these further lines.
async fn stage(port: u16, more: &str, password: Option<&str>) -> (Door, std::path::PathBuf) {
    let files = password.map(|p| ("secrets/backup", p.to_owned(), 0o600)).into_iter().collect();
    let door = Door::open(Setup { rules: Some(RULES.into()), files, ..Setup::default() }).await;
    let file = door.path().join("policy/sites/praxis-mueller.toml");
    let site = std::fs::read_to_string(&file).unwrap();
    let host = format!("[hosts.backup]\naddress = \"127.0.0.1:{port}\"\n{more}\n");
    std::fs::write(&file, format!("{site}\n{host}")).unwrap();
    door.reload().await;
    let config = ssh_config(door.path(), door.port, JANE, "jane");
    (door, config)
}

async fn ssh(config: &std::path::Path, words: &[&str]) -> door::Ran {
    let mut ssh = tokio::process::Command::new("ssh");
    ssh.arg("-F").arg(config).arg(HOST).args(words).stdin(std::process::Stdio::null()).kill_on_drop(true);
    ran(ssh).await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_certificate_names_the_technician_and_lasts_minutes() {
    let sshd = Sshd::start("").await;
    let (door, config) = stage(sshd.port, "login = \"root\"\nproof = \"certificate\"", None).await;
    let mut sshd = sshd;
    let (authority, principals) = (sshd.path().join("ca.pub"), sshd.path().join("principals"));
    std::fs::copy(door.path().join("state/user_ca.pub"), &authority).unwrap();
    let more = format!(
        "TrustedUserCAKeys {}\nAuthorizedPrincipalsFile {}\nExposeAuthInfo yes\n",
        authority.display(),
        principals.display()
    );
    std::fs::write(&principals, "firm-bob.roe\n").unwrap();
    sshd.restart(&more).await;
    let other = ssh(&config, &["true"]).await;
    assert_eq!(other.code, 69, "another technician's principal opens nothing: {other:?}");
    std::fs::write(&principals, format!("{JANE}\n")).unwrap();
    let shown = ssh(&config, &["sed 's/^publickey //' $SSH_USER_AUTH > /tmp/pforte-cert.$$; ssh-keygen -Lf /tmp/pforte-cert.$$; rm /tmp/pforte-cert.$$"]).await;
    assert_eq!(shown.code, 0, "{shown:?}");
    assert!(shown.stdout.contains("user certificate") && shown.stdout.contains(JANE), "{shown:?}");
    assert!(shown.stdout.contains("permit-pty") && !shown.stdout.contains("port-forwarding"), "{shown:?}");
    door.close().await;
}

/// A host that takes a password, by the method of that name or by keyboard-interactive alone.
#[derive(Clone)]
struct Passwords {
    interactive: bool,
    tried: Arc<std::sync::Mutex<Vec<String>>>,
}

const SECRET: &str = "Support+4711";

impl server::Server for Passwords {
    type Handler = Self;
    fn new_client(&mut self, _: Option<std::net::SocketAddr>) -> Self {
        self.clone()
    }
}

impl Passwords {
    fn judge(&self, user: &str, password: &str) -> Auth {
        self.tried.lock().unwrap().push(format!("{user}:{password}"));
        if user == "support" && password == SECRET { Auth::Accept } else { Auth::reject() }
    }
}

impl server::Handler for Passwords {
    type Error = russh::Error;

    async fn auth_none(&mut self, _: &str) -> Result<Auth, Self::Error> {
        let mut methods = MethodSet::empty();
        methods.push(if self.interactive { MethodKind::KeyboardInteractive } else { MethodKind::Password });
        Ok(Auth::Reject { proceed_with_methods: Some(methods), partial_success: false })
    }

    async fn auth_password(&mut self, user: &str, password: &str) -> Result<Auth, Self::Error> {
        Ok(self.judge(user, password))
    }

    async fn auth_keyboard_interactive<'a>(
        &'a mut self,
        user: &str,
        _: &str,
        response: Option<Response<'a>>,
    ) -> Result<Auth, Self::Error> {
        match response.and_then(|mut response| response.next().map(|a| a.to_vec())) {
            Some(answer) => Ok(self.judge(user, &String::from_utf8(answer).unwrap())),
            None => Ok(Auth::Partial {
                name: "".into(),
                instructions: "".into(),
                prompts: vec![("Password: ".into(), false)].into(),
            }),
        }
    }

    async fn channel_open_session(
        &mut self,
        _: Channel<Msg>,
        reply: ChannelOpenHandle,
        _: &mut Session,
    ) -> Result<(), Self::Error> {
        reply.accept().await;
        Ok(())
    }

    async fn exec_request(
        &mut self,
        channel: ChannelId,
        _: &[u8],
        session: &mut Session,
    ) -> Result<(), Self::Error> {
        session.channel_success(channel)?;
        session.data(channel, "in by password\n".as_bytes().to_vec())?;
        session.exit_status_request(channel, 0)?;
        session.close(channel)
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_password_of_a_secret_file_lets_in_by_either_method_and_stands_nowhere() {
    for interactive in [false, true] {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let port = listener.local_addr().unwrap().port();
        let tried = Arc::default();
        let mut host = Passwords { interactive, tried: Arc::clone(&tried) };
        let key = russh::keys::PrivateKey::random(&mut rand::rng(), ssh_key::Algorithm::Ed25519).unwrap();
        let config = Arc::new(server::Config {
            keys: vec![key],
            auth_rejection_time_initial: Some(std::time::Duration::ZERO),
            ..server::Config::default()
        });
        tokio::spawn(async move { host.run_on_socket(config, &listener).await });
        let more = "login = \"support\"\npassword = { file = \"secrets/backup\" }";
        let (door, config) = stage(port, more, Some(SECRET)).await;
        let shown = ssh(&config, &["anything"]).await;
        assert_eq!((shown.code, shown.stdout.as_str()), (0, "in by password\n"), "{shown:?}");
        let tried = tried.lock().unwrap().clone();
        assert!(tried.contains(&format!("support:{SECRET}")), "{tried:?}");
        let journal: String = door.journal().iter().map(ToString::to_string).collect();
        assert!(!journal.contains(SECRET));
        door.close().await;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_wrong_password_is_tried_once_a_login_and_told() {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
    let port = listener.local_addr().unwrap().port();
    let tried = Arc::default();
    let mut host = Passwords { interactive: false, tried: Arc::clone(&tried) };
    let key = russh::keys::PrivateKey::random(&mut rand::rng(), ssh_key::Algorithm::Ed25519).unwrap();
    let config = Arc::new(server::Config { keys: vec![key], ..server::Config::default() });
    tokio::spawn(async move { host.run_on_socket(config, &listener).await });
    let more = "login = \"support\"\npassword = { file = \"secrets/backup\" }";
    let (door, config) = stage(port, more, Some("falsch")).await;
    let shown = ssh(&config, &["anything"]).await;
    assert_eq!(shown.code, 69, "{shown:?}");
    assert!(
        shown.stderr.contains("does not let this gateway in") && !shown.stderr.contains("falsch"),
        "{shown:?}"
    );
    assert_eq!(tried.lock().unwrap().as_slice(), ["support:falsch"]);
    door.close().await;
}
