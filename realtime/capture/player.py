"""A media file played at real pace: sound and picture in a thread each, by their own times on one clock.

Sound never waits for pictures. A machine that decodes pictures slower than they are due leaves them out, first those
that no other picture is made from, then all up to the next one that needs none before it; and it says so.
"""

from __future__ import annotations

import logging
import os
import threading
from dataclasses import dataclass, field, replace
from functools import partial
from typing import TYPE_CHECKING, Any, Protocol

from realtime.capture.media import due_ns
from realtime.runtime.channel import ChannelStats
from realtime.runtime.worker import WorkerStats
from realtime.system.threads import name_thread
from realtime.types import NS_PER_S, Event

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from realtime.capture.camera import Limit
    from realtime.capture.media import MediaFile
    from realtime.clock import Clock, WaitingClock
    from realtime.types import Chunk, EventKind, Frame

log = logging.getLogger(__name__)

BEHIND_NS = NS_PER_S // 10
"""From this lateness on the decoder leaves out what costs no other picture."""
LATE_NS = 4 * NS_PER_S // 10
"""A picture that is decoded so late isn't looked at: by the time it is, the picture counts as lost."""
AGAIN_NS = NS_PER_S
"""One hiccup isn't slow, and is made up for by decoding alone; what is still as late after this is not."""
STEADY_NS = 10 * NS_PER_S
"""Without a picture left out for so long the decoder keeps up again."""
THREADS = min(4, os.cpu_count() or 1)
"""Pictures decoded at once; each keeps one in memory."""
LOOK_NS = NS_PER_S // 20
"""A thread that waits looks so often whether it is to pause or to stop."""
HANG_S = 10.0
"""A decoder that gives nothing for so long is left behind."""
MOST_TOLD = 20
"""Different problems of one stream that are told; who reads those knows what to think of the file."""
COMPONENTS = {"audio": "sound", "video": "picture"}


class Playhead:
    """How far a file has been played; it stands still while paused.

    Args:
        clock: that the file is played by.
    """

    def __init__(self, clock: WaitingClock) -> None:
        self._clock = clock
        self._begin_ns = clock.now_ns()
        self._paused_ns: int | None = None
        self._lock = threading.Lock()
        self.stopped = threading.Event()

    def begin(self) -> None:
        """Set the file to its beginning."""
        with self._lock:
            self._begin_ns = self._clock.now_ns()
            self._paused_ns = None if self._paused_ns is None else self._begin_ns

    def pause(self) -> None:
        """Stand still."""
        with self._lock:
            if self._paused_ns is None:
                self._paused_ns = self._clock.now_ns()

    def resume(self) -> None:
        """Go on where it stands."""
        with self._lock:
            if self._paused_ns is not None:
                self._begin_ns += self._clock.now_ns() - self._paused_ns
                self._paused_ns = None

    def now_ns(self) -> int:
        """Return the time of the file that is due now, in ns from its beginning."""
        with self._lock:
            return (self._clock.now_ns() if self._paused_ns is None else self._paused_ns) - self._begin_ns

    def stamp_ns(self, t_ns: int) -> int:
        """Turn a time of the file into one of the clock."""
        with self._lock:
            return self._begin_ns + t_ns

    def wait_until(self, t_ns: int) -> bool:
        """Block until a time of the file is due; False when the file is to be stopped."""
        while not self.stopped.is_set():
            with self._lock:
                paused, due_clock_ns = self._paused_ns is not None, self._begin_ns + t_ns
            now_ns = self._clock.now_ns()
            if not paused and now_ns >= due_clock_ns:
                return True
            self._clock.sleep_until(now_ns + LOOK_NS if paused else min(due_clock_ns, now_ns + LOOK_NS))
        return False


class Present(Protocol):
    """Tells which time of a source is due now."""

    def now_ns(self) -> int:
        """Time of the source that is due now."""
        ...

    def stamp_ns(self, t_ns: int) -> int:
        """Turn a time of the source into one of the clock."""
        ...


def always(_: int) -> bool:
    """A live stream has a next picture that needs no other, though nobody can look ahead."""
    return True


