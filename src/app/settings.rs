//! From the configuration to each layer's own settings. Nothing is decided here: names change
//! places. What the configuration could not know (an address that no socket can reach, a key that is no
//! key) comes back as an error that names the part.

use super::places::Placed;
use super::recordings;
use crate::api;
use crate::books;
use crate::books::command::PoolRange;
use crate::call;
use crate::call::context::SingleCallerId;
use crate::config::{self, Config};
use crate::domain::numbering::{NumberForm, Plan, calling_code};
use crate::domain::srtp::Srtp;
use crate::domain::{Tariff, TrunkId, UnixMillis};
use crate::media::recording::Recordings;
use crate::media::settings as media;
use crate::relay::socket::RelayConfig;
use crate::sdp::CodecList;
use crate::sip::agent;
use crate::sip::locate;
use crate::sip::message::Transport;
use crate::store;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

/// How long the answer of an idempotent request is kept (lease-api 4.9).
const KEEP_ANSWERS: Duration = Duration::from_secs(24 * 3600);

/// The numbering plan.
///
/// # Errors
/// What it says of the numbers.
pub fn plan(config: &Config) -> Result<Arc<Plan>, String> {
    let numbering = &config.numbering;
    let country = numbering.default_country.as_deref();
    Plan::new(country, &numbering.allowed_targets, &numbering.emergency).map(Arc::new)
}

/// The configured pool.
///
/// # Errors
/// The entry that is no number or range.
pub fn pool(config: &Config) -> Result<Vec<PoolRange>, String> {
    let plan = plan(config)?;
    config
        .numbering
        .pool
        .iter()
        .map(|entry| {
            plan.parse_pool_entry(entry)
                .map_err(|error| format!("numbering.pool, {entry:?}: {error}"))
        })
        .collect()
}

/// The store's.
pub fn store(config: &Config, options: &mut store::sled::Options) {
    options.cache_bytes = config.store.cache;
    options.ballast_bytes = config.store.ballast;
}

/// The books'.
#[must_use]
pub fn books(config: &Config, plan: &Arc<Plan>) -> books::Settings {
    books::Settings {
        cooldown: config.numbering.cooldown,
        max_per_phone: config.leases.max_per_phone,
        hang_up_at_end: config.leases.hang_up_at_end,
        calls_per_lease: config.calls.per_lease,
        calls_per_customer: config.calls.per_customer,
        keep_answers: KEEP_ANSWERS,
        target_allowed: Plan::target_allowed,
        plan: Arc::clone(plan),
    }
}

/// The call's, without recordings.
#[must_use]
pub fn call(config: &Config, recordings: &Recordings) -> call::Settings {
    call::Settings {
        ring_timeout: config.calls.ring_timeout,
        max_duration: config.calls.max_duration,
        single_caller_id: caller_id(config.calls.single_caller_id),
        no_lease: config.calls.no_lease,
        no_credit: config.calls.no_credit,
        verdict_timeout: config.identity.verdict_timeout,
        announcements: recordings::lengths(recordings),
        credit_warning: config.billing.credit_warning,
    }
}

/// Trunks as calls see them.
#[must_use]
pub fn trunks(placed: &Placed<'_>) -> Vec<Option<call::routing::Trunk>> {
    let literal = |trunk: &config::Trunk| {
        let target = trunk.target.as_ref();
        usize::from(target.is_some_and(|target| question(target).literal().is_some()))
    };
    let trunk = |trunk: &config::Trunk| call::routing::Trunk {
        name: trunk.name.as_str().into(),
        outbound: trunk.direction.takes(),
        priority: trunk.priority,
        weight: trunk.weight,
        max_calls: trunk.max_calls,
        max_cps: trunk.max_cps,
        probed: !trunk.options_interval.is_zero(),
        early_media: trunk.early_media,
        ring_timeout: trunk.ring_timeout,
        single_caller_id: trunk.single_caller_id.map(caller_id),
        max_rest: trunk.max_retry_after,
        hops: literal(trunk),
        usable_hops: literal(trunk),
    };
    placed.iter().map(|one| one.map(trunk)).collect()
}

