"""IntEL's intent: what a user is about to do in this request, and how it enters the candidates' encodings."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from emer.errors import EmerError
from emer.requests import Schema


class IntentSpace:
    """The I = P C cells that an intent is a distribution over: (positive feedback label p, category c) -> p C + c.

    P are the labels that count towards satisfaction (``Schema.positive_indices``), C the ids of one item category, or
    1 without one. Labels that say only that playing began, or that repeat another one, would fill the distribution
    without telling what a user wants.

    Args:
        schema: the request log's columns.
        category: name of the item category; None for labels only.

    Raises:
        EmerError: the log has no such category, or no positive labels.
    """

    def __init__(self, schema: Schema, category: str | None = None) -> None:
        names = [c.name for c in schema.item_categories]
        if category is not None and category not in names:
            raise EmerError(
                f"method.model.intent_category is {category!r}; the request log has the item categories "
                f"{', '.join(names) or '(none)'}. Name one of these, or set it to null"
            )
        if not schema.positive_indices:
            raise EmerError(
                "method.model.intent is a distribution over positive feedback, and the request log has no feedback "
                "label that counts as positive; set method.model.intent to false"
            )
        self.column = None if category is None else names.index(category)
        self.size = len(schema.positive_indices) * (
            1 if self.column is None else schema.item_categories[self.column].size
        )

    def group(self, item_categories: Tensor) -> Tensor:
        """(B, N) int64 c of each candidate, for ids (B, N, F); 0 if the space has labels only."""
        if self.column is None:
            return item_categories.new_zeros(item_categories.shape[:2])
        return item_categories[..., self.column]


class IntentPredictor(nn.Module):
    """log softmax(W mean_n f_n + b): user and context as they are, the candidates' features as their mean.

    The published predictor encodes the user's earlier sessions and items, which a request does not carry. What is
    fetched for a request tells something of the same, hence the mean over its candidates in their place.

    Args:
        width: size of a candidate's features, in which user and context features are repeated.
        size: I, cells of the intent space.
    """

    def __init__(self, width: int, size: int) -> None:
        super().__init__()
        self.out = nn.Linear(width, size)

    def forward(self, features: Tensor, mask: Tensor) -> Tensor:
        """(B, I) log-probabilities for ``features`` (B, N, width) and ``mask`` (B, N) bool."""
        return torch.log_softmax(self.out(masked_mean(features, mask)), dim=-1)


class HadamardIntent(nn.Module):
    """x_n = h_n * MLP(intent): the intent scales the channels, and candidates stay apart (the published form)."""

    def __init__(self, size: int, width: int) -> None:
        super().__init__()
        self.scale = nn.Sequential(nn.Linear(size, width), nn.ReLU(), nn.Linear(width, width, bias=False))

    def forward(self, h: Tensor, intent: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) for ``h`` (B, N, D) and ``intent`` (B, I) probabilities."""
        return h * self.scale(intent).unsqueeze(1)


class CrossAttentionIntent(nn.Module):
    """x = attention with the intent as its single query and the candidates as keys and values.

    The released code's later default. One query has one answer, so x is the **same for all candidates** of a request,
    and so are weights computed from it. Kept to reproduce that code.

    Args:
        size: I.
        width: size of the encodings; a multiple of ``heads``.
        heads: attention heads.
    """

    def __init__(self, size: int, width: int, heads: int) -> None:
        super().__init__()
        self.heads = heads
        self.query = nn.Linear(size, width)
        self.key_value = nn.Linear(width, 2 * width)

    def forward(self, h: Tensor, intent: Tensor, mask: Tensor) -> Tensor:
        """(B, N, D) for ``h`` (B, N, D), ``intent`` (B, I) probabilities and ``mask`` (B, N) bool."""
        B, N, D = h.shape
        q = self.query(intent).view(B, self.heads, 1, D // self.heads)
        k, v = self.key_value(h).view(B, N, 2, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        x = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.view(B, 1, 1, N))
        return x.reshape(B, 1, D).expand(B, N, D)


def masked_mean(x: Tensor, mask: Tensor) -> Tensor:
    """(B, D) mean of ``x`` (B, N, D) over the valid candidates."""
    return (x * mask.unsqueeze(-1)).sum(dim=1) / mask.sum(dim=1, keepdim=True).clamp(min=1)
