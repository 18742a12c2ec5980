"""Backups of the lake by the engine's own BACKUP, restored aside and swapped in; and the move of a whole lake to another server.

A backup is a folder: `manifest.json` (every table with its rows and a checksum over all of them, when, by which versions),
`workspace.tar.gz` (the four folders) and `lake/` (the engine's files). It is written under another name and renamed when it is whole,
so a folder with a manifest is a whole backup. The engine writes and reads through a disk named `backups`: of the embedded lake that is
`.skygraph/backups/`, of a server the one that the setting `backup_disk` names.

What is restored or moved is compared with the manifest or with the other side, counts and checksums, before anybody can see it.
"""

from __future__ import annotations

import datetime as dt
import hashlib
import json
import os
import re
import shutil
import tarfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import suppress
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.errors import LakeError, LakeUnavailable, QueryError, SkyGraphError, UnknownName, UsageError
from workbench.lake.client import HISTORY_COMMENT, Lake
from workbench.lake.sql import quote, quote_table, quote_text, rows_checksum
from workbench.log import logger
from workbench.settings import WORKSPACE_FOLDERS

__all__ = ["BackupList", "BackupReport", "Backups", "Manifest", "MoveReport", "RestoreReport", "TableCopy", "move"]

Progress = Callable[[str, int, int], None]

DISK = "backups"  # of the embedded lake, in `engine.py`
FORMAT = 1
_PARTIAL = ".partial-"
_INCOMING = ".incoming-"
_ASIDE, _BEFORE = "__restoring", "__before_restore"
_SWAPPED = "skygraph__swapped"  # a database that is there while what was replaced is dropped
_MOVING = "_moving_"
_LEFT_OUT = ("target", "logs", "dbt_packages", ".ipynb_checkpoints", "__pycache__")
_POLL_S = 0.05
_TRIES = 5  # for a table that is written to while it is copied
_NOT_ALLOWED = (36, 76, 79, 344, 471, 582, 669)  # no such disk, not allowed there, ...
_VIEWS = ("View", "MaterializedView", "Dictionary")


@dataclass(frozen=True)
class TableCopy:
    """A table as it was copied, every version of every row. Counted and summed are its current rows ('' where they cannot be summed).

    `rows_to` is more than `rows` for a table that was written to meanwhile: its copy has as many rows as one of the two or lies between.
    A view has the statement that makes it and no rows.
    """

    table: str
    engine: str
    rows: int
    bytes: int
    checksum: str
    rows_to: int = 0
    create: str = ""

    @property
    def is_view(self) -> bool:
        """Whether it has no rows of its own."""
        return self.engine in _VIEWS


@dataclass(frozen=True)
class Manifest:
    """What a backup holds."""

    name: str
    made_at: dt.datetime
    workspace: str
    skygraph: str
    clickhouse: str
    disk: str
    tables: tuple[TableCopy, ...]
    bytes: int
    files_sha256: str
    seconds: float
    path: str = ""  # on the disk of a server; '' where the engine's files are in the folder itself
    folder: str = ""  # where it lies; not kept in the file

    @property
    def rows(self) -> int:
        """Current rows of all tables."""
        return sum(t.rows for t in self.tables)

    @property
    def databases(self) -> list[str]:
        """The databases in it, in order."""
        return list(dict.fromkeys(t.table.partition(".")[0] for t in self.tables))

    def to_dict(self) -> dict[str, Any]:
        """The manifest as data."""
        return {**asdict(self), "format": FORMAT, "rows": self.rows}

    @classmethod
    def read(cls, folder: Path) -> Manifest:
        """The manifest of a backup.

        Raises:
            UsageError: the folder is no whole backup, or one of a later release.
        """
        try:
            data = json.loads((folder / "manifest.json").read_text(encoding="utf-8"))
            if data["format"] != FORMAT:
                raise UsageError(f"{folder} was written by a later release of SkyGraph ({data['skygraph']})", hint="update SkyGraph")
            tables = tuple(TableCopy(**t) for t in data["tables"])
            known = {
                n: data[n] for n in ("name", "workspace", "skygraph", "clickhouse", "disk", "path", "bytes", "files_sha256", "seconds")
            }
            return cls(**known, made_at=dt.datetime.fromisoformat(data["made_at"]), tables=tables, folder=str(folder))
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise UsageError(f"{folder} is no whole backup: {error}", hint="`skygraph backup list` names those there are") from None


