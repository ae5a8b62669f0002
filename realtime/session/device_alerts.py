"""What a person should be told of devices that deliver, but nothing alive: a frozen picture, a muted microphone.

A device that delivers nothing is the supervisor's matter; this one shows only in what its samples hold.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from realtime.types import Event

if TYPE_CHECKING:
    from collections.abc import Mapping

    from realtime.types import Modality, WindowView


class DeviceAlerts:
    """Turns the troubles of consecutive windows into events: one when a trouble begins, one when it is over.

    Args:
        components: name of the component behind a modality, as events show it.
    """

    def __init__(self, components: Mapping[Modality, str]) -> None:
        self._components = dict(components)
        self._since_ns: dict[Modality, int] = {}

    def feed(self, view: WindowView) -> list[Event]:
        """Return what is new with this window."""
        events = []
        for name, component in self._components.items():
            segment, since_ns = view.segments[name], self._since_ns.get(name)
            if segment.trouble is not None and since_ns is None:
                self._since_ns[name] = view.end_ns
                events.append(Event(view.end_ns, component, segment.trouble, segment.cause, view.end_ns))
            elif since_ns is not None and segment.trouble is None and segment.state != "lost":
                del self._since_ns[name]
                events.append(Event(view.end_ns, component, "recovered", None, since_ns))
        return events
