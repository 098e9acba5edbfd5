//! What is done once before the services start: tables, topics, a catalogue.

use crate::{
    config::{self, TopicConfig},
    seed,
};
use chassis::settings::Environment;
use publisher::PublisherConfig;
use sqlx::{Connection, PgConnection};

type Outcome = Result<(), Box<dyn std::error::Error + Send + Sync>>;

pub(crate) async fn migrate(environment: &Environment) -> Outcome {
    let mut connection = admin(environment).await?;
    let password = config::role_password(environment);
    migrations::run(&mut connection, password.expose()).await?;
    println!("roles, schemas and tables are up to date");
    Ok(())
}

pub(crate) async fn topics(environment: &Environment) -> Outcome {
    let publisher = PublisherConfig::from_environment(environment, "mambogo-topics")?;
    let TopicConfig { partitions, replication } = TopicConfig::from_environment(environment)?;
    let ensured = publisher::topics::ensure(&publisher, partitions, replication).await?;
    println!("topics made: {}, already there: {}", ensured.made.len(), ensured.present.len());
    Ok(())
}

pub(crate) async fn seed(environment: &Environment, products: u32, seed: u64, stock: Option<i64>) -> Outcome {
    let mut connection = admin(environment).await?;
    let report = seed::run(&mut connection, products, seed, stock).await?;
    println!("{report}");
    Ok(())
}

pub(crate) async fn admin(environment: &Environment) -> Result<PgConnection, String> {
    let url = config::database(environment, "admin");
    PgConnection::connect(url.expose())
        .await
        .map_err(|error| format!("Postgres at ADMIN_DATABASE_URL: {error}; is the stack up (`make up`)?"))
}
