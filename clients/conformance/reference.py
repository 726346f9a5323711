#!/usr/bin/env python3
"""A client as small as one can be that keeps every promise of docs/clients.md, and its driver, in one
file. It is what the cases of this folder are tried with, so that the tool can be trusted where no
client is at hand, and an example for those who write a client. It is for reading and for tests, and
never for applications: clients/python is.

    dispatchd conformance --client clients/conformance/reference.py

`--broken FAULT` breaks one thing, as a client might be broken. `--faults` prints, for each case, the
fault that it was seen red with: a case that no broken client fails would prove nothing. Every fault
is named where it is made, in a line with `broken(…)`.
"""

import asyncio
import json
import os
import random
import sys
import uuid
from collections import deque

WAIT_FIRST, WAIT_LAST = 0.05, 5.0  # s; of reconnecting, and of what is refused and retryable
OPTIONS = ["partitionKey", "explicitHashKey", "sourceUserId", "id", "envelope", "traceparent", "tracestate"]
CONTEXT = ["producerId", "sourceUserId", "correlationId", "organisationId", "envelope"]
CODES = {"Timeout": True, "Closed": True, "BufferFull": True, "EventTooLarge": False}
BROKEN = None

# The fault that each case was seen red with.
FAULTS = {
    "answers_may_come_in_any_order": "matches_answers_by_order",
    "half_an_answer_waits_for_its_other_half": "takes_a_read_for_a_line",
    "many_answers_may_come_in_one_chunk": "hears_one_answer_a_read",
    "an_answer_may_come_byte_by_byte": "decodes_before_a_line_is_whole",
    "what_is_unknown_in_an_answer_is_ignored": "hangs_up_at_what_is_unknown",
    "a_copy_is_told_as_a_copy": "hides_that_it_is_a_copy",
    "what_is_unacked_at_a_cut_comes_again_with_the_same_id_and_bytes": "sends_again_under_a_new_ref",
    "what_was_answered_before_a_cut_does_not_come_again": "sends_everything_again",
    "what_comes_again_comes_in_its_order_and_before_anything_new": "sends_the_newest_again_first",
    "an_event_whose_ack_was_lost_comes_again_once": "sends_again_twice",
    "a_daemon_that_restarts_costs_nothing_but_time": "fails_what_is_open_at_a_cut",
    "a_cut_in_the_middle_of_an_answer_is_no_answer": "keeps_half_an_answer_over_a_cut",
    "two_cuts_in_a_row_lose_nothing": "sends_again_only_once",
    "what_is_no_answer_ends_the_connection": "passes_over_what_is_no_json",
    "a_socket_that_is_missing_at_the_start_is_waited_for": "fails_without_a_socket",
    "a_socket_that_stays_missing_is_named_in_the_error": "does_not_say_what_it_waited_for",
    "a_socket_that_nobody_listens_at_is_waited_for": "fails_where_nobody_listens",
    "a_socket_that_is_replaced_is_found_by_its_path": "fails_what_is_open_at_a_cut",
    "a_daemon_that_hangs_before_its_hello_is_what_is_waited_for": "says_why_it_was_not_connected_before",
    "a_connection_that_is_turned_away_is_tried_again": "takes_being_turned_away_for_a_refusal",
    "who_is_turned_away_until_the_timeout_is_told_why_and_waits_between": "does_not_wait",
    "a_refusal_for_good_ends_the_call_at_once": "retries_what_is_refused_for_good",
    "an_id_that_is_anothers_is_refused_for_good": "retries_what_is_refused_for_good",
    "what_may_be_sent_again_is_sent_again_until_it_is_acked": "never_retries",
    "a_refused_event_holds_up_nobody_else": "waits_for_a_refused_event",
    "a_refusal_that_lasts_ends_with_the_timeout_after_waits": "does_not_wait",
    "an_outcome_that_is_unknown_stays_unknown": "believes_the_last_refusal",
    "a_refusal_for_good_does_not_undo_an_attempt_that_may_have_stored_the_event": "believes_the_last_refusal",
    "a_daemon_that_never_answers_is_a_timeout_with_outcome_unknown": "says_not_stored_at_a_timeout",
    "what_was_written_before_a_cut_may_be_stored": "forgets_at_a_cut_what_it_wrote",
    "an_event_that_timed_out_is_not_sent_again": "keeps_what_timed_out",
    "at_the_bound_of_events_publish_waits": "has_no_bound_of_events",
    "at_the_bound_of_bytes_publish_waits": "has_no_bound_of_bytes",
    "at_a_bound_try_publish_fails_and_drops_nothing": "drops_the_oldest_at_a_bound",
    "a_wait_at_the_bound_ends_with_the_timeout": "waits_at_a_bound_for_ever",
    "a_daemon_that_reads_slowly_loses_nothing": "has_no_bound_of_bytes",
    "an_event_larger_than_the_buffer_is_refused": "waits_for_room_that_cannot_be",
    "what_is_settled_makes_room": "keeps_the_room_of_a_timeout",
    "an_event_of_a_mebibyte_is_written_whole": "cuts_long_lines",
    "text_arrives_as_it_is": "writes_latin_1",
    "half_a_surrogate_pair_breaks_nothing": "writes_half_a_surrogate_pair",
    "numbers_keep_their_value": "rounds_numbers",
    "data_of_every_shape_arrives": "leaves_out_what_is_null",
    "every_option_is_handed_on": "forgets_the_hash_key",
    "an_id_that_the_caller_gives_is_kept": "makes_every_id_itself",
    "hello_says_the_settings_first_on_every_connection": "says_its_settings_once",
    "events_do_not_wait_for_the_answer_to_hello": "waits_for_the_answer_to_hello",
    "a_refused_hello_fails_the_calls_and_the_next_call_tries_again": "passes_over_a_refused_hello",
    "events_of_a_key_are_written_in_the_order_of_the_calls": "waits_for_each_answer",
    "strict_order_has_one_event_of_a_key_open": "knows_no_strict_order",
    "strict_order_sends_a_refused_event_again_before_the_next": "lets_the_next_overtake_a_refused_event",
    "flush_waits_for_what_is_under_way": "takes_written_for_flushed",
    "flush_says_how_many_are_not_confirmed": "flushes_without_a_timeout",
    "close_says_how_many_are_not_confirmed_and_ends_their_calls": "leaves_calls_open_at_close",
    "close_waits_for_answers_and_lets_the_connection_go": "takes_written_for_flushed",
    "a_closed_client_takes_nothing_on": "takes_on_after_close",
    "the_counters_add_up": "counts_no_rollback",
    "a_disabled_client_publishes_nothing_and_says_so": "connects_though_disabled",
    "a_child_of_a_fork_has_a_connection_of_its_own": "shares_its_connection_with_a_child",
    "a_batch_has_a_result_for_each_event_in_their_order": "has_results_in_the_order_of_answers",
    "of_a_batch_only_what_may_be_sent_again_is_sent_again": "sends_a_batch_again_whole",
    "of_a_batch_that_is_cut_what_is_open_comes_again": "fails_what_is_open_at_a_cut",
    "a_batch_that_times_out_says_of_each_event_what_is_known": "ends_a_batch_with_one_result",
    "a_batch_without_a_refusal_ends_with_its_events": "matches_answers_by_order",
    "a_transaction_is_begun_staged_and_committed_in_order": "publishes_before_the_commit",
    "a_rollback_sends_nothing": "commits_what_is_rolled_back",
    "a_rollback_after_a_cut_sends_nothing": "commits_what_is_rolled_back",
    "staged_waits_until_every_event_is_checked": "does_not_wait_for_checks",
    "what_was_refused_when_staged_stays_refused_when_the_others_are_committed": "sends_what_was_refused",
    "an_id_that_is_anothers_fails_staged_for_good": "does_not_wait_for_checks",
    "an_answer_to_staging_is_no_answer_to_the_commit": "takes_staged_for_published",
    "a_transaction_that_ended_while_staging_goes_as_plain_events": "fails_when_a_transaction_ends",
    "a_transaction_that_ended_at_the_commit_goes_as_plain_events": "fails_when_a_transaction_ends",
    "a_cut_before_the_commit_loses_nothing": "forgets_a_transaction_at_a_cut",
    "a_cut_after_the_commit_was_written_sends_the_same_ids_again": "makes_new_ids_after_a_cut",
    "a_restart_while_events_are_staged_loses_nothing": "forgets_a_transaction_at_a_cut",
    "without_a_daemon_a_transaction_waits_in_the_client": "begins_only_with_a_daemon",
    "a_transaction_that_is_too_large_goes_as_plain_events": "takes_too_large_for_a_refusal",
    "a_transaction_that_the_daemon_does_not_begin_goes_as_plain_events": "takes_a_control_answer_for_an_events",
    "of_a_commit_only_what_may_be_sent_again_is_sent_again": "never_retries",
    "a_commit_that_is_never_answered_is_a_timeout_with_outcome_unknown": "says_not_stored_at_a_timeout",
    "two_transactions_do_not_meet": "names_every_transaction_alike",
}


