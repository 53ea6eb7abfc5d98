"""KuaiRand (Gao et al., CIKM 2022; CC BY-SA 4.0): the official CSV files of Pure, 1K or 27K as one log.

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
from dataclasses import dataclass
from pathlib import Path

import polars as pl

from emer.data.csv_files import Types, read_csv
from emer.data.log import InteractionLog
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
_USER_CATEGORIES = (
    *("user_active_degree", "is_live_streamer", "is_video_author"),
    *("follow_user_num_range", "fans_user_num_range", "friend_user_num_range", "register_days_range"),
    *(f"onehot_feat{i}" for i in range(18)),
)
_USER_COUNTS = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
_VIDEO_CATEGORIES = ("author_id", "video_type", "upload_type", "music_type", "tag")
_VIDEO_SIZES = ("video_duration", "server_width", "server_height")


@dataclass(frozen=True)
class KuaiRandFiles:
    """Where the files of one version are. ``random`` is empty where that log was not downloaded."""

    version: str
    standard: tuple[Path, ...]
    random: tuple[Path, ...]
    users: tuple[Path, ...]
    videos: tuple[Path, ...]


def find_files(root: str | Path | None, version: str = "auto") -> KuaiRandFiles:
    """Find the files in ``root`` or ``root/data``.

    Raises:
        DataError: ``root`` is not set or not there, holds no KuaiRand log, holds several versions while
            ``version`` is ``auto``, or lacks the user or video features.
    """
    advice = f"Download KuaiRand from {HOME}, unpack it, and set data.root=<the unpacked folder>."
    if not root:
        raise DataError(f"data.root is not set. {advice}")
    folder = Path(root).expanduser()
    if not folder.is_dir():
        raise DataError(f"{folder} is not a folder. {advice}")
    if version not in ("auto", *VERSIONS):
        raise DataError(f"version is {version!r}; known are auto, {', '.join(VERSIONS)}")
    folder = folder / "data" if (folder / "data").is_dir() else folder
    names = sorted(p for p in folder.iterdir() if p.suffix == ".csv")
    pattern = re.compile(r"log_(standard|random)_.*?_(pure|1k|27k)(_part\d+)?\.csv")
    logs = [(m[1], m[2], p) for p in names if (m := pattern.fullmatch(p.name))]
    found = sorted({v for kind, v, _ in logs if kind == "standard" and version in ("auto", v)})
    if not found:
        wanted = "" if version == "auto" else f" of version {version}"
        raise DataError(f"{folder} has no log_standard_*.csv{wanted}. {advice}")
    if len(found) > 1:
        raise DataError(f"{folder} holds the versions {', '.join(found)}; choose one with data.source.version=")
    chosen = found[0]

    def features(stem: str) -> tuple[Path, ...]:
        files = tuple(p for p in names if re.fullmatch(rf"{stem}_{chosen}(_part\d+)?\.csv", p.name))
        if not files:
            raise DataError(f"{folder} lacks {stem}_{chosen}.csv. {advice}")
        return files

    return KuaiRandFiles(
        version=chosen,
        standard=tuple(p for kind, v, p in logs if kind == "standard" and v == chosen),
        random=tuple(p for kind, v, p in logs if kind == "random" and v == chosen),
        users=features("user_features"),
        videos=features("video_features_basic"),
    )


def read_log(
    files: KuaiRandFiles, *, include_random: bool = False, user_share: float = 1.0
) -> tuple[InteractionLog, dict[str, int]]:
    """Read and clean the log.

    Args:
        files: of :func:`find_files`.
        include_random: add the exposures that were drawn at random.
        user_share: in (0, 1]; keep this share of the users (by a fixed hash of the id), for the sizes of 27K.

    Returns:
        The log, and counts of the rows read, dropped and known to be faulty.

    Raises:
        DataError: a column is missing or a cell is not what it must be (file, line and column are named), or
            no row is left.
    """
    if not 0 < user_share <= 1:
        raise DataError(f"user_share is {user_share}; it must lie in (0, 1]")
    if include_random and not files.random:
        raise DataError(f"include_random is on, but {files.standard[0].parent} has no log_random_*.csv")
    keep = pl.col("user_id") * 2_654_435_761 % 2**32 < user_share * 2**32
    where = keep if user_share < 1 else None
    paths = files.standard + (files.random if include_random else ())
    rows = pl.concat([_read_exposures(path, where) for path in paths])
    if rows.is_empty():
        raise DataError(f"{', '.join(p.name for p in paths)}: no exposure to read")
    exposures = rows.unique(["user_id", "video_id", "time_ms"], keep="first", maintain_order=True)
    facts = {
        "rows": rows.height,
        "repeated_rows_dropped": rows.height - exposures.height,
        "rows_without_duration": int((exposures["duration_ms"] == 0).sum()),
        "users": exposures["user_id"].n_unique(),
        "videos": exposures["video_id"].n_unique(),
    }
    log = InteractionLog(
        name=f"KuaiRand {files.version}",
        exposures=_exposures(exposures),
        users=_users(files.users, where),
        items=_videos(files.videos),
        labels=LABELS,
        user_categories=_USER_CATEGORIES,
        user_numbers=tuple(f"log_{c}" for c in _USER_COUNTS),
        item_categories=_VIDEO_CATEGORIES,
        item_numbers=("log_duration", "log_width", "log_height"),
        context_categories=("tab", "hour"),
        history_keys=("user_id", "item_id", "author_id", "tag"),
    )
    return log, facts


def _read_exposures(path: Path, where: pl.Expr | None) -> pl.DataFrame:
    flags = (*_FLAGS, "is_hate")
    checks = {c: pl.col(c).is_in([0, 1]) for c in flags}
    checks |= {c: pl.col(c) >= 0 for c in ("play_time_ms", "duration_ms", "comment_stay_time")}
    checks |= {"date": _day().is_not_null(), "hourmin": pl.col("hourmin").is_between(0, 2359)}
    return read_csv(path, dict.fromkeys(_LOG_COLUMNS, pl.Int64), checks=checks, where=where)


def _exposures(rows: pl.DataFrame) -> pl.DataFrame:
    play, duration = pl.col("play_time_ms"), pl.col("duration_ms")
    return rows.select(
        pl.col("user_id"),
        pl.col("video_id").alias("item_id"),
        pl.col("time_ms"),
        _day().alias("day"),
        *(pl.col(column).cast(pl.Boolean).alias(label) for column, label in _FLAGS.items()),
        ((play >= duration) & (duration > 0)).alias("complete"),
        (pl.col("comment_stay_time") > 0).alias("comment_stay"),
        (play / 1000).cast(pl.Float32).alias("watch_seconds"),
        pl.col("is_hate").cast(pl.Float32).alias("negative"),
        pl.col("tab").cast(pl.Int32),
        (pl.col("hourmin") // 100).cast(pl.Int32).alias("hour"),
    ).sort("day", "time_ms", "user_id", "item_id")


def _day() -> pl.Expr:
    """The log's date, such as 20220501, as a day number; null where it is none."""
    return pl.col("date").cast(pl.String).str.to_date("%Y%m%d", strict=False).cast(pl.Int32)


