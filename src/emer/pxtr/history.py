"""What happened before a row's day: smoothed rates per user, item, author ..., never including that day."""

from __future__ import annotations

from collections.abc import Sequence

import polars as pl

from emer.data.log import InteractionLog


class History:
    """Past counts and rates of every value of some keys, by day.

    For a key value with n exposures on the days before a row's day, of which S had the label, and g the
    label's share over all exposures on those days, the feature is the smoothed lift

        (S - n g) / (n + smoothing),

    which is 0 without history and tends to S / n - g with much of it. Besides every label it is computed for
    log(1 + watch seconds), where the log has them; and log(1 + n) is a feature too. Only whole earlier days
    count, so neither a row's own label nor any label of its day or later can reach its features.
    """

    def __init__(self, log: InteractionLog, labels: Sequence[str], smoothing: float = 20.0) -> None:
        """Count.

        Args:
            log: its ``history_keys`` are the keys.
            labels: the label columns whose rates are computed.
            smoothing: pseudo-exposures that pull a rate towards the overall one.
        """
        values = [pl.col(label).cast(pl.Float64).alias(label) for label in labels]
        if log.has_watch_time:
            values.append(pl.col("watch_seconds").log1p().cast(pl.Float64).alias("watch"))
        self.values = [*labels, "watch"] if log.has_watch_time else list(labels)
        self.keys = log.history_keys
        self.smoothing = smoothing
        rows = log.describe(log.exposures.select("user_id", "item_id", "day", *values)).select(
            *dict.fromkeys(("day", *self.keys, *self.values))
        )
        sums = [pl.len().alias("n"), *(pl.col(v).sum() for v in self.values)]
        running = [pl.col(c).cum_sum() for c in ("n", *self.values)]
        overall = rows.group_by("day").agg(sums).sort("day").with_columns(running)
        self._overall = overall.select(
            pl.col("day").cast(pl.Int32), *((pl.col(v) / pl.col("n")).alias(f"g_{v}") for v in self.values)
        )
        self._by_key = {
            key: rows.drop_nulls(key)
            .group_by(key, "day")
            .agg(sums)
            .sort("day", key)
            .with_columns([c.over(key) for c in running])
            for key in self.keys
        }

    @property
    def columns(self) -> tuple[str, ...]:
        """Names of the features, in the order of :meth:`lookup`."""
        return tuple(past(key, value) for key in self.keys for value in ("count", *self.values))

    def lookup(self, rows: pl.DataFrame) -> pl.DataFrame:
        """Features of ``rows``, which have ``day`` and every key; (n, len(columns)) Float32, order kept."""
        before = rows.select("day", *self.keys).with_row_index("row").with_columns(pl.col("day") - 1).sort("day")
        before = before.join_asof(self._overall, on="day", strategy="backward")
        for key in self.keys:
            seen = before.join_asof(
                self._by_key[key], on="day", by=key, strategy="backward", check_sortedness=False
            ).with_columns(pl.col("n", *self.values).fill_null(0))
            before = before.with_columns(
                seen.select(
                    pl.col("n").log1p().cast(pl.Float32).alias(past(key, "count")),
                    *(self._lift(value).alias(past(key, value)) for value in self.values),
                ).get_columns()
            )
        return before.sort("row").select(self.columns)

    def _lift(self, value: str) -> pl.Expr:
        overall = pl.col(f"g_{value}").fill_null(0.0)
        return ((pl.col(value) - pl.col("n") * overall) / (pl.col("n") + self.smoothing)).cast(pl.Float32)


def past(key: str, value: str) -> str:
    """Name of a feature, such as ``past_user_click`` or ``past_tag_count``."""
    return f"past_{key.removesuffix('_id')}_{value}"