/// The user agent's; `local` are the addresses that are bound, in the order of `sip.listen`.
///
/// # Errors
/// A target whose address no socket of ours can reach.
pub fn agent(
    config: &Config,
    placed: &Placed<'_>,
    local: &[SocketAddr],
) -> Result<agent::Settings, String> {
    let sockets = config.sip.listen.iter().zip(local);
    let (mut advertised, mut streams) = (Vec::new(), Vec::new());
    for ((listen, name), local) in sockets {
        let name = advertised_name(name, *local);
        match transport(listen.transport) {
            Transport::Udp => advertised.push((*local, name)),
            transport => streams.push(agent::Listening {
                transport,
                local: *local,
                advertised: name,
            }),
        }
    }
    let mut trunks = Vec::with_capacity(placed.len());
    for (place, trunk) in placed.iter().enumerate() {
        let id = u16::try_from(place).map_err(|_| "more than 65,536 trunks".to_owned())?;
        let one = trunk.map(|trunk| agent_trunk(config, TrunkId(id), trunk, local));
        trunks.push(one.transpose()?);
    }
    Ok(agent::Settings {
        trunks,
        refuse_unknown: config.sip.refuse_unknown,
        advertised,
        streams,
        own: config
            .media
            .addresses
            .iter()
            .flat_map(|one| [one.bind, one.advertised])
            .collect(),
        t1: Duration::from_millis(500),
        signer: super::verification::signer(config)?,
        passport_max_age: config.identity.max_age,
    })
}

fn agent_trunk(
    config: &Config,
    id: TrunkId,
    trunk: &config::Trunk,
    local: &[SocketAddr],
) -> Result<agent::Trunk, String> {
    let target = trunk
        .target
        .as_ref()
        .map(|to| target(&trunk.name, to, &listeners(config, local)));
    Ok(agent::Trunk {
        id,
        sources: trunk
            .sources
            .iter()
            .map(|cidr| (cidr.address, cidr.length))
            .collect(),
        target: target.transpose()?,
        certified: trunk.tls.require_client_cert,
        trusted: trunk.trusted,
        reliable: match trunk.reliable_provisionals {
            config::Reliability::Off => agent::Reliability::Off,
            config::Reliability::Supported => agent::Reliability::Supported,
            config::Reliability::Required => agent::Reliability::Required,
        },
        form: form(config, &trunk.numbers),
        options_interval: trunk.options_interval,
        account: account(&trunk.digest),
        login: login(&trunk.digest),
        identity: super::verification::policy(config, trunk),
        sign: trunk.sign,
        tls_only: trunk.srtp != Srtp::None && !trunk.insecure_srtp,
        session_policy: agent::SessionPolicy {
            expires_seconds: seconds(trunk.session_expires.unwrap_or(config.sip.session_expires)),
            least_seconds: seconds(config.sip.min_se),
        },
    })
}

fn seconds(length: Duration) -> u32 {
    u32::try_from(length.as_secs()).unwrap_or(u32::MAX)
}

/// Theirs for us.
fn account(digest: &config::Digest) -> Option<agent::Account> {
    let user = |one: &config::User| (one.user.as_str().into(), password(one));
    (!digest.users.is_empty()).then(|| agent::Account {
        realm: digest.realm.as_str().into(),
        users: digest.users.iter().map(user).collect(),
        algorithms: algorithms(digest),
    })
}

/// Ours for them.
fn login(digest: &config::Digest) -> Option<agent::Login> {
    digest.login.as_ref().map(|one| agent::Login {
        user: one.user.as_str().into(),
        password: password(one),
        realm: digest.realm.as_str().into(),
        algorithms: algorithms(digest),
    })
}

fn password(one: &config::User) -> agent::Password {
    agent::Password::new(one.password.expose())
}

