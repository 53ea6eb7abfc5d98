"""The one exception that a user is meant to read."""

from __future__ import annotations


class EmerError(Exception):
    """Something the user can mend: the message says what was wrong, where, and what to do.

    The command line prints the message alone, without a traceback, and exits with status 1.
    """


class DataError(EmerError):
    """A request log breaks its contract. The message names file, row, column and reason."""
