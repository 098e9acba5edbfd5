//! Pages: how many items, and opaque cursors.

use crate::problem::Problem;
use serde::Serialize;
use serde_json::value::RawValue;
use uuid::Uuid;

/// Items on a page when the client does not say.
pub const DEFAULT_LIMIT: i64 = 20;
/// Most items on a page.
pub const MAX_LIMIT: i64 = 100;

/// The number of items asked for.
///
/// # Errors
/// A 400 problem when it is not a whole number from 1 to [`MAX_LIMIT`].
pub fn limit(text: Option<&str>) -> Result<i64, Problem> {
    let Some(text) = text else { return Ok(DEFAULT_LIMIT) };
    let limit = text.parse().ok().filter(|limit| (1..=MAX_LIMIT).contains(limit));
    limit.ok_or_else(|| Problem::bad_parameter("limit", "must be a whole number from 1 to 100"))
}

/// The place after an item: a sort value and the item's id, as 48 hexadecimal digits. It grants nothing: whoever
/// changes one only sees another page of what is theirs to see.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Cursor {
    /// The sort value (milliseconds, for times).
    pub sort: i64,
    /// The item.
    pub id: Uuid,
}

impl Cursor {
    /// The cursor as clients carry it.
    #[must_use]
    pub fn to_text(self) -> String {
        format!("{:016x}{:032x}", self.sort.cast_unsigned(), self.id.as_u128())
    }

    /// Reads a cursor.
    ///
    /// # Errors
    /// A 400 problem for any text that no page ever gave.
    pub fn parse(text: &str) -> Result<Self, Problem> {
        let parts = text.is_ascii().then(|| text.split_at_checked(16)).flatten();
        let read = parts.filter(|(_, id)| id.len() == 32 && !text.contains('+')).and_then(|(sort, id)| {
            let sort = u64::from_str_radix(sort, 16).ok()?.cast_signed();
            Some(Self { sort, id: Uuid::from_u128(u128::from_str_radix(id, 16).ok()?) })
        });
        read.ok_or_else(|| Problem::bad_parameter("cursor", "must be a nextCursor of an earlier page"))
    }
}

/// One page, as every list answers.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Page {
    /// The items, as JSON.
    pub items: Vec<Box<RawValue>>,
    /// Where the next page begins; `null` on the last.
    pub next_cursor: Option<String>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cursor_reads_back_and_nothing_else_does() {
        for sort in [0, -1, i64::MAX, i64::MIN, 1_700_000_000_000] {
            let cursor = Cursor { sort, id: Uuid::from_u128(77) };
            assert_eq!(Cursor::parse(&cursor.to_text()), Ok(cursor));
        }
        for bad in ["", "é", "zz", &"+".repeat(48), &"é".repeat(24), &"0".repeat(49), "null"] {
            assert!(Cursor::parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn limits_are_bounded() {
        assert_eq!(limit(None), Ok(20));
        assert_eq!(limit(Some("100")), Ok(100));
        for bad in ["0", "101", "-1", "x", ""] {
            assert!(limit(Some(bad)).is_err(), "{bad}");
        }
    }
}
