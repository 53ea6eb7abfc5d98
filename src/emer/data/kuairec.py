"""KuaiRec 2.0 (Gao et al., CIKM 2022; CC BY-SA 4.0): the official CSV files of the big or the small matrix.

The log has the time watched and nothing else. What is done to the rows, and why:

* rows without a time (timestamp empty or not positive; the small matrix has some 4 %) cannot be put before or after
  others: they are dropped and counted;
* repeated (user_id, video_id, timestamp) rows are one view logged twice: the first is kept;
* day and hour are the timestamp's (seconds) in Beijing; ``date`` and ``time`` say the same and are not read;
* ``complete`` is play_duration >= video_duration, that is watch_ratio >= 1. ``long_view`` and ``effective_view`` are
  the README's long time play (at least the video or 18 s) and valid play (the video, or more than 7 s of a longer one);
* ``like`` is watch_ratio > 2 and there only if asked for: the README's stand-in, a second threshold on the same
  number and no button anybody pressed;
* of ``item_daily_features`` the first row of every video is read, and only what was fixed at its upload: the counts
  are those of the day itself, and visible_status is that of the time of publication.
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
    log1p,
    log_seconds,
    played_long,
    played_to_the_end,
    text_day,
)
from emer.data.kuairand import USER_CATEGORIES, USER_COUNTS, read_users
from emer.data.log import LogTables
from emer.data.raw import data_folder, existing, first_rows, read_table
from emer.errors import DataError

HOME = "https://zenodo.org/records/18164998 (KuaiRec.zip)"
MATRICES = ("big", "small")
LABELS = ("effective_view", "long_view", "complete")
VALID_MS = 7_000
LIKED = 2
"""Watch ratio above which the README suggests to call a video liked."""

_VIDEO_CATEGORIES = ("author_id", "video_type", "upload_type", "music_id")
_VIDEO_SIZES = ("video_duration", "video_width", "video_height")

ABOUT = About(
    name="KuaiRec",
    licence="CC BY-SA 4.0",
    citation=(
        "Chongming Gao, Shijun Li, Wenqiang Lei, Jiawei Chen, Biao Li, Peng Jiang, Xiangnan He, Jiaxin Mao, "
        "Tat-Seng Chua. KuaiRec: A Fully-Observed Dataset and Insights for Evaluating Recommender Systems. "
        "CIKM 2022. doi 10.1145/3511808.3557220"
    ),
    home="https://kuairec.com, https://zenodo.org/records/18164998",
    requests=(
        "Pseudo-requests: the log does not say what was ranked together; a user's day or consecutive views stand in."
    ),
    known_faults=(
        "All labels are thresholds on the time watched: they are nested, and there is no like, follow or comment.",
        "With proxy_like, like is watch_ratio > 2 and not a like.",
        "The small matrix is nearly complete: its 1,411 users watched nearly all of its 3,327 videos, which no "
        "recommender would have shown. Its rows without a time were dropped.",
        "Candidates that were not exposed are sampled; their feedback is unknown and masked, not 0.",
        "User features are one snapshot; when it was taken is not documented.",
    ),
)


@dataclass(frozen=True)
class KuaiRec:
    """Finds and maps the files of one matrix.

    Attributes:
        root: the unpacked archive, or its ``data`` folder.
        matrix: ``big`` or ``small``.
        proxy_like: add the label ``like`` := watch_ratio > 2.
    """

    root: str | Path | None
    matrix: str = "big"
    proxy_like: bool = False

    about = ABOUT
    user = "user_id"

    def __post_init__(self) -> None:
        if self.matrix not in MATRICES:
            raise DataError(f"matrix is {self.matrix!r}; known are {', '.join(MATRICES)}")

    def parts(self) -> Sequence[Part]:
        columns: Types = {
            **dict.fromkeys(("user_id", "video_id"), pl.Int64),
            **dict.fromkeys(("play_duration", "video_duration", "timestamp", "watch_ratio"), pl.Float64),
        }
        checks = {c: amount(c) for c in ("play_duration", "video_duration")}
        checks["watch_ratio"] = ~pl.col("watch_ratio").is_nan()
        # A time in milliseconds would have three digits more.
        checks["timestamp"] = pl.col("timestamp") < 1e11
        return [Part(path=self._file(self._matrix), columns=columns, optional=("timestamp",), checks=checks)]

    def files(self) -> Sequence[Path]:
        names = (self._matrix, "user_features.csv", "item_categories.csv", "item_daily_features.csv")
        return [self._file(name) for name in names]

    def tables(self) -> LogTables:
        return LogTables(
            name=f"KuaiRec {self.matrix}",
            users=read_users([self._file("user_features.csv")]),
            items=self._videos(),
            labels=(*LABELS, "like") if self.proxy_like else LABELS,
            user_categories=USER_CATEGORIES,
            user_numbers=tuple(f"log_{c}" for c in USER_COUNTS),
            item_categories=(*_VIDEO_CATEGORIES, "tag"),
            item_numbers=("log_duration", "log_width", "log_height"),
            context_categories=("hour",),
            history_keys=("user_id", "item_id", "author_id", "tag"),
        )

    def exposures(self, raw: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        timed = raw.filter(pl.col("timestamp") > 0)
        rows = timed.unique(["user_id", "video_id", "timestamp"], keep="first", maintain_order=True)
        play, duration = pl.col("play_duration"), pl.col("video_duration")
        time = (pl.col("timestamp") * 1000).round().cast(pl.Int64)
        exposures = rows.select(
            pl.col("user_id"),
            pl.col("video_id").alias("item_id"),
            time.alias("time_ms"),
            beijing_day(time).alias("day"),
            (played_to_the_end(play, duration) | ((play > VALID_MS) & (duration > VALID_MS))).alias("effective_view"),
            played_long(play, duration).alias("long_view"),
            played_to_the_end(play, duration).alias("complete"),
            *([(pl.col("watch_ratio") > LIKED).alias("like")] if self.proxy_like else []),
            (play / 1000).cast(pl.Float32).alias("watch_seconds"),
            beijing_hour(time).alias("hour"),
        ).sort("day", "time_ms", "user_id", "item_id")
        counts = {
            "rows": raw.height,
            "rows_without_time_dropped": raw.height - timed.height,
            "repeated_rows_dropped": timed.height - rows.height,
        }
        return exposures, counts

    @property
    def _matrix(self) -> str:
        return f"{self.matrix}_matrix.csv"

    def _file(self, name: str) -> Path:
        advice = f"Download KuaiRec from {HOME}, unpack it, and set data.root=<the unpacked folder>."
        return existing(data_folder(self.root, advice, below="data") / name, advice)

    def _videos(self) -> pl.DataFrame:
        tags = read_table(
            Part(path=self._file("item_categories.csv"), columns={"video_id": pl.Int64, "feat": pl.String})
        )
        columns: Types = {
            "video_id": pl.Int64,
            **dict.fromkeys((*_VIDEO_CATEGORIES, "upload_dt"), pl.String),
            **dict.fromkeys(_VIDEO_SIZES, pl.Float64),
        }
        features = [c for c in columns if c != "video_id"]
        daily = Part(path=self._file("item_daily_features.csv"), columns=columns, optional=features)
        (videos,) = first_rows([daily], {"video_id": features})
        # feat is the text of a list, such as [27, 9].
        first = tags.select("video_id", pl.col("feat").str.extract(r"(\d+)").cast(pl.Int32).alias("tag"))
        return (
            videos.join(first, on="video_id", how="full", coalesce=True)
            .sort("video_id")
            .select(
                pl.col("video_id").alias("item_id"),
                *(category(c) for c in _VIDEO_CATEGORIES),
                "tag",
                log_seconds("video_duration").alias("log_duration"),
                log1p("video_width").alias("log_width"),
                log1p("video_height").alias("log_height"),
                text_day("upload_dt").alias("upload_day"),
            )
        )
