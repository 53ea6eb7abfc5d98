"""WeChat Channels: numbered days, the file's order within a day."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pytest
from tests.data.in_memory import load_log

from emer.data.log import InteractionLog, day_text
from emer.data.wechat import LABELS, WeChat
from emer.errors import DataError

from .official_files import WECHAT, WECHAT_FEEDS, wechat_feed, wechat_row
from .toy_views import Row, write_csv

DAY = 86_400_000


def read(root: Path, rows: list[Row], feeds: list[Row] | None = None) -> tuple[InteractionLog, dict[str, int]]:
    write_csv(root / "user_action.csv", WECHAT, rows)
    write_csv(root / "feed_info.csv", WECHAT_FEEDS, feeds or [wechat_feed(i) for i in range(10)])
    return load_log(WeChat(root))


def test_feedback_of_wechat(tmp_path: Path) -> None:
    official = {"click_avatar": "profile"} | {
        name: name for name in ("read_comment", "comment", "like", "forward", "follow", "favorite")
    }
    log, _ = read(tmp_path, [wechat_row(feedid=i, **{column: 1}) for i, column in enumerate(official)])
    for i, label in enumerate(official.values()):
        assert [name for name in LABELS if log.exposures[name][i]] == [label]


def test_complete_compares_milliseconds_with_seconds(tmp_path: Path) -> None:
    feeds = [wechat_feed(0, videoplayseconds=10), wechat_feed(1, videoplayseconds=0), wechat_feed(2)]
    played = [(0, 9_999), (0, 10_000), (1, 5_000), (9, 99_000)]  # feed 9 is not described
    log, counts = read(tmp_path, [wechat_row(feedid=f, play=p, stay=10**6) for f, p in played], feeds)
    assert log.exposures["complete"].to_list() == [False, True, False, False]
    assert log.exposures["watch_seconds"].to_list() == pytest.approx([9.999, 10, 5, 99])
    assert counts["rows_without_duration"] == 2


def test_within_a_day_the_files_order_is_kept(tmp_path: Path) -> None:
    seen = [(0, 2, 5), (1, 1, 6), (0, 1, 9), (0, 1, 3), (0, 2, 1), (0, 14, 2)]  # user, day, feed
    log, _ = read(tmp_path, [wechat_row(userid=u, date_=d, feedid=f) for u, d, f in seen])
    assert log.exposures.select("user_id", "day", "item_id", "time_ms").rows() == [
        (0, 1, 9, 1 * DAY),
        (1, 1, 6, 1 * DAY),
        (0, 1, 3, 1 * DAY + 1),
        (0, 2, 5, 2 * DAY),
        (0, 2, 1, 2 * DAY + 1),
        (0, 14, 2, 14 * DAY),
    ]
    assert [day_text(day) for day in log.days] == ["period 1", "period 2", "period 14"]


def test_rows_repeated_whole_are_dropped(tmp_path: Path) -> None:
    rows = [wechat_row(), wechat_row(stay=9), wechat_row(play=1), wechat_row(userid=1)]  # stay is not read
    log, counts = read(tmp_path, rows)
    assert log.exposures.height == 3 and counts["repeated_rows_dropped"] == 1


def test_feeds_are_described(tmp_path: Path) -> None:
    feeds = [wechat_feed(0), wechat_feed(1, bgm_song_id=None, manual_tag_list=None, videoplayseconds=None)]
    log, _ = read(tmp_path, [wechat_row()], feeds)
    assert log.items["tag"].to_list() == [12, None]  # the first of 12;3
    assert log.items["bgm_song_id"].to_list() == [8, None] and log.items["authorid"].to_list() == [3, 3]
    assert log.items["log_duration"].to_list() == pytest.approx([math.log(11), None])
    assert log.users.is_empty() and log.describe(log.exposures).height == 1


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("date_", -1, "-1 is not possible"),
        ("date_", "2021-05-01", "'2021-05-01'"),
        ("favorite", 3, "3 is not possible"),
        ("play", None, "empty"),
        ("play", -4, "-4 is not possible"),
        ("device", 2**31, "2147483648 is not possible"),
    ],
)
def test_a_bad_value_of_wechat_is_located(tmp_path: Path, column: str, value: Any, shown: str) -> None:
    with pytest.raises(DataError) as caught:
        read(tmp_path, [wechat_row(), wechat_row(feedid=1), wechat_row(feedid=2) | {column: value}])
    message = str(caught.value)
    assert "user_action.csv, line 4" in message and f"column {column}" in message and shown in message
