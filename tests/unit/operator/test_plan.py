"""What a plan writes: everything at first, nothing when all is as it should be, and only what has changed."""

import dataclasses
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from operator_objects import (
    AROUND,
    CONTEXT,
    come_true,
    is_autoscaled,
    make_agent,
    make_child,
    make_node,
    make_snapshot,
    replicas_of,
)

from switchboard_operator.assignments import is_same_work, read_assignments
from switchboard_operator.objects import ACCOUNT, AUTOSCALER, CHILD_KINDS, CONFIG_MAP, DEPLOYMENT, Resource
from switchboard_operator.plan import (
    Action,
    Apply,
    Context,
    Remove,
    Scale,
    plan_node,
    plan_trust,
    waits_to_assign,
    waits_to_roll,
)
from switchboard_operator.pod import Images
from switchboard_operator.shrink import Mark
from switchboard_operator.snapshot import NodeSnapshot

scalings = st.one_of(
    st.none(),
    st.builds(
        lambda low, more: {"minReplicas": low, "maxReplicas": low + more, "cpuUtilization": 70},
        st.integers(0, 5),
        st.integers(1, 5),
    ),
)
specs = st.fixed_dictionaries(
    {
        "replicas": st.integers(0, 12),
        "concurrency": st.integers(1, 9),
        "spread": st.sampled_from(["Zone", "Node", "None"]),
    },
    optional={
        "autoscaling": scalings,
        "source": st.just({"configMap": "code"}),
        "drainSeconds": st.integers(0, 60),
        "template": st.just({"spec": {"containers": [{"name": "agent", "image": "mine:1"}]}}),
    },
)


def planned(snapshot: NodeSnapshot, context: Context = CONTEXT) -> list[str]:
    """The plan in a few words."""
    return [_words(action) for action in plan_node(snapshot, context)]


def _words(action: Action) -> str:
    match action:
        case Apply():
            return f"apply {action.kind}"
        case Remove():
            return f"remove {action.kind}"
        case Scale():
            return f"scale {action.replicas}"
        case Mark():
            return f"mark {action.pod.name}" if action.cost else f"unmark {action.pod.name}"


def with_spec(snapshot: NodeSnapshot, **spec: Any) -> NodeSnapshot:
    """The snapshot after a user's edit; None takes a field out."""
    edited = {key: value for key, value in {**snapshot.node.spec, **spec}.items() if value is not None}
    return dataclasses.replace(snapshot, node=dataclasses.replace(snapshot.node, spec=edited))


def settled(node: Resource | None = None, *agents: Resource) -> NodeSnapshot:
    """An AgentNode that has all its children."""
    snapshot = make_snapshot(node, agents=agents)
    return come_true(snapshot, plan_node(snapshot, CONTEXT))


def test_a_new_agentnode_gets_the_assignments_before_the_pods() -> None:
    assert planned(make_snapshot()) == [
        "apply ServiceAccount",
        "apply ConfigMap",
        "apply Service",
        "apply PodDisruptionBudget",
        "apply Deployment",
    ]


@settings(max_examples=40, deadline=None)
@given(spec=specs)
def test_a_plan_that_came_true_leaves_nothing_to_do(spec: dict[str, Any]) -> None:
    snapshot = make_snapshot(make_node(**spec), agents=[make_agent()])
    after = come_true(snapshot, plan_node(snapshot, CONTEXT))
    assert planned(after) == []


@settings(max_examples=40, deadline=None)
@given(before=specs, after=specs)
def test_any_edit_converges_in_one_plan_and_the_next_is_empty(before: dict[str, Any], after: dict[str, Any]) -> None:
    snapshot = make_snapshot(make_node(**before))
    snapshot = come_true(snapshot, plan_node(snapshot, CONTEXT))
    edited = dataclasses.replace(snapshot, node=make_node(**after))
    edited = come_true(edited, plan_node(edited, CONTEXT))
    assert planned(edited) == []
    assert is_autoscaled(edited) == bool(after.get("autoscaling"))


