"""The documents name files that are there."""

import re
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
MODULE = re.compile(r"`((?:\w+/)*\w+\.py)`")
ROOMS = ("realtime", "models", "scripts", "tests")
FILES = [*ROOT.glob("*.py"), *(path for room in ROOMS for path in (ROOT / room).rglob("*.py"))]
THERE = [str(path.relative_to(ROOT)) for path in FILES]
DOCUMENTS = [ROOT / "README.md", ROOT / "models" / "CARD.md", *sorted((ROOT / "docs").glob("*.md"))]


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda path: path.name)
def test_a_python_file_that_a_document_names_is_there(document):
    named = set(MODULE.findall(document.read_text("utf-8")))
    missing = {name for name in named if not any(f"/{path}".endswith(f"/{name}") for path in THERE)}
    assert not missing
