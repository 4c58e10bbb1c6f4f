"""Import pyroute2's netlink message classes without the rest of pyroute2.

Any import of ``pyroute2.x`` first runs ``pyroute2/__init__.py``, which imports the entire library with asyncio, ssl and
multiprocessing: 230 ms, and seconds inside an emulated guest. The message classes alone take 5 ms. So the package is
registered without running its ``__init__``; that runs at the first access to one of the package's own names, after
which it is the ordinary pyroute2.
"""

from __future__ import annotations

import importlib
import importlib.util
import sys
import threading
import types

_RUNNING = threading.RLock()


class _DeferredPackage(types.ModuleType):
    """A package whose ``__init__`` runs at the first access to a name that is not one of its submodules."""

    def __getattr__(self, name: str) -> object:
        if name.startswith("__") and name not in ("__version__", "__all__"):
            raise AttributeError(f"module {self.__name__!r} has no attribute {name!r}")
        if not name.startswith("_") and importlib.util.find_spec(f"{self.__name__}.{name}") is not None:
            return importlib.import_module(f"{self.__name__}.{name}")
        with _RUNNING:
            if type(self) is _DeferredPackage:
                object.__setattr__(self, "__class__", types.ModuleType)
                spec = self.__spec__
                if spec is None or spec.loader is None:
                    raise AttributeError(name)
                spec.loader.exec_module(self)
        return getattr(self, name)


def _defer(package: str) -> None:
    if package in sys.modules:
        return
    spec = importlib.util.find_spec(package)
    if spec is None:
        raise ModuleNotFoundError(f"No module named {package!r}", name=package)
    module = importlib.util.module_from_spec(spec)
    module.__class__ = _DeferredPackage
    sys.modules[package] = module


_defer("pyroute2")

from pyroute2.netlink import ctrlmsg, genlmsg, nla, nlmsg  # noqa: E402
from pyroute2.netlink.rtnl.ifaddrmsg import ifaddrmsg  # noqa: E402
from pyroute2.netlink.rtnl.ndmsg import ndmsg  # noqa: E402
from pyroute2.netlink.rtnl.rtmsg import rtmsg  # noqa: E402

__all__ = ["ctrlmsg", "genlmsg", "ifaddrmsg", "ndmsg", "nla", "nlmsg", "rtmsg"]