@dataclass(frozen=True)
class BackupReport(Answer):
    """A backup that was made, and the older ones that were deleted for it."""

    manifest: Manifest
    deleted: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> Any:
        """The manifest with `deleted` and `notes`."""
        return {**self.manifest.to_dict(), "deleted": list(self.deleted), "notes": list(self.notes)}

    def blocks(self) -> Iterator[Block]:
        """A row per database, then where it lies."""
        m = self.manifest
        yield _per_database(m.tables)
        yield Note(f"{m.folder}: {m.rows:,} rows, {m.bytes / 1e6:,.1f} MB, in {m.seconds:.1f} s", "good")
        for name in self.deleted:
            yield Note(f"deleted the older {name}", "quiet")
        for note in self.notes:
            yield Note(note, "quiet")


@dataclass(frozen=True)
class BackupList(Answer):
    """The whole backups of a folder, oldest first."""

    folder: str
    backups: tuple[Manifest, ...]

    def to_dict(self) -> Any:
        """A row per backup, without its tables."""
        return [{**m.to_dict(), "tables": len(m.tables)} for m in self.backups]

    def blocks(self) -> Iterator[Block]:
        """A grid."""
        rows = [[m.name, m.made_at, len(m.tables), m.rows, round(m.bytes / 1e6, 1), m.clickhouse] for m in self.backups]
        empty = f"no backup in {self.folder} yet; `skygraph backup` makes one"
        yield Grid(["backup", "made", "tables", "rows", "MB", "ClickHouse"], rows, empty=empty, note=self.folder)


@dataclass(frozen=True)
class RestoreReport(Answer):
    """What was restored, compared with the manifest."""

    manifest: Manifest
    seconds: float
    replaced: tuple[str, ...] = ()
    files: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def to_dict(self) -> Any:
        """The manifest with `replaced` databases, the workspace `files` that were missing and came back, `notes`, `seconds`."""
        said = {"replaced": list(self.replaced), "files": list(self.files), "notes": list(self.notes), "seconds": round(self.seconds, 2)}
        return {**self.manifest.to_dict(), **said}

    def blocks(self) -> Iterator[Block]:
        """A row per database, then what was proved."""
        m = self.manifest
        yield _per_database(m.tables)
        proved = sum(bool(t.checksum) for t in m.tables)
        yield Note(f"restored {m.name}: {m.rows:,} rows, the checksums of {proved} tables equal, in {self.seconds:.1f} s", "good")
        if self.replaced:
            yield Note(f"replaced {', '.join(self.replaced)}", "quiet")
        if self.files:
            yield Note(f"{len(self.files)} file(s) of the workspace were missing and came back; those that were there stayed", "quiet")
        for note in self.notes:
            yield Note(note, "quiet")


@dataclass(frozen=True)
class MoveReport(Answer):
    """A lake that was copied to another server: every table with its rows, equal on both sides."""

    to: str
    tables: tuple[TableCopy, ...]
    there_already: tuple[str, ...]
    seconds: float

    def to_dict(self) -> Any:
        """`to` without the password, the tables, those that were `there_already`, `seconds`."""
        return {
            "to": self.to, "tables": [asdict(t) for t in self.tables], "there_already": list(self.there_already),
            "rows": sum(t.rows for t in self.tables), "seconds": round(self.seconds, 2),
        }  # fmt: skip

    def blocks(self) -> Iterator[Block]:
        """A row per database, then what to do next."""
        yield _per_database(self.tables)
        rows = sum(t.rows for t in self.tables)
        yield Note(
            f"{self.to} has all {len(self.tables)} tables and views, {rows:,} rows, every checksum equal; {self.seconds:.1f} s", "good"
        )
        if self.there_already:
            yield Note(f"{len(self.there_already)} of them were there already", "quiet")
        yield Note("from now on: export SKYGRAPH_CLICKHOUSE_URL=... (the same address), then `skygraph down` and `skygraph up`")


