"""AutoGen's gRPC host, a worker with an echo agent, and a load through both. Runs in AutoGen's own environment.

`python -m bench.baselines.autogen.programs host|worker|load ADDRESS`
"""

import asyncio
import sys
from dataclasses import dataclass

from autogen_core import AgentId, MessageContext, RoutedAgent, message_handler, try_get_known_serializers_for_type
from autogen_ext.runtimes.grpc import GrpcWorkerAgentRuntime, GrpcWorkerAgentRuntimeHost

from bench.load import Call
from bench.loader import serve

READY_S = 60.0


@dataclass
class Text:
    content: str


class Echo(RoutedAgent):
    @message_handler
    async def on_text(self, message: Text, ctx: MessageContext) -> Text:
        return message


async def run_host(address: str) -> None:
    host = GrpcWorkerAgentRuntimeHost(address)
    host.start()
    await host.stop_when_signal(grace=1)


async def run_worker(address: str) -> None:
    runtime = GrpcWorkerAgentRuntime(host_address=address)
    await runtime.start()
    await Echo.register(runtime, "echo", lambda: Echo("echo"))
    await runtime.stop_when_signal()


async def run_load(address: str) -> None:
    runtime = GrpcWorkerAgentRuntime(host_address=address)
    runtime.add_message_serializer(try_get_known_serializers_for_type(Text))
    await runtime.start()
    target = AgentId("echo", "default")

    async def call(payload: bytes) -> object:
        text = payload.decode()
        answer = await runtime.send_message(Text(text), target)
        assert len(answer.content) == len(text)
        return answer

    await wait_for_worker(call)
    await serve([call])
    await runtime.stop()


async def wait_for_worker(call: Call) -> None:
    """Call until the worker answers: a message to an agent that is not there yet is lost without a word."""
    async with asyncio.timeout(READY_S):
        while True:
            try:
                async with asyncio.timeout(1):
                    await call(b"x")
                    return
            except TimeoutError:
                continue


if __name__ == "__main__":
    program = {"host": run_host, "worker": run_worker, "load": run_load}[sys.argv[1]]
    asyncio.run(program(sys.argv[2]))
