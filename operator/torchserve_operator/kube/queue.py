"""A queue of keys: each at most once, never two workers on one, delayed and repeated with backoff.

The contract is client-go's workqueue: a key that is added while it is being worked on is worked on again afterwards.
"""

import asyncio
import random
from collections import OrderedDict
from collections.abc import Hashable
from typing import Generic, TypeVar

K = TypeVar("K", bound=Hashable)


class KeyedQueue(Generic[K]):
    """Keys to be worked on.

    Args:
        base: The first delay after a failure, in seconds; it doubles with each further one.
        ceiling: The longest delay, in seconds.
    """

    def __init__(self, base: float = 0.5, ceiling: float = 60.0) -> None:
        self._base = base
        self._ceiling = ceiling
        self._waiting: OrderedDict[K, None] = OrderedDict()
        self._working: set[K] = set()
        self._again: set[K] = set()
        self._timers: dict[K, asyncio.TimerHandle] = {}
        self._failures: dict[K, int] = {}
        self._held: dict[K, float] = {}
        self._wake = asyncio.Event()

    def __len__(self) -> int:
        """Return how many keys wait."""
        return len(self._waiting)

    @property
    def idle(self) -> bool:
        """Whether nothing waits and nothing is being worked on; delayed keys do not count."""
        return not self._waiting and not self._working

    def add(self, key: K) -> None:
        """Work on the key soon, or once it is no longer held back."""
        if key in self._working:
            self._again.add(key)
            return
        held = self._held.pop(key, 0.0) - asyncio.get_running_loop().time()
        if held > 0:
            self._hold(key, held)
            return
        self._waiting[key] = None
        self._wake.set()

    def add_after(self, key: K, delay: float) -> None:
        """Work on the key after `delay` seconds, or at an earlier time that was already asked for."""
        loop = asyncio.get_running_loop()
        timer = self._timers.get(key)
        if timer is not None:
            if timer.when() <= loop.time() + delay:
                return
            timer.cancel()
        self._timers[key] = loop.call_later(delay, self._due, key)

    def retry(self, key: K, at_least: float = 0.0, hold: float = 0.0) -> float:
        """Work on a failed key again, each time later; return the delay in seconds.

        Args:
            key: What failed.
            at_least: The least delay in seconds, unless the key is added before.
            hold: Seconds in which nothing brings the key back, because the API server asked for a rest.
        """
        failures = self._failures[key] = self._failures.get(key, 0) + 1
        delay = min(self._ceiling, self._base * 2.0 ** (min(failures, 20) - 1))
        hold = min(hold, self._ceiling)
        delay = max(at_least, hold, delay * random.uniform(0.8, 1.2))  # noqa: S311  # spreads load, hides nothing
        if hold:
            self._hold(key, hold)
        self.add_after(key, delay)
        return delay

    def succeeded(self, key: K) -> None:
        """Forget the key's failures."""
        self._failures.pop(key, None)

    def forget(self, key: K) -> None:
        """Forget everything about a key whose object is gone."""
        self._failures.pop(key, None)
        self._held.pop(key, None)
        timer = self._timers.pop(key, None)
        if timer is not None:
            timer.cancel()

    async def take(self) -> K:
        """Wait for a key; `done` must follow."""
        while not self._waiting:
            self._wake.clear()
            await self._wake.wait()
        key, _ = self._waiting.popitem(last=False)
        self._working.add(key)
        return key

    def done(self, key: K) -> None:
        """End the work on a key; if it was added meanwhile it waits again."""
        self._working.discard(key)
        if key in self._again:
            self._again.discard(key)
            self.add(key)

    def _hold(self, key: K, seconds: float) -> None:
        self._held[key] = asyncio.get_running_loop().time() + seconds
        self.add_after(key, seconds)

    def _due(self, key: K) -> None:
        self._timers.pop(key, None)
        self.add(key)
