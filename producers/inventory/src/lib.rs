//! inventory-api
