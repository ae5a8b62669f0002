"""A bill of materials in CycloneDX 1.6: `python -m scripts.sbom > sbom.json`, of what is installed here.

It lists the packages that a run needs with the sha256 of their wheels, the pretrained models with who published them in
which revision, and the weights that come with the program. Tools such as pip-audit look known weaknesses up by it.
"""

from __future__ import annotations

import argparse
import importlib.metadata
import json
import sys
from typing import TYPE_CHECKING

from cyclonedx.contrib.license.factories import LicenseFactory
from cyclonedx.model import ExternalReference, ExternalReferenceType, HashAlgorithm, HashType, XsUri
from cyclonedx.model.bom import Bom
from cyclonedx.model.component import Component, ComponentType
from cyclonedx.output.json import JsonV1Dot6
from packageurl import PackageURL
from packaging.requirements import Requirement
from packaging.tags import sys_tags
from packaging.utils import canonicalize_name, parse_wheel_filename

from models import manifest
from models.catalogue import CATALOGUE, packages_of
from scripts import hashes

if TYPE_CHECKING:
    from collections.abc import Iterator

    from cyclonedx.model.license import License

    from models.catalogue import Asset, File

PROJECT = "agfn-live"
_TYPES = {"demo-face": ComponentType.DATA, "demo-voice": ComponentType.DATA, "mqtt.js": ComponentType.LIBRARY}
_licences = LicenseFactory()


def bill(extras: frozenset[str] = frozenset()) -> Bom:
    """Return the bill of what is installed: the program, its packages with these extras, models and weights.

    Raises:
        importlib.metadata.PackageNotFoundError: a package is missing: the program is not installed.
    """
    needed = closure(extras)
    digests = _wheels_here()
    components = {name: _package(name, digests) for name in needed if name != PROJECT}
    root = Component(
        name=PROJECT,
        version=importlib.metadata.version(PROJECT),
        type=ComponentType.APPLICATION,
        bom_ref=PROJECT,
        licenses=[_licences.make_from_string("MIT")],
    )
    bom = Bom(components=components.values())
    bom.metadata.component = root
    own = [*(_model(name, asset) for name, asset in CATALOGUE.items()), *_weights()]
    for component in own:
        bom.components.add(component)
    bom.register_dependency(root, [components[name] for name in needed[PROJECT]] + own)
    for name, component in components.items():
        bom.register_dependency(component, [components[other] for other in needed[name]])
    return bom


def closure(extras: frozenset[str]) -> dict[str, list[str]]:
    """Return every needed package by its normal name, with what it needs itself."""
    found: dict[str, list[str]] = {}
    waiting: list[tuple[str, frozenset[str]]] = [(PROJECT, extras)]
    seen: set[tuple[str, frozenset[str]]] = set()
    while waiting:
        name, wanted = waiting.pop()
        if (name, wanted) in seen:
            continue
        seen.add((name, wanted))
        needs = found.setdefault(name, [])
        for text in importlib.metadata.requires(name) or ():
            requirement = Requirement(text)
            marker = requirement.marker
            if marker is None or any(marker.evaluate({"extra": extra}) for extra in ("", *wanted)):
                other = str(canonicalize_name(requirement.name))
                if other != name and other not in needs:
                    needs.append(other)
                waiting.append((other, frozenset(requirement.extras)))
    return found


def _wheels_here() -> dict[tuple[str, str], str]:
    """Return the sha256 of the listed wheel that suits this Python best, by normal name and version."""
    rank = {tag: number for number, tag in enumerate(sys_tags())}
    best: dict[tuple[str, str], tuple[int, str]] = {}
    for file, digest in hashes.listed().items():
        name, version, _, tags = parse_wheel_filename(file)
        fits = [rank[tag] for tag in tags if tag in rank]
        if fits:
            key = (str(name), str(version))
            best[key] = min(best.get(key, (sys.maxsize, "")), (min(fits), digest))
    return {key: digest for key, (_, digest) in best.items()}


def _package(name: str, digests: dict[tuple[str, str], str]) -> Component:
    found = importlib.metadata.metadata(name)
    version = found["Version"]
    named = (found[key] for key in ("License-Expression", "License") if key in found)
    licence = next((text.strip().partition("\n")[0] for text in named), "")
    return Component(
        name=found["Name"],
        version=version,
        bom_ref=f"{name}=={version}",
        purl=PackageURL("pypi", None, name, version),
        licenses=[_licence(licence)] if licence else [],
        hashes=_hash(digests.get((name, version))),
    )


def _model(name: str, asset: Asset) -> Component:
    origin = asset.origin
    carried = [package for files in asset.sources for package in packages_of(files)]
    return Component(
        name=name,
        version=origin.revision,
        type=_TYPES.get(name, ComponentType.MACHINE_LEARNING_MODEL),
        bom_ref=f"model:{name}",
        publisher=origin.publisher,
        description=f"{asset.use} ({origin})",
        copyright=asset.notice,
        licenses=[_licence(asset.licence)],
        components=[_file(name, file) for file in asset.files],
        external_references=[
            ExternalReference(
                type=ExternalReferenceType.DISTRIBUTION,
                url=XsUri(str(PackageURL("pypi", None, package.name, package.version))),
            )
            for package in carried
        ],
    )


def _file(asset: str, file: File) -> Component:
    return Component(
        name=file.name,
        type=ComponentType.FILE,
        bom_ref=f"model:{asset}/{file.name}",
        hashes=_hash(file.sha256),
    )


def _weights() -> Iterator[Component]:
    for path in sorted(manifest.SHIPPED.iterdir()):
        if digest := manifest.expected(path):
            yield Component(
                name=path.name,
                version=importlib.metadata.version(PROJECT),
                type=ComponentType.MACHINE_LEARNING_MODEL,
                bom_ref=f"weights:{path.name}",
                hashes=_hash(digest),
            )


def _licence(text: str) -> License:
    return _licences.make_from_string(text)


def _hash(digest: str | None) -> list[HashType]:
    return [] if digest is None else [HashType(alg=HashAlgorithm.SHA_256, content=digest)]


def main(argv: list[str] | None = None) -> int:
    """Print the bill; the command line of this module."""
    parser = argparse.ArgumentParser(prog="python -m scripts.sbom", description=__doc__.split("\n", 1)[0])
    parser.add_argument(
        "--extra", action="append", default=[], metavar="NAME", help="with this extra of pyproject.toml"
    )
    bom = bill(frozenset(parser.parse_args(argv).extra))
    print(json.dumps(json.loads(JsonV1Dot6(bom).output_as_string()), indent=2))
    return 0


if __name__ == "__main__":
    sys.exit(main())
