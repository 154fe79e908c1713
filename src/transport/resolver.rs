//! The DNS client: keeps what [`crate::sip::locate`] wants to know of each target, on a thread of
//! its own. No call ever waits for it: whoever needs an answer has been told the last one.
//!
//! ```text
//!   targets wanted --> one task a target: ask, report, wait until shortly before the TTL ends
//!                           |                                 (or, after a failure, a while)
//!                           v
//!                      desk: keeps the last good answer --> sink (the signalling thread's queue)
//! ```

use crate::sip::locate::{Answer, Hop, Locator, Outcome, Query, Record, Target};
use crate::sip::message::Transport;
use hickory_resolver::TokioResolver;
use hickory_resolver::config::{ConnectionConfig, NameServerConfig, ResolverConfig, ResolverOpts};
use hickory_resolver::net::runtime::TokioRuntimeProvider;
use hickory_resolver::net::{DnsError, NetError};
use hickory_resolver::proto::op::ResponseCode;
use hickory_resolver::proto::rr::{RData, RecordType};
use std::collections::HashMap;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;
use tokio::sync::{Semaphore, mpsc, watch};
use tokio::task::JoinHandle;

/// A server that does not answer a query is asked again after this, and the query given up after
/// [`QUERY`].
const TRY: Duration = Duration::from_secs(1);
/// Longest time for one query.
const QUERY: Duration = Duration::from_secs(4);
/// Longest time for all queries of a target.
const SEARCH: Duration = Duration::from_secs(20);
/// After a failure a target is asked for again so soon, then after twice as long, and so on.
const FIRST_RETRY: Duration = Duration::from_secs(1);
/// Longest wait after a failure.
const LAST_RETRY: Duration = Duration::from_secs(30);
/// How long it is believed that there is nothing, where the answer does not say (RFC 2308 §5).
const NOTHING: Duration = Duration::from_secs(10);
/// Targets that are asked for at once.
const AT_ONCE: usize = 16;
/// When the sink has no room, it is tried again after this.
const NO_ROOM: Duration = Duration::from_millis(20);

/// A target and its hops now; none: there is none.
pub type Found = Box<(Target, Vec<Hop>)>;

/// What a resolver is made of.
pub struct Parts {
    /// DNS servers; none: those of the system.
    pub servers: Vec<SocketAddr>,
    /// Our own sockets, the preferred ones first.
    pub listeners: Vec<(Transport, SocketAddr)>,
    /// Takes what was found; false where there is no room just now.
    pub sink: Box<dyn Fn(&Found) -> bool + Send>,
    /// Counts an event by its name.
    pub count: Box<dyn Fn(&'static str) + Send>,
}

/// The thread's handle; it ends when this is dropped.
#[derive(Debug)]
pub struct Resolver {
    wanted: watch::Sender<Vec<Target>>,
}

impl Resolver {
    /// Starts the thread.
    ///
    /// # Errors
    /// The system gives no thread or reactor.
    pub fn start(parts: Parts) -> std::io::Result<Self> {
        let (wanted, receiver) = watch::channel(Vec::new());
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build()?;
        std::thread::Builder::new()
            .name("resolver".to_owned())
            .spawn(move || {
                runtime.block_on(run(parts, receiver));
                // A query under way holds nobody up.
                runtime.shutdown_background();
            })?;
        Ok(Self { wanted })
    }

    /// These names are wanted from now on, and no others. Each one's last answer is given to the
    /// sink once more.
    pub fn watch(&self, targets: Vec<Target>) {
        self.wanted.send_replace(targets);
    }
}

/// What is known of a target.
struct Known {
    task: JoinHandle<()>,
    /// The last good answer.
    hops: Option<Vec<Hop>>,
    /// That it cannot be found was logged.
    told: bool,
}

struct Desk {
    known: HashMap<Target, Known>,
    sink: Box<dyn Fn(&Found) -> bool + Send>,
    count: Box<dyn Fn(&'static str) + Send>,
}

/// What each search shares.
struct Searching {
    dns: Option<TokioResolver>,
    listeners: Vec<(Transport, SocketAddr)>,
    turns: Semaphore,
}

/// What a search came to.
struct Report {
    target: Target,
    outcome: Outcome,
    cut: bool,
}

async fn run(parts: Parts, mut wanted: watch::Receiver<Vec<Target>>) {
    let searching = Arc::new(Searching {
        dns: client(&parts.servers),
        listeners: parts.listeners,
        turns: Semaphore::new(AT_ONCE),
    });
    let (reports, mut reported) = mpsc::channel(AT_ONCE);
    let mut desk = Desk {
        known: HashMap::new(),
        sink: parts.sink,
        count: parts.count,
    };
    loop {
        tokio::select! {
            changed = wanted.changed() => {
                if changed.is_err() {
                    return;
                }
                let targets = wanted.borrow_and_update().clone();
                desk.want(&targets, &searching, &reports).await;
            }
            Some(report) = reported.recv() => desk.take(report).await,
        }
    }
}

impl Desk {
    async fn want(
        &mut self,
        targets: &[Target],
        searching: &Arc<Searching>,
        reports: &mpsc::Sender<Report>,
    ) {
        self.known.retain(|target, known| {
            let keep = targets.contains(target);
            if !keep {
                known.task.abort();
            }
            keep
        });
        for target in targets {
            if let Some(known) = self.known.get(target) {
                if let Some(hops) = known.hops.clone() {
                    self.publish(target.clone(), hops).await;
                }
                continue;
            }
            let following = follow(target.clone(), Arc::clone(searching), reports.clone());
            let known = Known {
                task: tokio::spawn(following),
                hops: None,
                told: false,
            };
            self.known.insert(target.clone(), known);
        }
    }

