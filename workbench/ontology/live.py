"""The model that can be edited while people use it.

Readers hold one reference to a whole model: the old one or the new one, never a mix. When the files are wrong, the last
good model stays in use; it is kept as JSON, so that also a process that starts on wrong files has types.
"""

from __future__ import annotations

import json
import os
import tempfile
import threading
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TypeVar

from workbench.errors import InvalidFiles, SkyGraphError
from workbench.ontology.answers import ReloadReport
from workbench.ontology.load import Origins, load_with_origins
from workbench.ontology.model import LinkType, ObjectType, Ontology, diff

__all__ = ["LINK_TYPES", "OBJECT_TYPES", "LiveOntology", "set_live"]

_T = TypeVar("_T")
_FORMAT = 1


class LiveOntology:
    """The current model of an ontology folder. Thread safe.

    `models` gives the names of the dbt models there are, asked at each load. `last_good` is the JSON file that keeps
    the last model whose files were right; a damaged one counts as none.
    """

    def __init__(self, folder: Path, models: Callable[[], Collection[str]], last_good: Path) -> None:
        self.folder = folder
        self.last_good = last_good
        self._models = models
        self._lock = threading.RLock()
        # swapped as one reference: model, origins, and what is wrong with the files
        self._state: tuple[Ontology, Origins, InvalidFiles | None] | None = None

    @property
    def ontology(self) -> Ontology:
        """The whole current model; loaded on first use.

        Raises:
            InvalidFiles: the files are wrong and there is no last good model.
        """
        return self._current()[0]

    @property
    def origins(self) -> Origins:
        """The file and line of each type, property and via; empty while the last good model stands in."""
        return self._current()[1]

    @property
    def is_loaded(self) -> bool:
        """Whether a model has been asked for yet."""
        return self._state is not None

    @property
    def problems(self) -> InvalidFiles | None:
        """What was wrong with the files when they were last read; None when they were right."""
        return self._current()[2]

    def reload(self) -> ReloadReport:
        """Read the files again and swap the model; says what changed against the model used until now.

        In a process that had not loaded yet, that is the last good one.

        Raises:
            InvalidFiles: the files are wrong; the old model stays.
        """
        with self._lock:
            state = self._state
            old = state[0] if state else self._read_last_good() or Ontology()
            try:
                new, origins = self._load()
            except InvalidFiles as error:
                if state:
                    self._state = (state[0], state[1], error)
                raise
            self._state = (new, origins, None)
            return ReloadReport(diff(old, new), len(new.object_types), len(new.link_types))

    def _current(self) -> tuple[Ontology, Origins, InvalidFiles | None]:
        state = self._state
        if state is not None:
            return state
        with self._lock:
            if self._state is None:
                try:
                    self._state = (*self._load(), None)
                except InvalidFiles as error:
                    kept = self._read_last_good()
                    if kept is None:
                        raise
                    self._state = (kept, {}, error)
            return self._state

    def _load(self) -> tuple[Ontology, Origins]:
        ontology, origins = load_with_origins(self.folder, models=self._models())
        self._keep(ontology)
        return ontology, origins

    def _read_last_good(self) -> Ontology | None:
        try:
            kept = json.loads(self.last_good.read_text("utf-8"))
            return Ontology.from_dict(kept["ontology"]) if kept["format"] == _FORMAT else None
        except (OSError, ValueError, KeyError, TypeError, RecursionError):
            return None

    def _keep(self, ontology: Ontology) -> None:
        """Write the last good model, whole or not at all. A folder that cannot be written costs only the keeping."""
        text = json.dumps({"format": _FORMAT, "ontology": ontology.to_dict()}, ensure_ascii=False, indent=1)
        with suppress(OSError):
            if self.last_good.is_file() and self.last_good.read_bytes() == text.encode():
                return
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
