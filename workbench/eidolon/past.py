"""Objects as of a point: a store whose relations are the versions that were true then."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from typing import Any

from workbench.eidolon.answers import Snapshot
from workbench.eidolon.history import Layout, Part
from workbench.eidolon.index import Index
from workbench.errors import LakeError
from workbench.lake import Lake
from workbench.ontology.model import Ontology
from workbench.ontology.objects import AsOf, Store

__all__ = ["past"]


class _Relations(Mapping[str, str]):
    """Pseudo-model to SELECT. One that did not exist then is an error that says since when there is one."""

    def __init__(self, found: Mapping[str, str], missing: Mapping[str, Part], index: Index, snapshot: Snapshot) -> None:
        self._found, self._missing, self._index, self._snapshot = found, missing, index, snapshot

    def __getitem__(self, model: str) -> str:
        if (part := self._missing.get(model)) is not None:
            raise self._error(part)
        return self._found[model]

    def _error(self, part: Part) -> LakeError:
        first = self._index.first_with(part)
        since = f"it is known since {first.taken_at:%Y-%m-%d %H:%M:%S} UTC ({first.name})" if first else "no snapshot covers it yet"
        return LakeError(f"{part}: it is not known as of {self._snapshot.name}", hint=since)

    def get(self, model: str, default: Any = None) -> Any:
        """The SELECT, or the default: for those who ask whether there is one."""
        return self._found.get(model, default)

    def __contains__(self, model: object) -> bool:
        return model in self._found

    def __iter__(self) -> Iterator[str]:
        return iter(self._found)

    def __len__(self) -> int:
        return len(self._found)


def past(lake: Lake, index: Index, layouts: Mapping[Part, Layout], store: Store, snapshot: Snapshot) -> Store:
    """The store as of a snapshot: types and links of the model in use, over the rows of then.

    A type that this snapshot does not cover is as the newest one before it that does.
    """
    asked = [Part(name) for name in store.ontology.object_types] + [Part(n, "link") for n, k in store.ontology.link_types.items() if k.via]
    known = index.known(snapshot.seq, [part for part in asked if part in layouts])
    found: dict[str, str] = {}
    missing: dict[str, Part] = {}
    sizes: dict[str, int] = {}
    # each type and link reads a relation of its own, also where several stand on one model
    types, links = {}, {}
    for owner in store.ontology.object_types.values():
        part, model = Part(owner.name), f"{owner.name} as of #{snapshot.seq}"
        # under another name then: an alias
        part = next((p for p in (part, *(Part(alias) for alias in owner.aliases)) if p in known and p in layouts), part)
        types[owner.name] = replace(owner, model=model)
        if part in known and part in layouts:
            found[model] = f"(\n{layouts[part].objects(owner, known[part].columns, snapshot.seq)}\n)"
            sizes[owner.name] = known[part].count
        else:
            missing[model] = part
    for link in store.ontology.link_types.values():
        if link.via is None:
            links[link.name] = link
            continue
        part, model = Part(link.name, "link"), f"link {link.name} as of #{snapshot.seq}"
        part = next((p for p in (part, *(Part(alias, "link") for alias in link.aliases)) if p in known and p in layouts), part)
        links[link.name] = replace(link, via=replace(link.via, model=model))
        if part in known and part in layouts:
            found[model] = f"(\n{layouts[part].pairs(link, known[part].columns, snapshot.seq)}\n)"
        else:
            missing[model] = part
    at = AsOf(snapshot.seq, snapshot.label, snapshot.taken_at)
    relations = _Relations(found, missing, index, snapshot)
    return Store(lake, Ontology(types, links), relations, past=store.past, as_of=at, now=store, sizes=sizes)
