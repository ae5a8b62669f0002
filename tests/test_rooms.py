"""The order of the rooms of realtime/: an import points down, and never round in a circle.

Imports under TYPE_CHECKING and inside functions count, too: they say what a file knows of.
"""

import ast
from dataclasses import dataclass
from pathlib import Path

import pytest

from scripts import rooms as scripts_rooms

ROOT = Path(__file__).resolve().parent.parent
LEVELS = (
    "run",
    "app fleet",
    "session",
    "pipeline",
    "doctor export report recording overlay homeassistant sinks rules terminal client control metrics",
    "publish",
    "fuse",
    "extract capture",
    "config runtime demo dashboard",
    "types clock errors system",
)
"""Rooms and single files of realtime/ from the top; those of one level may use each other, but not in a circle."""
LEVEL = {room: number for number, rooms in enumerate(LEVELS) for room in rooms.split()}
FORBIDDEN = (
    ("models", "realtime"),
    ("models", "scripts"),
    ("realtime", "scripts"),
    ("realtime.recording", "realtime.session"),
    ("realtime.recording", "realtime.pipeline"),
    ("realtime.recording", "realtime.extract.models"),
)
MOST_LOOSE_FILES = 7


@dataclass(frozen=True)
class Arrow:
    """An import: which module says so, on which line with which text, and what it imports."""

    importer: str
    imported: str
    place: str
    text: str

    def __str__(self):
        return f"{self.place}: {self.text}"


def inside(module, package):
    return module == package or module.startswith(f"{package}.")


def sources():
    """The text of every module of the house by its dotted name and its path."""
    found = {}
    for package in ("models", "realtime", "scripts"):
        for path in sorted((ROOT / package).rglob("*.py")):
            parts = path.relative_to(ROOT).with_suffix("").parts
            found[".".join(parts[:-1] if parts[-1] == "__init__" else parts)] = (path, path.read_text())
    return found


def arrows_of(modules, importers=None):
    """Every import of one module of the house by another, or by those importers only."""
    found = []
    for importer in importers or modules:
        path, source = modules[importer]
        lines = source.splitlines()
        for node in ast.walk(ast.parse(source)):
            for imported in sorted(imports_of(node, importer, modules, is_package=path.name == "__init__.py")):
                where = path.relative_to(ROOT) if path.is_relative_to(ROOT) else path
                found.append(Arrow(importer, imported, f"{where}:{node.lineno}", lines[node.lineno - 1].strip()))
    return found


def imports_of(node, importer, modules, *, is_package):
    """The modules of the house that a statement imports: a name in a package may be a module of its own."""
    if isinstance(node, ast.Import):
        names = {alias.name for alias in node.names}
    elif isinstance(node, ast.ImportFrom):
        base = node.module or ""
        if node.level:
            stem = importer.split(".")
            stem = stem[: len(stem) - node.level + is_package]
            base = ".".join([*stem, *filter(None, [node.module])])
        full = {alias.name: f"{base}.{alias.name}" for alias in node.names}
        names = {name if name in modules else base for name in full.values()}
    else:
        return set()
    return {name for name in names if name in modules} - {importer}


def room_of(module):
    """The room, or the single file, of realtime/ that a module lies in."""
    package, _, rest = module.partition(".")
    return rest.split(".")[0] if package == "realtime" else None


def against_the_order(arrows):
    found = []
    for arrow in arrows:
        if any(inside(arrow.importer, above) and inside(arrow.imported, below) for above, below in FORBIDDEN):
            found.append(arrow)
            continue
        one, other = room_of(arrow.importer), room_of(arrow.imported)
        if one and other and one != other and LEVEL[other] < LEVEL[one]:
            found.append(arrow)
    return found


