//! The process that is all the practices, as the bench steers it: an order, a line back.

use std::fmt;
use std::process::Stdio;
use std::time::Duration;

use anyhow::{Context as _, Result, ensure};
use serde::{Deserialize, Serialize};
use tokio::io::{AsyncBufReadExt as _, AsyncWriteExt as _, BufReader, Lines};
use tokio::process::{Child, ChildStdin, ChildStdout, Command};

use super::practice::{Order, Place, ROLE};
use super::town::Town;

pub struct Fleet {
    child: Child,
    orders: ChildStdin,
    answers: Lines<BufReader<ChildStdout>>,
}

/// How a storm went.
#[derive(Serialize, Deserialize)]
pub struct Linked {
    /// How many are linked.
    pub links: usize,
    /// Until the half, 99 of 100, and the last were.
    pub half: f64,
    pub most: f64,
    pub all: f64,
    /// Tries that came to nothing, by their causes.
    pub failed: Vec<(String, usize)>,
}

impl fmt::Display for Linked {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { links, half, most, all, failed } = self;
        write!(f, "{links} linked, half after {half:.1} s, 99 % after {most:.1} s, all after {all:.1} s")?;
        for (cause, count) in failed {
            write!(f, ", {count} tries: {cause}")?;
        }
        Ok(())
    }
}

impl Fleet {
    pub async fn start(links: usize, town: &Town) -> Result<Self> {
        let place = Place { links, gateway: town.address, fingerprint: town.fingerprint.clone() };
        let mut child = Command::new(std::env::current_exe()?)
            .env(ROLE, serde_json::to_string(&place)?)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .kill_on_drop(true)
            .spawn()?;
        let orders = child.stdin.take().context("stdin")?;
        let answers = BufReader::new(child.stdout.take().context("stdout")?).lines();
        let mut fleet = Self { child, orders, answers };
        fleet.answer::<()>().await?;
        Ok(fleet)
    }

    async fn say(&mut self, order: &Order) -> Result<()> {
        self.orders.write_all(format!("{}\n", serde_json::to_string(order)?).as_bytes()).await?;
        Ok(())
    }

    async fn answer<T: serde::de::DeserializeOwned>(&mut self) -> Result<T> {
        let line = self.answers.next_line().await?.context("the practices are gone")?;
        Ok(serde_json::from_str(&line)?)
    }

    async fn does(&mut self, order: &Order) -> Result<()> {
        self.say(order).await?;
        self.answer().await
    }

    /// From now on the first so many are to have their link.
    pub async fn link(&mut self, count: usize) -> Result<()> {
        self.does(&Order::Link { count }).await
    }

    /// Waits until so many have it.
    pub async fn linked(&mut self, count: usize, at_most: Duration) -> Result<Linked> {
        self.say(&Order::Linked { count, seconds: at_most.as_secs() }).await?;
        let linked: Linked = self.answer().await?;
        ensure!(linked.links >= count, "not all of {count}: {linked}");
        Ok(linked)
    }

    /// All connections are shut down at once, by the practices.
    pub async fn cut(&mut self) -> Result<()> {
        self.does(&Order::Cut).await
    }

    /// The first so many let the firm in; returns when each has signed it.
    pub async fn open(&mut self, count: usize) -> Result<()> {
        self.does(&Order::Open { count }).await
    }

    /// This one closes.
    pub async fn close(&mut self, number: usize) -> Result<()> {
        self.does(&Order::Close { from: number, to: number + 1 }).await
    }

    /// These close, all at once.
    pub async fn close_between(&mut self, from: usize, to: usize) -> Result<()> {
        self.does(&Order::Close { from, to }).await
    }

    /// All close.
    pub async fn close_all(&mut self) -> Result<()> {
        self.does(&Order::Close { from: 0, to: usize::MAX }).await
    }

    pub async fn end(mut self) -> Result<()> {
        drop(self.orders);
        tokio::time::timeout(Duration::from_secs(30), self.child.wait()).await??;
        Ok(())
    }
}
