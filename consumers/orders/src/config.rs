//! Settings of the orders worker.

use chassis::settings::{Environment, Secret};

/// What the orders worker has to be told.
#[derive(Debug, Clone)]
pub struct Config {
    /// `ORDERS_DATABASE_URL`: where its rows and lanes are, as the role `mambogo_orders`.
    pub database: Secret,
}

impl Config {
    /// Reads them; the default is the local stack.
    #[must_use]
    pub fn read(environment: &Environment) -> Self {
        let local = "postgres://mambogo_orders:mambogo@127.0.0.1:25432/mambogo";
        Self { database: environment.secret_or("ORDERS_DATABASE_URL", local) }
    }
}
