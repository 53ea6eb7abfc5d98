"""The KuaiRand adapter on hand-made files in the official layout."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import polars as pl
import pytest
from tests.data.in_memory import load_log

from emer.data.kuairand import LABELS, KuaiRand
from emer.data.log import day_number
from emer.errors import DataError


def names(*lines: str) -> list[str]:
    return ",".join(lines).split(",")


LOG = names(
    "user_id,video_id,date,hourmin,time_ms,is_click,is_like,is_follow,is_comment,is_forward,is_hate,long_view",
    "play_time_ms,duration_ms,profile_stay_time,comment_stay_time,is_profile_enter,is_rand,tab",
)
USERS = names(
    "user_id,user_active_degree,is_lowactive_period,is_live_streamer,is_video_author,follow_user_num",
    "follow_user_num_range,fans_user_num,fans_user_num_range,friend_user_num,friend_user_num_range",
    "register_days,register_days_range",
    *(f"onehot_feat{i}" for i in range(18)),
)
VIDEOS = names(
    "video_id,author_id,video_type,upload_dt,upload_type,visible_status,video_duration,server_width",
    "server_height,music_id,music_type,tag",
)
MIDNIGHT = 1_651_334_400_000  # 1 May 2022, 00:00 in Beijing


def exposure(**changes: Any) -> dict[str, Any]:
    row = dict.fromkeys(LOG, 0) | {"date": 20220501, "hourmin": 1800, "time_ms": MIDNIGHT + 1, "tab": 1}
    return row | {"play_time_ms": 4000, "duration_ms": 10000} | changes


def user(**changes: Any) -> dict[str, Any]:
    texts = {c: "r" for c in USERS if c.endswith("_range")}
    return dict.fromkeys(USERS, 1) | {"user_active_degree": "full_active"} | texts | changes


def video(**changes: Any) -> dict[str, Any]:
    row = dict.fromkeys(VIDEOS, 1) | {"video_type": "NORMAL", "upload_dt": "2022-04-10", "upload_type": "Web"}
    return row | {"video_duration": 10000.0, "tag": "12,65"} | changes


def csv(columns: list[str], rows: list[dict[str, Any]]) -> str:
    def cell(value: Any) -> str:
        return f'"{value}"' if "," in str(value) else str(value)

    return "\n".join([",".join(columns)] + [",".join(cell(r[c]) for c in columns) for r in rows]) + "\n"


def write(
    root: Path,
    exposures: list[dict[str, Any]],
    users: list[dict[str, Any]] | None = None,
    videos: list[dict[str, Any]] | None = None,
    log: str = "log_standard_4_22_to_5_08_pure.csv",
    version: str = "pure",
) -> Path:
    data = root / "data"
    data.mkdir(parents=True, exist_ok=True)
    (data / log).write_text(csv(LOG, exposures))
    (data / f"user_features_{version}.csv").write_text(csv(USERS, users or [user(user_id=0)]))
    (data / f"video_features_basic_{version}.csv").write_text(csv(VIDEOS, videos or [video(video_id=0)]))
    return root


def read(root: Path, **options: Any) -> Any:
    return load_log(KuaiRand(root, **options))


def test_labels_follow_their_columns(tmp_path: Path) -> None:
    flags = {
        "is_click": "click",
        "long_view": "long_view",
        "is_like": "like",
        "is_follow": "follow",
        "is_comment": "comment",
        "is_forward": "forward",
        "is_profile_enter": "profile",
    }
    rows = [exposure(time_ms=MIDNIGHT + i, **{column: 1}) for i, column in enumerate(flags)]
    rows.append(exposure(time_ms=MIDNIGHT + 100, comment_stay_time=1, is_hate=1))
    log, _ = read(write(tmp_path, rows))
    for i, label in enumerate(flags.values()):
        assert [name for name in LABELS if log.exposures[name][i]] == [label]
    assert [name for name in LABELS if log.exposures[name][len(flags)]] == ["comment_stay"]
    assert log.exposures["negative"].to_list() == [0.0] * len(flags) + [1.0]


@pytest.mark.parametrize(
    ("play", "duration", "complete"),
    [(10, 10, True), (11, 10, True), (9, 10, False), (5, 0, False), (0, 0, False)],
)
def test_complete_needs_a_duration(tmp_path: Path, play: int, duration: int, complete: bool) -> None:
    log, counts = read(write(tmp_path, [exposure(play_time_ms=play, duration_ms=duration)]))
    assert log.exposures["complete"][0] is complete
    assert counts["rows_without_duration"] == (duration == 0)


def test_repeated_rows_are_one_exposure_and_the_first_counts(tmp_path: Path) -> None:
    rows = [exposure(is_like=1), exposure(is_like=0), exposure(user_id=1), exposure(time_ms=MIDNIGHT + 2)]
    log, counts = read(write(tmp_path, rows))
    assert log.exposures.height == 3
    assert counts["repeated_rows_dropped"] == 1
    assert log.exposures.filter(pl.col("time_ms") == MIDNIGHT + 1)["like"].to_list() == [True, False]


def test_time_units_and_order(tmp_path: Path) -> None:
    # Delivered before midnight, watched after it: date decides, so the row belongs to 1 May.
    late = exposure(time_ms=MIDNIGHT - 60_000, hourmin=0, play_time_ms=1500)
    before = exposure(date=20220430, time_ms=MIDNIGHT - 1, hourmin=2300)
    log, _ = read(write(tmp_path, [late, before]))
    assert log.exposures["day"].to_list() == [day_number("2022-04-30"), day_number("2022-05-01")]
    assert log.exposures["hour"].to_list() == [23, 0]
    assert log.exposures["watch_seconds"].to_list() == [4.0, 1.5]


def test_unknown_values_of_features_are_null(tmp_path: Path) -> None:
    users = [
        user(user_id=0, is_live_streamer=-124, onehot_feat4="", onehot_feat12="1.0"),
        user(user_id=1, user_active_degree="UNKNOWN", onehot_feat12=1),
    ]
    videos = [
        video(video_id=0, video_duration="", tag=""),
        video(video_id=1, tag="12"),
        video(video_id=2, tag="12,7"),
    ]
    log, _ = read(write(tmp_path, [exposure()], users, videos))
    assert log.users["is_live_streamer"].is_null().to_list() == [True, False]
    assert log.users["onehot_feat4"].is_null().to_list() == [True, False]
    assert log.users["user_active_degree"].is_null().to_list() == [False, True]
    assert log.users["onehot_feat12"].n_unique() == 1  # 1.0 and 1 are one value
    assert log.items["log_duration"].is_null().to_list() == [True, False, False]
    assert log.items["tag"][0] is None and log.items["tag"][1] == log.items["tag"][2]  # the first tag


@pytest.mark.parametrize("version", ["1k", "27k"])
def test_other_versions_and_parts(tmp_path: Path, version: str) -> None:
    write(tmp_path, [exposure()], log=f"log_standard_4_08_to_4_21_{version}_part1.csv", version=version)
    second = csv(LOG, [exposure(user_id=5)])
    (tmp_path / "data" / f"log_standard_4_08_to_4_21_{version}_part2.csv").write_text(second)
    (tmp_path / "data" / f"log_random_4_22_to_5_08_{version}.csv").write_text(csv(LOG, [exposure(user_id=9)]))
    assert KuaiRand(tmp_path / "data").tables().name == f"KuaiRand {version}"
    assert read(tmp_path)[0].exposures["user_id"].to_list() == [0, 5]
    both, _ = read(tmp_path, include_random=True)
    assert both.exposures.select("user_id", "explored").rows() == [(0, False), (5, False), (9, True)]


def test_missing_places_say_where_to_download(tmp_path: Path) -> None:
    for root, reason in (
        (None, "data.root is not set"),
        (tmp_path / "no", "not a folder"),
        (tmp_path, "has no log_"),
    ):
        with pytest.raises(DataError, match=reason) as caught:
            KuaiRand(root).files()
        assert "zenodo.org" in str(caught.value)


def test_missing_feature_file(tmp_path: Path) -> None:
    (write(tmp_path, [exposure()]) / "data" / "user_features_pure.csv").unlink()
    with pytest.raises(DataError, match=r"lacks user_features_pure\.csv"):
        KuaiRand(tmp_path).files()


def test_several_versions_need_a_choice(tmp_path: Path) -> None:
    write(tmp_path, [exposure()])
    write(tmp_path, [exposure()], log="log_standard_4_08_to_4_21_1k.csv", version="1k")
    with pytest.raises(DataError, match="1k, pure"):
        KuaiRand(tmp_path).files()
    assert KuaiRand(tmp_path, "1k").tables().name == "KuaiRand 1k"
    with pytest.raises(DataError, match="known are auto, pure, 1k, 27k"):
        KuaiRand(tmp_path, "2k").files()


def test_missing_column(tmp_path: Path) -> None:
    write(tmp_path, [exposure()])
    path = tmp_path / "data" / "log_standard_4_22_to_5_08_pure.csv"
    path.write_text(path.read_text().replace("long_view", "longview"))
    with pytest.raises(DataError, match=r"pure\.csv lacks the column long_view"):
        read(tmp_path)


@pytest.mark.parametrize(
    ("column", "value", "shown"),
    [
        ("play_time_ms", "4s", "'4s'"),
        ("is_like", 2, "2 is not possible"),
        ("play_time_ms", -1, "-1 is not possible"),
        ("time_ms", "", "empty"),
        ("date", 20221301, "20221301"),
        ("hourmin", 2500, "2500 is not possible"),
        ("tab", 2**31, "2147483648 is not possible"),
        ("time_ms", 2**63 - 1, "9223372036854775807 is not possible"),
    ],
)
def test_bad_cells_are_located(tmp_path: Path, column: str, value: Any, shown: str) -> None:
    rows = [exposure(time_ms=MIDNIGHT + 1), exposure(time_ms=MIDNIGHT + 2), exposure(**{column: value})]
    write(tmp_path, rows)
    with pytest.raises(DataError) as caught:
        read(tmp_path)
    message = str(caught.value)
    assert "log_standard_4_22_to_5_08_pure.csv, line 4" in message
    assert column in message and shown in message


def test_truncated_file(tmp_path: Path) -> None:
    write(tmp_path, [exposure(time_ms=MIDNIGHT + i) for i in range(3)])
    path = tmp_path / "data" / "log_standard_4_22_to_5_08_pure.csv"
    path.write_text(path.read_text()[:-12])
    with pytest.raises(DataError, match="line 4, column"):
        read(tmp_path)


def test_empty_and_binary_files(tmp_path: Path) -> None:
    write(tmp_path, [])
    with pytest.raises(DataError, match="no exposure"):
        read(tmp_path)
    path = tmp_path / "data" / "log_standard_4_22_to_5_08_pure.csv"
    path.write_bytes(b"")
    with pytest.raises(DataError, match="is empty"):
        read(tmp_path)
    path.write_bytes(b"\x1f\x8b\x08\x00\xff\xfe")
    with pytest.raises(DataError, match="still compressed"):
        read(tmp_path)


def test_a_user_described_twice(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="user_id 0 is described more than once"):
        read(write(tmp_path, [exposure()], [user(user_id=0), user(user_id=0)]))


def test_the_random_log_must_be_there_if_it_is_asked_for(tmp_path: Path) -> None:
    write(tmp_path, [exposure()])
    with pytest.raises(DataError, match="log_random"):
        read(tmp_path, include_random=True)


@pytest.mark.real_data
def test_the_real_part(real_data: Path) -> None:
    log, counts = read(real_data)
    assert counts["rows"] == 180_022 and counts["repeated_rows_dropped"] == 0
    assert counts["rows_without_duration"] == 2_793
    positives = log.exposures.select(pl.col(log.labels).sum()).row(0, named=True)
    assert positives["click"] == 81_144 and positives["like"] == 3_148 and positives["profile"] == 3_410
    assert (
        not log.exposures.filter(pl.col("complete"))["item_id"]
        .is_in(log.items.filter(pl.col("log_duration").is_null())["item_id"].implode())
        .any()
    )
