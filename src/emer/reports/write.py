"""The folder of a report."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from emer.errors import EmerError
from emer.files import atomic_path, write_json, write_text
from emer.reports.markdown import report_markdown
from emer.reports.page import report_page

FILES = ("report.html", "report.json", "report.md")


def check_folder(folder: Path) -> None:
    """That a report can go to ``folder``: it is new, empty, or holds an older report and nothing else.

    Raises:
        EmerError: it holds something else.
    """
    if folder.exists() and not folder.is_dir():
        raise EmerError(f"folder: {folder} is a file; name a folder")
    others = sorted(path.name for path in folder.iterdir() if path.name not in FILES) if folder.is_dir() else []
    if others:
        raise EmerError(f"folder: {folder} holds {others[0]}, which is of no report; name a new folder")


def write_report(folder: Path, content: Mapping[str, Any]) -> None:
    """Write :data:`FILES`, all or none; an older report in ``folder`` is replaced.

    Args:
        folder: where :func:`check_folder` has no objection.
        content: made by :func:`emer.reports.content.report_content`.

    Raises:
        EmerError: it cannot be written.
    """
    check_folder(folder)
    page, text = report_page(content), report_markdown(content)
    try:
        with atomic_path(folder) as temporary:
            temporary.mkdir(parents=True)
            write_json(temporary / "report.json", content)
            write_text(temporary / "report.html", page)
            write_text(temporary / "report.md", text)
    except OSError as error:
        raise EmerError(f"folder: {folder} cannot be written ({error.strerror}); choose another") from error
