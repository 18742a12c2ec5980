"""What if: a branch of the lake's state, in which rows are edited or left out, marts built anew, compared with the base, thrown away.

A fork is databases of its own, `fork_NAME__raw` and those of its models, and a copy of the dbt project in the state folder. Raw tables
are cloned by the engine: clone and base share their parts until one of them changes, so a fork costs next to nothing to begin with.
The base is read only here; nothing of a fork is ever written to it.
"""

from __future__ import annotations

import re
import shutil
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.answer import Answer, Block, Grid, Heading, Note
from workbench.eidolon.diff import Change, Counts, property_changes
from workbench.eidolon.history import text_of
from workbench.errors import LakeError, TransformError, UnknownName, UsageError
from workbench.lake.sql import quote, quote_table, quote_text
from workbench.ontology import Store
from workbench.transforms import Transforms

if TYPE_CHECKING:
    from workbench.lake import Lake
    from workbench.ontology import ObjectType, Ontology
    from workbench.transforms import BuildReport

__all__ = ["Fork", "ForkDiff", "ForkList", "Forks"]

_NAME = re.compile(r"[A-Za-z][A-Za-z0-9_]{0,30}")
_SHOWN = 100  # changes that a diff shows of itself
_LISTED = 1_000
_MACRO = re.compile(r"(\{%-?\s*macro\s+)generate_schema_name(\s*\()")
_OURS = """\
{{#- Of a fork: its own databases, for what it reads and what it makes. -#}}
{{% macro generate_schema_name(custom_schema_name, node) -%}}
    {prefix}{{{{ {base}(custom_schema_name, node) | trim }}}}
{{%- endmacro %}}
{{% macro source(source_name, table_name) -%}}
    {{%- set found = builtins.source(source_name, table_name) -%}}
    {{%- do return(found.incorporate(path={{"schema": "{prefix}" ~ found.schema}})) -%}}
{{%- endmacro %}}
"""


@dataclass(frozen=True)
class ForkDiff(Answer):
    """What differs in a fork: objects by type, added, removed and changed against the base as it is now."""

    name: str
    counts: tuple[Counts, ...]
    changes: tuple[Change, ...]
    not_built: tuple[str, ...] = ()  # types whose model the base or the fork has not built

    @property
    def total(self) -> int:
        """How many objects differ."""
        return sum(c.total for c in self.counts)

    def to_dict(self) -> dict[str, Any]:
        """`fork`, `counts` per type, the first `changes`, `total`, `not_built`."""
        return {
            "fork": self.name, "counts": [c.to_dict() for c in self.counts], "changes": [c.to_dict() for c in self.changes],
            "total": self.total, "not_built": list(self.not_built),
        }  # fmt: skip

    def blocks(self) -> Iterator[Block]:
        """The counts per type, and a row per changed property."""
        yield Heading(f"base → fork {self.name}")
        if not self.total:
            yield Note("nothing differs", "good")
        else:
            yield Grid(["type", "added", "removed", "changed"], [[c.type, c.added, c.removed, c.changed] for c in self.counts if c.total])
            shown = self.changes[:_SHOWN]
            rows = [
                [c.type, c.kind, c.key, c.title, *cells]
                for c in shown
                for cells in ([[p.name, p.old, p.new] for p in c.properties] if c.kind == "changed" else [["", "", ""]])
            ]
            note = f"the first {len(shown):,} of {self.total:,} changes" if len(shown) < self.total else ""
            yield Grid(["type", "change", "key", "title", "property", "base", "fork"], rows, note=note)
        if self.not_built:
            yield Note(f"not compared, as they are not built on both sides: {', '.join(self.not_built)}", "quiet")