def _per_database(tables: Sequence[TableCopy]) -> Grid:
    found: dict[str, list[TableCopy]] = {}
    for t in tables:
        found.setdefault(t.table.partition(".")[0], []).append(t)
    rows = [
        [
            name,
            sum(not t.is_view for t in ts),
            sum(t.is_view for t in ts),
            sum(t.rows for t in ts),
            round(sum(t.bytes for t in ts) / 1e6, 1),
        ]
        for name, ts in found.items()
    ]
    return Grid(["database", "tables", "views", "rows", "MB"], rows, empty="the lake is empty")


class Backups:
    """The backups of one workspace. `home` is `.skygraph/backups/`; `disk` the server's disk, '' for the embedded lake's own."""

    def __init__(self, lake: Lake, workspace: Path, home: Path, *, disk: str = "") -> None:
        self.lake, self.workspace, self.home = lake, workspace, home
        self.disk = disk or (DISK if lake.embedded is not None else "")

    # --- make

    def make(self, into: Path | None, databases: Sequence[str], *, keep: int = 0, progress: Progress | None = None) -> BackupReport:
        """Write a backup of these databases into a folder (default: `home`); with `keep`, delete all but the newest so many.

        Raises:
            UsageError: the lake is a cluster, or a server without a disk for backups.
            LakeError: the engine could not; nothing is left of it, and older backups are as they were.
        """
        say = progress or _quiet
        self._check_place()
        into = (into or self.home).expanduser().resolve()
        for folder in (self.home, into):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(self.home)
        _sweep(into)
        started, made_at = time.monotonic(), dt.datetime.now(dt.timezone.utc).replace(microsecond=0)
        name = _free_name(into, f"{made_at:%Y%m%dT%H%M%SZ}")
        here = [d for d in databases if d in self._databases()]
        say("counting", 0, 0)
        parts = self._parts(here)
        before = read_tables(self.lake, here, say)
        if not before:
            raise UsageError("the lake is empty: there is nothing to back up", hint="run `skygraph sync`")
        self._check_room(into, sum(t.bytes for t in before))
        partial = f"{_PARTIAL}{name}-{os.getpid()}"
        work = self.home / partial
        work.mkdir(mode=0o700)
        try:
            path = "" if self.lake.embedded is not None else f"skygraph-{name}-{os.getpid()}"
            self._engine_backup(before, path or f"{partial}/lake", say)
            after = self._parts(here)
            changed = [t.table for t in before if parts.get(t.table) != after.get(t.table) and not t.is_view]
            again = {t.table: t for t in read_tables(self.lake, here, say, only=changed)} if changed else {}
            tables = tuple(_settled(t, again.get(t.table)) if t.table in changed else t for t in before)
            files = _pack(self.workspace, work / "workspace.tar.gz")
            size = sum(p.stat().st_size for p in work.rglob("*") if p.is_file())
            manifest = Manifest(
                name, made_at, self.workspace.name, _version(), self.lake.ping(), self.disk, tables, size, files,
                round(time.monotonic() - started, 2), path, str(into / name),
            )  # fmt: skip
            text = json.dumps({k: v for k, v in manifest.to_dict().items() if k != "folder"}, indent=1, default=str)
            _write_through(work / "manifest.json", text)
            if into != self.home:
                shutil.move(work, into / partial)
            os.replace(into / partial, into / name)
        except BaseException:
            shutil.rmtree(work, ignore_errors=True)
            shutil.rmtree(into / partial, ignore_errors=True)
            raise
        logger().info("backup made", backup=str(into / name), row_count=manifest.rows, elapsed_s=manifest.seconds)
        deleted = self._delete_old(into, keep) if keep else ()
        notes = [f"{t.table} was written to meanwhile: its copy has {t.rows:,} to {t.rows_to:,} rows" for t in tables if t.rows_to]
        if self.lake.embedded is None:
            notes.append(f"the rows are on the server's disk {self.disk}, under {path}; what is deleted here stays there")
        return BackupReport(manifest, tuple(deleted), tuple(notes))

    def all(self, folder: Path | None = None) -> BackupList:
        """The whole backups of a folder (default: `home`), oldest first."""
        place = (folder or self.home).expanduser().resolve()
        found = []
        for path in sorted(place.glob("*/manifest.json")) if place.is_dir() else ():
            if not path.parent.name.startswith("."):
                with suppress(UsageError):
                    found.append(Manifest.read(path.parent))
        return BackupList(str(place), tuple(sorted(found, key=lambda m: (m.made_at, m.name))))

    def _delete_old(self, into: Path, keep: int) -> list[str]:
        deleted = []
        for old in self.all(into).backups[:-keep]:
            doomed = into / f"{_PARTIAL}{old.name}-{os.getpid()}"  # no longer a backup from the first file on
            os.replace(into / old.name, doomed)
            shutil.rmtree(doomed, ignore_errors=True)
            deleted.append(old.name)
        return deleted

    def _engine_backup(self, tables: Sequence[TableCopy], path: str, say: Progress) -> None:
        named = ", ".join(f"table {quote_table(t.table)}" for t in tables if not t.is_view)
        if named:
            self._run(f"backup {named} to {self._at(path)}", "writing", say)

    # --- restore

    def find(self, where: str) -> Manifest:
        """A backup: its folder, its name in `home`, a folder of backups (then the newest), or '' for the newest of `home`.

        Raises:
            UnknownName: there is none; names the nearest.
        """
        for folder in (Path(where).expanduser(), self.home / where) if where else (self.home,):
            if (folder / "manifest.json").is_file():
                return Manifest.read(folder.resolve())
            if found := self.all(folder).backups:
                return found[-1]
        raise UnknownName("backup", where or str(self.home), [m.name for m in self.all().backups])

    def restore(self, where: str, *, replace: bool = False, progress: Progress | None = None) -> RestoreReport:
        """Bring the databases of a backup back: each into one beside it, compared with the manifest, then all swapped in.

        Until the swap everything stays as it is, so that a restore that fails or is killed has changed nothing; the next one clears
        away what it left. Files of the workspace that are missing come back too.

        Raises:
            UsageError: a database has tables already and `replace` is not given; or the backup does not fit this lake.
            LakeError: what came back is not what the manifest says; nothing was changed.
        """
        say = progress or _quiet
        started = time.monotonic()
        manifest = self.find(where)
        folder = Path(manifest.folder)
        self._check_place()
        _check_files(folder, manifest)
        notes = self._heal(manifest.databases)
        there = self._databases()
        full = [d for d in manifest.databases if d in there and self.lake.tables(d)]
        if full and not replace:
            raise UsageError(f"{', '.join(full)} {'have' if len(full) > 1 else 'has'} tables already", hint="say --replace to replace them")
        incoming = self._bring_in(folder, manifest)
        data = [t for t in manifest.tables if not t.is_view]
        try:
            for name in manifest.databases:
                self.lake.create_database(name + _ASIDE)
            if data:
                named = ", ".join(f"table {quote_table(t.table)} as {quote_table(_aside(t.table))}" for t in data)
                self._run(f"restore {named} from {self._at(incoming)}", "reading", say)
            self._compare(data, say)
        except BaseException:
            with suppress(LakeError):
                for name in manifest.databases:
                    self.lake.command(f"drop database if exists {quote(name + _ASIDE)} sync")
            raise
        finally:
            if incoming.startswith(_INCOMING):
                shutil.rmtree(self.home / incoming.partition("/")[0], ignore_errors=True)
        self._swap(manifest)
        files = _unpack(folder / "workspace.tar.gz", self.workspace)
        notes += [f"{t.table} was written to while it was backed up: its rows were counted, not summed" for t in data if t.rows_to]
        logger().info("backup restored", backup=str(folder), row_count=manifest.rows, replaced=full or None)
        return RestoreReport(manifest, time.monotonic() - started, tuple(full), tuple(files), tuple(notes))

    def _heal(self, databases: Sequence[str]) -> list[str]:
        """Put in order what a restore left that was killed: before its swap was whole all is as it was, after it all is as restored."""
        there = self._databases()
        notes = ["an earlier restore was cut short; its databases were put in order first"] if _SWAPPED in there else []
        for name in databases:
            if name + _BEFORE in there:
                notes = ["an earlier restore was cut short; its databases were put in order first"]
                if _SWAPPED not in there:
                    self._drop(name)
                    self.lake.command(f"rename database {quote(name + _BEFORE)} to {quote(name)}")
                self._drop(name + _BEFORE)
            self._drop(name + _ASIDE)
        self._drop(_SWAPPED)
        return notes

    def _drop(self, database: str) -> None:
        self.lake.command(f"drop database if exists {quote(database)} sync")

    def _swap(self, manifest: Manifest) -> None:
        """Every database for the one beside it; the views last, since they name tables by their full names. All of them or none."""
        try:
            for name in manifest.databases:
                if name in self._databases():
                    self.lake.command(f"rename database {quote(name)} to {quote(name + _BEFORE)}")
                self.lake.command(f"rename database {quote(name + _ASIDE)} to {quote(name)}")
            create_views(self.lake, [t for t in manifest.tables if t.is_view])
        except BaseException:
            self._heal(manifest.databases)
            raise
        self.lake.create_database(_SWAPPED)  # from here on what was before is not wanted back
        self._heal(manifest.databases)

    def _bring_in(self, folder: Path, manifest: Manifest) -> str:
        """Where the engine finds the backup, from its disk: links to files that lie elsewhere, copies where there can be none."""
        if manifest.path:
            return manifest.path
        if self.lake.embedded is None:
            said = f"{manifest.name} is a backup of an embedded lake, which a server cannot read"
            raise UsageError(said, hint="restore it in a workspace with an embedded lake, then `skygraph move` it")
        if folder.parent == self.home:
            return f"{folder.name}/lake"
        self.home.mkdir(mode=0o700, parents=True, exist_ok=True)
        _sweep(self.home)
        name = f"{_INCOMING}{manifest.name}-{os.getpid()}"
        try:
            shutil.copytree(folder / "lake", self.home / name / "lake", copy_function=_link_or_copy)
        except BaseException:
            shutil.rmtree(self.home / name, ignore_errors=True)
            raise
        return f"{name}/lake"

    def _compare(self, tables: Sequence[TableCopy], say: Progress) -> None:
        for n, t in enumerate(tables):
            say(f"comparing {t.table}", n, len(tables))
            rows, checksum = _measure(self.lake, _aside(t.table))
            good = t.rows <= rows <= t.rows_to if t.rows_to else (rows, checksum) == (t.rows, t.checksum or checksum)
            if not good:
                said = f"{t.table} came back with {rows:,} rows (checksum {checksum}), the manifest says {t.rows:,} ({t.checksum})"
                raise LakeError(f"{said}; nothing was changed", hint="the backup is damaged: take another one")

    # --- with the engine

    def _check_place(self) -> None:
        if self.lake.is_read_only:
            raise UsageError("this is a read-only view: it makes and restores no backup")
        if self.lake.placement.cluster:
            raise UsageError(
                "backups of a cluster are the cluster's own", hint="see BACKUP ... ON CLUSTER of ClickHouse, and docs/operations.md"
            )
        if not self.disk:
            raise UsageError(
                "the lake is a server, and no disk of it is named for backups",
                hint="allow a disk in the server's <backups><allowed_disk>, and name it: SKYGRAPH_BACKUP_DISK",
            )

    def _check_room(self, into: Path, size: int) -> None:
        for place in (self.home, into) if self.lake.embedded is not None else ():
            if (free := shutil.disk_usage(place).free) < size:
                raise LakeError(
                    f"{place} has {free / 1e6:,.0f} MB free and the backup takes about {size / 1e6:,.0f} MB", hint="free some space"
                )

    def _at(self, path: str) -> str:
        return f"Disk({quote_text(self.disk)}, {quote_text(path)})"

    def _run(self, statement: str, doing: str, say: Progress) -> None:
        """Run a BACKUP or RESTORE and wait for it, telling how far it is; ended when the caller is interrupted."""
        tag = f"backup:{os.getpid()}:{time.monotonic_ns()}"
        try:
            self.lake.command(f"{statement} settings id = {quote_text(tag)} async")
            while True:
                found = self.lake.rows(
                    "select toString(status) as status, error, num_files, files_read, total_size "
                    "from system.backups where id = {id:String}",
                    {"id": tag},
                )[0]
                status = str(found["status"])
                say(f"{doing}: {found['total_size'] / 1e6:,.0f} MB", int(found["files_read"] or 0), int(found["num_files"] or 0))
                if status in ("BACKUP_CREATED", "RESTORED"):
                    return
                if "FAILED" in status or "CANCELLED" in status:
                    raise QueryError(re.split(r"DB::\w*Exception: ", str(found["error"]))[-1].split(" Stack trace")[0][:600])
                time.sleep(_POLL_S)  # between two looks
        except LakeUnavailable:
            raise
        except QueryError as error:
            hint = "`skygraph restart clickhouse` once: the lake was started by an older release" if self.lake.embedded else None
            if error.code in _NOT_ALLOWED or "disk" in error.message.lower():
                hint = hint or f"the server has to allow the disk {self.disk}: <backups><allowed_disk>"
                raise LakeError(f"the lake cannot use the disk {self.disk}: {error.message}", hint=hint) from error
            raise
        except KeyboardInterrupt:
            with suppress(LakeError):
                self.lake.command("kill query where query_kind in ('Backup', 'Restore') and user = currentUser() async")
            raise

    def _databases(self) -> set[str]:
        return {str(row["name"]) for row in self.lake.rows("select name from system.databases")}

    def _parts(self, databases: Sequence[str]) -> dict[str, str]:
        """What each table is made of now: another text after every insert, merge or mutation."""
        found = self.lake.rows(
            "select concat(database, '.', table) as name, toString(cityHash64(arraySort(groupArray(name)))) as parts from system.parts "
            "where active and has({d:Array(String)}, database) group by database, table",
            {"d": list(databases)},
        )
        return {str(row["name"]): str(row["parts"]) for row in found}


