"""Which process gets which requests, in which order: a pure function of seed, epoch, rank and world size."""

import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emer.data.dataset import RequestBatchSampler, RequestDataset, RequestLoader
from emer.data.table import RequestTable
from emer.errors import EmerError
from emer.requests import RequestBatch

Make = Callable[..., RequestTable]
SIZES = {"R": st.integers(6, 40), "world_size": st.integers(1, 3), "share": st.integers(1, 5)}


def samplers(R: int, world_size: int, batch_size: int, **options: Any) -> list[RequestBatchSampler]:
    time_ms = np.random.default_rng(7).permutation(R)
    return [
        RequestBatchSampler(time_ms, batch_size=batch_size, rank=rank, world_size=world_size, **options)
        for rank in range(world_size)
    ]


@given(**SIZES)
def test_evaluation_is_an_exact_partition(R: int, world_size: int, share: int) -> None:
    seen = []
    for rank, sampler in enumerate(samplers(R, world_size, share, evaluation=True)):
        batches = list(sampler)
        assert len(batches) == len(sampler)
        assert all(len(batch) == share for batch in batches[:-1])
        mine = [row for batch in batches for row in batch]
        assert mine == list(range(rank, R, world_size))
        sampler.set_epoch(3)
        assert list(sampler) == batches  # the same every epoch
        seen += mine
    assert sorted(seen) == list(range(R))


@given(**SIZES, shuffle=st.booleans(), epoch=st.integers(0, 3))
def test_training_shares_the_batches_of_a_single_process(
    R: int, world_size: int, share: int, shuffle: bool, epoch: int
) -> None:
    batch_size = share * world_size
    (single,) = samplers(R, 1, batch_size, shuffle=shuffle)
    single.set_epoch(epoch)
    whole = list(single)
    assert sorted(row for batch in whole for row in batch) == list(range(R))
    parts = []
    for sampler in samplers(R, world_size, batch_size, shuffle=shuffle):
        sampler.set_epoch(epoch)
        parts.append(list(sampler))
        assert len(parts[-1]) == len(sampler)
    assert len({tuple(map(len, batches)) for batches in parts}) == 1, "equal batches on every process"
    kept = R // world_size * world_size
    together = [sorted(row for part in step for row in part) for step in zip(*parts, strict=True)]
    order = [row for batch in whole for row in batch][:kept]
    expected = [sorted(order[i : i + batch_size]) for i in range(0, kept, batch_size)]
    assert together == expected


def test_order_changes_with_epoch_and_seed_and_nothing_else() -> None:
    def order(seed: int, epoch: int) -> list[list[int]]:
        (sampler,) = samplers(30, 1, 4, seed=seed)
        sampler.set_epoch(epoch)
        list(sampler)  # what was read before must not matter
        return list(sampler)

    assert order(1, 5) == order(1, 5)
    assert len({str(order(seed, epoch)) for seed in range(3) for epoch in range(3)}) == 9


def test_without_shuffle_the_order_is_that_of_time() -> None:
    time_ms = np.array([30, 10, 20, 10, 0])
    sampler = RequestBatchSampler(time_ms, batch_size=2, shuffle=False)
    assert list(sampler) == [[4, 1], [3, 2], [0]]
    sampler.set_epoch(1)
    assert list(sampler) == [[4, 1], [3, 2], [0]]


def test_leftover_requests_are_dropped_only_with_several_processes() -> None:
    rows = [row for sampler in samplers(11, 2, 4) for batch in sampler for row in batch]
    assert len(rows) == len(set(rows)) == 10
    (single,) = samplers(11, 1, 4)
    assert sorted(row for batch in single for row in batch) == list(range(11))


@pytest.mark.parametrize("world_size", [1, 2])
def test_skip_leaves_out_the_first_batches_of_one_epoch(world_size: int) -> None:
    for sampler in samplers(20, world_size, 4):
        sampler.set_epoch(2)
        whole = list(sampler)
        sampler.skip(2, 3)
        assert list(sampler) == whole[3:] and len(sampler) == len(whole) == 5
        sampler.set_epoch(3)
        assert sampler.skipped == 0 and len(list(sampler)) == 5


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch size is 0"),
        ({"batch_size": 5, "world_size": 2}, "5 requests cannot be shared evenly by 2 processes"),
        ({"batch_size": 4, "rank": 2, "world_size": 2}, "rank 2 is not one of 2"),
        ({"batch_size": 20, "world_size": 20}, "10 requests are too few"),
    ],
)
def test_refuses(options: dict[str, int], said: str) -> None:
    with pytest.raises(EmerError, match=said):
        RequestBatchSampler(np.arange(10), **options)


def test_evaluation_takes_any_batch_size_and_few_requests() -> None:
    sizes = [len(sampler) for sampler in samplers(2, 3, 5, evaluation=True)]
    assert sizes == [1, 1, 0]


def test_dataset_gives_batches_of_the_table(table_of: Make) -> None:
    dataset = RequestDataset(table_of(12))
    assert len(dataset) == 12
    assert dataset[3].request_id.tolist() == [3] and len(dataset[3]) == 1
    batch = dataset.__getitems__([5, 2])
    assert isinstance(batch, RequestBatch) and batch.row.tolist() == [5, 2]


@pytest.mark.parametrize("num_workers", [0, 2])
def test_loader_yields_the_samplers_batches(table_of: Make, num_workers: int) -> None:
    table = table_of(12)
    sampler = RequestBatchSampler(table.time_ms, batch_size=5, seed=3)
    loader = RequestLoader(table, sampler, num_workers=num_workers, persistent_workers=num_workers > 0)
    assert len(loader) == 3
    # As Lightning does: make the iterator first, then set the epoch, then ask for batches.
    iterator = iter(loader)
    sampler.set_epoch(4)
    assert [batch.validate().row.tolist() for batch in iterator] == list(sampler)
    assert loader.state_dict() == {"epoch": 4, "batches": 3}
    sampler.set_epoch(5)
    assert loader.state_dict() == {"epoch": 4, "batches": 3}, "epoch 5 has not begun"
    assert [batch.row.tolist() for batch in loader] == list(sampler)


def test_loader_goes_on_where_its_state_was_saved(table_of: Make) -> None:
    table = table_of(12)

    def loader() -> RequestLoader:
        return RequestLoader(table, RequestBatchSampler(table.time_ms, batch_size=2, seed=3))

    whole = [batch.row.tolist() for batch in loader()]
    first = loader()
    iterator = iter(first)
    for _ in range(4):
        next(iterator)
    state = pickle.loads(pickle.dumps(first.state_dict()))
    second = loader()
    second.load_state_dict(state)
    assert [batch.row.tolist() for batch in second] == whole[4:]
    assert second.state_dict() == {"epoch": 0, "batches": 6}