fn algorithms(digest: &config::Digest) -> Box<[agent::Algorithm]> {
    let one = |one: &config::DigestAlgorithm| match one {
        config::DigestAlgorithm::Md5 => agent::Algorithm::Md5,
        config::DigestAlgorithm::Sha256 => agent::Algorithm::Sha256,
    };
    digest.algorithms.iter().map(one).collect()
}

/// How each trunk writes numbers, by place. Nothing is read of a trunk that is gone.
#[must_use]
pub fn wire_forms(config: &Config, placed: &Placed<'_>) -> Vec<NumberForm> {
    let one = |trunk: &Option<&config::Trunk>| {
        trunk.map_or(NumberForm::PlusE164, |trunk| form(config, &trunk.numbers))
    };
    placed.iter().map(one).collect()
}

/// Emergency numbers of single trunks, by place.
#[must_use]
pub fn trunk_emergency(placed: &Placed<'_>) -> Vec<Vec<Box<str>>> {
    let own = |trunk: &config::Trunk| trunk.emergency.iter().map(|n| n.as_str().into()).collect();
    let one = |trunk: &Option<&config::Trunk>| trunk.map_or_else(Vec::new, own);
    placed.iter().map(one).collect()
}

/// Media rules, without recordings.
#[must_use]
pub fn media(config: &Config, placed: &Placed<'_>, recordings: &Recordings) -> media::Settings {
    let networks = config.media.addresses.iter().map(|address| media::Network {
        named: address.network,
        bind: address.bind,
        advertised: address.advertised,
        first_port: address.ports.first,
        last_port: address.ports.last,
    });
    let trunk = |trunk: &config::Trunk| media::Trunk {
        network: network_of(config, trunk),
        source: match trunk.media_source {
            config::MediaSource::AddressAndPort => media::MediaSource::AddressAndPort,
            config::MediaSource::Address => media::MediaSource::Address,
            config::MediaSource::Latch => media::MediaSource::Latch,
        },
        prefixes: trunk
            .media_prefixes
            .iter()
            .map(|cidr| (cidr.address, cidr.length))
            .collect(),
        codecs: CodecList::read(&trunk.codecs).unwrap_or_default(),
        srtp: trunk.srtp,
    };
    media::Settings {
        networks: networks.collect(),
        trunks: placed.iter().map(|one| one.map(trunk)).collect(),
        timeout: config.media.timeout.unwrap_or_default(),
        recordings: recordings.clone(),
    }
}

/// Whether every trunk's network is there: a reload brings none.
///
/// # Errors
/// The first that is not.
pub fn networks_are_there(config: &Config) -> Result<(), String> {
    for trunk in &config.trunks {
        if let Some(network) = &trunk.media_network
            && !config.media.networks.contains(network)
        {
            let name = &trunk.name;
            return Err(format!(
                "trunk {name}: media_network {network:?} is there after a restart alone"
            ));
        }
    }
    Ok(())
}

/// The relay's.
#[must_use]
pub fn relay(config: &Config) -> RelayConfig {
    RelayConfig {
        threads: usize::from(config.media.threads),
        cpus: config
            .media
            .cpus
            .iter()
            .map(|cpu| usize::from(*cpu))
            .collect(),
        receive_buffer: usize::try_from(config.media.receive_buffer).unwrap_or(usize::MAX),
        dscp: config.media.dscp,
        ..RelayConfig::default()
    }
}

