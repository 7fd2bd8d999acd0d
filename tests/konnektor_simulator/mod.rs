//! A simulated box and a plain client that checks no certificate, as curl -k.
//! Absent on purpose: tests; they are in the modules below.

mod faults;
mod koco;
mod moves;
mod rise;
mod secunet;
mod size;

use std::path::Path;
use std::time::{Duration, Instant};

use pforte::clock::Clock;
use pforte::konnektor::simulator::{Make, Options, Simulator};
use pforte::secret::Secret;
use reqwest::header::{CONTENT_TYPE, SET_COOKIE};
use reqwest::{Client, Method, RequestBuilder, Response};
use serde_json::{Value, json};
use tempfile::TempDir;

pub const PASSWORD: &str = "Geh/eim+4711&x=%20";
const BACK_WITHIN: Duration = Duration::from_secs(20);

pub struct Seat {
    pub dir: TempDir,
    pub simulator: Simulator,
    pub client: Client,
}

pub fn client() -> Client {
    drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
    Client::builder()
        .tls_danger_accept_invalid_certs(true)
        .cookie_store(true)
        .redirect(reqwest::redirect::Policy::none())
        .pool_max_idle_per_host(0)
        .no_proxy()
        .timeout(Duration::from_mins(2))
        .build()
        .unwrap()
}

pub async fn seat(make: Make, change: impl FnOnce(&mut Options)) -> Seat {
    let dir = tempfile::tempdir().unwrap();
    let mut options = Options::of(make, dir.path().to_owned(), Secret::new(PASSWORD.into()), Clock::system());
    change(&mut options);
    Seat { simulator: Simulator::start(options).await.unwrap(), dir, client: client() }
}

pub fn held(dir: &Path, name: &str) -> Value {
    serde_json::from_slice(&std::fs::read(dir.join(format!("{name}.json"))).unwrap()).unwrap()
}

impl Seat {
    pub fn held(&self, name: &str) -> Value {
        held(self.dir.path(), name)
    }

    pub fn url(&self, path: &str) -> String {
        format!("https://{}{path}", self.simulator.address())
    }

    pub fn ask(&self, method: Method, path: &str) -> RequestBuilder {
        self.client.request(method, self.url(path))
    }

    pub async fn get(&self, path: &str) -> Response {
        self.ask(Method::GET, path).header(CONTENT_TYPE, "application/json").send().await.unwrap()
    }

    pub async fn refuses(&self) -> bool {
        self.ask(Method::GET, "/connector.sds").send().await.is_err_and(|error| error.is_connect())
    }

    /// Waits, within bounds, until it answers again.
    pub async fn back(&self) {
        let begun = Instant::now();
        while self.ask(Method::GET, "/connector.sds").send().await.is_err() {
            assert!(begun.elapsed() < BACK_WITHIN, "it did not come back");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    }

    /// Steps 0 to 3 of the `KoCoBox`'s recipe; the token by its cookie.
    pub async fn koco_login(&self) -> String {
        self.get("/administration/").await;
        let form = [("j_username", "koco-root"), ("j_password", PASSWORD)];
        let login = self.ask(Method::POST, "/j_security_check").form(&form).send().await.unwrap();
        assert_eq!(login.status(), 302);
        let info = self.get("/administration/json-retrieve/infoservice").await;
        assert_eq!(info.status(), 200);
        token_of(&info)
    }

    pub fn write(&self, service: &str, token: &str, value: &Value) -> RequestBuilder {
        let path = format!("/administration/json-store/{service}");
        self.ask(Method::POST, &path).header("X-TOKEN", token).json(value)
    }

    /// A write that must be taken.
    pub async fn written(&self, service: &str, token: &str, value: &Value) {
        let answer = self.write(service, token, value).send().await.unwrap();
        assert_eq!(answer.status(), 200, "{service}");
        assert_eq!(answer.json::<Value>().await.unwrap(), json!({"result": "OK"}));
    }

    pub async fn perform(&self, action: &str, token: &str, body: &'static str) -> Response {
        let path = format!("/administration/perform/{action}");
        let request = self.ask(Method::POST, &path).header(CONTENT_TYPE, "application/json");
        request.header("X-TOKEN", token).body(body).send().await.unwrap()
    }
}

/// The first cookie's value, as the known tools read it.
pub fn token_of(answer: &Response) -> String {
    let cookie = answer.headers()[SET_COOKIE].to_str().unwrap();
    cookie.split(['=', ';']).nth(1).unwrap().to_owned()
}
