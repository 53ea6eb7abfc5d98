"""What the pxtr stage asks of a network, whichever it is."""

from __future__ import annotations

from abc import ABC, abstractmethod
from typing import Self

import torch
from torch import Tensor, nn

from emer.models.expert_towers import TowerOutput, Towers
from emer.pxtr.category_embedding import CategoryEmbedding


class PxtrModel(Towers, ABC):
    """Categories and numbers of a row in; a logit and a hidden state per objective out.

    Subclasses differ in what objectives share below their towers: experts by choice (:class:`emer.pxtr.mmoe.MMoE`),
    some of them (:class:`emer.pxtr.ple.PLE`), nothing (:class:`emer.pxtr.single_task.SingleTask`).

    Attributes:
        embedding: of the categories; the only part that grows with vocabularies.
        dropout: on what :meth:`features` gives, during training.
    """

    embedding: CategoryEmbedding
    dropout: nn.Dropout

    @abstractmethod
    def forward(self, categories: Tensor, numbers: Tensor) -> TowerOutput:
        """``categories`` (n, C) int ids and ``numbers`` (n, F) float32 -> :class:`TowerOutput`."""

    def features(self, categories: Tensor, numbers: Tensor) -> Tensor:
        """x = [embeddings of the categories ; numbers]: (n, C * embedding_size + F)."""
        return self.dropout(torch.cat([self.embedding(categories).flatten(1), numbers], dim=1))

    @torch.no_grad()
    def copy_from(self, smaller: Self) -> None:
        """Start from a model whose categories had fewer ids: layers are copied, new ids keep their start.

        Raises:
            ValueError: its categories are others, or one of them had more ids.
        """
        self.embedding.copy_from(smaller.embedding)
        self.load_state_dict({**smaller.state_dict(), "embedding.weight": self.embedding.weight})
