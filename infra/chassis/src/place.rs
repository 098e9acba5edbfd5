//! Where a row lies in its table. Read together with the row, it spares the update that follows the walk down an index.

use sqlx::{
    Decode, Encode, Postgres, Type,
    encode::IsNull,
    error::BoxDynError,
    postgres::{PgArgumentBuffer, PgHasArrayType, PgTypeInfo, PgValueFormat, PgValueRef, types::Oid},
};

/// A row's `ctid`. It holds within the transaction that read it, as long as nobody else changes the row; an update names
/// the row's key as well, so that a place that holds no more finds nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Place {
    page: u32,
    item: u16,
}

/// Postgres' built-in type `tid`, and its array.
const TID: Oid = Oid(27);
const TIDS: Oid = Oid(1010);

impl Type<Postgres> for Place {
    fn type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TID)
    }
}

impl PgHasArrayType for Place {
    fn array_type_info() -> PgTypeInfo {
        PgTypeInfo::with_oid(TIDS)
    }
}

impl Encode<'_, Postgres> for Place {
    fn encode_by_ref(&self, buffer: &mut PgArgumentBuffer) -> Result<IsNull, BoxDynError> {
        buffer.extend_from_slice(&self.page.to_be_bytes());
        buffer.extend_from_slice(&self.item.to_be_bytes());
        Ok(IsNull::No)
    }
}

impl Decode<'_, Postgres> for Place {
    fn decode(value: PgValueRef<'_>) -> Result<Self, BoxDynError> {
        let bytes: [u8; 6] = match value.format() {
            PgValueFormat::Binary => value.as_bytes()?.try_into()?,
            PgValueFormat::Text => {
                return Err("a row's place in text: it is read in prepared statements only".into());
            }
        };
        let [a, b, c, d, e, f] = bytes;
        Ok(Self { page: u32::from_be_bytes([a, b, c, d]), item: u16::from_be_bytes([e, f]) })
    }
}
