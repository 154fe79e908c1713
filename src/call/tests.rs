//! Tests of the call core: one file a subject, on one harness.

mod admission;
mod announcing;
mod answer;
mod early;
mod exchange;
mod harness;
mod meter;
mod property;
mod routing;
mod setup;
mod vouching;
