//! catalog-api