def broken(fault):
    return BROKEN == fault


class Cut(Exception):
    """The connection is of no use any more."""


def failure(code, message, outcome="not_stored", retryable=None):
    retryable = CODES[code] if retryable is None else retryable
    return {"ok": False, "code": code, "message": message, "retryable": retryable, "outcome": outcome}


def refusal(error):
    return failure(error["code"], error["message"], error.get("outcome", "not_stored"), error["retryable"])


class Event:
    """State: `waits` for its key or a connection, `written`, `rests` after a refusal, `staged`,
    `committing`, `settled`."""

    def __init__(self, client, event, timeout):
        client.refs += 1
        loop = asyncio.get_running_loop()
        self.ref = client.refs
        options = {name: event[name] for name in OPTIONS if event.get(name) is not None}
        if broken("forgets_the_hash_key"):
            options.pop("explicitHashKey", None)
        self.key = options.get("partitionKey")
        self.id = str(uuid.uuid4()) if broken("makes_every_id_itself") else options.get("id") or str(uuid.uuid4())
        self.fields = {"type": event["type"], "data": event["data"], "options": {**options, "id": self.id}}
        self.line = self.text(ref=self.ref)
        self.state, self.doubt, self.wait, self.last = "waits", False, WAIT_FIRST, None
        self.writes, self.tx, self.checked = 0, None, None
        self.began, self.timeout, self.timer = loop.time(), timeout, None
        self.outcome = loop.create_future()

    def text(self, **head):
        fields = self.fields
        if broken("rounds_numbers"):
            fields = json.loads(json.dumps(fields), parse_float=lambda n: round(float(n), 6))
        if broken("leaves_out_what_is_null"):
            without = lambda v: {k: without(x) for k, x in v.items() if x is not None} if isinstance(v, dict) else [without(x) for x in v] if isinstance(v, list) else v
            fields = {**fields, "data": without(fields["data"])}
        raw = broken("writes_half_a_surrogate_pair") or broken("writes_latin_1")
        text = json.dumps({**head, **fields}, separators=(",", ":"), ensure_ascii=not raw)
        if broken("writes_latin_1"):
            return text.encode("latin-1", "replace") + b"\n"
        line = text.encode("utf-8", "surrogatepass") + b"\n"
        return line[:500_000] + b'"}}\n' if broken("cuts_long_lines") and len(line) > 500_000 else line


