"""Every verb, once. The command line and `%skygraph` are both built from this table; so are help, docs and completion.

A command gets a Workbench and its arguments and returns an Answer. It parses nothing and prints nothing.
"""

from __future__ import annotations

import functools
import shlex
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from workbench.answer import Answer, Block, Grid, Note
from workbench.errors import SkyGraphError, UsageError
from workbench.grammar import Argument, Command, Grammar, arg, clean, flag, whole
from workbench.log import write_logs

if TYPE_CHECKING:
    from workbench.bench import Workbench
    from workbench.ontology import ObjectSet
    from workbench.services import ServiceState

__all__ = ["GRAMMAR", "Lines", "complete", "written_to"]

GRAMMAR = Grammar("skygraph")


def command(
    name: str, *arguments: Argument, passes: bool = False, shell_only: bool = False, anywhere: bool = False
) -> Callable[[Callable[..., Any]], Callable[..., Any]]:
    """Add a verb to the table. Its help is the docstring; its parameters are `bench` and the arguments by name.

    It is refused in a folder that is no workspace, unless it may run `anywhere`.
    """

    def add(run: Callable[..., Any]) -> Callable[..., Any]:
        @functools.wraps(run)
        def checked(bench: Workbench, **values: Any) -> Any:
            if not anywhere:
                bench.settings.require_workspace()
                write_logs(bench.settings.make_state_dir() / "log")
            return run(bench, **values)

        GRAMMAR.add(Command(name, checked, arguments, clean(run.__doc__ or ""), passes, shell_only))
        return run

    return add


@dataclass(frozen=True)
class Lines(Answer):
    """Lines of text with the data behind them."""

    lines: tuple[str, ...]
    data: Any

    def to_dict(self) -> Any:
        """The data."""
        return self.data

    def blocks(self) -> Iterator[Block]:
        """One note per line."""
        yield from (Note(line) for line in self.lines)

    def __str__(self) -> str:
        return "\n".join(self.lines)


@dataclass(frozen=True)
class Rows(Answer):
    """Rows of plain values under their names."""

    columns: tuple[str, ...]
    rows: tuple[tuple[Any, ...], ...]
    empty: str = "nothing here"

    def to_dict(self) -> Any:
        """The rows as objects."""
        return [dict(zip(self.columns, row, strict=True)) for row in self.rows]

    def blocks(self) -> Iterator[Block]:
        """One grid."""
        yield Grid(self.columns, self.rows, empty=self.empty)


@dataclass(frozen=True)
class ShellLines(Answer):
    """Lines for a shell to evaluate. `str()` has them as they are; any other rendering hides the secrets."""

    variables: dict[str, str]

    def to_dict(self) -> Any:
        """The variables by name, as they are."""
        return self.variables

    def blocks(self) -> Iterator[Block]:
        """The lines with secrets hidden."""
        for name, value in self.variables.items():
            yield Note(f"export {name}={'***' if 'SECRET' in name or 'URL' in name else shlex.quote(value)}")

    def __str__(self) -> str:
        return "\n".join(f"export {name}={shlex.quote(value)}" for name, value in self.variables.items())

    def _repr_mimebundle_(self, include: Any = None, exclude: Any = None) -> dict[str, Any]:
        from workbench.answer import render_text

        return {"text/plain": render_text(self.blocks()), "text/html": self._repr_html_()}


# --- the main job and the workspace


@command(
    "demo",
    flag("--no-serve", help="end after the report instead of serving"),
    flag("--no-browser", help="do not open a browser"),
)
def demo(bench: Workbench, no_serve: bool = False, no_browser: bool = False) -> Any:
    """The main job on the workspace's sample source, then every service on it.

    Starts the lake, syncs, builds the models, loads the ontology, takes a snapshot, plays a day of changes at the source,
    syncs again, takes a second snapshot and shows the diff. Running it again changes nothing.
    """
    from workbench.demo import run_demo

    return run_demo(bench)


@command(
    "init",
    arg("dir", help="the folder to make"),
    flag("--example", help="a workspace of the repository to start from", completes="example", metavar="NAME", default=""),
    anywhere=True,
)
def init(bench: Workbench, dir: str, example: str = "") -> Answer:
    """Make a new workspace: sync_jobs/, dbt/, ontology/, notebooks/, ready to edit. Overwrites nothing."""
    from workbench.starter import make_workspace

    folder = make_workspace(Path(dir).expanduser(), example)
    steps = ["add a source and a table to sync_jobs/tables.yml", "skygraph sync", "skygraph dbt run", "skygraph ontology check"]
    return Lines((f"made the workspace {folder}", "next, in it:", *(f"  {s}" for s in steps)), {"workspace": str(folder)})


@command(
    "up",
    arg("services", help="clickhouse, skygraph-api, skygraph-sync, skygraph-ui (default: all)", nargs="*", metavar="SERVICE",
        completes="service"),
    flag("--foreground", help="stay with their logs until interrupted, then stop them"),
    flag("--dev", help="start the API and the scheduler anew when their code or the settings change"),
    shell_only=True,
)  # fmt: skip
def up(bench: Workbench, services: Sequence[str] = (), foreground: bool = False, dev: bool = False) -> Answer:
    """Start the services of this workspace, each after the one before is ready. Does nothing to one that runs."""
    from workbench.services import Services

    if foreground:  # the command line starts them, so that whatever ends it stops them
        return Lines((), [])
    running = Services(bench.settings)
    answer = _states(bench, running.up(services, dev=dev, say=bench.progress))
    if changed := running.changed_settings():
        said = f"the services run with other settings than this shell has ({', '.join(changed)}): `skygraph down`, then `skygraph up`"
        answer = replace(answer, notes=(said,))
    return answer


