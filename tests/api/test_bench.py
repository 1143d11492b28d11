"""The benches run: what nobody runs rots. With a handful of samples; what they find then says nothing."""

from typing import Any

import pytest
from bench import children, events, figures, histogram, memory, writes

BENCHES = {
    "children": (children.measure, {"count": 2}, {"children_p50_ms", "children_p99_ms"}),
    "memory": (memory.measure, {"sizes": (2,), "settle": 0.3}, {"idle_memory_mib", "memory_2_mib"}),
    "events": (events.measure, {"resources": 2, "events": 40, "idle_seconds": 0.1}, {"event_cpu_us"}),
    "writes": (writes.measure, {"resources": 2, "resyncs": 1}, {"writes_per_resource", "writes_at_rest"}),
}


@pytest.mark.parametrize("name", BENCHES)
async def test_a_bench_finds_its_figures_and_the_operator_complains_of_nothing(name: str) -> None:
    measure, few, expected = BENCHES[name]
    result = await measure(**few)  # type: ignore[operator]  # functions of different arguments
    found = {figure.name: figure for figure in result.figures}
    assert expected <= found.keys()
    assert result.samples["complaints"] == []
    if name == "writes":
        assert found["writes_at_rest"].value == 0


def test_a_figure_is_printed_as_a_line_that_programs_read(capsys: pytest.CaptureFixture[str]) -> None:
    result = figures.Result()
    result.add("children_p50_ms", 12.3456, "ms", "resource created → its children written")
    figures.show("children", result)
    assert "FIGURE children_p50_ms 12.3456 ms" in capsys.readouterr().out.splitlines()


def test_raw_data_has_the_machine_and_every_sample(tmp_path: Any) -> None:
    result = figures.Result(samples={"one_at_a_time_ms": [1.0, 2.0]})
    written = figures.save("children", result, {"load": [0.1, 0.2, 0.3]}, tmp_path).read_text()
    assert all(word in written for word in ('"one_at_a_time_ms"', '"cores"', '"load"', '"date"'))


@pytest.mark.parametrize(("percent", "expected"), [(50, 50.0), (99, 99.0), (100, 100.0)])
def test_a_percentile_is_one_of_the_values(percent: float, expected: float) -> None:
    assert figures.percentile([float(value) for value in range(1, 101)], percent) == expected


def test_a_histogram_is_a_small_picture_of_both_series() -> None:
    picture = histogram.svg("Title", "milliseconds", {"operator": [1.0, 2.0, 3.0], "bare client": [1.0]})
    assert picture.startswith("<svg")
    assert "operator: median 2.0 milliseconds" in picture
    assert len(picture) < 20_000
