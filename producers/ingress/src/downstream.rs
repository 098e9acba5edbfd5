//! What the edge stands on, each behind a circuit breaker: while one of them fails or says nothing, what needs it is
//! refused at once instead of waiting with all others, and what does not need it never notices.

use crate::metrics;
use axum::{
    Router,
    http::{HeaderMap, HeaderName, HeaderValue, StatusCode},
    middleware,
    response::Response,
};
use chassis::breaker::{Admission, Breaker, BreakerLimits, Position, Ticket};
use std::{
    fmt,
    future::Future,
    sync::{Arc, Mutex, PoisonError},
    time::Duration,
};
use tokio::time::Instant;

/// Half of at least three calls within 10 s: each is one for many requests; left alone for a second, doubling to five.
const LIMITS: BreakerLimits = BreakerLimits {
    window: Duration::from_secs(10),
    fewest: 3,
    failures: 50,
    cool_down: Duration::from_secs(1),
    longest: Duration::from_secs(5),
    probes: 3,
};

/// Something the edge calls. Cheap to clone.
#[derive(Clone)]
pub struct Downstream {
    shared: Arc<Shared>,
}

struct Shared {
    name: &'static str,
    limit: Duration,
    breaker: Mutex<Breaker>,
    began: Instant,
}

/// It is left alone at the moment.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("{name} is left alone for {} ms: it failed too often", again_in.as_millis())]
pub struct LeftAlone {
    /// What is.
    pub name: &'static str,
    /// When to come again.
    pub again_in: Duration,
}

/// Why a call has no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CallError {
    /// It was not made.
    #[error(transparent)]
    LeftAlone(#[from] LeftAlone),
    /// It failed, or there was no answer in time.
    #[error("{0}")]
    Failed(String),
}

impl Downstream {
    /// `name` is a label of metrics, and told to clients; what is not answered within `limit` has failed.
    #[must_use]
    pub fn new(name: &'static str, limit: Duration) -> Self {
        let seed = u64::from_le_bytes(*chassis::ids::random().as_bytes().first_chunk().unwrap_or(&[0; 8]));
        let breaker = Breaker::new(LIMITS, seed);
        let shared = Shared { name, limit, breaker: Mutex::new(breaker), began: Instant::now() };
        ::metrics::gauge!(metrics::DOWNSTREAM_STATE, "downstream" => name).set(0.0);
        Self { shared: Arc::new(shared) }
    }

    /// Its name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        self.shared.name
    }

    /// Where its breaker stands.
    #[must_use]
    pub fn position(&self) -> Position {
        self.shared.breaker.lock().unwrap_or_else(PoisonError::into_inner).position()
    }

    /// Whether it would not be called just now.
    #[must_use]
    pub fn is_left_alone(&self) -> bool {
        self.with_breaker(|breaker, now| breaker.left_alone(now)).is_some()
    }

    /// Makes one call: `work`, with a limit to its time. It must bear being dropped half-way.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn call<T, E: fmt::Display>(
        &self,
        work: impl Future<Output = Result<T, E>>,
    ) -> Result<T, CallError> {
        let call = self.admit()?;
        let outcome = match tokio::time::timeout(self.shared.limit, work).await {
            Ok(outcome) => outcome.map_err(|error| error.to_string()),
            Err(_) => Err(format!("no answer within {} ms", self.shared.limit.as_millis())),
        };
        match outcome {
            Ok(answer) => {
                call.worked();
                Ok(answer)
            }
            Err(error) => {
                tracing::warn!(downstream = self.name(), %error, "a call failed");
                call.failed();
                Err(CallError::Failed(error))
            }
        }
    }

    /// Makes one query of a database: one that has a limit of its own, and is not to be dropped half-way.
    ///
    /// # Errors
    /// [`CallError`].
    pub async fn query<T>(&self, query: impl Future<Output = sqlx::Result<T>>) -> Result<T, CallError> {
        let call = self.admit()?;
        let answer = query.await;
        call.shows(answer.as_ref().err());
        answer.map_err(|error| CallError::Failed(error.to_string()))
    }

    /// Asks to call it; what came of it is then to be said.
    ///
    /// # Errors
    /// [`LeftAlone`], at once.
    pub fn admit(&self) -> Result<Call, LeftAlone> {
        match self.with_breaker(Breaker::admit) {
            Admission::Call(ticket) => Ok(Call { downstream: self.clone(), ticket, worked: None }),
            Admission::Wait(again_in) => {
                let name = self.name();
                ::metrics::counter!(metrics::DOWNSTREAM_REFUSED, "downstream" => name).increment(1);
                Err(LeftAlone { name, again_in })
            }
        }
    }

    fn with_breaker<T>(&self, act: impl FnOnce(&mut Breaker, Duration) -> T) -> T {
        let now = self.shared.began.elapsed();
        let mut breaker = self.shared.breaker.lock().unwrap_or_else(PoisonError::into_inner);
        let before = breaker.position();
        let result = act(&mut breaker, now);
        let after = breaker.position();
        if before != after {
            self.say(after);
        }
        result
    }

    fn say(&self, position: Position) {
        let name = self.name();
        let state = match position {
            Position::Closed => 0.0,
            Position::HalfOpen => 1.0,
            Position::Open => 2.0,
        };
        ::metrics::gauge!(metrics::DOWNSTREAM_STATE, "downstream" => name).set(state);
        match position {
            Position::Open => {
                tracing::warn!(downstream = name, "it fails too often: it is left alone for a while")
            }
            Position::HalfOpen => tracing::info!(downstream = name, "it is tried again with a few calls"),
            Position::Closed => tracing::info!(downstream = name, "it is called"),
        }
    }
}