@command("down", arg("services", help="which (default: all)", nargs="*", metavar="SERVICE", completes="service"), shell_only=True)
def down(bench: Workbench, services: Sequence[str] = ()) -> Answer:
    """Stop services of this workspace, the last started first; without a name all of them and their supervisor."""
    from workbench.services import Services

    stopped = Services(bench.settings).down(services, say=bench.progress)
    said = [f"{name} stopped" for name in stopped] or ["nothing runs"]
    if bench.lake.embedded is None:
        said.append("the lake is a server of its own; it is not stopped from here")
    return Lines(tuple(said), {"stopped": bool(stopped), "services": list(stopped)})


@command("restart", arg("service", help="which", metavar="SERVICE", completes="service"), shell_only=True)
def restart(bench: Workbench, service: str) -> Answer:
    """Stop a service and start it again."""
    from workbench.services import Services

    return _states(bench, Services(bench.settings).restart(service, say=bench.progress))


@command("ps", arg("services", help="which (default: all)", nargs="*", metavar="SERVICE", completes="service"))
def ps(bench: Workbench, services: Sequence[str] = ()) -> Answer:
    """The services of this workspace, each asked just now whether it answers; exit 1 when one that was started, or is named, does not."""
    from workbench.services import Services

    return _states(bench, Services(bench.settings).states(services), wanted=bool(services))


@dataclass(frozen=True)
class _States(Answer):
    """Services as they are; one that is to run and does not answer makes it `failed`, and with `wanted` each one that is not ready."""

    rows: tuple[dict[str, Any], ...]
    links: tuple[str, ...] = ()
    wanted: bool = False
    notes: tuple[str, ...] = ()

    @property
    def failed(self) -> bool:
        """Whether one that was started does not work."""
        return any(row["status"] in ("failed", "backing off") or (self.wanted and row["status"] != "ready") for row in self.rows)

    def to_dict(self) -> Any:
        """A row per process."""
        return list(self.rows)

    def blocks(self) -> Iterator[Block]:
        """A grid; then what is worth knowing of each, and the addresses to open."""
        shown = ("name", "status", "address", "pid", "memory_mb", "uptime_s", "restarts")
        titles = ["service", "status", "address", "pid", "MB", "up (s)", "restarts"]
        yield Grid(titles, [[row[name] for name in shown] for row in self.rows])
        for row in self.rows:
            if row["note"]:
                yield Note(f"{row['name']}: {row['note']}", "bad" if row["status"] in ("failed", "backing off") else "quiet")
        for text in (*self.notes, *self.links):
            yield Note(text)


def _states(bench: Workbench, states: Sequence[ServiceState], *, wanted: bool = False) -> _States:
    from workbench.services import Services

    rows = tuple({**state.to_dict(), **_size_and_age(state.pid)} for state in states)
    services = Services(bench.settings)
    links = tuple(f"JupyterLab: {services.link('lab')}" for state in states if state.name == "lab" and state.status == "ready")
    return _States(rows, links, wanted)


def _size_and_age(pid: int | None) -> dict[str, int | None]:
    """Megabytes in memory and seconds since its start; None for a process that has ended."""
    import time

    import psutil

    try:
        process = psutil.Process(pid) if pid else None
        memory = round(process.memory_info().rss / 1e6) if process else None
        return {"memory_mb": memory, "uptime_s": round(time.time() - float(process.create_time())) if process else None}
    except psutil.Error:
        return {"memory_mb": None, "uptime_s": None}


@command(
    "logs",
    arg("services", help="whose (default: all that have said something); `workbench` are the commands'", nargs="*", metavar="SERVICE",
        completes="log"),
    flag("-f", "--follow", help="go on with what is written from now on, until interrupted"),
    flag("-n", "--lines", help="how many lines (default 40)", type=whole, default=40, metavar="N"),
    flag("--run", help="only lines of this run or request: the beginning of its id", default="", metavar="ID"),
    flag("--level", help="only lines of this level or worse: debug, info, warning, error", default="", metavar="LEVEL"),
)  # fmt: skip
def logs(bench: Workbench, services: Sequence[str] = (), follow: bool = False, lines: int = 40, run: str = "", level: str = "") -> Any:
    """The last lines of the services' logs, side by side in the order of time."""
    from workbench.services import LogLines

    return LogLines.of(bench.settings, services, lines=lines, run=run, level=level, is_followed=follow)


def _services(bench: Workbench) -> tuple[str, ...]:
    from workbench.services import names_of

    return names_of(bench.settings)


@command("env", shell_only=True)
def env(bench: Workbench) -> Answer:
    """Print `export ...` lines for a plain shell, so that dbt runs in it: eval "$(skygraph env)"."""
    from workbench.transforms import environment

    at = bench.lake.address
    return ShellLines({"SKYGRAPH_WORKSPACE": str(bench.settings.workspace), **environment(at, bench.settings.cluster)})


