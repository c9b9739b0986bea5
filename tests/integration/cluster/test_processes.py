"""The finding of a cluster's programs."""

import shutil
import subprocess
import time
from pathlib import Path

from devcluster import processes

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
