"""What `switchboard send` makes of its input, and what it says of errors."""

import pytest

from switchboard_cli.calls import explain, read_payload
from switchboard_wire.errors import failure
from switchboard_wire.v1 import frames_pb2 as pb


@pytest.mark.parametrize(
    ("text", "as_json", "payload"),
    [
        pytest.param("Grüße", False, "Grüße", id="an argument is text"),
        pytest.param("Grüße".encode(), False, "Grüße", id="UTF-8 from standard input is text"),
        pytest.param(b"one\r\ntwo\n", False, "one\r\ntwo\n", id="line ends are kept"),
        pytest.param(b"\xff\xfe\x00", False, b"\xff\xfe\x00", id="other bytes from standard input are bytes"),
        pytest.param("\udcff", False, b"\xff", id="other bytes of an argument are bytes"),
        pytest.param(b'{"a": [1]}', True, {"a": [1]}, id="JSON is its value"),
    ],
)
def test_the_payload(text: str | bytes, as_json: bool, payload: object) -> None:
    assert read_payload(text, as_json) == payload


def test_bytes_that_are_no_json_are_refused() -> None:
    with pytest.raises(ValueError, match="utf-8"):
        read_payload(b"\xff{}", as_json=True)


@pytest.mark.parametrize(
    ("message", "line"),
    [
        pytest.param(
            "localhost:7400 cannot be reached: Connection refused",
            "NODE_UNAVAILABLE: localhost:7400 cannot be reached: Connection refused. `switchboard dev` runs one here; "
            "--gateway names another",
            id="a gateway that is not there comes with the remedy",
        ),
        pytest.param(
            "localhost:7400 cannot be reached: failed to connect to all addresses; last error: UNKNOWN: "
            "ipv4:127.0.0.1:7400: Failed to connect to remote host: Connection refused",
            "NODE_UNAVAILABLE: localhost:7400 cannot be reached: Connection refused. `switchboard dev` runs one here; "
            "--gateway names another",
            id="what gRPC says of its layers is left out",
        ),
        pytest.param("the link broke", "NODE_UNAVAILABLE: the link broke", id="an instance that is lost does not"),
    ],
)
def test_an_error_is_one_line(message: str, line: str) -> None:
    assert explain(failure(pb.NODE_UNAVAILABLE, message), "localhost:7400") == line
