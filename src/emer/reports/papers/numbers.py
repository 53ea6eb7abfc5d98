"""``results.csv`` of an experiment: every number of its tables, pictures and verdicts, one row each."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import astuple, dataclass, fields
from pathlib import Path

from emer.errors import DataError
from emer.metrics.seed_intervals import SeedInterval, interval_over_seeds
from emer.online.presentation import csv_text


@dataclass(frozen=True)
class Number:
    """One number of one log.

    Attributes:
        data: the log, or the kind of platform of an online test.
        variant: column of the experiment's table.
        against: the variant it is a difference from; empty for a value by itself.
        metric: its name.
        seed: of the run, or of the world; None for a mean over them.
        value: in the metric's own unit, online differences in per cent.
        low, high: 95 % interval; NaN where there is none.
        p: of the value being 0, two-sided and not corrected; NaN where there is none.
        seeds: how many runs or worlds it rests on.
    """

    data: str
    variant: str
    against: str
    metric: str
    seed: int | None
    value: float
    low: float = math.nan
    high: float = math.nan
    p: float = math.nan
    seeds: int = 1

    @property
    def certain(self) -> bool:
        """The interval leaves out 0."""
        return self.low > 0 or self.high < 0

    @classmethod
    def mean(cls, data: str, variant: str, against: str, metric: str, found: SeedInterval) -> Number:
        """A mean over seeds."""
        return cls(
            data, variant, against, metric, None, found.estimate, found.low, found.high, found.p, found.seeds
        )  # fmt: skip


_FLOATS = ("value", "low", "high", "p")


class Numbers:
    """All numbers of an experiment.

    Args:
        rows: as they stand in the file.

    Raises:
        DataError: two rows have the same key.
    """

    def __init__(self, rows: Iterable[Number]) -> None:
        self.rows = list(rows)
        self._by_key: dict[tuple[str, str, str, str, int | None], Number] = {}
        for row in self.rows:
            key = (row.data, row.variant, row.against, row.metric, row.seed)
            if key in self._by_key:
                raise DataError(f"results.csv has two rows of {key}")
            self._by_key[key] = row

    @property
    def logs(self) -> list[str]:
        """Names of the logs, sorted, the simulated one first."""
        found = list(dict.fromkeys(row.data for row in self.rows))
        return sorted(found, key=lambda name: (name != "simulated", name))

    def variants(self, data: str) -> list[str]:
        """Those that have a value or a difference on a log, in the order of the rows."""
        return list(dict.fromkeys(row.variant for row in self.rows if row.data == data))

    def knows(self, data: str, metric: str) -> bool:
        """Whether any variant has the metric on a log."""
        return any(row.data == data and row.metric == metric for row in self.rows)

    def find(self, data: str, variant: str, metric: str, against: str = "", seed: int | None = None) -> Number | None:
        """One number; None if there is none."""
        return self._by_key.get((data, variant, against, metric, seed))

    def of_seeds(self, data: str, variant: str, metric: str, against: str = "") -> dict[int, float]:
        """Seed -> value of the single runs."""
        return {
            row.seed: row.value
            for row in self.rows
            if (row.data, row.variant, row.metric, row.against) == (data, variant, metric, against)
            and row.seed is not None
        }

    def difference(self, data: str, variant: str, against: str, metric: str) -> Number | None:
        """``variant`` minus ``against``: as it stands in the file, turned round, or else seed by seed.

        The last has the noise of the seeds alone in its interval.
        """
        found = self.find(data, variant, metric, against)
        if found is not None:
            return found
        turned = self.find(data, against, metric, variant)
        if turned is not None:
            return Number(
                data, variant, against, metric, None, -turned.value, -turned.high, -turned.low, turned.p, turned.seeds
            )  # fmt: skip
        mine, theirs = (self._single(data, one, metric) for one in (variant, against))
        common = sorted(set(mine) & set(theirs))
        if not common:
            return None
        gaps = [mine[seed] - theirs[seed] for seed in common]
        return Number.mean(data, variant, against, metric, interval_over_seeds(gaps))

    def _single(self, data: str, variant: str, metric: str) -> dict[int, float]:
        """Values of single runs; of an online test, their differences from its base."""
        own = self.of_seeds(data, variant, metric)
        if own:
            return own
        bases = {row.against for row in self.rows if row.data == data and row.against and row.seed is not None}
        for base in sorted(bases):
            if variant == base:
                return {
                    row.seed: 0.0
                    for row in self.rows
                    if row.data == data and row.against == base and row.metric == metric and row.seed is not None
                }
            if found := self.of_seeds(data, variant, metric, base):
                return found
        return {}


Found = Mapping[tuple[str, str], Mapping[int, float]]
"""(variant, metric) -> seed of the run or world -> its value."""


def with_means(data: str, found: Found, against: str = "") -> list[Number]:
    """Single values by seed, and after those of each variant and metric their mean with its interval."""
    rows: list[Number] = []
    for (variant, metric), of_seeds in found.items():
        rows += [Number(data, variant, against, metric, seed, value) for seed, value in sorted(of_seeds.items())]
        over = interval_over_seeds(list(of_seeds.values()))
        rows.append(Number.mean(data, variant, against, metric, over))
    return rows


def as_csv(rows: Sequence[Number]) -> str:
    """The file's text; six significant digits, nothing for NaN and None."""
    return csv_text([field.name for field in fields(Number)], (map(_cell, astuple(row)) for row in rows))


def _cell(value: object) -> object:
    return f"{value:.6g}" if isinstance(value, float) and not math.isnan(value) else value


def read_numbers(path: Path) -> Numbers:
    """Read ``results.csv``.

    Raises:
        DataError: there is no such file, it holds no numbers, or a row cannot be read.
    """
    if not path.is_file():
        raise DataError(f"{path} does not exist")
    rows = []
    with path.open(encoding="utf-8", errors="replace", newline="") as file:
        for place, row in enumerate(csv.DictReader(file), start=2):
            try:
                value, low, high, p = (float(row[name]) if row[name] else math.nan for name in _FLOATS)
                seed = int(row["seed"]) if row["seed"] else None
                names = (row["data"], row["variant"], row["against"], row["metric"])
                rows.append(Number(*names, seed, value, low, high, p, int(row["seeds"])))
            except (KeyError, TypeError, ValueError) as error:
                raise DataError(f"{path}, row {place}: {error}") from error
    if not rows:
        raise DataError(f"{path} holds no numbers; make it anew from the runs, emer paper table=... runs=...")
    return Numbers(rows)
