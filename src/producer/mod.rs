//! The thin shells around the engine of the way in: tasks with a clock, without decisions.

pub(crate) mod direct;
pub(crate) mod lane;
pub mod refresher;
pub(crate) mod stream_metrics;

use std::sync::{Arc, Mutex};
use std::time::Instant;

use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use self::lane::{LaneTask, QUESTIONS_MAX, Question};
use self::refresher::StreamHandle;
use dispatchd_producer::budget::Budget;
use dispatchd_producer::lane::dedupe::{Dedupe, Window};
use dispatchd_producer::lane::metrics::{LaneMetrics, OldestEvent};
use dispatchd_producer::lane::outage::Outage;
use dispatchd_producer::lane::{INBOX_GROUPS, Lane, LaneShared, Lanes, Settings as LaneSettings};
use dispatchd_producer::recent_errors::RecentErrors;

/// What the lanes of a daemon decide by.
#[derive(Debug, Clone, Copy)]
pub struct Settings {
    /// How many lanes there are.
    pub lanes_count: usize,
    /// Changed by a reload.
    pub lane: LaneSettings,
    /// Which ids that callers chose are remembered.
    pub dedupe: Window,
}

/// What the lanes share with the rest of the daemon.
#[derive(Debug)]
pub struct Shared {
    pub metrics: LaneMetrics,
    pub budget: Arc<Budget>,
    pub recent_errors: Arc<RecentErrors>,
    /// The stop began: nothing lingers any more.
    pub drain: CancellationToken,
    /// The deadline has come: whatever is left is answered now.
    pub abandon: CancellationToken,
}

/// The daemon's side of the lanes.
#[derive(Debug)]
pub struct LanesHandle {
    /// The way in.
    pub inboxes: Lanes,
    /// What the lanes decide by from now on.
    pub settings: watch::Sender<LaneSettings>,
    /// Where each lane is asked how it stands.
    pub questions: Vec<mpsc::Sender<Question>>,
    /// What each lane's oldest event is.
    pub oldest: Vec<Arc<OldestEvent>>,
    pub outage: Arc<Outage>,
}

/// Lanes that send to `service`, and are not running yet.
pub fn lanes<S>(
    settings: Settings,
    service: S,
    stream: &StreamHandle,
    shared: Shared,
) -> (Vec<LaneTask<S>>, LanesHandle) {
    let Shared { metrics, budget, recent_errors, drain, abandon } = shared;
    let (lane_settings_in, lane_settings) = watch::channel(settings.lane);
    let lane_shared = LaneShared {
        dedupe: Arc::new(Mutex::new(Dedupe::new(settings.dedupe))),
        metrics: Arc::new(metrics),
        budget,
        outage: Arc::default(),
    };
    let (service, epoch) = (Arc::new(service), Instant::now());
    let (mut inboxes, mut questions_in, mut ages) = (Vec::new(), Vec::new(), Vec::new());
    let lane = |_| {
        let (inbox_in, inbox) = mpsc::channel(INBOX_GROUPS);
        let (question_in, questions) = mpsc::channel(QUESTIONS_MAX);
        let oldest = OldestEvent::new(epoch);
        inboxes.push(inbox_in);
        questions_in.push(question_in);
        ages.push(Arc::clone(&oldest));
        LaneTask {
            lane: Lane::new(settings.lane, lane_shared.clone(), oldest),
            service: Arc::clone(&service),
            rng: rand::make_rng(),
            flights: JoinSet::new(),
            inbox,
            inbox_is_open: true,
            groups: Vec::new(),
            settings: lane_settings.clone(),
            facts: stream.facts.clone(),
            questions,
            refresh_requested: Arc::clone(&stream.refresh_requested),
            recent_errors: Arc::clone(&recent_errors),
            drain: drain.clone(),
            abandon: abandon.clone(),
        }
    };
    let lanes = (0..settings.lanes_count).map(lane).collect();
    let handle = LanesHandle {
        inboxes: Lanes::new(inboxes),
        settings: lane_settings_in,
        questions: questions_in,
        oldest: ages,
        outage: lane_shared.outage,
    };
    (lanes, handle)
}
