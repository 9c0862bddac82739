"""The publishers' formats with their quirks, in small files written in exactly these forms."""

from __future__ import annotations

import gzip
import struct

import numpy as np
import pandas as pd
import pytest

from r2ad2.datasets import load_dataset
from r2ad2.datasets.labelled import Rows, RowSample
from r2ad2.datasets.tabular import _COVERTYPE_FEATURES

# Headers as published; of the long ones, the columns that are treated in a special way and some.
FLOW = ["Flow Duration", "Tot Fwd Pkts", "Flow Byts/s", "Flow Pkts/s"]
IDS_HEADER = ["Dst Port", "Protocol", "Timestamp", *FLOW, "Label"]
IDS_LONG_HEADER = ["Flow ID", "Src IP", "Src Port", "Dst IP", *IDS_HEADER]
DARKNET_HEADER = (
    "Flow ID,Src IP,Src Port,Dst IP,Dst Port,Protocol,Timestamp,Flow Duration,Total Fwd Packet,"
    "Flow Bytes/s,Flow Packets/s,Label,Label"
)
DOH_HEADER = (
    "SourceIP,DestinationIP,SourcePort,DestinationPort,TimeStamp,Duration,FlowBytesSent,"
    "ResponseTimeTimeMedian,ResponseTimeTimeSkewFromMedian,Label"
)
SMALL_IDS = "Friday-02-03-2018_TrafficForML_CICFlowMeter.csv"
LONG_IDS = "Thuesday-20-02-2018_TrafficForML_CICFlowMeter.csv"


def write(folder, name, lines):
    folder.mkdir(exist_ok=True)
    (folder / name).write_text("\n".join([*lines, ""]))
    return folder.parent


def ids_row(label, protocol=6, rate="12.5", duration=100):
    return f"443,{protocol},02/03/2018 08:47:38,{duration},3,{rate},0.5,{label}"


def test_darknet_takes_the_first_label_and_drops_incomplete_rows(tmp_path):
    row = (
        "10.0.2.15-1,10.0.2.15,53913,216.58.220.99,80,6,24/07/2015 04:09:48 PM,"
        "229,1,{},8733.6,{},{}"
    )
    values = [
        ("5.5", "Non-Tor", "AUDIO-STREAMING"),
        ("NaN", "Non-Tor", "Browsing"),
        ("Infinity", "VPN", "Chat"),
        ("7", "NonVPN", "P2P"),
        ("8", "Tor", "Audio-Streaming"),
        ("9", "VPN", "VOIP"),
    ]
    write(
        tmp_path / "darknet",
        "Darknet.CSV",
        [DARKNET_HEADER, *(row.format(*v) for v in values)],
    )
    dataset = load_dataset("darknet", tmp_path)
    assert list(dataset.classes) == ["Non-Tor", "NonVPN", "Tor", "VPN"]
    assert dataset.n_dropped == 2
    assert dataset.feature_names == [
        "Src Port",
        "Dst Port",
        "Protocol",
        "Flow Duration",
        "Total Fwd Packet",
        "Flow Bytes/s",
        "Flow Packets/s",
    ]
    np.testing.assert_allclose(dataset.x[:, 5], [5.5, 7, 8, 9])
    assert not dataset.is_whole


def test_doh_reads_both_files_without_addresses_and_times(tmp_path):
    row = "192.168.20.191,176.103.130.131,50749,443,2020-01-14 15:49:11,{},62311,{},0.1,{}"
    write(
        tmp_path / "doh",
        "l2-benign.csv",
        [DOH_HEADER, row.format(95.08, 0.02, "Benign"), row.format(1, "", "Benign")],
    )
    with pytest.raises(FileNotFoundError, match=r"l2-malicious\.csv.*unb\.ca"):
        load_dataset("doh", tmp_path)
    write(
        tmp_path / "doh",
        "l2-malicious.csv",
        [DOH_HEADER, row.format(2.5, 0.03, "Malicious")],
    )
    dataset = load_dataset("doh", tmp_path)
    assert list(dataset.classes) == ["benign", "malicious"]
    assert dataset.n_dropped == 1
    assert dataset.feature_names[0] == "Duration"
    assert len(dataset.feature_names) == 4
    np.testing.assert_allclose(dataset.x[:, 0], [95.08, 2.5], rtol=1e-6)


