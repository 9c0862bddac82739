"""Pipelines of table files give the same samples as the encoder in memory, piece by piece."""

from __future__ import annotations

import re
import subprocess
import sys
import textwrap
from pathlib import Path

import keras
import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import tensorflow as tf

from r2ad2.datasets import rows
from r2ad2.datasets.streaming import table_pipeline
from r2ad2.encoders.tables import TableEncoder
from r2ad2.tables import reader

N = 3_000


@pytest.fixture
def small_blocks(monkeypatch):
    """Read in blocks so small that each test file has many."""
    monkeypatch.setattr(reader, "BLOCK_BYTES", 4_000)
    monkeypatch.setattr(rows, "CHUNK_VALUES", 1_000)


def table(rng, n=N):
    """Make numbers, integers followed by floats, and categories."""
    mixed = rng.integers(0, 9, n).astype(object)
    mixed[n // 2 :] = rng.normal(size=n - n // 2).round(3)
    return pd.DataFrame(
        {
            "amount": rng.normal(size=n).round(4),
            "mixed": mixed.astype(float),
            "kind": rng.choice(["tcp", "udp", "ü"], n),
            "label": rng.choice(["fine", "fraud"], n, p=[0.9, 0.1]),
        }
    )


def write(data, path):
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pandas(data), path, row_group_size=500)
    else:
        data.to_csv(path, index=False)
    return path


def collect(dataset):
    batches = [(x.numpy(), y.numpy()) for x, y in dataset]
    return np.concatenate([x for x, _ in batches]), np.concatenate([y for _, y in batches])


def expected(data):
    features = data.drop(columns="label")
    encoder = TableEncoder.learn(features, (data["label"] == "fine").to_numpy())
    return np.asarray(encoder(encoder.prepare(features))), (data["label"] == "fraud").to_numpy()


def in_order(x, y):
    """Sort samples, for comparisons that do not depend on their order."""
    rows = np.column_stack([x, y])
    return rows[np.lexsort(rows.T)]


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz", ".parquet"])
def test_samples_are_those_of_the_encoder_in_memory(tmp_path, rng, small_blocks, suffix):
    data = table(rng)
    path = write(data, tmp_path / f"data{suffix}")
    pipeline = table_pipeline(path, "label", anomalous=["fraud"])
    x, y = collect(pipeline.as_tf_data(batch_size=256, n_readers=1))
    expected_x, expected_y = expected(data)
    np.testing.assert_array_equal(x, expected_x)
    np.testing.assert_array_equal(y, expected_y)
    assert (pipeline.n_rows, pipeline.n_anomalies) == (N, expected_y.sum())


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
@pytest.mark.parametrize("options", [{"n_readers": 3}, {"shuffle": 500}, {"batch_size": 7}])
def test_readers_and_shuffling_change_only_the_order(tmp_path, rng, small_blocks, suffix, options):
    data = table(rng)
    path = write(data, tmp_path / f"data{suffix}")
    dataset = table_pipeline(path, "label", normal=["fine"]).as_tf_data(**options)
    np.testing.assert_array_equal(in_order(*collect(dataset)), in_order(*expected(data)))


def test_shards_of_several_files_are_disjoint_and_together_everything(tmp_path, rng, small_blocks):
    data = table(rng)
    paths = [
        write(data[:1_000], tmp_path / "a.csv"),
        write(data[1_000:].iloc[:, ::-1], tmp_path / "b.csv"),  # columns in another order
    ]
    pipeline = table_pipeline(paths, "label", normal=["fine"])
    shards = [collect(pipeline.as_tf_data(shard=(i, 3))) for i in range(3)]
    assert all(len(x) for x, _ in shards)
    together = (np.concatenate([x for x, _ in shards]), np.concatenate([y for _, y in shards]))
    np.testing.assert_array_equal(in_order(*together), in_order(*expected(data)))


def test_shuffling_is_decided_by_the_seed_and_differs_between_epochs(tmp_path, rng):
    pipeline = table_pipeline(write(table(rng), tmp_path / "a.csv"), "label", normal=["fine"])

    def first(seed, dataset=None):
        return next(iter(pipeline.as_tf_data(shuffle=N, random_state=seed)))[0].numpy()

    np.testing.assert_array_equal(first(1), first(1))
    assert (first(1) != first(2)).any()
    dataset = pipeline.as_tf_data(shuffle=N, random_state=1)
    epochs = [next(iter(dataset))[0].numpy() for _ in range(2)]
    assert (epochs[0] != epochs[1]).any()