class KeepUp:
    """Lets through the pictures of a source that come in time (a `Gate` of media.py).

    Args:
        limit: says which of them are looked at; asked with times of the clock.
        playhead: tells the time.
        tell: called with True when pictures are left out again and again, with False when no more.
        slack_ns: after falling behind, a picture that is no later than this is as good as one that is due.
    """

    def __init__(self, limit: Limit, playhead: Present, tell: Callable[[bool], None], slack_ns: int = 0) -> None:
        self._limit, self._playhead, self._tell, self._slack_ns = limit, playhead, tell, slack_ns
        self.skip = "DEFAULT"
        self.left_out = 0
        self._far_behind = self._to_key = self._slow = False
        self._late: tuple[int, int] | None = None  # since when, and by how much then
        self._first_ns: int | None = None
        self._last_ns = 0

    def decodes(self, t_ns: int, *, key: bool, key_ahead: Callable[[int], bool] = always) -> bool:
        """Whether a packet is to be decoded: once far behind, none before the next that is due and needs no other.

        Where none is within reach, as in a short film with one such picture, leaving out the rest would leave nothing.
        """
        if self._far_behind or (self._to_key and key):
            behind_ns = self._playhead.now_ns() - t_ns
            self._to_key = not (key and behind_ns <= self._slack_ns) and key_ahead(behind_ns - self._slack_ns)
            self._far_behind = False
        if self._to_key:
            self._leave_out()
        return not self._to_key

    def admits(self, t_ns: int) -> bool:
        """Whether a decoded picture is to be looked at: it isn't too late, and within the rate."""
        now_ns = self._playhead.now_ns()
        if now_ns - t_ns > LATE_NS:
            self.skip = "NONREF"
            self._far_behind = self._falls_behind(now_ns, now_ns - t_ns)
            self._leave_out()
            return False
        self._late = None
        if now_ns - t_ns > BEHIND_NS:
            self.skip = "NONREF"
        elif self._first_ns is None or now_ns - self._last_ns > STEADY_NS:
            self._first_ns, self.skip = None, "DEFAULT"
            if self._slow:
                self._slow = False
                self._tell(False)
        return self._limit.admits(self._playhead.stamp_ns(t_ns))

    def _falls_behind(self, now_ns: int, late_ns: int) -> bool:
        """Whether pictures are as late as they were a second ago, though none of them was looked at."""
        since_ns, was_ns = self._late or (now_ns, late_ns)
        judged = now_ns - since_ns >= AGAIN_NS
        self._late = (now_ns, late_ns) if judged else (since_ns, was_ns)
        return judged and late_ns > was_ns - AGAIN_NS // 4

    def _leave_out(self) -> None:
        self.left_out += 1
        self._last_ns = self._playhead.now_ns()
        if self._first_ns is None:
            self._first_ns = self._last_ns
        if not self._slow and self._last_ns - self._first_ns >= AGAIN_NS:
            self._slow = True
            self._tell(True)


class Slowness:
    """Turns a verdict of `KeepUp` into events: `slow` with its cause, then `recovered`.

    Args:
        component: whose pictures they are.
        cause: in words.
        clock: for the times of the events.
        on_event: takes them.
    """

    def __init__(self, component: str, cause: str, clock: Clock, on_event: Callable[[Event], None]) -> None:
        self._component, self._cause, self._clock, self._on_event = component, cause, clock, on_event
        self._since_ns: int | None = None

    def __call__(self, slow: bool) -> None:  # noqa: FBT001 - a verdict
        """Tell that pictures are left out again and again, or no more."""
        now_ns = self._clock.now_ns()
        if slow:
            self._since_ns = now_ns
            log.warning("%s", self._cause)
            self._on_event(Event(now_ns, self._component, "slow", self._cause, now_ns))
        else:
            self._on_event(Event(now_ns, self._component, "recovered", None, self._since_ns))


class Damage:
    """Turns what is wrong with a file into events: `lost` where it is met, `recovered` when that stream goes on.

    Args:
        clock: for the times of the events.
        on_event: takes them.
    """

    def __init__(self, clock: Clock, on_event: Callable[[Event], None]) -> None:
        self._clock, self._on_event = clock, on_event
        self._told: dict[str, set[str]] = {}
        self._since_ns: dict[str, int] = {}

    def met(self, kind: str, cause: str) -> None:
        """Take a problem of the sound (`audio`) or the picture (`video`); each is told once."""
        component = COMPONENTS[kind]
        told = self._told.setdefault(component, set())
        if cause in told or len(told) >= MOST_TOLD:
            return
        told.add(cause)
        log.warning("%s: %s", component, cause)
        now_ns = self._clock.now_ns()
        since_ns = self._since_ns.setdefault(component, now_ns)
        self._on_event(Event(now_ns, component, "lost", cause, since_ns))

    def went_on(self, component: str) -> None:
        """Note that something of the stream was delivered."""
        if (since_ns := self._since_ns.pop(component, None)) is not None:
            self._on_event(Event(self._clock.now_ns(), component, "recovered", None, since_ns))


