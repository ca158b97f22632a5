"""Regular expressions of strangers: RE2 matches in linear time, and that is not enough.

    text ──compile──▶ program of some steps ──fullmatch──▶ answers, kept for a while

A name of 253 characters may take a program of 1,000 steps a millisecond, all names of a
namespace are looked through for each workload, and everybody else waits. So one who
writes patterns has so many, and so many steps for all of them; and what was answered
once is not worked out again.
"""

from __future__ import annotations

PATTERN_MAX = 1024
"""Longest pattern in characters; names of objects have at most 253."""

PATTERNS_MAX = 100
"""Patterns of one annotation or ReloaderConfig; plain names are free."""

STEPS_MAX = 4096
"""Steps of all their programs. `shop-.*` has 12, a class of characters that is repeated
500 times 1,000 or more."""

_MEMORY = 1 << 18
"""Bytes that a compiled pattern may take; RE2's default is 32 times as much."""

_ANSWERS_MAX = 4096
"""Answers that a pattern keeps."""


class Pattern:
    """A compiled regular expression."""

    def __init__(self, text: str) -> None:
        """Compile what a stranger wrote.

        Raises:
            ValueError: It is no regular expression, or too long.
        """
        if len(text) > PATTERN_MAX:
            raise _refusal(text, f"is longer than {PATTERN_MAX} characters")
        # Most clusters have no pattern, and it is 1.5 MB; it ships no types.
        import re2  # type: ignore[import-untyped]  # noqa: PLC0415

        options = re2.Options()
        options.log_errors = False  # RE2 would print them to stderr
        options.max_mem = _MEMORY
        try:
            self._compiled = re2.compile(text, options)
        except re2.error as error:
            why = f"is not a regular expression: {error.args[0].decode()}"
            raise _refusal(text, why) from None
        self._answers: dict[str, bool] = {}

    @property
    def steps(self) -> int:
        """What a match costs for each character, at worst."""
        return int(self._compiled.programsize)

    def fullmatch(self, text: str) -> bool:
        """Match all of `text`, as if the pattern were `^(?:…)$`."""
        known = self._answers.get(text)
        if known is None:
            if len(self._answers) == _ANSWERS_MAX:
                self._answers.clear()
            known = self._compiled.fullmatch(text) is not None
            self._answers[text] = known
        return known


class PatternReader:
    """Reads the patterns of one annotation or ReloaderConfig."""

    def __init__(self) -> None:
        self._read = 0
        self._steps = 0

    @property
    def is_full(self) -> bool:
        """Whether no more of them are read."""
        return self._read == PATTERNS_MAX

    def read(self, text: str) -> Pattern:
        """Compile one more.

        Raises:
            ValueError: It is no regular expression, or there are too many.
        """
        if self.is_full:
            raise ValueError(f"more than {PATTERNS_MAX} patterns")
        self._read += 1  # even to refuse one takes a millisecond
        pattern = Pattern(text)
        if self._steps + pattern.steps > STEPS_MAX:
            raise _refusal(
                text,
                f"makes them too slow together ({STEPS_MAX} steps): use fewer, and "
                "`*` in place of counts such as `{1,63}`",
            )
        self._steps += pattern.steps
        return pattern


def shown(text: str) -> str:
    """Quote what a stranger wrote, in short."""
    return repr(text if len(text) <= 64 else f"{text[:64]}…")


def _refusal(text: str, why: str) -> ValueError:
    return ValueError(f"pattern {shown(text)} {why}")
