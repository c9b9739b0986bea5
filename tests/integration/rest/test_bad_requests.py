"""What is wrong with a request is said in words that help, and costs nobody anything."""

import pytest
from rest_server import Rest, echo, make_policy

from switchboard_gateway.rest.app import routes_of

EXECUTE = "/api/v1/agents/echo/execute"
JSON = "application/json"


async def problem(rest: Rest, path: str, body: bytes, content_type: str = JSON, **headers: str) -> tuple[int, str, str]:
    """(status, code, detail)."""
    sent = {"Content-Type": content_type} | {name.replace("_", "-"): value for name, value in headers.items()}
    async with rest.client.post(rest.url + path, data=body, headers=sent) as response:
        assert response.content_type == "application/problem+json"
        found = await response.json()
        assert found["status"] == response.status
        return response.status, found["code"], found["detail"]


GOOD = b'{"input": "x"}'


@pytest.mark.parametrize(
    ("path", "body", "status", "code", "words"),
    [
        pytest.param(EXECUTE, b"{", 400, "VALIDATION_FAILED", "double quotes at line 1 column 2", id="no JSON"),
        pytest.param(EXECUTE, b'{"imput": 1}', 400, "VALIDATION_FAILED", "'imput' is no member", id="a wrong member"),
        pytest.param(EXECUTE + "?kye=1", GOOD, 400, "VALIDATION_FAILED", "'kye' is not known: key", id="a query"),
        pytest.param(EXECUTE + "?key=" + "k" * 300, GOOD, 400, "INVALID_AGENT_ID", "key is over 256", id="a long key"),
        pytest.param(
            "/api/v1/agents/nobody/execute", GOOD, 404, "AGENT_NOT_FOUND", "there is echo", id="no such agent"
        ),
        pytest.param("/api/v1/agents/Echo/execute", GOOD, 400, "INVALID_AGENT_ID", "is no agent type", id="no type"),
        pytest.param(
            "/api/v1/namespaces/x/agents/echo/execute", GOOD, 404, "AGENT_NOT_FOUND", "'x'", id="no namespace"
        ),
        pytest.param("/api/v1/capabilities/fly/execute", GOOD, 404, "AGENT_NOT_FOUND", "'fly'", id="no capability"),
        pytest.param(
            "/api/v1/agents/echo/1/execute", GOOD, 404, "VALIDATION_FAILED", "no such path; there is", id="no path"
        ),
        pytest.param("/health", GOOD, 405, "VALIDATION_FAILED", "GET", id="a wrong method"),
    ],
)
async def test_a_wrong_request(rest: Rest, path: str, body: bytes, status: int, code: str, words: str) -> None:
    rest.host(make_policy(), echo)
    found = await problem(rest, path, body)
    assert found[:2] == (status, code)
    assert words in found[2]
    assert rest.fake.seen == []


async def test_a_wrong_strategy_lists_those_that_there_are(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    status, _, detail = await problem(rest, EXECUTE, GOOD, Switchboard_Strategy="Fastest")
    assert status == 400
    assert "LeastConnections" in detail


async def test_curl_without_a_content_type_is_told(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    _, code, detail = await problem(rest, EXECUTE, GOOD, "application/x-www-form-urlencoded")
    assert code == "VALIDATION_FAILED"
    assert "say Content-Type: application/json" in detail


async def test_an_unknown_path_lists_every_route(rest: Rest) -> None:
    async with rest.client.get(rest.url + "/api/v2/agents") as response:
        detail = (await response.json())["detail"]
    from switchboard_gateway.rest import build_app

    for method, path in routes_of(build_app(rest.core)):
        if "{namespace}" not in path:
            assert f"{method} {path}" in detail


@pytest.mark.parametrize("content_type", [JSON, "application/pdf"])
@pytest.mark.parametrize("chunked", [False, True], ids=["with its length", "chunked"])
async def test_a_payload_over_the_agent_s_limit(rest: Rest, content_type: str, chunked: bool) -> None:
    rest.host(make_policy(max_payload_bytes=1000), echo)
    body = b'{"input": "' + b"x" * 200_000 + b'"}'

    async def pieces():  # type: ignore[no-untyped-def]
        for start in range(0, len(body), 10_000):
            yield body[start : start + 10_000]

    found = await problem(rest, EXECUTE, pieces() if chunked else body, content_type)  # type: ignore[arg-type]
    assert found[:2] == (413, "PAYLOAD_TOO_LARGE")
    assert rest.fake.seen == []


async def test_a_json_payload_just_over_the_limit_is_refused_by_its_own_size(rest: Rest) -> None:
    rest.host(make_policy(max_payload_bytes=1000), echo)
    found = await problem(rest, EXECUTE, b'{"input": "' + b"x" * 1001 + b'"}')
    assert found[:2] == (413, "PAYLOAD_TOO_LARGE")


async def test_a_fault_of_the_gateway_shows_no_trace(rest: Rest, caplog: pytest.LogCaptureFixture) -> None:
    rest.host(make_policy(), echo)

    def broken(*_: object) -> None:
        raise KeyError("a secret")

    rest.core.open_call = broken  # type: ignore[method-assign]
    rest.core.table.by_type = None  # type: ignore[assignment]
    status, code, detail = await problem(rest, EXECUTE, GOOD)
    assert (status, code) == (500, "INTERNAL_ERROR")
    assert "secret" not in detail
    assert "NoneType" not in detail
    assert "request failed" in caplog.text
    assert '"x"' not in caplog.text  # never payloads


async def test_too_many_bytes_of_metadata_are_refused(rest: Rest) -> None:
    rest.host(make_policy(), echo)
    body = b'{"input": "x", "metadata": {"a": "' + b"x" * 20_000 + b'"}}'
    assert (await problem(rest, EXECUTE, body))[:2] == (400, "VALIDATION_FAILED")
