"""A log that stays in its files: exactness over ranks, workers, shards and stops, the content, and what is refused."""

import itertools
import json
import pickle
from collections.abc import Callable, Iterator
from dataclasses import fields
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import fsspec
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from emer.data.module import RequestDataModule
from emer.data.parquet import read_requests, write_requests
from emer.data.places import UrlPath, place
from emer.data.plan import StreamPlan
from emer.data.shards import Shards
from emer.data.source import ParquetSource
from emer.data.splits import split_files
from emer.data.stream import StreamLoader
from emer.data.table import RequestTable
from emer.data.validation import validate_folder
from emer.errors import DataError, EmerError
from emer.requests import RequestBatch

Make = Callable[..., RequestTable]


def write_shards(table_of: Make, folder: Path, sizes: list[int], row_group: int, first_id: int = 0) -> None:
    """A file for each size, with ids that go on from one to the next."""
    for number, size in enumerate(sizes):
        write_requests(table_of(size, first_id=first_id), folder / f"part-{number:03}.parquet", row_group)
        first_id += size


def shards_in(folder: Path | str, **options: Any) -> Shards:
    root = place(folder)
    return Shards.index(sorted(root.glob("*.parquet")), **options)


def loader_of(shards: Shards, *, workers: int = 0, **options: Any) -> StreamLoader:
    plan = StreamPlan(shards.sizes, **{"batch_size": 4, "buffer": 12, **options})
    return StreamLoader(shards, plan, num_workers=workers)


def rows_of(loader: StreamLoader, epoch: int = 0) -> list[list[int]]:
    # As Lightning does: make the iterator first, then set the epoch, then ask for batches.
    iterator = iter(loader)
    loader.batch_sampler.sampler.set_epoch(epoch)  # type: ignore[union-attr]
    return [batch.row.tolist() for batch in iterator]


def assert_same_batch(one: RequestBatch, other: RequestBatch) -> None:
    for field in fields(RequestBatch):
        a, b = getattr(one, field.name), getattr(other, field.name)
        if isinstance(a, torch.Tensor):
            assert a.dtype == b.dtype and a.equal(b), field.name
        else:
            assert a == b, field.name


@pytest.mark.slow
@settings(deadline=None, max_examples=40, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    sizes=st.lists(st.integers(1, 14), min_size=1, max_size=4),
    row_group=st.integers(1, 9),
    world_size=st.integers(1, 5),
    share=st.integers(1, 3),
    buffer=st.integers(1, 20),
    shuffle=st.booleans(),
    stop=st.integers(0, 20),
    evaluation=st.booleans(),
)
def test_every_request_once_whatever_ranks_shards_and_stop(
    table_of: Make,
    tmp_path_factory: pytest.TempPathFactory,
    sizes: list[int],
    row_group: int,
    world_size: int,
    share: int,
    buffer: int,
    shuffle: bool,
    stop: int,
    evaluation: bool,
) -> None:
    folder = tmp_path_factory.mktemp("shards")
    write_shards(table_of, folder, sizes, row_group)
    shards, table = shards_in(folder), read_requests(folder)
    assert len(shards) == len(table) == sum(sizes)
    if not evaluation and sum(sizes) < world_size:
        return
    order = {"batch_size": share if evaluation else share * world_size, "buffer": buffer, "world_size": world_size}
    order |= {"shuffle": shuffle, "evaluation": evaluation, "seed": 3}
    seen: list[int] = []
    counts, together = set(), set()
    for rank in range(world_size):
        whole = [batch.validate() for batch in loader_of(shards, rank=rank, **order)]
        for batch in whole:
            assert_same_batch(batch, table.batch(batch.row.numpy()))
        rows = [batch.row.tolist() for batch in whole]
        seen += itertools.chain(*rows)
        counts.add(len(rows))
        together |= set(map(len, rows))
        first = loader_of(shards, rank=rank, **order)
        assert len(first) == len(rows)
        head = [batch.row.tolist() for batch in itertools.islice(first, stop)]
        again = loader_of(shards, rank=rank, **order)
        again.load_state_dict(pickle.loads(pickle.dumps(first.state_dict())))
        assert head == rows[:stop] and rows_of(again) == rows[stop:]
        assert again.state_dict() == {"epoch": 0, "batches": len(rows)}
        assert rows_of(again) == rows[stop:] and rows_of(loader_of(shards, rank=rank, **order)) == rows
    assert sorted(seen) == list(range(sum(sizes)))
    if not evaluation:
        assert len(counts) == 1 and max(together) - min(together) <= 1


