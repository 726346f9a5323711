//! The promises of [`resolve`], through all layers at once. Nothing here depends on the machine it
//! runs on but for a temporary file.

use std::path::PathBuf;
use std::time::Duration;

use dispatchd_core::limits::MIB;
use dispatchd_core::model::StreamId;
use dispatchd_producer::lane::Settings;

use super::inputs::NotKeyValue;
use super::problem::Problem;
use super::rule::Rule;
use super::*;

/// Longer than anything may be. An empty text is outside of no range: it is not set.
const LONG: &str = match std::str::from_utf8(&[b'x'; 1_025]) {
    Ok(text) => text,
    Err(_) => panic!("x is ASCII"),
};

/// One value outside the range of each key.
const OUT_OF_RANGE: &[(&str, &str)] = &[
    ("producer_id", LONG),
    ("stream.name", "my stream"),
    ("stream.arn", "arn:aws:s3:::bucket"),
    ("stream.region", "Frankfurt"),
    ("stream.endpoint_url", "localhost:4567"),
    ("stream.allow_http", "yes"),
    ("stream.max_record_bytes", "11MiB"),
    ("socket.path", LONG),
    ("socket.mode", "0440"),
    ("socket.max_connections", "0"),
    ("socket.window", "65537"),
    ("http.listen", "0.0.0.0:4580"),
    ("http.max_connections", "0"),
    ("kinesis_api.listen", "192.168.0.1:4568"),
    ("kinesis_api.max_connections", "65537"),
    ("kinesis_api.timeout", "301s"),
    ("envelope.source", LONG),
    ("schema.dir", "\0"),
    ("schema.types", "Order"),
    ("transaction.timeout", "999ms"),
    ("transaction.max_events", "0"),
    ("batch.linger", "5min"),
    ("batch.max_records", "501"),
    ("batch.max_bytes", "1023"),
    ("batch.max_in_flight", "257"),
    ("delivery.aggregate_max_bytes", "1000"),
    ("delivery.timeout", "25h"),
    ("delivery.backoff_min", "0ms"),
    ("delivery.backoff_max", "61s"),
    ("delivery.dedupe_ids", "10000001"),
    ("delivery.dedupe_for", "500ms"),
    ("memory.budget", "1MiB"),
    ("runtime.threads", "0"),
    ("kinesis.connect_timeout", "99ms"),
    ("kinesis.attempt_timeout", "6m"),
    ("admin.listen", "16464"),
    ("admin.socket", LONG),
    ("log.level", LONG),
    ("shutdown.timeout", "999ms"),
    ("shutdown.after_last_client", "0s"),
    ("forward.checkpoint", "dynamodb"),
    ("forward.poll", "199ms"),
    ("local.port", "65536"),
    ("local.shards", "65"),
];

fn variable(key: &str) -> String {
    format!("DISPATCHD__{}", key.replace('.', "__").to_uppercase())
}

fn from_env(pairs: &[(&str, &str)]) -> Inputs {
    let env = pairs.iter().map(|(key, value)| (variable(key), (*value).to_owned())).collect();
    Inputs { env, ..Inputs::default() }
}

fn problems(inputs: &Inputs) -> Vec<Problem> {
    match resolve(inputs) {
        Err(Problems::Values(problems)) => problems,
        other => panic!("expected problems with values, got {other:?}"),
    }
}

fn messages(pairs: &[(&str, &str)]) -> Vec<String> {
    problems(&from_env(pairs)).iter().map(Problem::to_string).collect()
}

fn config(pairs: &[(&str, &str)]) -> Config {
    resolve(&from_env(pairs)).expect("the values hold").config
}

fn of(values: &[Setting], key: &str) -> Setting {
    let setting = values.iter().find(|setting| setting.key == key);
    setting.expect("every key has a value").clone()
}

fn in_flight(inputs: &Inputs) -> (usize, Origin) {
    let Resolved { config, values, .. } = resolve(inputs).expect("the values hold");
    (config.batch.max_in_flight, of(&values, "batch.max_in_flight").origin)
}

/// A value that the key does not take. Choices have none here: no word but their own is one.
fn out_of_range(key: &Key) -> (&'static str, &'static str) {
    let listed = OUT_OF_RANGE.iter().find(|(name, _)| *name == key.name);
    match (&key.rule, listed) {
        (Rule::OneOf(_), None) => (key.name, "none of these"),
        (_, Some(listed)) => *listed,
        (_, None) => panic!("{} is not in the list", key.name),
    }
}