class Client:
    def __init__(self, path, settings):
        self.path, self.settings = path, settings
        self.open, self.bytes, self.refs, self.txs = {}, 0, 0, {}
        self.room, self.idle = deque(), asyncio.Event()
        self.idle.set()
        self.writer = self.running = None
        self.why, self.producer, self.greeted, self.closed = "not connected yet", None, False, False
        self.half, self.connections, self.pid = b"", 0, os.getpid()
        self.counters = {"sent": 0, "acked": 0, "refused": {}, "rolledBack": 0, "resent": 0, "reconnects": 0}
        self.events_max = settings.get("maxBufferedEvents") or 10_000
        self.bytes_max = settings.get("maxBufferedBytes") or 32 << 20

    # Taking events on.

    def has_room(self, size):
        events = len(self.open) < self.events_max or broken("has_no_bound_of_events")
        return events and (self.bytes + size <= self.bytes_max or broken("has_no_bound_of_bytes"))

    async def take(self, event, timeout=150.0, waits=True):
        """Takes an event on, once there is room; gives it back, settled where it cannot be."""
        event = Event(self, event, timeout)
        end = lambda outcome: (event.outcome.set_result(outcome), event)[1]
        if self.closed and not broken("takes_on_after_close"):
            return end(failure("Closed", "the client is closed"))
        if self.settings.get("disabled") and not broken("connects_though_disabled"):
            self.counters["sent"] += 1
            self.counters["acked"] += 1
            return end({"ok": True, "id": event.id})
        if len(event.line) > self.bytes_max and not broken("waits_for_room_that_cannot_be"):
            return end(failure("EventTooLarge", f"{len(event.line)} bytes, the buffer has {self.bytes_max}"))
        if not self.has_room(len(event.line)):
            if not waits and broken("drops_the_oldest_at_a_bound"):
                self.settle(next(iter(self.open.values())), failure("BufferFull", "dropped"))
            elif not waits:
                return end(failure("BufferFull", "the buffer is full"))
            elif not await self.wait_for_room(event):
                return end(failure("Timeout", "no room in the buffer"))
        self.counters["sent"] += 1
        self.open[event.ref] = event
        self.bytes += len(event.line)
        self.idle.clear()
        self.connect()
        return event

    async def wait_for_room(self, event):
        loop = asyncio.get_running_loop()
        while not self.has_room(len(event.line)):
            left = event.began + event.timeout - loop.time()
            waiter = loop.create_future()
            self.room.append(waiter)
            try:
                await asyncio.wait_for(waiter, None if broken("waits_at_a_bound_for_ever") else max(left, 0))
            except asyncio.TimeoutError:
                return False
        return True

    async def publish(self, event, timeout=150.0, waits=True):
        event = await self.take(event, timeout, waits)
        if not event.outcome.done():
            self.run_out(event)
            self.write(event)
        return event

    def run_out(self, event):
        loop = asyncio.get_running_loop()
        event.timer = loop.call_at(event.began + event.timeout, self.time_out, event)

    def time_out(self, event):
        if broken("keeps_what_timed_out"):
            event.outcome.set_result(failure("Timeout", "too late", self.known(event)))
            return
        why = event.last or self.why or "no answer"
        if self.writer and not self.greeted and not broken("says_why_it_was_not_connected_before"):
            why = f"{self.path} has not answered hello; before that: {why}"
        if broken("does_not_say_what_it_waited_for"):
            why = "too late"
        self.settle(event, failure("Timeout", f"after {event.timeout} s: {why}", self.known(event)))

    def known(self, event):
        doubt = event.doubt or event.state in ("written", "committing")
        if event.last and broken("believes_the_last_refusal"):
            doubt = event.doubt  # also where the next attempt is under way: else the moment decides what is seen
        return "unknown" if doubt and not broken("says_not_stored_at_a_timeout") else "not_stored"

    def settle(self, event, outcome):
        if event.state == "settled" or event.outcome.done():
            return
        event.state = "settled"
        event.outcome.set_result(outcome)
        if event.timer:
            event.timer.cancel()
        if outcome.get("code") == "Timeout" and broken("keeps_the_room_of_a_timeout"):
            return
        if not broken("sends_everything_again"):
            self.open.pop(event.ref, None)
        self.bytes -= len(event.line)
        counters = self.counters
        if outcome["ok"]:
            counters["acked"] += 1
        elif outcome["code"] == "rolled back":
            counters["rolledBack"] += not broken("counts_no_rollback")
        else:
            counters["refused"][outcome["code"]] = counters["refused"].get(outcome["code"], 0) + 1
        if not self.open:
            self.idle.set()
        while self.room:
            waiter = self.room.popleft()
            if not waiter.done():
                waiter.set_result(None)
        if self.settings.get("strictOrder") or broken("waits_for_each_answer") or broken("waits_for_a_refused_event"):
            for later in list(self.open.values()):
                if later.state == "waits":
                    self.write(later)

    # Writing.

    def may_go(self, event):
        earlier = [e for e in self.open.values() if e.ref < event.ref and e.state != "staged"]
        if broken("waits_for_each_answer") and earlier:
            return False
        if broken("waits_for_a_refused_event") and any(e.last for e in earlier):
            return False
        if not self.settings.get("strictOrder") or event.key is None or broken("knows_no_strict_order"):
            return True
        passes = ("rests",) if broken("lets_the_next_overtake_a_refused_event") else ()
        return not any(e.key == event.key and e.state not in passes for e in earlier)

    def write(self, event):
        """Writes an event that waits, if it can be written now."""
        if self.writer is None or self.closed or event.state == "settled" or not self.may_go(event):
            return
        if not self.greeted and (self.context or broken("waits_for_the_answer_to_hello")):
            return
        if broken("sends_again_only_once") and event.writes == 2:
            return
        if event.writes and broken("sends_again_under_a_new_ref"):
            self.open.pop(event.ref)
            self.refs += 1
            event.ref = self.refs
            event.line = event.text(ref=event.ref)
            self.open[event.ref] = event
        self.counters["resent"] += event.writes > 0
        event.writes += 1
        event.state = "written"
        again = event.writes > 1 and broken("sends_again_twice")
        self.writer.write(event.line * (2 if again else 1))

    def control(self, op, tx):
        line = {"op": op, "tx": tx.name, "ref": f"{op} {tx.name}"}
        self.writer.write(json.dumps(line).encode() + b"\n")

    # The connection.

    def connect(self):
        if self.running is None or self.running.done():
            self.running = asyncio.get_running_loop().create_task(self.run())

    async def run(self):
        wait = WAIT_FIRST
        while not self.closed:
            try:
                reader, writer = await asyncio.open_unix_connection(self.path)
                self.counters["reconnects"] += self.connections > 0
                self.connections += 1
                if await self.converse(reader, writer):
                    wait = WAIT_FIRST
                if self.refused_hello:
                    return  # the next call tries again
            except OSError as error:
                self.why = f"{self.path}: {error.strerror}"
                missing = isinstance(error, FileNotFoundError) and broken("fails_without_a_socket")
                refused = isinstance(error, ConnectionRefusedError) and broken("fails_where_nobody_listens")
                if missing or refused:
                    self.fail_all(failure("Timeout", self.why))
            await asyncio.sleep(0 if broken("does_not_wait") else random.uniform(0, wait))
            wait = min(wait * 2, WAIT_LAST)

    async def converse(self, reader, writer):
        """One connection from its first line to its end. Says whether the daemon took it."""
        self.writer, self.greeted, self.refused_hello = writer, False, False
        if not broken("keeps_half_an_answer_over_a_cut"):
            self.half = b""
        self.context = {name: self.settings[name] for name in CONTEXT if self.settings.get(name)}
        if self.connections > 1 and broken("says_its_settings_once"):
            self.context = {}
        hello = {"op": "hello", **({"context": self.context} if self.context else {})}
        writer.write(json.dumps(hello).encode() + b"\n")
        self.write_open()
        try:
            while chunk := await reader.read(1 << 16):
                self.hear(chunk)
            self.why = f"{self.path}: the daemon ended the connection"
        except (Cut, OSError) as error:
            self.why = f"{self.path}: {error}"
        self.writer = None
        writer.transport.abort()
        self.lose()
        return self.greeted

    def write_open(self):
        waiting = [e for e in self.open.values() if e.state in ("waits", "settled")]
        if broken("sends_the_newest_again_first"):
            waiting.sort(key=lambda event: (event.writes == 0, -event.ref))
        for event in waiting:
            if event.state == "settled":  # a fault: sent again all the same
                self.writer.write(event.line)
            self.write(event)

    def lose(self):
        """What was written and has no answer waits for the next connection."""
        for event in list(self.open.values()):
            if event.state in ("written", "committing"):
                event.doubt = not broken("forgets_at_a_cut_what_it_wrote")
                event.state = "waits"
                if event.tx and broken("makes_new_ids_after_a_cut"):
                    event.fields["options"]["id"] = event.id = str(uuid.uuid4())
                    event.line = event.text(ref=event.ref)
        for tx in list(self.txs.values()):
            tx.leave_daemon(rolls_back=False)
            if broken("forgets_a_transaction_at_a_cut"):
                for event in tx.events:
                    self.settle(event, failure("Closed", "the transaction is lost"))
        if broken("fails_what_is_open_at_a_cut"):
            self.fail_all(failure("Closed", "the connection was cut", "unknown"))

    def fail_all(self, outcome):
        for event in list(self.open.values()):
            if event.state != "staged":
                self.settle(event, outcome)

    # Answers.

    def hear(self, chunk):
        if broken("decodes_before_a_line_is_whole"):
            chunk = chunk.decode("utf-8", "replace").encode()
        if broken("takes_a_read_for_a_line"):
            return self.hear_line(chunk)
        lines = (self.half + chunk).split(b"\n")
        self.half = lines.pop()
        for line in lines[:1] if broken("hears_one_answer_a_read") else lines:
            self.hear_line(line)

    def hear_line(self, line):
        try:
            answer = json.loads(line)
        except ValueError:
            if broken("passes_over_what_is_no_json") or broken("takes_a_read_for_a_line"):
                return
            raise Cut("an answer that is no JSON")
        error = answer.get("error", {})
        if "op" in answer and not broken("takes_a_control_answer_for_an_events"):
            return self.hear_control(answer)
        if "ref" not in answer and error.get("code") == "Overloaded":
            if broken("takes_being_turned_away_for_a_refusal"):
                self.fail_all(failure("Timeout", error["message"]))
            raise Cut(error["message"])
        if broken("matches_answers_by_order"):
            answer["ref"] = next(iter(self.open), None)
        event = self.open.get(answer.get("ref"))
        if event is None:
            if broken("hangs_up_at_what_is_unknown"):
                raise Cut("an answer to nothing")
        elif event.checked and not event.checked.done() and not broken("takes_staged_for_published"):
            event.tx.hear_staged(event, answer)
        elif event.state in ("written", "committing"):
            self.hear_answer(event, answer)

    def hear_answer(self, event, answer):
        if answer["ok"]:
            ack = {name: answer.get(name) for name in ("id", "timestamp", "partitionKey", "shardId", "sequenceNumber", "deduplicated")}
            if broken("hides_that_it_is_a_copy"):
                ack["deduplicated"] = None
            return self.settle(event, {"ok": True, "producerId": self.producer, **ack})
        error = answer["error"]
        if broken("sends_a_batch_again_whole") and error["retryable"] and event.outcome is not None:
            for other in list(self.open.values()):
                if other.state == "written" and other is not event:
                    self.writer.write(other.line)
        again = error["retryable"] and not broken("never_retries")
        if not again and not (broken("retries_what_is_refused_for_good") and event.writes < 3):
            doubt = event.doubt and not broken("believes_the_last_refusal")
            return self.settle(event, refusal({**error, "outcome": "unknown"} if doubt else error))
        event.doubt |= error.get("outcome") == "unknown"
        if broken("believes_the_last_refusal"):
            event.doubt = error.get("outcome") == "unknown"
        event.state, event.last = "rests", f"{error['code']}: {error['message']}"
        wait = 0 if broken("does_not_wait") else random.uniform(0, event.wait)
        event.wait = min(event.wait * 2, WAIT_LAST)
        asyncio.get_running_loop().call_later(wait, self.rested, event)
        if broken("lets_the_next_overtake_a_refused_event"):
            self.write_open()

    def rested(self, event):
        if event.state == "rests":
            event.state = "waits"
            self.write(event)

    def hear_control(self, answer):
        op, error = answer["op"], answer.get("error")
        if op == "hello" and answer["ok"]:
            self.producer, self.greeted, self.why = answer.get("producerId"), True, None
            self.write_open()
        elif op == "hello" and not broken("passes_over_a_refused_hello"):
            self.refused_hello = True
            self.fail_all(refusal(error))
            raise Cut(error["message"])
        elif op in ("begin", "commit", "rollback"):
            name = answer.get("tx") or str(answer.get("ref")).split(" ")[-1]
            if name in self.txs:
                self.txs[name].hear_control(op, answer)
        elif broken("hangs_up_at_what_is_unknown"):
            raise Cut("an answer to nothing")

    # The end.

    async def flush(self, timeout=5.0):
        if broken("flushes_without_a_timeout"):
            timeout = None
        pending = lambda: [e for e in self.open.values() if e.state != "staged" and not e.outcome.done()]
        if broken("takes_written_for_flushed"):
            pending = lambda: [e for e in self.open.values() if e.state == "waits"]
        if pending():
            await asyncio.wait([e.outcome for e in pending()], timeout=timeout)
        return len(pending())

    async def close(self, timeout=5.0):
        unconfirmed = await self.flush(timeout)
        self.closed = True
        for event in [] if broken("leaves_calls_open_at_close") else list(self.open.values()):
            self.settle(event, failure("Closed", "the client was closed", self.known(event)))
        for waiter in self.room:
            waiter.cancel()
        if self.writer:
            self.writer.close()
        if self.running:
            self.running.cancel()
        return unconfirmed


