"""KuaiSAR (Sun et al., CIKM 2023; CC BY-NC-SA 4.0): recommendations of the official CSV files, full or small version.

What is done to the rows, and why:

* ``timestamp`` (milliseconds) is when the platform sent an item, and items sent together share it: a user's rows of
  one timestamp are one request, and ``request`` is that timestamp;
* repeated (user_id, item_id, timestamp) rows are one exposure logged twice: the first is kept;
* ``complete`` is playing_time >= duration_ms; ``long_view`` is Kuaishou's rule (at least the video or 18 s) and
  derived here, not a column of the log. A missing playing_time is none, and counted; without a duration both are False;
* ``search`` says that the user searched while watching; search_item_related is about such rows only and not read.
  Search sessions (src_inter.csv) and the social network are not read;
* author 0, category 0 and upload on 1 January 1970 stand for unknown.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from emer.data.adapter import About, Part, Types
from emer.data.cells import (
    amount,
    beijing_day,
    beijing_hour,
    category,
    flag,
    played_long,
    played_to_the_end,
    text_day,
    whole_ms,
)
from emer.data.log import LogTables
from emer.data.raw import data_folder, existing, read_table

HOME = "https://zenodo.org/records/8181109 (KuaiSAR_v2.zip is the full version, KuaiSAR.zip the small one)"
_FLAGS = ("click", "like", "follow", "forward", "search")
LABELS = (*_FLAGS, "long_view", "complete")
_USER = ("search_active_level", "rec_active_level", "onehot_feat1", "onehot_feat2")
_LEVELS = tuple(f"{level}_level_category_id" for level in ("first", "second", "third", "fourth"))
_TEXTS = ("item_type", "upload_type")

ABOUT = About(
    name="KuaiSAR",
    licence="CC BY-NC-SA 4.0",
    citation=(
        "Zhongxiang Sun, Zihua Si, Xiaoxue Zang, Dewei Leng, Yanan Niu, Yang Song, Xiao Zhang, Jun Xu. "
        "KuaiSAR: A Unified Search And Recommendation Dataset. CIKM 2023. arXiv 2306.07705"
    ),
    home="https://kuaisar.github.io, https://zenodo.org/records/8181109",
    requests=(
        "Requests proper as far as the log goes: items sent to a user together share their timestamp. Items of a "
        "request that the log leaves out are unknown."
    ),
    known_faults=(
        "Rows with click 0 and 1 are about as many (1:1): the log is balanced by sampling or by a definition of click "
        "that is the platform's own, so click rates are not those of traffic.",
        "long_view and complete are derived from the time played.",
        "User activity levels are of the past month; which month is not documented, so they may know the test days.",
        "Users are those who both searched and were recommended to: not a sample of all users.",
        "Candidates that were not exposed are sampled; their feedback is unknown and masked, not 0.",
    ),
)


@dataclass(frozen=True)
class KuaiSAR:
    """Finds and maps the files.

    Attributes:
        root: the unpacked archive.
    """

    root: str | Path | None

    about = ABOUT
    user = "user_id"

    def parts(self) -> Sequence[Part]:
        columns: Types = {
            **dict.fromkeys(("user_id", "item_id", *_FLAGS), pl.Int64),
            **dict.fromkeys(("timestamp", "playing_time", "duration_ms"), pl.Float64),
        }
        checks = {column: flag(column) for column in _FLAGS}
        checks |= {column: amount(column) for column in ("playing_time", "duration_ms")}
        checks["timestamp"] = whole_ms("timestamp")
        path = self._file("rec_inter.csv")
        return [Part(path=path, columns=columns, optional=("playing_time", "duration_ms"), checks=checks)]

    def files(self) -> Sequence[Path]:
        return [self._file(name) for name in ("rec_inter.csv", "user_features.csv", "item_features.csv")]

    def tables(self) -> LogTables:
        return LogTables(
            name="KuaiSAR",
            users=self._users(),
            items=self._items(),
            labels=LABELS,
            user_categories=_USER,
            item_categories=("author_id", *_TEXTS, *_LEVELS),
            context_categories=("hour",),
            history_keys=("user_id", "item_id", "author_id", "second_level_category_id"),
        )

    def exposures(self, raw: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        rows = raw.unique(["user_id", "item_id", "timestamp"], keep="first", maintain_order=True)
        play, duration = pl.col("playing_time").fill_null(0), pl.col("duration_ms")
        time = pl.col("timestamp").round().cast(pl.Int64)
        exposures = rows.select(
            pl.col("user_id"),
            pl.col("item_id"),
            time.alias("time_ms"),
            beijing_day(time).alias("day"),
            *((pl.col(column) == 1).alias(column) for column in _FLAGS),
            played_long(play, duration).alias("long_view"),
            played_to_the_end(play, duration).alias("complete"),
            (play / 1000).cast(pl.Float32).alias("watch_seconds"),
            beijing_hour(time).alias("hour"),
            time.alias("request"),
        ).sort("day", "time_ms", "user_id", "item_id")
        counts = {
            "rows": raw.height,
            "repeated_rows_dropped": raw.height - rows.height,
            "rows_without_playing_time": rows["playing_time"].null_count(),
            "rows_without_duration": rows.filter(~(duration > 0).fill_null(False)).height,
        }
        return exposures, counts

    def _file(self, name: str) -> Path:
        advice = f"Download KuaiSAR from {HOME}, unpack it, and set data.root=<the unpacked folder>."
        return existing(data_folder(self.root, advice) / name, advice)

    def _users(self) -> pl.DataFrame:
        columns: Types = dict.fromkeys(("user_id", *_USER), pl.Int64)
        return read_table(Part(path=self._file("user_features.csv"), columns=columns, optional=_USER))

    def _items(self) -> pl.DataFrame:
        ids = ("author_id", *_LEVELS)
        columns: Types = {
            **dict.fromkeys(("item_id", *ids), pl.Int64),
            **dict.fromkeys((*_TEXTS, "upload_time"), pl.String),
        }
        optional = (*ids, *_TEXTS, "upload_time")
        frame = read_table(Part(path=self._file("item_features.csv"), columns=columns, optional=optional))
        day = text_day("upload_time")
        return frame.select(
            "item_id",
            *(pl.when(pl.col(column) > 0).then(pl.col(column)).alias(column) for column in ids),
            *(category(column) for column in _TEXTS),
            pl.when(day > 0).then(day).alias("upload_day"),
        )
