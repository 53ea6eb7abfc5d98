"""The cached folder of the embedded log, and the settings that name it."""

import re
from dataclasses import fields, replace
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from emer.data import simulated
from emer.data.parquet import read_requests
from emer.data.simulated import SPLITS, SimulatedSource, prepare_simulated, simulate_requests
from emer.errors import EmerError

TINY = SimulatedSource(
    users=60, videos=1500, candidates=24, train_requests=150, validation_requests=40, test_requests=60
)


def test_prepared_folder_holds_the_log(tmp_path):
    root = TINY.prepare(tmp_path)
    assert re.fullmatch(r"simulated-[0-9a-f]{12}", root.name) and root.parent == tmp_path
    log = simulate_requests(TINY)
    for split in SPLITS:
        assert read_requests([root / split / "part-0.parquet"]).fingerprint() == log[split].fingerprint()
    assert [p.name for p in tmp_path.iterdir()] == [root.name]


def test_second_call_finds_the_folder(tmp_path, monkeypatch):
    root = prepare_simulated(TINY, tmp_path)
    monkeypatch.setattr(simulated, "simulate_requests", lambda config: pytest.fail("generated twice"))
    assert prepare_simulated(replace(TINY), tmp_path) == root


def test_every_setting_and_the_code_version_name_the_folder(tmp_path, monkeypatch):
    log = simulate_requests(TINY)
    monkeypatch.setattr(simulated, "simulate_requests", lambda config: log)
    other = [
        replace(TINY, **{f.name: getattr(TINY, f.name) + (1 if f.type == "int" else -0.001)}) for f in fields(TINY)
    ]
    roots = {config.prepare(tmp_path) for config in (TINY, *other)}
    monkeypatch.setattr(simulated, "_VERSION", -1)
    roots.add(TINY.prepare(tmp_path))
    assert len(roots) == len(fields(TINY)) + 2


def test_incomplete_folder_is_made_again(tmp_path):
    root = TINY.prepare(tmp_path)
    (root / "test" / "part-0.parquet").unlink()
    assert TINY.prepare(tmp_path) == root
    assert (root / "test" / "part-0.parquet").is_file()


def test_failure_leaves_nothing(tmp_path, monkeypatch):
    written = []

    def fail(table, path):
        written.append(path)
        if len(written) == 2:
            raise OSError("no space left")

    monkeypatch.setattr(simulated, "write_requests", fail)
    with pytest.raises(OSError, match="no space"):
        TINY.prepare(tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_faster_process_wins(tmp_path, monkeypatch):
    generate = simulate_requests
    stamp = {}

    def slowly(config):
        monkeypatch.setattr(simulated, "simulate_requests", generate)
        first = config.prepare(tmp_path)
        stamp[first] = (first / "train" / "part-0.parquet").stat().st_ino
        return generate(config)

    monkeypatch.setattr(simulated, "simulate_requests", slowly)
    root = TINY.prepare(tmp_path)
    assert (root / "train" / "part-0.parquet").stat().st_ino == stamp[root]
    assert [p.name for p in tmp_path.iterdir()] == [root.name]


# --- settings --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"users": 0}, "users is 0"),
        ({"users": 1.5}, "whole number"),
        ({"gamma": "high"}, "a number"),
        ({"test_requests": -1}, "test_requests is -1"),
        ({"slate": 65}, "more than the 64 candidates"),
        ({"videos": 127}, "at least 128"),
        ({"explore": 1.5}, r"lie in \[0, 1\]"),
        ({"eta": float("nan")}, r"lie in \[0, 1\]"),
        ({"pxtr_noise": -1.0}, "not be negative"),
    ],
)
def test_impossible_settings_are_refused(change, message):
    with pytest.raises(EmerError, match=message):
        SimulatedSource(**change)


def test_yaml_lists_every_setting_with_its_default():
    config = OmegaConf.load(Path(__file__).parents[2] / "conf" / "data" / "simulated.yaml")
    source = OmegaConf.to_container(config.source)
    assert source.pop("_target_") == "emer.data.simulated.SimulatedSource"
    assert set(source) == {f.name for f in fields(SimulatedSource)}
    assert SimulatedSource(**source) == SimulatedSource()


def test_description_is_one_line():
    text = SimulatedSource(seed=3).describe()
    assert "seed 3" in text and "5,000 train" in text and "\n" not in text
