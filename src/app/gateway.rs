//! A running gateway: threads started in the order of their needs, and ended in the opposite one.

use super::certificates::Expiries;
use super::meter::WorkerMeter;
use super::parts::{WorkerParts, directory, parts};
use super::places::Places;
use super::recordings;
use super::settings;
use super::verification;
use super::watch::{self, DataDirectory};
use crate::api;
use crate::api::dispatch::Api;
use crate::api::neighbours::{self, SystemClock};
use crate::books::command::{CallNotice, Command, Idempotency, Reply};
use crate::books::{Books, Lookup};
use crate::config::Config;
use crate::domain::numbering::Plan;
use crate::engine::books_thread::{self, BooksHandle, NoticeSink};
use crate::engine::handover::Handover;
use crate::engine::signalling::{Control, Meter as _, Signalling};
use crate::engine::worker::{Update, Worker};
use crate::observe::{Endpoints, Health, Metrics};
use crate::relay::socket::RelayThreads;
use crate::store::sled::SledStore;
use crate::store::{Reader, StoreError};
use crate::transport::poll::Bell;
use crate::transport::resolver::{self, Resolver};
use crate::transport::stream::{Streams, Tls};
use crate::transport::udp::UdpEndpoint;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};
use tokio::runtime::Runtime;
use tokio::sync::{mpsc, oneshot};

/// Numbers of the configured pool that are added by one command.
const POOL_PIECE: u64 = 100_000;
/// Controls that may wait for a signalling thread.
const CONTROLS: usize = 16;
/// How long BYEs and last records may take once the drain's time is over (operations: the process
/// has ended at most 5 s after it).
const LAST_WORDS: Duration = Duration::from_secs(4);

/// The gateway.
pub struct Gateway {
    config: Config,
    /// As it was at the start: what a reload cannot change is compared with this.
    started: Config,
    /// Each trunk's, which running calls remember.
    places: Places,
    runtime: Runtime,
    http_address: SocketAddr,
    sip_addresses: Vec<SocketAddr>,
    health: Arc<Health>,
    metrics: Metrics,
    expiries: Expiries,
    resolver: Resolver,
    /// One for each signalling worker, in order.
    signalling: Vec<Signaller>,
    _relay: RelayThreads,
    handle: BooksHandle,
    verification: crate::identity::Handle,
    lookup: Arc<dyn Lookup>,
    api: Arc<Api<BooksHandle>>,
    tls: api::server::TlsHandle,
    stop_http: Vec<oneshot::Sender<()>>,
    servers: Vec<tokio::task::JoinHandle<()>>,
}

impl Gateway {
    /// Starts everything; when this returns, calls and requests are served. `metrics` may have
    /// sources of its own already (the log's).
    ///
    /// # Errors
    /// What could not be had: says which part and why.
    pub fn start(config: Config, metrics: Metrics) -> Result<Self, String> {
        let health = Arc::new(Health::default());
        let plan = settings::plan(&config)?;
        let shelf = open_books(&config, &plan)?;
        super::meter::observe_books(&metrics, &health, &shelf.handle);
        let runtime = http_runtime()?;
        watch_data(&config, &runtime, &metrics, &health)?;
        add_pool(&runtime, &shelf.handle, settings::pool(&config)?)?;
        let mut places = Places::default();
        let placed = places.seat(&config.trunks)?;
        let super::streams::Sockets {
            workers: sockets,
            addresses: sip_addresses,
        } = super::streams::bind(&config, &super::streams::tls(&config, &placed)?)?;
        let directory = directory(&config, &placed, &plan, &shelf.lookup);
        let bells = &shelf.bells;
        let parts = parts(&config, &placed, directory, &sip_addresses, bells, &metrics)?;
        let names = settings::names(&parts.agent);
        let verification = verification::start(&config, &metrics)?;
        let workers = workers(&config, parts.workers, sockets, (&metrics, &health));
        super::system_ports::check(&config);
        super::expected::expect(&metrics, &config);
        // Everything that can be had is there: the API's address is the last that may be missing.
        let endpoint = Endpoints::new(metrics.clone(), Arc::clone(&health));
        let http = open_http(&config, &plan, &runtime, &shelf, endpoint)?;
        let signalling: Vec<Signaller> = workers
            .into_iter()
            .zip(shelf.notices)
            .map(|(ready, notices)| ready.spawn(&shelf.handle, notices, &verification))
            .collect::<Result<_, _>>()?;
        let resolver = start_resolver(&config, &sip_addresses, &signalling, &metrics)?;
        resolver.watch(names);
        health.set_sip_listening(true);
        let expiries = Expiries::observed(&metrics, &config);
        let this = Self {
            started: config.clone(),
            config,
            places,
            runtime,
            http_address: http.address,
            sip_addresses,
            health,
            expiries,
            metrics,
            resolver,
            signalling,
            _relay: parts.threads,
            handle: shelf.handle,
            verification,
            lookup: shelf.lookup,
            api: http.api,
            tls: http.tls,
            stop_http: vec![http.stop],
            servers: vec![http.server],
        };
        this.listen_beside(&http.beside)?;
        tracing::info!(http = %this.http_address, sip = this.sip_listeners(), "serving");
        Ok(this)
    }

