"""A running installation in plain text is upgraded to TLS, while clients call: docs/how-to/turn-on-tls.md."""

import contextlib
from collections.abc import Iterator

from journey import Journey, require_no_failure
from live.kubectl import Kubectl
from live.release import NAMESPACE as SYSTEM
from live.release import install
from live.traffic import Load
from live.waiting import NotYet, wait_until
from pools import echo_pool

ROLLED_S = 240


@contextlib.contextmanager
def in_plain_text(kubectl: Kubectl) -> Iterator[None]:
    """The release without TLS; whatever happens, it has TLS in the end."""
    try:
        install(kubectl, "tls.enabled=false")
        yield
    finally:
        install(kubectl)


def await_tls(journey: Journey) -> None:
    """Wait until every pod of the pool is of a template that asks for TLS."""

    def look() -> bool:
        variables = [
            {entry["name"]: entry.get("value") for entry in pod["spec"]["initContainers"][0]["env"]}
            for pod in journey.pods("echo")
        ]
        former = sum(found.get("SWITCHBOARD_TLS") != "required" for found in variables)
        if former or not variables:
            raise NotYet(f"{former} of {len(variables)} pods speak plain text")
        return True

    wait_until(look, "pods with TLS", ROLLED_S)
    journey.await_pods("echo", 2)


def test_an_installation_in_plain_text_turns_tls_on_without_a_failed_message(journey: Journey) -> None:
    with in_plain_text(journey.kubectl):
        journey.apply(*echo_pool(journey.namespace, replicas=2))
        journey.await_ready(nodes=("echo",), agents=("echo",))
        before = journey.pod_names("echo")

        with journey.traffic(Load("echo", "hello", senders=4, per_second=40)) as tally:
            install(journey.kubectl, "tls.acceptPlainText=true")
            await_tls(journey)
            rolled = journey.pod_names("echo")
            install(journey.kubectl)
            tally.wait_for(40)
        require_no_failure(tally)

    assert not before & rolled
    assert journey.pod_names("echo") == rolled, "the second upgrade restarts no agent"
    gateway = journey.kubectl("get", "deployment/switchboard-gateway", "-n", SYSTEM, "-o", "yaml")
    assert "SWITCHBOARD_PLAIN_TEXT" not in gateway
    journey.await_ready(nodes=("echo",), agents=("echo",))
    assert {found["state"] for found in journey.instances("echo")} == {"Up"}
