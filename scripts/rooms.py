"""The graph of imports between the rooms of realtime/, as docs/architecture.md shows it.

    python -m scripts.rooms

writes it anew as mermaid text into the document; a test compares. An arrow that others imply is left out: what a room
may use lies below it. Imports under TYPE_CHECKING and inside functions count, too.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

import grimp

if TYPE_CHECKING:
    from collections.abc import Mapping

ROOT = Path(__file__).parents[1]
DOCUMENT = ROOT / "docs" / "architecture.md"
BEGIN, END = "<!-- made by python -m scripts.rooms -->\n", "<!-- end -->\n"


def rooms() -> dict[str, set[str]]:
    """Return which rooms, and single files, of realtime/ each of them imports."""
    graph = grimp.build_graph("realtime", cache_dir=None)
    found: dict[str, set[str]] = {}
    for module in graph.modules:
        if (room := _room(module)) is None:
            continue
        used = {_room(imported) for imported in graph.find_modules_directly_imported_by(module)}
        found.setdefault(room, set()).update(each for each in used if each not in {None, room} and each)
    return found


def _room(module: str) -> str | None:
    _, _, rest = module.partition(".")
    return rest.split(".")[0] or None


def below(graph: Mapping[str, set[str]], room: str) -> set[str]:
    """Return all rooms that one uses, directly or by way of others."""
    reached: set[str] = set()
    waiting = [room]
    while waiting:
        new = graph.get(waiting.pop(), set()) - reached
        reached |= new
        waiting += new
    return reached


def reduced(graph: Mapping[str, set[str]]) -> dict[str, set[str]]:
    """Return a graph without the arrows that are implied by others.

    Raises:
        ValueError: there is a circle, so that every room of it implies the others.
    """
    if circle := sorted(room for room in graph if room in below(graph, room)):
        raise ValueError(f"the rooms {', '.join(circle)} import each other in a circle")
    return {
        room: {one for one in used if not any(one in below(graph, other) for other in used)}
        for room, used in graph.items()
    }


def drawn(graph: Mapping[str, set[str]]) -> str:
    """Return a graph as mermaid text in a block of Markdown, the rooms that nothing below them uses first."""
    arrows = [f"    {room} --> {' & '.join(sorted(used))}" for room, used in sorted(graph.items()) if used]
    return "\n".join(["```mermaid", "graph TD", *arrows, "```", ""])


def document(text: str) -> str:
    """Return a text with the graph of now in the place that is marked for it."""
    head, rest = text.split(BEGIN)
    _, tail = rest.split(END)
    return f"{head}{BEGIN}{drawn(reduced(rooms()))}{END}{tail}"


def main() -> None:
    """Write the graph into the document."""
    DOCUMENT.write_text(document(DOCUMENT.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main()
