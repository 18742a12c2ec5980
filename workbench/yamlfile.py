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


# what a plain scalar is; dates, `02:00`, `0123` and `1_000` are text: a number is only what is written as one
_NULL = frozenset(("", "~", "null", "Null", "NULL"))
_BOOLS = {form: word in ("yes", "true", "on") for word in ("yes", "no", "true", "false", "on", "off")
          for form in (word, word.title(), word.upper())}  # fmt: skip
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]*)")
_FLOAT = re.compile(r"-?(?:0|[1-9][0-9]*)\.[0-9]+")
_DEEPEST = 40  # mappings and lists inside each other


def read_yaml(
    path: Path, problems: list[Problem], *, name: str | None = None, known: dict[str, tuple[bytes, Entry]] | None = None
) -> Entry | None:
    """Read one file; None when it is unreadable or empty, with what is wrong added to `problems`.

    `name` is what problems call the file (default: its path). `known` keeps what was read, by that name: a file whose bytes are the
    same is not parsed again.
    """
    file = name or str(path)
    data = b""
    try:
        data = path.read_bytes()
        if known is not None and file in known and known[file][0] == data:
            return known[file][1]
        text = data.decode("utf-8")
    except OSError as error:
        problems.append(Problem(file, 0, f"cannot be read: {error.strerror or error}"))
        return None
    except UnicodeDecodeError as error:
        problems.append(Problem(file, data[: error.start].count(b"\n") + 1, "is not UTF-8 text; save it as UTF-8"))
        return None
    if odd := yaml.reader.Reader.NON_PRINTABLE.search(text):
        line = text.count("\n", 0, odd.start()) + 1
        problems.append(Problem(file, line, f"is not YAML: the character {odd[0]!r} may not stand in it"))
        return None
    before = len(problems)
    try:
        found = _Building(file, problems).read(text)
        if known is not None and found is not None and len(problems) == before:
            known[file] = (data, found)
        return found
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        what = " ".join(str(part) for part in (error.context, error.problem) if part)
        problems.append(Problem(file, mark.line + 1 if mark else 1, f"is not YAML: {what}"))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        problems.append(Problem(file, 1, f"is not YAML: {' '.join(str(error).split())[:200]}"))
    return None


class _Building:
    """One reading of a text: YAML's events become entries as they come, so a file is parsed once, by libyaml where it is."""

    def __init__(self, file: str, problems: list[Problem]) -> None:
        self.file = file
        self.problems = problems

    def wrong(self, line: int, message: str) -> None:
        self.problems.append(Problem(self.file, line, message))

    def read(self, text: str) -> Entry | None:
        """The one document of the text; None, with a problem, when there is none or it is more than plain data."""
        root: list[Entry] = []
        # open mappings and lists: where their values go, and the key that waits for its value
        stack: list[tuple[dict[str, Entry] | list[Entry], list[tuple[str, int] | None]]] = [(root, [])]
        fancy = False
        document_count = 0
        for event in yaml.parse(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)):
            line = event.start_mark.line + 1
            if isinstance(event, yaml.DocumentStartEvent):
                document_count += 1
                if document_count == 2:
                    self.wrong(line, "is not YAML of one document; a second begins here")
                    return None
            if not isinstance(event, yaml.NodeEvent) and not isinstance(event, yaml.CollectionEndEvent):
                continue
            if (anchor := getattr(event, "anchor", None)) is not None:
                self.wrong(line, f"uses the anchor or alias {anchor!r}; write the value out")
                fancy = True
            if (tag := getattr(event, "tag", None)) is not None:
                self.wrong(line, f"uses the tag {tag!r}; only plain values are read")
                fancy = True
            if isinstance(event, yaml.CollectionEndEvent):
                stack.pop()
                continue
            holder, keys = stack[-1]
            if isinstance(holder, dict) and not keys:
                keys.append(self._key(event, line, holder))
                if isinstance(event, yaml.CollectionStartEvent):
                    stack.append(([] if isinstance(event, yaml.SequenceStartEvent) else {}, []))
                continue
            value: Any = None
            if isinstance(event, yaml.ScalarEvent):
                value = self._scalar(event, line)
            elif isinstance(event, yaml.CollectionStartEvent):
                value = [] if isinstance(event, yaml.SequenceStartEvent) else {}
                if len(stack) > _DEEPEST:
                    self.wrong(line, f"is not YAML that people write: mappings or lists more than {_DEEPEST} deep")
                    return None
            if isinstance(holder, list):
                holder.append(Entry(value, self.file, line))
            elif (key := keys.pop()) is not None:
                # a mapping or list begins under its key: the key's line is the one to look at
                holder[key[0]] = Entry(value, self.file, key[1])
            if isinstance(event, yaml.CollectionStartEvent):
                stack.append((value, []))
        if fancy:
            return None
        if not root:
            self.wrong(1, "is empty")
        return root[0] if root else None

    def _key(self, event: Any, line: int, holder: dict[str, Entry]) -> tuple[str, int] | None:
        """A key and its line; None, with a problem, for one that cannot be used. Keys stay as written: `on:` is a word here."""
        if not isinstance(event, yaml.ScalarEvent):
            self.wrong(line, "a key must be a plain word")
            return None
        key = str(event.value)
        if key in holder:
            self.wrong(line, f"the key {key!r} stands twice (first on line {holder[key].line})")
            return None
        return key, line

    def _scalar(self, event: Any, line: int) -> Any:
        text = str(event.value)
        if not event.implicit[0]:
            return text
        if text in _NULL:
            return None
        if text in _BOOLS:
            return _BOOLS[text]
        if _INTEGER.fullmatch(text):
            if len(text) > 300:
                self.wrong(line, "has a number of more than 300 digits")
                return None
            return int(text)
        return float(text) if _FLOAT.fullmatch(text) else text


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
