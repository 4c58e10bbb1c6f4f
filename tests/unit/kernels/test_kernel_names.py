"""The names of kernels."""

from __future__ import annotations

from pathlib import Path

import pytest

from rttcheck.errors import KernelError
from rttcheck.kernels.spec import KernelSource, KernelSpec


def test_host_is_the_running_kernel() -> None:
    assert KernelSpec.parse("host").source is KernelSource.HOST


def test_a_series_is_any_release_of_it() -> None:
    spec = KernelSpec.parse("debian:6.12")
    assert (spec.source, spec.series, spec.release, spec.flavour) == (KernelSource.DEBIAN, "6.12", None, "amd64")


@pytest.mark.parametrize("text", ["debian:6.12.107+deb13", "debian:6.12.107+deb13-amd64"])
def test_a_release_is_that_one_with_or_without_its_flavour(text: str) -> None:
    spec = KernelSpec.parse(text)
    assert (spec.series, spec.release) == ("6.12", "6.12.107+deb13")


def test_an_abi_release_of_an_older_debian_is_a_release() -> None:
    assert KernelSpec.parse("debian:5.10.0-46").release == "5.10.0-46"


def test_rt_is_another_flavour() -> None:
    assert KernelSpec.parse("debian:6.12-rt").flavour == "rt-amd64"
    assert KernelSpec.parse("debian:6.12-rt").release is None


@pytest.mark.parametrize("text", ["debian:6.12-rt", "debian:6.12-rt-amd64"])
def test_the_newest_of_a_series_has_an_rt_flavour_too(text: str) -> None:
    spec = KernelSpec.parse(text)
    assert (spec.series, spec.release, spec.flavour) == ("6.12", None, "rt-amd64")


@pytest.mark.parametrize(
    ("text", "release"), [("debian:6.12.107+deb13-rt", "6.12.107+deb13"), ("debian:6.1.0-56-rt-amd64", "6.1.0-56")]
)
def test_a_release_of_the_rt_flavour_is_that_one(text: str, release: str) -> None:
    spec = KernelSpec.parse(text)
    assert (spec.release, spec.flavour) == (release, "rt-amd64")


@pytest.mark.parametrize("text", ["debian:6.12-cloud-amd64", "debian:6.1.0-56-cloud"])
def test_the_error_for_a_cloud_kernel_has_the_reason(text: str) -> None:
    with pytest.raises(KernelError, match="cloud kernels have no 9p, which a guest's root needs; name the plain one"):
        KernelSpec.parse(text)


def test_a_path_that_exists_is_a_kernel(tmp_path: Path) -> None:
    image = tmp_path / "bzImage"
    image.touch()
    assert KernelSpec.parse(str(image)).path == image


@pytest.mark.parametrize("text", ["debian:", "debian:trixie", "debian:6", "debian:6.12/x", "debian:latest-6.12"])
def test_the_error_for_an_invalid_debian_version_has_examples(text: str) -> None:
    with pytest.raises(KernelError, match=r"no Debian kernel version; write a series as in debian:6\.12"):
        KernelSpec.parse(text)


def test_the_error_for_a_bare_version_names_the_source() -> None:
    with pytest.raises(KernelError, match=r"write debian:6\.12"):
        KernelSpec.parse("6.12")


def test_a_path_that_does_not_exist_is_no_kernel() -> None:
    with pytest.raises(KernelError, match="nor a path that exists"):
        KernelSpec.parse("./no/such/bzImage")
