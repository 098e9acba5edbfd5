//! Rows of lanes, read and written by their service's own role.

use super::{Outcome, Row};
use harness::lane::Heard;
use schemas::{ids::LaneId, topics::Topic};
use sqlx::{AssertSqlSafe, Connection, PgConnection, Row as _, postgres::PgRow, types::Json};
use std::collections::BTreeMap;
use uuid::Uuid;

/// The lanes of a service, in the order of their partitions.
pub(super) async fn read(
    connection: &mut PgConnection,
    service: &'static str,
    topic: Topic,
) -> Outcome<Vec<Row>> {
    let rows = sqlx::query(AssertSqlSafe(format!(
        "SELECT partition, id, epoch, next_offset, heard, sent FROM {service}.lane
         WHERE consumer_group = $1 AND topic = $2 ORDER BY partition"
    )))
    .bind(service)
    .bind(topic.name())
    .fetch_all(connection)
    .await?;
    Ok(rows.iter().map(|row| lane(service, topic, row)).collect::<sqlx::Result<_>>()?)
}

/// The same, after their fence was raised: whoever owns them is refused from now on.
pub(super) async fn fence(
    connection: &mut PgConnection,
    service: &'static str,
    topic: Topic,
) -> Outcome<Vec<Row>> {
    let mut tx = connection.begin().await?;
    // locked in key order, as claims and batches lock them
    for statement in [
        format!(
            "SELECT FROM {service}.lane WHERE consumer_group = $1 AND topic = $2 ORDER BY partition FOR UPDATE"
        ),
        format!("UPDATE {service}.lane SET epoch = epoch + 1 WHERE consumer_group = $1 AND topic = $2"),
    ] {
        sqlx::query(AssertSqlSafe(statement)).bind(service).bind(topic.name()).execute(&mut *tx).await?;
    }
    let rows = read(&mut tx, service, topic).await?;
    tx.commit().await?;
    Ok(rows)
}

/// How many rows wait in the outbox.
pub(super) async fn unsent(connection: &mut PgConnection, service: &str) -> Outcome<i64> {
    let count = AssertSqlSafe(format!("SELECT count(*) FROM {service}.outbox"));
    Ok(sqlx::query_scalar(count).fetch_one(connection).await?)
}

/// Tells each lane of `rows` where its sources end, and what it knows of them.
pub(super) async fn end(
    connection: &mut PgConnection,
    service: &str,
    rows: &[Row],
    told: Vec<(BTreeMap<LaneId, u64>, BTreeMap<LaneId, Heard>)>,
) -> Outcome {
    let (ends, heard): (Vec<_>, Vec<_>) =
        told.into_iter().map(|(ends, heard)| (Json(ends), Json(heard))).unzip();
    let mut tx = connection.begin().await?;
    let written = sqlx::query(AssertSqlSafe(format!(
        "UPDATE {service}.lane SET ended = ended || new.ends, heard = new.heard
         FROM UNNEST($1::uuid[], $2::bigint[], $3::jsonb[], $4::jsonb[]) AS new (id, epoch, ends, heard)
         WHERE lane.id = new.id AND lane.epoch = new.epoch"
    )))
    .bind(ids(rows))
    .bind(epochs(rows))
    .bind(ends)
    .bind(heard)
    .execute(&mut *tx)
    .await?;
    refuse_claimed(service, written.rows_affected(), rows)?;
    Ok(tx.commit().await?)
}

/// Gives each lane of `rows` a new id, under which it has said nothing yet.
pub(super) async fn renew(connection: &mut PgConnection, service: &str, rows: &[Row]) -> Outcome {
    let fresh: Vec<Uuid> = rows.iter().map(|_| chassis::ids::random()).collect();
    let mut tx = connection.begin().await?;
    let written = sqlx::query(AssertSqlSafe(format!(
        "UPDATE {service}.lane SET id = new.fresh, sent = '{{}}', outbox_seq = 0
         FROM UNNEST($1::uuid[], $2::bigint[], $3::uuid[]) AS new (id, epoch, fresh)
         WHERE lane.id = new.id AND lane.epoch = new.epoch"
    )))
    .bind(ids(rows))
    .bind(epochs(rows))
    .bind(fresh)
    .execute(&mut *tx)
    .await?;
    refuse_claimed(service, written.rows_affected(), rows)?;
    Ok(tx.commit().await?)
}

