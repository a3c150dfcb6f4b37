"""Fetches a source from a store or a web server; only where the recipe asks for it."""

from __future__ import annotations

from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from fdream.core.errors import DataError

# A table of strangers must not reach this machine's files or chain file systems.
PROTOCOLS: Final = frozenset(
    {"http", "https", "s3", "s3a", "gs", "gcs", "az", "abfs", "abfss", "hf", "oss", "cos"}
)
_BLOCK: Final = 1 << 20


class FetchError(DataError):
    """A source could not be had."""


def refuse_protocol(address: str) -> str:
    """Return the protocol of an address.

    Raises:
        FetchError: it is none of ``PROTOCOLS``.
    """
    protocol = urlsplit(address).scheme.lower()
    if protocol not in PROTOCOLS or "::" in address:
        raise FetchError(f"addresses of kind {protocol!r} are not fetched")
    return protocol


def fetch(address: str, target: Path, limit: int) -> Path:
    """Copy what lies at an address to a file.

    Args:
        address: in one of ``PROTOCOLS``; fsspec and the user's own set-up do the rest.
        target: the file to write.
        limit: bytes after which it is given up.

    Returns:
        ``target``.

    Raises:
        FetchError: another protocol, not there, or too large.
    """
    protocol = refuse_protocol(address)
    import fsspec

    copied = 0
    try:
        with fsspec.open(address, "rb") as source, target.open("wb") as file:
            while block := source.read(_BLOCK):
                copied += len(block)
                if copied > limit:
                    raise FetchError(f"larger than {limit >> 20} MiB (limits.file_mb)")
                file.write(block)
    except FetchError:
        raise
    except ImportError as error:
        raise FetchError(f"{error}; install it to fetch {protocol} addresses") from error
    except Exception as error:
        # fsspec's stores each raise what their own client raises: a plugin boundary.
        reason = " ".join(str(error).split())[:200] or type(error).__name__
        raise FetchError(f"cannot be fetched ({reason})") from error
    return target
