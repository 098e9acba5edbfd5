//! The SQL of the catalogue's changes, on its own role: a product's row and what is said of it, in one transaction.
//!
//! The catalogue has no input topic, so its outbox has one lane for all changes: whoever locks its row is the writer.

use crate::{databases::Lsn, read, revision::Revision};
use chassis::{clock::Clock, ids as fresh, postgres::within, wake};
use ingress::log::Log;
use schemas::{
    envelope::Envelope,
    ids::{self, ProductId},
    messages::ProductChanged,
    money::Money,
    outbox::{self, OutboxRecord},
    shelf::Facts,
    time::Timestamp,
    topics::{self, CATALOG_GROUP, Topic},
    wire,
};
use sqlx::{Connection, PgConnection, PgPool, Row, types::Json};
use std::{collections::BTreeMap, time::Duration};
use uuid::Uuid;

/// The lane's name where other lanes have a topic.
const SOURCE: &str = "http";
/// Longest time for a change.
const PATIENCE: Duration = Duration::from_secs(5);

/// What became of a change.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Made {
    pub(crate) facts: Facts,
    /// A read from here on knows it.
    pub(crate) place: Option<Lsn>,
}

/// Why nothing was changed.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Refused {
    #[error("there is no such product")]
    NoProduct,
    #[error("there is no such category")]
    NoCategory,
    #[error("another product has this id")]
    There,
    #[error("the product is at version {0}")]
    Version(i64),
    #[error("the log did not say how many partitions {0} has: {1}")]
    Log(Topic, String),
    #[error("the event cannot be written: {0}")]
    Event(#[from] wire::WireError),
    #[error(transparent)]
    Database(#[from] sqlx::Error),
}

/// Changes the catalogue. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Writer {
    pub(crate) pool: PgPool,
    pub(crate) log: Log,
    pub(crate) clock: Clock,
}

/// What is to be done.
#[derive(Debug, Clone)]
pub(crate) enum Order {
    /// Adds a product.
    Add(Facts),
    /// Changes the product, if it is at this version.
    Revise(ProductId, i64, Revision),
}

impl Writer {
    /// Does it, and says it.
    ///
    /// # Errors
    /// [`Refused`]; after one of the database it is not known whether it was done.
    pub(crate) async fn write(&self, order: Order, by: String) -> Result<Made, Refused> {
        let topic = Topic::CatalogEvents;
        let partitions = self.log.partitions(topic).await;
        let partitions = partitions.map_err(|error| Refused::Log(topic, error.to_string()))?;
        let (pool, at) = (self.pool.clone(), Timestamp(self.clock.now_millis()));
        // in a task of its own: a transaction is never dropped half-way
        let written = tokio::spawn(async move {
            let mut connection = pool.acquire().await?;
            let work = async { Ok(in_transaction(&mut connection, order, by, at, partitions).await) };
            let outcome = within(PATIENCE, work).await;
            if !matches!(outcome, Ok(Ok(_))) {
                // whatever state it is in, nobody gets it
                let _ = connection.detach().close_hard().await;
            }
            outcome?
        });
        written.await.map_err(|_| sqlx::Error::WorkerCrashed)?
    }
}

async fn in_transaction(
    connection: &mut PgConnection,
    order: Order,
    by: String,
    at: Timestamp,
    partitions: i32,
) -> Result<Made, Refused> {
    let mut tx = connection.begin().await?;
    let mut lane = lock_lane_in_tx(&mut tx).await?;
    let (facts, changed) = match order {
        Order::Add(facts) if add_in_tx(&mut tx, &facts).await? => (facts, ALL_FIELDS.to_vec()),
        Order::Add(facts) => {
            let known = lock_product_in_tx(&mut tx, facts.id).await?;
            return if known == facts { Ok(Made { facts, place: None }) } else { Err(Refused::There) };
        }
        Order::Revise(id, version, revision) => {
            let known = lock_product_in_tx(&mut tx, id).await?;
            if known.version != version {
                return Err(Refused::Version(known.version));
            }
            let (facts, changed) = revision.apply(known);
            if changed.is_empty() {
                return Ok(Made { facts, place: None });
            }
            save_in_tx(&mut tx, &facts).await?;
            (facts, changed)
        }
    };
    let record = lane.say(&facts, changed, by, at, partitions)?;
    save_lane_in_tx(&mut tx, lane, &record).await?;
    tx.commit().await?;
    // after the commit: inside it, NOTIFY would serialise every commit of the server
    sqlx::query("SELECT pg_notify($1, 'catalog')").bind(wake::CHANNEL).execute(&mut *connection).await?;
    Ok(Made { facts, place: read::position_of(connection).await? })
}

/// What an event of a new product names as changed.
const ALL_FIELDS: [&str; 5] = ["name", "description", "category", "price", "active"];

struct Lane {
    id: Uuid,
    seq: i64,
    sent: BTreeMap<String, u64>,
}

