"""The processes of pods whose nodes run on this machine, to be killed as the kernel would."""

import contextlib
from collections.abc import Iterable
from pathlib import Path
from typing import Any


def find_processes(pods: Iterable[dict[str, Any]], command: str) -> list[int]:
    """Process ids whose control group names one of the pods and whose command line has the word.

    Empty where the nodes are elsewhere. Both spellings of a UID in a control group count: cgroupfs' and systemd's.
    """
    uids = [pod["metadata"]["uid"] for pod in pods]
    marks = [form for uid in uids for form in (f"pod{uid}", f"pod{uid.replace('-', '_')}")]
    found = []
    for group in Path("/proc").glob("[0-9]*/cgroup"):
        with contextlib.suppress(OSError):  # it may end while it is looked at
            words = (group.parent / "cmdline").read_bytes()
            if command.encode() in words and any(mark in group.read_text() for mark in marks):
                found.append(int(group.parent.name))
    return found
