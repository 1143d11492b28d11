"""Which tasks a library has started, so that what it leaves behind can be ended.

kopf 1.45 counts on being alone in its event loop: what its failed parts had started, it ends by cancelling everything
there is. Here it is not alone, and must be told apart.
"""

import asyncio
from collections.abc import Coroutine
from contextvars import ContextVar
from typing import Any

_family: ContextVar["Family | None"] = ContextVar("family", default=None)


class Family:
    """A task and all that it started, and all that they started."""

    def __init__(self) -> None:
        self._tasks: dict[asyncio.Task[Any], None] = {}

    def start(self, work: Coroutine[Any, Any, None]) -> asyncio.Task[None]:
        """Start the first task of the family."""
        asyncio.get_running_loop().set_task_factory(_task)  # type: ignore[arg-type]  # options differ by Python's version

        async def first() -> None:
            _family.set(self)
            await work

        return asyncio.create_task(first())

    async def end(self, patience: float = 2.0) -> None:
        """Cancel what is left, the oldest first: a task may end by itself what it has started.

        Args:
            patience: How long to wait for each, in seconds.
        """
        while self._tasks:
            task = next(iter(self._tasks))
            task.cancel()
            await asyncio.wait({task}, timeout=patience)
            self._tasks.pop(task, None)

    def _add(self, task: asyncio.Task[Any]) -> None:
        self._tasks[task] = None
        task.add_done_callback(lambda _: self._tasks.pop(task, None))


def _task(loop: asyncio.AbstractEventLoop, work: Coroutine[Any, Any, Any], **options: Any) -> asyncio.Task[Any]:
    """Make a task as the loop does, and enter it with its family: a new task has the context of the one it is of."""
    task = asyncio.Task(work, loop=loop, **options)
    family = _family.get()
    if family is not None:
        family._add(task)  # noqa: SLF001  # its own
    return task
