//! Trunks that must show a certificate (`tls.require_client_cert`): nothing of theirs is taken but over
//! TLS. The transport has seen to it that a TLS connection from an address of such a trunk has
//! shown one, so that here the way a request came says enough.

use super::Agent;
use super::sources::Source;
use crate::domain::{CallKey, Side};
use crate::sip::message::{Method, Path, Transport};

impl Agent {
    /// Whether who is at the far end of a path should have come by TLS, and has not.
    pub(super) fn lacks_certificate(&self, source: Source, path: Path) -> bool {
        if path.transport == Transport::Tls {
            return false;
        }
        let settings = &self.core.settings;
        match source {
            Source::Inbound(trunk) => settings.trunk(trunk).is_some_and(|trunk| trunk.certified),
            Source::Unknown => false,
            // Where one trunk that calls there is not asked for a certificate, the dialog decides.
            Source::Peer => {
                let address = path.remote.ip();
                let trunks = settings.trunks.iter().flatten();
                let mut there = trunks
                    .filter(|trunk| trunk.is_called_at(address))
                    .peekable();
                there.peek().is_some() && there.all(|trunk| trunk.certified)
            }
        }
    }

    /// Whether a request in a dialog came in a way that its trunk must take: by TLS, and from an
    /// address whose connections were asked for the certificate of that very trunk.
    pub(super) fn has_shown(&mut self, (key, side): (CallKey, Side), path: Path) -> bool {
        let Some(id) = self.calls.get(key).and_then(|legs| legs.trunk(side)) else {
            return true;
        };
        let Some(trunk) = self.core.settings.trunk(id).filter(|one| one.certified) else {
            return true;
        };
        let address = path.remote.ip();
        path.transport == Transport::Tls
            && match self.core.sources.find(address) {
                Source::Inbound(found) => found == id,
                Source::Peer => trunk.is_called_at(address),
                Source::Unknown => false,
            }
    }

    /// 403; an ACK is passed over.
    pub(super) fn refuse_uncertified(&mut self, method: Method, datagram: &[u8], path: Path) {
        if method == Method::Ack {
            return self.core.count("sip_dropped", "refused-ack");
        }
        self.core.count("sip_refused", "no-certificate");
        self.forbid(datagram, path);
    }
}
