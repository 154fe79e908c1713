//! One request from its path to its answer (lease-api 4, order of checks).

use super::answer::{self, Rendering};
use super::auth;
use super::body;
use super::form::Form;
use super::handlers::{Edge, Work};
use super::history::{EntryQuery, Format, RecordQuery, entries, export, records};
use super::idempotency;
use super::metrics::Metrics;
use super::neighbours::{Beside, Books, Clock};
use super::openapi;
use super::operation::{self, Operation};
use super::origin;
use super::parameters::Parameters;
use super::respond::{self, json, respond};
use super::route::{Route, route};
use super::settings::{InForce, Known, Settings};
use super::signature;
use super::status::{BUSY, INTERNAL, OK, OPERATION, RATE, Refusal, VERSION};
use crate::books::Lookup;
use crate::books::command::{Answer, Code, Command, Idempotency, Reply};
use crate::domain::{ReferenceId, UnixMillis};
use bytes::{Buf, Bytes};
use std::net::SocketAddr;
use std::sync::{Arc, PoisonError, RwLock};
use std::time::Instant;
use tokio::sync::Semaphore;
use uuid::Builder;
use warp::http::header::{ALLOW, CONTENT_TYPE, HeaderValue, RETRY_AFTER};
use warp::http::{HeaderMap, Method, Uri};
use warp::reply::Response;

/// A request's address and origin, put beside it by the server.
#[derive(Clone, Debug)]
pub struct Arrival {
    /// As sent.
    pub uri: Uri,
    /// Who is connected.
    pub peer: SocketAddr,
}

/// The API: shared by all connections.
pub struct Api<B> {
    in_force: RwLock<Arc<InForce>>,
    books: B,
    pool: Arc<dyn Lookup>,
    beside: Arc<dyn Beside>,
    clock: Arc<dyn Clock>,
    metrics: Arc<Metrics>,
    document: Bytes,
    reads: Arc<Semaphore>,
    exports: Arc<Semaphore>,
}

/// What a request came to.
struct Done {
    operation: Option<usize>,
    code: Code,
    response: Response,
}

impl<B: Books> Api<B> {
    /// An API over its neighbours.
    #[must_use]
    pub fn new(
        settings: Settings,
        books: B,
        pool: Arc<dyn Lookup>,
        beside: Arc<dyn Beside>,
        clock: Arc<dyn Clock>,
    ) -> Self {
        let reads = Arc::new(Semaphore::new(settings.limits.max_reads.max(1)));
        let exports = Arc::new(Semaphore::new(settings.limits.max_exports.max(1)));
        let in_force = RwLock::new(Arc::new(InForce::new(settings, None, Instant::now())));
        let document = Bytes::from(openapi::document());
        let metrics = Arc::new(Metrics::new());
        Self {
            in_force,
            books,
            pool,
            beside,
            clock,
            metrics,
            document,
            reads,
            exports,
        }
    }

    /// Puts new settings in force for requests from now on.
    pub fn reload(&self, settings: Settings) {
        let mut held = self
            .in_force
            .write()
            .unwrap_or_else(PoisonError::into_inner);
        *held = Arc::new(InForce::new(settings, Some(held.as_ref()), Instant::now()));
    }

    /// The settings in force.
    #[must_use]
    pub fn in_force(&self) -> Arc<InForce> {
        Arc::clone(&self.in_force.read().unwrap_or_else(PoisonError::into_inner))
    }

    /// Its counters.
    #[must_use]
    pub fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// The bound on exports at once.
    #[cfg(test)]
    pub(super) fn exports(&self) -> &Semaphore {
        &self.exports
    }

    /// Answers one request.
    pub async fn answer<S, D>(
        &self,
        method: Method,
        headers: HeaderMap,
        arrival: Arrival,
        body: S,
    ) -> Response
    where
        S: warp::Stream<Item = Result<D, warp::Error>> + Send + 'static,
        D: Buf,
    {
        let began = Instant::now();
        let in_force = self.in_force();
        let prefixes = &in_force.settings.path_prefixes;
        let done = match route(prefixes, arrival.uri.path()) {
            Route::Operation(place) => {
                let request = Request {
                    in_force: &in_force,
                    place,
                    headers: &headers,
                    arrival: &arrival,
                };
                self.operation(&method, request, body).await
            }
            Route::OtherVersion => refused(&in_force, None, VERSION.into()),
            Route::NoOperation => refused(&in_force, None, OPERATION.into()),
            Route::Beside(path) => match self.beside(&method, path) {
                Some(response) => return response,
                None => refused(&in_force, None, OPERATION.into()),
            },
        };
        self.metrics
            .count(done.operation, done.code, began.elapsed());
        done.response
    }

