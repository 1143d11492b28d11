"""The bench of builds, with sizes that tell nothing: its figures come out, and none is made up."""

import re
from pathlib import Path

import pytest
from bench.append import MIB, SMALL, measure
from bench.build.process import run
from bench.build.registry import push_base
from bench.build.rivals import Rivalry, check
from bench.figures import Result, show

from testbed.errors import TestbedError
from testbed.oci_registry import OciRegistry


def absent(_folder: Path, _base: str, _model: Path, _image: str) -> Rivalry:
    raise TestbedError("it cannot be had here\nwith more to say")


def slow(folder: Path, _base: str, model: Path, _image: str) -> Rivalry:
    assert (model / "model.pt").stat().st_size == SMALL.model
    assert not folder.exists()
    return Rivalry({"only": run(["sleep", "0.1"])}, 0)


@pytest.fixture(scope="module")
def measured() -> Result:
    return measure(SMALL, 1, {"absent": absent, "slow": slow})


def test_the_figures_come_out(measured: Result, capsys: pytest.CaptureFixture[str]) -> None:
    show("append", measured)
    lines = capsys.readouterr().out.splitlines()
    found = {line.split()[1]: float(line.split()[2]) for line in lines if line.startswith("FIGURE ")}
    assert found["append_seconds"] > 0
    assert found["append_cached_seconds"] > 0
    assert 10 < found["append_memory_mib"] < 64
    assert abs(found["append_memory_growth_mib"]) < 16
    assert found["append_scratch_bytes"] == 0
    assert found["append_vs_slow_speedup"] > 0


def test_a_comparison_that_cannot_be_had_has_no_figure_but_its_reason(
    measured: Result, capsys: pytest.CaptureFixture[str]
) -> None:
    show("append", measured)
    out = capsys.readouterr().out
    assert not re.search("^FIGURE append_vs_absent", out, re.MULTILINE)
    assert re.search("append_vs_absent_speedup .* missing .* it cannot be had here", out)


def test_a_build_with_nothing_to_do_uploads_nothing(measured: Result) -> None:
    first, again = measured.samples["model"][0], measured.samples["cached"][0]
    assert first["bytesUploaded"] > SMALL.model
    assert again["bytesUploaded"] == 0
    assert first["digest"] == again["digest"]


def test_an_image_without_the_model_is_none(registry: OciRegistry, space: str, tmp_path: Path) -> None:
    base = push_base(registry.host, f"{space}/base", "1", [MIB])
    push_base(registry.host, f"{space}/image", "latest", [MIB, 2 * MIB])
    (tmp_path / "model.pt").write_bytes(bytes(2 * MIB))
    check(base, tmp_path, f"{registry.host}/{space}/image")
    (tmp_path / "model.pt").write_bytes(bytes(3 * MIB))
    with pytest.raises(TestbedError, match=f"the model's {3 * MIB}"):
        check(base, tmp_path, f"{registry.host}/{space}/image")


def test_the_time_and_the_memory_of_a_program_are_its_own() -> None:
    code = "import time; held = bytearray(40 << 20); time.sleep(0.2)"
    found = run(["python3", "-c", code])
    assert 0.2 < found.seconds < 20
    assert 40 << 20 < found.memory_bytes < 80 << 20


def test_what_a_program_writes_is_counted_even_if_it_is_gone(tmp_path: Path) -> None:
    code = "import os, sys; f = open(sys.argv[1], 'wb'); os.unlink(sys.argv[1]); f.write(bytes(8 << 20))"
    assert run(["python3", "-c", code, tmp_path / "scratch"]).written_bytes >= 8 << 20


def test_a_program_that_fails_is_an_error_with_what_it_said() -> None:
    with pytest.raises(TestbedError, match="exited with 3:\nno such thing"):
        run(["sh", "-c", "echo no such thing >&2; exit 3"])
