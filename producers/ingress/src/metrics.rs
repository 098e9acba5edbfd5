//! Names of the metrics that all HTTP services share.

/// Counter: requests, by `route` (template), `method` and `status` (class, `2xx`).
pub const REQUESTS: &str = "mambogo_http_requests_total";
/// Histogram: time from request to response head, by `route` and `method`.
pub const LATENCY: &str = "mambogo_http_request_duration_seconds";
/// Counter: handlers that panicked.
pub const PANICS: &str = "mambogo_http_panics_total";
/// Gauge: open connections.
pub const CONNECTIONS: &str = "mambogo_http_connections";
/// Counter: connections closed by a limit, by `why`.
pub const CONNECTIONS_CLOSED: &str = "mambogo_http_connections_closed_total";
/// Histogram: questions answered by one query, by `query`.
pub const COALESCED: &str = "mambogo_edge_coalesced_records";
/// Gauge: 1 while Redis answers, 0 while the edge runs degraded without it.
pub const REDIS_UP: &str = "mambogo_edge_redis_up";
/// Counter: times Redis was lost.
pub const REDIS_LOST: &str = "mambogo_edge_redis_lost_total";
/// Gauge: keys that tokens may be signed with, as the issuer published them last.
pub const TOKEN_KEYS: &str = "mambogo_edge_token_keys";
/// Counter: looks at the issuer's keys that failed.
pub const TOKEN_KEYS_FAILED: &str = "mambogo_edge_token_key_fetches_failed_total";
/// Counter: calls refused by the rate limit, by `policy`.
pub const RATE_LIMIT_REFUSED: &str = "mambogo_edge_rate_limit_refused_total";
/// Counter: calls counted by this process alone, because Redis did not answer.
pub const RATE_LIMIT_LOCAL: &str = "mambogo_edge_rate_limit_local_total";
/// Gauge: requests under way.
pub const IN_FLIGHT: &str = "mambogo_http_requests_in_flight";
/// Counter: requests refused because there is too much to do, by `because` (`in_flight`, `queued`, `behind`).
pub const SHED: &str = "mambogo_edge_shed_total";
/// Gauge: records that the worker furthest behind has not taken.
pub const SHED_BEHIND: &str = "mambogo_edge_workers_behind_records";
/// Gauge: tasks that wait to be done outside the requests, by `queue`.
pub const BACKGROUND_WAITING: &str = "mambogo_edge_background_tasks";
/// Counter: tasks done by whoever brought them, because their `queue` was full.
pub const BACKGROUND_BY_CALLER: &str = "mambogo_edge_background_by_caller_total";
/// Gauge: whether a part that the edge stands on is called, by `downstream`: 0 yes, 1 with a few calls to see, 2 no.
pub const DOWNSTREAM_STATE: &str = "mambogo_edge_downstream_state";
/// Counter: calls that were not made, because their `downstream` failed too often.
pub const DOWNSTREAM_REFUSED: &str = "mambogo_edge_downstream_refused_total";
/// Counter: answers told by the response cache, by `how` (`hit`, `stale`, `miss`, `stale-if-error`).
pub const RESPONSE_CACHE: &str = "mambogo_edge_response_cache_total";

/// Sets a gauge without labels.
pub(crate) fn gauge(name: &'static str, value: f64) {
    metrics::gauge!(name).set(value);
}

#[cfg(test)]
mod tests {
    #[test]
    fn the_names_are_an_interface() {
        assert_eq!(
            [
                super::REQUESTS,
                super::LATENCY,
                super::PANICS,
                super::CONNECTIONS,
                super::CONNECTIONS_CLOSED,
                super::COALESCED,
                super::REDIS_UP,
                super::REDIS_LOST,
                super::TOKEN_KEYS,
                super::TOKEN_KEYS_FAILED,
                super::RATE_LIMIT_REFUSED,
                super::RATE_LIMIT_LOCAL,
                super::IN_FLIGHT,
                super::SHED,
                super::SHED_BEHIND,
                super::BACKGROUND_WAITING,
                super::BACKGROUND_BY_CALLER,
                super::DOWNSTREAM_STATE,
                super::DOWNSTREAM_REFUSED,
                super::RESPONSE_CACHE,
            ],
            [
                "mambogo_http_requests_total",
                "mambogo_http_request_duration_seconds",
                "mambogo_http_panics_total",
                "mambogo_http_connections",
                "mambogo_http_connections_closed_total",
                "mambogo_edge_coalesced_records",
                "mambogo_edge_redis_up",
                "mambogo_edge_redis_lost_total",
                "mambogo_edge_token_keys",
                "mambogo_edge_token_key_fetches_failed_total",
                "mambogo_edge_rate_limit_refused_total",
                "mambogo_edge_rate_limit_local_total",
                "mambogo_http_requests_in_flight",
                "mambogo_edge_shed_total",
                "mambogo_edge_workers_behind_records",
                "mambogo_edge_background_tasks",
                "mambogo_edge_background_by_caller_total",
                "mambogo_edge_downstream_state",
                "mambogo_edge_downstream_refused_total",
                "mambogo_edge_response_cache_total",
            ]
        );
    }
}
