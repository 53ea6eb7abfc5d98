"""From official CSV files to request Parquet with out-of-sample pxtrs."""

from __future__ import annotations

import inspect
import json
import os
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import polars as pl
import pytest
from hydra import compose, initialize_config_dir
from omegaconf import DictConfig, OmegaConf
from tests.data import official_files

from emer.config_files import config_dir
from emer.data.assemble import RequestSettings
from emer.data.kuairand import KuaiRand
from emer.data.parquet import read_requests
from emer.data.splits import Splits, overlaps, read_splits
from emer.data.validation import validate_folder
from emer.errors import DataError, EmerError
from emer.instantiation import instantiate
from emer.jobs.app import register
from emer.pxtr.forward_chain import ChainSettings, ForwardChain
from emer.pxtr.log_source import LogSource

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


def source(root: Path | None, **changes: Any) -> LogSource:
    requests = RequestSettings(
        train=["2022-04-29", "2022-04-30"],
        validation=["2022-05-01", "2022-05-01"],
        test=["2022-05-02", "2022-05-02"],
        unexposed=5,
    )
    usual = {
        "name": "kuairand",
        "adapter": KuaiRand(root),
        "requests": requests,
        "model": ChainSettings(
            experts=2, expert_size=16, tower_size=8, batch_size=256, epochs=6, learning_rate=5e-3
        ),
        "objectives": ("pctr", "pvtr", "plvtr", "pcpr", "pltr", "pprofile", "pcstay"),
        "positive": ("long_view", "like", "follow", "comment", "forward"),
        "noisy_below": 1,
    }  # fmt: skip
    return LogSource(**(usual | changes))


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
    assert about["requests"].startswith("Pseudo-requests") and about["known_faults"]
    assert about["counts"]["rows"] == DAYS * PER_DAY and about["counts"]["users"] == USERS
    assert about["splits"]["train"]["requests"] == len(read_requests(prepared / "train"))
    assert about["settings"]["requests"]["grouping"] == "user_day"


