"""What native code prints at the start of a model, while one of them hangs."""

import os
import threading

from realtime.system import stderr
from realtime.system.stderr import native_lines_to_log


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
