"""The token of who may add and remove streams: from the environment or a file, never from an option."""

from __future__ import annotations

import os
import re
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

VARIABLE = "AGFN_CONTROL_TOKEN"
_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}", re.ASCII)


def key_of(file: str | None, environ: Mapping[str, str] | None = None) -> str | None:
    """Return the token; None where there is none.

    Raises:
        UsageError: the file can't be read, or what is there is no token; it is not repeated.
    """
    if file is None:
        token, where = (os.environ if environ is None else environ).get(VARIABLE) or None, VARIABLE
    else:
        where = f"control.token_file {file}"
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{where}: {getattr(error, 'strerror', None) or 'no text'}") from None
    if token is not None and not _TOKEN.fullmatch(token):
        raise UsageError(
            f"{where}: a token has 16 to 200 letters, digits, - and _, as `openssl rand -hex 24` gives them"
        )
    return token
