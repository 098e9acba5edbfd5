//! Settings of the public port: those of the services it composes, and of what they share.

use crate::{outside::Origins, services::Services};
use cart_api::CartConfig;
use catalog_api::CatalogConfig;
use chassis::settings::{Environment, SettingError};
use ingress::{
    auth::AuthConfig, background::BackgroundLimits, config::PoolConfig, limit::LimitConfig,
    redis_link::RedisConfig, response_cache::CacheConfig, serve::ServeLimits, shed::ShedConfig,
};
use inventory_api::InventoryConfig;
use orders_api::OrdersConfig;
use payments_api::PaymentsConfig;
use std::net::SocketAddr;
use webhooks_api::WebhooksApiConfig;

/// Settings of the public port.
#[derive(Debug, Clone)]
pub struct GatewayConfig {
    /// `GATEWAY_ADDR`: where to listen; the caller binds it.
    pub address: SocketAddr,
    /// `GATEWAY_SERVICES`: which services answer there.
    pub services: Services,
    /// `CORS_ORIGINS`: whose pages may call from a browser.
    pub origins: Origins,
    /// Which answers are kept for all, if any are.
    pub response_cache: Option<CacheConfig>,
    /// What is done outside the requests, at once and waiting.
    pub background: BackgroundLimits,
    /// What clients may hold.
    pub serve: ServeLimits,
    /// What a token must say.
    pub auth: AuthConfig,
    /// How much one caller may ask, if that is limited.
    pub limits: Option<LimitConfig>,
    /// What is too much, if anything is refused for it.
    pub shedding: Option<ShedConfig>,
    /// The edge's pool.
    pub pool: PoolConfig,
    /// Redis.
    pub redis: RedisConfig,
    /// Orders.
    pub orders: OrdersConfig,
    /// Inventory.
    pub inventory: InventoryConfig,
    /// Payments.
    pub payments: PaymentsConfig,
    /// Carts.
    pub cart: CartConfig,
    /// The catalogue.
    pub catalog: CatalogConfig,
    /// Webhooks.
    pub webhooks: WebhooksApiConfig,
}

impl GatewayConfig {
    /// Reads `GATEWAY_ADDR` (127.0.0.1:8080), `GATEWAY_SERVICES` (all), `CORS_ORIGINS` (none), and what
    /// [`ingress::config`], [`OrdersConfig`], [`InventoryConfig`], [`PaymentsConfig`], [`CartConfig`],
    /// [`CatalogConfig`] and [`WebhooksApiConfig`] read.
    ///
    /// # Errors
    /// [`SettingError`] names the variable.
    pub fn from_environment(environment: &Environment) -> Result<Self, SettingError> {
        let default = SocketAddr::from(([127, 0, 0, 1], 8080));
        Ok(Self {
            address: environment.parse_or("GATEWAY_ADDR", "an address such as 127.0.0.1:8080", default)?,
            services: environment.parse_or(
                "GATEWAY_SERVICES",
                "services such as orders,catalog (orders, inventory, payments, cart, catalog, webhooks)",
                Services::all(),
            )?,
            origins: environment.parse_or(
                "CORS_ORIGINS",
                "exact origins such as https://shop.example, with commas between",
                Origins::default(),
            )?,
            response_cache: ingress::config::response_cache(environment)?,
            background: ingress::config::background(environment)?,
            serve: ingress::config::serve(environment)?,
            auth: ingress::config::auth(environment)?,
            limits: ingress::config::limits(environment)?,
            shedding: ingress::config::shedding(environment)?,
            pool: ingress::config::pool(environment)?,
            redis: ingress::config::redis(environment)?,
            orders: OrdersConfig::from_environment(environment)?,
            inventory: InventoryConfig::from_environment(environment)?,
            payments: PaymentsConfig::from_environment(environment)?,
            cart: CartConfig::from_environment(environment)?,
            catalog: CatalogConfig::from_environment(environment)?,
            webhooks: WebhooksApiConfig::from_environment(environment)?,
        })
    }
}
