"""Every event has a complete sample: copy this file. `schemas` is for `dispatchd schema generate schemas`."""

from __future__ import annotations

from pathlib import Path

import events
import pytest

from dispatchd.samples import keep_sample


@pytest.mark.parametrize("event", events.EVENTS, ids=lambda event: event.type)
def test_it_has_a_complete_sample(event):
    keep_sample(Path(__file__).parent / "schemas", event.type, *map(events.data, event.samples()))


def test_every_event_is_in_the_list():
    assert {name for name in vars(events) if name.startswith("Order")} == {event.__name__ for event in events.EVENTS}
