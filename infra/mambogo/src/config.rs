//! Settings of the process itself; each role reads its own.

use chassis::{
    settings::{Environment, Secret, SettingError},
    telemetry::LogFormat,
};
use std::net::SocketAddr;

/// Where the process listens and how it logs.
#[derive(Debug)]
pub(crate) struct ProcessConfig {
    /// The public port (`GATEWAY_ADDR`).
    pub(crate) gateway: SocketAddr,
    /// Health and metrics (`MANAGEMENT_ADDR`).
    pub(crate) management: SocketAddr,
    /// How log lines look (`LOG_FORMAT`).
    pub(crate) log_format: LogFormat,
    /// Which log lines (`RUST_LOG`).
    pub(crate) log_filter: String,
}

/// How topics are made.
#[derive(Debug)]
pub(crate) struct TopicConfig {
    /// `KAFKA_PARTITIONS`.
    pub(crate) partitions: i32,
    /// `KAFKA_REPLICATION`.
    pub(crate) replication: i32,
}

impl ProcessConfig {
    pub(crate) fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let address = "an address such as 127.0.0.1:8080";
        Ok(Self {
            gateway: environment.parse_or(
                "GATEWAY_ADDR",
                address,
                SocketAddr::from(([127, 0, 0, 1], 8080)),
            )?,
            management: environment.parse_or(
                "MANAGEMENT_ADDR",
                address,
                SocketAddr::from(([127, 0, 0, 1], 9090)),
            )?,
            log_format: environment.parse_or("LOG_FORMAT", "text or json", LogFormat::Text)?,
            log_filter: environment.text_or("RUST_LOG", "info"),
        })
    }
}

impl TopicConfig {
    pub(crate) fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        Ok(Self {
            partitions: environment.parse_or("KAFKA_PARTITIONS", "a number of partitions", 4)?,
            replication: environment.parse_or("KAFKA_REPLICATION", "a number of copies", 1)?,
        })
    }
}

/// The database URL of a role (`ORDERS_DATABASE_URL` for `orders`), by default that of the local stack.
pub(crate) fn database(environment: &Environment, role: &str) -> Secret {
    let local = format!("postgres://mambogo_{role}:mambogo@127.0.0.1:25432/mambogo");
    environment.secret_or(&format!("{}_DATABASE_URL", role.to_uppercase()), &local)
}

/// Password that new database roles get (`DATABASE_PASSWORD`); the local stack's is known to everybody.
pub(crate) fn role_password(environment: &Environment) -> Secret {
    environment.secret_or("DATABASE_PASSWORD", "mambogo")
}

/// How many months of history are kept beside the present one (`HISTORY_KEEP`).
pub(crate) fn history_keep(environment: &Environment) -> Result<u32, SettingError> {
    environment.parse_or("HISTORY_KEEP", "a number of months", 13)
}
