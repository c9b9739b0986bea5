"""What a client shows and whom it trusts: arguments first, then the environment, then the pod's own files."""

import asyncio
from pathlib import Path

import pytest

from switchboard import connection, credentials
from switchboard.connection import Connection
from switchboard.credentials import AccessOptions, Credentials, host_of
from switchboard_wire.peer import Peer
from switchboard_wire.v1 import frames_pb2 as pb


@pytest.fixture
def pod(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The folder where a pod has its token; empty at first."""
    monkeypatch.setattr(credentials, "POD_TOKEN", tmp_path / "token")
    monkeypatch.setattr(credentials, "POD_CA", tmp_path / "ca.crt")
    return tmp_path


def file(folder: Path, name: str, text: str = "") -> Path:
    path = folder / name
    path.write_text(text or name)
    return path


@pytest.mark.parametrize(
    ("given", "environ", "token"),
    [
        pytest.param({}, {}, "", id="nothing"),
        pytest.param({"token": "said"}, {"SWITCHBOARD_TOKEN": "env"}, "said", id="an argument before the environment"),
        pytest.param({}, {"SWITCHBOARD_TOKEN": "env"}, "env", id="the environment"),
        pytest.param({"token": "", "token_file": ""}, {"SWITCHBOARD_TOKEN": "env"}, "env", id="empty is not given"),
    ],
)
def test_a_token_is_what_was_said_first(given: AccessOptions, environ: dict[str, str], token: str, pod: Path) -> None:
    assert Credentials.resolve(given, environ).token() == token


def test_a_token_of_a_file_is_read_anew_each_time(pod: Path) -> None:
    path = file(pod, "mine", "first\n")
    found = Credentials.resolve({"token_file": path}, {"SWITCHBOARD_TOKEN": "env"})
    assert found.metadata("localhost:7400") == [("authorization", "Bearer first")]
    path.write_text("second")
    assert found.metadata("localhost:7400") == [("authorization", "Bearer second")]


def test_a_pod_has_its_token_and_its_ca_where_nobody_says_otherwise(pod: Path) -> None:
    assert Credentials.resolve({}, {}).tls is False
    file(pod, "token")
    assert (Credentials.resolve({}, {}).token(), Credentials.resolve({}, {}).tls) == ("token", False)
    file(pod, "ca.crt")
    assert Credentials.resolve({}, {}).tls is True
    assert Credentials.resolve({"token": "mine", "tls": False}, {}).tls is False
    assert Credentials.resolve({"token": "mine"}, {}).token() == "mine"


@pytest.mark.parametrize(
    ("given", "environ", "tls"),
    [
        pytest.param({}, {"SWITCHBOARD_TLS": "true"}, True, id="by the environment"),
        pytest.param({}, {"SWITCHBOARD_TLS": "false", "SWITCHBOARD_CA_FILE": "x"}, False, id="not in spite of a CA"),
        pytest.param({}, {"SWITCHBOARD_CA_FILE": "x"}, True, id="by a CA"),
        pytest.param({"ca_file": "x"}, {}, True, id="by a CA that is an argument"),
        pytest.param({"tls": True}, {"SWITCHBOARD_TLS": "false"}, True, id="an argument before the environment"),
    ],
)
def test_tls_is_what_was_said_first(given: AccessOptions, environ: dict[str, str], tls: bool, pod: Path) -> None:
    assert Credentials.resolve(given, environ).tls is tls


def test_a_token_in_plain_text_over_the_network_is_told_once(pod: Path, caplog: pytest.LogCaptureFixture) -> None:
    found = Credentials(token="t")
    for address in ("localhost:7400", "127.0.0.1:7400", "gateway.example.org:7400", "gateway.example.org:7400"):
        found.metadata(address)
    assert [record.getMessage() for record in caplog.records] == [
        "the token goes over the network in plain text: use TLS"
    ]


def test_the_name_of_a_certificate_is_the_host_that_was_dialled() -> None:
    assert [host_of(each) for each in ("gateway.example.org:7400", "[::1]:7400", "10.0.0.1:7400")] == [
        "gateway.example.org",
        "::1",
        "10.0.0.1",
    ]


class Counting(Credentials):
    """Knows how often its token was read."""

    reads = 0

    def token(self) -> str:
        self.reads += 1
        return super().token()


class Ear:
    def __init__(self) -> None:
        self.heard: list[pb.Frame] = []

    def send(self, frame: pb.Frame) -> None:
        self.heard.append(frame)


class Nobody:
    def on_open(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_control(self, peer: Peer, frame: pb.Frame) -> None: ...

    def on_lost(self, peer: Peer) -> None: ...


async def test_a_fresh_token_is_shown_on_the_session_that_is_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(connection, "TOKEN_POLL_S", 0.01)
    path, ear = file(tmp_path, "token", "first"), Ear()
    shown = Counting(token_path=path)
    made = Connection("localhost:1", "/none", Nobody(), list, credentials=shown)
    made.peer = ear  # type: ignore[assignment]
    showing = asyncio.create_task(made._renew_token())
    try:
        async with asyncio.timeout(60):
            while not shown.reads:
                await asyncio.sleep(0.001)
            path.write_text("second")
            while not ear.heard:
                await asyncio.sleep(0.01)
    finally:
        showing.cancel()
    assert [frame.auth.token for frame in ear.heard] == ["second"]
