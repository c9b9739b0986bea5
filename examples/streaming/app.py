"""A summarizer that answers while it works: every `yield` reaches the caller at once.

switchboard dev examples/streaming/app.py
switchboard send summarizer --stream "It rained. It rained for days. Then the sun came out, and the snails went home."
"""

import asyncio
import re
from collections import Counter
from collections.abc import AsyncIterator

from switchboard import Context, agent

SENTENCE = re.compile(r"[^.!?]+[.!?]?")
WORD = re.compile(r"[a-z']{4,}")


@agent("summarizer", capabilities=["summarize"], concurrency=8)
async def summarize(text: str, ctx: Context) -> AsyncIterator[str]:
    """Picks the sentences that use a text's most frequent words, and sends them word by word."""
    keep = int(ctx.config.get("sentences", 2))
    for sentence in pick_sentences(text, keep):
        for word in sentence.split():
            yield f"{word} "
            await asyncio.sleep(0.02)  # as a language model would


def pick_sentences(text: str, keep: int) -> list[str]:
    """The `keep` sentences with the highest word frequencies, in the order of the text."""
    sentences = [match.group().strip() for match in SENTENCE.finditer(text)]
    frequency = Counter(WORD.findall(text.lower()))

    def score(sentence: str) -> float:
        words = WORD.findall(sentence.lower())
        return sum(frequency[word] for word in words) / (len(words) or 1)

    best = sorted(sentences, key=score, reverse=True)[:keep]
    return [sentence for sentence in sentences if sentence in best]
