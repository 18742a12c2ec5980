"""Documents say what the code says: generated pages are fresh, links lead somewhere, nothing names one machine."""

from __future__ import annotations

import re
import runpy
import subprocess
from dataclasses import fields
from pathlib import Path

import pytest

from workbench.commands import GRAMMAR
from workbench.settings import Settings

REPOSITORY = Path(__file__).resolve().parents[2]
PAGES = [p for p in (REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").rglob("*.md"))) if p.exists()]

# split, so that this file does not hold what it looks for
MACHINE = re.compile(
    "|".join([
        r"(?<![\w.])/(?:home|Users|root|work|mnt|opt)" + r"/[\w.-]+", r"(?<![\w./])/tmp" + r"/[\w.-]+", r"[A-Z]:\\" + r"Users",
        r"pypi\." + r"org", r"files\.python" + r"hosted", r"registry\.npm" + r"js", r"conda\.anaconda" + r"\.org",
        r"--(?:extra-)?index-" + r"url",
    ])
)  # fmt: skip


def test_generated_pages_are_fresh() -> None:
    """`python docs/generate.py` writes them."""
    pages: dict[str, str] = runpy.run_path(str(REPOSITORY / "docs/generate.py"))["pages"]()
    assert set(pages) == {"commands.md", "settings.md"}
    stale = [name for name, text in pages.items() if (REPOSITORY / "docs" / name).read_text(encoding="utf-8") != text]
    assert not stale, "run python docs/generate.py"


def test_every_verb_and_option_is_documented() -> None:
    text = (REPOSITORY / "docs/commands.md").read_text(encoding="utf-8")
    for name, command in GRAMMAR.commands.items():
        start = text.index(f"\n## `{name}`\n")
        section = text[start : text.find("\n## ", start + 1)]
        assert all(argument.help in section for argument in command.arguments), name


def test_every_setting_is_documented() -> None:
    text = (REPOSITORY / "docs/settings.md").read_text(encoding="utf-8")
    missing = [f.name for f in fields(Settings) if f.name != "origins" and f"`{f.metadata['env']}`" not in text]
    assert not missing


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(REPOSITORY)))
def test_relative_links_lead_somewhere(page: Path) -> None:
    text = re.sub(r"^```.*?^```", "", page.read_text(encoding="utf-8"), flags=re.DOTALL | re.MULTILINE)
    targets = re.findall(r"\]\(([^)\s]+)\)", text)
    dead = []
    for target in targets:
        if re.match(r"[a-z]+:", target):
            continue
        place, _, anchor = target.partition("#")
        file = (page.parent / place).resolve() if place else page
        if not file.exists() or (anchor and file.suffix == ".md" and anchor not in _anchors(file)):
            dead.append(target)
    assert not dead


def _anchors(page: Path) -> set[str]:
    """The anchors that its headings make: lower case, signs left out, spaces as dashes."""
    headings = re.findall(r"^#+ (.+)$", page.read_text(encoding="utf-8"), flags=re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).strip().replace(" ", "-") for heading in headings}


def test_no_file_names_a_machine_or_a_registry() -> None:
    listed = subprocess.run(
        ["git", "ls-files", "-z", "--cached", "--others", "--exclude-standard"], cwd=REPOSITORY, capture_output=True, check=False
    )
    if listed.returncode:
        pytest.skip("not a clone")
    found = []
    for name in listed.stdout.decode().split("\0"):
        path = REPOSITORY / name
        if not name or not path.is_file() or path.suffix == ".csv":
            continue
        try:
            text = path.read_text(encoding="utf-8")
        except UnicodeDecodeError:
            continue  # not text
        found += [f"{name}:{text.count(chr(10), 0, m.start()) + 1}: {m[0]}" for m in MACHINE.finditer(text)]
    assert not found
