"""Where request Parquet comes from: every data set is a source that can prepare itself."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from emer.errors import DataError


class Source(Protocol):
    """Makes, or finds, a folder of request Parquet."""

    def prepare(self, cache_dir: Path) -> Path:
        """The folder; made below ``cache_dir`` unless it is there already."""

    def describe(self) -> str:
        """One line for people."""


class ParquetSource:
    """Request Parquet that exists already (docs/request_format.md).

    Args:
        root: its folder.
    """

    def __init__(self, root: str) -> None:
        self.root = Path(root)

    def prepare(self, cache_dir: Path) -> Path:
        """The folder itself.

        Raises:
            DataError: there is no such folder.
        """
        if not self.root.is_dir():
            raise DataError(f"data.root: the folder {self.root} does not exist")
        return self.root

    def describe(self) -> str:
        return f"request Parquet in {self.root}"
