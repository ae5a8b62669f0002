"""A token that two sides share: from the environment or a file, never from an option."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING

from realtime.errors import UsageError

if TYPE_CHECKING:
    from collections.abc import Mapping

_TOKEN = re.compile(r"[A-Za-z0-9_-]{16,200}", re.ASCII)


def read_token(file: str | None, setting: str, variable: str, environ: Mapping[str, str]) -> str | None:
    """Return the token; None where there is none.

    Args:
        file: that holds it; None for the environment.
        setting: that names the file, for the error.
        variable: of the environment that holds it.
        environ: the environment.

    Raises:
        UsageError: the file can't be read, or what is there is no token; it is not repeated.
    """
    if file is None:
        token, where = environ.get(variable) or None, variable
    else:
        where = f"{setting} {file}"
        try:
            token = Path(file).read_text(encoding="utf-8").strip()
        except (OSError, UnicodeDecodeError) as error:
            raise UsageError(f"{where}: {getattr(error, 'strerror', None) or 'no text'}") from None
    if token is not None and not _TOKEN.fullmatch(token):
        raise UsageError(
            f"{where}: a token has 16 to 200 letters, digits, - and _, as `openssl rand -hex 24` gives them"
        )
    return token
