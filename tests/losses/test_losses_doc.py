"""docs/losses.md: its examples run, and its table has every loss."""

from __future__ import annotations

import re
from pathlib import Path

import emer.losses

DOCUMENT = (Path(__file__).parents[2] / "docs" / "losses.md").read_text(encoding="utf-8")


def test_examples_run() -> None:
    blocks = re.findall(r"^```python\n(.*?)^```$", DOCUMENT, re.M | re.S)
    assert len(blocks) == 2
    exec("\n".join(blocks).replace("64, 500", "4, 50"), {})


def test_every_loss_is_listed() -> None:
    table = DOCUMENT.partition("## The losses")[2].partition("\n## ")[0]
    assert set(emer.losses.__all__) <= set(re.findall(r"`(\w+)`", table))
