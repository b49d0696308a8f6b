"""The lock of the installation fits pyproject.toml and holds hashes; the list of licences fits both."""

from __future__ import annotations

import re
import runpy
import tomllib
from collections.abc import Mapping

import pytest
from packaging.requirements import Requirement
from packaging.utils import canonicalize_name
from packaging.version import Version

from tests.conftest import REPOSITORY

LOCKS = REPOSITORY / ".requirements"
PYPROJECT = (REPOSITORY / "pyproject.toml").read_text(encoding="utf-8")
SETTINGS = tomllib.loads(PYPROJECT)
EXTRAS: Mapping[str, list[str]] = SETTINGS["project"]["optional-dependencies"]
FILES = ("build", "cpu", "cuda", "reer", *EXTRAS)
WANTED = {"build": SETTINGS["build-system"]["requires"], "reer": SETTINGS["project"]["dependencies"], **EXTRAS}
OF_OTHER_PLATFORMS = {"httpx2-jsfetch", "tzdata"}  # not installed where .ci/licences runs
BLOCK = re.compile(r"^\w.*(?:\n .*)*\n", re.M)


def entries(name: str) -> list[str]:
    """The entries of a file of the lock, each with its hashes."""
    return BLOCK.findall((LOCKS / f"{name}.txt").read_text(encoding="utf-8"))


def pinned(name: str) -> dict[str, set[Version]]:
    """The versions of each package in a file of the lock; several where platforms want several."""
    found: dict[str, set[Version]] = {}
    for entry in entries(name):
        requirement = Requirement(entry.partition("\\")[0])
        (pin,) = requirement.specifier
        assert pin.operator == "==", entry
        found.setdefault(canonicalize_name(requirement.name), set()).add(Version(pin.version))
    return found


def test_the_lock_has_a_file_for_each_extra_and_no_other() -> None:
    assert {file.stem for file in LOCKS.glob("*.txt")} == set(FILES)


@pytest.mark.parametrize("name", FILES)
def test_every_entry_of_the_lock_has_a_sha256(name: str) -> None:
    assert entries(name)
    for entry in entries(name):
        assert re.search(r"--hash=sha256:[0-9a-f]{64}", entry), entry


@pytest.mark.parametrize("name", WANTED)
def test_every_direct_dependency_is_locked_at_a_version_that_is_wanted(name: str) -> None:
    locked = pinned("reer") | pinned(name)
    for text in WANTED[name]:
        wanted = Requirement(text)
        versions = locked[canonicalize_name(wanted.name)]
        assert all(wanted.specifier.contains(version, prereleases=True) for version in versions), text


def test_no_package_is_locked_at_different_versions_in_two_files() -> None:
    versions: dict[str, set[Version]] = {}
    for name in FILES:
        for package, found in pinned(name).items():
            public = {Version(version.public) for version in found}
            assert versions.setdefault(package, public) == public, package


def test_every_direct_dependency_has_its_reason_in_one_line() -> None:
    listed = [
        line for line in PYPROJECT.split("\n") if re.match(r'\s+"[a-z].*",', line) and ("=" in line or "pip" in line)
    ]
    listed += [line for line in PYPROJECT.split("\n") if re.match(r"(ifeval|qlora|ray) = \[", line)]
    assert len(listed) == sum(map(len, WANTED.values())) - 1, "all but what builds the project"
    for line in listed:
        assert re.search(r"[,\]] # \w+", line), f"{line}: say what it is needed for"


def test_the_installation_accepts_nothing_without_a_hash() -> None:
    script = (LOCKS / "install").read_text(encoding="utf-8")
    commands = re.findall(r"pip install (.*)", script)
    assert all("--require-hashes" in command or "--no-deps -e .." in command for command in commands)
    assert all("--no-build-isolation" in command for command in commands), "what is built uses the locked setuptools"


def test_the_list_of_licences_is_current() -> None:
    written = (LOCKS / "LICENCES.md").read_text(encoding="utf-8")
    script = runpy.run_path(str(REPOSITORY / ".ci" / "licences"))
    assert script["data_table"]() in written, "run .ci/licences"
    listed = re.findall(r"^\| ([\w-]+) \| ([\w., ]+) \| .* \|$", written.partition("## Locked packages")[2], re.M)
    assert dict(listed) | {"package": ""} == script["locked"]() | {"package": ""}, "run .ci/licences"


def test_what_a_run_needs_states_a_licence_and_copyleft_is_known() -> None:
    packages = (LOCKS / "LICENCES.md").read_text(encoding="utf-8").partition("## Locked packages")[2]
    stated = dict(re.findall(r"^\| ([\w-]+) \| [\w., ]+ \| (.+) \|$", packages, re.M))
    assert not {name for name in pinned("reer") if not stated.get(name, "").strip()} - OF_OTHER_PLATFORMS
    assert not {name for name, licence in stated.items() if re.search(r"(?<!L)GPL", licence)}, "the code is Apache-2.0"


@pytest.mark.parametrize("file", sorted(path.name for path in (REPOSITORY / ".ci").iterdir()))
def test_scripts_are_executable(file: str) -> None:
    assert (REPOSITORY / ".ci" / file).stat().st_mode & 0o111


def test_documentation_names_files_of_the_lock() -> None:
    page = (LOCKS / "README.md").read_text(encoding="utf-8")
    names = set(re.findall(r"`([a-z]+)\.txt`", page))
    assert names == set(FILES)
