"""The sink of the rules: watches every stream, and has a thread a rule that tells whoever is to be told.

Words reach only rules that ask for them (`words: true`): these subscribe with consent, the others without.
"""

from __future__ import annotations

import logging
import threading
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

from realtime.publish.messages import Sentiment
from realtime.rules.actions import ActionError, Command, Webhook
from realtime.rules.watch import Watch, field_of
from realtime.runtime.channel import Channel, ClosedError, Policy
from realtime.system.address import public_address
from realtime.system.loopback import is_loopback

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from realtime.config.rule import RuleConfig
    from realtime.publish.messages import Origin
    from realtime.publish.outlet import Outlet
    from realtime.rules.actions import Action
    from realtime.rules.watch import Firing

log = logging.getLogger(__name__)

WAITING = 16
CLOSE_S = 1.0
SCHEMA = "agfn.rule/1"
VALUES = ("score", "raw", "p_positive", "confidence", "context", "label", "state", "opinion", "faces")


class Rules:
    """Watches the streams by the rules of the configuration.

    Args:
        rules: by name.
        streams: names of the streams.
    """

    def __init__(self, rules: Mapping[str, RuleConfig], streams: Iterable[str]) -> None:
        self._rules = [Rule(name, rule) for name, rule in rules.items()]
        for stream in streams:
            self.stream_came(stream)

    def subscribe(self, outlet: Outlet) -> None:
        """Look at every sentiment."""
        for rule in self._rules:
            outlet.subscribe(rule.take, Sentiment, words=rule.words)
        outlet.follow(self)

    def stream_came(self, stream: str, origin: Origin | None = None) -> None:  # noqa: ARG002 - a rule knows no lease
        """Watch a stream by the rules that are about it."""
        for rule in self._rules:
            rule.watch(stream)

    def stream_went(self, stream: str) -> None:
        """Watch it no more; a rule that held on it is not told to be over."""
        for rule in self._rules:
            rule.leave(stream)

    def close(self) -> None:
        """End the threads and say what each rule did; one that is still telling somebody is left."""
        for rule in self._rules:
            rule.close()


class Rule:
    """One rule over its streams, and the thread that tells.

    Attributes:
        words: whether it asks for words.
        begun: how often it began or ended and somebody was to be told.
        told: how often that worked.
        failed: how often it did not.
    """

    def __init__(self, name: str, rule: RuleConfig) -> None:
        self.name, self.words = name, rule.words
        self.begun = self.told = self.failed = 0
        self._when = rule.when
        self._rule = rule
        self._watches: dict[str, Watch] = {}
        self._action, self._whom = _action(rule)
        self._cause: str | None = None
        self._waiting: Channel[dict[str, Any]] = Channel(Policy.DROP_OLDEST, WAITING)
        self._thread = threading.Thread(target=self._run, name=f"rule-{name}", daemon=True)
        self._thread.start()

    def watch(self, stream: str) -> None:
        """Watch a stream, if the rule is about it."""
        if stream in self._rule.streams or not self._rule.streams:
            self._watches[stream] = Watch(self._rule)

    def leave(self, stream: str) -> None:
        """Watch a stream no more."""
        self._watches.pop(stream, None)

    def take(self, message: Sentiment) -> None:
        """Look at a window; never waits."""
        watch = self._watches.get(message.stream)
        firing = None if watch is None else watch.feed(message)
        if firing is None:
            return
        self.begun += 1
        log.info("rule %s: %s on %s (%s)", self.name, firing.kind, message.stream, self._when)
        try:
            self._waiting.push(self._body(firing))
        except ClosedError:
            log.debug("rule %s: closed", self.name)

    def close(self) -> None:
        """Tell what waits, as far as there is time."""
        self._waiting.close()
        self._thread.join(CLOSE_S)
        untold = self.begun - self.told - self.failed
        if self.begun:
            log.info("rule %s: told %d, failed %d, not told in time %d", self.name, self.told, self.failed, untold)

    def _run(self) -> None:
        try:
            while True:
                self._tell(self._waiting.pop())
        except ClosedError:
            return

    def _tell(self, body: dict[str, Any]) -> None:
        try:
            self._action(body)
        except ActionError as error:
            self.failed += 1
            if str(error) != self._cause:  # once an outage
                log.warning("rule %s: %s was not told: %s", self.name, self._whom, error)
            self._cause = str(error)
            return
        self.told += 1
        if self._cause is not None:
            log.info("rule %s: %s is told again", self.name, self._whom)
        self._cause = None

    def _body(self, firing: Firing) -> dict[str, Any]:
        message = firing.message
        body: dict[str, Any] = {
            "schema": SCHEMA,
            "rule": self.name,
            "kind": firing.kind,
            "stream": message.stream,
            "utc": message.model_dump(mode="json")["utc"],
            "when": self._when,
            "value": firing.value,
            "held_s": round(firing.held_s, 3),
            "values": {name: getattr(message, name) for name in VALUES},
        }
        body["values"] |= {
            f"{name}_{key}": field_of(message, f"{name}.{key}")
            for name in message.modalities
            for key in ("weight", "reliability", "state")
        }
        if message.text is not None:  # there with consent only: the outlet left it out otherwise
            body["text"] = message.text.model_dump()
        return body


def _action(rule: RuleConfig) -> tuple[Action, str]:
    """Return how to tell, and whom, in words that hold no secret."""
    if rule.webhook is not None:
        whom, where = public_address(rule.webhook), urlsplit(rule.webhook)
        if where.scheme == "http" and not is_loopback(where.hostname or ""):
            log.warning("%s gets the values of a rule in the clear: use https://", whom)
        return Webhook(rule.webhook, rule.timeout_s), whom
    argv = rule.command or ()
    return Command(argv, rule.timeout_s), argv[0]
