"""A library's tasks are told from all others, and ended when it leaves them behind."""

import asyncio
import contextlib

from torchserve_operator.kube.family import Family


async def test_what_a_family_started_ends_with_it_and_nothing_else_does() -> None:
    ended: list[str] = []

    async def forever(name: str) -> None:
        try:
            await asyncio.Event().wait()
        finally:
            ended.append(name)

    async def grandparent() -> None:
        children.append(asyncio.create_task(parent()))
        await asyncio.sleep(0)
        raise ValueError

    async def parent() -> None:
        children.append(asyncio.create_task(forever("grandchild")))
        await forever("child")

    children: list[asyncio.Task[None]] = []
    family = Family()
    stranger = asyncio.create_task(forever("stranger"))
    with contextlib.suppress(ValueError):
        await family.start(grandparent())
    await asyncio.sleep(0)
    await family.end()
    assert ended == ["child", "grandchild"]
    assert all(child.cancelled() for child in children)
    stranger.cancel()


async def test_a_task_that_will_not_end_is_not_waited_for_for_ever() -> None:
    release = asyncio.Event()

    async def stubborn() -> None:
        while not release.is_set():
            with contextlib.suppress(asyncio.CancelledError):
                await release.wait()

    family = Family()
    task = family.start(stubborn())
    await asyncio.sleep(0)
    await family.end(patience=0.05)
    assert not task.done()
    release.set()
    await task
