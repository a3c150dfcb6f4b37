"""The options that say where results of t2i, i2v and t2v go, and as what."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Annotated

import typer

if TYPE_CHECKING:
    from fdream.cli.delivery import Delivery


@dataclass(frozen=True, slots=True, kw_only=True)
class OutputOptions:
    """Where results go, and as what."""

    output: Annotated[
        str | None,
        typer.Option(
            "--output",
            "-o",
            metavar="FILE",
            help="File, folder/ or - for standard output [default: named after the prompt; "
            "standard output where that is no terminal].",
        ),
    ] = None
    kind: Annotated[
        str | None,
        typer.Option(
            "--format",
            "-f",
            metavar="KIND",
            help="png, webp; for videos mp4, webm, gif, webp, apng, png (a sheet), frames (-o NAME "
            "is the folder of 00000.png, ..., -o folder/ has one inside for each result) [default: "
            "by the file's ending, else png or mp4].",
        ),
    ] = None
    quality: Annotated[
        int | None,
        typer.Option(
            "--quality",
            min=1,
            max=100,
            metavar="N",
            help="1 (smallest file) to 100 (best) for mp4, webm, gif and webp; 75 is what encoders "
            "call usual [default: 90; an image without loss].",
        ),
    ] = None
    resume: Annotated[
        bool,
        typer.Option(
            "--resume", help="Skip what is there already, made by the same recipe; make the rest."
        ),
    ] = False
    json: Annotated[
        bool,
        typer.Option("--json", help="Print one line of JSON for each result: path and record."),
    ] = False
    no_metadata: Annotated[
        bool,
        typer.Option("--no-metadata", help="Leave the record of how it was made out of files."),
    ] = False
    explain: Annotated[
        bool,
        typer.Option(
            "--explain", help="Say what would be done, and by what; make and fetch nothing."
        ),
    ] = False

    def delivery(
        self, *, moving: bool, loop: int | None = None, codec: str | None = None
    ) -> Delivery:
        """Decide where results go.

        Raises:
            UsageError: the options contradict each other.
            OutputError: the place cannot be written.
        """
        from fdream.cli.delivery import Delivery

        decided = Delivery.decide(
            self.output,
            self.kind,
            moving=moving,
            quality=self.quality,
            loop=loop,
            codec=codec,
            as_json=self.json,
            metadata=not self.no_metadata,
        )
        if self.resume:
            decided.refuse_finding("--resume")
        return decided


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoOutputOptions(OutputOptions):
    """The same for videos."""

    loop: Annotated[
        int | None,
        typer.Option(
            "--loop",
            min=0,
            max=65_535,
            metavar="N",
            help="How often a gif, webp or apng is played; 0 is for ever [default: 0].",
        ),
    ] = None
    codec: Annotated[
        str | None,
        typer.Option(
            "--codec",
            metavar="NAME",
            help="vp9 or av1, for webm: av1 is smaller, slower to write, and not known to older "
            "players [default: vp9].",
        ),
    ] = None

    def video_delivery(self) -> Delivery:
        """Decide where videos go; see ``delivery``."""
        return self.delivery(moving=True, loop=self.loop, codec=self.codec)
