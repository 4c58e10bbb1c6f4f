"""Import the Python module of the BPF compiler collection, and not an unrelated package of the same name.

Debian's ``python3-bpfcc`` is pure Python over ``libbpfcc.so.0`` and is installed outside of a virtual environment;
PyPI's ``bcc`` is a different package, and hides the real one from an ordinary import.
"""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Final

from rttcheck.errors import CapabilityError

PLACES: Final = (Path("/usr/lib/python3/dist-packages"), Path("/usr/lib/python3/site-packages"))
"""Where distributions install it."""

_NAME: Final = "rttcheck_bcc"
"""All imports inside the package are relative, so it can be imported under another name than ``bcc``."""

_REMEDY: Final = "apt install python3-bpfcc"


def unrelated_bcc() -> Path | None:
    """Return the path of a package ``bcc`` that is not the compiler collection; None when there is none."""
    spec = importlib.util.find_spec("bcc")
    if spec is None:
        return None
    places = [Path(place) for place in spec.submodule_search_locations or ()]
    if any((place / "libbcc.py").exists() for place in places):
        return None
    return places[0] if places else Path(spec.origin or "")


def import_bcc(places: tuple[Path, ...] = PLACES) -> ModuleType:
    """Import the real module under a name of its own. Raises CapabilityError with the remedy."""
    known = sys.modules.get(_NAME)
    if known is not None:
        return known
    package = next((place / "bcc" for place in places if (place / "bcc" / "libbcc.py").exists()), None)
    if package is None:
        wrong = unrelated_bcc()
        if wrong is not None:
            raise CapabilityError(
                f"the package bcc in {wrong} is not the BPF compiler collection: pip uninstall bcc, then {_REMEDY}"
            )
        raise CapabilityError(f"the bcc probe needs the BPF compiler collection and it is not installed: {_REMEDY}")
    spec = importlib.util.spec_from_file_location(
        _NAME, package / "__init__.py", submodule_search_locations=[str(package)]
    )
    if spec is None or spec.loader is None:
        raise CapabilityError(f"the module in {package} cannot be imported: {_REMEDY} again")
    module = importlib.util.module_from_spec(spec)
    sys.modules[_NAME] = module
    try:
        spec.loader.exec_module(module)
    except (OSError, ImportError, AttributeError) as error:
        del sys.modules[_NAME]
        raise CapabilityError(f"the module in {package} cannot be loaded ({error}): {_REMEDY} again") from None
    return module
