//! The API over real sockets, with books that answer as a test tells them to.

mod access;
mod books;
mod codes;
mod contract;
mod history;
mod transport;

use super::neighbours::{Beside, BesideAnswer, Books, Clock};
use super::rate::Rate;
use super::settings::{Client, HttpLimits, LeaseLimit, Scope, Settings, TokenKey};
use super::{Api, Server};
use crate::books::command::{Answer, Code, Command, Idempotency, LeaseAnswer, Outcome, Reply};
use crate::books::{Dialled, Lookup};
use crate::domain::numbering::Plan;
use crate::domain::{Credit, CustomerId, CustomerScope, E164, Tariff, UnixMillis};
use crate::store::{Direction, Key, Reader, StoreError, Table};
use bytes::Bytes;
use chrono_tz::Tz;
use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

pub const SECRET: &[u8] = b"0123456789abcdef0123456789abcdef";
pub const SIGNING: &[u8] = b"a signing secret";
/// 2025-06-01 00:00:00 UTC.
pub const NOW: u64 = 1_748_736_000_000;

/// Books that answer what they were told to, and remember what they were asked.
#[derive(Clone, Default)]
pub struct FakeBooks(Arc<Mutex<Told>>);

#[derive(Default)]
pub struct Told {
    pub answer: Option<Outcome>,
    pub asked: Vec<Command>,
    pub kept: BTreeMap<[u8; 16], ([u8; 16], Code, Bytes)>,
    pub rows: BTreeMap<(u8, Vec<u8>), Bytes>,
    pub broken: bool,
}

impl FakeBooks {
    pub fn told(&self) -> std::sync::MutexGuard<'_, Told> {
        self.0.lock().unwrap()
    }

    /// What they will answer from now on, in place of what is usual.
    pub fn answer(&self, outcome: Outcome) {
        self.told().answer = Some(outcome);
    }

    pub fn asked(&self) -> Vec<Command> {
        std::mem::take(&mut self.told().asked)
    }
}

impl Books for FakeBooks {
    async fn request(&self, command: Command, idempotency: Option<Idempotency>) -> Reply {
        let mut told = self.told();
        told.asked.push(command.clone());
        if let Some(asked) = &idempotency
            && let Some((parameters, code, bytes)) = told.kept.get(&asked.key)
        {
            return if *parameters == asked.parameters {
                Reply::Kept(*code, bytes.clone())
            } else {
                Reply::Outcome(Err(Code(2)))
            };
        }
        let outcome = told.answer.clone().unwrap_or_else(|| usual(&command));
        if let Some(asked) = idempotency {
            let code = *outcome.as_ref().err().unwrap_or(&Code(0));
            let bytes = asked.render.render(&outcome);
            told.kept.insert(asked.key, (asked.parameters, code, bytes));
        }
        Reply::Outcome(outcome)
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Arc::new(self.clone())
    }
}

fn usual(command: &Command) -> Outcome {
    Ok(match command {
        Command::LeaseSingle {
            reference,
            customer,
            phone,
            expires,
            ..
        } => Answer::Lease(LeaseAnswer {
            reference: *reference,
            customer: *customer,
            pairs: vec![("0388880000".into(), phone.spelling.to_string())],
            expires: *expires,
        }),
        Command::LeaseGroup {
            reference,
            customer,
            phones,
            expires,
        } => Answer::Lease(LeaseAnswer {
            reference: *reference,
            customer: *customer,
            pairs: vec![
                ("0388880000".into(), phones[0].spelling.to_string()),
                ("0388880001".into(), phones[1].spelling.to_string()),
            ],
            expires: *expires,
        }),
        Command::Remember(code) => return Err(*code),
        Command::TopUp { credit, .. } => Answer::Balance(*credit),
        Command::CreateCustomer { .. } => Answer::Created(CustomerId(1)),
        Command::Reserve { quantity, .. } => {
            Answer::Reserved((0..*quantity).map(|n| format!("03888800{n:02}")).collect())
        }
        Command::AddNumbers(ranges) => Answer::Added(
            ranges
                .iter()
                .map(|r| r.last.packed() - r.first.packed() + 1)
                .sum(),
        ),
        Command::OpenCalls(_) => Answer::OpenCalls {
            calls: Vec::new(),
            balance: Credit(0),
        },
        Command::ListNumbers { .. } => Answer::Numbers {
            rows: Vec::new(),
            next: None,
        },
        _ => Answer::Done,
    })
}

impl Reader for FakeBooks {
    fn get(&self, key: &Key) -> Result<Option<Bytes>, StoreError> {
        Ok(self
            .told()
            .rows
            .get(&(key.table as u8, key.bytes.to_vec()))
            .cloned())
    }

