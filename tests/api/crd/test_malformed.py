"""What the API server accepts and the operator cannot serve becomes a condition: no crash, no hang, no traceback."""

import asyncio
import logging

import pytest
from world import World

from corpus.cases import BadCase, bad_cases

CHECKED = [case for case in bad_cases() if case.refused_by == "check"]


async def test_every_such_resource_says_what_is_wrong_and_where(world: World, caplog: pytest.LogCaptureFixture) -> None:
    async def reported(case: BadCase) -> tuple[str, str]:
        await world.create(case.file.stem, **case.body["spec"])
        condition = await world.condition("Ready", "False", case.file.stem, reason="InvalidSpec")
        return case.file.stem, str(condition["message"])

    async with world.operator():
        messages = dict(await asyncio.gather(*(reported(case) for case in CHECKED)))

    assert [
        (case.file.stem, messages[case.file.stem])
        for case in CHECKED
        if f"{case.path}: " not in messages[case.file.stem] or case.expect not in messages[case.file.stem]
    ] == []
    assert all(not names for names in (await world.child_names()).values())
    assert [record for record in caplog.records if record.levelno >= logging.ERROR or record.exc_info] == []
