//! The machine against real Postgres and Kafka, with a toy for a service.

mod away;
mod interleavings;
mod members;
mod pauses;
mod positions;
mod redrive;
mod road;
mod seeks;
mod toy;
