"""Pantheon's IPPO (arXiv 2505.13894, docs/rivals.md): the rule that moves the objectives' weights, without any model.

A reference and a base model learn from the same data with weights of their own. After each round both are evaluated
on later requests: if the reference is the better one, it becomes the base; if not, the objective that lags most gets a
larger weight in the reference's loss. The names are those of reinforcement learning; there is no policy network and no
policy gradient.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field
from typing import Any, Literal, get_args

import numpy as np

from emer.errors import EmerError

Mode = Literal["non_inferior", "literal"]
Policy = Literal["raise", "perturb"]


@dataclass(frozen=True)
class WindowGaucs:
    """What a window of requests says of M objectives; each (M,) float64, NaN where it says nothing.

    Attributes:
        reference, base: GAUCs of the two models.
        error: standard error of reference - base.
        best_pxtr: the best GAUC that a single pxtr reaches by itself.
    """

    reference: np.ndarray
    base: np.ndarray
    error: np.ndarray
    best_pxtr: np.ndarray


@dataclass(frozen=True)
class Decision:
    """What follows from a round.

    Attributes:
        accepted: the reference becomes the base.
        weights, base_weights: (M,) of the next round.
        raised: index of the objective whose weight was raised; None if none was.
    """

    accepted: bool
    weights: np.ndarray
    base_weights: np.ndarray
    raised: int | None = None


class Ippo:
    """The rule (docs/rivals.md). With gaps d = GAUC(reference) - GAUC(base) and their standard errors e,

        non_inferior: accept if d_k >= -tolerance e_k for all k, and d_k > margin e_k for some k (P2);
        literal:      accept if d_k > 0 for all k.

    On rejection, ``w_k += step / M`` of the objective with the smallest d_k. Where several share it, as at the start
    when both models are the same, it is the one whose GAUC is lowest beside that of its best single pxtr (P9).
    Objectives without a GAUC or an error in this window take no part.

    Args:
        mode: see above. Strictly better in every one of several noisy numbers almost never happens, hence the first.
        tolerance, margin: in standard errors; not used by ``literal``.
        step: Delta M, 0.1 in the paper.
        renormalise: scale the weights to mean 1 after each change (P4); without it they only grow.
        policy: ``raise``; or ``perturb``, which is not the paper's: after each round the reference's weights become
            w_base exp(sigma xi), xi normal, until one of them is accepted.
        sigma: of ``perturb``.
        seed: of ``perturb``; a round's draw depends on the seed and the round alone.

    Raises:
        EmerError: an option is unknown or out of range.
    """

    def __init__(
        self,
        *,
        mode: Mode = "non_inferior",
        tolerance: float = 1.0,
        margin: float = 1.0,
        step: float = 0.1,
        renormalise: bool = False,
        policy: Policy = "raise",
        sigma: float = 0.1,
        seed: int = 0,
    ) -> None:
        for key, value, allowed in (("mode", mode, get_args(Mode)), ("policy", policy, get_args(Policy))):
            if value not in allowed:
                raise EmerError(f"method.module.{key} is {value!r}; it must be one of {', '.join(allowed)}")
        for key, number in (("tolerance", tolerance), ("margin", margin)):
            if not 0 <= number < math.inf:
                raise EmerError(f"method.module.{key} is {number}; it must be a number >= 0")
        for key, number in (("step", step), ("sigma", sigma)):
            if not 0 < number < math.inf:
                raise EmerError(f"method.module.{key} is {number}; it must be a number > 0")
        if seed < 0:
            raise EmerError(f"method.module.seed is {seed}; it must be 0 or more")
        self.mode, self.tolerance, self.margin = mode, tolerance, margin
        self.step, self.renormalise = step, renormalise
        self.policy, self.sigma, self.seed = policy, sigma, seed

    def known(self, window: WindowGaucs) -> np.ndarray:
        """(M,) bool: the objectives that take part."""
        gap_known = np.isfinite(window.reference) & np.isfinite(window.base)
        return gap_known if self.mode == "literal" else gap_known & np.isfinite(window.error)

    def accepts(self, window: WindowGaucs) -> bool:
        """Whether the reference becomes the base; False if no objective is known."""
        known = self.known(window)
        gap, error = (window.reference - window.base)[known], window.error[known]
        if not gap.size:
            return False
        if self.mode == "literal":
            return bool((gap > 0).all())
        return bool((gap >= -self.tolerance * error).all() and (gap > self.margin * error).any())

    def lagging(self, window: WindowGaucs) -> int | None:
        """Index of the objective with the smallest gap; None if no objective is known."""
        known = self.known(window)
        if not known.any():
            return None
        gap = np.where(known, window.reference - window.base, np.inf)
        ratio = window.reference / window.best_pxtr
        # An objective that no pxtr orders comes last among equals.
        ratio = np.where((gap == gap.min()) & np.isfinite(ratio), ratio, np.inf)
        return int(ratio.argmin()) if np.isfinite(ratio).any() else int(gap.argmin())

    def decide(self, weights: np.ndarray, base_weights: np.ndarray, window: WindowGaucs, round_index: int) -> Decision:
        """The next round's weights, from those of this round, both (M,) > 0."""
        accepted = self.accepts(window)
        base = (weights if accepted else base_weights).copy()
        if self.policy == "perturb":
            noise = np.random.default_rng([self.seed, round_index]).standard_normal(base.size)
            return Decision(accepted, self._scaled(base * np.exp(self.sigma * noise)), base)
        raised = None if accepted else self.lagging(window)
        following = weights.copy()
        if raised is not None:
            following[raised] += self.step / weights.size
        return Decision(accepted, self._scaled(following), base, raised)

    def _scaled(self, weights: np.ndarray) -> np.ndarray:
        return weights / weights.mean() if self.renormalise else weights