# --- tables of a lake


def read_tables(lake: Lake, databases: Sequence[str], say: Progress, *, only: Sequence[str] | None = None) -> list[TableCopy]:
    """Every table and view of these databases with its current rows and their checksum; not what is staged for a moment."""
    found = lake.rows(
        "select database, name, engine, create_table_query as made_by, coalesce(total_bytes, 0) as size from system.tables\n"
        "where has({d:Array(String)}, database) and not startsWith(name, '_stage_') and not startsWith(name, '.inner')\n"
        "and not startsWith(name, '_moving_') and not is_temporary order by indexOf({d:Array(String)}, database), name",
        {"d": list(databases)},
    )
    tables = []
    for n, row in enumerate(found):
        name = f"{row['database']}.{row['name']}"
        if only is not None and name not in only:
            continue
        if row["engine"] in _VIEWS:
            tables.append(TableCopy(name, str(row["engine"]), 0, 0, "", create=str(row["made_by"])))
            continue
        say(f"summing {name}", n, len(found))
        tables.append(TableCopy(name, str(row["engine"]), *_sized(_measure(lake, name), int(row["size"])), create=str(row["made_by"])))
    return tables


def _sized(measured: tuple[int, str], size: int) -> tuple[int, int, str]:
    return measured[0], size, measured[1]


