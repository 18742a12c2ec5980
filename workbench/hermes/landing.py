"""Values from one type to another on their way in: as SQL over the engine's types, and from Arrow and Python to them.

Pure: nothing here speaks to a server. The engine's own casts from text are laxer than ours: they turn February 30 into March 1, cut
digits, and let a Decimal run over.
"""

from __future__ import annotations

import datetime as dt
import json
import re
from typing import TYPE_CHECKING, Any, Literal

from workbench.lake.sql import quote_text

if TYPE_CHECKING:
    import pyarrow as pa

__all__ = [
    "DOES_NOT_FIT",
    "Mode",
    "NULLABLE_TEXT",
    "arrow_kind",
    "as_texts",
    "bare",
    "can_be_null",
    "is_array_text",
    "json_text",
    "landable_array",
    "landed",
    "landing_type",
    "nothing",
    "parse_text",
    "strict_text",
    "text_of",
    "value_text",
]

NULLABLE_TEXT = "Nullable(String)"

Mode = Literal["strict", "lenient", "text"]


def bare(type_: str) -> str:
    """The type without Nullable and LowCardinality."""
    for wrapper in ("Nullable(", "LowCardinality("):
        if type_.startswith(wrapper):
            return bare(type_.removeprefix(wrapper).removesuffix(")"))
    return type_


def can_be_null(type_: str) -> bool:
    """Whether Nullable(type) is a type."""
    return not type_.startswith(("Array(", "Map(", "Tuple(", "Nullable("))


def landing_type(kind: str) -> str:
    """The type, without Nullable, that a column lands as from the engine's own type for it.

    >>> landing_type("Nullable(DateTime64(3, 'UTC'))"), landing_type("Array(Nullable(Int64))"), landing_type("Map(String, Int64)")
    ("DateTime64(6, 'UTC')", 'Array(Nullable(Int64))', 'String')
    """
    plain = bare(kind)
    if re.search(r"\b(Tuple|Map|Variant|Dynamic|JSON|Object|Nothing)\b", plain) or plain.startswith("FixedString"):
        return "String"
    if re.fullmatch(r"DateTime(64\([0-6](, '.*')?\))?", plain):
        return "DateTime64(6, 'UTC')"
    return "DateTime64(9, 'UTC')" if plain.startswith("DateTime64(") else plain


def text_of(value: str, kind: str) -> str:
    """An expression: a value of a type as the text that `as_text` promises."""
    plain = bare(kind)
    if plain == "String":
        return value
    if re.match(r"(Tuple|Map)\(|Array\(.*(Tuple|Map)\(", plain):
        return f"toJSONString({value})"
    if plain.startswith("FixedString"):
        return f"cast({value} as {NULLABLE_TEXT})"
    if plain.startswith("DateTime"):
        return f"toString(toTimeZone({value}, 'UTC'))" if "9" in plain else f"toString(toDateTime64({value}, 6, 'UTC'))"
    return f"toString({value})"


def parse_text(text: str, type_: str) -> str:
    """An expression: a Nullable(String) as the type, Nullable; NULL for a text that is not wholly and exactly a value of it.

    The engine's own casts are laxer: they turn February 30 into March 1, cut digits, and let a Decimal run over. A time is one in
    UTC unless the text has a zone. An Array has no NULL: see `is_array_text`.
    """
    plain = bare(type_)
    known = f"ifNull({text}, '')"
    cast = f"accurateCastOrNull({text}, {quote_text(plain)})"
    if plain == "String":
        return text
    if plain == "Bool":
        low = f"lower({known})"
        return f"cast(multiIf({low} in ('1', 't', 'true'), true, {low} in ('0', 'f', 'false'), false, null) as Nullable(Bool))"
    if re.fullmatch(r"U?Int\d+", plain):  # 007 is a text, not a number
        return f"if(toString({cast}) = {text}, {cast}, null)"
    if plain.startswith(("Float32", "Float64")):  # 1e999 is no infinity
        return f"if(isInfinite({cast}) and not match({known}, '(?i)inf'), null, {cast})"
    if digits := re.fullmatch(r"Decimal\((\d+), *(\d+)\)", plain):
        whole, scale = int(digits[1]) - int(digits[2]), int(digits[2])
        fits = rf"^[+-]?0*\d{{0,{whole}}}(\.\d{{0,{scale}}}0*)?$"
        return f"if(match({known}, {quote_text(fits)}), {cast}, null)"
    if plain in ("Date", "Date32"):  # read back, as an impossible day and one out of the range come out as others
        return f"if(match({known}, {quote_text(_DAY + '$')}) and toString({cast}) = {text}, {cast}, null)"
    if time := re.fullmatch(r"DateTime(?:64\((\d)(?:, *'[^']*')?\))?(?:\('[^']*'\))?", plain):
        scale = int(time[1] or 0)
        fraction = rf"([.,]\d{{1,{scale}}}0*)?" if scale else r"([.,]0+)?"
        form = _DAY + rf"([T ]([01]\d|2[0-3]):[0-5]\d(:[0-5]\d{fraction})? ?(Z|[+-]\d\d(:?\d\d)?)?)?$"
        day = f"substring({known}, 1, 10)"
        read = f"parseDateTime64BestEffortOrNull({text}, {scale}, 'UTC')"
        value = f"accurateCastOrNull({read}, {quote_text(plain)})"
        same_year = f"abs(toYear({value}) - toYear(toDate32OrNull({day}))) < 2"  # by a zone it may be the next one
        is_day = f"match({known}, {quote_text(form)}) and toString(toDate32OrNull({day})) = {day}"
        return f"if({is_day} and {same_year}, {value}, null)"
    if not can_be_null(plain):
        # out of JSON, or out of the engine's own form
        own = f"if(empty({known}) or not startsWith({known}, '['), '[]', {known})"
        return f"if(isValidJSON({known}), JSONExtract({known}, {quote_text(plain)}), accurateCast({own}, {quote_text(plain)}))"
    if plain.startswith("Enum"):
        return f"if({text} in ({', '.join(re.findall(_QUOTED, plain))}), cast({text} as Nullable({plain})), null)"
    return cast


