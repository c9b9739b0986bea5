"""The reference tells the error table and the limits as they are."""

import json
import re
from pathlib import Path

from switchboard_gateway.rest.limits import RestLimits
from switchboard_gateway.rest.problems import to_problem
from switchboard_gateway.rest.ws_read import KINDS_AND_MEMBERS, MAX_PAYLOAD
from switchboard_gateway.rest.ws_write import greeting
from switchboard_wire.errors import ERROR_TABLE, ErrorValue, name_of
from switchboard_wire.limits import MAX_DATA_BYTES

TEXT = (Path(__file__).parents[4] / "docs/reference/rest.md").read_text()


def test_the_error_table_is_the_one_in_use() -> None:
    documented = {
        code: (int(status), bool(waits))
        for code, status, waits in re.findall(r"\| `([A-Z_]+)` \| (\d+)(, `Retry-After`)? \|", TEXT)
    }
    assert documented == {
        name_of(code): (row.http, "Retry-After" in to_problem(ErrorValue(code, "")).headers)
        for code, row in ERROR_TABLE.items()
    }


def test_the_limits_are_those_in_use() -> None:
    limits = RestLimits()
    for words in (
        f"up to its blank line | {limits.first_request_s:g} s",
        f"headers of its next request | {limits.keepalive_s:g} s",
        f"a raw one up to {MAX_DATA_BYTES >> 10} KiB | {limits.body_idle_s:g} s; {limits.body_total_s:g} s",
        f"does not read its answer | {limits.write_stall_s:g} s",
        f"one header; headers | {limits.line_bytes} bytes; {limits.headers}",
        f"over all clients | {limits.buffered_bytes >> 20} MiB",
        f"{limits.json_room_bytes >> 10} KiB larger",
        f"and {limits.json_bytes >> 20} MiB at most",
        f"an answer over {limits.answer_bytes >> 20} MiB",
        f"silent for {limits.event_idle_s:g} s",
    ):
        assert words in TEXT


def test_the_limits_of_sockets_are_those_in_use() -> None:
    limits, text = RestLimits(), (Path(__file__).parents[4] / "docs/reference/websocket.md").read_text()
    for words in (
        json.dumps(json.loads(greeting("default", limits.socket))),
        f"payload of one message | {MAX_PAYLOAD >> 10} KiB",
        f"calls at once on one socket | {limits.socket.calls};",
        f"does not read | {limits.write_stall_s:g} s",
        f"sent every {limits.socket.heartbeat_s:g} s | {limits.socket.heartbeat_s / 2:g} s",
        f"the handshake | {limits.first_request_s:g} s",
        f"nothing came for {limits.socket.idle_s:g} s",
        f"over {limits.socket.waiting_bytes >> 20} MiB wait",
        f"a message over {limits.socket.message_bytes >> 10} KiB",
    ):
        assert words in text


def test_every_kind_and_every_member_is_documented() -> None:
    text = (Path(__file__).parents[4] / "docs/reference/websocket.md").read_text()
    for name in {*KINDS_AND_MEMBERS, *(member for members in KINDS_AND_MEMBERS.values() for member in members)}:
        assert f"`{name}`" in text or f'`"{name}"`' in text, name