def _measure(lake: Lake, table: str) -> tuple[int, str]:
    """The current rows of a table, and a checksum over all their values; '' for a table with columns that have none.

    Of the physical rows a merge may leave fewer at any time; what is current stays.
    """
    columns = list(lake.columns(table))
    try:
        found = lake.rows(f"select count() as n, toString({rows_checksum(columns)}) as sum from {quote_table(table)}")[0]
    except QueryError as error:
        if error.code not in (43, 48):  # a type that cannot be hashed
            raise
        found = {**lake.rows(f"select count() as n from {quote_table(table)}")[0], "sum": ""}
    return int(found["n"]), str(found["sum"])


def _settled(before: TableCopy, after: TableCopy | None) -> TableCopy:
    """A table whose parts changed during the backup: the same when its rows did not, else both counts and no checksum."""
    if after is None or (before.rows, before.checksum) == (after.rows, after.checksum):
        return before
    low, high = sorted((before.rows, after.rows))
    return TableCopy(before.table, before.engine, low, before.bytes, "", max(high, 1), before.create)


def create_views(lake: Lake, views: Sequence[TableCopy]) -> None:
    """Make views in whatever order they stand on each other.

    Raises:
        QueryError: one cannot be made.
    """
    left = list(views)
    while left:
        waiting, why = [], None
        for view in left:
            try:
                lake.command(_if_not_exists(view.create), settings={"final": 0})
            except QueryError as error:
                waiting.append(view)
                why = error
        if len(waiting) == len(left) and why is not None:
            raise QueryError(
                f"the view {waiting[0].table} cannot be made: {why.message}", code=why.code, hint="`skygraph dbt run` makes it"
            )
        left = waiting


