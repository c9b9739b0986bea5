"""By what callers find an agent: capabilities and topics, as `@agent` is told them."""

import re
from collections.abc import Iterable
from typing import Final

from switchboard_wire.names import CAPABILITY, MAX_CAPABILITY_LENGTH, MAX_TOPIC_LENGTH, SEMVER, TOPIC

DEFAULT_VERSION: Final = "1.0.0"


def read_capabilities(texts: Iterable[str]) -> tuple[tuple[str, str], ...]:
    """`summarize` or `summarize@1.2.0` → (name, version). Raises ValueError."""
    return tuple(_capability(text) for text in _listed("capabilities", texts))


def read_topics(texts: Iterable[str]) -> tuple[tuple[str, bool], ...]:
    """`news` → (news, False); `news.*`, every topic that begins with `news.` → (news., True). Raises ValueError."""
    return tuple(_topic(text) for text in _listed("topics", texts))


def _listed(option: str, texts: Iterable[str]) -> Iterable[str]:
    if isinstance(texts, str):  # which would count as a list of its letters
        raise ValueError(f'{option}={texts!r}: write a list, {option}=["{texts}"]')
    return dict.fromkeys(texts)


def _capability(text: str) -> tuple[str, str]:
    name, at, version = text.partition("@")
    if not re.fullmatch(CAPABILITY, name) or len(name) > MAX_CAPABILITY_LENGTH:
        raise ValueError(
            f"capability {text[:80]!r}: its name must be at most {MAX_CAPABILITY_LENGTH} of a-z, 0-9 and -_., "
            "a letter or digit first and last"
        )
    if at and not re.fullmatch(SEMVER, version):
        raise ValueError(f"capability {text[:80]!r}: after @ comes a semantic version, three numbers such as 1.2.0")
    return name, version or DEFAULT_VERSION


def _topic(text: str) -> tuple[str, bool]:
    topic = text.removesuffix("*")
    if not re.fullmatch(TOPIC, topic) or len(topic) > MAX_TOPIC_LENGTH:
        raise ValueError(
            f"topic {text[:80]!r}: write at most {MAX_TOPIC_LENGTH} letters, digits and _.:=-, and, for every topic "
            "that begins so, * at the end"
        )
    return topic, topic != text
