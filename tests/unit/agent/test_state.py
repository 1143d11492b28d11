"""How rounds of observation become startup, readiness and errors."""

from typing import Any

import pytest

from torchserve_operator.agent.runtime.config import Bounds
from torchserve_operator.agent.runtime.loaderrors import LoadError
from torchserve_operator.agent.runtime.management import ModelView, Observation, Worker
from torchserve_operator.agent.runtime.memory import Memory
from torchserve_operator.agent.runtime.problem import Problem
from torchserve_operator.agent.runtime.state import SETTLE, STALE, ModelState, Round, State, advance, ready, started

BOUNDS = {"net": Bounds(1, 4)}
IMPORT = LoadError(
    "net_1.0", "9000", Problem("LoadFailed", "ModuleNotFoundError: No module named 'foo'"), generic=False
)
DIED = LoadError("net_1.0", "9000", Problem("WorkerDied", "Backend stream closed."), generic=True)


def view(*workers: str, pids: tuple[int, ...] = ()) -> ModelView:
    """A model whose workers have these states."""
    made = tuple(Worker(str(9000 + i), status, pids[i] if pids else 100 + i) for i, status in enumerate(workers))
    return ModelView(len(workers), len(workers), made, queued=0)


class Timeline:
    """A state and the rounds it goes through."""

    def __init__(self, bounds: dict[str, Bounds] | None = None, **more: Any) -> None:
        self.bounds = BOUNDS if bounds is None else bounds
        self.state = State(dict.fromkeys(self.bounds, ModelState()), **more)
        self.now = 1000.0
        self.kills = 0

    def round(self, *errors: LoadError, oom: int = 0, after: float = 1.0, **views: ModelView | None) -> "Timeline":
        """One round; without views the server does not answer."""
        self.now += after
        self.kills += oom
        observation = Observation(dict(views), None) if views else None
        memory = Memory(1 << 30, 1 << 29, self.kills)
        versions = dict.fromkeys(self.state.models, "1.0")
        seen = Round(self.now, observation, list(errors), memory, None, self.bounds, versions)
        self.state = advance(self.state, seen)
        return self

    def error(self, name: str = "net") -> tuple[str, str] | None:
        problem = self.state.models[name].error
        return None if problem is None else tuple(problem)

    def ready(self) -> bool:
        return ready(self.state, self.bounds, self.now)


def test_a_pod_has_started_when_each_model_has_reached_its_minimum_once() -> None:
    line = Timeline({"net": Bounds(2, 4), "other": Bounds(0, 1)})
    assert not started(line.state)
    line.round(net=view("READY", "LOADING"), other=view())
    assert not started(line.state)
    assert not line.ready(), "not before startup, though a worker answers"
    line.round(net=view("READY", "READY"), other=view())
    assert started(line.state)
    assert line.ready()
    line.round(net=view("STOPPED", "STOPPED"), other=view())
    assert started(line.state), "startup is for good"
    assert not line.ready()


def test_fewer_workers_than_the_minimum_is_not_unreadiness() -> None:
    line = Timeline().round(net=view("READY"))
    line.bounds = {"net": Bounds(4, 4)}
    line.round(net=view("READY", "LOADING", "LOADING", "LOADING"))
    assert line.ready()


def test_a_model_that_shall_have_no_workers_does_not_keep_the_pod_unready() -> None:
    assert Timeline({"net": Bounds(0, 2)}).round(net=view()).ready()


def test_a_silent_server_is_unknown_at_first_and_unready_after_a_while() -> None:
    line = Timeline().round(net=view("READY"))
    line.round(after=STALE - 1)
    assert line.ready()
    line.round(after=2)
    assert not line.ready()
    assert line.round(net=view("READY")).ready()


def test_draining_and_fatal_pods_are_never_ready() -> None:
    line = Timeline().round(net=view("READY"))
    line.state = line.state._replace(draining=True)
    assert not line.ready()
    line.state = line.state._replace(draining=False, fatal=Problem("ServerFailed", "gone"))
    assert not line.ready()
    assert not started(line.state)


def test_a_load_error_stays_until_that_worker_answers() -> None:
    line = Timeline().round(IMPORT, net=view("LOADING"))
    assert line.error() == tuple(IMPORT.problem)
    line.round(DIED, net=view("STOPPED"))
    assert line.error() == tuple(IMPORT.problem), "the server's word says less"
    line.round(net=view("LOADING"))
    assert line.error() == tuple(IMPORT.problem)
    assert line.round(net=view("READY")).error() is None