@dataclass(frozen=True)
class ArchiveEntry:
    """Weights and GAUCs, each (M,), of one model after a round; NaN where a GAUC is not known."""

    round_index: int
    model: str
    weights: np.ndarray
    gaucs: np.ndarray


@dataclass
class Archive:
    """Weights whose GAUCs no other of the archive's dominates (P8).

    One entry dominates another if its GAUC is nowhere lower and somewhere higher, over the objectives that both know.
    The GAUCs are those of an entry's own window; where windows move on, so does what they compare.
    """

    entries: list[ArchiveEntry] = field(default_factory=list)

    def add(self, entry: ArchiveEntry) -> bool:
        """Take ``entry`` in and those that it dominates out; whether it was taken.

        What is dominated, or has the very GAUCs of an entry that is there, is not taken; nor is what has no GAUC.
        """
        if not np.isfinite(entry.gaucs).any():
            return False
        for old in self.entries:
            same = np.array_equal(old.gaucs, entry.gaucs, equal_nan=True)
            if same or dominates(old.gaucs, entry.gaucs):
                return False
        self.entries = [old for old in self.entries if not dominates(entry.gaucs, old.gaucs)]
        self.entries.append(entry)
        return True

    def state_dict(self) -> list[dict[str, Any]]:
        """Plain lists and numbers, for a checkpoint."""
        return [
            {
                "round": entry.round_index,
                "model": entry.model,
                "weights": entry.weights.tolist(),
                "gaucs": entry.gaucs.tolist(),
            }
            for entry in self.entries
        ]

    def load_state_dict(self, state: list[dict[str, Any]]) -> None:
        """Go on from :meth:`state_dict`."""
        self.entries = [
            ArchiveEntry(row["round"], row["model"], np.array(row["weights"]), np.array(row["gaucs"])) for row in state
        ]


def dominates(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether ``first`` is nowhere lower and somewhere higher than ``second``, both (M,), where neither is NaN."""
    # Comparisons with NaN are False.
    return bool((first > second).any() and not (first < second).any())