    /// What is in force.
    #[must_use]
    pub fn config(&self) -> &Config {
        &self.config
    }

    /// Where SIP listens, as the configuration writes it.
    fn sip_listeners(&self) -> String {
        let listen = self.started.sip.listen.iter().zip(&self.sip_addresses);
        let named = listen.map(|((listen, _), at)| format!("{}:{at}", listen.transport.name()));
        named.collect::<Vec<_>>().join(" ")
    }

    /// Where the API listens.
    #[must_use]
    pub fn http_address(&self) -> SocketAddr {
        self.http_address
    }

    /// Where SIP listens (the first address).
    #[must_use]
    pub fn sip_address(&self) -> SocketAddr {
        self.sip_addresses
            .first()
            .copied()
            .unwrap_or(self.http_address)
    }

    /// Its metrics.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The runtime that HTTP and signals run on.
    pub fn runtime(&self) -> &Runtime {
        &self.runtime
    }

    /// Puts another configuration in force, but for what needs a restart.
    ///
    /// # Errors
    /// What is wrong with it; what was in force stays.
    pub fn reload(&mut self, mut config: Config) -> Result<(), String> {
        let waiting = self.started.restart_only(&config).0;
        // What the pools of ports were made of.
        config
            .media
            .addresses
            .clone_from(&self.started.media.addresses);
        config.media.ports = self.started.media.ports;
        config
            .media
            .networks
            .clone_from(&self.started.media.networks);
        settings::networks_are_there(&config)?;
        let plan = settings::plan(&config)?;
        let api = settings::api(&config, &plan)?;
        let mut places = self.places.clone();
        let placed = places.seat(&config.trunks)?;
        let agent = settings::agent(&config, &placed, &self.sip_addresses)?;
        let names = settings::names(&agent);
        let pool = settings::pool(&config)?;
        let certificates = super::streams::tls(&config, &placed)?;
        let verifying = verification::settings(&config)?;
        let recordings = recordings::load(&config)?;
        let made = self.signalling.iter();
        let made = made.map(|_| Tls::new(certificates.clone()));
        let tls: Vec<Tls> = made.collect::<Result<_, _>>()?;
        if let Some(files) = &api.tls {
            self.tls.reload(files)?;
        }
        for (one, tls) in self.signalling.iter().zip(tls) {
            let update = Update {
                agent: agent.clone(),
                settings: settings::call(&config, &recordings),
                trunks: settings::trunks(&placed),
                media: settings::media(&config, &placed, &recordings),
                directory: directory(&config, &placed, &plan, &self.lookup),
            };
            let told = one.tell(Control::Certificates(Box::new(tls)))
                && one.tell(Control::Reload(Box::new(update)));
            if !told {
                return Err("a signalling thread has ended".to_owned());
            }
        }
        self.resolver.watch(names);
        self.places = places;
        self.verification.reload(verifying);
        self.handle.reload(settings::books(&config, &plan));
        self.api.reload(api);
        add_pool(&self.runtime, &self.handle, pool)?;
        super::expected::expect(&self.metrics, &config);
        self.expiries.replace(&config);
        self.config = config;
        if !waiting.is_empty() {
            let keys = waiting.join(", ");
            tracing::warn!(keys, "these take effect at the next start");
        }
        Ok(())
    }

