"""Written files come back equal, whatever Arrow types and column order other writers choose."""

import json
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from emer.data.columns import rank_columns, request_columns
from emer.data.parquet import parquet_files, read_requests, write_requests
from emer.data.table import RequestTable
from emer.errors import DataError
from emer.requests import Objective, Schema

Make = Callable[..., RequestTable]


def same(one: RequestTable, other: RequestTable) -> bool:
    return one.fingerprint() == other.fingerprint()


def cast(table: pa.Table, change: Callable[[pa.DataType], pa.DataType]) -> pa.Table:
    """``table`` with the type of every value (of lists, of their elements) changed."""
    fields = []
    for field in table.schema:
        kind = field.type
        kind = pa.list_(change(kind.value_type)) if pa.types.is_list(kind) else change(kind)
        fields.append(pa.field(field.name, kind))
    return table.cast(pa.schema(fields, metadata=table.schema.metadata))


def test_round_trip(table_of: Make, tmp_path: Path) -> None:
    table = table_of(40)
    write_requests(table, tmp_path / "a.parquet", row_group_size=16)
    assert same(read_requests(tmp_path / "a.parquet"), table)
    file = pq.ParquetFile(tmp_path / "a.parquet")
    assert [file.metadata.row_group(i).num_rows for i in range(3)] == [16, 16, 8]
    assert {file.metadata.row_group(0).column(i).compression for i in range(5)} == {"ZSTD"}
    assert file.schema_arrow.field("pxtr_pctr").type.value_type == pa.float32()
    assert not list(tmp_path.glob(".*")), "a temporary file was left behind"


@pytest.mark.parametrize("absent", [["watch_time"], ["negative", "previous_score"]])
def test_round_trip_without_optional_columns(table_of: Make, tmp_path: Path, absent: list[str]) -> None:
    table = table_of(**dict.fromkeys(absent))
    write_requests(table, tmp_path / "a.parquet")
    assert not set(absent) & set(pq.read_schema(tmp_path / "a.parquet").names)
    back = read_requests(tmp_path / "a.parquet")
    assert same(back, table) and all(getattr(back, name) is None for name in absent)


def test_round_trip_of_the_smallest_schema(tmp_path: Path) -> None:
    table = RequestTable.build(
        schema=Schema(objectives=(Objective("pctr"),)),
        offsets=[0, 2],
        request_id=[2**62],
        user_id=[-1],
        time_ms=[0],
        item_id=[5, 6],
        pxtr=[[0.0], [1.0]],
        exposed=[0, 0],
    )
    write_requests(table, tmp_path / "a.parquet")
    assert same(read_requests(tmp_path), table)


def test_several_files_are_read_in_order_of_their_names(table_of: Make, tmp_path: Path) -> None:
    table = table_of(12)
    for name, rows in (("b", np.arange(4, 9)), ("a", np.arange(4)), ("c", np.arange(9, 12))):
        write_requests(table.select(rows), tmp_path / f"{name}.parquet")
    (tmp_path / "_SUCCESS").touch()
    (tmp_path / "._b.parquet.crc").touch()
    (tmp_path / ".b.parquet").touch()
    (tmp_path / "_c.parquet").touch()
    assert same(read_requests(tmp_path), table)
    listed = [tmp_path / "c.parquet", str(tmp_path / "a.parquet")]
    assert read_requests(listed).request_id.tolist() == [9, 10, 11, 0, 1, 2, 3]


def test_column_order_and_foreign_columns_do_not_matter(table_of: Make, tmp_path: Path) -> None:
    table = table_of()
    write_requests(table, tmp_path / "a.parquet")
    data = pq.read_table(tmp_path / "a.parquet")
    shuffled = data.select(np.random.default_rng(0).permutation(data.column_names).tolist())
    shuffled = shuffled.append_column("comment", pa.array([None] * 12, pa.string()))
    pq.write_table(shuffled, tmp_path / "a.parquet")
    assert same(read_requests(tmp_path / "a.parquet"), table)


