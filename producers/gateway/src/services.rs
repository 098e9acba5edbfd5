//! Which services answer on this port: all of them, or some, behind the same layers, so that each can be scaled alone.

use std::str::FromStr;

/// A service.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Service {
    /// Orders.
    Orders,
    /// Inventory.
    Inventory,
    /// Payments.
    Payments,
    /// Carts.
    Cart,
    /// The catalogue.
    Catalog,
    /// Webhooks.
    Webhooks,
}

/// Some services.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Services(Vec<Service>);

impl Services {
    /// Every service there is.
    #[must_use]
    pub fn all() -> Self {
        Self(vec![
            Service::Orders,
            Service::Inventory,
            Service::Payments,
            Service::Cart,
            Service::Catalog,
            Service::Webhooks,
        ])
    }

    /// Whether `service` is one of them.
    #[must_use]
    pub fn has(&self, service: Service) -> bool {
        self.0.contains(&service)
    }
}

impl FromStr for Services {
    type Err = ();

    /// `orders,catalog`.
    fn from_str(text: &str) -> Result<Self, ()> {
        let one = |name: &str| match name.trim() {
            "orders" => Ok(Service::Orders),
            "inventory" => Ok(Service::Inventory),
            "payments" => Ok(Service::Payments),
            "cart" => Ok(Service::Cart),
            "catalog" => Ok(Service::Catalog),
            "webhooks" => Ok(Service::Webhooks),
            _ => Err(()),
        };
        Ok(Self(text.split(',').map(one).collect::<Result<_, ()>>()?))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn services_are_named_or_refused() {
        let some: Services = "orders, catalog".parse().unwrap();
        assert!(some.has(Service::Orders) && some.has(Service::Catalog) && !some.has(Service::Cart));
        for bad in ["", "order", "orders,,cart", "all"] {
            assert_eq!(bad.parse::<Services>(), Err(()), "{bad}");
        }
    }
}
