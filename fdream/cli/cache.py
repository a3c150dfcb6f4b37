"""``fdream cache``: what fdream keeps on this machine, and how to be rid of it."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

from fdream.cli import render
from fdream.cli.params import JsonOption, reporter_of
from fdream.core.errors import UsageError

if TYPE_CHECKING:
    from fdream.core.cache import Kind

_SECONDS: Final = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}

app = typer.Typer(rich_markup_mode=None)

KindOption = Annotated[
    list[str] | None,
    typer.Option("--kind", metavar="KIND", help="Only this kind, a folder of it; repeatable."),
]


@app.callback()
def cache() -> None:
    """See and clear what fdream keeps on this machine.

    One folder: FDREAM_CACHE, or `cache` in the settings, or the system's place for caches. What
    fdream puts there can be made or fetched again, so it may go at any time. Generating puts
    there what a single .safetensors file becomes when it is first used, and nothing else. Training
    on shards keeps latents, flow and features there, for all runs; on SpriteWorld it keeps them in
    cache/ of the run folder, and they go with that. Weights from the Hugging Face Hub lie in the
    Hub's own cache (HF_HOME).
    """


@app.command()
def path() -> None:
    """Print the cache's folder; it need not exist.

    \b
    Examples:
      fdream cache path
      du -sh "$(fdream cache path)"
    """
    render.line(str(_root()))


@app.command()
def stats(json: JsonOption = False) -> None:
    """Show what lies in the cache, by kind, with sizes.

    Folders in it that fdream did not make, such as bundles that you put into models/, are listed
    as yours and are never pruned.

    \b
    Examples:
      fdream cache stats
      fdream cache stats --json
    """
    from fdream.core.cache import survey

    root = _root()
    kinds = survey(root)
    if json:
        render.as_json(
            {
                "root": str(root),
                "bytes": sum(kind.size for kind in kinds),
                "kinds": [_kind_facts(kind) for kind in kinds],
            }
        )
        return
    rows = [
        [kind.name, "fdream" if kind.ours else "you", str(len(kind.entries)), _human(kind.size)]
        for kind in kinds
    ]
    total = _human(sum(kind.size for kind in kinds))
    render.table(["kind", "kept by", "entries", "size"], [*rows, ["all", "", "", total]])


@app.command()
def verify(
    ctx: typer.Context,
    kind: KindOption = None,
    remove_: Annotated[
        bool, typer.Option("--remove", help="Remove what is damaged; it is computed again.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Read every entry that training keeps, and compare its bytes with what was written.

    Exit code 1 where one is damaged, 0 once it is removed. Entries are named by the hash of all
    that they depend on, so that none can be out of date; this finds what a disk has spoilt.

    \b
    Examples:
      fdream cache verify
      fdream cache verify --kind latents --remove
    """
    from fdream.core.cache import remove, survey
    from fdream.core.errors import CheckFailed
    from fdream.data.store import KINDS, damage

    found = _of_kinds(survey(_root()), kind)
    entries = [
        entry
        for one in found
        if one.ours and one.name in KINDS
        for entry in one.entries
        if not entry.path.name.startswith(".")  # locks
    ]
    bad = []
    with reporter_of(ctx).progress(len(entries), "reading the cache") as bar:
        for entry in entries:
            fault = damage(entry.path)
            if fault is not None:
                bad.append((entry, fault))
            bar.update(1, damaged=len(bad))
    if remove_:
        remove([entry for entry, _ in bad])
    if json:
        rows = [{"kind": e.kind, "path": str(e.path), "fault": fault} for e, fault in bad]
        render.as_json({"entries": len(entries), "removed": remove_, "damaged": rows})
    else:
        for entry, fault in bad:
            render.line(f"{entry.path}: {fault}")
        did = "removed" if remove_ else "damaged"
        reporter_of(ctx).say(f"{len(entries)} entries read, {len(bad)} {did}")
    if bad and not remove_:
        raise CheckFailed(
            f"{len(bad)} of {len(entries)} entries of the cache are damaged; `fdream cache verify "
            "--remove` removes them, and the next run computes them again."
        )


