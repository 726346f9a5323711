//! Asks the schemas of each event on the way in, by whatever input it comes. What does not fit is
//! counted, told in the log now and then, and refused if that is configured. Neither the log nor an
//! answer has anything of the event's data.
//!
//! What it asks by is changed as a whole: by a reload, or when the folder has changed. A reader of
//! an event holds the lock while it checks that event, some microseconds; who changes it waits as
//! long.

use std::sync::{Arc, Mutex, PoisonError, RwLock};
use std::time::{Duration, Instant};

use dispatchd_core::model::{Code, Refusal};
use dispatchd_core::wire::admin::Schemas;
use dispatchd_producer::intake::{Checks, Validator};

use super::loaded::{Loaded, Stamp};
use super::metrics::SchemaMetrics;
use super::{Mode, Settings, Unchecked};

/// How long the log says no more of events that do not fit after it did.
const TOLD_EVERY: Duration = Duration::from_secs(10);

/// Bytes of a type in an answer and in the log.
const TYPE_SHOWN_MAX: usize = 128;

/// The daemon's handle on what events are checked by.
#[derive(Debug)]
pub(crate) struct Gate {
    asked: Arc<Asked>,
    checks: Arc<Checks>,
}

/// What is asked, and what is counted.
#[derive(Debug)]
struct Asked {
    /// `None` until it was set.
    rules: RwLock<Option<Rules>>,
    metrics: SchemaMetrics,
    told: Mutex<LastTold>,
    /// Why the folder was refused when it was last read.
    refused: Mutex<Option<String>>,
}

#[derive(Debug)]
struct Rules {
    settings: Settings,
    loaded: Loaded,
}

/// When the log last said something of an event, and how many did not fit since.
#[derive(Debug, Default)]
struct LastTold {
    last: Option<Instant>,
    since: u64,
}

/// What the intake holds.
#[derive(Debug)]
struct Asking(Arc<Asked>);

impl Gate {
    /// Nothing is checked yet.
    pub(crate) fn new(metrics: SchemaMetrics) -> Self {
        let (rules, told, refused) = (RwLock::default(), Mutex::default(), Mutex::default());
        let asked = Arc::new(Asked { rules, metrics, told, refused });
        let checks = Arc::new(Checks::new(Box::new(Asking(Arc::clone(&asked)))));
        Self { asked, checks }
    }

    /// What the intakes ask.
    pub(crate) fn checks(&self) -> Arc<Checks> {
        Arc::clone(&self.checks)
    }

    /// Checks by these from now on.
    pub(crate) fn set(&self, settings: Settings, loaded: Loaded) {
        let is_on = settings.is_on();
        self.asked.metrics.loaded(Some(loaded.types()));
        let mut rules = self.asked.rules.write().unwrap_or_else(PoisonError::into_inner);
        *rules = Some(Rules { settings, loaded });
        drop(rules);
        self.set_refused(None);
        self.checks.set_on(is_on);
    }

    /// Checks by the folder as it was read again. Returns `false`, and changes nothing, if a reload
    /// has set other settings meanwhile.
    pub(super) fn renew(&self, settings: &Settings, loaded: Loaded) -> bool {
        let types = loaded.types();
        let mut rules = self.asked.rules.write().unwrap_or_else(PoisonError::into_inner);
        match &mut *rules {
            Some(rules) if rules.settings == *settings => rules.loaded = loaded,
            _ => return false,
        }
        drop(rules);
        self.asked.metrics.loaded(Some(types));
        self.set_refused(None);
        true
    }

    /// The folder is read again, and is not taken.
    pub(super) fn refused(&self, why: String) {
        self.asked.metrics.loaded(None);
        self.set_refused(Some(why));
    }

    fn set_refused(&self, why: Option<String>) {
        *self.asked.refused.lock().unwrap_or_else(PoisonError::into_inner) = why;
    }

