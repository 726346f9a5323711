//! From the text of all layers to the [`Config`](super::Config): the only step that can fail. It
//! reports every problem, not only the first one; it never reads the host and never mends a value.

use std::net::{IpAddr, SocketAddr};

use dispatchd_aws::{SdkEnv, is_plain_off_host};
use dispatchd_core::limits::{SOCKET_PATH_BYTES_MAX, budget_bytes_min};
use dispatchd_core::model::StreamArn;

use super::environment;
use super::inputs::Inputs;
use super::keys::{KEYS, Key, nearest};
use super::problem::{Problem, Problems, problem};
use super::rule::show_size;
use super::setting::{Origin, Resolved, Setting, of};
use super::targets::{self, TARGET_KEYS, Typed};
use super::used::{Besides, Values};

/// The name of a forwarder's admin socket.
const FORWARD_ADMIN: &str = "forward.admin";

/// Lays the typed settings over the defaults and turns the result into a configuration.
pub(super) fn check(typed: Vec<Setting>, inputs: &Inputs) -> Result<Resolved, Problems> {
    let Inputs { local, machine, env, .. } = inputs;
    let local = *local;
    let mut typed = typed;
    let (targets, mut problems) = check_targets(Typed::take_from(&mut typed), inputs);
    let (mut settings, of_settings) = over_defaults(KEYS, typed);
    problems.splice(0..0, of_settings);
    fill_in(&mut settings, inputs);
    let values = read(KEYS, &settings, &mut problems);
    relate(&settings, &values, inputs, &mut problems);
    // The embedded stream uses none of the SDK's variables.
    let (sdk_env, odd) =
        if local { (SdkEnv::default(), Vec::new()) } else { environment::check(env) };
    problems.extend(odd);
    if problems.is_empty() {
        let besides = Besides { local, cgroup_bytes: machine.memory_limit, sdk_env };
        let values = Values::of(KEYS, &settings);
        Ok(Resolved {
            config: values.config(besides, targets::used(&targets)),
            values: settings,
            targets,
        })
    } else {
        Err(Problems::Values(problems))
    }
}

/// Lays what was typed of targets over the defaults. The keys of its problems are whole.
fn check_targets(typed: Typed, inputs: &Inputs) -> (Vec<Vec<Setting>>, Vec<Problem>) {
    let mut problems = Vec::new();
    let mut whole = |number: usize, of_target: Vec<Problem>| {
        let key = |key: &str| targets::full_name(number, key);
        problems.extend(
            of_target.into_iter().map(|problem| Problem { key: key(&problem.key), ..problem }),
        );
    };
    let mut listed = Vec::new();
    for (number, typed) in typed.into_iter() {
        let (settings, unknown) = over_defaults(TARGET_KEYS, typed);
        whole(number, unknown);
        listed.push((number, settings));
    }
    targets::fill_in(&mut listed);
    let name = |(_, settings): &(usize, Vec<Setting>)| of(settings, "name").value.clone();
    let names: Vec<String> = listed.iter().map(name).collect();
    for (number, settings) in &listed {
        let mut wrong = Vec::new();
        let values = read(TARGET_KEYS, settings, &mut wrong);
        let is_wrong = |key: &str| wrong.iter().any(|problem: &Problem| problem.key == key);
        let unfit = targets::relate(settings, &values, &names);
        let unfit: Vec<_> = unfit.into_iter().filter(|problem| !is_wrong(&problem.key)).collect();
        wrong.extend(unfit);
        whole(*number, wrong);
    }
    problems.extend(targets::count(&listed, inputs));
    (listed.into_iter().map(|(_, settings)| settings).collect(), problems)
}

