"""The command line from file to scores, and its errors: one line, exit code 2."""

from __future__ import annotations

import importlib.util
import shlex
import subprocess
import sys
import textwrap

import numpy as np
import pandas as pd
import pytest
from sklearn.metrics import roc_auc_score

import r2ad2
from r2ad2 import R2AD2Detector, load
from tests.helpers.commands import SET, run
from tests.helpers.tables import table


@pytest.fixture(scope="module")
def files(tmp_path_factory):
    """Write a labelled table and train a model on it."""
    folder = tmp_path_factory.mktemp("cli")
    X, y = table(np.random.default_rng(0))
    X.assign(label=np.where(y, "fraud", "fine"), id=range(len(X))).to_csv(
        folder / "train.csv", index=False
    )
    train = ["fit", folder / "train.csv", "--label", "label", "--anomaly", "fraud", "--drop", "id"]
    assert run(*train, "--output", folder / "model.keras", "--quiet", *SET) == 0
    return folder


@pytest.fixture(scope="module")
def detector(files):
    return load(files / "model.keras")


@pytest.fixture
def loaded(detector, monkeypatch):
    """Have commands use the trained detector without reading its file every time."""
    monkeypatch.setattr(r2ad2, "load", lambda path: detector)


def test_fit_score_and_evaluate(files, detector, capsys):
    model = ["--model", files / "model.keras"]
    output = files / "scores.csv"
    assert run("score", files / "train.csv", *model, "--output", output) == 0
    scores = pd.read_csv(output)
    X, y = table(np.random.default_rng(0))
    expected = detector.predict_proba(pd.read_csv(files / "train.csv")[X.columns])
    np.testing.assert_allclose(scores["score"], expected[:, 1], rtol=1e-12)
    np.testing.assert_array_equal(scores["row"], np.arange(len(X)))
    plots = ["--plots", files / "plots"]
    assert run("evaluate", files / "train.csv", *model, "--label", "label", *plots) == 0
    assert f"{roc_auc_score(y, scores['score']):.3f}" in capsys.readouterr().out
    assert {p.name for p in (files / "plots").iterdir()} == {
        "roc.png",
        "precision_recall.png",
        "scores.png",
        "training.png",
    }


@pytest.mark.usefixtures("loaded")
def test_explanations_of_all_rows_and_of_the_highest_scores(files, detector, tmp_path, capsys):
    X, _ = table(np.random.default_rng(0))
    rows = pd.read_csv(files / "train.csv").head(40)
    rows.to_csv(tmp_path / "new.csv", index=False)
    command = ["explain", tmp_path / "new.csv", "--model", files / "model.keras", "--quiet"]
    assert run(*command, "--output", tmp_path / "why.csv") == 0
    why = pd.read_csv(tmp_path / "why.csv")
    expected = detector.explain(X.head(40)).to_frame()
    np.testing.assert_array_equal(why.pop("row"), np.arange(len(rows)))
    np.testing.assert_array_equal(why.pop("is_anomaly"), why["score"] > 0.5)
    np.testing.assert_allclose(why, expected, atol=1e-5)
    assert list(why) == list(expected)
    top = ["--top", "3", "--plots", tmp_path / "plots"]
    assert run(*command, "--output", tmp_path / "top.csv", *top) == 0
    numbers = pd.read_csv(tmp_path / "top.csv")["row"]
    assert set(numbers) == set(why["score"].nlargest(3).index)
    plotted = {path.name for path in (tmp_path / "plots").iterdir()}
    assert plotted == {f"row_{number}.png" for number in numbers}
    (tmp_path / "plots" / "row_1000.png").touch()
    command.remove("--quiet")
    capsys.readouterr()
    assert run(*command, "--output", tmp_path / "top.csv", *top) == 0
    assert "also holds 1 plot of earlier runs" in capsys.readouterr().out.replace("\n", " ")


