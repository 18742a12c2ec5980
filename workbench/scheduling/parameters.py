"""The parameters of a notebook: what its cell tagged `parameters` says, and values for them, typed before a kernel starts.

Pure but for reading the file.
"""

from __future__ import annotations

import ast
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from workbench.errors import SkyGraphError, UnknownName, UsageError

__all__ = ["Parameter", "read_parameters", "typed"]

_WORDS = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}


@dataclass(frozen=True)
class Parameter:
    """One parameter: its name, its default, and the comment beside it. The default's type is the type of every value."""

    name: str
    default: Any
    help: str = ""

    def parse(self, value: Any) -> Any:
        """A value out of a text or a value of YAML.

        >>> Parameter("limit", 10).parse("20"), Parameter("full", False).parse("yes"), Parameter("types", []).parse('["a"]')
        (20, True, ['a'])
        """
        default = self.default
        if isinstance(default, bool):
            if str(value).strip().casefold() in _WORDS:
                return _WORDS[str(value).strip().casefold()]
        elif isinstance(default, int):
            if not isinstance(value, bool) and re.fullmatch(r"\s*[+-]?[0-9]+\s*", str(value)):
                return int(str(value))
        elif isinstance(default, float):
            if not isinstance(value, bool):
                try:
                    return float(value)
                except (TypeError, ValueError):
                    pass
        elif isinstance(default, str):
            if isinstance(value, (str, int, float)):
                return str(value)
        elif default is None:
            return value
        else:
            try:
                found = ast.literal_eval(value) if isinstance(value, str) else value
            except (ValueError, SyntaxError, MemoryError, RecursionError):
                found = None
            if isinstance(found, type(default)):
                return found
        raise UsageError(f"the parameter {self.name} is {type(default).__name__}, not {str(value)[:80]!r}")


def read_parameters(notebook: Path) -> dict[str, Parameter]:
    """The parameters of a notebook by name, in order; empty when no cell has the tag `parameters`.

    Raises:
        UsageError: there is no such notebook.
        SkyGraphError: it does not parse, or the cell is not plain assignments of values.
    """
    try:
        data = json.loads(notebook.read_text(encoding="utf-8"))
        cells = data["cells"]
        tagged = next((c for c in cells if "parameters" in (c.get("metadata") or {}).get("tags", [])), None)
        source = "".join(tagged["source"]) if tagged else ""
    except FileNotFoundError:
        raise UsageError(f"there is no notebook {notebook}") from None
    except (OSError, ValueError, KeyError, TypeError, AttributeError) as error:
        raise SkyGraphError(f"{notebook} is not a notebook: {error}", hint="open it in JupyterLab, or write it anew") from None
    try:
        body = ast.parse(source).body
    except SyntaxError as error:
        raise SkyGraphError(f"{notebook}: the parameters cell is not Python, line {error.lineno}: {error.msg}") from None
    lines, found = source.splitlines(), {}
    for line in body:
        target = line.targets[0] if isinstance(line, ast.Assign) and len(line.targets) == 1 else getattr(line, "target", None)
        value = getattr(line, "value", None)
        if not isinstance(line, (ast.Assign, ast.AnnAssign)) or not isinstance(target, ast.Name) or value is None:
            raise SkyGraphError(
                f"{notebook}: line {line.lineno} of the parameters cell is no assignment", hint="write `name = value` there, nothing else"
            )
        try:
            default = ast.literal_eval(value)
        except ValueError:
            raise SkyGraphError(f"{notebook}: the parameter {target.id} has no plain value for its default") from None
        help = re.search(r"#\s*(.*)$", lines[(line.end_lineno or line.lineno) - 1][line.end_col_offset or 0 :])
        found[target.id] = Parameter(target.id, default, help[1].strip() if help else "")
    return found


def typed(notebook: Path, given: Mapping[str, Any]) -> dict[str, Any]:
    """The given values, each as the type of its parameter.

    Raises:
        UnknownName: the notebook has no such parameter; names the nearest.
        UsageError: a value that is not of its parameter's type.
    """
    known = read_parameters(notebook)
    for name in given:
        if name not in known:
            hint = None if known else "give a cell of it the tag `parameters`"
            raise UnknownName(f"parameter of {notebook.name}", name, known, hint=hint)
    return {name: known[name].parse(value) for name, value in given.items()}
