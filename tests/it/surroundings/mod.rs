//! The servers that the other tests rest on.

mod emulators;
mod fault_records;
mod faults;
