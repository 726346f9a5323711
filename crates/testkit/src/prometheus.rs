//! A real Prometheus that scrapes what a test tells it to, and `promtool`.

use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Output, Stdio};

use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::{Request, StatusCode, header};
use serde_json::Value;
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

use super::tasks::Tasks;
use super::{eventually, http, packages};

/// Often, so that a test need not wait; a Prometheus in earnest takes 15 to 60 s.
const SCRAPE_INTERVAL: &str = "250ms";

/// The sum of the series on a page that have this name and these labels, whatever other labels
/// they have; `None` if there are none.
pub fn sum_of(page: &str, series: &str) -> Option<f64> {
    let parts = |series: &'_ str| {
        let (name, labels) = series.split_once('{').unwrap_or((series, ""));
        let labels: Vec<_> = labels.trim_end_matches('}').split(',').map(str::to_owned).collect();
        (name.to_owned(), labels)
    };
    let (name, labels) = parts(series);
    let lines = page.lines().filter_map(|line| line.rsplit_once(' '));
    let of_series = lines.filter(|(series, _)| {
        let (found, given) = parts(series);
        found == name && labels.iter().all(|label| label.is_empty() || given.contains(label))
    });
    let values = of_series.filter_map(|(_, value)| value.parse::<f64>().ok());
    values.reduce(|sum, value| sum + value)
}

/// A running Prometheus with the job `dispatchd`. Killed when dropped.
pub struct Prometheus {
    authority: String,
    _process: Child,
    _dir: tempfile::TempDir,
    tasks: Tasks,
}

impl Prometheus {
    /// Scrapes `target` and evaluates `rules`, a file. `None` where there is no Prometheus; see
    /// [`packages`]. The first scrape comes some 6 s later: it waits for its discovery of targets
    /// to settle.
    pub async fn start(target: &str, rules: &Path) -> Option<Prometheus> {
        let programs = tools().await?;
        let dir = tempfile::tempdir().expect("a temporary directory");
        let config = format!(
            "global: {{ scrape_interval: {SCRAPE_INTERVAL}, evaluation_interval: {SCRAPE_INTERVAL} }}\n\
             rule_files: ['{}']\n\
             scrape_configs: [{{ job_name: dispatchd, static_configs: [{{ targets: ['{target}'] }}] }}]\n",
            rules.display()
        );
        std::fs::write(dir.path().join("prometheus.yml"), config).expect("the directory is ours");
        let mut process = Command::new(programs.join("prometheus"))
            .args([
                "--config.file=prometheus.yml",
                "--storage.tsdb.path=data",
                "--web.listen-address=127.0.0.1:0",
            ])
            .current_dir(dir.path())
            .stdin(Stdio::null())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .expect("prometheus starts, it was unpacked for this");
        let mut log = BufReader::new(process.stderr.take().expect("it is piped")).lines();
        let mut said = String::new();
        let authority = loop {
            let line = log.next_line().await.expect("the log is readable");
            let line =
                line.unwrap_or_else(|| panic!("prometheus ended before it listened:\n{said}"));
            match line.split_once("msg=\"Listening on\" address=") {
                Some((_, address)) => break address.trim().to_owned(),
                None => said += &format!("{line}\n"),
            }
        };
        let tasks = Tasks::default();
        // Read to the end, or it would stop when the pipe is full.
        tasks.spawn(async move { while let Ok(Some(_)) = log.next_line().await {} });
        let prometheus = Prometheus { authority, _process: process, _dir: dir, tasks };
        eventually("prometheus has replayed its log of nothing", async || {
            prometheus.get("/-/ready").await.0.is_success().then_some(())
        })
        .await;
        Some(prometheus)
    }

    /// The result of a query, now: one value for each series.
    pub async fn query(&self, promql: &str) -> Vec<Value> {
        // Every byte escaped: nothing to get wrong.
        let escaped: String = promql.bytes().map(|byte| format!("%{byte:02X}")).collect();
        let answer = self.ask("query", &format!("query={escaped}")).await;
        answer["result"].as_array().unwrap_or_else(|| panic!("{promql}: {answer}")).clone()
    }

    /// What the API `/api/v1/{path}` has to say; `form` is its query string.
    pub async fn ask(&self, path: &str, form: &str) -> Value {
        let (_, body) = self.get(&format!("/api/v1/{path}?{form}")).await;
        let answer: Value = serde_json::from_slice(&body).expect("its API speaks JSON");
        assert_eq!(answer["status"], "success", "{path}?{form}: {answer}");
        answer["data"].clone()
    }

    async fn get(&self, path: &str) -> (StatusCode, Bytes) {
        let request =
            Request::get(path).header(header::HOST, &self.authority).body(Full::new(Bytes::new()));
        let request = request.expect("the path is ours");
        let reply =
            http::send(&self.authority, request, &self.tasks).await.expect("prometheus answers");
        let status = reply.status();
        (status, reply.into_body().collect().await.expect("to the end").to_bytes())
    }

    /// Waits until a query has a result.
    pub async fn eventually(&self, promql: &str) -> Vec<Value> {
        eventually(promql, async || {
            Some(self.query(promql).await).filter(|result| !result.is_empty())
        })
        .await
    }
}

impl Drop for Prometheus {
    fn drop(&mut self) {
        self.tasks.abort();
    }
}

/// Runs promtool on a text, given on its standard input. `None` where there is none.
pub async fn promtool(args: &[&str], stdin: &str) -> Option<Output> {
    let mut file = tempfile::tempfile().expect("a temporary file");
    file.write_all(stdin.as_bytes()).expect("it takes bytes");
    std::io::Seek::rewind(&mut file).expect("it is a file");
    let output =
        Command::new(tools().await?.join("promtool")).args(args).stdin(file).output().await;
    Some(output.expect("promtool starts, it was unpacked for this"))
}

async fn tools() -> Option<PathBuf> {
    tokio::task::spawn_blocking(packages::prometheus).await.expect("the download ends")
}
