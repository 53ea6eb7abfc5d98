"""What happened before a row's day: smoothed rates per user, item, author ..., never including that day."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from emer.data.log import LogTables

WATCH = "watch"
_MILLION = 1_000_000


class History:
    """Counts and rates of every value of some keys, over all exposures added so far.

    For a key value with n exposures so far, of which S had the label, and g the label's share over all exposures so
    far, the feature is the smoothed lift

        (S - n g) / (n + smoothing),

    which is 0 without history and tends to S / n - g with much of it. Besides every label it is computed for
    log(1 + watch seconds), where the log has them; and log(1 + n) is a feature too.

    Whoever adds a log day by day, and looks rows up before their day is added, keeps every label of a row's day and
    later out of its features. Memory grows with the values of the keys, not with the exposures.
    """

    def __init__(self, tables: LogTables, labels: Sequence[str], smoothing: float = 20.0, watch: bool = True) -> None:
        """Nothing counted yet.

        Args:
            tables: its ``history_keys`` are the keys.
            labels: the label columns whose rates are computed.
            smoothing: pseudo-exposures that pull a rate towards the overall one.
            watch: the log has ``watch_seconds``.
        """
        self.keys = tables.history_keys
        self.labels = tuple(labels)
        self.values = (*self.labels, WATCH) if watch else self.labels
        self.smoothing = smoothing
        self._overall = dict.fromkeys(("n", *self.values), 0.0)
        self._by_key: dict[str, pl.DataFrame] = {}

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features, in the order of :meth:`lookup`."""
        return tuple(past(key, value) for key in self.keys for value in ("count", *self.values))

    def add(self, rows: pl.LazyFrame | pl.DataFrame) -> None:
        """Count exposures, with every key, label, and ``watch_seconds`` if they are known."""
        values = [pl.col(label).cast(pl.Float64) for label in self.labels]
        if WATCH in self.values:
            # In whole millionths, so that the sum does not depend on the order in which threads add.
            values.append((pl.col("watch_seconds").cast(pl.Float64).log1p() * _MILLION).round().alias(WATCH))
        rows = rows.lazy().select(*self.keys, *values)
        sums = [pl.len().cast(pl.Float64).alias("n"), *(pl.col(v).sum() for v in self.values)]
        plans = [rows.select(sums), *(rows.drop_nulls(key).group_by(key).agg(sums) for key in self.keys)]
        overall, *by_key = pl.collect_all(plans, engine="streaming")
        for name, value in overall.row(0, named=True).items():
            self._overall[name] += value
        for key, new in zip(self.keys, by_key, strict=True):
            both = pl.concat([self._by_key[key], new]) if key in self._by_key else new
            self._by_key[key] = both.group_by(key).agg(pl.col(c).sum() for c in ("n", *self.values))

    def lookup(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Features of ``rows``, which have every key; (n, len(columns)) Float32, order kept."""
        found: list[pl.Series] = []
        for key in self.keys:
            seen = rows.select(key)
            if key in self._by_key:
                seen = seen.join(self._by_key[key], on=key, how="left", maintain_order="left")
            else:
                seen = seen.with_columns(pl.lit(None, pl.Float64).alias(c) for c in ("n", *self.values))
            seen = seen.with_columns(pl.col("n", *self.values).fill_null(0.0))
            found += seen.select(
                pl.col("n").log1p().cast(pl.Float32).alias(past(key, "count")),
                *(self._lift(value).alias(past(key, value)) for value in self.values),
            ).get_columns()
        return pl.DataFrame(found)

    def _lift(self, value: str) -> pl.Expr:
        overall = self._overall[value] / max(self._overall["n"], 1.0)
        lift = (pl.col(value) - pl.col("n") * overall) / (pl.col("n") + self.smoothing)
        return (lift / (_MILLION if value == WATCH else 1)).cast(pl.Float32)


def past(key: str, value: str) -> str:
    """Name of a feature, such as ``past_user_click`` or ``past_tag_count``."""
    return f"past_{key.removesuffix('_id')}_{value}"
