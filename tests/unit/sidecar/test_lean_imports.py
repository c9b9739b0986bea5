"""A sidecar stands in every pod, so what it loads is paid for as often as there are pods."""

import json
import subprocess
import sys

# A sidecar's megabytes without one of them were more: 14 of grpc with typing_extensions, 20 of aiohttp
HEAVY = {"grpc", "typing_extensions", "aiohttp", "pydantic", "cryptography", "jwt", "kubernetes", "kopf"}


def loaded_by(code: str) -> set[str]:
    """The top-level modules that an interpreter of its own has after the code."""
    code += "\nimport json, sys; print(json.dumps(sorted({name.partition('.')[0] for name in sys.modules})))"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=120)
    return set(json.loads(done.stdout))


def test_a_sidecar_that_serves_over_tls_loads_none_of_the_heavy_libraries() -> None:
    code = (
        "from switchboard_runtime import process; from switchboard_sidecar import sidecar; "
        "from switchboard_wire.security import Dialling; Dialling(lambda: b'')"
    )
    loaded = loaded_by(code)
    assert {"switchboard_sidecar", "ssl", "h2"} <= loaded
    assert loaded & HEAVY == set()


def test_a_drain_loads_less_than_a_sidecar() -> None:
    loaded = loaded_by("from switchboard_sidecar import __main__")
    assert loaded & (HEAVY | {"prometheus_client", "h2"}) == set()
