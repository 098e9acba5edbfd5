//! Names of the metrics of the inventory endpoints.

/// Counter: adjustments asked for, by `outcome` (`accepted`, `key_reused`, `unavailable`).
pub const ADJUSTMENTS: &str = "mambogo_inventory_adjustment_requests_total";

#[cfg(test)]
mod tests {
    #[test]
    fn the_name_is_an_interface() {
        assert_eq!(super::ADJUSTMENTS, "mambogo_inventory_adjustment_requests_total");
    }
}
