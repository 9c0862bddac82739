"""Whatever table file `fit` accepts, every command accepts; what is unclear is one clear line."""

from __future__ import annotations

import re
import zipfile

import numpy as np
import pandas as pd
import pytest

from tests.helpers.commands import run
from tests.helpers.table_files import OTHER_FORMATS, PACKED, all_commands, transactions


@pytest.fixture(scope="module")
def table():
    return transactions()


@pytest.fixture(scope="module")
def usual(table, tmp_path_factory):
    """Write the table to an ordinary CSV file."""
    folder = tmp_path_factory.mktemp("usual")
    table.to_csv(folder / "rows.csv", index=False)
    return folder / "rows.csv"


@pytest.fixture(scope="module")
def usual_scores():
    """Keep the scores of the ordinary file."""
    return []


@pytest.fixture
def same(tmp_path, capsys, usual, usual_scores):
    """Check that a file gives the scores that the ordinary file of the same rows gives."""

    def check(path, *options, **others):
        if not usual_scores:
            usual_scores.append(all_commands(tmp_path, capsys, usual).scores)
        found = all_commands(tmp_path, capsys, path, *options, **others)
        assert found.error == ""
        np.testing.assert_allclose(found.scores, usual_scores[0], atol=1e-6)
        return found.printed

    return check


@pytest.fixture
def refused(tmp_path, capsys):
    """Check that `fit` refuses a file with a message."""

    def check(path, message, *options, **others):
        found = all_commands(tmp_path, capsys, path, *options, **others)
        assert found.command == "fit"
        assert re.search(message, found.error), found.error

    return check


def write(path, content):
    path.write_bytes(content if isinstance(content, bytes) else content.encode())
    return path


def test_fit_says_what_each_column_is_and_so_does_inspect(usual, tmp_path, capsys):
    printed = all_commands(tmp_path, capsys, usual).printed
    lines = ["amount: number", "hour: number", "online: boolean", "kind: category, 3 values"]
    assert [line for line in printed.splitlines() if line in lines] == lines
    assert run("inspect", tmp_path / "model.keras") == 0
    shown = capsys.readouterr().out
    for line in (*lines, "method: DistanceDetector", "threshold: 0.5", "calibration: none"):
        assert line in shown
    assert "versions: r2ad2" in shown
    assert "label: column 'label'" in shown


def test_brackets_in_names_are_shown_as_they_are(table, tmp_path, capsys):
    named = table.rename(columns={"amount": "speed [km/h]", "hour": "[/m]"})
    named.to_csv(tmp_path / "rows.csv", index=False)
    printed = all_commands(tmp_path, capsys, tmp_path / "rows.csv").printed
    assert "speed [km/h]: number\n[/m]: number\n" in printed


# ---- files ---------------------------------------------------------------------------------


@pytest.mark.parametrize("name", PACKED)
def test_compressed_files(same, usual, tmp_path, name):
    PACKED[name](tmp_path / name, usual.read_bytes())
    same(tmp_path / name)


@pytest.mark.parametrize("name", OTHER_FORMATS)
def test_other_formats(same, table, tmp_path, name):
    OTHER_FORMATS[name](table, tmp_path / name)
    same(tmp_path / name)


@pytest.mark.parametrize("name", ["a.parquet", "a.csv.zst", "a.jsonl"])
def test_a_model_of_a_csv_file_scores_other_formats(same, usual, table, tmp_path, name):
    if name in PACKED:
        PACKED[name](tmp_path / name, usual.read_bytes())
    else:
        OTHER_FORMATS[name](table, tmp_path / name)
    same(usual, new=tmp_path / name)


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("a.xlsx", None, "is an Excel workbook: save its sheet as CSV"),
        ("a.xls", b"\xd0\xcf\x11\xe0" * 9, "is an Excel workbook"),
        ("a.csv.gz", b"a,b\n1,2\n", "it is not a gzip file"),
        ("a.parquet", b"a,b\n1,2\n", "it is not a Parquet file"),
        ("a.csv", b"SQLite format 3\0", "is an SQLite database"),
        ("a.csv", b"", "holds no rows"),
        ("a.csv", b"a,label\n", "holds no rows"),
    ],
)
def test_files_that_are_no_table_are_named(refused, tmp_path, name, content, message):
    if content is None:
        with zipfile.ZipFile(tmp_path / name, "w") as archive:
            archive.writestr("[Content_Types].xml", "")
    else:
        write(tmp_path / name, content)
    refused(tmp_path / name, message)


