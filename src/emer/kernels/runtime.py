"""How kernels are compiled, and how their rows are dealt to threads."""

from __future__ import annotations

import itertools
import os
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numba
import torch

MIN_ITEMS_PER_THREAD = 8192
"""Waking a thread costs some 50 us, which is what a kernel needs for about this many sorted candidates."""

_pool: ThreadPoolExecutor | None = None


def compiled(function: Callable[..., Any]) -> Any:
    """Compile ``function`` with Numba on its first call: without the GIL, cached on disk where that is possible.

    Sums may be reassociated and multiply-adds contracted, so that loops vectorise; NaN and infinities keep their
    meaning, and denormal numbers are not flushed.
    """
    return _compile(function, {"reassoc", "contract"})


def compiled_in_order(function: Callable[..., Any]) -> Any:
    """As :func:`compiled`, but every operation is carried out as written and rounds by itself, as NumPy's do."""
    return _compile(function, set())


def inlined(function: Callable[..., Any]) -> Any:
    """A formula that is copied into the loops that use it, so that they vectorise; multiply-adds are contracted."""
    return numba.njit(forceinline=True, error_model="numpy", fastmath={"contract"})(function)


def _compile(function: Callable[..., Any], fastmath: set[str]) -> Any:
    options: dict[str, Any] = {"nogil": True, "error_model": "numpy", "fastmath": fastmath}
    try:
        return numba.njit(cache=True, **options)(function)
    except RuntimeError:  # neither the package's folder nor the user's cache can be written
        return numba.njit(**options)(function)


def run_rows(work: Callable[[int, int], None], rows: int, items: int) -> None:
    """Call ``work(start, stop)`` for slices that make up ``range(rows)``, on the threads torch may use.

    Python threads rather than Numba's: kernels hold no GIL, the number follows ``torch.set_num_threads``, and they
    may run beside each other and after a fork, where Numba's thread layers abort the process.

    Args:
        work: fills rows ``start`` to ``stop`` of its outputs; rows must not depend on each other.
        rows: number of rows.
        items: number of elements in all rows; few are not worth a second thread.

    Raises:
        whatever ``work`` raises.
    """
    threads = max(1, min(rows, torch.get_num_threads(), items // MIN_ITEMS_PER_THREAD))
    if threads == 1:
        work(0, rows)
        return
    cuts = [rows * i // threads for i in range(threads + 1)]
    others = [_executor().submit(work, a, b) for a, b in itertools.pairwise(cuts[1:])]
    work(cuts[0], cuts[1])
    for other in others:
        other.result()


def _executor() -> ThreadPoolExecutor:
    global _pool
    if _pool is None:
        _pool = ThreadPoolExecutor(os.cpu_count(), thread_name_prefix="emer-kernel")
    return _pool


def _forget_pool() -> None:
    """A forked child inherits the executor but not its threads."""
    global _pool
    _pool = None


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_forget_pool)
