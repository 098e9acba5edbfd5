//! orders-api
