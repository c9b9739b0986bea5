"""The metrics APIs without a socket: what is asked, who asks, what is answered."""

import datetime
import json
from collections.abc import Mapping
from typing import Any

import pytest
from operator_objects import make_meta, make_node, make_pod, make_record

from switchboard_kube import API_SERVICES, SUBJECT_ACCESS_REVIEWS
from switchboard_kube.testing import FakeKube
from switchboard_operator.load import Load
from switchboard_operator.metrics_api.answering import Moment, answer, find_subjects
from switchboard_operator.metrics_api.bundles import BundleKeeper
from switchboard_operator.metrics_api.documents import CUSTOM_GROUP, EXTERNAL_GROUP, Refusal, quantity
from switchboard_operator.metrics_api.front_proxy import FrontProxy, User, common_name_of, identify, read_front_proxy
from switchboard_operator.metrics_api.label_selectors import parse_selector
from switchboard_operator.metrics_api.reviewing import MOST, REMEMBERED_S, Reviewer
from switchboard_operator.metrics_api.routes import Wanted, route
from switchboard_operator.objects import Pod
from switchboard_operator.registry import Record, Registry
from switchboard_operator.snapshot import Indexes

BOTH = (CUSTOM_GROUP, EXTERNAL_GROUP)
CUSTOM = "/apis/custom.metrics.k8s.io/v1beta2"
EXTERNAL = "/apis/external.metrics.k8s.io/v1beta1"
UTC = datetime.datetime(2026, 11, 21, 12, 0, 10, tzinfo=datetime.UTC)
NOW = 102.0  # records of make_record were heard at 100


def working(pod: str, *, in_flight: int = 0, queued: int = 0, rate: float = 0.0, **fields: Any) -> Record:
    """A record of an instance with this much work."""
    load = Load(in_flight, queued, 0, 0, 0, 0, 0, 0, rate, ())
    return make_record(pod, **({"load": load, "concurrency": 16} | fields))


def registry_of(*records: Record) -> Registry:
    registry = Registry(started=0.0)
    for record in records:
        registry.put(record)
    return registry


def indexes_of(*pods: Pod, labels: Mapping[str, str] | None = None) -> Indexes:
    node = make_node(meta=make_meta(labels=labels or {}))
    return Indexes(nodes_in={"ns": [node]}, pods={("ns", "writers"): list(pods)})


def ask(path: str, registry: Registry, *pods: Pod, **query: str) -> Any:
    """What a request gets, past authentication and authorization."""
    wanted = route(path, query, BOTH)
    assert isinstance(wanted, Wanted)
    return answer(wanted, find_subjects(indexes_of(*pods, labels={"team": "a"}), wanted), registry, Moment(NOW, UTC))


def values(document: Any) -> dict[str, str]:
    return {item["describedObject"]["name"]: item["value"] for item in document["items"]}


TWO = (make_pod("a", labels={"app": "x"}), make_pod("b", labels={"app": "y"}))


def test_a_pod_s_metric_as_a_whole() -> None:
    document = ask(f"{CUSTOM}/namespaces/ns/pods/a/in_flight", registry_of(working("a", in_flight=3)), *TWO)
    assert document == {
        "kind": "MetricValueList",
        "apiVersion": "custom.metrics.k8s.io/v1beta2",
        "metadata": {},
        "items": [
            {
                "describedObject": {"kind": "Pod", "namespace": "ns", "name": "a", "apiVersion": "v1"},
                "metric": {"name": "in_flight", "selector": None},
                "timestamp": "2026-11-21T12:00:08Z",
                "windowSeconds": 0,
                "value": "3",
            }
        ],
    }


