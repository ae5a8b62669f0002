"""The token of who may add and remove streams."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

from realtime.system.token import read_token

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "AGFN_CONTROL_TOKEN"


def key_of(file: str | None, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the token; None where there is none.

    Raises:
        UsageError: the file can't be read, or what is there is no token; it is not repeated.
    """
    return read_token(file, "control.token_file", VARIABLE, os.environ if environ is None else environ)
