"""The tables of ADBench, and the split of them that published comparisons use.

Source: Han et al., "ADBench: Anomaly Detection Benchmark", NeurIPS 2022 (data sets); Jiang et al.,
"ADGym: Design Choices for Deep Anomaly Detection", NeurIPS 2023 (split and published figures).
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

import numpy as np

from r2ad2.datasets.fetch import download, show_progress
from r2ad2.datasets.files import data_folder
from r2ad2.support.messages import reason_of, require_known
from r2ad2.tables.container import DAMAGED

FOLDER = "adbench"
_SOURCE = "https://github.com/Minqi824/ADBench/raw/main/adbench/datasets/Classical/{}.npz"
_MAX_ROWS = 3000
_TEST_SHARE = 0.3
# SHA-256 sums of the numbers of X, then y, as float64: the same however a file is packed.
CHECKSUMS: Mapping[str, str] = MappingProxyType(
    {
        "2_annthyroid": "29f82dbf66f80fbfb1595adf18b2e647ca0379b28cb0cae248329421e1e947c3",
        "6_cardio": "9af4e3cebe8b75751b9d0e9e3efa055042ef5f20de802d129f59ca6b755ae144",
        "12_fault": "1047a24ce82e9f4dc38c01a230dcf13933ff7f6ea72f8d964a86f091a68ca3f7",
        "20_letter": "988dd9ae6c35ca5426536583125be716585954859f3e8b334db5b565fbd6ede7",
        "27_PageBlocks": "2f1edc668ddfc6d3617e1b2922881a03551245bc552174c3113e344ba990dd66",
        "31_satimage-2": "aba5210ca5d13a2da2ad82d641846a827faf4befe480172df6cd9b27be688322",
        "35_SpamBase": "ef32792f0d00885f0b20be744efdfca12e37d89035532e93acee09db22cfbbf5",
        "38_thyroid": "6a0f856c55837f347cd2d1886ceee4390bbbd288f745a9c289fcb30d00efadef",
        "40_vowels": "9ff69df8d90baeab7887b6a1e352afd10ec7e6773c66abc8b0a74373184befd3",
        "41_Waveform": "c825bde5c0563829a71e881295304fc4765ca0a0fbfe7d8624c0ee3c7009307f",
    }
)


@dataclass(frozen=True)
class ADBenchSplit:
    """One draw of training and test samples, and of the labelled anomalies.

    Attributes:
        x_train: samples (n, features), not scaled.
        y_train: labels (n,): 1 = labelled anomaly, 0 = all others.
        truth_train: 1 = anomaly, labelled or not.
        x_test: samples.
        y_test: 1 = anomaly.
    """

    x_train: np.ndarray
    y_train: np.ndarray
    truth_train: np.ndarray
    x_test: np.ndarray
    y_test: np.ndarray

    @property
    def n_unlabelled(self) -> int:
        """Number of anomalies among the training samples with label 0."""
        return int(np.sum(self.truth_train) - np.sum(self.y_train))


def adbench_names(data_dir: str | os.PathLike | None = None) -> list[str]:
    """List the available sets: files .npz in the folder adbench of the data folder."""
    return sorted(path.stem for path in (data_folder(data_dir) / FOLDER).glob("*.npz"))


def require_adbench(data_dir: str | os.PathLike | None = None) -> list[str]:
    """List the available sets.

    Raises:
        FileNotFoundError: if there are none.
    """
    names = adbench_names(data_dir)
    if not names:
        raise FileNotFoundError(
            f"there are no ADBench sets (.npz files with X and y) in folder "
            f"{str(data_folder(data_dir) / FOLDER)!r}: run `r2ad2 data fetch {FOLDER}`, or set "
            f"R2AD2_DATA to the folder that contains {FOLDER}/"
        )
    return names


def read_adbench(
    name: str, data_dir: str | os.PathLike | None = None
) -> tuple[np.ndarray, np.ndarray]:
    """Read a set: samples X (n, features) and labels y (n,), 1 = anomaly.

    Raises:
        FileNotFoundError: if the set is not available.
        ValueError: for a file of another form.
    """
    require_known([name], require_adbench(data_dir), "ADBench set")
    path = data_folder(data_dir) / FOLDER / f"{name}.npz"
    X, y = _read_arrays(path)
    if X.ndim != 2 or y.shape != (len(X),) or not set(np.unique(y)) == {0, 1}:
        raise ValueError(
            f"{str(path)!r} must hold X (n, features) and labels y (n,) of 0 and 1; it has shapes "
            f"{X.shape} and {y.shape}"
        )
    return X, y


def _read_arrays(path: Path) -> tuple[np.ndarray, np.ndarray]:
    """Read the arrays X and y of a file, whatever they hold."""
    try:
        with np.load(path, allow_pickle=False) as arrays:
            return arrays["X"], arrays["y"]
    # TypeError: a file with one array is none with names.
    except (KeyError, TypeError, ValueError, *DAMAGED) as error:
        raise ValueError(
            f"{str(path)!r} is not a file of ADBench, with arrays X and y: {reason_of(error)}"
        ) from error


def checksum(X: np.ndarray, y: np.ndarray) -> str:
    """Compute the SHA-256 sum of a set's numbers."""
    digest = hashlib.sha256()
    for array in (X, y):
        digest.update(np.ascontiguousarray(array, dtype="<f8").tobytes())
    return digest.hexdigest()


