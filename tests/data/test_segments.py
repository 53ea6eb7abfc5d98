"""The segment of every request, by hand."""

from __future__ import annotations

from dataclasses import replace

import torch

from emer.data.segments import request_segments
from emer.requests import Category


def test_users_have_their_own_and_items_vote(batch_of) -> None:
    batch = batch_of(B=3, N=4, full=True)
    exposed = torch.tensor([[1, 1, 1, 0], [1, 1, 0, 0], [0, 0, 0, 0]], dtype=torch.bool)
    topics = torch.tensor([[5, 2, 5, 2], [6, 3, 3, 3], [1, 1, 1, 1]]).unsqueeze(-1)
    batch = replace(
        batch,
        exposed=exposed,
        label=batch.label * exposed.unsqueeze(-1),
        item_categories=topics,
        user_categories=torch.tensor([[4], [0], [2]]),
        row=torch.tensor([7, 3, 5]),
    )
    found = request_segments([batch.select(torch.tensor([0])), batch.select(torch.tensor([1, 2]))])
    assert set(found) == {"segment/activity", "segment/topic"}
    # In the order of the rows 3, 5, 7. Topic 5 has two of three; 3 and 6 have one each: the smaller; none was shown: 0.
    assert found["segment/activity"].tolist() == [0, 2, 4]
    assert found["segment/topic"].tolist() == [3, 0, 5]


def test_a_category_of_many_values_is_no_segment(batch_of) -> None:
    batch = batch_of(B=2)
    schema = replace(batch.schema, user_categories=(Category("city", 33),))
    assert set(request_segments([replace(batch, schema=schema)])) == {"segment/topic"}
