//! Carts in Redis: each call runs one script; merging runs three, any of which may be the last before a crash.

use crate::{
    config::CartConfig,
    contents::{Contents, State},
    holder::{CartToken, Holder},
    link::{CartLink, Run},
    metrics, scripts,
};
use chassis::clock::Clock;
use ingress::{problem::Problem, redis_link::RedisAway};
use orders_api::{MAX_LINES, MAX_QUANTITY};
use schemas::ids::{OrderId, ProductId};
use std::time::Duration;

/// That a guest's cart was merged is known for this much longer than that cart can live.
const MARGIN: Duration = Duration::from_secs(24 * 60 * 60);
/// Most guests' carts that a user may merge within that time.
const MAX_MERGES: usize = 1_000;

/// One change of one line.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// So many of the product, whatever there was.
    Set(ProductId, i32),
    /// So many more.
    Add(ProductId, i32),
    /// None.
    Remove(ProductId),
}

impl Change {
    fn parts(self) -> (&'static str, ProductId, i32) {
        match self {
            Self::Set(product, quantity) => ("set", product, quantity),
            Self::Add(product, quantity) => ("add", product, quantity),
            Self::Remove(product) => ("remove", product, 0),
        }
    }
}

/// What a call met.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Met {
    /// It is done; what the cart holds now, and the products that were cut.
    Done(Contents, Vec<ProductId>),
    /// The cart is in another state than the call is meant for.
    Stale,
    /// The product would have too many units.
    TooManyUnits,
    /// The cart would have too many lines.
    TooManyLines,
    /// A guest's cart that is not there, or somebody's to merge.
    Gone,
}

/// The carts.
#[derive(Clone)]
pub(crate) struct Store {
    link: CartLink,
    clock: Clock,
    ttl: Duration,
    guest_ttl: Duration,
}

impl Store {
    pub(crate) fn new(link: CartLink, clock: Clock, config: &CartConfig) -> Self {
        Self { link, clock, ttl: config.ttl, guest_ttl: config.guest_ttl }
    }

    /// What the cart holds; reading it puts off its end.
    pub(crate) async fn read(&self, holder: &Holder) -> Result<Met, Problem> {
        let arguments = vec![millis(self.ttl_of(holder))];
        self.run("get", scripts::READ, &holder.key(), arguments).await
    }

    /// Changes one line; `may_begin` a cart where none is.
    pub(crate) async fn change(
        &self,
        holder: &Holder,
        change: Change,
        expected: &str,
        may_begin: bool,
    ) -> Result<Met, Problem> {
        let (how, product, quantity) = change.parts();
        let new = if may_begin { chassis::ids::random().to_string() } else { String::new() };
        let arguments = vec![
            call(),
            millis(self.ttl_of(holder)),
            expected.to_owned(),
            new,
            how.to_owned(),
            product.to_string(),
            quantity.to_string(),
            MAX_LINES.to_string(),
            MAX_QUANTITY.to_string(),
        ];
        self.run(how, scripts::CHANGE, &holder.key(), arguments).await
    }

    /// Ends the cart's life: what is put in next begins a new one.
    pub(crate) async fn clear(&self, holder: &Holder, expected: &str) -> Result<Met, Problem> {
        let arguments = vec![call(), expected.to_owned()];
        self.run("clear", scripts::CLEAR, &holder.key(), arguments).await
    }

    /// Ends the life of a cart that became `order`, unless it has changed since.
    pub(crate) async fn empty(
        &self,
        holder: &Holder,
        state: State,
        order: OrderId,
        delivery: &str,
    ) -> Result<Met, Problem> {
        let arguments =
            vec![state.to_string(), order.to_string(), delivery.to_owned(), millis(self.ttl_of(holder))];
        self.run("checkout", scripts::EMPTY, &holder.key(), arguments).await
    }

    /// Moves a guest's lines into a user's cart, once, however often it is asked and wherever it stopped before: the
    /// guest's cart is first taken from everybody else, then added together with a mark that says so, then forgotten.
    pub(crate) async fn merge(&self, user: &Holder, guest: CartToken) -> Result<Met, Problem> {
        let guest = Holder::Guest(guest).key();
        let frozen = self.run("merge", scripts::FREEZE, &guest, vec![user.key()]).await?;
        let Met::Done(Contents { state: Some(State { id, .. }), lines, .. }, _) = frozen else {
            return self.read(user).await;
        };
        let now = self.clock.now_millis();
        let known = self.guest_ttl.saturating_add(MARGIN).as_millis();
        let mut arguments = vec![
            id.to_string(),
            now.to_string(),
            now.saturating_add(i64::try_from(known).unwrap_or(i64::MAX)).to_string(),
            millis(self.ttl),
            chassis::ids::random().to_string(),
            MAX_MERGES.to_string(),
            MAX_LINES.to_string(),
            MAX_QUANTITY.to_string(),
        ];
        arguments
            .extend(lines.iter().flat_map(|(product, quantity)| [product.to_string(), quantity.to_string()]));
        let merged = self.run("merge", scripts::MERGE, &user.key(), arguments).await?;
        self.run("merge", scripts::DROP, &guest, vec![id.to_string()]).await?;
        Ok(merged)
    }

    fn ttl_of(&self, holder: &Holder) -> Duration {
        match holder {
            Holder::User(_) => self.ttl,
            Holder::Guest(_) => self.guest_ttl,
        }
    }

    async fn run(
        &self,
        call: &'static str,
        script: &'static str,
        key: &str,
        arguments: Vec<String>,
    ) -> Result<Met, Problem> {
        let answer: Result<(String, Vec<String>, Vec<String>), RedisAway> =
            self.link.run(Run { script, key, arguments }).await;
        let met = match answer {
            Ok((verdict, cut, hash)) => met(&verdict, &cut, &hash)?,
            Err(RedisAway) => {
                count(call, "away");
                return Err(Problem::unavailable("the carts cannot be reached at the moment"));
            }
        };
        count(call, outcome(&met));
        Ok(met)
    }
}

/// What tells one call from all others of the moment: 64 random bits.
fn call() -> String {
    format!("{:016x}", chassis::ids::random().as_u64_pair().1)
}

fn met(verdict: &str, cut: &[String], hash: &[String]) -> Result<Met, Problem> {
    Ok(match verdict {
        "stale" => Met::Stale,
        "units" => Met::TooManyUnits,
        "lines" => Met::TooManyLines,
        "gone" => Met::Gone,
        _ => {
            let contents =
                Contents::read(hash).map_err(|error| Problem::internal("reading a cart", &error))?;
            Met::Done(contents, cut.iter().filter_map(|product| product.parse().ok()).collect())
        }
    })
}

fn outcome(met: &Met) -> &'static str {
    match met {
        Met::Done(..) => "done",
        Met::Stale => "stale",
        Met::TooManyUnits | Met::TooManyLines => "refused",
        Met::Gone => "gone",
    }
}

fn millis(time: Duration) -> String {
    time.as_millis().to_string()
}

fn count(call: &'static str, outcome: &'static str) {
    ::metrics::counter!(metrics::CALLS, "call" => call, "outcome" => outcome).increment(1);
}
