"""Detectors of other packages: found through their entry points, run like the others."""

from __future__ import annotations

import configparser
import shlex

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

from r2ad2 import R2AD2Detector
from r2ad2.detectors.registry import GROUP, detector_names, detectors, make_detector
from tests.helpers.commands import run as run_command
from tests.helpers.pages import code_block

PAGE = "docs/extending.md"


@pytest.fixture
def forest(install):
    """Install the package that docs/extending.md shows."""
    config = configparser.ConfigParser()
    config.read_string(code_block(PAGE, "ini", GROUP))
    code = code_block(PAGE, "python", "class ForestDetector")
    install("forest_detector", code, config["options.entry_points"][GROUP])


def test_another_packages_detector_is_found_and_runs(forest, rng):
    found = detectors()
    assert list(found) == sorted(found)
    assert {"Forest", "R2AD2"} <= set(detector_names())
    assert found["R2AD2"] is R2AD2Detector
    detector = make_detector(found["Forest"], {"architecture": "5-3-2", "random_state": 7})
    assert detector.get_params()["random_state"] == 7
    y = np.arange(60) >= 50
    for shape in [(4,), (3, 3, 1)]:
        X = rng.random((60, *shape))
        X[y] += 1
        assert roc_auc_score(y, detector.fit(X, y).decision_function(X)) == 1


def test_detectors_get_the_settings_that_they_have():
    detector = make_detector(R2AD2Detector, {"epochs": 3, "margin": 5.0})
    assert detector.epochs == 3


def test_a_package_that_cannot_be_imported_is_left_out(install, caplog):
    install("broken_detector", "import no_such_module", "Broken = broken_detector:Detector")
    found = detectors()
    assert "Broken" not in found
    assert "R2AD2" in found
    assert "'Broken'" in caplog.text
    assert "no_such_module" in caplog.text


def test_one_name_for_two_detectors_is_refused(install):
    install("other_detector", "class Detector: ...", "AE = other_detector:Detector")
    with pytest.raises(ValueError, match=r"'AE'.*other_detector:Detector"):
        detectors()


@pytest.mark.slow
def test_the_documented_experiment_runs(forest, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for line in code_block(PAGE, "bash", "--method Forest").splitlines():
        assert run_command(*shlex.split(line)[1:]) == 0
    table = pd.read_csv("results/results.csv")
    assert set(table["method"]) == {"Forest", "AE", "DevNet"}
    assert (table["AUC"] > 0.5).all()
    assert "Forest" in (tmp_path / "results/report/report.html").read_text("utf-8")
