"""The embedded log: deterministic, time-ordered, honest about what a platform can see, close to KuaiRand."""

import re
from dataclasses import fields, replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import rankdata

import emer
from emer.data.simulated import (
    SPLITS,
    SimulatedSource,
    simulate_requests,
    simulated_schema,
)
from emer.data.table import RequestTable
from emer.world.population import build_world

TINY = SimulatedSource(
    users=60, videos=1500, candidates=24, train_requests=150, validation_requests=40, test_requests=60
)
ARRAYS = [f.name for f in fields(RequestTable) if f.name not in ("schema", "iput_floor")]


@pytest.fixture(scope="module")
def log():
    """The default log."""
    return simulate_requests(SimulatedSource())


@pytest.fixture(scope="module")
def whole(log):
    return RequestTable.concat([log[split] for split in SPLITS])


def same(a, b):
    return all(getattr(a[s], name).tobytes() == getattr(b[s], name).tobytes() for s in SPLITS for name in ARRAYS)


def label(table, name):
    return table.label[:, table.schema.feedback_names.index(name)]


def pxtr(table, name):
    return table.pxtr[:, table.schema.objective_names.index(name)]


def auc(score, positive):
    rank, positives = rankdata(score), positive.sum()
    negatives = positive.size - positives
    return (rank[positive].sum() - positives * (positives + 1) / 2) / (positives * negatives)


# --- determinism -----------------------------------------------------------------------------------------


def test_same_settings_give_the_same_bytes():
    assert same(simulate_requests(TINY), simulate_requests(TINY))


def test_block_size_does_not_matter():
    assert same(simulate_requests(TINY, block=64), simulate_requests(TINY, block=999))
    assert same(simulate_requests(TINY, block=7), simulate_requests(TINY, block=999))


@pytest.mark.parametrize(
    "change", [{"seed": 1}, {"pxtr_noise": 0.5}, {"request_shift": 0.0}, {"gamma": 0.0}, {"explore": 0.5}]
)
def test_other_settings_give_another_log(change):
    assert not same(simulate_requests(TINY), simulate_requests(replace(TINY, **change)))


# --- structure -------------------------------------------------------------------------------------------


def test_splits_have_their_sizes_and_follow_in_time(log):
    assert [len(log[s]) for s in SPLITS] == [5000, 1000, 3000]
    time = np.concatenate([log[s].time_ms for s in SPLITS])
    assert (np.diff(time) >= 0).all()
    assert time[-1] - time[0] > 2 * 86_400_000
    ids = np.concatenate([log[s].request_id for s in SPLITS])
    assert np.array_equal(ids, np.arange(9000))


def test_exactly_64_distinct_candidates(whole):
    items = whole.item_id.reshape(-1, 64)
    assert (whole.lengths == 64).all()
    assert (np.diff(np.sort(items, axis=1), axis=1) > 0).all()


def test_a_prefix_of_the_serving_score_is_exposed(whole):
    exposed, score = whole.exposed.reshape(-1, 64), whole.previous_score.reshape(-1, 64)
    seen = exposed.sum(axis=1)
    assert seen.min() >= 1 and seen.max() == 8
    best = np.argsort(np.argsort(-score, axis=1, kind="stable"), axis=1) < 8
    assert (exposed & ~best).sum() / seen.sum() == pytest.approx(0.0037 * 56 / 64, abs=0.001)  # explored


def test_serving_score_is_the_logged_fusion_formula(whole):
    expected = np.log(whole.pxtr.astype(float)).sum(axis=1)
    np.testing.assert_allclose(whole.previous_score, expected, rtol=1e-5)


def test_feedback_on_exposed_only(whole):
    hidden = ~whole.exposed
    assert not whole.label[hidden].any()
    assert not whole.watch_time[hidden].any() and not whole.negative[hidden].any()
    assert whole.negative.sum() > 0


def test_watch_flags_from_logged_watch_time_and_duration(whole):
    world = build_world(0, 400, 40_000, SimulatedSource().parameters)
    e = whole.exposed
    watch, duration = whole.watch_time[e], world.duration[whole.item_id[e]].astype(np.float32)
    np.testing.assert_allclose(whole.item_numbers[e, 0], np.log(duration), rtol=1e-6)
    complete = watch >= duration
    assert np.array_equal(label(whole, "complete")[e], complete)
    assert np.array_equal(label(whole, "click")[e], np.where(duration > 7, watch > 7, complete))
    assert np.array_equal(label(whole, "long_view")[e], np.where(duration > 18, watch >= 18, complete))


def test_categories_are_those_of_users_and_videos(whole):
    world = build_world(0, 400, 40_000, SimulatedSource().parameters)
    assert np.array_equal(whole.user_categories[:, 0], world.activity[whole.user_id] + 1)
    assert np.array_equal(whole.item_categories[:, 0], world.category[whole.item_id] + 1)
    assert np.array_equal(whole.item_categories[:, 1], world.cold[whole.item_id] + 1)


