"""Which runs are averaged, which are compared, and which are only told of."""

from __future__ import annotations

from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from tests.reports.hand_made import made_run

from emer.reports.groups import Grouped, group_runs, tell_apart
from emer.reports.runs import find_runs, read_runs


def grouped(root: Path) -> Grouped:
    return group_runs(*read_runs(find_runs(root)))


def kinds(found: Grouped) -> list[tuple[str, str]]:
    return [(problem.run, problem.kind) for problem in found.problems]


def test_seeds_are_one_group_and_methods_are_not(tmp_path: Path) -> None:
    for seed in (2, 1, 10):
        made_run(tmp_path, "emer", seed)
        made_run(tmp_path, "borda", seed)
    found = grouped(tmp_path)
    [section] = found.sections
    assert (section.name, section.requests, section.users) == ("simulated", 40, 20)
    assert [(group.name, group.seeds) for group in section.groups] == [("borda", (1, 2, 10)), ("emer", (1, 2, 10))]
    assert len(section.runs) == 6
    assert found.problems == ()


def test_a_seed_that_others_have_is_missed(tmp_path: Path) -> None:
    for seed in (1, 2, 3):
        made_run(tmp_path, "emer", seed)
    made_run(tmp_path, "borda", 2)
    found = grouped(tmp_path)
    assert kinds(found) == [("borda", "missing")]
    assert "with seed 1, 3, which other methods have; its mean is over 1 of 3 seeds" in found.problems[0].why


def test_a_failed_run_is_told_and_its_seed_is_missed(tmp_path: Path) -> None:
    for seed in (1, 2):
        made_run(tmp_path, "emer", seed)
    made_run(tmp_path, "borda", 1)
    made_run(tmp_path, "borda", 2, status="failed")
    assert kinds(grouped(tmp_path)) == [("borda_simulated_seed2", "failed"), ("borda", "missing")]


def test_a_duplicate_with_the_same_numbers_counts_once(tmp_path: Path) -> None:
    made_run(tmp_path, "emer", 1)
    made_run(tmp_path, "emer", 1, name="twice")
    found = grouped(tmp_path)
    assert found.sections[0].groups[0].seeds == (1,)
    assert kinds(found) == [("twice", "duplicate")]
    assert "counted once" in found.problems[0].why and "emer_simulated_seed1" in found.problems[0].why


def test_duplicates_with_other_numbers_do_not_count_at_all(tmp_path: Path) -> None:
    for seed in (1, 2):
        made_run(tmp_path, "emer", seed)
    made_run(tmp_path, "emer", 1, name="twice", gain=0.001)
    found = grouped(tmp_path)
    assert found.sections[0].groups[0].seeds == (2,)
    assert kinds(found) == [("emer_simulated_seed1", "duplicate"), ("twice", "duplicate")]
    assert "different results" in found.problems[0].why and "none of them counts" in found.problems[0].why


def test_a_method_of_which_nothing_counts_leaves_no_group(tmp_path: Path) -> None:
    made_run(tmp_path, "emer", 1)
    made_run(tmp_path, "emer", 1, name="twice", gain=0.001)
    found = grouped(tmp_path)
    assert found.sections == ()
    assert len(found.problems) == 2


def test_groups_of_one_label_are_told_apart_by_what_differs(tmp_path: Path) -> None:
    made_run(tmp_path, "emer", 1)
    made_run(tmp_path, "emer", 1, name="slow", settings={"method.optimizer.lr": 0.5})
    made_run(tmp_path, "borda", 1, settings={"method.k": 3})
    [section] = grouped(tmp_path).sections
    assert [group.name for group in section.groups] == ["borda", "emer (lr=0.1)", "emer (lr=0.5)"]


def test_other_requests_another_log_or_another_floor_are_sections_of_their_own(tmp_path: Path) -> None:
    made_run(tmp_path, "emer", 1)
    made_run(tmp_path, "borda", 1, requests=30, settings={"data.test_requests": 30})
    made_run(tmp_path, "urem", 1, data="kuairand")
    made_run(tmp_path, "intel", 1, settings={"loader.iput_floor": 2.0})
    sections = grouped(tmp_path).sections
    assert sorted((section.data, *(group.label for group in section.groups)) for section in sections) == [
        ("kuairand", "urem"),
        ("simulated", "borda"),
        ("simulated", "emer"),
        ("simulated", "intel"),
    ]
    assert len({section.name for section in sections}) == 4


def test_the_same_number_of_other_requests_is_another_section(tmp_path: Path) -> None:
    made_run(tmp_path, "emer", 1)
    made_run(tmp_path, "borda", 1, first=1)
    assert len(grouped(tmp_path).sections) == 2


def test_worlds_that_number_their_requests_alike_are_not_paired(tmp_path: Path) -> None:
    made_run(tmp_path, "emer", 1, data="world")
    other = made_run(tmp_path, "emer", 2, data="world", settings={"data.source.seed": 2})
    columns = pq.read_table(other / "per_request.parquet")
    users = pa.array(columns["user_id"].to_numpy() + 1)
    place = columns.column_names.index("user_id")
    pq.write_table(columns.set_column(place, "user_id", users), other / "per_request.parquet")
    found = grouped(tmp_path)
    assert [section.name for section in found.sections] == ["world (no source.seed)", "world (source.seed=2)"]
    assert found.problems == ()


@pytest.mark.parametrize(
    ("settings", "names"),
    [
        ([{"a.x": 1}], ["m"]),
        ([{"a.x": 1, "a.y": 2}, {"a.x": 2, "a.y": 2}], ["m (x=1)", "m (x=2)"]),
        ([{"a.x": 1, "b.x": "q"}, {"a.x": 2, "b.x": "r"}], ["m (a.x=1, b.x=q)", "m (a.x=2, b.x=r)"]),
        ([{"a": 1}, {}], ["m (a=1)", "m (no a)"]),
        ([{"k": i, "l": i, "m": i} for i in (1, 2)], [f"m (k={i}, l={i}, 1 more)" for i in (1, 2)]),
        ([{"data.world.seed": i} for i in (1, 2)], ["m (world.seed=1)", "m (world.seed=2)"]),
        ([{"method.a": i, "method.module.a": i} for i in (1, 2)], ["m (a=1)", "m (a=2)"]),
        ([{"a": 1}, {"a": 1}], ["m [0]", "m [1]"]),
    ],
)
def test_names_tell_what_differs(settings: list[dict[str, object]], names: list[str]) -> None:
    assert list(tell_apart("m", {str(i): one for i, one in enumerate(settings)}).values()) == names
