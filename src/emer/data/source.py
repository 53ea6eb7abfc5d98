"""Where request Parquet comes from: every data set is a source that can prepare itself."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from emer.data.places import Place, place
from emer.errors import DataError


class Source(Protocol):
    """Makes, or finds, a folder of request Parquet."""

    def prepare(self, cache_dir: Path) -> Place:
        """The folder; made below ``cache_dir`` unless it is there already."""

    def describe(self) -> str:
        """One line for people."""


class ParquetSource:
    """Request Parquet that exists already (docs/request_format.md).

    Args:
        root: its folder, or the URL of one.
    """

    def __init__(self, root: str) -> None:
        self.root = place(root)

    def prepare(self, cache_dir: Path) -> Place:
        """The folder itself.

        Raises:
            DataError: there is no such folder.
        """
        if not self.root.is_dir():
            raise DataError(f"data.root: the folder {self.root} does not exist")
        return self.root

    def describe(self) -> str:
        return f"request Parquet in {self.root}"
