"""Training resumes after a crash, and never from the state of another training."""

from __future__ import annotations

import json
import os
import re
import resource
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest

from r2ad2 import Autoencoder, R2AD2Detector, load
from r2ad2.detectors.registry import make_detector
from r2ad2.training.checkpoints import Checkpoint
from r2ad2.training.loop import Training
from tests.helpers.commands import SET, run
from tests.helpers.detectors import DETECTORS, QUICK, SMALL, DistanceDetector
from tests.helpers.tables import table

STOPPING = SMALL | {"epochs": 6, "dropout": 0.2}
STOPPING |= {"early_stopping": True, "n_iter_no_change": 2}


class CrashError(Exception):
    """Ends a training at once."""


@pytest.fixture
def crash(monkeypatch):
    """Return a function that makes trainings crash right after the checkpoints numbered."""
    write = Checkpoint.write
    # Write a checkpoint after every epoch, although epochs take hardly any time here.
    monkeypatch.setattr("r2ad2.training.loop._SHARE_OF_TIME", np.inf)

    def crash_after(*numbers):
        written = []

        def write_and_crash(self, phase, state):
            write(self, phase, state)
            written.append((phase, state.epoch))
            if len(written) in numbers:
                raise CrashError

        monkeypatch.setattr(Checkpoint, "write", write_and_crash)
        return written

    return crash_after


def fit_until_done(make, X, y=None):
    """Repeat a call that crashes until it does not."""
    n_crashes = 0
    while True:
        try:
            return make().fit(X, y), n_crashes
        except CrashError:
            n_crashes += 1


def assert_equal(detector, other, X):
    np.testing.assert_array_equal(detector.predict_proba(X), other.predict_proba(X))
    assert detector.threshold_ == other.threshold_
    pd.testing.assert_frame_equal(detector.history_, other.history_)


@pytest.mark.parametrize("changes", [{}, {"synthetic_pool": 4, "scaling": "quantile"}])
def test_a_resumed_training_ends_as_if_it_had_not_crashed(changes, rng, tmp_path, crash):
    X, y = table(rng)
    settings = STOPPING | changes
    whole = R2AD2Detector(**settings).fit(X, y)
    # After the first snapshot, and after three epochs of the alarm network.
    written = crash(2, 7)
    detector, n_crashes = fit_until_done(
        lambda: R2AD2Detector(**settings, checkpoint_dir=tmp_path / "kept"), X, y
    )
    assert n_crashes == 2
    assert written[1] == ("autoencoder", 2)
    assert written[6] == ("alarm network", 3)
    assert_equal(detector, whole, X)
    np.testing.assert_array_equal(detector.p_values(X), whole.p_values(X))
    # After that, nothing is trained again.
    crash(1)
    again = R2AD2Detector(**settings, checkpoint_dir=str(tmp_path / "kept")).fit(X, y)
    assert_equal(again, whole, X)
    saved = load(detector.save(tmp_path / "model.keras"))
    assert saved.checkpoint_dir is None
    assert_equal(saved, whole, X)


@pytest.mark.slow
@pytest.mark.parametrize("name", sorted(DETECTORS.keys() - {"R2AD2"}))
def test_every_method_resumes(name, rng, tmp_path, crash):
    """It crashes twice; a test of its own has R2AD2."""
    X, y = table(rng, 60)
    settings = QUICK | {"epochs": 3, "dropout": 0.2}
    whole = make_detector(DETECTORS[name], settings).fit(X, y)
    crash(2, 4)
    kept = settings | {"checkpoint_dir": tmp_path}
    detector, n_crashes = fit_until_done(lambda: make_detector(DETECTORS[name], kept), X, y)
    assert n_crashes == 2
    assert_equal(detector, whole, X)


def test_weights_in_bfloat16_are_kept(rng, tmp_path, crash):
    X = rng.random((60, 4))
    own = Autoencoder("3", input_shape=(4,), dtype="bfloat16", seed=0)
    settings = QUICK | {"architecture": own}
    detector = make_detector(DETECTORS["AE"], settings | {"checkpoint_dir": tmp_path})
    crash(1)
    with pytest.raises(CrashError):
        detector.fit(X)
    whole = make_detector(DETECTORS["AE"], settings).fit(X)
    assert_equal(detector.fit(X), whole, X)


