"""Lint: the places of a workspace where somebody would read rows that are not current; with file, line, why, and the corrected text.

It reads files and asks no lake: dbt models, tests, macros and YAML; notebooks; SQL and Python files beside them. Statements that go
through the workbench read current rows whatever they look like, so there it looks only for what would spoil that; dbt and clients of
one's own have to write FINAL. A line with the comment `raw on purpose` is left alone.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.answer import Answer, Block, Note
from workbench.errors import UsageError
from workbench.lake.dedup import SqlFault, sql_faults

__all__ = ["Finding", "LintReport", "lint"]

_PURPOSE = "raw on purpose"
_SKIPPED = {"target", "dbt_packages", "logs", ".ipynb_checkpoints", ".venv", ".skygraph", ".git", "node_modules"}


@dataclass(frozen=True, order=True)
class Finding:
    """One fault: where (`cell` counts from 1 in a notebook, 0 elsewhere), its kind, why it is one, the line and what to write instead."""

    file: str
    cell: int
    line: int
    kind: str
    why: str
    text: str = ""
    corrected: str = ""

    @property
    def where(self) -> str:
        """File and line, as editors take it; in a notebook the cell and its line."""
        return f"{self.file}, cell {self.cell}, line {self.line}" if self.cell else f"{self.file}:{self.line}"

    def to_dict(self) -> dict[str, Any]:
        """The finding as data."""
        return {**self.__dict__}


@dataclass(frozen=True)
class LintReport(Answer):
    """Every finding, by file and line; any makes it `failed`."""

    findings: tuple[Finding, ...]
    files: int

    @property
    def failed(self) -> bool:
        """Whether there is a finding."""
        return bool(self.findings)

    def to_dict(self) -> Any:
        """The findings and how many files were read."""
        return {"files": self.files, "findings": [f.to_dict() for f in self.findings]}

    def blocks(self) -> Iterator[Block]:
        """Each finding in a line, then what is written and what to write."""
        for f in self.findings:
            yield Note(f"{f.where}: {f.kind}: {f.why}", "bad")
            if f.text:
                yield Note(f"  - {f.text}", "quiet")
            yield from (Note(f"  + {line}") for line in f.corrected.splitlines())
        said = f"{len(self.findings)} place(s) read rows that are not current" if self.findings else "every read is of current rows"
        yield Note(f"{said}; {self.files} file(s) read", "bad" if self.findings else "good")


def lint(workspace: Path, keys: Mapping[str, Sequence[str]], paths: Iterable[str | Path] = ()) -> LintReport:
    """Look through a workspace's `dbt/` and `notebooks/`, or through these files and folders. `keys` are of raw tables, by full name.

    Raises:
        UsageError: there is no such path.
    """
    asked = [workspace / p for p in paths]  # an absolute path stays itself
    if missing := [p for p in asked if not p.exists()]:
        raise UsageError(f"there is no file or folder {missing[0]}", hint="paths are from the workspace")
    roots = asked or [workspace / "dbt", workspace / "notebooks"]
    files = sorted(
        {f for root in roots for f in ([root] if root.is_file() else root.rglob("*")) if f.is_file() and not _SKIPPED & set(f.parts)}
    )
    known = _Tables(keys)
    for file in files:
        if file.suffix == ".sql":
            known.learn(file)
    findings: list[Finding] = []
    read = 0
    for file in files:
        look = _LOOKS.get(file.suffix)
        if look is None:
            continue
        read += 1
        name = str(file.relative_to(workspace)) if file.is_relative_to(workspace) else str(file)
        try:
            text = file.read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{name} cannot be read: {error}") from None
        findings += look(name, text, known)
    return LintReport(tuple(sorted(set(findings))), read)


class _Tables:
    """The versioned tables: those of `raw`, our own, and dbt models of a replacing engine (as `ref.<model>`)."""

    def __init__(self, keys: Mapping[str, Sequence[str]]) -> None:
        self.keys = {name: tuple(key) for name, key in keys.items()}

    def learn(self, file: Path) -> None:
        """Take up a model that is itself a table of versions."""
        text = file.read_text(encoding="utf-8", errors="replace")
        if re.search(r"engine\s*=\s*['\"][^'\"]*(Replacing|Collapsing)MergeTree", text):
            order = re.search(r"order_by\s*=\s*(\[[^\]]*\]|['\"][^'\"]*['\"])", text)
            self.keys[f"ref.{file.stem}"] = tuple(re.findall(r"\w+", order[1])) if order else ()

    def of(self, sql: str) -> dict[str, tuple[str, ...]]:
        """The versioned tables that a text names; every table of `raw` is one."""
        found = {name: key for name, key in self.keys.items() if name.partition(".")[2] in sql}
        for match in re.finditer(r"[`\"]?\b(raw)[`\"]?\.[`\"]?(\w+)", sql):
            found.setdefault(f"raw.{match[2]}", ())
        return found


def _findings(name: str, cell: int, first: int, text: str, faults: Iterable[SqlFault]) -> Iterator[Finding]:
    """Faults of a piece of text that begins at line `first`, but for lines that are so on purpose."""
    lines = text.splitlines()
    for fault in faults:
        line = lines[fault.line - 1] if 0 < fault.line <= len(lines) else ""
        if _PURPOSE not in line:
            yield Finding(name, cell, first + fault.line - 1, fault.kind, fault.why, line.strip(), fault.corrected)


# --- dbt

_JINJA = re.compile(r"\{\{-?(?P<expr>.*?)-?\}\}|\{%-?.*?-?%\}|\{#.*?#\}", re.DOTALL)


def _unjinja(text: str) -> str:
    """A model as SQL, line by line: sources as `raw.x`, models as `ref.x`, the macro `current` as FINAL, other expressions as a name."""

    def plain(match: re.Match[str]) -> str:
        lines = "\n" * match[0].count("\n")
        expr = match["expr"]
        if expr is None:
            return lines
        source = re.fullmatch(r"\s*source\(\s*['\"](\w+)['\"]\s*,\s*['\"](\w+)['\"]\s*\)\s*", expr)
        ref = re.fullmatch(r"\s*ref\(\s*['\"](\w+)['\"].*\)\s*", expr, re.DOTALL)
        current = re.fullmatch(r"\s*current\(\s*['\"](\w+)['\"]\s*\)\s*", expr)
        if source:
            return f"{source[1]}.{source[2]}{lines}"
        if current:
            return f"raw.{current[1]} final{lines}"
        if ref:
            return f"ref.{ref[1]}{lines}"
        if re.match(r"\s*(config|set|return|log|do)\b", expr):
            return lines
        if re.fullmatch(r"\s*source\(\s*['\"]raw['\"].*\)\s*", expr, re.DOTALL):
            return f"raw.any_of_them{lines}"
        return f"jinja_value{lines}"

    return _JINJA.sub(plain, text)


def _in_dbt(text: str, corrected: str) -> str:
    """A corrected statement in dbt's words."""
    text_out = re.sub(
        r"\braw\.(\w+)(\s+as\s+\w+)?\s+final\b", lambda m: f"{{{{ current('{m[1]}') }}}}" + (m[2] or ""), corrected, flags=re.IGNORECASE
    )
    return re.sub(r"\bref\.(\w+)", r"{{ ref('\1') }}", text_out)


