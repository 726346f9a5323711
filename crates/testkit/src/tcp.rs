//! A network that can be bad: a TCP proxy that delays, stalls, swallows, resets and refuses, as it
//! is told while it runs.
//!
//! It stands where netem would, which not every kernel has. It knows bytes, not requests: what it
//! cuts, it cuts anywhere. So TLS passes through it as it is. It never reorders or alters a byte.
//! What it took before a stall it passes on after it, even if the sender is gone by then, as a
//! network does. Seeded: a connection's fate depends on the seed, its number and the weather's
//! number.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use tokio::io::{AsyncReadExt, AsyncWriteExt, copy, sink};
use tokio::net::tcp::{ReadHalf, WriteHalf};
use tokio::net::{TcpListener, TcpSocket, TcpStream};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep_until};

use super::tasks::Tasks;

/// Bytes read at once, and chunks that may be on their way in one direction: half a MiB, as a
/// socket buffer would hold.
const CHUNK_BYTES: usize = 16 * 1024;
const CHUNKS_MAX: usize = 32;

/// What the network is like. `Weather::default()` passes everything on at once. It holds for
/// connections that are open as well as for new ones, from its setting on.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Weather {
    /// From the client to the server.
    pub delay_up: Duration,
    /// And back.
    pub delay_down: Duration,
    /// Bytes are accepted and stay in the proxy until the stall ends.
    pub stalled: bool,
    /// Bytes are accepted and vanish. Half-open for good: a connection that lost a byte passes no
    /// later one.
    pub swallowing: bool,
    /// Nobody listens: a new connection is refused by the kernel.
    pub refusing: bool,
    /// The part of each connection's directions that is reset, after up to `reset_after_bytes` more
    /// bytes.
    pub reset_ratio: f64,
    pub reset_after_bytes: u64,
}

/// What was done so far.
#[derive(Debug, Default)]
struct Deeds {
    connections: AtomicUsize,
    /// Of them, those that neither side has left.
    open: AtomicUsize,
    /// Connections whose number is below it are silent.
    silenced: AtomicUsize,
    resets: AtomicUsize,
    swallowed: AtomicUsize,
}

/// The handle. Dropped, it ends every task and connection of the proxy.
pub struct TcpProxy {
    endpoint: String,
    /// With its number: setting the same weather again draws new fates.
    weather: watch::Sender<(u64, Weather)>,
    ends: watch::Sender<End>,
    deeds: Arc<Deeds>,
    tasks: Tasks,
    /// Bound and never listening: keeps the port ours while connections are refused.
    _reservation: TcpSocket,
}

/// What a connection needs of the proxy.
#[derive(Clone)]
struct Surroundings {
    upstream: String,
    seed: u64,
    weather: watch::Receiver<(u64, Weather)>,
    ends: watch::Receiver<End>,
    deeds: Arc<Deeds>,
}

/// How connections that are open end by plan.
#[derive(Clone, Copy, Debug, Default)]
enum End {
    #[default]
    Reset,
    Closed,
}

/// Why a direction ended before its end.
enum Broken {
    /// By one of the two sides.
    Lost,
    Planned(End),
}

/// One direction of a connection under changing weather.
struct Way {
    /// The connection's.
    number: usize,
    rng: StdRng,
    weather: watch::Receiver<(u64, Weather)>,
    is_up: bool,
    deeds: Arc<Deeds>,
    /// Bytes that still pass before the reset, if there is one.
    doom: Option<u64>,
    /// The number of the weather that `doom` was drawn for.
    drawn_for: Option<u64>,
    /// It has lost a byte, and passes no later one.
    swallowed: bool,
}

impl TcpProxy {
    /// A proxy in fair weather. `upstream` is a server's endpoint; so is what the proxy has, with
    /// the same scheme.
    pub fn start(upstream: &str, seed: u64) -> TcpProxy {
        TcpProxy::start_at(SocketAddr::from(([127, 0, 0, 1], 0)), upstream, seed)
    }