@pytest.mark.slow
@pytest.mark.parametrize("workers", [1, 2])
@pytest.mark.parametrize("world_size", [1, 3])
@pytest.mark.parametrize("shuffle", [True, False])
def test_worker_processes_change_nothing(
    table_of: Make, tmp_path: Path, workers: int, world_size: int, shuffle: bool
) -> None:
    write_shards(table_of, tmp_path, [11, 5, 17], 4)
    shards = shards_in(tmp_path)
    seen: list[int] = []
    for rank in range(world_size):
        order = {"batch_size": 6, "buffer": 5, "rank": rank, "world_size": world_size, "shuffle": shuffle}
        alone, helped = loader_of(shards, **order), loader_of(shards, workers=workers, **order)
        for epoch in (1, 2):  # workers live on from one epoch to the next
            rows = rows_of(alone, epoch)
            assert rows_of(helped, epoch) == rows
        seen += itertools.chain(*rows)
        whole = rows_of(alone, 3)
        stopped = iter(helped)
        helped.batch_sampler.sampler.set_epoch(3)  # type: ignore[union-attr]
        assert next(stopped).row.tolist() == whole[0]
        state = helped.state_dict()
        assert rows_of(helped, 4) == rows_of(alone, 4), "an epoch that was left early leaves nothing behind"
        again = loader_of(shards, workers=workers, **order)
        again.load_state_dict(state)
        assert rows_of(again, 3) == whole[1:]
    assert sorted(seen) == list(range(33))


def test_epochs_and_seeds_have_orders_of_their_own(table_of: Make, tmp_path: Path) -> None:
    write_shards(table_of, tmp_path, [20, 13], 5)
    shards = shards_in(tmp_path)
    assert rows_of(loader_of(shards, seed=1), 2) == rows_of(loader_of(shards, seed=1), 2)
    orders = {str(rows_of(loader_of(shards, seed=seed), epoch)) for seed in (1, 2) for epoch in (0, 1)}
    assert len(orders) == 4
    assert rows_of(loader_of(shards, shuffle=False))[0] == [0, 1, 2]  # 33 requests in 9 batches: 3 or 4 each


def test_dropout_does_not_depend_on_the_loader(table_of: Make, tmp_path: Path) -> None:
    write_shards(table_of, tmp_path, [9], 4)
    loader = loader_of(shards_in(tmp_path))
    torch.manual_seed(0)
    before = torch.get_rng_state()
    rows_of(loader)
    assert torch.get_rng_state().equal(before)


