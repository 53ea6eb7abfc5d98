"""Finding and reading run folders."""

from __future__ import annotations

from pathlib import Path

import pyarrow.parquet as pq
import pytest
from tests.reports.hand_made import add_segments, made_run, write_rows

from emer.errors import EmerError
from emer.files import write_text
from emer.reports.runs import differing, find_runs, read_runs


def test_a_run_a_sweep_a_pattern_and_a_list_name_runs(tmp_path: Path) -> None:
    sweep = tmp_path / "multirun" / "one"
    a, b = made_run(sweep, "emer", 1), made_run(sweep, "emer", 2)
    c = made_run(tmp_path / "train", "borda", 1)
    assert find_runs(a) == [a]
    assert find_runs(sweep) == find_runs(str(sweep / "emer*")) == [a, b]
    assert find_runs(tmp_path) == [a, b, c]
    assert find_runs([c, str(sweep), a]) == [a, b, c]


def test_a_run_named_in_two_ways_is_one(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = made_run(tmp_path, "emer", 1)
    monkeypatch.chdir(tmp_path)
    assert len(find_runs([path, path.name, f"./{path.name}", "emer*"])) == 1


@pytest.mark.parametrize(
    ("where", "message"), [("nothing*", "there is nothing at nothing"), ("empty", "no run folder")]
)
def test_what_holds_no_run_is_named(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str, message: str) -> None:
    made_run(tmp_path, "emer", 1)
    (tmp_path / "empty").mkdir()
    monkeypatch.chdir(tmp_path)
    with pytest.raises(EmerError, match=f"runs: .*{message}"):
        find_runs(["emer*", where])


def test_a_job_of_a_sweep_that_left_nothing_is_unreadable(tmp_path: Path) -> None:
    made_run(tmp_path, "emer", 1)
    write_text(tmp_path / "multirun.yaml", "")
    write_text(tmp_path / "1_urem" / ".hydra" / "config.yaml", "")
    runs, problems = read_runs(find_runs(tmp_path))
    assert [run.label for run in runs] == ["emer"]
    assert [(p.run, p.kind, p.why) for p in problems] == [("1_urem", "unreadable", "no status.json")]


def test_every_state_has_its_kind(tmp_path: Path) -> None:
    for state in ("failed", "interrupted", "running"):
        made_run(tmp_path, state, 1, status=state)
    (made_run(tmp_path, "zero", 1) / "metrics.json").write_text("{}", encoding="utf-8")
    runs, problems = read_runs(find_runs(tmp_path))
    assert runs == []
    assert [p.kind for p in problems] == ["failed", "interrupted", "running", "unreadable"]
    assert problems[0].why == "it broke"
    assert "no process of this machine is at work on it" in problems[2].why


def test_histories_are_numbers_and_older_runs_have_none(tmp_path: Path) -> None:
    path = made_run(tmp_path, "emer", 1)
    [run], _ = read_runs([path])
    assert run.history == run.weights == ()
    write_rows(path / "metrics.csv", [{"epoch": 0, "val/loss": 0.5, "train/loss": ""}, {"epoch": 1, "val/loss": 0.25}])
    write_rows(path / "weights.csv", [{"step": 10, "a": 1.5, "b": 2.0}])
    [run], _ = read_runs([path])
    assert run.history == ({"epoch": 0, "val/loss": 0.5}, {"epoch": 1, "val/loss": 0.25})
    assert run.weights == ({"step": 10, "a": 1.5, "b": 2.0},)
    assert (run.seed, run.data, run.label, run.costs["parameters"]) == (1, "simulated", "emer", 10)


def test_only_the_columns_that_are_wanted_are_read(tmp_path: Path) -> None:
    path = made_run(tmp_path, "emer", 1)
    add_segments(path)
    columns = pq.read_table(path / "per_request.parquet")
    for name in ("random/ndcg_at_10/a", "ndcg_at_10/a"):
        columns = columns.append_column(name, columns["label_gauc/a"])
    pq.write_table(columns, path / "per_request.parquet")
    identity = {"n_candidates", "n_exposed", "request_id", "user_id"}
    [run], _ = read_runs([path], families=("label_gauc", "segment"))
    assert set(run.per_request) == identity | {"label_gauc/a", "label_gauc/b", "segment/activity"}
    [run], _ = read_runs([path])
    assert set(run.per_request) == set(columns.column_names) - {"random/ndcg_at_10/a"}


def test_a_group_is_the_settings_without_the_seed(tmp_path: Path) -> None:
    paths = [
        made_run(tmp_path, "emer", 1),
        made_run(tmp_path, "emer", 2),
        made_run(tmp_path, "emer", 3, settings={"method.optimizer.lr": 0.2}),
        made_run(tmp_path, "emer", 4, settings={"data.seed": 1}),
        made_run(tmp_path, "urem", 1),
    ]
    runs, _ = read_runs(paths)
    groups = [run.group for run in runs]
    assert groups[0] == groups[1]
    assert len(set(groups)) == 4


def test_a_key_that_one_lacks_differs() -> None:
    assert differing([{"a": 1, "b": None, "c": [1]}, {"a": 1, "c": [1]}, {"a": 1, "b": None, "c": [2]}]) == ["b", "c"]
    assert differing([{"a": 1}]) == differing([]) == []
