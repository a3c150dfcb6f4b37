"""The splitter ``llm``: a local instruct model of transformers, held to JSON.

The braces, names and quotes of the answer are ours; the model writes only the strings between, one
field after another for a whole batch. So its answer is JSON whatever it writes.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any, Final, cast, final

import torch
from transformers import (
    AutoModelForCausalLM,
    AutoTokenizer,
    StoppingCriteria,
    StoppingCriteriaList,
)

from fdream.core.captions import CaptionPair
from fdream.core.errors import StageError, WeightsError
from fdream.stages.builtin.caption_prompt import (
    FIELDS,
    INSTRUCTIONS,
    LONGEST_CAPTION,
    by_grammar,
    question,
    read_answer,
)
from fdream.stages.builtin.grammar_splitter import GrammarSplitter
from fdream.stages.interfaces import SplitterStage
from fdream.stages.spec import StageOptions

if TYPE_CHECKING:
    from fdream.core.device import DeviceManager
    from fdream.stages.builtin.specs.splitters import LlmOptions

_QUOTE: Final = '"'


@final
class LlmSplitter(SplitterStage):
    """Splitter ``llm``; what the model cannot do is done by grammar and counted."""

    def __init__(self, options: LlmOptions, *, device: DeviceManager) -> None:
        self._options = options
        self._device = device
        self._grammar = GrammarSplitter(StageOptions(), device=device)
        self._tokenizer, self._model = _load(options.model, device)

    def split(self, captions: list[str]) -> list[CaptionPair]:
        """Split captions, a batch at a time; the longest are asked last and together.

        Raises:
            DeviceError: the model does not fit.
        """
        pairs: dict[int, CaptionPair] = {}
        asked = []
        for index, caption in enumerate(captions):
            if not caption.strip() or len(caption) > LONGEST_CAPTION:
                reason = "too long" if caption.strip() else "nothing to ask"
                pairs[index] = by_grammar(self._grammar, caption, reason)
            else:
                asked.append(index)
        asked.sort(key=lambda index: len(captions[index]))
        size = self._options.batch_size
        for start in range(0, len(asked), size):
            batch = asked[start : start + size]
            done = self._split_batch([captions[index] for index in batch])
            pairs.update(zip(batch, done, strict=True))
        return [pairs[index] for index in range(len(captions))]

    def _split_batch(self, captions: list[str]) -> list[CaptionPair]:
        found: dict[int, CaptionPair] = {}
        reasons: dict[int, str] = {}
        for attempt in range(self._options.retries + 1):
            open_ = [index for index in range(len(captions)) if index not in found]
            if not open_:
                break
            # Greedy decoding repeats itself; a retry needs more room, and a reminder.
            room = self._options.max_new_tokens * (attempt + 1)
            prompts = [self._prompt(captions[index], attempt) for index in open_]
            for index, answer in zip(open_, self._answers(prompts, room), strict=True):
                read = read_answer(answer, captions[index])
                if isinstance(read, CaptionPair):
                    found[index] = read
                else:
                    reasons[index] = read
        return [
            found.get(index) or by_grammar(self._grammar, caption, reasons[index])
            for index, caption in enumerate(captions)
        ]

    def _prompt(self, caption: str, attempt: int) -> str:
        asked = question(caption)
        if attempt:
            asked += "\nUse only words of the caption for motion. Keep it short."
        if getattr(self._tokenizer, "chat_template", None) is None:
            return f"{INSTRUCTIONS}\n\n{asked}\nAnswer: "
        messages = [
            {"role": "system", "content": INSTRUCTIONS},
            {"role": "user", "content": asked},
        ]
        try:
            text = self._tokenizer.apply_chat_template(
                messages, tokenize=False, add_generation_prompt=True
            )
        except Exception as error:  # templates raise their own kinds, such as "no system role"
            messages = [{"role": "user", "content": f"{INSTRUCTIONS}\n\n{asked}"}]
            try:
                text = self._tokenizer.apply_chat_template(
                    messages, tokenize=False, add_generation_prompt=True
                )
            except Exception:
                raise StageError(
                    f"splitter llm:{self._options.model}: its chat template takes no question "
                    f"({error}); choose an instruct model."
                ) from error
        return cast(str, text)

    def _answers(self, prompts: list[str], room: int) -> list[str]:
        """Let the model fill in the fields of each prompt's JSON object."""
        answers = ["{"] * len(prompts)
        for place, name in enumerate(FIELDS):
            opening = f"{', ' if place else ''}{json.dumps(name)}: {_QUOTE}"
            answers = [answer + opening for answer in answers]
            texts = [prompt + answer for prompt, answer in zip(prompts, answers, strict=True)]
            written = self._continue(texts, room)
            answers = [
                answer + json.dumps(value)[1:]
                for answer, value in zip(answers, written, strict=True)
            ]
        return [f"{answer}}}" for answer in answers]

    def _continue(self, texts: list[str], room: int) -> list[str]:
        """Return what the model writes after each text, up to the first quote."""
        encoded = self._tokenizer(
            texts, return_tensors="pt", padding=True, add_special_tokens=False
        )
        with self._device.inference():
            tokens = self._model.generate(
                input_ids=self._device.place(encoded["input_ids"]),
                attention_mask=self._device.place(encoded["attention_mask"]),
                max_new_tokens=room,
                do_sample=False,
                num_beams=1,
                temperature=None,
                top_p=None,
                top_k=None,
                stopping_criteria=StoppingCriteriaList([_UntilQuote(self._tokenizer)]),
                pad_token_id=self._tokenizer.pad_token_id,
            )
        new = tokens[:, encoded["input_ids"].shape[1] :]
        said = self._tokenizer.batch_decode(new, skip_special_tokens=True)
        return [text.split(_QUOTE, 1)[0].split("\n", 1)[0].strip().rstrip("\\") for text in said]


class _UntilQuote(StoppingCriteria):  # type: ignore[misc]  # transformers is not read by mypy
    """Ends a row where the model closes the string, or leaves the line."""

    def __init__(self, tokenizer: Any) -> None:
        self._tokenizer = tokenizer

    def __call__(self, input_ids: torch.LongTensor, scores: Any, **kwargs: Any) -> torch.BoolTensor:
        """Say of each row (B,) whether its last token of ``input_ids`` (B, L) ends it."""
        del scores, kwargs
        last = self._tokenizer.batch_decode(input_ids[:, -1:])
        ends = [_QUOTE in text or "\n" in text for text in last]
        return cast("torch.BoolTensor", torch.tensor(ends, device=input_ids.device))


def _load(name: str, device: DeviceManager) -> tuple[Any, Any]:
    """Load a causal language model: safetensors alone, and no code of its own.

    Raises:
        WeightsError: it is missing, damaged or of another kind.
    """
    try:
        tokenizer: Any = AutoTokenizer.from_pretrained(
            name, trust_remote_code=False, padding_side="left"
        )
        model: Any = AutoModelForCausalLM.from_pretrained(
            name, trust_remote_code=False, use_safetensors=True, dtype=device.dtype
        )
    except (OSError, ValueError, KeyError, ImportError) as error:
        raise WeightsError(
            f"splitter llm: {name!r} cannot be loaded as a causal language model: "
            f"{' '.join(str(error).split())[:200]}. Name a folder or Hub id with safetensors, such "
            "as llm:Qwen/Qwen2.5-1.5B-Instruct."
        ) from error
    if tokenizer.pad_token_id is None:
        tokenizer.pad_token = tokenizer.eos_token or tokenizer.unk_token
    return tokenizer, device.place(model).eval()
