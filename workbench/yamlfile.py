"""Read hand-written YAML so that every mistake can be said with its file and line.

A file becomes a tree of `Entry` values, each knowing its line. YAML is plain data here: no anchors, aliases, tags or
doubled keys. `Fields` takes the keys of one mapping apart; whatever was not asked for is an unknown key. Nothing here
raises for a bad file: problems are added to a list, so that one reading finds them all.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from workbench.errors import Problem, nearest

__all__ = ["Entry", "Fields", "read_yaml"]


@dataclass(frozen=True)
class Entry:
    """A YAML value and where it stands. `value` is a scalar, a list of Entry, or a dict of Entry by text key."""

    value: Any
    file: str
    line: int

    def plain(self) -> Any:
        """The value without lines: scalars, lists and dicts."""
        if isinstance(self.value, dict):
            return {k: v.plain() for k, v in self.value.items()}
        if isinstance(self.value, list):
            return [v.plain() for v in self.value]
        return self.value


class _PlainLoader(yaml.SafeLoader):  # type: ignore[misc]
    """SafeLoader that takes for a number only what is written as one; dates, `02:00`, `0123` and `1_000` are text."""


_PLAIN = {"tag:yaml.org,2002:null", "tag:yaml.org,2002:bool"}
_PlainLoader.yaml_implicit_resolvers = {
    first: [(tag, regexp) for tag, regexp in resolvers if tag in _PLAIN]
    for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
}
_PlainLoader.add_implicit_resolver("tag:yaml.org,2002:int", re.compile(r"-?(?:0|[1-9][0-9]*)\Z"), list("-0123456789"))
_PlainLoader.add_implicit_resolver("tag:yaml.org,2002:float", re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+\Z"), list("-0123456789"))


def read_yaml(path: Path, problems: list[Problem], *, name: str | None = None) -> Entry | None:
    """Read one file; None when it is unreadable or empty, with what is wrong added to `problems`.

    `name` is what problems call the file (default: its path).
    """
    file = name or str(path)
    try:
        text = path.read_bytes().decode("utf-8")
        loader = _PlainLoader(text)
    except OSError as error:
        problems.append(Problem(file, 0, f"cannot be read: {error.strerror or error}"))
        return None
    except UnicodeDecodeError as error:
        problems.append(Problem(file, text_line(path, error.start), "is not UTF-8 text; save it as UTF-8"))
        return None
    except yaml.reader.ReaderError as error:
        line = text.count("\n", 0, error.position) + 1
        problems.append(Problem(file, line, f"is not YAML: the character {chr(error.character)!r} may not stand in it"))
        return None
    try:
        if fancy := list(_beyond_plain(text, file)):
            problems += fancy
            return None
        node = loader.get_single_node()
        if node is None:
            problems.append(Problem(file, 0, "is empty"))
            return None
        return _entry(loader, node, file, problems)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        problems.append(Problem(file, mark.line + 1 if mark else 0, f"is not YAML: {what}"))
        return None
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problems.append(Problem(file, 0, f"is not YAML: {' '.join(str(error).split())[:200]}"))
        return None
    finally:
        loader.dispose()


def text_line(path: Path, offset: int) -> int:
    """The line, from 1, in which the byte at `offset` of the file stands."""
    return path.read_bytes()[:offset].count(b"\n") + 1


def _beyond_plain(text: str, file: str) -> Iterator[Problem]:
    """Anchors, aliases and tags."""
    for event in yaml.parse(text, Loader=_PlainLoader):
        line = event.start_mark.line + 1
        if (anchor := getattr(event, "anchor", None)) is not None:
            yield Problem(file, line, f"uses the anchor or alias {anchor!r}; write the value out")
        if (tag := getattr(event, "tag", None)) is not None:
            yield Problem(file, line, f"uses the tag {tag!r}; only plain values are read")


def _entry(loader: Any, node: yaml.Node, file: str, problems: list[Problem]) -> Entry:
    line = node.start_mark.line + 1
    if isinstance(node, yaml.MappingNode):
        found: dict[str, Entry] = {}
        for key_node, value_node in node.value:
            key_line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                problems.append(Problem(file, key_line, "a key must be a plain word"))
                continue
            # keys stay as written: `on:` and `no:` are words here, not booleans
            key = str(key_node.value)
            if key in found:
                problems.append(Problem(file, key_line, f"the key {key!r} stands twice (first on line {found[key].line})"))
                continue
            value = _entry(loader, value_node, file, problems)
            # a mapping or list begins under its key: the key's line is the one to look at
            found[key] = Entry(value.value, file, key_line)
        return Entry(found, file, line)
    if isinstance(node, yaml.SequenceNode):
        return Entry([_entry(loader, item, file, problems) for item in node.value], file, line)
    return Entry(loader.construct_object(node, deep=True), file, line)


_MISSING = object()


class Fields:
    """The keys of one mapping, taken one by one; `done()` reports the keys that nobody took.

    >>> problems = []
    >>> fields = Fields(Entry({"modle": Entry("x", "a.yml", 3)}, "a.yml", 1), "an object type", problems)
    >>> fields.text("model"); fields.done(); print(problems[1])
    ''
    a.yml:3: unknown key 'modle' of an object type; did you mean 'model'?
    """

    def __init__(self, entry: Entry, what: str, problems: list[Problem]) -> None:
        self.entry = entry
        self.what = what
        self.problems = problems
        self._known: list[str] = []
        self._map: dict[str, Entry] = {}
        if isinstance(entry.value, dict):
            self._map = entry.value
        else:
            problems.append(Problem(entry.file, entry.line, f"{what} must be a mapping of keys to values"))

    def wrong(self, message: str, key: str | None = None) -> None:
        """Add a problem at a key's line, or at the mapping's."""
        at = self._map.get(key, self.entry) if key else self.entry
        self.problems.append(Problem(at.file, at.line, message))

    def line(self, key: str) -> int:
        """The line of a key, or of the mapping when it is not there."""
        return self._map.get(key, self.entry).line

    def has(self, key: str) -> bool:
        """Whether the key was written; does not take it."""
        return key in self._map

    def _take(self, key: str, default: Any) -> Entry | None:
        self._known.append(key)
        found: Entry | None = self._map.get(key)
        if found is None and default is _MISSING and isinstance(self.entry.value, dict):
            near = [k for k in nearest(key, self._map) if k not in self._known]
            seen = f" (there is {near[0]!r})" if near else ""
            self.wrong(f"{self.what} needs the key {key!r}{seen}")
        return found

    def text(self, key: str, default: Any = _MISSING) -> Any:
        """A text value; numbers are taken as written. Missing or wrong: a problem and ''."""
        found = self._take(key, default)
        if found is None:
            return "" if default is _MISSING else default
        if isinstance(found.value, (dict, list, bool)) or found.value is None or not str(found.value).strip():
            self.wrong(f"{key!r} of {self.what} must be text", key)
            return "" if default is _MISSING else default
        return str(found.value)

    def choice(self, key: str, choices: Sequence[str], default: Any = _MISSING) -> Any:
        """One of a few words."""
        value = self.text(key, default)
        if value in choices or value == default or (value == "" and default is _MISSING):
            return value
        near = nearest(value, choices)
        tail = f"did you mean {near[0]!r}?" if near else "it is one of " + ", ".join(choices)
        self.wrong(f"unknown {key} {value!r} of {self.what}; {tail}", key)
        return default if default is not _MISSING else ""

    def texts(self, key: str, default: Any = _MISSING) -> list[str]:
        """A list of texts; a single text counts as a list of one."""
        found = self._take(key, default)
        if found is None:
            return [] if default is _MISSING else default
        items = found.value if isinstance(found.value, list) else [found]
        values = [i.value for i in items]
        if not values or any(isinstance(v, (dict, list)) or v is None or v == "" for v in values):
            self.wrong(f"{key!r} of {self.what} must be a list of names", key)
            return []
        return [str(v) for v in values]

    def mapping(self, key: str, default: Any = _MISSING) -> dict[str, Entry]:
        """A mapping, its values still with their lines."""
        found = self._take(key, default)
        if found is None:
            return {} if default is _MISSING else default
        if not isinstance(found.value, dict):
            self.wrong(f"{key!r} of {self.what} must be a mapping of keys to values", key)
            return {}
        return found.value

    def entry_of(self, key: str) -> Entry | None:
        """The entry as it stands, or None; the caller checks it."""
        return self._take(key, None)

    def rest(self) -> Iterator[tuple[str, Entry]]:
        """The keys nobody took yet, taken now: for mappings whose further keys belong to somebody else."""
        for key, value in self._map.items():
            if key not in self._known:
                self._known.append(key)
                yield key, value

    def done(self) -> None:
        """Report every key that was not taken."""
        for key, value in self._map.items():
            if key not in self._known:
                near = nearest(key, self._known)
                tail = f"did you mean {near[0]!r}?" if near else "known keys: " + ", ".join(self._known)
                self.problems.append(Problem(value.file, value.line, f"unknown key {key!r} of {self.what}; {tail}"))