@pytest.mark.parametrize("random_state", [None, np.random.RandomState(3)], ids=["none", "state"])
def test_the_random_state_is_kept(random_state, rng, tmp_path, crash):
    """After a crash, the same samples are held back and the same numbers drawn as before."""
    X = rng.random((50, 3))
    seen = []

    class Spy(DistanceDetector):
        def _fit_scorer(self, x, y, random, training):
            seen.append((x, random.randint(2**31, size=3)))
            if len(seen) == 1:
                raise CrashError
            return super()._fit_scorer(x, y, random, training)

    state = None if random_state is None else random_state.get_state()

    def make():
        if random_state is not None:
            random_state.set_state(state)
        return Spy(random_state=random_state, checkpoint_dir=tmp_path, calibration_fraction=0.5)

    fit_until_done(make, X)
    for first, second in zip(*seen, strict=True):
        np.testing.assert_array_equal(first, second)


class Unfinished(DistanceDetector):
    """Never comes to an end."""

    def _fit_scorer(self, x, y, random, training):
        raise CrashError


def unfinished(folder, X, y=None, **settings):
    with pytest.raises(CrashError):
        Unfinished(checkpoint_dir=folder, random_state=0, **settings).fit(X, y)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda X: {"X": X + 1}, r"differs in samples \(40 x 3, digest \w+, now 40 x 3, digest"),
        (lambda X: {"X": X.astype("float32")}, "samples"),
        (lambda X: {"X": X.view("int64")}, "samples"),
        (lambda X: {"X": pd.DataFrame(X)}, "samples"),
        (lambda X: {"y": np.arange(40) < 5}, r"labels \(4 anomalous.*now 5 anomalous"),
        (lambda X: {"calibration_fraction": 0.2}, r"calibration_fraction \(0.1, now 0.2\)"),
        (lambda X: {"random_state": 1}, r"random_state \(0, now 1\)"),
    ],
    ids=["values", "precision", "type", "form", "labels", "parameter", "seed"],
)
def test_the_state_of_another_training_is_not_used(change, message, rng, tmp_path):
    X, y = rng.random((40, 3)), np.arange(40) < 4
    unfinished(tmp_path, X, y)
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}
    settings = {"X": X, "y": y, "random_state": 0} | change(X)
    samples = settings.pop("X"), settings.pop("y")
    with pytest.raises(ValueError, match=message) as error:
        Unfinished(checkpoint_dir=tmp_path, **settings).fit(*samples)
    assert str(tmp_path) in str(error.value)
    assert "repeat that call" in str(error.value)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before
    # The same call resumes; how much progress it shows does not matter.
    unfinished(tmp_path, X, y, verbose=1)


def test_versions_and_custom_architectures_belong_to_the_training(rng, tmp_path, monkeypatch):
    X = rng.random((40, 3))
    own, same, other = (Autoencoder("2", input_shape=(3,), seed=seed) for seed in (0, 0, 1))
    monkeypatch.setattr(Training, "fit", lambda *args, **kwargs: (_ for _ in ()).throw(CrashError))

    def fit(architecture):
        make_detector(
            DETECTORS["AE"], QUICK | {"architecture": architecture, "checkpoint_dir": tmp_path}
        ).fit(X)

    for architecture in (own, same):
        with pytest.raises(CrashError):
            fit(architecture)
    with pytest.raises(ValueError, match="differs in architecture"):
        fit(other)
    monkeypatch.setattr("r2ad2.training.fingerprint.__version__", "99")
    with pytest.raises(ValueError, match=r"r2ad2 \(.*, now 99\)"):
        fit(own)


def test_a_finished_training_is_replaced_by_another(rng, tmp_path):
    (tmp_path / "notes.txt").write_text("mine")
    settings = QUICK | {"checkpoint_dir": tmp_path}
    for n in (40, 50):
        X = rng.random((n, 3))
        detector = make_detector(DETECTORS["AE"], settings).fit(X)
        plain = make_detector(DETECTORS["AE"], QUICK).fit(X)
        assert_equal(detector, plain, X)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_files_of_another_training_are_refused(rng, tmp_path):
    X = rng.random((40, 3))
    for folder, seed in (("a", 0), ("b", 1)):
        settings = QUICK | {"checkpoint_dir": tmp_path / folder, "random_state": seed}
        make_detector(DETECTORS["AE"], settings).fit(X)
    name = "autoencoder.checkpoint.npz"
    (tmp_path / "b" / name).replace(tmp_path / "a" / name)
    settings = QUICK | {"checkpoint_dir": tmp_path / "a"}
    with pytest.raises(ValueError, match="belongs to another training: delete the directory"):
        make_detector(DETECTORS["AE"], settings).fit(X)


