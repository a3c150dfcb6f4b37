"""Make what is planned and send it off, one by one: results leave as they finish, in order.

Nothing is kept but the entry at hand: a list without end, or a slow reader of our output, costs no
memory. A fault of one entry is told and the rest goes on; a fault of a stage or of the output
would meet every entry alike, and ends the run.
"""

from __future__ import annotations

from collections.abc import Iterator
from itertools import count, islice
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from fdream.cli.generation_jobs import Fault, Job, Product
from fdream.cli.sharing import Part
from fdream.core.errors import DataError, OutputError, UsageError
from fdream.core.paths import unused

if TYPE_CHECKING:
    from fdream.cli.delivery import Delivery
    from fdream.core.report import Reporter

_MOST_NAMED: Final = 20


def produce(
    entries: Iterator[Job | Fault],
    delivery: Delivery,
    reporter: Reporter,
    *,
    resume: bool = False,
    part: Part | None = None,
) -> None:
    """Make and send every sample, in order.

    Args:
        entries: the plan.
        delivery: where results go.
        reporter: who hears of faults.
        resume: skip what is there already.
        part: which of them are made here; all when not given. Of several parts each skips what is
            there, for only then do all give the same name to the same result.

    Raises:
        UsageError: standard output would get more results than it can take.
        DataError: some entries were faulty; the others are done.
        OutputError: a result cannot be written.
    """
    doubt = delivery.doubt()
    if doubt is not None:
        reporter.warn(doubt)
    ahead = _Ahead(entries)
    faults = _Faults(reporter)
    note = _Note(delivery, reporter)
    part = part or Part()
    resume = resume or part.count > 1
    there = _AlreadyThere(delivery, reporter, note) if resume else None
    jobs = 0
    for entry in ahead:
        if delivery.takes_one and ahead.several():  # before any work
            delivery.refuse_several()
        if isinstance(entry, Fault):
            if not ahead.several():
                raise DataError(entry.message)
            if part.index == 0:
                faults.add(entry)
            continue
        mine, jobs = part.has(jobs), jobs + 1
        if there is not None:
            path = there.place(entry, ahead)
            if mine:
                there.make_missing(entry, path)
        else:
            product = entry.make()
            note.say_once(product)
            _send(product, entry, delivery, ahead)
    if there is not None:
        there.tell_skipped()
    part.wait()
    faults.raise_if_any(ahead.given)


class _Ahead(Iterator[Job | Fault]):
    """Hands entries out, and looks at most one ahead, only when it is asked to."""

    def __init__(self, entries: Iterator[Job | Fault]) -> None:
        self._entries = entries
        self._held: list[Job | Fault] = []
        self.given = 0

    def __next__(self) -> Job | Fault:
        entry = self._held.pop() if self._held else next(self._entries)
        self.given += 1
        return entry

    def several(self) -> bool:
        """Say whether there is more than one; waits for the second where it is not known."""
        if self.given < 2 and not self._held:
            self._held += islice(self._entries, 1)
        return self.given + len(self._held) > 1


class _Faults:
    """Tells of faulty entries as they are met, and names them once more at the end."""

    def __init__(self, reporter: Reporter) -> None:
        self._reporter = reporter
        self._num = 0
        self._labels: list[str] = []

    def add(self, fault: Fault) -> None:
        self._reporter.warn(fault.message)
        self._num += 1
        if len(self._labels) < _MOST_NAMED:
            self._labels.append(fault.label)

    def raise_if_any(self, num_entries: int) -> None:
        if self._num:
            more = f" and {self._num - len(self._labels)} more" * (self._num > len(self._labels))
            done = "The others are done; correct" if num_entries > self._num else "Correct"
            raise DataError(
                f"{self._num} of {num_entries} left out: {', '.join(self._labels)}{more}. "
                f"{done} these and run them again."
            )


class _Note:
    """Says what the format does to the results, with the first of them."""

    def __init__(self, delivery: Delivery, reporter: Reporter) -> None:
        self._kind = delivery.encoding.kind
        self._reporter = reporter
        self._said = False

    def say_once(self, product: Product) -> None:
        note = None if self._said else product.notes(self._kind)
        if note is not None:
            self._reporter.say(note)
        self._said = True


def _send(product: Product, job: Job, delivery: Delivery, ahead: _Ahead) -> None:
    record = delivery.complete(product.record)
    if delivery.place == "bytes":
        delivery.stream_out(product.writer, record)
        return
    # Asked only now: whoever feeds us has worked on the next entry while we made this one.
    path = delivery.path(job.name, ahead.several)
    if not delivery.overwrites:
        path = unused(path)
    delivery.save(path, product.writer, record)
    delivery.tell(path, record, job.facts)


class _AlreadyThere:
    """Skips what an earlier run made by the same recipe, and makes the rest.

    A file is taken for a result of its entry by its name. What this run has made or met stays what
    it is, so that two entries of one name never replace each other; their paths are the one thing
    that a run remembers.
    """

    def __init__(self, delivery: Delivery, reporter: Reporter, note: _Note) -> None:
        self._delivery = delivery
        self._reporter = reporter
        self._note = note
        self._taken: set[Path] = set()
        self._skipped = 0
        self._seen = 0

    def place(self, job: Job, ahead: _Ahead) -> Path:
        """Return where a sample belongs, which depends on those before it.

        Raises:
            UsageError: its seed is drawn, and its name depends on it: it is never there.
        """
        named_by_seed = not self._delivery.overwrites and job.name.id is None
        if named_by_seed and not job.seeded:
            raise UsageError(
                "results are found again by prompt and seed, and a seed that is drawn is never the "
                'same; give --seed N, or "seed" or "id" in each line of a JSON list.'
            )
        path = self._free(self._delivery.path(job.name, ahead.several))
        self._taken.add(path)
        return path

    def make_missing(self, job: Job, path: Path) -> None:
        """Make a sample unless it is there.

        Raises:
            OutputError: its place holds something else.
        """
        from fdream.pipelines.provenance import differences

        self._seen += 1
        wanted = self._delivery.complete(job.recipe())
        found = self._record(path)
        if found is not None:
            differs = differences(found, wanted, seed=job.seeded)
            if not differs:
                self._skipped += 1
                self._reporter.detail(f"{path}: is there; skipped.")
                self._delivery.tell(path, found, {**job.facts, "skipped": True})
                return
            self._reporter.say(f"{path}: differs in {', '.join(differs)}; made again.")
        product = job.make()
        self._note.say_once(product)
        record = self._delivery.complete(product.record)
        self._delivery.save(path, product.writer, record)
        self._delivery.tell(path, record, job.facts)

    def tell_skipped(self) -> None:
        """Say how many were there, lest a run that makes nothing looks like one that failed."""
        if self._skipped:
            self._reporter.say(f"{self._skipped} of {self._seen} were there; skipped.")

    def _free(self, path: Path) -> Path:
        if path not in self._taken:
            return path
        numbered = (path.with_name(f"{path.stem}-{n}{path.suffix}") for n in count(2))
        return next(other for other in numbered if other not in self._taken)

    def _record(self, path: Path) -> dict[str, Any] | None:
        from fdream.data.metadata import read_record

        if not path.exists():
            return None
        found = read_record(path)
        if found.record is None:
            raise OutputError(
                f"{path}: is there, and --resume cannot tell what it is "
                f"({found.reason or 'it carries no fdream record'}); remove it, or choose another "
                "place with -o."
            )
        return found.record
