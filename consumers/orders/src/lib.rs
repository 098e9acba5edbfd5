//! orders-worker