    /// Waits for SIGINT or SIGTERM.
    pub fn wait(&self) {
        self.runtime.block_on(async {
            if let Ok(mut signals) = super::signals::Signals::take() {
                signals.next().await;
            }
        });
    }

    /// Takes no more calls and says so; running ones go on.
    pub fn drain(&self) {
        self.health.start_draining();
        self.tell_workers(|| Control::Drain);
    }

    /// Calls that are up or being set up.
    #[must_use]
    pub fn calls(&self) -> usize {
        let up = |one: &Signaller| one.calls_up.load(Ordering::Relaxed);
        self.signalling.iter().map(up).sum()
    }

    fn tell_workers(&self, what: impl Fn() -> Control) {
        for one in &self.signalling {
            one.tell(what());
        }
    }

    /// `node.drain_timeout`.
    #[must_use]
    pub fn drain_timeout(&self) -> Duration {
        self.config.node.drain_timeout
    }

    /// Ends what is still up, writes what is owed, and stops every thread.
    ///
    /// # Errors
    /// What could not be written.
    pub fn end(mut self) -> Result<(), String> {
        self.health.start_draining();
        if self.calls() > 0 {
            self.tell_workers(|| Control::EndCalls);
            let end = Instant::now() + LAST_WORDS;
            while self.calls() > 0 && Instant::now() < end {
                std::thread::sleep(Duration::from_millis(10));
            }
        }
        self.tell_workers(|| Control::Stop);
        for one in self.signalling.drain(..) {
            let _ = one.thread.join();
        }
        for stop in self.stop_http.drain(..) {
            let _ = stop.send(());
        }
        let servers = std::mem::take(&mut self.servers);
        self.runtime.block_on(async {
            for server in servers {
                let _ = tokio::time::timeout(Duration::from_secs(1), server).await;
            }
        });
        self.handle.stop();
        if self.handle.metrics().healthy.get() == 1 {
            Ok(())
        } else {
            Err("the store did not take the last changes".to_owned())
        }
    }

    /// `[observe] listen`: metrics and health on an address of their own.
    fn listen_beside(&self, beside: &super::meter::Beside) -> Result<(), String> {
        let Some(address) = self.config.observe.listen else {
            return Ok(());
        };
        let listener = self
            .runtime
            .block_on(crate::observe::listener::Listener::bind(address))
            .map_err(|error| format!("cannot listen on {address}: {error}"))?;
        // It ends with the runtime: a scraper may see the drain to its end.
        let forever = listener.run(beside.0.clone(), std::future::pending());
        drop(self.runtime.spawn(forever));
        Ok(())
    }
}

/// The books, open.
struct Shelf {
    handle: BooksHandle,
    lookup: Arc<dyn Lookup>,
    /// For each signalling worker, in order.
    notices: Vec<mpsc::UnboundedReceiver<CallNotice>>,
    /// What wakes each of them.
    bells: Vec<Arc<Bell>>,
}

fn open_books(config: &Config, plan: &Arc<Plan>) -> Result<Shelf, String> {
    let mut options = crate::store::sled::Options::new(&config.node.data_dir);
    settings::store(config, &mut options);
    let said = |error: StoreError| in_place(&config.node.data_dir, &error);
    let store = SledStore::open(options).map_err(said)?;
    let books = Books::new(settings::books(config, plan));
    let lookup: Arc<dyn Lookup> = books.directory();
    let bell = |_| Bell::new().map(Arc::new);
    let bells: Result<Vec<_>, _> = (0..config.sip.workers).map(bell).collect();
    let bells = bells.map_err(|error| format!("an eventfd: {error}"))?;
    let (senders, notices) = bells
        .iter()
        .map(|bell| {
            let (sender, receiver) = mpsc::unbounded_channel();
            ((sender, Arc::clone(bell)), receiver)
        })
        .unzip();
    let sink = Box::new(Notices(senders));
    let limits = books_thread::Limits::default();
    let (handle, report) =
        books_thread::start(books, Box::new(store), sink, limits).map_err(said)?;
    say(&report);
    Ok(Shelf {
        handle,
        lookup,
        notices,
        bells,
    })
}

/// What is wrong with the store, and where that is: what the engine says itself names no place.
fn in_place(data_dir: &std::path::Path, error: &StoreError) -> String {
    let (place, said) = (data_dir.display().to_string(), error.to_string());
    if said.contains(&place) {
        said
    } else {
        format!("{place}: {said}")
    }
}