    /// `/openapi.json` and what [`Beside`] serves; `None` where nothing is there.
    fn beside(&self, method: &Method, path: &str) -> Option<Response> {
        let (status, content_type, body) = if path == "/openapi.json" {
            (200, "application/json", self.document.clone())
        } else {
            let found = self.beside.get(path)?;
            (found.status, found.content_type, found.body)
        };
        if !matches!(*method, Method::GET | Method::HEAD) {
            let mut response = json(405, answer::failure(None, OPERATION));
            response
                .headers_mut()
                .insert(ALLOW, HeaderValue::from_static("GET, HEAD"));
            return Some(response);
        }
        let mut response = json(status, body);
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
        Some(response)
    }

    async fn operation<S, D>(&self, method: &Method, request: Request<'_>, body: S) -> Done
    where
        S: warp::Stream<Item = Result<D, warp::Error>> + Send + 'static,
        D: Buf,
    {
        let in_force = request.in_force;
        let Some(operation) = operation::OPERATIONS.get(request.place) else {
            return refused(in_force, None, INTERNAL.into());
        };
        if *method != Method::POST {
            return refused(
                in_force,
                Some(request.place),
                Refusal::with_http(OPERATION, 405),
            );
        }
        let now = self.clock.now();
        let admitted = match self.admit(&request, operation, now) {
            Ok(admitted) => admitted,
            Err(Halt { code, retry_after }) => {
                request.log_refusal(operation, code);
                let mut done = refused(in_force, Some(request.place), code.into());
                if let Some(seconds) = retry_after {
                    done.response
                        .headers_mut()
                        .insert(RETRY_AFTER, HeaderValue::from(seconds));
                }
                return done;
            }
        };
        let timeout = in_force.settings.limits.body_timeout;
        let body = match body::read(request.headers, body, timeout).await {
            Ok(body) => body,
            Err(refusal) => return refused(in_force, Some(request.place), refusal),
        };
        let query = request.arrival.uri.query().unwrap_or_default();
        let form = match Form::parse(query, &body) {
            Ok(form) => form,
            Err(refusal) => return refused(in_force, Some(request.place), refusal),
        };
        self.parsed(&request, operation, &admitted, &form, now)
            .await
    }

    /// Headers, token, client, rate.
    fn admit<'a>(
        &self,
        request: &Request<'a>,
        operation: &Operation,
        now: UnixMillis,
    ) -> Result<Admitted<'a>, Halt> {
        body::check_headers(request.headers)?;
        let key = if operation.changes {
            idempotency::key(request.headers)?
        } else {
            None
        };
        let token = auth::bearer(request.headers)?;
        let known = auth::client(request.in_force, token, now)?;
        let taken = known.bucket.take(known.rate, Instant::now());
        taken.map_err(|seconds| Halt {
            code: RATE,
            retry_after: Some(seconds),
        })?;
        Ok(Admitted { known, key })
    }

    /// Signature, parameters, rights; then the work.
    async fn parsed(
        &self,
        request: &Request<'_>,
        operation: &'static Operation,
        admitted: &Admitted<'_>,
        form: &Form<'_>,
        now: UnixMillis,
    ) -> Done {
        let in_force = request.in_force;
        let client = &admitted.known.client;
        let signed = client.signing.as_ref().map_or(Ok(()), |key| {
            signature::verify(key, &operation.path(), form, now)
        });
        if let Err(code) = signed {
            request.log_refusal(operation, code);
            return refused(in_force, Some(request.place), code.into());
        }
        let settings = &in_force.settings;
        let rendering = Rendering {
            operation,
            zone: settings.timezone,
        };
        let keep = admitted
            .key
            .map(|key| idempotency::keep(&client.name, key, form, rendering));
        let edge = Edge {
            settings,
            client,
            operation,
            pool: self.pool.as_ref(),
            now,
            reference: ReferenceId(Builder::from_random_bytes(rand::random()).into_uuid()),
        };
        let work = (operation.prepare)(&edge, &Parameters::new(form, operation));
        let (code, reply) = self.work(work, keep, rendering).await;
        let response = match reply {
            Body::Json(bytes) => respond(settings.always_ok, code.into(), bytes),
            Body::Stream(stream, format) => respond::stream(stream, format),
        };
        Done {
            operation: Some(request.place),
            code,
            response,
        }
    }

    async fn work(
        &self,
        work: Result<Work, Code>,
        keep: Option<Idempotency>,
        rendering: Rendering,
    ) -> (Code, Body) {
        let failed = |code| {
            (
                code,
                Body::Json(answer::failure(Some(rendering.operation), code)),
            )
        };
        let command = match (work, &keep) {
            (Ok(Work::Books(command)), _) => command,
            // A failure found here is an answer too, and kept as one.
            (Err(code), Some(_)) => Command::Remember(code),
            (Err(code), None) => return failed(code),
            (Ok(Work::Records(query)), _) => {
                return self.records(query).await.unwrap_or_else(failed);
            }
            (Ok(Work::Export(query, format)), _) => {
                return self.export(query, format).await.unwrap_or_else(failed);
            }
            (Ok(Work::Entries(query)), _) => {
                return self.entries(query, rendering).await.unwrap_or_else(failed);
            }
        };
        match self.books.request(command, keep).await {
            Reply::Outcome(outcome) => {
                let code = rendering.code(&outcome);
                (
                    code,
                    Body::Json(crate::books::command::Render::render(&rendering, &outcome)),
                )
            }
            Reply::Kept(code, bytes) => (code, Body::Json(bytes)),
        }
    }

    async fn records(&self, query: RecordQuery) -> Result<(Code, Body), Code> {
        self.account_exists(&query).await?;
        let reader = self.books.reader();
        let limit = usize::try_from(query.limit).unwrap_or(usize::MAX);
        let page = self
            .read(move || records::page(reader.as_ref(), &query, query.before, limit))
            .await?;
        Ok((OK, Body::Json(answer::records(&page))))
    }

    async fn export(&self, query: RecordQuery, format: Format) -> Result<(Code, Body), Code> {
        self.account_exists(&query).await?;
        let permit = Arc::clone(&self.exports)
            .try_acquire_owned()
            .map_err(|_| BUSY)?;
        let stream = export::start(self.books.reader(), query, format, permit);
        Ok((OK, Body::Stream(stream, format)))
    }

    /// An account named in a query of records must exist (35).
    async fn account_exists(&self, query: &RecordQuery) -> Result<(), Code> {
        let Some(customer) = query.customer else {
            return Ok(());
        };
        match self
            .books
            .request(Command::ViewCustomer(customer), None)
            .await
        {
            Reply::Outcome(Ok(_)) | Reply::Kept(OK, _) => Ok(()),
            Reply::Outcome(Err(code)) | Reply::Kept(code, _) => Err(code),
        }
    }

    async fn entries(&self, query: EntryQuery, rendering: Rendering) -> Result<(Code, Body), Code> {
        let reply = self
            .books
            .request(Command::OpenCalls(query.customer), None)
            .await;
        let (calls, balance) = match reply {
            Reply::Outcome(Ok(Answer::OpenCalls { calls, balance })) => (calls, balance),
            Reply::Outcome(Err(code)) => return Err(code),
            Reply::Outcome(Ok(_)) | Reply::Kept(..) => return Err(INTERNAL),
        };
        let reader = self.books.reader();
        let page = self
            .read(move || entries::page(reader.as_ref(), &query, calls, balance))
            .await?;
        Ok((OK, Body::Json(rendering.entries(&page))))
    }

    /// Runs a blocking read on a thread for such, a bounded number at a time.
    async fn read<T: Send + 'static>(
        &self,
        read: impl FnOnce() -> Result<T, crate::store::StoreError> + Send + 'static,
    ) -> Result<T, Code> {
        let permit = Arc::clone(&self.reads)
            .acquire_owned()
            .await
            .map_err(|_| INTERNAL)?;
        let read = tokio::task::spawn_blocking(move || {
            let found = read();
            drop(permit);
            found
        });
        match read.await {
            Ok(Ok(found)) => Ok(found),
            Ok(Err(error)) => {
                tracing::error!(%error, "history could not be read");
                Err(INTERNAL)
            }
            Err(_) => Err(INTERNAL),
        }
    }
}

