"""The expressions of computed properties: their words, the properties they name, and what they may not do.

Pure. An expression is one scalar of ClickHouse's SQL over the other properties of its own type. The engine is the parser
that counts (`probe`, run by `ontology check` and `reload`); the small tokenizer here finds the names, so that an unknown property
or a subquery is said at its line without a lake, and so that names can be quoted and replaced safely.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import lru_cache
from typing import NamedTuple

from workbench.lake.sql import quote, quote_text

__all__ = ["DEEPEST", "LONGEST", "expand", "names_in", "probe", "what_is_wrong"]

LONGEST, DEEPEST = 20_000, 30  # of an expression when all it refers to is put in: characters, and steps

_TOKEN = re.compile(
    r"""(?P<space>\s+)
    |(?P<comment>--|/\*|\#)
    |(?P<string>'(?:[^'\\]|\\.|'')*')
    |(?P<quoted>`(?:[^`\\]|\\.|``)*`|"(?:[^"\\]|\\.|"")*")
    |(?P<number>(?:0[xX][0-9a-fA-F]+|(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?)(?![0-9A-Za-z_]))
    |(?P<name>[^\W\d]\w*)
    |(?P<sign>::|->|\|\||==|!=|<>|<=>|<=|>=|[-+*/%()\[\],.:?=<>])
    |(?P<bad>.)""",
    re.VERBOSE | re.DOTALL,
)


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


# words that are part of the language and not a column, wherever they stand without quotes
_WORDS = _words("and or not is null in like ilike between case when then else end as true false div mod nan inf interval global")
_UNITS = _words("nanosecond microsecond millisecond second minute hour day week month quarter year")
_NEVER = _words("select with from union intersect except exists over columns apply")
_CLAUSES = _words("window having group order limit where join settings format into using prewhere qualify distinct")
# functions whose answer is not one value of the row's own: rows multiplied, other tables, files, settings, the place in a block
_REFUSED_FUNCTIONS = re.compile(
    r"(?i)arrayjoin|dict(get|has|isin)\w*|joinget\w*|file|sleep\w*|getsetting\w*|throwif|initializeaggregation|finalizeaggregation|"
    r"running\w+|neighbor|rownumberin\w*|blocknumber|blocksize|columns|\w*inframe|(dense_)?rank|row_number|ntile|nth_value|"
    r"(first|last)_value|in|notin|globalin|globalnotin|catboostevaluate|modelevaluate|showcertificate|addresstoline\w*"
)
_AGGREGATES = re.compile(
    r"(?i)(sum|count|avg|min|max|any|anylast|uniq\w*|quantile\w*|median\w*|group(array|uniqarray|concat|bit\w+)\w*|arg(min|max)|"
    r"stddev\w*|var(pop|samp)\w*|topk\w*|first_value|last_value|string_agg|array_agg|corr|covar\w*)"
    r"(if|state|merge|ornull|ordefault|distinct)*"
)


class _Token(NamedTuple):
    kind: str
    text: str
    is_property: bool = False  # a name, quoted or not, in the place of a column


def _read(expression: str) -> Iterator[_Token]:
    for found in _TOKEN.finditer(expression):
        yield _Token(str(found.lastgroup), found[0])


@lru_cache(maxsize=4096)
def _classified(expression: str) -> tuple[_Token, ...]:
    """The tokens, those that stand for a column marked: not a function, a word of the language, a unit or a type."""
    tokens = list(_read(expression))
    solid = [i for i, t in enumerate(tokens) if t.kind != "space"]
    type_depth: int | None = None
    depth = 0
    for place, i in enumerate(solid):
        token = tokens[i]
        before = tokens[solid[place - 1]] if place else _Token("", "")
        after = tokens[solid[place + 1]] if place + 1 < len(solid) else _Token("", "")
        depth += (token.text == "(") - (token.text == ")") if token.kind == "sign" else 0
        if type_depth is not None:
            # inside a type: `Decimal(18, 2)` after `as` or `::`
            if token.kind == "name" and (depth > type_depth or before.text == "::" or before.text.lower() == "as"):
                continue
            if not (depth > type_depth or (token.text == ")" and depth == type_depth) or token.text == "("):
                type_depth = None
            elif token.text == ")" and depth == type_depth:
                type_depth = None
                continue
            else:
                continue
        word = token.text.lower()
        if token.text == "::" or (token.kind == "name" and word == "as"):
            type_depth = depth
        elif token.kind == "quoted":
            tokens[i] = token._replace(is_property=after.text != "(")
        elif token.kind == "name" and after.text != "(" and word not in _WORDS:
            is_unit = word in _UNITS and (before.kind in ("number", "string") or before.text == ")")
            is_literal = word in ("date", "timestamp") and after.kind == "string"
            tokens[i] = token._replace(is_property=not is_unit and not is_literal)
    return tuple(tokens)


def _bare(text: str) -> str:
    """The name inside quotes, or the name."""
    if text[:1] not in ("`", '"'):
        return text
    mark = text[0]
    return re.sub(r"\\(.)", r"\1", text[1:-1].replace(mark * 2, mark))


