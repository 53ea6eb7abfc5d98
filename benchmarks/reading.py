"""Requests per second out of Parquet files, and those that EMER's forward and backward pass needs."""

from __future__ import annotations

import functools
import statistics
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.dataset as ds
import torch
from torch import Tensor

from benchmarks.report import Goal, Section, Table
from benchmarks.step import SCHEMA, request_batch
from benchmarks.timing import Setting, three_digits
from emer.data.columns import rank_columns, request_columns
from emer.data.parquet import read_requests, write_requests
from emer.data.plan import StreamPlan
from emer.data.shards import Shards
from emer.data.stream import StreamLoader
from emer.data.table import RequestTable
from emer.models.ranker import EmerRanker
from emer.requests import RequestBatch

REQUESTS, CANDIDATES, BATCH = 2000, 500, 64
ROW_GROUP, BUFFER = 256, 512
STEPS = 2
LEAST = 5.0

PASS = "EMER, forward and backward"
STREAM, WORKER = "**ours: stream**, read between batches", "**ours: stream**, one reader process"
TABLE, ARROW = "ours: the whole log in memory, then batches", "pyarrow.dataset, padded by hand, no checks"


def run(setting: Setting) -> Section:
    """Section I of the report."""
    requests, candidates = (24, 20) if setting.quick else (REQUESTS, CANDIDATES)
    section = Section(
        "reading",
        "Reading request Parquet",
        f"Epochs of {requests:,} requests with {candidates} candidates and {len(SCHEMA.objectives)} pxtrs; ranks are "
        f"stored; {ROW_GROUP} requests per row group, windows of {BUFFER}, batches of {BATCH}, from the first byte to "
        "the last batch. Files are in the page cache. Ours check every value. EMER is the default network and no loss, "
        "on batches of the stream. All figures are wall time, also at 1 thread; the samples of all rows take turns. "
        "`x` is how many times as fast as EMER needs the batches.",
    )
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "requests.parquet"
        write_requests(request_table(requests, candidates), path, ROW_GROUP)
        cores = pa.cpu_count()
        try:
            for threads in setting.threads:
                _measure(section, setting, path, threads)
        finally:
            pa.set_cpu_count(cores)
    section.tables.append(_padding())
    return section


def request_table(requests: int, candidates: int) -> RequestTable:
    """Random requests of equal length."""
    batch = request_batch(requests, candidates)
    values = {name: getattr(batch, name).numpy() for name in ("request_id", "user_id", "time_ms")}
    values |= {name: getattr(batch, name).numpy() for name in ("user_categories", "context_categories")}
    names = ("item_id", "pxtr", "exposed", "label", "item_categories", "item_numbers")
    values |= {name: getattr(batch, name).flatten(0, 1).numpy() for name in names}
    return RequestTable.build(schema=SCHEMA, offsets=np.arange(requests + 1) * candidates, **values)


def stream_loader(path: Path, workers: int) -> StreamLoader:
    """The loader that is timed."""
    shards = Shards.index([path])
    return StreamLoader(shards, StreamPlan(shards.sizes, batch_size=BATCH, buffer=BUFFER), num_workers=workers)


def arrow_batches(path: Path) -> Iterator[dict[str, Tensor]]:
    """Tensors of each batch by column, lists padded with 0 to (B, N); nothing is checked, shuffled or ranked."""
    columns = request_columns(SCHEMA) + rank_columns(SCHEMA)
    dataset = ds.dataset(path)
    names = [column.name for column in columns if column.name in dataset.schema.names]
    ragged = {column.name for column in columns if column.ragged}
    for batch in dataset.to_batches(columns=names, batch_size=BATCH):
        lengths = pc.list_value_length(batch["item_id"]).to_numpy()
        mask = np.arange(lengths.max()) < lengths[:, None]
        found = {}
        for name in names:
            if name in ragged:
                values = batch[name].flatten().to_numpy(zero_copy_only=False)
                padded = np.zeros(mask.shape, values.dtype)
                padded[mask] = values
            else:
                padded = batch[name].to_numpy().copy()
            found[name] = torch.from_numpy(padded)
        yield found