#[test]
fn every_key_has_a_range_and_its_problem_names_key_value_range_and_origin() {
    for key in KEYS {
        let (name, value) = out_of_range(key);
        let inputs = Inputs { local: true, ..from_env(&[(name, value)]) };
        let origin = Origin::Env(variable(name));
        let expected = key.expected(value);
        let problem =
            Problem { key: name.to_string(), value: Some(value.to_string()), expected, origin };
        assert_eq!(problems(&inputs), [problem]);
    }
    for (name, _) in OUT_OF_RANGE {
        assert!(KEYS.iter().any(|key| key.name == *name), "{name} is no key");
    }
}

#[test]
fn the_documentation_holds_every_row_of_the_table() {
    let page = include_str!("../../docs/configuration.md");
    let row = |Key { name, default, rule, meaning, .. }: &Key| {
        format!("| `{name}` | `{default:?}` | {rule} | {meaning} |")
    };
    let rows: Vec<String> = KEYS.iter().chain(TARGET_KEYS).map(row).collect();
    let written: Vec<&str> = page.lines().filter(|line| line.starts_with("| `")).collect();
    assert!(written == rows, "the rows of docs/configuration.md should be\n{}", rows.join("\n"));
}

/// One value outside the range of each key of a target.
const OUT_OF_TARGETS_RANGE: &[(&str, &str)] = &[
    ("name", "a/b"),
    ("url", "localhost:3000"),
    ("token_env", "A-B"),
    ("from", "yesterday"),
    ("filter", "{\"type\":5}"),
    ("filter_record", "[\"{}\"]"),
    ("type", LONG_TYPES),
    ("batch_size", "10001"),
    ("batch_window", "301s"),
    ("batch_bytes", "7MiB"),
    ("parallelization", "11"),
    ("bisect", "yes"),
    ("max_retries", "10001"),
    ("max_age", "999ms"),
    ("dead_letter", "/var/lib"),
    ("connect_timeout", "0ms"),
    ("timeout", "16m"),
    ("max_in_flight", "257"),
    ("exec", "\"unclosed"),
    ("exec_timeout", "25h"),
    ("exec_grace", "999ms"),
    ("exec_empty", "no"),
    ("role_arn", LONG_TYPES),
];

/// Longer than any text of a target may be.
const LONG_TYPES: &str = match std::str::from_utf8(&[b'x'; 4_097]) {
    Ok(text) => text,
    Err(_) => panic!("x is ASCII"),
};

/// Inputs for `forward` with these keys of one target, beside a URL.
fn of_target(set: &[(&str, &str)]) -> Inputs {
    of_bare_target(&[&[("url", "http://127.0.0.1:3000/events/")], set].concat())
}

/// Inputs for `forward` with these keys of one target and no other.
fn of_bare_target(set: &[(&str, &str)]) -> Inputs {
    let flag = |(key, value): &(&str, &str)| Flag {
        key: format!("forward.target[1].{key}"),
        value: (*value).to_owned(),
        flag: "--set".to_owned(),
    };
    let flags = set.iter().map(flag).collect();
    let mut inputs = Inputs { local: true, flags, ..Inputs::default() }.for_forward();
    inputs.flags.push("forward.checkpoint=none".parse().expect("KEY=VALUE"));
    inputs
}

fn refused(inputs: &Inputs) -> Vec<String> {
    problems(inputs).iter().map(Problem::to_string).collect()
}

#[test]
fn every_key_of_a_target_has_a_range_and_its_problem_names_the_target() {
    for key in TARGET_KEYS {
        let listed = OUT_OF_TARGETS_RANGE.iter().find(|(name, _)| *name == key.name);
        let value = match (&key.rule, listed) {
            (Rule::OneOf(_) | Rule::AutoOneOf(_), None) => "none of these",
            (Rule::File, None) => "a\0b",
            (_, Some((_, value))) => value,
            (_, None) => panic!("{} is not in the list", key.name),
        };
        let said = refused(&of_target(&[(key.name, value)]));
        let begins = format!("forward.target[1].{} = ", key.name);
        assert!(said.len() == 1 && said[0].starts_with(&begins), "{said:?}");
    }
}

