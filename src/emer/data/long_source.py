"""A table in long form, one row per candidate, as a data set: CSV, Feather or Parquet -> request Parquet."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from emer.data.cache import config_hash, file_fingerprint, resume_once
from emer.data.long_mapping import LongMapping
from emer.data.raw import is_text
from emer.data.time_cuts import check_fractions
from emer.errors import DataError
from emer.files import write_json

_VERSION = 1
"""Part of the cache key: raise it whenever the code would make other requests of the same input."""

_KINDS = (".csv", ".parquet", ".feather", ".arrow")
_SPACE = 2.5
"""Bytes written, for each byte of Parquet read or each five of CSV: the buckets and the requests."""


@dataclass(frozen=True, kw_only=True)
class LongSource:
    """Makes request Parquet of a table in long form.

    Attributes:
        root: a file, or a folder whose files are read in order of their names.
        mapping: the YAML file of :class:`emer.data.long_mapping.LongMapping`.
        fractions: shares of the rows in train, validation and test, which follow each other in time.
        engine: ``polars``: this machine; ``spark``: wherever Spark runs (:mod:`emer.data.spark`).
    """

    root: str | None
    mapping: str | None
    fractions: Sequence[float] = (0.7, 0.1, 0.2)
    engine: str = "polars"

    def prepare(self, cache_dir: Path) -> Path:
        """The folder ``long-<hash>`` below ``cache_dir``; the hash covers the mapping, settings and files.

        Raises:
            DataError: the files, the mapping or the settings are missing or faulty, or the disk is too small.
        """
        if self.mapping is None:
            raise DataError("data.mapping is not set; give the YAML file that says which columns mean what")
        check_fractions(self.fractions, "data.source.fractions")
        if self.engine not in ("polars", "spark"):
            raise DataError(f"data.source.engine is {self.engine!r}; known are polars, spark")
        mapping = LongMapping.read(str(self.mapping))
        files = long_files(self.root)
        # Not the same for both engines: what one has begun is nothing that the other could go on with.
        key = [_VERSION, self.engine, mapping.schema.to_dict(), [asdict(c) for c in mapping.columns]]
        root = Path(cache_dir) / f"long-{config_hash([*key, list(self.fractions), file_fingerprint(files)])}"

        def build(between: Path, result: Path) -> None:
            if self.engine == "spark":
                from emer.data.spark import build_requests
            else:
                from emer.data.long_build import build_requests
            counts = build_requests(mapping, files, self.fractions, between, result)
            write_json(result / "source.json", self._about(mapping, files, counts))

        return resume_once(root, ("source.json",), build, needed_space(files))

    def describe(self) -> str:
        """One line for people."""
        return f"long table {self.root}, mapped by {self.mapping}"

    def _about(self, mapping: LongMapping, files: Sequence[Path], counts: dict[str, Any]) -> dict[str, Any]:
        columns = {c.name: {k: v for k, v in asdict(c).items() if k != "name"} for c in mapping.columns}
        settings = {"columns": columns, "fractions": list(self.fractions), "engine": self.engine}
        return {"name": "long table", "files": [file.name for file in files], "splits": counts, "settings": settings}


def long_files(root: str | None) -> list[Path]:
    """The files of ``root``.

    Raises:
        DataError: it is not set, not there, or holds none.
    """
    if not root:
        raise DataError("data.root is not set; give the table, or the folder of its files")
    path = Path(str(root)).expanduser()
    if path.is_file():
        if path.suffix.lower() not in _KINDS:
            raise DataError(f"data.root: {path} does not end in {', '.join(_KINDS)}; rename it after what it is")
        return [path]
    if not path.is_dir():
        raise DataError(f"data.root: {path} does not exist")
    there = sorted(p for p in path.iterdir() if not p.name.startswith((".", "_")))
    files = [p for p in there if p.suffix.lower() in _KINDS and not p.is_dir()]
    if not files:
        below = next((f"; its folder {p.name} is not looked into" for p in there if p.is_dir()), "")
        raise DataError(f"data.root: {path} holds no {', '.join(_KINDS)} file{below}")
    for file in files:
        if not file.is_file():
            raise DataError(f"data.root: {file} is no file; is it a link that leads nowhere?")
    return files


def needed_space(files: Sequence[Path]) -> int:
    """Bytes that preparing ``files`` needs, roughly."""
    return int(sum(_SPACE * path.stat().st_size / (5 if is_text(path) else 1) for path in files))
