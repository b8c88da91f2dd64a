"""A signal ends the wait whichever thread it reaches."""

import subprocess
import sys
from pathlib import Path

import pytest

WAITS = """
import signal, threading, time
from serving.stop_signals import StopSignals

stop = StopSignals()
assert not stop.is_set()
assert not stop.wait(0.01)

def tell():
    time.sleep(0.3)  # By then the main thread sleeps, and is not woken.
    signal.pthread_kill(threading.get_ident(), signal.{number})

threading.Thread(target=tell).start()
assert stop.wait()
assert stop.is_set() and stop.wait()
print("ended")
"""


@pytest.mark.parametrize("number", ["SIGTERM", "SIGINT"])
def test_a_signal_that_reaches_another_thread_ends_the_wait(number):
    found = subprocess.run(
        [sys.executable, "-c", WAITS.format(number=number)],
        cwd=Path(__file__).parents[2],
        capture_output=True,
        text=True,
        timeout=20,
    )

    assert found.stdout == "ended\n", found.stderr