@command(
    "lab",
    arg("notebook", help="a notebook to open, from the workspace", nargs="?", default="", metavar="NOTEBOOK", completes="notebook"),
    flag("--no-browser", help="do not open a browser"),
    shell_only=True,
)
def lab(bench: Workbench, notebook: str = "", no_browser: bool = False) -> Any:
    """JupyterLab on this workspace, with the extension loaded, until it is interrupted."""
    from workbench.services import Lab
    from workbench.transforms import environment

    variables = environment(bench.lake.address, bench.settings.cluster)
    return Lab(bench.settings, variables, notebook)


@command("health")
def health(bench: Workbench) -> Answer:
    """Check every part now; exit 1 when anything is down."""
    return bench.health()


@command("canary")
def canary(bench: Workbench) -> Answer:
    """Send a synthetic row from a source through sync, dbt and ontology to the API, and time each hop; exit 1 when it is lost."""
    return bench.canary()


@command(
    "backup",
    arg("dir", help="where to write it (default: .skygraph/backups)", nargs="?", default="", metavar="DIR"),
    flag("--keep", help="then delete all but the newest N of that folder (default: none)", type=whole, default=0, metavar="N"),
)
def backup(bench: Workbench, dir: str = "", keep: int = 0) -> Answer:
    """Back up the lake, with every table's checksum, and the workspace's files. Syncs wait meanwhile, reads do not."""
    return bench.backup(dir, keep=keep)


@command("backup list", arg("dir", help="a folder of backups (default: .skygraph/backups)", nargs="?", default="", metavar="DIR"))
def backup_list(bench: Workbench, dir: str = "") -> Answer:
    """The whole backups there are, oldest first."""
    return bench.backups.all(Path(dir) if dir else None)


@command(
    "restore",
    arg("backup", help="a backup's name or folder (default: the newest)", nargs="?", default="", metavar="BACKUP", completes="backup"),
    flag("--replace", help="replace databases that have tables already"),
    anywhere=True,
)
def restore(bench: Workbench, backup: str = "", replace: bool = False) -> Answer:
    """Bring a backup back: aside first, compared with its manifest, then swapped in; missing files of the workspace too."""
    return bench.restore(backup, replace=replace)


@command(
    "move",
    arg("url", help="http(s)://user@host:port; the password from SKYGRAPH_MOVE_PASSWORD", metavar="URL"),
    flag("--replace", help="replace tables of the server that have other rows"),
    shell_only=True,
)
def move(bench: Workbench, url: str, replace: bool = False) -> Answer:
    """Copy the whole lake to a ClickHouse server, table by table, each proved equal; this lake stays as it is."""
    return bench.move(_with_password(url), replace=replace)


def _with_password(url: str) -> str:
    """The address with the password of the environment: the words of a process can be read by everybody on the machine."""
    import os
    from urllib.parse import quote, urlsplit

    password, parts = os.environ.get("SKYGRAPH_MOVE_PASSWORD", ""), urlsplit(url)
    if parts.password:
        said = "a password in the words of a command is seen by everybody on this machine"
        raise UsageError(said, hint="leave it out, and export SKYGRAPH_MOVE_PASSWORD=...")
    if not password or not parts.hostname:
        return url
    _, _, host = parts.netloc.rpartition("@")
    return parts._replace(netloc=f"{parts.username or 'default'}:{quote(password, safe='')}@{host}").geturl()


@command("settings", anywhere=True)
def settings(bench: Workbench) -> Answer:
    """Each setting, its value and where it came from."""
    rows = tuple((s.name, s.value, s.origin, s.env, s.help) for s in bench.settings.shown())
    return Rows(("setting", "value", "from", "environment", "help"), rows)


@command("completion", arg("shell", help="the shell", nargs="?", choices=["bash"], default="bash"), shell_only=True, anywhere=True)
def completion(bench: Workbench, shell: str = "bash") -> Answer:
    """Print the tab completion of `skygraph` for a shell: eval "$(skygraph completion)"."""
    script = (
        "_skygraph() { local IFS=$'\\n'; COMPREPLY=($(skygraph __complete \"${COMP_WORDS[@]:1:COMP_CWORD}\" 2>/dev/null)); }",
        "complete -o default -F _skygraph skygraph",
    )
    return Lines(script, list(script))


# --- sync


@command(
    "sync",
    arg("tables", help="tables of sync_jobs/ (default: all)", nargs="*", metavar="TABLE", completes="table"),
    flag("--full", help="compare every row instead of reading from the watermark"),
    flag("--all", help="all tables (the default when none is named)"),
)
def sync(bench: Workbench, tables: Sequence[str] = (), full: bool = False, all: bool = False) -> Answer:
    """Sync tables now: pull what is new or changed, sweep what is gone, move the watermark."""
    if all and tables:
        raise UsageError("sync --all takes no table", hint="name tables, or say --all")
    return bench.sync(*tables, full=full)


@command("sync status")
def sync_status(bench: Workbench) -> Answer:
    """Watermark, lag and last run of every table."""
    return bench.sync_status()


