//! The cases, as they stand in `clients/conformance`, each under its subject.

use super::transcript::Transcript;

/// One case. Its name is its promise.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Case {
    pub name: &'static str,
    /// Where it stands in the repository.
    pub path: &'static str,
    text: &'static str,
}

impl Case {
    pub(crate) fn transcript(self) -> Transcript {
        Transcript::parse(self.text).expect("a test reads every page")
    }
}

/// Every case, by subject.
pub(crate) fn all() -> &'static [Case] {
    CASES
}

macro_rules! cases {
    ($($subject:literal: $($name:literal)+;)+) => {
        const CASES: &[Case] = &[$($(Case {
            name: $name,
            path: concat!("clients/conformance/", $subject, "/", $name, ".txt"),
            text: include_str!(concat!(
                "../../../clients/conformance/", $subject, "/", $name, ".txt"
            )),
        }),+),+];
    };
}

cases! {
    "acks":
        "answers_may_come_in_any_order"
        "half_an_answer_waits_for_its_other_half"
        "many_answers_may_come_in_one_chunk"
        "an_answer_may_come_byte_by_byte"
        "what_is_unknown_in_an_answer_is_ignored"
        "a_copy_is_told_as_a_copy";
    "cuts":
        "what_is_unacked_at_a_cut_comes_again_with_the_same_id_and_bytes"
        "what_was_answered_before_a_cut_does_not_come_again"
        "what_comes_again_comes_in_its_order_and_before_anything_new"
        "an_event_whose_ack_was_lost_comes_again_once"
        "a_daemon_that_restarts_costs_nothing_but_time"
        "a_cut_in_the_middle_of_an_answer_is_no_answer"
        "two_cuts_in_a_row_lose_nothing"
        "what_is_no_answer_ends_the_connection";
    "socket":
        "a_socket_that_is_missing_at_the_start_is_waited_for"
        "a_socket_that_stays_missing_is_named_in_the_error"
        "a_socket_that_nobody_listens_at_is_waited_for"
        "a_socket_that_is_replaced_is_found_by_its_path"
        "a_daemon_that_hangs_before_its_hello_is_what_is_waited_for"
        "a_connection_that_is_turned_away_is_tried_again"
        "who_is_turned_away_until_the_timeout_is_told_why_and_waits_between";
    "refusals":
        "a_refusal_for_good_ends_the_call_at_once"
        "an_id_that_is_anothers_is_refused_for_good"
        "what_may_be_sent_again_is_sent_again_until_it_is_acked"
        "a_refused_event_holds_up_nobody_else"
        "a_refusal_that_lasts_ends_with_the_timeout_after_waits"
        "an_outcome_that_is_unknown_stays_unknown"
        "a_refusal_for_good_does_not_undo_an_attempt_that_may_have_stored_the_event"
        "a_daemon_that_never_answers_is_a_timeout_with_outcome_unknown"
        "what_was_written_before_a_cut_may_be_stored"
        "an_event_that_timed_out_is_not_sent_again";
    "bounds":
        "at_the_bound_of_events_publish_waits"
        "at_the_bound_of_bytes_publish_waits"
        "at_a_bound_try_publish_fails_and_drops_nothing"
        "a_wait_at_the_bound_ends_with_the_timeout"
        "a_daemon_that_reads_slowly_loses_nothing"
        "an_event_larger_than_the_buffer_is_refused"
        "what_is_settled_makes_room";
    "events":
        "an_event_of_a_mebibyte_is_written_whole"
        "text_arrives_as_it_is"
        "half_a_surrogate_pair_breaks_nothing"
        "numbers_keep_their_value"
        "data_of_every_shape_arrives"
        "every_option_is_handed_on"
        "an_id_that_the_caller_gives_is_kept";
    "hello":
        "hello_says_the_settings_first_on_every_connection"
        "events_do_not_wait_for_the_answer_to_hello"
        "a_refused_hello_fails_the_calls_and_the_next_call_tries_again";
    "order":
        "events_of_a_key_are_written_in_the_order_of_the_calls"
        "strict_order_has_one_event_of_a_key_open"
        "strict_order_sends_a_refused_event_again_before_the_next";
    "ends":
        "flush_waits_for_what_is_under_way"
        "flush_says_how_many_are_not_confirmed"
        "close_says_how_many_are_not_confirmed_and_ends_their_calls"
        "close_waits_for_answers_and_lets_the_connection_go"
        "a_closed_client_takes_nothing_on"
        "the_counters_add_up"
        "a_disabled_client_publishes_nothing_and_says_so"
        "a_child_of_a_fork_has_a_connection_of_its_own";
    "batches":
        "a_batch_has_a_result_for_each_event_in_their_order"
        "of_a_batch_only_what_may_be_sent_again_is_sent_again"
        "of_a_batch_that_is_cut_what_is_open_comes_again"
        "a_batch_that_times_out_says_of_each_event_what_is_known"
        "a_batch_without_a_refusal_ends_with_its_events";
    "transactions":
        "a_transaction_is_begun_staged_and_committed_in_order"
        "a_rollback_sends_nothing"
        "a_rollback_after_a_cut_sends_nothing"
        "staged_waits_until_every_event_is_checked"
        "what_was_refused_when_staged_stays_refused_when_the_others_are_committed"
        "an_id_that_is_anothers_fails_staged_for_good"
        "an_answer_to_staging_is_no_answer_to_the_commit"
        "a_transaction_that_ended_while_staging_goes_as_plain_events"
        "a_transaction_that_ended_at_the_commit_goes_as_plain_events"
        "a_cut_before_the_commit_loses_nothing"
        "a_cut_after_the_commit_was_written_sends_the_same_ids_again"
        "a_restart_while_events_are_staged_loses_nothing"
        "without_a_daemon_a_transaction_waits_in_the_client"
        "a_transaction_that_is_too_large_goes_as_plain_events"
        "a_transaction_that_the_daemon_does_not_begin_goes_as_plain_events"
        "of_a_commit_only_what_may_be_sent_again_is_sent_again"
        "a_commit_that_is_never_answered_is_a_timeout_with_outcome_unknown"
        "two_transactions_do_not_meet";
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::fs;
    use std::path::Path;

    use super::*;

    #[test]
    fn every_page_is_in_the_list_can_be_read_and_begins_with_its_promise() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("clients/conformance");
        let entries = |folder: &Path| {
            let entries = fs::read_dir(folder).expect("the folder is readable");
            entries.map(|entry| entry.expect("so are its entries").path()).collect::<Vec<_>>()
        };
        let subjects = entries(&folder).into_iter().filter(|path| path.is_dir());
        let pages = subjects.flat_map(|subject| entries(&subject));
        let pages: BTreeSet<String> = pages
            .filter(|path| path.extension().is_some_and(|extension| extension == "txt"))
            .map(|path| path.strip_prefix(env!("CARGO_MANIFEST_DIR")).expect("inside").to_owned())
            .map(|path| path.to_string_lossy().into_owned())
            .collect();
        let listed: BTreeSet<String> = CASES.iter().map(|case| case.path.to_owned()).collect();
        assert_eq!(pages, listed);
        for case in CASES {
            let transcript = Transcript::parse(case.text);
            let transcript =
                transcript.unwrap_or_else(|failure| panic!("{}: {failure:?}", case.path));
            assert!(transcript.promise.len() > 40, "{}: what is promised?", case.path);
        }
        let names: BTreeSet<_> = CASES.iter().map(|case| case.name).collect();
        assert_eq!(names.len(), CASES.len(), "a name is one promise");
    }
}
