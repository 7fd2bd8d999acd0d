//! `pforte init DIR`: a configuration to start from, with the gateway's own keys made.
//! Absent on purpose: overwriting. What is there already stays as it is, and ends the work.

use std::fs;
use std::io::Write;
use std::os::unix::fs::{DirBuilderExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail};
use russh::keys::PrivateKey;
use ssh_key::LineEnding;

use crate::config::NO_SECRET;
use crate::owner;
use crate::random::Random;
use crate::vault;

/// The shipped `policy/gateway.toml`.
pub const GATEWAY: &str = include_str!("../policy/gateway.toml");
/// The shipped `policy/rules.toml`.
pub const RULES: &str = include_str!("../policy/rules.toml");
/// The shipped `policy/sites/praxis-mueller.toml`.
pub const SITE: &str = include_str!("../policy/sites/praxis-mueller.toml");

/// The shipped `policy/firms/firm.toml`.
pub const FIRM: &str = include_str!("../policy/firms/firm.toml");

/// The user of `contrib/systemd/pforte.service`.
const SERVICE: &str = owner::SERVICES[0];

/// The comment of the key behind host certificates.
pub const HOST_CA: &str = "pforte host authority";
/// The comment of the key behind user certificates.
pub const USER_CA: &str = "pforte user authority";
/// The comment of the key with which the gateway logs in at hosts.
pub const TARGET_KEY: &str = "pforte at its targets";

/// What a configuration begins with.
pub struct Start {
    /// `policy/gateway.toml`
    pub gateway: String,
    /// `policy/rules.toml`
    pub rules: String,
    /// `policy/sites/praxis-mueller.toml`
    pub site: String,
    /// The password of the site's Konnektor.
    pub konnektor_password: String,
    /// The HMAC key of the webhook.
    pub webhook_secret: String,
}

impl Start {
    /// The shipped example, with a webhook secret of its own and no Konnektor password yet.
    pub fn example(random: &Random) -> Self {
        Self {
            gateway: GATEWAY.into(),
            rules: RULES.into(),
            site: SITE.into(),
            konnektor_password: NO_SECRET.into(),
            webhook_secret: format!("{:032x}{:032x}", random.draw(), random.draw()),
        }
    }

    /// Writes it below `dir`, which may exist but holds none of it yet, and makes the keys.
    pub fn write(&self, dir: &Path) -> Result<()> {
        for folder in [
            "policy",
            "policy/sites",
            "keys",
            "keys/sites",
            "secrets",
            "secrets/totp",
            "state",
            "state/journal",
        ] {
            let private = !(folder.starts_with("policy") || folder.starts_with("keys"));
            fs::DirBuilder::new()
                .recursive(true)
                .mode(if private { 0o700 } else { 0o755 })
                .create(dir.join(folder))
                .with_context(|| format!("make {}", dir.join(folder).display()))?;
        }
        write_new(&dir.join("policy/gateway.toml"), self.gateway.as_bytes(), 0o644)?;
        write_new(&dir.join("policy/rules.toml"), self.rules.as_bytes(), 0o644)?;
        write_new(&dir.join("policy/sites/praxis-mueller.toml"), self.site.as_bytes(), 0o644)?;
        write_new(&dir.join("secrets/webhook"), format!("{}\n", self.webhook_secret).as_bytes(), 0o600)?;
        write_new(
            &dir.join("secrets/praxis-mueller"),
            format!("{}\n", self.konnektor_password).as_bytes(),
            0o600,
        )?;
        make_key(&dir.join("state/host_ed25519"), "pforte host key")?;
        make_key(&dir.join("state/host_ca"), HOST_CA)?;
        make_key(&dir.join("state/user_ca"), USER_CA)?;
        make_key(&dir.join("state/target_ed25519"), TARGET_KEY)?;
        make_key(&dir.join("state/journal_ed25519"), "pforte-journal")?;
        vault::generate_identity(&dir.join("state/vault.agekey")).context("state/vault.agekey")?;
        Ok(())
    }
}

