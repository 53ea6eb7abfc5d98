"""The report lists the problems of all files, not only the first."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emer.data.parquet import write_requests
from emer.data.table import RequestTable
from emer.data.validation import validate_folder

Make = Callable[..., RequestTable]


@pytest.fixture
def root(table_of: Make, tmp_path: Path) -> Path:
    for name, first in (("train", 0), ("validation", 20), ("test", 40)):
        write_requests(table_of(10, first_id=first), tmp_path / name / "a.parquet")
    return tmp_path


def test_sound_folder(root: Path, table_of: Make) -> None:
    report = validate_folder(root)
    assert report.ok and report.complete and report.problems == () and report.warnings == ()
    candidates = sum(table_of(10, first_id=first).item_id.size for first in (0, 20, 40))
    assert (report.files, report.requests, report.candidates) == (3, 30, candidates)
    assert str(report).endswith("no problems") and "30 requests" in str(report)


def test_lists_problems_of_all_files(root: Path, table_of: Make) -> None:
    (root / "train" / "b.parquet").write_bytes(b"")
    (root / "train" / "c.parquet").write_bytes(b"PAR1")
    path = root / "validation" / "a.parquet"
    data = pq.read_table(path).drop_columns(["exposed", "user_activity"])
    pxtr = data["pxtr_pctr"].to_pylist()
    pxtr[3][0] = 7.0
    place = data.column_names.index("pxtr_pctr")
    pq.write_table(data.set_column(place, "pxtr_pctr", pa.array(pxtr, pa.list_(pa.float32()))), path)
    write_requests(table_of(5, first_id=8, seed=2), root / "test" / "b.parquet")
    report = validate_folder(root)
    places = [
        (Path(problem.file or "").relative_to(root).as_posix(), problem.row, problem.column)
        for problem in report.problems
    ]
    assert places == [
        ("train/b.parquet", None, None),
        ("train/c.parquet", None, None),
        ("validation/a.parquet", None, "user_activity"),
        ("validation/a.parquet", None, "exposed"),
        ("validation/a.parquet", 3, "pxtr_pctr"),
        ("test/b.parquet", 0, "request_id"),
    ]
    assert not report.ok and report.complete
    assert str(report).count("problem: ") == 6


def test_column_twice_is_one_problem(root: Path) -> None:
    path = root / "test" / "a.parquet"
    data = pq.read_table(path)
    pq.write_table(data.append_column("pxtr_pctr", data["pxtr_pctr"]), path)
    (problem,) = validate_folder(root).problems
    assert problem.column == "pxtr_pctr" and "two columns" in problem.reason


def test_stops_when_full(root: Path) -> None:
    for i in range(5):
        (root / "train" / f"b{i}.parquet").write_bytes(b"")
    report = validate_folder(root, max_problems=3)
    assert len(report.problems) == 3 and not report.complete
    assert "stopped after 3 problems" in str(report)


def test_overlap_in_time_is_a_warning(root: Path, table_of: Make) -> None:
    write_requests(table_of(3, first_id=60, time_ms=np.zeros(3, int)), root / "test" / "b.parquet")
    report = validate_folder(root)
    assert report.ok and "validation ends" in report.warnings[0] and "warning: " in str(report)


def test_missing_folder_and_missing_schema(tmp_path: Path, table_of: Make) -> None:
    report = validate_folder(tmp_path / "nowhere")
    assert "no such file or folder" in str(report) and not report.ok
    table = table_of(5)
    write_requests(table, tmp_path / "a.parquet")
    pq.write_table(pq.read_table(tmp_path / "a.parquet").replace_schema_metadata(), tmp_path / "a.parquet")
    report = validate_folder(tmp_path)
    assert len(report.problems) == 1 and "schema.json" in str(report)
    assert validate_folder(tmp_path, schema=table.schema).ok
