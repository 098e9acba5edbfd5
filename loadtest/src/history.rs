//! The history of a run: every submit with its key, body and times, every answer, every later read. Kept in memory up
//! to a bound, and written to a file as JSON lines where one is given.

use schemas::messages::OrderStatus;
use serde::{Deserialize, Serialize};
use std::{
    fs::File,
    io::{BufRead, BufReader, BufWriter, Write},
    path::Path,
    sync::{Mutex, PoisonError},
};
use uuid::Uuid;

/// What was done.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum What {
    /// An order was submitted.
    Submit,
    /// Its status was read.
    Read,
    /// It was asked to be cancelled.
    Cancel,
    /// Its end was seen on the log.
    Event,
}

/// One thing that a client did, and the answer. Times are microseconds since the run began, by one monotonic clock.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct Record {
    /// The order's number; with the plan's name it is the idempotency key.
    pub order: u32,
    /// What was done.
    pub what: What,
    /// Hash of the submitted body (FNV-1a, 64 bits); 0 where there is none.
    pub body: u64,
    /// When it was sent.
    pub sent: u64,
    /// How much later than intended.
    pub late: u32,
    /// How long until the answer, or until it was given up.
    pub took: u32,
    /// The HTTP status; 0 when no answer came. Of an event 200.
    pub answer: u16,
    /// The order's version, where the answer said one.
    pub version: Option<i32>,
    /// The order's status, where the answer said one.
    #[serde(with = "status_name")]
    pub status: Option<OrderStatus>,
    /// The order's id, where the answer said one.
    pub id: Option<Uuid>,
}

impl Record {
    /// When the answer came, in microseconds since the run began.
    #[must_use]
    pub fn done(&self) -> u64 {
        self.sent.saturating_add(u64::from(self.took))
    }
}

mod status_name {
    use schemas::messages::OrderStatus;
    use serde::{Deserialize, Deserializer, Serialize, Serializer, de::Error};

    #[expect(clippy::ref_option, reason = "serde hands over a reference")]
    pub(super) fn serialize<S: Serializer>(status: &Option<OrderStatus>, out: S) -> Result<S::Ok, S::Error> {
        status.map(OrderStatus::as_str).serialize(out)
    }

    pub(super) fn deserialize<'de, D: Deserializer<'de>>(from: D) -> Result<Option<OrderStatus>, D::Error> {
        let name: Option<String> = Option::deserialize(from)?;
        name.map(|name| {
            OrderStatus::from_name(&name).ok_or_else(|| D::Error::custom("no status of an order"))
        })
        .transpose()
    }
}

/// FNV-1a over `bytes`: <http://www.isthe.com/chongo/tech/comp/fnv/>.
pub(crate) fn fnv1a(bytes: &[u8]) -> u64 {
    bytes
        .iter()
        .fold(0xcbf2_9ce4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3))
}

/// Why a history's file could not be read.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The file itself.
    #[error("{path}: {source}")]
    Io {
        /// Which file.
        path: String,
        /// What the system said.
        source: std::io::Error,
    },
    /// A line of it.
    #[error("{path}, line {line}, is no record of a history: {source}")]
    Line {
        /// Which file.
        path: String,
        /// Which line, from 1.
        line: usize,
        /// What is wrong with it.
        source: serde_json::Error,
    },
}

/// Where clients write what they did. Shared by reference; a record costs a lock and a copy.
#[derive(Debug)]
pub struct History {
    kept: Mutex<Kept>,
    most: usize,
}

#[derive(Debug)]
struct Kept {
    /// In pieces, so that growing never copies all of them while clients wait.
    pieces: Vec<Vec<Record>>,
    /// Records that found no room.
    dropped: u64,
    file: Option<BufWriter<File>>,
    /// The first failure to write.
    failed: Option<std::io::Error>,
}

/// Records of a piece.
const PIECE: usize = 65_536;

impl Kept {
    fn keep(&mut self, record: Record, most: usize) {
        let full = self.pieces.len().saturating_sub(1) * PIECE;
        if full + self.pieces.last().map_or(0, Vec::len) >= most {
            self.dropped += 1;
            return;
        }
        match self.pieces.last_mut() {
            Some(piece) if piece.len() < PIECE => piece.push(record),
            _ => {
                let mut piece = Vec::with_capacity(PIECE.min(most));
                piece.push(record);
                self.pieces.push(piece);
            }
        }
    }
}

