//! From values that hold to the configuration as used. It cannot fail: a key that is asked for as
//! another kind than its rule gives is a slip in this crate, and any test that resolves a
//! configuration finds it.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::LogFormat;
use super::rule::Value;
use super::{
    Admin, Batch, Config, Delivery, Local, Log, Memory, Runtime, Shutdown, Socket, Stream,
};
use dispatchd_aws::{SdkEnv, Wire};
use dispatchd_core::model::{StreamArn, StreamId};
use dispatchd_producer::settings::{Aggregation, KeyOrder};

/// A value for every key of the table.
pub(super) struct Values(pub HashMap<&'static str, Value>);

impl Values {
    /// `cgroup_bytes`: the memory limit that the machine sets.
    pub(super) fn config(
        &self,
        local: bool,
        cgroup_bytes: Option<usize>,
        sdk_env: SdkEnv,
    ) -> Config {
        Config {
            producer_id: self.text("producer_id"),
            stream: Stream {
                id: self.stream_id(local),
                region: self.text_if_set("stream.region"),
                endpoint_url: self.text_if_set("stream.endpoint_url"),
                allow_http: self.switch("stream.allow_http"),
                max_record_bytes: self.number_if_set("stream.max_record_bytes"),
            },
            socket: Socket {
                path: self.text("socket.path").into(),
                mode: self.mode("socket.mode"),
                max_connections: self.number("socket.max_connections"),
                window: self.number("socket.window"),
            },
            batch: Batch {
                linger: self.duration("batch.linger"),
                max_records: self.number("batch.max_records"),
                max_bytes: self.number("batch.max_bytes"),
                max_in_flight: self.number("batch.max_in_flight"),
            },
            delivery: Delivery {
                ordering: self.key_order("delivery.ordering"),
                aggregation: self.aggregation("delivery.aggregation"),
                aggregate_max_bytes: self.number("delivery.aggregate_max_bytes"),
                timeout: self.duration("delivery.timeout"),
                backoff_min: self.duration("delivery.backoff_min"),
                backoff_max: self.duration("delivery.backoff_max"),
                dedupe_ids: self.number("delivery.dedupe_ids"),
                dedupe_for: self.duration("delivery.dedupe_for"),
            },
            memory: Memory { budget_bytes: self.number("memory.budget"), cgroup_bytes },
            runtime: Runtime { threads: self.number("runtime.threads") },
            kinesis: dispatchd_aws::Settings {
                connect_timeout: self.duration("kinesis.connect_timeout"),
                attempt_timeout: self.duration("kinesis.attempt_timeout"),
                wire: self.wire("kinesis.wire"),
            },
            admin: Admin {
                listen: self.address_if_set("admin.listen"),
                socket: self.text_if_set("admin.socket").map(PathBuf::from),
            },
            log: Log { format: self.log_format("log.format"), level: self.text("log.level") },
            shutdown: Shutdown {
                timeout: self.duration("shutdown.timeout"),
                after_last_client: self.duration_if_set("shutdown.after_last_client"),
            },
            local: local.then(|| Local {
                port: self.port("local.port"),
                shards: self.number("local.shards"),
            }),
            sdk_env,
        }
    }

    /// The embedded stream has an account and a region of its own, so an ARN would not be its.
    fn stream_id(&self, local: bool) -> StreamId {
        let Some(arn) = self.text_if_set("stream.arn") else {
            return StreamId::Name(self.text("stream.name"));
        };
        match arn.parse::<StreamArn>() {
            Ok(parts) if local => StreamId::Name(parts.name().to_owned()),
            _ => StreamId::Arn(arn),
        }
    }

    fn port(&self, key: &str) -> u16 {
        self.number(key).try_into().expect("the range of a port ends at 65535")
    }
}

// === One kind each ===

impl Values {
    pub(super) fn text_if_set(&self, key: &str) -> Option<String> {
        match &self.0[key] {
            Value::Unset => None,
            Value::Text(text) => Some(text.clone()),
            other => other_kind(key, other),
        }
    }

    pub(super) fn number_if_set(&self, key: &str) -> Option<usize> {
        match self.0[key] {
            Value::Unset => None,
            Value::Number(number) => Some(number),
            ref other => other_kind(key, other),
        }
    }

    fn address_if_set(&self, key: &str) -> Option<SocketAddr> {
        match self.0[key] {
            Value::Unset => None,
            Value::Address(address) => Some(address),
            ref other => other_kind(key, other),
        }
    }

    fn text(&self, key: &str) -> String {
        self.text_if_set(key).unwrap_or_else(|| other_kind(key, &Value::Unset))
    }

    fn number(&self, key: &str) -> usize {
        self.number_if_set(key).unwrap_or_else(|| other_kind(key, &Value::Unset))
    }

    pub(super) fn duration(&self, key: &str) -> Duration {
        self.duration_if_set(key).unwrap_or_else(|| other_kind(key, &Value::Unset))
    }

    fn duration_if_set(&self, key: &str) -> Option<Duration> {
        match self.0[key] {
            Value::Unset => None,
            Value::Duration(duration) => Some(duration),
            ref other => other_kind(key, other),
        }
    }

    pub(super) fn switch(&self, key: &str) -> bool {
        match self.0[key] {
            Value::Switch(is_on) => is_on,
            ref other => other_kind(key, other),
        }
    }

    fn mode(&self, key: &str) -> u32 {
        match self.0[key] {
            Value::Mode(mode) => mode,
            ref other => other_kind(key, other),
        }
    }

    fn key_order(&self, key: &str) -> KeyOrder {
        match self.0[key] {
            Value::KeyOrder(order) => order,
            ref other => other_kind(key, other),
        }
    }

    fn aggregation(&self, key: &str) -> Aggregation {
        match self.0[key] {
            Value::Aggregation(aggregation) => aggregation,
            ref other => other_kind(key, other),
        }
    }

    fn wire(&self, key: &str) -> Wire {
        match self.0[key] {
            Value::Wire(wire) => wire,
            ref other => other_kind(key, other),
        }
    }

    fn log_format(&self, key: &str) -> LogFormat {
        match self.0[key] {
            Value::LogFormat(format) => format,
            ref other => other_kind(key, other),
        }
    }
}

fn other_kind(key: &str, value: &Value) -> ! {
    unreachable!("the rule of {key} gives another kind: {value:?}")
}