@pytest.mark.usefixtures("loaded")
def test_ids_stand_before_explanations(files, tmp_path, capsys):
    rows = pd.read_csv(files / "train.csv").head(20)
    keys = [f"{i:04d}" for i in range(len(rows))]
    rows.assign(key=keys).to_csv(tmp_path / "new.csv", index=False)
    command = ["explain", tmp_path / "new.csv", "--model", files / "model.keras", "--quiet"]
    command += ["--output", tmp_path / "why.csv"]
    for limit in ([], ["--top", "3"]):
        assert run(*command, *limit, "--id", "key", "--id", "amount") == 0
        why = pd.read_csv(tmp_path / "why.csv", dtype={"key": str})
        assert list(why.columns[:4]) == ["row", "key", "amount", "score"]
        assert why["key"].tolist() == [keys[row] for row in why["row"]]
        np.testing.assert_allclose(why["amount"], rows["amount"].loc[why["row"]])
    taken = dict.fromkeys(("score", "feature:amount", "layer:code"), "an output column")
    for name, message in {"absent": "no id column 'absent'", **taken}.items():
        assert run(*command, "--id", name) == 2
        assert message in capsys.readouterr().err


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["--label", "lable"], "no label column 'lable': did you mean 'label'?"),
        (["--label", "LABEL"], "no label column 'LABEL': did you mean 'label'?"),
        (["--label", "label", "--anomaly", "fraud", "--drop", "Id"], "did you mean 'id'?"),
        (["--label", "label", "--anomaly", "fraud", "--datetime", "when"], "the columns are '"),
        (
            ["--label", "label", "--anomaly", "fraud", "--drop", "id,amount"],
            "no column 'id,amount' in '{}': name each column with an option of its own",
        ),
    ],
)
def test_a_misspelt_column_is_named_with_a_suggestion(files, tmp_path, capsys, options, message):
    path = files / "train.csv"
    assert run("fit", path, *options, "--output", tmp_path / "m.keras") == 2
    assert message.format(path) in capsys.readouterr().err


@pytest.mark.usefixtures("loaded")
def test_renamed_columns_of_a_file_to_score_are_suggested(files, tmp_path, capsys):
    rows = pd.read_csv(files / "train.csv")
    command = ["--model", files / "model.keras", "--output", tmp_path / "out.csv", "--quiet"]
    rows.rename(columns={"amount": "Amount"}).to_csv(tmp_path / "renamed.csv", index=False)
    rows.rename(columns={"amount": "quite;other"}).to_csv(tmp_path / "other.csv", index=False)
    for name in ("score", "explain"):
        assert run(name, tmp_path / "renamed.csv", *command) == 2
        assert "did you mean 'Amount'?" in capsys.readouterr().err
        assert run(name, tmp_path / "other.csv", *command) == 2
        error = capsys.readouterr().err
        assert "missing column 'amount'" in error
        assert "did you mean" not in error


@pytest.mark.usefixtures("loaded")
def test_no_work_begins_where_nothing_can_be_written(files, tmp_path, capsys, monkeypatch):
    monkeypatch.setattr(R2AD2Detector, "fit", lambda *_: pytest.fail("trained"))
    monkeypatch.setattr(R2AD2Detector, "predict_proba", lambda *_: pytest.fail("scored"))
    (tmp_path / "file").touch()
    train = ["fit", files / "train.csv", "--label", "label", "--anomaly", "fraud"]
    explain = ["explain", files / "train.csv", "--output", tmp_path / "why.csv", "--top", "1"]
    evaluate = ["evaluate", files / "train.csv", "--label", "label", "--plots", tmp_path / "file"]
    model = ["--model", files / "model.keras"]
    for command in (
        ["demo", "--output", tmp_path / "file"],
        [*train, "--output", tmp_path / "file" / "m.keras"],
        [*explain, *model, "--plots", tmp_path / "file"],
        [*evaluate, *model],
    ):
        assert run(*command) == 2
        message = f"Error: cannot write into '{tmp_path / 'file'}': it is a file"
        assert capsys.readouterr().err.startswith(message)


@pytest.mark.usefixtures("loaded")
def test_folders_and_empty_files_are_refused(files, tmp_path, capsys):
    (tmp_path / "empty.csv").touch()
    for path, message in ((tmp_path, "is a folder: name a file"), ("empty.csv", "holds no rows")):
        fit = ["fit", tmp_path / path, "--label", "label", "--output", tmp_path / "m.keras"]
        score = ["score", tmp_path / path, "--model", files / "model.keras"]
        for command in (fit, [*score, "--output", tmp_path / "s.csv"]):
            assert run(*command) == 2
            assert message in capsys.readouterr().err


