"""Averages, weights, dropped requests, floors and counts by hand."""

import numpy as np
import pytest

from emer.files import write_json
from emer.metrics.summary import summarise

NAN = float("nan")


def per_request(**extra):
    columns = {
        "row": np.arange(3),
        "request_id": np.arange(3),
        "user_id": np.zeros(3, dtype=np.int64),
        "n_candidates": np.array([10, 20, 30]),
        "n_exposed": np.array([2, 3, 5]),
    }
    return columns | {name: np.array(values) for name, values in extra.items()}


def test_gauc_is_weighted_by_the_size_of_its_group():
    result = summarise(per_request(**{"pxtr_gauc/pctr": [0.5, 0.6, 0.9], "label_gauc/click": [0.5, 0.6, 0.9]}))
    assert result["pxtr_gauc/pctr"] == pytest.approx((10 * 0.5 + 20 * 0.6 + 30 * 0.9) / 60)
    assert result["label_gauc/click"] == pytest.approx((2 * 0.5 + 3 * 0.6 + 5 * 0.9) / 10)


def test_a_request_with_one_class_leaves_numerator_and_denominator():
    result = summarise(per_request(**{"label_gauc/like": [NAN, 0.6, 0.9]}))
    assert result["label_gauc/like"] == pytest.approx((3 * 0.6 + 5 * 0.9) / 8)
    assert result["groups/label_gauc/like"] == 2


def test_other_metrics_weigh_every_valid_request_alike():
    result = summarise(
        per_request(
            **{"ndcg_at_10/click": [0.2, NAN, 0.4], "random/ndcg_at_10/click": [0.1, NAN, 0.15]},
        )
    )
    assert result["ndcg_at_10/click"] == pytest.approx((0.2 + 0.4) / 2)
    assert result["random/ndcg_at_10/click"] == pytest.approx((0.1 + 0.15) / 2)
    assert result["groups/ndcg_at_10/click"] == 2


def test_without_any_valid_request_there_is_no_number(tmp_path):
    result = summarise(
        per_request(**{"label_gauc/follow": [NAN] * 3, "label_gauc/click": [0.5, 0.5, 0.8]}),
        {"follow": None, "click": 0.7},
    )
    for name in (
        "label_gauc/follow",
        "random/label_gauc/follow",
        "label_auc/follow",
        "random/label_auc/follow",
    ):
        assert name in result and result[name] is None
    assert result["groups/label_gauc/follow"] == 0
    assert result["label_gauc/mean"] == result["label_gauc/click"]
    assert result["label_auc/sum"] == 0.7 and result["random/label_auc/sum"] == 0.5
    write_json(tmp_path / "metrics.json", result)  # refuses NaN


def test_mean_and_sum_over_objectives():
    result = summarise(
        per_request(**{"iput_gauc/pltr": [0.6] * 3, "iput_gauc/pwtr": [0.8] * 3}), {"click": 0.6, "like": 0.7}
    )
    assert result["iput_gauc/mean"] == pytest.approx((0.6 + 0.8) / 2)
    assert result["random/iput_gauc/mean"] == 0.5
    assert result["label_auc/sum"] == pytest.approx(0.6 + 0.7)
    assert result["random/label_auc/sum"] == 1.0
    assert "label_gauc/mean" not in result


def test_an_empty_evaluation_has_no_numbers():
    empty = {name: values[:0] for name, values in per_request(**{"pxtr_gauc/pctr": [0.1] * 3}).items()}
    result = summarise(empty)
    assert result["pxtr_gauc/pctr"] is None and result["pxtr_gauc/mean"] is None