def split_adbench(
    X: np.ndarray, y: np.ndarray, n_labelled: int, seed: int, clean: bool = False
) -> ADBenchSplit:
    """Draw the split of the published comparison.

    Of more than 3,000 rows, 3,000 are drawn; 30 % are for testing. All anomalies that are not
    among the labelled ones stay in the training part with label 0.

    Args:
        X: samples (n, features).
        y: labels (n,), 1 = anomaly.
        n_labelled: number of labelled anomalies, drawn from those of the training part.
        seed: seed of all randomness.
        clean: whether to leave the other anomalies out of the training part.
    """
    from sklearn.model_selection import train_test_split

    # The same numbers as NumPy's global state would give after `numpy.random.seed(seed)`.
    random = np.random.RandomState(seed)
    if len(y) > _MAX_ROWS:
        chosen = random.choice(np.arange(len(y)), _MAX_ROWS, replace=False)
        X, y = X[chosen], y[chosen]
    x_train, x_test, truth, y_test = train_test_split(
        X, y, test_size=_TEST_SHARE, shuffle=True, stratify=y, random_state=random
    )
    anomalies = np.flatnonzero(truth == 1)
    labelled = random.choice(anomalies, min(n_labelled, len(anomalies)), replace=False)
    y_train = np.zeros(len(truth), dtype=np.int64)
    y_train[labelled] = 1
    kept = (truth == 0) | (y_train == 1) if clean else np.ones(len(truth), dtype=bool)
    return ADBenchSplit(
        x_train[kept],
        y_train[kept],
        truth[kept].astype(np.int64),
        x_test,
        y_test.astype(np.int64),
    )


def fetch_adbench(data_dir: str | os.PathLike | None = None, verbose: int = 1) -> list[Path]:
    """Download the missing ones of the ten sets of the comparison, and check their contents.

    Args:
        data_dir: folder of all data sets, see `data_folder`.
        verbose: 1 shows a progress bar on a terminal and plain lines elsewhere; 0 shows nothing.

    Returns:
        The files that were downloaded.

    Raises:
        ValueError: if a file is not as published.
        OSError: if a download fails; calling again resumes it.
    """
    folder, available = data_folder(data_dir) / FOLDER, set(adbench_names(data_dir))
    fetched = []
    for name, expected in CHECKSUMS.items():
        if name in available:
            continue

        def check(path: Path, expected: str = expected) -> None:
            try:
                found = checksum(*_read_arrays(path))
            except ValueError:  # damaged, or no numbers
                found = ""
            if found != expected:
                raise ValueError(
                    f"the downloaded file {path.name} is not as published: try again later"
                )

        with show_progress(f"{name}.npz", verbose) as report:
            url = _SOURCE.format(name)
            fetched.append(download(url, folder / f"{name}.npz", report, check))
    return fetched
