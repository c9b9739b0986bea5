"""The finding of a cluster's programs."""

import shutil
import socket
import subprocess
import sys
import time
from pathlib import Path

from devcluster import processes
from devcluster.waiting import wait_until

# Each shell replaces itself by the next, as `env` and `nsenter` do, and between two of them has no environment.
SHELLS = 200
RELAY = f'n="$1"; test "$n" -ge {SHELLS} && exec sleep 60; exec sh "$0" $((n + 1))'


def test_a_program_that_replaces_itself_is_found_at_every_look(tmp_path: Path) -> None:
    relay = tmp_path / "relay.sh"
    relay.write_text(RELAY)
    processes.start(tmp_path, processes.Program("relay", ("sh", str(relay), "0")))
    try:
        looks = 0
        deadline = time.monotonic() + 60
        while command_of(tmp_path) != "sleep" and time.monotonic() < deadline:
            processes.require_running(tmp_path, ["relay"])
            looks += 1
        assert command_of(tmp_path) == "sleep"
        assert looks > 0
    finally:
        processes.stop(tmp_path)


def command_of(state: Path) -> str:
    """Return the name of the program that the relay is by now."""
    [found] = processes.find(state)
    return Path(f"/proc/{found.pid}/comm").read_text().strip()


def test_a_program_without_an_environment_is_nobodys(tmp_path: Path) -> None:
    program = shutil.which("sleep")
    assert program is not None
    stranger = subprocess.Popen([program, "60"], env={})
    try:
        began = time.monotonic()
        assert processes.read_environment(stranger.pid) == b""
        assert time.monotonic() - began < processes.EXEC_TIMEOUT_S, "it was waited for in vain"
    finally:
        stranger.kill()
        stranger.wait()


# A program whose first thread has ended is a zombie to a careless look, but its port is still taken.
HEADLESS = """
import ctypes, socket, sys, threading
listener = socket.create_server(("127.0.0.1", 0))
def stay():
    print(listener.getsockname()[1], flush=True)
    threading.Event().wait()
threading.Thread(target=stay).start()
ctypes.CDLL(None).pthread_exit(None)
"""


def test_a_program_runs_until_its_last_thread_has_ended() -> None:
    program = subprocess.Popen([sys.executable, "-c", HEADLESS], stdout=subprocess.PIPE, text=True)
    try:
        assert program.stdout is not None
        port = int(program.stdout.readline())
        wait_until(lambda: processes.stat_fields(program.pid)[processes.STATE] == "Z", "the first thread to end", 60)
        assert processes.is_alive(program.pid)
        processes.end([program.pid], 0)
        socket.create_server(("127.0.0.1", port)).close()
        assert not processes.is_alive(program.pid)
    finally:
        program.kill()
        program.communicate()
