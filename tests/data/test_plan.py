"""Shares of a stream as pure numbers: every request once, equal work, the same order for the same seed."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from emer.data.plan import StreamPlan, Window, evenly
from emer.errors import EmerError

BLOCKS = st.lists(st.integers(1, 12), min_size=1, max_size=9)
WORLD = st.integers(1, 5)
SHARE = st.integers(1, 4)
BUFFER = st.integers(1, 30)


def plans(blocks: list[int], world_size: int, share: int, buffer: int, **options: object) -> list[StreamPlan]:
    size = share if options.get("evaluation") else share * world_size
    sizes = np.array(blocks)
    return [
        StreamPlan(sizes, batch_size=size, buffer=buffer, rank=rank, world_size=world_size, **options)  # type: ignore[arg-type]
        for rank in range(world_size)
    ]


def lengths_of(window: Window) -> np.ndarray:
    """Candidates of each request: a function of the request alone."""
    return (window.block * 31 + window.row * 7) % 11 + 1


def batches_of(plan: StreamPlan, epoch: int = 0, skip: int = 0) -> list[list[tuple[int, int]]]:
    """(block, row) of every request by batch, as the loader goes through them."""
    found: list[list[tuple[int, int]]] = []
    for window in plan.windows(epoch, skip):
        places = window.batches(lengths_of(window))
        pairs = [list(zip(window.block[p].tolist(), window.row[p].tolist(), strict=True)) for p in places]
        found += pairs[max(0, skip - window.first_batch) :]
    return found


def everything(blocks: list[int]) -> list[tuple[int, int]]:
    return [(block, row) for block, size in enumerate(blocks) for row in range(size)]


@given(blocks=BLOCKS, world_size=WORLD, share=SHARE, buffer=BUFFER, shuffle=st.booleans(), epoch=st.integers(0, 3))
def test_a_training_epoch_is_an_exact_partition_with_equal_work(
    blocks: list[int], world_size: int, share: int, buffer: int, shuffle: bool, epoch: int
) -> None:
    total = sum(blocks)
    if total < world_size:
        with pytest.raises(EmerError, match=f"{total} requests are too few"):
            plans(blocks, world_size, share, buffer, shuffle=shuffle)
        return
    parts = [batches_of(plan, epoch) for plan in plans(blocks, world_size, share, buffer, shuffle=shuffle, seed=4)]
    assert sorted(pair for part in parts for batch in part for pair in batch) == everything(blocks)
    (count,) = {len(part) for part in parts}
    assert count == min(-(-total // (share * world_size)), total // world_size)
    assert {len(plan) for plan in plans(blocks, world_size, share, buffer, shuffle=shuffle)} == {count}
    sizes = {len(batch) for part in parts for batch in part}
    assert 1 <= min(sizes) <= max(sizes) <= min(sizes) + 1
    assert max(sizes) <= max(share, 2 if share == 1 and total % world_size else share)


@given(blocks=BLOCKS, world_size=WORLD, share=SHARE, buffer=BUFFER)
def test_streamed_evaluation_keeps_the_order(blocks: list[int], world_size: int, share: int, buffer: int) -> None:
    parts = [batches_of(plan) for plan in plans(blocks, world_size, share, buffer, evaluation=True)]
    assert [pair for part in parts for batch in part for pair in batch] == everything(blocks)
    for part in parts:
        assert all(len(batch) == share for batch in part[:-1]) and all(0 < len(batch) <= share for batch in part)
    counts = [sum(map(len, part)) for part in parts]
    assert max(counts) - min(counts) <= 1


@given(blocks=BLOCKS, world_size=WORLD, share=SHARE, buffer=BUFFER, shuffle=st.booleans(), stop=st.integers(0, 60))
def test_a_resumed_epoch_is_the_rest_of_the_whole_one(
    blocks: list[int], world_size: int, share: int, buffer: int, shuffle: bool, stop: int
) -> None:
    if sum(blocks) < world_size:
        return
    for plan in plans(blocks, world_size, share, buffer, shuffle=shuffle, seed=9):
        whole = batches_of(plan, epoch=2)
        assert batches_of(plan, epoch=2, skip=min(stop, len(plan))) == whole[min(stop, len(plan)) :]
        opened = list(plan.windows(2, min(stop, len(plan) - 1)))
        assert opened[0].first_batch <= stop, "windows before the stop are not opened"
        assert len(opened) == len(range(opened[0].first_batch, len(plan), plan.batches_per_window))


def test_global_batches_in_file_order_are_shared_by_all_processes() -> None:
    # 11 requests in 3 batches of at most 4: spans 0..2, 3..6, 7..10, each cut in two.
    parts = [batches_of(plan) for plan in plans([5, 6], 2, 2, 6, shuffle=False)]
    order = everything([5, 6])
    assert parts[0] == [order[0:1], order[3:5], order[7:9]]
    assert parts[1] == [order[1:3], order[5:7], order[9:11]]


def test_order_is_that_of_seed_and_epoch() -> None:
    def order(seed: int, epoch: int) -> str:
        (plan,) = plans([7] * 8, 1, 4, 16, seed=seed)
        batches_of(plan, epoch + 1)  # what was read before must not matter
        return str(batches_of(plan, epoch))

    assert order(1, 5) == order(1, 5)
    assert len({order(seed, epoch) for seed in range(3) for epoch in range(3)}) == 9


def test_random_order_mixes_blocks_and_the_inside_of_windows() -> None:
    (plan,) = plans([20] * 10, 1, 10, 40, seed=1)
    blocks = [[block for block, _ in batch] for batch in batches_of(plan)]
    assert [window.block[0] for window in plan.windows(0)] != [0, 2, 4, 6, 8]
    assert np.mean([len(set(batch)) > 1 for batch in blocks]) > 0.5, "a window of two blocks mixes them"
    together = {(a, b) for batch in batches_of(plan) for a in batch for b in batch if a < b}
    again = {(a, b) for batch in batches_of(plan, 1) for a in batch for b in batch if a < b}
    assert len(together & again) < 0.5 * len(together), "other requests meet in the next epoch"


def test_batches_by_length_pad_less_than_the_random_order() -> None:
    lengths = np.random.default_rng(0).lognormal(4, 0.8, 512).astype(int) + 1
    (window,) = StreamPlan(np.array([512]), batch_size=32, buffer=512).windows(0)

    def padded(batches: list[np.ndarray]) -> float:
        return sum(lengths[batch].max() * batch.size for batch in batches) / lengths.sum()

    by_length = window.batches(lengths)
    random = np.split(np.random.default_rng(1).permutation(512), 16)
    assert padded(by_length) < 1.5 < 2.5 < padded(random)
    means = [lengths[batch].mean() for batch in by_length]
    assert means != sorted(means) and means != sorted(means)[::-1], "length does not show in the course of training"


def test_decoded_together_is_about_the_buffer() -> None:
    (plan,) = plans([100] * 10, 1, 30, 128)
    sizes = [window.block.size for window in plan.windows(0)]
    assert sum(sizes) == 1000 and max(sizes) <= 128
    (single,) = plans([100], 1, 50, 1)
    assert [window.block.size for window in single.windows(0)] == [50, 50], "at least one batch"


@pytest.mark.parametrize(
    ("options", "said"),
    [
        ({"batch_size": 0}, "batch size is 0"),
        ({"batch_size": 4, "buffer": 0}, "buffer is 0"),
        ({"batch_size": 5, "world_size": 2}, "5 requests cannot be shared evenly by 2 processes"),
        ({"batch_size": 4, "rank": 2, "world_size": 2}, "rank 2 is not one of 2"),
        ({"batch_size": 20, "world_size": 20}, "10 requests are too few"),
    ],
)
def test_a_plan_refuses(options: dict[str, int], said: str) -> None:
    with pytest.raises(EmerError, match=said):
        StreamPlan(np.array([4, 6]), **{"buffer": 8, **options})  # type: ignore[arg-type]


def test_evenly_differs_by_one() -> None:
    assert evenly(3, 10, 3).tolist() == [3, 5, 7, 10]
    assert evenly(0, 2, 4).tolist() == [0, 0, 1, 1, 2]