def _if_not_exists(create: str) -> str:
    return re.sub(r"^CREATE (MATERIALIZED VIEW|VIEW|TABLE|DICTIONARY) ", r"CREATE \1 IF NOT EXISTS ", create, count=1)


def _aside(table: str) -> str:
    database, _, name = table.partition(".")
    return f"{database}{_ASIDE}.{name}"


# --- another server


def move(source: Lake, target: Lake, databases: Sequence[str], *, replace: bool = False, progress: Progress | None = None) -> MoveReport:
    """Copy these databases to another server, table by table, in the engine's own format, physical rows and all.

    A table is filled under another name and gets its own once its rows and checksum are those of the source, so that a move that
    was cut short goes on with the next table when it is asked for again. The source stays as it is. Nothing but this process signs in
    at the server: no statement and no log has its password.

    Raises:
        UsageError: the server is the source itself; or has a table of that name with other rows, and `replace` is not given.
        LakeUnavailable: the server does not answer.
        LakeError: a copy differs from its source, or the source is written to all the time.
    """
    say = progress or _quiet
    started = time.monotonic()
    if (source.address.host, source.address.port) == (target.address.host, target.address.port):
        raise UsageError("that is the address of this lake itself", hint="name another ClickHouse server")
    if target.placement.cluster:
        raise UsageError("a lake is moved to one server, not to a cluster", hint="unset SKYGRAPH_CLUSTER, and let the cluster replicate it")
    target.ping()
    if source.is_read_only:
        raise UsageError("this is a read-only view: it moves nothing")
    there = [d for d in databases if source.tables(d)]
    tables = read_tables(source, there, say)
    known: list[str] = []
    for name in there:
        target.create_database(name)
    for n, t in enumerate(tables):
        if t.is_view:
            continue
        database, _, table = t.table.partition(".")
        if table in target.tables(database):
            if _measure(target, t.table) == (t.rows, t.checksum):
                known.append(t.table)
                continue
            if not replace:
                raise UsageError(f"the server has {t.table} already, with other rows", hint="say --replace to replace it")
        say(f"{t.table}: {t.rows:,} rows", n, len(tables))
        tables[n] = t = _copied(source, target, t, f"{database}.{_MOVING}{table}")
        on_the_way = f"{database}.{_MOVING}{table}"
        target.command(f"drop table if exists {quote_table(t.table)} sync")
        target.command(f"rename table {quote_table(on_the_way)} to {quote_table(t.table)}")
    views = [t for t in tables if t.is_view]
    if replace:
        for view in views:
            target.command(f"drop table if exists {quote_table(view.table)} sync")
    create_views(target, views)
    logger().info("lake moved", to=target.address.url, table_count=len(tables))
    return MoveReport(target.address.url, tuple(tables), tuple(known), time.monotonic() - started)


