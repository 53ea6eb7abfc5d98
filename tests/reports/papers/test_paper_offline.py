"""Numbers of trained runs, against the functions that they rest on and by hand."""

from __future__ import annotations

import math
from dataclasses import replace
from pathlib import Path

import pytest
from tests.reports.hand_made import made_run

from emer.errors import EmerError
from emer.files import write_json
from emer.metrics.seed_intervals import seed_difference, seed_interval
from emer.reports.groups import group_runs
from emer.reports.papers.definitions import Claim, Component, Experiment
from emer.reports.papers.numbers import Number, Numbers
from emer.reports.papers.offline import offline_numbers, value_of, variants_of
from emer.reports.papers.presence import variants_amiss
from emer.reports.papers.special import front_numbers, ippo_numbers, loss_numbers, relation_numbers, skew_numbers
from emer.reports.runs import find_runs, read_runs

DEFINITION = Experiment(
    name="toy",
    title="",
    paper="",
    question="",
    kind="offline",
    variants={"emer": "EMER", "other": "other"},
    metrics={"label_gauc/a": "a", "auc_sum/a,b": "sum"},
    reference="emer",
    also={"label_gauc/mean": "mean"},
    claims=(Claim("X", "", (Component("other", "emer", "log_speed"),)),),
)


def grouped(root: Path):
    return group_runs(*read_runs(find_runs(root)))


@pytest.fixture
def sweep(tmp_path: Path) -> Path:
    for seed in (1, 2, 3):
        made_run(tmp_path, "emer", seed, gain=0.02)
        made_run(tmp_path, "umre", seed, settings={"tags": ["other"]})
    return tmp_path


def test_a_variant_is_the_first_tag_or_else_the_label(sweep: Path) -> None:
    [section] = grouped(sweep).sections
    assert {name: sorted(runs) for name, runs in variants_of(section).items()} == {
        "emer": [1, 2, 3],
        "other": [1, 2, 3],
    }


def test_means_and_differences_are_those_of_the_metrics(sweep: Path) -> None:
    found = grouped(sweep)
    numbers = Numbers(offline_numbers(DEFINITION, found))
    runs = variants_of(found.sections[0])
    emer, other = ([side[s].per_request for s in (1, 2, 3)] for side in (runs["emer"], runs["other"]))
    mean = numbers.find("simulated", "emer", "label_gauc/a")
    expected = seed_interval(emer, "label_gauc/a")
    assert mean is not None
    assert (mean.value, mean.low, mean.high, mean.seeds) == (expected.estimate, expected.low, expected.high, 3)
    gap = numbers.find("simulated", "other", "label_gauc/mean", "emer")
    expected = seed_difference(other, emer, "label_gauc/mean")
    assert gap is not None
    assert (gap.value, gap.low, gap.p) == (expected.estimate, expected.low, expected.p)
    assert numbers.of_seeds("simulated", "emer", "auc_sum/a,b") == pytest.approx({1: 1.04, 2: 1.04, 3: 1.04})
    floor = numbers.find("simulated", "random order", "auc_sum/a,b")
    assert floor is not None
    assert floor.value == 1.0


def test_speed_is_compared_as_a_ratio(sweep: Path) -> None:
    """Both have 2,000 candidates per second times the seed: the ratio is 1, whatever the seed."""
    found = Numbers(offline_numbers(DEFINITION, grouped(sweep))).find("simulated", "other", "log_speed", "emer")
    assert found is not None
    assert found.value == 0.0
    [section] = grouped(sweep).sections
    assert value_of(section.groups[0].by_seed()[3], "log_speed") == math.log(6000.0)


def test_a_label_without_an_auc_has_no_sum(sweep: Path) -> None:
    [section] = grouped(sweep).sections
    run = section.groups[0].runs[0]
    assert value_of(run, "auc_sum/a,nothing") is None
    assert value_of(replace(run, metrics={**run.metrics, "label_auc/b": None}), "auc_sum/a,b") is None


def test_two_kinds_of_runs_of_one_name_are_an_error(sweep: Path) -> None:
    made_run(sweep, "emer", 4, settings={"method.optimizer.lr": 0.5}, name="faster")
    with pytest.raises(EmerError, match=r"two kinds of runs are both emer on simulated.*tags="):
        offline_numbers(DEFINITION, grouped(sweep))


def test_a_log_that_was_tested_on_twice_is_an_error(sweep: Path) -> None:
    made_run(sweep, "emer", 4, requests=20, name="fewer")
    with pytest.raises(EmerError, match="runs on simulated were tested on different requests"):
        offline_numbers(DEFINITION, grouped(sweep))


def test_losses_of_the_kept_epoch(tmp_path: Path) -> None:
    for seed, loss in ((1, 0.2), (2, 0.4)):
        run = made_run(tmp_path, "emer", seed)
        write_json(run / "validation.json", {"val/prior/pctr": loss, "val/prior/pltr": 0.6, "val/loss": 9.0})
    numbers = Numbers(loss_numbers(grouped(tmp_path)))
    assert numbers.of_seeds("simulated", "emer", "loss/pctr") == {1: 0.2, 2: 0.4}
    assert numbers.of_seeds("simulated", "emer", "loss/mean") == pytest.approx({1: 0.4, 2: 0.5})
    # Two values differ from their mean by half their distance; the deviation divides by n - 1.
    assert numbers.of_seeds("simulated", "emer", "loss/sd") == pytest.approx({1: 0.4 / 2**0.5, 2: 0.2 / 2**0.5})


