"""Splits: sub folders as they are, a flat folder cut along time and nowhere else."""

import logging
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emer.data.parquet import write_requests
from emer.data.splits import read_splits, split_by_time, split_files
from emer.data.table import RequestTable
from emer.errors import DataError

Make = Callable[..., RequestTable]


@pytest.fixture
def three(table_of: Make, tmp_path: Path) -> Path:
    for name, first in (("train", 0), ("validation", 20), ("test", 40)):
        write_requests(table_of(10, first_id=first), tmp_path / name / "a.parquet")
    return tmp_path


def test_sub_folders(three: Path, table_of: Make, caplog: pytest.LogCaptureFixture) -> None:
    write_requests(table_of(5, first_id=10), three / "train" / "b.parquet")
    splits = read_splits(three)
    assert splits.train.request_id.tolist() == list(range(15))
    assert splits.validation.request_id.tolist() == list(range(20, 30))
    assert splits.test.request_id.tolist() == list(range(40, 50))
    assert not caplog.records
    floored = read_splits(three, iput_floor=30.0)
    assert [table.iput_floor for table in floored] == [30.0] * 3
    assert floored.test.fingerprint() == splits.test.with_iput_floor(30.0).fingerprint()


def test_overlap_in_time_is_warned_about(three: Path, table_of: Make, caplog: pytest.LogCaptureFixture) -> None:
    late = table_of(10, time_ms=np.full(10, 45_000), first_id=100)
    write_requests(late, three / "validation" / "b.parquet")
    with caplog.at_level(logging.WARNING):
        read_splits(three)
    assert "validation ends at time_ms 45000, not before test begins at 40000" in caplog.text
    assert "train ends" not in caplog.text


def test_request_in_two_splits(three: Path, table_of: Make) -> None:
    write_requests(table_of(3, first_id=5, seed=3), three / "test" / "b.parquet")
    with pytest.raises(DataError) as raised:
        read_splits(three)
    assert f"{three / 'test' / 'b.parquet'}, row 0 (request_id 5), column request_id" in str(raised.value)
    assert f"{three / 'train' / 'a.parquet'}, row 5" in str(raised.value)


def test_optional_column_in_one_split_only(three: Path, table_of: Make) -> None:
    write_requests(table_of(10, first_id=40, negative=None), three / "test" / "a.parquet")
    with pytest.raises(DataError, match="column negative"):
        read_splits(three)


def test_layouts_refused(three: Path, table_of: Make, tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: there is no such file or folder"):
        split_files(tmp_path / "nowhere")
    (tmp_path / "empty").mkdir()
    with pytest.raises(DataError, match=r"empty: the folder holds neither .* train, validation, test nor \*\.parquet"):
        split_files(tmp_path / "empty")
    write_requests(table_of(2, first_id=900), three / "stray.parquet")
    with pytest.raises(DataError, match="lie beside the sub folders"):
        split_files(three)
    (three / "stray.parquet").unlink()
    (three / "test" / "a.parquet").unlink()
    with pytest.raises(DataError, match=r"test: the folder holds no \*\.parquet"):
        split_files(three)
    (three / "test").rmdir()
    with pytest.raises(DataError, match="sub folder test is missing"):
        split_files(three)


def test_flat_folder_is_cut_along_time(table_of: Make, tmp_path: Path) -> None:
    table = table_of(20, time_ms=np.arange(20)[::-1] * 10)
    write_requests(table.select(np.arange(8)), tmp_path / "a.parquet")
    write_requests(table.select(np.arange(8, 20)), tmp_path / "b.parquet")
    splits = read_splits(tmp_path, fractions=(0.5, 0.2, 0.3))
    assert [len(table) for table in splits] == [10, 4, 6]
    assert np.concatenate([table.request_id for table in splits]).tolist() == list(range(19, -1, -1))
    single = read_splits(tmp_path / "b.parquet")
    assert [len(table) for table in single] == [8, 2, 2]  # cuts nearest to 8.4 and 9.6


def test_ties_in_time_stay_together_and_are_ordered_by_id(table_of: Make) -> None:
    # The cut at 70 % of 10 falls inside the seven requests of time 2: the nearest change is after them.
    time_ms = np.array([3, 2, 2, 2, 2, 1, 2, 2, 2, 4])
    splits = split_by_time(table_of(10, time_ms=time_ms))
    assert splits.train.request_id.tolist() == [5, 1, 2, 3, 4, 6, 7, 8]
    assert splits.validation.request_id.tolist() == [0]
    assert splits.test.request_id.tolist() == [9]


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    time_ms=st.lists(st.integers(0, 12), min_size=3, max_size=30).filter(lambda times: len(set(times)) > 2),
    weights=st.tuples(*[st.integers(1, 20)] * 3),
)
def test_any_cut_is_a_strictly_ordered_partition(
    table_of: Make, time_ms: list[int], weights: tuple[int, int, int]
) -> None:
    R = len(time_ms)
    fractions = [weight / sum(weights) for weight in weights]
    splits = split_by_time(table_of(R, time_ms=np.array(time_ms)), fractions)
    ids = np.concatenate([table.request_id for table in splits])
    assert sorted(ids.tolist()) == list(range(R)) and all(len(table) for table in splits)
    assert splits.train.time_ms.max() < splits.validation.time_ms.min()
    assert splits.validation.time_ms.max() < splits.test.time_ms.min()


@pytest.mark.parametrize("fractions", [(0.5, 0.5), (0.5, 0.2, 0.2), (0.9, -0.1, 0.2), (1.0, 0.0, 0.0)])
def test_fractions_refused(table_of: Make, fractions: tuple[float, ...]) -> None:
    with pytest.raises(DataError, match="three positive numbers that sum to 1"):
        split_by_time(table_of(), fractions)


def test_too_few_timestamps(table_of: Make) -> None:
    with pytest.raises(DataError, match="2 distinct time_ms in 12 requests"):
        split_by_time(table_of(time_ms=np.arange(12) % 2))
