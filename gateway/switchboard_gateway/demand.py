"""What this gateway tells operators of each AgentNode: how many calls wait for it and are under way."""

from collections import Counter

from switchboard_gateway.core import Core
from switchboard_wire.internal_v1.registry_pb2 import Demand, NodeDemand

Pool = tuple[str, str]  # namespace, AgentNode


class DemandMeter:
    """Reads the core for one listener: each report lists the AgentNodes with calls now or since the report before."""

    def __init__(self, core: Core) -> None:
        self._core = core
        self._number = 0
        self._seen: dict[tuple[str, str], int] = {}  # calls of each Agent at the last report

    def read(self) -> Demand:
        """The next report. A call for an Agent of several AgentNodes waits for each of them."""
        core = self._core
        held: Counter[Pool] = Counter()
        in_flight: Counter[Pool] = Counter()
        called: set[Pool] = set()
        for route in core.held.routes():
            policy, (count, _) = route.policy, core.held.waiting(route)
            for node in policy.nodes or ():
                held[policy.namespace, node] += count
        for instance in core.table.instances.values():
            if instance.in_flight:
                in_flight[instance.namespace, instance.node] += instance.in_flight
        for key, route in core.table.routes.items():
            if self._seen.get(key) != route.calls:
                self._seen[key] = route.calls
                if route.calls:
                    called.update((key[0], node) for node in route.policy.nodes or ())
        for gone in self._seen.keys() - core.table.routes.keys():
            del self._seen[gone]
        self._number += 1
        nodes = [
            NodeDemand(namespace=pool[0], node=pool[1], held=held[pool], in_flight=in_flight[pool])
            for pool in sorted(called | held.keys() | in_flight.keys())
        ]
        return Demand(number=self._number, nodes=nodes)
