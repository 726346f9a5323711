//! The task that looks at the folder of schemas now and then, since nobody tells the daemon of a
//! ConfigMap's swap. What is wrong with a new folder is told once, and the old schemas hold.

use std::sync::Arc;
use std::time::Duration;

use super::Settings;
use super::gate::Gate;
use super::loaded::{Loaded, Stamp};

/// How often the folder is looked at.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// Looks until it is cancelled. A look is a few system calls for each file, on a thread of its own.
pub(crate) async fn watch_folder(gate: Arc<Gate>) {
    let mut refused = None;
    loop {
        tokio::time::sleep(LOOK_EVERY).await;
        let gate = Arc::clone(&gate);
        let before = refused.take();
        // A thread that died has told of itself, and a folder that hangs holds up nothing else.
        refused = tokio::task::spawn_blocking(move || look(&gate, before)).await.unwrap_or(None);
    }
}

/// Takes the folder over if it changed. `refused`: what it looked like when it was last refused;
/// returns the same for the next look.
fn look(gate: &Gate, refused: Option<Stamp>) -> Option<Stamp> {
    let (settings, seen) = gate.seen()?;
    let folder = settings.dir.as_deref().filter(|_| settings.is_on())?;
    let found = match Stamp::of(folder) {
        Ok(found) => found,
        Err(error) => {
            if seen.is_some() && refused.is_none() {
                tell(gate, &settings, &error);
            }
            return refused.or(seen);
        }
    };
    // What was mended by going back is read again: it is told, and shown, that all is right.
    if refused.is_none() && seen.as_ref() == Some(&found) {
        return None;
    }
    if refused.as_ref() == Some(&found) {
        return refused;
    }
    match Loaded::read(&settings) {
        Ok(loaded) => {
            let types = loaded.types();
            if gate.renew(&settings, loaded) {
                tracing::info!(types, "the folder of schemas changed, and is taken over");
            }
            None
        }
        Err(error) => {
            tell(gate, &settings, &error);
            Some(found)
        }
    }
}

fn tell(gate: &Gate, settings: &Settings, error: &dyn std::fmt::Display) {
    gate.refused(error.to_string());
    let folder = settings.dir.as_deref().unwrap_or_else(|| "".as_ref());
    tracing::error!(
        %error,
        folder = %folder.display(),
        "the folder of schemas changed and is refused, the old schemas hold: mend it"
    );
}
