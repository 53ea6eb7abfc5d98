"""Small request batches that every test can build."""

from __future__ import annotations

import multiprocessing
import os
import pickle
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import Any

# Read when a library starts its threads. Two workers with a pool of two each spin more than they compute, and
# torch's pool of compilers costs more than it compiles here.
os.environ.setdefault("OMP_NUM_THREADS", "1")
os.environ.setdefault("TORCHINDUCTOR_COMPILE_THREADS", "1")

import pytest
import torch

from emer.ranking import rank_gap
from emer.requests import (
    Category,
    Feedback,
    Objective,
    RequestBatch,
    Role,
    Satisfaction,
    Schema,
    Unit,
)

torch.set_num_threads(1)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what was not tested for want of a browser, which a mere count of skipped tests would hide."""
    skipped = [one for one in terminalreporter.stats.get("skipped", []) if "test_report_browser" in one.nodeid]
    if skipped:
        why = skipped[0].longrepr[-1] if isinstance(skipped[0].longrepr, tuple) else skipped[0].longrepr
        terminalreporter.write_line(f"{len(skipped)} tests in a browser did not run. {why}")


SCHEMA = Schema(
    objectives=(
        Objective("pctr", feedback="click"),
        Objective("pvtr", unit=Unit.SECONDS),
        Objective("pltr", role=Role.INTERACTION, feedback="like"),
        Objective("pcmtr", role=Role.INTERACTION),
    ),
    feedback=(
        Feedback("click"),
        Feedback("long_view", Satisfaction.POSITIVE),
        Feedback("like", Satisfaction.POSITIVE),
    ),
    user_categories=(Category("activity", 5),),
    context_categories=(Category("hour", 24),),
    item_categories=(Category("topic", 7),),
    item_numbers=("duration",),
)


def make_batch(
    B: int = 3,
    N: int = 9,
    *,
    seed: int = 0,
    full: bool = False,
    with_previous: bool = True,
    schema: Schema = SCHEMA,
) -> RequestBatch:
    """B random requests of up to N candidates with the test schema; ``full`` leaves no padding."""
    g = torch.Generator().manual_seed(seed)
    lengths = torch.full((B,), N) if full else torch.randint(3, N + 1, (B,), generator=g)
    lengths[0] = N
    mask = torch.arange(N) < lengths.unsqueeze(1)
    K, M = len(schema.objectives), len(schema.feedback)
    pxtr = torch.rand(B, N, K, generator=g) * mask.unsqueeze(-1)
    if schema.watch_index is not None:
        pxtr[..., schema.watch_index] *= 60
    exposed = (torch.rand(B, N, generator=g) < 0.6) & mask
    label = ((torch.rand(B, N, M, generator=g) < 0.4) & exposed.unsqueeze(-1)).float()
    draft = dict(
        schema=schema,
        pxtr=pxtr,
        rank_gap=rank_gap(pxtr, mask),
        iput_rank_gap=rank_gap(pxtr, mask),
        iput_floor=1.0,
        mask=mask,
        exposed=exposed,
        label=label,
        watch_time=torch.rand(B, N, generator=g) * 30 * exposed,
        negative=((torch.rand(B, N, generator=g) < 0.1) & exposed).float(),
        user_categories=torch.randint(5, (B, len(schema.user_categories)), generator=g),
        context_categories=torch.randint(5, (B, len(schema.context_categories)), generator=g),
        item_categories=torch.randint(5, (B, N, len(schema.item_categories)), generator=g) * mask.unsqueeze(-1),
        item_numbers=torch.randn(B, N, len(schema.item_numbers), generator=g) * mask.unsqueeze(-1),
        previous_score=torch.randn(B, N, generator=g) * mask if with_previous else None,
        item_id=torch.arange(B * N).view(B, N) * mask,
        request_id=torch.arange(B),
        user_id=torch.arange(B) % 2,
        time_ms=torch.arange(B) * 60_000,
        row=torch.arange(B),
    )
    batch = RequestBatch(**draft)
    draft["iput_rank_gap"] = rank_gap(batch.iput_pxtr(), mask)
    return RequestBatch(**draft).validate()


@pytest.fixture
def batch_of() -> Callable[..., RequestBatch]:
    """The function that makes a random batch."""
    return make_batch


@pytest.fixture
def schema() -> Schema:
    """Four objectives (two of interaction), three feedback labels, one feature of each kind."""
    return SCHEMA


@pytest.fixture(scope="session")
def real_data() -> Path:
    """Folder of the real KuaiRand-Pure log; the test is skipped without it."""
    folder = os.environ.get("EMER_REAL_DATA")
    if not folder:
        pytest.skip("EMER_REAL_DATA is not set")
    return Path(folder)


@pytest.fixture
def on_two_processes(tmp_path: Path) -> Callable[[Callable[[int], Any]], list[Any]]:
    """Calls ``work(rank)`` in two gloo processes, forks of this one, and returns both results."""

    def call(work: Callable[[int], Any]) -> list[Any]:
        context = multiprocessing.get_context("fork")
        queue = context.Queue()

        def member(rank: int) -> None:
            torch.set_num_threads(1)
            meet = f"file://{tmp_path / 'rendezvous'}"
            torch.distributed.init_process_group("gloo", init_method=meet, rank=rank, world_size=2)
            try:
                queue.put((rank, pickle.dumps(work(rank))))
            except Exception:
                queue.put((rank, traceback.format_exc()))
            torch.distributed.destroy_process_group()

        processes = [context.Process(target=member, args=(rank,)) for rank in range(2)]
        for process in processes:
            process.start()
        try:
            answers = dict(queue.get(timeout=120) for _ in processes)
            for process in processes:
                process.join(timeout=60)
        finally:
            for process in processes:
                process.kill()
        failures = [answer for answer in answers.values() if isinstance(answer, str)]
        assert not failures, "\n".join(failures)
        assert [process.exitcode for process in processes] == [0, 0]
        return [pickle.loads(answers[rank]) for rank in range(2)]

    return call
