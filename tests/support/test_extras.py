"""Without its extras the package works, and says which one to install when it is needed."""

from __future__ import annotations

import configparser
import re
import subprocess
import sys

import pytest

from tests.conftest import PROJECT

EXTRAS = (
    "matplotlib",
    "typer",
    "tensorflow_datasets",
    "onnx",
    "onnxruntime",
    "pyspark",
    "pytest",
    "hypothesis",
)
BLOCK = f"""
import sys

class Blocked:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in {EXTRAS}:
            raise ModuleNotFoundError(f"No module named {{name!r}}", name=name)

sys.meta_path.insert(0, Blocked())
"""
SCORES = """
import r2ad2, tempfile, numpy as np
for name in r2ad2.__all__:
    getattr(r2ad2, name)
import r2ad2.datasets, r2ad2.benchmark, r2ad2.spark, baselines
detector = r2ad2.load("tests/fixtures/detector-0.1.0.keras")
print(type(detector).__name__)
"""


def run(code):
    return subprocess.run(
        [sys.executable, "-c", BLOCK + code], capture_output=True, text=True, cwd=PROJECT
    )


@pytest.mark.slow
def test_the_core_works_without_extras():
    done = run(SCORES)
    assert done.returncode == 0, done.stderr
    assert done.stdout.split()[-1] == "R2AD2Detector"


@pytest.mark.parametrize(
    ("code", "extra"),
    [
        ("import r2ad2.plots", "plots"),
        ("from r2ad2.cli.launch import main; main()", "cli"),
        ("from r2ad2.datasets.tfds import from_tfds; from_tfds('mnist', [0])", "datasets"),
        (
            "import r2ad2; r2ad2.load('tests/fixtures/detector-0.1.0.keras').export('model.onnx')",
            "onnx",
        ),
    ],
)
def test_a_missing_extra_is_named_with_its_command(code, extra):
    done = run(code)
    last = done.stderr.strip().splitlines()[-1]
    assert f"pip install 'r2ad2[{extra}]'" in last
    assert done.returncode != 0
    if extra == "cli":
        assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)


def test_locked_requirements_have_checksums_and_name_no_host():
    lines = (PROJECT / "requirements.txt").read_text().replace("\\\n", "").splitlines()
    assert len(lines) > 50
    for line in lines:
        assert re.match(r"[\w.-]+==[\w.!+]+( ;[^#]*)?( +--hash=sha256:[0-9a-f]{64})+$", line), line


def test_extras_are_all_locked():
    config = configparser.ConfigParser()
    config.read(PROJECT / "setup.cfg")
    locked = (PROJECT / "requirements.txt").read_text()
    extras = config["options.extras_require"]
    wanted = "\n".join(extras[name] for name in ("cli", "datasets", "onnx", "plots", "test"))
    wanted += config["options"]["install_requires"]
    for name in re.findall(r"^[\w-]+", wanted, re.MULTILINE):
        assert re.search(rf"^{name}==", locked, re.MULTILINE), name