impl History {
    /// A history that keeps at most `most` records (64 bytes each) in memory.
    #[must_use]
    pub fn in_memory(most: usize) -> Self {
        let kept = Kept { pieces: Vec::new(), dropped: 0, file: None, failed: None };
        Self { kept: Mutex::new(kept), most }
    }

    /// The same, all of it written to `path` as well, one JSON object a line, by the order in which answers came.
    ///
    /// # Errors
    /// [`FileError::Io`] when the file cannot be made.
    pub fn to_file(most: usize, path: &Path) -> Result<Self, FileError> {
        let file = File::create(path).map_err(|source| io(path, source))?;
        let history = Self::in_memory(most);
        history.lock().file = Some(BufWriter::with_capacity(1 << 18, file));
        Ok(history)
    }

    /// Adds what a client did.
    pub fn add(&self, record: Record) {
        let mut kept = self.lock();
        if let Some(file) = &mut kept.file {
            let line = serde_json::to_vec(&record).unwrap_or_default();
            let written = file.write_all(&line).and_then(|()| file.write_all(b"\n"));
            if let Err(error) = written {
                kept.file = None;
                kept.failed = Some(error);
            }
        }
        kept.keep(record, self.most);
    }

    /// Ends it: what was kept in memory, and how many records found no room there.
    ///
    /// # Errors
    /// The first failure to write to the file.
    pub fn finish(self) -> std::io::Result<(Vec<Record>, u64)> {
        let mut kept = self.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
        if let Some(error) = kept.failed.take() {
            return Err(error);
        }
        if let Some(mut file) = kept.file.take() {
            file.flush()?;
        }
        Ok((kept.pieces.concat(), kept.dropped))
    }

    /// What is kept in memory until now.
    #[must_use]
    pub fn records(&self) -> Vec<Record> {
        self.lock().pieces.concat()
    }

    fn lock(&self) -> std::sync::MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Reads a history's file.
///
/// # Errors
/// [`FileError`].
pub fn read_file(path: &Path) -> Result<Vec<Record>, FileError> {
    let file = File::open(path).map_err(|source| io(path, source))?;
    let mut records = Vec::new();
    for (index, line) in BufReader::new(file).lines().enumerate() {
        let line = line.map_err(|source| io(path, source))?;
        let record = serde_json::from_str(&line).map_err(|source| FileError::Line {
            path: path.display().to_string(),
            line: index + 1,
            source,
        })?;
        records.push(record);
    }
    Ok(records)
}

fn io(path: &Path, source: std::io::Error) -> FileError {
    FileError::Io { path: path.display().to_string(), source }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn record(order: u32) -> Record {
        Record {
            order,
            what: What::Submit,
            body: u64::MAX,
            sent: 5_000_000_000,
            late: 3,
            took: 70_000,
            answer: 202,
            version: None,
            status: Some(OrderStatus::Pending),
            id: Some(Uuid::from_u128(9)),
        }
    }

    #[test]
    fn memory_is_bounded_and_the_file_has_all() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        let history = History::to_file(2, &path).unwrap();
        (0..5).for_each(|order| history.add(record(order)));
        let (kept, dropped) = history.finish().unwrap();
        assert_eq!((kept, dropped), (vec![record(0), record(1)], 3));
        assert_eq!(read_file(&path).unwrap(), (0..5).map(record).collect::<Vec<_>>());
    }

    #[test]
    fn a_bad_line_is_named() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("history.jsonl");
        std::fs::write(&path, serde_json::to_string(&record(1)).unwrap() + "\n{}\n").unwrap();
        assert!(read_file(&path).unwrap_err().to_string().contains("line 2"));
        assert!(read_file(&folder.path().join("none")).unwrap_err().to_string().contains("none"));
    }

    #[test]
    fn a_record_stays_small() {
        assert!(size_of::<Record>() <= 64, "{}", size_of::<Record>());
        assert_eq!(fnv1a(b"a"), 0xaf63_dc4c_8601_ec8c);
    }
}