    fn range(
        &self,
        table: Table,
        from: &[u8],
        to: &[u8],
        direction: Direction,
        limit: usize,
    ) -> Result<Vec<(Bytes, Bytes)>, StoreError> {
        let told = self.told();
        if told.broken {
            return Err(StoreError::Failed("as the test wants".into()));
        }
        let bounds = (table as u8, from.to_vec())..(table as u8, to.to_vec());
        let row = |((_, key), value): (&(u8, Vec<u8>), &Bytes)| {
            (Bytes::copy_from_slice(key), value.clone())
        };
        Ok(match direction {
            Direction::Forward => told.rows.range(bounds).take(limit).map(row).collect(),
            Direction::Backward => told.rows.range(bounds).rev().take(limit).map(row).collect(),
        })
    }
}

/// A pool of one hundred numbers from +60388880000.
struct Pool;

impl Lookup for Pool {
    fn lookup(&self, number: E164) -> Dialled {
        if (60_388_880_000..60_388_880_100).contains(&number.packed()) {
            Dialled::NotLeased
        } else {
            Dialled::Unknown
        }
    }

    fn whitelisted(&self, _: E164, _: Option<E164>) -> bool {
        true
    }
}

/// A clock that stands where it is put.
pub struct Stopped(AtomicU64);

impl Stopped {
    pub fn put(&self, millis: u64) {
        self.0.store(millis, Ordering::SeqCst);
    }
}

impl Clock for Stopped {
    fn now(&self) -> UnixMillis {
        UnixMillis(self.0.load(Ordering::SeqCst))
    }
}

struct Health;

impl Beside for Health {
    fn get(&self, path: &str) -> Option<BesideAnswer> {
        (path == "/healthz").then(|| BesideAnswer {
            status: 200,
            content_type: "text/plain",
            body: Bytes::from_static(b"ok\n"),
        })
    }
}

pub fn client(name: &str, scopes: &[Scope], customers: CustomerScope) -> Client {
    Client {
        name: name.into(),
        enabled: true,
        scopes: scopes.to_vec(),
        customers,
        signing: None,
        rate: None,
        tokens_valid_from: None,
    }
}

pub fn settings() -> Settings {
    let one = || CustomerScope::Only(vec![CustomerId(1)]);
    Settings {
        path_prefixes: vec![String::new(), "/axiata".into()],
        always_ok: false,
        issuer: None,
        audience: None,
        trusted_proxies: Vec::new(),
        keys: vec![TokenKey::hs256(Some("main".into()), SECRET).unwrap()],
        clients: vec![
            client("all", &[Scope::Admin], CustomerScope::All),
            client("one", &[Scope::Admin], one()),
            client("nothing", &[], CustomerScope::All),
            Client {
                enabled: false,
                ..client("disabled", &[Scope::Admin], CustomerScope::All)
            },
            Client {
                signing: Some(Client::signing_key(SIGNING)),
                ..client("signing", &[Scope::Admin], CustomerScope::All)
            },
            Client {
                rate: Some(Rate {
                    per_second: 1,
                    burst: 2,
                }),
                ..client("slow", &[Scope::Admin], CustomerScope::All)
            },
            Client {
                tokens_valid_from: Some(UnixMillis(NOW - 3_600_000)),
                ..client("revoked", &[Scope::Admin], CustomerScope::All)
            },
        ],
        rate: Rate::per_second(100_000),
        timezone: Tz::Asia__Kuala_Lumpur,
        plan: Arc::new(Plan::new(Some("MY"), &["MY".into()], &["999".into()]).unwrap()),
        max_duration: LeaseLimit::Years(5),
        max_whitelist: 10,
        default_tariff: Tariff {
            block_seconds: 60,
            rate: Credit(100),
        },
        tls: None,
        limits: HttpLimits {
            header_timeout: Duration::from_secs(60),
            body_timeout: Duration::from_secs(60),
            ..HttpLimits::default()
        },
    }
}

/// A server on a port of its own, stopped when this is dropped.
pub struct Running<B = FakeBooks> {
    pub api: Arc<Api<B>>,
    pub books: B,
    pub clock: Arc<Stopped>,
    pub address: SocketAddr,
    pub tls: super::server::TlsHandle,
    pub stop: Option<tokio::sync::oneshot::Sender<()>>,
    pub served: tokio::task::JoinHandle<()>,
}

pub async fn start(settings: Settings) -> Running {
    let clock = Arc::new(Stopped(AtomicU64::new(NOW)));
    start_with(settings, FakeBooks::default(), Arc::new(Pool), clock).await
}

