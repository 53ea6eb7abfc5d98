"""A log that is read once is cut along time near the shares asked for."""

from __future__ import annotations

from itertools import chain
from pathlib import Path

import numpy as np
import polars as pl
import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from emer.data import time_cuts
from emer.data.time_cuts import TimeHistogram, check_fractions
from emer.errors import DataError

TIMES = st.lists(st.integers(-(10**15), 10**15) | st.integers(-40, 40), min_size=3, max_size=60)


WIDE = TimeHistogram(4, pl.DataFrame({"bin": [1], "rows": [2]}, schema={"bin": pl.Int64, "rows": pl.UInt64}))


def histogram(times: list[int]) -> TimeHistogram:
    found = TimeHistogram()
    found.add(pl.Series(times, dtype=pl.Int64))
    return found


def counts(histogram: TimeHistogram) -> dict[int, int]:
    return {bin * histogram.width: rows for bin, rows in histogram.bins.iter_rows()}


def test_cuts_by_hand() -> None:
    found = histogram([10] * 5 + [20] * 2 + [30] * 1 + [40] * 2)
    assert counts(found) == {10: 5, 20: 2, 30: 1, 40: 2}
    assert found.cuts([0.7, 0.1, 0.2]) == (30, 40)  # 7, 1 and 2 rows
    assert found.cuts([0.5, 0.2, 0.3]) == (20, 30)
    assert found.cuts([0.1, 0.1, 0.8]) == (20, 30)  # every part has a time
    assert found.cuts([0.8, 0.1, 0.1]) == (30, 40)


@settings(deadline=None)
@given(TIMES, st.integers(1, 8), st.integers(1, 8))
def test_parts_are_near_their_shares(times: list[int], train: int, validation: int) -> None:
    assume(len(set(times)) >= 3)
    shares = [train / 20, validation / 20, 1 - (train + validation) / 20]
    first, second = histogram(times).cuts(shares)
    assert first < second and {first, second} <= set(times)
    parts = [
        [t for t in times if t < first],
        [t for t in times if first <= t < second],
        [t for t in times if t >= second],
    ]
    assert all(parts)
    distinct = sorted(set(times))
    wanted = [shares[0] * len(times), (shares[0] + shares[1]) * len(times)]

    def misses(cut: int, want: float) -> float:
        return abs(sum(t < cut for t in times) - want)

    assert misses(first, wanted[0]) == pytest.approx(min(misses(cut, wanted[0]) for cut in distinct[1:-1]))
    later = [cut for cut in distinct if cut > first]
    assert misses(second, wanted[1]) == pytest.approx(min(misses(cut, wanted[1]) for cut in later))


@settings(max_examples=50, deadline=None)
@given(st.lists(TIMES, min_size=1, max_size=5), st.integers(2, 30), st.randoms())
def test_order_and_division_do_not_matter(parts: list[list[int]], most: int, g: object) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_cuts, "MOST_BINS", most)
        at_once = histogram([*chain(*parts)])
        shuffled = [*parts]
        g.shuffle(shuffled)  # type: ignore[attr-defined]
        one_by_one, joined = TimeHistogram(), TimeHistogram()
        for part in shuffled:
            other = histogram(part)
            before = other.width, counts(other)
            joined.join(other)
            assert (other.width, counts(other)) == before
            one_by_one.add(pl.Series(part, dtype=pl.Int64))
    assert at_once.width == one_by_one.width == joined.width
    assert counts(at_once) == counts(one_by_one) == counts(joined)
    assert at_once.bins.height <= most


@settings(deadline=None)
@given(TIMES, st.integers(2, 20))
def test_wider_bins_lose_no_row(times: list[int], most: int) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(time_cuts, "MOST_BINS", most)
        found = histogram(times)
    width = found.width
    assert counts(found) == {
        b: sum(t // width * width == b for t in times) for b in {t // width * width for t in times}
    }
    assert width & (width - 1) == 0
    assert len({2 * t // width for t in times}) > most or width == 1  # no wider than need be


def test_long_logs_are_cut_in_wide_bins() -> None:
    times = np.random.default_rng(0).integers(1.7e12, 1.7e12 + 10**9, 500_000)
    found = histogram(times.tolist())
    assert found.bins.height <= time_cuts.MOST_BINS and found.width < 20_000
    first, second = found.cuts([0.7, 0.1, 0.2])
    assert [(times < first).mean(), (times < second).mean()] == pytest.approx([0.7, 0.8], abs=1e-4)


def test_a_histogram_is_saved_and_read(tmp_path: Path) -> None:
    for found in (TimeHistogram(), histogram([5, -7, 5]), WIDE):
        found.save(tmp_path / "times.parquet")
        again = TimeHistogram.load(tmp_path / "times.parquet")
        assert counts(again) == counts(found) and (again.width == found.width or found.bins.is_empty())
        again.join(histogram([3]))  # of the same types
    assert [path.name for path in tmp_path.iterdir()] == ["times.parquet"]


@pytest.mark.parametrize("times", [[], [5, 5], [1, 2, 2]])
def test_a_log_of_too_few_times_is_not_cut(times: list[int]) -> None:
    with pytest.raises(DataError, match=f"the log has {len(set(times))} distinct times; .* Give more requests"):
        histogram(times).cuts([0.7, 0.1, 0.2])


def test_fractions_are_three_shares_of_one() -> None:
    check_fractions((0.7, 0.1, 0.2), "data.source.fractions")
    check_fractions([1 / 3, 1 / 3, 1 / 3], "data.source.fractions")
    for wrong in ([0.7, 0.3], [0.5, 0.5, 0.5], [1.0, 0.0, 0.0], [1.2, -0.4, 0.2], ["0.7", "0.1", "0.2"], 0.7, None):
        with pytest.raises(
            DataError, match=r"data\.source\.fractions are .*; give three positive numbers that sum to 1"
        ):
            check_fractions(wrong, "data.source.fractions")  # type: ignore[arg-type]
    with pytest.raises(DataError, match="fractions"):
        histogram([1, 2, 3]).cuts([0.5, 0.5, 0.5])
