//! What an event is checked by besides what the intake demands of every one: the schema of its
//! type, say. The intake knows no schema: who does is a [`Validator`], which is asked of each event
//! before it is accepted or staged, and may refuse it.

use std::fmt;
use std::sync::atomic::{AtomicBool, Ordering};

use dispatchd_core::model::Refusal;

use super::request::{Content, EventRequest};

/// Who knows what an event must be. It is asked once of each event, and waits for nothing.
pub trait Validator: fmt::Debug + Send + Sync {
    /// An event with its type and its data, which is JSON.
    ///
    /// # Errors
    /// If it is not to enter.
    fn event(&self, event_type: &str, data: &str) -> Result<(), Refusal>;

    /// A record that says no type.
    ///
    /// # Errors
    /// If it is not to enter.
    fn record(&self) -> Result<(), Refusal>;
}

/// A validator, and whether it is asked. Where it is not, an event pays for looking at that.
#[derive(Debug)]
pub struct Checks {
    is_on: AtomicBool,
    validator: Box<dyn Validator>,
}

/// Takes every event.
#[derive(Debug)]
struct Everything;

impl Validator for Everything {
    fn event(&self, _: &str, _: &str) -> Result<(), Refusal> {
        Ok(())
    }

    fn record(&self) -> Result<(), Refusal> {
        Ok(())
    }
}

impl Default for Checks {
    /// Checks that demand nothing of an event.
    fn default() -> Self {
        Self::new(Box::new(Everything))
    }
}

impl Checks {
    /// Checks by this validator, which is not asked before `set_on`.
    pub fn new(validator: Box<dyn Validator>) -> Self {
        Self { is_on: AtomicBool::new(false), validator }
    }

    /// Has the validator asked from now on, or not.
    pub fn set_on(&self, is_on: bool) {
        self.is_on.store(is_on, Ordering::Relaxed); // no other value is read by it
    }

    /// Asks the validator whether it takes a request, if it is to be asked.
    #[inline]
    pub(super) fn check(&self, request: &EventRequest<'_>) -> Result<(), Refusal> {
        if self.is_on.load(Ordering::Relaxed) { self.ask(request) } else { Ok(()) }
    }

    #[cold]
    fn ask(&self, request: &EventRequest<'_>) -> Result<(), Refusal> {
        match (&request.content, request.says) {
            (Content::Event(event), _) => self.validator.event(&event.event_type, event.data),
            (_, Some((event_type, data))) => self.validator.event(event_type, data),
            (Content::Raw(_) | Content::Record(_), None) => self.validator.record(),
        }
    }
}