def is_array_text(text: str) -> str:
    """An expression: whether a text can be an array, in JSON or in the engine's own form."""
    return f"(ifNull({text}, '[]') = '' or startsWith(ifNull({text}, '[]'), '['))"


def strict_text(text: str, type_: str) -> str:
    """An expression: a Nullable(String) as the type; the statement fails with `DOES_NOT_FIT` when it is not exactly a value of it."""
    plain = bare(type_)
    if plain == "String":
        return f"cast({text} as {type_})"
    if not can_be_null(plain):
        wrong, parsed = f"not {is_array_text(text)}", parse_text(text, plain)
        return f"cast(if(throwIf({wrong}, {quote_text(DOES_NOT_FIT)}) = 0, {parsed}, []) as {type_})"
    parsed = parse_text(text, plain)
    wrong = f"({text}) is not null and ({parsed}) is null"
    checked = f"if(throwIf({wrong}, {quote_text(DOES_NOT_FIT)}) = 0, {parsed}, null)"
    return f"accurateCast({checked}, {quote_text(type_)})"


DOES_NOT_FIT = "a value does not fit its column"

_DAY = r"^\d{4}-\d\d-\d\d"
_QUOTED = r"'(?:[^'\\]|\\.)*'"


def landed(value: str, kind: str, type_: str, mode: Mode, number: int) -> str:
    """An expression: a value that is read as `kind`, as a column of `type_`.

    `strict` fails with `skygraph: column <number> does not fit`; `lenient` gives NULL for what does not fit; `text` gives a text.
    """
    plain = bare(type_)
    text = text_of(value, kind)
    if mode == "text":
        if not plain.startswith("DateTime"):
            return f"cast({text} as {NULLABLE_TEXT})"
        time = parse_text(text, f"DateTime64({9 if '9' in plain else 6}, 'UTC')")
        return f"cast(ifNull(toString({time}), {text}) as {NULLABLE_TEXT})"
    same = bare(kind) == plain
    wide = landing_type(kind) == plain and plain != "String"  # a cast that changes no value
    widest = f"Nullable({plain})" if can_be_null(plain) else plain
    parsed = value if same else f"cast({value} as {widest})" if wide else parse_text(text, plain)
    if not can_be_null(plain):
        return f"cast({parsed} as {type_})"
    if mode == "lenient":
        return f"cast({parsed} as Nullable({plain}))" if kind.startswith("Nullable(") or not same else parsed
    if type_.startswith(("Nullable(", "LowCardinality(Nullable(")):
        if same or wide or plain == "String":
            return f"cast({parsed} as {type_})"
        wrong = f"({text}) is not null and ({parsed}) is null"
        return f"cast(if(throwIf({wrong}, 'skygraph: column {number} does not fit') = 0, {parsed}, null) as {type_})"
    if same and not kind.startswith("Nullable("):
        return parsed
    wrong = f"({parsed}) is null"
    return f"cast(assumeNotNull(if(throwIf({wrong}, 'skygraph: column {number} does not fit') = 0, {parsed}, null)) as {type_})"


def nothing(type_: str, mode: Mode) -> str:
    """An expression of the type that `landed` gives, for a SELECT without rows."""
    return f"cast(null as {NULLABLE_TEXT})" if mode == "text" else f"defaultValueOfTypeName({quote_text(type_)})"


# --- Arrow and Python


