//! One product's stock, and the moves between free, held and sold units. Every move keeps
//! `initial + restocked = available + held + sold`, with none of the three below zero.

use crate::hold::Place;

/// A product's row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Stock {
    /// Units free to reserve.
    pub available: i64,
    /// Units held by open reserves.
    pub held: i64,
    /// Units sold so far.
    pub sold: i64,
    /// Units there were when the product was made known.
    pub initial: i64,
    /// Sum of all adjustments applied.
    pub restocked: i64,
    /// Grows by one with every change of the row.
    pub version: i64,
    /// Lines waiting for it.
    pub waiting: i64,
    /// Where the walk of its queue goes on. Set if and only if one `WalkQueue` is under way.
    pub cursor: Option<Place>,
}

impl Stock {
    /// A product with that many free units.
    #[must_use]
    pub fn of(units: i64) -> Self {
        Self { available: units, initial: units, version: 1, ..Self::default() }
    }

    /// Units that could be had if every held unit came back.
    #[must_use]
    pub fn obtainable(&self) -> i64 {
        self.available.saturating_add(self.held)
    }

    /// Free units become held; `None` when there are not that many.
    #[must_use]
    pub fn hold(self, units: i64) -> Option<Self> {
        Some(Self { available: less(self.available, units)?, held: self.held.checked_add(units)?, ..self })
    }

    /// Held units leave the shop; `None` when there are not that many.
    #[must_use]
    pub fn sell(self, units: i64) -> Option<Self> {
        Some(Self { held: less(self.held, units)?, sold: self.sold.checked_add(units)?, ..self })
    }

    /// Held units become free again; `None` when there are not that many.
    #[must_use]
    pub fn release(self, units: i64) -> Option<Self> {
        Some(Self { held: less(self.held, units)?, available: self.available.checked_add(units)?, ..self })
    }

    /// Free units are added, or taken away when `delta` is negative.
    ///
    /// # Errors
    /// [`AdjustmentError`] when there are not that many free units, or the sum leaves the range of a `bigint`.
    pub fn adjust(self, delta: i64) -> Result<Self, AdjustmentError> {
        let available = self.available.checked_add(delta).ok_or(AdjustmentError::OutOfRange)?;
        if available < 0 {
            return Err(AdjustmentError::Insufficient);
        }
        let restocked = self.restocked.checked_add(delta).ok_or(AdjustmentError::OutOfRange)?;
        // the database checks conservation: both of its sums have to stay in range
        self.initial.checked_add(restocked).ok_or(AdjustmentError::OutOfRange)?;
        Ok(Self { available, restocked, ..self })
    }

    /// Whether free, held or sold units differ: what the world is told of.
    #[must_use]
    pub fn same_levels(&self, other: &Self) -> bool {
        (self.available, self.held, self.sold) == (other.available, other.held, other.sold)
    }
}

/// Why an adjustment was refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum AdjustmentError {
    /// It would take more than the free units.
    Insufficient,
    /// A sum would leave the range of a `bigint`.
    OutOfRange,
}

/// `from - units` where that is not below zero.
fn less(from: i64, units: i64) -> Option<i64> {
    from.checked_sub(units).filter(|left| *left >= 0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn conserves(stock: &Stock) -> bool {
        stock.initial + stock.restocked == stock.available + stock.held + stock.sold
            && stock.available >= 0
            && stock.held >= 0
            && stock.sold >= 0
    }

    proptest! {
        #[test]
        fn every_move_conserves(start in 0i64..20, moves in prop::collection::vec((0u8..4, -5i64..10), 0..60)) {
            let mut stock = Stock::of(start);
            for (kind, units) in moves {
                let moved = match kind {
                    0 => stock.hold(units.abs()),
                    1 => stock.sell(units.abs()),
                    2 => stock.release(units.abs()),
                    _ => stock.adjust(units).ok(),
                };
                stock = moved.unwrap_or(stock);
                prop_assert!(conserves(&stock), "{stock:?}");
            }
        }
    }

    #[test]
    fn what_is_not_there_is_not_moved() {
        let stock = Stock::of(2);
        assert_eq!(stock.hold(3), None);
        assert_eq!(stock.sell(1), None);
        assert_eq!(stock.release(1), None);
        assert_eq!(stock.adjust(-3), Err(AdjustmentError::Insufficient));
        assert_eq!(stock.adjust(i64::MAX), Err(AdjustmentError::OutOfRange));
        let emptied = Stock { available: 0, sold: 2, ..stock };
        assert_eq!(
            emptied.adjust(i64::MAX),
            Err(AdjustmentError::OutOfRange),
            "the database's sum would overflow"
        );
    }
}
