"""Where a log lies: a local path, or a URL of whatever fsspec opens, with the same few methods."""

from __future__ import annotations

import posixpath
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, TypeAlias

import fsspec
import pyarrow.parquet as pq

from emer.errors import DataError


@dataclass(frozen=True, order=True)
class UrlPath:
    """A file or folder behind a URL, with those methods of :class:`pathlib.Path` that readers use.

    It holds the URL alone, and opens its file system in the process that asks: connections do not survive a fork.
    """

    url: str

    def __str__(self) -> str:
        return self.url

    def __truediv__(self, name: str) -> UrlPath:
        return UrlPath(f"{self.url.rstrip('/')}/{name}")

    @cached_property
    def name(self) -> str:
        return posixpath.basename(self.url.rstrip("/"))

    @property
    def parent(self) -> UrlPath:
        return UrlPath(self.url.rstrip("/").rpartition("/")[0])

    def file_system(self) -> tuple[Any, str]:
        """fsspec's file system, and the path in it.

        Raises:
            DataError: no file system is installed for such URLs, or the URL is none.
        """
        try:
            return fsspec.core.url_to_fs(self.url)
        except (ImportError, ValueError) as error:
            raise DataError(f"{self.url}: there is no way to open such a URL ({error})") from error

    def is_file(self) -> bool:
        system, path = self.file_system()
        return system.isfile(path)

    def is_dir(self) -> bool:
        system, path = self.file_system()
        return system.isdir(path)

    def size(self) -> int:
        """Bytes of the file."""
        system, path = self.file_system()
        return int(system.size(path))

    def read_bytes(self) -> bytes:
        system, path = self.file_system()
        return system.cat_file(path)

    def glob(self, pattern: str) -> Iterator[UrlPath]:
        system, path = self.file_system()
        for found in system.glob(f"{path.rstrip('/')}/{pattern}"):
            yield self / posixpath.basename(found)


Place: TypeAlias = Path | UrlPath


def place(root: Place | str) -> Place:
    """``root`` as a path; as a :class:`UrlPath` where it is a URL of another scheme than ``file``."""
    if not isinstance(root, str):
        return root
    scheme, separator, rest = root.partition("://")
    if not separator:
        return Path(root)
    return Path("/" + rest.lstrip("/")) if scheme in ("file", "local") else UrlPath(root)


def size_of(path: Place) -> int:
    """Bytes of a file."""
    return path.stat().st_size if isinstance(path, Path) else path.size()


def open_parquet(path: Place) -> pq.ParquetFile:
    """The Parquet file at ``path``."""
    if isinstance(path, Path):
        return pq.ParquetFile(path)
    system, inside = path.file_system()
    return pq.ParquetFile(inside, filesystem=system)
