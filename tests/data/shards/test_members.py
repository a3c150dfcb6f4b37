"""Archives of strangers are read member by member, and what leads elsewhere is refused."""

from __future__ import annotations

import io
import tarfile
from collections.abc import Callable

import pytest

from fdream.core.errors import DataError
from fdream.data.shards.members import Member, read_member, refuse_name, scan_members


def archive(*members: tuple[str, bytes], change: Callable[[tarfile.TarInfo], None] | None = None):
    buffer = io.BytesIO()
    with tarfile.open(fileobj=buffer, mode="w") as tar:
        for name, data in members:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            if change is not None:
                change(info)
            tar.addfile(info, io.BytesIO(data))
    buffer.seek(0)
    return buffer


def test_members_are_found_and_read_where_they_are() -> None:
    made = archive(("a.mp4", b"video"), ("a.motion.txt", b"moves"), ("dir/b.tar.gz", b""))
    found = list(scan_members(made, "x"))
    assert [(m.key, m.suffix, m.size) for m in found] == [
        ("a", "mp4", 5),
        ("a", "motion.txt", 5),
        ("dir/b", "tar.gz", 0),
    ]
    assert [read_member(made, member, "x") for member in found] == [b"video", b"moves", b""]


def test_keys_are_those_of_webdataset() -> None:
    from webdataset.tariterators import base_plus_ext

    names = ["a.mp4", "a/b.mp4", "a.b/c.motion.txt", "000010002_00001.json", "x/y.z/w.tar.gz"]
    found = scan_members(archive(*((name, b"x") for name in names)), "x")
    assert [(m.key, m.suffix) for m in found] == [base_plus_ext(name) for name in names]


@pytest.mark.parametrize(
    "name",
    ["/etc/passwd.mp4", "../up.mp4", "a/../../up.mp4", "\\\\host\\a.mp4", "C:\\a.mp4", "..\\a"],
)
def test_names_that_lead_elsewhere_are_refused(name: str) -> None:
    found = list(scan_members(archive((name, b"x"), ("good.mp4", b"y")), "x"))
    assert found[0].problem
    assert refuse_name(name)
    assert not found[1].problem


def test_dots_inside_a_name_lead_nowhere() -> None:
    assert not refuse_name("a..b/...mp4")


@pytest.mark.parametrize(
    "kind", [tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.FIFOTYPE]
)
def test_links_and_devices_are_refused(kind: bytes) -> None:
    def change(info: tarfile.TarInfo) -> None:
        info.type, info.linkname = kind, "/etc/passwd"

    (found,) = scan_members(archive(("a.mp4", b""), change=change), "x")
    assert "no plain file" in found.problem


def test_what_came_before_a_break_is_good() -> None:
    whole = archive(("a.mp4", b"x" * 600), ("b.mp4", b"y" * 600)).getvalue()
    members = scan_members(io.BytesIO(whole[:1536] + b"\xff" * 512), "x")
    assert next(members).key == "a"
    with pytest.raises(DataError, match="broken archive"):
        next(members)


def test_a_member_that_is_cut_off_is_said() -> None:
    whole = archive(("a.mp4", b"x" * 600)).getvalue()
    cut = io.BytesIO(whole[:700])
    member = Member("a", "mp4", 512, 600)
    with pytest.raises(DataError, match="cut off"):
        read_member(cut, member, "x")
    with pytest.raises(DataError, match="broken archive"):
        list(scan_members(cut, "x"))


@pytest.mark.parametrize("data", [b"", b"not a tar at all" * 100, b"\x1f\x8b" + b"\0" * 600])
def test_what_is_no_tar_is_said(data: bytes) -> None:
    with pytest.raises(DataError, match="broken archive"):
        list(scan_members(io.BytesIO(data), "x"))


def test_a_size_below_zero_ends_the_archive_and_not_the_day() -> None:
    """CVE-2025-8194: tarfile alone would walk in a circle."""
    made = bytearray(archive(("a.mp4", b"x" * 512), ("b.mp4", b"")).getvalue())
    made[1024 + 124 : 1024 + 136] = b"\xff" * 10 + b"\xfc\x00"  # base-256: minus 1024
    checksum = sum(made[1024 : 1024 + 148]) + 8 * 32 + sum(made[1024 + 156 : 1536])
    made[1024 + 148 : 1024 + 156] = b"%06o\0 " % checksum
    with pytest.raises(DataError, match="broken archive"):
        list(scan_members(io.BytesIO(bytes(made)), "x"))


def test_a_header_that_asks_for_gigabytes_is_refused() -> None:
    header = tarfile.TarInfo("././@LongLink")
    header.type, header.size = tarfile.GNUTYPE_LONGNAME, 8 << 30
    block = header.tobuf(tarfile.GNU_FORMAT)
    with pytest.raises(DataError, match="asks for too much"):
        list(scan_members(io.BytesIO(block + b"\0" * 10240), "x"))
