"""The settings of a rule: what is watched, and who is told."""

from __future__ import annotations

from typing import Annotated
from urllib.parse import urlsplit

from pydantic import Field, field_validator, model_validator

from realtime.config.condition import parse_condition
from realtime.config.section import Name, Section


class RuleConfig(Section):
    """A rule: whom to tell when a stream has been like that for a while."""

    when: str = Field(max_length=100)
    """One comparison, such as score < -1, p_positive > 0.9, face.state = lost, state = no_signal."""
    for_s: float = Field(5.0, ge=0, le=3600)
    """It must have held for so long without a break."""
    hysteresis: float = Field(0.25, ge=0, le=6)
    """How far beyond the limit the value must come back before the rule is over and can begin anew."""
    every_s: float = Field(60.0, ge=0, le=86_400)
    """Least time between two beginnings, for each stream."""
    streams: tuple[Name, ...] = Field((), max_length=64)
    """Streams that it is about; all without any."""
    webhook: str | None = Field(None, max_length=2000)
    """http:// or https:// address that gets a POST; never from an option, because it may hold a secret."""
    command: tuple[Annotated[str, Field(max_length=4096)], ...] | None = Field(None, min_length=1, max_length=64)
    """Program and arguments that are run, without a shell; the values are in its environment."""
    tell_end: bool = False
    """Whether the end is told, too."""
    words: bool = False
    """Whether what is told holds the words of the window."""
    timeout_s: float = Field(5.0, gt=0, le=60)
    """How long the webhook or the command may take."""

    @field_validator("when")
    @classmethod
    def _is_a_condition(cls, when: str) -> str:
        parse_condition(when)
        return when

    @field_validator("webhook")
    @classmethod
    def _is_an_address(cls, webhook: str | None) -> str | None:
        if webhook is None:
            return None
        try:
            parts = urlsplit(webhook)
            known = parts.scheme in {"http", "https"} and bool(parts.hostname) and parts.port != 0
        except ValueError:
            known = False
        if not known or not webhook.isascii() or not webhook.isprintable() or " " in webhook:
            raise ValueError("a webhook is an http:// or https:// address")
        return webhook

    @field_validator("command")
    @classmethod
    def _can_be_started(cls, command: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if command is not None and (not command[0] or any("\0" in part for part in command)):
            raise ValueError("a command is a list of a program and its arguments")
        return command

    @model_validator(mode="after")
    def _tells_someone(self) -> RuleConfig:
        if (self.webhook is None) == (self.command is None):
            raise ValueError("a rule needs a webhook or a command, one of them")
        return self