def _sql_file(name: str, text: str, known: _Tables) -> list[Finding]:
    """A dbt model, test or macro, or a file of SQL."""
    faults = []
    is_dbt = "{{" in text or "{%" in text or re.search(r"(^|/)(models|tests|macros|snapshots|analyses)/", name) is not None
    sql = _unjinja(text)
    for start, statement in _statements(sql):
        for f in sql_faults(statement, known.of(statement), is_current=False):
            corrected = f.corrected
            if f.kind == "raw read" and is_dbt:
                corrected = _line_in_dbt(text.splitlines()[start + f.line - 2] if start + f.line - 2 < len(text.splitlines()) else "")
            faults.append(SqlFault(f.kind, start + f.line - 1, f.why, _in_dbt(text, corrected) if is_dbt else corrected))
    for match in re.finditer(r"['\"]?(final)['\"]?\s*:\s*0\b|(do_not_merge_across_partitions_select_final)['\"]?\s*:\s*1\b", text):
        line = text.count("\n", 0, match.start()) + 1
        faults.append(SqlFault("setting", line, f"the model's settings have `{match[1] or match[2]}`, so older versions may answer",
                               text.splitlines()[line - 1].replace(match[0], "").strip()))  # fmt: skip
    if re.search(r"materialized\s*=\s*['\"]materialized_view['\"]", text):
        for match in re.finditer(r"\braw\.(\w+)", sql):
            line = sql.count("\n", 0, match.start()) + 1
            why = f"a materialized view over raw.{match[1]} sees inserted rows, not current ones: each new version is added to the old"
            faults = [f for f in faults if not (f.kind == "raw read" and f.line == line)]
            faults.append(SqlFault("engine view", line, why, "{{ config(materialized='table') }}"))
    return list(_findings(name, 0, 1, text, faults))


def _line_in_dbt(line: str) -> str:
    fixed = re.sub(r"\{\{-?\s*source\(\s*['\"]raw['\"]\s*,\s*['\"](\w+)['\"]\s*\)\s*-?\}\}", r"{{ current('\1') }}", line)
    fixed = re.sub(r"[`\"]?\braw[`\"]?\.[`\"]?(\w+)[`\"]?", r"{{ current('\1') }}", fixed)
    return re.sub(r"(\{\{\s*ref\([^)]*\)\s*\}\})(?!\s+final)", r"\1 final", fixed).strip()


