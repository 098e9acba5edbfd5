//! How many files and connections the process may have open: as many as it is allowed. Most shells and services grant
//! 1,024 and allow far more, and a gateway out of descriptors cannot reach its own Kafka, Postgres and Redis either.

use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
use std::io;

/// Raises the soft limit to the hard one, and returns it; `None` for no limit.
///
/// # Errors
/// When the system refuses.
pub fn raise() -> io::Result<Option<u64>> {
    let maximum = getrlimit(Resource::Nofile).maximum;
    setrlimit(Resource::Nofile, Rlimit { current: maximum, maximum })?;
    Ok(maximum)
}
