"""Row groups one by one: the tables of the file, with its own rows in messages."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emer.data.parquet import read_requests, write_requests
from emer.data.row_groups import count_requests, row_groups
from emer.data.table import RequestTable
from emer.errors import DataError

Make = Callable[..., RequestTable]


def test_row_groups_make_up_the_files(table_of: Make, tmp_path: Path) -> None:
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    write_requests(table_of(10), files[0], row_group_size=4)
    write_requests(table_of(3, first_id=10), files[1])
    read = list(row_groups(files))
    assert [(path.name, len(table)) for path, table in read] == [
        ("a.parquet", 4), ("a.parquet", 4), ("a.parquet", 2), ("b.parquet", 3),
    ]  # fmt: skip
    assert RequestTable.concat([table for _, table in read]).fingerprint() == read_requests(files).fingerprint()
    (tmp_path / "c.parquet").write_bytes(b"PAR1")
    assert count_requests([*files, tmp_path / "c.parquet"]) == 13


def test_a_fault_has_its_row_in_the_file(table_of: Make, tmp_path: Path) -> None:
    path = tmp_path / "a.parquet"
    write_requests(table_of(10), path)
    data = pq.read_table(path)
    watch = data["watch_time"].to_pylist()
    watch[7][0] = float("nan")
    place = data.column_names.index("watch_time")
    pq.write_table(
        data.set_column(place, "watch_time", pa.array(watch, pa.list_(pa.float32()))), path, row_group_size=4
    )
    with pytest.raises(DataError, match=r"a\.parquet, row 7 \(request_id 7\), column watch_time: nan"):
        list(row_groups([path]))


def test_files_that_disagree_or_are_empty_are_refused(table_of: Make, tmp_path: Path) -> None:
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    write_requests(table_of(3), files[0])
    write_requests(table_of(3, first_id=10, watch_time=None), files[1])
    with pytest.raises(DataError, match=r"b\.parquet, column watch_time: .*a\.parquet has this column"):
        list(row_groups(files))
    pq.write_table(pq.read_table(files[0]).slice(0, 0), files[1])
    with pytest.raises(DataError, match=r"b\.parquet: the file has no rows"):
        list(row_groups(files))
    files[1].unlink()
    with pytest.raises(DataError, match=r"b\.parquet: there is no such file"):
        list(row_groups(files))


def test_other_schemas_are_refused(table_of: Make, tmp_path: Path) -> None:
    files = [tmp_path / "a.parquet", tmp_path / "b.parquet"]
    table = table_of(3)
    write_requests(table, files[0])
    other = RequestTable.build(
        schema=type(table.schema)(objectives=table.schema.objectives[:2], feedback=table.schema.feedback),
        offsets=[0, 1], request_id=[99], user_id=[1], time_ms=[1], item_id=[1], pxtr=np.zeros((1, 2)),
        exposed=[False], label=np.zeros((1, 3)),
    )  # fmt: skip
    write_requests(other, files[1])
    with pytest.raises(DataError, match=r"b\.parquet: the schema is not that of .*a\.parquet"):
        list(row_groups(files))
