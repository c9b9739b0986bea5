"""State by key: counter/ada and counter/bob count apart.

switchboard dev examples/counter/app.py
switchboard send counter/ada --json '{"add": 2}'
switchboard send counter/ada --json '{}'

The state is a cache of one instance: it is lost when the key moves to another. Keep what must last in a database.
"""

from dataclasses import dataclass

from switchboard import Context, Refusal, agent


@dataclass
class Change:
    add: int = 1


@dataclass
class Count:
    key: str
    total: int


@agent
async def counter(change: Change, ctx: Context) -> Count:
    """Adds to the total of one key."""
    if not ctx.key:
        raise Refusal("say whose count it is: send to counter/NAME", code="VALIDATION_FAILED")
    ctx.state["total"] = ctx.state.get("total", 0) + change.add
    return Count(ctx.key, ctx.state["total"])
