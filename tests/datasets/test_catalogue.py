"""Data sets are found by name, in this package and in others; modules are imported when needed."""

from __future__ import annotations

import subprocess
import sys
import textwrap

import pytest

from r2ad2.datasets import dataset_names, load_dataset
from r2ad2.datasets.catalogue import dataset_cards
from tests.conftest import PROJECT

PUMPS = """
    import numpy as np
    from r2ad2.datasets import Dataset, DatasetCard

    CARD = DatasetCard(
        name="toy_pumps", title="Pumps", publisher="we", url="https://example.org", files={},
        normal=("fine",), anomalous=("leak",), known_transfer=("leak",),
        architecture="5-3-2", alarm_units=(10,), batch_size=64,
    )

    def read(folder, n_rows=2):
        return Dataset(CARD, np.ones((n_rows, 3), np.float32), np.array(["fine"] * n_rows))
"""


@pytest.mark.parametrize("name", dataset_names())
def test_each_card_is_complete_and_has_a_page_and_a_test_file(name):
    card = dataset_cards()[name]
    assert sum(card.class_counts.values()) == card.rows
    assert {*card.normal, *card.anomalous} <= set(card.class_counts)
    assert not set(card.normal) & set(card.anomalous)
    assert set(card.known_transfer) <= set(card.anomalous)
    assert card.licence
    accepted = {n for file in card.files for n in card.accepted_names(file)}
    assert set(card.downloads) <= accepted
    assert {*card.contents, *card.alternatives, *card.samples} <= set(card.files)
    sums = [*card.files.values(), *card.contents.values()]
    assert all(len(digest) in (0, 64) for digest in sums)
    assert (PROJECT / "data" / name / "README.md").is_file()
    assert (PROJECT / "tests" / "datasets" / "sets" / f"test_{name}.py").is_file()


@pytest.mark.parametrize("name", dataset_names())
def test_each_page_states_the_source_and_the_settings_of_its_card(name):
    card = dataset_cards()[name]
    page = (PROJECT / "data" / name / "README.md").read_text("utf-8")
    assert f"<{card.url}>" in page
    units = "/".join(map(str, card.alarm_units))
    settings = f"autoencoder {card.architecture}, alarm network {units}, batch size"
    assert f"{settings} {card.batch_size}." in " ".join(page.split())


def test_an_unknown_name_is_refused_with_those_that_exist():
    with pytest.raises(ValueError, match=r"unknown data set 'mamography': .*mammography"):
        load_dataset("mamography")


def test_missing_files_are_named_with_their_source_and_command(tmp_path):
    with pytest.raises(FileNotFoundError) as raised:
        load_dataset("mammography", tmp_path)
    message = str(raised.value)
    assert "mammography.mat or mammography.csv or mammography.npz" in message
    assert "r2ad2 data fetch mammography" in message
    assert "http://odds.cs.stonybrook.edu" in message


def test_files_are_looked_for_in_the_argument_then_in_the_environment(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("R2AD2_DATA", raising=False)
    for data_dir, folder in [(None, "'data/url'"), (tmp_path / "a", f"'{tmp_path}/a/url'")]:
        with pytest.raises(FileNotFoundError, match=folder):
            load_dataset("url", data_dir)
    monkeypatch.setenv("R2AD2_DATA", str(tmp_path / "b"))
    with pytest.raises(FileNotFoundError, match=f"'{tmp_path}/b/url'"):
        load_dataset("url")


# ---- data sets of other packages --------------------------------------------------------------


@pytest.fixture
def install(tmp_path, monkeypatch):
    """Return a function that installs a package of one module, a data set, for this test."""

    def install_package(name: str, module: str, code: str) -> None:
        (tmp_path / f"{module}.py").write_text(textwrap.dedent(code))
        information = tmp_path / f"{module}-1.0.dist-info"
        information.mkdir()
        (information / "METADATA").write_text(
            f"Metadata-Version: 2.1\nName: {module}\nVersion: 1.0\n"
        )
        (information / "entry_points.txt").write_text(f"[r2ad2.datasets]\n{name} = {module}\n")

    monkeypatch.syspath_prepend(tmp_path)
    yield install_package
    for path in tmp_path.glob("*.py"):
        sys.modules.pop(path.stem, None)


def test_a_set_of_another_package_is_listed_and_loaded_with_its_options(install):
    install("toy_pumps", "pumps_data", PUMPS)
    assert "toy_pumps" in dataset_names()
    assert "pumps_data" not in sys.modules  # not imported before it is needed
    assert dataset_cards()["toy_pumps"].title == "Pumps"
    assert load_dataset("toy_pumps", n_rows=5).x.shape == (5, 3)


def test_a_broken_set_of_another_package_is_left_out_with_a_warning(install, caplog):
    install("toy_broken", "broken_data", "raise RuntimeError('no sensors')")
    assert set(dataset_cards()) == set(dataset_names()) - {"toy_broken"}
    assert "data set 'toy_broken' (broken_data) cannot be imported: no sensors" in caplog.text
    with pytest.raises(RuntimeError, match="no sensors"):
        load_dataset("toy_broken")


@pytest.mark.parametrize(
    ("name", "code", "message"),
    [
        ("toy_pumps", "read = print", "module pumps_data of data set 'toy_pumps' has no 'CARD'"),
        ("toy_pumps", PUMPS.replace("def read", "def load"), "has no 'read'"),
        ("toy_valves", PUMPS, "must have the name 'toy_valves', not 'toy_pumps'"),
        ("mnist", PUMPS, r"two data sets are registered as 'mnist': r2ad2\.\S+ and pumps_data"),
    ],
)
def test_unusable_sets_of_other_packages_are_refused(install, name, code, message):
    install(name, "pumps_data", code)
    with pytest.raises(ValueError, match=message):
        load_dataset(name)


def test_cards_need_no_heavy_library_and_data_sets_no_tensorflow():
    code = """
        import sys
        import r2ad2.cli.main, r2ad2.datasets.fetch
        from r2ad2.datasets.catalogue import dataset_cards, load_dataset

        def imported(*names):
            return [name for name in names if name in sys.modules]

        cards = dataset_cards()
        print(imported("tensorflow", "keras", "sklearn", "scipy", "pandas"))
        load_dataset("digits").split(20)
        print(imported("tensorflow", "keras", "tensorflow_datasets"))
    """
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(code)], capture_output=True, text=True, check=True
    )
    assert done.stdout.split() == ["[]", "[]"]
