"""Files and folders that appear whole or not at all.

Everything is written beside its final place under a hidden temporary name, flushed to the disk,
and then renamed. A failure at any point leaves what was there before.

A process that is killed cannot remove its temporary. So each is locked (flock) for as long as its
process lives, and the next write to the same place removes those that nobody holds. No process
ever waits for another: whoever comes last wins, and a reader needs no lock. Where there are no
such locks (Windows, some network file systems) nothing is removed, since it may be in use.
"""

from __future__ import annotations

import ctypes
import errno
import os
import re
import secrets
import shutil
import stat
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_RENAME_EXCHANGE = 2  # linux/fs.h
_AT_FDCWD = -100  # fcntl.h

_ASIDE = ".old"  # of a folder between the two steps of a swap that takes two
_NEW_FILE = os.O_CREAT | os.O_EXCL | os.O_WRONLY
_ATTEMPTS = 100  # each is lost only where another process acts between two calls of this one
_NAMELESS = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO)


def write_bytes(path: Path, data: bytes) -> None:
    """Write a file whole: the old content or the new is found at `path`, never a part."""
    with replacing(path) as temporary:
        temporary.write_bytes(data)


@contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield the path of an empty temporary file; it replaces `path` if the block succeeds.

    The block may open that path anew, and finds the suffix of `path` on it.

    Raises:
        IsADirectoryError: `path` is a folder.
        OSError: it cannot be written; `path` and the reason are named, and it is as it was.
    """
    path = path.resolve()  # of a link, what it points to is replaced
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder; allowed: a file to write")
    with _temporary_for(path, lambda new: os.close(os.open(new, _NEW_FILE, 0o666))) as temporary:
        yield temporary
        _sync(temporary)
        temporary.replace(path)
        _sync(path.parent)


@contextmanager
def publishing(folder: Path, check: Callable[[Path], None] | None = None) -> Iterator[Path]:
    """Yield an empty temporary folder; it takes the place of `folder` if the block succeeds.

    Args:
        folder: where to publish.
        check: given what was at `folder` when it has been replaced, or a path with nothing there;
            where it raises, that is back in its place, whatever another process published before.

    Raises:
        NotADirectoryError: `folder` is a file.
        OSError: it cannot be written; `folder` and the reason are named, and it is as it was.
    """
    folder = folder.resolve()  # of a link, what it points to is replaced
    if folder.exists() and not folder.is_dir():
        raise NotADirectoryError(f"{folder} is a file; allowed: a folder to write")
    with _temporary_for(folder, os.mkdir) as staging:
        yield staging
        for path in staging.rglob("*"):
            _sync(path)
        _sync(staging)
        _swap(staging, folder)
        if check is not None:
            try:
                check(staging)
            except BaseException:
                _take_back(folder, staging)
                raise
        _sync(folder.parent)


@contextmanager
def sole_writer(folder: Path) -> Iterator[bool]:
    """Yield whether no other process is inside such a block for the same folder."""
    handle, alone = None, True
    try:
        handle = _locked(folder)
    except OSError as error:
        # Else there are no such locks here, or no such folder, which the block will find out.
        alone = not isinstance(error, BlockingIOError)
    try:
        yield alone
    finally:
        if handle is not None:
            os.close(handle)


def check_writable(path: Path) -> None:
    """Check that something can be put at `path`, before hours of work are spent on it.

    Raises:
        OSError: it, or the folder that it is to be made in, takes no new files.
    """
    parent = path.resolve().parent
    while not parent.exists():
        parent = parent.parent
    if not os.access(parent, os.W_OK | os.X_OK):
        raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), str(parent))


def is_temporary(entry: Path, target: Path) -> bool:
    """Whether `entry`, in the same folder, has the name of a temporary of `target`."""
    return _temporary_name(entry, target) is not None


def remove_stale(target: Path) -> None:
    """Remove what killed processes left beside `target`; what a living one holds stays.

    Where it cannot be removed it stays as well: that is no reason for a good write to fail.
    """
    with suppress(OSError):
        for entry in list(target.parent.iterdir()):
            if is_temporary(entry, target):
                with suppress(OSError):
                    _remove_stale(entry, target)


def _temporary_name(entry: Path, target: Path) -> re.Match[str] | None:
    name, suffix = re.escape(target.name), re.escape(target.suffix)
    return re.fullmatch(
        rf"\.{name}\.[0-9a-f]{{16}}{suffix}(?P<aside>{re.escape(_ASIDE)})?", entry.name
    )


def _remove_stale(entry: Path, target: Path) -> None:
    handle = _locked(entry)
    try:
        found = _temporary_name(entry, target)
        if found and found["aside"] and not target.exists():
            entry.rename(target)  # killed between the two steps of a swap, this is all there is
        else:
            _remove(entry)
    finally:
        os.close(handle)


@contextmanager
def _temporary_for(target: Path, make: Callable[[Path], None]) -> Iterator[Path]:
    """Make a temporary beside `target` and lock it; what is there after the block is removed."""
    with _naming(target, target.parent):
        target.parent.mkdir(parents=True, exist_ok=True)
    remove_stale(target)
    temporary, handle = _make_locked(target, make)
    try:
        with _naming(target, temporary):
            yield temporary
    finally:
        # After a swap of folders this is the one that was replaced.
        with suppress(OSError):
            _remove(temporary)
        if handle is not None:
            os.close(handle)


def _make_locked(target: Path, make: Callable[[Path], None]) -> tuple[Path, int | None]:
    for _ in range(_ATTEMPTS):
        # The suffix is kept: writers choose their format by it.
        temporary = target.with_name(f".{target.name}.{secrets.token_hex(8)}{target.suffix}")
        with _naming(target, temporary):
            make(temporary)
        try:
            return temporary, _locked(temporary)
        except (BlockingIOError, FileNotFoundError):
            continue  # not locked yet, it looked stale to another process
        except OSError:
            return temporary, None
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(target))


def _locked(path: Path) -> int:
    """A descriptor that holds the lock of a file or folder until it is closed.

    Raises:
        BlockingIOError: another holds it.
        FileNotFoundError: it is gone.
        OSError: there are no such locks here.
    """
    if sys.platform == "win32":
        raise OSError(errno.ENOTSUP, os.strerror(errno.ENOTSUP), str(path))
    import fcntl

    handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        if not os.path.samestat(os.fstat(handle), os.lstat(path)):
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
    except OSError:
        os.close(handle)
        raise
    return handle


def _remove(path: Path) -> None:
    if stat.S_ISDIR(os.lstat(path).st_mode):
        path.chmod(0o700)  # a bundle may have been made read-only before it was replaced
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink()


def _swap(staging: Path, folder: Path) -> None:
    """Put `staging` at `folder`; what was at `folder`, if anything, ends up at `staging`."""
    for _ in range(_ATTEMPTS):
        if _exchange(staging, folder):
            return
        try:
            staging.rename(folder)  # nothing is there, or an empty folder
        except OSError as error:
            if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                raise
        else:
            return
        if _swap_in_two(staging, folder):
            return
    raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(folder))


def _take_back(folder: Path, staging: Path) -> None:
    """Put what was at `folder`, if anything, there again, and what took its place at `staging`."""
    if staging.exists():
        _swap(staging, folder)
    else:
        folder.rename(staging)


def _swap_in_two(staging: Path, folder: Path) -> bool:
    """Swap without an atomic exchange; False where another process came between.

    There is a moment with no folder, never one with half of it.
    """
    aside = staging.with_name(staging.name + _ASIDE)
    with sole_writer(folder):  # as the old one must not look stale while it is aside
        try:
            folder.rename(aside)
        except FileNotFoundError:
            return False
        try:
            staging.rename(folder)
        except OSError as error:
            if error.errno in (errno.ENOTEMPTY, errno.EEXIST):
                _remove(aside)
                return False
            aside.rename(folder)
            raise
        aside.rename(staging)
    return True


def _exchange(first: Path, second: Path) -> bool:
    """Exchange two paths in one step (renameat2, Linux); False where that cannot be done."""
    if not sys.platform.startswith("linux"):
        return False
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    done: int = renameat2(
        _AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE
    )
    return done == 0


@contextmanager
def _naming(target: Path, temporary: Path) -> Iterator[None]:
    """Let errors of the system name `target`, not its temporary, and not nothing at all."""
    try:
        yield
    except OSError as error:
        if error.filename is None:
            ours = error.errno in _NAMELESS  # a write to an open file knows no name
        else:
            named = Path(os.fsdecode(error.filename))
            ours = temporary in (named, *named.parents)
        if not ours or error.errno is None:
            raise
        # The system's own words: pyarrow puts them in others.
        raise OSError(error.errno, os.strerror(error.errno), str(target)) from error


def _sync(path: Path) -> None:
    if os.name != "posix" and path.is_dir():
        return  # Windows cannot open a folder to flush it
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
