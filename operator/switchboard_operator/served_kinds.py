"""Whether the API server knows both kinds: kopf looks once when it begins, and passes over what is not there."""

import asyncio
from typing import Final

from switchboard_kube import AGENT_NODES, AGENTS, ApiError, NotFound
from switchboard_kube.client import ApiServer
from switchboard_wire import names

_PATH: Final = f"/apis/{names.GROUP}/{names.VERSION}"
_PLURALS: Final = {AGENT_NODES.plural, AGENTS.plural}


class ServedKinds:
    """Asks with the connection of one event loop, for the use of another."""

    def __init__(self, kube: ApiServer, loop: asyncio.AbstractEventLoop) -> None:
        self._kube, self._loop = kube, loop

    async def are_there(self) -> bool:
        """True also when the API server does not answer, which kopf itself notices. From a loop other than that one."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._ask(), self._loop))

    async def _ask(self) -> bool:
        try:
            told = await self._kube.raw_get(_PATH)
        except NotFound:
            return False
        except ApiError:
            return True
        return {found["name"] for found in told["resources"]} >= _PLURALS