#[test]
fn targets_of_a_file_are_numbered_named_and_told_apart() {
    let dir = tempfile::tempdir().expect("the temporary directory is writable");
    let path = dir.path().join("config.toml");
    let file = |text: &str| {
        std::fs::write(&path, text).expect("the directory is writable");
        let flags = vec!["forward.checkpoint=none".parse().expect("KEY=VALUE")];
        Inputs { local: true, file: Some(path.clone()), flags, ..Inputs::default() }.for_forward()
    };
    let two = "[[forward.target]]\nname = \"a\"\nurl = \"http://a.example/\"\nbatch_size = 1\n\
               [[forward.target]]\nname = \"b\"\nurl = \"http://b.example/\"\n\
               filter = ['{\"type\":[\"x\"]}', '{\"type\":[\"y\"]}']\n";
    let targets = resolve(&file(two)).expect("they hold").config.forward.targets;
    assert_eq!(targets.iter().map(|target| &*target.name).collect::<Vec<_>>(), ["a", "b"]);
    assert_eq!(targets[0].batch_size, Some(1));
    assert!(!targets[1].filter().expect("two are few").is_empty());

    let said = |text: &str| {
        let said = refused(&file(text)).join("; ");
        said.replace(&path.display().to_string(), "FILE")
    };
    assert_eq!(
        said("[[forward.target]]\nurll = \"http://a.example/\"\n"),
        "forward.target[1].urll (from FILE): expected a known key, perhaps url; \
         forward.target[1].url = \"\" (from default): expected a url, where records are sent, or \
         exec, a program"
    );
    assert!(said("[[forward.target]]\n").contains("forward.target[1].url = \"\""));
    assert!(said(&two.replace("\"b\"", "\"a\"")).contains("a name that no other target has"));
    assert!(said(&two.replace("name = \"b\"\n", "")).contains("forward.target[2].name = \"auto\""));
    assert!(said("[forward.target]\nurl = \"http://a.example/\"\n").contains("[[forward.target]]"));
    assert_eq!(
        resolve_to_serve(&file("")).expect_err("nobody is delivered to").to_string(),
        "forward.target (from default): expected a target: --to URL, or [[forward.target]] in the \
         file"
    );
    // Who only asks a forwarder, which was told its target by a flag, names none.
    resolve(&file("")).expect("it says where the forwarder is asked");
    let mut inputs = file(two);
    inputs.flags.push(Flag {
        key: "forward.target[1].url".to_owned(),
        value: "http://c.example/".to_owned(),
        flag: "--to".to_owned(),
    });
    let said = refused(&inputs).join("; ");
    assert!(
        said.ends_with("expected no such flag where the file has more than one target"),
        "{said}"
    );
}

#[test]
fn values_of_a_target_that_do_not_fit_each_other_are_refused() {
    for (set, says) in [
        (&[("max_retries", "3")][..], "on_failure = \"dead-letter\" beside it"),
        (&[("max_age", "1h")], "on_failure = \"dead-letter\" beside it"),
        (&[("on_failure", "dead-letter")], "file:PATH or stream:NAME beside on_failure"),
        (&[("batch_size", "2")], "at most 1 in the format event"),
        (&[("sequence", "monotonic")], "format = \"record\" beside it"),
        (&[("format", "record"), ("max_in_flight", "2")], "1 in the format record"),
        (&[("token_file", "/t"), ("token_env", "T")], "nothing beside token_file"),
        (&[("exec", "cat")], "nothing beside url"),
        (&[("role_arn", "r")], "format = \"lambda\" beside it"),
    ] {
        let said = refused(&of_target(set)).join("; ");
        assert!(said.contains(says), "{set:?}: {said}");
    }
}

/// A value of each key that one way of delivering has a use for alone, other than its default.
const OF_ONE_WAY: &[(&str, &str)] = &[
    ("format", "lambda"),
    ("token_file", "/t"),
    ("token_env", "T"),
    ("ca_file", "/c"),
    ("type", "a"),
    ("filter", "{\"type\":[\"a\"]}"),
    ("filter_record", "{\"partitionKey\":[\"a\"]}"),
    ("aggregates", "apart"),
    ("batch_window", "1s"),
    ("batch_bytes", "2KiB"),
    ("parallelization", "2"),
    ("bisect", "true"),
    ("max_retries", "3"),
    ("max_age", "1h"),
    ("on_failure", "dead-letter"),
    ("dead_letter", "file:/d"),
    ("connect_timeout", "1s"),
    ("timeout", "1m"),
    ("max_in_flight", "2"),
    ("sequence", "record"),
    ("exec_timeout", "1m"),
    ("exec_grace", "1s"),
    ("exec_empty", "true"),
    ("role_arn", "arn:aws:iam::123456789012:role/r"),
];

#[test]
fn a_key_of_one_way_of_delivering_is_refused_beside_the_other() {
    // What could go wrong: a timeout is typed beside `exec`, holds for nothing, and nobody says so.
    const OF_BOTH: [&str; 5] = ["name", "url", "exec", "from", "batch_size"];
    let of_one_way = TARGET_KEYS.iter().map(|key| key.name).filter(|key| !OF_BOTH.contains(key));
    assert!(of_one_way.eq(OF_ONE_WAY.iter().map(|(key, _)| *key)), "the list is not whole");
    for &(key, value) in OF_ONE_WAY {
        let (way, of) = if key.starts_with("exec_") { ("url", "exec") } else { ("exec", "url") };
        let there = if way == "url" { "http://127.0.0.1:3000/" } else { "cat -u" };
        let said = refused(&of_bare_target(&[(way, there), (key, value)])).join("; ");
        let begins = format!("forward.target[1].{key} = ");
        let ends = format!("expected nothing beside {way}: it is for {of} alone");
        assert!(said.starts_with(&begins) && said.ends_with(&ends), "{said}");
    }
}

