//! payments-worker
