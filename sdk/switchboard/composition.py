"""Several calls as one: many at once with a bound, or one after the other."""

import asyncio
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol, Unpack, overload

from switchboard.answers import Answer
from switchboard.options import CallOptions, Target
from switchboard_wire.errors import SwitchboardError

# Calls of one `gather` that are under way at a time
GATHER_LIMIT = 100
PREVIOUS = "previous_output"


@dataclass(frozen=True, slots=True)
class Call:
    """One call of `gather`, or one step of `pipeline`.

    payload: as for `request`; in a pipeline also a function of the previous output. options: as for `request`.
    """

    target: Target
    payload: Any = None
    options: CallOptions = field(default_factory=CallOptions)


Outcome = Answer | SwitchboardError
Calls = Iterable[Call | tuple[Target, object]]


class Requests(Protocol):
    """What these need of a caller."""

    async def request(self, target: Target, payload: object = None, **options: Unpack[CallOptions]) -> Answer:
        """One message, one answer."""


@dataclass(frozen=True, slots=True)
class PipelineResult:
    """outcomes: one per step that ran, in order. answer: the last success, None when there was none."""

    outcomes: tuple[Outcome, ...]
    answer: Answer | None

    @property
    def error(self) -> SwitchboardError | None:
        """The first error, if there was one."""
        return next((outcome for outcome in self.outcomes if isinstance(outcome, SwitchboardError)), None)

    def raise_for_error(self) -> Answer:
        """The last answer. Raises the first error."""
        if self.error is not None:
            raise self.error
        if self.answer is None:
            raise ValueError("the pipeline had no steps")
        return self.answer


class Composition:
    """`gather` and `pipeline` for whoever has `request`."""

    __slots__ = ()

    @overload
    async def gather(
        self: Requests, calls: Calls, *, limit: int = GATHER_LIMIT, raise_errors: Literal[False] = False
    ) -> list[Outcome]: ...

    @overload
    async def gather(
        self: Requests, calls: Calls, *, limit: int = GATHER_LIMIT, raise_errors: Literal[True]
    ) -> list[Answer]: ...

    async def gather(
        self: Requests, calls: Calls, *, limit: int = GATHER_LIMIT, raise_errors: bool = False
    ) -> list[Outcome] | list[Answer]:
        """Make many calls, at most `limit` at a time; answers and errors in the order of the calls.

        With `raise_errors`, the first error cancels the other calls and is raised. `calls` is read as calls are made,
        so it may be long.
        """
        if limit < 1:
            raise ValueError(f"limit is {limit}: say at least 1")
        outcomes: dict[int, Outcome] = {}
        numbered = enumerate(calls)

        async def work() -> None:
            for number, call in numbered:
                step = call if isinstance(call, Call) else Call(*call)
                outcome = await _outcome(self, step.target, step.payload, step.options)
                if raise_errors and isinstance(outcome, SwitchboardError):
                    raise outcome
                outcomes[number] = outcome

        try:
            async with asyncio.TaskGroup() as group:
                for _ in range(limit):
                    group.create_task(work())
        except BaseExceptionGroup as errors:
            raise errors.exceptions[0] from None
        return [outcomes[number] for number in range(len(outcomes))]

    async def pipeline(
        self: Requests, steps: Iterable[Call | Target], payload: object = None, *, go_on: bool = False
    ) -> PipelineResult:
        """Make calls one after the other; each gets what the one before answered.

        A step without a payload of its own gets the previous output as it is; one whose payload is a mapping gets it
        as member `previous_output`; one whose payload is a function gets what that makes of it. The first step gets
        `payload`. Stops at the first error; with `go_on`, the next step gets the last output that there was.
        """
        outcomes: list[Outcome] = []
        answer: Answer | None = None
        for step in steps:
            call = step if isinstance(step, Call) else Call(step)
            previous: object = payload if answer is None else answer
            outcome = await _outcome(self, call.target, _step_payload(call.payload, previous), call.options)
            outcomes.append(outcome)
            if isinstance(outcome, Answer):
                answer = outcome
            elif not go_on:
                break
        return PipelineResult(tuple(outcomes), answer)


async def _outcome(caller: Requests, target: Target, payload: object, options: CallOptions) -> Outcome:
    try:
        return await caller.request(target, payload, **options)
    except SwitchboardError as error:
        return error


def _step_payload(own: Any, previous: object) -> object:
    if own is None:
        return previous
    value = previous.value if isinstance(previous, Answer) else previous
    if isinstance(own, Mapping):
        return {**own, PREVIOUS: value}
    if isinstance(own, Callable):  # type: ignore[arg-type]
        return own(value)
    return own
