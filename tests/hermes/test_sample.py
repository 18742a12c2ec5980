"""The sample source: made whole or not at all, and its day is played once."""

from __future__ import annotations

import sqlite3
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from workbench.errors import SourceError
from workbench.hermes.sample import build_sample, day_is_over, play_day

SCHEMA = "create table city (id integer primary key, name text not null, note text);"
CITIES = 'id,name,note\n1,Zürich,\n2,"São Paulo","a, ""b"""\n'
DAY = "insert into city values (3, 'Oslo', null);\nupdate city set note = 'x' where id = 1;"


@pytest.fixture
def sample(tmp_path: Path) -> Path:
    folder = tmp_path / "sample"
    folder.mkdir()
    for name, text in {"schema.sql": SCHEMA, "city.csv": CITIES, "day.sql": DAY}.items():
        (folder / name).write_text(text, encoding="utf-8")
    return folder


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "new folder" / "é.sqlite"


def read(file: Path) -> list[Any]:
    with closing(sqlite3.connect(file)) as connection:
        return connection.execute("select * from city order by id").fetchall()


def test_rows_are_those_of_the_files_and_an_empty_field_is_null(sample: Path, file: Path) -> None:
    build_sample(sample, file)
    assert read(file) == [(1, "Zürich", None), (2, "São Paulo", 'a, "b"')]


def test_file_that_is_there_is_left_alone(sample: Path, file: Path) -> None:
    build_sample(sample, file)
    play_day(sample, file)
    build_sample(sample, file)
    assert len(read(file)) == 3


@pytest.mark.parametrize(
    ("name", "text", "says"),
    [
        ("city.csv", "id,name,note\n1,a,\n2,,\n", "city.csv, line 3: NOT NULL"),
        ("city.csv", "id,name,note\n1,a\n", "city.csv, line 2"),
        ("city.csv", "id,nam,note\n1,a,\n", "city.csv"),
        ("city.csv", "", "city.csv is empty"),
        ("city.csv", b"id,name,note\n1,Z\xfcrich,\n", "city.csv.*UTF-8"),
        ("town.csv", "id\n1\n", "town.csv"),
        ("schema.sql", "create tabel x", "syntax error"),
        ("triggers.sql", "create trigger", "does not load"),
        ("schema.sql", None, "schema.sql cannot be read"),
    ],
    ids=["null", "short line", "unknown column", "empty", "not UTF-8", "no such table", "schema", "triggers", "no schema"],
)
def test_sample_is_built_whole_or_not_at_all(sample: Path, file: Path, name: str, text: str | bytes | None, says: str) -> None:
    good = (sample / name).read_bytes() if (sample / name).exists() else None
    if text is None:
        (sample / name).unlink()
    else:
        (sample / name).write_bytes(text if isinstance(text, bytes) else text.encode())
    with pytest.raises(SourceError, match=says):
        build_sample(sample, file)
    assert not file.exists()
    # and the next try, with the mistake mended, is not in its way
    if good is None:
        (sample / name).unlink()
    else:
        (sample / name).write_bytes(good)
    build_sample(sample, file)
    assert len(read(file)) == 2


def test_folder_without_a_csv_is_said(tmp_path: Path, file: Path) -> None:
    with pytest.raises(SourceError, match="has no CSV file; it needs schema.sql and one CSV per table"):
        build_sample(tmp_path, file)


def test_many_at_once_build_one_file(sample: Path, file: Path) -> None:
    with ThreadPoolExecutor(6) as pool:
        list(pool.map(lambda _: build_sample(sample, file), range(6)))
    assert len(read(file)) == 2


def test_day_is_played_once(sample: Path, file: Path) -> None:
    build_sample(sample, file)
    assert not day_is_over(file)
    assert play_day(sample, file) is True
    assert day_is_over(file)
    after = read(file)
    assert play_day(sample, file) is False
    assert read(file) == after == [(1, "Zürich", "x"), (2, "São Paulo", 'a, "b"'), (3, "Oslo", None)]


def test_day_is_played_once_even_by_many_at_once(sample: Path, file: Path) -> None:
    (sample / "day.sql").write_text("insert into city (name) values ('again');", encoding="utf-8")
    build_sample(sample, file)
    with ThreadPoolExecutor(6) as pool:
        played = list(pool.map(lambda _: play_day(sample, file), range(6)))
    assert sorted(played) == [False] * 5 + [True]
    assert len(read(file)) == 3


def test_day_that_fails_changes_nothing(sample: Path, file: Path) -> None:
    (sample / "day.sql").write_text(f"{DAY}\ninsert into nowhere values (1);", encoding="utf-8")
    build_sample(sample, file)
    before = read(file)
    with pytest.raises(SourceError, match="day.sql does not run: no such table"):
        play_day(sample, file)
    assert read(file) == before
    assert not day_is_over(file)


def test_day_of_a_sample_that_was_not_made_is_said(sample: Path, file: Path) -> None:
    with pytest.raises(SourceError, match="there is no sample source at"):
        play_day(sample, file)