# ---- text ----------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("change", "options"),
    [
        (lambda text: text.replace("\n", "\r").encode(), []),
        (lambda text: text.replace("\n", "\r\n").encode(), []),
        (lambda text: text.encode("utf-16"), []),
        (lambda text: text.encode("utf-8-sig"), []),
        (lambda text: text.encode("utf-16-le"), ["--encoding", "utf-16-le"]),
        (lambda text: text.replace("\n", "\n\n").encode(), []),
        (lambda text: text.replace(",", ", ").encode(), ["--number", "amount"]),
        (lambda text: text.replace(",", ";").encode(), []),
        (lambda text: text.replace(",", "|").encode(), []),
        (lambda text: text.replace(",", "~").encode(), ["--separator", "~"]),
    ],
    ids=["\\r", "\\r\\n", "UTF-16", "UTF-8 with BOM", "UTF-16 named", "blank lines",
         "blanks after commas", "semicolons", "bars", "a separator that is named"],
)  # fmt: skip
def test_text_of_all_sorts(same, usual, tmp_path, change, options):
    same(write(tmp_path / "a.csv", change(usual.read_text())), *options)


def test_blanks_in_the_header_only(same, usual, tmp_path):
    header, rows = usual.read_text().split("\n", 1)
    same(write(tmp_path / "a.csv", header.replace(",", ", ") + "\n" + rows))


def test_latin_1(table, tmp_path, capsys, refused):
    text = table.assign(kind=table["kind"].replace("fuel", "Öl")).to_csv(index=False)
    utf8 = all_commands(tmp_path, capsys, write(tmp_path / "utf8.csv", text))
    path = write(tmp_path / "latin.csv", text.encode("latin-1"))
    refused(path, r"column 'kind' holds text that is not UTF-8, .*line \d.*--encoding latin-1")
    latin = all_commands(tmp_path, capsys, path, "--encoding", "latin-1")
    np.testing.assert_allclose(latin.scores, utf8.scores, atol=1e-6)


def test_semicolons_without_a_label(table, tmp_path, capsys):
    table = table.drop(columns="label")
    table.to_csv(tmp_path / "a.csv", index=False)
    table.to_csv(tmp_path / "b.csv", index=False, sep=";")
    commas = all_commands(tmp_path, capsys, tmp_path / "a.csv", label=())
    semicolons = all_commands(tmp_path, capsys, tmp_path / "b.csv", label=())
    np.testing.assert_array_equal(commas.scores, semicolons.scores)
    assert "columns are separated by semicolons" in semicolons.printed


def test_one_column_of_text_is_refused(refused, tmp_path):
    path = write(tmp_path / "a.csv", "a b\n" + "1 x\n2 y\n" * 20)
    refused(path, "column 'a b' is the only column, and holds text: .*--separator", label=())