def names_in(expression: str) -> tuple[str, ...]:
    """The properties that an expression names, each once, in order.

    >>> names_in("round(total / nullIf(lines, 0), 2) + cast(total as Decimal(18, 2))")
    ('total', 'lines')
    """
    return tuple(dict.fromkeys(_bare(t.text) for t in _classified(expression) if t.is_property))


def expand(expression: str, resolve: Callable[[str], str]) -> str:
    """The expression with every property in it replaced by what `resolve` gives for its name.

    >>> expand("total / `lines`", lambda name: f"t1.{quote(name)}")
    't1.`total` / t1.`lines`'
    """
    return "".join(resolve(_bare(t.text)) if t.is_property else t.text for t in _classified(expression)).strip()


def what_is_wrong(expression: str) -> str:
    """Why an expression cannot be one scalar over a row, as far as its words show; '' when nothing does.

    >>> what_is_wrong("(select 1)")
    "'select' may not stand in an expression; it is one value of the object's own properties"
    >>> what_is_wrong("sum(total)")
    "'sum' counts over many objects; an expression is one value of one object"
    """
    tokens = [t for t in _classified(expression) if t.kind != "space"]
    if not tokens:
        return "is empty"
    opened: list[tuple[str, str]] = []  # the sign, and the function it belongs to
    for before, token, after in zip([_Token("", ""), *tokens], tokens, [*tokens[1:], _Token("", "")], strict=False):
        word = token.text.lower()
        if token.kind == "comment":
            return f"{token.text!r} begins a comment; say it in the description"
        if token.kind == "bad":
            unclosed = token.text in ("'", '"', "`")
            return f"the text that begins with {token.text} has no end" if unclosed else f"{token.text!r} may not stand in an expression"
        if token.kind == "name":
            if word in _NEVER or (word in _CLAUSES and after.text != "("):
                return f"{token.text!r} may not stand in an expression; it is one value of the object's own properties"
            if word == "as" and (not opened or opened[-1][1] != "cast"):
                return "'as' may stand only in cast(... as ...)"
            if word == "in" and after.text not in ("(", "["):
                return "'in' needs a list in parentheses"
        if token.kind in ("name", "quoted") and after.text == "(" and word not in _WORDS:
            name = _bare(token.text)
            if _AGGREGATES.fullmatch(name):
                return f"{name!r} counts over many objects; an expression is one value of one object"
            if _REFUSED_FUNCTIONS.fullmatch(name):
                return f"the function {name!r} may not stand in an expression; it is one value of the object's own properties"
        if token.text == "->" and token.kind == "sign":
            return "'->' may not stand in an expression"
        if token.text == "." and (before.is_property or after.is_property or before.text == ")"):
            return "'.' may not stand between names; a property is named by one word"
        if token.text == "*" and before.text in ("", "(", ",", "["):
            return "'*' may not stand for columns; name the properties"
        if token.kind == "sign" and token.text in "([":
            opened.append((token.text, before.text.lower() if before.kind == "name" and token.text == "(" else ""))
        if token.kind == "sign" and token.text in ")]" and (not opened or opened.pop()[0] != {")": "(", "]": "["}[token.text]):
            return f"{token.text!r} closes nothing"
    return f"{opened[-1][0]!r} is not closed" if opened else ""


def probe(columns: Mapping[str, str], expressions: Sequence[str]) -> str:
    """A DESCRIBE that the engine answers when, and only when, each expression is one scalar of these columns.

    `columns` is name -> ClickHouse type. The answer has one row per expression, in order, with its `type`; no data is read. The
    engine refuses an aggregate in the WHERE, and whatever is no expression.
    """
    typed = ",\n        ".join(
        f"materialize(defaultValueOfTypeName({quote_text(type)})) as {quote(name)}" for name, type in columns.items()
    )
    # a blank in the alias: no property can be named like it
    values = ",\n    ".join(f"({expression}) as `value {i}`" for i, expression in enumerate(expressions))
    tests = " and ".join(f"isNotNull(`value {i}`)" for i in range(len(expressions)))
    return f"describe (\nselect\n    {values}\nfrom (\n    select\n        {typed or '1'}\n)\nwhere {tests}\n)"