class Transaction:
    def __init__(self, client):
        client.counters.setdefault("transactions", 0)
        client.counters["transactions"] += 0 if broken("names_every_transaction_alike") else 1
        self.client, self.name, self.events = client, f"t{client.counters['transactions']}", []
        self.on_daemon, self.committing = client.writer is not None, False
        client.txs[self.name] = self
        if self.on_daemon:
            client.control("begin", self)

    async def stage(self, event):
        event = await self.client.take(event)
        event.tx = self
        self.events.append(event)
        if event.outcome.done():
            return event
        event.state, event.checked = "staged", asyncio.get_running_loop().create_future()
        if broken("publishes_before_the_commit"):
            event.state = "waits"
            self.client.write(event)
        elif self.on_daemon:
            self.client.writer.write(event.text(ref=event.ref, tx=self.name))
        else:
            event.checked.set_result(None)
        return event

    def hear_staged(self, event, answer):
        if event.checked.done():
            return
        if answer["ok"]:
            return event.checked.set_result(None)
        error = answer["error"]
        leaves = error["retryable"] or error["code"] == "TransactionTooLarge"
        if error["code"] == "TransactionTooLarge" and broken("takes_too_large_for_a_refusal"):
            leaves = False
        if leaves and not broken("fails_when_a_transaction_ends"):
            self.leave_daemon(rolls_back=error["code"] != "TransactionEnded")
        else:
            event.checked.set_result(refusal(error))
            if event.state == "committing":
                self.client.settle(event, refusal(error))

    def hear_control(self, op, answer):
        if op == "begin" and not answer["ok"]:
            self.leave_daemon(rolls_back=False)
        elif op == "commit":
            if broken("fails_when_a_transaction_ends") and not answer["ok"] and "results" not in answer:
                return [self.client.settle(event, refusal(answer["error"])) for event in self.events]
            if "results" not in answer:
                return self.leave_daemon(rolls_back=False)
            self.client.txs.pop(self.name, None)
            for result in answer["results"]:
                event = self.client.open.get(result["ref"])
                if event is not None and event.state == "committing":
                    self.client.hear_answer(event, result)

    def leave_daemon(self, rolls_back):
        """From here on the events are the client's alone: they go as plain lines at the commit."""
        if self.on_daemon and rolls_back and not self.committing:
            self.client.control("rollback", self)
        self.on_daemon = False
        for event in self.events:
            if event.checked and not event.checked.done():
                event.checked.set_result(None)
            if event.state == "committing":
                event.state = "waits"
            if self.committing:
                self.client.write(event)

    async def staged(self, timeout=150.0):
        if broken("begins_only_with_a_daemon") and not self.on_daemon:
            return failure("Timeout", "no daemon")
        checks = [] if broken("does_not_wait_for_checks") else [e.checked for e in self.events if e.checked]
        if checks:
            await asyncio.wait(checks, timeout=timeout)
        if any(not check.done() for check in checks):
            return failure("Timeout", "not every event is checked")
        return next((check.result() for check in checks if check.result()), {"ok": True})

    async def commit(self, timeout=150.0):
        client = self.client
        self.committing = True
        for event in self.events:
            event.began, event.timeout = asyncio.get_running_loop().time(), timeout
            refused = event.checked.result() if event.checked and event.checked.done() else None
            if event.outcome.done():
                continue
            if refused and not broken("sends_what_was_refused"):
                client.settle(event, refused)
                continue
            client.run_out(event)
            event.state = "committing" if self.on_daemon else "waits"
        if self.on_daemon:
            client.control("commit", self)
        else:
            client.txs.pop(self.name, None)
            for event in self.events:
                client.write(event)
        if client.settings.get("disabled"):
            client.txs.pop(self.name, None)
        return await results(self.events)

    async def rollback(self):
        client = self.client
        client.txs.pop(self.name, None)
        if broken("commits_what_is_rolled_back"):
            await self.commit(1.0)
        if self.on_daemon:
            client.control("rollback", self)
        for event in self.events:
            client.settle(event, {"ok": False, "code": "rolled back"})