def test_context_is_what_the_clock_says(whole):
    assert np.array_equal(whole.context_categories[:, 0], whole.time_ms // 3_600_000 % 24 + 1)
    assert whole.context_categories[:, 1].min() == 1 and whole.context_categories[:, 1].max() == 10


def test_iput_order_differs_from_raw_order(whole):
    s = whole.schema
    consumption = [i for i in range(8) if i not in s.interaction_indices]
    assert np.array_equal(whole.iput_rank_gap[:, consumption], whole.rank_gap[:, consumption])
    for i in s.interaction_indices:
        assert np.corrcoef(whole.iput_rank_gap[:, i], whole.rank_gap[:, i])[0, 1] < 0.97


# --- nothing leaks ---------------------------------------------------------------------------------------


def test_log_has_observable_columns_only(log):
    s = log["train"].schema
    assert s == simulated_schema()
    assert s.objective_names == ("pctr", "pvtr", "plvtr", "pcpr", "pltr", "pwtr", "pcmtr", "pftr")
    assert s.feedback_names == ("click", "long_view", "complete", "like", "follow", "comment", "forward")
    assert [c.name for c in s.user_categories] == ["activity"]
    assert [c.name for c in s.context_categories] == ["hour", "session_request"]
    assert [c.name for c in s.item_categories] == ["category", "age"]
    assert s.item_numbers == ("log_duration",)


def test_nothing_but_the_generator_reads_the_world():
    root = Path(emer.__file__).parent
    readers = {
        path.relative_to(root).as_posix()
        for path in root.rglob("*.py")
        if re.search(r"^\s*(from|import) emer\.world", path.read_text(encoding="utf-8"), re.MULTILINE)
    }
    trainers = ("losses/", "metrics/", "models/", "objectives/", "training/")
    assert not [path for path in readers if path.startswith(trainers)]
    # The platform's own MMoE collects its log; what it may not see is tested where it is.
    of_platform = {f"pxtr/platform_{name}.py" for name in ("log", "model", "stage")}
    assert {path for path in readers if path.startswith("pxtr/")} <= of_platform
    assert "data/simulated.py" in readers  # the pattern finds what it looks for


def test_schema_kinds():
    s = simulated_schema()
    assert s.objectives[s.watch_index].name == "pvtr"
    assert [s.objective_names[i] for i in s.interaction_indices] == ["pltr", "pwtr", "pcmtr", "pftr"]
    assert [s.feedback_names[i] for i in s.positive_indices] == [
        "long_view",
        "like",
        "follow",
        "comment",
        "forward",
    ]
    assert [o.feedback for o in s.objectives] == ["click", None, *s.feedback_names[1:]]


# --- realism ---------------------------------------------------------------------------------------------


def test_common_rates_are_kuairands(whole):
    e = whole.exposed
    assert label(whole, "click")[e].mean() == pytest.approx(0.3787, rel=0.15)
    assert label(whole, "long_view")[e].mean() == pytest.approx(0.2605, rel=0.15)
    assert label(whole, "like")[e].mean() == pytest.approx(0.01665, rel=0.25)  # 54,000 impressions
    assert whole.watch_time[e].mean() == pytest.approx(14.71, rel=0.15)


@pytest.mark.slow
def test_rates_are_kuairands_over_several_worlds():
    rates = []
    for seed in range(3):
        table = simulate_requests(SimulatedSource(seed=seed, users=3000, train_requests=12_000))["train"]
        e = table.exposed
        rates.append([*table.label[e].mean(axis=0), table.negative[e].mean()])
    click, long_view, _, like, follow, comment, forward, dislike = np.mean(rates, axis=0)
    assert (click, long_view, like) == pytest.approx((0.3787, 0.2605, 0.01665), rel=0.15)
    rare = (0.00107, 0.00252, 0.00087, 0.00048)
    assert (follow, comment, forward, dislike) == pytest.approx(rare, rel=0.3)


@pytest.mark.parametrize(
    ("objective", "feedback", "low", "high"),
    [
        ("pctr", "click", 0.54, 0.70),
        ("plvtr", "long_view", 0.55, 0.72),
        ("pcpr", "complete", 0.62, 0.80),
        ("pltr", "like", 0.70, 0.85),
        ("pcmtr", "comment", 0.65, 0.92),
    ],
)
def test_predictions_are_good_but_not_perfect(whole, objective, feedback, low, high):
    e = whole.exposed
    assert low < auc(pxtr(whole, objective)[e], label(whole, feedback)[e]) < high


def test_predictions_are_usable_as_probabilities(whole):
    e = whole.exposed
    for objective, feedback in (
        ("pctr", "click"),
        ("plvtr", "long_view"),
        ("pcpr", "complete"),
        ("pltr", "like"),
    ):
        assert pxtr(whole, objective)[e].mean() == pytest.approx(label(whole, feedback)[e].mean(), rel=0.25)
    assert pxtr(whole, "pvtr")[e].mean() == pytest.approx(whole.watch_time[e].mean(), rel=0.25)


def test_interactions_grow_with_watch_time(whole):
    e = whole.exposed
    watch, like = whole.watch_time[e], label(whole, "like")[e]
    rate = [like[(watch >= a) & (watch < b)].mean() for a, b in ((0, 2), (2, 8), (8, 1e9))]
    assert rate[0] < rate[1] < rate[2]


def test_objectives_agree_in_part(whole):
    """Mean pairwise concordance of the eight pxtrs, .604 in the design study."""
    value = whole.pxtr.reshape(-1, 64, 8)[::25].astype(float)
    i, j = np.triu_indices(64, 1)
    sign = np.sign(value[:, i] - value[:, j]).reshape(-1, 8)
    agreement = (sign.T @ sign / sign.shape[0])[np.triu_indices(8, 1)].mean()
    assert (1 + agreement) / 2 == pytest.approx(0.60, abs=0.03)