def test_the_hypervolume_of_a_front_by_hand(tmp_path: Path) -> None:
    """Points (.6, .9) and (.8, .7) above (.5, .5): .1 x .4 + .2 x .2 = .08."""
    for name, across, up in (("bce_watch", 0.1, 0.4), ("bce_like", 0.3, 0.2)):
        run = made_run(tmp_path, "harmonrank", 1, settings={"tags": [name]}, name=name)
        metrics = {"test/label_gauc/a": 0.5 + across, "test/label_gauc/b": 0.5 + up}
        floors = {f"test/random/label_gauc/{member}": 0.5 for member in "ab"}
        rest = dict.fromkeys(
            ("test/label_gauc/mean", "test/pxtr_gauc/mean", "test/iput_gauc/mean", "test/label_auc/sum"), 0.5
        )
        write_json(run / "metrics.json", {**metrics, **floors, **rest})
    variants = {"bce_watch": "watch", "bce_like": "like"}
    metrics_of_front = {"label_gauc/a": "a", "label_gauc/b": "b"}
    definition = replace(DEFINITION, kind="front", variants=variants, metrics=metrics_of_front)
    # Both are runs of one label and seed, told apart by tag and a setting.
    text = (tmp_path / "bce_like" / "config.yaml").read_text().replace("lr: 0.1", "lr: 0.2")
    (tmp_path / "bce_like" / "config.yaml").write_text(text)
    numbers = Numbers(front_numbers(definition, grouped(tmp_path)))
    assert numbers.of_seeds("simulated", "bce", "hypervolume") == pytest.approx({1: 0.08})
    # A front that lacks a point dominates less, which says nothing of the method.
    lacking = replace(definition, variants={**variants, "bce_even": "even"})
    assert front_numbers(lacking, grouped(tmp_path)) == []


def test_the_drop_under_label_skew(tmp_path: Path) -> None:
    for share, gain, rate in (("all", 0.1, 0.1), ("tenth", 0.04, 0.2)):
        made_run(
            tmp_path, "m", 1, gain=gain, settings={"tags": [f"bce_{share}"], "method.optimizer.lr": rate}, name=share
        )
    made_run(tmp_path, "borda", 1, name="strange")  # whose name tells no share
    variants = {"bce_all": "all", "bce_tenth": "a tenth"}
    definition = replace(DEFINITION, kind="skew", variants=variants, metrics={"auc_sum/a,b": "sum"})
    rows = skew_numbers(definition, grouped(tmp_path))
    numbers = Numbers(rows)
    assert numbers.of_seeds("simulated", "bce_tenth", "drop") == pytest.approx({1: 0.12})
    assert {row.variant for row in rows} == {"bce_tenth"}


def test_relations_are_those_of_the_labels_that_objectives_predict(tmp_path: Path) -> None:
    run = made_run(tmp_path, "harmonrank", 1)
    content = {
        "attention": {"names": ["p", "q", "r"], "matrix": [[0.2, 0.6, 0.2], [0.4, 0.3, 0.3], [0.1, 0.2, 0.7]]},
        "label_correlation": {
            "names": ["b", "a", "c", "d"],
            "matrix": [[1, 0.9, 0.1, None], [0.9, 1, 0.2, None], [0.1, 0.2, 1, None], [None] * 4],
        },
        "predicts": {"p": "a", "q": "b", "r": "c"},
    }
    write_json(run / "relations.json", content)
    numbers = Numbers(relation_numbers(grouped(tmp_path)))
    assert numbers.of_seeds("simulated", "harmonrank", "attention/b/a") == pytest.approx({1: 0.5})
    assert numbers.of_seeds("simulated", "harmonrank", "correlation/b/a") == {1: 0.9}
    # (b, a): .5, .9; (b, c): .25, .1; (a, c): .15, .2. Ranks 3, 2, 1 and 3, 1, 2: Spearman 1 - 6 * 2 / 24.
    assert numbers.of_seeds("simulated", "harmonrank", "agreement") == pytest.approx({1: 0.5})


def test_rounds_of_ippo(tmp_path: Path) -> None:
    run = made_run(tmp_path, "pantheon", 1)
    rounds = [
        {"round": 0, "weights": [1.0, 1.0], "accepted": False},
        {"round": 1, "weights": [1.0, 1.05], "accepted": True},
    ]
    write_json(run / "archive.json", {"labels": ["click", "like"], "rounds": rounds})
    numbers = Numbers(ippo_numbers(grouped(tmp_path)))
    assert numbers.of_seeds("simulated", "pantheon", "weight/like@1") == {1: 1.05}
    assert numbers.of_seeds("simulated", "pantheon", "accepted") == {1: 1.0}
    assert numbers.of_seeds("simulated", "pantheon", "rounds") == {1: 2.0}


def test_a_column_without_runs_and_runs_without_a_column_are_named() -> None:
    rows = [Number("simulated", name, "", "label_gauc/a", 1, 0.5) for name in ("emer", "borda", "random order")]
    told = [(problem.run, problem.kind) for problem in variants_amiss(DEFINITION, rows)]
    assert told == [("other", "missing"), ("borda", "unknown")]
    front = replace(DEFINITION, kind="front", variants={"bce_even": "even"}, reference="")
    rows = [Number("simulated", name, "", "label_gauc/a", 1, 0.5) for name in ("bce_even", "bce")]
    assert variants_amiss(front, rows) == []  # a front is called by its method
