"""A front desk that asks specialists: it names what it needs, not who does it.

switchboard dev examples/router/app.py
switchboard send desk --json '{"question": "What is 6 times 7, and who wrote Emma?"}'
"""

import re

from pydantic import BaseModel

from switchboard import Answer, Call, Context, agent


class Question(BaseModel):
    question: str


class Reply(BaseModel):
    answers: dict[str, str]
    failed: dict[str, str] = {}


TOPICS = {"arithmetic": re.compile(r"\d"), "literature": re.compile(r"\b(wrote|author|novel)\b")}
NUMBERS = re.compile(r"(\d+)\s*(times|plus|minus)\s*(\d+)")
BOOKS = {"emma": "Jane Austen", "dubliners": "James Joyce", "middlemarch": "George Eliot"}


@agent
async def desk(asked: Question, ctx: Context) -> Reply:
    """Asks every specialist whose topic is in the question, all at once."""
    topics = [topic for topic, pattern in TOPICS.items() if pattern.search(asked.question)]
    outcomes = await ctx.gather(Call(f"capability:{topic}", asked.question) for topic in topics)
    reply = Reply(answers={})
    for topic, outcome in zip(topics, outcomes, strict=True):
        if isinstance(outcome, Answer):
            reply.answers[topic] = outcome.text
        else:
            reply.failed[topic] = str(outcome)
    return reply


@agent(capabilities=["arithmetic"])
def calculator(question: str) -> str:
    """Sums, differences and products of two numbers."""
    found = NUMBERS.search(question)
    if found is None:
        return "I see no sum in that."
    left, right = int(found[1]), int(found[3])
    return str({"times": left * right, "plus": left + right, "minus": left - right}[found[2]])


@agent(capabilities=["literature"])
async def librarian(question: str) -> str:
    """Who wrote what."""
    books = [author for title, author in BOOKS.items() if title in question.lower()]
    return books[0] if books else "I do not know that book."
