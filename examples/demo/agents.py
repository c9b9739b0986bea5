"""The five agents of the demo. They only play at being clever: what counts here is who answers whom.

switchboard dev examples/demo/agents.py
switchboard send researcher "Hello world. The agent answers everywhere"
"""

import time

from switchboard import Call, Context, agent

WORDS = {
    "hello": "bonjour",
    "world": "monde",
    "agent": "agent",
    "the": "le",
    "answers": "répond",
    "everywhere": "partout",
}


@agent("translator", capabilities=["translate"])
async def translate(text: str) -> str:
    """Translates word by word."""
    return " ".join(WORDS.get(word, word) for word in text.lower().split())


@agent("summarizer", capabilities=["summarize"])
async def summarize(text: str) -> str:
    """Keeps the first sentence."""
    return text.split(". ")[0].rstrip(".") + "."


@agent("classifier", capabilities=["classify"])
async def classify(text: str) -> str:
    """Tells questions from statements."""
    return "question" if text.rstrip().endswith("?") else "statement"


@agent("counter", capabilities=["count"])
def count(work_ms: int) -> int:
    """Counts for so many milliseconds of CPU time; it keeps a processor busy, so it runs in a thread."""
    counted, end = 0, time.thread_time() + work_ms / 1000
    while time.thread_time() < end:
        counted += 1
    return counted


@agent("researcher", capabilities=["research"])
async def research(text: str, ctx: Context) -> dict[str, str]:
    """Asks three others, by what they can do, and puts together what they say."""
    skills = ("classify", "summarize", "translate")
    answers = await ctx.gather([Call(f"capability:{skill}", text) for skill in skills], raise_errors=True)
    return {skill: answer.text for skill, answer in zip(skills, answers, strict=True)}
