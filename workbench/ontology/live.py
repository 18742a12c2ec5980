"""The model that can be edited while people use it.

Readers hold one reference to a whole model: the old one or the new one, never a mix. When the files are wrong, the last
good model stays in use; it is kept as JSON, so that also a process that starts on wrong files has types. `watch` reads the files
again when one is saved.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

from workbench.errors import InvalidFiles, LakeError, Problem, SkyGraphError
from workbench.log import logger
from workbench.ontology.answers import ReloadReport
from workbench.ontology.check import Finding, problems_at
from workbench.ontology.load import Origins, load_with_origins, yaml_files
from workbench.ontology.model import LinkType, ObjectType, Ontology, diff
from workbench.yamlfile import Entry

__all__ = ["LINK_TYPES", "OBJECT_TYPES", "LiveOntology", "set_live"]

_T = TypeVar("_T")
_FORMAT = 1


@dataclass(frozen=True)
class _State:
    """Swapped as one reference: the model, where it is written, what is wrong with the files, and what the lake lacks."""

    ontology: Ontology
    origins: Origins
    problems: InvalidFiles | None = None
    degraded: tuple[Problem, ...] = ()


class LiveOntology:
    """The current model of an ontology folder. Thread safe.

    `models` gives the names of the dbt models there are, asked at each load. `last_good` is the JSON file that keeps
    the last model whose files were right, when `keep` is true; a damaged one counts as none. `check` says what the lake has against a
    model, and nothing when it cannot be asked; a reload is refused for what it finds in types and links that the edit touched.
    """

    def __init__(
        self,
        folder: Path,
        models: Callable[[], Collection[str]],
        last_good: Path,
        check: Callable[[Ontology], Iterable[Finding]] = lambda _: (),
        *,
        keep: bool = True,
    ) -> None:
        self.folder = folder
        self._keeps = keep
        self.last_good = last_good
        self._models = models
        self._check = check
        self._lock = threading.RLock()
        self._state: _State | None = None
        self._watcher: _Watcher | None = None
        self._watch_when_used = False
        self._previous: Ontology | None = None
        self._files: dict[str, tuple[bytes, Entry]] = {}  # what was parsed, so that a reload parses what changed
        self._listeners: list[Callable[[], None]] = []

    @property
    def ontology(self) -> Ontology:
        """The whole current model; loaded on first use.

        Raises:
            InvalidFiles: the files are wrong and there is no last good model.
        """
        return self._current().ontology

    @property
    def origins(self) -> Origins:
        """The file and line of each type, property and via; empty while the last good model stands in."""
        return self._current().origins

    @property
    def is_loaded(self) -> bool:
        """Whether a model has been asked for yet."""
        return self._state is not None

    @property
    def problems(self) -> InvalidFiles | None:
        """What was wrong with the files when they were last read; None when they were right."""
        return self._current().problems

    @property
    def degraded(self) -> tuple[Problem, ...]:
        """What the lake lacked of the model at the last reload, though no edit asked for it: a column gone after a dbt run."""
        return self._current().degraded

    def reload(self) -> ReloadReport:
        """Read the files again and swap the model; says what changed against the model used until now.

        In a process that had not loaded yet, that is the last good one.

        Raises:
            InvalidFiles: the files are wrong; the old model stays.
        """
        failure: InvalidFiles | None = None
        with self._lock:
            state = self._state
            old = state.ontology if state else self._read_last_good() or Ontology()
            try:
                self._state = new = self._load(old)
            except InvalidFiles as error:
                failure = error
                if state:
                    self._state = _State(state.ontology, state.origins, error, state.degraded)
        if failure is not None:
            if state:
                self._tell()
            raise failure
        if new.ontology.fingerprint != old.fingerprint:
            self._previous = old
        if new.ontology.fingerprint != old.fingerprint or (state and state.problems):
            self._tell()
        size = len(new.ontology.object_types), len(new.ontology.link_types)
        return ReloadReport(diff(old, new.ontology), *size, new.degraded)

    def subscribe(self, listener: Callable[[], None]) -> Callable[[], None]:
        """Call `listener()` after each swap of the model and each new problem, in the thread that found it. Returns what ends this."""
        self._listeners.append(listener)

        def end() -> None:
            with suppress(ValueError):
                self._listeners.remove(listener)

        return end

    @property
    def in_use(self) -> Ontology:
        """The model that answers come from; in a process that has not loaded yet, the last good one. Reads no YAML."""
        state = self._state
        return state.ontology if state else self._read_last_good() or Ontology()

    @property
    def previous(self) -> Ontology | None:
        """The model before the last one that was taken, in this process or, when it took none, in another of the workspace."""
        return self._previous or self._read_last_good("previous")

    def watch(self, *, when_used: bool = False) -> None:
        """Read the files again whenever one of the folder changes, in a thread of its own, until `close`. Again: nothing.

        A bad edit keeps the model and is in `problems`. A folder that is gone, or has no file any more, is a problem too.
        With `when_used`, the thread starts when the model is first asked for.
        """
        with self._lock:
            if when_used and self._state is None:
                self._watch_when_used = True
            elif self._watcher is None:
                self._watcher = _Watcher(self.folder, self._saved)
                self._watcher.start()

    def close(self) -> None:
        """End watching; does nothing when nobody watches."""
        with self._lock:
            watcher, self._watcher = self._watcher, None
        if watcher is not None:
            watcher.close()

    def _saved(self) -> None:
        """A file changed: take the new model, or note what is wrong with it. Raises nothing."""
        if self._state is None:
            return  # nobody has looked yet: the first look reads the files as they are then
        if not any(yaml_files(self.folder / kind) for kind in ("objects", "links")) and self._state.ontology.object_types:
            gone = Problem(self.folder.name, 1, "has no file of an object type any more; put them back, or reload to go on without")
            with self._lock:
                state = self._state
                self._state = _State(state.ontology, state.origins, InvalidFiles("the ontology is gone", [gone]), state.degraded)
            self._tell()
            return
        try:
            report = self.reload()
        except InvalidFiles as error:
            logger().warning("ontology kept", problem_count=len(error.problems), first=str(error.problems[0]))
        except Exception as error:  # the next save must still be heard
            logger().warning("ontology kept", error=f"{type(error).__name__}: {error}")
        else:
            logger().info("ontology reloaded", changed=bool(report.changes))

    def _tell(self) -> None:
        for listener in list(self._listeners):
            try:
                listener()
            except Exception as error:  # a listener's own trouble must not end the watching
                logger().warning("an ontology listener failed", error=f"{type(error).__name__}: {error}")

    def _current(self) -> _State:
        state = self._state
        if state is not None:
            return state
        with self._lock:
            if self._state is None:
                try:
                    self._state = _State(*self._read())
                    self._keep(self._state.ontology)
                except InvalidFiles as error:
                    kept = self._read_last_good()
                    if kept is None:
                        raise
                    self._state = _State(kept, {}, error)
                if self._watch_when_used:
                    self.watch()
            return self._state

    def _read(self) -> tuple[Ontology, Origins]:
        """The model of files that did not change while they were read: a checkout of many is seen before or after."""
        seen = _signature(self.folder)
        for _ in range(20):
            try:
                found: tuple[Ontology, Origins] | InvalidFiles = load_with_origins(self.folder, models=self._models(), known=self._files)
            except InvalidFiles as error:
                found = error
            before, seen = seen, _signature(self.folder)
            if before == seen:
                break
        if isinstance(found, InvalidFiles):
            raise found
        return found

    def _load(self, old: Ontology) -> _State:
        ontology, origins = self._read()
        try:
            findings = list(self._check(ontology))
        except LakeError:
            findings = []  # nothing to compare with now; `ontology check` says why
        touched: list[Finding] = []
        drift: list[Finding] = []
        for finding in findings:
            kind, name = finding[0][:2]
            before, now = (getattr(o, "object_types" if kind == "type" else "link_types").get(name) for o in (old, ontology))
            (drift if before == now else touched).append(finding)
        if touched:
            raise InvalidFiles("the ontology does not fit the lake", problems_at(touched, origins))
        self._keep(ontology)
        return _State(ontology, origins, None, tuple(problems_at(drift, origins)))

    def _read_last_good(self, which: str = "ontology") -> Ontology | None:
        try:
            kept = json.loads(self.last_good.read_text("utf-8"))
            return Ontology.from_dict(kept[which]) if kept["format"] == _FORMAT else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _keep(self, ontology: Ontology) -> None:
        """Write the last good model and the one before it, whole or not at all. A folder that cannot be written costs only the keeping."""
        if not self._keeps:
            return
        begin = f'{{"format": {_FORMAT}, "ontology": {ontology.text}'
        with suppress(OSError):
            if self.last_good.is_file() and self.last_good.read_bytes().startswith(f"{begin}, ".encode()):
                return
            before = self._read_last_good()
            text = f'{begin}, "previous": {before.text if before else "null"}}}\n'
            self.last_good.parent.mkdir(parents=True, exist_ok=True)
            handle, name = tempfile.mkstemp(prefix=f".{self.last_good.name}.", dir=self.last_good.parent)
            try:
                with os.fdopen(handle, "w", encoding="utf-8") as file:
                    file.write(text)
                os.replace(name, self.last_good)
            except BaseException:
                with suppress(OSError):
                    os.unlink(name)
                raise


def _signature(folder: Path) -> tuple[tuple[str, int, int, int], ...]:
    """What tells one state of the files from another: names, inodes, sizes, times."""
    found = []
    for kind in ("objects", "links"):
        for path in yaml_files(folder / kind):
            with suppress(OSError):
                facts = path.stat()
                found.append((f"{kind}/{path.name}", facts.st_ino, facts.st_size, facts.st_mtime_ns))
    return tuple(found)


class _Watcher(threading.Thread):
    """Hears of changed files and calls `saved`, once for changes that come together.

    It listens to the folder, its two subfolders and the folder above, each by itself: when one of them is deleted, renamed or
    replaced, it listens anew to what is there then. A change made while it did not listen is found by comparing.
    """

    def __init__(self, folder: Path, saved: Callable[[], None]) -> None:
        super().__init__(name="ontology-watch", daemon=True)
        self._folder = folder
        self._saved = saved
        self._closing = threading.Event()
        self._seen = _signature(folder)

    def close(self) -> None:
        self._closing.set()
        if self.is_alive() and threading.current_thread() is not self:
            self.join()

    def run(self) -> None:
        from watchfiles._rust_notify import RustNotify  # the documented direct use: it says when it listens, `watch` does not

        while not self._closing.is_set():
            places = self._places()
            try:
                notify = RustNotify([place for place, _ in places], False, False, 0, False, True)
            except OSError:  # gone between looking and listening
                self._closing.wait(0.1)
                continue
            try:
                while not self._closing.is_set() and self._places() == places:
                    self._compare()
                    # returns 50 ms after the last of changes that come together, 500 ms after the first at the latest
                    if notify.watch(500, 50, 0, self._closing) in ("stop", "signal"):
                        break
            finally:
                notify.close()

    def _compare(self) -> None:
        now = _signature(self._folder)
        if now != self._seen:
            self._seen = now
            self._saved()

    def _places(self) -> list[tuple[str, int]]:
        """The folders to listen to that are there, with their inodes: another folder of the same name is another place."""
        found = []
        for place in (_existing(self._folder.parent), self._folder, self._folder / "objects", self._folder / "links"):
            with suppress(OSError):
                if place.is_dir():
                    found.append((str(place), place.stat().st_ino))
        return found


def _existing(folder: Path) -> Path:
    """The folder, or the nearest above it that is there."""
    return next(place for place in (folder, *folder.parents) if place.is_dir())


_live: LiveOntology | None = None


def set_live(live: LiveOntology | None) -> None:
    """Name the model that `OBJECT_TYPES` and `LINK_TYPES` show from now on in this process; None for none."""
    global _live
    _live = live


class _View(Mapping[str, _T]):
    """A read-only mapping that always shows the current model."""

    def __init__(self, name: str, choose: Callable[[Ontology], Mapping[str, _T]]) -> None:
        self._name = name
        self._choose = choose

    def _shown(self) -> Mapping[str, _T]:
        return self._choose(_live.ontology if _live else Ontology())

    def __getitem__(self, name: str) -> _T:
        return self._shown()[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self._shown())

    def __len__(self) -> int:
        return len(self._shown())

    def __repr__(self) -> str:
        if _live is None:
            return f"<{self._name}: nothing yet; call workbench.connect()>"
        try:
            names = list(self)
        except SkyGraphError as error:
            return f"<{self._name}: {error}>"
        return f"<{self._name}: {', '.join(names) or 'none'}>"

    def _ipython_key_completions_(self) -> list[str]:
        try:
            return list(self)
        except SkyGraphError:
            return []


OBJECT_TYPES: Mapping[str, ObjectType] = _View("OBJECT_TYPES", lambda ontology: ontology.object_types)
LINK_TYPES: Mapping[str, LinkType] = _View("LINK_TYPES", lambda ontology: ontology.link_types)
