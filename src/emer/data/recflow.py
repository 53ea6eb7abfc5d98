"""RecFlow (Liu et al., ICLR 2025; CC BY-SA 4.0): the official Feather files, with candidates that were not shown.

What is done to the rows, and why:

* the shown items of a request are always candidates; ``stages`` adds what the platform's stages kept or dropped.
  Without stages the smaller files of ``realshow`` are read;
* labels and the time watched count where the item was shown; elsewhere they are False, 0 and tell nothing;
* ``long_view`` is the log's own: at least 100 % watched, which other logs call ``complete``, so there is no
  ``complete`` here; ``effective_view`` is at least 30 %;
* ``previous_score`` is 1 / (1 + rank_index), the order of the platform's ranking stage. A candidate that the stage
  never ranked has 0, below all others: one dropped before it, or one without an index;
* rows of one request_id and request_timestamp are a request, and ``request`` is its number among the user's: should
  ids begin anew with every file, no request would mix two days;
* a video repeated in a request is one candidate: the shown row counts, else the first;
* users and items have no files; they are described by the first row of theirs that is a candidate.

That request_timestamp is in milliseconds and upload_timestamp in seconds is how the authors' code reads them
(RecFlow-ICLR/RecFlow, rank/dataset.py). That playing_time is in milliseconds, as duration is, is an assumption; the
count ``long_views_played_shorter`` would be close to all long views were it wrong. How a missing rank index is
written is not documented: empty and negative ones count as missing.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import polars as pl

from emer.data.adapter import About, Part, Types
from emer.data.cells import beijing_day, beijing_hour, flag, log_seconds, whole_ms
from emer.data.log import LogTables, day_number, day_text
from emer.data.raw import data_folder, first_rows
from emer.errors import DataError

HOME = "https://rec.ustc.edu.cn/share/f8e5adc0-2e57-11ef-bea5-3b4cac9d110e"
STAGES = ("rerank_pos", "rerank_neg", "rank_pos", "rank_neg", "coarse_neg", "prerank_neg")
_RANKED = {
    "rank_index": ("realshow", "rerank_pos", "rerank_neg", "rank_pos", "rank_neg"),
    "rerank_index": ("realshow", "rerank_pos", "rerank_neg"),
}
"""Column of a rank -> the flags of candidates that got that far."""

LABELS = ("effective_view", "long_view", "like", "follow", "forward", "comment")
_USER = ("age", "gender", "province")
_VIDEO_CATEGORIES = ("author_id", "category_level_one", "category_level_two", "upload_type")
_VIDEO = (*_VIDEO_CATEGORIES, "upload_timestamp", "duration")

ABOUT = About(
    name="RecFlow",
    licence="CC BY-SA 4.0",
    citation=(
        "Qi Liu, Kai Zheng, Rui Huang, Wuchao Li, Kuo Cai, Yuan Chai, Yanan Niu, Yiqun Hui, Bing Han, Na Mou, "
        "Hongning Wang, Wentian Bao, Yunen Yu, Guorui Zhou, Han Li, Yang Song, Defu Lian, Kun Gai. "
        "RecFlow: An Industrial Full Flow Recommendation Dataset. ICLR 2025. arXiv 2410.20868"
    ),
    home=f"https://github.com/RecFlow-ICLR/RecFlow, {HOME}",
    requests="Requests proper (request_id), with candidates of the platform's own stages; none is sampled.",
    known_faults=(
        "The log keeps a sample of what each stage dropped: a request's candidates are not all that were there.",
        "Feedback on items that were not shown is unknown and masked, not 0.",
        "previous_score knows the platform's order only, not its scores; unranked candidates share the last place.",
        "long_view is at least 100 % watched; there is no complete beside it.",
        "The unit of playing_time is not documented; milliseconds are assumed.",
        "Age, gender and province are those of a user's first row.",
        "The Spring Festival of 10 February 2024 lies in the second half: its days are unlike those before.",
    ),
)


@dataclass(frozen=True)
class RecFlow:
    """Finds and maps the files.

    Attributes:
        root: the folder with ``all_stage`` and ``realshow``.
        stages: official flags (:data:`STAGES`); an item with any of them is a candidate besides the shown ones.
        days: first and last file to read, as ISO dates; all files where it is not given.
        previous: ``rank_index`` or ``rerank_index``: which of the platform's orders is the previous score.
    """

    root: str | Path | None
    stages: Sequence[str] = ("rerank_pos", "rerank_neg", "rank_pos", "rank_neg")
    days: Sequence[str] | None = None
    previous: str = "rank_index"

    about = ABOUT
    user = "user_id"

    def __post_init__(self) -> None:
        unknown = [stage for stage in self.stages if stage not in STAGES]
        if isinstance(self.stages, str) or unknown:
            raise DataError(f"stages are {self.stages!r}; known are {', '.join(STAGES)}; [] is the shown items alone")
        if self.previous not in _RANKED:
            raise DataError(f"previous is {self.previous!r}; known are {', '.join(_RANKED)}")

    def parts(self) -> Sequence[Part]:
        shown = pl.col("realshow") == 1
        checks = {stage: flag(stage) for stage in ("realshow", *STAGES)}
        checks |= {label: (~shown | flag(label)).fill_null(False) for label in LABELS}
        checks["playing_time"] = (~shown | (pl.col("playing_time") >= 0)).fill_null(False)
        checks["request_timestamp"] = whole_ms("request_timestamp")
        ids = ("request_id", "request_timestamp", "user_id", "video_id")
        feedback = (*_RANKED, "playing_time", *LABELS)
        columns = dict.fromkeys((*ids, *_USER, *_VIDEO, "realshow", *STAGES, *feedback), pl.Int64)
        return [
            Part(
                path=path,
                columns=columns,
                optional=(*_USER, *_VIDEO, *feedback),
                checks=checks,
                keep=pl.any_horizontal(pl.col("realshow", *self.stages) == 1),
            )
            for path in self._found
        ]

    def files(self) -> Sequence[Path]:
        return self._found

    def tables(self) -> LogTables:
        columns: Types = dict.fromkeys(("user_id", *_USER, "video_id", *_VIDEO, "realshow", *self.stages), pl.Int64)
        parts = [
            Part(path=part.path, columns=columns, optional=(*_USER, *_VIDEO), keep=part.keep) for part in self.parts()
        ]
        users, videos = first_rows(parts, {"user_id": _USER, "video_id": _VIDEO})
        return LogTables(
            name="RecFlow",
            users=users.select("user_id", *(_known(c) for c in _USER)),
            items=videos.select(
                pl.col("video_id").alias("item_id"),
                *(_known(c) for c in _VIDEO_CATEGORIES),
                log_seconds("duration").alias("log_duration"),
                pl.when(pl.col("upload_timestamp") > 0)
                .then(beijing_day(pl.col("upload_timestamp") * 1000))
                .alias("upload_day"),
            ),
            labels=LABELS,
            user_categories=_USER,
            item_categories=_VIDEO_CATEGORIES,
            item_numbers=("log_duration",),
            context_categories=("hour",),
            history_keys=("user_id", "item_id", "author_id", "category_level_two"),
        )

    def exposures(self, raw: pl.DataFrame) -> tuple[pl.DataFrame, dict[str, int]]:
        rows = raw.sort("realshow", descending=True, maintain_order=True).unique(
            ["user_id", "request_id", "request_timestamp", "video_id"], keep="first", maintain_order=True
        )
        shown = pl.col("realshow") == 1
        time, rank = pl.col("request_timestamp"), pl.col(self.previous)
        ranked = pl.any_horizontal(pl.col(_RANKED[self.previous]) == 1) & (rank >= 0)
        exposures = rows.select(
            pl.col("user_id"),
            pl.col("video_id").alias("item_id"),
            time.alias("time_ms"),
            beijing_day(time).alias("day"),
            *((shown & (pl.col(label) == 1)).alias(label) for label in LABELS),
            pl.when(shown).then(pl.col("playing_time") / 1000).otherwise(0.0).cast(pl.Float32).alias("watch_seconds"),
            beijing_hour(time).alias("hour"),
            pl.struct(time, "request_id").rank("dense").over("user_id").cast(pl.Int64).alias("request"),
            shown.alias("exposed"),
            pl.when(ranked).then(1 / (1 + rank)).otherwise(0.0).cast(pl.Float32).alias("previous_score"),
        ).sort("day", "time_ms", "user_id", "request", "item_id")
        shorter = (pl.col("long_view") == 1) & (pl.col("playing_time") < pl.col("duration"))
        counts = {
            "rows": raw.height,
            "repeated_rows_dropped": raw.height - rows.height,
            "candidates_not_shown": int((~exposures["exposed"]).sum()),
            "candidates_not_ranked": int((exposures["previous_score"] == 0).sum()),
            "long_views_played_shorter": rows.filter(shown & shorter).height,
        }
        return exposures, counts

    @cached_property
    def _found(self) -> tuple[Path, ...]:
        name = "all_stage" if self.stages else "realshow"
        advice = f"Download RecFlow from {HOME}, and set data.root=<the folder with {name}>."
        folder = data_folder(self.root, advice) / name
        if not folder.is_dir():
            raise DataError(f"{folder} is not a folder. {advice}")
        dated = {path.stem: path for path in folder.glob("*.feather") if re.fullmatch(_DATE, path.stem)}
        if not dated:
            raise DataError(f"{folder} has no file such as 2024-01-13.feather. {advice}")
        first, last = _span(self.days) if self.days is not None else (min(dated), max(dated))
        missing = [day for day in _dates(first, last) if day not in dated]
        if missing:
            raise DataError(f"{folder} lacks {missing[0]}.feather. {advice} Or set days to those that are there.")
        return tuple(dated[day] for day in _dates(first, last))


_DATE = r"\d{4}-\d\d-\d\d"


def _span(days: Sequence[str]) -> tuple[str, str]:
    """First and last day of the option ``days``."""
    if isinstance(days, str) or len(days) != 2 or not all(re.fullmatch(_DATE, str(day)) for day in days):
        raise DataError(f"days are {days!r}; give the first and the last, [2024-01-13, 2024-02-18]")
    first, last = (str(day) for day in days)
    if first > last:
        raise DataError(f"days end on {last}, before they begin on {first}")
    return first, last


def _dates(first: str, last: str) -> list[str]:
    """All days from ``first`` to ``last``."""
    return [day_text(number) for number in range(day_number(first), day_number(last) + 1)]


def _known(column: str) -> pl.Expr:
    """Ids; a negative one stands for unknown."""
    return pl.when(pl.col(column) >= 0).then(pl.col(column)).alias(column)