    /// The same at this address, any port of it if that is 0.
    pub fn start_at(address: SocketAddr, upstream: &str, seed: u64) -> TcpProxy {
        let (scheme, upstream) = upstream.split_once("://").expect("an endpoint is a URL");
        let reservation = reusable(address);
        let address = reservation.local_addr().expect("a bound socket has an address");
        let listener = listen(address);
        let (weather, ends, tasks) =
            (watch::Sender::default(), watch::Sender::default(), Tasks::default());
        let surroundings = Surroundings {
            upstream: upstream.to_owned(),
            seed,
            weather: weather.subscribe(),
            ends: ends.subscribe(),
            deeds: Arc::default(),
        };
        let deeds = Arc::clone(&surroundings.deeds);
        tasks.spawn(accept(listener, address, surroundings, tasks.clone()));
        let endpoint = format!("{scheme}://{address}");
        TcpProxy { endpoint, weather, ends, deeds, tasks, _reservation: reservation }
    }

    pub fn endpoint(&self) -> String {
        self.endpoint.clone()
    }

    pub fn set(&self, weather: Weather) {
        let valid = (0.0..=1.0).contains(&weather.reset_ratio);
        assert!(valid, "a ratio lies between 0 and 1: {weather:?}");
        self.weather.send_modify(|(number, now)| {
            *number += 1;
            *now = weather;
        });
    }

    /// Resets every open connection now: RST, both ways.
    pub fn reset(&self) {
        self.ends.send_replace(End::Reset);
    }

    /// Ends every open connection now, as a server does whose connections have idled long enough:
    /// FIN. What a client writes from then on reaches nobody, and is answered with RST.
    pub fn close(&self) {
        self.ends.send_replace(End::Closed);
    }

    /// Every connection that is open now is silent for good: its bytes are acknowledged and vanish,
    /// no end of it passes. New connections work.
    pub fn silence(&self) {
        self.deeds.silenced.store(self.connections(), Ordering::Relaxed);
    }

    /// Connections that the client has not left.
    pub fn open(&self) -> usize {
        self.deeds.open.load(Ordering::Relaxed)
    }

    /// Connections accepted so far.
    pub fn connections(&self) -> usize {
        self.deeds.connections.load(Ordering::Relaxed)
    }

    /// Connections reset by plan so far.
    pub fn resets(&self) -> usize {
        self.deeds.resets.load(Ordering::Relaxed)
    }

    /// Directions that lost bytes so far.
    pub fn swallowed(&self) -> usize {
        self.deeds.swallowed.load(Ordering::Relaxed)
    }
}

