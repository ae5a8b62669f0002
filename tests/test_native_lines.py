"""What native code prints at the start of a model, while one of them hangs."""

import os
import threading

import pytest

from realtime.capture import portaudio
from realtime.system import stderr
from realtime.system.stderr import native_lines_to_log
from scripts.harness.processes import wait_until


def test_native_code_that_hangs_holds_up_no_other_and_gives_standard_error_back(monkeypatch, capfd):
    monkeypatch.setattr(stderr, "LONGEST_S", 0.5)
    inside, going, done = threading.Event(), threading.Event(), threading.Event()

    def hang():
        with native_lines_to_log():
            inside.set()
            going.wait(20)

    def other():
        with native_lines_to_log():
            os.write(2, b"I0000 chatter\nan error\n")
        done.set()

    threads = [threading.Thread(target=work, daemon=True) for work in (hang, other)]
    threads[0].start()
    assert inside.wait(20)
    threads[1].start()
    assert done.wait(5)
    said = ""
    while "an error" not in said:  # put back although the first still hangs
        said += capfd.readouterr().err
    assert "chatter" not in said
    os.write(2, b"and the log goes on\n")
    assert "goes on" in capfd.readouterr().err
    going.set()
    for thread in threads:
        thread.join(20)
    with native_lines_to_log():
        os.write(2, b"I0000 chatter\n")
    os.write(2, b"the end\n")
    assert capfd.readouterr().err == "the end\n"


def set_aside_by_a_library(inside, going):
    """What PortAudio's binding does while it starts: it puts back what it found."""
    found = os.dup(2)
    null = os.open(os.devnull, os.O_WRONLY)
    os.dup2(null, 2)
    os.close(null)
    inside.set()
    assert going.wait(20)
    os.dup2(found, 2)
    os.close(found)


@pytest.mark.parametrize("first", [False, True])
@pytest.mark.parametrize("hangs", [False, True])
def test_a_library_that_sets_standard_error_aside_itself_does_not_take_the_log_along(monkeypatch, capfd, first, hangs):
    monkeypatch.setattr(stderr, "LONGEST_S", 0.2 if hangs else 20.0)
    inside, going, other_in, other_out = (threading.Event() for _ in range(4))

    def library():
        with native_lines_to_log():
            set_aside_by_a_library(inside, going)

    def model():
        with native_lines_to_log():
            other_in.set()
            assert other_out.wait(20)

    threads = [threading.Thread(target=work, daemon=True) for work in (library, model)]
    begin, wait = (inside, other_in) if first else (other_in, inside)
    threads[0 if first else 1].start()
    assert begin.wait(20)
    threads[1 if first else 0].start()
    assert wait.wait(20)
    if hangs:  # standard error is put back while both are still at it
        wait_until(lambda: stderr._aside._said is None, 20, "the end of patience")
    for leaves, thread in ((other_out, threads[1]), (going, threads[0])):
        leaves.set()
        thread.join(20)
    os.write(2, b"and the log goes on\n")
    assert capfd.readouterr().err == "and the log goes on\n"
    assert stderr._aside._terminal is None


def test_the_start_of_portaudio_and_of_a_model_at_the_same_time_leave_standard_error_where_it_was(capfd):
    pytest.importorskip("sounddevice", exc_type=OSError)
    over = threading.Event()

    def models():
        while not over.is_set():
            with native_lines_to_log():
                os.write(2, b"I0000 chatter\n")

    thread = threading.Thread(target=models, daemon=True)
    thread.start()
    for _ in range(20):
        with portaudio.refreshed("a microphone"):
            pass
    over.set()
    thread.join(20)
    capfd.readouterr()
    os.write(2, b"and the log goes on\n")
    assert capfd.readouterr().err == "and the log goes on\n"
