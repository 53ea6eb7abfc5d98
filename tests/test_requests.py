"""The batch: IPUT by the paper's example, moving and cutting, and a check per clause of the contract."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
from pytorch_lightning.utilities import move_data_to_device

from emer.errors import DataError
from emer.ranking import rank_gap
from emer.requests import Objective, RequestBatch, Role, Schema, Unit

Make = Callable[..., RequestBatch]


def changed(batch: RequestBatch, field: str, tensor: torch.Tensor) -> RequestBatch:
    fields: dict[str, Any] = {field: tensor}
    return replace(batch, **fields)


def test_iput_of_the_papers_example() -> None:
    # Items of 20 s, 10 s, 5 s with interaction pxtr .8, .7, .4: densities .04, .07, .08 reverse the order.
    # A fourth of .5 s is divided by the floor of 1 s: .06 / 1, not .06 / .5.
    schema = Schema(objectives=(Objective("pltr", role=Role.INTERACTION), Objective("pvtr", Unit.SECONDS)))
    pxtr = torch.tensor([[[0.8, 20.0], [0.7, 10.0], [0.4, 5.0], [0.06, 0.5]]])
    where = torch.ones(1, 4, dtype=torch.bool)
    empty = torch.zeros(1, 4, 0)
    batch = RequestBatch(
        schema=schema,
        pxtr=pxtr,
        rank_gap=rank_gap(pxtr, where),
        iput_rank_gap=rank_gap(pxtr, where),
        iput_floor=1.0,
        mask=where,
        exposed=~where,
        label=empty,
        user_categories=torch.zeros(1, 0, dtype=torch.int64),
        context_categories=torch.zeros(1, 0, dtype=torch.int64),
        item_categories=empty.long(),
        item_numbers=empty,
        item_id=torch.arange(4).view(1, 4),
        request_id=torch.tensor([5]),
        user_id=torch.tensor([6]),
        time_ms=torch.tensor([7]),
        row=torch.tensor([0]),
    ).validate()
    target = batch.iput_pxtr()
    torch.testing.assert_close(target[0, :, 0], torch.tensor([0.8 / 20, 0.7 / 10, 0.4 / 5, 0.06 / 1]))
    assert target[..., 1].equal(pxtr[..., 1])
    assert batch.pxtr[0, 0, 0] == 0.8 and len(batch) == 1


def test_iput_without_interaction_objectives_is_the_pxtr(batch_of: Make) -> None:
    batch = batch_of(schema=Schema(objectives=(Objective("pctr"), Objective("pvtr", Unit.SECONDS))))
    assert batch.iput_pxtr().equal(batch.pxtr)


def test_select_and_move_keep_every_tensor_in_step(batch_of: Make) -> None:
    batch = batch_of(4)
    cut = batch.select(torch.tensor([2, 0]))
    assert len(cut) == 2 and cut.validate() is cut
    for name, tensor in cut._tensors():
        assert tensor.equal(getattr(batch, name)[[2, 0]]), name
    assert batch.select(torch.tensor([False, True, False, False])).row.tolist() == [1]
    assert cut.lengths.tolist() == batch.lengths[[2, 0]].tolist()
    without = batch_of(4, with_previous=False).to("cpu")
    assert without.previous_score is None
    # On the meta device every tensor must have moved, or a GPU step would fail later.
    assert {tensor.device.type for _, tensor in batch.to("meta")._tensors()} == {"meta"}


def test_lightning_moves_a_batch_as_one_thing(batch_of: Make) -> None:
    moved = move_data_to_device(batch_of(), torch.device("meta"))
    assert isinstance(moved, RequestBatch) and moved.pxtr.is_meta and moved.row.is_meta


@pytest.mark.parametrize(
    ("field", "place", "value", "said"),
    [
        ("pxtr", (0, 1, 0), 1.5, r"pxtr is a probability outside .* at index \[0, 1, 0\] \(request_id 0\)"),
        ("pxtr", (1, 0, 3), -0.1, r"\[1, 0, 3\] \(request_id 1\)"),
        ("pxtr", (0, 0, 1), -2.0, "negative watch time"),
        ("pxtr", (0, 0, 1), torch.nan, "pxtr is not finite"),
        ("item_numbers", (0, 0, 0), torch.inf, "item_numbers is not finite"),
        ("mask", (0,), False, "mask has no candidate"),
        ("label", (0, 0, 0), 1.0, "label is set on an unexposed"),
        ("watch_time", (0, 0), 1.0, "watch_time is set on an unexposed"),
        ("negative", (0, 0), -1.0, "negative is negative"),
        ("user_categories", (0, 0), 5, "user_categories is outside"),
        ("item_categories", (1, 0, 0), -1, "item_categories is outside"),
        ("context_categories", (2, 0), 24, "context_categories is outside"),
    ],
)
def test_validate_names_field_and_place(
    batch_of: Make, field: str, place: tuple[int, ...], value: float, said: str
) -> None:
    clean = batch_of()
    nobody = torch.zeros_like(clean.exposed)
    clean = replace(
        clean,
        exposed=nobody,
        label=torch.zeros_like(clean.label),
        watch_time=torch.zeros_like(clean.pxtr[..., 0]),
        negative=torch.zeros_like(clean.pxtr[..., 0]),
    ).validate()
    wrong = getattr(clean, field).clone()
    wrong[place] = value
    with pytest.raises(DataError, match=said):
        changed(clean, field, wrong).validate()


@pytest.mark.parametrize(
    ("field", "change", "said"),
    [
        ("pxtr", lambda t: t[..., :2], r"pxtr has shape .* expected \(3, 9, 4\)"),
        ("pxtr", lambda t: t[0], r"pxtr has shape \(9, 4\)"),
        ("mask", lambda t: t[0], "mask has shape|has shape"),
        ("label", lambda t: t.bool(), "label is torch.bool, expected torch.float32"),
        ("label", lambda t: t * 0.5, "label is neither 0 nor 1"),
        ("row", lambda t: t.int(), "row is torch.int32"),
        ("watch_time", lambda t: t[:, :-1], r"watch_time has shape \(3, 8\)"),
        ("exposed", lambda t: torch.ones_like(t), "exposed is set on padding"),
    ],
)
def test_validate_names_shape_and_type(
    batch_of: Make, field: str, change: Callable[[torch.Tensor], torch.Tensor], said: str
) -> None:
    batch = batch_of()
    with pytest.raises(DataError, match=said):
        changed(batch, field, change(getattr(batch, field))).validate()


def test_exposed_only_keeps_what_was_shown(batch_of: Make) -> None:
    batch = batch_of()
    few = batch.exposed_only()
    assert few.mask.shape == (len(batch), int(batch.exposed.sum(dim=1).max()))
    assert torch.equal(few.mask, few.exposed)
    for name in ("pxtr", "rank_gap", "label", "item_id", "item_numbers", "item_categories"):
        full, part = getattr(batch, name), getattr(few, name)
        for row in range(len(batch)):
            assert torch.equal(part[row][few.mask[row]], full[row][batch.exposed[row]]), name