@command("sync serve", shell_only=True)
def sync_serve(bench: Workbench) -> Answer:
    """Run jobs and tables of sync_jobs/ when they are due, until SIGTERM or Ctrl-C; its log is .skygraph/log/scheduler.log."""
    bench.serve_jobs()
    return Lines(("the scheduler has ended",), {"ended": True})


@command("sync compare", arg("tables", help="tables of sync_jobs/ (default: all)", nargs="*", metavar="TABLE", completes="table"))
def sync_compare(bench: Workbench, tables: Sequence[str] = ()) -> Answer:
    """Current rows against the source: counts and checksums of both sides; exit 1 when any table differs."""
    return bench.compare(*tables)


@command("sync verify", arg("table", help="a table of sync_jobs/", metavar="TABLE", completes="table"))
def sync_verify(bench: Workbench, table: str) -> Answer:
    """Replay the proof of a table's last run: its receipt, the source now, the lake now; exit 1 when they differ."""
    return bench.verify(table)


@command(
    "sync backfill",
    arg("table", help="a table of sync_jobs/ with a watermark", metavar="TABLE", completes="table"),
    flag("--from", dest="start", help="the first watermark to read again", metavar="WATERMARK", required=True),
    flag("--to", dest="end", help="up to before this one (default: the table's watermark)", metavar="WATERMARK", default=""),
    flag("--chunks", help="in how many parts (default 20)", type=whole, metavar="N", default=20),
)
def sync_backfill(bench: Workbench, table: str, start: str, end: str = "", chunks: int = 20) -> Answer:
    """Read a stretch of the past again, in chunks; the watermark stays. Asked for again, it goes on where it stopped."""
    return bench.backfill(table, start, end, chunks=chunks)


@command(
    "sync rewind",
    arg("table", help="a table of sync_jobs/ with a watermark", metavar="TABLE", completes="table"),
    arg("to", help="the watermark to read from next", metavar="TO"),
)
def sync_rewind(bench: Workbench, table: str, to: str) -> Answer:
    """Move a table's watermark by hand; who did, and from where, is kept in skygraph.sync_runs."""
    return bench.rewind(table, to)


@command("sync lookback", arg("tables", help="tables of sync_jobs/ (default: all)", nargs="*", metavar="TABLE", completes="table"))
def sync_lookback(bench: Workbench, tables: Sequence[str] = ()) -> Answer:
    """How late rows have come in the last 30 days, and the lookback that would have caught them, with its miss rate."""
    return bench.lookback(*tables)


@command(
    "sync quarantine",
    arg("what", help="list the rows that do not fit, or replay: cast them again", choices=["list", "replay"]),
    arg("tables", help="tables of sync_jobs/ (default: all)", nargs="*", metavar="TABLE", completes="table"),
    flag("--limit", help="how many to list (default 100)", type=whole, metavar="N", default=100),
)
def sync_quarantine(bench: Workbench, what: str, tables: Sequence[str] = (), limit: int = 100) -> Answer:
    """Rows with a value that does not fit its column: kept apart, counted in every report, never dropped."""
    return bench.replay(*tables) if what == "replay" else bench.quarantine(*tables, limit=limit)


# --- dbt


@command("dbt", arg("args", help="dbt's own words: run, test, build, --select ...", metavar="ARGS", completes="dbt"), passes=True)
def dbt(bench: Workbench, args: Sequence[str], show: bool = False) -> Answer:
    """Run dbt with this workspace's project, profile and credentials."""
    return bench.dbt(*args, show=show)


# --- objects


@command(
    "objects",
    arg("type", help="an object type, or a path: 'Customer[country=Brazil]/invoices[total>10]'", metavar="TYPE", completes="path"),
    flag(
        "--where",
        help="conditions: country=Brazil 'total>10 or vip=yes' 'name~love' 'invoices.total>5'",
        nargs="+",
        action="extend",
        default=[],
        metavar="EXPR",
        completes="condition",
    ),
    flag("--search", help="words of the title, in any case", default="", metavar="TEXT"),
    flag("--sort", help="a property; -property for the largest first", default="", metavar="P", completes="sort"),
    flag("--limit", help="how many (default 50; for --to and --facets all)", type=whole, default=None, metavar="N"),
    flag("--after", help="go on after the object with this key, or where a page ended (its `next`)", default=None, metavar="KEY"),
    flag("--group-by", dest="group_by", help="count by a property; 'P by month' for dates", default="", metavar="P", completes="property"),
    flag("--sum", help="with --group-by: a number to add up", action="append", default=[], metavar="P", completes="property"),
    flag("--facets", help="the most frequent values of each property"),
    flag("--to", help="write them to a file, by its suffix: .csv, .parquet, .jsonl or .arrow", default="", metavar="FILE"),
    flag("--sql", help="show the statement of each step instead of the objects"),
    flag(
        "--as-of",
        dest="as_of",
        help="as it was then: a snapshot, or a time: 'yesterday 18:00', '2 hours ago', 2026-11-23",
        default="",
        metavar="T",
        completes="snapshot",
    ),
)
def objects(
    bench: Workbench,
    type: str,
    where: Sequence[str] = (),
    search: str = "",
    sort: str = "",
    limit: int | None = None,
    after: str | None = None,
    group_by: str = "",
    sum: Sequence[str] = (),
    facets: bool = False,
    to: str = "",
    sql: bool = False,
    as_of: str = "",
) -> Answer:
    """Current objects of a type, or at the end of a path; with --as-of, those of then."""
    if len([asked for asked in (group_by, facets, to, sql) if asked]) > 1:
        raise UsageError("objects answers one of --group-by, --facets, --to and --sql at a time")
    if sum and not group_by:
        raise UsageError("--sum adds up groups", hint="say by which property: --group-by P")
    found = bench.store_at(as_of).at(type).where(*where).search(search)
    if sort:
        found = found.sort(sort)
    if after is not None:
        found = found.after(after)
    if group_by:
        return found.group_by(group_by, sum, 50 if limit is None else limit)
    if limit is not None or not (facets or to or found.query.limit is not None):
        found = found.limit(50 if limit is None else limit)
    if facets:
        return found.facets()
    if to:
        size = found.write(to)
        return Lines((f"wrote {to}: {size:,} bytes",), {"file": to, "bytes": size, "objects": found.text})
    if sql:
        return _statements(found)
    return found


