//! Schemas of events: made from samples that the owner of a type keeps, compared with those that
//! were there before, written for other tools, and checked against each event on the way in.
//!
//! Pure: texts come in as arguments, texts and values go out. It reads no file, asks no network (a
//! `$ref` to another document is refused, never fetched) and knows nothing of the daemon.
//!
//! # Words
//! | word | meaning |
//! |---|---|
//! | type | the name of a kind of event, as events say it |
//! | sample | one value of an event's `data`, as its owner writes it down |
//! | shape | what all samples of a type have in common: the sum from which a schema is written |
//! | schema | JSON Schema 2020-12, of `data` alone |
//! | patch | what a person adds to a schema that is made from samples (JSON Merge Patch, RFC 7396) |
//! | folder | the files of all types, by their names |
//! | catalog | the compiled schemas of all types: what the way in asks |
//! | discovery | shapes made from events as they pass, and the files that come of them |
//! | violation | why a value does not fit: where, by which keyword, what was expected; never the value |
//! | gap | what one schema admits and another does not: the reason that a change breaks somebody |
//!
//! # Rooms
//! | room | subject |
//! |---|---|
//! | `bounds` | how large anything may be |
//! | `name` | a type as the name of a file |
//! | `format` | what a date-time, date, uuid, uri or email is |
//! | `shape` | samples → shape → schema |
//! | `patch`, `text`, `diff` | a patch applied; the one way a schema is written as text; the lines in which two texts differ |
//! | `compiled` | a schema that was loaded, and values checked against it |
//! | `folder`, `catalog` | files → types; types → what the way in asks |
//! | `discover` | events of a stream → schemas, as they come |
//! | `compat` | two schemas compared |
//! | `check` | what CI asks of a folder |
//! | `export`, `docs`, `envelope` | schemas for other tools and for people |

pub mod bounds;
pub mod catalog;
pub mod check;
pub mod compat;
pub mod compiled;
mod diff;
pub mod discover;
pub mod docs;
pub mod envelope;
pub mod export;
pub mod folder;
pub mod format;
pub mod name;
pub mod patch;
pub mod shape;
pub mod text;
