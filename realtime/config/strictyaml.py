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
MOST_NODES = 4000
"""Keys and values: PyYAML takes a quarter of a millisecond for each, and refuses nothing before the last."""
PLAIN = {
    f"tag:yaml.org,2002:{name}" for name in ("null", "bool", "int", "float", "str", "seq", "map", "merge", "value")
}
BROKEN = (yaml.YAMLError, ValueError, RecursionError, OverflowError, TypeError)
"""What a YAML text may raise: numbers of thousands of digits, dates that are none and endless nesting among it."""


class _Loader(yaml.SafeLoader):
    """Refuses aliases, and takes what looks like a date as the text it is."""

    yaml_implicit_resolvers = {  # noqa: RUF012 - PyYAML's own, with one left out
        first: [(tag, pattern) for tag, pattern in resolvers if not tag.endswith(":timestamp")]
        for first, resolvers in yaml.SafeLoader.yaml_implicit_resolvers.items()
    }

    _nodes = 0

    def compose_node(self, parent: yaml.Node | None, index: Any) -> yaml.Node | None:  # noqa: ANN401 - PyYAML's signature
        if self.check_event(yaml.AliasEvent):
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, "aliases (*name) are refused: write the value again", mark)
        self._nodes += 1
        if self._nodes > MOST_NODES:
            mark = self.peek_event().start_mark  # type: ignore[no-untyped-call]
            raise yaml.composer.ComposerError(None, None, f"more than {MOST_NODES} keys and values", mark)
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
    try:
        values, lines = _parse(text.decode("utf-8"))
    except BROKEN as error:
        raise UsageError(f"config file {path} is no YAML: {_reason(error)}") from None
    if values is None:
        return {}, {}
    if not isinstance(values, dict):
        raise UsageError(f"config file {path} must hold keys and values, not a {type(values).__name__}")
    return values, lines


def scalar_of(text: str) -> Any:  # noqa: ANN401 - whatever YAML holds
    """Read the value of a setting; what is no YAML is the text itself."""
    if not text:
        return ""
    try:
        return _parse(text[:MOST_BYTES])[0]
    except BROKEN:
        return text


def _parse(text: str) -> tuple[Any, dict[str, int]]:
    loader = _Loader(text)
    try:
        node = loader.get_single_node()
        lines: dict[str, int] = {}
        _check(node, "", lines)
        return (None if node is None else _with_text_keys(loader.construct_document(node))), lines
    finally:
        loader.dispose()


def _check(node: yaml.Node | None, at: str, lines: dict[str, int]) -> None:
    """Refuse tags and double keys, and note the lines of all keys."""
    if node is not None and node.tag not in PLAIN:
        raise yaml.constructor.ConstructorError(None, None, "tags (!name) are refused", node.start_mark)
    if isinstance(node, yaml.SequenceNode):
        for number, item in enumerate(node.value):
            _check(item, f"{at}{number}.", lines)
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
        _check(value, f"{place}.", lines)


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