#[test]
fn the_variables_of_rabble_rousers_forwarder_are_enough_and_give_way_to_what_is_typed() {
    let env = [
        ("KINESIS_ENDPOINT", "http://kinesis:4567"),
        ("STREAM_NAME", "rabblerouser_stream"),
        ("LISTENER_ENDPOINT", "http://core:3000/events"),
        ("LISTENER_AUTH_TOKEN", "secret"),
    ];
    let env = env.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    let flags = vec!["forward.checkpoint=none".parse().expect("KEY=VALUE")];
    let inputs = Inputs { env, flags, ..Inputs::default() }.for_forward();
    let resolved = resolve(&inputs).expect("they are enough");
    assert!(resolved.names_an_emulator());
    let target = &resolved.config.forward.targets[0];
    assert_eq!(target.url.as_deref(), Some("http://core:3000/events"));
    assert_eq!(
        (target.format.name(), target.token_env.as_deref()),
        ("record", Some("LISTENER_AUTH_TOKEN"))
    );
    assert_eq!(resolved.config.stream.id, StreamId::Name("rabblerouser_stream".to_owned()));

    let mut typed = inputs.clone();
    for (key, value) in [
        ("stream.arn", "arn:aws:kinesis:eu-west-1:123456789012:stream/orders"),
        ("stream.endpoint_url", "http://localhost:4567"),
        ("forward.target[1].url", "http://127.0.0.1:1/"),
    ] {
        let (key, value) = (key.to_owned(), value.to_owned());
        typed.flags.push(Flag { key, value, flag: "--set".to_owned() });
    }
    let resolved = resolve(&typed).expect("what is typed holds");
    assert!(!resolved.names_an_emulator());
    assert_eq!(resolved.config.forward.targets[0].format.name(), "event");
}

#[test]
fn a_place_for_checkpoints_is_asked_for_where_none_is_known_and_by_forward_alone() {
    let mut inputs = of_target(&[]);
    inputs.flags.retain(|flag| flag.key != "forward.checkpoint");
    let said = refused(&inputs).join("; ");
    assert!(said.starts_with("forward.checkpoint = \"auto\""), "{said}");
    assert!(resolve(&Inputs { forward: false, ..inputs.clone() }).is_ok());
    let dynamodb = "forward.checkpoint=dynamodb:leases".parse().expect("KEY=VALUE");
    inputs.flags.push(dynamodb);
    let said = refused(&inputs).join("; ");
    assert!(said.contains("this dispatchd keeps none in DynamoDB"), "{said}");
}

#[test]
fn a_choice_is_one_of_its_words_and_every_word_of_it_is_taken() {
    let choices = KEYS.iter().filter_map(|key| match key.rule {
        Rule::OneOf(words) => Some((key.name, words)),
        _ => None,
    });
    for (name, words) in choices {
        for word in words {
            assert!(resolve(&Inputs { local: true, ..from_env(&[(name, *word)]) }).is_ok());
        }
    }
    let said = messages(&[("stream.name", "s"), ("delivery.aggregation", "all")]).concat();
    assert!(said.ends_with("expected off, key or shard"), "{said}");
}

#[test]
fn all_problems_are_reported_at_once() {
    let wrong: Vec<_> = KEYS.iter().map(out_of_range).collect();
    let inputs = Inputs { local: true, ..from_env(&wrong) };
    let keys: Vec<String> = problems(&inputs).into_iter().map(|problem| problem.key).collect();
    assert_eq!(keys, KEYS.iter().map(|key| key.name).collect::<Vec<_>>());
}

#[test]
fn a_problem_reads_as_a_sentence() {
    assert_eq!(
        messages(&[("stream.name", "s"), ("batch.linger", "5min"), ("batch.max_bytes", "2MB")]),
        [
            "batch.linger = \"5min\" (from DISPATCHD__BATCH__LINGER): expected a duration from \
             0ms to 60s, e.g. \"10ms\"",
            "batch.max_bytes = \"2MB\" (from DISPATCHD__BATCH__MAX_BYTES): expected a size from \
             1KiB to 10MiB, units are KiB, MiB and GiB, e.g. \"1MiB\"",
        ]
    );
}

