//! What operators do about lanes whose log or whose database is not what it was.
//!
//! A database that has lost commits, by a restore or by a failover: a new life for its lanes ([`renew`]).
//! A lane that stands again where it stood before would give numbers a second time, to other records. So it takes a new
//! id, and its old one ends at the last number that its database knows of: what the log holds of it beyond that counts
//! nowhere. What clients and providers said lies on the log, is read again, and is decided anew.
//!
//! Everything is fenced first, and written only while nobody has claimed a lane since. A run that breaks off is made
//! again: who reads is told before who is read takes its new id.

mod begin;
mod store;

use crate::config;
use chassis::{
    postgres::{self, SessionLimits},
    settings::Environment,
};
use clap::Subcommand;
use harness::lane::Heard;
use schemas::{
    ids::LaneId,
    topics::{self, Topic},
};
use sqlx::PgConnection;
use std::collections::BTreeMap;

type Outcome<T = ()> = Result<T, Box<dyn std::error::Error + Send + Sync>>;

/// Services with lanes, and what they read.
const SERVICES: [(&str, Topic); 3] = [
    (topics::ORDERS_GROUP, Topic::OrderCommands),
    (topics::INVENTORY_GROUP, Topic::InventoryCommands),
    (topics::PAYMENTS_GROUP, Topic::PaymentCommands),
];

#[derive(Debug, Subcommand)]
pub(crate) enum LanesCommand {
    /// After a restore, or a failover that lost commits: end the lanes as the log knows them, and give them new ids
    Renew {
        /// Services whose database has lost commits; all of them if none is named
        #[arg(value_parser = [topics::ORDERS_GROUP, topics::INVENTORY_GROUP, topics::PAYMENTS_GROUP])]
        services: Vec<String>,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
    /// After a topic was made anew, or its records expired unread: have its lanes begin where it begins
    Begin {
        /// The service that reads it
        #[arg(value_parser = [topics::ORDERS_GROUP, topics::INVENTORY_GROUP, topics::PAYMENTS_GROUP])]
        service: String,
        /// Only say what would be done
        #[arg(long)]
        dry_run: bool,
    },
}

/// A lane's row.
#[derive(Debug, Clone)]
struct Row {
    service: &'static str,
    topic: Topic,
    partition: i32,
    id: LaneId,
    epoch: i64,
    next_offset: i64,
    heard: BTreeMap<LaneId, Heard>,
    sent: BTreeMap<String, u64>,
}

/// A service's lanes, and its database.
struct Desk {
    service: &'static str,
    connection: PgConnection,
    rows: Vec<Row>,
}

impl Desk {
    /// Reads the lanes; unless it is for a look only, whoever owns them is refused from now on.
    async fn open(
        environment: &Environment,
        service: &'static str,
        topic: Topic,
        dry_run: bool,
    ) -> Outcome<Self> {
        let url = config::database(environment, service);
        let mut connection = postgres::connect(url.expose(), "mambogo-lanes", SessionLimits::WORKER).await?;
        let rows = if dry_run {
            store::read(&mut connection, service, topic).await?
        } else {
            store::fence(&mut connection, service, topic).await?
        };
        Ok(Self { service, connection, rows })
    }
}

pub(crate) async fn run(environment: &Environment, command: LanesCommand) -> Outcome {
    match command {
        LanesCommand::Renew { services, dry_run } => renew(environment, &services, dry_run).await,
        LanesCommand::Begin { service, dry_run } => begin::run(environment, &service, dry_run).await,
    }
}

async fn renew(environment: &Environment, services: &[String], dry_run: bool) -> Outcome {
    let is_meant = |service: &str| services.is_empty() || services.iter().any(|name| name == service);
    let mut desks = Vec::new();
    for (service, topic) in SERVICES {
        desks.push(Desk::open(environment, service, topic, dry_run).await?);
    }
    for desk in desks.iter_mut().filter(|desk| is_meant(desk.service)) {
        refuse_unsent(desk).await?;
    }
    let meant = desks.iter().filter(|desk| is_meant(desk.service));
    let sources: Vec<Row> = meant.flat_map(|desk| desk.rows.clone()).collect();
    if !dry_run {
        for desk in &mut desks {
            let told: Vec<_> = desk.rows.iter().map(|reader| tell(reader, &sources)).collect();
            store::end(&mut desk.connection, desk.service, &desk.rows, told).await?;
        }
        for desk in desks.iter_mut().filter(|desk| is_meant(desk.service)) {
            store::renew(&mut desk.connection, desk.service, &desk.rows).await?;
        }
    }
    sources.iter().for_each(|row| println!("{}", line(row)));
    println!("{} lanes {}", sources.len(), if dry_run { "would be renewed" } else { "renewed" });
    Ok(())
}

/// What waits in an outbox is still to be said under the old ids: by the relay, before their ends are set.
async fn refuse_unsent(desk: &mut Desk) -> Outcome {
    match store::unsent(&mut desk.connection, desk.service).await? {
        0 => Ok(()),
        rows => Err(format!(
            "{rows} rows wait in the outbox of {}: let `mambogo relay` send them with all workers stopped, then renew",
            desk.service
        )
        .into()),
    }
}

/// Where each of `sources` ends for the lane that reads it, and what that lane knows of sources then. Pure.
fn tell(reader: &Row, sources: &[Row]) -> (BTreeMap<LaneId, u64>, BTreeMap<LaneId, Heard>) {
    let input = format!("{}/{}", reader.topic, reader.partition);
    let end_of = |source: &Row| (source.id, source.sent.get(&input).copied().unwrap_or(0));
    let ends: BTreeMap<LaneId, u64> = sources.iter().map(end_of).collect();
    let known = |(source, heard): (&LaneId, &Heard)| {
        let heard = ends.get(source).map_or(Some(*heard), |end| heard.until(*end))?;
        Some((*source, heard))
    };
    let heard = reader.heard.iter().filter_map(known).collect();
    (ends, heard)
}

fn line(row: &Row) -> String {
    let said: u64 = row.sent.values().sum();
    format!("{}/{}: {} ends after {said} records", row.service, row.partition, row.id)
}

#[cfg(test)]
mod tests {
    use super::*;
    use uuid::Uuid;

    fn row(service: &'static str, topic: Topic, id: u128) -> Row {
        Row {
            service,
            topic,
            partition: 2,
            id: LaneId(Uuid::from_u128(id)),
            epoch: 1,
            next_offset: 0,
            heard: BTreeMap::new(),
            sent: BTreeMap::new(),
        }
    }

    #[test]
    fn a_reader_is_told_where_each_source_ends_and_keeps_what_it_knows_of_others() {
        let [orders, payments, stranger] = [1, 2, 3].map(|id| LaneId(Uuid::from_u128(id)));
        let heard = |last| Heard::Sequence { last, hole: None };
        let mut reader = row("inventory", Topic::InventoryCommands, 9);
        let hole = Some(harness::lane::Hole { first_refused: 40, highest: 8 });
        reader.heard = [(orders, Heard::Sequence { last: 7, hole }), (stranger, heard(5))].into();
        let mut source = row("orders", Topic::OrderCommands, 1);
        source.sent =
            [("inventory.commands/2".to_owned(), 7), ("inventory.commands/1".to_owned(), 99)].into();
        let silent = row("payments", Topic::PaymentCommands, 2);

        let (ends, known) = tell(&reader, &[source, silent]);
        assert_eq!(ends, [(orders, 7), (payments, 0)].into(), "what was never said is not believed either");
        assert_eq!(known, [(orders, heard(7)), (stranger, heard(5))].into(), "8 will not come any more");
    }
}
