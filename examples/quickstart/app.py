from switchboard import agent


@agent
async def summarize(text: str) -> str:
    """The first sentence of a text and how many more there are."""
    first, *others = text.split(". ")
    return f"{first.rstrip('.')}. (and {len(others)} more)" if others else first
