"""kopf as a mere watcher; what it does with a real API server is tested in tests/api/test_faults.py."""

import asyncio
import itertools

import kopf

from torchserve_operator.kube.cache import Cache
from torchserve_operator.kube.kinds import DEPLOYMENT, SERVICE
from torchserve_operator.kube.watch import Watcher


def watcher(*namespaces: str | None) -> Watcher:
    cache = Cache(lambda *_: None, {DEPLOYMENT: dict, SERVICE: dict})
    return Watcher(cache, lambda _: None, {DEPLOYMENT: "app", SERVICE: "app"}, namespaces)


def test_kopf_never_gives_up_and_never_kills_the_process() -> None:
    settings = kopf.OperatorSettings()
    watcher(None).configure(settings)
    assert settings.process.ultimate_exiting_timeout is None
    assert len(list(itertools.islice(settings.networking.error_backoffs, 1000))) == 1000  # type: ignore[arg-type]  # no number
    assert settings.posting.enabled is False


async def test_a_list_of_a_watched_kind_is_noted_and_no_other_path() -> None:
    watching = watcher("a", "b")
    noted = asyncio.create_task(watching.relisted())
    for path in ("/apis", "/apis/apps/v1", "/apis/apps/v1/deployments", "/apis/apps/v1/namespaces/c/deployments"):
        watching.listed(path)
    await asyncio.sleep(0)
    assert not noted.done()
    watching.listed("/apis/apps/v1/namespaces/a/deployments")
    watching.listed("/apis/apps/v1/namespaces/b/deployments")
    assert await asyncio.wait_for(noted, 1) == {DEPLOYMENT}
