from __future__ import annotations

import ast
import multiprocessing
import threading
from pathlib import Path

import pytest
import torch

from emer.kernels import runtime
from emer.kernels.runtime import MIN_ITEMS_PER_THREAD, run_rows

KERNELS = Path(runtime.__file__).parent


@pytest.fixture(autouse=True)
def two_threads() -> object:
    torch.set_num_threads(2)
    yield None
    torch.set_num_threads(1)


def slices(rows: int, items: int) -> list[tuple[int, int, int]]:
    seen: list[tuple[int, int, int]] = []
    run_rows(lambda a, b: seen.append((a, b, threading.get_ident())), rows, items)
    return sorted(seen)


def test_rows_are_dealt_to_the_threads_that_torch_may_use() -> None:
    many = 2 * MIN_ITEMS_PER_THREAD
    parts = slices(7, many)
    assert [(a, b) for a, b, _ in parts] == [(0, 3), (3, 7)]
    assert len({thread for *_, thread in parts}) == 2
    torch.set_num_threads(1)
    assert [(a, b) for a, b, _ in slices(7, many)] == [(0, 7)]


def test_little_work_stays_on_the_calling_thread() -> None:
    assert slices(7, 100) == [(0, 7, threading.get_ident())]
    assert [(a, b) for a, b, _ in slices(1, 10**9)] == [(0, 1)]
    assert [(a, b) for a, b, _ in slices(0, 0)] == [(0, 0)]


def test_an_error_in_any_thread_is_raised() -> None:
    def work(start: int, stop: int) -> None:
        if stop == 8:
            raise ValueError("in the second half")

    with pytest.raises(ValueError, match="in the second half"):
        run_rows(work, 8, 10**9)


def _in_child(queue: multiprocessing.Queue) -> None:
    torch.set_num_threads(2)
    queue.put([(a, b) for a, b, _ in slices(6, 10**9)])


def test_a_forked_process_has_threads_of_its_own() -> None:
    assert len(slices(6, 10**9)) == 2  # the parent has its pool
    context = multiprocessing.get_context("fork")
    queue = context.Queue()
    child = context.Process(target=_in_child, args=(queue,))
    child.start()
    assert queue.get(timeout=60) == [(0, 3), (3, 6)]
    child.join(timeout=60)
    assert child.exitcode == 0


def test_no_kernel_file_uses_another_ones_kernels() -> None:
    """Numba's cache notices changes in a kernel's own file only."""
    checked = 0
    for path in KERNELS.glob("*.py"):
        for node in ast.walk(ast.parse(path.read_text())):
            if isinstance(node, ast.ImportFrom) and (node.module or "").startswith("emer."):
                checked += 1
                assert node.module == "emer.kernels.runtime", f"{path.name} imports {node.module}"
    assert checked >= 4