pub async fn start_with<B: Books>(
    settings: Settings,
    books: B,
    pool: Arc<dyn Lookup>,
    clock: Arc<Stopped>,
) -> Running<B> {
    let api = Arc::new(Api::new(
        settings,
        books.clone(),
        pool,
        Arc::new(Health),
        Arc::<Stopped>::clone(&clock),
    ));
    let server = Server::bind(Arc::clone(&api), ([127, 0, 0, 1], 0).into())
        .await
        .unwrap();
    let address = server.address().unwrap();
    let tls = server.tls_handle();
    let (stop, stopped) = tokio::sync::oneshot::channel();
    let served = tokio::spawn(server.run(async {
        let _ = stopped.await;
    }));
    Running {
        api,
        books,
        clock,
        address,
        tls,
        stop: Some(stop),
        served,
    }
}

/// A token by the first key.
pub fn token(user: &str) -> String {
    token_with(&serde_json::json!({"user": user, "iat": NOW / 1000 - 10}))
}

pub fn token_with(claims: &serde_json::Value) -> String {
    let header = jsonwebtoken::Header {
        kid: Some("main".into()),
        ..jsonwebtoken::Header::new(jsonwebtoken::Algorithm::HS256)
    };
    let key = jsonwebtoken::EncodingKey::from_secret(SECRET);
    jsonwebtoken::encode(&header, claims, &key).unwrap()
}

/// An answer as it came over the socket.
#[derive(Debug)]
pub struct Got {
    pub http: u16,
    pub head: String,
    pub body: Vec<u8>,
}

impl Got {
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body)
            .unwrap_or_else(|e| panic!("{e}: {:?}", String::from_utf8_lossy(&self.body)))
    }

    pub fn status(&self) -> u16 {
        u16::try_from(self.json()["status"].as_u64().unwrap()).unwrap()
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.head.lines().find_map(|line| {
            let (key, value) = line.split_once(':')?;
            key.eq_ignore_ascii_case(name).then(|| value.trim())
        })
    }
}

impl<B: Books> Running<B> {
    /// Sends bytes as they are and reads one answer to the end of the connection.
    pub async fn raw(&self, bytes: &[u8]) -> Got {
        let mut stream = TcpStream::connect(self.address).await.unwrap();
        stream.write_all(bytes).await.unwrap();
        read_answer(stream).await
    }

    /// A POST with a form as a body, as client `user`.
    pub async fn post(&self, user: &str, path: &str, body: &str) -> Got {
        self.post_with(
            path,
            body,
            &format!("Authorization: Bearer {}\r\n", token(user)),
        )
        .await
    }

    /// A POST with a form as a body and these header lines.
    pub async fn post_with(&self, path: &str, body: &str, headers: &str) -> Got {
        self.raw(request("POST", path, body, headers).as_bytes())
            .await
    }

    /// As `post`, to `/api/v1/...` as the client that may do everything.
    pub async fn call(&self, operation: &str, body: &str) -> Got {
        self.post("all", &format!("/api/v1/{operation}"), body)
            .await
    }
}

pub fn request(method: &str, path: &str, body: &str, headers: &str) -> String {
    format!(
        "{method} {path} HTTP/1.1\r\nHost: gateway\r\nConnection: close\r\n\
         Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {}\r\n{headers}\r\n{body}",
        body.len()
    )
}

pub async fn read_answer(mut stream: impl tokio::io::AsyncRead + Unpin) -> Got {
    let mut bytes = Vec::new();
    let read = tokio::time::timeout(Duration::from_secs(20), stream.read_to_end(&mut bytes));
    let ended = read.await.expect("the answer should come");
    assert!(ended.is_ok() || !bytes.is_empty(), "{ended:?}");
    let split = bytes
        .windows(4)
        .position(|w| w == b"\r\n\r\n")
        .expect("a head");
    let head = String::from_utf8(bytes[..split].to_vec()).unwrap();
    let mut body = bytes[split + 4..].to_vec();
    if head
        .to_ascii_lowercase()
        .contains("transfer-encoding: chunked")
    {
        body = unchunk(&body);
    }
    let http = head.split(' ').nth(1).unwrap().parse().unwrap();
    Got { http, head, body }
}

/// Joins the chunks of a chunked body; a body without its last chunk is cut off where it ends.
fn unchunk(mut rest: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    while let Some(end) = rest.windows(2).position(|w| w == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..end]).unwrap(), 16).unwrap();
        if size == 0 {
            break;
        }
        out.extend_from_slice(&rest[end + 2..end + 2 + size]);
        rest = &rest[end + 2 + size + 2..];
    }
    out
}
