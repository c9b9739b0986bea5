"""One agent with several methods, each with types of its own, called by name.

switchboard dev examples/methods/app.py
switchboard send orders/ada --method place --json '{"item": "tea", "count": 2}'
switchboard send orders/ada --method total
"""

from dataclasses import dataclass

from switchboard import Context, Refusal, agent, method


@dataclass
class Order:
    item: str
    count: int = 1


@dataclass
class Receipt:
    number: int
    item: str


@agent
class Orders:
    """Takes orders, one list per customer."""

    @method
    async def place(self, order: Order, ctx: Context) -> Receipt:
        if order.count < 1:
            raise Refusal("count: order at least one", field="count")
        placed = ctx.state.setdefault("placed", [])
        placed.append(order)
        return Receipt(len(placed), order.item)

    @method
    async def total(self, ctx: Context) -> int:
        return sum(order.count for order in ctx.state.get("placed", []))