@settings(max_examples=40, deadline=None)
@given(spec=specs, running=st.integers(0, 12))
def test_the_pods_stay_within_the_bounds_of_autoscaling_and_else_are_what_the_user_says(
    spec: dict[str, Any], running: int
) -> None:
    first = make_snapshot(make_node(replicas=running))
    first = come_true(first, plan_node(first, CONTEXT))
    second = dataclasses.replace(first, node=make_node(**spec))
    second = come_true(second, plan_node(second, CONTEXT))
    scaling = spec.get("autoscaling")
    if not scaling:
        assert replicas_of(second) == spec["replicas"]
    else:
        assert replicas_of(second) == max(scaling["minReplicas"], min(scaling["maxReplicas"], running))
        assert second.node.spec["replicas"] == replicas_of(second)


@pytest.mark.parametrize(
    ("edit", "words"),
    [
        pytest.param({"weight": 50}, [], id="the weight is the gateways' affair"),
        pytest.param({"replicas": 5}, ["apply Deployment"], id="replicas touch the Deployment alone"),
        pytest.param({"concurrency": 4}, ["apply ConfigMap"], id="concurrency reaches the sidecars without a restart"),
        pytest.param({"drainSeconds": 60}, ["apply ConfigMap", "apply Deployment"], id="drain time is the pods' too"),
        pytest.param(
            {"replicas": None, "autoscaling": {"minReplicas": 1, "maxReplicas": 9}},
            ["scale 2", "apply HorizontalPodAutoscaler"],
            id="autoscaling begins with the pods that run, told to scale before the HPA is made",
        ),
    ],
)
def test_an_edit_writes_what_it_changes(edit: dict[str, Any], words: list[str]) -> None:
    edited = with_spec(settled(make_node(replicas=2)), **edit)
    # As the API server's default does when the field is taken out
    edited = with_spec(edited, replicas=edited.node.spec.get("replicas", 1))
    assert planned(edited) == words


def test_autoscaling_off_takes_the_hpa_away_before_all_else() -> None:
    snapshot = settled(make_node(replicas=4, autoscaling={"minReplicas": 2, "maxReplicas": 9}))
    assert planned(with_spec(snapshot, autoscaling=None, replicas=7)) == [f"remove {AUTOSCALER}", "apply Deployment"]


def test_the_default_of_one_replica_does_not_shrink_an_autoscaled_pool() -> None:
    snapshot = settled(make_node(replicas=6, autoscaling={"minReplicas": 2, "maxReplicas": 9}))
    assert planned(with_spec(snapshot, replicas=1)) == ["scale 6"]


@pytest.mark.parametrize("kind", CHILD_KINDS)
def test_a_child_that_is_lost_is_made_again(kind: str) -> None:
    snapshot = settled(make_node(autoscaling={"minReplicas": 1, "maxReplicas": 3}))
    children = {name: child for name, child in snapshot.children.items() if name != kind}
    assert planned(dataclasses.replace(snapshot, children=children)) == [f"apply {kind}"]


def test_a_change_by_somebody_else_is_undone_and_an_addition_is_let_be() -> None:
    snapshot = settled()
    deployment = snapshot.children[DEPLOYMENT]

    def with_deployment(**spec: Any) -> NodeSnapshot:
        changed = dataclasses.replace(deployment, spec={**deployment.spec, **spec})
        return dataclasses.replace(snapshot, children={**snapshot.children, DEPLOYMENT: changed})

    assert planned(with_deployment(replicas=9)) == ["apply Deployment"]
    assert planned(with_deployment(progressDeadlineSeconds=600)) == []


def test_a_child_stored_in_other_words_is_applied_once() -> None:
    snapshot = settled()
    deployment = snapshot.children[DEPLOYMENT]
    stored = dataclasses.replace(deployment, spec={**deployment.spec, "revisionHistoryLimit": "3"})
    stored_snapshot = dataclasses.replace(snapshot, children={**snapshot.children, DEPLOYMENT: stored})
    assert planned(stored_snapshot) == ["apply Deployment"]
    digest = stored.meta.annotations["switchboard.dev/applied"]
    known = dataclasses.replace(CONTEXT, settled={DEPLOYMENT: (digest, str(stored.meta.generation))})
    assert planned(stored_snapshot, known) == []


