"""IntEL (Li et al., SIGIR 2023, doi 10.1145/3539618.3591702): an ensemble whose weights depend on item and intent."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, get_args

import torch
from omegaconf import MISSING
from torch import Tensor, nn

from emer.errors import EmerError
from emer.models.features import CandidateFeatures
from emer.models.intent import CrossAttentionIntent, HadamardIntent, IntentPredictor, IntentSpace, masked_mean
from emer.models.list_encoder import ListEncoder
from emer.models.min_max import min_max
from emer.requests import RequestBatch, Schema

IntentMode = Literal["hadamard", "cross_attention"]
WeightNorm = Literal["softmax", "none"]


@dataclass
class IntelConfig:
    """Schema of ``method.model``; what the values mean stands in conf/method/intel.yaml."""

    _target_: str = "emer.models.intel.Intel"
    width: int = MISSING
    layers: int = MISSING
    heads: int = MISSING
    dropout: float = MISSING
    embedding_width: int = MISSING
    intent: bool = MISSING
    intent_category: str | None = MISSING
    intent_mode: str = MISSING
    weight_norm: str = MISSING
    item_weights: bool = MISSING


class Intel(nn.Module):
    """S_n = sum_k w_nk s_nk, s the pxtrs min-max scaled in their request, w one weight per candidate and objective:

        w_n = W [x^i_n; x^s_n; h^u; relu(W_t t)] + b,   x^i_n = intent * encoder(item features)_n,
                                                       x^s_n = intent * encoder(s)_n,

    h^u = relu(W_u user), and t the predicted intent: a distribution over (positive feedback label, category) cells
    (:class:`emer.models.intent.IntentSpace`). ``*`` is :class:`emer.models.intent.HadamardIntent` by default.

    - A request carries no history, so t is read from user, context and the mean of the candidates' features.
    - h^u reads user and context, not the user alone, so that the ablation without intent loses no input.
    - Items enter by their categories and numbers, never by an id. With ids and free weights, the ensemble can become a
      recommender of its own; this is the control that tells the two apart, and it is the default.
    - Without item features there is no x^i, without user and context features no h^u.

    Args:
        schema: the request log's columns.
        width: size of the encodings; a multiple of ``heads``.
        layers: attention blocks of each of the two encoders.
        heads: attention heads.
        dropout: dropout rate in the blocks.
        embedding_width: size of each categorical feature's embedding.
        intent: False is an ablation: no intent is predicted, and x = h.
        intent_category: item category of the intent's cells; None for labels only.
        intent_mode: ``hadamard``, or ``cross_attention``, whose weights are the same for all candidates.
        weight_norm: ``softmax`` over the objectives, or ``none``. The decomposition into error and ambiguity needs
            w >= 0 that add up to 1; the released code does not see to it.
        item_weights: False is an ablation: one weight vector per request, from the mean of the x over its candidates.

    Raises:
        EmerError: an option is out of range or unknown, the log lacks ``intent_category``, or it has no positive
            feedback for the intent.
    """

    def __init__(
        self,
        schema: Schema,
        *,
        width: int = 32,
        layers: int = 2,
        heads: int = 2,
        dropout: float = 0.0,
        embedding_width: int = 16,
        intent: bool = True,
        intent_category: str | None = None,
        intent_mode: IntentMode = "hadamard",
        weight_norm: WeightNorm = "softmax",
        item_weights: bool = True,
    ) -> None:
        super().__init__()
        sizes = {"width": width, "layers": layers, "heads": heads, "embedding_width": embedding_width}
        for name, size in sizes.items():
            if size < 1:
                raise EmerError(f"method.model.{name} is {size}; it must be at least 1")
        if not 0 <= dropout < 1:
            raise EmerError(f"method.model.dropout is {dropout}; it must be in [0, 1)")
        if width % heads:
            raise EmerError(f"method.model.width ({width}) must be a multiple of method.model.heads ({heads})")
        for key, value, allowed in (
            ("intent_mode", intent_mode, get_args(IntentMode)),
            ("weight_norm", weight_norm, get_args(WeightNorm)),
        ):
            if value not in allowed:
                raise EmerError(f"method.model.{key} is {value!r}; it must be one of {', '.join(allowed)}")
        self.weight_norm, self.item_weights = weight_norm, item_weights
        self.features = CandidateFeatures(schema, use_pxtr=True, use_rank=False, embedding_width=embedding_width)
        K = len(schema.objectives)
        of_item = len(schema.item_numbers) + len(schema.item_categories) * embedding_width
        of_user = len(schema.user_categories + schema.context_categories) * embedding_width
        widths = {"score": K} | ({"item": of_item} if of_item else {})
        self.encoders = nn.ModuleDict(
            {
                name: ListEncoder(size, width, layers=layers, heads=heads, dropout=dropout)
                for name, size in widths.items()
            }
        )
        self.user = nn.Linear(of_user, width) if of_user else None
        self.space = IntentSpace(schema, intent_category) if intent else None
        parts = len(self.encoders) + (self.user is not None)
        if self.space is not None:
            I = self.space.size  # noqa: E741
            self.intent = IntentPredictor(self.features.width, I)
            self.intent_effects = nn.ModuleDict(
                {
                    name: HadamardIntent(I, width)
                    if intent_mode == "hadamard"
                    else CrossAttentionIntent(I, width, heads)
                    for name in self.encoders
                }
            )
            self.intent_token = nn.Linear(I, width)
            parts += 1
        self.weights = nn.Linear(parts * width, K)

    @property
    def gives(self) -> tuple[str, ...]:
        """Names of what :meth:`forward_with_details` gives beside the scores."""
        return ("base_scores", "base_weights", "intent_log_probability", "intent_group")

    def forward(self, batch: RequestBatch) -> Tensor:
        """(B, N) scores; 0 on padding. Permuting the candidates permutes the scores."""
        return self.forward_with_details(batch)[0]

    def forward_with_details(self, batch: RequestBatch) -> tuple[Tensor, dict[str, Tensor]]:
        """Scores, and what the objective reads.

        Returns:
            (B, N) scores, and

            - ``base_scores`` (B, N, K) s in [0, 1] and ``base_weights`` (B, N, K) w, both 0 on padding;
            - ``intent_log_probability`` (B, I); I = 0 without intent;
            - ``intent_group`` (B, N) int64 in [0, C): a candidate with label p falls in the cell p C + group.
        """
        mask = batch.mask
        valid = mask.unsqueeze(-1)
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            base = min_max(batch.pxtr, mask)
            inputs = {"score": base}
            if "item" in self.encoders:
                inputs["item"] = self._item(batch)
        encoded = {name: encoder(inputs[name], mask) for name, encoder in self.encoders.items()}
        # From here on in full precision: the weights make the score, and half precision makes neighbours equal.
        with torch.autocast(batch.pxtr.device.type, enabled=False):
            log_p, group = base.new_zeros(len(batch), 0), torch.zeros_like(mask, dtype=torch.int64)
            shared = [torch.relu(self.user(self._user(batch)))] if self.user is not None else []
            if self.space is not None:
                log_p, group = self.intent(self.features(batch), mask), self.space.group(batch.item_categories)
                t = log_p.exp()
                encoded = {name: self.intent_effects[name](h, t, mask) for name, h in encoded.items()}
                shared.append(torch.relu(self.intent_token(t)))
            x = torch.cat(list(encoded.values()), dim=-1)
            if not self.item_weights:
                x = masked_mean(x, mask).unsqueeze(1)
            w = self.weights(torch.cat([x, *(part.unsqueeze(1).expand(-1, x.shape[1], -1) for part in shared)], dim=-1))
            if self.weight_norm == "softmax":
                w = torch.softmax(w, dim=-1)
            w = w.expand(base.shape).masked_fill(~valid, 0.0)
            scores = (w * base).sum(dim=-1)
        details = {
            "base_scores": base,
            "base_weights": w,
            "intent_log_probability": log_p,
            "intent_group": group,
        }
        return scores, details

    def _item(self, batch: RequestBatch) -> Tensor:
        """(B, N, F) standardised numbers and embedded categories of the items."""
        K = batch.pxtr.shape[2]
        f = self.features
        numbers = (batch.item_numbers - f.mean[K:]) / f.std[K:]
        return torch.cat([numbers, *(table(batch.item_categories[..., i]) for i, table in enumerate(f.item))], dim=-1)

    def _user(self, batch: RequestBatch) -> Tensor:
        """(B, U) embedded user and context features."""
        user = [table(batch.user_categories[:, i]) for i, table in enumerate(self.features.user)]
        context = [table(batch.context_categories[:, i]) for i, table in enumerate(self.features.context)]
        return torch.cat(user + context, dim=-1)
