//! The machine against real Postgres and Kafka, with a toy for a service.

mod interleavings;
mod redrive;
mod road;
mod seeks;
mod toy;
