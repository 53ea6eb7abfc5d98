"""Samples and distinct counts of fixed size that do not depend on how the rows were cut into files.

Both keep the entries with the smallest hashes. A hash is a pure function of the ids, so the same data give the same
sample in any number of shards and in any order.
"""

from __future__ import annotations

from collections.abc import Iterable

import numpy as np

from emer.world.hashing import Hash, fold

CANDIDATES = 50_000
"""Candidates of each split that distributions and correlations rest on."""

EXPOSED = 200_000
"""Exposed candidates of each split that calibration rests on."""

DISTINCT = 65_536
"""Values counted exactly; beyond, the standard error is 1 / sqrt(DISTINCT), 0.4 %."""


def hashed(*keys: np.ndarray) -> Hash:
    """(n,) hash of integer keys (n,); of one key a bijection, so that no two values meet."""
    return fold(np.zeros(1, dtype=np.uint64), *keys)


class Sample:
    """A uniform sample without replacement of at most ``size`` rows of ``width`` numbers.

    Attributes:
        seen: rows offered so far.
    """

    def __init__(self, size: int, width: int) -> None:
        self.size = size
        self.seen = 0
        self._hash: Hash = np.zeros(0, dtype=np.uint64)
        self._rows = np.zeros((0, width), dtype=np.float32)

    def add(self, key: Hash, rows: np.ndarray) -> None:
        """Offer ``rows`` (n, width) with their hashes ``key`` (n,)."""
        self.seen += key.size
        if self._hash.size == self.size:
            small = key < self._hash[-1]
            key, rows = key[small], rows[small]
        if key.size == 0:
            return
        key, rows = np.concatenate([self._hash, key]), np.concatenate([self._rows, rows])
        order = np.argsort(key, kind="stable")[: self.size]
        self._hash, self._rows = key[order], rows[order]

    @property
    def rows(self) -> np.ndarray:
        """(n, width) float32 in the order of their hashes."""
        return self._rows

    @classmethod
    def pooled(cls, samples: Iterable[Sample]) -> Sample:
        """A uniform sample, as large as the largest of ``samples``, of all that they were offered."""
        listed = list(samples)
        pool = cls(max(s.size for s in listed), listed[0]._rows.shape[1])
        for sample in listed:
            pool.add(sample._hash, sample._rows)
        pool.seen = sum(s.seen for s in listed)
        return pool


class Distinct:
    """How many distinct integers: exact up to ``size``, then estimated from the k = ``size`` smallest hashes,

    n ≈ (k - 1) / h,   h the largest of them as a fraction of all hashes (KMV; Bar-Yossef et al. 2002).
    """

    def __init__(self, size: int = DISTINCT) -> None:
        self.size = size
        self._smallest: Hash = np.zeros(0, dtype=np.uint64)
        self.exact = True

    def add(self, values: np.ndarray) -> None:
        """Count the integers ``values`` (n,)."""
        self._merge(hashed(values))

    def _merge(self, hashes: Hash) -> None:
        merged = np.unique(np.concatenate([self._smallest, hashes]))
        self.exact = self.exact and merged.size <= self.size
        self._smallest = merged[: self.size]

    @property
    def count(self) -> int:
        if self.exact:
            return self._smallest.size
        return round((self.size - 1) / ((float(self._smallest[-1]) + 1) * 2.0**-64))

    @classmethod
    def union(cls, parts: Iterable[Distinct]) -> Distinct:
        """The count of all values that any of ``parts`` counted."""
        listed = list(parts)
        whole = cls(listed[0].size)
        for part in listed:
            whole._merge(part._smallest)
            whole.exact = whole.exact and part.exact
        return whole
