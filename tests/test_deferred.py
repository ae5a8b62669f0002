"""Imports that are put off: made when something is asked of the module, left alone when it is there already."""

import importlib
import sys

import pytest

from realtime.system.deferred import deferred


@pytest.fixture
def packages(tmp_path, monkeypatch):
    """Modules `heavy_one`, `heavy_two.part`, and `light` that imports them; the names that are imported by now."""
    (tmp_path / "heavy_one.py").write_text("value = 1\n")
    (tmp_path / "heavy_two").mkdir()
    (tmp_path / "heavy_two" / "__init__.py").write_text("top = 2\n")
    (tmp_path / "heavy_two" / "part.py").write_text("value = 3\n")
    (tmp_path / "light.py").write_text("import heavy_one\nimport heavy_two.part as part\n")
    monkeypatch.syspath_prepend(str(tmp_path))
    names = ("heavy_one", "heavy_two", "heavy_two.part", "light")
    yield lambda: {name for name in names if name in sys.modules}
    for name in names:
        sys.modules.pop(name, None)


def test_what_is_deferred_is_imported_when_it_is_used(packages):
    with deferred("heavy_one", "heavy_two", "heavy_two.part"):
        light = importlib.import_module("light")
    assert packages() == {"light"}
    assert light.heavy_one.value == 1
    assert packages() == {"light", "heavy_one"}
    assert light.part.value == 3
    assert packages() == {"light", "heavy_one", "heavy_two", "heavy_two.part"}
    with pytest.raises(AttributeError):
        _ = light.heavy_one.nothing


def test_what_is_there_already_stays_and_while_it_is_put_off_it_is_empty(packages):
    heavy_one = importlib.import_module("heavy_one")
    with deferred("heavy_one", "heavy_two"):
        assert sys.modules["heavy_one"] is heavy_one
        with pytest.raises(AttributeError):
            _ = sys.modules["heavy_two"].top
    assert importlib.import_module("heavy_two").top == 2
    assert packages() == {"heavy_one", "heavy_two"}
