"""A recording as an ELAN file (.eaf) by pympi, with one tier for the score, the label, each gate, events and words."""

from __future__ import annotations

from typing import IO, TYPE_CHECKING, Any

from realtime.errors import UsageError
from realtime.system.logs import printable

if TYPE_CHECKING:
    from realtime.export.elan import Tiers

AUTHOR = "AGFN Live"
DEFAULT_TIER = "default"


def check_eaf() -> None:
    """See that pympi is there.

    Raises:
        UsageError: it is not.
    """
    _library()


def write_eaf(tiers: Tiers, file: IO[bytes]) -> None:
    """Write the annotations of a recording.

    Args:
        tiers: what was collected.
        file: to write to.
    """
    pympi = _library()
    document = pympi.Eaf(author=AUTHOR)
    document.remove_tier(DEFAULT_TIER)
    for tier in tiers.tiers:
        document.add_tier(printable(tier))
    for tier, begin, end, value in tiers.rows():
        document.add_annotation(printable(tier), _ms(begin), _ms(end), printable(value))
    content = pympi.Elan.to_string(document)
    file.write(f'<?xml version="1.0" encoding="UTF-8"?>\n{content}\n'.encode())


def _ms(seconds: str) -> int:
    return round(float(seconds) * 1000)


def _library() -> Any:  # noqa: ANN401 - a module without types
    try:
        import pympi  # noqa: PLC0415 - an extra that only this needs
    except ImportError:
        raise UsageError("--eaf needs pympi-ling: python -m pip install 'agfn-live[export]'") from None
    return pympi
