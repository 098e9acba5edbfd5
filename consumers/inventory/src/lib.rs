//! inventory-worker
