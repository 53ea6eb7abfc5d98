"""Batches of official files: what is kept, where faults are, first rows."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest

from emer.data import raw
from emer.data.adapter import Part
from emer.data.cells import beijing_day, beijing_hour, category, log1p, log_seconds, played_long, text_day
from emer.data.log import day_number
from emer.data.raw import first_rows, read_part, read_table
from emer.errors import DataError

from .toy_views import Row, beijing_ms, write_csv, write_feather

COLUMNS = ["user", "item", "colour"]
TYPES = {"user": pl.Int64, "item": pl.Int64, "colour": pl.Int64}


def rows(n: int) -> list[Row]:
    return [{"user": i % 7, "item": i % 5, "colour": i} for i in range(n)]


@pytest.fixture(params=["csv", "feather"])
def part(request: pytest.FixtureRequest, tmp_path: Path) -> Part:
    path = tmp_path / f"log.{request.param}"
    write = write_csv if request.param == "csv" else write_feather
    return Part(path=write(path, COLUMNS, rows(50)), columns=TYPES)


def test_rows_left_out_keep_the_lines_of_the_others(part: Part) -> None:
    kept = Part(path=part.path, columns=TYPES, keep=pl.col("user") == 3)
    frame = pl.concat(list(read_part(kept, rows=8)))
    assert frame["line"].to_list() == frame["colour"].to_list() == list(range(3, 50, 7))


def test_rows_left_out_are_checked_nevertheless(part: Part) -> None:
    kept = Part(path=part.path, columns=TYPES, keep=pl.col("user") == 3, checks={"colour": pl.col("colour") != 4})
    with pytest.raises(DataError, match=r"(line 6|row 4), column colour: 4 is not possible"):
        list(read_part(kept, rows=2))


@pytest.mark.parametrize("batch", [1, 1000])
def test_first_rows_do_not_depend_on_batches(part: Part, batch: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(raw, "ROWS", batch)
    users, items = first_rows([part, part], {"user": ["colour"], "item": []})
    assert users.rows() == [(i, i) for i in range(7)]
    assert items.rows() == [(i,) for i in range(5)]


def test_a_feather_file_of_many_batches_names_the_row(tmp_path: Path) -> None:
    texts = [row | {"colour": str(row["colour"])} for row in rows(50)]
    texts[41]["colour"] = "red"
    path = write_feather(tmp_path / "log.feather", COLUMNS, texts, chunk=10)
    with pytest.raises(DataError, match="row 41, column colour: 'red' is not a value of type Int64"):
        list(read_part(Part(path=path, columns=TYPES), rows=4))


def test_columns_of_a_feather_file_come_in_the_order_asked_for(tmp_path: Path) -> None:
    path = write_feather(tmp_path / "log.feather", COLUMNS, rows(3))
    frame = read_table(Part(path=path, columns={"colour": pl.Int64, "user": pl.Int64}))
    assert frame.columns == ["colour", "user"] and frame.rows() == [(0, 0), (1, 1), (2, 2)]


def column(expression: pl.Expr, values: list[Any]) -> list[Any]:
    return pl.DataFrame({"x": values}, strict=False).select(expression.alias("y"))["y"].to_list()


def test_categories_are_small_integers() -> None:
    assert column(category("x"), ["b", "UNKNOWN", "a", "-124", "", None, "b"]) == [2, None, 1, None, None, None, 2]
    assert column(category("x"), ["1", "1.0", "10"]) == [1, 1, 2]


def test_days_and_hours_of_beijing() -> None:
    times = [beijing_ms("2024-01-13"), beijing_ms("2024-01-13", "23:59:59"), beijing_ms("2024-01-14")]
    first = day_number("2024-01-13")
    assert column(beijing_day(pl.col("x")), times) == [first, first, first + 1]
    assert column(beijing_hour(pl.col("x")), times) == [0, 23, 0]
    texts = ["2024-01-13", "2024-01-13 08:00:00", "13.1.2024", None]
    assert column(text_day("x"), texts) == [first, first, None, None]


def test_sizes_and_durations() -> None:
    assert column(log1p("x"), [0.0, -1.0, None]) == [0.0, None, None]
    assert column(log_seconds("x").exp(), [1000.0, 0.0, None]) == pytest.approx([2.0, None, None])


def test_a_long_view_of_an_unknown_duration_is_none() -> None:
    assert column(played_long(pl.col("x"), pl.lit(None, pl.Float64)), [99_000.0]) == [False]