def test_a_new_release_of_the_operator_restarts_no_pod_until_the_template_changes() -> None:
    snapshot = settled(make_node(replicas=2))
    newer = Context(Images(sidecar="sidecar:2", host="host:2"), AROUND)
    assert planned(snapshot, newer) == []
    scaled = with_spec(snapshot, replicas=3)
    assert _images(come_true(scaled, plan_node(scaled, newer))) == ["sidecar:1", "host:1"]
    edited = with_spec(snapshot, source={"configMap": "code"})
    assert _images(come_true(edited, plan_node(edited, newer))) == ["sidecar:2", "host:2"]


def test_a_rolling_pool_takes_the_new_release_at_once() -> None:
    snapshot = settled(make_node(sidecar={"upgradePolicy": "Rolling"}))
    newer = Context(Images(sidecar="sidecar:2", host="host:2"), AROUND)
    assert _images(come_true(snapshot, plan_node(snapshot, newer))) == ["sidecar:2", "host:2"]


def _images(snapshot: NodeSnapshot) -> list[str]:
    pod = snapshot.children[DEPLOYMENT].spec["template"]["spec"]
    return [pod["initContainers"][0]["image"], pod["containers"][0]["image"]]


def _generation(snapshot: NodeSnapshot) -> int:
    assignments = read_assignments(snapshot.children[CONFIG_MAP])
    assert assignments is not None
    return assignments.generation


def test_generations_grow_with_the_assignments_and_beyond_what_sidecars_have() -> None:
    snapshot = settled()
    assert _generation(snapshot) == 1
    bound = dataclasses.replace(snapshot, agents=(make_agent(),))
    plan = plan_node(bound, CONTEXT)
    config_map = next(action.manifest for action in plan if isinstance(action, Apply))
    assert config_map["metadata"]["resourceVersion"] == snapshot.children[CONFIG_MAP].meta.resource_version
    assert _generation(come_true(bound, plan)) == 2
    reported = dataclasses.replace(CONTEXT, reported_generation=41)
    assert _generation(come_true(bound, plan_node(bound, reported))) == 42


def test_tls_is_turned_on_with_its_bundle_before_the_pods_and_plain_text_ends_without_a_restart() -> None:
    snapshot = settled(make_node())
    turning = dataclasses.replace(AROUND, tls=True, plain_text=True)
    context = dataclasses.replace(CONTEXT, around=turning, ca_bundle="-----BEGIN CERTIFICATE-----")
    assert planned(snapshot, context) == ["apply ConfigMap", "apply Deployment"]
    turned = come_true(snapshot, plan_node(snapshot, context))
    assignments = read_assignments(turned.children[CONFIG_MAP])
    assert assignments is not None
    assert (assignments.ca_bundle, assignments.plain_text) == ("-----BEGIN CERTIFICATE-----", True)
    done = dataclasses.replace(context, around=dataclasses.replace(turning, plain_text=False))
    assert planned(turned, done) == ["apply ConfigMap"]


def test_assignments_that_must_wait_stay_as_they_are_and_nothing_else_waits() -> None:
    snapshot = settled()
    bound = with_spec(dataclasses.replace(snapshot, agents=(make_agent(),)), replicas=7)
    assert waits_to_assign(bound, CONTEXT)
    assert planned(bound, dataclasses.replace(CONTEXT, may_assign=False)) == ["apply Deployment"]
    assert planned(bound) == ["apply ConfigMap", "apply Deployment"]
    assert not waits_to_assign(snapshot, CONTEXT), "they say what they should"
    trusting = dataclasses.replace(CONTEXT, ca_bundle="-----BEGIN CERTIFICATE-----")
    assert not waits_to_assign(bound, trusting), "what pods are to trust is there before they need it"
    assert not waits_to_assign(make_snapshot(), CONTEXT), "the first ones never wait"


def trusting(bundle: str = "old") -> NodeSnapshot:
    """An AgentNode that hosts one Agent and whose pods trust this."""
    snapshot = make_snapshot(agents=[make_agent()])
    return come_true(snapshot, plan_node(snapshot, dataclasses.replace(CONTEXT, ca_bundle=bundle)))