    /// What is checked by, for an operator; `None` where nothing is.
    pub(crate) fn standing(&self) -> Option<Schemas> {
        let refused = self.asked.refused.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let rules = self.asked.rules.read().unwrap_or_else(PoisonError::into_inner);
        let Rules { settings, loaded } = rules.as_ref().filter(|rules| rules.settings.is_on())?;
        Some(Schemas {
            folder: settings.dir.clone().unwrap_or_default(),
            mode: settings.mode.name().to_owned(),
            types: loaded.types(),
            refused,
        })
    }

    /// What is checked by, and what its folder looked like when it was read.
    pub(super) fn seen(&self) -> Option<(Settings, Option<Stamp>)> {
        let rules = self.asked.rules.read().unwrap_or_else(PoisonError::into_inner);
        rules.as_ref().map(|rules| (rules.settings.clone(), rules.loaded.stamp.clone()))
    }
}

impl Validator for Asking {
    fn event(&self, event_type: &str, data: &str) -> Result<(), Refusal> {
        let rules = self.0.rules.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Rules { settings, loaded }) = &*rules else { return Ok(()) };
        let mode = settings.mode(event_type);
        if mode == Mode::Off {
            return Ok(());
        }
        let Some(schema) = loaded.schema(event_type) else {
            return self.0.without_schema(settings.unknown, mode, event_type);
        };
        match schema.validate(data) {
            Ok(()) => Ok(()),
            Err(violation) => {
                let message = format!("type {}: {violation}", shown(event_type));
                let refusal = Refusal::new(Code::SchemaViolation, message);
                self.0.wrong(mode, Some(event_type), refusal)
            }
        }
    }

    fn record(&self) -> Result<(), Refusal> {
        let rules = self.0.rules.read().unwrap_or_else(PoisonError::into_inner);
        let Some(Rules { settings, .. }) = &*rules else { return Ok(()) };
        if settings.raw == Unchecked::Allow || settings.mode == Mode::Off {
            self.0.metrics.unchecked.increment(1);
            return Ok(());
        }
        const NO_TYPE: &str = "the record says no type, so there is no schema for it, and schema.raw \
                               is reject: send an event";
        let refusal = Refusal::new(Code::NoSchema, NO_TYPE);
        self.0.wrong(settings.mode, None, refusal)
    }
}

impl Asked {
    #[cold]
    fn without_schema(
        &self,
        unknown: Unchecked,
        mode: Mode,
        event_type: &str,
    ) -> Result<(), Refusal> {
        if unknown == Unchecked::Allow {
            self.metrics.unchecked.increment(1);
            return Ok(());
        }
        let message = format!(
            "there is no schema for the type {} in schema.dir, and schema.unknown is reject: add \
             one, or correct the type",
            shown(event_type)
        );
        let refusal = Refusal::new(Code::NoSchema, message);
        self.wrong(mode, Some(event_type), refusal)
    }

    #[cold]
    fn wrong(&self, mode: Mode, event_type: Option<&str>, refusal: Refusal) -> Result<(), Refusal> {
        let is_refused = mode == Mode::Enforce;
        self.metrics.violated(is_refused);
        self.tell(is_refused, event_type, &refusal);
        if is_refused { Err(refusal) } else { Ok(()) }
    }

    /// Tells of one event, if none was told of just now.
    fn tell(&self, is_refused: bool, event_type: Option<&str>, refusal: &Refusal) {
        let mut told = self.told.lock().unwrap_or_else(PoisonError::into_inner);
        told.since += 1;
        let now = Instant::now();
        if told.last.is_some_and(|last| now.duration_since(last) < TOLD_EVERY) {
            return;
        }
        let events = std::mem::take(&mut told.since);
        told.last = Some(now);
        drop(told);
        tracing::warn!(
            event_type = event_type.map(shown),
            code = refusal.code.as_str(),
            refused = is_refused,
            events,
            "an event does not fit its schema: {}",
            refusal.message
        );
    }
}

fn shown(event_type: &str) -> &str {
    &event_type[..event_type.floor_char_boundary(TYPE_SHOWN_MAX)]
}

#[cfg(test)]
mod tests {
    use super::*;
    use dispatchd_schema::catalog::Catalog;

    fn settings(mode: Mode, unchecked: Unchecked, types: &[(&str, Mode)]) -> Settings {
        let types = types.iter().map(|(name, mode)| ((*name).into(), *mode)).collect();
        let dir = Some("/schemas".into());
        Settings { dir, mode, unknown: unchecked, raw: unchecked, types }
    }

