"""Writing files all or nothing, and what is said of files and folders that cannot be used."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from r2ad2.support.files import (
    format_suffix,
    fsync_directory,
    make_folder,
    require_file,
    write_atomically,
    write_text,
)


def test_a_failed_write_leaves_the_earlier_file_and_nothing_else(tmp_path):
    path = write_text(tmp_path / "new" / "a.txt", "ü\n")
    assert path.read_bytes() == "ü\n".encode()

    def fail(temporary):
        assert temporary.suffix == ".txt"
        temporary.write_text("half")
        raise OSError("disk full")

    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, fail)
    assert [(p.name, p.read_text()) for p in path.parent.iterdir()] == [("a.txt", "ü\n")]


@pytest.mark.skipif(os.name == "nt", reason="Windows lets few users make symbolic links")
def test_a_symbolic_link_stays_one(tmp_path):
    (tmp_path / "models").mkdir()
    link, file = tmp_path / "current", tmp_path / "models" / "1"
    file.write_text("old")
    link.symlink_to(file)
    assert write_text(link, "new") == link
    assert link.is_symlink()
    assert file.read_text() == "new"
    assert [path.name for path in file.parent.iterdir()] == ["1"]


def test_files_and_folders_are_not_taken_for_each_other(tmp_path):
    write_text(tmp_path / "file", "")
    require_file(tmp_path / "file")
    with pytest.raises(FileNotFoundError, match="is a folder: name a file"):
        require_file(tmp_path)
    with pytest.raises(FileNotFoundError, match=r"'.*none' does not exist"):
        require_file(tmp_path / "none")
    for folder in (tmp_path / "file", tmp_path / "file" / "below"):
        with pytest.raises(NotADirectoryError, match=r"cannot write into '.*': it is a file"):
            make_folder(folder)


def test_folders_without_permission_are_named(tmp_path, monkeypatch):
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    with pytest.raises(PermissionError, match=f"cannot write into '{tmp_path}': no permission"):
        make_folder(tmp_path)


def test_a_directory_is_flushed_and_closed(tmp_path, monkeypatch):
    flushed = []
    monkeypatch.setattr(os, "fsync", lambda n: flushed.append((n, os.fstat(n).st_ino)))
    fsync_directory(tmp_path)
    [(descriptor, inode)] = flushed
    assert inode == tmp_path.stat().st_ino
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(descriptor)


@pytest.mark.parametrize(
    ("name", "suffix"),
    [("a.csv", ".csv"), ("A.CSV.GZ", ".csv"), ("a.b.parquet", ".parquet"), ("gz", ""), ("a", "")],
)
def test_formats_ignore_case_and_compression(name, suffix):
    assert format_suffix(Path(name)) == suffix