    async fn take(&mut self, report: Report) {
        let Some(known) = self.known.get_mut(&report.target) else {
            return; // it is wanted no longer
        };
        if report.cut {
            (self.count)("cut");
        }
        let host = &*report.target.host;
        let hops = match report.outcome {
            Outcome::Hops(hops, _) => {
                (self.count)("answered");
                if std::mem::take(&mut known.told) {
                    tracing::info!(host, "a trunk's name resolves again");
                }
                hops
            }
            Outcome::Nothing(_) => {
                (self.count)("nothing");
                if !std::mem::replace(&mut known.told, true) {
                    tracing::warn!(host, "a trunk's name leads to no address that we can reach");
                }
                Vec::new()
            }
            Outcome::Failed => {
                (self.count)("failed");
                if !std::mem::replace(&mut known.told, true) {
                    let kept = known.hops.as_ref().map_or(0, Vec::len);
                    tracing::warn!(host, kept, "the DNS does not answer: what is known is kept");
                }
                return;
            }
        };
        known.hops = Some(hops.clone());
        self.publish(report.target, hops).await;
    }

    async fn publish(&self, target: Target, hops: Vec<Hop>) {
        let found = Box::new((target, hops));
        while !(self.sink)(&found) {
            tokio::time::sleep(NO_ROOM).await;
        }
    }
}

/// Keeps one target's answer fresh.
async fn follow(target: Target, searching: Arc<Searching>, reports: mpsc::Sender<Report>) {
    let mut retry = FIRST_RETRY;
    loop {
        let (outcome, cut) = search(&target, &searching).await;
        let pause = match &outcome {
            Outcome::Hops(_, ttl) => ahead(*ttl),
            Outcome::Nothing(ttl) => *ttl,
            Outcome::Failed => retry,
        };
        retry = match &outcome {
            Outcome::Failed => (retry * 2).min(LAST_RETRY),
            _ => FIRST_RETRY,
        };
        let target = target.clone();
        let report = Report {
            target,
            outcome,
            cut,
        };
        if reports.send(report).await.is_err() {
            return;
        }
        tokio::time::sleep(pause).await;
    }
}

/// When an answer is asked for anew, so that it is there before the old one ends.
fn ahead(ttl: Duration) -> Duration {
    ttl - ttl / 5
}

async fn search(target: &Target, searching: &Searching) -> (Outcome, bool) {
    let (Some(dns), Ok(_turn)) = (&searching.dns, searching.turns.acquire().await) else {
        return (Outcome::Failed, false);
    };
    // What is kept is kept here: the client's own cache would answer a question that is asked ahead.
    dns.clear_cache();
    let mut locator = Locator::new(target.clone(), &searching.listeners);
    let asking = async {
        while let Some(query) = locator.query() {
            locator.answer(ask(dns, query).await);
        }
    };
    if tokio::time::timeout(SEARCH, asking).await.is_err() {
        return (Outcome::Failed, false);
    }
    let cut = locator.was_cut();
    (locator.outcome(), cut)
}

async fn ask(dns: &TokioResolver, query: Query) -> Answer {
    let (name, kind) = match &query {
        Query::Naptr(name) => (name, RecordType::NAPTR),
        Query::Srv(name) => (name, RecordType::SRV),
        Query::A(name) => (name, RecordType::A),
        Query::Aaaa(name) => (name, RecordType::AAAA),
    };
    let lookup = match tokio::time::timeout(QUERY, dns.lookup(&**name, kind)).await {
        Ok(Ok(lookup)) => lookup,
        Ok(Err(NetError::Dns(DnsError::NoRecordsFound(none))))
            if matches!(
                none.response_code,
                ResponseCode::NXDomain | ResponseCode::NoError
            ) =>
        {
            let ttl = none.negative_ttl.map(u64::from).map(Duration::from_secs);
            return Answer::Nothing(ttl.unwrap_or(NOTHING));
        }
        Ok(Err(error)) => {
            tracing::debug!(%name, %kind, %error, "a DNS query failed");
            return Answer::Failed;
        }
        Err(_) => {
            tracing::debug!(%name, %kind, "a DNS query got no answer in time");
            return Answer::Failed;
        }
    };
    let ttl = lookup.answers().iter().map(|record| record.ttl).min();
    let ttl = Duration::from_secs(u64::from(ttl.unwrap_or(0)));
    let answers = lookup.answers().iter();
    let records: Vec<Record> = answers.filter_map(|record| read(&record.data)).collect();
    if records.is_empty() {
        Answer::Nothing(NOTHING)
    } else {
        Answer::Records(records, ttl)
    }
}

/// One record in the words of the core.
fn read(data: &RData) -> Option<Record> {
    let text = |bytes: &[u8]| -> Box<str> { String::from_utf8_lossy(bytes).as_ref().into() };
    Some(match data {
        RData::A(address) => Record::Address(IpAddr::V4(address.0)),
        RData::AAAA(address) => Record::Address(IpAddr::V6(address.0)),
        RData::SRV(srv) => Record::Srv {
            priority: srv.priority,
            weight: srv.weight,
            port: srv.port,
            target: srv.target.to_ascii().into(),
        },
        RData::NAPTR(naptr) => Record::Naptr {
            order: naptr.order,
            preference: naptr.preference,
            flags: text(&naptr.flags),
            service: text(&naptr.services),
            replacement: naptr.replacement.to_ascii().into(),
        },
        _ => return None,
    })
}

/// The DNS client; `None`, and a word in the log, where the system has no configuration for one.
fn client(servers: &[SocketAddr]) -> Option<TokioResolver> {
    let builder = if servers.is_empty() {
        TokioResolver::builder_tokio()
    } else {
        let servers = servers.iter().map(|server| name_server(*server)).collect();
        let config = ResolverConfig::from_parts(None, Vec::new(), servers);
        let provider = TokioRuntimeProvider::default();
        Ok(TokioResolver::builder_with_config(config, provider))
    };
    let made = builder.and_then(|mut builder| {
        let options: &mut ResolverOpts = builder.options_mut();
        options.timeout = TRY;
        options.attempts = 2;
        builder.build()
    });
    made.inspect_err(|error| tracing::error!(%error, "no DNS client: names do not resolve"))
        .ok()
}

fn name_server(server: SocketAddr) -> NameServerConfig {
    let connections = [ConnectionConfig::udp(), ConnectionConfig::tcp()];
    let at_port = connections.map(|mut connection| {
        connection.port = server.port();
        connection
    });
    NameServerConfig::new(server.ip(), true, at_port.into())
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::UdpSocket;
    use std::sync::mpsc;

    /// Answers questions for `good.test` with 192.0.2.7, and no others.
    fn server() -> SocketAddr {
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        let address = socket.local_addr().unwrap();
        std::thread::spawn(move || {
            let mut query = [0u8; 512];
            while let Ok((length, from)) = socket.recv_from(&mut query) {
                let query = &query[..length];
                let name = &query[12..];
                if !name
                    .to_ascii_lowercase()
                    .starts_with(b"\x04good\x04test\x00")
                {
                    continue;
                }
                let mut answer = query[..2].to_vec();
                answer.extend([0x85, 0x80, 0, 1, 0, 1, 0, 0, 0, 0]);
                answer.extend(&name[..15]);
                answer.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 60, 0, 4, 192, 0, 2, 7]);
                let _ = socket.send_to(&answer, from);
            }
        });
        address
    }

