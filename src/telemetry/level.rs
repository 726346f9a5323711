//! What `log.level` means: a level, or the directives of a filter. Pure.

use tracing_subscriber::filter::{LevelFilter, Targets};

/// The most bytes that `log.level` may have: a handful of directives.
const LEVEL_BYTES_MAX: usize = 1024;

/// The filter that a level or directives stand for; `None` if the text is neither. Libraries log
/// from `warn` on, unless a directive of the operator's asks for more.
pub(crate) fn log_filter(level: &str) -> Option<Targets> {
    // The parser takes any word for the name of a module, so that `verbose` would turn everything
    // else off; and the empty text for a level.
    let is_level = |text: &str| !text.is_empty() && text.parse::<LevelFilter>().is_ok();
    let ends_in_level =
        |directive: &str| directive.rsplit('=').next().is_some_and(|last| is_level(last.trim()));
    let directives =
        if is_level(level) { format!("warn,dispatchd={level}") } else { level.to_owned() };
    let is_filter = level.len() <= LEVEL_BYTES_MAX && directives.split(',').all(ends_in_level);
    is_filter.then(|| directives.parse().ok()).flatten()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_level_or_directives_that_name_one_are_taken_and_nothing_else() {
        for level in [
            "error",
            "info",
            "TRACE",
            "off",
            "warn,dispatchd=debug",
            "dispatchd::lane=trace",
            "hyper=debug,info",
        ] {
            assert!(log_filter(level).is_some(), "{level}");
        }
        let long = ["info"; 300].join(",");
        for level in
            ["verbose", "dispatchd", "dispatchd=", "debug=", "info,verbose", "=", ",", "", &long]
        {
            assert!(log_filter(level).is_none(), "{level}");
        }
    }
}