impl fmt::Debug for Downstream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} ({})", self.name(), word(self.position()))
    }
}

/// A call under way. Dropped without a word, it was given up by whoever made it, and shows nothing: a client that hangs
/// up must not look like a fault of ours.
#[derive(Debug)]
pub struct Call {
    downstream: Downstream,
    ticket: Ticket,
    worked: Option<bool>,
}

impl Call {
    /// It was answered, whatever the answer.
    pub fn worked(mut self) {
        self.worked = Some(true);
    }

    /// It was not, or with a fault of the other side.
    pub fn failed(mut self) {
        self.worked = Some(false);
    }

    /// What a query's outcome shows of its server. A query that was ended for its length was the query's fault: who asks
    /// for many such must not make others wait.
    pub fn shows(self, error: Option<&sqlx::Error>) {
        const QUERY_CANCELED: &str = "57014";
        let code = error.and_then(sqlx::Error::as_database_error).and_then(|error| error.code());
        if error.is_none() || code.is_some_and(|code| code == QUERY_CANCELED) {
            self.worked();
        } else {
            self.failed();
        }
    }
}

impl Drop for Call {
    fn drop(&mut self) {
        self.downstream.with_breaker(|breaker, now| match self.worked {
            Some(worked) => breaker.answered(&self.ticket, worked, now),
            None => breaker.withdrawn(&self.ticket),
        });
    }
}

/// Puts what is not called at the moment into each answer that is refused for want of it (`Downstream-State`).
pub fn told(app: Router, downstreams: Arc<[Downstream]>) -> Router {
    app.layer(middleware::map_response(move |mut response: Response| {
        let downstreams = downstreams.clone();
        async move {
            if response.status() == StatusCode::SERVICE_UNAVAILABLE {
                tell(response.headers_mut(), &downstreams);
            }
            response
        }
    }))
}

/// The header: a list of names, each with its state.
const STATE: HeaderName = HeaderName::from_static("downstream-state");

fn tell(headers: &mut HeaderMap, downstreams: &[Downstream]) {
    let not_closed: Vec<String> = downstreams
        .iter()
        .map(|downstream| (downstream.name(), downstream.position()))
        .filter(|(_, position)| *position != Position::Closed)
        .map(|(name, position)| format!("{name};{}", word(position)))
        .collect();
    if let Ok(value) = HeaderValue::from_str(&not_closed.join(", "))
        && !not_closed.is_empty()
    {
        headers.insert(STATE, value);
    }
}

fn word(position: Position) -> &'static str {
    match position {
        Position::Closed => "closed",
        Position::HalfOpen => "half-open",
        Position::Open => "open",
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use axum::{body::Body, http::Request, routing::get};
    use tower::ServiceExt;

    async fn fails() -> Result<(), String> {
        Err("no".to_owned())
    }

    #[tokio::test]
    async fn what_fails_is_left_alone_tried_again_and_taken_back() {
        let downstream = Downstream::new("test", Duration::from_secs(3));
        let mut calls = 0;
        while downstream.position() == Position::Closed {
            assert!(downstream.call(fails()).await.is_err());
            calls += 1;
        }
        assert_eq!(calls, LIMITS.fewest);
        let refused = downstream.call::<(), String>(async { panic!("it is not called") }).await;
        assert!(matches!(refused, Err(CallError::LeftAlone(_))), "{refused:?}");
        testbed::eventually("it is taken back", async || {
            let answer = downstream.call(async { Ok::<_, String>(7) }).await;
            answer == Ok(7) && downstream.position() == Position::Closed
        })
        .await;
    }

    #[tokio::test]
    async fn what_says_nothing_has_failed_and_what_is_given_up_shows_nothing() {
        let downstream = Downstream::new("test", Duration::from_secs(3));
        for _ in 0..100 {
            let silent = downstream.call(std::future::pending::<Result<(), String>>());
            let _ = tokio::time::timeout(Duration::from_millis(1), silent).await;
        }
        assert_eq!(downstream.position(), Position::Closed, "clients that hung up");
        let quick = Downstream::new("quick", Duration::from_millis(20));
        let silent = quick.call(std::future::pending::<Result<(), String>>()).await;
        assert_eq!(silent, Err(CallError::Failed("no answer within 20 ms".to_owned())));
    }

    #[tokio::test]
    async fn a_refusal_says_what_is_not_called() {
        let (well, ill) = (Downstream::new("well", LIMITS.window), Downstream::new("ill", LIMITS.window));
        let app = Router::new()
            .route("/refused", get(async || StatusCode::SERVICE_UNAVAILABLE))
            .route("/fine", get(async || StatusCode::OK));
        let app = told(app, [well, ill.clone()].into());
        let state = async |path: &str| {
            let request = Request::get(path).body(Body::empty()).unwrap();
            let response = app.clone().oneshot(request).await.unwrap();
            response.headers().get(STATE).map(|value| value.to_str().unwrap().to_owned())
        };
        assert_eq!(state("/refused").await, None);
        while ill.position() == Position::Closed {
            let _ = ill.call(fails()).await;
        }
        assert_eq!(state("/refused").await.as_deref(), Some("ill;open"));
        assert_eq!(state("/fine").await, None);
    }
}
