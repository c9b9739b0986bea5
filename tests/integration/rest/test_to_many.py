"""Messages to many: what is published to a topic, and what goes to every instance of a type."""

import asyncio
import json
from typing import Any

import pytest
from rest_server import Rest, echo, fails_with, make_policy
from rest_shapes import check_shape

from switchboard_gateway.instances import Instance
from switchboard_routing.policy import Capability, Subscription
from switchboard_wire.calls import IncomingCall, Payload
from switchboard_wire.errors import ErrorValue
from switchboard_wire.v1 import frames_pb2 as pb

PUBLISH = "/api/v1/topics/news/publish"
NEWS = (Subscription("news"),)
OVERLOADED = fails_with(ErrorValue(pb.PROCESSING_ERROR, "cannot", delivered=pb.DELIVERED_YES))
EVENT = {"specversion": "1.0", "id": "e-1", "source": "/feeds/7", "type": "news", "subject": "rain", "count": 3}


async def post(rest: Rest, path: str, **request: Any) -> tuple[int, Any]:
    async with rest.client.post(rest.url + path, **request) as response:
        return response.status, await response.json()


def seen(rest: Rest) -> list[tuple[str, str]]:
    return [(opened.agent, opened.target.key) for opened in rest.fake.seen]


@pytest.mark.parametrize("inside", ["", "/namespaces/default"])
async def test_every_subscriber_gets_a_copy_and_what_came_of_it_is_told(rest: Rest, inside: str) -> None:
    rest.host(make_policy("a", topics=NEWS), echo)
    rest.host(make_policy("b", topics=(Subscription("ne", prefix=True),)), OVERLOADED)
    rest.host(make_policy("other"), echo)
    status, found = await post(rest, f"/api/v1{inside}/topics/news/publish?source=user-1", json={"input": {"n": 1}})
    assert status == 200
    check_shape(found, "Results")
    assert found["id"] == rest.fake.seen[0].message_id
    assert (found["delivered"], found["failed"]) == (1, 1)
    assert found["results"] == [
        {"agent": "a/user-1", "ok": True, "instance": "writers-1", "output": {"n": 1}},
        {
            "agent": "b/user-1",
            "ok": False,
            "error": {"code": "PROCESSING_ERROR", "message": "cannot", "delivered": "YES"},
        },
    ]
    assert seen(rest) == [("a", "user-1"), ("b", "user-1")]


async def test_any_other_content_type_is_the_payload(rest: Rest) -> None:
    rest.host(make_policy("a", topics=NEWS), echo)
    _, found = await post(rest, PUBLISH, data=b"\xff\x00", headers={"Content-Type": "image/png"})
    check_shape(found, "Results")
    assert found["results"][0]["outputBase64"] == "/wA="


async def test_a_topic_without_subscribers_reaches_nobody(rest: Rest) -> None:
    status, found = await post(rest, PUBLISH, json={"input": "x"})
    assert (status, found["delivered"], found["failed"], found["results"]) == (200, 0, 0, [])


async def test_a_payload_that_no_subscriber_takes_is_refused(rest: Rest) -> None:
    rest.host(make_policy("a", topics=NEWS, max_payload_bytes=1000), echo)
    status, found = await post(rest, PUBLISH, data=b"x" * 2000)
    assert (status, found["code"]) == (413, "PAYLOAD_TOO_LARGE")
    assert seen(rest) == []


async def test_a_large_message_reaches_each_whole(rest: Rest) -> None:
    sizes: list[int] = []

    async def measure(call: IncomingCall) -> None:
        sizes.append(len(await call.body(1 << 24)))
        await call.close(Payload())

    for name in "abc":
        rest.host(make_policy(name, topics=NEWS), measure)
    status, found = await post(rest, PUBLISH, data=b"x" * 1_000_000)
    assert (status, found["delivered"], sizes) == (200, 3, [1_000_000] * 3)


@pytest.mark.parametrize("mode", ["binary", "structured"])
async def test_a_cloud_event_is_published_with_its_attributes(rest: Rest, mode: str) -> None:
    rest.host(make_policy("a", topics=NEWS), echo)
    if mode == "binary":
        headers = {f"ce-{name}": str(value) for name, value in EVENT.items()} | {"Content-Type": "application/json"}
        status, found = await post(rest, PUBLISH, data=b'{"temperature": 1.50}', headers=headers)
    else:
        body = json.dumps(EVENT)[:-1] + ', "data": {"temperature": 1.50}}'
        headers = {"Content-Type": "application/cloudevents+json; charset=utf-8"}
        status, found = await post(rest, PUBLISH, data=body, headers=headers)
    assert (status, found["id"], found["delivered"]) == (200, "e-1", 1)
    [opened] = rest.fake.seen
    assert (opened.message_id, opened.target.key) == ("e-1", "/feeds/7")
    assert dict(opened.headers) == {"ce-subject": "rain", "ce-count": "3"}
    assert found["results"][0]["output"] == {"temperature": 1.5}


