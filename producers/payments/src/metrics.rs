//! Names of the metrics of the payments endpoints.

/// Counter: webhooks that came, by `outcome`: `taken`; acknowledged and left alone: `other_type`, `unfinished`,
/// `not_ours`, `unknown_order`; refused: `bad_signature`, `unreadable`; to be sent again: `unavailable`, `not_set_up`.
pub const WEBHOOKS: &str = "mambogo_payment_webhooks_total";
/// Counter: refunds that operators asked for, by `outcome`: `accepted`, `refused`, `key_reused`, `unavailable`.
pub const REFUNDS: &str = "mambogo_payment_refund_requests_total";

#[cfg(test)]
mod tests {
    #[test]
    fn the_names_are_an_interface() {
        assert_eq!(super::WEBHOOKS, "mambogo_payment_webhooks_total");
        assert_eq!(super::REFUNDS, "mambogo_payment_refund_requests_total");
    }
}
