//! What the signalling workers are made of, from the configuration.

use super::places::Placed;
use super::{recordings, settings};
use crate::books::Lookup;
use crate::call::caps::{Counts, Share};
use crate::call::routing::Trunks;
use crate::config::Config;
use crate::domain::numbering::Plan;
use crate::engine::books_adapter::Directory;
use crate::engine::digest_memory::SharedMemory;
use crate::engine::handover::Handover;
use crate::engine::worker::Parts;
use crate::media;
use crate::media::ports::{PortPool, Ports};
use crate::observe::Metrics;
use crate::relay::Relay as _;
use crate::relay::socket::{RelayThreads, SocketRelay};
use crate::sip::agent::{self, Agent};
use crate::sip::digest::{Gate, Nonces};
use crate::sip::steering::Steering;
use crate::transport::poll::Bell;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Instant;

/// Where the worker looks numbers up.
pub(super) fn directory(
    config: &Config,
    placed: &Placed<'_>,
    plan: &Arc<Plan>,
    lookup: &Arc<dyn Lookup>,
) -> Directory {
    Directory {
        leases: Arc::clone(lookup),
        plan: Arc::clone(plan),
        forms: settings::wire_forms(config, placed),
        emergency: settings::trunk_emergency(placed),
    }
}

/// A worker's parts, and what its shell needs beside them.
pub(super) struct WorkerParts {
    /// For the worker.
    pub(super) parts: Parts,
    /// Readable when the relay has something to report.
    pub(super) relay_ready: std::os::fd::OwnedFd,
    /// Its way to the other workers.
    pub(super) handover: Handover,
}

/// All workers' parts, in order.
pub(super) struct AllParts {
    /// Of each worker.
    pub(super) workers: Vec<WorkerParts>,
    /// What the agents were made with.
    pub(super) agent: agent::Settings,
    /// The relay's threads.
    pub(super) threads: RelayThreads,
}

/// Binds what media needs and puts the rest together for each of `sip.workers`; `sip` are the bound
/// SIP addresses.
///
/// # Errors
/// What could not be had.
pub(super) fn parts(
    config: &Config,
    placed: &Placed<'_>,
    directory: Directory,
    sip: &[SocketAddr],
    bells: &[Arc<Bell>],
    metrics: &Metrics,
) -> Result<AllParts, String> {
    let mut entropy = super::entropy::System;
    let recordings = recordings::load(config)?;
    let media = settings::media(config, placed, &recordings);
    let steering = Steering::new(agent::Entropy::next(&mut entropy), config.sip.workers);
    let count = usize::from(steering.workers());
    for network in &media.networks {
        // A port of the system's choice: only the address is tried.
        std::net::UdpSocket::bind((network.bind, 0))
            .map_err(|error| format!("media.address: cannot bind {}: {error}", network.bind))?;
    }
    let relay_failed = |error: std::io::Error| format!("the media relay: {error}");
    let (threads, relays) =
        RelayThreads::start(&settings::relay(config), count).map_err(relay_failed)?;
    super::meter::observe_relay(metrics, threads.metrics());
    let agent = settings::agent(config, placed, sip)?;
    let counts = Counts::new(count, super::places::MOST_NAMES.into(), Instant::now());
    let gate = gates(&mut entropy);
    let mut workers = Vec::with_capacity(count);
    for (handover, mut relay) in Handover::mesh(steering, bells).into_iter().zip(relays) {
        let shard = handover.shard();
        let index = usize::from(shard.index());
        let mut ports = shares(config, &media, (index, count), &mut entropy);
        bind_ports(&mut ports, &mut relay)?;
        // SAFETY: the descriptor is open as long as the relay is, which is here.
        let event = unsafe { std::os::fd::BorrowedFd::borrow_raw(relay.event_fd()) };
        let relay_ready = event.try_clone_to_owned().map_err(relay_failed)?;
        let mut trunks = Trunks::new(settings::trunks(placed));
        if count > 1 {
            trunks.share(Share::new(Arc::clone(&counts), index));
        }
        let parts = Parts {
            index: shard.index(),
            agent: Agent::new(agent.clone(), Box::new(super::entropy::System))
                .at(shard)
                .behind(gate()),
            settings: settings::call(config, &recordings),
            trunks,
            media: media.clone(),
            ports,
            relay: Box::new(relay),
            directory: directory.clone(),
            entropy: Box::new(super::entropy::System),
        };
        workers.push(WorkerParts {
            parts,
            relay_ready,
            handover,
        });
    }
    Ok(AllParts {
        workers,
        agent,
        threads,
    })
}

/// What lets credentials in: of each worker one, with one key and one memory.
fn gates(entropy: &mut dyn agent::Entropy) -> impl Fn() -> Gate + use<> {
    let nonces = Nonces::draw(entropy, Instant::now());
    let memory = SharedMemory::default();
    move || Gate::new(nonces.clone(), Box::new(memory.clone()))
}

/// One worker's share of the media ports.
fn shares(
    config: &Config,
    media: &media::settings::Settings,
    worker: (usize, usize),
    entropy: &mut dyn agent::Entropy,
) -> Ports {
    let shards = settings::relay(config).threads.max(1);
    let mut share = |network: &media::settings::Network| {
        let range = (network.first_port, network.last_port);
        PortPool::share(network.bind, range, shards, worker, entropy.next())
    };
    Ports::new(media.networks.iter().map(&mut share).collect())
}

/// Binds the media ports before the first call, so that no call waits for it and no other process
/// takes one in between.
fn bind_ports(ports: &mut Ports, relay: &mut SocketRelay) -> Result<(), String> {
    let bound = ports.bind_all(&mut |pair| relay.reserve(pair));
    relay.flush(Instant::now());
    let count = ports.count();
    if count.free == 0 {
        return Err(
            "media.ports: not one pair of them can be bound; if another gateway has them, give \
                    each its own"
                .to_owned(),
        );
    }
    if count.retired > 0 {
        tracing::warn!(
            pairs = count.retired,
            "media ports that other processes have are left out until the next start"
        );
    }
    if let Err(error) = bound {
        tracing::warn!(%error, "not every media port could be bound: calls bind the rest");
    }
    Ok(())
}
