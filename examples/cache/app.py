"""A cache in each instance, and one message that empties all of them.

switchboard dev examples/cache/app.py
switchboard send lookup Emma
switchboard send refresh ""
"""

import asyncio

from switchboard import Context, agent

SHELF = {"emma": "Jane Austen", "dubliners": "James Joyce", "middlemarch": "George Eliot"}


@agent
class Lookup:
    """Who wrote a book; what was looked up once is kept in this instance."""

    def __init__(self) -> None:
        self.known: dict[str, str] = {}

    async def handle(self, title: str) -> str:
        if title == "*forget*":
            forgotten = len(self.known)
            self.known.clear()
            return f"{forgotten} forgotten"
        if title not in self.known:
            await asyncio.sleep(0.1)  # the slow way to the shelf
            self.known[title] = SHELF.get(title.lower(), "I do not know that book.")
        return self.known[title]


@agent
async def refresh(_: str, ctx: Context) -> dict[str, str]:
    """Has every instance of lookup forget what it knows; says what each answered."""
    deliveries = await ctx.broadcast("lookup", "*forget*")
    return {delivery.instance: str(delivery.error or delivery.value) for delivery in deliveries}