/// Writes a file that must not be there yet.
pub fn write_new(path: &Path, content: &[u8], mode: u32) -> Result<()> {
    let mut file = fs::OpenOptions::new()
        .write(true)
        .create_new(true)
        .mode(mode)
        .open(path)
        .with_context(|| format!("{}: not written", path.display()))?;
    file.write_all(content).and_then(|()| file.sync_all()).with_context(|| format!("{}", path.display()))
}

/// Makes an Ed25519 key pair: `path` for its owner alone, `path.pub` for everybody.
pub fn make_key(path: &Path, comment: &str) -> Result<PrivateKey> {
    let mut key = PrivateKey::random(&mut rand::rng(), ssh_key::Algorithm::Ed25519).context("make a key")?;
    key.set_comment(comment);
    write_new(path, key.to_openssh(LineEnding::LF)?.as_bytes(), 0o600)?;
    let mut public = PathBuf::from(path);
    public.as_mut_os_string().push(".pub");
    write_new(&public, format!("{}\n", key.public_key().to_openssh()?).as_bytes(), 0o644)?;
    Ok(key)
}

/// The command: writes the example, and says what to do next.
pub fn run(dir: &Path, random: &Random) -> Result<String> {
    if dir.join("policy").exists() {
        bail!("{} holds a policy already; nothing was written", dir.display());
    }
    Start::example(random).write(dir)?;
    fs::DirBuilder::new().mode(0o755).create(dir.join("policy/firms")).context("make policy/firms")?;
    write_new(&dir.join("policy/firms/firm.toml"), FIRM.as_bytes(), 0o644)?;
    let host_key = ssh_key::PublicKey::read_openssh_file(dir.join("state/host_ed25519.pub"))?;
    let host_key = host_key.fingerprint(ssh_key::HashAlg::Sha256);
    let given =
        owner::hand_over(dir, &["secrets", "state"], SERVICE).context("give the service its files")?;
    let dir = dir.display();
    let then = if given {
        format!(
            "Then: pforte check --config {dir}, and: systemctl enable --now pforte\n\
             secrets and state belong to the user {SERVICE}, as which it runs: give it what you add there\n"
        )
    } else {
        format!("Then: pforte check --config {dir}, and: pforte serve --config {dir}\n")
    };
    Ok(format!(
        "A configuration stands in {dir}. Next:\n\
         1. {dir}/policy/sites/praxis-mueller.toml: your customer, their Konnektor's address\n   \
            and its password into {dir}/secrets/praxis-mueller: nothing starts while that file says {NO_SECRET}\n\
         2. {dir}/keys/FIRM-GIVEN.FAMILY.pub: a technician's public key (ssh-ed25519, or RSA of 4096 bits)\n\
         3. {dir}/policy/rules.toml: who may do what where; {dir}/policy/gateway.toml: where to listen, and which second factor;\n   \
            {dir}/policy/firms/FIRM.toml: where a firm or a person confirms otherwise\n\
         {then}\
         What a technician installs: pforte kit FIRM-GIVEN.FAMILY --out FOLDER --config {dir}\n\
         The host key, for those who log in the first time: {host_key}\n"
    ))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::house;

    #[test]
    fn what_is_to_do_next_is_told_and_the_host_key() {
        let dir = tempfile::tempdir().unwrap();
        let told = run(dir.path(), &Random::system()).unwrap();
        let key = house::private_key(&dir.path().join("state/host_ed25519"), "host key").unwrap();
        assert!(told.contains(&key.fingerprint(ssh_key::HashAlg::Sha256).to_string()), "{told}");
        for word in ["rules.toml", "gateway.toml", "sites/praxis-mueller.toml", "FIRM-GIVEN.FAMILY.pub"] {
            assert!(told.contains(word), "{word}: {told}");
        }
        assert!(told.contains("nothing starts while that file says replace-me"), "{told}");
        let problems = house::load(dir.path()).err().unwrap();
        assert_eq!(problems.0.len(), 1, "only what init cannot know: {problems}");
        assert!(problems.to_string().contains("still says replace-me"), "{problems}");
    }

    #[test]
    fn what_is_there_is_not_overwritten() {
        let dir = tempfile::tempdir().unwrap();
        run(dir.path(), &Random::system()).unwrap();
        assert!(run(dir.path(), &Random::system()).is_err());
    }
}
