"""What the files of samples promise."""

from __future__ import annotations

import json
import os

import pytest

from dispatchd.samples import keep_sample


@pytest.fixture(autouse=True)
def no_ci(monkeypatch):
    monkeypatch.delenv("CI", raising=False)


def test_one_sample_is_a_value_several_are_an_array_and_members_keep_their_order(tmp_path):
    keep_sample(tmp_path / "schemas", "one", {"b": 1, "a": "é"})
    keep_sample(tmp_path / "schemas", "two", {"b": 1}, {"b": 2.5})
    written = (tmp_path / "schemas" / "one.sample.json").read_bytes()
    assert written == '{\n  "b": 1,\n  "a": "é"\n}\n'.encode()
    assert json.loads((tmp_path / "schemas" / "two.sample.json").read_text()) == [{"b": 1}, {"b": 2.5}]


def test_a_type_that_no_file_could_be_named_after_has_its_name(tmp_path):
    for type in ("inserted in a/b", ".hidden", "é%"):
        keep_sample(tmp_path, type, {"a": 1})
    assert sorted(os.listdir(tmp_path)) == [
        "%2Ehidden.sample.json",
        "%C3%A9%25.sample.json",
        "inserted in a%2Fb.sample.json",
    ]


def test_a_file_that_says_the_same_is_left_alone(tmp_path):
    keep_sample(tmp_path, "t", {"a": 1})
    os.utime(tmp_path / "t.sample.json", (1, 1))
    keep_sample(tmp_path, "t", {"a": 1})
    assert (tmp_path / "t.sample.json").stat().st_mtime == 1


def test_in_ci_nothing_is_written_and_what_differs_fails(tmp_path, monkeypatch):
    keep_sample(tmp_path, "t", {"a": 1})
    monkeypatch.setenv("CI", "true")
    keep_sample(tmp_path, "t", {"a": 1})
    for type in ("t", "new"):
        with pytest.raises(AssertionError, match=rf"{type}\.sample\.json is not the sample of {type}: run the tests"):
            keep_sample(tmp_path, type, {"a": 2})
    assert os.listdir(tmp_path) == ["t.sample.json"]
    assert json.loads((tmp_path / "t.sample.json").read_text()) == {"a": 1}


def test_a_member_without_a_value_in_any_sample_is_named(tmp_path):
    items = [{"price": None}, {"price": 7, "a/b~": []}]
    sample = {"items": items, "buyer": {"name": ""}, "note": None, "no": False, "zero": 0}
    with pytest.raises(AssertionError, match=r"^t: no sample has a value for /items/\*/a~1b~0, /buyer/name, /note$"):
        keep_sample(tmp_path, "t", sample)
    keep_sample(tmp_path, "t", sample, {"items": [{"a/b~": [1]}], "buyer": {"name": "A"}, "note": "x"})
    keep_sample(tmp_path, "empty", {})


@pytest.mark.parametrize("samples", [(), (None,), (7,), ([],), ('{"a":1}',), ({"a": 1}, [])])
def test_what_is_no_sample_is_refused(tmp_path, samples):
    with pytest.raises(TypeError, match="t: a sample is a mapping"):
        keep_sample(tmp_path, "t", *samples)
