//! Checks that need more than one section.

use super::reader::Section;
use super::sip::overlap;
use super::{Config, Environment, NumberForm, Transport, Trunk};
use crate::domain::numbering::calling_code;
use crate::domain::srtp::Srtp;
use std::net::IpAddr;

/// Descriptors that are open beside ports and connections: store, logs, event loops, listeners.
const OTHER_DESCRIPTORS: u64 = 128;

pub(super) fn across(config: &Config, root: &Section<'_>, environment: &Environment<'_>) {
    listeners(config, root);
    targets_have_sockets(config, root);
    srtp_needs_tls(config, root);
    targets_are_others(config, root);
    ports_for_each_worker(config, root);
    media_and_sip(config, root);
    super::media::share_no_port(&config.media, root);
    networks_are_named(config, root);
    national_needs_country(config, root);
    strip_is_the_country_code(config, root);
    clients_need_keys(config, root);
    if let Some(limit) = environment.descriptor_limit
        && !root.section("media").is_faulty("ports")
    {
        descriptors(config, root, limit);
    }
}

fn listeners(config: &Config, root: &Section<'_>) {
    let streams = config.sip.listen.iter().map(|(listen, _)| listen);
    for listen in streams.filter(|listen| listen.transport != Transport::Udp) {
        if overlap(listen.address, config.http.listen) {
            let message = format!("{} overlaps with sip.listen {listen}", config.http.listen);
            root.section("http").fault("listen", message);
        }
        if let Some(beside) = config
            .observe
            .listen
            .filter(|one| overlap(listen.address, *one))
        {
            let message = format!("{beside} overlaps with sip.listen {listen}");
            root.section("observe").fault("listen", message);
        }
    }
    if let Some(listen) = config.observe.listen
        && overlap(listen, config.http.listen)
    {
        let message = format!("{listen} overlaps with http.listen {}", config.http.listen);
        root.section("observe").fault("listen", message);
    }
}

/// Each trunk with its section, but for those that could not be read.
fn trunks<'c, 'r>(
    config: &'c Config,
    root: &Section<'r>,
) -> impl Iterator<Item = (&'c Trunk, Section<'r>)> {
    let sections = root.sections("trunk", "name").into_iter();
    sections.filter_map(|section| {
        let name = section.value("name")?.text()?.to_owned();
        let trunk = config.trunks.iter().find(|trunk| trunk.name == name)?;
        Some((trunk, section))
    })
}

/// Each leg of a call has a pair of ports, and ports are shared out among the workers.
fn ports_for_each_worker(config: &Config, root: &Section<'_>) {
    let workers = u64::from(config.sip.workers);
    let needed = workers.saturating_mul(4);
    let media = root.section("media");
    if config.media.ports.ports() < needed && !root.section("sip").is_faulty("workers") {
        let message = format!(
            "a call needs two pairs of ports, and each of sip.workers ({workers}) has its own: expected at \
             least {needed} ports"
        );
        media.fault("ports", message);
    }
}

/// Who calls himself is busy with that alone.
fn targets_are_others(config: &Config, root: &Section<'_>) {
    for (trunk, section) in trunks(config, root) {
        let Some(target) = &trunk.target else {
            continue;
        };
        let host = target.host.trim_matches(['[', ']']);
        let Ok(ip) = host.parse::<IpAddr>() else {
            continue;
        };
        let transport = target.transport.unwrap_or(Transport::Udp);
        let port = target.port.unwrap_or(transport.port());
        let ours = config.sip.listen.iter().find(|(listen, name)| {
            let bound = listen.address.ip();
            let named = super::sip::parse_host_port(name).map(|(host, _)| host);
            let everywhere = bound.is_unspecified() && bound.is_ipv4() == ip.is_ipv4();
            listen.transport == transport
                && listen.address.port() == port
                && (bound == ip
                    || (everywhere && (ip.is_loopback() || named == Some(target.host.as_str()))))
        });
        if let Some((listen, _)) = ours {
            section.fault("target", format!("this is our own sip.listen {listen}"));
        }
    }
}

