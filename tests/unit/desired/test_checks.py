"""What fields must say together. One row each: the change, the field that is named, words of the message."""

from typing import Any

import pytest

from torchserve_operator.desired.checks import cross_checks
from unit.desired.specs import make_spec

WRONG: list[tuple[str, list[dict[str, Any]], dict[str, Any], str, str]] = [
    # devices
    ("gpu without one", [{"deviceType": "gpu"}], {}, "spec.models[0].deviceType", "add one, such as nvidia.com/gpu: 1"),
    ("ids without a gpu", [{"deviceIds": [0]}], {}, "spec.models[0].deviceIds", "asks for no GPU"),
    (
        "ids out of range",
        [{"deviceIds": [0, 2]}],
        {"limits": {"nvidia.com/gpu": "2"}},
        "spec.models[0].deviceIds",
        "2: the pod has 2 GPUs, counted from 0: 0, 1",
    ),
    (
        "ids beyond numberOfGpu",
        [{"deviceIds": [1]}],
        {"limits": {"nvidia.com/gpu": "2"}, "server": {"numberOfGpu": 1}},
        "spec.models[0].deviceIds",
        "the pod has 1 GPU, counted from 0: 0",
    ),
    (
        "numberOfGpu above the limit",
        [{}],
        {"limits": {"amd.com/gpu": "1"}, "server": {"numberOfGpu": 2}},
        "spec.server.numberOfGpu",
        "asks for 1 GPU",
    ),
    (
        "gpu and numberOfGpu 0",
        [{"deviceType": "gpu"}],
        {"limits": {"amd.com/gpu": "1"}, "server": {"numberOfGpu": 0}},
        "spec.models[0].deviceType",
        "numberOfGpu is 0",
    ),
    (
        "a gpu that idles",
        [{"deviceType": "cpu"}],
        {"limits": {"gpu.intel.com/xe": "1"}},
        "spec.resources.limits[gpu.intel.com/xe]",
        "every model has deviceType cpu",
    ),
    (
        "several slices",
        [{}],
        {"limits": {"nvidia.com/mig-1g.10gb": "2"}},
        "spec.resources.limits[nvidia.com/mig-1g.10gb]",
        "ask for 1 and raise replicas",
    ),
    (
        "two kinds of gpu",
        [{}],
        {"limits": {"nvidia.com/gpu": "1", "amd.com/gpu": "1"}},
        "spec.resources.limits[amd.com/gpu]",
        "one kind of GPU",
    ),
    # resources
    (
        "request above limit",
        [{}],
        {"limits": {"memory": "1Gi"}, "requests": {"memory": "2048Mi"}},
        "spec.resources.requests.memory",
        "is 2048Mi, more than its limit of 1Gi",
    ),
    (
        "gpu requested only",
        [{}],
        {"requests": {"nvidia.com/gpu": "1"}},
        "spec.resources.requests[nvidia.com/gpu]",
        "set spec.resources.limits[nvidia.com/gpu] to 1",
    ),
    (
        "gpu requested and limited differently",
        [{}],
        {"requests": {"nvidia.com/gpu": "1"}, "limits": {"nvidia.com/gpu": "2"}},
        "spec.resources.requests[nvidia.com/gpu]",
        "both are the same",
    ),
    (
        "half a gpu",
        [{}],
        {"limits": {"nvidia.com/gpu": "500m"}},
        "spec.resources.limits[nvidia.com/gpu]",
        "counted in whole numbers",
    ),
    ("a misspelt resource", [{}], {"limits": {"mem": "1Gi"}}, "spec.resources.limits.mem", 'did you mean "memory"?'),
    (
        "millibytes",
        [{}],
        {"requests": {"memory": "512m"}},
        "spec.resources.requests.memory",
        "less than a mebibyte",
    ),
    # heap and JVM
    (
        "heap above the limit",
        [{}],
        {"limits": {"memory": "1Gi"}, "server": {"heapSize": "1Gi"}},
        "spec.server.heapSize",
        "does not fit the memory limit of 1Gi",
    ),
    (
        "heap without room for workers",
        [{"minWorkers": 4}],
        {"limits": {"memory": "1Gi"}, "server": {"heapSize": "700Mi"}},
        "spec.server.heapSize",
        "leaves 324Mi of the memory limit of 1Gi; the JVM itself and 4 workers need at least 496Mi",
    ),
    (
        "a limit that is too small",
        [{"minWorkers": 1}],
        {"limits": {"memory": "256Mi"}},
        "spec.resources.limits.memory",
        "raise the limit to 324Mi or more",
    ),
    ("a tiny heap", [{}], {"server": {"heapSize": "16Mi"}}, "spec.server.heapSize", "at least 64Mi"),
    ("-Xmx", [{}], {"server": {"vmargs": ["-Xmx1g"]}}, "spec.server.vmargs[0]", "set spec.server.heapSize"),
    (
        "a RAM percentage",
        [{}],
        {"server": {"vmargs": ["-XX:+UseG1GC", "-XX:MaxRAMPercentage=50"]}},
        "spec.server.vmargs[1]",
        "set spec.server.heapSize",
    ),
    (
        "-Xms above the heap",
        [{}],
        {"server": {"heapSize": "256Mi", "vmargs": ["-Xms1g"]}},
        "spec.server.vmargs[0]",
        "more than the largest heap, 256Mi",
    ),
    (
        "a log configuration",
        [{}],
        {"server": {"vmargs": ["-Dlog4j.configurationFile=file:///x.xml"]}},
        "spec.server.vmargs[0]",
        "made of spec.logging",
    ),
    ("a class path", [{}], {"server": {"vmargs": ["-cp"]}}, "spec.server.vmargs[0]", "plugins_path"),
    # threads, workers, queue
    (
        "too many I/O threads",
        [{}],
        {"limits": {"cpu": "2"}, "server": {"numberOfNettyThreads": 64}},
        "spec.server.numberOfNettyThreads",
        "is 64, on 2 CPUs; these threads never block, so the most is 8",
    ),
    (
        "too many client threads",
        [{}],
        {"limits": {"cpu": "500m"}, "server": {"nettyClientThreads": 9}},
        "spec.server.nettyClientThreads",
        "the most is 8",
    ),
    (
        "a default above maxWorkers",
        [{"maxWorkers": 2}],
        {"server": {"defaultWorkersPerModel": 4}},
        "spec.models[0].maxWorkers",
        "spec.server.defaultWorkersPerModel (4) here; set spec.models[0].minWorkers",
    ),
    (
        "a short queue",
        [{"name": "a"}, {"name": "b", "batchSize": 8, "minWorkers": 1, "maxWorkers": 4}],
        {"server": {"jobQueueSize": 31}},
        "spec.server.jobQueueSize",
        "batchSize 8 x maxWorkers 4 = 32",
    ),
    # budget
    (
        "a budget of all replicas",
        [{}],
        {"replicas": 2, "podDisruptionBudget": {"minAvailable": 2}},
        "spec.podDisruptionBudget.minAvailable",
        "the most is 1",
    ),
    (
        "a budget that rounds up to all replicas",
        [{}],
        {"replicas": 3, "podDisruptionBudget": {"minAvailable": "70%"}},
        "spec.podDisruptionBudget.minAvailable",
        "is 70% of 3 replicas",
    ),
    (
        "a budget of none",
        [{}],
        {"replicas": 2, "podDisruptionBudget": {"maxUnavailable": "0%"}},
        "spec.podDisruptionBudget.maxUnavailable",
        "the least is 1",
    ),
    # server
    (
        "an origin with a path",
        [{}],
        {"server": {"cors": {"allowedOrigin": "https://a.example/"}}},
        "spec.server.cors.allowedOrigin",
        "without a path or a slash",
    ),
    (
        "two origins",
        [{}],
        {"server": {"cors": {"allowedOrigin": "https://a.example,https://b.example"}}},
        "spec.server.cors.allowedOrigin",
        "is not an origin",
    ),
    (
        "a header in an origin",
        [{}],
        {"server": {"cors": {"allowedOrigin": "*\nX: y"}}},
        "spec.server.cors.allowedOrigin",
        "is not an origin",
    ),
    (
        "no expression",
        [{}],
        {"server": {"allowedUrls": ["s3://("]}},
        "spec.server.allowedUrls[0]",
        "regular expression",
    ),
    (
        "an unknown variable in a URL",
        [{}],
        {"server": {"allowedUrls": ["s3://$$BUCKET$$/.*"]}},
        "spec.server.allowedUrls[0]",
        "names the environment variable BUCKET",
    ),
    ("a hidden store", [{}], {"server": {"modelStore": "/tmp/store"}}, "spec.server.modelStore", "an empty /tmp is"),
    ("a hidden model", [{"path": "/home/torchserve/m.mar"}], {}, "spec.models[0].path", "cannot be seen"),
    # environment
    (
        "a variable of the operator",
        [{}],
        {"pod": {"env": [{"name": "TS_CONFIG_FILE", "value": "/x"}]}},
        "spec.pod.env[0].name",
        "is set by the operator",
    ),
    (
        "a variable without effect",
        [{}],
        {"pod": {"env": [{"name": "TS_UNREGISTER_MODEL_TIMEOUT", "value": "9"}]}},
        "spec.pod.env[0].name",
        "does nothing without spec.server.enableEnvvarsConfig",
    ),
    (
        "a variable over a field",
        [{}],
        {"server": {"enableEnvvarsConfig": True}, "pod": {"env": [{"name": "TS_JOB_QUEUE_SIZE", "value": "9"}]}},
        "spec.pod.env[0].name",
        "set spec.server.jobQueueSize",
    ),
    (
        "a variable's wrong value",
        [{}],
        {"server": {"enableEnvvarsConfig": True}, "pod": {"env": [{"name": "TS_INITIAL_WORKER_PORT", "value": "no"}]}},
        "spec.pod.env[0].value",
        "a whole number from 1024 to 65535",
    ),
]


