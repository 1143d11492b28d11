"""What follows from a pod's limits."""

from decimal import Decimal
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from torchserve_operator.desired.sizing import GI, MI, Sizing, Workers, size
from unit.desired.specs import make_spec


@pytest.mark.parametrize(("limit", "threads"), [("250m", 2), ("1", 2), ("2", 2), ("2500m", 3), ("16", 16), (None, 2)])
def test_io_threads_are_the_cpu_limit_rounded_up_and_at_least_two(limit: str | None, threads: int) -> None:
    sizing = size(make_spec(limits={"cpu": limit} if limit else {}))
    assert (sizing.netty_threads, sizing.netty_client_threads) == (threads, threads)


def test_a_request_stands_in_for_a_missing_cpu_limit() -> None:
    assert size(make_spec(requests={"cpu": "3"})).cpus == Decimal(3)


@pytest.mark.parametrize(
    ("limit", "heap"),
    [("512Mi", 128 * MI), ("1Gi", 256 * MI), ("4Gi", GI), ("8Gi", 2 * GI), ("64Gi", 2 * GI), (None, GI)],
)
def test_the_heap_is_a_quarter_of_the_memory_limit_within_bounds(limit: str | None, heap: int) -> None:
    assert size(make_spec(limits={"memory": limit} if limit else {})).heap_bytes == heap


def test_a_heap_that_the_spec_names_is_taken() -> None:
    assert size(make_spec(limits={"memory": "4Gi"}, server={"heapSize": "300Mi"})).heap_bytes == 300 * MI


@pytest.mark.parametrize(
    ("model", "server", "limits", "workers"),
    [
        ({}, {}, {"cpu": "4"}, (4, 4)),
        ({}, {}, {}, (1, 1)),
        ({}, {}, {"cpu": "500m"}, (1, 1)),
        ({}, {"defaultWorkersPerModel": 3}, {"cpu": "8"}, (3, 3)),
        ({"minWorkers": 2}, {}, {"cpu": "8"}, (2, 2)),
        ({"maxWorkers": 2}, {}, {"cpu": "8"}, (2, 2)),
        ({"maxWorkers": 16}, {}, {"cpu": "8"}, (8, 16)),
        ({"minWorkers": 0}, {}, {"cpu": "8"}, (0, 1)),
        ({"minWorkers": 1, "maxWorkers": 4}, {}, {"cpu": "1"}, (1, 4)),
        ({}, {}, {"cpu": "8", "nvidia.com/gpu": "2"}, (2, 2)),
        ({"deviceIds": [0]}, {}, {"cpu": "8", "nvidia.com/gpu": "2"}, (1, 1)),
        ({"deviceType": "cpu"}, {}, {"cpu": "8", "nvidia.com/gpu": "2"}, (8, 8)),
        ({}, {}, {"cpu": "8", "amd.com/gpu": "1"}, (1, 1)),
    ],
)
def test_workers_follow_the_pod_where_the_model_does_not_say(
    model: dict[str, Any], server: dict[str, Any], limits: dict[str, str], workers: tuple[int, int]
) -> None:
    assert size(make_spec(model, limits=limits, server=server)).workers["m"] == Workers(*workers)


def test_models_share_the_cpus() -> None:
    sizing = size(make_spec({"name": "a"}, {"name": "b"}, {"name": "c"}, limits={"cpu": "8"}))
    assert {bounds.minimum for bounds in sizing.workers.values()} == {2}
    assert sizing.worker_threads == 1
    assert sizing.environment == {"OMP_NUM_THREADS": "1"}


@pytest.mark.parametrize(("cpu", "most", "threads"), [("8", 2, 4), ("8", 3, 2), ("1", 4, 1), ("7500m", 1, 7)])
def test_a_workers_compute_threads_are_its_share_of_the_cpus(cpu: str, most: int, threads: int) -> None:
    assert size(make_spec({"minWorkers": 1, "maxWorkers": most}, limits={"cpu": cpu})).worker_threads == threads


@pytest.mark.parametrize(
    ("model", "queue"),
    [({}, 100), ({"batchSize": 64, "minWorkers": 1}, 128), ({"batchSize": 8, "maxWorkers": 10, "minWorkers": 1}, 160)],
)
def test_the_queue_holds_two_rounds_of_batches(model: dict[str, Any], queue: int) -> None:
    assert size(make_spec(model)).job_queue_size == queue


@pytest.mark.parametrize(
    ("resource", "count"),
    [
        ("nvidia.com/gpu", 1),
        ("nvidia.com/gpu.shared", 1),
        ("nvidia.com/mig-1g.10gb", 1),
        ("nvidia.com/mig-1g.10gb.me", 1),
        ("amd.com/gpu", 1),
        ("gpu.intel.com/i915", 1),
        ("gpu.intel.com/xe", 1),
        ("nvidia.com/mig-manager", 0),
        ("example.com/gpu", 0),
    ],
)
def test_every_vendors_gpu_is_known_by_its_resource(resource: str, count: int) -> None:
    sizing = size(make_spec(limits={resource: "1"}))
    assert sizing.gpus == count
    assert sizing.device_types == {"m": "gpu" if count else "cpu"}


def test_a_stop_may_take_the_longest_answer_and_the_kubelet_waits_longer() -> None:
    sizing = size(make_spec({"name": "a", "responseTimeout": 30}, {"name": "b", "responseTimeout": 300}))
    assert sizing.drain_min_seconds == 5
    assert sizing.drain_max_seconds == 311
    assert sizing.grace_seconds == 326


def test_the_slowest_models_loading_time_bounds_the_start() -> None:
    assert size(make_spec({"name": "a", "startupTimeout": 30}, {"name": "b"})).startup_seconds == 180


def test_shared_memory_is_half_the_limit_and_never_less_than_a_containers_own() -> None:
    assert size(make_spec(limits={"memory": "4Gi"})).shm_bytes == 2 * GI
    assert size(make_spec(limits={"memory": "100Mi"})).shm_bytes == 64 * MI
    assert size(make_spec()).shm_bytes == GI


def _sized(cpu: int, memory: int, workers: int) -> Sizing:
    return size(
        make_spec(
            {"minWorkers": 1, "maxWorkers": workers},
            limits={"cpu": f"{cpu}m", "memory": f"{memory}Mi"},
        )
    )


@given(
    st.tuples(st.integers(1, 200_000), st.integers(1, 200_000)),
    st.tuples(st.integers(1, 500_000), st.integers(1, 500_000)),
    st.integers(1, 64),
)
def test_more_of_a_resource_never_gives_less_of_anything(
    cpu: tuple[int, int], memory: tuple[int, int], workers: int
) -> None:
    less, more = (_sized(pick(cpu), pick(memory), workers) for pick in (min, max))
    for field in ("netty_threads", "netty_client_threads", "heap_bytes", "worker_threads", "shm_bytes"):
        assert getattr(less, field) <= getattr(more, field)


@given(st.integers(1, 200_000), st.integers(1, 64))
def test_all_workers_together_never_compute_on_more_threads_than_cpus_unless_one_each(cpu: int, workers: int) -> None:
    sizing = _sized(cpu, 1024, workers)
    assert sizing.worker_threads == 1 or sizing.worker_threads * workers * 1000 <= cpu
