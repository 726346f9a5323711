//! The thin shells around the engine of the way in: tasks with a clock, without decisions.

pub mod lane;
pub mod refresher;