@pytest.mark.parametrize("name", ["a.csv", "a.parquet"])
def test_the_index_that_pandas_wrote_is_left_out(same, table, tmp_path, name):
    indexed = table.set_index(np.arange(len(table)) // 2)
    indexed.to_csv(tmp_path / name) if name == "a.csv" else indexed.to_parquet(tmp_path / name)
    assert re.search("left out: .* \\(row numbers that pandas wrote\\)", same(tmp_path / name))


@pytest.mark.parametrize("position", [0, 1, 2])
def test_other_columns_without_a_name_are_refused_unless_dropped(
    same, refused, table, tmp_path, position
):
    unnamed = table.copy()
    unnamed.insert(position, "", np.linspace(0, 9, len(table)).round(3))
    unnamed.to_csv(tmp_path / "a.csv", index=False)
    name = f"Unnamed: {position}"
    refused(tmp_path / "a.csv", rf"column {position + 1} has no name.*\(--drop '{name}'\)")
    same(tmp_path / "a.csv", "--drop", name)


def test_a_comma_at_the_end_of_every_data_line(refused, usual, tmp_path):
    header, rows = usual.read_text().split("\n", 1)
    path = write(tmp_path / "a.csv", f"{header}\n" + rows.replace("\n", ",\n"))
    refused(path, "the header has 5 fields, line 2 has 6: ")


# ---- numbers -------------------------------------------------------------------------------


def spelt(table, path, decimal, thousands):
    """Write amounts with thousands and all fields in quotes."""
    amounts = table["amount"].map(lambda value: f"{value:,.2f}")
    amounts = amounts.str.translate(str.maketrans({",": thousands, ".": decimal}))
    table.assign(amount=amounts).to_csv(path, index=False, quoting=1)
    return path


@pytest.mark.parametrize(
    ("decimal", "thousands"), [(".", ","), (",", "."), (",", ""), (".", " "), (",", "\u202f")]
)
def test_thousands_and_decimal_commas(same, table, tmp_path, decimal, thousands):
    printed = same(spelt(table, tmp_path / "a.csv", decimal, thousands))
    assert "amount: number" in printed
    assert ("numbers are written with a decimal comma" in printed) == (decimal == ",")


def test_an_ambiguous_comma_needs_the_decimal_sign(tmp_path, capsys, refused):
    rows = "".join(f'"{1 + i % 7},{i:03}",{i % 2}\n' for i in range(40))
    path = write(tmp_path / "a.csv", "x,label\n" + rows)
    refused(path, r"column 'x' holds '1,000' \(line 2\): say which is the decimal sign")
    for decimal in ".,":
        assert not all_commands(tmp_path, capsys, path, "--decimal", decimal).error


def test_two_decimal_signs_are_refused(refused, table, tmp_path):
    path = spelt(table.assign(hour=table["hour"] + 0.5), tmp_path / "a.csv", ",", "")
    refused(path, r"column 'amount' holds '\d+,\d+' \(line 2\) with a decimal comma, but column 'h")
    refused(path, "'amount' holds .* a number with a decimal comma", "--decimal", ".")


def test_one_text_among_numbers_is_named_in_any_order(refused, table, tmp_path):
    odd = table.astype({"amount": object})
    odd.loc[7, "amount"] = "soon"
    for rows in (odd, odd[::-1], odd.sample(frac=1, random_state=0)):
        rows.to_csv(tmp_path / "a.csv", index=False)
        line = rows.index.get_loc(7) + 2
        refused(tmp_path / "a.csv", rf"'amount' looks numeric, but holds 'soon' \(line {line}\)")


def test_whole_numbers_become_floats_through_one_blank(table, tmp_path, capsys):
    codes = table.assign(code=np.where(table["label"], 80, 443))
    codes.to_csv(tmp_path / "train.csv", index=False)
    options = ["--category", "code", "--set", "missing=indicator"]
    expected = all_commands(tmp_path, capsys, tmp_path / "train.csv", *options).scores
    floats = codes.astype({"code": float})
    floats.loc[3, "code"] = np.nan
    floats.to_csv(tmp_path / "new.csv", index=False)
    found = all_commands(
        tmp_path, capsys, tmp_path / "train.csv", *options, new=tmp_path / "new.csv"
    ).scores
    present = np.arange(len(table)) != 3
    np.testing.assert_allclose(found[present], expected[present], atol=1e-6)


def test_booleans_with_gaps(table, tmp_path, capsys):
    texts = table["online"].map({True: "TRUE", False: "FALSE"}).where(table.index % 9 > 0)
    table.assign(online=texts).to_csv(tmp_path / "a.csv", index=False)
    found = all_commands(tmp_path, capsys, tmp_path / "a.csv", "--set", "missing=indicator")
    assert len(found.scores) == len(table)
    assert "online: boolean" in found.printed


# ---- categories and dates ------------------------------------------------------------------


def test_types_do_not_depend_on_the_order_of_the_rows(table, tmp_path, capsys):
    ports = np.where(table.index % 3 == 0, "0x000b", np.where(table.index % 3 == 1, "-", "443"))
    table = table.assign(port=ports, code=np.where(table.index < 60, "A1", "7"))
    kinds = []
    for rows in (table, table.sort_values("port"), table.sample(frac=1, random_state=1)):
        rows.to_csv(tmp_path / "a.csv", index=False)
        printed = all_commands(tmp_path, capsys, tmp_path / "a.csv").printed.splitlines()
        kinds.append([line for line in printed if line.startswith(("port:", "code:"))])
    assert kinds == [["port: category, 3 values", "code: category, 2 values"]] * 3


def test_an_identifier_is_refused_unless_it_is_called_a_category(refused, tmp_path, capsys):
    table = transactions(300).assign(id=[f"user {i}" for i in range(300)])
    table.to_csv(tmp_path / "a.csv", index=False)
    refused(tmp_path / "a.csv", "'id' holds 300 different texts in 300 rows.*--drop id")
    for option in ("--category", "--drop"):
        assert not all_commands(tmp_path, capsys, tmp_path / "a.csv", option, "id").error


def test_many_addresses_have_slots_for_the_frequent_ones(tmp_path, capsys):
    rng = np.random.default_rng(0)
    n = 30_000
    rare = [f"10.{i >> 8}.{i & 255}.1" for i in range(12_500)]
    address = np.where(rng.random(n) < 0.5, "10.0.0.1", rng.choice(rare, n))
    table = pd.DataFrame({"address": address, "size": rng.normal(size=n)})
    table.to_csv(tmp_path / "a.csv", index=False)
    found = all_commands(tmp_path, capsys, tmp_path / "a.csv", label=(), reading=["--quiet"])
    pattern = "address: category, [0-9,]{5} values, a slot for each of the 1,000 most frequent"
    assert re.search(pattern, found.printed)


@pytest.mark.parametrize(
    ("form", "options", "kind"),
    [
        ("%Y-%m-%d %H:%M:%S", [], "date"),
        ("%Y-%m-%dT%H:%M:%SZ", [], "date"),
        ("%m/%d/%Y %H:%M", [], "date (%m/%d/%Y)"),
        ("%d.%m.%Y", [], "date (%d.%m.%Y)"),
        ("%d/%b/%Y:%H:%M:%S", [], "date (%d/%b/%Y:%H:%M:%S)"),
        ("%H:%M:%S", [], "date (time)"),
        ("%s", ["--datetime", "when=epoch"], "date (epoch)"),
        ("%Y%m%d", ["--datetime", "when=%Y%m%d"], "date (%Y%m%d)"),
    ],
)
def test_dates_in_text_are_recognised(table, tmp_path, capsys, form, options, kind):
    when = pd.Timestamp("2026-01-05 07:30") + pd.to_timedelta(np.arange(len(table)) * 7, unit="h")
    texts = when.astype("int64") // 10**6 if form == "%s" else when.strftime(form)
    if form == "%s":
        texts = (when - pd.Timestamp(0)) // pd.Timedelta(seconds=1)
    table.assign(when=texts).to_csv(tmp_path / "a.csv", index=False)
    expected = when if "%H" in form or form == "%s" else when.normalize()
    expected = pd.to_datetime("1970-01-01 " + texts) if form == "%H:%M:%S" else expected
    table.assign(when=expected).to_parquet(tmp_path / "b.parquet")
    found = all_commands(tmp_path, capsys, tmp_path / "a.csv", *options)
    assert f"when: {kind}" in found.printed.splitlines()
    typed = all_commands(tmp_path, capsys, tmp_path / "b.parquet")
    np.testing.assert_allclose(found.scores, typed.scores, atol=1e-6)


@pytest.mark.parametrize(
    ("texts", "options", "message"),
    [
        (["01/02/2026", "03/04/2026"], [], "day and month cannot be told apart: say --datetime"),
        (["2026-01-02", "13/02/2026"], [], r"dates in different formats, '2026-01-02' \(line 2\)"),
        (["1767571200", "1767571201"], ["--datetime", "when"], "--datetime when=epoch"),
        (["2026-01-02", "2026-01-03"], ["--datetime", "when=day"], "'day' is not a format of"),
    ],
)
def test_unclear_dates_are_refused(refused, table, tmp_path, texts, options, message):
    table.assign(when=texts * (len(table) // 2)).to_csv(tmp_path / "a.csv", index=False)
    refused(tmp_path / "a.csv", message, *options)


# ---- labels --------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("normal", "anomalous", "option"),
    [
        ("false", "true", ["--anomaly", "true"]),
        ("False", "True", ["--anomaly", "true"]),
        ("0.0", "1.0", ["--anomaly", "1.0"]),
        ("0.0", "1.0", []),
        ("None", "attack", ["--normal", "None"]),
        ("1000001", "1000002", ["--anomaly", "1000002"]),
        ("", "yes", ["--anomaly", "yes"]),
    ],
)
def test_labels_as_the_file_spells_them(same, table, tmp_path, normal, anomalous, option):
    labels = np.where(table["label"], anomalous, normal)
    table.assign(label=labels).to_csv(tmp_path / "a.csv", index=False)
    printed = same(tmp_path / "a.csv", label=["--label", "label", *option])
    assert "70 normal rows and 10 known anomalies" in printed


# ---- malformed rows ------------------------------------------------------------------------


def test_malformed_rows_of_all_commands_are_set_aside(usual, table, tmp_path, capsys, refused):
    lines = usual.read_text().splitlines(keepends=True)
    lines[5] = lines[5].replace(str(table["amount"][4]), "Infinity")
    lines.insert(20, lines[0])
    lines[30] = "only one\n"
    path = write(tmp_path / "a.csv", "".join(lines))
    refused(path, "the header has 5 fields, line 31 has 1")
    for name in ("fit", "other"):
        rejects = tmp_path / f"{name}.csv"
        skip = ["--on-error", "skip", "--rejects", str(rejects)]
        if name == "fit":
            found = all_commands(tmp_path, capsys, path, *skip, reading=["--on-error", "skip"])
        else:
            found = all_commands(tmp_path, capsys, usual, new=path, reading=skip)
        assert found.error == ""
        bad = pd.read_csv(rejects)
        assert bad["line"].tolist() == [6, 21, 31]
        assert bad["row"].tolist() == [4, 19, 29]
        reasons = ["infinite value in column 'amount'", "repeats the header", "1 fields instead"]
        assert all(a in b for a, b in zip(reasons, bad["reason"], strict=True))
        assert len(found.scores) == len(lines) - 1 - 3


def test_missing_values_are_named_with_their_number(refused, table, tmp_path):
    table.assign(kind=table["kind"].where(table.index > 1)).to_csv(tmp_path / "a.csv", index=False)
    refused(tmp_path / "a.csv", r"missing values in column 'kind' \(2 rows\)")
