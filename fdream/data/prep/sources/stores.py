"""Videos in a remote store: one, or a folder of them; fsspec and the user's own set-up reach it."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Final

from fdream.core.errors import DataError
from fdream.data.prep.fetching import FetchError, fetch, refuse_protocol
from fdream.data.prep.sources.files import LARGEST_SIDE_FILE, side_files
from fdream.data.prep.sources.rows import SourceRow, is_video_name, public_address, suffix_of

_SIDES: Final = ("txt", "json")


@dataclass(frozen=True, slots=True)
class Listing:
    """The files of a remote folder.

    Attributes:
        root: its address, without a slash at the end.
        names: of all files under it, relative to it; sorted, hidden ones left out.
    """

    root: str
    names: Sequence[str]


def list_store(folder: str) -> Listing:
    """List a remote folder.

    Raises:
        DataError: it cannot be listed.
    """
    import fsspec

    try:
        refuse_protocol(folder)
        system, path = fsspec.core.url_to_fs(folder)
        root = system.unstrip_protocol(path).rstrip("/")
        found = [
            system.unstrip_protocol(name).removeprefix(f"{root}/") for name in system.find(path)
        ]
    except FetchError as error:
        raise DataError(f"{folder}: {error}.") from error
    except ImportError as error:
        missing = f"{str(error).rstrip('.')} with pip"
        raise DataError(f"{folder}: {missing}; install it to read from there.") from error
    except Exception as error:
        # fsspec's stores each raise what their own client raises: a plugin boundary.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise DataError(f"{public_address(folder)}: cannot be listed ({reason}).") from error
    shown = (name for name in found if not any(p.startswith(".") for p in name.split("/")))
    return Listing(root, sorted(shown))


def store_rows(listing: Listing) -> Iterator[SourceRow]:
    """Yield the videos of a remote folder, with the captions that stand beside them."""
    there = frozenset(f"{listing.root}/{name}" for name in listing.names)
    for name in filter(is_video_name, listing.names):
        yield _row(f"{listing.root}/{name}", name, there)


def video_row(address: str) -> SourceRow:
    """Return the row of one video at an address."""
    return _row(address, public_address(address).rpartition("/")[2], frozenset())


def _row(address: str, name: str, there: frozenset[str]) -> SourceRow:
    stem = address.rpartition(".")[0]
    with TemporaryDirectory(prefix="fdream-") as folder:
        video = Path(folder) / "video"
        try:
            for side in _SIDES:
                if f"{stem}.{side}" in there:
                    fetch(f"{stem}.{side}", video.with_suffix(f".{side}"), LARGEST_SIDE_FILE)
            caption, fields, problem = side_files(video)
        except FetchError as error:
            caption, fields, problem = "", {}, f"the file beside it: {error}"
    return SourceRow(
        id=name.rpartition(".")[0] or name,
        url=public_address(address),
        caption=caption,
        path=address,
        remote=True,
        suffix=suffix_of(name),
        fields=fields,
        problem=problem,
    )
