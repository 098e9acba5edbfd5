//! The SQL of the webhooks: what is to be told, to whom, and what came of it.

mod claim;
mod take;
mod verdict;

pub(crate) use claim::{Due, Standing, claim};
pub(crate) use take::Store;
pub(crate) use verdict::{Failure, disable_overfull, failed, forget, heard};