@pytest.mark.parametrize(
    ("query", "expected"),
    [
        pytest.param({}, {"a": "1", "b": "2"}, id="all"),
        pytest.param({"labelSelector": "app=y"}, {"b": "2"}, id="by the pod's label"),
        pytest.param({"labelSelector": "app in (x,y),!gone"}, {"a": "1", "b": "2"}, id="by a set"),
        pytest.param({"metricLabelSelector": "agentnode=writers"}, {"a": "1", "b": "2"}, id="by the metric's label"),
        pytest.param({"metricLabelSelector": "agentnode=others"}, {}, id="a metric of another AgentNode"),
    ],
)
def test_pods_are_listed_by_selector(query: dict[str, str], expected: dict[str, str]) -> None:
    registry = registry_of(working("a", in_flight=1), working("b", in_flight=2))
    assert values(ask(f"{CUSTOM}/namespaces/ns/pods/*/in_flight", registry, *TWO, **query)) == expected


def test_a_pod_without_a_fresh_heartbeat_has_no_metric() -> None:
    registry = registry_of(working("a", in_flight=1), working("b", in_flight=2, heard=NOW - 7))
    assert values(ask(f"{CUSTOM}/namespaces/ns/pods/*/in_flight", registry, *TWO)) == {"a": "1"}
    with pytest.raises(Refusal, match="no heartbeat") as refused:
        ask(f"{CUSTOM}/namespaces/ns/pods/b/in_flight", registry, *TWO)
    assert (refused.value.code, refused.value.reason) == (404, "NotFound")


WORK = {"in_flight": 4, "queued": 2, "rate": 2.5}


@pytest.mark.parametrize(
    ("metric", "expected"),
    [("in_flight", "8"), ("queued", "4"), ("messages_per_second", "5"), ("saturation", "375m")],
)
def test_an_agentnode_s_metric_is_of_all_its_instances(metric: str, expected: str) -> None:
    registry = registry_of(working("a", **WORK), working("b", **WORK))
    path = f"{CUSTOM}/namespaces/ns/agentnodes.switchboard.dev/writers/{metric}"
    assert values(ask(path, registry, *TWO)) == {"writers": expected}


def test_saturation_is_of_the_concurrency_that_the_agentnode_says_now() -> None:
    registry = registry_of(working("a", in_flight=4), working("b", in_flight=8))
    registry.set_concurrency(("ns", "writers"), 4)
    whole = f"{CUSTOM}/namespaces/ns/agentnodes.switchboard.dev/writers/saturation"
    each = f"{CUSTOM}/namespaces/ns/pods/*/saturation"
    assert values(ask(whole, registry, *TWO)) == {"writers": "1500m"}
    assert values(ask(each, registry, *TWO)) == {"a": "1", "b": "2"}
    registry.set_concurrency(("ns", "writers"), None)
    assert values(ask(each, registry, *TWO)) == {"a": "250m", "b": "500m"}, "as they were introduced"


@pytest.mark.parametrize(
    ("records", "pods", "expected"),
    [
        pytest.param([], [], "0", id="no pods: no work"),
        pytest.param([working("a", in_flight=4)], TWO, "8", id="a silent pod counts as the average"),
        pytest.param(
            [working("a", in_flight=4)], [TWO[0], make_pod("b", ready=False)], "4", id="one that starts has no work"
        ),
        pytest.param(
            [working("a", in_flight=4), working("b", in_flight=9)],
            [TWO[0], make_pod("b", deleting=True)],
            "4",
            id="the work of one that goes needs no successor",
        ),
        pytest.param(
            [working("a", in_flight=4), working("b", in_flight=9, draining=True)], TWO, "4", id="nor of one that drains"
        ),
        pytest.param([working("a", in_flight=4)], [*TWO, make_pod("c")], None, id="most are silent: no number"),
        pytest.param([], [make_pod("a", ready=False)], None, id="nobody has spoken yet: no number"),
        pytest.param([working("a", heard=0.0)], [TWO[0]], None, id="heard of too long ago: no number"),
    ],
)
def test_a_pool_s_number_is_one_to_act_upon_or_none(
    records: list[Record], pods: list[Pod], expected: str | None
) -> None:
    path = f"{CUSTOM}/namespaces/ns/agentnodes.switchboard.dev/writers/in_flight"
    if expected is None:
        with pytest.raises(Refusal, match="heartbeat"):
            ask(path, registry_of(*records), *pods)
    else:
        assert values(ask(path, registry_of(*records), *pods)) == {"writers": expected}