@dataclass(frozen=True)
class ForkList(Answer):
    """The forks there are, and how much each holds that the base does not."""

    forks: tuple[Mapping[str, Any], ...]

    def to_dict(self) -> list[dict[str, Any]]:
        """A fork each: `name`, `tables`, `rows`, `databases`."""
        return [dict(f) for f in self.forks]

    def blocks(self) -> Iterator[Block]:
        """A row per fork."""
        rows = [[f["name"], f["tables"], f["rows"]] for f in self.forks]
        yield Grid(["fork", "tables", "rows"], rows, empty='no fork; bench.fork("A") makes one')


@dataclass(frozen=True)
class Fork:
    """One fork. `edit` and `keep` change its raw tables, `build` makes its marts of them, `diff` compares its objects with the base's."""

    name: str
    lake: Lake
    transforms: Transforms
    base: Callable[[], Mapping[str, str]]
    ontology: Callable[[], Ontology]

    def __repr__(self) -> str:
        return f"<Fork {self.name}>"

    @property
    def prefix(self) -> str:
        """What the names of its databases begin with."""
        return f"fork_{self.name}__"

    @property
    def store(self) -> Store:
        """Its objects, as last built: `fork.store.objects("Customer")`."""
        return Store(self.lake, self.ontology(), self.transforms.relations())

    def edit(self, table: str, where: str, **values: Any) -> int:
        """Give columns of some rows of a raw table other values; the number of current rows that `where` meets.

        `where` is a condition in SQL; values are bound as they are, None for none. The base is not touched.

        Raises:
            UnknownName: no such table or column.
            QueryError: the condition is wrong, or a value does not fit its column.
        """
        name, columns = self._table(table)
        for column in values:
            if column not in columns or column.startswith("_"):
                raise UnknownName("column", column, [c for c in columns if not c.startswith("_")])
        if not values:
            raise UsageError("there is nothing to set", hint='write fork.edit("customers", "credit > 20", credit=20)')
        met = self._count(name, where)
        sets = ", ".join(f"{quote(column)} = {_literal(value)}" for column, value in values.items())
        self._mutate(f"alter table {quote_table(name)} update {sets} where {_alone(where)}")
        return met

    def keep(self, table: str, where: str) -> int:
        """Leave only the rows of a raw table that meet a condition in SQL; the number of current rows that were left out."""
        name, _ = self._table(table)
        gone = self._count(name, "1") - self._count(name, where)
        self._mutate(f"alter table {quote_table(name)} delete where not coalesce(toBool({_alone(where)}), false)")
        return gone

    def build(self, *words: str) -> BuildReport:
        """Make its models of its raw tables, by `dbt run` on its copy of the project: `fork.build("--select", "fct_invoices+")`.

        Raises:
            TransformError: dbt failed.
        """
        report = self.transforms.run(["run", *words])
        if not report.success:
            failed = ", ".join(n.name for n in report.nodes if n.status not in ("success", "pass", "skipped"))
            raise TransformError(f"fork {self.name}: dbt failed{f' at {failed}' if failed else ''}", hint=f"see {self.transforms.log_dir}")
        return report

    def diff(self, *types: str, limit: int = _LISTED) -> ForkDiff:
        """What differs from the base as it is now, for these types or for all: compared in the engine, by a hash of each object."""
        ontology, base, mine = self.ontology(), self.base(), self.transforms.relations()
        counts: list[Counts] = []
        changes: list[Change] = []
        missing = []
        for kind in [ontology.object_type(t) for t in types] or list(ontology.object_types.values()):
            if kind.model not in base or kind.model not in mine:
                missing.append(kind.name)
                continue
            states = []
            for relation in (base[kind.model], mine[kind.model]):
                found = self.lake.query(f"describe table (select * from {relation} as s)").to_pylist()
                columns = {r["name"]: r["type"] for r in found}
                if gone := [p.name for p in kind.stored if p.name not in columns]:
                    raise LakeError(f"{kind.name}: {kind.model} has no column {gone[0]}", hint="run skygraph ontology check")
                states.append(_state(kind, relation, columns))
            both = (
                "select key, anyIf(title, side = 0) as old_title, anyIf(title, side = 1) as new_title,\n"
                "    anyIf(properties, side = 0) as old, anyIf(properties, side = 1) as new,\n"
                "    multiIf(countIf(side = 0) = 0, 'added', countIf(side = 1) = 0, 'removed', 'changed') as change\n"
                f"from (select 0 as side, * from (\n{states[0]}\n) union all select 1 as side, * from (\n{states[1]}\n))\n"
                "group by key having uniqExact(sipHash128(toJSONString(properties))) > 1 or uniqExact(side) = 1"
            )
            sums = {r["change"]: r["n"] for r in self.lake.rows(f"select change, count() as n from (\n{both}\n) group by change")}
            counts.append(Counts(kind.name, False, sums.get("added", 0), sums.get("removed", 0), sums.get("changed", 0)))
            left = limit - len(changes)
            order = "indexOf(['added', 'removed', 'changed'], change), toInt128OrZero(key), key"
            for row in self.lake.query(f"{both}\norder by {order} limit {max(0, left)}").to_pylist() if sums and left > 0 else ():
                title = row["old_title"] if row["change"] == "removed" else row["new_title"]
                changed = property_changes(dict(row["old"]), dict(row["new"]))
                changes.append(Change(kind.name, row["change"], row["key"], title, False, changed))
        return ForkDiff(self.name, tuple(counts), tuple(changes), tuple(missing))

    def drop(self) -> None:
        """Throw it away, databases and project."""
        for database in _databases(self.lake, self.name):
            self.lake.command(f"drop database if exists {quote(database)} sync")
        shutil.rmtree(self.transforms.project.parent, ignore_errors=True)

    def _table(self, table: str) -> tuple[str, Mapping[str, str]]:
        name = f"{self.prefix}raw.{table.removeprefix('raw.')}"
        columns = self.lake.columns(name)
        if not columns:
            raise UnknownName("table", table, self.lake.tables(f"{self.prefix}raw"))
        return name, columns

    def _count(self, name: str, where: str) -> int:
        return int(
            self.lake.scalar(f"select countIf(coalesce(toBool({_alone(where)}), false)) from {quote_table(name)} where _deleted = 0")
        )

    def _mutate(self, sql: str) -> None:
        self.lake.command(sql, settings={"mutations_sync": 2, "final": 0})