/// The API's.
///
/// # Errors
/// A key that cannot be used: says which.
pub fn api(config: &Config, plan: &Arc<Plan>) -> Result<api::settings::Settings, String> {
    let http = &config.http;
    let cidr = |cidr: &config::Cidr| (cidr.address, cidr.length);
    Ok(api::settings::Settings {
        path_prefixes: http.path_prefixes.clone(),
        always_ok: http.always_ok,
        issuer: http.issuer.clone(),
        audience: http.audience.clone(),
        trusted_proxies: http.trusted_proxies.iter().map(cidr).collect(),
        keys: http.keys.iter().map(token_key).collect::<Result<_, _>>()?,
        clients: http.clients.iter().map(client).collect(),
        rate: rate(http.rate_limit),
        timezone: config.numbering.timezone,
        plan: Arc::clone(plan),
        max_duration: api::settings::LeaseLimit::from_duration(config.leases.max_duration),
        max_whitelist: usize::try_from(config.leases.max_whitelist).unwrap_or(usize::MAX),
        default_tariff: Tariff {
            block_seconds: config.billing.default_block,
            rate: config.billing.default_rate,
        },
        tls: http.tls.as_ref().map(|files| api::settings::TlsFiles {
            certificate: files.cert.clone(),
            key: files.key.clone(),
        }),
        limits: api::settings::HttpLimits {
            max_connections: usize::try_from(http.max_connections).unwrap_or(usize::MAX),
            max_connections_per_address: usize::try_from(http.max_connections_per_address)
                .unwrap_or(usize::MAX),
            header_timeout: http.header_timeout,
            ..Default::default()
        },
    })
}

fn token_key(key: &config::Key) -> Result<api::settings::TokenKey, String> {
    let kid = Some(key.kid.clone());
    let material = key.material.expose().as_bytes();
    let made = match key.algorithm {
        config::Algorithm::Hs256 => api::settings::TokenKey::hs256(kid, material),
        config::Algorithm::Rs256 => api::settings::TokenKey::public(kid, "RS256", material),
        config::Algorithm::Es256 => api::settings::TokenKey::public(kid, "ES256", material),
        config::Algorithm::EdDsa => api::settings::TokenKey::public(kid, "EdDSA", material),
    };
    made.map_err(|error| format!("http.keys, kid {:?}: {error}", key.kid))
}

fn client(client: &config::Client) -> api::settings::Client {
    let scope = |scope: &config::Scope| match scope {
        config::Scope::Lease => api::settings::Scope::Lease,
        config::Scope::CustomerRead => api::settings::Scope::CustomerRead,
        config::Scope::CustomerWrite => api::settings::Scope::CustomerWrite,
        config::Scope::Numbers => api::settings::Scope::Numbers,
        config::Scope::Cdr => api::settings::Scope::Cdr,
        config::Scope::Admin => api::settings::Scope::Admin,
    };
    let signing =
        |secret: &config::Secret| api::settings::Client::signing_key(secret.expose().as_bytes());
    api::settings::Client {
        name: client.name.clone(),
        enabled: client.enabled,
        scopes: client.scopes.iter().map(scope).collect(),
        customers: client.customers.clone(),
        signing: client.signing_secret.as_ref().map(signing),
        rate: client.rate_limit.map(rate),
        tokens_valid_from: client
            .tokens_valid_from
            .map(|seconds| UnixMillis(seconds.saturating_mul(1000))),
    }
}

/// A rate with the burst that the rules give it: twice as much at once (lease-api 4.12).
fn rate(per_second: u32) -> api::rate::Rate {
    api::rate::Rate {
        per_second,
        burst: per_second.saturating_mul(2),
    }
}

fn caller_id(setting: config::SingleCallerId) -> SingleCallerId {
    match setting {
        config::SingleCallerId::Pass => SingleCallerId::Pass,
        config::SingleCallerId::Leased => SingleCallerId::Leased,
    }
}

fn form(config: &Config, form: &config::NumberForm) -> NumberForm {
    match form {
        config::NumberForm::PlusE164 => NumberForm::PlusE164,
        config::NumberForm::E164 => NumberForm::E164,
        config::NumberForm::National => NumberForm::National(
            config
                .numbering
                .default_country
                .as_deref()
                .unwrap_or_default()
                .into(),
        ),
        config::NumberForm::Prefix { prefix, strip } => {
            let home = config.numbering.default_country.as_deref();
            let code = home.filter(|_| *strip > 0).and_then(calling_code);
            NumberForm::Prefix(prefix.as_str().into(), code.unwrap_or_default().into())
        }
    }
}