def _statements(found: ObjectSet) -> Lines:
    """The SELECT of each step."""
    steps, lines = found.hops(), []
    for text, statement in steps:
        lines += [*([f"-- {text}"] if len(steps) > 1 else []), *statement.splitlines()]
    data = {"sql": steps[-1][1], "steps": [{"objects": text, "sql": statement} for text, statement in steps]}
    return Lines(tuple(lines), data)


@command("object", arg("type", help="an object type", metavar="TYPE", completes="type"),
         arg("key", help="its key", metavar="KEY", completes="key"),
         flag("--as-of", dest="as_of", help="as it was then: a snapshot, or a time", default="", metavar="T",
              completes="snapshot"))  # fmt: skip
def object_(bench: Workbench, type: str, key: str, as_of: str = "") -> Answer:
    """One current object with its links; with --as-of, as it was then."""
    return bench.object(type, key, as_of=as_of)


@command(
    "links",
    arg("type", help="an object type", metavar="TYPE", completes="type"),
    arg("key", help="its key", metavar="KEY", completes="key"),
    arg("link", help="a link of the type (default: count them all)", nargs="?", default="", metavar="LINK", completes="link"),
    flag("--where", help="conditions on the linked objects", nargs="+", action="extend", default=[], metavar="EXPR"),
    flag("--sort", help="a property of the linked objects; -property for the largest first", default="", metavar="P"),
    flag("--limit", help="how many (default 50)", type=whole, default=50, metavar="N"),
    flag("--as-of", dest="as_of", help="as it was then: a snapshot, or a time", default="", metavar="T", completes="snapshot"),
)
def links(
    bench: Workbench, type: str, key: str, link: str = "", where: Sequence[str] = (), sort: str = "", limit: int = 50, as_of: str = ""
) -> Answer:
    """Objects one hop away from an object; without LINK, how many there are by link."""
    if link:
        found = bench.links(type, key, link, as_of=as_of).where(*where).limit(limit)
        return found.sort(sort) if sort else found
    if where or sort:
        raise UsageError("links counts all objects by link when no LINK is named", hint="name the LINK that --where and --sort are about")
    card = bench.object(type, key, as_of=as_of)
    return Rows(("link", "type", "objects"), tuple((e.name, e.to_type, n) for e, n in card.links), f"{type} has no link")


@command("ontology list")
def ontology_list(bench: Workbench) -> Answer:
    """Object types and link types."""
    return bench.ontology_list()


@command(
    "ontology show",
    arg("type", help="an object type (default: the graph of all)", nargs="?", default="", metavar="TYPE", completes="type"),
)
def ontology_show(bench: Workbench, type: str = "") -> Answer:
    """One object type: properties, units, links; without TYPE, the graph of all types."""
    return bench.ontology_show(type) if type else bench.ontology_graph()


@command("ontology check")
def ontology_check(bench: Workbench) -> Answer:
    """Every problem of the ontology's files, with file and line; exit 1 when there is one."""
    return bench.ontology_check()


@command("ontology plan")
def ontology_plan(bench: Workbench) -> Answer:
    """What a reload would add, change and break, who uses that, and the objects before and after."""
    return bench.ontology_plan()


@command("ontology reload")
def ontology_reload(bench: Workbench) -> Answer:
    """Read the ontology's files again, whole or not at all, and say what changed."""
    return bench.ontology_reload()


@command("ontology schema")
def ontology_schema(bench: Workbench) -> Answer:
    """Write the JSON Schemas of the ontology's files to ontology/schema/, for editors that complete and check YAML."""
    return bench.ontology_schema()


@command("catalog", arg("text", help="words of a name, a column or a description", nargs="*", metavar="TEXT", completes="entry"))
def catalog(bench: Workbench, text: Sequence[str] = ()) -> Answer:
    """Every raw, staging and mart table and object type; with TEXT those that fit it, and a few whole, with sample rows."""
    return bench.catalog(" ".join(text))


# --- the lake


@command("inspect", arg("table", help="a table of the lake; `invoices` is raw.invoices", metavar="TABLE", completes="physical"),
         flag("--key", help="every version of this key, with its run and what changed", default=None, metavar="K"))  # fmt: skip
