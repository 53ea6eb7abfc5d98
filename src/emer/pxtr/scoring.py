"""Pxtrs of candidates, each day's by a model of earlier days only; the days pass in order, and memory stays bounded."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import polars as pl
import torch

from emer.data.assembly import Assembly
from emer.data.stable_hash import share_of
from emer.files import atomic_path
from emer.progress import counting
from emer.pxtr.day_rows import StoredRows
from emer.pxtr.features import Columns, Encoder, feature_columns, feature_frame
from emer.pxtr.forward_chain import Block, ChainSettings, ForwardChain, plan_blocks
from emer.pxtr.history import History
from emer.pxtr.reference import Reference
from emer.pxtr.targets import target_matrix
from emer.requests import Objective

_MEASURED = 2_000_000
"""Exposures, at most, on which the pxtrs' quality is measured."""


@dataclass
class Measured:
    """Out-of-sample pxtrs of exposures (n, K), what happened (n, K), and the days (n,): a share of the users' where the
    log is very long."""

    pxtr: list[np.ndarray] = field(default_factory=list)
    outcome: list[np.ndarray] = field(default_factory=list)
    day: list[np.ndarray] = field(default_factory=list)

    def arrays(self) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """All of them."""
        return np.concatenate(self.pxtr), np.concatenate(self.outcome), np.concatenate(self.day)


@dataclass
class Learnt:
    """Everything that the days so far have left behind.

    Attributes:
        next: position of the next day in the log.
        history: counts of all days before.
        chain: the pxtr model.
        features: encoder of what rankers may see, counted up to the end of training.
        measured: quality of the pxtrs so far.
        block: whose turn it is.
        reference: trees that learn beside the model, or None.
    """

    history: History
    chain: ForwardChain
    features: Encoder
    reference: Reference | None = None
    next: int = 0
    measured: Measured = field(default_factory=Measured)
    block: Block | None = None


