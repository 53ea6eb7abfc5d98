"""Tenrec (Yuan et al., NeurIPS 2022; CC BY-NC 4.0): QK-video, QB-video or ctr_data_1M, in order but without a clock.

What is done to the rows, and why:

* a user's rows stand in order of time, and that is all that is known of time. A user's sequence of n rows is cut into
  ``periods``: row i (from 0) lies in period floor(periods * i / n), which takes the place of the day; ``time_ms``
  is period * 86,400,000 + i. So every user is trained on what came first and tested on what came last, but period 3
  of one user is not at the time of period 3 of another: counts over users of "the periods before" are no past;
* a row that is repeated whole is dropped, and so is a later row of the same user and item that says something else;
  both are counted;
* ``forward`` is share. ``rewatch`` is watching_times > 1: how often the video was watched is known afterwards and is
  never an input. The time watched is not logged;
* hist_1 to hist_10 are not read: one list per user, the user's first clicked items, which the authors' script takes
  out of the rows of ctr_data_1M (gen_ctr.py of the official repository).

The counts of repeated and conflicting rows in ctr_data_1M and the values of video_category rest on notes of others
(EddyHai57/tenrec-ranking), which were not checked.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from emer.data.adapter import About, Part, Types
from emer.data.cells import DAY_MS, flag
from emer.data.log import PERIODS, LogTables
from emer.data.raw import data_folder, existing, first_rows
from emer.errors import DataError

HOME = "https://static.qblv.qq.com/qblv/h5/algo-frontend/tenrec_dataset.html (accept the licence agreement)"
FILES = ("ctr_data_1M", "QK-video", "QB-video")
_FLAGS = {"click": "click", "like": "like", "follow": "follow", "share": "forward"}
LABELS = (*_FLAGS.values(), "rewatch")
_USER = ("gender", "age")
_VIDEO = ("video_category",)
_NULL = r"\N"

ABOUT = About(
    name="Tenrec",
    licence="CC BY-NC 4.0; the download asks to accept a licence agreement",
    citation=(
        "Guanghu Yuan, Fajie Yuan, Yudong Li, Beibei Kong, Shujie Li, Lei Chen, Min Yang, Chenyun Yu, Bo Hu, Zang Li, "
        "Yu Xu, Xiaohu Qie. Tenrec: A Large-scale Multipurpose Benchmark Dataset for Recommender Systems. "
        "NeurIPS 2022 Datasets and Benchmarks. arXiv 2210.10629"
    ),
    home=f"https://github.com/yuangh-x/2022-NIPS-Tenrec, {HOME}",
    requests=(
        "Pseudo-requests: consecutive exposures of a user. There is no clock; periods are shares of each user's own "
        "sequence and not simultaneous."
    ),
    known_faults=(
        "Order only: a period is a share of a user's own sequence. What is a past within a user is none across users, "
        "so that past rates of items and authors see other users' later rows.",
        "Rows repeated whole, and later rows of the same user and item with other feedback, were dropped.",
        "In ctr_data_1M the clicks on each user's first clicked items (up to ten) are missing: they went into hist_*.",
        "Candidates that were not exposed are sampled; their feedback is unknown and masked, not 0.",
        "follow and forward are rare; the time watched is not logged.",
    ),
)


@dataclass(frozen=True)
class Tenrec:
    """Finds and maps one file of video feedback.

    Attributes:
        root: the folder with the CSV files.
        file: ``ctr_data_1M``, ``QK-video`` or ``QB-video``.
        periods: into how many every user's sequence is cut.
    """

    root: str | Path | None
    file: str = "ctr_data_1M"
    periods: int = 10

    about = ABOUT
    user = "user_id"

    def __post_init__(self) -> None:
        if self.file not in FILES:
            raise DataError(f"file is {self.file!r}; known are {', '.join(FILES)}")
        if not 3 <= self.periods < PERIODS:
            raise DataError(f"periods is {self.periods}; train, validation and test need 3, and {PERIODS} are too many")

    def parts(self) -> Sequence[Part]:
        columns: Types = dict.fromkeys(("user_id", "item_id", *_FLAGS, "watching_times"), pl.Int64)
        checks = {column: flag(column) for column in _FLAGS}
        checks["watching_times"] = pl.col("watching_times") >= 0
        return [self._part(columns, ("watching_times",), checks)]

    def files(self) -> Sequence[Path]:
        return [self._path]

    def tables(self) -> LogTables:
        columns: Types = dict.fromkeys(("user_id", "item_id", *_USER, *_VIDEO), pl.Int64)
        part = self._part(columns, (*_USER, *_VIDEO), {})
        users, items = first_rows([part], {"user_id": _USER, "item_id": _VIDEO})
        return LogTables(
            name=f"Tenrec {self.file}",
            users=users,
            items=items,
            labels=LABELS,
            user_categories=_USER,
            item_categories=_VIDEO,
            history_keys=("user_id", "item_id"),
        )

    def exposures(self, raw: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        columns = ["user_id", "item_id", *_FLAGS, "watching_times"]
        unlike = raw.unique(columns, keep="first", maintain_order=True)
        rows = unlike.unique(["user_id", "item_id"], keep="first", maintain_order=True)
        position = pl.int_range(pl.len(), dtype=pl.Int64).over("user_id")
        period = self.periods * position // pl.len().over("user_id").cast(pl.Int64)
        exposures = rows.select(
            pl.col("user_id"),
            pl.col("item_id"),
            (period * DAY_MS + position).alias("time_ms"),
            period.cast(pl.Int32).alias("day"),
            *((pl.col(column) == 1).alias(label) for column, label in _FLAGS.items()),
            (pl.col("watching_times") > 1).fill_null(False).alias("rewatch"),
        ).sort("day", "time_ms", "user_id", "item_id")
        counts = {
            "rows": raw.height,
            "repeated_rows_dropped": raw.height - unlike.height,
            "conflicting_rows_dropped": unlike.height - rows.height,
        }
        return exposures, counts

    def _part(self, columns: Types, optional: Sequence[str], checks: dict[str, pl.Expr]) -> Part:
        return Part(path=self._path, columns=columns, optional=optional, checks=checks, null=_NULL)

    @property
    def _path(self) -> Path:
        advice = f"Download Tenrec from {HOME}, and set data.root=<the folder with {self.file}.csv>."
        return existing(data_folder(self.root, advice) / f"{self.file}.csv", advice)
