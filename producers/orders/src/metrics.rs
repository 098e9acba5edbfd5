//! Names of the metrics of the orders endpoints.

/// Counter: submits, by `outcome` (`accepted`, `repeated`, `key_reused`, `in_flight`, `invalid`,
/// `unavailable`).
pub const SUBMITS: &str = "mambogo_orders_submits_total";
/// Counter: submits that went the slow road because Redis was away or not proved.
pub const UNPROVED: &str = "mambogo_orders_unproved_submits_total";
/// Counter: reads, by `source` (`redis`, `postgres`, `absent`).
pub const READS: &str = "mambogo_orders_reads_total";
/// Gauge: 1 while a miss in Redis is a proof.
pub const CLAIMS_PROVED: &str = "mambogo_orders_claims_proved";
/// Gauge: 1 while a view in Redis is as new as any that was seen.
pub const VIEWS_PROVED: &str = "mambogo_orders_views_proved";
/// Gauge: products in the price book.
pub const PRICES: &str = "mambogo_orders_price_book_products";

/// Gauge: streams of order events that are open.
pub const WATCHERS: &str = "mambogo_orders_open_event_streams";
/// Gauge: orders of calls that wait until fewer are being accepted.
pub const WAITING: &str = "mambogo_orders_waiting_for_room";

#[cfg(test)]
mod tests {
    #[test]
    fn the_names_are_an_interface() {
        assert_eq!(
            [
                super::SUBMITS,
                super::UNPROVED,
                super::READS,
                super::CLAIMS_PROVED,
                super::VIEWS_PROVED,
                super::PRICES,
                super::WATCHERS,
                super::WAITING,
            ],
            [
                "mambogo_orders_submits_total",
                "mambogo_orders_unproved_submits_total",
                "mambogo_orders_reads_total",
                "mambogo_orders_claims_proved",
                "mambogo_orders_views_proved",
                "mambogo_orders_price_book_products",
                "mambogo_orders_open_event_streams",
                "mambogo_orders_waiting_for_room",
            ]
        );
    }
}
