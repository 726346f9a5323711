//! `check`: the configuration as `run` would use it, each value with its origin, and the most memory it takes.

use std::process::ExitCode;

use clap::Args;

use super::{ConfigFlags, exit, fail};
use crate::config::memory_sum;

#[derive(Debug, Args)]
pub struct Check {
    #[command(flatten)]
    flags: ConfigFlags,
}

impl Check {
    pub fn main(self) -> ExitCode {
        let resolved = match self.flags.resolve() {
            Ok(resolved) => resolved,
            Err(problems) => return fail(problems, exit::USAGE),
        };
        let width = |text: fn(&crate::config::Setting) -> usize| resolved.values.iter().map(text).max().unwrap_or(0);
        let (keys, values) = (width(|setting| setting.key.len()), width(|setting| setting.value.len()));
        for setting in &resolved.values {
            println!("{:keys$}  {:values$}  {}", setting.key, setting.value, setting.origin);
        }
        println!("\nmemory: at most {}", memory_sum(&resolved.config));
        ExitCode::SUCCESS
    }
}
