"""results.csv: what is written is read, and differences are what they say."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from scipy import stats

from emer.errors import DataError
from emer.reports.papers.numbers import Number, Numbers, as_csv, read_numbers

ROWS = [
    Number("log", "a", "", "m", 1, 0.5),
    Number("log", "a", "", "m", 2, 0.7),
    Number("log", "b", "", "m", 1, 0.4),
    Number("log", "b", "", "m", 2, 0.5),
    Number("log", "b", "", "m", 3, 9.0),
    Number("log", "a", "b", "k", None, 0.25, 0.125, 0.375, 0.01, 5),
    Number("world", "x", "base", "Like", 1, 2.0),
    Number("world", "x", "base", "Like", 2, 4.0),
    Number("world", "y", "base", "Like", 1, 1.0),
    Number("world", "y", "base", "Like", 2, 2.0),
]


def test_rows_come_back_as_they_were_written(tmp_path: Path) -> None:
    path = tmp_path / "results.csv"
    path.write_text(as_csv(ROWS), encoding="utf-8")
    again = read_numbers(path)
    assert as_csv(again.rows) == as_csv(ROWS)
    assert again.logs == ["log", "world"]
    assert again.variants("world") == ["x", "y"]
    assert again.find("log", "a", "k", "b") == ROWS[5]
    assert math.isnan(again.rows[0].low)


def test_a_difference_is_the_row_or_the_row_turned_round() -> None:
    numbers = Numbers(ROWS)
    assert numbers.difference("log", "a", "b", "k") is ROWS[5]
    turned = numbers.difference("log", "b", "a", "k")
    assert turned is not None
    assert (turned.value, turned.low, turned.high, turned.p, turned.seeds) == (-0.25, -0.375, -0.125, 0.01, 5)


def test_without_a_row_the_seeds_that_both_have_are_paired() -> None:
    found = Numbers(ROWS).difference("log", "a", "b", "m")
    assert found is not None
    assert found.seeds == 2
    assert found.value == pytest.approx(0.15)  # (.1 + .2) / 2
    half = stats.t.ppf(0.975, 1) * 0.05  # standard error of .1 and .2
    assert (found.low, found.high) == (pytest.approx(0.15 - half), pytest.approx(0.15 + half))
    assert found.p == pytest.approx(stats.ttest_1samp([0.1, 0.2], 0).pvalue)


def test_arms_of_an_online_test_are_compared_through_its_base() -> None:
    numbers = Numbers(ROWS)
    between = numbers.difference("world", "x", "y", "Like")
    assert between is not None
    assert between.value == 1.5  # (2 - 1 + 4 - 2) / 2
    base = numbers.difference("world", "base", "x", "Like")
    assert base is not None
    assert base.value == -3.0
    assert numbers.difference("world", "x", "z", "Like") is None


def test_a_key_that_stands_twice_and_a_damaged_row_are_errors(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="two rows"):
        Numbers([ROWS[0], ROWS[0]])
    path = tmp_path / "results.csv"
    path.write_text(as_csv(ROWS).replace("log,a,,m,2,0.7", "log,a,,m,2,much"), encoding="utf-8")
    with pytest.raises(DataError, match=r"results.csv, row 3: could not convert string to float: 'much'"):
        read_numbers(path)
    with pytest.raises(DataError, match="does not exist"):
        read_numbers(tmp_path / "other.csv")