def _measure(section: Section, setting: Setting, path: Path, threads: int) -> None:
    where = f"{threads} thread{'s' * (threads > 1)}"
    torch.set_num_threads(threads)
    pa.set_cpu_count(threads)
    alone, worker = stream_loader(path, 0), stream_loader(path, 1)
    batches = [batch for batch, _ in zip(alone, range(STEPS), strict=False)]
    requests = len(alone.dataset.shards)  # type: ignore[attr-defined]
    cases: dict[str, tuple[Callable[[], object], int]] = {
        PASS: (_passes(batches), sum(map(len, batches))),
        STREAM: (functools.partial(_through, alone), requests),
        WORKER: (functools.partial(_through, worker), requests),
        TABLE: (functools.partial(_whole, path), requests),
        ARROW: (lambda: _through(arrow_batches(path)), requests),
    }
    samples: dict[str, list[float]] = {name: [] for name in cases}
    for turn in range(setting.rounds + 1):  # the first warms up, and starts the worker
        for name, (call, count) in cases.items():
            setting.tell(f"reading, {where}, round {turn}: {name}")
            start = time.perf_counter()
            call()
            if turn:
                samples[name].append(count / (time.perf_counter() - start))
    rates = {name: statistics.median(taken) for name, taken in samples.items()}
    section.raw[where] = {
        name: {"requests_per_second": rate, "samples": len(samples[name])} for name, rate in rates.items()
    }
    rows = []
    for name, rate in rates.items():
        over = "" if name == PASS else f"{three_digits(rate / rates[PASS])}x"
        rows.append((name, f"{three_digits(rate)} (n {len(samples[name])})", over))
    section.tables.append(Table(f"{where}, wall time", ("", "requests per second", "over EMER"), rows))
    if not setting.quick:
        section.goals += [
            Goal(f"{what}, as a multiple of what EMER needs, {where}", rates[name] / rates[PASS], LEAST)
            for what, name in (("reading between batches", STREAM), ("one reader process", WORKER))
        ]


def _passes(batches: list[RequestBatch]) -> Callable[[], None]:
    torch.manual_seed(0)
    model = EmerRanker(SCHEMA)
    model.features.fit(batches[0])
    slopes = [torch.randn(batch.mask.shape) / batch.mask.numel() for batch in batches]

    def passes() -> None:
        for batch, slope in zip(batches, slopes, strict=True):
            model.zero_grad()
            model(batch).backward(slope)

    return passes


def _through(batches: StreamLoader | Iterator[object]) -> int:
    return sum(1 for _ in batches)


def _whole(path: Path) -> int:
    table = read_requests(path)
    order = np.random.default_rng(0).permutation(len(table))
    return sum(len(table.batch(order[start : start + BATCH])) for start in range(0, len(order), BATCH))


def _padding() -> Table:
    """How much of a batch is padding, where lists differ in length."""
    lengths = np.random.default_rng(0).integers(50, CANDIDATES + 1, REQUESTS)
    rows = []
    for buffer in (BATCH, BUFFER, REQUESTS):
        plan = StreamPlan(np.full(1, REQUESTS), batch_size=BATCH, buffer=buffer)
        windows = ((window, lengths[window.row]) for window in plan.windows(0))
        padded = sum(
            int(some[places].max()) * places.size for window, some in windows for places in window.batches(some)
        )
        rows.append((f"{buffer:,}", f"{three_digits(100 * (1 - lengths.sum() / padded))} %"))
    return Table(
        f"Padding of {REQUESTS:,} requests with 50 to {CANDIDATES} candidates; a window of {BATCH} is one random batch",
        ("requests per window", "padding"),
        rows,
    )