def inspect(bench: Workbench, table: str, key: str | None = None) -> Answer:
    """What a table is made of: rows, keys, parts, merges, cost of FINAL; with --key, the life of one key across merges."""
    return bench.inspect(table, key=key)


@command(
    "sql",
    arg("statement", help="a SELECT", metavar="SELECT"),
    flag("--raw", help="all physical rows instead of current rows"),
    flag("--to", help="write the whole answer to a file, by its suffix: .csv, .parquet, .jsonl or .arrow", default="", metavar="FILE"),
    flag("--show", help="do not run it: how it is read, the same by hand with FINAL, and its price"),
    flag("--price", help="say what current rows cost it, before and after; kept in skygraph.final_prices"),
)
def sql(bench: Workbench, statement: str, raw: bool = False, to: str = "", show: bool = False, price: bool = False) -> Answer:
    """Run a SELECT on the lake, over current rows unless --raw. In a notebook also `%%skygraph sql [NAME]`."""
    if raw and (show or price):
        raise UsageError("--raw reads physical rows, which have no price", hint="leave --raw out")
    if to and (show or price):
        raise UsageError("--to writes the answer, --show and --price tell about it", hint="ask for one of them")
    if show:
        return bench.show_sql(statement)
    if price:
        return bench.priced_sql(statement)
    relation = bench.sql(statement, raw=raw)
    return written_to(to, relation.to_file(to)) if to else relation


def written_to(file: str, size: int) -> Answer:
    """What is said of a file that was written, of so many bytes."""
    return Lines((f"wrote {file}: {size:,} bytes",), {"file": file, "bytes": size})


@command("lint", arg("paths", help="files or folders of the workspace (default: dbt and notebooks)", nargs="*", metavar="PATH"))
def lint(bench: Workbench, paths: Sequence[str] = ()) -> Answer:
    """Every place in models, notebooks and dashboards that would read rows that are not current; exit 1 when there is one."""
    return bench.lint(*paths)


@command("prices", flag("--limit", help="how many (default 50)", type=whole, default=50, metavar="N"))
def prices(bench: Workbench, limit: int = 50) -> Answer:
    """Predicted and actual price of current rows, of the statements that were run with `sql --price`, newest first."""
    return bench.prices(limit=limit)


@command(
    "meter",
    arg("table", help="a table of the lake; `invoices` is raw.invoices", metavar="TABLE", completes="physical"),
    flag("--aggregate", help="aggregates to ask (default: the count, and the sum of each numeric column)", nargs="+", action="extend",
         default=[], metavar="EXPR"),
)  # fmt: skip
def meter(bench: Workbench, table: str, aggregate: Sequence[str] = ()) -> Answer:
    """How wrong aggregates of a table would be over physical rows, now and as measured before."""
    return bench.meter(table, *aggregate)


@command(
    "optimize",
    arg("table", help="a table of the lake; `invoices` is raw.invoices", metavar="TABLE", completes="physical"),
    flag("--step", help="only the merge that the engine would do next"),
)
def optimize(bench: Workbench, table: str, step: bool = False) -> Answer:
    """Merge the versions of a table on the disk, so that reading its current rows costs next to nothing."""
    return bench.optimize(table, step=step)


# --- the twin


@command("snapshot take", arg("types", help="object types (default: all)", nargs="*", metavar="TYPE", completes="type"),
         flag("--label", help="a name to find it by", default="", metavar="L"))  # fmt: skip
def snapshot_take(bench: Workbench, types: Sequence[str] = (), label: str = "") -> Answer:
    """Remember how the objects look now; only what changed is stored."""
    return bench.snapshot(*types, label=label)


@command("snapshot list", flag("--limit", help="how many (default 50)", type=whole, default=50, metavar="N"))
def snapshot_list(bench: Workbench, limit: int = 50) -> Answer:
    """The newest snapshots, oldest first."""
    return bench.snapshots(limit)


@command(
    "snapshot events",
    flag("--bins", help="add up in so many stretches of time", type=whole, default=0, metavar="N"),
    flag("--since", help="from then on: a snapshot, or a time", default=None, metavar="T", completes="snapshot"),
    flag("--until", help="until then", default=None, metavar="T", completes="snapshot"),
)
def snapshot_events(bench: Workbench, bins: int = 0, since: str | None = None, until: str | None = None) -> Answer:
    """How many objects were added, removed and changed, by type, in each snapshot or stretch of time."""
    return bench.events(bins, since, until)


@command(
    "snapshot diff",
    arg("a", help="the earlier point: a snapshot's label, number or beginning of its id, or a time", metavar="A", completes="snapshot"),
    arg("b", help="the later one", metavar="B", completes="snapshot"),
    arg("types", help="object types (default: all)", nargs="*", metavar="TYPE", completes="type"),
    flag("--limit", help="how many changes to list (default 1000); the counts are of all", type=int, default=1000, metavar="N"),
    flag("--kind", help="only these", action="append", default=[], choices=["added", "removed", "changed"]),
    flag("--property", help="only objects in which this property changed", action="append", default=[], metavar="P"),
    flag("--to", help="write every change to a file, by its suffix: .csv, .parquet, .jsonl or .arrow", default="", metavar="FILE"),
)
def snapshot_diff(
    bench: Workbench, a: str, b: str, types: Sequence[str] = (), limit: int = 1000, kind: Sequence[str] = (),
    property: Sequence[str] = (), to: str = "",
) -> Answer:  # fmt: skip
    """What changed between two points: objects, cells, links, and the sync runs behind it."""
    if to:
        size = bench.export_diff(a, b, *types, to=to, kinds=kind, properties=property)
        return Lines((f"wrote {to}: {size:,} bytes",), {"file": to, "bytes": size})
    return bench.diff(a, b, *types, limit=limit, kinds=kind, properties=property)


