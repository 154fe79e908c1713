//! `/healthz`, `/readyz`, `/metrics`: the answers, whoever serves them.

use super::catalogue;
use super::{Health, Metrics};
use std::sync::Arc;

/// An answer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// HTTP status.
    pub status: u16,
    /// `Content-Type`.
    pub content_type: &'static str,
    /// Body.
    pub body: String,
}

/// What answers.
#[derive(Clone)]
pub struct Endpoints {
    metrics: Metrics,
    health: Arc<Health>,
}

const TEXT: &str = "text/plain; version=0.0.4; charset=utf-8";
const JSON: &str = "application/json";

impl Endpoints {
    /// Over these. `leasebridge_ready` becomes a metric of theirs.
    #[must_use]
    pub fn new(metrics: Metrics, health: Arc<Health>) -> Self {
        let asked = Arc::clone(&health);
        metrics.add_source(Arc::new(move |sink: &mut super::Sink| {
            let ready = u64::from(asked.reasons().is_empty());
            sink.add(&catalogue::READY, &[], ready);
        }));
        Self { metrics, health }
    }

    /// The metrics that are shown.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.metrics
    }

    /// The answer to `GET path`; `None` where there is nothing at that path.
    #[must_use]
    pub fn get(&self, path: &str) -> Option<Answer> {
        match path {
            "/healthz" => Some(answer(200, JSON, "{\"status\":\"alive\"}".to_owned())),
            "/readyz" => Some(self.ready()),
            "/metrics" => Some(match self.metrics.render() {
                Ok(text) => answer(200, TEXT, text),
                Err(error) => answer(500, TEXT, format!("# {error}\n")),
            }),
            _ => None,
        }
    }

    fn ready(&self) -> Answer {
        let reasons = self.health.reasons();
        let status = if reasons.is_empty() { 200 } else { 503 };
        let body = serde_json::json!({ "ready": reasons.is_empty(), "reasons": reasons });
        answer(status, JSON, body.to_string())
    }
}

fn answer(status: u16, content_type: &'static str, body: String) -> Answer {
    Answer {
        status,
        content_type,
        body,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn readiness_lists_its_reasons() {
        let health = Arc::new(Health::default());
        let endpoints = Endpoints::new(Metrics::new().unwrap(), Arc::clone(&health));
        let before = endpoints.get("/readyz").unwrap();
        assert_eq!(before.status, 503);
        assert_eq!(
            before.body,
            "{\"ready\":false,\"reasons\":[\"store not open\",\"SIP not listening\",\
             \"no outbound trunk up\"]}"
        );
        let metrics = |endpoints: &Endpoints| endpoints.get("/metrics").unwrap().body;
        assert!(metrics(&endpoints).contains("leasebridge_ready 0"));
        health.set_store_open(true);
        health.set_sip_listening(true);
        health.set_trunks_up(2);
        assert_eq!(endpoints.get("/readyz").unwrap().status, 200);
        assert!(metrics(&endpoints).contains("leasebridge_ready 1"));
        assert_eq!(endpoints.get("/healthz").unwrap().status, 200);
        assert_eq!(endpoints.get("/other"), None);
    }
}
