"""Profiles a folder and writes ``profile.json`` and ``profile.html``."""

from __future__ import annotations

import os
from pathlib import Path

from rich.console import Console
from rich.progress import Progress

from emer.data.cache import config_hash
from emer.data.profile.content import profile_folder
from emer.data.profile.page import profile_page
from emer.data.shards import Shards
from emer.data.splits import split_files
from emer.errors import EmerError
from emer.files import write_json, write_text


def write_profile(root: Path, target: Path, described: str | None = None) -> Path:
    """Write the profile of the request Parquet in ``root`` into the folder ``target``, with a progress bar.

    Both files appear once everything has been read.

    Args:
        described: one line about the data.

    Returns:
        The page.

    Raises:
        DataError: the first problem found in the files.
        EmerError: ``target`` cannot be written to.
    """
    files = [path for paths in split_files(root).values() for path in paths]
    console = Console(stderr=True)
    with Progress(console=console, transient=True, disable=not console.is_terminal) as progress:
        bar = progress.add_task("Describing requests", total=len(Shards.index(files)))
        content = profile_folder(root, described=described, advance=lambda n: progress.advance(bar, n))
    page = target / "profile.html"
    try:
        write_json(target / "profile.json", content)
        write_text(page, profile_page(content))
    except OSError as error:
        raise EmerError(f"describe_to: {target} cannot be written to ({error}); give another folder") from error
    return page


def place_of(root: Path, output_dir: Path, cache_dir: Path) -> Path:
    """Where a profile goes by itself: into a folder that EMER prepared, below ``cache_dir``; for a user's own folder,
    and one that cannot be written to, into ``output_dir/profile/<name>-<hash of its path>``."""
    root = root.resolve()
    if root.is_relative_to(cache_dir.resolve()) and os.access(root, os.W_OK):
        return root
    return output_dir / "profile" / f"{root.name}-{config_hash(str(root))}"
