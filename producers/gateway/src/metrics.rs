//! Names of the metrics of the public port.

/// Gauge: 1 while a part of the gateway answers, 0 while it does not, by `part` (`kafka`, `postgres`, `prices`, `redis`).
/// Without Redis the gateway is ready, and degraded: every submit waits for its row.
pub const PARTS: &str = "mambogo_gateway_part_up";

/// Gauge, seconds: how far this machine's clock is ahead of the database's, by which the gateway goes; negative while it
/// is behind.
pub const CLOCK_OFFSET: &str = "mambogo_gateway_clock_offset_seconds";

#[cfg(test)]
mod tests {
    #[test]
    fn the_names_are_an_interface() {
        assert_eq!(
            [super::PARTS, super::CLOCK_OFFSET],
            ["mambogo_gateway_part_up", "mambogo_gateway_clock_offset_seconds"]
        );
    }
}