@pytest.mark.parametrize(
    "damage",
    [
        lambda content: b"",
        lambda content: b"no checkpoint at all",
        lambda content: content[: len(content) // 2],
        lambda content: content[:-1],
        # In the numbers of the first array, or in the fingerprint.
        lambda content: content[:200] + bytes([content[200] ^ 1]) + content[201:],
    ],
    ids=["empty", "garbage", "half", "one byte less", "one bit changed"],
)
@pytest.mark.parametrize("name", ["autoencoder.checkpoint.npz", "training.json"])
def test_damaged_files_are_named(damage, name, damaged_training):
    make, folder, X = damaged_training
    whole = (folder / name).read_bytes()
    content = damage(whole)
    (folder / name).write_bytes(content)
    try:
        with pytest.raises(ValueError, match=r"is damaged.*: delete") as error:
            make().fit(X)
        assert str(folder / name) in str(error.value)
        assert (folder / name).read_bytes() == content
    finally:
        (folder / name).write_bytes(whole)


@pytest.fixture(scope="module")
def damaged_training(tmp_path_factory):
    folder = tmp_path_factory.mktemp("kept")
    X = np.random.default_rng(0).random((40, 3))

    def make():
        return make_detector(DETECTORS["AE"], QUICK | {"checkpoint_dir": folder})

    make().fit(X)
    return make, folder, X


def test_the_remedy_for_a_damaged_file_helps(rng, tmp_path):
    X = rng.random((40, 3))
    settings = QUICK | {"checkpoint_dir": tmp_path}
    first = make_detector(DETECTORS["AE"], settings).fit(X)
    (tmp_path / "autoencoder.checkpoint.npz").unlink()
    assert_equal(make_detector(DETECTORS["AE"], settings).fit(X), first, X)


def test_a_full_disk_names_the_directory_and_keeps_the_state(rng, tmp_path, crash):
    """A limit on the size of files fails as a full disk does."""
    X = rng.random((60, 4))
    settings = QUICK | {"epochs": 4, "checkpoint_dir": tmp_path}
    written = crash(2)
    with pytest.raises(CrashError):
        make_detector(DETECTORS["AE"], settings).fit(X)
    crash()
    path = tmp_path / "autoencoder.checkpoint.npz"
    before = path.read_bytes()
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (len(before) // 2, hard))
    try:
        with pytest.raises(OSError, match="File too large") as error:
            make_detector(DETECTORS["AE"], settings).fit(X)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert f"checkpoint_dir {str(tmp_path)!r}" in str(error.value)
    assert path.read_bytes() == before
    assert {p.name for p in tmp_path.iterdir()} == {path.name, "training.json"}
    assert written == [("autoencoder", 1), ("autoencoder", 2)]
    detector = make_detector(DETECTORS["AE"], settings).fit(X)
    assert_equal(detector, make_detector(DETECTORS["AE"], QUICK | {"epochs": 4}).fit(X), X)


def test_a_failed_rename_keeps_the_state(rng, tmp_path, crash, monkeypatch):
    X = rng.random((60, 4))
    settings = QUICK | {"checkpoint_dir": tmp_path}
    crash(1)
    with pytest.raises(CrashError):
        make_detector(DETECTORS["AE"], settings).fit(X)
    crash()
    before = {path: path.read_bytes() for path in tmp_path.iterdir()}

    def fail(*args, **kwargs):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(os, "replace", fail)
        with pytest.raises(OSError, match=f"{re.escape(repr(str(tmp_path)))}.*No space left"):
            make_detector(DETECTORS["AE"], settings).fit(X)
    assert {path: path.read_bytes() for path in tmp_path.iterdir()} == before


def test_directories_that_cannot_be_written_are_named_before_training(rng, tmp_path):
    file = tmp_path / "file"
    file.write_text("content")
    read_only = tmp_path / "read_only"
    read_only.mkdir(mode=0o500)
    folders = [file, file / "inside"]
    if os.geteuid():  # the superuser may write everywhere
        folders.append(read_only)
    for folder in folders:
        with pytest.raises(OSError, match=re.escape(repr(str(folder)))):
            unfinished(folder, rng.random((40, 3)))
    assert file.read_text() == "content"


def test_leftovers_of_a_killed_process_are_removed(rng, tmp_path):
    X = rng.random((40, 3))
    unfinished(tmp_path, X)
    for name in (".training.json.x1", ".autoencoder.checkpoint.npz.x2"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "part").write_text("half")
    unfinished(tmp_path, X)
    assert [path.name for path in tmp_path.iterdir()] == ["training.json"]
    assert not json.loads((tmp_path / "training.json").read_text())["finished"]


def test_the_command_line_keeps_the_state_in_the_given_folder(rng, tmp_path, capsys):
    X, y = table(rng, 60)
    X.assign(label=y).to_csv(tmp_path / "train.csv", index=False)
    command = ["fit", tmp_path / "train.csv", "--label", "label", "--quiet"]
    command += ["--output", tmp_path / "model.keras", "--checkpoint-dir", tmp_path / "kept", *SET]
    command += ["--set", "n_snapshots=1"]
    assert run(*command) == 0
    assert (tmp_path / "kept" / "autoencoder.checkpoint.npz").is_file()
    (tmp_path / "kept" / "autoencoder.checkpoint.npz").write_bytes(b"half")
    assert run(*command) == 2
    shown = capsys.readouterr().err.strip()
    assert shown.startswith("Error: checkpoint file ")
    assert len(shown.splitlines()) == 1


def test_progress_begins_where_training_resumes(rng, tmp_path, crash, capsys):
    X = rng.random((60, 4))
    settings = SMALL | {"n_snapshots": 3, "epochs": 3}
    settings |= {"checkpoint_dir": tmp_path, "verbose": 1}
    crash(3)
    with pytest.raises(CrashError):
        R2AD2Detector(**settings).fit(X)
    capsys.readouterr()
    crash()
    R2AD2Detector(**settings).fit(X)
    shown = capsys.readouterr().err
    assert "retraining: resumes after epoch 3" in shown
    assert "autoencoder: epoch" not in shown
    assert "retraining: epoch 2/2" in shown
    assert "retraining: epoch 1/2" not in shown


KILLED = """
    import json, os, signal, sys, time
    import numpy as np
    from sklearn.datasets import load_breast_cancer
    from r2ad2 import R2AD2Detector
    from r2ad2.training import loop

    loop._SHARE_OF_TIME = np.inf  # a checkpoint after every epoch
    folder = sys.argv[1]
    kept = f"{folder}/kept"
    X, y = load_breast_cancer(return_X_y=True)
    X, y = X[:160], 1 - y[:160]
    settings = dict(
        architecture="6-3", alarm_units=(16, 8, 4), start_epoch=8, snapshot_interval=4, epochs=30,
        batch_size=32, early_stopping=True, n_iter_no_change=50, random_state=0,
    )

    def start(name, checkpoint_dir):
        # TensorFlow is imported but has not computed anything, so that a fork does no harm.
        process = os.fork()
        if process:
            return process
        detector = R2AD2Detector(**settings, checkpoint_dir=checkpoint_dir).fit(X, y)
        np.savez(f"{folder}/{name}.npz", scores=detector.predict_proba(X),
                 p_values=detector.p_values(X), history=detector.history_["loss"])
        os._exit(0)

    def finish(process):
        if os.waitpid(process, 0)[1]:
            sys.exit("a training failed")

    def changed(file):
        try:
            return os.stat(f"{kept}/{file}").st_mtime_ns
        except FileNotFoundError:
            return None

    def kill_after(file, n_writes, delay):
        process, seen = start("killed", kept), changed(file)
        while n_writes:
            if os.waitpid(process, os.WNOHANG)[0]:
                sys.exit(f"the training ended before {file} was written")
            if changed(file) != seen:
                n_writes, seen = n_writes - 1, changed(file)
            time.sleep(0.001)
        time.sleep(delay)
        os.kill(process, signal.SIGKILL)
        if not os.WIFSIGNALED(os.waitpid(process, 0)[1]):
            sys.exit("the training ended before it was killed")
        print(file, os.listdir(kept) if os.path.exists(kept) else [], flush=True)

    finish(start("uninterrupted", None))
    for moment in json.loads(sys.argv[2]):
        kill_after(*moment)
    finish(start("resumed", kept))
"""
# The manifest is written before the first epoch and after the last.
MOMENTS = [
    ("training.json", 1, 0.0),
    ("autoencoder.checkpoint.npz", 5, 0.002),
    ("alarm_network.checkpoint.npz", 1, 0.0),
    ("alarm_network.checkpoint.npz", 10, 0.006),
    ("training.json", 1, 0.0),
]


@pytest.mark.slow
def test_a_training_killed_in_every_phase_ends_with_equal_scores(tmp_path):
    """One training is killed five times: after a file has been written n times, and a delay."""
    done = subprocess.run(
        [sys.executable, "-c", textwrap.dedent(KILLED), tmp_path, json.dumps(MOMENTS)],
        capture_output=True,
        text=True,
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert len(done.stdout.splitlines()) == len(MOMENTS), done.stdout
    whole, resumed = (np.load(tmp_path / f"{name}.npz") for name in ("uninterrupted", "resumed"))
    for name in whole:
        np.testing.assert_array_equal(resumed[name], whole[name])