def test_ids2018_reads_all_days_with_repeated_headers_and_two_layouts(tmp_path):
    header = ",".join(IDS_HEADER)
    folder = write(
        tmp_path / "ids2018",
        SMALL_IDS,
        [
            header,
            ids_row("Benign"),
            ids_row("Bot", protocol=17),
            header,  # as in the published file of 28 February
            ids_row("Infilteration", protocol=0, rate="Infinity"),
            ids_row("Infilteration", protocol=0),
            ids_row("SSH-Bruteforce", rate="NaN"),
            ids_row("Brute Force -XSS"),
            header,
            ids_row("SQL Injection"),
            ids_row("FTP-BruteForce"),
            ids_row("DoS attacks-Hulk"),
        ],
    )
    write(
        tmp_path / "ids2018",
        LONG_IDS,
        [
            ",".join(IDS_LONG_HEADER),
            "172.31.69.25-94.231.103.172-22-45498-6,94.231.103.172,45498,172.31.69.25,"
            + ids_row("DDoS attacks-LOIC-HTTP"),
        ],
    )
    dataset = load_dataset("ids2018", folder)
    assert dataset.class_counts == {
        "benign": 1,
        "bot": 1,
        "infiltration": 1,
        "web attacks": 2,
        "brute force": 1,
        "DoS": 1,
        "DDoS": 1,
    }
    assert dataset.n_dropped == 2
    slots = [dataset.feature_names.index(f"Protocol_{p}") for p in (0, 6, 17)]
    np.testing.assert_array_equal(dataset.x[:, slots].sum(axis=0), [1, 6, 1])
    assert not {"Protocol", "Timestamp", "Src IP", "Src Port"} & set(dataset.feature_names)


@pytest.mark.parametrize(
    ("row", "message"),
    [
        (ids_row("Unheard-of"), r"Friday.*row 1: 'Unheard-of' is not a known Label"),
        (ids_row("Benign", protocol=99), r"row 1: 99 is not a published value of Protocol"),
        (ids_row("Benign", duration="soon"), r"row 1: 'soon' in numeric column Flow Duration"),
        ("1,2,3", r"Friday.*Expected 8 columns, got 3"),
    ],
)
def test_rows_that_are_not_as_published_are_named(tmp_path, row, message):
    folder = write(tmp_path / "ids2018", SMALL_IDS, [",".join(IDS_HEADER), ids_row("Benign"), row])
    with pytest.raises(ValueError, match=message):
        load_dataset("ids2018", folder)


def test_files_with_other_columns_are_named(tmp_path):
    folder = write(tmp_path / "ids2018", SMALL_IDS, [",".join(IDS_HEADER), ids_row("Benign")])
    other = [name.replace("Tot Fwd Pkts", "Total Fwd Packets") for name in IDS_HEADER]
    write(tmp_path / "ids2018", LONG_IDS, [",".join(other), ids_row("Benign")])
    with pytest.raises(ValueError, match=r"differ in their columns: 'Tot Fwd Pkts' is only in"):
        load_dataset("ids2018", folder)


def test_row_numbers_in_copies_of_the_files_are_no_feature(tmp_path):
    rows = [f"{i},{ids_row('Benign')}" for i in range(3)]
    folder = write(tmp_path / "ids2018", SMALL_IDS, [",".join(["", *IDS_HEADER]), *rows])
    assert load_dataset("ids2018", folder).feature_names[0] == "Dst Port"


def test_ids2018_sample_depends_on_the_seed_alone(tmp_path):
    rows = [ids_row("Benign", duration=i) for i in range(400)]
    folder = write(tmp_path / "ids2018", SMALL_IDS, [",".join(IDS_HEADER), *rows])

    def durations(**options):
        return load_dataset("ids2018", folder, n_rows=50, **options).x[:, 1].tolist()

    first = durations(seed=1)
    assert len(set(first)) == 50
    assert first == sorted(first)  # the order of the file
    assert durations(seed=1) == first
    assert durations(seed=2) != first
    with pytest.raises(ValueError, match="n_rows=0"):
        load_dataset("ids2018", folder, n_rows=0)


def test_samples_do_not_depend_on_the_pieces_and_are_uniform():
    x = np.arange(60_000, dtype=np.float32)[:, None]
    rows = Rows(x, np.full(len(x), "benign"))

    def drawn(edges, seed):
        sample = RowSample(500, seed)
        for piece in np.split(np.arange(len(x)), edges):
            sample.add(rows[piece])
        return sample.rows().x[:, 0]

    np.testing.assert_array_equal(drawn([], 3), drawn([10, 777, 30_000], 3))
    means = [drawn([20_000, 40_000], seed).mean() for seed in range(30)]
    # mean and standard error of a uniform draw of 30 x 500 out of 60,000
    assert abs(np.mean(means) - 29_999.5) < 4 * 60_000 / np.sqrt(12 * 15_000)


