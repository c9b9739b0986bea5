"""Who is who on a real cluster: pods join by their tokens over TLS, strangers do not; the CA is replaced under load."""

import base64
import json

from journey import Journey, require_no_failure
from live.release import NAMESPACE as SYSTEM
from live.traffic import Load
from live.waiting import wait_until
from pools import echo_pool

OPERATOR = "deployment/switchboard-operator"
SETTLED_S = 20
# Says HELLO as a member of the pool would, in plain text and over TLS with a token that is its own
STRANGER = """
import asyncio, ssl
from switchboard_wire.security import Dialling
from switchboard_wire.sockets import SocketPeer, dial_tcp, run_socket
from switchboard_wire.v1 import frames_pb2 as pb
from pathlib import Path

class Events:
    heard = []
    def on_open(self, peer, frame): self.heard.append("OPEN")
    def on_control(self, peer, frame):
        if frame.kind != pb.PING:
            self.heard.append(pb.Kind.Name(frame.kind) + " " + frame.goaway.reason)
    def on_lost(self, peer): pass

async def speak(tls, token, word):
    Events.heard = []
    peer = SocketPeer(Events(), dialled=True)
    hello = pb.Hello(namespace=NAMESPACE, node="echo", instance="echo-stranger", pod_uid="", token=token)
    peer.send(pb.Frame(kind=pb.HELLO, hello=hello))
    try:
        await dial_tcp("switchboard-links.switchboard-system.svc:7410", "link", peer, tls)
        async with asyncio.timeout(60):
            await run_socket(peer)
    except OSError as error:
        Events.heard.append(type(error).__name__)
    print(word, Events.heard, flush=True)

trust = Dialling(lambda: BUNDLE.encode(), Path("/token/token"))
asyncio.run(speak(None, trust.token(), "plain"))
asyncio.run(speak(trust.tls("switchboard-links"), "", "tokenless"))
asyncio.run(speak(trust.tls("switchboard-links"), trust.token(), "stranger"))
"""


def bundle_of(journey: Journey, node: str) -> str:
    """What the pods of an AgentNode are told to trust."""
    found = journey.kubectl.find(journey.namespace, "configmaps", f"{node}-assignments")
    assert found is not None
    return str(json.loads(found["data"]["assignments.json"])["caBundle"])


def stranger(journey: Journey, image: str) -> dict[str, object]:
    """A pod with an honest token of the right audience that no AgentNode has asked for."""
    token = {"serviceAccountToken": {"audience": "switchboard", "path": "token", "expirationSeconds": 600}}
    script = f"NAMESPACE, BUNDLE = {journey.namespace!r}, {bundle_of(journey, 'echo')!r}\n{STRANGER}"
    container = {
        "name": "stranger",
        "image": image,
        "command": ["python3", "-c", script],
        "resources": {"requests": {"cpu": "10m", "memory": "64Mi"}},
        "securityContext": {"allowPrivilegeEscalation": False, "capabilities": {"drop": ["ALL"]}},
        "volumeMounts": [{"name": "token", "mountPath": "/token"}],
    }
    security = {"runAsNonRoot": True, "runAsUser": 65532, "seccompProfile": {"type": "RuntimeDefault"}}
    return {
        "apiVersion": "v1",
        "kind": "Pod",
        "metadata": {"name": "stranger", "namespace": journey.namespace},
        "spec": {
            "restartPolicy": "Never",
            "securityContext": security,
            "containers": [container],
            "volumes": [{"name": "token", "projected": {"sources": [token]}}],
        },
    }


def test_a_stranger_gets_nothing_in_plain_text_without_a_token_or_with_its_own(journey: Journey) -> None:
    journey.apply(*echo_pool(journey.namespace, replicas=1))
    journey.await_ready(nodes=("echo",), agents=("echo",))
    [pod] = journey.pods("echo")
    journey.apply(stranger(journey, pod["spec"]["initContainers"][0]["image"]))
    journey.kube("wait", "--for=jsonpath={.status.phase}=Succeeded", "pod/stranger", "--timeout=120s")
    heard = dict(line.split(" ", 1) for line in journey.kube("logs", "stranger").splitlines() if "[" in line)
    assert heard["plain"] in ("[]", "['ConnectionResetError']")
    assert "refused: a token is asked for here" in heard["tokenless"]
    assert "is in no EndpointSlice of an AgentNode" in heard["stranger"]
    assert "'HELLO" not in "".join(heard.values()), "a gateway greeted it"
    assert journey.ask("echo", "still here") == "still here"


def test_a_new_ca_takes_over_under_load_without_a_failed_message(journey: Journey) -> None:
    journey.apply(*echo_pool(journey.namespace, replicas=2))
    journey.await_ready(nodes=("echo",), agents=("echo",))
    before = bundle_of(journey, "echo")
    system = ("-n", SYSTEM)
    journey.kubectl(*system, "set", "env", OPERATOR, f"SWITCHBOARD_CA_SETTLED_SECONDS={SETTLED_S}")
    try:
        journey.kubectl(*system, "rollout", "status", OPERATOR, "--timeout=120s")
        with journey.traffic(Load("echo", "hello", senders=4, per_second=50)) as tally:
            journey.kubectl(*system, "annotate", "secret", "switchboard-ca", "switchboard.dev/rotate=now")
            wait_until(lambda: bundle_of(journey, "echo") != before, "both CAs in the bundle", 120)
            signed = certificate(journey)
            wait_until(lambda: certificate(journey) != signed, "a certificate of the new CA", 180)
            former = sorted(journey.pod_names("echo"))
            for name in former:  # both: a caller is answered by the pods of its zone
                journey.kube("delete", "pod", name, "--wait=false")
                journey.await_pods("echo", 2)
            wait_until(lambda: set(tally.by_instance) - set(former), "answers of pods that were born after it")
            tally.wait_for(100)
        require_no_failure(tally)
    finally:
        journey.kubectl(*system, "set", "env", OPERATOR, "SWITCHBOARD_CA_SETTLED_SECONDS=900")
        journey.kubectl(*system, "rollout", "status", OPERATOR, "--timeout=120s")


def certificate(journey: Journey) -> bytes:
    """The gateways' certificate."""
    found = journey.kubectl.find(SYSTEM, "secrets", "switchboard-gateway-tls")
    assert found is not None
    return base64.b64decode(found["data"]["tls.crt"])
