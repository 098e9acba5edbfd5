//! status-worker