def circle_in(graph):
    """A circle of a graph as the list of its nodes, or nothing."""
    done, way = set(), []

    def visit(node):
        if node in way:
            return [*way[way.index(node) :], node]
        if node in done:
            return []
        way.append(node)
        for follower in sorted(graph.get(node, ())):
            if circle := visit(follower):
                return circle
        done.add(way.pop())
        return []

    for start in sorted(graph):
        if circle := visit(start):
            return circle
    return []


def graph_of(arrows, name_of):
    graph = {}
    for arrow in arrows:
        one, other = name_of(arrow.importer), name_of(arrow.imported)
        if one and other and one != other:
            graph.setdefault(one, set()).add(other)
    return graph


@pytest.fixture(scope="module")
def modules():
    return sources()


@pytest.fixture(scope="module")
def arrows(modules):
    return arrows_of(modules)


def test_every_room_has_its_place_in_the_order(modules):
    rooms = {room_of(module) for module in modules if module.startswith("realtime.")}
    assert rooms <= LEVEL.keys()


def test_no_import_points_up(arrows):
    assert len(arrows) > 500
    assert [str(arrow) for arrow in against_the_order(arrows)] == []


def test_rooms_do_not_import_each_other_in_a_circle(arrows):
    assert circle_in(graph_of(arrows, room_of)) == []


def test_modules_do_not_import_each_other_in_a_circle(arrows):
    assert circle_in(graph_of(arrows, str)) == []


def test_few_files_of_the_program_lie_outside_the_rooms():
    loose = {path.stem for path in (ROOT / "realtime").glob("*.py")} - {"__init__"}
    assert len(loose) <= MOST_LOOSE_FILES, loose


def test_grimp_finds_the_same_arrows_between_rooms(arrows):
    """A tool of others reads the imports its own way."""
    ours = graph_of(arrows, room_of)
    theirs = {room: used for room, used in scripts_rooms.rooms().items() if used}
    assert ours == theirs


def test_the_graph_in_the_document_is_that_of_the_imports():
    text = scripts_rooms.DOCUMENT.read_text(encoding="utf-8")
    assert scripts_rooms.document(text) == text, "run python -m scripts.rooms"


def test_arrows_that_others_imply_are_not_drawn_and_a_circle_is_refused():
    graph = {"a": {"b", "c", "d"}, "b": {"c"}, "c": {"d"}}
    assert scripts_rooms.reduced(graph) == {"a": {"b"}, "b": {"c"}, "c": {"d"}}
    assert "    a --> b\n    b --> c\n" in scripts_rooms.drawn(scripts_rooms.reduced(graph))
    with pytest.raises(ValueError, match="b, c, d import each other in a circle"):
        scripts_rooms.reduced(graph | {"d": {"b"}})


@pytest.mark.parametrize(
    ("importer", "line"),
    [
        ("realtime.publish.link", "from realtime.session.live import Live"),
        ("realtime.recording.reader", "import realtime.session.live"),
        ("realtime.recording.reader", "from realtime.session import live"),
        ("realtime.types", "if TYPE_CHECKING: from realtime.config.schema import Config"),
        ("realtime.fuse.window", "def late(): from realtime.publish import messages"),
        ("realtime.capture.media", "from ..publish.messages import Message"),
        ("realtime.extract.text", "from scripts.train import main"),
        ("models.agfn", "from realtime.types import Floats"),
    ],
)
def test_an_import_against_the_order_is_found_with_its_file_line_and_text(modules, importer, line):
    path, source = modules[importer]
    planted = modules | {importer: (path, f"{source}\n{line}\n")}
    found = against_the_order(arrows_of(planted, [importer]))
    assert [arrow.text for arrow in found] == [line]
    assert found[0].place == f"{path.relative_to(ROOT)}:{source.count(chr(10)) + 2}"


def test_a_circle_is_found():
    graph = {"a": {"b"}, "b": {"c", "d"}, "d": {"a"}}
    assert circle_in(graph) == ["a", "b", "d", "a"]
    assert circle_in({"a": {"b", "c"}, "b": {"c"}}) == []
