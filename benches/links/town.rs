//! The gateway's folder with all the practices in it, and the gateway at a port that stays.

use std::net::SocketAddr;
use std::path::Path;

use anyhow::{Context as _, Result};
use ssh_key::HashAlg;

use super::practice;
use super::servers::{Gateway, Stage};

const RULES: &str = "[[rule]]\nwho = [\"firm-*\"]\nmay = [\"hop backup\"]\non = [\"*\"]\n";

pub struct Town {
    pub stage: Stage,
    pub address: SocketAddr,
    /// Of the gateway's host key.
    pub fingerprint: String,
}

impl Town {
    pub async fn build(links: usize) -> Result<Self> {
        let stage = Stage::set().await?;
        let root = stage.path();
        std::fs::write(root.join("policy/rules.toml"), RULES)?;
        for n in 0..links {
            let name = practice::name(n);
            let site = format!(
                "name = \"Praxis {n}\"\ndomain = \"{name}.example\"\nvia = \"link\"\n\
                 [hosts.backup]\naddress = \"192.168.2.2:22\"\ninner = \"sealed\"\n"
            );
            std::fs::write(root.join(format!("policy/sites/{name}.toml")), site)?;
            let key = practice::key(n).public_key().to_openssh()?;
            std::fs::write(root.join(format!("keys/sites/{name}.pub")), format!("{key}\n"))?;
        }
        // It comes back at the same port after its death.
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let file = root.join("policy/gateway.toml");
        let text = std::fs::read_to_string(&file)?;
        std::fs::write(&file, text.replace("127.0.0.1:0", &address.to_string()))?;
        let host_key = std::fs::read_to_string(root.join("state/host_ed25519.pub"))?;
        std::fs::write(root.join("known_hosts"), format!("gateway {host_key}"))?;
        let host_key: ssh_key::PublicKey = host_key.parse()?;
        let fingerprint = host_key.fingerprint(HashAlg::Sha256).to_string();
        Ok(Self { stage, address, fingerprint })
    }

    pub async fn start(&mut self, program: &Path) -> Result<Gateway> {
        Gateway::start_build(&self.stage, program).await.context("the gateway")
    }
}