@pytest.mark.parametrize(
    ("selector", "names"), [("", ["writers"]), ("agentnode=writers", ["writers"]), ("agentnode=x", [])]
)
def test_external_metrics_are_of_agentnodes(selector: str, names: list[str]) -> None:
    path = f"{EXTERNAL}/namespaces/ns/switchboard_in_flight"
    document = ask(path, registry_of(working("a", in_flight=3)), TWO[0], labelSelector=selector)
    assert document["kind"] == "ExternalMetricValueList"
    assert [item["metricLabels"]["agentnode"] for item in document["items"]] == names
    assert all((item["value"], item["metricName"]) == ("3", "switchboard_in_flight") for item in document["items"])


def test_agentnodes_are_selected_by_their_own_labels() -> None:
    path, registry = f"{CUSTOM}/namespaces/ns/agentnodes.switchboard.dev/*/in_flight", registry_of(working("a"))
    assert values(ask(path, registry, TWO[0], labelSelector="team=a")) == {"writers": "0"}
    assert values(ask(path, registry, TWO[0], labelSelector="team=b")) == {}


@pytest.mark.parametrize(
    ("path", "code", "says"),
    [
        ("/", 404, "nothing"),
        ("/apis/apps", 404, "nothing"),
        ("/apis/custom.metrics.k8s.io/v1beta1", 404, "nothing"),
        (f"{CUSTOM}/nodes/a/in_flight", 404, "pods and agentnodes"),
        (f"{CUSTOM}/namespaces/ns/services/a/in_flight", 404, "pods and agentnodes"),
        (f"{CUSTOM}/namespaces/ns/pods/a/cpu", 404, "in_flight, queued"),
        (f"{CUSTOM}/namespaces/ns/metrics/in_flight", 404, "pods and agentnodes"),
        (f"{EXTERNAL}/namespaces/ns/in_flight", 404, "switchboard_in_flight"),
    ],
)
def test_what_is_not_there_is_refused_in_words(path: str, code: int, says: str) -> None:
    with pytest.raises(Refusal, match=says) as refused:
        route(path, {}, BOTH)
    assert refused.value.document()["code"] == code
    assert refused.value.document()["kind"] == "Status"


def test_an_unreadable_selector_is_a_bad_request() -> None:
    with pytest.raises(Refusal, match="labelSelector") as refused:
        route(f"{CUSTOM}/namespaces/ns/pods/*/in_flight", {"labelSelector": "a in b"}, BOTH)
    assert refused.value.code == 400


def test_an_api_that_is_switched_off_is_not_there() -> None:
    with pytest.raises(Refusal):
        route(EXTERNAL, {}, [CUSTOM_GROUP])
    groups: Any = route("/apis", {}, [CUSTOM_GROUP])
    assert [group["name"] for group in groups["groups"]] == [CUSTOM_GROUP]


def test_discovery_lists_every_metric_once_and_lets_nothing_be_deleted() -> None:
    for path in (CUSTOM, EXTERNAL):
        document: Any = route(path, {}, BOTH)
        listed = [entry["name"] for entry in document["resources"]]
        assert len(listed) == len(set(listed)) == (8 if path is CUSTOM else 4)
        assert {verb for entry in document["resources"] for verb in entry["verbs"]} == {"get"}
        assert document["groupVersion"] == path.removeprefix("/apis/")


def test_openapi_leads_from_its_index_to_a_document() -> None:
    index: Any = route("/openapi/v3", {}, BOTH)
    for path, place in index["paths"].items():
        found: Any = route(place["serverRelativeURL"].partition("?")[0], {}, BOTH)
        assert (found["openapi"], found["paths"]) == ("3.0.0", {}), path
    v2: Any = route("/openapi/v2", {}, BOTH)
    assert v2["swagger"] == "2.0"