fn watch_data(
    config: &Config,
    runtime: &Runtime,
    metrics: &Metrics,
    health: &Arc<Health>,
) -> Result<(), String> {
    let path = &config.node.data_dir;
    let directory =
        DataDirectory::of(path).map_err(|error| format!("{}: {error}", path.display()))?;
    watch::observe(metrics, health);
    // It ends with the runtime.
    drop(runtime.spawn(directory.watch(Arc::clone(health))));
    Ok(())
}

/// The API, listening.
struct Http {
    api: Arc<Api<BooksHandle>>,
    address: SocketAddr,
    tls: api::server::TlsHandle,
    stop: oneshot::Sender<()>,
    server: tokio::task::JoinHandle<()>,
    beside: Arc<super::meter::Beside>,
}

fn open_http(
    config: &Config,
    plan: &Arc<Plan>,
    runtime: &Runtime,
    shelf: &Shelf,
    endpoints: Endpoints,
) -> Result<Http, String> {
    let beside = Arc::new(super::meter::Beside(endpoints.clone()));
    let api = Arc::new(Api::new(
        settings::api(config, plan)?,
        shelf.handle.clone(),
        Arc::clone(&shelf.lookup),
        beside.clone(),
        Arc::new(SystemClock),
    ));
    let bind = api::server::Server::bind(Arc::clone(&api), config.http.listen);
    let server = runtime.block_on(bind)?;
    let address = server.address().map_err(|error| error.to_string())?;
    let tls = server.tls_handle();
    super::meter::observe_api(endpoints.metrics(), &api);
    let (stop, stopped) = oneshot::channel::<()>();
    let server = runtime.spawn(server.run(async {
        let _ = stopped.await;
    }));
    Ok(Http {
        api,
        address,
        tls,
        stop,
        server,
        beside,
    })
}

impl neighbours::Books for BooksHandle {
    async fn request(&self, command: Command, idempotency: Option<Idempotency>) -> Reply {
        Self::request(self, command, idempotency).await
    }

    fn reader(&self) -> Arc<dyn Reader> {
        Self::reader(self)
    }
}

/// The books' notices on their way to the signalling threads. Each answers a command of a call or
/// tells one of its lease's end, so there are never more than a few a call.
struct Notices(Vec<(mpsc::UnboundedSender<CallNotice>, Arc<Bell>)>);

impl NoticeSink for Notices {
    fn deliver(&self, notice: CallNotice) {
        if let Some((queue, _)) = self.0.get(usize::from(notice.worker)) {
            let _ = queue.send(notice);
        }
    }

    fn wake(&self, worker: u16) {
        if let Some((_, bell)) = self.0.get(usize::from(worker)) {
            bell.ring();
        }
    }
}

fn say(report: &crate::books::LoadReport) {
    tracing::info!(
        customers = report.customers,
        numbers = report.numbers,
        leases = report.leases,
        recovered_calls = report.recovered_calls,
        "the books are open"
    );
}

fn http_runtime() -> Result<Runtime, String> {
    let cores = std::thread::available_parallelism().map_or(1, usize::from);
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cores.min(4))
        .thread_name("http")
        .enable_all()
        .build()
        .map_err(|error| format!("the HTTP runtime: {error}"))
}

fn add_pool(
    runtime: &Runtime,
    handle: &BooksHandle,
    ranges: Vec<crate::books::command::PoolRange>,
) -> Result<(), String> {
    // Of bearable size each, so that a pool of millions does not become one commit.
    for piece in ranges.iter().flat_map(|range| range.chunks(POOL_PIECE)) {
        let added = runtime.block_on(handle.request(Command::AddNumbers(vec![piece]), None));
        if let Reply::Outcome(Err(code)) = added {
            return Err(format!("the pool could not be written: status {}", code.0));
        }
    }
    Ok(())
}