def test_cached_samples_outlive_the_files(tmp_path, rng):
    path = write(table(rng), tmp_path / "a.csv")
    pipeline = table_pipeline(path, "label", normal=["fine"])
    dataset = pipeline.as_tf_data(cache=tmp_path / "cache" / "samples")
    first = collect(dataset)
    path.unlink()
    again = collect(dataset)
    np.testing.assert_array_equal(in_order(*again), in_order(*first))


def test_a_keras_model_trains_on_the_pipeline(tmp_path, rng):
    pipeline = table_pipeline(write(table(rng), tmp_path / "a.csv"), "label", normal=["fine"])
    model = keras.Sequential([keras.layers.Dense(1, activation="sigmoid")])
    model.compile(loss="binary_crossentropy")
    history = model.fit(pipeline.as_tf_data(batch_size=300), epochs=2, verbose=0)
    assert np.isfinite(history.history["loss"]).all()


def test_an_encoder_from_other_files_is_used_unchanged(tmp_path, rng):
    train, test = table(rng), table(rng, 400)
    test.loc[0, "kind"] = "unheard-of"
    learnt = table_pipeline(write(train, tmp_path / "train.csv"), "label", normal=["fine"])
    path = write(test, tmp_path / "test.csv")
    x, _ = collect(
        table_pipeline(path, "label", normal=["fine"], encoder=learnt.encoder).as_tf_data(
            n_readers=1
        )
    )
    features = test.drop(columns="label")
    np.testing.assert_array_equal(x, learnt.encoder(learnt.encoder.prepare(features)))
    unknown_slot = learnt.encoder.feature_names.index(("kind", ""))
    assert x[0, unknown_slot] == 1


@pytest.mark.parametrize("suffix", [".csv", ".csv.gz"])
def test_a_spool_file_gives_the_same_samples(tmp_path, rng, small_blocks, suffix):
    data = table(rng)
    data.loc[[5, N - 1], "amount"] = np.nan
    path = write(data, tmp_path / f"a{suffix}")
    options = {"anomalous": ["fraud"], "drop_incomplete": True}
    plain = table_pipeline(path, "label", **options)
    spooled = table_pipeline(path, "label", spool=tmp_path / "new" / "spool.parquet", **options)
    assert (spooled.n_rows, spooled.n_dropped) == (plain.n_rows, plain.n_dropped) == (N - 2, 2)
    expected_x, expected_y = collect(plain.as_tf_data())
    path.unlink()
    x, y = collect(spooled.as_tf_data())
    np.testing.assert_array_equal(x, expected_x)
    np.testing.assert_array_equal(y, expected_y)
    shards = [collect(spooled.as_tf_data(shard=(i, 2)))[1] for i in range(2)]
    assert min(map(len, shards)) > N / 4


