//! `GET /api/orders/{id}/events`: an order's states as server-sent events, each as soon as it is known, up to its end.
//!
//! An event is the whole order with its version as id, so a reader that was away misses nothing by naming the last id it
//! has, and one that is slow is told the newest state, never a queue of old ones.

use crate::{
    get::order_id,
    look::{NO_VERSION, Seen},
    seats::{NoSeat, Seat},
    state::Orders,
    told,
};
use axum::{
    body::{Body, Bytes},
    extract::{Extension, Path, State},
    http::{HeaderMap, HeaderName, StatusCode, header},
    response::{IntoResponse, Response},
};
use futures_util::stream;
use ingress::{
    api::{About, Answer, headers, shape},
    auth::Caller,
    problem::{Kind, Problem},
    serve::Stopping,
    wakeups::Registration,
};
use schemas::ids::OrderId;
use std::{convert::Infallible, sync::Arc, time::Duration};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

/// Wake-ups may be lost: a stream looks by itself this often.
const TICK: Duration = Duration::from_secs(2);
/// A comment is sent after this much silence, so that whoever stands in between keeps the connection. Below every
/// usual idle time-out, ours included.
const HEARTBEAT: Duration = Duration::from_secs(15);
/// What a reader waits before it comes again, in ms.
const RETRY_MS: u32 = 1_000;
const LAST_EVENT_ID: &str = "Last-Event-ID";

pub(crate) fn about() -> About {
    let id = shape::matching("^[0-9]{1,19}$", 1, 19).example("1");
    let last = headers::header(
        LAST_EVENT_ID,
        false,
        "The id of the last event that was read: only newer ones are sent. What does not read is ignored.",
        id,
    );
    let example = format!("retry: {RETRY_MS}\nid: 3\ndata: {}\n\n", told::order_example());
    let stream = Answer::of(
        "The order now, then each change, each event the whole order; comments in between. Ends after the final status, and \
         after some minutes in any case: come again with `Last-Event-ID`.",
        "text/event-stream",
        shape::text(),
        example.into(),
    );
    About::of("watchOrder", "An order's states as they come (server-sent events)")
        .path("id", "The order.", shape::uuid())
        .header(last)
        .answers(StatusCode::OK, stream.with(headers::cache_control()))
        .answers(
            StatusCode::NO_CONTENT,
            Answer::empty("It has ended, and its end was read: do not come again."),
        )
        .refuses(&[Kind::NotFound, Kind::TooMany])
}

pub(crate) async fn events(
    State(orders): State<Orders>,
    caller: Caller,
    Path(id): Path<String>,
    stopping: Option<Extension<Stopping>>,
    headers: HeaderMap,
) -> Result<Response, Problem> {
    let order = order_id(&id)?;
    let seat = orders.shared.seats.take(&caller.owner).map_err(no_seat)?;
    let registration = orders.shared.wakeups.register(order);
    let told = last_event_id(&headers);
    let first = orders.find(order, &caller.owner, told).await?;
    if first.status.is_terminal() && first.version <= told {
        return Ok(StatusCode::NO_CONTENT.into_response());
    }
    let now = Instant::now();
    let watch = Watch {
        order,
        owner: caller.owner,
        told,
        first: Some(first),
        is_over: false,
        spoke: now,
        until: now + orders.shared.config.watch_time,
        stopping: stopping.map(|Extension(Stopping(stop))| stop).unwrap_or_default(),
        registration,
        _seat: seat,
        orders,
    };
    let body = Body::from_stream(stream::unfold(watch, Watch::next));
    let dressed = [
        (header::CONTENT_TYPE, "text/event-stream"),
        (header::CACHE_CONTROL, "no-store, no-transform"),
        (HeaderName::from_static("x-accel-buffering"), "no"),
    ];
    Ok((dressed, body).into_response())
}

fn no_seat(why: NoSeat) -> Problem {
    match why {
        NoSeat::Yours => {
            Problem::new(Kind::TooMany, "you watch as many orders as one caller may; close a stream")
                .with_retry_after(Duration::from_secs(1))
        }
        NoSeat::All => {
            Problem::unavailable("as many orders are watched as can be; ask for the order instead")
        }
    }
}

/// The version that the reader has.
fn last_event_id(headers: &HeaderMap) -> i64 {
    let text = headers.get(LAST_EVENT_ID).and_then(|value| value.to_str().ok());
    text.and_then(|text| text.parse().ok()).unwrap_or(NO_VERSION)
}

/// One reader's stream. It looks only when it is asked for more, so a reader that does not read costs a seat and nothing
/// else, until the connection's idle time-out ends both.
struct Watch {
    orders: Orders,
    order: OrderId,
    owner: Arc<str>,
    /// The version that was told last.
    told: i64,
    first: Option<Seen>,
    is_over: bool,
    /// When something was sent last.
    spoke: Instant,
    until: Instant,
    stopping: CancellationToken,
    registration: Registration,
    _seat: Seat,
}

type Frame = Result<Bytes, Infallible>;

enum Step {
    Newer(Seen),
    Silence,
    Again,
    Over,
}

impl Watch {
    async fn next(mut self) -> Option<(Frame, Self)> {
        if let Some(first) = self.first.take() {
            let begin = format!("retry: {RETRY_MS}\n");
            let event = if first.version > self.told { self.event(first) } else { "\n".to_owned() };
            return Some(self.say(begin + &event));
        }
        loop {
            match self.step().await {
                Step::Newer(seen) => {
                    let event = self.event(seen);
                    return Some(self.say(event));
                }
                Step::Silence => return Some(self.say(":\n\n".to_owned())),
                Step::Again => {}
                Step::Over => return None,
            }
        }
    }

    /// One look, and where it shows nothing new, a wait for the next.
    async fn step(&self) -> Step {
        if self.is_over || self.stopping.is_cancelled() || Instant::now() >= self.until {
            return Step::Over;
        }
        let mut woken = std::pin::pin!(self.registration.notify().notified());
        // registered, then looked: what changes from here on wakes us
        woken.as_mut().enable();
        match self.orders.look_again(self.order, &self.owner, self.told).await {
            // the reader comes again, and is told then what is the matter
            Err(_) => return Step::Over,
            Ok(Some(seen)) if seen.version > self.told => return Step::Newer(seen),
            Ok(_) => {}
        }
        let silence = self.spoke + HEARTBEAT;
        if Instant::now() >= silence {
            return Step::Silence;
        }
        let next_look = (Instant::now() + TICK).min(silence).min(self.until);
        tokio::select! {
            () = woken => {}
            () = tokio::time::sleep_until(next_look) => {}
            () = self.stopping.cancelled() => {}
        }
        Step::Again
    }

    fn event(&mut self, seen: Seen) -> String {
        self.told = seen.version;
        self.is_over = seen.status.is_terminal();
        format!("id: {}\ndata: {}\n\n", seen.version, seen.json)
    }

    fn say(mut self, text: String) -> (Frame, Self) {
        self.spoke = Instant::now();
        (Ok(Bytes::from(text)), self)
    }
}