@app.command()
def prune(
    ctx: typer.Context,
    kind: KindOption = None,
    older_than: Annotated[
        str | None,
        typer.Option(
            "--older-than", metavar="AGE", help="What has not changed for so long: 12h, 30d, 4w."
        ),
    ] = None,
    max_size: Annotated[
        str | None,
        typer.Option(
            "--max-size", metavar="SIZE", help="The oldest, until so much is left: 500MB, 2GB."
        ),
    ] = None,
    all_: Annotated[bool, typer.Option("--all", help="Everything.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Say what would go; remove nothing.")
    ] = False,
    json: JsonOption = False,
) -> None:
    """Remove from the cache what can be made or fetched again, and print what went.

    Only folders that fdream made are touched, and no link is followed.

    \b
    Examples:
      fdream cache prune --older-than 30d
      fdream cache prune --kind latents --max-size 2GB --dry-run
      fdream cache prune --all
    """
    import time

    from fdream.core.cache import remove, survey, to_prune

    if all_ and (kind or older_than or max_size):
        raise UsageError("--all is everything; leave it out to choose by kind, age or size.")
    if not (all_ or kind or older_than or max_size):
        raise UsageError(
            "prune: say what; --older-than 30d, --max-size 2GB, --kind KIND, or --all."
        )
    age = None if older_than is None else _seconds(older_than)
    limit = None if max_size is None else _bytes(max_size)
    kinds = _of_kinds(survey(_root()), kind)
    doomed = to_prune(kinds, now=time.time(), older_than=age, max_size=limit)
    if not dry_run:
        remove(doomed)
    size = sum(entry.size for entry in doomed)
    if json:
        entries = [{"kind": e.kind, "path": str(e.path), "bytes": e.size} for e in doomed]
        render.as_json({"dry_run": dry_run, "bytes": size, "removed": entries})
        return
    for entry in doomed:
        render.line(str(entry.path))
    did = "would remove" if dry_run else "removed"
    reporter_of(ctx).say(f"{did} {len(doomed)} entries, {_human(size)}")


def _root() -> Path:
    from fdream.core.settings import load_settings

    return load_settings().settings.cache


def _of_kinds(found: list[Kind], wanted: list[str] | None) -> list[Kind]:
    if not wanted:
        return found
    ours = {kind.name: kind for kind in found if kind.ours}
    for name in wanted:
        if name in ours:
            continue
        if any(kind.name == name for kind in found):
            raise UsageError(f"--kind {name}: fdream did not make that folder; remove it yourself.")
        known = ", ".join(ours) or "the cache holds none"
        raise UsageError(f"--kind {name}: not in the cache; kinds there: {known}.")
    return [ours[name] for name in dict.fromkeys(wanted)]


def _kind_facts(kind: Kind) -> dict[str, object]:
    changed = [entry.changed for entry in kind.entries]
    return {
        "kind": kind.name,
        "kept_by": "fdream" if kind.ours else "you",
        "entries": len(kind.entries),
        "bytes": kind.size,
        "oldest": min(changed, default=None),
        "newest": max(changed, default=None),
    }


def _seconds(text: str) -> float:
    found = re.fullmatch(r"\s*(\d{1,6})\s*([mhdw])\s*", text, re.ASCII)
    if not found:
        raise UsageError(
            f"--older-than {text}: expected a number and m, h, d or w (minutes, hours, days, "
            "weeks), such as 30d."
        )
    return float(int(found[1]) * _SECONDS[found[2]])


def _bytes(text: str) -> int:
    from pydantic import ByteSize, TypeAdapter, ValidationError

    try:
        size = int(TypeAdapter(ByteSize).validate_python(text))
    except ValidationError:
        size = -1
    if size < 0:
        raise UsageError(f"--max-size {text}: expected a size, such as 500MB or 2GB.")
    return size


def _human(size: int) -> str:
    from pydantic import ByteSize

    return ByteSize(size).human_readable(decimal=True)
