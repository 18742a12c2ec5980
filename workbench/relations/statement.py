"""The text of a statement, read far enough to bind values, to put relations in, and to refuse what is no single read.

Pure. Values are never written into the text: `{name:Type}` stays a placeholder that the server fills, and `{name}` becomes the
statement of the relation of that name, in parentheses. What stands in texts, quoted names and comments is left alone.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from workbench.errors import UsageError

__all__ = ["Statement", "parse_statement", "unique_names"]

_TOKEN = re.compile(
    r"""
    (?P<skip> \s+ | --[^\n]* | \#[\ !][^\n]* )
    | (?P<comment> /\* )
    | (?P<text> '(?:[^'\\]|\\.|'')*' | "(?:[^"\\]|\\.|"")*" | `(?:[^`\\]|\\.|``)*` | (?<![\w$])\$(?P<tag>\w*)\$.*?\$(?P=tag)\$ )
    | (?P<open> ['"`] )
    | \{ \s* (?P<name>\w+) \s* : \s* (?P<type>[^{}]+?) \s* \}
    | \{ \s* (?P<relation>[^\W\d]\w*) \s* \}
    | (?P<word> [^\W\d][\w$]* )
    | (?P<sign> [()\[\];,] )
    | (?P<other> [\w.]+ | . )
    """,
    re.VERBOSE | re.DOTALL,
)
_READS = ("select", "with", "from", "values")
_TELLS = ("show", "describe", "desc", "explain", "exists", "check")

# what may stand behind a relation in FROM without being its alias
_BEHIND = frozenset(
    re.findall(
        r"\w+",
        "all anti any array as asof cross except fetch final format full global group having inner intersect into join left limit natural "
        "offset on only order paste prewhere qualify right sample semi settings union using where window",
    )
)
_ENDS_FROM = frozenset(
    ("where", "prewhere", "group", "having", "order", "limit", "offset", "settings", "union", "except", "intersect", "qualify", "window",
     "select", "with")
)  # fmt: skip


@dataclass(frozen=True)
class _Token:
    kind: str
    text: str
    start: int
    end: int
    depth: int
    name: str = ""
    type: str = ""


@dataclass(frozen=True)
class Statement:
    """One statement that reads. `is_rows` False: it only tells (SHOW, DESCRIBE, EXPLAIN, EXISTS), so it cannot stand in FROM."""

    text: str
    placeholders: Mapping[str, str]  # name -> ClickHouse type
    references: tuple[str, ...]
    is_rows: bool
    _tokens: tuple[_Token, ...]

    def compose(self, inner: Mapping[str, tuple[str, Mapping[str, str]]]) -> str:
        """The text with each relation's own text in its place.

        `inner` is relation -> its text and a new name for each of its placeholders.
        """
        parts: list[str] = []
        at = 0
        for place, token in enumerate(self._tokens):
            if token.kind != "relation":
                continue
            text, names = inner[token.name]
            parts += [self.text[at : token.start], "(\n", _renamed(text, names), "\n)"]
            if self._needs_alias(place):
                parts.append(f" as `{token.name}`")
            at = token.end
        return "".join([*parts, self.text[at:]])

    def _needs_alias(self, place: int) -> bool:
        """Whether a relation stands in FROM and the statement gives it no name of its own there."""
        token = self._tokens[place]
        for before in reversed(self._tokens[:place]):
            if before.depth != token.depth:
                if before.depth < token.depth:
                    return False
                continue
            word = before.text.casefold()
            if before.kind == "word" and word in _ENDS_FROM:
                return False
            if before.kind == "word" and word in ("from", "join"):
                break
        else:
            return False
        just_before = self._tokens[place - 1]
        if just_before.text.casefold() not in ("from", "join", ","):
            return False
        behind = self._tokens[place + 1] if place + 1 < len(self._tokens) else None
        if behind is None or behind.kind not in ("word", "text"):
            return True
        return behind.kind == "word" and behind.text.casefold() in _BEHIND - {"as"}


def _renamed(text: str, names: Mapping[str, str]) -> str:
    """A text with other names for its placeholders.

    >>> _renamed("select {a:Int8}, '{a:Int8}'", {"a": "p1_a"})
    "select {p1_a:Int8}, '{a:Int8}'"
    """
    parts, at = [], 0
    for token in _tokens(text):
        if token.kind == "name":
            parts += [text[at : token.start], f"{{{names[token.name]}:{token.type}}}"]
            at = token.end
    return "".join([*parts, text[at:]])


def parse_statement(text: str) -> Statement:
    """Read a statement.

    >>> found = parse_statement("select * from {buyers} where country = {country:String};")
    >>> found.text, dict(found.placeholders), found.references
    ('select * from {buyers} where country = {country:String}', {'country': 'String'}, ('buyers',))

    Raises:
        UsageError: it is empty, several statements, does not read, names a FORMAT or a file, or its marks do not close.
    """
    tokens = list(_tokens(text))
    while tokens and tokens[-1].text == ";":
        tokens.pop()
    if not tokens:
        raise UsageError("the statement is empty", hint="write a SELECT")
    ended = next((t for t in tokens if t.text == ";" and t.kind == "sign"), None)
    if ended is not None:
        raise UsageError(f"{_place(text, ended.start)}: a second statement follows", hint="one cell or command runs one statement")
    if tokens[-1].depth or tokens[-1].text == "(":
        raise UsageError(f"{_place(text, tokens[-1].start)}: a bracket is not closed")
    body = text[tokens[0].start : tokens[-1].end]
    shift = tokens[0].start
    tokens = [_Token(t.kind, t.text, t.start - shift, t.end - shift, t.depth, t.name, t.type) for t in tokens]
    lead = next((t.text.casefold() for t in tokens if t.kind == "word"), "")
    if lead not in _READS and lead not in _TELLS:
        said = f"{lead.upper() if lead else tokens[0].text} does not read"
        raise UsageError(said, hint="write a SELECT; rows come in by `skygraph sync`, tables by `skygraph dbt run`")
    _refuse_own_output(tokens)
    placeholders: dict[str, str] = {}
    for token in tokens:
        if token.kind == "name" and placeholders.setdefault(token.name, token.type) != token.type:
            said = f"{{{token.name}:...}} is asked for as {placeholders[token.name]} and as {token.type}"
            raise UsageError(said, hint="write one type, and cast where another is needed")
    references = tuple(dict.fromkeys(t.name for t in tokens if t.kind == "relation"))
    return Statement(body, placeholders, references, lead in _READS, tuple(tokens))


def _refuse_own_output(tokens: list[_Token]) -> None:
    """Refuse a statement that says where its answer goes."""
    words = [(t.text.casefold() if t.kind == "word" else "", t.depth) for t in tokens]
    for (word, depth), (after, _), (then, _) in zip(words, words[1:], [*words[2:], ("settings", 0)], strict=False):
        if depth == 0 and word == "format" and after and then == "settings":
            raise UsageError(
                "the statement names a FORMAT of its own", hint="leave it out: --json and --to FILE say how the answer is written"
            )
        if depth == 0 and word == "into" and after == "outfile":
            raise UsageError("the statement names a file of its own", hint="leave it out: --to FILE writes the answer to a file")


def _tokens(text: str) -> Iterator[_Token]:
    """What stands in a text, comments and space left out."""
    at, depth = 0, 0
    while at < len(text):
        match = _TOKEN.match(text, at)
        assert match is not None  # the last kind takes any letter
        kind, at = str(match.lastgroup), match.end()
        if kind == "skip":
            continue
        if kind == "comment":
            at = _behind_comment(text, match.start())
            continue
        if kind == "open":
            raise UsageError(f"{_place(text, match.start())}: the mark {match[0]} is not closed")
        if match["tag"] is not None:
            kind = "text"
        if match["name"] is not None:
            kind = "name"
        if kind == "sign" and match[0] in ")]":
            depth -= 1
            if depth < 0:
                raise UsageError(f"{_place(text, match.start())}: nothing is open that {match[0]} could close")
        yield _Token(kind, match[0], match.start(), match.end(), depth, match["name"] or match["relation"] or "", match["type"] or "")
        if kind == "sign" and match[0] in "([":
            depth += 1


def _behind_comment(text: str, start: int) -> int:
    """Where a comment ends, which may have others inside."""
    depth = 0
    for mark in re.finditer(r"/\*|\*/", text[start:]):
        depth += 1 if mark[0] == "/*" else -1
        if depth == 0:
            return start + mark.end()
    raise UsageError(f"{_place(text, start)}: the comment is not closed")


def _place(text: str, at: int) -> str:
    """Where something is in a statement, for people.

    >>> _place("select 1\\nfrom", 11)
    'line 2, column 3'
    """
    return f"line {text.count(chr(10), 0, at) + 1}, column {at - text.rfind(chr(10), 0, at)}"


def unique_names(names: list[str]) -> list[str]:
    """Names of columns, each once.

    >>> unique_names(["a", "b", "a", "a_2", "a"])
    ['a', 'b', 'a_3', 'a_2', 'a_4']
    """
    found: list[str] = []
    for place, name in enumerate(names):
        count, chosen = 2, name
        while chosen in found or (chosen != name and chosen in names[place:]):
            chosen, count = f"{name}_{count}", count + 1
        found.append(chosen)
    return found
