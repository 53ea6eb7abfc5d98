from __future__ import annotations

import pytest
from omegaconf import OmegaConf

from emer.errors import EmerError
from emer.instantiation import instantiate


def build(target: str, _more: dict | None = None, **content):
    return instantiate(OmegaConf.create({"_target_": target, **content}), **(_more or {}))


def test_it_builds_and_passes_runtime_objects_as_they_are(schema) -> None:
    model = build("emer.models.ranker.EmerRanker", {"schema": schema}, width=16, heads=2)
    assert model.token.out_features == 16


@pytest.mark.parametrize("target", ["os.system", "builtins.eval", "subprocess.run"])
def test_other_code_is_refused_before_it_runs(target) -> None:
    with pytest.raises(EmerError, match="is not allowed"):
        build(target, command="true")
    with pytest.raises(EmerError, match="is not allowed"):
        build("emer.data.source.ParquetSource", root={"_target_": target})


def test_refusals_are_errors_for_people(schema) -> None:
    with pytest.raises(EmerError, match="must be a multiple"):
        build("emer.models.ranker.EmerRanker", {"schema": schema}, width=10, heads=4)
    with pytest.raises(EmerError, match="unexpected keyword argument 'widht'"):
        build("emer.models.ranker.EmerRanker", {"schema": schema}, widht=10)
    with pytest.raises(EmerError, match=r"method.objective.ties is 'drop'"):
        build("emer.objectives.emer.EmerObjective", ties="drop")
    with pytest.raises(EmerError, match="NoSuchClass"):
        build("emer.models.ranker.NoSuchClass")
