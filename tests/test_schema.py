"""The schema: one name per column, and a hash that follows the meaning."""

import json
import subprocess
import sys

from safetensors import safe_open

from realtime.extract import schema
from realtime.fuse.worker import WEIGHTS


def test_every_column_has_a_name_of_its_own():
    for columns in (schema.FACE_COLUMNS, schema.VOICE_INPUTS):
        assert len(set(columns)) == len(columns)


def test_the_shipped_weights_take_as_many_columns_as_there_are():
    """The extractors fill them: test_face, test_voice and test_text look at what these really give."""
    with safe_open(WEIGHTS, "np") as file:
        inputs = json.loads(file.metadata()["config"])["inputs"]
    assert inputs == {"face": schema.FACE_DIM, "voice": schema.VOICE_INPUT_DIM, "text": schema.TEXT_DIM}


def test_older_schemas_are_a_part_of_todays():
    assert schema.schema_hash() not in schema.OLDER
    for dims in schema.OLDER.values():
        assert dims["voice"] == schema.VOICE_DIM, "what every block of sound gives"
        assert dims["face"] == len(schema.FACE_SHAPES)
        assert dims["text"] == schema.TEXT_DIM


def test_the_hash_is_a_sha256_that_two_processes_agree_on():
    code = "from realtime.extract.schema import schema_hash; print(schema_hash())"
    elsewhere = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert len(schema.schema_hash()) == 64
    assert elsewhere.stdout.strip() == schema.schema_hash()


def test_the_hash_changes_with_a_column_its_place_or_a_version(monkeypatch):
    hashes = {schema.schema_hash()}
    monkeypatch.setattr(schema, "VOICE_VERSION", 99)
    hashes.add(schema.schema_hash())
    monkeypatch.setattr(schema, "FACE_COLUMNS", schema.FACE_COLUMNS[:-1])
    hashes.add(schema.schema_hash())
    monkeypatch.setattr(schema, "FACE_COLUMNS", schema.FACE_COLUMNS[::-1])
    hashes.add(schema.schema_hash())
    assert len(hashes) == 4


def test_the_schema_is_read_without_loading_torch_or_mediapipe():
    code = "import sys, realtime.extract.schema; print({'torch', 'mediapipe', 'cv2'} & set(sys.modules))"
    loaded = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert loaded.stdout.strip() == "set()"