/// The media address of a trunk's network and family: that of its target's address, else of its first
/// source. Where the target is a name, the family is known once it is resolved.
fn network_of(config: &Config, trunk: &config::Trunk) -> usize {
    let target = trunk.target.as_ref();
    let literal = target.and_then(|target| question(target).literal());
    let address = literal.or_else(|| trunk.sources.first().map(|cidr| cidr.address));
    let v6 = address.is_some_and(|address| address.is_ipv6());
    let name = trunk
        .media_network
        .as_deref()
        .unwrap_or(config::DEFAULT_NETWORK);
    let addresses = &config.media.addresses;
    let own = |one: &config::MediaAddress| {
        config
            .media
            .networks
            .get(one.network)
            .is_some_and(|n| n == name)
    };
    let fits = |one: &config::MediaAddress| own(one) && one.bind.is_ipv6() == v6;
    let fitting = addresses.iter().position(fits);
    fitting
        .or_else(|| addresses.iter().position(own))
        .unwrap_or(0)
}

/// What is to be found of a target (RFC 3263 §4).
#[must_use]
pub fn question(target: &config::TrunkTarget) -> locate::Target {
    locate::Target {
        host: target.host.as_str().into(),
        port: target.port,
        transport: target.transport.map(transport),
        secure: target.secure,
    }
}

/// Our sockets with their transports; `local` are the addresses that are bound, in the order of
/// `sip.listen`.
#[must_use]
pub fn listeners(config: &Config, local: &[SocketAddr]) -> Vec<(Transport, SocketAddr)> {
    let listen = config.sip.listen.iter().zip(local);
    listen
        .map(|((listen, _), local)| (transport(listen.transport), *local))
        .collect()
}

/// The names that the DNS is to be asked for.
#[must_use]
pub fn names(agent: &agent::Settings) -> Vec<locate::Target> {
    let mut names = Vec::new();
    for trunk in agent.trunks.iter().flatten() {
        let target = trunk.target.as_ref();
        if let Some(name) = target.and_then(|target| target.name.as_ref())
            && !names.contains(name)
        {
            names.push(name.clone());
        }
    }
    names
}

/// The name that Via and Contact carry: as configured, with the port that is really bound where
/// the configuration left it to the system.
fn advertised_name(name: &str, bound: SocketAddr) -> Box<str> {
    match name.strip_suffix(":0") {
        Some(host) => format!("{host}:{}", bound.port()).into(),
        None => name.into(),
    }
}

/// Transports of SIP by both their names.
pub fn transport(transport: config::Transport) -> Transport {
    match transport {
        config::Transport::Udp => Transport::Udp,
        config::Transport::Tcp => Transport::Tcp,
        config::Transport::Tls => Transport::Tls,
    }
}

/// Port of a URI without one (RFC 3261 §19.1.2).
fn default_port(target: &config::TrunkTarget) -> u16 {
    let tls = target.secure || target.transport == Some(config::Transport::Tls);
    if tls { 5061 } else { 5060 }
}

fn target(
    trunk: &str,
    target: &config::TrunkTarget,
    listeners: &[(Transport, SocketAddr)],
) -> Result<agent::Target, String> {
    let question = question(target);
    let host = match target.port {
        None => target.host.as_str().into(),
        Some(port) if port == default_port(target) => target.host.as_str().into(),
        Some(port) => format!("{}:{port}", target.host).into(),
    };
    if question.literal().is_none() {
        return Ok(agent::Target {
            host,
            hops: Vec::new(),
            name: Some(question),
            secure: target.secure,
            free: false,
        });
    }
    match locate::Locator::new(question, listeners).outcome() {
        locate::Outcome::Hops(hops, _) => Ok(agent::Target {
            host,
            hops,
            name: None,
            secure: target.secure,
            free: target.transport.is_none() && !target.secure,
        }),
        locate::Outcome::Nothing(_) | locate::Outcome::Failed => Err(format!(
            "trunk {trunk:?}: no SIP socket of the address family of {}",
            target.host
        )),
    }
}