@pytest.mark.parametrize(
    "change",
    [
        pytest.param(lambda t: pa.float64() if pa.types.is_floating(t) else t, id="double"),
        pytest.param(lambda t: pa.int32() if t == pa.int64() else t, id="int32"),
        pytest.param(lambda t: pa.uint64() if t == pa.int64() else t, id="uint64"),
        pytest.param(lambda t: pa.uint8() if pa.types.is_boolean(t) else t, id="flags as uint8"),
        pytest.param(lambda t: pa.float32() if pa.types.is_boolean(t) else t, id="flags as float"),
        pytest.param(lambda t: pa.int64() if t == pa.int16() else t, id="ranks as int64"),
    ],
)
def test_compatible_value_types(table_of: Make, tmp_path: Path, change: Callable[[pa.DataType], pa.DataType]) -> None:
    table = table_of()
    write_requests(table, tmp_path / "a.parquet")
    data = cast(pq.read_table(tmp_path / "a.parquet"), change)
    pq.write_table(data, tmp_path / "a.parquet")
    assert same(read_requests(tmp_path / "a.parquet"), table)


def test_decimals_and_whole_numbers_as_floats(table_of: Make, tmp_path: Path) -> None:
    table = table_of(watch_time=None)
    write_requests(table, tmp_path / "a.parquet")
    data = pq.read_table(tmp_path / "a.parquet")
    for name, kind in (("pxtr_pctr", pa.decimal128(12, 6)), ("negative", pa.int32())):
        place = data.column_names.index(name)
        data = data.set_column(place, name, data[name].cast(pa.list_(kind), safe=False))
    pq.write_table(data, tmp_path / "a.parquet")
    assert same(read_requests(tmp_path / "a.parquet"), table)


@pytest.mark.parametrize("kind", ["large_list", "fixed_size_list"])
def test_other_kinds_of_lists(table_of: Make, tmp_path: Path, kind: str) -> None:
    table = table_of(30)
    length = int(np.bincount(table.lengths).argmax())
    table = table.select(table.lengths == length)
    write_requests(table, tmp_path / "a.parquet")
    data = pq.read_table(tmp_path / "a.parquet")
    fields = []
    for field in data.schema:
        if pa.types.is_list(field.type):
            element = field.type.value_type
            field = field.with_type(pa.large_list(element) if kind == "large_list" else pa.list_(element, length))
        fields.append(field)
    data = data.cast(pa.schema(fields, metadata=data.schema.metadata))
    assert str(data.schema.field("item_id").type).startswith(kind)
    pq.write_table(data, tmp_path / "a.parquet")
    assert same(read_requests(tmp_path / "a.parquet"), table)


def test_ranks_are_computed_when_absent_and_when_the_floor_differs(table_of: Make, tmp_path: Path) -> None:
    table = table_of()
    write_requests(table, tmp_path / "a.parquet")
    assert same(read_requests(tmp_path / "a.parquet", iput_floor=30.0), table.with_iput_floor(30.0))
    names = [column.name for column in rank_columns(table.schema)]
    assert names == ["rank_pctr", "rank_pvtr", "rank_pltr", "rank_pcmtr", "iput_rank_pltr", "iput_rank_pcmtr"]
    pq.write_table(pq.read_table(tmp_path / "a.parquet").drop_columns(names), tmp_path / "a.parquet")
    assert same(read_requests(tmp_path / "a.parquet"), table)


def test_stored_ranks_are_kept(table_of: Make, tmp_path: Path) -> None:
    # A rank changed in a request that the sample of 8 does not look at must come back as stored:
    # otherwise reading would quietly compute every rank again.
    table = table_of(400)
    gap = table.rank_gap.copy()
    gap[table.offsets[1]] += 2
    table = replace(table, rank_gap=gap)
    write_requests(table, tmp_path / "a.parquet")
    assert read_requests(tmp_path / "a.parquet").rank_gap.tolist() == gap.tolist()


