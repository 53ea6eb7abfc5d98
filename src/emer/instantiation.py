"""The one place where a config becomes an object."""

from __future__ import annotations

from typing import Any

import hydra.utils
from hydra.errors import InstantiationException
from omegaconf import DictConfig, OmegaConf
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from emer.errors import EmerError

_ALLOWED = ("emer.", "torch.optim.", "pytorch_lightning.")
"""Packages whose classes a config may name: a config file must not be able to run arbitrary code."""

_REFUSALS = (TypeError, ValueError, MisconfigurationException)


def instantiate(node: DictConfig, **arguments: Any) -> Any:
    """Build what ``node._target_`` names.

    Raises:
        EmerError: the target is missing, not allowed or not found, or refuses its arguments. An EmerError of the
            target itself is passed on as it is.
    """
    _check_targets(OmegaConf.to_container(node, resolve=True))
    target = node.get("_target_")
    try:
        if not arguments:
            return hydra.utils.instantiate(node, _convert_="all")
        # Hydra would turn a dataclass among the arguments into a dict, so they are passed by hand.
        return hydra.utils.instantiate(node, _convert_="all", _partial_=True)(**arguments)
    except InstantiationException as error:
        cause: BaseException | None = error
        while cause is not None:
            if isinstance(cause, EmerError):
                raise cause from None
            if isinstance(cause, _REFUSALS) and cause is not error:
                raise EmerError(f"{target} refuses its settings: {cause}") from error
            cause = cause.__cause__
        raise EmerError(str(error)) from error
    except _REFUSALS as error:
        raise EmerError(f"{target} refuses its settings: {error}") from error


def _check_targets(content: Any) -> None:
    if isinstance(content, dict):
        target = content.get("_target_")
        if target is not None and not _is_allowed(str(target)):
            raise EmerError(f"_target_ {target} is not allowed; it must stand in one of {', '.join(_ALLOWED)}")
        for value in content.values():
            _check_targets(value)
    elif isinstance(content, list):
        for value in content:
            _check_targets(value)


def _is_allowed(target: str) -> bool:
    """Whether the target is named, and really defined, below an allowed package (emer.files.shutil is not)."""
    if not target.startswith(_ALLOWED):
        return False
    try:
        found = hydra.utils.get_object(target)
    except Exception:
        return True  # instantiation will say what is wrong with the name
    return str(getattr(found, "__module__", "")).startswith(_ALLOWED)
