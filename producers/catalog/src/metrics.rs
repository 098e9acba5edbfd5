//! Names of the metrics of the catalogue, and its counters on the way of every read.

use metrics::Counter;

/// Counter: reads of one product, by `level` (`l1`: this process, `l2`: Redis, `l3`: Postgres, `shared`: the read of
/// another request that was under way) and `result` (`hit`, `miss`, `away`).
pub const CACHE: &str = "mambogo_catalog_cache_total";
/// Histogram: how long a change had been made when this process's copy took it in; until then the copy was stale.
pub const STALENESS: &str = "mambogo_catalog_staleness_seconds";
/// Gauge: 1 while this process hears of changes, 0 while its copies live for two seconds only.
pub const HEARS: &str = "mambogo_catalog_hears_up";
/// Counter: queries of the catalogue, by `from` (`replica`, `primary`) and `why` (`usual`; for the primary also
/// `behind`: the caller's own write was not there yet, `lagging`, `away`).
pub const QUERIES: &str = "mambogo_catalog_queries_total";
/// Gauge: how far the replica is behind the primary.
pub const REPLICA_LAG: &str = "mambogo_catalog_replica_lag_seconds";
/// Counter: changes asked for, by `outcome` (`made`, `already`, `refused`, `unavailable`).
pub const WRITES: &str = "mambogo_catalog_writes_total";

/// Counters that are looked up once.
#[derive(Clone)]
pub(crate) struct Levels {
    pub(crate) l1_hit: Counter,
    pub(crate) l1_miss: Counter,
    pub(crate) shared: Counter,
    pub(crate) l2_hit: Counter,
    pub(crate) l2_miss: Counter,
    pub(crate) l2_away: Counter,
    pub(crate) l3_hit: Counter,
    pub(crate) l3_miss: Counter,
    pub(crate) l3_away: Counter,
}

impl Levels {
    pub(crate) fn new() -> Self {
        let of = |level: &'static str, result: &'static str| ::metrics::counter!(CACHE, "level" => level, "result" => result);
        Self {
            l1_hit: of("l1", "hit"),
            l1_miss: of("l1", "miss"),
            shared: of("shared", "hit"),
            l2_hit: of("l2", "hit"),
            l2_miss: of("l2", "miss"),
            l2_away: of("l2", "away"),
            l3_hit: of("l3", "hit"),
            l3_miss: of("l3", "miss"),
            l3_away: of("l3", "away"),
        }
    }
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_names_are_an_interface() {
        assert_eq!(
            [super::CACHE, super::STALENESS, super::HEARS, super::QUERIES, super::REPLICA_LAG, super::WRITES],
            [
                "mambogo_catalog_cache_total",
                "mambogo_catalog_staleness_seconds",
                "mambogo_catalog_hears_up",
                "mambogo_catalog_queries_total",
                "mambogo_catalog_replica_lag_seconds",
                "mambogo_catalog_writes_total",
            ]
        );
    }
}