async fn lock_lane_in_tx(tx: &mut PgConnection) -> sqlx::Result<Lane> {
    // the row is made by whoever changes something first
    sqlx::query(
        "INSERT INTO lane (consumer_group, topic, partition, id, partitions, next_offset)
         VALUES ($1, $2, 0, $3, 1, 0) ON CONFLICT DO NOTHING",
    )
    .bind(CATALOG_GROUP)
    .bind(SOURCE)
    .bind(fresh::random())
    .execute(&mut *tx)
    .await?;
    let row = sqlx::query(
        "SELECT id, outbox_seq, sent FROM lane
         WHERE consumer_group = $1 AND topic = $2 AND partition = 0 FOR UPDATE",
    )
    .bind(CATALOG_GROUP)
    .bind(SOURCE)
    .fetch_one(tx)
    .await?;
    let Json(sent) = row.try_get("sent")?;
    Ok(Lane { id: row.try_get("id")?, seq: row.try_get("outbox_seq")?, sent })
}

impl Lane {
    fn say(
        &mut self,
        facts: &Facts,
        changed: Vec<&'static str>,
        by: String,
        at: Timestamp,
        partitions: i32,
    ) -> Result<OutboxRecord, Refused> {
        let event = ProductChanged {
            product_id: facts.id,
            version: facts.version,
            changed: changed.into_iter().map(str::to_owned).collect(),
            name: facts.name.clone(),
            description: facts.description.clone(),
            category: facts.category.clone(),
            price: facts.price.amount,
            currency: facts.price.currency,
            is_active: facts.active,
            changed_by: by,
            changed_at: at,
        };
        let message = ids::message_id(facts.id.0, &format!("version {}", facts.version));
        let envelope =
            Envelope { message, causation: message, occurred_at: at, deadline: None, source: None };
        let (topic, key) = (Topic::CatalogEvents, topics::key(facts.id.0));
        let partition = topics::partition_of(&key, partitions);
        let n = self.sent.entry(format!("{topic}/{partition}")).or_default();
        *n += 1;
        self.seq += 1;
        let payload = wire::encode(&event)?;
        Ok(OutboxRecord {
            topic,
            partition,
            n: *n,
            envelope,
            key: key.to_vec(),
            payload,
            headers: Vec::new(),
        })
    }
}

async fn save_lane_in_tx(tx: &mut PgConnection, lane: Lane, record: &OutboxRecord) -> sqlx::Result<()> {
    let packed = outbox::pack(std::slice::from_ref(record));
    let size = i32::try_from(packed.len()).unwrap_or(i32::MAX);
    sqlx::query("INSERT INTO outbox (lane, seq, format, records, size) VALUES ($1, $2, $3, $4, $5)")
        .bind(lane.id)
        .bind(lane.seq)
        .bind(outbox::FORMAT)
        .bind(packed)
        .bind(size)
        .execute(&mut *tx)
        .await?;
    sqlx::query("UPDATE lane SET outbox_seq = $2, sent = $3 WHERE id = $1")
        .bind(lane.id)
        .bind(lane.seq)
        .bind(Json(lane.sent))
        .execute(tx)
        .await?;
    Ok(())
}

/// Whether it was not there yet.
async fn add_in_tx(tx: &mut PgConnection, facts: &Facts) -> Result<bool, Refused> {
    let category: Option<i32> = sqlx::query_scalar("SELECT id FROM categories WHERE slug = $1")
        .bind(&facts.category)
        .fetch_optional(&mut *tx)
        .await?;
    let added = sqlx::query(
        "INSERT INTO products (id, category_id, name, description, price, currency, is_active, stock_quantity, version)
         VALUES ($1, $2, $3, $4, $5, $6, $7, 0, $8) ON CONFLICT (id) DO NOTHING",
    )
    .bind(facts.id.0)
    .bind(category.ok_or(Refused::NoCategory)?)
    .bind(&facts.name)
    .bind(&facts.description)
    .bind(facts.price.amount)
    .bind(facts.price.currency.as_str())
    .bind(facts.active)
    .bind(facts.version)
    .execute(tx)
    .await?;
    Ok(added.rows_affected() == 1)
}

async fn lock_product_in_tx(tx: &mut PgConnection, id: ProductId) -> Result<Facts, Refused> {
    let row = sqlx::query(
        "SELECT p.version, p.name, p.description, c.slug, p.price, p.currency, p.is_active
         FROM products p JOIN categories c ON c.id = p.category_id WHERE p.id = $1 FOR UPDATE OF p",
    )
    .bind(id.0)
    .fetch_optional(tx)
    .await?;
    let row = row.ok_or(Refused::NoProduct)?;
    let currency = row.try_get::<&str, _>("currency")?.parse();
    let currency = currency.map_err(|error| sqlx::Error::Decode(Box::new(error)))?;
    Ok(Facts {
        id,
        version: row.try_get("version")?,
        name: row.try_get("name")?,
        description: row.try_get("description")?,
        category: row.try_get("slug")?,
        price: Money::new(row.try_get("price")?, currency),
        active: row.try_get("is_active")?,
    })
}

async fn save_in_tx(tx: &mut PgConnection, facts: &Facts) -> Result<(), Refused> {
    let saved = sqlx::query(
        "UPDATE products SET version = $2, name = $3, description = $4, price = $5, currency = $6, is_active = $7,
                category_id = c.id, updated_at = now()
         FROM categories c WHERE products.id = $1 AND c.slug = $8",
    )
    .bind(facts.id.0)
    .bind(facts.version)
    .bind(&facts.name)
    .bind(&facts.description)
    .bind(facts.price.amount)
    .bind(facts.price.currency.as_str())
    .bind(facts.active)
    .bind(&facts.category)
    .execute(tx)
    .await?;
    if saved.rows_affected() == 1 { Ok(()) } else { Err(Refused::NoCategory) }
}
