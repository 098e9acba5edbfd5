//! What a worker redrives by itself: records of a schema that an older release did not know.

use super::outgoing;
use crate::record::{Outgoing, Rejection};
use schemas::{
    catalogue::{self, SchemaId},
    ids,
    parked::{ParkedCommand, RedriveParked},
    topics::Topic,
};
use uuid::Uuid;

/// Who asks for it.
const WORKER: &str = "worker";

/// A key's parked record of a schema that was not known.
#[derive(Debug, Clone)]
pub struct Unknown {
    /// Where it lies.
    pub partition: i32,
    /// Where it lies.
    pub offset: i64,
    /// How often it failed.
    pub attempts: i32,
    /// Its key.
    pub key: Vec<u8>,
    /// The payload's first five bytes, with the schema's id.
    pub beginning: Vec<u8>,
}

impl Unknown {
    /// The command by which a lane tells itself to run this record again; `None` while its schema is not known.
    ///
    /// # Errors
    /// None in practice: the command is small.
    pub fn redrive(&self, topic: Topic) -> Result<Option<Outgoing>, Rejection> {
        let id = self.beginning.last_chunk::<4>().map(|id| SchemaId(u32::from_be_bytes(*id)));
        let known = id.filter(|id| self.beginning.len() == 5 && catalogue::by_id(*id).is_some());
        let key = std::str::from_utf8(&self.key).ok().and_then(|key| Uuid::try_parse(key).ok());
        let (Some(id), Some(key)) = (known, key) else { return Ok(None) };
        // the same record parked once more is another action; the same claim made again is not
        let meaning = format!("redrive {}/{} {}", self.partition, self.offset, self.attempts);
        let command = ParkedCommand::Redrive(RedriveParked {
            action_id: ids::message_id(key, &meaning).0,
            requested_by: WORKER.to_owned(),
            reason: Some(format!("schema {id} is known to this release")),
            selection: None,
            offsets: vec![self.offset],
            edited: None,
        });
        outgoing(topic, key, &command).map(Some)
    }
}
