"""IntEL's encoder of one kind of input over the list of candidates."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class ListEncoder(nn.Module):
    """Linear map to a candidate's token, then blocks of attention over the list, without positions.

    A block is ``h <- LN(h + dropout(W_2 relu(W_1 attention(h) + b_1) + b_2))``: multi-head self-attention without
    output projection, then two layers, and one norm after the residual (IntEL, Li et al., SIGIR 2023). Padding is not
    attended to; the released code has no such mask.

    Args:
        in_width: size of the input.
        width: size of the tokens; a multiple of ``heads``.
        layers: number of blocks.
        heads: attention heads.
        dropout: dropout rate.
    """

    def __init__(self, in_width: int, width: int, *, layers: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.token = nn.Linear(in_width, width)
        self.blocks = nn.ModuleList(_Block(width, heads, dropout) for _ in range(layers))

    def forward(self, x: Tensor, mask: Tensor) -> Tensor:
        """(B, N, width) for ``x`` (B, N, in_width) and ``mask`` (B, N) bool; meaningless on padding."""
        # The input holds scores, of which half precision would make neighbours equal.
        with torch.autocast(x.device.type, enabled=False):
            h = self.token(x)
        for block in self.blocks:
            h = block(h, mask)
        return h.to(self.token.weight.dtype)


class _Block(nn.Module):
    """Post-norm attention block."""

    def __init__(self, width: int, heads: int, dropout: float) -> None:
        super().__init__()
        self.heads = heads
        self.query_key_value = nn.Linear(width, 3 * width)
        self.mlp = nn.Sequential(nn.Linear(width, width), nn.ReLU(), nn.Linear(width, width), nn.Dropout(dropout))
        self.norm = nn.LayerNorm(width)

    def forward(self, h: Tensor, mask: Tensor) -> Tensor:
        B, N, D = h.shape
        q, k, v = self.query_key_value(h).view(B, N, 3, self.heads, D // self.heads).permute(2, 0, 3, 1, 4)
        attended = F.scaled_dot_product_attention(q, k, v, attn_mask=mask.view(B, 1, 1, N))
        return self.norm(h + self.mlp(attended.transpose(1, 2).reshape(B, N, D)))