@command(
    "snapshot prune",
    flag(
        "--keep", help="rules (default: SKYGRAPH_SNAPSHOTS_KEEP): 'all for 7 days, daily for 90 days, monthly'", default="", metavar="RULES"
    ),
    flag("--plan", help="only say what would go"),
)
def snapshot_prune(bench: Workbench, keep: str = "", plan: bool = False) -> Answer:
    """Delete the snapshots that the rules do not keep, and the versions that only they showed."""
    return bench.prune_snapshots(keep, plan=plan)


@command("snapshot size")
def snapshot_size(bench: Workbench) -> Answer:
    """What the history weighs, by type: objects, versions, bytes on disk."""
    return bench.history_size()


@command(
    "snapshot export",
    arg("snapshot", help="a snapshot, or a time", metavar="SNAPSHOT", completes="snapshot"),
    arg("dir", help="a new folder", metavar="DIR"),
)
def snapshot_export(bench: Workbench, snapshot: str, dir: str) -> Answer:
    """Write a snapshot to a folder: a Parquet file per type and link."""
    return bench.export_snapshot(snapshot, dir)


@command(
    "snapshot import",
    arg("dir", help="a folder that `snapshot export` wrote", metavar="DIR"),
    flag("--label", help="another label than it had", default="", metavar="L"),
)
def snapshot_import(bench: Workbench, dir: str, label: str = "") -> Answer:
    """Bring an exported snapshot into this lake's history, as its newest."""
    return bench.import_snapshot(dir, label=label)


@command("snapshot show", arg("type", help="an object type", metavar="TYPE", completes="type"),
         arg("key", help="its key", metavar="KEY", completes="key"))  # fmt: skip
def snapshot_show(bench: Workbench, type: str, key: str) -> Answer:
    """Every recorded version of one object."""
    return bench.object_history(type, key)


@command("fork list")
def fork_list(bench: Workbench) -> Answer:
    """Every fork: a branch of the lake's state made with bench.fork("A"), to try something in."""
    return bench.forks.all()


@command("fork diff", arg("name", help="a fork", metavar="NAME"),
         arg("types", help="object types (default: all)", nargs="*", metavar="TYPE", completes="type"))  # fmt: skip
def fork_diff(bench: Workbench, name: str, types: Sequence[str] = ()) -> Answer:
    """What differs in a fork from the base as it is now, object by object."""
    return bench.forks.find(name).diff(*types)


@command("fork drop", arg("name", help="a fork", metavar="NAME"))
def fork_drop(bench: Workbench, name: str) -> Answer:
    """Throw a fork away; the base is not touched."""
    return bench.forks.drop(name)


# --- notebooks


@command(
    "run",
    arg("notebook", help="a notebook, from here or from notebooks/, or a job of sync_jobs/", metavar="NOTEBOOK", completes="run"),
    flag("-p", "--parameter", dest="parameters", help="a parameter of the notebook and its value", nargs=2, action="append", default=[],
         metavar=("NAME", "VALUE")),
    flag("--timeout", help="end it after so many seconds", type=whole, default=None, metavar="S"),
)  # fmt: skip
def run(bench: Workbench, notebook: str, parameters: Sequence[Sequence[str]] = (), timeout: int | None = None) -> Answer:
    """Run a notebook with parameters, in a process of its own; its output is kept, and a row in skygraph.job_runs."""
    return bench.run(notebook, {name: value for name, value in parameters}, timeout_s=timeout)


@command("jobs")
def jobs(bench: Workbench) -> Answer:
    """The schedule: each job and timed table of sync_jobs/, when it is due, what came of it last, what is late or failing."""
    return bench.jobs()


@command("jobs history", arg("job", help="a job or notebook (default: all)", nargs="?", default="", metavar="JOB", completes="job"),
         flag("--limit", help="how many (default 50)", type=whole, default=50, metavar="N"))  # fmt: skip
def jobs_history(bench: Workbench, job: str = "", limit: int = 50) -> Answer:
    """Past runs of notebooks, the newest first: outcome, seconds, memory, parameters, errors."""
    return bench.job_history(job, limit=limit)


# --- tab completion


def complete(bench: Workbench, words: Sequence[str], token: str) -> list[str]:
    """What may stand next on a line. Starts no lake and raises nothing: a lake that is down only has no names to offer."""

    def known(kind: str, before: list[str]) -> Sequence[str]:
        try:
            return _NAMES[kind](bench, before, token) if kind in _NAMES else ()
        except SkyGraphError:
            return ()

    return GRAMMAR.complete(words, token, known)