    fn target(host: &str) -> Target {
        Target {
            host: host.into(),
            port: Some(5060),
            transport: None,
            secure: false,
        }
    }

    /// The DNS stall: a name that is never answered for holds up neither who asks nor other names.
    #[test]
    fn a_question_that_is_never_answered_holds_nobody_up() {
        let (found, finds) = mpsc::channel();
        let resolver = Resolver::start(Parts {
            servers: vec![server()],
            listeners: vec![(Transport::Udp, SocketAddr::from(([127, 0, 0, 1], 5060)))],
            sink: Box::new(move |one: &Found| {
                let _ = found.send(one.clone());
                true
            }),
            count: Box::new(|_| {}),
        })
        .unwrap();
        let next = || finds.recv_timeout(Duration::from_secs(60)).unwrap();
        resolver.watch(vec![target("dead.test"), target("good.test")]);
        let first = next();
        assert_eq!(first.0, target("good.test"));
        let [hop] = &first.1[..] else {
            panic!("{first:?}");
        };
        assert_eq!(hop.path.remote, SocketAddr::from(([192, 0, 2, 7], 5060)));
        // Asked once more, it is told at once what is known; of the other one nothing is.
        resolver.watch(vec![target("good.test"), target("dead.test")]);
        assert_eq!(next(), first);
        resolver.watch(vec![target("dead.test")]);
        resolver.watch(vec![target("good.test"), target("dead.test")]);
        assert_eq!(next(), first);
    }
}