/// A request to an operation, before its body.
struct Request<'a> {
    in_force: &'a InForce,
    place: usize,
    headers: &'a HeaderMap,
    arrival: &'a Arrival,
}

impl Request<'_> {
    /// Refusals of access are what an operator looks for; they name who, never the token.
    fn log_refusal(&self, operation: &Operation, code: Code) {
        let trusted = &self.in_force.settings.trusted_proxies;
        let remote = origin::remote(trusted, self.arrival.peer.ip(), self.headers);
        tracing::info!(%remote, operation = operation.label(), status = code.0, "refused");
    }
}

/// Who a request comes from.
struct Admitted<'a> {
    known: &'a Known,
    key: Option<&'a [u8]>,
}

/// Why a request was not admitted.
struct Halt {
    code: Code,
    retry_after: Option<u64>,
}

impl From<Code> for Halt {
    fn from(code: Code) -> Self {
        Self {
            code,
            retry_after: None,
        }
    }
}

enum Body {
    Json(Bytes),
    Stream(export::ExportStream, Format),
}

fn refused(in_force: &InForce, place: Option<usize>, refusal: Refusal) -> Done {
    let operation = place.and_then(|place| operation::OPERATIONS.get(place));
    let bytes = answer::failure(operation, refusal.code);
    let mut response = respond(in_force.settings.always_ok, refusal, bytes);
    if refusal.http == Some(405) {
        response
            .headers_mut()
            .insert(ALLOW, HeaderValue::from_static("POST"));
    }
    Done {
        operation: place,
        code: refusal.code,
        response,
    }
}
