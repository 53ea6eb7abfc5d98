"""Settings that ``emer prepare`` shares with the other jobs."""

from __future__ import annotations

from typing import Any

import pytest
from omegaconf import OmegaConf

from emer.errors import EmerError
from emer.jobs.prepare import set_threads


@pytest.mark.parametrize("threads", [0, -2, 1.5, "many"])
def test_threads_that_cannot_be(threads: Any) -> None:
    with pytest.raises(EmerError, match=r"num_threads is .*; it must be a whole number of at least 1, or null"):
        set_threads(OmegaConf.create({"num_threads": threads}))
