"""How long callers wait for a pool that sleeps: from the first call that waits to the first instance for it."""

from collections.abc import Callable, Collection

from switchboard_gateway.instances import Route
from switchboard_runtime.metrics import Histogram

Pool = tuple[str, str]  # namespace, AgentNode


class ColdStarts:
    """sleepers: the AgentNodes that may go to zero instances. seconds: the metric, by namespace and Agent."""

    def __init__(self, seconds: dict[tuple[str, ...], Histogram]) -> None:
        self.sleepers: Collection[Pool] = ()
        self._seconds = seconds
        self._since: dict[Route, float] = {}

    def waits(self, route: Route, now: float) -> None:
        """A call waits, because the Agent has no instance."""
        policy = route.policy
        if route not in self._since and any((policy.namespace, node) in self.sleepers for node in policy.nodes or ()):
            self._since[route] = now

    def settle(self, waits: Callable[[Route], bool], now: float) -> None:
        """Look at what became of those begun: there is an instance, or nobody waits any more."""
        for route, since in list(self._since.items()) if self._since else ():
            if route.instances and waits(route):
                key = (route.policy.namespace, route.policy.name)
                self._seconds.setdefault(key, Histogram()).observe(now - since)
            if route.instances or not waits(route):
                del self._since[route]
