"""Which network makes the pxtrs."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Literal, get_args

from emer.errors import EmerError
from emer.pxtr.mmoe import MMoE
from emer.pxtr.ple import PLE
from emer.pxtr.pxtr_model import PxtrModel
from emer.pxtr.single_task import SingleTask

Kind = Literal["mmoe", "single_task", "ple"]


def build_model(
    kind: str,
    category_sizes: Sequence[int],
    numbers: int,
    objectives: int,
    *,
    experts: int = 6,
    expert_size: int = 64,
    tower_size: int = 32,
    embedding_size: int = 8,
    dropout: float = 0.0,
    own_experts: int = 1,
    layers: int = 2,
) -> PxtrModel:
    """The network of a name, with starting weights out of torch's generator.

    Args:
        kind: one of :data:`Kind`.
        category_sizes: ids per categorical feature, the unknown (0) included.
        numbers: how many numeric features.
        objectives: K.
        experts: of MMoE, or shared in each level of PLE; not used by ``single_task``.
        expert_size, tower_size: units of each expert (of the first layer, for ``single_task``) and of each tower.
        embedding_size: width of every category's embedding.
        dropout: on the features, during training.
        own_experts, layers: of PLE alone: each objective's experts in a level, and levels.

    Raises:
        EmerError: the name is unknown, a number is out of range, or there are no features.
    """
    sizes = {
        "objectives": objectives,
        "experts": experts,
        "expert_size": expert_size,
        "tower_size": tower_size,
        "embedding_size": embedding_size,
        "own_experts": own_experts,
        "layers": layers,
    }
    check_choice(kind, sizes | {f"category_sizes[{p}]": size for p, size in enumerate(category_sizes)}, dropout)
    if numbers < 0 or not (category_sizes or numbers):
        raise EmerError(f"pxtr model: {len(category_sizes)} categories and {numbers} numbers; give it a feature")
    if kind == "single_task":
        return SingleTask(category_sizes, numbers, objectives, expert_size, tower_size, embedding_size, dropout)
    usual = (experts, expert_size, tower_size, embedding_size, dropout)
    if kind == "ple":
        return PLE(category_sizes, numbers, objectives, *usual, own_experts, layers)
    return MMoE(category_sizes, numbers, objectives, *usual)


def check_choice(kind: str, sizes: Mapping[str, int], dropout: float) -> None:
    """Refuse what :func:`build_model` cannot build.

    Raises:
        EmerError: the name is unknown, or a number is out of range.
    """
    if kind not in get_args(Kind):
        raise EmerError(f"pxtr model: kind is {kind!r}; it must be one of {', '.join(get_args(Kind))}")
    for name, value in sizes.items():
        if type(value) is not int or value < 1:
            raise EmerError(f"pxtr model: {name} is {value}; it must be a whole number of at least 1")
    if not isinstance(dropout, int | float) or not 0 <= dropout < 1:
        raise EmerError(f"pxtr model: dropout is {dropout}; it must be at least 0 and below 1")