#[test]
fn flags_beat_the_environment_beats_the_file_beats_the_defaults() {
    let dir = tempfile::tempdir().expect("the temporary directory is writable");
    let path = dir.path().join("config.toml");
    std::fs::write(&path, "[batch]\nmax_in_flight = 2\n").expect("the directory is writable");

    let mut inputs = Inputs { local: true, ..Inputs::default() };
    assert_eq!(in_flight(&inputs), (16, Origin::Default));
    inputs.file = Some(path.clone());
    assert_eq!(in_flight(&inputs), (2, Origin::File(path)));
    inputs.env = from_env(&[("batch.max_in_flight", "3")]).env;
    assert_eq!(in_flight(&inputs), (3, Origin::Env("DISPATCHD__BATCH__MAX_IN_FLIGHT".to_owned())));
    inputs.flags = ["batch.max_in_flight=4", "batch.max_in_flight=5"]
        .map(|set| set.parse().expect("KEY=VALUE"))
        .into();
    assert_eq!(in_flight(&inputs), (5, Origin::Flag("--set".to_owned())));
}

#[test]
fn a_value_that_is_overridden_is_not_checked() {
    let flag =
        Flag { key: "batch.linger".to_owned(), value: "1s".to_owned(), flag: "--set".to_owned() };
    let inputs =
        Inputs { local: true, flags: vec![flag], ..from_env(&[("batch.linger", "nonsense")]) };
    assert!(resolve(&inputs).is_ok());
}

#[test]
fn an_unknown_key_names_its_variable_and_a_known_key() {
    assert_eq!(
        messages(&[("stream.name", "s"), ("batch.lingr", "5ms"), ("socket", "/s")]),
        [
            "batch.lingr (from DISPATCHD__BATCH__LINGR): expected a known key, perhaps \
             batch.linger",
            "socket (from DISPATCHD__SOCKET): expected a known key, perhaps socket.path",
        ]
    );
}

#[test]
fn an_empty_text_is_not_set_and_the_layer_below_holds() {
    let dir = tempfile::tempdir().expect("the temporary directory is writable");
    let path = dir.path().join("config.toml");
    let line = |key: &Key| format!("{:?} = \"\"\n", key.name);
    std::fs::write(&path, KEYS.iter().map(line).collect::<String>())
        .expect("the directory is writable");
    let empty: Vec<_> = KEYS.iter().map(|key| (key.name, "")).collect();
    let flag = |key: &Key| Flag {
        key: key.name.to_owned(),
        value: String::new(),
        flag: "--set".to_owned(),
    };
    let flags = KEYS.iter().map(flag).collect();
    let inputs = Inputs { local: true, file: Some(path), flags, ..from_env(&empty) };
    let resolved = resolve(&inputs).expect("nothing is set");
    let nothing = resolve(&Inputs { local: true, ..Inputs::default() }).expect("the defaults hold");
    assert_eq!((resolved.config, resolved.values), (nothing.config, nothing.values));
    let below =
        Flag { key: "batch.linger".to_owned(), value: "7ms".to_owned(), flag: "exec".to_owned() };
    let inputs = Inputs { local: true, preset: vec![below], ..from_env(&[("batch.linger", "")]) };
    assert_eq!(
        resolve(&inputs).expect("it is not set above").config.batch.linger,
        Duration::from_millis(7)
    );
}

#[test]
fn what_stands_under_an_unknown_key_is_never_shown() {
    let secret = "wJalrXUtnFEMI";
    for said in [
        messages(&[("stream.name", "s"), ("aws.secret_access_key", secret)]).join("\n"),
        from_file(&format!("[stream]\nname = \"s\"\n[aws]\nsecret_access_key = \"{secret}\"\n")),
        from_file(&format!("[aws]\nsecret_access_key = {secret}\n")),
        from_file(&format!("secret_access_key = \"{secret}\"\nsecret_access_key = \"{secret}\"\n")),
    ] {
        assert!(!said.is_empty() && !said.contains(secret), "{said}");
    }
}

/// What is said of a file with this text.
fn from_file(text: &str) -> String {
    let dir = tempfile::tempdir().expect("the temporary directory is writable");
    let path = dir.path().join("config.toml");
    std::fs::write(&path, text).expect("the directory is writable");
    let said = resolve(&Inputs { file: Some(path.clone()), local: true, ..Inputs::default() });
    let said = said.err().map(|problems| problems.to_string()).unwrap_or_default();
    said.replace(&path.display().to_string(), "FILE")
}

#[test]
fn a_key_that_one_layer_has_twice_is_refused_by_name() {
    let twice = "\"stream.name\" = \"a\"\n[stream]\nname = \"b\"\n";
    let says = "stream.name = \"b\" (from FILE): expected to be set once in the file, which has \
                it as \"stream.name\" and as name in [stream]";
    for _ in 0..8 {
        assert_eq!(from_file(twice), says, "and not by chance");
    }
    let variables = [("DISPATCHD__STREAM__NAME", "a"), ("dispatchd__stream__name", "b")];
    let env = variables.map(|(name, value)| (name.to_owned(), value.to_owned())).into();
    assert_eq!(
        problems(&Inputs { env, ..Inputs::default() })[0].to_string(),
        "stream.name = \"b\" (from dispatchd__stream__name): expected to be set by one variable, \
         and DISPATCHD__STREAM__NAME sets it too"
    );
}

