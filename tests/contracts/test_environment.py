"""The requirements are written once: pyproject.toml, environment.yml and constraints.txt say the same."""

from __future__ import annotations

import ast
import importlib.metadata
import re
import sys
import tomllib
from pathlib import Path

import yaml
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

REPOSITORY = Path(__file__).resolve().parents[2]
PROJECT = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]


def _requirements(lines: list[str]) -> dict[str, Requirement]:
    return {canonicalize_name(r.name): r for r in map(Requirement, lines)}


def _pinned() -> dict[str, Version]:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    pins = [line.split("==") for line in lines if line and not line.startswith("#")]
    return {canonicalize_name(name): Version(version) for name, version in pins}


def test_conda_asks_for_the_same_as_pip() -> None:
    listed = yaml.safe_load((REPOSITORY / "environment.yml").read_text(encoding="utf-8"))["dependencies"]
    conda = [item for item in listed if isinstance(item, str) and item != "pip"]
    (pip,) = [item["pip"] for item in listed if isinstance(item, dict)]
    assert pip[-1] == "-e ."
    asked = _requirements([*conda, *pip[:-1]])
    assert str(asked.pop("python").specifier) == PROJECT["requires-python"]
    assert {str(r) for r in asked.values()} == {str(Requirement(r)) for r in PROJECT["dependencies"]}


def test_every_requirement_is_pinned_to_a_version_it_admits() -> None:
    pinned = _pinned()
    asked = _requirements([*PROJECT["dependencies"], *(r for extra in PROJECT["optional-dependencies"].values() for r in extra)])
    assert not set(asked) - set(pinned), "not in constraints.txt"
    assert not [str(r) for name, r in asked.items() if not r.specifier.contains(pinned[name])]


def test_constraints_are_names_and_versions_only() -> None:
    lines = (REPOSITORY / "constraints.txt").read_text(encoding="utf-8").splitlines()
    odd = [line for line in lines if line and not line.startswith("#") and not re.fullmatch(r"[A-Za-z0-9._-]+==[A-Za-z0-9.+!]+", line)]
    assert not odd


def test_every_library_that_is_imported_is_declared() -> None:
    """By the name of the distribution that has it; a library that merely comes with another is not enough."""
    distributions = importlib.metadata.packages_distributions()
    declared = set(_requirements(PROJECT["dependencies"]))
    undeclared = {
        f"{path.relative_to(REPOSITORY)}: {name}"
        for path in (REPOSITORY / "workbench").rglob("*.py")
        for name in _imported(path)
        if not declared & {canonicalize_name(d) for d in distributions.get(name, [])}
    }
    assert not undeclared


def _imported(path: Path) -> set[str]:
    """Top-level names of other people's packages that a file imports, at its top or inside functions."""
    found: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            found |= {alias.name.partition(".")[0] for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and not node.level:
            found.add(str(node.module).partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"workbench"}
