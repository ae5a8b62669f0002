"""A packet filter on sockets of this process that a library opened to all: the kernel drops what is not from loopback.

Linux only, and for IPv4: it needs no rights, and connections that are accepted inherit it.
"""

from __future__ import annotations

import ctypes
import os
import socket
import struct
import sys
from contextlib import contextmanager
from typing import TYPE_CHECKING

import psutil

if TYPE_CHECKING:
    from collections.abc import Iterator

SO_ATTACH_FILTER = 26
_SOURCE_ADDRESS = 0x1_0000_0000 - 0x100000 + 12
"""12 bytes into the IP header, as an unsigned number: SKF_NET_OFF is -0x100000."""
_LOAD, _AND, _EQUAL, _RETURN = 0x20, 0x54, 0x15, 0x06
_FROM_LOOPBACK = (
    (_LOAD, 0, 0, _SOURCE_ADDRESS),
    (_AND, 0, 0, 0xFF000000),
    (_EQUAL, 0, 1, 0x7F000000),
    (_RETURN, 0, 0, 0xFFFFFFFF),
    (_RETURN, 0, 0, 0),
)
"""Classic BPF: of packets from 127.0.0.0/8 everything, of others nothing."""


@contextmanager
def opened_to_loopback_only() -> Iterator[list[bool]]:
    """Close the IPv4 sockets that are opened meanwhile to everybody but this machine.

    Yields:
        A list that says afterwards, for each of them, whether it could be done.
    """
    before, done = _sockets(), list[bool]()
    yield done
    done += [_filter(number) for number in sorted(_sockets() - before)]


def _sockets() -> set[int]:
    return {each.fd for each in psutil.Process().net_connections("inet4") if each.fd >= 0}


def _filter(number: int) -> bool:
    if sys.platform != "linux":
        return False
    code = ctypes.create_string_buffer(b"".join(struct.pack("HBBI", *each) for each in _FROM_LOOPBACK))
    program = struct.pack("HL", len(_FROM_LOOPBACK), ctypes.addressof(code))
    try:
        with socket.socket(fileno=os.dup(number)) as copy:
            copy.setsockopt(socket.SOL_SOCKET, SO_ATTACH_FILTER, program)
    except OSError:
        return False
    return True
