"""What a page that may only watch is allowed to tell a broker: the packets of a subscriber, no message and no will."""

from __future__ import annotations

CONNECT = 1
HARMLESS = frozenset({CONNECT, 4, 5, 6, 7, 8, 10, 12, 14})
"""Types of MQTT packets: CONNECT, acknowledgements, SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT; not PUBLISH (3)."""
WILL = 0x04
"""A flag of CONNECT: the broker is to publish something in the client's name once it is gone."""
LONGEST = 16_384


class ForbiddenError(Exception):
    """A page that may only watch sent something else."""


class ReadOnly:
    """Lets whole packets through, of any chunking, until one is forbidden."""

    def __init__(self) -> None:
        self._rest = b""

    def feed(self, data: bytes) -> bytes:
        """Take bytes; return the packets that are complete.

        Raises:
            ForbiddenError: a packet publishes, has a will, is too long or malformed.
        """
        self._rest += data
        done = 0
        while (packet := self._packet(done)) is not None:
            begin, end = packet
            self._check(self._rest[done] >> 4, self._rest[begin:end])
            done = end
        whole, self._rest = self._rest[:done], self._rest[done:]
        if len(self._rest) > LONGEST:
            raise ForbiddenError
        return whole

    def _packet(self, at: int) -> tuple[int, int] | None:
        """Where the body of the packet at a place begins and ends; None while it is not complete."""
        length = 0
        for place in range(4):
            if at + 1 + place >= len(self._rest):
                return None
            byte = self._rest[at + 1 + place]
            length |= (byte & 0x7F) << (7 * place)
            if not byte & 0x80:
                begin = at + 2 + place
                if length > LONGEST:
                    raise ForbiddenError
                return (begin, begin + length) if begin + length <= len(self._rest) else None
        raise ForbiddenError

    @staticmethod
    def _check(kind: int, body: bytes) -> None:
        if kind not in HARMLESS:
            raise ForbiddenError
        if kind == CONNECT:
            flags = body[2 + int.from_bytes(body[:2], "big") + 1 :][:1]
            if not flags or flags[0] & WILL:
                raise ForbiddenError
