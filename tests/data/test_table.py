"""Tables against a loop over requests, and every argument that ``build`` must refuse."""

import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emer.data.arrays import DTYPES, NOT_IN_BATCHES, PER_REQUEST
from emer.data.table import RequestTable
from emer.errors import DataError
from emer.ranking import rank_gap
from emer.requests import Category, Feedback, Objective, Role, Schema, Unit

Make = Callable[..., RequestTable]
Columns = Callable[..., dict[str, Any]]


def same(one: RequestTable, other: RequestTable) -> bool:
    return one.fingerprint() == other.fingerprint()


def test_small_table_by_hand() -> None:
    schema = Schema(
        objectives=(Objective("pvtr", Unit.SECONDS), Objective("pltr", role=Role.INTERACTION)),
        feedback=(Feedback("like"),),
    )
    table = RequestTable.build(
        schema=schema,
        offsets=[0, 3, 4],
        request_id=[10, 11],
        user_id=[1, 1],
        time_ms=[5, 6],
        item_id=[7, 8, 9, 7],
        pxtr=[[20, 0.8], [10, 0.7], [5, 0.4], [0.5, 0.3]],
        exposed=[1, 0, 0, 1],
        label=[[1], [0], [0], [0]],
    )
    assert len(table) == 2 and table.lengths.tolist() == [3, 1]
    assert table.rank_gap.tolist() == [[2, 2], [0, 0], [-2, -2], [0, 0]]
    # IPUT reverses the order of likes (.04, .07, .08 per second) and leaves the watch time alone.
    assert table.iput_rank_gap.tolist() == [[2, -2], [0, 0], [-2, 2], [0, 0]]
    batch = table.batch([1, 0]).validate()
    assert batch.item_id.tolist() == [[7, 0, 0], [7, 8, 9]]
    assert batch.mask.tolist() == [[True, False, False], [True, True, True]]
    assert batch.exposed.tolist() == [[True, False, False], [True, False, False]]
    assert batch.label.tolist() == [[[0], [0], [0]], [[1], [0], [0]]]
    assert batch.request_id.tolist() == [11, 10] and batch.row.tolist() == [1, 0]
    assert batch.watch_time is None and batch.previous_score is None
    assert batch.user_categories.shape == (2, 0) and batch.item_numbers.shape == (2, 3, 0)