def test_resuming_does_not_read_what_was_trained_on(
    table_of: Make, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_shards(table_of, tmp_path, [40], 4)
    shards = shards_in(tmp_path)
    read: list[int] = []
    original = Shards.block
    monkeypatch.setattr(Shards, "block", lambda self, number: read.append(number) or original(self, number))
    loader = loader_of(shards, buffer=8)
    rows_of(loader)
    assert sorted(read) == list(range(10)), "each block once"
    order = list(read)
    read.clear()
    loader.load_state_dict({"epoch": 0, "batches": 7})
    rows_of(loader)
    assert read == order[6:], "3 of 5 windows of two batches are behind"


def test_ranks_follow_the_floor_asked_for(table_of: Make, tmp_path: Path) -> None:
    write_shards(table_of, tmp_path, [10], 4)
    table = read_requests(tmp_path, iput_floor=30.0)
    (batch,) = loader_of(shards_in(tmp_path, iput_floor=30.0), batch_size=10, buffer=10, shuffle=False)
    assert_same_batch(batch, table.batch(range(10)))


def test_files_without_ranks_and_with_fewer_columns(columns_of: Callable[..., Any], tmp_path: Path) -> None:
    table = RequestTable.build(**columns_of(12, watch_time=None, explored=None))
    write_requests(table, tmp_path / "a.parquet", 5)
    data = pq.read_table(tmp_path / "a.parquet")
    pq.write_table(data.drop([n for n in data.column_names if "rank" in n]), tmp_path / "a.parquet", row_group_size=5)
    (batch,) = loader_of(shards_in(tmp_path), batch_size=12, buffer=12, shuffle=False)
    assert batch.watch_time is None
    assert_same_batch(batch, table.batch(range(12)))


@pytest.fixture
def in_memory(table_of: Make, tmp_path: Path) -> Iterator[str]:
    """URL of a log in fsspec's memory: 30 + 7 + 9 requests, whose files lie in ``tmp_path`` as well."""
    write_log(table_of, tmp_path)
    system = fsspec.filesystem("memory")
    for file in tmp_path.rglob("*.parquet"):
        system.pipe_file(f"/log/{file.relative_to(tmp_path).as_posix()}", file.read_bytes())
    yield "memory://log"
    system.rm("/log", recursive=True)


def write_log(table_of: Make, root: Path) -> None:
    write_shards(table_of, root / "train", [12, 18], 5)
    write_shards(table_of, root / "validation", [7], 5, first_id=50)
    write_shards(table_of, root / "test", [4, 5], 5, first_id=80)


def test_a_url_reads_like_the_folder(in_memory: str, tmp_path: Path) -> None:
    options: dict[str, Any] = {"stream": True, "batch_size": 4, "buffer": 8, "seed": 2}
    local, remote = RequestDataModule(root=tmp_path, **options), RequestDataModule(root=in_memory, **options)
    for one, other in (
        (local.train_dataloader(), remote.train_dataloader()),
        (local.val_dataloader(), remote.val_dataloader()),
        (local.test_dataloader(), RequestDataModule(root=f"file://{tmp_path}", **options).test_dataloader()),
    ):
        for a, b in zip(one, other, strict=True):
            assert_same_batch(a, b)
    assert ParquetSource(in_memory).prepare(tmp_path) == UrlPath(in_memory)
    assert validate_folder(in_memory).ok and validate_folder(in_memory).requests == 46
    with pytest.raises(DataError, match=r"data\.root: the folder memory://log/nothing does not exist"):
        ParquetSource(f"{in_memory}/nothing").prepare(tmp_path)
    whole = RequestDataModule(root=in_memory, batch_size=4)
    assert whole.splits.train.fingerprint() == read_requests(tmp_path / "train").fingerprint()


def test_the_schema_lies_beside_files_behind_a_url(in_memory: str, table_of: Make) -> None:
    system = fsspec.filesystem("memory")
    for path in system.find("/log"):
        data = pq.read_table(pa.BufferReader(system.cat_file(path))).replace_schema_metadata(None)
        sink = pa.BufferOutputStream()
        pq.write_table(data, sink)
        system.pipe_file(path, sink.getvalue().to_pybytes())
    module = RequestDataModule(root=in_memory, stream=True)
    with pytest.raises(DataError, match=r"memory://log/train/part-000.parquet: .* no schema.json lies beside it"):
        module.setup()
    content = {"format": 1, "schema": table_of().schema.to_dict()}
    system.pipe_file("/log/schema.json", json.dumps(content).encode())
    module.setup()
    assert module.schema == table_of().schema


def test_unknown_urls_are_refused() -> None:
    with pytest.raises(DataError, match="nowhere://log/train: there is no way to open such a URL"):
        split_files("nowhere://log")


def test_streaming_data_module_gives_what_fits_need(table_of: Make, tmp_path: Path) -> None:
    write_log(table_of, tmp_path)
    held = RequestDataModule(root=tmp_path)
    module = RequestDataModule(root=tmp_path, stream=True, sample=100, buffer=6)
    assert module.schema == held.schema
    assert module.training_sample().fingerprint() == held.training_sample().fingerprint(), "all, where there are fewer"
    few = RequestDataModule(root=tmp_path, stream=True, sample=10).training_sample()
    # Three of seven blocks hold 13 requests, 0 .. 4, 12 .. 16 and 27 .. 29, of which ten are taken.
    assert few.request_id.tolist() == [0, 1, 2, 4, 12, 13, 15, 16, 27, 29]
    for split in ("train", "validation", "test"):
        for a, b in zip(held.batches(split, 4), module.batches(split, 4), strict=True):  # type: ignore[arg-type]
            assert_same_batch(a, b)
    rows = np.array([1, 3, 4, 7])
    for data in (held, module):
        assert [row for batch in data.batches("test", 2, rows) for row in batch.row.tolist()] == rows.tolist()
    with pytest.raises(EmerError, match=r"the whole log in memory: set loader\.stream=false"):
        _ = module.splits


def test_streams_are_shared_as_the_trainer_says(table_of: Make, tmp_path: Path) -> None:
    write_log(table_of, tmp_path)
    trained: list[int] = []
    tested: list[int] = []
    for rank in range(2):
        module = RequestDataModule(root=tmp_path, stream=True, batch_size=8, buffer=8)
        module.trainer = SimpleNamespace(global_rank=rank, world_size=2, overfit_batches=0)  # type: ignore[assignment]
        assert len(module.train_dataloader()) == 4
        trained += [row for batch in module.train_dataloader() for row in batch.row.tolist()]
        tested += [row for batch in module.test_dataloader() for row in batch.row.tolist()]
    assert sorted(trained) == list(range(30))
    assert tested == list(range(9))


@pytest.mark.parametrize("in_order", [True, False])
def test_files_out_of_time_are_noticed_where_it_matters(
    table_of: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture, in_order: bool
) -> None:
    write_log(table_of, tmp_path)
    if not in_order:
        (tmp_path / "train" / "part-000.parquet").rename(tmp_path / "train" / "part-002.parquet")
    RequestDataModule(root=tmp_path, stream=True).train_dataloader()
    assert not caplog.text
    RequestDataModule(root=tmp_path, stream=True, shuffle=False).train_dataloader()
    assert ("training files are not in the order of time" in caplog.text) != in_order


def test_overlapping_splits_are_seen_in_the_headers(
    table_of: Make, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    write_log(table_of, tmp_path)
    write_shards(table_of, tmp_path / "validation", [3], 5, first_id=29)
    RequestDataModule(root=tmp_path, stream=True).setup()
    assert "train ends at time_ms 29000, not before validation begins at 29000" in caplog.text


# What is refused


def broken(folder: Path, column: str, row: int, value: float) -> None:
    """Put ``value`` first in the list of ``row`` in the last file of ``folder``."""
    path = max(folder.glob("*.parquet"))
    data = pq.read_table(path)
    lists = data[column].to_pylist()
    lists[row][0] = value
    index = data.column_names.index(column)
    data = data.set_column(index, data.schema.field(index), pa.array(lists, data.schema.field(index).type))
    pq.write_table(data, path, row_group_size=4)


@pytest.mark.parametrize("workers", [0, pytest.param(1, marks=pytest.mark.slow)])
def test_a_bad_value_in_a_later_block_is_named(table_of: Make, tmp_path: Path, workers: int) -> None:
    write_shards(table_of, tmp_path, [6, 14], 4)
    broken(tmp_path, "pxtr_pctr", 9, 1.5)
    shards = shards_in(tmp_path)
    said = r"^\S*part-001\.parquet, row 9 \(request_id 15\), column pxtr_pctr: 1\.5 at list position 0 is a probability"
    with pytest.raises(DataError, match=said):
        rows_of(loader_of(shards, shuffle=False, workers=workers))


def test_wrong_ranks_in_a_later_block_are_named(table_of: Make, tmp_path: Path) -> None:
    write_shards(table_of, tmp_path, [14], 4)
    broken(tmp_path, "rank_pltr", 13, 1000)
    with pytest.raises(DataError, match=r"part-000\.parquet, row 13 .*rank_pltr: the stored rank gap 1000 is not"):
        rows_of(loader_of(shards_in(tmp_path)))


def test_shards_that_disagree_are_refused_before_training(table_of: Make, tmp_path: Path) -> None:
    write_shards(table_of, tmp_path, [6], 4)
    write_requests(table_of(5, first_id=40, negative=None), tmp_path / "part-001.parquet")
    with pytest.raises(DataError, match=r"part-001\.parquet, column negative: \S*part-000\.parquet has this column"):
        shards_in(tmp_path)
    data = pq.read_table(tmp_path / "part-000.parquet")
    pq.write_table(data.drop(["pxtr_pltr"]), tmp_path / "part-001.parquet")
    with pytest.raises(DataError, match=r"part-001\.parquet, column pxtr_pltr: the column is missing"):
        shards_in(tmp_path)


def test_splits_that_disagree_are_refused_before_training(table_of: Make, tmp_path: Path) -> None:
    write_log(table_of, tmp_path)
    for file in (tmp_path / "test").glob("*.parquet"):
        write_requests(table_of(5, first_id=int(file.stem[-1]) * 10 + 100, watch_time=None), file)
    with pytest.raises(DataError, match=r"test/part-000\.parquet, column watch_time: \S*train/part-000\.parquet has"):
        RequestDataModule(root=tmp_path, stream=True).setup()


def test_shards_that_are_cut_short_missing_or_changed(table_of: Make, tmp_path: Path) -> None:
    write_shards(table_of, tmp_path, [6, 7], 4)
    shards = shards_in(tmp_path)
    second = tmp_path / "part-001.parquet"
    content = second.read_bytes()
    second.write_bytes(content[: len(content) // 2])
    for act in (lambda: shards_in(tmp_path), lambda: rows_of(loader_of(shards))):
        with pytest.raises(DataError, match=r"part-001\.parquet: not a Parquet file, or one that was cut short"):
            act()
    second.write_bytes(bytes([*content[:4], *(b ^ 0xFF for b in content[4:400]), *content[400:]]))
    with pytest.raises(DataError, match=r"part-001\.parquet"):
        rows_of(loader_of(shards))
    write_requests(table_of(5, first_id=6), second, 4)
    with pytest.raises(DataError, match="the file has changed while it was in use"):
        rows_of(loader_of(shards))
    second.unlink()
    with pytest.raises(DataError, match=r"part-001\.parquet: there is no such file"):
        rows_of(loader_of(shards))


def test_a_request_id_in_two_blocks_of_a_window(table_of: Make, tmp_path: Path) -> None:
    for name, first in (("a", 0), ("b", 5)):
        write_requests(table_of(6, first_id=first), tmp_path / f"{name}.parquet")
    with pytest.raises(DataError, match=r"a\.parquet, \S*b\.parquet: .* share request ids; `emer validate` names"):
        rows_of(loader_of(shards_in(tmp_path), shuffle=False))


def test_settings_of_a_stream(table_of: Make, tmp_path: Path) -> None:
    with pytest.raises(EmerError, match=r"a stream needs data\.root"):
        RequestDataModule(train=table_of(), validation=table_of(), test=table_of(), stream=True)
    for name in ("buffer", "sample"):
        with pytest.raises(EmerError, match=rf"loader\.{name} is 0"):
            RequestDataModule(root=tmp_path, stream=True, **{name: 0})
    write_requests(table_of(), tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"split by time, which needs all of it in memory.*loader\.stream=false"):
        RequestDataModule(root=tmp_path, stream=True).setup()