def test_a_failed_spool_leaves_nothing_behind(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("x,label\n1,0\nNaN,1\n")
    with pytest.raises(ValueError, match="'x'"):
        table_pipeline(path, "label", spool=tmp_path / "spool.parquet")
    assert [p.name for p in tmp_path.iterdir()] == ["a.csv"]
    with pytest.raises(ValueError, match=r"must end in \.parquet"):
        table_pipeline(path, "label", spool=tmp_path / "spool.csv")


def test_incomplete_rows_are_dropped_on_request(tmp_path, rng):
    lines = ["a,kind,label", "1,tcp,fine", "a,kind,label", "NaN,tcp,fine", "3,,fraud"]
    lines += ["Infinity,udp,fine", "4,udp,fraud", "2,tcp,", "5,udp,fine"]
    path = tmp_path / "a.csv"
    path.write_text("\n".join(lines))
    pipeline = table_pipeline(path, "label", normal=["fine"], drop_incomplete=True)
    assert (pipeline.n_rows, pipeline.n_dropped, pipeline.n_anomalies) == (3, 5, 1)
    x, y = collect(pipeline.as_tf_data(n_readers=1))
    np.testing.assert_allclose(x[:, 0], [0, 0.75, 1])
    assert y.tolist() == [0, 1, 0]


def test_numbers_can_be_categories(tmp_path):
    path = tmp_path / "a.csv"
    path.write_text("port,x,label\n80,1,0\n443,2,0\n80,3,1\n")
    pipeline = table_pipeline(path, "label", texts=["port"])
    assert pipeline.encoder.categories == {"port": ["443", "80"]}
    assert list(pipeline.encoder.ranges) == ["x"]
    path.write_text("port,x,label\n80.0,1,0\n443,2,0\n81,3,1\n80,3,1\n")
    other = table_pipeline(path, "label", encoder=pipeline.encoder)
    x, _ = collect(other.as_tf_data(2))
    assert x[:, 1:4].argmax(axis=1).tolist() == [2, 1, 0, 2]
    assert table_pipeline(path, "label", texts=["port"]).encoder.categories["port"] == [
        "443",
        "80",
        "81",
    ]


def lines_of(*rows):
    return "\n".join(["a,b,label", *rows, ""])


@pytest.mark.parametrize(
    ("text", "options", "message"),
    [
        (
            lines_of("1,2,0", "1,x,0"),
            {},
            r"column 'b' looks numeric, but holds 'x' \(line 3\).*texts",
        ),
        (lines_of("1,2,0", "1,,0"), {}, r"rows 0 to 1.*'b' \(1 row\)"),
        (lines_of("1,2,0", "inf,2,0"), {}, r"'a' holds an infinite value, 'inf' \(line 3\)"),
        (lines_of("1,2,0", "1,2"), {}, r"header has 3 fields, line 3 has 2: 1,2 "),
        (lines_of("1,2,0"), {"label": "class"}, r"no label column 'class'"),
        (lines_of("1,2,0"), {"anomalous": ["bad"]}, r"none of 'bad'; it holds '0'"),
        (lines_of("1,2,5"), {}, r"instead of 0 and 1"),
        (lines_of("1,2,1"), {}, r"no normal rows"),
        (lines_of("1,2,0"), {"texts": ["c"]}, r"no column 'c'"),
        (lines_of(), {}, r"holds no rows"),
        ("", {}, r"holds no rows"),
    ],
)
def test_bad_tables_are_refused_with_file_and_place(tmp_path, text, options, message):
    path = tmp_path / "bad.csv"
    path.write_text(text)
    with pytest.raises(ValueError, match=message):
        table_pipeline(path, **{"label": "label", **options})


def test_text_late_in_a_number_column_is_named_with_its_line(tmp_path, small_blocks):
    path = tmp_path / "late.csv"
    path.write_text(lines_of(*(["1,2,0"] * 5_000), "1,late,0", *(["1,2,0"] * 5_000)))
    with pytest.raises(
        ValueError, match=r"late\.csv': column 'b' looks numeric.* 'late' \(line 5,"
    ):
        table_pipeline(path, "label")
    message = r"line 5,002, row 5,000: not a number in column 'b': late \(correct or remove it"
    with pytest.raises(ValueError, match=message):
        table_pipeline(path, "label", drop_incomplete=True)


def test_types_are_decided_over_all_rows_in_any_order(tmp_path, small_blocks):
    rows = [*(f"{i % 7},{i},0" for i in range(1_000)), *(f"A{i % 5},{i},0" for i in range(1_500))]
    path = tmp_path / "codes.csv"
    for lines in (rows, rows[::-1]):
        path.write_text(lines_of(*lines))
        encoder = table_pipeline(path, "label").encoder
        assert encoder.categories == {"a": [*"0123456", *(f"A{i}" for i in range(5))]}
        assert list(encoder.ranges) == ["b"]


def test_columns_that_look_like_numbers_in_one_file_are_categories_in_both(tmp_path):
    (tmp_path / "a.csv").write_text(lines_of("7,1,0", "8,2,0"))
    (tmp_path / "b.csv").write_text(lines_of("A1,3,0", "A2,4,1", ",,1"))
    pipeline = table_pipeline(
        [tmp_path / "a.csv", tmp_path / "b.csv"], "label", drop_incomplete=True
    )
    assert pipeline.encoder.categories == {"a": ["7", "8", "A1", "A2"]}
    (tmp_path / "b.csv").write_text(lines_of("2026-01-31,3,0"))
    with pytest.raises(
        ValueError, match=r"'a' holds a number in .*a\.csv', but a date in .*b\.csv"
    ):
        table_pipeline([tmp_path / "a.csv", tmp_path / "b.csv"], "label")


@pytest.mark.parametrize("spooled", [False, True])
def test_files_in_other_spellings_give_the_same_samples(tmp_path, rng, small_blocks, spooled):
    data = table(rng, 500)
    data["when"] = pd.Timestamp("2024-01-15") + pd.to_timedelta(np.arange(500) * 37, unit="h")
    data["online"] = rng.random(500) < 0.5
    spelt = data.assign(when=data["when"].dt.strftime("%d/%m/%Y %H:%M"))
    spelt.to_csv(
        tmp_path / "a.csv",
        index=True,
        sep=";",
        decimal=",",
        encoding="utf-16",
        lineterminator="\r\n",
    )
    options = {"spool": tmp_path / "spool.parquet"} if spooled else {}
    pipeline = table_pipeline(tmp_path / "a.csv", "label", anomalous=["fraud"], **options)
    expected_x, expected_y = expected(data)
    x, y = collect(pipeline.as_tf_data())
    np.testing.assert_array_equal(x, expected_x)
    np.testing.assert_array_equal(y, expected_y)
    assert pipeline.encoder.types == {"online": "bool"}
    known = {"anomalous": ["fraud"], "encoder": pipeline.encoder}
    x, _ = collect(table_pipeline(tmp_path / "a.csv", "label", **known).as_tf_data())
    np.testing.assert_array_equal(x, expected_x)


@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_bad_rows_of_files_for_a_known_encoder_are_named(tmp_path, rng, small_blocks, suffix):
    data = table(rng)
    encoder = table_pipeline(write(data, tmp_path / "a.csv"), "label", normal=["fine"]).encoder
    data.loc[2_900, "amount"] = np.inf
    path = write(data, tmp_path / f"b{suffix}")
    pipeline = table_pipeline(path, "label", normal=["fine"], encoder=encoder)
    with pytest.raises(tf.errors.InvalidArgumentError) as raised:
        collect(pipeline.as_tf_data(n_readers=2))
    pattern = rf"b\{suffix}', rows ([\d,]+) to ([\d,]+): column 'amount'"
    found = re.search(pattern, str(raised.value))
    first, last = (int(text.replace(",", "")) for text in found.groups())
    assert first <= 2_900 <= last < N
    assert last - first < 2_000


def test_missing_files_and_differing_columns_are_named(tmp_path):
    with pytest.raises(FileNotFoundError, match="nowhere"):
        table_pipeline(tmp_path / "nowhere.csv", "label")
    (tmp_path / "a.csv").write_text("a,label\n1,0\n")
    (tmp_path / "b.csv").write_text("b,label\n1,0\n")
    with pytest.raises(ValueError, match=r"a\.csv.*b\.csv.*differ in column 'a'"):
        table_pipeline([tmp_path / "a.csv", tmp_path / "b.csv"], "label")
    with pytest.raises(ValueError, match="at least one file"):
        table_pipeline([], "label")


def test_identifiers_are_refused_but_rare_categories_are_not(tmp_path, rng, small_blocks):
    # In each block most texts are distinct; in the whole file they are not.
    names = [f"host{i % 1_200}" for i in range(6_000)]
    frame = pd.DataFrame({"x": range(6_000), "host": names, "label": 0})
    pipeline = table_pipeline(write(frame, tmp_path / "a.csv"), "label")
    assert len(pipeline.encoder.categories["host"]) == 1_000  # the others share one slot
    frame["host"] = [f"id{i}" for i in range(6_000)]
    with pytest.raises(ValueError, match="identifier"):
        table_pipeline(write(frame, tmp_path / "b.csv"), "label")


@pytest.mark.parametrize(
    "options",
    [{"batch_size": 0}, {"n_readers": 0}, {"shuffle": -1}, {"shard": (2, 2)}, {"shard": (-1, 2)}],
)
def test_impossible_pipelines_are_refused(tmp_path, rng, options):
    pipeline = table_pipeline(write(table(rng, 50), tmp_path / "a.csv"), "label", normal=["fine"])
    with pytest.raises(ValueError, match="must be at least 1"):
        pipeline.as_tf_data(**options)


def test_ids2018_streams_like_it_is_read(real_data):
    from r2ad2.datasets import load_dataset
    from r2ad2.datasets.sets.ids2018 import FORMAT

    pipeline = table_pipeline(
        real_data / "ids2018" / "sample1000.csv",
        "Label",
        normal=["Benign"],
        drop=FORMAT.drop,
        texts=["Protocol"],
        drop_incomplete=True,
    )
    x, y = collect(pipeline.as_tf_data(n_readers=1))
    dataset = load_dataset("ids2018", real_data)
    np.testing.assert_array_equal(y, dataset.classes != "benign")
    normal = dataset.x[dataset.classes == "benign"]
    column = dataset.feature_names.index("Flow Duration")
    low, high = normal[:, column].min(), normal[:, column].max()
    streamed = x[:, pipeline.encoder.feature_names.index(("Flow Duration", None))]
    np.testing.assert_allclose(streamed, (dataset.x[:, column] - low) / (high - low), rtol=1e-5)


MEMORY = """
    import sys

    # Not resource.getrusage: its peak is at least that of the parent process.
    def peak():
        with open("/proc/self/status") as status:
            line = next(line for line in status if line.startswith("VmHWM"))
        return int(line.split()[1]) * 1024

    def stream(path):
        from r2ad2.datasets.streaming import table_pipeline
        from r2ad2.datasets import rows
        from r2ad2.tables import reader, schema
        reader.BLOCK_BYTES, rows.CHUNK_VALUES = 1 << 16, 1 << 16  # small, as the file is
        schema.CHUNK_ROWS, schema._CHUNK_VALUES = 1_000, 1 << 16
        pipeline = table_pipeline(path, "label")
        n = 0
        for x, y in pipeline.as_tf_data(batch_size=512, shuffle=5_000):
            n += len(y)
        return n

    def whole(path):
        import pandas
        return len(pandas.read_csv(path))

    read = {"stream": stream, "whole": whole}[sys.argv[1]]
    read(sys.argv[2])  # loads libraries
    before = peak()
    n = read(sys.argv[3])
    print(n, peak() - before)
"""


@pytest.mark.slow
def test_memory_stays_bounded_for_a_large_file(tmp_path, record_property):
    """Peak memory grows by less than a quarter of the file size; pandas needs more than that."""
    if not Path("/proc/self/status").is_file():
        pytest.skip("peak memory is read from /proc, which only Linux has")
    rng = np.random.default_rng(0)
    n_columns, n_block, n_blocks = 40, 4_000, 120
    header = ",".join([*(f"c{i}" for i in range(n_columns)), "label"]) + "\n"
    frame = pd.DataFrame(rng.normal(size=(n_block, n_columns)).round(9))
    frame["label"] = rng.integers(0, 2, n_block)
    block = frame.to_csv(header=False, index=False)
    small, large = tmp_path / "small.csv", tmp_path / "large.csv"
    small.write_text(header + block)
    with large.open("w") as file:
        file.write(header)
        for _ in range(n_blocks):
            file.write(block)
    size = large.stat().st_size
    script = tmp_path / "memory.py"
    script.write_text(textwrap.dedent(MEMORY))

    growth = {}
    for how in ("stream", "whole"):
        command = [sys.executable, str(script), how, str(small), str(large)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert done.returncode == 0, done.stderr
        n, growth[how] = map(int, done.stdout.split()[-2:])
        assert n == n_block * n_blocks
    record_property("file and growth in bytes", {"file": size, **growth})
    assert growth["stream"] < size / 4
    assert growth["whole"] > size / 4


def test_types_of_tensors_are_fixed(tmp_path, rng):
    pipeline = table_pipeline(write(table(rng, 50), tmp_path / "a.csv"), "label", normal=["fine"])
    x, y = pipeline.as_tf_data().element_spec
    assert x.dtype == tf.float32
    assert x.shape[1] == len(pipeline.encoder.feature_names)
    assert y.dtype == tf.int64


@pytest.mark.parametrize("name", ["rows.csv", "rows.parquet"])
def test_timestamps_and_missing_values_are_encoded_as_in_memory(name, tmp_path, rng):
    data = table(rng, 400)
    data["when"] = pd.Timestamp("2024-01-01") + pd.to_timedelta(np.arange(400) * 3_701, unit="s")
    data.loc[::7, "amount"] = np.nan
    data.loc[::5, "kind"] = None
    data.loc[::3, "when"] = pd.NaT
    path = write(data, tmp_path / name)
    with pytest.raises(ValueError, match="missing values"):
        table_pipeline(path, "label", anomalous=["fraud"])
    pipeline = table_pipeline(path, "label", anomalous=["fraud"], missing="indicator")
    features, is_normal = data.drop(columns="label"), (data["label"] == "fine").to_numpy()
    encoder = TableEncoder.learn(features, is_normal, missing="indicator")
    expected = encoder(encoder.prepare(features)).numpy()
    x, _ = collect(pipeline.as_tf_data(batch_size=64))
    np.testing.assert_allclose(x, expected, atol=1e-6)
    known = table_pipeline(path, "label", anomalous=["fraud"], encoder=encoder)
    x, _ = collect(known.as_tf_data(batch_size=64))
    np.testing.assert_array_equal(x, expected)
