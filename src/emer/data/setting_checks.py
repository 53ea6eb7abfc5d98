"""What the settings of a data set must be."""

from __future__ import annotations

from collections.abc import Sequence

from emer.errors import DataError


def at_least(name: str, value: object, smallest: int) -> None:
    """Refuse a setting that is no whole number, or below ``smallest``.

    Raises:
        DataError: naming it.
    """
    if type(value) is not int or value < smallest:
        raise DataError(f"{name} is {value!r}; it must be a whole number, and at least {smallest}")


def names(name: str, value: object) -> None:
    """Refuse a setting that is no list of names.

    Raises:
        DataError: naming it.
    """
    if isinstance(value, str) or not isinstance(value, Sequence) or not all(isinstance(v, str) for v in value):
        raise DataError(f"{name} is {value!r}; it must be a list of names, [like, follow]")


def yes_or_no(name: str, value: object) -> None:
    """Refuse a setting that is neither true nor false.

    Raises:
        DataError: naming it.
    """
    if type(value) is not bool:
        raise DataError(f"{name} is {value!r}; it must be true or false")