@settings(max_examples=30, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(rows=st.lists(st.integers(0, 11), max_size=9), seed=st.integers(0, 5))
def test_batch_is_a_loop_over_requests(columns_of: Columns, rows: list[int], seed: int) -> None:
    table = RequestTable.build(**columns_of(12, seed=seed))
    batch = table.batch(np.array(rows, dtype=np.int64)).validate()
    N = max((int(table.lengths[row]) for row in rows), default=0)
    assert batch.pxtr.shape == (len(rows), N, 4)
    for name in DTYPES.keys() - set(NOT_IN_BATCHES):
        tensor, array = getattr(batch, name), getattr(table, name)
        for b, row in enumerate(rows):
            if name in PER_REQUEST:
                assert tensor[b].tolist() == array[row].tolist()
                continue
            start, stop = table.offsets[row : row + 2]
            assert tensor[b, : stop - start].tolist() == array[start:stop].tolist(), name
            assert not tensor[b, stop - start :].any(), name
    assert batch.lengths.tolist() == [int(table.lengths[row]) for row in rows]


def test_stored_ranks_are_those_of_the_batch(table_of: Make) -> None:
    for floor in (0.3, 1.0, 40.0):
        batch = table_of(12, iput_floor=floor).batch(np.arange(12))
        assert batch.rank_gap.int().equal(rank_gap(batch.pxtr, batch.mask))
        assert batch.iput_rank_gap.int().equal(rank_gap(batch.iput_pxtr(), batch.mask))
        assert batch.iput_floor == floor


def test_another_iput_floor_changes_only_iput_ranks(table_of: Make) -> None:
    table = table_of()
    other = table.with_iput_floor(40.0)
    assert same(other, table_of(iput_floor=40.0))
    assert (other.iput_rank_gap != table.iput_rank_gap).any()
    assert other.rank_gap is table.rank_gap
    assert table.with_iput_floor(1.0) is table
    with pytest.raises(DataError, match="iput_floor is 0"):
        table.with_iput_floor(0)


@pytest.mark.parametrize("rows", [[3, 1, 1], [], np.arange(12) % 3 == 0])
def test_select_then_batch_is_batch_of_the_selection(table_of: Make, rows: Any) -> None:
    table = table_of()
    chosen = table.select(rows)
    picked = np.arange(12)[rows] if len(rows) else np.zeros(0, np.int64)
    expected, got = table.batch(picked), chosen.batch(np.arange(len(chosen)))
    for name, tensor in expected._tensors():
        if name != "row":
            assert tensor.equal(getattr(got, name)), name
    assert same(table.select(np.arange(12)), table)


def test_concat_undoes_select(table_of: Make) -> None:
    table = table_of()
    parts = [table.select(rows) for rows in (np.arange(5), np.arange(5, 6), np.arange(6, 12))]
    assert same(RequestTable.concat(parts), table)
    assert RequestTable.concat(parts[:1]) is parts[0]


def test_concat_refuses_what_does_not_belong_together(table_of: Make, schema: Schema) -> None:
    table, other = table_of(), table_of(first_id=100)
    with pytest.raises(DataError, match="share request ids"):
        RequestTable.concat([table, other, table])
    with pytest.raises(DataError, match="different schemas or IPUT floors"):
        RequestTable.concat([table, other.with_iput_floor(2.0)])
    renamed = replace(schema, item_numbers=("width",))
    with pytest.raises(DataError, match="different schemas"):
        RequestTable.concat([table, replace(other, schema=renamed)])
    with pytest.raises(DataError, match="column negative"):
        RequestTable.concat([table, replace(other, negative=None)])
    with pytest.raises(DataError, match="no request tables"):
        RequestTable.concat([])


def test_fingerprint_sees_every_value(table_of: Make, columns_of: Columns, schema: Schema) -> None:
    table = table_of()
    assert same(table, table_of())
    changed = [table_of(seed=1), table.with_iput_floor(2.0), table.select(np.arange(11))]
    for name in DTYPES:
        array = getattr(table, name).copy()
        array.flat[-1] = not array.flat[-1] if array.dtype == bool else array.flat[-1] + 1
        changed.append(replace(table, **{name: array}))
    changed.append(replace(table, watch_time=None, negative=table.negative))
    changed.append(replace(table, watch_time=table.negative, negative=None))
    changed.append(replace(table, schema=replace(schema, item_numbers=("width",))))
    # The same flat values cut elsewhere are other requests.
    offsets = table.offsets.copy()
    moved = int(np.flatnonzero(table.lengths > 1)[0])
    offsets[moved + 1] -= 1
    changed.append(replace(table, offsets=offsets))
    prints = {one.fingerprint() for one in changed}
    assert len(prints) == len(changed) and table.fingerprint() not in prints


def test_optional_columns_may_be_left_out(columns_of: Columns) -> None:
    table = RequestTable.build(**columns_of(watch_time=None, negative=None, previous_score=None))
    batch = table.batch([0]).validate()
    assert batch.watch_time is None and batch.negative is None and batch.previous_score is None


def test_other_number_types_are_converted(columns_of: Columns, table_of: Make) -> None:
    columns = columns_of()
    columns |= {
        "pxtr": columns["pxtr"].astype(np.float64),
        "exposed": columns["exposed"].astype(np.uint8),
        "label": columns["label"].astype(np.float32),
        "request_id": columns["request_id"].astype(np.int32),
        "item_categories": columns["item_categories"].astype(np.uint16),
        "watch_time": columns["watch_time"].tolist(),
    }
    table = RequestTable.build(**columns)
    assert same(table, table_of())
    assert {name: getattr(table, name).dtype for name in DTYPES} == {n: np.dtype(t) for n, t in DTYPES.items()}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"pxtr": np.zeros((3, 4))}, r"column pxtr has shape \(3, 4\)"),
        ({"pxtr": None}, "column pxtr is missing"),
        ({"label": None}, "column label is missing"),
        ({"user_categories": None}, "column user_categories is missing"),
        ({"request_id": np.arange(12.0)}, "column request_id has type float64, expected int64"),
        ({"user_id": [str(i) for i in range(12)]}, "column user_id has type"),
        ({"offsets": [1, 2]}, "starts at 0"),
        ({"offsets": []}, "starts at 0"),
        ({"offsets": [0, 5, 3]}, "must not decrease"),
        ({"offsets": np.arange(13.0)}, "integer array"),
        ({"iput_floor": 0.0}, "iput_floor is 0.0"),
        ({"iput_floor": np.nan}, "iput_floor is nan"),
        (
            {"request_id": [0, 1, 2, 3, 4, 5, 6, 7, 3, 9, 10, 11]},
            r"row 8 \(request_id 3\), column request_id",
        ),
    ],
)
def test_build_refuses(columns_of: Columns, changes: dict[str, Any], said: str) -> None:
    with pytest.raises(DataError, match=said):
        RequestTable.build(**columns_of(**changes))


def test_build_refuses_flags_that_are_no_flags(columns_of: Columns) -> None:
    label = columns_of()["label"] * 2
    with pytest.raises(DataError, match="column label holds values other than 0 and 1"):
        RequestTable.build(**columns_of(label=label))


def test_build_refuses_too_many_candidates() -> None:
    n = 32_769
    arguments = {
        "schema": Schema(objectives=(Objective("pctr"),)),
        "request_id": [4, 5],
        "user_id": [0, 0],
        "time_ms": [0, 0],
    }
    flat = {"item_id": np.arange(n + 1), "pxtr": np.zeros((n + 1, 1)), "exposed": np.zeros(n + 1, bool)}
    with pytest.raises(DataError, match=r"row 1 \(request_id 5\), column item_id: 32769 .* 32,768"):
        RequestTable.build(**arguments, **flat, offsets=[0, 1, n + 1])
    assert len(RequestTable.build(**arguments, **flat, offsets=[0, 2, n + 1])) == 2


def test_cutting_a_batch_is_quick() -> None:
    schema = Schema(objectives=tuple(Objective(f"p{k}") for k in range(8)), item_categories=(Category("topic", 9),))
    R, N = 2000, 64
    g = np.random.default_rng(0)
    table = RequestTable.build(
        schema=schema,
        offsets=np.arange(R + 1) * N,
        request_id=np.arange(R),
        user_id=np.zeros(R, int),
        time_ms=np.arange(R),
        item_id=np.arange(R * N),
        pxtr=g.random((R * N, 8)),
        exposed=g.random(R * N) < 0.1,
        item_categories=g.integers(0, 9, (R * N, 1)),
    )
    rows = [g.integers(0, R, 64) for _ in range(50)]
    took = []
    for _ in range(3):
        start = time.perf_counter()
        for one in rows:
            table.batch(one)
        took.append((time.perf_counter() - start) / len(rows))
    assert min(took) < 0.004  # 0.4 ms on a quiet machine; a loop over candidates takes far more
    assert torch.equal(table.batch(rows[0]).request_id, torch.from_numpy(rows[0]))