@pytest.mark.parametrize(
    ("path", "attributes"),
    [
        pytest.param(
            f"{CUSTOM}/namespaces/ns/pods/*/in_flight",
            {
                "namespace": "ns",
                "group": CUSTOM_GROUP,
                "version": "v1beta2",
                "verb": "get",
                "resource": "pods",
                "subresource": "in_flight",
                "name": "*",
            },
            id="custom",
        ),
        pytest.param(
            f"{EXTERNAL}/namespaces/ns/switchboard_queued",
            {
                "namespace": "ns",
                "group": EXTERNAL_GROUP,
                "version": "v1beta1",
                "verb": "list",
                "resource": "switchboard_queued",
            },
            id="external",
        ),
    ],
)
def test_a_right_is_asked_for_in_the_api_server_s_words(path: str, attributes: dict[str, str]) -> None:
    wanted = route(path, {}, BOTH)
    assert isinstance(wanted, Wanted)
    assert wanted.attributes() == attributes


@pytest.mark.parametrize(
    ("value", "text"), [(0, "0"), (3, "3"), (2.5, "2500m"), (0.0004, "0"), (1 / 3, "333m"), (1e6, "1000000")]
)
def test_numbers_are_quantities(value: float, text: str) -> None:
    assert quantity(value) == text


@pytest.mark.parametrize(
    ("selector", "labels", "matches"),
    [
        ("", {}, True),
        ("a=b", {"a": "b"}, True),
        ("a==b", {"a": "c"}, False),
        ("a!=b", {}, True),
        ("a", {"a": ""}, True),
        ("!a", {"a": ""}, False),
        ("a in (b, c)", {"a": "c"}, True),
        ("a in (b,c),d=e", {"a": "c"}, False),
        ("a notin (b,c)", {"a": "b"}, False),
        ("a notin (b)", {}, True),
        ("x/y.z=1, q", {"x/y.z": "1", "q": "2"}, True),
        ("a=", {"a": ""}, True),
    ],
)
def test_label_selectors_match_as_kubernetes_says(selector: str, labels: dict[str, str], matches: bool) -> None:
    assert parse_selector(selector)(labels) is matches


@pytest.mark.parametrize("selector", [",", "a in b", "=b", "a in (b", "a b", "a=b=c"])
def test_what_is_no_selector_is_refused(selector: str) -> None:
    with pytest.raises(ValueError):
        parse_selector(selector)


# --- who asks

PROXY = FrontProxy("ca", ("front",), ("X-Remote-User",), ("X-Remote-Group",), ("X-Remote-Extra-",), ("X-Remote-Uid",))
ALICE = [("X-Remote-User", "alice"), ("X-Remote-Group", "dev"), ("x-remote-group", "ops")]


def test_the_proxy_says_for_whom_it_asks() -> None:
    headers = [*ALICE, ("X-Remote-Uid", "7"), ("X-Remote-Extra-Scopes%2fa", "read"), ("X-Remote-Extra-Scopes%2fa", "x")]
    assert identify(PROXY, "front", headers) == User("alice", ("dev", "ops"), "7", (("scopes/a", ("read", "x")),))


@pytest.mark.parametrize(
    ("name", "headers"),
    [
        pytest.param(None, ALICE, id="without a certificate the headers count for nothing"),
        pytest.param("mallory", ALICE, id="nor with a certificate of another name"),
        pytest.param("front", [], id="nor is anybody without a name"),
        pytest.param("front", [("X-Remote-User", "")], id="nor with an empty one"),
        pytest.param("front", [("X-Forwarded-User", "alice")], id="nor in a header that nobody agreed upon"),
    ],
)
def test_nobody_else_is_believed(name: str | None, headers: list[tuple[str, str]]) -> None:
    assert identify(PROXY, name, headers) is None