def test_the_servers_word_is_taken_when_there_is_no_better_and_replaced_by_one() -> None:
    line = Timeline().round(DIED, net=view("LOADING"))
    assert line.error() == ("LoadFailed", "Backend stream closed."), "before startup a death is a failed load"
    assert line.round(IMPORT, net=view("LOADING")).error() == tuple(IMPORT.problem)


def test_errors_of_other_models_and_versions_are_not_this_ones() -> None:
    line = Timeline().round(IMPORT._replace(model="other_1.0"), IMPORT._replace(model="net_2.0"), net=view("LOADING"))
    assert line.error() is None


def test_a_model_that_was_refused_keeps_its_error_while_the_server_does_not_have_it() -> None:
    refused = LoadError("net", None, Problem("LoadFailed", "Model name is not defined."), generic=False)
    line = Timeline().round(refused, net=None).round(net=None)
    assert line.error() == tuple(refused.problem)


@pytest.mark.parametrize(
    "after",
    [view("STOPPED", "READY"), view("LOADING", "READY"), view("READY", "READY", pids=(500, 101))],
    ids=["stopped", "loading again", "already another process"],
)
def test_a_worker_that_answered_and_does_not_has_died_and_is_forgotten_after_a_while(after: ModelView) -> None:
    line = Timeline().round(net=view("READY", "READY")).round(net=after)
    assert line.error() == ("WorkerDied", "a worker's process ended; TorchServe starts another")
    whole = view("READY", "READY", pids=(500, 101))
    assert line.round(net=whole).error() is not None, "a message must not flap"
    assert line.round(net=whole, after=SETTLE).error() is None


def test_a_worker_that_was_scaled_away_has_not_died() -> None:
    assert Timeline().round(net=view("READY", "READY")).round(net=view("READY")).error() is None


OOM = ("OutOfMemory", "a worker was killed: out of memory, the container's limit is 1Gi")


def test_a_death_with_an_oom_kill_is_out_of_memory_with_the_limit() -> None:
    line = Timeline().round(net=view("READY")).round(net=view("STOPPED"), oom=1)
    assert line.error() == OOM
    assert line.round(DIED, net=view("LOADING")).error() == OOM


@pytest.mark.parametrize("first", ["kill", "death"])
def test_kill_and_death_may_be_seen_in_different_rounds(first: str) -> None:
    line = Timeline().round(net=view("READY"))
    if first == "kill":
        line.round(net=view("READY"), oom=1)
        assert line.error() is None
        line.round(net=view("STOPPED"))
    else:
        line.round(net=view("STOPPED"))
        line.round(net=view("STOPPED"), oom=1)
    assert line.error() == OOM


def test_an_oom_kill_while_loading_is_laid_to_the_model_that_loads() -> None:
    bounds = {"net": Bounds(1, 1), "other": Bounds(1, 1)}
    line = Timeline(bounds).round(net=view("READY"), other=view("LOADING"))
    line.round(net=view("READY"), other=view("LOADING"), oom=1)
    assert line.error("net") is None
    assert line.error("other") == OOM


def test_oom_kills_from_before_the_agent_started_are_nobodys() -> None:
    line = Timeline()
    line.kills = 7
    assert line.round(net=view("LOADING")).error() is None


SILENT = LoadError("net_1.0", "9000", Problem("WorkerDied", "said nothing"), generic=True, silent=True)


def test_a_failed_load_without_a_word_is_told_only_when_the_silence_lasts() -> None:
    line = Timeline().round(SILENT, net=view("LOADING"))
    assert line.error() is None
    line.round(after=4.0, net=view("LOADING"))
    assert line.error() is None
    line.round(SILENT, after=2.0, net=view("LOADING"))
    assert line.error() == ("LoadFailed", "said nothing")


def test_a_word_that_comes_after_the_silence_is_the_answer() -> None:
    line = Timeline().round(SILENT, net=view("LOADING")).round(IMPORT, net=view("LOADING"))
    line.round(SILENT, after=5.0, net=view("LOADING")).round(after=5.0, net=view("LOADING"))
    assert line.error() == tuple(IMPORT.problem)


def test_a_worker_that_loads_after_all_was_not_silent() -> None:
    line = Timeline().round(SILENT, net=view("LOADING")).round(net=view("READY")).round(after=9.0, net=view("READY"))
    assert line.error() is None
