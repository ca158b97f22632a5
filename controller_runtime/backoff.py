"""How long to wait before the next try.

    Backoff              failures in a row → seconds: a rule without memory
    TokenBucket          a rate with a burst: seconds until the next turn
    Limiter              key → seconds: what a work queue asks before a retry
    ├── ExponentialLimiter   each key by its own failures; the usual choice
    ├── FastSlowLimiter      each key quickly at first, then slowly
    ├── BucketLimiter        all keys together, so many a second
    ├── MaxOfLimiter         whichever of several makes the key wait longest
    └── WithMaxWaitLimiter   another one, but never for longer than this

Nothing here looks at a clock: whoever asks says what time it is. The limiters are
those of client-go (`util/workqueue/default_rate_limiters.go`).
"""

from __future__ import annotations

import random
from collections import Counter
from collections.abc import Hashable
from dataclasses import dataclass
from typing import Generic, Protocol, TypeVar

K = TypeVar("K", bound=Hashable)
K_contra = TypeVar("K_contra", bound=Hashable, contravariant=True)


@dataclass(frozen=True, slots=True, kw_only=True)
class Backoff:
    """An exponential delay with a ceiling, in seconds.

    The defaults are those of client-go's per-item limiter
    (`workqueue.DefaultTypedControllerRateLimiter`): 5 ms doubling up to 1000 s.
    """

    base: float = 0.005
    """Delay before the first retry, in seconds."""

    ceiling: float = 1000.0
    """Longest delay ever returned, in seconds."""

    def delay(self, failures: int) -> float:
        """Return the delay after `failures` failures in a row (0 is the first)."""
        try:
            return min(self.base * 2.0**failures, self.ceiling)
        except OverflowError:
            return self.ceiling


class TokenBucket:
    """Lets `burst` through at once and `rate` a second after that.

    A turn that is reserved is spent, however long its owner then waits: the bucket
    goes into debt, and each later turn waits longer (`golang.org/x/time/rate`).
    """

    def __init__(self, *, rate: float, burst: int) -> None:
        self._rate = rate
        self._burst = burst
        self._tokens = float(burst)
        self._filled_at = 0.0

    def reserve(self, now: float) -> float:
        """Take a turn and return the seconds until it comes.

        Args:
            now: Seconds on a clock that does not go backwards.
        """
        gained = (now - self._filled_at) * self._rate
        self._tokens = min(self._tokens + gained, self._burst) - 1
        self._filled_at = now
        return max(-self._tokens / self._rate, 0.0)


class Limiter(Protocol[K_contra]):
    """Decides how long a key waits before it is tried again."""

    def when(self, key: K_contra, /, *, now: float) -> float:
        """Count one more failure of `key` and return the seconds it should wait."""
        ...

    def forget(self, key: K_contra, /) -> None:
        """Treat the next failure of `key` as its first."""
        ...

    def num_requeues(self, key: K_contra, /) -> int:
        """Return how many failures of `key` are counted."""
        ...


class ExponentialLimiter(Generic[K]):
    """Makes each key wait longer with each of its own failures in a row."""

    def __init__(
        self,
        backoff: Backoff | None = None,
        *,
        jitter: float = 0.0,
        randomness: random.Random | None = None,
    ) -> None:
        """Follow `backoff`, spread by `jitter`.

        Args:
            backoff: The rule for one key.
            jitter: Fraction by which a delay may be shorter or longer: 0.1 keeps keys
                that failed together from coming back together. It is applied after
                the ceiling, where a herd would otherwise stay in step.
            randomness: Where the jitter comes from.
        """
        self._backoff = backoff or Backoff()
        self._jitter = jitter
        self._random = randomness or random.SystemRandom()
        self._failures: Counter[K] = Counter()

    def when(self, key: K, /, *, now: float) -> float:
        delay = self._backoff.delay(self._failures[key])
        self._failures[key] += 1
        if self._jitter:
            delay *= 1 + self._jitter * self._random.uniform(-1, 1)
        return delay

    def forget(self, key: K, /) -> None:
        self._failures.pop(key, None)

    def num_requeues(self, key: K, /) -> int:
        return self._failures[key]


class FastSlowLimiter(Generic[K]):
    """Makes each key wait `fast` for its first failures and `slow` from then on."""

    def __init__(self, *, fast: float, slow: float, max_fast: int) -> None:
        """Wait `fast` seconds up to the failure `max_fast`, then `slow` seconds."""
        self._fast = fast
        self._slow = slow
        self._max_fast = max_fast
        self._failures: Counter[K] = Counter()

    def when(self, key: K, /, *, now: float) -> float:
        self._failures[key] += 1
        return self._fast if self._failures[key] <= self._max_fast else self._slow

    def forget(self, key: K, /) -> None:
        self._failures.pop(key, None)

    def num_requeues(self, key: K, /) -> int:
        return self._failures[key]


class BucketLimiter:
    """Makes all keys share one token bucket, whatever they failed at.

    The defaults are client-go's: 10 a second after a burst of 100.
    """

    def __init__(self, bucket: TokenBucket | None = None) -> None:
        self._bucket = bucket or TokenBucket(rate=10, burst=100)

    def when(self, key: Hashable, /, *, now: float) -> float:
        return self._bucket.reserve(now)

    def forget(self, key: Hashable, /) -> None:
        """Do nothing: the bucket does not know whose turn it was."""

    def num_requeues(self, key: Hashable, /) -> int:
        return 0


class MaxOfLimiter(Generic[K]):
    """Asks several limiters and takes the longest delay and the highest count."""

    def __init__(self, *limiters: Limiter[K]) -> None:
        self._limiters = limiters

    def when(self, key: K, /, *, now: float) -> float:
        return max(limiter.when(key, now=now) for limiter in self._limiters)

    def forget(self, key: K, /) -> None:
        for limiter in self._limiters:
            limiter.forget(key)

    def num_requeues(self, key: K, /) -> int:
        return max(limiter.num_requeues(key) for limiter in self._limiters)


class WithMaxWaitLimiter(Generic[K]):
    """Asks another limiter, and makes no key wait longer than `max_wait`.

    The other one counts on as if it had its way: a bucket's debt goes on growing.
    """

    def __init__(self, limiter: Limiter[K], *, max_wait: float) -> None:
        """Follow `limiter` up to `max_wait` seconds."""
        self._limiter = limiter
        self._max_wait = max_wait

    def when(self, key: K, /, *, now: float) -> float:
        return min(self._limiter.when(key, now=now), self._max_wait)

    def forget(self, key: K, /) -> None:
        self._limiter.forget(key)

    def num_requeues(self, key: K, /) -> int:
        return self._limiter.num_requeues(key)
