//! The Kinesis API as a server speaks it: what an SDK asks, and what it is answered, in both of the
//! formats that SDKs send (JSON 1.1, and CBOR).
//!
//! Pure: bytes become words and words become bytes. Nothing here listens, waits, or knows what
//! becomes of a record.
//!
//! # Formats
//! - A call is `POST`, its operation stands in `x-amz-target`, its format in `content-type`. The
//!   members are the same in both; `Data` is base64 in JSON and bytes in CBOR. Their order is free.
//! - An error's name stands bare and the same in the header `x-amzn-ErrorType` and in `__type`, in
//!   the format of the call: anything else is lost on some SDK.
//!
//! | room | what it is about |
//! |---|---|
//! | `put` | a PutRecord or PutRecords call → records, every member of it checked |
//! | `members` | the members of such a call as they were read; `json` and `cbor` read them |
//! | `describe` | a call that only asks, on its way to the service and back |
//! | `reply` | positions and errors → the body of a reply |
//! | `served` | which stream a call may be about |
//! | `error` | errors by name and status, and which one a refusal is |
//! | `operation`, `format` | what a call's headers say |

mod cbor;
pub mod describe;
pub mod error;
pub mod format;
mod json;
mod members;
pub mod operation;
pub mod put;
pub mod reply;
pub mod served;