def _running(bench: Workbench) -> bool:
    embedded = bench.lake.embedded
    return embedded is None or embedded.address() is not None


def _keys(bench: Workbench, before: list[str], token: str) -> list[str]:
    if not before or not _running(bench):
        return []
    store = bench.store
    kind = store.ontology.object_type(before[0])
    relation = store.relations[kind.model]
    column = bench.lake.query(
        f"select distinct toString({_quoted(kind.key)}) as key from {relation} where startsWith(key, {{t:String}}) "
        "order by length(key), key limit 30", {"t": token}, settings={"max_execution_time": 2},
    )  # fmt: skip
    return [str(k) for k in column.column(0).to_pylist()]


def _quoted(name: str) -> str:
    from workbench.lake.sql import quote

    return quote(name)


def _physical(bench: Workbench, before: list[str], token: str) -> list[str]:
    if not _running(bench):
        return []
    from workbench.lake.sql import OWN_TABLES

    raw = [f"raw.{t}" for t in bench.lake.tables("raw") if f"raw.{t}" not in OWN_TABLES]
    return [*raw, *(f"skygraph.{t}" for t in bench.lake.tables("skygraph") if t[0] != "_")]


def _snapshots(bench: Workbench, before: list[str], token: str) -> list[str]:
    return [s.label or str(s.seq) for s in bench.snapshots(200).snapshots] if _running(bench) else []


def _dbt(bench: Workbench, before: list[str], token: str) -> list[str]:
    verbs = ["build", "run", "test", "ls", "show", "compile", "docs", "clean", "deps", "parse", "seed", "source"]
    return [*bench.transforms.models(), "--select", "--exclude"] if before else verbs


def _notebooks(bench: Workbench, before: list[str], token: str) -> list[str]:
    root = bench.settings.workspace
    return sorted(str(p.relative_to(root)) for p in (root / "notebooks").rglob("*.ipynb") if ".ipynb_checkpoints" not in p.parts)


def _type_at(bench: Workbench, path: str) -> str:
    """The type at the end of a path."""
    from workbench.ontology.path import parse_path

    return parse_path(path, bench.ontology).type


def _paths(bench: Workbench, before: list[str], token: str) -> list[str]:
    """Types; behind a slash the links of the type before it, in a bracket what a condition may begin with."""
    path, bracket, inside = token.rpartition("[")
    if bracket and "]" not in inside:
        typed = inside.replace("(", " ").rpartition(" ")[2]
        lead = token[: len(token) - len(typed)]
        return [f"{lead}{name}" for name in _conditions(bench, [path], typed)]
    path, slash, _ = token.rpartition("/")
    if not slash:
        return list(bench.ontology.object_types)
    return [f"{path}/{end.name}" for end in bench.ontology.links_of(_type_at(bench, path))]


def _properties(bench: Workbench, before: list[str], token: str) -> list[str]:
    return list(bench.ontology.object_type(_type_at(bench, before[0])).properties) if before else []


def _sorts(bench: Workbench, before: list[str], token: str) -> list[str]:
    return [f"-{name}" if token.startswith("-") else name for name in _properties(bench, before, token)]


def _conditions(bench: Workbench, before: list[str], token: str) -> list[str]:
    """Properties, and links with a dot behind them; behind such a dot those of the linked type."""
    if not before:
        return []
    path, dot, _ = token.rpartition(".")
    type_name = _type_at(bench, before[0])
    for link in path.split(".") if dot else ():
        type_name = bench.ontology.link_end(type_name, link).to_type
    names = [*bench.ontology.object_type(type_name).properties, *(f"{end.name}." for end in bench.ontology.links_of(type_name))]
    return [f"{path}.{name}" if dot else name for name in names]


def _links(bench: Workbench, before: list[str], token: str) -> list[str]:
    return [end.name for end in bench.ontology.links_of(before[0])] if before else []


def _entries(bench: Workbench, before: list[str], token: str) -> list[str]:
    return [*bench.ontology.object_types, *bench.transforms.models(), *(f"raw.{t}" for t in bench.hermes.plan.tables)]


def _examples(bench: Workbench, before: list[str], token: str) -> list[str]:
    from workbench.starter import example_names

    return example_names()


_NAMES: dict[str, Callable[[Any, list[str], str], Sequence[str]]] = {
    "table": lambda bench, before, token: list(bench.hermes.plan.tables),
    "type": lambda bench, before, token: list(bench.ontology.object_types),
    "path": _paths,
    "property": _properties,
    "sort": _sorts,
    "condition": _conditions,
    "key": _keys,
    "link": _links,
    "physical": _physical,
    "snapshot": _snapshots,
    "dbt": _dbt,
    "entry": _entries,
    "job": lambda bench, before, token: list(bench.hermes.plan.jobs),
    "run": lambda bench, before, token: [
        *bench.hermes.plan.jobs,
        *(n.removeprefix("notebooks/") for n in _notebooks(bench, before, token)),
    ],
    "notebook": _notebooks,
    "example": _examples,
    "backup": lambda bench, before, token: [m.name for m in bench.backups.all().backups],
    "service": lambda bench, before, token: _services(bench),
    "log": lambda bench, before, token: (*_services(bench), "supervisor", "workbench"),
}
