//! What an application sees.

mod hostile;
mod tasks;
mod wire;