def _statements(sql: str) -> Iterator[tuple[int, str]]:
    """The statements of a text and the line at which each begins."""
    at = 1
    for piece in re.split(r";[ \t]*(?=\n|$)", sql):
        lead = len(piece) - len(piece.lstrip())
        if piece.strip():
            yield at + piece[:lead].count("\n"), piece.strip()
        at += piece.count("\n")


def _yaml_file(name: str, text: str, known: _Tables) -> list[Finding]:
    """Settings of models, and tests that dbt runs on raw tables themselves."""
    faults, inside = [], False
    for number, line in enumerate(text.splitlines(), 1):
        if re.match(r"\S", line):
            inside = line.startswith("sources:")
        bare = line.split("#")[0]
        if match := re.search(
            r"\b(final)['\"]?\s*:\s*['\"]?0\b|\b(do_not_merge_across_partitions_select_final)['\"]?\s*:\s*['\"]?1\b", bare
        ):
            faults.append(SqlFault("setting", number, f"`{match[1] or match[2]}` is set for what dbt runs, so older versions may answer"))
        if inside and re.match(r"\s+-?\s*(data_)?tests\s*:", bare):
            faults.append(SqlFault("raw read", number, "dbt asks the raw table itself for a test of a source: superseded rows too",
                                   "move the test to the staging model over it"))  # fmt: skip
    return list(_findings(name, 0, 1, text, faults))


# --- notebooks and Python

_CLIENTS = ("clickhouse_connect", "clickhouse_driver", "chdb", "asynch", "aiochclient", "clickhouse_sqlalchemy", "infi")
_SHELL_CLIENT = re.compile(r"clickhouse[- ](client|local)\b|curl\b.*:(8123|9000)\b|https?://[^\s'\"]*:8123\b")
_OWN = "a client of one's own sets nothing: it reads every version unless each statement says FINAL"
_ASK = 'bench.sql("...")   # or %%skygraph sql'


def _notebook(name: str, text: str, known: _Tables) -> list[Finding]:
    """Every code cell; what is asked of a dashboard or job is that its readers see current rows only."""
    try:
        cells = json.loads(text).get("cells", [])
    except (ValueError, AttributeError):
        return [Finding(name, 0, 1, "not read", "it is no notebook: not JSON")]
    strict = re.search(r"(^|/)(dashboards|jobs)/", name) is not None
    own = any(_uses_own_client("".join(c.get("source", []))) for c in cells if c.get("cell_type") == "code")
    found: list[Finding] = []
    for number, cell in enumerate(cells, 1):
        if cell.get("cell_type") == "code":
            found += _code(name, number, "".join(cell.get("source", [])), known, strict=strict, own=own)
    return found


def _python_file(name: str, text: str, known: _Tables) -> list[Finding]:
    return _code(name, 0, text, known, strict=re.search(r"(^|/)(dashboards|jobs)/", name) is not None, own=_uses_own_client(text))


def _uses_own_client(source: str) -> bool:
    return (
        re.search(rf"(?m)^\s*(import|from)\s+({'|'.join(_CLIENTS)})\b|^\s*%%?sql\b|create_engine\(\s*['\"]clickhouse", source) is not None
    )


def _code(name: str, cell: int, source: str, known: _Tables, *, strict: bool, own: bool) -> list[Finding]:
    """The findings of a cell, or of a file of Python."""
    lines = source.splitlines()
    first = next((n for n, line in enumerate(lines) if line.strip()), 0)
    head = lines[first].strip() if lines else ""
    if head.startswith("%%"):
        words, body = head[2:].split(), "\n".join(lines[first + 1 :])
        if words[:1] == ["sql"]:  # the magic of another extension
            faults = [SqlFault("own client", 1, _OWN, "%%skygraph sql"), *_moved(sql_faults(body, known.of(body), is_current=False), 1)]
            return list(_findings(name, cell, first + 1, "\n".join(lines[first:]), faults))
        if words[:2] == ["skygraph", "sql"]:
            faults = [] if "--raw" in words else _moved(sql_faults(body, known.of(body), is_current=True), 1)
            if strict and "--raw" in words:
                faults = [SqlFault("raw asked for", 1, "it shows all physical rows to readers who take them for current ones",
                                   head.replace(" --raw", ""))]  # fmt: skip
            return list(_findings(name, cell, first + 1, "\n".join(lines[first:]), faults))
        if words[:1] in (["bash"], ["sh"], ["script"]):
            return list(_findings(name, cell, 1, source, _shell(lines)))
        return []
    faults = []
    for number, line in enumerate(lines, 1):
        stripped = line.strip()
        if stripped.startswith(("!", "%")):
            faults += [SqlFault(f.kind, number, f.why, f.corrected) for f in _shell([stripped])]
            if strict and re.match(r"%skygraph\s+sql\b.*\s--raw\b", stripped):
                faults.append(SqlFault("raw asked for", number, "it shows all physical rows to readers who take them for current ones",
                                       stripped.replace(" --raw", "")))  # fmt: skip
            if re.match(r"%(load_ext\s+)?sql\b", stripped):
                faults.append(SqlFault("own client", number, _OWN, "%load_ext workbench"))
    plain = "\n".join("" if line.strip().startswith(("!", "%")) else line for line in lines)
    try:
        tree = ast.parse(plain)
    except SyntaxError:
        return list(_findings(name, cell, 1, source, faults))
    faults += _python(tree, known, strict=strict, own=own)
    return list(_findings(name, cell, 1, source, faults))


