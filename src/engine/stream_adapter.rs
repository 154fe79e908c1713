//! Between connections and the worker, one for one.

use super::intake::Intake;
use super::signalling::{MESSAGES, Meter, kind};
use super::worker::Worker;
use crate::domain::Now;
use crate::sip::codec::ParseError;
use crate::sip::message::Path;
use crate::transport::stream::{Receiver, Standing};
use bytes::Bytes;
use std::net::IpAddr;

/// Where what connections bring goes to.
pub(super) struct Arrivals<'a> {
    pub(super) worker: &'a mut Worker,
    pub(super) meter: &'a dyn Meter,
    pub(super) intake: &'a mut Intake,
    pub(super) now: Now,
}

impl Receiver for Arrivals<'_> {
    fn standing(&mut self, address: IpAddr) -> Standing {
        let agent = self.worker.agent();
        if agent.knows(address) {
            Standing::Known
        } else if agent.answers_strangers() {
            Standing::Stranger
        } else {
            Standing::Unwanted
        }
    }

    fn trunk(&mut self, address: IpAddr) -> Option<u16> {
        self.worker.agent().sharer(address).map(|trunk| trunk.0)
    }

    fn message(&mut self, bytes: Bytes, path: Path) {
        let remote = path.remote;
        self.meter.received(&bytes);
        tracing::debug!(target: MESSAGES, %remote, message = kind(&bytes), length = bytes.len(), "received");
        let since = self.now.mono;
        self.intake
            .message(self.worker, (bytes, path), since, self.now);
    }

    fn broken(&mut self, error: ParseError, path: Path) {
        self.worker.broken(error, path, self.now);
    }
}