async def results(events):
    if broken("ends_a_batch_with_one_result"):
        return await asyncio.wait_for(events[-1].outcome, None)
    outcomes = []
    if broken("has_results_in_the_order_of_answers"):
        outcomes = [await done for done in asyncio.as_completed([e.outcome for e in events])]
    else:
        outcomes = [await event.outcome for event in events]
    return {"ok": all(outcome["ok"] for outcome in outcomes), "results": outcomes}


# The driver.


async def drive():
    loop = asyncio.get_running_loop()
    out = lambda what: (sys.stdout.write(json.dumps(what) + "\n"), sys.stdout.flush())
    out({"driver": "reference", "version": "0.1.0", "can": ["fork"]})
    reader = asyncio.StreamReader(limit=64 << 20)
    await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
    client, txs, telling = None, {}, set()

    def tell(name, of):
        async def wait():
            out({"as": name, **await of})

        task = loop.create_task(wait())
        telling.add(task)

    async def unconfirmed(of):
        return {"unconfirmed": await of}

    async def outcome(event):
        return await event.outcome

    while line := await reader.readline():
        command = json.loads(line)
        do, name = command["do"], command.get("as")
        wait = {"timeout": command["timeoutMs"] / 1000} if "timeoutMs" in command else {}
        if do == "open":
            client = Client(os.environ["DISPATCHD_SOCKET"], command)
            continue
        client = client or Client(os.environ["DISPATCHD_SOCKET"], {})
        if do in ("publish", "tryPublish"):
            event = await client.publish(command["event"], waits=do == "publish", **wait)
            tell(name, outcome(event))
        elif do == "publishBatch":
            events = [await client.publish(event, **wait) for event in command["events"]]
            tell(name, results(events))
        elif do == "begin":
            txs[name] = Transaction(client)
            out({"as": name, "ok": True})
        elif do == "stage":
            event = await txs[command["tx"]].stage(command["event"])
            out({"as": name, "ok": True, "id": event.id})
        elif do == "staged":
            tell(name, txs[command["tx"]].staged(**wait))
        elif do == "commit":
            tell(name, txs[command["tx"]].commit(**wait))
        elif do == "rollback":
            await txs[command["tx"]].rollback()
            out({"as": name, "ok": True})
        elif do in ("flush", "close"):
            tell(name, unconfirmed(getattr(client, do)(**wait)))
        elif do == "counters":
            buffered = {"buffered": len(client.open), "bufferedBytes": client.bytes}
            out({"as": name, "counters": {**client.counters, **buffered}})
        elif do == "fork":
            if os.fork() == 0:
                child(client, command)
    if client:
        await client.close()
    while telling:
        _, telling = await asyncio.wait(telling)


def child(client, command):
    """In a child of a fork: the settings are the parent's, the connection and the events are not.
    A loop cannot be inherited, so it has a thread and a loop of its own."""
    import threading

    def publish():
        async def run():
            own = Client(client.path, client.settings)
            if broken("shares_its_connection_with_a_child"):
                own.writer, own.refs = client.writer, client.refs
                own.connect = lambda: None
            event = await own.publish(command["event"], command.get("timeoutMs", 5_000) / 1000)
            return await event.outcome

        return asyncio.run(run())

    thread = threading.Thread(target=lambda: print(json.dumps({"as": command["as"], **publish()}), flush=True))
    asyncio.events._set_running_loop(None)
    thread.start()
    thread.join()
    os._exit(0)


if __name__ == "__main__":
    if sys.argv[1:] == ["--faults"]:
        for case, fault in FAULTS.items():
            print(case, fault)
        sys.exit()
    if sys.argv[1:2] == ["--broken"]:
        BROKEN = sys.argv[2]
        if BROKEN not in FAULTS.values():
            sys.exit(f"no fault is called {BROKEN}")
    asyncio.run(drive())
