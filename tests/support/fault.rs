//! A proxy that speaks the Kinesis API in front of an emulator and does to PutRecords what AWS does on a bad day.
//!
//! - [`plan`]: what goes wrong: ratios from a seed, standing limits, one-shot faults. Pure.
//! - [`ledger`]: what was really stored, and what was done to each request.
//! - [`proxy`]: one request's way through, and everything with an effect.
//! - [`shards`]: which shard a record will land in and whether it has room. Pure.
//! - [`wire`]: PutRecords as bytes. Pure.
//!
//! Every operation passes through; faults are for PutRecords alone (but see [`Plan::denied`]). It never invents a record
//! that the upstream does not have, and never hides from the ledger one that it has. A client that leaves does not call
//! back what is on its way: like AWS, the proxy stores what it has received, unless the plan says otherwise.
//! It reads AWS JSON only and refuses a PutRecords in CBOR aloud: passed through, its faults would silently not happen.

pub mod ledger;
pub mod plan;
mod proxy;
mod shards;
mod wire;

use std::net::SocketAddr;
use std::sync::Arc;

use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::TcpListener;

use ledger::Ledger;
use plan::{Fault, Plan};
use proxy::Proxy;

/// The handle. Dropped, it ends every task and connection of the proxy.
pub struct FaultServer {
    address: SocketAddr,
    proxy: Arc<Proxy>,
}

impl FaultServer {
    /// A proxy that lets everything pass until it is told otherwise. `upstream` is an emulator's endpoint.
    pub async fn start(upstream: &str, seed: u64) -> FaultServer {
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a loopback port is free");
        let address = listener.local_addr().expect("a bound listener has an address");
        let proxy = Arc::new(Proxy::new(upstream, seed));
        proxy.tasks.spawn(accept(listener, proxy.clone()));
        FaultServer { address, proxy }
    }

    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// From the next request on.
    pub fn set(&self, plan: Plan) {
        plan.check();
        self.proxy.steering().plan = plan;
    }

    pub fn plan(&self) -> Plan {
        self.proxy.steering().plan.clone()
    }

    /// What happens to the next PutRecords that no earlier call has spoken for.
    pub fn next(&self, fault: Fault) {
        self.proxy.steering().script.push_back(fault);
    }

    /// How many one-shot faults still wait for their request.
    pub fn scripted(&self) -> usize {
        self.proxy.steering().script.len()
    }

    /// Lets every request that hangs now go on: to the upstream, or back to its client.
    pub fn release(&self) {
        self.proxy.releases.send_replace(());
    }

    pub fn ledger(&self) -> Ledger {
        self.proxy.ledger.clone()
    }
}

impl Drop for FaultServer {
    fn drop(&mut self) {
        self.proxy.tasks.abort();
    }
}

async fn accept(listener: TcpListener, proxy: Arc<Proxy>) {
    loop {
        let (stream, _) = listener.accept().await.expect("a loopback listener accepts");
        stream.set_nodelay(true).expect("a fresh connection takes options");
        let served = proxy.clone();
        let service = service_fn(move |request| served.clone().serve(request));
        proxy.tasks.spawn(async move {
            // Ends in an error when the plan or the client breaks the connection; neither is news.
            let _ = http1::Builder::new().serve_connection(TokioIo::new(stream), service).await;
        });
    }
}
