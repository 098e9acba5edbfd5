//! Names of the metrics of the carts.

/// Counter: calls that reached Redis, by `call` (`get`, `set`, `add`, `remove`, `clear`, `merge`, `checkout`) and
/// `outcome` (`done`, `stale`: not the state that `If-Match` names, `refused`: a bound, `gone`: a guest without a cart,
/// `away`: Redis).
pub const CALLS: &str = "mambogo_cart_calls_total";
/// Counter: carts checked out but not emptied afterwards, because Redis was away; the next checkout finds its order again.
pub const NOT_EMPTIED: &str = "mambogo_cart_not_emptied_total";

#[cfg(test)]
mod tests {
    #[test]
    fn the_names_are_an_interface() {
        let names = [super::CALLS, super::NOT_EMPTIED];
        assert_eq!(names, ["mambogo_cart_calls_total", "mambogo_cart_not_emptied_total"]);
    }
}
