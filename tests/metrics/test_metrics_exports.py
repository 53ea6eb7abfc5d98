"""What ``emer.metrics`` exports, and what importing it costs."""

from __future__ import annotations

import subprocess
import sys

import pytest

import emer.metrics


def test_every_name_is_there() -> None:
    for name in emer.metrics.__all__:
        assert getattr(emer.metrics, name).__module__.startswith("emer.metrics."), name
    lazy = [name for names in emer.metrics._WHEN_ASKED_FOR.values() for name in names]
    assert set(lazy) < set(emer.metrics.__all__)
    assert not hasattr(emer.metrics, "gauc")


@pytest.mark.slow
def test_functions_come_without_what_takes_seconds_to_import() -> None:
    code = (
        "import sys; from emer.metrics import concordance_auc, pooled_auc; "
        "print(sorted({'numba', 'scipy', 'torchmetrics'} & set(sys.modules)))"
    )
    found = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert found.stdout.strip() == "[]"
