"""What runs the hosts of a fleet, and how they are asked: the interface that keeps the engines apart from the placer.

`LocalEngine` has processes on this machine, `RayEngine` actors on a Ray cluster. Whatever goes over is JSON. Nothing
here waits: an answer is a future, and a host that is gone shows in `poll`.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, Literal, Protocol

from realtime.errors import AgfnError

if TYPE_CHECKING:
    from collections.abc import Mapping
    from concurrent.futures import Future

Method = Literal["report", "add", "remove", "close"]
Json = dict[str, Any]


class HostError(AgfnError):
    """A host could not do what it was asked for, or is gone."""


@dataclass(frozen=True, slots=True)
class HostInfo:
    """A host as its engine knows it.

    `run` grows each time that it is started anew: what an earlier run of it had is lost. `up` says whether it can be
    asked. `cores` is what it may use.
    """

    name: str
    run: int
    up: bool
    cores: float
    labels: Mapping[str, str] = field(default_factory=dict)


class Engine(Protocol):
    """Runs hosts."""

    def poll(self) -> dict[str, HostInfo]:
        """Return all hosts by name, and start those that are missing. Never waits."""
        ...

    def ask(self, host: str, method: Method, **arguments: Any) -> Future[Json]:  # noqa: ANN401 - JSON
        """Ask a host for something; the future fails with a HostError when it can't, or is gone. Never waits."""
        ...

    def close(self) -> None:
        """End all hosts, in order where they let it."""
        ...