#[test]
fn variables_of_a_service_whose_name_looks_like_ours_do_no_harm() {
    let of = |name: &str| {
        let service = name.to_uppercase().replace('-', "_");
        [
            "SERVICE_HOST",
            "SERVICE_PORT",
            "SERVICE_PORT_HTTP",
            "PORT",
            "PORT_80_TCP",
            "PORT_80_TCP_PROTO",
        ]
        .into_iter()
        .map(move |end| (format!("{service}_{end}"), "tcp://10.0.0.1:80".to_owned()))
    };
    let env = of("dispatchd--x")
        .chain(of("dispatchd--local"))
        .chain(of("dispatchd--stream--name"))
        .collect();
    assert!(resolve(&Inputs { env, local: true, ..Inputs::default() }).is_ok());
    assert_eq!(
        messages(&[("stream.name", "s"), ("x_port", "80")]).len(),
        1,
        "without such a Service it is a slip"
    );
    let mut env: Vec<_> = of("dispatchd--local").collect();
    env.push(("DISPATCHD__LOCAL__PORT".to_owned(), "7".to_owned()));
    let config =
        resolve(&Inputs { env, local: true, ..Inputs::default() }).expect("it holds").config;
    assert_eq!(config.local.map(|local| local.port), Some(7), "a key stays a key");
}

#[test]
fn variables_of_clients_and_of_kubernetes_are_ignored() {
    let names = ["DISPATCHD_SOCKET", "DISPATCHD_LOG", "DISPATCHD_SERVICE_HOST", "DISPATCHD_PORT"];
    let env = names.map(|name| (name.to_owned(), "nonsense".to_owned())).into();
    assert!(resolve(&Inputs { local: true, env, ..Inputs::default() }).is_ok());
}

#[test]
fn the_shipped_file_needs_nothing_but_a_stream() {
    let file = PathBuf::from(concat!(env!("CARGO_MANIFEST_DIR"), "/config.toml"));
    let inputs = Inputs { file: Some(file), ..from_env(&[("stream.name", "orders")]) };
    let defaults = config(&[("stream.name", "orders")]);
    assert_eq!(resolve(&inputs).expect("the shipped file holds").config, defaults);
}