    fn asking(settings: Settings) -> Asking {
        let mut catalog = Catalog::default();
        let schema = br#"{"properties": {"id": {"type": "integer"}}}"#;
        catalog.add("Order.schema.json", schema).expect("it is a schema");
        let gate = Gate::new(SchemaMetrics::register());
        gate.set(settings, Loaded { catalog, stamp: None });
        Asking(Arc::clone(&gate.asked))
    }

    /// The codes of an event that does not fit, one of an unknown type, and a raw record.
    fn codes(settings: Settings) -> [Option<Code>; 3] {
        let asking = asking(settings);
        assert_eq!(asking.event("Order", r#"{"id": 1}"#), Ok(()), "it fits");
        let wrong = [
            asking.event("Order", r#"{"id": "secret"}"#),
            asking.event("Other", "{}"),
            asking.record(),
        ];
        wrong.map(|result| {
            let refusal = result.err()?;
            assert!(!refusal.message.contains("secret"), "{refusal:?}");
            Some(refusal.code)
        })
    }

    #[test]
    fn what_becomes_of_an_event_is_as_configured() {
        use Unchecked::{Allow, Reject};
        let (violation, no_schema) = (Some(Code::SchemaViolation), Some(Code::NoSchema));
        for (mode, unchecked, types, expected) in [
            (Mode::Off, Reject, &[][..], [None; 3]),
            (Mode::Warn, Reject, &[], [None; 3]),
            (Mode::Enforce, Allow, &[], [violation, None, None]),
            (Mode::Enforce, Reject, &[], [violation, no_schema, no_schema]),
            (Mode::Enforce, Reject, &[("Order", Mode::Warn)], [None, no_schema, no_schema]),
            (Mode::Off, Reject, &[("Order", Mode::Enforce)], [violation, None, None]),
        ] {
            assert_eq!(codes(settings(mode, unchecked, types)), expected, "{mode:?} {types:?}");
        }
    }

    #[test]
    fn an_operator_sees_what_is_checked_by_and_why_the_folder_was_refused() {
        let gate = Gate::new(SchemaMetrics::register());
        assert_eq!(gate.standing(), None, "nothing is set yet");
        let enforced = settings(Mode::Enforce, Unchecked::Allow, &[]);
        gate.set(enforced.clone(), Loaded::default());
        gate.refused("A.schema.json: why".to_owned());
        let standing = gate.standing().expect("it is on");
        assert_eq!((&*standing.mode, standing.types), ("enforce", 0));
        assert_eq!(standing.refused.as_deref(), Some("A.schema.json: why"));
        gate.set(enforced, Loaded::default());
        assert_eq!(gate.standing().expect("it is on").refused, None, "it was mended");
        gate.set(settings(Mode::Off, Unchecked::Allow, &[]), Loaded::default());
        assert_eq!(gate.standing(), None);
    }

    /// What could go wrong: a folder that takes long to read brings back what a reload changed.
    #[test]
    fn a_folder_that_was_read_for_other_settings_is_not_taken_over() {
        let gate = Gate::new(SchemaMetrics::register());
        let before = settings(Mode::Enforce, Unchecked::Allow, &[]);
        gate.set(before.clone(), Loaded::default());
        assert!(gate.renew(&before, Loaded::default()), "nothing changed meanwhile");
        gate.set(settings(Mode::Warn, Unchecked::Allow, &[]), Loaded::default());
        assert!(!gate.renew(&before, Loaded::default()));
        assert_eq!(gate.standing().expect("it is on").mode, "warn");
    }

    #[test]
    fn the_log_says_a_little_of_many_events() {
        let asking = asking(settings(Mode::Enforce, Unchecked::Allow, &[]));
        for _ in 0..1000 {
            asking.event("Order", r#"{"id": ""}"#).expect_err("it does not fit");
        }
        let told = asking.0.told.lock().expect("nobody died");
        assert_eq!(told.since, 999, "one was told, the others are in the next line's count");
    }
}
