"""The splitter ``endpoint``: an OpenAI-compatible server, several requests at a time."""

from __future__ import annotations

from collections.abc import Mapping
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, final

from fdream.core.captions import CaptionPair
from fdream.stages.builtin.caption_prompt import (
    INSTRUCTIONS,
    LONGEST_CAPTION,
    SCHEMA,
    by_grammar,
    question,
    read_answer,
)
from fdream.stages.builtin.endpoint_client import EndpointClient, Rejected, Unanswered
from fdream.stages.builtin.grammar_splitter import GrammarSplitter
from fdream.stages.interfaces import SplitterStage
from fdream.stages.spec import StageOptions

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.stages.builtin.specs.splitters import EndpointOptions


@final
class EndpointSplitter(SplitterStage):
    """Splitter ``endpoint``; what the server cannot do is done by grammar and counted."""

    def __init__(self, options: EndpointOptions, *, device: DeviceManager) -> None:
        self._options = options
        self._grammar = GrammarSplitter(StageOptions(), device=device)
        self._client = EndpointClient(
            options.retries, options.timeout_s, options.requests_per_minute
        )
        self._constrained = True

    def split(self, captions: list[str]) -> list[CaptionPair]:
        """Split captions, ``concurrency`` of them at a time.

        Raises:
            StageError: the server is not there, or refuses the key or the model.
        """
        answers: dict[int, CaptionPair | str] = {}
        asked = []
        for index, caption in enumerate(captions):
            if not caption.strip():
                answers[index] = "nothing to ask"
            elif len(caption) > LONGEST_CAPTION:
                answers[index] = "too long"
            else:
                asked.append(index)
        pool = ThreadPoolExecutor(self._options.concurrency)
        try:
            waiting = {index: pool.submit(self._ask, captions[index]) for index in asked}
            answers.update({index: future.result() for index, future in waiting.items()})
        finally:
            pool.shutdown(wait=True, cancel_futures=True)
        return [
            answer
            if isinstance(answer := answers[index], CaptionPair)
            else by_grammar(self._grammar, caption, answer)  # HanTa is asked by one thread alone
            for index, caption in enumerate(captions)
        ]

    def _ask(self, caption: str) -> CaptionPair | str:
        reason = "no answer"
        for _ in range(2):  # a second time where the answer cannot be believed
            try:
                answer = self._post(caption)
            except (Unanswered, Rejected) as error:
                return str(error)
            read = read_answer(answer, caption)
            if isinstance(read, CaptionPair):
                return read
            reason = read
        return reason

    def _post(self, caption: str) -> str:
        body: dict[str, Any] = {
            "model": self._options.model,
            "messages": [
                {"role": "system", "content": INSTRUCTIONS},
                {"role": "user", "content": question(caption)},
            ],
            "temperature": 0,
            "max_tokens": self._options.max_tokens,
        }
        if self._constrained:
            try:
                return _content(self._client.post("/chat/completions", body | _CONSTRAINT))
            except Rejected:
                # Some servers know no response_format; the answer is checked here all the same.
                answer = _content(self._client.post("/chat/completions", body))
                self._constrained = False
                return answer
        return _content(self._client.post("/chat/completions", body))


_CONSTRAINT: dict[str, Any] = {
    "response_format": {
        "type": "json_schema",
        "json_schema": {"name": "caption_pair", "strict": True, "schema": SCHEMA},
    }
}


def _content(answer: Mapping[str, Any]) -> str:
    """Return what the model wrote; nothing where the answer has another form."""
    try:
        content = answer["choices"][0]["message"]["content"]
    except (KeyError, IndexError, TypeError):
        return ""
    return content if isinstance(content, str) else ""
