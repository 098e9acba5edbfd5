//! Names of the metrics of the public port.

/// Gauge: 1 while a part of the gateway answers, 0 while it does not, by `part` (`kafka`, `postgres`, `prices`, `redis`).
/// Without Redis the gateway is ready, and degraded: every submit waits for its row.
pub const PARTS: &str = "mambogo_gateway_part_up";

#[cfg(test)]
mod tests {
    #[test]
    fn the_name_is_an_interface() {
        assert_eq!(super::PARTS, "mambogo_gateway_part_up");
    }
}