def test_a_new_ca_is_told_to_a_pool_for_which_nothing_else_is_done() -> None:
    snapshot = with_spec(dataclasses.replace(trusting(), agents=()), replicas=7, concurrency=1)
    held = snapshot.children[CONFIG_MAP]
    [action] = plan_trust(snapshot, "old and new", 5)
    assert isinstance(action, Apply)
    assert action.manifest["metadata"]["resourceVersion"] == held.meta.resource_version
    told = come_true(snapshot, [action])
    before, after = read_assignments(held), read_assignments(told.children[CONFIG_MAP])
    assert before is not None
    assert after is not None
    assert (after.ca_bundle, after.generation) == ("old and new", 6)
    assert is_same_work(before, after, but_for=["ca_bundle"]), "its Agents and its concurrency must stay"
    assert plan_trust(told, "old and new", 6) == []
    continued = dataclasses.replace(CONTEXT, ca_bundle="old and new")
    assert planned(dataclasses.replace(told, node=make_node(), agents=(make_agent(),)), continued) == []


def test_pods_that_run_hear_of_a_new_ca_before_anything_that_may_be_refused() -> None:
    """A refusal ends a run: a ServiceAccount that a policy refuses must not cut them off."""
    snapshot = come_true(make_snapshot(), plan_node(make_snapshot(), CONTEXT))
    without_account = {kind: child for kind, child in snapshot.children.items() if kind != ACCOUNT}
    renewed = dataclasses.replace(CONTEXT, ca_bundle="old and new")
    plan = plan_node(dataclasses.replace(snapshot, children=without_account), renewed)
    assert [action.kind for action in plan if isinstance(action, Apply)][:2] == [CONFIG_MAP, ACCOUNT]


def without_config_map(snapshot: NodeSnapshot) -> NodeSnapshot:
    children = {kind: child for kind, child in snapshot.children.items() if kind != CONFIG_MAP}
    return dataclasses.replace(snapshot, children=children)


def with_config_map(snapshot: NodeSnapshot, **changes: Any) -> NodeSnapshot:
    held = snapshot.children[CONFIG_MAP]
    changed = dataclasses.replace(held, meta=dataclasses.replace(held.meta, **changes))
    return dataclasses.replace(snapshot, children={**snapshot.children, CONFIG_MAP: changed})


@pytest.mark.parametrize(
    ("snapshot", "bundle"),
    [
        pytest.param(trusting("same"), "same", id="the CA is the one that they trust"),
        pytest.param(trusting("old"), "", id="nothing is TLS any more"),
        pytest.param(trusting(""), "new", id="TLS begins with new pods"),
        pytest.param(without_config_map(trusting()), "new", id="there are no assignments"),
        pytest.param(with_config_map(trusting(), owner_uid="other"), "new", id="a former AgentNode's"),
        pytest.param(with_config_map(trusting(), owner_kind="", owner_uid=""), "new", id="somebody else's"),
    ],
)
def test_trust_is_not_touched_where(snapshot: NodeSnapshot, bundle: str) -> None:
    assert plan_trust(snapshot, bundle, 0) == []


def test_a_config_map_that_somebody_spoilt_is_written_anew() -> None:
    snapshot = settled(None, make_agent())
    spoilt = make_child(CONFIG_MAP, snapshot.node, "writers-assignments", data={"assignments.json": "no json"})
    broken = dataclasses.replace(snapshot, children={**snapshot.children, CONFIG_MAP: spoilt})
    healed = come_true(broken, plan_node(broken, dataclasses.replace(CONTEXT, reported_generation=3)))
    assert _generation(healed) == 4


def test_a_rolling_pool_waits_for_its_turn() -> None:
    snapshot = settled(make_node(sidecar={"upgradePolicy": "Rolling"}))
    newer = Context(Images(sidecar="sidecar:2", host="host:2"), AROUND)
    assert waits_to_roll(snapshot, newer)
    assert planned(snapshot, dataclasses.replace(newer, may_roll=False)) == []
    rolled = come_true(snapshot, plan_node(snapshot, newer))
    assert not waits_to_roll(rolled, newer)
    assert not waits_to_roll(settled(), newer), "a pool of the default policy never waits"