/// Every key of a table once, in its order; and a problem for each typed key that it lacks, or
/// that one layer has twice. An empty text counts as not set: the layer below holds.
fn over_defaults(keys: &'static [Key], typed: Vec<Setting>) -> (Vec<Setting>, Vec<Problem>) {
    let mut settings: Vec<Setting> = keys.iter().map(default).collect();
    let mut problems = Vec::new();
    for typed in typed {
        match settings.iter_mut().find(|setting| setting.key == typed.key) {
            Some(_) if typed.value.is_empty() => {}
            Some(setting) => {
                problems.extend(twice(setting, &typed));
                *setting = typed;
            }
            None => {
                let expected = match nearest(keys, &typed.key) {
                    _ if typed.key.starts_with("forward.target.") => {
                        "a list of tables: [[forward.target]]".to_owned()
                    }
                    Some(known) => format!("a known key, perhaps {known}"),
                    None => {
                        "a known key: `dispatchd check --local` prints all there are".to_owned()
                    }
                };
                problems.push(Problem { value: None, ..problem(&typed, expected) });
            }
        }
    }
    (settings, problems)
}

/// The problem of a key that one layer has twice; `None` where a layer overrides another one.
/// Within a file and within the environment there is no order in which one of two would win.
fn twice(below: &Setting, typed: &Setting) -> Option<Problem> {
    let expected = match (&below.origin, &typed.origin) {
        (Origin::Env(other), Origin::Env(_)) => {
            format!("to be set by one variable, and {other} sets it too")
        }
        (Origin::File(_), Origin::File(_)) => {
            let (table, name) = typed.key.rsplit_once('.').unwrap_or_default();
            format!(
                "to be set once in the file, which has it as {:?} and as {name} in [{table}]",
                typed.key
            )
        }
        _ => return None,
    };
    Some(problem(typed, expected))
}

fn default(key: &Key) -> Setting {
    let (key, value) = (key.name.to_owned(), key.default.to_owned());
    Setting { key, value, origin: Origin::Default }
}

/// Gives a value to each setting that was left open and that can be known here.
fn fill_in(settings: &mut [Setting], Inputs { local, machine, forward, .. }: &Inputs) {
    let arn = of(settings, "stream.arn").value.clone();
    let is_streamless = arn.is_empty() && of(settings, "stream.name").value.is_empty();
    fill(settings, "producer_id", "auto", machine.producer_id());
    fill(settings, "socket.path", "auto", machine.socket_path());
    fill(settings, "memory.budget", "auto", machine.memory_budget());
    let beside = admin_socket(&of(settings, "socket.path").value, *forward);
    fill(settings, "admin.socket", "auto", beside);
    fill(settings, "forward.checkpoint", "auto", machine.checkpoints());
    if is_streamless && *local {
        fill(settings, "stream.name", "", ("local".into(), "the embedded stream".into()));
    }
    if let Ok(arn) = arn.parse::<StreamArn>() {
        fill(
            settings,
            "stream.region",
            "",
            (arn.region().into(), "the region of stream.arn".into()),
        );
    }
}

fn fill(settings: &mut [Setting], key: &str, open: &str, (value, why): (String, String)) {
    let is_open = |setting: &&mut Setting| setting.key == key && setting.value == open;
    if let Some(setting) = settings.iter_mut().find(is_open) {
        (setting.value, setting.origin) = (value, Origin::Detected(why));
    }
}

/// The admin socket's path, and why: beside the socket for events, if the name has room there.
/// Whoever runs the daemon may make a file in that directory. A forwarder's has a name of its own,
/// since both may run there.
fn admin_socket(socket: &str, forward: bool) -> (String, String) {
    let beside = match socket.rsplit_once('/') {
        _ if !forward => format!("{socket}.admin"),
        Some((directory, _)) => format!("{directory}/{FORWARD_ADMIN}"),
        None => FORWARD_ADMIN.to_owned(),
    };
    if beside.len() <= SOCKET_PATH_BYTES_MAX {
        (beside, "beside socket.path".to_owned())
    } else {
        ("off".to_owned(), "socket.path leaves no room for .admin".to_owned())
    }
}

/// Reads each value alone. Where one is refused, its default stands in, so that the others can
/// still be related to each other.
fn read(keys: &'static [Key], settings: &[Setting], problems: &mut Vec<Problem>) -> Values {
    let value = |(key, setting): (&'static Key, &Setting)| {
        let value = key.rule.read(&setting.value).unwrap_or_else(|| {
            problems.push(problem(setting, key.expected(&setting.value)));
            key.rule.read(key.default).expect("a default is one that its own rule takes")
        });
        (key.name, value)
    };
    Values(keys.iter().zip(settings).map(value).collect())
}

