"""KuaiRand (Gao et al., CIKM 2022; CC BY-SA 4.0): the official CSV files of Pure, 1K or 27K.

What is done to the rows, and why:

* repeated (user_id, video_id, time_ms) rows are one exposure logged twice: the first is kept;
* ``duration_ms = 0`` (pictures and the like) leaves the watch ratio undefined: ``complete`` is False there,
  and the item's duration is unknown, not 0;
* ``complete`` is play_time_ms >= duration_ms; ``profile`` is is_profile_enter; ``comment_stay`` is
  comment_stay_time > 0; ``negative`` is is_hate; all other labels are the log's own columns;
* the day and hour are the log's ``date`` and ``hourmin`` (when the video was watched, Beijing time);
  ``time_ms`` is the delivery, up to some ten minutes earlier;
* ``video_features_statistic`` is never read: its averages run over the whole month, test days included.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from emer.data.adapter import About, Part, Types
from emer.data.cells import category, code, flag, log1p, log_seconds, played_to_the_end, text_day, whole_ms
from emer.data.log import LogTables
from emer.data.raw import data_folder, read_table
from emer.errors import DataError

HOME = "https://zenodo.org/records/10439422 (KuaiRand-Pure.tar.gz, KuaiRand-1K.tar.gz or KuaiRand-27K.tar.gz)"
VERSIONS = ("pure", "1k", "27k")

_FLAGS = {
    "is_click": "click",
    "long_view": "long_view",
    "is_like": "like",
    "is_follow": "follow",
    "is_comment": "comment",
    "is_forward": "forward",
    "is_profile_enter": "profile",
}
_LOG_COLUMNS = (
    *("user_id", "video_id", "date", "hourmin", "time_ms", *_FLAGS, "is_hate"),
    *("play_time_ms", "duration_ms", "comment_stay_time", "tab"),
)
LABELS = ("click", "long_view", "complete", "like", "follow", "comment", "forward", "profile", "comment_stay")
USER_CATEGORIES = (
    *("user_active_degree", "is_live_streamer", "is_video_author"),
    *("follow_user_num_range", "fans_user_num_range", "friend_user_num_range", "register_days_range"),
    *(f"onehot_feat{i}" for i in range(18)),
)
USER_COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
_VIDEO_CATEGORIES = ("author_id", "video_type", "upload_type", "music_type", "tag")
_VIDEO_SIZES = ("video_duration", "server_width", "server_height")

ABOUT = About(
    name="KuaiRand",
    licence="CC BY-SA 4.0",
    citation=(
        "Chongming Gao, Shijun Li, Yuan Zhang, Jiawei Chen, Biao Li, Wenqiang Lei, Peng Jiang, Xiangnan He. "
        "KuaiRand: An Unbiased Sequential Recommendation Dataset with Randomly Exposed Videos. CIKM 2022. "
        "doi 10.1145/3511808.3557624"
    ),
    home="https://kuairand.com, https://zenodo.org/records/10439422",
    requests=(
        "Pseudo-requests: the log does not say what was ranked together. In 1K and 27K rows of one user and time_ms "
        "were delivered together (grouping=shared_time); else a user's day or consecutive exposures stand in."
    ),
    known_faults=(
        "Candidates that were not exposed are sampled; their feedback is unknown and masked, not 0.",
        "Pure keeps only the exposures of a pool of some 7,500 videos, so a user's day is incomplete.",
        "Repeated (user_id, video_id, time_ms) rows were dropped; of an item shown twice in one request the "
        "first exposure is kept.",
        "Rows with duration_ms = 0 have no watch ratio: complete is False there.",
        "click depends on the user interface (tab): in two-column tabs it is a click, else a valid play.",
        "date is when a video was watched, time_ms when it was delivered, up to some ten minutes earlier.",
        "follow, forward and comment are rare: figures on objectives marked noisy are noise.",
        "User features are one snapshot; when it was taken is not documented.",
    ),
)


@dataclass(frozen=True)
class KuaiRand:
    """Finds and maps the files of one version.

    Attributes:
        root: the unpacked archive, or its ``data`` folder.
        version: ``pure``, ``1k`` or ``27k``; ``auto`` takes the one that is there.
        include_random: add the exposures that were drawn at random, marked ``explored``.
    """

    root: str | Path | None
    version: str = "auto"
    include_random: bool = False

    about = ABOUT
    user = "user_id"

    def parts(self) -> Sequence[Part]:
        flags = (*_FLAGS, "is_hate")
        checks = {c: flag(c) for c in flags}
        checks |= {c: pl.col(c) >= 0 for c in ("play_time_ms", "duration_ms", "comment_stay_time")}
        checks |= {"tab": code("tab"), "time_ms": whole_ms("time_ms")}
        checks |= {"date": _day().is_not_null(), "hourmin": pl.col("hourmin").is_between(0, 2359)}
        columns = dict.fromkeys(_LOG_COLUMNS, pl.Int64)
        return [Part(path=path, columns=columns, checks=checks) for path in self._found.logs]

    def files(self) -> Sequence[Path]:
        return (*self._found.logs, *self._found.users, *self._found.videos)

    def tables(self) -> LogTables:
        return LogTables(
            name=f"KuaiRand {self._found.version}",
            users=read_users(self._found.users),
            items=_videos(self._found.videos),
            labels=LABELS,
            user_categories=USER_CATEGORIES,
            user_numbers=tuple(f"log_{c}" for c in USER_COUNTS),
            item_categories=_VIDEO_CATEGORIES,
            item_numbers=("log_duration", "log_width", "log_height"),
            context_categories=("tab", "hour"),
            history_keys=("user_id", "item_id", "author_id", "tag"),
        )

    def exposures(self, raw: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        rows = raw.unique(["user_id", "video_id", "time_ms"], keep="first", maintain_order=True)
        play, duration = pl.col("play_time_ms"), pl.col("duration_ms")
        random = pl.col("part").is_in([i for i, path in enumerate(self._found.logs) if "log_random" in path.name])
        exposures = rows.select(
            pl.col("user_id"),
            pl.col("video_id").alias("item_id"),
            pl.col("time_ms"),
            _day().alias("day"),
            *(pl.col(column).cast(pl.Boolean).alias(label) for column, label in _FLAGS.items()),
            played_to_the_end(play, duration).alias("complete"),
            (pl.col("comment_stay_time") > 0).alias("comment_stay"),
            (play / 1000).cast(pl.Float32).alias("watch_seconds"),
            pl.col("is_hate").cast(pl.Float32).alias("negative"),
            pl.col("tab").cast(pl.Int32),
            (pl.col("hourmin") // 100).cast(pl.Int32).alias("hour"),
            *([random.alias("explored")] if self.include_random else []),
        ).sort("day", "time_ms", "user_id", "item_id")
        counts = {
            "rows": raw.height,
            "repeated_rows_dropped": raw.height - rows.height,
            "rows_without_duration": int((rows["duration_ms"] == 0).sum()),
        }
        return exposures, counts

    @cached_property
    def _found(self) -> _Files:
        return _find(self.root, self.version, self.include_random)


@dataclass(frozen=True)
class _Files:
    version: str
    logs: tuple[Path, ...]
    users: tuple[Path, ...]
    videos: tuple[Path, ...]


def _find(root: str | Path | None, version: str, include_random: bool) -> _Files:
    advice = f"Download KuaiRand from {HOME}, unpack it, and set data.root=<the unpacked folder>."
    folder = data_folder(root, advice, below="data")
    if version not in ("auto", *VERSIONS):
        raise DataError(f"version is {version!r}; known are auto, {', '.join(VERSIONS)}")
    names = sorted(p for p in folder.iterdir() if p.suffix == ".csv")
    pattern = re.compile(r"log_(standard|random)_.*?_(pure|1k|27k)(_part\d+)?\.csv")
    logs = [(m[1], m[2], p) for p in names if (m := pattern.fullmatch(p.name))]
    found = sorted({v for kind, v, _ in logs if kind == "standard" and version in ("auto", v)})
    if not found:
        wanted = "" if version == "auto" else f" of version {version}"
        raise DataError(f"{folder} has no log_standard_*.csv{wanted}. {advice}")
    if len(found) > 1:
        raise DataError(f"{folder} holds the versions {', '.join(found)}; choose one with data.source.adapter.version=")
    chosen = found[0]

    def features(stem: str) -> tuple[Path, ...]:
        files = tuple(p for p in names if re.fullmatch(rf"{stem}_{chosen}(_part\d+)?\.csv", p.name))
        if not files:
            raise DataError(f"{folder} lacks {stem}_{chosen}.csv. {advice}")
        return files

    standard = tuple(p for kind, v, p in logs if kind == "standard" and v == chosen)
    random = tuple(p for kind, v, p in logs if kind == "random" and v == chosen)
    if include_random and not random:
        raise DataError(f"data.source.adapter.include_random is on, but {folder} has no log_random_*_{chosen}.csv")
    return _Files(
        version=chosen,
        logs=standard + (random if include_random else ()),
        users=features("user_features"),
        videos=features("video_features_basic"),
    )


def _day() -> pl.Expr:
    """The log's date, such as 20220501, as a day number; null where it is none."""
    return pl.col("date").cast(pl.String).str.to_date("%Y%m%d", strict=False).cast(pl.Int32)


