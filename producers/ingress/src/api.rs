//! What is told of the calls of a surface ([`crate::surface`]), and the OpenAPI document that is made of it. Each call
//! brings its own words ([`About`]) with it to the surface; who may make it is told by its rule.

mod about;
mod document;
pub mod example;
pub mod headers;
pub mod shape;

pub use about::{About, Answer};
pub use document::{BEARER, open_api};