def test_a_complete_folder_is_reused(prepared: Path, files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("emer.pxtr.log_source.store_log", None)  # would fail if it were called
    assert source(files).prepare(prepared.parent) == prepared


@pytest.mark.slow
def test_equal_input_gives_equal_requests(prepared: Path, files: Path, tmp_path: Path) -> None:
    again = source(files).prepare(tmp_path)
    assert again.name == prepared.name
    for split in ("train", "validation", "test"):
        assert read_requests(again / split).fingerprint() == read_requests(prepared / split).fingerprint()


@pytest.mark.parametrize("part", ["seed", "unexposed", "epochs", "file"])
def test_other_settings_or_files_get_another_folder(
    prepared: Path, files: Path, tmp_path: Path, part: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emer.pxtr.log_source.resume_once", lambda root, needed, build, space: root)
    monkeypatch.setattr("emer.pxtr.log_source._show_quality", lambda root: None)
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


def test_a_request_that_is_too_long_is_refused_before_anything_is_trained(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("emer.data.assembly.MAX_CANDIDATES", 8)
    monkeypatch.setattr(ForwardChain, "learn", None)
    with pytest.raises(DataError, match=r"a user_day request of user \d+ has \d+ candidates, more than the 8 allowed"):
        source(files).prepare(tmp_path)
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_a_days_feedback_reaches_no_pxtr_or_number_of_that_day(files: Path, tmp_path: Path) -> None:
    shutil.copytree(files, tmp_path / "other")
    path = tmp_path / "other" / "data" / "log_standard_4_22_to_5_08_pure.csv"
    last = pl.col("date") == 20220501  # that of validation; test comes after it
    labels = ("is_click", "is_like", "is_profile_enter")
    flipped = (pl.when(last).then(1 - pl.col(c)).otherwise(pl.col(c)).alias(c) for c in labels)
    pl.read_csv(path).with_columns(*flipped).write_csv(path)
    few: dict[str, Any] = {"objectives": ["pctr", "pvtr"], "rows_per_bucket": 1500}
    one, two = (read_splits(source(root, **few).prepare(tmp_path)) for root in (files, tmp_path / "other"))
    assert not np.array_equal(one.validation.label, two.validation.label)
    for name in ("pxtr", "item_numbers", "item_categories", "item_id"):
        for split in ("train", "validation"):
            assert np.array_equal(getattr(getattr(one, split), name), getattr(getattr(two, split), name))
    assert not np.array_equal(one.test.pxtr, two.test.pxtr)


@pytest.mark.slow
def test_reference_is_printed_and_saved(files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    short = {"objectives": ["pctr", "pvtr"], "reference": True}
    folder = source(files, **short).prepare(tmp_path)
    auc = json.loads((folder / "reference.json").read_text())["auc"]
    assert set(auc) == {"pctr"} and auc["pctr"] > 0.7
    assert "HistGB" in capsys.readouterr().out


@pytest.mark.slow
def test_a_reference_asked_for_after_an_interruption_is_made(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    short: dict[str, Any] = {"objectives": ["pctr", "pvtr"]}
    with monkeypatch.context() as patch:
        patch.setattr("emer.pxtr.build._write", stop)
        with pytest.raises(KeyboardInterrupt):
            source(files, **short).prepare(tmp_path)
    found = source(files, **short, reference=True).prepare(tmp_path)
    plain = source(files, **short, reference=True).prepare(tmp_path / "at once")
    assert (found / "reference.json").read_text() == (plain / "reference.json").read_text()


def stop(*_: Any) -> None:
    raise KeyboardInterrupt


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"rows_per_bucket": 0}, "rows_per_bucket is 0; it must be a whole number, and at least 1"),
        ({"smoothing": 0.0}, "smoothing is 0.0; it must be a number above 0"),
        ({"objectives": None}, r"objectives is None; it must be a list of names"),
        ({"positive": "like"}, r"positive is 'like'; it must be a list of names"),
        ({"reference": "yes"}, "reference is 'yes'; it must be true or false"),
        ({"noisy_below": "many"}, "noisy_below is 'many'"),
        ({"seed": -1}, "seed is -1"),
        ({"user_share": "all"}, r"user_share is 'all'; it must lie in \(0, 1\]"),
    ],
)
def test_settings_of_a_source_that_make_no_sense(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        source(None, **change)


@pytest.mark.parametrize(
    ("change", "reason"),
    [
        ({"kind": "moe"}, "kind is 'moe'; it must be one of mmoe, single_task, ple"),
        ({"experts": 0}, "experts is 0"),
        ({"dropout": 2}, "dropout is 2"),
        ({"epochs": 2.5}, "epochs is 2.5; it must be a whole number, and at least 1"),
        ({"min_count": 0}, "min_count is 0"),
        ({"learning_rate": -1}, "learning_rate is -1; it must be a number, and at least 0"),
        ({"hashed": None}, "hashed is None; it must be a list of names"),
        ({"warm_start": "maybe"}, "warm_start is 'maybe'; it must be true or false"),
        ({"weight_decay": "much"}, "weight_decay is 'much'"),
    ],
)
def test_settings_of_the_pxtr_model_are_refused_before_the_log_is_read(change: dict[str, Any], reason: str) -> None:
    with pytest.raises(EmerError, match=reason):
        ChainSettings(**change)


def everything(folder: Path) -> dict[tuple[int, int], tuple[Any, ...]]:
    """What was exposed, with its feedback, by user and time of the request."""
    found = {}
    for table in read_splits(folder):
        for user, time, start, stop in zip(
            table.user_id, table.time_ms, table.offsets[:-1], table.offsets[1:], strict=True
        ):
            shown = np.flatnonzero(table.exposed[start:stop]) + start
            found[int(user), int(time)] = (table.item_id[shown].tolist(), table.label[shown].tolist())
    return found


@pytest.mark.slow
def test_buckets_of_users_and_pieces_of_rows_change_no_request(prepared: Path, files: Path, tmp_path: Path) -> None:
    model = ChainSettings(**{**vars(source(files).model), "rows_in_memory": 500})
    cut = source(files, rows_per_bucket=1500, model=model).prepare(tmp_path)
    assert len(list((cut / "test").glob("*.parquet"))) == 4
    assert everything(cut) == everything(prepared)
    ids = np.concatenate([table.request_id for table in read_splits(cut)])
    assert sorted(ids) == list(range(ids.size))
    quality = json.loads((cut / "calibration.json").read_text())["pooled"]
    whole = json.loads((prepared / "calibration.json").read_text())["pooled"]
    assert quality["pctr"]["rows"] == whole["pctr"]["rows"]
    assert quality["pctr"]["auc"] == pytest.approx(whole["pctr"]["auc"], abs=0.03)


@pytest.mark.slow
@pytest.mark.parametrize("learns", [1, 2, 4])
def test_an_interrupted_preparation_goes_on_and_ends_in_the_same_requests(
    prepared: Path, files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, learns: int
) -> None:
    learn, calls = ForwardChain.learn, []

    def interrupted(self: ForwardChain, *args: Any) -> None:
        calls.append(args[0])
        if len(calls) == learns:
            raise KeyboardInterrupt
        learn(self, *args)

    monkeypatch.setattr(ForwardChain, "learn", interrupted)
    with pytest.raises(KeyboardInterrupt):
        source(files).prepare(tmp_path)
    (unfinished,) = tmp_path.iterdir()
    assert unfinished.name.startswith(".") and not list(unfinished.glob("result/*"))
    resumed = source(files).prepare(tmp_path)
    assert calls[learns - 1] == calls[learns] and len(calls) == 5  # no day is learnt twice but the interrupted one
    assert [path.name for path in tmp_path.iterdir()] == [resumed.name]
    for one, two in zip(read_splits(resumed), read_splits(prepared), strict=True):
        assert one.fingerprint() == two.fingerprint()


@pytest.mark.slow
def test_user_share_keeps_whole_users(prepared: Path, files: Path, tmp_path: Path) -> None:
    some = everything(source(files, user_share=0.5, objectives=["pctr", "pvtr"]).prepare(tmp_path))
    users = {user for user, _ in some}
    assert 30 < len(users) < 90
    assert some == {key: value for key, value in everything(prepared).items() if key[0] in users}
    with pytest.raises(DataError, match=r"user_share is 0.0; it must lie in \(0, 1\]"):
        source(files, user_share=0.0)


@pytest.mark.slow
def test_hidden_states_become_item_numbers(files: Path, tmp_path: Path) -> None:
    table = read_requests(source(files, objectives=["pctr", "pvtr"], hidden=True).prepare(tmp_path) / "test")
    names = [f"hidden_{o}_{i}" for o in ("pctr", "pvtr") for i in range(8)]
    assert list(table.schema.item_numbers[-16:]) == names
    hidden = table.item_numbers[:, -16:]
    assert (hidden >= 0).all() and hidden.std(axis=0).max() > 0
    # The pctr is a logistic function of its own tower's states: linear in them, exactly.
    logit = np.log(table.pxtr[:, 0]) - np.log1p(-table.pxtr[:, 0])
    design = np.hstack([hidden[:, :8], np.ones((len(logit), 1), dtype=np.float32)])
    residual = logit - design @ np.linalg.lstsq(design, logit, rcond=None)[0]
    assert np.abs(residual).max() < 1e-3


@pytest.mark.slow
def test_a_test_on_random_exposures(files: Path, tmp_path: Path) -> None:
    root = tmp_path / "both"
    shutil.copytree(files, root)
    log = pl.read_csv(root / "data" / "log_standard_4_22_to_5_08_pure.csv")
    random = log.with_columns(pl.col("time_ms") + 1, (pl.col("video_id") + 7) % VIDEOS, is_rand=1)
    random.write_csv(root / "data" / "log_random_4_22_to_5_08_pure.csv")
    how = RequestSettings(**{**vars(source(files).requests), "test_on": "random"})
    made = source(root, adapter=KuaiRand(root, include_random=True), requests=how, objectives=["pctr", "pvtr"])
    splits = read_splits(made.prepare(tmp_path / "cache"))
    assert (splits.test.explored == splits.test.exposed).all()
    assert not splits.train.explored.any() and not splits.validation.explored.any()


LATER = {
    "recflow": (["2024-01-18", "2024-01-20"], ["2024-01-21"] * 2, ["2024-01-22"] * 2),
    "kuairec": (["2020-07-10", "2020-07-12"], ["2020-07-13"] * 2, ["2020-07-14"] * 2),
    "tenrec": ([4, 7], [8, 8], [9, 9]),
    "kuaisar": (["2023-05-27", "2023-05-29"], ["2023-05-30"] * 2, ["2023-05-31"] * 2),
    "wechat": ([5, 8], [9, 9], [10, 10]),
}
"""The last days of the toy data sets of :mod:`tests.data.official_files`."""


def composed(name: str, *overrides: str) -> DictConfig:
    register()
    with initialize_config_dir(str(config_dir()), version_base="1.3"):
        return compose("prepare", [f"data={name}", *overrides])


@pytest.fixture(scope="module", params=list(LATER))
def public(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path, Splits]:
    """A public data set in its official layout, prepared with its own config but for the days and a small model."""
    name, root = request.param, tmp_path_factory.mktemp(request.param)
    getattr(official_files, f"write_{name}")(root)
    days = [f"data.source.requests.{s}={d}" for s, d in zip(("train", "validation", "test"), LATER[name], strict=True)]
    small = {"experts": 2, "expert_size": 16, "tower_size": 8, "hash_size": 1000}
    small |= {"batch_size": 256, "learning_rate": 0.01, "epochs": 12, "warm_epochs": 3}
    model = [f"data.source.model.{key}={value}" for key, value in small.items()]
    cfg = composed(name, f"data.root={root}", *days, *model)
    folder = instantiate(cfg.data.source).prepare(tmp_path_factory.mktemp("cache"))
    return name, folder, read_splits(folder)


@pytest.mark.slow
def test_a_public_data_set_becomes_valid_requests(public: tuple[str, Path, Splits]) -> None:
    name, folder, splits = public
    assert validate_folder(folder).ok
    assert not list(overlaps({split: table.time_ms for split, table in splits._asdict().items()}))
    about = json.loads((folder / "source.json").read_text())
    assert about["licence"] and about["citation"] and about["known_faults"] and about["requests"]
    asked = list(composed(name, "data.root=x").data.source.objectives)
    assert list(splits.train.schema.objective_names) == asked == about["settings"]["pxtr"]["objectives"]
    for table in splits:
        assert table.exposed.any() and not table.exposed.all()
        assert not table.label[~table.exposed].any()


@pytest.mark.slow
def test_pxtrs_of_a_public_data_set_order_what_can_be_ordered(public: tuple[str, Path, Splits]) -> None:
    name, folder, _ = public
    pooled = json.loads((folder / "calibration.json").read_text())["pooled"]
    first = {"recflow": "peff", "kuairec": "plvtr", "tenrec": "pctr", "kuaisar": "pctr", "wechat": "pcpr"}[name]
    assert pooled[first]["auc"] > 0.6
    assert pooled[first]["ece"] < 0.12


@pytest.mark.slow
def test_what_the_platform_did_is_kept_where_it_is_known(public: tuple[str, Path, Splits]) -> None:
    name, _, splits = public
    test = splits.test
    assert (test.previous_score is not None) == (name == "recflow")
    assert (test.watch_time is None) == (name == "tenrec")
    if name == "recflow":
        # Nothing is sampled: the candidates are those of the log, and they carry the platform's order.
        assert (test.previous_score > 0).all() and (test.lengths > 8).all()
    if name == "tenrec":
        assert not test.schema.interaction_indices  # nothing to divide by


@pytest.mark.parametrize("name", ["kuairand", *LATER])
def test_config_names_arguments_that_exist(name: str) -> None:
    node = OmegaConf.to_container(composed(name, "data.root=x").data, resolve=True)
    assert isinstance(node, dict) and node["name"] == node["source"]["name"] == name
    keys = node["source"]
    for part, made in ((keys, LogSource), (keys["requests"], RequestSettings), (keys["model"], ChainSettings)):
        assert part["_target_"] == f"{made.__module__}.{made.__qualname__}"
        assert set(part) - {"_target_"} == set(inspect.signature(made).parameters)
    # Defaults in code and in the file are the same.
    plain = {k: v for k, v in keys["model"].items() if k not in ("_target_", "hashed")}
    assert ChainSettings(**plain) == ChainSettings()
    if name == "kuairand":
        settings = RequestSettings(**{k: v for k, v in keys["requests"].items() if k != "_target_"})
        assert settings == RequestSettings(train=settings.train, validation=settings.validation, test=settings.test)
