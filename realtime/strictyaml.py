"""YAML from a file that may be wrong or meant badly: small, without aliases, tags or double keys, with line numbers.

An alias (`*name`) lets ten lines stand for a thousand million values, and nothing here needs one.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import yaml

from realtime.errors import UsageError

if TYPE_CHECKING:
    from pathlib import Path

MOST_BYTES = 256 * 1024
BROKEN = (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError)
"""What a YAML text may raise: numbers of thousands of digits, dates that are none and endless nesting among it."""


class _Loader(yaml.SafeLoader):
    """Knows plain values only and refuses aliases."""

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 - PyYAML's signature
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are refused: write the value again", mark)
        return super().compose_node(parent, index)


def read_yaml(path: Path) -> tuple[dict[str, Any], dict[str, int]]:
    """Read a mapping and, per dotted key, its line.

    Raises:
        UsageError: it can't be read, or is no such mapping; the message holds no value of the file.
    """
    try:
        with path.open("rb") as file:
            text = file.read(MOST_BYTES + 1)
    except OSError as error:
        raise UsageError(f"config file {path}: {error.strerror or error}; check the path") from None
    if len(text) > MOST_BYTES:
        raise UsageError(f"config file {path} has more than {MOST_BYTES // 1024} KB: is it the right file?")
    lines: dict[str, int] = {}
    loader = None
    try:
        loader = _Loader(text.decode("utf-8"))
        node = loader.get_single_node()
        _note_lines(node, "", lines)
        values = None if node is None else loader.construct_document(node)
    except BROKEN as error:
        raise UsageError(f"config file {path} is no YAML: {_reason(error)}") from None
    finally:
        if loader is not None:
            loader.dispose()
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise UsageError(f"config file {path} must hold keys and values, not a {type(values).__name__}")
    return _with_text_keys(values), lines


def scalar_of(text: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Read the value of a setting; what is no YAML is the text itself."""
    if not text:
        return ""
    try:
        return _with_text_keys(yaml.load(text[:MOST_BYTES], _Loader))  # noqa: S506 - a safe loader
    except BROKEN:
        return text


def _note_lines(node: yaml.Node | None, at: str, lines: dict[str, int]) -> None:
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _note_lines(item, f"{at}{number}.", lines)
    if not isinstance(node, yaml.MappingNode):
        return
    for key, value in node.value:
        place = f"{at}{key.value}"
        line = key.start_mark.line + 1
        if place in lines:
            raise yaml.constructor.ConstructorError(
                None, None, f"{place} stands there twice (first on line {lines[place]})", key.start_mark
            )
        lines[place] = line
        _note_lines(value, f"{place}.", lines)


def _with_text_keys(value: Any) -> Any:  # noqa: ANN401 - whatever YAML holds
    if isinstance(value, dict):
        return {str(key): _with_text_keys(inner) for key, inner in value.items()}
    return [_with_text_keys(inner) for inner in value] if isinstance(value, list) else value


def _reason(error: Exception) -> str:
    """Say what is wrong and where, without the lines themselves: a password may stand in one."""
    if isinstance(error, RecursionError):
        return "it is nested too deeply"
    if isinstance(error, yaml.MarkedYAMLError):
        mark = error.problem_mark
        place = f" on line {mark.line + 1}" if mark else ""
        return f"{error.problem or error.context}{place}"
    if isinstance(error, UnicodeDecodeError):
        return "it is not UTF-8"
    return " ".join(str(error).split())[:200]