def _moved(faults: Iterable[SqlFault], by: int) -> list[SqlFault]:
    return [SqlFault(f.kind, f.line + by, f.why, f.corrected) for f in faults]


def _shell(lines: Sequence[str]) -> list[SqlFault]:
    """Shell lines that speak to the lake by themselves."""
    found = []
    for number, line in enumerate(lines, 1):
        if _SHELL_CLIENT.search(line):
            found.append(SqlFault("own client", number, _OWN, 'skygraph sql "..."'))
    return found


def _python(tree: ast.AST, known: _Tables, *, strict: bool, own: bool) -> Iterator[SqlFault]:
    """Faults of Python: clients of one's own, physical rows in a dashboard, statements."""
    used: set[int] = set()
    for node in ast.walk(tree):
        if isinstance(node, (ast.Import, ast.ImportFrom)):
            names = [a.name for a in node.names] if isinstance(node, ast.Import) else [node.module or ""]
            if any(n.partition(".")[0] in _CLIENTS for n in names):
                yield SqlFault("own client", node.lineno, _OWN, _ASK)
        elif isinstance(node, ast.Call):
            yield from _call(node, known, strict=strict, own=own, used=used)
    for node in ast.walk(tree):  # statements that are kept in names
        if isinstance(node, (ast.Constant, ast.JoinedStr)) and id(node) not in used:
            text = _text_of(node)
            if re.match(r"\s*(select|with|create)\b", text, re.IGNORECASE) and re.search(r"(?i)\b(from|select)\b", text):
                used.update(id(n) for n in ast.walk(node))
                yield from _at(node, sql_faults(text, known.of(text), is_current=not own))


_READERS = ("sql", "query", "rows", "scalar", "priced_sql", "show_sql", "stream", "current")


def _call(node: ast.Call, known: _Tables, *, strict: bool, own: bool, used: set[int]) -> Iterator[SqlFault]:
    name = node.func.attr if isinstance(node.func, ast.Attribute) else node.func.id if isinstance(node.func, ast.Name) else ""
    asked = {k.arg for k in node.keywords if k.arg in ("raw", "history") and isinstance(k.value, ast.Constant) and k.value.value is True}
    if name == "create_engine" and node.args and _text_of(node.args[0]).startswith("clickhouse"):
        yield SqlFault("own client", node.lineno, _OWN, _ASK)
    if name in ("get", "post", "urlopen", "run", "check_output", "system", "Popen") and any(
        _SHELL_CLIENT.search(_text_of(n)) for a in node.args for n in ast.walk(a) if isinstance(n, (ast.Constant, ast.JoinedStr))
    ):
        yield SqlFault("own client", node.lineno, _OWN, _ASK)
    is_history = name in ("query_history", "history") and isinstance(node.func, ast.Attribute) or bool(asked)
    if is_history:
        used.update(id(n) for a in node.args for n in ast.walk(a))
        if strict:
            yield SqlFault("raw asked for", node.lineno, "it shows all physical rows to readers who take them for current ones", _ASK)
    elif name in _READERS and node.args:
        text = _text_of(node.args[0])
        if re.match(r"\s*(select|with)\b", text, re.IGNORECASE):
            used.update(id(n) for n in ast.walk(node.args[0]))
            yield from _at(node.args[0], sql_faults(text, known.of(text), is_current=not own))


def _at(node: Any, faults: Iterable[SqlFault]) -> Iterator[SqlFault]:
    for f in faults:
        yield SqlFault(f.kind, node.lineno + f.line - 1, f.why, f.corrected)


def _text_of(node: ast.AST) -> str:
    """The text of a literal; what an f-string fills in as a name."""
    if isinstance(node, ast.Constant):
        return node.value if isinstance(node.value, str) else ""
    if isinstance(node, ast.JoinedStr):
        return "".join(str(v.value) if isinstance(v, ast.Constant) else "filled_in" for v in node.values)
    return ""


_LOOKS = {".sql": _sql_file, ".yml": _yaml_file, ".yaml": _yaml_file, ".ipynb": _notebook, ".py": _python_file}
