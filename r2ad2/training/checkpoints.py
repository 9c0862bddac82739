"""Training checkpoints: written atomically, and never used for a different training run."""

from __future__ import annotations

import hashlib
import json
import logging
import os
import shutil
import zipfile
import zlib
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from r2ad2.support.files import fsync_directory, write_atomically
from r2ad2.support.messages import reason_of

logger = logging.getLogger(__name__)

_FORMAT = 1
_MANIFEST = "training.json"
_SUFFIX = ".checkpoint.npz"
_STATE = "state"
_MAX_LISTED = 5


@dataclass
class PhaseState:
    """Progress of one phase of a training.

    Attributes:
        epoch: number of finished epochs.
        finished: whether the phase is complete.
        history: losses of the epochs, by name.
        plain: JSON values of the callbacks.
        arrays: lists of arrays by name.
    """

    epoch: int
    finished: bool
    history: dict[str, list[float]]
    plain: dict[str, Any] = field(default_factory=dict)
    arrays: dict[str, list[np.ndarray]] = field(default_factory=dict)


def _digest(value: Any) -> str:
    return hashlib.sha256(json.dumps(value, sort_keys=True).encode()).hexdigest()


class Checkpoint:
    """A folder with the state of one training: a manifest, and one file per phase.

    The manifest identifies the training by its fingerprint and holds the random state it began
    with. Files hold NumPy arrays and JSON (.npz, no pickle).

    Args:
        folder: created if necessary; other files in it are left alone.
        fingerprint: everything that the result depends on, as strings and numbers by name.
        random: the generator that the training is about to draw from.

    Attributes:
        random: the generator to draw from: `random` itself or, when resuming a run that began in a
            different state, a copy in that state.

    Raises:
        OSError: if the folder cannot be written.
        ValueError: if it holds an unfinished training with another fingerprint, or is damaged.
    """

    def __init__(
        self,
        folder: str | os.PathLike,
        fingerprint: dict[str, Any],
        random: np.random.RandomState,
    ):
        self.folder = Path(folder)
        self._fingerprint = fingerprint
        self.random = random
        self._guarded(self._remove_leftovers)
        found = self._read_manifest()
        differences = [] if found is None else self._differences(found["fingerprint"])
        if found is not None and not differences:
            self._state = found["random_state"]
            if self._state != _plain_state(random):
                self.random = np.random.RandomState()
                self.random.set_state(
                    (self._state[0], np.array(self._state[1], np.uint32), *self._state[2:])
                )
            return
        if found is not None and not found["finished"]:
            raise ValueError(
                f"checkpoint_dir {str(self.folder)!r} holds an unfinished training that differs in "
                f"{_listed(differences)}: repeat that call to resume it, delete the directory, or "
                "choose another one"
            )
        if found is not None:
            logger.info("%s: replacing a finished training by a new one", self.folder)
            self._guarded(self._remove_phases)
        self._state = _plain_state(random)
        self._write_manifest(finished=False)

    # ---- phases ---------------------------------------------------------------------------

    def _path(self, phase: str) -> Path:
        return self.folder / f"{phase.replace(' ', '_')}{_SUFFIX}"

    def read(self, phase: str) -> PhaseState | None:
        """Read the state of a phase; None if there is none.

        Raises:
            ValueError: if the file is damaged, or belongs to another training.
        """
        path = self._path(phase)
        if not path.exists():
            return None
        try:
            # NumPy's files have a checksum for every array.
            with np.load(path, allow_pickle=False) as file:
                state = json.loads(str(file[_STATE]))
                arrays = {
                    name: [file[f"{name}/{i}"] for i in range(n)]
                    for name, n in state.pop("lengths").items()
                }
            training = state.pop("training")
            found = PhaseState(**state, arrays=arrays)
        except (OSError, EOFError, KeyError, TypeError, ValueError, *_DAMAGE) as error:
            raise ValueError(
                f"checkpoint file {str(path)!r} is damaged ({reason_of(error)}): delete it; the "
                "same call then repeats this phase of the training"
            ) from error
        if training != _digest(self._fingerprint):
            raise ValueError(
                f"checkpoint file {str(path)!r} belongs to another training: delete the directory, "
                "and use a separate directory for each of several simultaneous trainings"
            )
        return found

    def write(self, phase: str, state: PhaseState) -> None:
        """Replace the saved state of a phase.

        Raises:
            OSError: if it cannot be written; the earlier state stays.
        """
        described = {
            "training": _digest(self._fingerprint),
            "epoch": state.epoch,
            "finished": state.finished,
            "history": state.history,
            "plain": state.plain,
            "lengths": {name: len(arrays) for name, arrays in state.arrays.items()},
        }
        members: dict[str, Any] = {
            f"{name}/{i}": array
            for name, arrays in state.arrays.items()
            for i, array in enumerate(arrays)
        }
        members[_STATE] = np.array(json.dumps(described))

        def save(temporary: Path) -> None:
            with temporary.open("wb") as file:
                np.savez(file, **members)
                file.flush()
                os.fsync(file.fileno())

        self._replace(self._path(phase), save)

    def finish(self) -> None:
        """Record that the whole training is complete.

        Raises:
            OSError: if that cannot be written.
        """
        self._write_manifest(finished=True)

    # ---- the manifest ---------------------------------------------------------------------

    def _read_manifest(self) -> dict[str, Any] | None:
        path = self.folder / _MANIFEST
        if not path.exists():
            return None
        try:
            found = json.loads(path.read_text("utf-8"))
            if found.pop("checksum") != _digest(found):
                raise ValueError("its checksum does not match")
            return {name: found[name] for name in ("fingerprint", "random_state", "finished")}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(
                f"checkpoint file {str(path)!r} is damaged ({reason_of(error)}): delete the "
                "directory; training then starts over"
            ) from error

    def _write_manifest(self, finished: bool) -> None:
        manifest = {
            "format": _FORMAT,
            "finished": finished,
            "fingerprint": self._fingerprint,
            "random_state": self._state,
        }
        manifest["checksum"] = _digest(manifest)

        def save(temporary: Path) -> None:
            with temporary.open("w", encoding="utf-8") as file:
                json.dump(manifest, file, indent=1)
                file.flush()
                os.fsync(file.fileno())

        self._replace(self.folder / _MANIFEST, save)

    def _differences(self, earlier: dict[str, Any]) -> list[str]:
        """List the differences from an earlier fingerprint."""
        now = json.loads(json.dumps(self._fingerprint))
        return [
            f"{name} ({earlier.get(name)}, now {now.get(name)})"
            for name in {**now, **earlier}
            if earlier.get(name) != now.get(name)
        ]

    # ---- the file system ------------------------------------------------------------------

    def _replace(self, path: Path, save: Callable[[Path], None]) -> None:
        def replace() -> None:
            write_atomically(path, save)
            fsync_directory(self.folder)  # so that the rename survives a power loss

        self._guarded(replace)

    def _remove_leftovers(self) -> None:
        """Delete the temporary folders of a process that was killed while writing."""
        for name in (_MANIFEST, f"*{_SUFFIX}"):
            for folder in self.folder.glob(f".{name}.*"):
                shutil.rmtree(folder)

    def _remove_phases(self) -> None:
        for path in self.folder.glob(f"*{_SUFFIX}"):
            path.unlink()

    def _guarded(self, action: Callable[[], None]) -> None:
        """Run an action on the folder; turn its errors into ones that say what to do."""
        try:
            action()
        except OSError as error:
            raise type(error)(
                f"cannot write to checkpoint_dir {str(self.folder)!r}: "
                f"{error.strerror or error}. Earlier checkpoints are intact: make room or set its "
                "permissions and repeat the call, or choose another directory"
            ) from error


_DAMAGE = (zipfile.BadZipFile, zlib.error)


def _listed(differences: list[str]) -> str:
    more = len(differences) - _MAX_LISTED
    listed = ", ".join(differences[:_MAX_LISTED])
    return f"{listed} and {more} more" if more > 0 else listed


def _plain_state(random: np.random.RandomState) -> list[Any]:
    """Return the state of a generator as JSON values."""
    name, keys, *rest = random.get_state(legacy=True)
    return [name, np.asarray(keys).tolist(), *rest]