@dataclass
class _Track:
    """The sound or the picture of a file: what is read, where it goes, and the counts of its thread."""

    name: str
    read: Callable[[], Iterator[Frame | Chunk]]
    sink: Callable[[Any], None]
    done: threading.Event = field(default_factory=threading.Event)
    reading_since_ns: int | None = None
    left_behind: bool = False
    items: int = 0
    busy_ns: int = 0
    delay_ms: float = 0.0
    end_ns: int = 0


class FilePlayer:
    """Plays a file into the inlets of a stream.

    Args:
        name: of the stream.
        media: the file.
        clock: that it is played by.
        video: takes the pictures, each when it is due.
        audio: takes the sound, each block when its last sample is due.
        limit: says which pictures are looked at.
        on_event: takes what happens to sound and picture.
    """

    def __init__(
        self,
        name: str,
        media: MediaFile,
        clock: WaitingClock,
        *,
        video: Callable[[Frame], None],
        audio: Callable[[Chunk], None],
        limit: Limit,
        on_event: Callable[[Event], None],
    ) -> None:
        self._name, self._clock, self._on_event = name, clock, on_event
        self._file = media.path.name
        self.playhead = Playhead(clock)
        cause = f"picture: {self._file} decodes slower than it plays here; late pictures are left out"
        self._gate = KeepUp(limit, self.playhead, Slowness("picture", cause, clock, on_event))
        self._damage = Damage(clock, on_event)
        media.on_warning = self._damage.met
        self._tracks = [
            _Track("sound", media.sound, audio),
            _Track("picture", lambda: media.pictures(0, self._gate, THREADS), video),
        ]

    def play(self) -> int | None:
        """Play the file from its beginning to its end, whatever is wrong with it.

        Returns:
            When its last sound or picture was due, by the clock; None when it was stopped before.
        """
        self.playhead.begin()
        for track in self._tracks:
            name = f"{self._name}-{track.name}"
            self._clock.start(partial(self._run, track), name)
        for track in self._tracks:
            while not self._clock.wait(track.done, self._clock.now_ns() + LOOK_NS):
                self._watch()
        if self.playhead.stopped.is_set():
            return None
        return self.playhead.stamp_ns(max(track.end_ns for track in self._tracks))

    def stop(self) -> None:
        """End playing soon; returns at once."""
        self.playhead.stopped.set()

    def gauges(self) -> dict[str, WorkerStats]:
        """Return the counts of sound and picture; what was dropped are pictures left out."""
        sound, picture = (
            WorkerStats(track.items, 0, int(track.left_behind), track.delay_ms, track.busy_ns / 1e9, track.left_behind)
            for track in self._tracks
        )
        given, left_out = picture.items, self._gate.left_out
        counted = replace(picture, channel=ChannelStats(given + left_out, given, left_out, 0))
        return {"sound": sound, "picture": counted}

    def _run(self, track: _Track) -> None:
        name_thread(track.name)
        try:
            items = track.read()
            while (item := self._next(track, items)) is not None:
                if not self.playhead.wait_until(due_ns(item)) or track.left_behind:
                    return
                track.end_ns = max(track.end_ns, due_ns(item))
                track.delay_ms = (self.playhead.now_ns() - due_ns(item)) / 1e6
                track.sink(replace(item, t_ns=self.playhead.stamp_ns(item.t_ns)))
                track.items += 1
                self._damage.went_on(track.name)
        except Exception as error:
            # Whatever a decoder raises on damaged data ends this track only, and is told; the stream comes to its end.
            log.debug("%s of %s failed", track.name, self._file, exc_info=error)
            self._fail(track, "lost", f"{self._file}: {type(error).__name__}: {error}")
        finally:
            track.done.set()

    def _next(self, track: _Track, items: Iterator[Frame | Chunk]) -> Frame | Chunk | None:
        begin_ns = track.reading_since_ns = self._clock.now_ns()
        item = next(items, None)
        track.reading_since_ns = None
        track.busy_ns += self._clock.now_ns() - begin_ns
        return item

    def _watch(self) -> None:
        for track in self._tracks:
            since_ns = track.reading_since_ns
            if since_ns is None or track.done.is_set():
                continue
            if self.playhead.stopped.is_set():
                track.left_behind = True
                track.done.set()
            elif (hung_s := (self._clock.now_ns() - since_ns) / NS_PER_S) > HANG_S:
                track.left_behind = True
                self._fail(track, "stalled", f"{self._file}: the decoder gives no answer for {hung_s:.1f} s")
                track.done.set()

    def _fail(self, track: _Track, kind: EventKind, cause: str) -> None:
        log.warning("%s: %s", track.name, cause)
        now_ns = self._clock.now_ns()
        self._on_event(Event(now_ns, track.name, kind, cause, now_ns))
