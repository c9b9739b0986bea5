"""Operator and gateway decide by the same piece where an Agent runs and who has a type; they must read alike, too."""

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from switchboard.resources import Agent, LabelSelector
from switchboard_gateway import binding as gateway
from switchboard_operator import binding as operator
from switchboard_operator.objects import read_resource

KEYS, VALUES = st.sampled_from("abc"), st.sampled_from("123")
LABELS = st.dictionaries(KEYS, VALUES)
REQUIREMENTS = st.one_of(
    st.fixed_dictionaries(
        {
            "key": KEYS,
            "operator": st.sampled_from(["In", "NotIn"]),
            "values": st.lists(VALUES, min_size=1, max_size=3, unique=True),
        }
    ),
    st.fixed_dictionaries({"key": KEYS, "operator": st.sampled_from(["Exists", "DoesNotExist"])}),
)
SELECTORS = st.fixed_dictionaries(
    {"matchLabels": LABELS, "matchExpressions": st.lists(REQUIREMENTS, max_size=3)}
).filter(lambda selector: bool(selector["matchLabels"] or selector["matchExpressions"]))


@given(SELECTORS, LABELS)
def test_a_selector_selects_the_same_for_both(selector: dict[str, Any], labels: dict[str, str]) -> None:
    assert operator.selector_of(selector) == gateway.selector_of(LabelSelector.from_wire(selector))
    assert operator.selects(selector, labels) == gateway.selector_of(LabelSelector.from_wire(selector)).selects(labels)


@st.composite
def agents(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Agents of one namespace, some of one type and version, some made in the same second."""
    names = draw(st.lists(st.sampled_from(["ann", "bob", "cyd", "dan"]), unique=True, min_size=1))
    return [
        {
            "apiVersion": "switchboard.dev/v1alpha1",
            "kind": "Agent",
            "metadata": {
                "name": name,
                "namespace": "default",
                "uid": draw(st.uuids().map(str)),
                "creationTimestamp": draw(st.sampled_from(["2026-01-01T00:00:00Z", "2026-01-01T00:00:01Z"])),
            },
            "spec": {
                "type": draw(st.sampled_from(["chat", "news"])),
                "version": draw(st.sampled_from(["1.0.0", "2.0.0"])),
                "nodeRef": {"name": "pool"},
            },
        }
        for name in names
    ]


@given(agents())
def test_the_same_agents_lose_their_type(manifests: list[dict[str, Any]]) -> None:
    models = [Agent.from_wire(manifest, prune=True) for manifest in manifests]
    resources = [read_resource("Agent", manifest) for manifest in manifests]
    lost = set()
    for resource in resources:
        claims = [
            operator.claim_of(other) for other in resources if operator.type_of(other) == operator.type_of(resource)
        ]
        if operator.rival_of(resource, claims) is not None:
            lost.add(resource.meta.name)
    won = gateway.winners(zip(models, [operator.claim_of(resource) for resource in resources], strict=True))
    assert lost == {agent.metadata.name for agent in models} - {agent.metadata.name for agent in won}


@given(agents())
def test_both_claim_the_same(manifests: list[dict[str, Any]]) -> None:
    for manifest in manifests:
        agent = Agent.from_wire(manifest, prune=True)
        assert gateway.claim_of(agent, manifest["metadata"]) == operator.claim_of(read_resource("Agent", manifest))
        assert gateway.placement_of(agent).node == operator.node_named_by(read_resource("Agent", manifest))
