"""Reading a file of a folder that someone else may have filled: what is opened lies in the folder, whatever its name says.

The folder is resolved once; below it every step is opened relative to the one before, and no step may be a link. So
`../`, absolute names and links are refused, and a link that is swapped in between check and use finds nothing to swap.
"""

from __future__ import annotations

import errno
import os
import stat
from pathlib import Path

from ..vocabulary.documents import MAX_BYTES
from ..vocabulary.errors import ArtifactError


def read_inside(root: Path, relative: str, *, limit: int = MAX_BYTES) -> bytes | None:
    """The bytes of `root/relative`, None where there is no such file; ArtifactError where it leads elsewhere."""
    parts = relative.split("/")
    if any(part in ("", ".", "..") for part in parts) or "\0" in relative:
        raise ArtifactError(f"{relative!r}: not a plain name inside {root}")
    handles: list[int] = []
    try:
        handles.append(os.open(root.resolve(strict=True), os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW))
        for part in parts[:-1]:
            handles.append(os.open(part, os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW, dir_fd=handles[-1]))
        # Without O_NONBLOCK a named pipe would keep us waiting for its writer.
        handles.append(os.open(parts[-1], os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK, dir_fd=handles[-1]))
        return _whole(handles[-1], root, relative, limit)
    except FileNotFoundError:
        return None
    except (OSError, ValueError, RuntimeError) as fault:
        raise ArtifactError(f"{root}: {relative!r} {_reason(fault)}") from None
    finally:
        for handle in handles:
            os.close(handle)


def text_inside(root: Path, relative: str) -> str | None:
    """The same as UTF-8 text."""
    content = read_inside(root, relative)
    try:
        return None if content is None else content.decode("utf-8-sig")
    except UnicodeDecodeError as fault:
        raise ArtifactError(f"{root}: {relative!r} is not UTF-8 text ({fault})") from None


def _whole(handle: int, root: Path, relative: str, limit: int) -> bytes:
    status = os.fstat(handle)
    if not stat.S_ISREG(status.st_mode):
        raise ArtifactError(f"{root}: {relative!r} is not a regular file")
    if status.st_size > limit:
        raise ArtifactError(f"{root}: {relative!r} is larger than {limit // 2**20} MiB; is it the right file?")
    with os.fdopen(os.dup(handle), "rb") as stream:
        return stream.read(limit + 1)


def _reason(fault: Exception) -> str:
    if isinstance(fault, OSError) and fault.errno in (errno.ELOOP, errno.ENOTDIR, errno.EMLINK):
        return "is or passes through a link or a file; links in a run folder are not followed"
    return f"cannot be read: {(isinstance(fault, OSError) and fault.strerror) or fault}"