class Scoring:
    """The second step from a stored log to requests, after :class:`emer.data.assembly.Assembly`.

    On each day its candidates are predicted; then its exposures become training rows, and history. What was learnt is
    saved after every day, so that an interrupted run goes on there.
    """

    def __init__(
        self,
        assembly: Assembly,
        objectives: Sequence[Objective],
        settings: ChainSettings,
        *,
        seed: int,
        smoothing: float,
        hidden: bool = False,
        reference: bool = False,
    ) -> None:
        """Nothing learnt yet.

        Args:
            assembly: which has run.
            objectives: K.
            settings: of the model.
            seed: of the model.
            smoothing: see :class:`emer.pxtr.history.History`.
            hidden: also write the towers' hidden states.
            reference: fit a :class:`emer.pxtr.reference.Reference` too.

        Raises:
            DataError: too few days before the first split.
        """
        self.assembly, self.store, self.folder = assembly, assembly.store, assembly.folder
        self.objectives, self.hidden = tuple(objectives), hidden
        self.tables, days = self.store.tables, assembly.settings.days
        labels = [o.feedback for o in objectives if o.feedback is not None]
        history = History(self.tables, labels, smoothing, self.store.has_watch_time)
        columns = feature_columns(self.tables, history)
        watch = next((k for k, o in enumerate(objectives) if o.feedback is None), None)
        chain = ForwardChain(columns, len(self.objectives), watch, settings, seed)
        trees = Reference(self.objectives) if reference else None
        self.learnt = Learnt(history, chain, Encoder(self.ranker_columns(columns)), trees)
        self.predicted_days = [d for d in self.store.days if any(first <= d <= last for first, last in days.values())]
        self.train_end = days["train"][1]
        self.blocks = plan_blocks(self.store.days, self.predicted_days, settings)
        targets = [f"target_{o.name}" for o in self.objectives]
        self.rows = StoredRows(self.folder / "rows", targets, settings.rows_in_memory)

    def ranker_columns(self, columns: Columns) -> Columns:
        """What rankers may see: of user, context and item, and the item's past."""
        tables = self.tables
        numbers = (n for n in columns.numbers if n in tables.item_numbers or n.startswith(("item_age", "past_item_")))
        groups = (tables.user_categories, tables.context_categories, tables.item_categories)
        return Columns(tuple(c for group in groups for c in group), tuple(numbers))

    def run(self) -> None:
        """Write ``scored/<split>/<bucket>/<day>.parquet`` below the folder."""
        # What was learnt without the trees is no start for a run with them.
        saved = self.folder / ("learnt.pt" if self.learnt.reference is None else "learnt-reference.pt")
        days = [d for d in self.store.days if d <= self.predicted_days[-1]]
        if saved.is_file():
            self.learnt = torch.load(saved, weights_only=False)
        turns = {block.days[0]: block for block in self.blocks}
        with counting("Days", len(days)) as advance:
            advance(self.learnt.next)
            for day in days[self.learnt.next :]:
                if day in turns:
                    self._fit_reference()
                    self.learnt.chain.learn(turns[day], self.rows)
                    self.learnt.block = turns[day]
                self._pass(day)
                self.learnt.next += 1
                with atomic_path(saved) as temporary:
                    torch.save(self.learnt, temporary)
                advance(1)
        self._fit_reference()

    def _fit_reference(self) -> None:
        if self.learnt.block is not None and self.learnt.reference is not None:
            self.learnt.reference.add(self.learnt.block, self.learnt.chain.encoder, self.rows)

    def scored(self, split: str, bucket: int) -> pl.DataFrame:
        """What :meth:`run` wrote for a bucket, empty if there is nothing: candidates with pxtrs and the features of
        :meth:`ranker_columns`, not yet encoded."""
        paths = [self._scored(split, bucket, day) for day in self.assembly.files(split, bucket)]
        return pl.concat([pl.read_parquet(path, glob=False) for path in paths]) if paths else pl.DataFrame()

    def _pass(self, day: int) -> None:
        predicted, history = day in self.predicted_days, self.learnt.history
        if predicted:
            for split, bucket, path in self.assembly.of_day(day):
                self._score(pl.read_parquet(path, glob=False), self._scored(split, bucket, day))
        for bucket in range(self.store.buckets):
            shown = self.store.rows(bucket, [day])
            if shown.is_empty():
                continue
            frame, targets = feature_frame(self.tables, history, shown), target_matrix(shown, self.objectives)
            self.rows.write(day, f"{bucket:05}", frame, targets)
            if day <= self.train_end:
                self.learnt.features.count(frame)
            if predicted:
                self._measure(frame, targets)
        keys = [c for c in (*self.tables.history_keys, *self.tables.labels) if c not in ("user_id", "item_id")]
        watch = ["watch_seconds"] if self.store.has_watch_time else []
        described = self.tables.described(self.store.scan([day]))
        history.add(described.select("user_id", "item_id", *keys, *watch))

    def _score(self, rows: pl.DataFrame, path: Path) -> None:
        frame = feature_frame(self.tables, self.learnt.history, rows)
        chain, columns = self.learnt.chain, self.ranker_columns(self.learnt.chain.encoder.columns)
        pxtr, hidden = chain.predict(frame)
        towers = hidden.reshape(len(rows), -1)
        contexts = self.tables.context_categories
        mine = [c for c in (*columns.categories, *columns.numbers) if c not in contexts]
        scored = (
            rows.drop(contexts)
            .rename({f"head_{c}": c for c in contexts})
            .hstack(frame.select(mine))
            .with_columns(pl.Series(f"pxtr_{o.name}", pxtr[:, k]) for k, o in enumerate(self.objectives))
            .with_columns(pl.Series(name, towers[:, i]) for i, name in enumerate(self.hidden_names))
        )
        with atomic_path(path) as temporary:
            scored.write_parquet(temporary, compression="lz4")

    @property
    def hidden_names(self) -> tuple[str, ...]:
        """Columns of the hidden states, objective by objective; none unless they are asked for."""
        size = self.learnt.chain.settings.tower_size if self.hidden else 0
        return tuple(f"hidden_{o.name}_{i}" for o in self.objectives for i in range(size))

    def _measure(self, frame: pl.DataFrame, targets: np.ndarray) -> None:
        total = sum(
            b["days"][str(d)]["shown"] for b in self.store.index for d in self.predicted_days if str(d) in b["days"]
        )
        if total > _MEASURED:
            chosen = frame.select(share_of("user_id", _MEASURED / total)).to_series().to_numpy()
            frame, targets = frame.filter(chosen), targets[chosen]
        measured = self.learnt.measured
        measured.pxtr.append(self.learnt.chain.predict(frame)[0])
        measured.outcome.append(targets)
        measured.day.append(frame["day"].to_numpy())

    def _scored(self, split: str, bucket: int, day: int) -> Path:
        return self.folder / "scored" / split / f"{bucket:05}" / f"{day}.parquet"
