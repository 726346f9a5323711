//! What is shipped beside the daemon is what its pages say: the image, the manifests and units of
//! `deploy/`, the policy that `iam` prints, the alerts and the dashboard.

mod deploy;
mod forward;
mod iam;
mod image;
mod prometheus;

use testkit::daemon::Binary;

const DISPATCHD: Binary = Binary::at(env!("CARGO_BIN_EXE_dispatchd"));
