"""A machine with nothing beside the repository: what may skip there, and that the clips are made of what it has."""

import itertools
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from realtime.extract.vad import SpeechDetector
from realtime.types import Chunk
from scripts.harness import clips, talking

ROOT = Path(__file__).resolve().parent.parent
TESTS = """
import pytest
def test_a_part_is_missing():
    pytest.skip("no such part")
@pytest.mark.skipif(True, reason="never here")
def test_left_out(): ...
@pytest.mark.corpus
def test_of_a_corpus(data_dir): ...
"""
UNMARKED = "def test_reads_a_corpus(data_dir): ..."


def tried(folder, text, **env):
    """The exit code and the output of pytest over these tests with our conftest, where there is no corpus."""
    (folder / "test_tried.py").write_text(text)
    command = [sys.executable, "-m", "pytest", "-q", "-p", "tests.conftest", "-p", "no:cacheprovider"]
    command += ["-c", str(ROOT / "pyproject.toml"), str(folder)]
    env = os.environ | {"AGFN_DATA": str(folder / "nowhere"), "CI": ""} | env
    done = subprocess.run(command, cwd=ROOT, env=env, capture_output=True, text=True, check=False)
    return done.returncode, done.stdout + done.stderr


def test_without_a_part_its_tests_skip_and_say_why(tmp_path):
    code, said = tried(tmp_path, TESTS)
    assert (code, re.search(r"\d skipped in", said)[0]) == (0, "3 skipped in")
    assert "no such part" in said
    assert "set AGFN_DATA" in said


def test_in_ci_nothing_skips_but_what_needs_a_corpus(tmp_path):
    code, said = tried(tmp_path, TESTS, CI="true")
    # What skips before it begins is an error of its setup.
    assert (code, re.search(r"\d failed, .*(?= in)", said)[0]) == (1, "1 failed, 1 skipped, 1 error")
    assert said.count("a part is missing in CI") >= 2


def test_a_corpus_is_for_tests_that_say_they_need_one(tmp_path):
    code, said = tried(tmp_path, UNMARKED)
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "test_reads_a_corpus uses data_dir" in said


def test_too_many_tests_that_need_a_corpus_are_refused(tmp_path):
    many = "\n".join(f"@pytest.mark.corpus\ndef test_{number}(): ..." for number in range(26))
    code, said = tried(tmp_path, f"import pytest\n{many}\n")
    assert code == pytest.ExitCode.USAGE_ERROR
    assert "more than 25" in said


def test_a_clip_is_made_once_and_talks(clip, other_clip):
    made = clip.stat().st_mtime_ns
    assert talking.film(talking.BEST) == clip
    assert clip.stat().st_mtime_ns == made
    assert clip != other_clip
    for path, take in ((clip, talking.BEST), (other_clip, talking.WISDOM)):
        heard, recorded = clips.sound(path), talking.sound(take)
        assert len(heard) == pytest.approx(len(recorded), abs=400)
        voiced = [frame.probability > 0.5 for frame in SpeechDetector().feed(Chunk(0, heard))]
        assert np.mean(voiced) > 0.5
        pictures = [frame.image for frame in clips.frames(path)]
        assert len(pictures) == round((take.end_s - take.begin_s) * take.fps)
        assert all((one != two).any() for one, two in itertools.pairwise(pictures))
