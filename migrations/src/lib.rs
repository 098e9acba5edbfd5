//! What a row means. One Postgres schema and one role per service, made by an administrator; services have no DDL.
//!
//! | role | may |
//! |---|---|
//! | `mambogo_<service>` | read and write its own schema |
//! | `mambogo_relay` | read lanes, read and delete outboxes, write leases |
//! | `mambogo_edge` | read orders, products, stock, lanes, parked records; register webhooks, without reading their secrets |
//! | `mambogo_audit` | read everything but the secrets of webhooks |

use sqlx::{AssertSqlSafe, Connection, Executor, PgConnection, migrate::Migrator};

/// A service's schema; its role is `mambogo_<name>`.
struct Schema {
    name: &'static str,
    has_lanes: bool,
    migrator: Migrator,
}

static LANES: Migrator = sqlx::migrate!("./lanes");

static SCHEMAS: [Schema; 6] = [
    Schema { name: "orders", has_lanes: true, migrator: sqlx::migrate!("./orders") },
    Schema { name: "inventory", has_lanes: true, migrator: sqlx::migrate!("./inventory") },
    Schema { name: "payments", has_lanes: true, migrator: sqlx::migrate!("./payments") },
    Schema { name: "sandbox", has_lanes: false, migrator: sqlx::migrate!("./sandbox") },
    Schema { name: "catalog", has_lanes: true, migrator: sqlx::migrate!("./catalog") },
    Schema { name: "webhooks", has_lanes: false, migrator: sqlx::migrate!("./webhooks") },
];

/// Roles that own no schema.
const READERS: [&str; 3] = ["relay", "edge", "audit"];

/// Why the database could not be brought up to date.
#[derive(Debug, thiserror::Error)]
pub enum MigrateError {
    /// A statement outside the numbered files failed.
    #[error("preparing roles and schemas: {0}")]
    Prepare(#[from] sqlx::Error),
    /// A numbered file failed.
    #[error("migrating schema {schema}: {source}")]
    Schema {
        /// The schema.
        schema: &'static str,
        /// What happened.
        source: sqlx::migrate::MigrateError,
    },
}

/// Makes roles (with `password`, if they are not there yet), schemas and tables, in the database that `connection`
/// is connected to. Runs again without effect.
///
/// # Errors
/// [`MigrateError`] names the schema that failed; what was done before it stays.
pub async fn run(connection: &mut PgConnection, password: &str) -> Result<(), MigrateError> {
    prepare(connection, password).await?;
    for schema in &SCHEMAS {
        let of_schema = |source| MigrateError::Schema { schema: schema.name, source };
        set_search_path(connection, schema.name).await?;
        if schema.has_lanes {
            let mut lanes = Migrator { migrations: LANES.migrations.clone(), ..Migrator::DEFAULT };
            lanes.dangerous_set_table_name("_lane_migrations");
            lanes.run(&mut *connection).await.map_err(of_schema)?;
        }
        schema.migrator.run(&mut *connection).await.map_err(of_schema)?;
    }
    set_search_path(connection, "public").await?;
    // plans made while statistics say "empty" are bad ones (a sequential scan of the outbox)
    connection.execute("ANALYZE").await?;
    Ok(())
}

async fn set_search_path(connection: &mut PgConnection, schema: &str) -> sqlx::Result<()> {
    connection.execute(AssertSqlSafe(format!("SET search_path TO {schema}"))).await?;
    Ok(())
}

/// Roles are shared by all databases of a server and made once; schemas are of this database.
async fn prepare(connection: &mut PgConnection, password: &str) -> sqlx::Result<()> {
    let quoted = password.replace('\'', "''");
    let services = SCHEMAS.iter().map(|schema| schema.name);
    let mut tx = connection.begin().await?;
    // two migrations at once (tests) would collide on the server's role table
    tx.execute("SELECT pg_advisory_xact_lock(7221014)").await?;
    for name in services.clone().chain(READERS) {
        tx.execute(AssertSqlSafe(format!(
            "DO $$ BEGIN
               IF NOT EXISTS (SELECT FROM pg_roles WHERE rolname = 'mambogo_{name}') THEN
                 CREATE ROLE mambogo_{name} LOGIN PASSWORD '{quoted}';
               END IF;
             END $$"
        )))
        .await?;
    }
    for name in services {
        for statement in [
            format!("CREATE SCHEMA IF NOT EXISTS {name}"),
            format!(
                "GRANT USAGE ON SCHEMA {name} TO mambogo_{name}, mambogo_relay, mambogo_edge, mambogo_audit"
            ),
            format!(
                "ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT SELECT, INSERT, UPDATE, DELETE ON TABLES TO mambogo_{name}"
            ),
            format!("ALTER DEFAULT PRIVILEGES IN SCHEMA {name} GRANT SELECT ON TABLES TO mambogo_audit"),
            format!(
                "DO $$ BEGIN
                   IF NOT EXISTS (SELECT FROM pg_db_role_setting s JOIN pg_roles r ON r.oid = s.setrole
                                  WHERE r.rolname = 'mambogo_{name}' AND s.setdatabase = 0) THEN
                     ALTER ROLE mambogo_{name} SET search_path TO {name};
                   END IF;
                 END $$"
            ),
        ] {
            tx.execute(AssertSqlSafe(statement)).await?;
        }
    }
    tx.commit().await
}

/// A short text that changes whenever a migration does: names the template database that tests clone.
#[must_use]
pub fn fingerprint() -> String {
    // lanes are in it as often as a schema has them
    let of =
        |schema: &'static Schema| std::iter::once(&schema.migrator).chain(schema.has_lanes.then_some(&LANES));
    let all = SCHEMAS.iter().flat_map(of);
    let sum = all
        .flat_map(|migrator| migrator.iter())
        .flat_map(|migration| migration.checksum.iter())
        // FNV-1a, 64 bits (draft-eastlake-fnv): no secret, only a name
        .fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
            (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3)
        });
    format!("{sum:016x}")
}