@pytest.mark.usefixtures("loaded")
def test_malformed_rows_are_counted_and_written_aside(files, tmp_path, capsys):
    rows = pd.read_csv(files / "train.csv").astype({"amount": object})
    rows.loc[7, "amount"] = "?"
    rows.to_csv(tmp_path / "new.csv", index=False)
    command = ["score", tmp_path / "new.csv", "--model", files / "model.keras"]
    command += ["--output", tmp_path / "s.csv"]
    rejects = ["--rejects", tmp_path / "bad.csv"]
    assert run(*command, *rejects) == 2
    assert "--rejects needs --on-error skip" in capsys.readouterr().err
    assert run(*command, *rejects, "--on-error", "skip") == 0
    shown = capsys.readouterr()
    assert "scored 199 rows" in shown.out
    assert "set 1 malformed rows aside" in shown.out
    assert "scoring: byte" in shown.err
    assert pd.read_csv(tmp_path / "bad.csv")["row"].tolist() == [7]
    assert run(*command, *rejects, "--on-error", "skip", "--quiet") == 0
    assert capsys.readouterr() == ("", "")


def write(path, **columns):
    pd.DataFrame(columns).to_csv(path, index=False)
    return path


def bad_fits(folder):
    n = 20
    numbers = np.arange(n)
    yield "no file", [folder / "none.csv", "--label", "y"], "none.csv"
    yield "no label", [write(folder / "a.csv", x=numbers), "--label", "y"], "'y'"
    yield "three labels", [write(folder / "b.csv", x=numbers, y=numbers % 3), "--label", "y"], "3 "
    yield "text labels", [write(folder / "c.csv", x=numbers, y="ok"), "--label", "y"], "--anomaly"
    all_anomalous = write(folder / "d.csv", x=numbers, y=1)
    yield "no normal rows", [all_anomalous, "--label", "y"], "normal"
    with_nan = write(folder / "e.csv", x=np.where(numbers == 3, np.nan, numbers), y=numbers % 2)
    yield "NaN", [with_nan, "--label", "y"], "'x' (1 row)"
    texts = numbers.astype(str).astype(object)
    texts[4] = "four"
    yield "text", [write(folder / "f.csv", x=texts, y=numbers % 2), "--label", "y"], "'four'"
    yield "one row", [write(folder / "g.csv", x=[1], y=[0]), "--label", "y"], "at least 2"
    (folder / "empty.csv").write_text("")
    yield "empty", [folder / "empty.csv", "--label", "y"], "empty.csv"
    (folder / "ragged.csv").write_text("x,y\n1,0\n1,2,3\n")
    yield "ragged", [folder / "ragged.csv", "--label", "y"], "ragged.csv"
    good = write(folder / "h.csv", x=numbers, y=numbers % 2)
    yield "setting", [good, "--label", "y", "--set", "epoch=3"], "'epoch'"
    yield "value", [good, "--label", "y", "--set", "epochs=many"], "epochs"
    yield "no value", [good, "--label", "y", "--set", "epochs"], "--set needs name=value"
    yield "preset", [good, "--label", "y", "--preset", "best"], "'best'"
    yield "drop", [good, "--label", "y", "--drop", "z"], "'z'"
    yield "option", [good, "--anomaly", "1"], "--label"


def test_bad_fits_end_with_one_line_and_code_2(tmp_path, capsys):
    for name, arguments, message in bad_fits(tmp_path):
        code = run("fit", *arguments, "--output", tmp_path / "m.keras", "--quiet")
        error = capsys.readouterr().err.strip()
        assert code == 2, name
        assert error.startswith("Error: "), name
        assert "\n" not in error, name
        assert message in error, (name, error)
    assert not (tmp_path / "m.keras").exists()


def test_bad_scoring_ends_with_one_line_and_code_2(files, tmp_path, capsys):
    good = pd.read_csv(files / "train.csv")
    cases = [
        (good.drop(columns="kind"), "model.keras", "scores.csv", "missing column 'kind'"),
        (
            good.assign(amount="much"),
            "model.keras",
            "scores.csv",
            "row 0: not a number in column '",
        ),
        (good, "missing.keras", "scores.csv", "missing.keras' does not exist"),
        (good, "model.keras", "scores.xlsx", "scores.xlsx': use the extension .csv"),
    ]
    for content, model, output, message in cases:
        content.to_csv(tmp_path / "new.csv", index=False)
        arguments = ["--model", files / model, "--output", tmp_path / output]
        assert run("score", tmp_path / "new.csv", *arguments) == 2
        error = capsys.readouterr().err.strip()
        assert message in error
        assert "\n" not in error
        assert not (tmp_path / output).exists()


