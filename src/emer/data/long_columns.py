"""One column of a table in long form: how it is read, what must hold of it, and what it becomes."""

from __future__ import annotations

from dataclasses import dataclass

import polars as pl

from emer.data.columns import Kind
from emer.data.stable_hash import hash_bucket, hash_text

TIME_UNITS = {"ms": 1, "s": 1000, "min": 60_000, "h": 3_600_000, "day": 86_400_000}
SECONDS = {"s": 1.0, "seconds": 1.0, "ms": 1e-3, "min": 60.0}
_TRUE, _FALSE = ("1", "true", "t", "yes", "1.0"), ("0", "false", "f", "no", "0.0")
_MOMENT = pl.Datetime("ms", "UTC")
_ISO = (
    r"^(?<date>\d{4}-\d{2}-\d{2})"
    r"(?:[T ](?<minute>\d{2}:\d{2})(?<second>:\d{2}(?:\.\d{1,9})?)?(?<zone>Z|[+-]\d{2}:?\d{2})?)?$"
)


@dataclass(frozen=True, kw_only=True)
class LongColumn:
    """Where one column of request Parquet comes from.

    Attributes:
        name: in request Parquet (:func:`emer.data.columns.request_columns`).
        column: in the long table.
        kind: what its values are.
        unit: of times (``ms``, ``s``, ``min``, ``h``, ``day``, or ``iso`` for text) and of durations.
        text: ids that are no integers, which are hashed.
        buckets: of a category whose values are hashed to 1 .. buckets; None where they are ids already.
        size: of a category whose values are ids below it.
        seconds: the values are a duration.
        probability: the values lie in [0, 1].
        shown: of feedback, the long table's column that says whether a candidate was shown; where it was not, anything
            may stand. None where all were shown.
    """

    name: str
    column: str
    kind: Kind
    unit: str = "s"
    text: bool = False
    buckets: int | None = None
    size: int | None = None
    seconds: bool = False
    probability: bool = False
    shown: str | None = None

    @property
    def is_time(self) -> bool:
        return self.name == "time_ms"

    @property
    def hashed(self) -> bool:
        return self.text or self.buckets is not None

    def type(self, csv: bool) -> pl.DataType | type[pl.DataType]:
        """How the column is read."""
        if self.hashed or (self.is_time and self.unit == "iso"):
            return pl.String
        if self.kind is Kind.BOOLEAN:
            return pl.String if csv else pl.Float32
        return pl.Float32 if self.kind is Kind.FLOAT else pl.Int64

    def check(self, csv: bool) -> pl.Expr | None:
        """What must hold of every value read, empty ones too where the column may hold such."""
        holds = self._holds(csv)
        if self.shown is None or holds is None:
            return holds
        hidden = ~_true(pl.col(self.shown), csv)
        if self.name == "explored":  # was shown by chance
            return (holds & ~(hidden & _true(pl.col(self.column), csv))).fill_null(hidden)
        return holds.fill_null(False) | hidden

    def _holds(self, csv: bool) -> pl.Expr | None:
        value = pl.col(self.column)
        if self.text:
            return value != ""
        if self.kind is Kind.BOOLEAN:
            return value.str.to_lowercase().is_in([*_TRUE, *_FALSE]) if csv else value.is_in([0.0, 1.0])
        if self.is_time:
            if self.unit == "iso":
                return value.map_batches(_moment, return_dtype=_MOMENT).is_not_null()
            limit = (2**63 - 1) // TIME_UNITS[self.unit]
            return value.is_between(-limit, limit)
        if self.size is not None:
            return value.is_between(0, self.size - 1)
        if self.kind is not Kind.FLOAT:
            return None
        if self.probability:
            return value.is_between(0, 1)
        finite = value.is_finite()
        return finite & (value >= 0) if self.seconds or self.name == "negative" else finite

    @property
    def advice(self) -> str:
        """What the values must be, for messages."""
        if self.buckets is not None:
            return f"{self.name} takes numbers and texts"
        if self.text:
            return f"{self.name} must be a text in every row"
        if self.kind is Kind.BOOLEAN:
            rule = f", and 0 where {self.shown} is 0" if self.name == "explored" and self.shown is not None else ""
            return f"{self.name} must be 0 or 1{rule} (or Boolean; in CSV also true, false, yes, no)"
        if self.is_time and self.unit == "iso":
            return "time_ms must be such as 2024-05-31T23:59:58.5+08:00; without a zone it is UTC"
        if self.is_time:
            return (
                f"time_ms must be a whole number of {self.unit}; dates and timestamps have `unit: iso` in the mapping"
            )
        if self.size is not None:
            return (
                f"{self.name} must be a whole number from 0, unknown, to {self.size - 1}; raise its `size` in the "
                "mapping, or let `buckets` hash any values"
            )
        if self.kind is Kind.INTEGER:
            return f"{self.name} must be a whole number; ids that are texts have `text: true` in the mapping"
        if self.probability:
            return f"{self.name} must be a probability in [0, 1]; a predicted watch time has `unit: s` in the mapping"
        return f"{self.name} must be a finite number" + (
            ", 0 or more" if self.seconds or self.name == "negative" else ""
        )

    def values(self, batch: pl.DataFrame) -> pl.Series:
        """The column as request Parquet has it, from checked values."""
        raw = batch[self.column]
        if self.hashed and raw.str.contains(".0", literal=True).any():
            # The same number is written 1 here and, in a column with gaps, 1.0 there.
            raw = raw.str.replace(r"^(-?\d+)\.0+$", "${1}")
        if self.buckets is not None:
            known = raw.set(raw == "", None)
            return hash_bucket(known, self.buckets, self.name).cast(pl.Int64).alias(self.name)
        if self.text:
            return hash_text(raw).alias(self.name)
        if self.kind is Kind.BOOLEAN:
            csv = raw.dtype == pl.String
            return batch.select(_true(pl.col(self.column), csv).fill_null(False)).to_series().alias(self.name)
        if self.is_time:
            if self.unit == "iso":
                return _moment(raw).dt.epoch("ms").alias(self.name)
            return (raw * TIME_UNITS[self.unit]).alias(self.name)
        if self.seconds:
            raw = (raw * SECONDS[self.unit]).cast(pl.Float32)
        return (raw if self.shown is None else raw.fill_null(0)).alias(self.name)


def _true(value: pl.Expr, csv: bool) -> pl.Expr:
    return value.str.to_lowercase().is_in(_TRUE) if csv else value == 1


def _moment(values: pl.Series) -> pl.Series:
    """Datetimes of ISO 8601 texts, with or without a time of day and a zone; without one it is UTC. Null for others."""
    distinct = values.drop_nulls().unique()  # every candidate of a request says the same
    parts = distinct.to_frame("text").select(pl.col("text").str.extract_groups(_ISO)).unnest("text")
    text = pl.concat_str(
        pl.col("date"),
        pl.lit("T"),
        pl.col("minute").fill_null("00:00"),
        pl.col("second").fill_null(":00"),
        pl.col("zone").fill_null("+0000").replace("Z", "+0000"),
    )
    moments = parts.select(text.str.to_datetime("%Y-%m-%dT%H:%M:%S%.f%z", time_unit="ms", strict=False)).to_series()
    return values.replace_strict(distinct, moments, default=None, return_dtype=_MOMENT)
