//! Commands about parked records. They travel on the topic of the records they mean, with their key, and are heard by
//! the consumer machine, not by the service.

use crate::{
    catalogue::SchemaId,
    messages::Body,
    wire::{self, WireError},
};
use serde::{Deserialize, Serialize};
use uuid::Uuid;

/// Most records that one command names.
pub const MOST_NAMED: usize = 1_000;

/// Run parked records of this key again, in place and in order.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct RedriveParked {
    /// This one action: recorded, and done once only.
    pub action_id: Uuid,
    /// Who asked.
    pub requested_by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// The selection that it belongs to, when many were asked for at once.
    pub selection: Option<String>,
    /// Offsets of the records meant, in the partition of the command; [`MOST_NAMED`] at most.
    pub offsets: Vec<i64>,
    /// A payload to run in place of the record's own; then exactly one offset is named.
    #[serde(with = "apache_avro::serde::bytes_opt")]
    pub edited: Option<Vec<u8>>,
}

impl Body for RedriveParked {
    const SCHEMA: SchemaId = SchemaId(1601);
    const NAME: &'static str = "RedriveParked";
}

/// Give up parked records of this key.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct DiscardParked {
    /// This one action: recorded, and done once only.
    pub action_id: Uuid,
    /// Who asked.
    pub requested_by: String,
    /// Why, in their words.
    pub reason: Option<String>,
    /// The selection that it belongs to, when many were asked for at once.
    pub selection: Option<String>,
    /// Offsets of the records meant, in the partition of the command; [`MOST_NAMED`] at most.
    pub offsets: Vec<i64>,
}

impl Body for DiscardParked {
    const SCHEMA: SchemaId = SchemaId(1602);
    const NAME: &'static str = "DiscardParked";
}

/// A command about parked records.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ParkedCommand {
    /// See [`RedriveParked`].
    Redrive(RedriveParked),
    /// See [`DiscardParked`].
    Discard(DiscardParked),
}

impl ParkedCommand {
    /// Whether a payload is one of them, by its schema id alone.
    #[must_use]
    pub fn is_one(payload: &[u8]) -> bool {
        let id =
            payload.first_chunk::<5>().map(|[magic, id @ ..]| (*magic, SchemaId(u32::from_be_bytes(*id))));
        matches!(id, Some((0, RedriveParked::SCHEMA | DiscardParked::SCHEMA)))
    }

    /// Reads one.
    ///
    /// # Errors
    /// [`WireError`] as [`wire::decode`].
    pub fn decode(payload: &[u8]) -> Result<Self, WireError> {
        let (entry, body) = wire::open(payload)?;
        match entry.record {
            RedriveParked::NAME => wire::decode_body(entry, body).map(Self::Redrive),
            DiscardParked::NAME => wire::decode_body(entry, body).map(Self::Discard),
            record => Err(WireError::Other { record, expected: RedriveParked::NAME }),
        }
    }

    /// The record's name.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Redrive(_) => RedriveParked::NAME,
            Self::Discard(_) => DiscardParked::NAME,
        }
    }
}