def arrow_kind(type_: pa.DataType) -> str:
    """The engine's type for an Arrow type, with Nullable where it can be: what a stage of it has.

    Structs, maps, and lists of them are JSON texts; so is what the engine has no type for.
    """
    import pyarrow as pa
    import pyarrow.types as at

    if at.is_dictionary(type_):
        return arrow_kind(type_.value_type)
    if at.is_timestamp(type_):
        return f"Nullable(DateTime64({9 if type_.unit == 'ns' else 6}, 'UTC'))"
    if at.is_time(type_):
        return "Nullable(DateTime64(6, 'UTC'))"
    if at.is_date(type_):
        return "Nullable(Date32)"
    if at.is_decimal(type_):
        return f"Nullable(Decimal({type_.precision}, {type_.scale}))" if 0 <= type_.scale <= type_.precision else NULLABLE_TEXT
    if at.is_duration(type_):
        return "Nullable(Int64)"
    if at.is_list(type_) or at.is_large_list(type_) or at.is_fixed_size_list(type_):
        inner = arrow_kind(type_.value_type)
        is_simple = inner != NULLABLE_TEXT or _is_text(type_.value_type)
        return f"Array({inner})" if is_simple else NULLABLE_TEXT
    simple = {
        pa.bool_(): "Bool", pa.int8(): "Int8", pa.int16(): "Int16", pa.int32(): "Int32", pa.int64(): "Int64", pa.uint8(): "UInt8",
        pa.uint16(): "UInt16", pa.uint32(): "UInt32", pa.uint64(): "UInt64", pa.float16(): "Float32", pa.float32(): "Float32",
        pa.float64(): "Float64",
    }  # fmt: skip
    return f"Nullable({simple.get(type_, 'String')})"


def _is_text(type_: pa.DataType) -> bool:
    import pyarrow.types as at

    return bool(at.is_string(type_) or at.is_large_string(type_) or at.is_binary(type_) or at.is_large_binary(type_))


def landable_array(values: pa.Array) -> pa.Array:
    """An array of the Arrow type that a column of `arrow_kind` takes, value for value."""
    import pyarrow as pa
    import pyarrow.types as at

    type_ = values.type
    if isinstance(type_, pa.BaseExtensionType):
        return landable_array(values.storage)
    if at.is_dictionary(type_):
        return landable_array(values.dictionary_decode())
    if at.is_float16(type_):
        return values.cast(pa.float32())
    if at.is_timestamp(type_):
        # the instant is the same; without a zone it is UTC
        return values.cast(pa.timestamp("ns" if type_.unit == "ns" else "us", tz=type_.tz)).view(
            pa.timestamp("ns" if type_.unit == "ns" else "us", tz="UTC")
        )
    if at.is_time(type_):
        return values.cast(pa.time64("ns" if type_.unit == "ns" else "us")).cast(pa.time64("us"), safe=False).cast(pa.int64()).cast(
            pa.timestamp("us", tz="UTC")
        )  # fmt: skip
    if at.is_date64(type_):
        return values.cast(pa.date32())
    if at.is_duration(type_):
        return values.cast(pa.int64())
    if arrow_kind(type_) == NULLABLE_TEXT and not _is_text(type_):
        if at.is_fixed_size_binary(type_):
            return values.cast(pa.binary())
        return pa.array([None if v is None else json_text(v) for v in values.to_pylist()], pa.string())
    return values


def as_texts(values: pa.Array) -> pa.Array:
    """The values as texts, for a column whose files differ in its type."""
    import pyarrow as pa

    if _is_text(values.type):
        return values
    return pa.array([None if v is None else value_text(v) for v in values.to_pylist()], pa.string())


def value_text(value: Any) -> str | bytes:
    """A Python value as the text that the engine casts to its type: times in UTC, objects and lists as JSON."""
    if isinstance(value, (str, bytes)):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, dt.datetime):
        aware = value if value.tzinfo else value.replace(tzinfo=dt.timezone.utc)
        return aware.astimezone(dt.timezone.utc).replace(tzinfo=None).isoformat(" ", "microseconds")
    if isinstance(value, (dt.date, dt.time)):
        return value.isoformat()
    if isinstance(value, (dict, list, tuple, set, frozenset)):
        return json_text(value)
    if type(value).__name__ == "Decimal":
        return format(value, "f")
    return str(value)


def json_text(value: Any) -> str:
    """A nested value as JSON text; what JSON has no form for stands as its text."""

    def other(inner: Any) -> Any:
        if isinstance(inner, (set, frozenset)):
            return sorted(inner, key=str)
        text = value_text(inner)
        return text.decode("utf-8", "replace") if isinstance(text, bytes) else text

    return json.dumps(value, ensure_ascii=False, separators=(",", ":"), default=other)
