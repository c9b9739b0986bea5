"""Does what a plan says, in order, and tells why it could not."""

import logging
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Final

from switchboard_kube import NAMESPACE_TERMINATING, Conflict, Forbidden, Invalid, NotFound
from switchboard_operator.checks import Fault, conflict_with, is_foreign, is_leftover
from switchboard_operator.objects import CHILD_KINDS, Resource, read_resource
from switchboard_operator.plan import Action, Apply, Remove, Scale, version_of_child
from switchboard_operator.shrink import Mark
from switchboard_operator.writing import Writer
from switchboard_wire import names

log = logging.getLogger(__name__)

# A refusal may come from a policy or a quota that has changed since
REFUSAL_HOLDS_S: Final = 60.0
# The object goes with its namespace; its event ends this
TERMINATING_S: Final = 10.0

Name = tuple[str, str, str]


class Later(Exception):
    """Something must happen first, which will; look again after `delay_s`."""

    def __init__(self, reason: str, delay_s: float) -> None:
        super().__init__(reason)
        self.delay_s = delay_s


@dataclass(slots=True)
class Executor:
    """Carries out plans. Remembers which manifests were refused, so as not to send them again and again."""

    writer: Writer
    _refused: dict[Name, dict[str, tuple[Fault, float]]] = field(default_factory=dict)
    _settled: dict[Name, tuple[str, str]] = field(default_factory=dict)

    def settled(self, node: Resource) -> dict[str, tuple[str, str]]:
        """By kind, the (digest, version) of children which are stored in words other than ours."""
        found = {kind: self._settled.get((kind, node.meta.namespace, node.meta.name)) for kind in CHILD_KINDS}
        return {kind: held for kind, held in found.items() if held is not None}

    def has_changed(self, observed: Resource | None, node: Resource, before: Mapping[str, tuple[str, str]]) -> bool:
        """Whether a child was applied since this was observed and `before` was settled, and is another now."""
        if observed is None:
            return False
        settled = self.settled(node).get(observed.kind)
        if settled is None or settled == before.get(observed.kind):
            return False
        return settled[1] != version_of_child(observed)

    def is_refused(self, kind: str, node: Resource) -> bool:
        """Whether this child was refused since it was last written."""
        return (kind, node.meta.namespace, node.meta.name) in self._refused

    def forget(self, namespace: str, name: str) -> None:
        """The object of this name is gone."""
        for kind in (*CHILD_KINDS, names.AGENT_NODE):
            self._refused.pop((kind, namespace, name), None)
            self._settled.pop((kind, namespace, name), None)

    async def run(self, actions: list[Action], node: Resource, now: float) -> Fault | None:
        """Carry out all but what needs what was refused. Raises Later, NotLeading, ApiError.

        The first fault is what the user must mend.
        """
        first: Fault | None = None
        for action in actions:
            match action:
                case Scale():
                    meta = node.meta
                    await self.writer.scale(meta.namespace, meta.name, action.replicas, action.resource_version)
                case Remove():
                    await self.writer.delete(action.kind, node.meta.namespace, action.name, action.uid)
                case Mark():
                    await self._mark(action)
                case Apply():
                    fault = await self._apply(action, node, now)
                    first = first or fault
                    if fault and (action.is_new or action.is_needed):
                        return first
        return first

    async def _apply(self, action: Apply, node: Resource, now: float) -> Fault | None:
        metadata = action.manifest["metadata"]
        digest = metadata["annotations"][names.APPLIED_ANNOTATION]
        key = (action.kind, node.meta.namespace, node.meta.name)
        refused = {of: held for of, held in self._refused.get(key, {}).items() if now - held[1] < REFUSAL_HOLDS_S}
        if digest in refused:
            return refused[digest][0]
        if action.is_new and (fault_or_none := await self._stranger(action, node)):
            return fault_or_none
        try:
            answer = await self.writer.apply(action.manifest)
        except (Invalid, Forbidden) as error:
            if error.reason == NAMESPACE_TERMINATING:
                raise Later(f"namespace {node.meta.namespace} is being deleted", TERMINATING_S) from error
            fault = Fault("InvalidTemplate" if isinstance(error, Invalid) else "Forbidden", f"{action.kind}: {error}")
            self._refused[key] = refused | {digest: (fault, now)}
            log.info("refused", extra={"kind": action.kind, "node": f"{key[1]}/{key[2]}", "error": str(error)[:512]})
            return fault
        self._refused.pop(key, None)
        self._settled[key] = (digest, version_of_child(read_resource(action.kind, answer)))
        return None

    async def _mark(self, mark: Mark) -> None:
        """A pod that is gone, or may not be marked, must not keep the pool from shrinking."""
        pod = mark.pod
        try:
            await self.writer.annotate_pod(
                pod.namespace, pod.name, pod.uid, (names.DELETION_COST_ANNOTATION, mark.cost)
            )
        except (NotFound, Conflict):
            return
        except (Invalid, Forbidden) as error:
            log.warning(
                "a pod cannot be marked", extra={"pod": f"{pod.namespace}/{pod.name}", "error": str(error)[:512]}
            )

    async def _stranger(self, action: Apply, node: Resource) -> Fault | None:
        """The watches see only what has our label: ask whether somebody else has the name."""
        name = action.manifest["metadata"]["name"]
        try:
            found = read_resource(action.kind, await self.writer.read(action.kind, node.meta.namespace, name))
        except NotFound:
            return None
        if is_leftover(found, node) or (found.meta.deleting and found.meta.owner_uid != node.meta.uid):
            raise Later(f"{action.kind} {name} of a former {node.kind} is being deleted", 1.0)
        return conflict_with(action.kind, name) if is_foreign(found, node) else None