def read_users(paths: Sequence[Path]) -> pl.DataFrame:
    """Users of ``user_features`` files, with :data:`USER_CATEGORIES` and the logarithms of :data:`USER_COUNTS`."""
    columns: Types = {
        "user_id": pl.Int64,
        **dict.fromkeys(USER_CATEGORIES, pl.String),
        **dict.fromkeys(USER_COUNTS, pl.Float64),
    }
    optional = (*USER_CATEGORIES, *USER_COUNTS)
    frame = pl.concat([read_table(Part(path=path, columns=columns, optional=optional)) for path in paths])
    return frame.select(
        "user_id",
        *(category(c) for c in USER_CATEGORIES),
        *(log1p(c).alias(f"log_{c}") for c in USER_COUNTS),
    )


def _videos(paths: tuple[Path, ...]) -> pl.DataFrame:
    columns: Types = {
        "video_id": pl.Int64,
        **dict.fromkeys((*_VIDEO_CATEGORIES, "upload_dt"), pl.String),
        **dict.fromkeys(_VIDEO_SIZES, pl.Float64),
    }
    optional = (*_VIDEO_CATEGORIES, *_VIDEO_SIZES, "upload_dt")
    frame = pl.concat([read_table(Part(path=path, columns=columns, optional=optional)) for path in paths])
    return frame.with_columns(pl.col("tag").str.split(",").list.first()).select(
        pl.col("video_id").alias("item_id"),
        *(category(c) for c in _VIDEO_CATEGORIES),
        log_seconds("video_duration").alias("log_duration"),
        log1p("server_width").alias("log_width"),
        log1p("server_height").alias("log_height"),
        text_day("upload_dt").alias("upload_day"),
    )