def _copied(source: Lake, target: Lake, t: TableCopy, name: str) -> TableCopy:
    """Fill a table of the server; again when the source was written to meanwhile. What was copied, with its rows and checksum."""
    for _ in range(_TRIES):
        want = _measure(source, t.table)
        target.command(f"drop table if exists {quote_table(name)} sync")
        target.command(_renamed(t, name))
        if want[0] or t.bytes:
            # without it, versions of a key that come in one block would be merged at once
            target.insert_stream(name, _native(source, t.table), "Native", settings={"optimize_on_insert": 0})
        if (found := _measure(target, name)) == want:
            return TableCopy(t.table, t.engine, want[0], t.bytes, want[1], create=t.create)
        if _measure(source, t.table) == want:
            target.command(f"drop table if exists {quote_table(name)} sync")
            raise LakeError(f"{t.table} has {want[0]:,} rows here and {found[0]:,} there, or other values", hint="look at the server's log")
    raise LakeError(f"{t.table} is written to all the time", hint="stop the scheduler and ask again; the tables before it are done")


def _native(source: Lake, table: str) -> Iterator[bytes]:
    columns = ", ".join(quote(c) for c in source.columns(table))
    return source.stream(
        f"select {columns} from {quote_table(table)}", None, "Native", settings={"final": 0, "log_comment": HISTORY_COMMENT}
    )


