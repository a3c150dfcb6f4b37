"""Members of a tar archive, by their place in the file; nothing is ever extracted.

Archives come from strangers. A member with an absolute name, with ``..`` in it, or that is a link
or a device is refused by name; a header that leads backwards, or asks for much memory, ends the
archive with an error. The bytes of a member are read from its place, so that a worker may read one
member of a large archive and no other.
"""

from __future__ import annotations

import re
import tarfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import IO, Final

from fdream.core.errors import DataError

MAX_HEADER_BYTES: Final = 1 << 20  # one read of a header; a name of 100,000 characters fits
# webdataset's rule: the key ends at the first dot of the file's name, folders belong to it.
_NAME: Final = re.compile(r"((?:.*/)?[^./]+)\.([^/]*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Member:
    """A plain file inside an archive.

    Attributes:
        key: what the files of one sample share.
        suffix: the rest of the name after the first dot, such as ``mp4`` or ``motion.txt``.
        offset: of its first byte in the archive.
        size: in bytes.
        problem: why it must not be read; empty when it may.
    """

    key: str
    suffix: str
    offset: int
    size: int
    problem: str = ""


def scan_members(archive: IO[bytes], place: str) -> Iterator[Member]:
    """Yield the members of an archive in order, reading headers alone.

    Args:
        archive: an uncompressed tar, seekable.
        place: what to call it in messages.

    Raises:
        DataError: no tar, or broken; what came before is good.
    """
    try:
        archive.seek(0)
        with tarfile.open(fileobj=_HeaderReader(archive), mode="r:") as tar:  # type: ignore[call-overload]
            reached = -1
            while (found := tar.next()) is not None:
                if found.size < 0 or found.offset_data <= reached:
                    raise tarfile.ReadError("a header leads backwards")
                reached = found.offset_data
                # tarfile keeps every member it has seen; a scan must not grow with the archive.
                tar.members.clear()
                if not found.isdir():
                    yield _member(found)
            # tarfile takes a broken header for the end; an end is a block of zeros, or nothing.
            archive.seek(tar.offset)
            rest = archive.read(tarfile.BLOCKSIZE)
            if rest.strip(b"\0") or 0 < len(rest) < tarfile.BLOCKSIZE:
                raise tarfile.ReadError(f"no header at byte {tar.offset}")
    except (tarfile.TarError, OSError, ValueError, EOFError, OverflowError) as error:
        raise DataError(f"{place}: broken archive ({error}).") from error


def read_member(archive: IO[bytes], member: Member, place: str) -> bytes:
    """Read the bytes of a member.

    Raises:
        DataError: the archive ends before the member does.
    """
    archive.seek(member.offset)
    data = archive.read(member.size)
    if len(data) < member.size:
        raise DataError(f"{place}: {member.key}.{member.suffix} is cut off.")
    return data


def refuse_name(name: str) -> str:
    """Say why a member's name is refused; nothing when it is fine."""
    if name.startswith(("/", "\\")) or re.match(r"[A-Za-z]:", name):
        return f"member {name!r} has an absolute name"
    if ".." in PurePosixPath(name.replace("\\", "/")).parts:
        return f"member {name!r} leads out of its folder"
    return ""


def _member(found: tarfile.TarInfo) -> Member:
    name = found.name
    problem = refuse_name(name)
    if not problem and not found.isreg():
        problem = f"member {name!r} is no plain file"
    if not problem and found.issparse():
        problem = f"member {name!r} is sparse"
    split = _NAME.fullmatch(name)
    key, suffix = (split[1], split[2]) if split else (name, "")
    return Member(key, suffix, found.offset_data, found.size, problem)


class _HeaderReader:
    """Lets tarfile read headers, and refuses what no honest header needs."""

    def __init__(self, archive: IO[bytes]) -> None:
        self._archive = archive

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MAX_HEADER_BYTES:
            raise tarfile.ReadError("a header asks for too much")
        return self._archive.read(size)

    def seek(self, offset: int, whence: int = 0) -> int:
        return self._archive.seek(offset, whence)

    def tell(self) -> int:
        return self._archive.tell()