async def test_the_query_names_another_source_than_the_event(rest: Rest) -> None:
    rest.host(make_policy("a", topics=NEWS), echo)
    headers = {f"ce-{name}": str(value) for name, value in EVENT.items()}
    await post(rest, PUBLISH + "?source=mine", data=b"", headers=headers)
    assert seen(rest) == [("a", "mine")]


@pytest.mark.parametrize(
    ("change", "words"),
    [
        pytest.param({"id": None}, "no id", id="without id"),
        pytest.param({"source": ""}, "no source", id="with an empty source"),
        pytest.param({"type": "weather"}, "not the topic of the path", id="of another topic"),
        pytest.param({"specversion": "0.3"}, "must be 1.0", id="of another version"),
        pytest.param({"subject": {"a": 1}}, "'subject' must be", id="with an attribute that has structure"),
        pytest.param({"data_base64": "%"}, "no base64", id="with data that is no base64"),
        pytest.param({"data": 1, "data_base64": "AA=="}, "keep one", id="with data twice"),
        pytest.param({"id": "x" * 300}, "over 256", id="with a long id"),
        pytest.param({"data": "\ud800", "datacontenttype": "text/plain"}, "surrogate", id="with half a character"),
    ],
)
async def test_an_event_that_is_none_is_refused(rest: Rest, change: dict[str, Any], words: str) -> None:
    rest.host(make_policy("a", topics=NEWS), echo)
    headers = {"Content-Type": "application/cloudevents+json"}
    status, found = await post(rest, PUBLISH, data=json.dumps(EVENT | change), headers=headers)
    assert (status, found["code"]) == (400, "VALIDATION_FAILED")
    assert words in found["detail"]
    assert seen(rest) == []


async def test_a_batch_of_events_is_refused_with_a_remedy(rest: Rest) -> None:
    status, found = await post(rest, PUBLISH, data="[]", headers={"Content-Type": "application/cloudevents-batch+json"})
    assert (status, "one event per request" in found["detail"]) == (400, True)


async def test_every_instance_of_a_type_answers(rest: Rest) -> None:
    rest.host(make_policy("echo"), echo)
    second = Instance(peer=rest.instance.peer, namespace="default", node="writers", name="writers-2")
    second.hosted = rest.instance.hosted
    rest.core.table.instances[0] = second
    rest.core.instances_changed()
    status, found = await post(rest, "/api/v1/agents/echo/execute?instances=all", json={"input": "hi"})
    assert status == 200
    check_shape(found, "Results")
    assert found["results"] == [
        {"agent": "echo", "ok": True, "instance": name, "output": "hi"} for name in ("writers-1", "writers-2")
    ]


@pytest.mark.parametrize(
    ("path", "status", "words"),
    [
        ("/api/v1/agents/echo/execute?instances=2", 400, "say all"),
        ("/api/v1/agents/nobody/execute?instances=all", 404, "there is echo"),
        ("/api/v1/topics/news/publish?key=1", 400, "source may be given"),
        ("/api/v1/capabilities/shout/execute?version=one", 400, "no version"),
        ("/api/v1/capabilities/shout/execute?version=>=3", 404, "there is 1.2.0"),
        ("/api/v1/capabilities/fly/execute", 404, "there is shout"),
    ],
)
async def test_a_wrong_query_is_refused_with_what_there_is(rest: Rest, path: str, status: int, words: str) -> None:
    rest.host(make_policy("echo", capabilities=(Capability("shout", "1.2.0"),)), echo)
    got, found = await post(rest, path, json={"input": 1})
    assert got == status
    assert words in found["detail"]


async def test_a_capability_is_called_in_a_version_of_the_range(rest: Rest) -> None:
    for major in ("1", "2"):
        capability = Capability("shout", f"{major}.0.0")
        rest.host(make_policy(f"echo-{major}", capabilities=(capability,)), echo)
    for wanted, agent in ((">=2,<3", "echo-2"), ("1", "echo-1")):
        path = "/api/v1/capabilities/shout/execute"
        async with rest.client.post(rest.url + path, params={"version": wanted}, json={"input": 1}) as response:
            assert (await response.json())["agent"] == agent


async def test_a_publisher_that_hangs_up_cancels_every_copy(rest: Rest) -> None:
    async def hangs(_: IncomingCall) -> None:
        await asyncio.Event().wait()

    for name in "ab":
        rest.host(make_policy(name, topics=NEWS), hangs)
    asked = asyncio.ensure_future(rest.client.post(rest.url + PUBLISH, json={"input": 1}))
    async with asyncio.timeout(60):
        while len(rest.fake.seen) < 2:
            await asyncio.sleep(0.005)
        asked.cancel()
        while rest.fake.cancelled < 2:
            await asyncio.sleep(0.005)
