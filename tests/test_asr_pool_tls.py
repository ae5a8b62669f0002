"""The ASR pool over TLS, for real: who is trusted decodes, and who is not hears no sound."""

import asyncio
import socket
import subprocess
import sys
import time
from contextlib import contextmanager, suppress

import pytest
from test_asr_pool import ENVIRON, TOKEN, Echo, Own, decode, said

from realtime.config.schema import AsrConfig
from realtime.extract.asr.decode_queue import DecodeQueue
from realtime.fleet.asr_address import parsed, server_tls
from realtime.fleet.asr_pool import AsrPool
from realtime.fleet.config import AsrLinks, AsrPoolConfig
from realtime.fleet.remote_asr import RemoteAsr
from realtime.publish.connection import LoopThread
from scripts.harness.mosquitto import free_port
from scripts.harness.processes import need, wait_until

pytestmark = [pytest.mark.real, pytest.mark.skipif(sys.platform == "win32", reason="0.0.0.0 is nobody's address there")]
EVERYWHERE = "0.0.0.0"
"""An address beyond loopback that every machine has."""
GREETING_S = 0.3


def certify(folder, name, address):
    """A certificate for an address, which vouches for itself."""
    need("openssl")
    files = {"cert_file": str(folder / f"{name}.crt"), "key_file": str(folder / f"{name}.key")}
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "ec",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-nodes",
        "-days",
        "2",
    ]
    command += ["-subj", f"/CN={name}", "-addext", f"subjectAltName=IP:{address}"]
    subprocess.run(
        [*command, "-keyout", files["key_file"], "-out", files["cert_file"]], check=True, capture_output=True
    )
    return files


@contextmanager
def serving(model, files):
    """A pool that other machines could reach; gives out its port."""
    port = free_port()
    address, config = parsed(f"{EVERYWHERE}:{port}"), AsrPoolConfig(**files)
    pool = AsrPool(model, AsrConfig(), config, TOKEN, lambda: None)
    thread, stop = LoopThread("pool"), asyncio.Event()
    thread.start(pool.run(address, server_tls(address, config), stop))
    try:
        yield port
    finally:
        thread.call(stop.set)
        thread.join(5)


@contextmanager
def reaching(own, port, ca_file):
    """A host that trusts an authority."""
    links = AsrLinks(addresses=(f"{EVERYWHERE}:{port}",), ca_file=ca_file, deadline_s=5)
    remote = RemoteAsr(links, DecodeQueue(own), Echo.vocabulary, "en", ENVIRON)
    try:
        yield remote
    finally:
        remote.close()


def test_a_host_decodes_over_tls_in_a_pool_whose_certificate_it_trusts(tmp_path):
    files, model, own = certify(tmp_path, "pool", EVERYWHERE), Echo(), Own()
    with serving(model, files) as port, reaching(own, port, files["cert_file"]) as remote:
        wait_until(lambda: remote.links[0].usable, 5, "the connection")
        assert said(decode(remote)) == " w0.25"
        # Who comes without TLS is not even greeted.
        with socket.create_connection(("127.0.0.1", port), timeout=5) as visitor:
            visitor.settimeout(GREETING_S)
            with suppress(TimeoutError, ConnectionResetError):
                assert visitor.recv(64) == b""
    assert own.decodes == 0


@pytest.mark.parametrize("address", [EVERYWHERE, "192.0.2.1"])
def test_no_sound_goes_to_a_pool_with_a_strangers_certificate_or_one_for_another_address(tmp_path, caplog, address):
    files, model, own = certify(tmp_path, "pool", address), Echo(), Own()
    trusted = certify(tmp_path, "other", EVERYWHERE) if address == EVERYWHERE else files
    with serving(model, files) as port, reaching(own, port, trusted["cert_file"]) as remote:
        wait_until(lambda: "certificate" in caplog.text.lower(), 5, "the refusal")
        begun_s = time.monotonic()
        assert said(decode(remote)) == " own"
        assert time.monotonic() - begun_s < 1.0
        assert not remote.links[0].up
    assert model.batches == []
