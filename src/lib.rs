//! dispatchd: a local socket in, Kinesis Data Streams out, an answer back once the event is
//! durable; and the way out again, from the stream to whoever wants what is in it.
//!
//! This page is the map: the words, the floors, the trip of one event in and out, and what to touch
//! for a change. `docs/architecture.md` is the page to read first.
//!
//! # Words
//! Every word that is ours has one meaning. "Shard", "partition key", "sequence number" and
//! "iterator" are used in Kinesis' sense only. `dispatchd_producer` and `dispatchd_consumer` are
//! the crates that decide; `producer` and `consumer` without that are the folders of `src` with the
//! tasks around them. `core` and `aws` are the crates `dispatchd_core` and `dispatchd_aws`.
//!
//! | word | meaning |
//! |---|---|
//! | caller | an application at the other end of a connection |
//! | client | a caller that has sent a line; the folder `client` is our own one, which speaks to a daemon |
//! | peer | the other end of a socket as the kernel knows it, whatever it sends |
//! | operator | who runs a daemon or a forwarder, and asks it by the admin socket; what is *told* goes to an operator, in the log or there |
//! | event | what an application wrote |
//! | request | what one line of a caller asks for: an *event*, or a *control line* (`hello`, `batch`, `commit` and others). What a lane sends is a *PutRecords request*; in `lane` and `aws` the plain word means that one |
//! | record | one event's sealed bytes, with its partition key and the hash of that key |
//! | packed record | many records in one, in the KPL's format; the setting `delivery.aggregation` chooses it |
//! | entry | what Kinesis counts as one record of a PutRecords request: one event's record, or a packed record |
//! | input | where events enter: lines or HTTP on the socket, HTTP or the Kinesis API on loopback |
//! | intake | where an event of any input is accepted or refused, and becomes an item |
//! | reference | what an answer is correlated by: an input's, opaque to everyone else |
//! | item | a record and its ticket |
//! | ticket | the duty to answer the caller of one event |
//! | credit | the right to one more answer that is not written yet, to an event or to a control line; it comes back when that answer is written. An exchange takes one more for the names that it keeps of an event |
//! | budget | the bytes of events that may be held |
//! | staged | checked, paid for and held, and not on its way |
//! | transaction | events of one connection that are staged until a commit; a rollback, its time or the end of the connection drops them |
//! | gathered | the results of events that share an answer, in one place until all of them are there |
//! | exchange | the way of one request with many events through the intake, where an input has such requests; its *names* are what the caller calls an event by |
//! | patience | how long somebody is waited for: a request waits for room and answers (`inputs::exchange`), a peer is waited for with a line unfinished (`inputs::socket::patience`) |
//! | place | one connection of an HTTP server's (`http_server::place`); who is waited for there makes room for a newcomer. An event's place is its index in what came with it |
//! | presence, visit | how many connections there are, and how many of them clients; one connection's part in that |
//! | deadline | of an event: until when its caller waits; of the drain: until when it may take |
//! | ack, refusal | the two answers to an event: that it is durable, and any other. An event is *acked* when it is durable |
//! | outbox | where the answers of one connection lie until its writer takes them. In the pages for applications it is what others call so too: a table that events are sent from |
//! | lane | an owner of partition keys, with an *inbox* for what readers hand over |
//! | shard queue, key queue | a shard's ready keys inside a lane; a key's items |
//! | batch | what goes into one PutRecords request, and nothing else; the control line `batch` is *events that share an answer* in the code |
//! | flight | a batch that is being sent |
//! | call | a request of AWS's APIs: one of ours to Kinesis, or an SDK's to our Kinesis API, whose *attempts* have one invocation in common |
//! | reply | what is said to a call, by Kinesis to us or by our Kinesis API to an SDK. Any other caller gets an *answer* |
//! | verdict | Kinesis' word on one entry |
//! | outcome | our word on one event: *durable* (with its position), *refused*, or *unconfirmed* (the event may or may not be stored) |
//! | settled, answered, written | an event has its outcome; the answer is in the outbox; the answer is in the socket |
//! | code | the name of a refusal; it says whether sending the event again can help |
//! | class | what a lane or a reader does about a call that failed: slow down, wait, probe, take it apart |
//! | cause | why a call stored nothing, for the person who has to act |
//! | reason | the cause of a stream that is *blocked*: it takes nothing until an operator acts |
//! | position | where a durable event is: shard and sequence number |
//! | fingerprint | what a caller said of an event whose id it chose, in 64 bits |
//! | shard map | which hash range belongs to which shard |
//! | cooling | a key or shard that is not sent to until a time after a failure; it *rests* until then |
//! | pacing | how fast a shard is sent to that was throttled |
//! | back-off | the curve of the waits after failures |
//! | outage | a time in which PutRecords requests stored nothing |
//! | drain | the time from the signal to stop until the last answer |
//! | taker | of a program: who takes over what a reload changes (`programs::control`) |
//! | archive | what was kept of a stream, in files, in any of the forms that `replay` reads |
//! | forwarder | the program `forward`: it delivers a stream to its targets |
//! | subscription | one target's way through the stream: the readers that it has for itself |
//! | delivery | one shard's records on their way to one target (`dispatchd_consumer::delivery`), and the folder's other words: a *batch* of a delivery goes in one request, a *strand* is the part of a shard's keys that is delivered in order, a record's *place* is where it stands in its shard, the *checkpoint* is the last one before which everything is done |
//! | page | what one GetRecords brought; of `admin::pages`, what is served over TCP for everybody: metrics, or the answer to a probe |
//! | backlog | what of a shard, or of a stream, is not read to its tip |
//! | case | a promise of the clients as a page of plain lines, which `programs::conformance` plays: it says what the application, the client and the scripted daemon do. The *driver* is the program around the client; the *ledger* has what is known of each event |
//! | pattern | an event pattern in EventBridge's language; a *filter* is what of a stream is wanted, by patterns, types and key |
//! | schema | what the `data` of events of one type look like; the *gate* asks on the way in, before the intake accepts an event, whether it fits the schema of its type. The other words for schemas are `dispatchd_schema`'s |
//! | window | how much may be open at once: a connection's unanswered events (`socket.window`), the bytes of pages (`dispatchd_consumer::window`), the ids that are remembered (`lane::dedupe`) |
//! | check | what is looked at before a start, and the command that shows it (`programs::check`). Values that must fit each other are `config::check`'s: they hold for every start and reload |
//! | target | who `forward` delivers to, with a progress on the stream of its own; the *board* is what is shown of the targets. One that is there and does nothing is *wedged* |
//! | child | of a target that is a program: its process for one shard; what is said to it and by it is the *dialogue*. A shard's children are the shards that follow it |
//! | checkpoint | how far a shard is done for a target; a *book* keeps those of one target |
//! | dead letter | a record that was given up for a target, kept with the reason |
//! | room | a module with one subject |
//!
//! # Floors
//! A file imports from its own floor or a lower one, which `tests/it/floors.rs` keeps so. No two
//! files of a crate import each other, directly or by way of others, and the rooms of a lane only
//! from those below them in `dispatchd_producer::lane`'s table: `tests/it/cycles.rs`.
//!
//! | floor | modules | hold |
//! |---|---|---|
//! | 4 | `cli` | arguments and printing, one file a command |
//! | 3 | `programs` | whole programs: built from the configuration, they own their tasks and drain |
//! | 2 | `admin` `config` `consumer` `embedded_stream` `inputs` `producer` `progress` `schema` `targets` `telemetry` | where bytes enter and leave, the tasks around the engines, and what the daemon is told and tells |
//! | 1 | `client` `heap` `http_server` `terminal` | what needs nothing else here |
//! | 0 | the crates `dispatchd-producer`, `-consumer`, `-aws`, below that `-transport`, `-pattern` and `-schema` and, below all, `-core` | what is decided, the calls to AWS, connections, schemas, and the words for all |
//!
//! # The trip of one event
//! | # | where | in → out | whose task |
//! |---|---|---|---|
//! | 1 | `core::wire::ndjson::lines` | bytes → one line, no copy | the connection's |
//! | 2 | `core::wire::ndjson::request` | a line → a request, once; `data` stays raw JSON | " |
//! | 3 | `dispatchd_producer::intake::offer` | an event, an id, the time → accepted, refused, or what it needs (a credit or bytes: two of the waits of the trip) | " |
//! | 4 | `core::model::envelope` | an event, an id, the time → a record: the one copy, the one MD5 | " |
//! | 5 | `dispatchd_producer::lane::inbox` | items, in groups → the inbox of the lane that owns the key | " |
//! | 6 | `dispatchd_producer::lane::turn`, `buffer` | an id that is known → its outcome; else a batch to send, or when to look again | the lane's |
//! | 7 | `aws::put_records` | entries → one verdict each, or an error for the whole request | a flight's, owned by the lane |
//! | 8 | `dispatchd_producer::lane::apply_verdicts` | a batch and its verdicts → outcomes; the rest goes back to the front of its key | the lane's |
//! | 9 | `dispatchd_producer::ticket` | tickets and outcomes, in groups → the connection's outbox; it cannot wait, since the credits were taken in 3 | " |
//! | 10 | `inputs::socket::writer`, `core::wire::ndjson::answer` | answers → bytes, many a write | the connection's |
//!
//! The other inputs go the same way from 3 to 9. HTTP reads a body as a whole (`inputs::body`),
//! makes events of it (`core::wire::http`, `core::wire::cloudevents`), offers them one after the
//! other and has their answers in that order (`inputs::exchange`).
//!
//! Down once, back once. The ticket holds the way back, so nobody searches for a caller; a shard
//! queue is found by the shard map, and an id that its caller chose is remembered once its event is
//! settled. What is refused without any memory of its key turns round at 1 (a line that is too
//! long), 2 or 3, and takes the same way back.
//!
//! # The trip out
//! `tail` and `replay` go parts of it. What decides is in `dispatchd_consumer`.
//!
//! | # | where | in → out | whose task |
//! |---|---|---|---|
//! | 1 | `dispatchd_consumer::plan`, `consumer::readers` | lists of shards → which are read now, and from where: parents before children | the subscription's, one a target |
//! | 2 | `consumer::shard_source`, `aws::get_records` | a place in a shard → pages, as far as the window has room | the reader's, one a shard and target |
//! | 3 | `programs::forward::unpack`, `core::wire::decode` | a page → its records, packed ones taken apart; what no filter wants is skipped | the shard's, one a shard and target |
//! | 4 | `dispatchd_consumer::delivery` | records, responses, the time → steps: read, send, keep a dead letter, keep a checkpoint, wait | " |
//! | 5 | `dispatchd_consumer::format`, `core::wire::forward` | a batch → the body of a request | the request's, owned by the shard's |
//! | 6 | `targets::http` | a request → what came of its records | " |
//! | 7 | `dispatchd_consumer::delivery`, its `follow` | a response → records that are done, sent again or given up | the shard's |
//! | 8 | `targets::dead_letters` | records that were given up → a line in a file, or a record in another stream | the dead letters', one a place |
//! | 9 | `progress` | a checkpoint → the book's file; it passes no record that is not delivered, skipped or kept in 8 | the book's, one a target |
//!
//! A target that is a program (`targets::exec`) has a child in the place of 4 to 8, which says
//! itself how far it is; `dispatchd_consumer::dialogue` has the rules of that.
//!
//! # To add …
//! Each of them stands in `CHANGELOG.md` too.
//!
//! | to add | touch | what fails if it is forgotten |
//! |---|---|---|
//! | a key of a target | its row in `config::targets`, and `OF_ONE_WAY` and `relate` there; a field of the same name in `targets::settings`; what uses it: `programs::forward::target` (`rules`) for batches, retries and ages, with `dispatchd_consumer::delivery::rules`, and `strand`, which makes the waits, `programs::forward::target_factory` for connections, programs and places, and of a program `targets::exec`: its `Settings`, the clock in `delivery`, a new cause in `failure`, which is a label in `docs/metrics.md`, and `docs/exec.md`; `config.toml`; `docs/configuration.md`, `docs/forward.md`; a flag in `cli::forward`; both lists of keys in `config::tests` | every test that resolves a target; `every_key_of_a_target_has_a_flag_of_its_name` in `cli::forward`; `a_key_of_one_way_of_delivering_is_refused_beside_the_other` in `config::tests`; the tests that read the pages; the tests of packaging, for the label; for a value that nobody uses, nothing |
//! | a configuration key | its row in `config::keys`; what uses it (of `envelope`: "what an envelope looks like"); a field of the same name in its section's `Settings` (`config::settings` lists the files); `config.toml`; `docs/configuration.md`; a value out of its range in `config::tests`; of `batch` and `delivery` also `lane::settings`, with its `Default`, and `of` in `crates/producer/src/settings.rs`; who makes settings in full: `lane::test_support`, `crates/producer/tests/sim/plan.rs`, `benches/path.rs`, `tests/it/callers/tasks.rs` (sockets, HTTP) and, of `transaction`, `fuzz/targets/transactions.rs` | every test that resolves a configuration (row or field), `the_shipped_file_holds_every_key_at_its_default` in `config::file`, `the_documentation_holds_every_row_of_the_table` and `lanes_that_are_told_nothing_decide_as_a_daemon_with_the_defaults` in `config::tests`; the compiler, but for the fuzz targets |
//! | a choice for such a key | its name in the room's own `choice!`, and what it does; `config.toml` and the row in `docs/configuration.md`, which list the words | the compiler, wherever the choice is matched; `a_choice_is_one_of_its_words_and_every_word_of_it_is_taken` in `config::tests` and `the_shipped_file_says_the_range_or_the_choices_of_every_key` in `config::rule`; `the_documentation_holds_every_row_of_the_table` |
//! | a key that a reload changes | `.reloaded(…)` in its row, which says who takes it over; what that one gets (for the lanes: `lane::Settings`); the section "Reload" of `docs/configuration.md`; the list `OTHER` in the tests of `config::reload`; for a new taker, `programs::control::take_over`, which hands it on | the tests in `config::reload`, one of which finds a key that does not reach its taker; the compiler, where a new taker is not told |
//! | a variable of the environment | its form in `config::environment`, or any text is taken; `aws::sdk_env`, for a name that neither begins with `AWS_` nor names a proxy (those pass already); the room in `aws` that reads it, unless the SDK does; `docs/operations.md` (credentials, connections) beside its like, else `docs/configuration.md` | nothing: a variable that `sdk_env` passes over is not seen by anyone, and one without a form holds any text |
//! | a control line | its row in `OPS` and its `Request` in `core::wire::ndjson::request`; its answer in `core::wire::ndjson::answer`; `inputs::socket::reader`, which does it (what it tells of its connection is a method of the `Intake`, which has the outbox); if its answer waits for events, `Answer` in `dispatchd_producer::ticket`, `intake`, and `inputs::socket::writer`, which keeps it until then; `docs/protocol.md`; `fuzz/targets/request.rs`, and a line of it in `fuzz/corpus/request/control-lines`; if a client writes it, the client, and `programs::conformance` (`play`, `transcript`) | the compiler, in the reader; `the_page_has_every_field_and_no_other`; `fuzz/run`, where a line of the corpus is read otherwise than the page says |
//! | a field of `hello` | (one that no event has needs neither `is_plain` nor an envelope, but `inputs::socket::reader`, which does `hello`:) its name in `RawContext` of `core::wire::ndjson::request`, and its reading; the field in `core::model::context`; `dispatchd_producer::intake`, which adds it to events, and its `is_plain` in `set_context`; what an envelope has of it: `More` in `core::model::envelope`, in each of its forms, the schemas in `crates/schema/src/envelope`, `core::wire::forward::cloudevents`; `docs/protocol.md`; `fuzz/targets/request.rs` | the compiler, where a `Context` or a `More` is made; for `is_plain` (a connection that says only this gets plain envelopes) and the schemas, nothing; `the_page_has_every_field_and_no_other`; `fuzz/run` does not build |
//! | what an envelope looks like | `core::model::envelope`: each form, and its exact length, which the budget is asked for; what is not the plain `lk` is in `More`, which `dispatchd_producer::intake` fills, and `is_plain` there (in `open`, `set_context` and `draft`); of a key of `envelope` also `Envelopes` in `intake`, which `programs::daemon::build` fills; `core::wire::ndjson::answer`, where the envelope of an `echo` stands in one line; `docs/protocol.md`; `fuzz/targets/request.rs` | the compiler, where a `More` or an `Envelopes` is made; the unit tests of `envelope`, for a length; `fuzz/run`; for `is_plain` and the line of an `echo`, nothing |
//! | an option of an event | `core::wire::ndjson::request` (name and reading); the field in `core::model::event`, and in its `said` if two events with other values are not the same; the room that acts on it (one that few events have goes into `Extras`): `intake` (`request` and `mod`, and `staged`, which makes the items of batches and transactions), if it needs no memory of a key (an id is remembered where `request` makes it `EventId::Chosen`), else `lane`, to which `lane::item` carries what `intake` fills in, and then "a lane's rule" (until when an event may wait is there: `EventRequest::until`); `docs/protocol.md`, `docs/clients.md`; `inputs::http::events` and `openapi.json` there; `fuzz/targets/request.rs`; the clients (Node `lib/entry.js`, `index.d.ts`; Python `_types.py`, `_core.py`, `testing.py`; Go `event.go`; Java `Event.java`; the drivers of the last three), their page `events/every_option_is_handed_on`, and the lists of options in `README.md` and `reference.py` of `clients/conformance` and in `programs::conformance::ledger` | `the_page_has_every_field_and_no_other`; the compiler, wherever an `Event` is made, and for one in `Extras` in `inputs::http::events`; for the fuzz target, which is no member of the workspace, `fuzz/run` alone |
//! | a refusal code | its row in `core::model::code`; `docs/protocol.md`; `inputs/http/openapi.json`, `docs/http.md`; `docs/operations.md`, if it is the application's fault; one of the two alerts in `deploy/alerts.yaml` that list codes; the labels in `docs/metrics.md`; `tests/packaging/prometheus`, which has each code happen and lists what fires; `clients/node/index.d.ts`, which has every code; in the clients, if it may be sent again, the lists in what applications test with (Python `testing.py`, Go `dispatchdtest/daemon.go`, Java `testing/FakeDaemon.java`), and if it then says no outcome, since it stores nothing, the list of such codes (Node `lib/engine.js`, Go `answer.go`, Java `Courier.java`); `deploy/dashboard.json`, whose words name those that may be sent again | the tests in `code` that read both pages and the alerts; `the_description_has_every_code_and_every_status_that_a_code_has` in `inputs::http::routes`; the tests of packaging, for page and happening; for the clients' lists and the dashboard, nothing |
//! | an error code of AWS's | its row in `aws::classify`, by which readers act as well, and the same from AWS's pages in `EXPECTED` of `tests/it/service/faults_seen.rs`; `docs/delivery.md`, if it throttles or refuses what is sent | `the_table_of_codes_says_what_aws_says` in `faults_seen`, where one of the two lists has it; where neither has, nothing: the code is read by its HTTP status |
//! | a reason that blocks | name, words and advice in `core::model::reason`; the codes that say it in `aws::classify`; both tables of `docs/operations.md` (reasons, causes); the labels in `docs/metrics.md`. `dispatchd_consumer::recovery` takes its advice from `reason` too; only a reason that needs another wait there is matched there | the compiler, for the words; the tests in `reason` and `cause` that read the page; the tests of packaging, for the labels |
//! | a metric | the metrics struct of its room; where it is counted (of a lane `lane::turn`, of a target `programs::forward::target`, or `targets::http` for what only the request has); its row in `telemetry::table`, of a histogram with its bounds; `docs/metrics.md`; `tests/packaging/prometheus`, where a counter has to move; dashboard or alert, if an operator acts by it | `the_rooms_and_the_table_have_the_same_metrics` in `programs::metrics`, which registers every room's; the tests of packaging, for page, dashboard and alerts; for a histogram that nobody writes, nothing, unless a panel draws it |
//! | an alert | `deploy/alerts.yaml`, on a metric that is there (`docs/metrics.md` has all, those of a forwarder too; else "a metric" comes first); in `deploy/alerts_test.yaml` a case in which it fires and one in which it is silent; its section in `docs/operations.md`; the list of what fires in `tests/packaging/prometheus`, only for one without `for` that the traffic there sets off | the tests of packaging: `every_alert_fires_in_its_case_and_is_silent_near_it`, `every_alert_links_to_its_runbook` |
//! | a field of `admin status` | the room that knows the value, in a form that can be read (a handle of a metric can only be written; every change of `Presence` wakes the daemon); for what a lane knows `lane::report`, for anything else (of the stream `producer::refresher`, which gets its `Summary`) `Shown` in `admin::status`, which `programs::daemon::build` fills; the document in `core::wire::admin`; `admin::status`, which fills that; `cli::status`, which prints it; the sample in `docs/operations.md` | the compiler, for the fill; for the print of `Status`, `LaneStatus` and `Shard` a variable that is not used, which is an error in clippy; for that of other documents nothing |
//! | a lane's rule | its room under `dispatchd_producer::lane` (of a rule by key over time also `queues`, whose `end_flight` forgets a key that is empty; of what goes into a request, what "a limit of a PutRecords request" names; of one that refuses an event at the door `buffer`, and `turn`, which answers it and closes its id in `dedupe`); in `crates/producer/tests/sim` its model in `watch`, and a mutant in `mutant` that breaks it; for a refusal at the door also `run` (`push`, which takes any for `IdReused`) | nothing without the mutant: it is the test of the test |
//! | a rule of a delivery | its room under `dispatchd_consumer::delivery`, and the table in its header; `docs/forward.md`, if a user chooses it or sees it; in `crates/consumer/tests/sim` its model in `watch`, and a mutant in `mutant` that breaks it | nothing without the mutant |
//! | a limit of a PutRecords request | its value: `limits` in `lane::batch_builder`; what it does: `lane::packing`, if it is by number, bytes or what shares a record (a constant stands there; what is counted of an open record is `lane::batch`'s), and `fill` and `take` of `lane::batch_builder`, if it is by key or shard; `lane::key_queue::sendable`, which foresees both and must say the same; `lane::queues::due`, which sends a full request before `linger` is over; `lane::buffer::set_settings`, if it comes from the settings and holds for the life of a lane | the simulation, where requests are sent that are too small or too late, and the unit tests of `batch_builder` for sizes that the simulation's small events never reach; nothing tells that `sendable` says something else but waits that are too long |
//! | a wait after a failure, or another bound of one | the curve: `core::model::backoff`; the configured bounds: `config::keys` and `lane::settings`, where `DRAIN_BACKOFF_MAX` is; a shard's: `lane::cooling` (of a paced one `PACED_REST_MIN`), to which `cool` in `lane::apply_verdicts` hands the bounds; between probes of a blocked stream: `lane::stream_health` (`PROBE`); a reader's: `dispatchd_consumer::recovery`; the model's bounds in `crates/producer/tests/sim`: `rests.rs` for shards, `plan.rs` (`deadline`) and `watch.rs` for probes; what is derived from it, such as `AGAIN_MAX` in `aws::credentials::renewal` | the unit tests of the room, and the simulation (a wait that is too short or too long for its model); for the pages, nothing; `the_words_on_the_least_back_off_are_what_is_done` in `config::tests` |
//! | values that must fit each other | `relate` in `config::check`, or in `config::targets`; the list in `docs/configuration.md`; `config::tests` | nothing |
//! | a bound of a field that exists | the constant in `core::limits`, where two files need it, else in its room; the reading of the field in `core::wire::ndjson::request`; `docs/protocol.md`; `fuzz/targets/request.rs` | the room's unit tests, for a bound that moves; `fuzz/run`; for the page, nothing |
//! | a promise of the clients | `docs/clients.md`; its page in `clients/conformance` (README there has the words), and its line in `programs::conformance::cases`; a fault for it in `clients/conformance/reference.py`; the clients | a page that is not in the list, `cargo test --lib conformance`; a case without a fault that it notices, and a client that does not keep it, `cargo test --test clients` |
//! | a permission | `aws::iam_policy`; `cli::iam`, for a flag; `advice` in `core::model::call_error`; one that is not on a stream (`*`) is a statement of its own; `docs/operations.md` | `tests/packaging/iam.rs`, which has the daemon's calls and the policy |
//! | a number per connection | who knows it: what is not answered, `dispatchd_producer::ticket` (a `Responder` begins it, its answer in the `Outbox` ends it); what is not answered or not written, together, `dispatchd_producer::credit` (of HTTP and the Kinesis API a request's); whose peer takes no answers, the one that writes: `inputs::socket::writer`, which `inputs::socket::connection` makes, and `http_server::stream`; a count that all of them share, `inputs::callers`, which has one (`HeldUp`); who is there, `inputs::presence`. It is shown as a sum or a maximum: no label names a connection | nothing |
//! | an input | its name in `core::model::Input`; its format in `core::wire`; its folder under `inputs`, which offers to the `intake` and prints what the tickets bring; its section in `config` and, where it listens on loopback, `loopback` and `loopback_connections` of `Config`; its line in `programs::daemon::build`; its page, and its column in `docs/inputs.md`; the label `input` in `docs/metrics.md` | the compiler, where an input is matched; the tests of packaging, for the label; for the rest nothing |
//! | an operation of the Kinesis API | `core::wire::kinesis_api::operation`; a question about the stream: `describe` (its members) and `dispatchd_aws`' file of that name; anything else: its reading (a room of its own; `served` checks the stream) and its reply (`reply`) in `core::wire::kinesis_api`; `inputs::kinesis_api::calls`, which finds its room; `inputs::kinesis_api::metrics`, and its label in `docs/metrics.md`; `docs/kinesis-api.md`; `fuzz/targets/kinesis_api.rs` | the compiler, in `calls` and in `metrics`; the tests of packaging, for the label |
//! | a route of HTTP | `inputs::http::routes`, with its methods (any other is 405 with `Allow`); `not_found` in `core::wire::http::problem`, which names what is served; `openapi.json` beside the routes; `docs/http.md`; `tests/it/http/events.rs` | `tests/it/http/others.rs`, for an answer that `openapi.json` does not have; for a route that it does not have, for the words of the 404 and for the page, nothing |
//! | a probe | `http_server::probes` (a path and a state → an answer; none depends on Kinesis); what it goes by: `Answers` in `admin`, which `programs::daemon::build` and `programs::forward::build` fill, and `admin::pages`, whose 404 names what is served; `docs/operations.md`; `tests/it/process/lifecycle.rs`. The HTTP input answers no probes | the compiler, for `Answers`; `probes_do_not_ask_kinesis_and_the_socket_opens_without_it` in `lifecycle`; for the words of the 404 and the page, nothing |
//! | a flag of a command | its file in `cli`; the options of its program; `docs/operations.md`; its file in `tests/it/commands` (of `forward` and `replay` in `tests/consumers`); of `run`, `exec`, `check`, `tail`, `local` and `stream` also the lists in `tests/it/commands/cli.rs` | `help_lists_the_flags_that_a_command_has_a_use_for` in `cli.rs`, for those commands; for the others, and for the page, nothing |
//! | a finding of `check` | `programs::check`: `online` (what the service says; `Summary` in `aws::manage_stream` has what DescribeStreamSummary tells), `host`, `loopback` or `forward`; the table in `docs/operations.md`; `tests/it/commands/check_online.rs` | nothing |
//! | a format of `forward` | its name and what is asked of it in `dispatchd_consumer::format` (`mod`; `request` makes the body, `answer` reads what comes back); its bytes in `core::wire::forward`, and `misfit` there, for what it cannot carry; the help of `cli::forward`; what it means for order and numbers in `config::targets` and `targets::http::settings`; the tables of `docs/forward.md` and `docs/targets.md` | the compiler, in `format`; for the pages, nothing |
//! | a kind of target | its room in `targets`; the key that chooses it, as above, with its place in `OF_ONE_WAY` and `relate` of `config::targets`; `Way` in `programs::forward::target`, `target_factory` and `subscription` there; `admin::forward_status` (`to`, `format`); `programs::check::forward`; `targets::memory`; the form of a record: `dispatchd_consumer::format` or `core::wire::archive`; `docs/targets.md`, `docs/forward.md`, `docs/architecture.md`; `tests/packaging/prometheus`, whose forwarder has one of each kind | the compiler, in `subscription`; for status, check, memory and pages nothing |
//! | an operator of patterns | in `crates/pattern/src`: `syntax::operators` (with `anything-but`, or not), and `RESERVED` in `syntax`, or `$or` takes it for a field; `test`, if no test there does it; the table in `lib.rs`, and `docs/patterns.md`; where event-ruler differs, the lists in both, and `tests/consumers/event_ruler.rs`; `fuzz/pattern.dict` | `tests/consumers/event_ruler.rs`, once it draws the operator; for the others nothing |
//! | a field of `admin status` of a forwarder | who knows it writes it to `targets::board`; the document in `core::wire::admin`; `admin::forward_status`, which fills that; `cli::forward_status`, which prints it; `docs/forward.md` | the compiler, for the fill; clippy, for the print |
//! | a keyword of schemas | in `crates/schema/src`: its name and reading in `compiled::keywords`; what it demands in `compiled::node` and `validate`; `compiled::number`, if it reckons; `looks`, if it looks at bytes again; `size`, if it holds what is not in its struct; `compat::covers`, which compares two schemas; in `export`: `walk::inside`, if it holds schemas, `openapi::of_kind`, if it is of one kind of value, `UNKNOWN` and `Draft::of_keyword`, where a form has no such word; `docs/schemas.md`; a case in `compiled/tests.rs`, in `compat/tests.rs` and in `any_schema` there | a keyword that is not in the list is refused by name; `every_keyword_is_checked_as_another_reader_checks_it`, once it has a case; for `covers`, `where_no_gap_is_found_every_value_of_the_one_fits_the_other`, once `any_schema` draws it; for the others nothing |
//! | a form of an archive | `core::wire::archive`: its table, `read`, and `AnyForm`, which tells it from the others; of one that is no line of JSON also `programs::replay` (`index` tells it by its first bytes, as it does gzip; `unpacked`, `source`), and a target in `fuzz`; `tests/consumers/replay.rs`; `docs/replay.md`; the help of `cli::replay` | nothing |
//! | a key of the KCL's file | `targets::exec::kcl_file`, with a key of ours or why it has no meaning; `docs/exec.md` | nothing: a key that is not known is told and changes nothing |
//! | a crate | its folder under `crates`; `default-members` in `Cargo.toml`; the table in `docs/architecture.md` | a test in `tests/it/floors.rs` that compares the folders with the list |
//!
//! # Promises
//! An ack means that the event is in Kinesis. Every event is answered exactly once. Delivery is at
//! least once: an event whose confirmation was lost is sent again. The order of a partition key
//! survives every failure under `strict`. Memory is bounded by a sum. No caller pays for another's
//! fault.

// What is printed goes through `cli::out`: these panic where standard output is closed or full.
#![cfg_attr(not(test), deny(clippy::print_stdout, clippy::print_stderr))]

mod admin;
pub mod cli;
mod client;
pub mod config;
mod consumer;
#[cfg(feature = "local")]
pub mod embedded_stream;
pub mod heap;
mod http_server;
pub mod inputs;
pub mod producer;
pub mod programs;
mod progress;
mod schema;
pub mod targets;
mod telemetry;
mod terminal;
