"""Imports that another package makes for what we never use: put off until somebody does use them."""

from __future__ import annotations

import importlib
import sys
from contextlib import contextmanager
from types import ModuleType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Iterator


class _StandIn(ModuleType):
    """A module that is imported when something is asked of it."""

    def __getattr__(self, name: str) -> Any:  # noqa: ANN401 - whatever is in the module
        if name.startswith("__") or sys.modules.get(self.__name__) is self:
            raise AttributeError(name)
        return getattr(importlib.import_module(self.__name__), name)


@contextmanager
def deferred(*names: str) -> Iterator[None]:
    """Have modules that are imported inside imported when they are used, unless they are there already.

    Args:
        names: of modules, each after the package that it is in.
    """
    made = {name: _StandIn(name) for name in names if name not in sys.modules}
    for name, module in made.items():
        sys.modules[name] = module
        package, _, last = name.rpartition(".")
        if package in made:
            setattr(made[package], last, module)
    try:
        yield
    finally:
        for name, module in made.items():
            if sys.modules.get(name) is module:
                del sys.modules[name]
