"""Words that lower packages use as data and that a person reads here: shown in the reader's language."""

from __future__ import annotations

from sekiso.cli.language import language, say
from sekiso.wording import action_of, step_of, word_of


def step_words(name: str) -> str:
    """Return the name of a step as a person reads it."""
    return step_of(name, language())


def action_words(what: str) -> str:
    """Return what an action of a plan does."""
    return action_of(what, language())


def word(value: str) -> str:
    """Return a value of an enumeration as a person reads it."""
    return word_of(value, language())


def generation_words(generation: int) -> str:
    """Return `generation 2`."""
    return say("generation {number}", number=int(generation))


def remark(text: str) -> str:
    """Return a reason or note of a lower package in the reader's language."""
    return say(text)
