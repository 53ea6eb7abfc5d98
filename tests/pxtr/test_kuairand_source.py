"""From official CSV files to request Parquet with out-of-sample pxtrs."""

from __future__ import annotations

import inspect
import json
import os
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
import yaml

from emer.data.assemble import RequestSettings
from emer.data.parquet import read_requests
from emer.data.splits import overlaps, read_splits
from emer.errors import DataError
from emer.pxtr.forward_chain import ChainSettings
from emer.pxtr.kuairand_source import KuaiRandSource

CONFIG = Path(__file__).resolve().parents[2] / "conf" / "data" / "kuairand.yaml"
MIDNIGHT = 1_650_816_000_000  # 25 April 2022, 00:00 in Beijing
DAY_MS = 86_400_000
DAYS, PER_DAY, USERS, VIDEOS = 8, 700, 120, 90


def write_files(root: Path, seed: int = 0) -> Path:
    """A small KuaiRand-Pure: 8 days from 25 April, in which long videos are played through less often."""
    rng = np.random.default_rng(seed)
    n = DAYS * PER_DAY
    user, video = rng.integers(0, USERS, n), rng.integers(0, VIDEOS, n)
    day, ms = np.repeat(np.arange(DAYS), PER_DAY), rng.integers(0, DAY_MS, n)
    duration = np.where(np.arange(VIDEOS) < 3, 0, rng.integers(5_000, 60_000, VIDEOS))
    play = (rng.exponential(20_000, n) * (0.3 + user % 3)).astype(np.int64)
    chance = 0.1 + 0.6 * (video % 2)
    data = root / "data"
    data.mkdir(parents=True)
    dates = np.array([20220425 + d if d < 6 else 20220501 + d - 6 for d in range(DAYS)])
    pl.DataFrame(
        {
            "user_id": user,
            "video_id": video,
            "date": dates[day],
            "hourmin": ms // 3_600_000 * 100,
            "time_ms": MIDNIGHT + day * DAY_MS + ms,
            "is_click": (rng.random(n) < chance).astype(int),
            "is_like": (rng.random(n) < chance / 4).astype(int),
            **{c: (rng.random(n) < 0.01).astype(int) for c in ("is_follow", "is_comment", "is_forward", "is_hate")},
            "long_view": (play > 18_000).astype(int),
            "play_time_ms": play,
            "duration_ms": duration[video],
            "profile_stay_time": 0,
            "comment_stay_time": rng.integers(0, 2, n) * 500,
            "is_profile_enter": (rng.random(n) < 0.1).astype(int),
            "is_rand": 0,
            "tab": rng.integers(0, 3, n),
        }
    ).write_csv(data / "log_standard_4_22_to_5_08_pure.csv")
    ranges = ("follow_user_num", "fans_user_num", "friend_user_num", "register_days")
    pl.DataFrame(
        {
            "user_id": np.arange(USERS),
            "user_active_degree": ["full_active", "high_active"] * (USERS // 2),
            **dict.fromkeys(("is_lowactive_period", "is_live_streamer", "is_video_author"), 1),
            **{c: rng.integers(0, 500, USERS) for c in ranges},
            **{f"{c}_range": ["few", "many"] * (USERS // 2) for c in ranges},
            **{f"onehot_feat{i}": np.arange(USERS) % 3 for i in range(18)},
        }
    ).write_csv(data / "user_features_pure.csv")
    pl.DataFrame(
        {
            "video_id": np.arange(VIDEOS),
            "author_id": np.arange(VIDEOS) // 2,
            "video_type": "NORMAL",
            "upload_dt": "2022-04-10",
            "upload_type": "Web",
            "visible_status": 0.0,
            "video_duration": [None if d == 0 else float(d) for d in duration],
            "server_width": 720.0,
            "server_height": 1280.0,
            "music_id": 1,
            "music_type": 9.0,
            "tag": ["1,2", "3"] * (VIDEOS // 2),
        }
    ).write_csv(data / "video_features_basic_pure.csv")
    return root


def source(root: Path | None, **changes: Any) -> KuaiRandSource:
    requests = RequestSettings(
        train=["2022-04-29", "2022-04-30"],
        validation=["2022-05-01", "2022-05-01"],
        test=["2022-05-02", "2022-05-02"],
        unexposed=5,
    )
    model = ChainSettings(experts=2, expert_size=16, tower_size=8, batch_size=256, epochs=6, learning_rate=5e-3)
    return KuaiRandSource(**({"root": root, "requests": requests, "model": model, "noisy_below": 1} | changes))


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_files(tmp_path_factory.mktemp("kuairand"))


@pytest.fixture(scope="module")
def prepared(files: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    return source(files).prepare(tmp_path_factory.mktemp("cache"))


def test_folder_holds_splits_in_order_of_time(prepared: Path) -> None:
    assert prepared.name.startswith("kuairand-") and len(prepared.name) == len("kuairand-") + 12
    splits = read_splits(prepared)
    assert not list(overlaps({name: t.time_ms for name, t in splits._asdict().items()}))
    assert splits.train.schema.objective_names == ("pctr", "pvtr", "plvtr", "pcpr", "pltr", "pprofile", "pcstay")
    assert [o.name for o in splits.train.schema.objectives if o.role == "interaction"] == [
        "pltr",
        "pprofile",
        "pcstay",
    ]
    for table, least in ((splits.train, 2), (splits.validation, 4), (splits.test, 4)):
        exposed = np.add.reduceat(table.exposed.astype(int), table.offsets[:-1])
        assert exposed.min() == least
        assert (table.lengths - exposed == 5).all()
        assert np.isfinite(table.pxtr).all()


def test_pxtrs_order_what_can_be_ordered(prepared: Path) -> None:
    quality = json.loads((prepared / "calibration.json").read_text())
    assert list(quality["by_day"]) == ["2022-04-29", "2022-04-30", "2022-05-01", "2022-05-02"]
    assert quality["pooled"]["pctr"]["rows"] == 4 * PER_DAY
    assert quality["pooled"]["pctr"]["auc"] > 0.7
    assert quality["pooled"]["pvtr"]["auc"] > 0.55
    assert quality["pooled"]["pctr"]["ece"] < 0.1
    assert (prepared / "calibration.png").stat().st_size > 1000


def test_exposed_candidates_have_the_pxtr_that_was_measured(prepared: Path) -> None:
    # All exposures of a day are in calibration.json; those in requests are most of them.
    table = read_requests(prepared / "test")
    k, m = table.schema.objective_names.index("pctr"), table.schema.feedback_names.index("click")
    exposed = table.exposed
    shown, clicked = table.pxtr[exposed, k], table.label[exposed, m]
    assert shown[clicked].mean() - shown[~clicked].mean() > 0.1
    # Unexposed candidates are predicted by the same model: videos of the same kinds, so the same level.
    assert table.pxtr[~exposed, k].mean() == pytest.approx(shown.mean(), abs=0.08)


def test_source_json_says_where_it_comes_from(prepared: Path) -> None:
    about = json.loads((prepared / "source.json").read_text())
    assert about["licence"] == "CC BY-SA 4.0" and "CIKM 2022" in about["citation"]
    assert any("pseudo-requests" in fault for fault in about["known_faults"])
    assert about["counts"]["rows"] == DAYS * PER_DAY
    assert about["splits"]["train"]["requests"] == len(read_requests(prepared / "train"))
    assert about["settings"]["requests"]["grouping"] == "user_day"


def test_a_complete_folder_is_reused(prepared: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emer.pxtr.kuairand_source.read_log", None)  # would fail if it were called
    assert source(files).prepare(prepared.parent) == prepared


def test_equal_input_gives_equal_requests(prepared: Path, files: Path, tmp_path: Path) -> None:
    again = source(files).prepare(tmp_path)
    assert again.name == prepared.name
    for split in ("train", "validation", "test"):
        assert read_requests(again / split).fingerprint() == read_requests(prepared / split).fingerprint()


@pytest.mark.parametrize("part", ["seed", "unexposed", "epochs", "file"])
def test_other_settings_or_files_get_another_folder(
    prepared: Path, files: Path, tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emer.pxtr.kuairand_source.build_once", lambda root, needed, build: root)
    other = source(files)
    changes: dict[str, Any] = {
        "seed": {"seed": 2},
        "unexposed": {"requests": RequestSettings(**{**vars(other.requests), "unexposed": 6})},
        "epochs": {"model": ChainSettings(**{**vars(other.model), "epochs": 3})},
        "file": {},
    }[part]
    users = files / "data" / "user_features_pure.csv"
    stat = users.stat()
    if part == "file":
        os.utime(users, ns=(stat.st_atime_ns, stat.st_mtime_ns + 1))
    try:
        assert source(files, **changes).prepare(tmp_path).name != prepared.name
    finally:
        os.utime(users, ns=(stat.st_atime_ns, stat.st_mtime_ns))
    assert source(files).prepare(tmp_path).name == prepared.name


def test_nothing_is_left_behind_by_settings_that_do_not_fit(files: Path, tmp_path: Path) -> None:
    late = RequestSettings(train=["2022-06-01"] * 2, validation=["2022-06-02"] * 2, test=["2022-06-03"] * 2)
    early = RequestSettings(train=["2022-04-26"] * 2, validation=["2022-04-27"] * 2, test=["2022-04-28"] * 2)
    for changes, reason in (
        ({"requests": late}, "no exposure in the train days"),
        ({"requests": early}, "the log has 1 days before it"),
        ({"objectives": ["pctr", "pltr"]}, "IPUT needs a predicted watch time"),
        ({"objectives": ["pabc"]}, "unknown objective pabc"),
    ):
        with pytest.raises(DataError, match=reason):
            source(files, **changes).prepare(tmp_path)
    with pytest.raises(DataError, match=r"data\.root is not set"):
        source(None).prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_reference_is_printed_and_saved(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = {"objectives": ["pctr", "pvtr"], "reference": True}
    folder = source(files, **short).prepare(tmp_path)
    auc = json.loads((folder / "reference.json").read_text())["auc"]
    assert set(auc) == {"pctr"} and auc["pctr"] > 0.7
    assert "HistGB" in capsys.readouterr().out


def test_config_names_arguments_that_exist() -> None:
    node = yaml.safe_load(CONFIG.read_text())
    assert node["name"] == "kuairand"
    keys = node["source"]
    for part, made in (
        (keys, KuaiRandSource),
        (keys["requests"], RequestSettings),
        (keys["model"], ChainSettings),
    ):
        assert part["_target_"] == f"{made.__module__}.{made.__qualname__}"
        assert set(part) - {"_target_"} == set(inspect.signature(made).parameters)
    # Defaults in code and in the file are the same.
    plain = {k: v for k, v in keys["model"].items() if k != "_target_"}
    assert ChainSettings(**plain) == ChainSettings()
    settings = RequestSettings(**{k: v for k, v in keys["requests"].items() if k != "_target_"})
    assert settings == RequestSettings(train=settings.train, validation=settings.validation, test=settings.test)