/// Via and Contact name a socket of ours of the target's transport: there must be one.
fn targets_have_sockets(config: &Config, root: &Section<'_>) {
    let listen_is_known = !root.section("sip").is_faulty("listen");
    for (trunk, section) in trunks(config, root) {
        if let Some(target) = &trunk.target {
            let host = target.host.trim_matches(['[', ']']);
            let family = host.parse::<std::net::IpAddr>().ok();
            let fits = |listen: &super::Listen| {
                target.transport.is_none_or(|by| listen.transport == by)
                    && family.is_none_or(|ip| ip.is_ipv4() == listen.address.is_ipv4())
            };
            if listen_is_known && !config.sip.listen.iter().any(|(listen, _)| fits(listen)) {
                let name = target.transport.map_or("udp", super::sip::Transport::name);
                let family = match family {
                    Some(std::net::IpAddr::V4(_)) => " (IPv4)",
                    Some(std::net::IpAddr::V6(_)) => " (IPv6)",
                    None => "",
                };
                let message = format!(
                    "sip.listen has no \"{name}:\" address{family}, which our requests there would name"
                );
                section.fault("target", message);
            }
        }
        let certified = trunk.tls.require_client_cert;
        let server = config.sip.tls.as_ref();
        let unread = section.section("tls").is_faulty("ca")
            || (server.is_none() && root.section("sip").has("tls"));
        if certified
            && !unread
            && trunk.tls.ca.is_empty()
            && server.is_none_or(|tls| tls.client_ca.is_empty())
        {
            let message = "require_client_cert needs tls.ca, or client_ca of sip.tls";
            section.fault("tls", message);
        }
        let by_tls = |target: &super::TrunkTarget| target.transport == Some(Transport::Tls);
        if certified && !trunk.target.as_ref().is_none_or(by_tls) {
            let message = "require_client_cert: nothing of this trunk is taken but by TLS, so its target \
                           must say \"sips:\" or \";transport=tls\"";
            section.fault("tls", message);
        }
        let mut listen = config.sip.listen.iter();
        if certified
            && listen_is_known
            && !listen.any(|(listen, _)| listen.transport == Transport::Tls)
        {
            let message = "require_client_cert needs a \"tls:\" address in sip.listen";
            section.fault("tls", message);
        }
    }
}

/// The keys for SRTP stand in the descriptions: who reads those can listen. Where calls of a trunk
/// come by another transport all the same, they are refused as they come.
fn srtp_needs_tls(config: &Config, root: &Section<'_>) {
    for section in root.sections("trunk", "name") {
        let name = section.value("name");
        let Some(name) = name.as_ref().and_then(|value| value.text()) else {
            continue;
        };
        let Some(trunk) = config.trunks.iter().find(|trunk| trunk.name == name) else {
            continue;
        };
        if trunk.srtp == Srtp::None || trunk.insecure_srtp {
            continue;
        }
        let tls = |transport| transport == Transport::Tls;
        let target = trunk.target.as_ref();
        if target.is_some_and(|target| !target.transport.is_some_and(tls)) {
            let message = "its keys would go to the target by a transport that is not TLS: expected \
                           \"sips:\", transport = \"tls\", or insecure_srtp = true";
            section.fault("srtp", message);
        }
        let mut listen = config.sip.listen.iter();
        if trunk.direction.brings() && !listen.any(|(listen, _)| tls(listen.transport)) {
            let message = "sip.listen has no \"tls:\" address, so its keys would come by a transport \
                           that is not TLS: expected one, or insecure_srtp = true";
            section.fault("srtp", message);
        }
    }
}

fn media_and_sip(config: &Config, root: &Section<'_>) {
    if root.section("media").is_faulty("ports") {
        return;
    }
    for (listen, _) in &config.sip.listen {
        if listen.transport != super::sip::Transport::Udp {
            continue;
        }
        for media in &config.media.addresses {
            let there = std::net::SocketAddr::new(media.bind, listen.address.port());
            if media.ports.contains(there.port()) && overlap(there, listen.address) {
                let message = format!("the range holds the port of sip.listen {listen}");
                root.section("media").fault("ports", message);
            }
        }
    }
}