@pytest.mark.usefixtures("loaded")
def test_evaluation_with_another_label_column(files, tmp_path, capsys):
    rows = pd.read_csv(files / "train.csv")
    rows.rename(columns={"label": "verdict"}).to_csv(tmp_path / "test.csv", index=False)
    model = ["--model", files / "model.keras"]
    assert run("evaluate", tmp_path / "test.csv", "--label", "verdict", *model) == 0
    assert run("evaluate", tmp_path / "test.csv", "--label", "label", *model) == 2
    assert "no label column 'label'" in capsys.readouterr().err


@pytest.mark.usefixtures("loaded")
def test_labels_cannot_be_a_feature_and_absent_ones_are_named(files, capsys):
    model = ["--model", files / "model.keras"]
    names = pd.read_csv(files / "train.csv", nrows=0).columns
    feature = next(name for name in names if name not in ("label", "id"))
    assert run("evaluate", files / "train.csv", "--label", feature, *model) == 2
    assert f"column '{feature}' is a feature of this model" in capsys.readouterr().err
    chosen = ["--label", "label", "--anomaly", "fraud", "--anomaly", "faud"]
    assert run("evaluate", files / "train.csv", *chosen, *model) == 0
    assert "no row has the label 'faud' in column 'label'" in capsys.readouterr().out


def test_without_a_command_there_is_only_help(capsys):
    assert run() == 2
    printed = capsys.readouterr()
    assert "Usage" in printed.out
    assert printed.err == ""


def test_plots_of_explanations_need_a_number_of_rows(tmp_path, capsys):
    command = ["explain", tmp_path / "a.csv", "--model", "m.keras", "--output", tmp_path / "o.csv"]
    assert run(*command, "--plots", tmp_path) == 2
    assert "--plots needs --top" in capsys.readouterr().err


def test_the_installed_command_shows_help_without_tensorflow_and_one_line_of_error(tmp_path):
    code = """
        import sys
        from r2ad2.cli.launch import main

        sys.argv = ["r2ad2", "--help"]
        try:
            main()
        except SystemExit as stopped:
            assert stopped.code == 0
        assert not {"tensorflow", "keras", "pandas"} & sys.modules.keys()
        sys.argv = ["r2ad2", *"score x.csv --model no.keras --output y.csv".split()]
        main()
    """
    command = [sys.executable, "-c", textwrap.dedent(code)]
    done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=tmp_path)
    assert done.stderr == "Error: model file 'no.keras' does not exist\n"
    assert done.returncode == 2
    assert "evaluate" in done.stdout


@pytest.mark.slow
def test_demo_learns_and_leaves_model_and_plots(tmp_path, capsys, monkeypatch):
    assert run("demo", "--output", tmp_path / "demo") == 0
    made = {path.name for path in (tmp_path / "demo").iterdir()}
    assert made == {
        *("model.keras", "roc.png", "precision_recall.png", "scores.png", "training.png"),
        *("review.keras", "train.csv", "new.csv"),
    }
    figures = capsys.readouterr().out
    printed = shlex.split(figures.strip().splitlines()[-1])
    if importlib.util.find_spec("starlette") is not None:
        from r2ad2.review.server import ReviewServer

        monkeypatch.setattr(ReviewServer, "run", lambda self, started: started())
        assert run(*printed[1:], "--no-browser") == 0
        assert "http://127.0.0.1:" in capsys.readouterr().out
    auc = float(figures.split("AUC ")[-1].split(",")[0])
    assert auc > 0.9


@pytest.mark.slow
def test_nsl_kdd_from_the_publishers_files(real_data, tmp_path, capsys):
    """A published train and test file, read without a header, with text columns."""
    folder = real_data / "nsl_kdd"
    common = ["--no-header", "--label", "41", "--drop", "42", "--normal", "normal"]
    small = ["--set", "architecture=10-5", "--set", "n_trees=20", "--set", "start_epoch=3"]
    small += ["--set", "snapshot_interval=1"]
    model = tmp_path / "kdd.keras"
    assert run("fit", folder / "KDDTrain+_20Percent.txt", *common, *small, "--output", model) == 0
    assert run("evaluate", folder / "KDDTest+.txt", "--label", "41", "--model", model) == 0
    output = capsys.readouterr().out
    auc = float(next(line for line in output.splitlines() if "AUC" in line).split("│")[2])
    assert auc > 0.85