def test_the_cluster_says_which_proxy_it_is() -> None:
    data = {
        "requestheader-client-ca-file": "PEM",
        "requestheader-allowed-names": json.dumps(["front"]),
        "requestheader-username-headers": json.dumps(["X-Remote-User"]),
        "requestheader-group-headers": json.dumps(["X-Remote-Group"]),
        "requestheader-extra-headers-prefix": json.dumps(["X-Remote-Extra-"]),
    }
    assert read_front_proxy(data) == FrontProxy(
        "PEM", ("front",), ("X-Remote-User",), ("X-Remote-Group",), ("X-Remote-Extra-",), ()
    )
    assert read_front_proxy({"client-ca-file": "PEM"}) is None
    with pytest.raises(ValueError):
        read_front_proxy({"requestheader-client-ca-file": "PEM", "requestheader-allowed-names": '"front"'})


def test_a_peer_s_name_is_read_from_its_certificate() -> None:
    subject = ((("organizationName", "x"),), (("commonName", "front"),))
    assert common_name_of({"subject": subject}) == "front"
    assert common_name_of({}) is None
    assert common_name_of(None) is None


class Reviews(FakeKube):
    """An API server that allows alice alone, and counts the questions."""

    asked: list[Any]

    async def create(self, resource: Any, manifest: Any) -> Any:
        assert resource == SUBJECT_ACCESS_REVIEWS
        self.asked.append(manifest["spec"])
        return {"status": {"allowed": manifest["spec"]["user"] == "alice"}}


async def test_a_right_is_asked_for_once_in_a_while() -> None:
    kube, clock = Reviews(), [0.0]
    kube.asked = []
    reviewer = Reviewer(kube, lambda: clock[0])
    alice, bob = User("alice", ("dev",), "7", (("a", ("b",)),)), User("bob")
    attributes = {"verb": "get", "resource": "pods"}
    for _ in range(3):
        assert await reviewer.allows(alice, attributes)
        assert not await reviewer.allows(bob, attributes)
    assert kube.asked == [
        {
            "user": "alice",
            "groups": ["dev"],
            "resourceAttributes": attributes,
            "uid": "7",
            "extra": {"a": ["b"]},
        },
        {"user": "bob", "groups": [], "resourceAttributes": attributes},
    ]
    assert not await reviewer.allows(User("alice2"), attributes), "another user is another question"
    clock[0] += REMEMBERED_S
    assert await reviewer.allows(alice, attributes)
    assert len(kube.asked) == 4


async def test_what_is_remembered_of_rights_is_bounded() -> None:
    kube = Reviews()
    kube.asked = []
    reviewer = Reviewer(kube, lambda: 0.0)
    for number in range(MOST + 10):
        await reviewer.allows(User(f"u{number}"), {"verb": "get"})
    assert len(reviewer._known) == MOST


# --- the caBundle


def api_service(namespace: str, name: str = "switchboard-metrics") -> Any:
    service = {"namespace": namespace, "name": name}
    return API_SERVICES, {"metadata": {"name": "v1beta2.custom.metrics.k8s.io"}, "spec": {"service": service}}


async def test_our_api_service_gets_our_bundle_once() -> None:
    kube = FakeKube(api_service("system"))
    keeper = BundleKeeper(kube, "system", BOTH, lambda: None)
    await keeper.keep(b"pem")
    await keeper.keep(b"pem")
    assert kube.writes == [("patch", "APIService", "v1beta2.custom.metrics.k8s.io")]
    held = await kube.get(API_SERVICES, "v1beta2.custom.metrics.k8s.io")
    assert held["spec"]["caBundle"] == "cGVt"


@pytest.mark.parametrize("other", [api_service("monitoring"), api_service("system", "prometheus-adapter")])
async def test_the_api_service_of_another_provider_is_left_alone(other: Any) -> None:
    kube = FakeKube(other)
    await BundleKeeper(kube, "system", BOTH, lambda: None).keep(b"pem")
    assert kube.writes == []
