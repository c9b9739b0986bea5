"""One event, several agents that listen: who publishes does not know them. See the README beside."""

from dataclasses import dataclass

from switchboard import Context, agent


@dataclass
class Order:
    item: str
    count: int = 1


@agent(topics=["orders.placed"])
async def warehouse(order: Order) -> str:
    """Packs what was ordered."""
    return f"{order.count} x {order.item} packed"


@agent(topics=["orders.*"])
async def ledger(order: Order, ctx: Context) -> int:
    """Counts what each customer has ordered: the event's source is the key."""
    ctx.state["items"] = ctx.state.get("items", 0) + order.count
    return int(ctx.state["items"])


@agent
async def shop(order: Order, ctx: Context) -> list[str]:
    """Takes an order, and tells everyone whom it concerns."""
    deliveries = await ctx.publish("orders.placed", order, source=ctx.key)
    return [f"{delivery.agent.type}: {delivery.error or delivery.value}" for delivery in deliveries]
