"""A checkpoint on our own hardware: by the transformers backend in this process, or by servers that the run starts.

In process, rows are batched; each row has random numbers of its own, so its text does not depend on the draws of other
rows.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from random import Random
from typing import TYPE_CHECKING, Any, Literal, cast, get_args

from pydantic import InstanceOf

from reer.errors import InputError
from reer.models.local.checkpoints import Checkpoint
from reer.models.local.decoding import can_read_prompts, decoding_cache, pack_weights, read_prompts
from reer.models.local.prefix import can_share, register
from reer.models.local.sampling import Settings, draw
from reer.models.local.scoring import PrefixScorer
from reer.models.local.tokens import Tokens, load_tokenizer
from reer.models.local.weights import load_complete
from reer.models.placement import EngineName, Precision
from reer.models.protocols import (
    BatchProgress,
    Completion,
    Device,
    LoadedModel,
    Nats,
    Passage,
    Prompt,
    Request,
    ignored,
)
from reer.models.shared import Shared

if TYPE_CHECKING:
    from torch import Tensor

DType = Literal["float32", "bfloat16"]
UNKNOWN_TO: Set[tuple[EngineName, Precision]] = {("transformers", "fp8"), ("sglang", "float32")}
"""What an engine does not compute in. SGLang's kernels for GPUs have no float32: its server ends while it starts
(0.5.17 on an H100)."""


@dataclass(frozen=True)
class Loaded:
    """A model in this process with its tokenizer."""

    model: Any
    tokenizer: Any


@dataclass(frozen=True)
class LocalModel:
    """A checkpoint run in a stated precision by transformers in this process, or by an engine's own servers."""

    checkpoint: InstanceOf[Checkpoint]
    dtype: Precision = "float32"
    engine: EngineName = "transformers"

    def __post_init__(self) -> None:
        if (self.engine, self.dtype) in UNKNOWN_TO:
            others = [engine for engine in get_args(EngineName) if (engine, self.dtype) not in UNKNOWN_TO]
            raise InputError(
                f"model {self.checkpoint.name}: engine {self.engine} does not compute in {self.dtype}; choose dtype "
                "bfloat16 (of the student by train.precision=bfloat16), or an engine that does: "
                + ", ".join(f"engine={engine}" for engine in others)
            )

    @property
    def name(self) -> str:
        """Weights, precision and engine; sessions have the same name."""
        return f"{self.checkpoint.name}/{self.dtype}/{self.engine}"

    @property
    def follows_schemas(self) -> bool:
        """See `SchemaModel`: engines do, transformers does not."""
        return self.engine != "transformers"

    def open(self, device: Device) -> AbstractContextManager[LoadedModel]:
        if self.engine == "transformers":
            return self.open_here(device)
        from reer.models.engines.commands import ServedModel
        from reer.models.engines.session import opened

        return opened(ServedModel(self.checkpoint, self.engine, self.dtype), device.engines)

    @contextmanager
    def open_here(self, device: Device) -> Iterator[LocalSession]:
        """The model loaded into this process, whatever its engine."""
        folder, where = self.checkpoint.fetch(), pick_device(device)
        with _loaded.opened((self.name, where), lambda: self._load(folder, where)) as loaded:
            session = LocalSession(self.name, loaded.model, loaded.tokenizer, device)
            del loaded
            try:
                yield session
            finally:
                del session.model, session.scorer  # the caller may keep the session, but not the weights

    @contextmanager
    def _load(self, folder: Path, where: str) -> Iterator[Loaded]:
        import torch
        from transformers import AutoConfig

        config = AutoConfig.from_pretrained(folder, trust_remote_code=False)
        model = load_complete(
            folder,
            dtype=getattr(torch, self.dtype),
            attn_implementation=register() if can_share(config) else "sdpa",
        )
        self.checkpoint.fetch()  # again: raises InputError if the files of a folder were changed while they were read
        model = cast(Any, model).to(where).eval()
        pack_weights(model)
        loaded = Loaded(model, load_tokenizer(folder))
        del model
        try:
            yield loaded
        finally:
            del loaded
            if where.startswith("cuda"):
                torch.cuda.empty_cache()