def creditcard_lines():
    # the publisher quotes the names and the class
    header = ",".join(
        f'"{n}"' for n in ["Time", *(f"V{i}" for i in range(1, 29)), "Amount", "Class"]
    )
    row = [f"{v / 10}" for v in range(28)]
    return [
        header,
        ",".join(["0", *row, "149.62", '"0"']),
        ",".join(["1", *row, "2.69", '"1"']),
        ",".join(["1e+05", *row, "0", '"0"']),
    ]


@pytest.mark.parametrize("name", ["creditcard.csv", "creditcard.csv.gz"])
def test_creditcard_without_the_time(tmp_path, name):
    folder = write(tmp_path / "creditcard", "creditcard.csv", creditcard_lines())
    plain = folder / "creditcard" / "creditcard.csv"
    if name.endswith(".gz"):
        (folder / "creditcard" / name).write_bytes(gzip.compress(plain.read_bytes()))
        plain.unlink()
    dataset = load_dataset("creditcard", folder)
    assert list(dataset.classes) == ["normal", "anomalous", "normal"]
    assert dataset.feature_names == [*(f"V{i}" for i in range(1, 29)), "Amount"]
    np.testing.assert_allclose(dataset.x[:, -1], [149.62, 2.69, 0])


def test_missing_values_where_the_publisher_has_none_are_named(tmp_path):
    lines = creditcard_lines()
    lines[2] = lines[2].replace("2.69", "")
    folder = write(tmp_path / "creditcard", "creditcard.csv", lines)
    with pytest.raises(ValueError, match=r"creditcard\.csv', row 1: .*'Amount'"):
        load_dataset("creditcard", folder)


@pytest.mark.parametrize("name", ["covtype.data", "covtype.data.gz", "covtype.sample20k.data"])
def test_covertype_has_no_header_and_the_class_last(tmp_path, name):
    values = np.arange(3 * 54).reshape(3, 54)
    text = "\n".join(",".join(map(str, [*row, i + 1])) for i, row in enumerate(values)) + "\n"
    (tmp_path / "covertype").mkdir()
    data = gzip.compress(text.encode()) if name.endswith(".gz") else text.encode()
    (tmp_path / "covertype" / name).write_bytes(data)
    dataset = load_dataset("covertype", tmp_path)
    np.testing.assert_array_equal(dataset.x, values)
    assert list(dataset.classes) == ["1", "2", "3"]
    assert dataset.feature_names == _COVERTYPE_FEATURES


def test_covertype_with_missing_columns_is_refused(tmp_path):
    folder = write(tmp_path / "covertype", "covtype.data", ["1,2,3,5"])
    with pytest.raises(ValueError, match=r"has 4 columns; expected 55"):
        load_dataset("covertype", folder)


def test_covertype_falls_back_on_scikit_learns_copy(tmp_path, monkeypatch):
    from sklearn.utils import Bunch

    def fetched(download_if_missing):
        assert not download_if_missing
        return Bunch(data=np.ones((2, 54)), target=np.array([1, 7], dtype=np.int32))

    monkeypatch.setattr("r2ad2.datasets.tabular.fetch_covtype", fetched)
    assert list(load_dataset("covertype", tmp_path).classes) == ["1", "7"]


def test_url_drops_columns_with_missing_values(tmp_path):
    folder = write(
        tmp_path / "url",
        "All.csv",
        [
            "Querylength,NumberRate_Extension,argPathRatio,Entropy_Domain,URL_Type_obf_Type",
            "0,,0.5,0.9,Defacement",
            "2,0.25,Infinity,0.8,benign",
            "3,0.5,0.5,0.7,phishing",
            "4,NaN,0.5,0.6,malware",
            "5,1,0.5,0.5,spam",
        ],
    )
    dataset = load_dataset("url", folder)
    assert dataset.feature_names == ["Querylength", "Entropy_Domain"]
    assert dataset.dropped_columns == ("NumberRate_Extension", "argPathRatio")
    assert list(dataset.classes) == ["defacement", "benign", "phishing", "malware", "spam"]


def idx(array):
    head = struct.pack(f">HBB{array.ndim}I", 0, 8, array.ndim, *array.shape)
    return head + array.astype(np.uint8).tobytes()