/// Checks values against each other. A relation to a value that is refused anyway says nothing.
fn relate(settings: &[Setting], values: &Values, inputs: &Inputs, problems: &mut Vec<Problem>) {
    let set = |key| of(settings, key);
    let shown = |key| format!("{key} = {:?} (from {})", set(key).value, set(key).origin);
    let mut refuse = |key, beside: &str, expected: &str| {
        let is_refused = |problem: &Problem| problem.key == key || problem.key == beside;
        if !problems.iter().any(is_refused) {
            problems.push(problem(set(key), expected.to_owned()));
        }
    };

    let (name, arn) = (&set("stream.name").value, &set("stream.arn").value);
    if name.is_empty() && arn.is_empty() {
        let expected = "a stream, by stream.name or stream.arn";
        refuse("stream.name", "stream.arn", expected);
    }
    if !name.is_empty() && !arn.is_empty() {
        let expected = format!("nothing beside {}", shown("stream.name"));
        refuse("stream.arn", "stream.name", &expected);
    }

    let region = values.text_if_set("stream.region");
    if let (Some(region), Ok(arn)) = (region, arn.parse::<StreamArn>())
        && region != arn.region()
    {
        let expected = format!("the region of stream.arn, {:?}", arn.region());
        refuse("stream.region", "stream.arn", &expected);
    }

    let url = values.text_if_set("stream.endpoint_url");
    if url.is_some_and(is_plain_off_host) && !values.switch("stream.allow_http") {
        let expected = "https, or http to loopback, unless stream.allow_http is true";
        refuse("stream.endpoint_url", "stream.allow_http", expected);
    }

    if values.duration("delivery.backoff_min") > values.duration("delivery.backoff_max") {
        let expected = format!("at most {}", shown("delivery.backoff_max"));
        refuse("delivery.backoff_min", "delivery.backoff_max", &expected);
    }

    if set("admin.socket").value == set("socket.path").value {
        let expected = format!("another path than {}", shown("socket.path"));
        refuse("admin.socket", "socket.path", &expected);
    }

    // A forwarder has no inputs.
    if let Some((key, taken)) = clashing(values).filter(|_| !inputs.forward) {
        let expected = format!("another port than {}", shown(taken));
        refuse(key, taken, &expected);
    }

    if inputs.forward && values.text_if_set("forward.checkpoint").is_none() {
        let expected = "file:DIRECTORY, or none: no directory that would do can be written here";
        refuse("forward.checkpoint", "forward.checkpoint", expected);
    }

    let budget = values.number_if_set("memory.budget");
    let record = values.number_if_set("stream.max_record_bytes");
    if let (Some(budget), Some(needed)) = (budget, record.map(budget_bytes_min))
        && budget < needed
    {
        let record = shown("stream.max_record_bytes");
        let expected = format!("at least {}, two lines of {record}", show_size(needed));
        refuse("memory.budget", "stream.max_record_bytes", &expected);
    }
}

/// A key whose address cannot be had beside that of another key, and that other key; `None` where a
/// daemon can listen on all of them.
fn clashing(values: &Values) -> Option<(&'static str, &'static str)> {
    const LISTENED_ON: [&str; 3] = ["admin.listen", "http.listen", "kinesis_api.listen"];
    let address = |key| Some((key, values.address_if_set(key)?));
    let set: Vec<(&str, SocketAddr)> = LISTENED_ON.into_iter().filter_map(address).collect();
    set.iter().enumerate().find_map(|(place, (key, address))| {
        let (taken, _) = set[..place].iter().find(|(_, other)| clash(*address, *other))?;
        Some((*key, *taken))
    })
}

/// Whether nobody can listen on both. Port 0 is any free one.
fn clash(one: SocketAddr, other: SocketAddr) -> bool {
    let holds =
        |all: SocketAddr, ip: IpAddr| all.ip().is_unspecified() && (all.is_ipv6() || ip.is_ipv4());
    let is_shared = one.ip() == other.ip() || holds(one, other.ip()) || holds(other, one.ip());
    one.port() != 0 && one.port() == other.port() && is_shared
}
