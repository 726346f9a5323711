//! Who takes over what a reload changes of a running daemon: the lanes get their settings, the gate
//! its schemas, and what is known of the stream is asked for again.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;

use crate::config::Config;
use crate::programs::control::Taker;
use crate::schema::{Gate, Loaded};
use dispatchd_producer::lane::Settings as LaneSettings;

/// The ways to the lanes, to the refresher of the shard map, and to the gate.
#[derive(Debug)]
pub(super) struct LanesAndStream {
    pub lane_settings: watch::Sender<LaneSettings>,
    /// Has what is known of the stream asked again.
    pub reloads: watch::Sender<()>,
    /// Whether events wait for others to share their request, if that is configured; not while the
    /// daemon drains.
    pub lingers: bool,
    pub gate: Arc<Gate>,
}

impl LanesAndStream {
    /// Lets events be sent at once from now on.
    pub(super) fn stop_lingering(&mut self, running: &Config) {
        self.lingers = false;
        self.lane_settings.send_replace(self.settings(running));
    }

    fn settings(&self, Config { batch, delivery, .. }: &Config) -> LaneSettings {
        let settings = LaneSettings::of(batch, delivery);
        LaneSettings {
            linger: if self.lingers { settings.linger } else { Duration::ZERO },
            ..settings
        }
    }
}

impl Taker for LanesAndStream {
    /// The schemas that it names.
    type Files = Loaded;

    fn read(read: &Config) -> Result<Loaded, String> {
        Loaded::read(&read.schema).map_err(|error| format!("schema.dir: {error}"))
    }

    fn check(&mut self, _: &Config) -> Result<(), String> {
        Ok(())
    }

    fn take_over(&mut self, running: &Config, schemas: Loaded) {
        self.gate.set(running.schema.clone(), schemas);
        self.reloads.send_replace(());
        // They are told even if nothing changed: lanes that are blocked try the stream then.
        self.lane_settings.send_replace(self.settings(running));
    }
}