def test_sidecar_stands_in_for_metadata(table_of: Make, tmp_path: Path) -> None:
    table = table_of()
    (tmp_path / "train").mkdir()
    path = tmp_path / "train" / "a.parquet"
    write_requests(table, path)
    pq.write_table(pq.read_table(path).replace_schema_metadata(), path)
    with pytest.raises(DataError, match=r"a\.parquet: .* no schema.json lies beside it.*\"objectives\""):
        read_requests(path)
    assert same(read_requests(path, schema=table.schema), table)
    sidecar = tmp_path / "schema.json"
    sidecar.write_text(json.dumps({"format": 1, "schema": table.schema.to_dict()}))
    assert same(read_requests(path), table)
    assert same(read_requests(path, iput_floor=30.0), table.with_iput_floor(30.0))


def test_sidecar_says_for_which_floor_ranks_are_stored(table_of: Make, tmp_path: Path) -> None:
    table = table_of(iput_floor=30.0)
    path, sidecar = tmp_path / "a.parquet", tmp_path / "schema.json"
    write_requests(table, path)
    pq.write_table(pq.read_table(path).replace_schema_metadata(), path)
    content = {"format": 1, "schema": table.schema.to_dict()}
    sidecar.write_text(json.dumps(content))  # silent about the floor: IPUT ranks are computed
    assert same(read_requests(path), table.with_iput_floor(1.0))
    sidecar.write_text(json.dumps(content | {"iput_floor": 30.0}))
    assert same(read_requests(path), table.with_iput_floor(1.0))
    assert same(read_requests(path, iput_floor=30.0), table)
    sidecar.write_text(json.dumps(content | {"iput_floor": 1.0}))
    with pytest.raises(DataError, match="column iput_rank_"):
        read_requests(path)


def test_columns_are_those_of_the_format(table_of: Make, tmp_path: Path) -> None:
    write_requests(table_of(), tmp_path / "a.parquet")
    assert pq.read_schema(tmp_path / "a.parquet").names == [
        *("request_id", "user_id", "time_ms", "user_activity", "context_hour", "item_id"),
        *("pxtr_pctr", "pxtr_pvtr", "pxtr_pltr", "pxtr_pcmtr", "exposed", "explored"),
        *("label_click", "label_long_view", "label_like", "watch_time", "negative", "previous_score"),
        *("item_topic", "number_duration"),
        *("rank_pctr", "rank_pvtr", "rank_pltr", "rank_pcmtr", "iput_rank_pltr", "iput_rank_pcmtr"),
    ]


def test_an_older_file_survives_a_failed_write(table_of: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    table = table_of()
    write_requests(table, tmp_path / "a.parquet")
    with pytest.raises(DataError, match="no requests to write"):
        write_requests(table.select([]), tmp_path / "a.parquet")

    def disk_full(data: pa.Table, where: Path, **options: object) -> None:
        where.write_bytes(b"PAR1 and then nothing")
        raise OSError("no space left on device")

    monkeypatch.setattr("emer.data.parquet.pq.write_table", disk_full)
    with pytest.raises(OSError, match="no space"):
        write_requests(table_of(first_id=100), tmp_path / "a.parquet")
    assert same(read_requests(tmp_path / "a.parquet"), table)
    assert [path.name for path in tmp_path.iterdir()] == ["a.parquet"]


def test_missing_paths(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="nowhere: there is no such file or folder"):
        read_requests(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"holds no \*.parquet file"):
        parquet_files(tmp_path)


def test_reading_is_quick(tmp_path: Path) -> None:
    R, N, K = 4000, 64, 8
    g = np.random.default_rng(0)
    table = RequestTable.build(
        schema=Schema(objectives=tuple(Objective(f"p{k}") for k in range(K))),
        offsets=np.arange(R + 1) * N,
        request_id=np.arange(R),
        user_id=np.zeros(R, int),
        time_ms=np.arange(R),
        item_id=g.permutation(R * N),
        pxtr=g.random((R * N, K)),
        exposed=g.random(R * N) < 0.1,
    )
    write_requests(table, tmp_path / "a.parquet")
    took = []
    for _ in range(2):
        start = time.perf_counter()
        read_requests(tmp_path / "a.parquet")
        took.append(time.perf_counter() - start)
    assert min(took) < 2.0  # 0.1 s on a quiet machine; a loop over candidates takes minutes


def test_every_column_is_named_once(schema: Schema) -> None:
    names = [column.name for column in request_columns(schema) + rank_columns(schema)]
    assert len(names) == len(set(names))