/// The DNS client: what it finds goes to the signalling threads.
fn start_resolver(
    config: &Config,
    sip: &[SocketAddr],
    workers: &[Signaller],
    metrics: &Metrics,
) -> Result<Resolver, String> {
    let way = |one: &Signaller| (one.control.clone(), Arc::clone(&one.bell));
    let controls: Vec<_> = workers.iter().map(way).collect();
    let metrics = metrics.clone();
    let sink = move |found: &resolver::Found| {
        // Who has it already may have it twice: all are told until all know.
        let full = |(control, bell): &(mpsc::Sender<Control>, Arc<Bell>)| {
            let sent = control.try_send(Control::Hops(found.clone()));
            bell.ring();
            matches!(sent, Err(mpsc::error::TrySendError::Full(_)))
        };
        !controls.iter().any(full)
    };
    Resolver::start(resolver::Parts {
        servers: config.sip.resolvers.clone(),
        listeners: settings::listeners(config, sip),
        sink: Box::new(sink),
        count: Box::new(move |event| metrics.sip_event("dns", event)),
    })
    .map_err(|error| format!("the DNS client: {error}"))
}

/// A signalling worker, as the rest reaches it.
struct Signaller {
    control: mpsc::Sender<Control>,
    bell: Arc<Bell>,
    calls_up: Arc<AtomicUsize>,
    thread: JoinHandle<()>,
}

impl Signaller {
    /// Tells it something; false if it has ended.
    fn tell(&self, what: Control) -> bool {
        let told = self.control.blocking_send(what).is_ok();
        self.bell.ring();
        told
    }
}

/// One that only waits for its thread.
struct Ready {
    worker: Worker,
    endpoints: Vec<UdpEndpoint>,
    streams: Streams,
    handover: Handover,
    relay_ready: std::os::fd::OwnedFd,
    meter: WorkerMeter,
}

fn workers(
    config: &Config,
    parts: Vec<WorkerParts>,
    sockets: Vec<(Vec<UdpEndpoint>, Streams)>,
    (metrics, health): (&Metrics, &Arc<Health>),
) -> Vec<Ready> {
    let ready = |(parts, (endpoints, streams)): (WorkerParts, (Vec<UdpEndpoint>, Streams))| {
        let index = parts.parts.index;
        let worker = Worker::new(parts.parts);
        let meter = WorkerMeter::new(config, metrics, health, index);
        // Whoever asks first, right after the start, finds every figure there.
        meter.observe(&worker, &[], &streams);
        Ready {
            worker,
            endpoints,
            streams,
            handover: parts.handover,
            relay_ready: parts.relay_ready,
            meter,
        }
    };
    parts.into_iter().zip(sockets).map(ready).collect()
}

impl Ready {
    fn spawn(
        self,
        books: &BooksHandle,
        notices: mpsc::UnboundedReceiver<CallNotice>,
        verification: &crate::identity::Handle,
    ) -> Result<Signaller, String> {
        let (control, control_in) = mpsc::channel(CONTROLS);
        let calls_up = Arc::new(AtomicUsize::new(0));
        let bell = Arc::clone(self.handover.bell());
        let (verifier, verdicts) = verification::asker(verification, &bell);
        let name = format!("signalling-{}", self.handover.shard().index());
        let signalling = Signalling {
            worker: self.worker,
            endpoints: self.endpoints,
            streams: self.streams,
            handover: self.handover,
            books: Box::new(books.clone()),
            notices,
            verifier,
            verdicts,
            control: control_in,
            relay_ready: self.relay_ready,
            meter: Box::new(self.meter),
            calls_up: Arc::clone(&calls_up),
        };
        let thread = spawn_signalling(name, signalling)?;
        Ok(Signaller {
            control,
            bell,
            calls_up,
            thread,
        })
    }
}

fn spawn_signalling(name: String, signalling: Signalling) -> Result<JoinHandle<()>, String> {
    std::thread::Builder::new()
        .name(name)
        .spawn(move || {
            if let Err(error) = signalling.run() {
                tracing::error!(%error, "a signalling thread failed");
            }
        })
        .map_err(|error| format!("a signalling thread: {error}"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    #[test]
    fn what_is_wrong_with_the_store_names_its_place_once() {
        let here = Path::new("/var/lib/leasebridge");
        let bare = StoreError::Damaged("Read corrupted data at file offset 7".into());
        assert!(in_place(here, &bare).starts_with("/var/lib/leasebridge: "));
        let placed = StoreError::Damaged("/var/lib/leasebridge/store.2: gap".into());
        assert_eq!(in_place(here, &placed), placed.to_string());
    }
}