@dataclass(frozen=True)
class Forks:
    """The forks of one workspace."""

    lake: Lake
    base: Transforms
    ontology: Callable[[], Ontology]
    home: Path

    def open(self, name: str) -> Fork:
        """The fork of a name, made of the base as it is now when there is none.

        Raises:
            UsageError: a name that cannot be one, or a lake of several servers.
            TransformError: the dbt project could not be made its own; nothing was run.
        """
        if not _NAME.fullmatch(name):
            raise UsageError(f"a fork cannot be called {name[:40]!r}", hint="take letters, digits and _, at most 31, a letter first")
        if self.lake.settings.cluster:
            raise UsageError("a cluster has no forks", hint="move the workspace to one server first")
        project = self.home / name / "dbt"
        fork = Fork(
            name, self.lake, Transforms(self.lake, project, project.parent / "log", keeps_runs=False), self.base.relations, self.ontology
        )
        if (project.parent / "made").exists():
            return fork
        fork.drop()  # what a fork that was not finished has left
        try:
            self._copy_project(project, fork.prefix)
            fork.transforms.run(["parse"])
            # from here on dbt runs on this project: nothing of it may land in the base
            if strays := [m.table for m in fork.transforms.models().values() if not m.table.startswith(fork.prefix)]:
                raise TransformError(f"{strays[0]} would be built in the base", hint="its schema must come from generate_schema_name")
            self._clone(fork.prefix)
        except BaseException:
            fork.drop()
            raise
        (project.parent / "made").touch()
        return fork

    def all(self) -> ForkList:
        """Every fork."""
        found = self.lake.rows(
            "select extract(database, '^fork_(.+)__[^_]') as name, count() as tables, sum(ifNull(total_rows, 0)) as rows,\n"
            "    arraySort(groupUniqArray(database)) as databases from system.tables where match(database, '^fork_.+__')\n"
            "group by name order by name"
        )
        return ForkList(tuple(found))

    def find(self, name: str) -> Fork:
        """A fork that there is.

        Raises:
            UnknownName: there is none of this name.
        """
        known = [str(f["name"]) for f in self.all().forks]
        if name not in known:
            raise UnknownName("fork", name, known, hint=None if known else 'bench.fork("A") makes one')
        return self.open(name)

    def drop(self, name: str) -> ForkList:
        """Throw a fork away; those that are left.

        Raises:
            UnknownName: there is none of this name.
        """
        self.find(name).drop()
        return self.all()

    def _copy_project(self, project: Path, prefix: str) -> None:
        """The workspace's dbt project, whose sources and models are in other databases."""
        if not (self.base.project / "dbt_project.yml").exists():
            raise TransformError(f"there is no dbt project in {self.base.project}", hint="`skygraph init DIR` makes one")
        shutil.copytree(self.base.project, project, ignore=shutil.ignore_patterns("target", "logs", ".git"))
        base = "default__generate_schema_name"
        for path in (project / "macros").rglob("*.sql"):
            text = path.read_text(encoding="utf-8")
            if _MACRO.search(text):
                path.write_text(_MACRO.sub(r"\1base_schema_name\2", text), encoding="utf-8")
                base = "base_schema_name"
        (project / "macros").mkdir(exist_ok=True)
        (project / "macros/skygraph_fork.sql").write_text(_OURS.format(prefix=prefix, base=base), encoding="utf-8")

    def _clone(self, prefix: str) -> None:
        self.lake.create_database(f"{prefix}raw")
        for table in self.lake.tables("raw"):
            self.lake.command(f"create table {quote_table(f'{prefix}raw.{table}')} clone as {quote_table(f'raw.{table}')}")


