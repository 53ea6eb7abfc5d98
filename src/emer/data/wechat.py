"""WeChat Channels (WeChat Big Data Challenge 2021): the official CSV files, which number the days and have no clock.

What is done to the rows, and why:

* ``date_`` numbers the days (1 to 14) and is the day. Within a day only the order of a user's rows in the file is
  left, and that it is that of time is an assumption: ``time_ms`` is date_ * 86,400,000 + position;
* a row that is repeated whole is dropped and counted. Other rows of the same user, feed and day are further views;
* ``profile`` is click_avatar; the other labels are the log's own columns. ``complete`` is play (milliseconds) >=
  videoplayseconds of feed_info; stay, which counts pauses too, is not read;
* of the lists of keywords and tags the first tag given by hand is read; texts and the embeddings are not.

Days, files and columns are as in the official baseline and the notes of teams: the official page needs a login.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from emer.data.adapter import About, Part, Types
from emer.data.cells import DAY_MS, code, flag, log1p, played_to_the_end
from emer.data.log import PERIODS, LogTables
from emer.data.raw import data_folder, existing, read_table

HOME = "https://algo.weixin.qq.com (wechat_algo_data1.zip or wechat_algo_data2.zip)"
_FLAGS = {
    "like": "like",
    "follow": "follow",
    "comment": "comment",
    "forward": "forward",
    "click_avatar": "profile",
    "read_comment": "read_comment",
    "favorite": "favorite",
}
LABELS = (*_FLAGS.values(), "complete")
_FEED = ("authorid", "bgm_song_id", "bgm_singer_id")

ABOUT = About(
    name="WeChat Channels",
    licence="terms of the WeChat Big Data Challenge 2021; no public licence is known",
    citation="WeChat Big Data Challenge 2021 (China Collegiate Computing Contest), WeChat Channels.",
    home=f"https://github.com/WeChat-Big-Data-Challenge-2021/WeChat_Big_Data_Challenge, {HOME}",
    requests=("Pseudo-requests: a user's day. There is no clock, and the log does not say what was ranked together."),
    known_faults=(
        "Users and rows are a sample of traffic whose rule is not documented.",
        "The order within a day is that of the file; that it is the order of time is an assumption.",
        "Users have no features.",
        "comment, follow and favorite are rare: figures on objectives marked noisy are noise.",
        "Candidates that were not exposed are sampled; their feedback is unknown and masked, not 0.",
    ),
)


@dataclass(frozen=True)
class WeChat:
    """Finds and maps the files.

    Attributes:
        root: the folder with ``user_action.csv`` and ``feed_info.csv``.
    """

    root: str | Path | None

    about = ABOUT
    user = "userid"

    def parts(self) -> Sequence[Part]:
        columns: Types = dict.fromkeys(("userid", "feedid", "date_", "device", *_FLAGS, "play"), pl.Int64)
        checks = {column: flag(column) for column in _FLAGS}
        checks["device"] = code("device")
        checks |= {"play": pl.col("play") >= 0, "date_": pl.col("date_").is_between(0, PERIODS - 1)}
        return [Part(path=self._file("user_action.csv"), columns=columns, checks=checks)]

    def files(self) -> Sequence[Path]:
        return [self._file("user_action.csv"), self._file("feed_info.csv")]

    def tables(self) -> LogTables:
        return LogTables(
            name="WeChat Channels",
            users=pl.DataFrame(schema={"user_id": pl.Int64}),
            items=self._feeds.select(
                pl.col("feedid").alias("item_id"),
                *(pl.col(column).cast(pl.Int64) for column in _FEED),
                pl.col("manual_tag_list").str.extract(r"^(\d+)").cast(pl.Int32).alias("tag"),
                log1p("videoplayseconds").alias("log_duration"),
            ),
            labels=LABELS,
            item_categories=(*_FEED, "tag"),
            item_numbers=("log_duration",),
            context_categories=("device",),
            history_keys=("user_id", "item_id", "authorid", "tag"),
        )

    def exposures(self, raw: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        columns = ["userid", "feedid", "date_", "device", *_FLAGS, "play"]
        rows = raw.unique(columns, keep="first", maintain_order=True).join(
            self._feeds.select("feedid", "videoplayseconds"), on="feedid", how="left", maintain_order="left"
        )
        position = pl.int_range(pl.len(), dtype=pl.Int64).over("userid", "date_")
        duration = pl.col("videoplayseconds") * 1000
        exposures = rows.select(
            pl.col("userid").alias("user_id"),
            pl.col("feedid").alias("item_id"),
            (pl.col("date_") * DAY_MS + position).alias("time_ms"),
            pl.col("date_").cast(pl.Int32).alias("day"),
            *((pl.col(column) == 1).alias(label) for column, label in _FLAGS.items()),
            played_to_the_end(pl.col("play"), duration).alias("complete"),
            (pl.col("play") / 1000).cast(pl.Float32).alias("watch_seconds"),
            pl.col("device").cast(pl.Int32),
        ).sort("day", "time_ms", "user_id", "item_id")
        counts = {
            "rows": raw.height,
            "repeated_rows_dropped": raw.height - rows.height,
            "rows_without_duration": rows.filter(~(duration > 0).fill_null(False)).height,
        }
        return exposures, counts

    def _file(self, name: str) -> Path:
        advice = f"Download the challenge's data from {HOME}, unpack them, and set data.root=<the folder with {name}>."
        return existing(data_folder(self.root, advice) / name, advice)

    @cached_property
    def _feeds(self) -> pl.DataFrame:
        columns: Types = {
            "feedid": pl.Int64,
            **dict.fromkeys((*_FEED, "videoplayseconds"), pl.Float64),
            "manual_tag_list": pl.String,
        }
        optional = (*_FEED, "videoplayseconds", "manual_tag_list")
        return read_table(Part(path=self._file("feed_info.csv"), columns=columns, optional=optional))