impl Drop for TcpProxy {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

fn reusable(address: SocketAddr) -> TcpSocket {
    let socket = TcpSocket::new_v4().expect("the system gives a socket");
    socket.set_reuseaddr(true).expect("a fresh socket takes options");
    socket.bind(address).expect("the port is free, or reserved by ourselves");
    socket
}

fn listen(address: SocketAddr) -> TcpListener {
    reusable(address).listen(1024).expect("nobody else listens on a reserved port")
}

async fn accept(
    listener: TcpListener,
    address: SocketAddr,
    surroundings: Surroundings,
    tasks: Tasks,
) {
    let mut listener = Some(listener);
    let mut weather = surroundings.weather.clone();
    for number in 0.. {
        let client = loop {
            let refusing = weather.borrow_and_update().1.refusing;
            listener = (!refusing).then(|| listener.take().unwrap_or_else(|| listen(address)));
            tokio::select! {
                changed = weather.changed() => if changed.is_err() { return }, // the handle is gone
                client = next(listener.as_ref()) => break client,
            }
        };
        surroundings.deeds.connections.fetch_add(1, Ordering::Relaxed);
        surroundings.deeds.open.fetch_add(1, Ordering::Relaxed);
        let mut surroundings = surroundings.clone();
        surroundings.ends.mark_unchanged();
        let (deeds, served) =
            (Arc::clone(&surroundings.deeds), serve(client, number, surroundings));
        tasks.spawn(async move {
            served.await;
            deeds.open.fetch_sub(1, Ordering::Relaxed);
        });
    }
}

async fn next(listener: Option<&TcpListener>) -> TcpStream {
    match listener {
        Some(listener) => listener.accept().await.expect("a loopback listener accepts").0,
        None => std::future::pending().await,
    }
}

async fn serve(mut client: TcpStream, number: usize, surroundings: Surroundings) {
    let Surroundings { upstream, seed, weather, mut ends, deeds } = surroundings;
    // A server that is not there looks like a connection that is closed at once.
    let Ok(mut server) = TcpStream::connect(upstream).await else { return };
    for stream in [&client, &server] {
        stream.set_nodelay(true).expect("a fresh connection takes options");
    }
    let way = |is_up| Way {
        number,
        rng: StdRng::seed_from_u64(
            seed.rotate_left(32) ^ ((number as u64) << 1) ^ u64::from(is_up),
        ),
        weather: weather.clone(),
        is_up,
        deeds: Arc::clone(&deeds),
        doom: None,
        drawn_for: None,
        swallowed: false,
    };
    let ended = {
        let ((from_client, to_client), (from_server, to_server)) = (client.split(), server.split());
        let both = async {
            tokio::try_join!(
                way(true).pass(from_client, to_server),
                way(false).pass(from_server, to_client)
            )
        };
        tokio::select! {
            biased; // an end that was ordered before a byte came is there before it
            _ = ends.changed() => Err(Broken::Planned(*ends.borrow())),
            ended = both => ended.map(drop),
        }
    };
    let Err(broken) = ended else { return };
    if let Broken::Planned(End::Reset) = broken {
        deeds.resets.fetch_add(1, Ordering::Relaxed);
    }
    if let Broken::Planned(End::Closed) = broken {
        drop(server);
        // The client's end answers ours; anything else is met by nobody.
        if client.shutdown().await.is_ok() && matches!(client.read(&mut [0]).await, Ok(0)) {
            return;
        }
        let _ = client.set_zero_linger();
        return;
    }
    if deeds.is_silent(number) {
        let _ = copy(&mut client, &mut sink()).await; // until the client gives it up
        return;
    }
    // What broke on one side is felt as a reset on the other: RST instead of FIN when the streams
    // are dropped.
    for stream in [&client, &server] {
        let _ = stream.set_zero_linger(); // fails on a side that is gone already
    }
}

impl Deeds {
    fn is_silent(&self, number: usize) -> bool {
        number < self.silenced.load(Ordering::Relaxed)
    }
}

impl Way {
    /// Moves bytes until the sender's end, which it passes on too.
    async fn pass(mut self, mut from: ReadHalf<'_>, mut to: WriteHalf<'_>) -> Result<(), Broken> {
        let (queue, mut queued) = mpsc::channel::<(Instant, Bytes)>(CHUNKS_MAX);
        let weather = self.weather.clone();
        let is_up = self.is_up;
        let reading = async move {
            loop {
                let mut chunk = BytesMut::with_capacity(CHUNK_BYTES);
                if from.read_buf(&mut chunk).await.map_err(|_| Broken::Lost)? == 0 {
                    return Ok(()); // and the queue ends behind what is in it
                }
                let delay =
                    if is_up { weather.borrow().1.delay_up } else { weather.borrow().1.delay_down };
                if queue.send((Instant::now() + delay, chunk.freeze())).await.is_err() {
                    return Ok(()); // the writing side has ended, and says why
                }
            }
        };
        let writing = async move {
            while let Some((due, chunk)) = queued.recv().await {
                sleep_until(due).await;
                self.write(chunk, &mut to).await?;
            }
            if !self.swallowed && !self.deeds.is_silent(self.number) {
                let _ = to.shutdown().await; // a receiver that is gone needs no end
            }
            Ok(())
        };
        tokio::try_join!(reading, writing).map(drop)
    }

    async fn write(&mut self, chunk: Bytes, to: &mut WriteHalf<'_>) -> Result<(), Broken> {
        let weather = self.weather.wait_for(|(_, weather)| !weather.stalled).await;
        let (number, weather) = weather.map_err(|_| Broken::Lost)?.clone();
        if self.drawn_for != Some(number) {
            self.drawn_for = Some(number);
            let after = self.rng.random_range(0..=weather.reset_after_bytes);
            self.doom = self.rng.random_bool(weather.reset_ratio).then_some(after);
        }
        let swallows = weather.swallowing || self.deeds.is_silent(self.number);
        if swallows && !self.swallowed {
            self.swallowed = true;
            self.deeds.swallowed.fetch_add(1, Ordering::Relaxed);
        }
        if self.swallowed {
            return Ok(());
        }
        let passed = self.doom.map_or(chunk.len(), |left| {
            chunk.len().min(usize::try_from(left).unwrap_or(usize::MAX))
        });
        to.write_all(&chunk[..passed]).await.map_err(|_| Broken::Lost)?;
        match &mut self.doom {
            Some(_) if passed < chunk.len() => Err(Broken::Planned(End::Reset)),
            Some(left) => {
                *left -= passed as u64;
                Ok(())
            }
            None => Ok(()),
        }
    }
}
