//! Names of the metrics of the inventory endpoints.

use chassis::breaker::Position;

/// Counter: adjustments asked for, by `outcome` (`accepted`, `key_reused`, `unavailable`).
pub const ADJUSTMENTS: &str = "mambogo_inventory_adjustment_requests_total";

/// Counter: reserves asked for, by `outcome` (`held`, `rejected`, `ended`: repeated after its end, `given_up`: held by others
/// until the time limit, `fallback`: no answer, `key_reused`).
pub const RESERVES: &str = "mambogo_inventory_reserve_requests_total";
/// Gauge: where the breaker before the inventory worker stands: 0 closed, 1 half-open, 2 open.
pub const BREAKER: &str = "mambogo_inventory_reserve_breaker_position";

pub(crate) fn breaker_stands(position: Position) {
    let value = match position {
        Position::Closed => 0.0,
        Position::HalfOpen => 1.0,
        Position::Open => 2.0,
    };
    metrics::gauge!(BREAKER).set(value);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_names_are_an_interface() {
        assert_eq!(super::ADJUSTMENTS, "mambogo_inventory_adjustment_requests_total");
        assert_eq!(super::RESERVES, "mambogo_inventory_reserve_requests_total");
        assert_eq!(super::BREAKER, "mambogo_inventory_reserve_breaker_position");
    }
}