#[test]
fn exactly_one_stream_is_named() {
    assert_eq!(
        messages(&[]),
        [r#"stream.name = "" (from default): expected a stream, by stream.name or stream.arn"#]
    );
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
    assert_eq!(
        messages(&[("stream.name", "s"), ("stream.arn", arn)]),
        [format!(
            "stream.arn = \"{arn}\" (from DISPATCHD__STREAM__ARN): expected nothing beside \
             stream.name = \"s\" (from DISPATCHD__STREAM__NAME)"
        )]
    );
    assert_eq!(config(&[("stream.name", "s")]).stream.id, StreamId::Name("s".to_owned()));
}

#[test]
fn an_arn_brings_its_region() {
    let arn = "arn:aws-cn:kinesis:cn-north-1:123456789012:stream/orders";
    let stream = config(&[("stream.arn", arn)]).stream;
    assert_eq!(
        (stream.id, stream.region),
        (StreamId::Arn(arn.to_owned()), Some("cn-north-1".to_owned()))
    );
    assert_eq!(
        messages(&[("stream.arn", arn), ("stream.region", "eu-west-1")]),
        ["stream.region = \"eu-west-1\" (from DISPATCHD__STREAM__REGION): expected the region \
             of stream.arn, \"cn-north-1\""]
    );
}

#[test]
fn the_embedded_stream_goes_by_name() {
    let id = |pairs: &[(&str, &str)]| {
        let inputs = Inputs { local: true, ..from_env(pairs) };
        let config = resolve(&inputs).expect("the values hold").config;
        assert_eq!(config.local.map(|local| local.shards), Some(4));
        config.stream.id
    };
    assert_eq!(id(&[]), StreamId::Name("local".to_owned()));
    assert_eq!(id(&[("stream.name", "orders")]), StreamId::Name("orders".to_owned()));
    let arn = "arn:aws:kinesis:eu-west-1:123456789012:stream/orders";
    assert_eq!(id(&[("stream.arn", arn)]), StreamId::Name("orders".to_owned()));
    assert_eq!(config(&[("stream.name", "orders")]).local, None);
}

#[test]
fn plain_http_to_another_host_has_to_be_allowed() {
    let (name, url) =
        (("stream.name", "s"), ("stream.endpoint_url", "http://kinesis.example:4567"));
    assert_eq!(
        messages(&[name, url]),
        ["stream.endpoint_url = \"http://kinesis.example:4567\" (from \
             DISPATCHD__STREAM__ENDPOINT_URL): expected https, or http to loopback, unless \
             stream.allow_http is true"]
    );
    assert_eq!(
        config(&[name, url, ("stream.allow_http", "true")]).stream.endpoint_url.as_deref(),
        Some(url.1)
    );
}

#[test]
fn back_off_grows() {
    let name = ("stream.name", "s");
    assert_eq!(
        messages(&[name, ("delivery.backoff_min", "6s")]),
        ["delivery.backoff_min = \"6s\" (from DISPATCHD__DELIVERY__BACKOFF_MIN): expected at \
             most delivery.backoff_max = \"5s\" (from default)"]
    );
    assert_eq!(
        messages(&[name, ("delivery.backoff_min", "6s"), ("delivery.backoff_max", "x")]).len(),
        1
    );
}

#[test]
fn the_budget_holds_two_of_the_longest_lines() {
    let pairs = [("stream.name", "s"), ("stream.max_record_bytes", "10MiB")];
    let machine = Machine { memory_limit: Some(32 * MIB), ..Machine::default() };
    let inputs = Inputs { machine, ..from_env(&pairs) };
    assert_eq!(
        problems(&inputs)[0].to_string(),
        "memory.budget = \"16MiB\" (from cgroup memory limit 32MiB): expected at least 20608KiB, \
         two lines of stream.max_record_bytes = \"10MiB\" (from \
         DISPATCHD__STREAM__MAX_RECORD_BYTES)"
    );
    assert_eq!(config(&pairs).memory.budget_bytes, 64 * MIB);
}

#[test]
fn a_socket_path_too_long_for_the_kernel_names_its_length() {
    let path = format!("/{}", "s".repeat(129));
    let problems = problems(&from_env(&[("stream.name", "s"), ("socket.path", &path)]));
    assert_eq!(problems[0].expected, "a path of at most 107 bytes, this one has 130");
}

#[test]
fn the_admin_socket_lies_beside_the_other_one_where_its_name_has_room() {
    let resolved = |path: &str| {
        let inputs = from_env(&[("stream.name", "s"), ("socket.path", path)]);
        let Resolved { config, values, .. } = resolve(&inputs).expect("the values hold");
        (config.admin.socket, of(&values, "admin.socket").origin.to_string())
    };
    assert_eq!(
        resolved("/run/d.sock"),
        (Some("/run/d.sock.admin".into()), "beside socket.path".into())
    );
    let long = format!("/{}", "s".repeat(101));
    assert_eq!(resolved(&long), (None, "socket.path leaves no room for .admin".into()));
    assert_eq!(config(&[("stream.name", "s"), ("admin.socket", "off")]).admin.socket, None);
    assert_eq!(
        messages(&[("stream.name", "s"), ("socket.path", "/d"), ("admin.socket", "/d")]),
        ["admin.socket = \"/d\" (from DISPATCHD__ADMIN__SOCKET): expected another path than \
             socket.path = \"/d\" (from DISPATCHD__SOCKET__PATH)"]
    );
}

#[test]
fn addresses_that_cannot_be_listened_on_together_are_refused_by_both_names() {
    // What could go wrong: each address is free, `check` says so, and `run` does not start.
    let both = |http: &str, kinesis_api: &str| {
        messages(&[
            ("stream.name", "s"),
            ("http.listen", http),
            ("kinesis_api.listen", kinesis_api),
        ])
    };
    assert_eq!(
        both("127.0.0.1:4580", "127.0.0.1:4580"),
        [
            "kinesis_api.listen = \"127.0.0.1:4580\" (from DISPATCHD__KINESIS_API__LISTEN): expected \
             another port than http.listen = \"127.0.0.1:4580\" (from DISPATCHD__HTTP__LISTEN)"
        ]
    );
    assert_eq!(
        both("127.0.0.1:16464", "127.0.0.1:0"),
        [
            "http.listen = \"127.0.0.1:16464\" (from DISPATCHD__HTTP__LISTEN): expected another port \
             than admin.listen = \"[::]:16464\" (from default)"
        ]
    );
    for [http, kinesis_api] in [
        ["127.0.0.1:0", "127.0.0.1:0"],
        ["127.0.0.1:4580", "127.0.0.2:4580"],
        ["127.0.0.1:4580", "[::1]:4580"],
        ["127.0.0.1:4580", "127.0.0.1:4568"],
    ] {
        config(&[("stream.name", "s"), ("http.listen", http), ("kinesis_api.listen", kinesis_api)]);
    }
}

#[test]
fn the_kcl_s_own_file_is_read_again_by_a_reload_and_a_wrong_one_is_told_by_its_line() {
    // What could go wrong: a reload goes on with what the file said at the start, and says nothing.
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("app.properties");
    let write = |timeout: &str| {
        let text =
            format!("executableName = sh app\nstreamName = s\ntimeoutInSeconds = {timeout}\n");
        std::fs::write(&path, text).expect("it is written");
    };
    write("7");
    let (presets, _) = kcl_presets(&path).expect("it holds");
    let below = from_env(&[("forward.checkpoint", "none")]);
    let inputs = Inputs { kcl: Some((path.clone(), presets)), ..below }.for_forward();
    let timeout =
        |inputs: &Inputs| resolve(inputs).expect("it holds").config.forward.targets[0].exec_timeout;
    assert_eq!(timeout(&inputs), Duration::from_secs(7));
    write("9");
    let again = read_again(inputs).expect("it holds");
    assert_eq!(timeout(&again), Duration::from_secs(9));
    write("soon");
    let problems = read_again(again).expect_err("it does not hold").to_string();
    for part in ["app.properties", "line 3", "timeoutInSeconds"] {
        assert!(problems.contains(part), "{part}: {problems}");
    }
}

#[test]
fn what_a_command_presets_gives_way_to_everything_that_was_typed() {
    let preset =
        Flag { key: "log.level".to_owned(), value: "warn".to_owned(), flag: "exec".to_owned() };
    let level = |pairs| {
        let inputs = Inputs { preset: vec![preset.clone()], local: true, ..from_env(pairs) };
        resolve(&inputs).expect("the values hold").config.log.level
    };
    assert_eq!(level(&[]), "warn");
    assert_eq!(level(&[("log.level", "info")]), "info");
}

#[test]
fn what_is_detected_says_why() {
    let machine = Machine {
        program: "dispatchd".to_owned(),
        hostname: "pod-1".to_owned(),
        memory_limit: Some(96 * MIB),
        run_dir_writable: true,
        ..Machine::default()
    };
    let Resolved { config, values, .. } =
        resolve(&Inputs { machine, local: true, ..Inputs::default() }).expect("the defaults hold");
    assert_eq!(config.producer_id, "dispatchd@pod-1");
    let detected = |key| {
        let Setting { value, origin, .. } = of(&values, key);
        (value, origin.to_string())
    };
    let owned = |value: &str, why: &str| (value.to_owned(), why.to_owned());
    assert_eq!(detected("producer_id"), owned("dispatchd@pod-1", "program and hostname"));
    assert_eq!(
        detected("socket.path"),
        owned("/run/dispatchd/dispatchd.sock", "/run/dispatchd is writable")
    );
    assert_eq!(detected("memory.budget"), owned("48MiB", "cgroup memory limit 96MiB"));
    assert_eq!(detected("stream.name"), owned("local", "the embedded stream"));
}

#[test]
fn a_set_flag_splits_at_the_first_equals_sign() {
    let flag: Flag = "log.level=dispatchd=debug".parse().expect("it has a key and a value");
    assert_eq!((flag.key.as_str(), flag.value.as_str()), ("log.level", "dispatchd=debug"));
    assert_eq!("log.level".parse::<Flag>(), Err(NotKeyValue));
}

/// The documents had it backwards: "the first wait is up to this long". That the lanes do as they
/// say is tested where they decide.
#[test]
fn the_words_on_the_least_back_off_are_what_is_done() {
    let said = format!(
        "no wait after a failure is shorter, and the first is at most twice as long; only a paced \
         shard may wait less, from {}ms",
        dispatchd_producer::lane::cooling::PACED_REST_MIN.as_millis()
    );
    let key = KEYS.iter().find(|key| key.name == "delivery.backoff_min").expect("it is a key");
    assert_eq!(key.meaning, said);
    let plain = |text: &str| text.replace("\n#", "").to_lowercase();
    let said = said.replace("wait after a failure is shorter", "wait is shorter than backoff_min");
    let files = [include_str!("../../config.toml"), include_str!("../../docs/configuration.md")];
    assert!(plain(files[0]).contains(&said), "config.toml should say: {said}");
    assert!(!files.iter().any(|file| file.contains("is up to th")), "it is at least that long");
}

#[test]
fn lanes_that_are_told_nothing_decide_as_a_daemon_with_the_defaults() {
    let defaults = resolve(&Inputs { local: true, ..Inputs::default() }).expect("they hold");
    assert_eq!(
        Settings::default(),
        Settings::of(&defaults.config.batch, &defaults.config.delivery)
    );
}

#[test]
fn the_mode_that_the_socket_is_advised_by_is_the_default() {
    let inputs = Inputs { local: true, ..Inputs::default() };
    let defaults = resolve(&inputs).expect("the defaults hold").config;
    assert_eq!(defaults.socket.mode, crate::inputs::socket::barred::DEFAULT_MODE);
}