def _state(kind: ObjectType, relation: str, columns: Mapping[str, str]) -> str:
    """A SELECT of the objects of a type, every value as text that says all of it; rows without a key are left out."""
    texts = {p.name: text_of(f"s.{quote(p.name)}", columns[p.name]) for p in kind.stored}
    title = texts.get(kind.title) or f"cast(toString({kind.sql(kind.title, lambda n: f's.{quote(n)}')}) as Nullable(String))"
    pairs = ", ".join(f"{quote_text(name)}, {text}" for name, text in texts.items())
    return (
        f"select assumeNotNull({texts[kind.key]}) as key, ifNull({title}, '') as title, map({pairs}) as properties\n"
        f"from {relation} as s where {texts[kind.key]} is not null"
    )


def _databases(lake: Lake, name: str) -> Sequence[str]:
    found = lake.query("select name from system.databases where startsWith(name, {prefix:String})", {"prefix": f"fork_{name}__"})
    return [str(n) for n in found.column("name").to_pylist()]


def _alone(where: str) -> str:
    """A condition in parentheses; one that closes them is an error and not another statement."""
    depth = 0
    quoted = re.sub(r"'(?:[^'\\]|\\.|'')*'|`(?:[^`\\]|\\.)*`|\"(?:[^\"\\]|\\.)*\"", "", where)
    for sign in quoted:
        depth += {"(": 1, ")": -1}.get(sign, 0)
        if depth < 0:
            break
    if depth or not where.strip() or re.search(r"['`\";]|--|/\*|#", quoted):
        raise UsageError(f"{where[:60]!r} is not one condition", hint="write it as after WHERE, without comments")
    return f"({where})"


def _literal(value: Any) -> str:
    """A value as text of SQL."""
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, int) or (isinstance(value, float) and value - value == 0):
        return repr(value)
    return quote_text(str(value))
