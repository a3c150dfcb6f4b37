"""What parts a caption into what is seen and what happens."""

from __future__ import annotations

from typing import Final

from pydantic import Field

from fdream.stages.builtin.specs import LICENCE
from fdream.stages.spec import StageOptions, StageSpec


class LlmOptions(StageOptions):
    """Options of ``llm``: an instruct model of transformers has to be named."""

    model: str = Field(description="folder or Hub id of an instruct model with safetensors")
    batch_size: int = Field(8, ge=1, description="captions that are asked about together")
    max_new_tokens: int = Field(80, ge=8, description="tokens that a field may have at first")
    retries: int = Field(1, ge=0, le=5, description="further tries where an answer is not believed")


class EndpointOptions(StageOptions):
    """Options of ``endpoint``; address and key are settings of the machine, never of a run."""

    model: str = Field(description="what the server calls the model")
    concurrency: int = Field(8, ge=1, le=256, description="requests on their way at a time")
    requests_per_minute: float = Field(0.0, ge=0, description="rate limit; 0: none")
    retries: int = Field(4, ge=0, le=20, description="further tries of a request, ever later")
    timeout_s: float = Field(60.0, gt=0, description="how long one try may take")
    max_tokens: int = Field(300, ge=16, description="longest answer")


WHOLE_SPLITTER: Final = StageSpec(
    kind="splitter",
    name="whole",
    summary="both halves are the whole caption",
    factory="fdream.stages.builtin.whole_splitter:WholeSplitter",
    licence=LICENCE,
)

GRAMMAR_SPLITTER: Final = StageSpec(
    kind="splitter",
    name="grammar",
    summary="parts of speech and a small grammar; offline, a thousand captions a second",
    factory="fdream.stages.builtin.grammar_splitter:GrammarSplitter",
    requires=("HanTa", "py3langid"),
    licence=LICENCE,
)

LLM_SPLITTER: Final = StageSpec(
    kind="splitter",
    name="llm",
    summary="a local instruct model of transformers, held to JSON; grammar where it fails",
    options=LlmOptions,
    factory="fdream.stages.builtin.llm_splitter:LlmSplitter",
    requires=("torch", "transformers", "safetensors", "HanTa", "py3langid"),
    downloads=("the model, if it is a Hub id",),
    licence=LICENCE,
    argument="model",
)

ENDPOINT_SPLITTER: Final = StageSpec(
    kind="splitter",
    name="endpoint",
    summary="an OpenAI-compatible server (setting endpoint); grammar where it fails",
    options=EndpointOptions,
    factory="fdream.stages.builtin.endpoint_splitter:EndpointSplitter",
    requires=("HanTa", "py3langid"),
    licence=LICENCE,
    argument="model",
)
