"""Errors a person can act on, and the exit code of each.

AgfnError
 |- UsageError      (2) an option, a config key or a file name is wrong
 |- SourceError     (3) a file cannot be read, or holds neither sound nor picture
 |- BrokerError     (4) the broker refuses for good (password, certificate)
 |- ModelError      (5) a model file is missing, damaged or of another schema
 `- DeviceError     (-) a camera or microphone fails: never an exit, the stream is lost and tried again
     `- AbsentError (-) the device works, and has no such part: said once
"""

from __future__ import annotations


class AgfnError(Exception):
    """Base of all errors with a one-line message: what failed, on which thing, what to try."""

    exit_code = 1


class UsageError(AgfnError):
    """An option, a config key or a value is wrong."""

    exit_code = 2


class SourceError(AgfnError):
    """A media file cannot be read."""

    exit_code = 3


class BrokerError(AgfnError):
    """The broker refuses for a reason that waiting does not mend."""

    exit_code = 4


class ModelError(AgfnError):
    """A model file is missing, damaged, of another schema, or has the wrong sha256."""

    exit_code = 5


class DeviceError(AgfnError):
    """A camera or microphone could not be opened or stopped delivering."""


class AbsentError(DeviceError):
    """A device works, but lacks the part that is asked for, as a camera without a microphone."""
