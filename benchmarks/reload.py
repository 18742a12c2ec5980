"""How long a reload of a large ontology takes while others read: 200 object types, 400 links, 8 readers.

    python benchmarks/reload.py [--types 200] [--links 400] [--readers 8] [--rounds 10]

Each type stands on a table of its own in the lake, with 14 properties and a computed one. Each round saves two files that must agree and
reloads with the check against the lake. Readers are threads with a connection of their own that ask without a pause: of a model, and of the
objects behind it. An answer that fits neither the old nor the new model counts as mixed.
"""

from __future__ import annotations

import argparse
import statistics
import threading
import time
from pathlib import Path
from typing import TYPE_CHECKING

from _servers import own_workspace, table_of

if TYPE_CHECKING:
    from workbench import Workbench

FORM = """type: {name}
model: m{i}
key: id
title: p0
properties:
  id: {{type: integer}}
  ref: {{type: integer}}
{more}  ratio: {{type: number, expression: "p1 / nullIf(p3, {i})"}}
"""


def write(root: Path, types: int, links: int) -> None:
    """The files, the dbt models' names, nothing in the lake yet."""
    for folder in ("ontology/objects", "ontology/links", "dbt/models/marts"):
        (root / folder).mkdir(parents=True, exist_ok=True)
    more = "".join(f"  p{j}: {{type: {'integer' if j % 2 else 'string'}, description: Property {j}}}\n" for j in range(12))
    for i in range(types):
        (root / f"ontology/objects/t{i}.yml").write_text(FORM.format(name=f"T{i}", i=i, more=more), encoding="utf-8")
        (root / f"dbt/models/marts/m{i}.sql").write_text("select 1\n", encoding="utf-8")
    for i in range(links):
        text = f"link: l{i}\nfrom: T{i % types}\nto: T{(i * 7 + 1) % types}\ncardinality: many_to_one\njoin: {{ref: id}}\nreverse: r{i}\n"
        (root / f"ontology/links/l{i}.yml").write_text(text, encoding="utf-8")


def fill(bench: Workbench, types: int) -> None:
    """A table per model: as many rows as its number."""
    bench.lake.create_database("marts")
    columns = ", ".join(f"p{j} {'Int64' if j % 2 else 'String'}" for j in range(12))
    for i in range(types):
        bench.lake.command(f"create table marts.m{i} (id Int64, ref Int64, {columns}) engine = MergeTree order by id")
        bench.lake.command(f"insert into marts.m{i} (id, ref) select number, number from numbers({i})")


def swap(root: Path, old: str, new: str) -> None:
    """Rename the first type, in its file and in the links that name it."""
    for path in [root / "ontology/objects/t0.yml", *(root / "ontology/links").glob("*.yml")]:
        text = path.read_text("utf-8")
        changed = text.replace(f"type: {old}\n", f"type: {new}\n").replace(f"from: {old}\n", f"from: {new}\n")
        changed = changed.replace(f"to: {old}\n", f"to: {new}\n")
        if changed != text:
            path.write_text(changed, encoding="utf-8")


def read(bench: Workbench, stop: threading.Event, counts: list[int], wrong: list[str]) -> None:
    """Ask until told to stop: is the model whole, and are the objects those of the model?"""
    from workbench.lake import Lake
    from workbench.ontology import Store

    lake = Lake(bench.settings)
    relations = bench.transforms.relations()
    while not stop.is_set():
        try:
            ontology = bench.ontology
            dangling = [k.name for k in ontology.link_types.values() if not {k.from_type, k.to_type} <= ontology.object_types.keys()]
            name = next(n for n in ("T0", "Zero") if n in ontology.object_types)
            i = 1 + counts[0] % (len(ontology.object_types) - 1)
            store = Store(lake, ontology, relations)
            if dangling or store.objects(f"T{i}").count() != i or store.objects(name).count() != 0:
                wrong.append(f"mixed: {dangling[:3]} {name} T{i}")
            counts[0] += 1
        except Exception as error:
            wrong.append(repr(error)[:200])
            break
    lake.close()


def main() -> None:
    """Run it and print."""
    words = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name, default in (("types", 200), ("links", 400), ("readers", 8), ("rounds", 10)):
        words.add_argument(f"--{name}", type=int, default=default)
    args = words.parse_args()
    from workbench import Workbench

    with own_workspace() as settings:
        bench = Workbench(settings)
        root = settings.workspace
        write(root, args.types, args.links)
        fill(bench, args.types)
        bench.ontology_reload()  # every expression is asked about once
        stop, wrong = threading.Event(), list[str]()
        counts = [[0] for _ in range(args.readers)]
        readers = [threading.Thread(target=read, args=(bench, stop, count, wrong)) for count in counts]
        for alone in (True, False):
            if not alone:
                for reader in readers:
                    reader.start()
            seconds = []
            for turn in range(args.rounds):
                swap(root, *(("T0", "Zero") if turn % 2 == 0 else ("Zero", "T0")))
                started = time.perf_counter()
                assert bench.ontology_reload().changes
                seconds.append(time.perf_counter() - started)
            rows = [["reload, nobody reads" if alone else f"reload, {args.readers} readers", f"{statistics.median(seconds):.2f}",
                     f"{max(seconds):.2f}"]]  # fmt: skip
            print(table_of(["", "median s", "worst s"], rows))
        stop.set()
        for reader in readers:
            reader.join()
        print(f"{sum(c[0] for c in counts):,} rounds of questions meanwhile, {len(wrong)} errors or mixed answers {wrong[:2]}")
        bench.close()


if __name__ == "__main__":
    main()