def write_images(folder, packed=True):
    folder.mkdir()
    rng = np.random.default_rng(0)
    arrays = {
        "train-images-idx3-ubyte": rng.integers(0, 256, (6, 28, 28)),
        "train-labels-idx1-ubyte": np.arange(6),
        "t10k-images-idx3-ubyte": rng.integers(0, 256, (4, 28, 28)),
        "t10k-labels-idx1-ubyte": np.arange(6, 10),
    }
    for name, array in arrays.items():
        content = idx(array)
        path = folder / (f"{name}.gz" if packed else name)
        path.write_bytes(gzip.compress(content) if packed else content)
    return arrays


@pytest.mark.parametrize("name", ["mnist", "fashion_mnist"])
@pytest.mark.parametrize("packed", [True, False])
def test_images_are_read_from_idx_files(tmp_path, name, packed):
    arrays = write_images(tmp_path / name, packed)
    dataset = load_dataset(name, tmp_path)
    assert dataset.x.shape == (10, 28, 28, 1)
    assert dataset.x.dtype == np.float32
    np.testing.assert_allclose(dataset.x[:6, ..., 0] * 255, arrays["train-images-idx3-ubyte"], 1e-5)
    assert list(dataset.classes) == [str(i) for i in range(10)]
    assert dataset.test_mask.tolist() == [False] * 6 + [True] * 4


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("train-images-idx3-ubyte.gz", gzip.compress(b"no idx"), "not an idx file"),
        ("train-images-idx3-ubyte.gz", b"no gzip", "gzip"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(np.ones((6, 28, 28))))[:-20], "gzip"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(np.ones((6, 28, 28)))[:-9]), "cut off"),
        ("train-images-idx3-ubyte.gz", gzip.compress(idx(np.ones((6, 8, 8)))), "28x28"),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(idx(np.arange(5))), "one label for each"),
        ("t10k-labels-idx1-ubyte.gz", gzip.compress(idx(np.array([1, 2, 3, 77]))), "77"),
    ],
    # Names without the contents: what gzip writes has the time in it.
    ids=[
        "not idx",
        "not gzip",
        "truncated gzip",
        "truncated idx",
        "other size",
        "too few labels",
        "unknown label",
    ],
)
def test_broken_image_files_are_named(tmp_path, name, content, message):
    write_images(tmp_path / "mnist")
    (tmp_path / "mnist" / name).write_bytes(content)
    with pytest.raises(ValueError, match=message) as raised:
        load_dataset("mnist", tmp_path)
    assert name in str(raised.value)


def test_header_only_files_are_refused(tmp_path):
    folder = write(tmp_path / "url", "All.csv", ["Querylength,URL_Type_obf_Type"])
    with pytest.raises(ValueError, match="holds no rows"):
        load_dataset("url", folder)
    write(tmp_path / "url", "All.csv", ["Querylength,kind", "1,benign"])
    with pytest.raises(ValueError, match="no label column 'URL_Type_obf_Type' or 'class'"):
        load_dataset("url", folder)


# ---- the real files ---------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "shape", "whole"),
    [
        ("mnist", (70_000, 28, 28, 1), True),
        ("fashion_mnist", (70_000, 28, 28, 1), True),
        ("covertype", (20_000, 54), False),
        ("ids2018", (1_000, 80), False),
        ("url", (36_417, 12), False),
        ("nsl_kdd", (148_517, 122), True),
        ("mammography", (11_183, 6), True),
    ],
)
def test_real_files_have_the_published_counts(real_data, name, shape, whole):
    dataset = load_dataset(name, real_data)
    assert dataset.x.shape == shape
    assert np.isfinite(dataset.x).all()
    assert dataset.is_whole == whole
    if whole:
        assert dataset.class_counts == dict(dataset.card.class_counts)
    else:
        assert all(n <= dataset.card.class_counts[c] for c, n in dataset.class_counts.items())


def test_real_samples_have_their_known_class_counts(real_data):
    url = load_dataset("url", real_data)
    assert url.class_counts == {
        "benign": 7_776,
        "defacement": 7_930,
        "malware": 6_707,
        "phishing": 7_311,
        "spam": 6_693,
    }
    labels = pd.read_csv(real_data / "ids2018" / "sample1000.csv")["Label"]
    ids = load_dataset("ids2018", real_data)
    assert ids.class_counts["benign"] == (labels == "Benign").sum() == 721
    assert ids.class_counts["brute force"] == labels.str.contains("Brute", case=False).sum()
