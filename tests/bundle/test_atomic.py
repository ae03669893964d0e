from __future__ import annotations

from pathlib import Path

import pytest

import pe_deploy.atomic
from pe_deploy.atomic import publishing, replacing, write_bytes


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
        monkeypatch.setattr(pe_deploy.atomic, "_exchange", lambda *_: False)
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
    monkeypatch.setattr(pe_deploy.atomic, "_exchange", lambda *_: False)
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