fn networks_are_named(config: &Config, root: &Section<'_>) {
    for section in root.sections("trunk", "name") {
        let network = section.value("media_network");
        let network = network.and_then(|value| value.text().map(str::to_owned));
        if let Some(network) = network
            && !config.media.networks.contains(&network)
        {
            let message = format!("no [[media.networks]] has the name \"{network}\"");
            section.fault("media_network", message);
        }
    }
}

fn national_needs_country(config: &Config, root: &Section<'_>) {
    if config.numbering.default_country.is_some() {
        return;
    }
    for (trunk, section) in trunks(config, root) {
        if trunk.numbers == NumberForm::National {
            section.fault("numbers", "\"national\" needs numbering.default_country");
        }
    }
}

/// What `strip` leaves out can only be the code of the home country: anything else makes another
/// subscriber's number of a number.
fn strip_is_the_country_code(config: &Config, root: &Section<'_>) {
    let home = config.numbering.default_country.as_deref();
    let code = home.and_then(calling_code);
    for (trunk, section) in trunks(config, root) {
        let strip = match &trunk.numbers {
            NumberForm::Prefix { strip, .. } => Some(usize::from(*strip)),
            _ => None,
        };
        match (strip, &code) {
            (None | Some(0), _) => {}
            (Some(_), None) => section.fault("numbers", "strip needs numbering.default_country"),
            (Some(strip), Some(code)) if strip == code.len() => {}
            (Some(_), Some(code)) => {
                let length = code.len();
                let message = format!(
                    "strip leaves out the country code of numbering.default_country, +{code}: it is {length}, or 0"
                );
                section.fault("numbers", message);
            }
        }
    }
}

fn clients_need_keys(config: &Config, root: &Section<'_>) {
    let http = root.section("http");
    if !config.http.clients.is_empty() && config.http.keys.is_empty() && !http.has("keys") {
        http.fault(
            "clients",
            "no [[http.keys]]: no token of theirs could be checked",
        );
    }
}

/// Operations, "Configuration": what cannot fit under the limit is refused with the figure that
/// would.
fn descriptors(config: &Config, root: &Section<'_>, limit: u64) {
    let addresses = u64::try_from(config.media.addresses.len()).unwrap_or(u64::MAX);
    let own = config.media.addresses.iter();
    let ports: u64 = own.map(|address| address.ports.ports()).sum();
    let connections = u64::from(config.http.max_connections);
    let sip = sip_connections(config);
    let needed = ports
        .saturating_add(connections)
        .saturating_add(sip)
        .saturating_add(OTHER_DESCRIPTORS);
    if needed <= limit {
        return;
    }
    let instead = what_fits(config, limit, ports, addresses);
    let message = format!(
        "{ports} media ports, {connections} HTTP and {sip} SIP connections need {needed} descriptors, and \
         the hard limit is {limit}: expected a limit of {needed} (LimitNOFILE, ulimit -Hn){instead}"
    );
    root.section("media").fault("ports", message);
}

/// Connections that SIP may have: none where it is heard by UDP alone.
fn sip_connections(config: &Config) -> u64 {
    if config.sip.has_streams() {
        u64::from(config.sip.max_connections)
    } else {
        0
    }
}

/// What would fit under `limit` instead, the ports first: each is a figure that does.
fn what_fits(config: &Config, limit: u64, ports: u64, addresses: u64) -> String {
    let room = limit
        .saturating_sub(OTHER_DESCRIPTORS)
        .saturating_sub(sip_connections(config));
    let connections = u64::from(config.http.max_connections);
    let fitting = room
        .saturating_sub(connections)
        .checked_div(addresses)
        .unwrap_or(0)
        & !1;
    if fitting >= 2 {
        let first = u64::from(config.media.ports.first);
        return format!(
            " or a range of at most {fitting} ports (\"{first}-{}\")",
            first + fitting - 1
        );
    }
    match room.saturating_sub(ports) {
        0 if room > 2 * addresses => {
            format!(" or fewer of both: together {room} at the most")
        }
        0 => String::new(),
        fewer => format!(" or http.max_connections of at most {fewer}"),
    }
}
