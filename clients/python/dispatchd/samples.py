"""The files of sample events that `dispatchd schema generate` makes schemas of: for the tests of applications.

A test calls `keep_sample` for each event, so that each has a sample, and that sample is complete. The clients read and
write no such file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

_PLAIN = frozenset(b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789._- ")


def keep_sample(folder: str | os.PathLike[str], type: str, *samples: Mapping[str, Any]) -> None:
    """Writes `FOLDER/TYPE.sample.json`, unless it says the same already: then nothing is written.

    Where the environment has `CI`, it never writes, and raises `AssertionError` if the file differs: what was generated
    is to be committed.

    A sample is the event's data. The samples have to be complete: each member has a value, in at least one of them,
    from which its schema can be told. `None`, `""`, `[]` and `{}` are none. Those that lack are named in the
    `AssertionError`.
    """
    text = (
        json.dumps(samples[0] if len(samples) == 1 else samples, ensure_ascii=False, allow_nan=False, indent=2) + "\n"
    )
    if not samples or not all(isinstance(sample, Mapping) for sample in samples):
        raise TypeError(f"{type}: a sample is a mapping")
    parsed = json.loads(text)
    missing = _without_value([parsed] if len(samples) == 1 else parsed)
    if missing:
        raise AssertionError(f"{type}: no sample has a value for {', '.join(missing)}")

    path = Path(folder, f"{_file_name(type)}.sample.json")
    if path.exists() and path.read_bytes() == text.encode():
        return
    if os.environ.get("CI"):
        raise AssertionError(f"{path} is not the sample of {type}: run the tests without CI, and commit it")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(text.encode())


def _without_value(samples: list[Any]) -> list[str]:
    """The members that have a value in no sample, as JSON pointers; `*` is any element of a list."""
    has_value: dict[str, bool] = {}
    for sample in samples:
        for path, value in _members(sample, ""):
            has_value[path] = has_value.get(path, False) or value not in (None, "", [], {})
    return [path for path, has in has_value.items() if not has]


def _members(value: Any, path: str) -> Iterator[tuple[str, Any]]:
    members: list[tuple[str, Any]] = []
    if isinstance(value, dict):
        members = [(name.replace("~", "~0").replace("/", "~1"), member) for name, member in value.items()]
    elif isinstance(value, list):
        members = [("*", element) for element in value]
    for name, member in members:
        yield f"{path}/{name}", member
        yield from _members(member, f"{path}/{name}")


def _file_name(type: str) -> str:
    """A type as a file's name: each byte that might not stand in one is written as `%XX`."""
    name = "".join(chr(byte) if byte in _PLAIN else f"%{byte:02X}" for byte in type.encode())
    return name.replace(".", "%2E", 1) if name.startswith(".") else name