@pytest.mark.parametrize(
    ("models", "fields", "path", "words"), [row[1:] for row in WRONG], ids=[row[0] for row in WRONG]
)
def test_what_does_not_fit_together_is_named_with_its_field(
    models: list[dict[str, Any]], fields: dict[str, Any], path: str, words: str
) -> None:
    errors = cross_checks(make_spec(*models, **fields))
    assert [error.path for error in errors] == [path]
    assert words in errors[0].message


@pytest.mark.parametrize(
    ("models", "fields"),
    [
        ([{"deviceType": "gpu", "deviceIds": [0]}], {"limits": {"nvidia.com/mig-1g.10gb": "1"}}),
        ([{}], {"limits": {"nvidia.com/gpu": "2"}, "requests": {"nvidia.com/gpu": "2"}}),
        ([{}], {"limits": {"cpu": "1000m"}, "requests": {"cpu": "1"}}),
        ([{}], {"limits": {"cpu": "1", "hugepages-2Mi": "4Mi", "example.com/nic": "1"}}),
        ([{"minWorkers": 1}], {"limits": {"memory": "324Mi"}}),
        ([{"maxWorkers": 2}], {"limits": {"cpu": "16"}}),
        ([{"batchSize": 8, "minWorkers": 4}], {"server": {"jobQueueSize": 32}}),
        ([{}], {"replicas": 1, "podDisruptionBudget": {"minAvailable": 1}}),
        ([{}], {"replicas": 2, "podDisruptionBudget": {"minAvailable": 2, "enabled": False}}),
        ([{}], {"replicas": 3, "podDisruptionBudget": {"maxUnavailable": "1%"}}),
        ([{}], {"server": {"heapSize": "256Mi", "vmargs": ["-Xms256m", "-XX:+UseG1GC"]}}),
        ([{}], {"server": {"cors": {"allowedOrigin": "http://localhost:3000"}}}),
        ([{}], {"server": {"cors": {"allowedOrigin": "*"}}}),
        ([{}], {"server": {"allowedUrls": ["$$B$$"]}, "pod": {"envFrom": [{"configMapRef": {"name": "c"}}]}}),
        ([{}], {"pod": {"env": [{"name": "HOME", "value": "/data"}, {"name": "OMP_NUM_THREADS", "value": "2"}]}}),
        ([{}], {"pod": {"env": [{"name": "TS_OPEN_INFERENCE_PROTOCOL", "value": "oip"}, {"name": "TS_MY_OWN"}]}}),
    ],
)
def test_what_fits_together_is_taken(models: list[dict[str, Any]], fields: dict[str, Any]) -> None:
    assert cross_checks(make_spec(*models, **fields)) == []