/// Has each lane of `rows` begin at its offset of `firsts`, and hear its sources as for the first time: what they said
/// in between may be gone.
pub(super) async fn begin(
    connection: &mut PgConnection,
    service: &str,
    rows: &[Row],
    firsts: &[i64],
) -> Outcome {
    let mut tx = connection.begin().await?;
    let written = sqlx::query(AssertSqlSafe(format!(
        "UPDATE {service}.lane
         SET next_offset = new.first, read_offset = NULL, read_fingerprint = NULL, heard = '{{}}'
         FROM UNNEST($1::uuid[], $2::bigint[], $3::bigint[]) AS new (id, epoch, first)
         WHERE lane.id = new.id AND lane.epoch = new.epoch"
    )))
    .bind(ids(rows))
    .bind(epochs(rows))
    .bind(firsts)
    .execute(&mut *tx)
    .await?;
    refuse_claimed(service, written.rows_affected(), rows)?;
    Ok(tx.commit().await?)
}

fn ids(rows: &[Row]) -> Vec<Uuid> {
    rows.iter().map(|row| row.id.0).collect()
}

fn epochs(rows: &[Row]) -> Vec<i64> {
    rows.iter().map(|row| row.epoch).collect()
}

/// A lane that was not written has another epoch: a worker runs.
fn refuse_claimed(service: &str, written: u64, rows: &[Row]) -> Outcome {
    if usize::try_from(written) == Ok(rows.len()) {
        return Ok(());
    }
    Err(format!("a worker has claimed lanes of {service} meanwhile: stop all workers, then try again").into())
}

fn lane(service: &'static str, topic: Topic, row: &PgRow) -> sqlx::Result<Row> {
    let Json(heard): Json<BTreeMap<LaneId, Heard>> = row.try_get("heard")?;
    let Json(sent): Json<BTreeMap<String, u64>> = row.try_get("sent")?;
    Ok(Row {
        service,
        topic,
        partition: row.try_get("partition")?,
        id: LaneId(row.try_get("id")?),
        epoch: row.try_get("epoch")?,
        next_offset: row.try_get("next_offset")?,
        heard,
        sent,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use testbed::Database;

    const SERVICE: &str = "orders";

    #[tokio::test]
    async fn lanes_that_were_claimed_meanwhile_are_left_as_they_are() {
        let database = Database::create().await;
        let mut connection = database.connect(SERVICE).await;
        for partition in 0..2 {
            sqlx::query(
                "INSERT INTO orders.lane (consumer_group, topic, partition, id, partitions, next_offset, sent)
                 VALUES ($1, $2, $3, $4, 2, 7, '{\"order.events/0\": 3}')",
            )
            .bind(SERVICE)
            .bind(Topic::OrderCommands.name())
            .bind(partition)
            .bind(chassis::ids::random())
            .execute(&mut connection)
            .await
            .unwrap();
        }
        let fenced = fence(&mut connection, SERVICE, Topic::OrderCommands).await.unwrap();
        assert_eq!(fenced.iter().map(|row| row.epoch).collect::<Vec<_>>(), [1, 1]);
        sqlx::query("UPDATE orders.lane SET epoch = epoch + 1 WHERE partition = 1")
            .execute(&mut connection)
            .await
            .unwrap();
        let told = fenced.iter().map(|row| ([(row.id, 3)].into(), BTreeMap::new())).collect();
        let refusals = [
            end(&mut connection, SERVICE, &fenced, told).await,
            renew(&mut connection, SERVICE, &fenced).await,
            begin(&mut connection, SERVICE, &fenced, &[0, 0]).await,
        ];
        for refusal in refusals {
            assert!(refusal.unwrap_err().to_string().contains("claimed lanes of orders meanwhile"));
        }
        let after = read(&mut connection, SERVICE, Topic::OrderCommands).await.unwrap();
        for (row, before) in after.iter().zip(&fenced) {
            assert_eq!((row.id, row.next_offset, &row.sent), (before.id, 7, &before.sent));
        }
        let ended: i64 = sqlx::query_scalar("SELECT count(*) FROM orders.lane WHERE ended <> '{}'")
            .fetch_one(&mut connection)
            .await
            .unwrap();
        assert_eq!(ended, 0, "not even of the lane that nobody claimed");
    }
}