_loaded = Shared[tuple[str, str], Loaded]()  # by the name of a model and its device


def saved_precision(folder: Path) -> DType:
    """The precision of a saved model's weights. Raises InputError for one that models are not run in here."""
    from transformers import AutoConfig

    stated = str(AutoConfig.from_pretrained(folder, trust_remote_code=False).dtype).removeprefix("torch.")
    for dtype in get_args(DType):
        if stated == dtype:
            return dtype
    raise InputError(f"model {folder}: its weights are saved in {stated}; want {' or '.join(get_args(DType))}")


def pick_device(device: Device) -> str:
    """The torch device of a `Device`; `auto` is the GPU where there is one."""
    import torch

    if device.name != "auto":
        return device.name
    return "cuda" if torch.cuda.is_available() else "cpu"


@dataclass(kw_only=True)
class Row:
    """One completion being decoded."""

    request: Request
    random: Random
    prompt_tokens: int
    limit: int
    ids: list[int]
    stopped: Literal["stop", "length"] | None = None


class LocalSession:
    """A loaded model; see `Generator`, `ReportsBatches` and `Scorer`."""

    def __init__(self, name: str, model: Any, tokenizer: Any, device: Device) -> None:
        self.on_batch: Callable[[BatchProgress], None] = ignored
        self.name, self.model, self.tokenizer, self.device = name, model, tokenizer, device
        self.tokens = Tokens(tokenizer)
        self.limit: int = model.config.max_position_embeddings
        self.scorer = PrefixScorer(model=model, rows=device.score_rows, budget_bytes=int(device.prefix_gib * 2**30))
        stops = model.generation_config.eos_token_id
        self.ends = {tokenizer.eos_token_id, *(stops if isinstance(stops, list) else [stops])} - {None}

    def generate(self, requests: Sequence[Request]) -> Iterator[tuple[int, Completion]]:
        """See `Generator`. Rows of similar length are decoded together, equal prompts are computed once. The rows of a
        batch come one after another, with no computation in between, so that an interrupted run forms the same batches
        when it is resumed."""
        contexts: dict[Prompt, list[int]] = {r.prompt: [] for r in requests}
        for prompt in contexts:
            contexts[prompt] = self.tokens.context_ids(prompt)
        fits: list[int] = []
        for i, request in enumerate(requests):
            if len(contexts[request.prompt]) < self.limit:
                fits.append(i)
            else:
                yield (
                    i,
                    Completion(
                        text="", stopped="prompt_too_long", prompt_tokens=len(contexts[request.prompt]), tokens=0
                    ),
                )
        fits.sort(key=lambda i: (len(contexts[requests[i].prompt]), i))
        for start in range(0, len(fits), self.device.generate_rows):
            batch = fits[start : start + self.device.generate_rows]
            yield from zip(batch, self._decode([requests[i] for i in batch], contexts), strict=True)

    def _decode(self, requests: Sequence[Request], contexts: dict[Prompt, list[int]]) -> list[Completion]:
        import torch

        prompts = list(dict.fromkeys(r.prompt for r in requests))
        rows = [self._row(request, len(contexts[request.prompt])) for request in requests]
        share = torch.tensor([prompts.index(r.prompt) for r in requests], device=self.model.device)
        with torch.inference_mode():
            logits, mask, cache = self._read([contexts[p] for p in prompts])
            logits, mask = logits[share], mask[share]
            cache.batch_select_indices(share)
            alive, settings = list(range(len(rows))), Settings.of([r.sampling for r in requests], mask.device)
            while True:
                tokens = draw(logits, settings, [rows[row].random.random() for row in alive])
                for row, token in zip(alive, tokens, strict=True):
                    self._extend(rows[row], token)
                self._report(rows)
                active = [at for at, row in enumerate(alive) if rows[row].stopped is None]
                if not active:
                    return [self._completion(row) for row in rows]
                if len(active) < len(alive):
                    keep = torch.tensor(active, device=mask.device)
                    cache.batch_select_indices(keep)
                    mask, settings, alive = mask[keep], settings.select(keep), [alive[at] for at in active]
                mask = torch.cat([mask, mask.new_ones(len(alive), 1)], dim=1)
                step = torch.tensor([[rows[row].ids[-1]] for row in alive], device=mask.device)
                out = self.model(
                    input_ids=step,
                    attention_mask=mask,
                    position_ids=_positions(mask)[:, -1:],
                    cache=cache,
                    use_cache=True,
                )
                logits = out.logits[:, -1]

    def _read(self, prompts: Sequence[list[int]]) -> tuple[Tensor, Tensor, Any]:
        """See `read_prompts`."""
        if can_read_prompts(self.model.config):
            return read_prompts(self.model, prompts, self.device.score_rows)
        ids, mask = self._left_pad(prompts)
        cache = decoding_cache(self.model.config)
        out = self.model(
            input_ids=ids,
            attention_mask=mask,
            position_ids=_positions(mask),
            logits_to_keep=1,
            cache=cache,
            use_cache=True,
        )
        return out.logits[:, -1], mask, cache

    def _report(self, rows: Sequence[Row]) -> None:
        ended, tokens = sum(row.stopped is not None for row in rows), sum(len(row.ids) for row in rows)
        left = sum(row.limit - len(row.ids) for row in rows if row.stopped is None)
        self.on_batch(BatchProgress(rows=len(rows), ended=ended, tokens=tokens, left=left))

    def _row(self, request: Request, prompt_tokens: int) -> Row:
        limit = min(request.sampling.max_tokens, self.limit - prompt_tokens)
        return Row(
            request=request,
            random=Random(request.seed),
            prompt_tokens=prompt_tokens,
            limit=limit,
            ids=[],
        )

    def _left_pad(self, sequences: Sequence[Sequence[int]]) -> tuple[Tensor, Tensor]:
        import torch

        width = max(map(len, sequences))
        pad = self.tokenizer.pad_token_id or 0
        ids = torch.tensor([[pad] * (width - len(s)) + list(s) for s in sequences], device=self.model.device)
        mask = torch.tensor([[0] * (width - len(s)) + [1] * len(s) for s in sequences], device=self.model.device)
        return ids, mask

    def _extend(self, row: Row, token: int) -> None:
        """Add a token; the row ends at an end token, a stop string or its token limit."""
        row.ids.append(token)
        if token in self.ends:
            row.stopped = "stop"
            return
        stops = row.request.sampling.stop
        if stops:
            tail = self.tokenizer.decode(row.ids[-32:], skip_special_tokens=True)
            if any(stop in tail for stop in stops):
                row.stopped = "stop"
                return
        if len(row.ids) >= row.limit:
            row.stopped = "length"

    def _completion(self, row: Row) -> Completion:
        text = self.tokenizer.decode(row.ids, skip_special_tokens=True)
        cuts = [text.index(stop) for stop in row.request.sampling.stop if stop in text]
        return Completion(
            text=text[: min(cuts)] if cuts else text,
            stopped=row.stopped or "length",
            prompt_tokens=row.prompt_tokens,
            tokens=len(row.ids),
        )

    def score(self, passages: Sequence[Passage]) -> Iterator[tuple[int, Nats | None]]:
        """See `Scorer`: exactly the answer's own tokens are scored, after all tokens of the context. Raises InputError
        for an answer without tokens."""
        pairs = [self.tokens.passage_ids(passage) for passage in passages]
        fits = [i for i, (context, answer) in enumerate(pairs) if len(context) + len(answer) <= self.limit]
        yield from ((i, None) for i in sorted(set(range(len(pairs))) - set(fits)))
        for at, nats in self.scorer.score([pairs[i] for i in fits], [passages[i].group for i in fits]):
            yield fits[at], nats


def _positions(mask: Tensor) -> Tensor:
    return (mask.cumsum(dim=1) - 1).clamp(min=0)