def _users(paths: tuple[Path, ...], where: pl.Expr | None) -> pl.DataFrame:
    columns: Types = {
        "user_id": pl.Int64,
        **dict.fromkeys(_USER_CATEGORIES, pl.String),
        **dict.fromkeys(_USER_COUNTS, pl.Float64),
    }
    optional = (*_USER_CATEGORIES, *_USER_COUNTS)
    frame = pl.concat([read_csv(path, columns, optional=optional, where=where) for path in paths])
    return frame.select(
        "user_id",
        *(_category(c) for c in _USER_CATEGORIES),
        *(_log1p(c).alias(f"log_{c}") for c in _USER_COUNTS),
    )


def _videos(paths: tuple[Path, ...]) -> pl.DataFrame:
    columns: Types = {
        "video_id": pl.Int64,
        **dict.fromkeys((*_VIDEO_CATEGORIES, "upload_dt"), pl.String),
        **dict.fromkeys(_VIDEO_SIZES, pl.Float64),
    }
    optional = (*_VIDEO_CATEGORIES, *_VIDEO_SIZES, "upload_dt")
    frame = pl.concat([read_csv(path, columns, optional=optional) for path in paths])
    seconds = pl.when(pl.col("video_duration") > 0).then(pl.col("video_duration") / 1000)
    return frame.with_columns(pl.col("tag").str.split(",").list.first(), video_duration=seconds).select(
        pl.col("video_id").alias("item_id"),
        *(_category(c) for c in _VIDEO_CATEGORIES),
        *(_log1p(c).alias(f"log_{n}") for c, n in zip(_VIDEO_SIZES, ("duration", "width", "height"), strict=True)),
        pl.col("upload_dt").str.to_date("%Y-%m-%d", strict=False).cast(pl.Int32).alias("upload_day"),
    )


def _category(column: str) -> pl.Expr:
    """Text values as small integers; the files' own marks for unknown become null.

    The same value is written 1 in one version and 1.0 in another.
    """
    text = pl.col(column).str.strip_suffix(".0")
    known = pl.when(~text.is_in(["UNKNOWN", "-124", ""])).then(text)
    return known.rank("dense").cast(pl.Int32).alias(column)


def _log1p(column: str) -> pl.Expr:
    value = pl.col(column)
    return pl.when(value >= 0).then(value).log1p().cast(pl.Float32)
