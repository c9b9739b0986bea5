"""The reference tells the error table and the limits as they are."""

import re
from pathlib import Path

from switchboard_gateway.rest.limits import RestLimits
from switchboard_gateway.rest.problems import to_problem
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