def _renamed(t: TableCopy, name: str) -> str:
    """The statement that makes a table, for another name: what stands between CREATE TABLE and the columns."""
    return re.sub(r"^CREATE TABLE (?:`(?:[^`\\]|\\.)+`|\S+?)\s*\(", lambda _: f"CREATE TABLE {quote_table(name)} (", t.create, count=1)


# --- files


def _quiet(message: str, done: int, total: int) -> None:
    """Say nothing."""


def _version() -> str:
    from workbench import __version__

    return __version__


def _free_name(folder: Path, name: str) -> str:
    found, n = name, 1
    while (folder / found).exists():
        n += 1
        found = f"{name}-{n}"
    return found


def _sweep(folder: Path) -> None:
    """Delete what processes that are gone left half-written."""
    for path in folder.glob(".*-*"):
        pid = path.name.rpartition("-")[2]
        if path.name.startswith((_PARTIAL, _INCOMING)) and pid.isdigit() and not _lives(int(pid)):
            shutil.rmtree(path, ignore_errors=True)


def _lives(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    except PermissionError:
        return True
    return True


def _link_or_copy(source: str, target: str) -> None:
    try:
        os.link(source, target)
    except OSError:  # another file system
        shutil.copy2(source, target)


def _pack(workspace: Path, path: Path) -> str:
    """The workspace's folders and settings as a tar, without what is made from them; its checksum."""

    def wanted(entry: tarfile.TarInfo) -> tarfile.TarInfo | None:
        name = entry.name.rpartition("/")[2]
        return None if name in _LEFT_OUT or name.startswith(".env") or name.endswith((".key", ".pem")) else entry

    with tarfile.open(path, "w:gz", compresslevel=6) as tar:
        for name in (*WORKSPACE_FOLDERS, "skygraph.toml"):
            if (workspace / name).exists():
                tar.add(workspace / name, name, filter=wanted)
    return _sha256(path)


def _unpack(path: Path, workspace: Path) -> list[str]:
    """Bring back the files that are missing; their names. One that is there stays as it is."""
    found = []
    with tarfile.open(path, "r:gz") as tar:
        for entry in tar:
            if entry.isfile() and not (workspace / entry.name).exists():
                tar.extract(entry, workspace, filter="data")
                found.append(entry.name)
    return found


def _check_files(folder: Path, manifest: Manifest) -> None:
    path = folder / "workspace.tar.gz"
    if not path.is_file() or _sha256(path) != manifest.files_sha256:
        raise SkyGraphError(f"{path} is not what the manifest says", hint="the backup is damaged: take another one")


def _sha256(path: Path) -> str:
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def _write_through(path: Path, text: str) -> None:
    """A file that is on the disk when this returns."""
    with open(path, "w", encoding="utf-8") as file:
        file.write(text)
        file.flush()
        os.fsync(file.fileno())
