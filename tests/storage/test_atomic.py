from __future__ import annotations

import errno
import os
import stat
import sys
from pathlib import Path

import pytest

import pe_deploy.storage.atomic
from pe_deploy.storage.atomic import check_writable, publishing, replacing, sole_writer, write_bytes

locks = pytest.mark.skipif(sys.platform == "win32", reason="nothing tells what is in use there")


class StopHereError(Exception):
    pass


def content(folder: Path) -> dict[str, str]:
    return {path.name: path.read_text() for path in folder.iterdir() if path.is_file()}


def test_a_file_is_replaced_whole_or_not_at_all(tmp_path: Path) -> None:
    path = tmp_path / "deep" / "file.csv"
    write_bytes(path, b"old")
    with pytest.raises(StopHereError), replacing(path) as temporary:
        temporary.write_text("half")
        raise StopHereError
    assert content(path.parent) == {"file.csv": "old"}
    with replacing(path) as temporary:
        assert temporary.suffix == ".csv"
        temporary.write_text("new")
        assert path.read_text() == "old"
    assert content(path.parent) == {"file.csv": "new"}


@pytest.mark.parametrize("can_exchange", [True, False])
def test_a_folder_is_replaced_whole_or_not_at_all(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(pe_deploy.storage.atomic, "_exchange", lambda *_: False)
    folder = tmp_path / "bundle"
    with publishing(folder) as staging:
        (staging / "a").write_text("old")
        assert not folder.exists()
    with pytest.raises(StopHereError), publishing(folder) as staging:
        (staging / "a").write_text("half")
        raise StopHereError
    assert content(folder) == {"a": "old"}
    with publishing(folder) as staging:
        (staging / "b").write_text("new")
        assert content(folder) == {"a": "old"}
    assert content(folder) == {"b": "new"}
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


@pytest.mark.parametrize("can_exchange", [True, False])
def test_what_a_check_does_not_want_replaced_is_back_in_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(pe_deploy.storage.atomic, "_exchange", lambda *_: False)
    folder = tmp_path / "bundle"
    seen: list[dict[str, str] | None] = []

    def refuse(replaced: Path) -> None:
        seen.append(content(replaced) if replaced.exists() else None)
        raise StopHereError

    with pytest.raises(StopHereError), publishing(folder, refuse) as staging:
        (staging / "a").write_text("over nothing")
    assert not list(tmp_path.iterdir())
    with publishing(folder, lambda replaced: seen.append(None)) as staging:
        (staging / "a").write_text("old")
    with pytest.raises(StopHereError), publishing(folder, refuse) as staging:
        (staging / "a").write_text("new")
    assert seen == [None, None, {"a": "old"}]
    assert content(folder) == {"a": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def test_of_a_link_the_target_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "v1").mkdir()
    (tmp_path / "current").symlink_to("v1")
    with publishing(tmp_path / "current") as staging:
        (staging / "a").write_text("new")
    assert content(tmp_path / "v1") == {"a": "new"}
    (tmp_path / "link.csv").symlink_to("file.csv")
    write_bytes(tmp_path / "link.csv", b"rows")
    assert (tmp_path / "file.csv").read_text() == "rows"
    assert sorted(p.name for p in tmp_path.iterdir()) == ["current", "file.csv", "link.csv", "v1"]


def test_a_folder_is_never_replaced_by_a_file(tmp_path: Path) -> None:
    with pytest.raises(IsADirectoryError, match="is a folder; allowed: a file to write"):
        write_bytes(tmp_path, b"")


def test_a_publication_that_cannot_be_put_in_place_keeps_the_old(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(pe_deploy.storage.atomic, "_exchange", lambda *_: False)
    folder = tmp_path / "bundle"
    with publishing(folder) as staging:
        (staging / "a").write_text("old")
    renamed = Path.rename

    def refuse_the_new(self: Path, target: Path) -> Path:
        if target == folder and not self.name.endswith(".old"):
            raise PermissionError("refused")
        return renamed(self, target)

    monkeypatch.setattr(Path, "rename", refuse_the_new)
    with pytest.raises(PermissionError), publishing(folder) as staging:
        (staging / "a").write_text("new")
    assert content(folder) == {"a": "old"}
    assert [path.name for path in tmp_path.iterdir()] == ["bundle"]


def publish(folder: Path, text: str) -> None:
    with publishing(folder) as staging:
        (staging / "a").write_text(text)


def names(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir())


@locks
def test_what_a_killed_process_left_is_gone_after_the_next_write(tmp_path: Path) -> None:
    for left in (".v1.2.0123456789abcdef.2", ".v1.2.0123456789abcdef.2.old"):
        (tmp_path / left / "deep").mkdir(parents=True)
        (tmp_path / left / "deep" / "half").write_text("written")
        (tmp_path / left).chmod(0o500)
    (tmp_path / ".rows.csv.0123456789abcdef.csv").write_text("half")
    publish(tmp_path / "v1.2", "new")
    assert names(tmp_path) == [".rows.csv.0123456789abcdef.csv", "v1.2"]
    write_bytes(tmp_path / "rows.csv", b"new")
    assert names(tmp_path) == ["rows.csv", "v1.2"]


def test_what_only_looks_alike_stays(tmp_path: Path) -> None:
    (tmp_path / "elsewhere").mkdir()
    alike = (
        ".bundle.0123456789abcde",  # too short
        ".bundle.0123456789ABCDEF",
        ".bundle.0123456789abcdef.tar",
        ".bundle2.0123456789abcdef",  # of another
        ".my.bundle.0123456789abcdef",
        "bundle.0123456789abcdef",
        ".bundle",
    )
    for name in alike:
        (tmp_path / name).mkdir()
    (tmp_path / ".bundle.00000000000000ab").symlink_to("elsewhere")
    before = names(tmp_path)
    publish(tmp_path / "bundle", "new")
    assert names(tmp_path) == sorted([*before, "bundle"])


@pytest.mark.parametrize("can_exchange", [True, False])
def test_of_two_at_once_the_last_wins(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, can_exchange: bool
) -> None:
    if not can_exchange:
        monkeypatch.setattr(pe_deploy.storage.atomic, "_exchange", lambda *_: False)
    folder, file = tmp_path / "bundle", tmp_path / "rows.csv"
    for before in (None, "old"):
        with publishing(folder) as staging, replacing(file) as temporary:
            (staging / "a").write_text("last")
            temporary.write_text("last")
            publish(folder, "first")
            write_bytes(file, b"first")
            assert (content(folder), file.read_text()) == ({"a": "first"}, "first"), before
        assert (content(folder), file.read_text()) == ({"a": "last"}, "last"), before
        assert names(tmp_path) == ["bundle", "rows.csv"], before


@locks
@pytest.mark.parametrize("suffix", ["", ".old"])
def test_a_folder_that_was_put_aside_by_a_killed_process_is_put_back(
    tmp_path: Path, suffix: str
) -> None:
    folder = tmp_path / f"bundle{suffix}"
    name = f".{folder.name}.0123456789abcdef{suffix}"
    for left in (name, f"{name}.old"):
        (tmp_path / left).mkdir()
        (tmp_path / left / "a").write_text(left)
    with pytest.raises(StopHereError), publishing(folder):
        assert content(folder) == {"a": f"{name}.old"}
        raise StopHereError
    assert names(tmp_path) == [folder.name]


def test_what_cannot_be_removed_or_locked_is_no_reason_to_fail(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def refuse(*_: object) -> int:
        raise OSError(errno.ENOLCK, "No locks available")

    left = ".bundle.0123456789abcdef"
    (tmp_path / left).mkdir()
    monkeypatch.setattr(pe_deploy.storage.atomic, "_locked", refuse)
    publish(tmp_path / "bundle", "new")
    with sole_writer(tmp_path) as first, sole_writer(tmp_path) as second:
        assert first
        assert second  # nothing tells
    monkeypatch.undo()
    monkeypatch.setattr(pe_deploy.storage.atomic, "_remove", refuse)
    publish(tmp_path / "other", "new")
    write_bytes(tmp_path / "rows.csv", b"new")
    assert names(tmp_path) == [left, "bundle", "other", "rows.csv"]


@locks
def test_a_sole_writer(tmp_path: Path) -> None:
    with sole_writer(tmp_path) as first:
        assert first
        with sole_writer(tmp_path) as second:
            assert not second
    with sole_writer(tmp_path) as third, sole_writer(tmp_path / "nothing"):
        assert third


@pytest.mark.skipif(os.name != "posix", reason="permissions are those of POSIX")
def test_permissions_are_those_of_any_new_file_and_folder(tmp_path: Path) -> None:
    former = os.umask(0o027)
    try:
        publish(tmp_path / "bundle", "new")
        write_bytes(tmp_path / "rows.csv", b"new")
    finally:
        os.umask(former)
    modes = [
        oct(stat.S_IMODE((tmp_path / name).stat().st_mode))
        for name in ("bundle", "bundle/a", "rows.csv")
    ]
    assert modes == ["0o750", "0o640", "0o640"]


def test_errors_name_the_place_that_was_asked_for(tmp_path: Path) -> None:
    def said(error: OSError) -> str:
        with pytest.raises(type(error)) as caught, publishing(tmp_path / "bundle"):
            raise error
        return str(caught.value)

    full = f"[Errno 28] No space left on device: '{tmp_path / 'bundle'}'"
    assert said(OSError(errno.ENOSPC, "No space left on device")) == full
    with pytest.raises(FileNotFoundError) as caught, publishing(tmp_path / "bundle") as staging:
        (staging / "missing").read_bytes()
    assert caught.value.filename == str(tmp_path / "bundle")
    elsewhere = FileNotFoundError(errno.ENOENT, "No such file or directory", "rows.csv")
    assert said(elsewhere) == "[Errno 2] No such file or directory: 'rows.csv'"
    assert said(BrokenPipeError(errno.EPIPE, "Broken pipe")) == "[Errno 32] Broken pipe"
    assert names(tmp_path) == []


def test_a_file_is_never_replaced_by_a_folder(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("mine")
    with pytest.raises(NotADirectoryError, match="is a file; allowed: a folder to write"):
        publish(tmp_path / "file", "new")
    assert content(tmp_path) == {"file": "mine"}


def test_a_place_that_is_not_there_yet_is_writable(tmp_path: Path) -> None:
    check_writable(tmp_path / "new" / "deep" / "bundle")
    assert names(tmp_path) == []
