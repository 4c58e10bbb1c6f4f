"""Whether a call is the last thing that a test does, by the bytecode of its function.

Then an exception from the call and one at the end of the test's call phase cannot be told apart. Whatever is not
certain counts as something that follows: another Python's bytecode, too.
"""

from __future__ import annotations

import dis
from types import CodeType, FrameType

import pytest

_NOTHING = frozenset({"CACHE", "NOP", "NOT_TAKEN", "RESUME"})
"""Instructions that do nothing."""


def is_last_call(frame: FrameType, item: pytest.Item, called: object) -> bool:
    """Return whether ``called`` was called by its name in the item's own function, and nothing follows.

    ``frame`` is the frame that made the call. The value of the call is not used, and no handler or context manager of
    the function would see an exception.
    """
    # Not one of a subclass: its run() may do anything after the function.
    if type(item) is not pytest.Function:
        return False
    # Whoever else called the function, a decorator or another test, may go on after it.
    if frame.f_back is None or frame.f_back.f_globals.get("__name__") != "_pytest.python":
        return False
    name = _last_called(frame.f_code, frame.f_lasti)
    return name is not None and frame.f_locals.get(name) is called


def _last_called(code: CodeType, offset: int) -> str | None:
    """Return the local variable that the call at ``offset`` calls, if the function then returns None and nothing else.

    None for any other call, and one inside ``with`` or ``try``.
    """
    bytecode = dis.Bytecode(code)
    # Not in typeshed, and not documented.
    handled = getattr(bytecode, "exception_entries", None)
    if handled is None or any(entry.start <= offset < entry.end for entry in handled):
        return None
    instructions = list(bytecode)
    # In some versions a frame's offset is that of the call's last cache entry.
    index = max((place for place, one in enumerate(instructions) if one.offset <= offset), default=-1)
    if index < 0 or not instructions[index].opname.startswith("CALL"):
        return None
    following = [one for one in instructions[index + 1 :] if one.opname not in _NOTHING][:3]
    if not _returns_none(following):
        return None
    return _variable(instructions[:index], instructions[index])


def _returns_none(following: list[dis.Instruction]) -> bool:
    """Return whether the instructions discard a value and return None, which is one instruction in 3.12 and 3.13."""
    names = [one.opname for one in following]
    if names[:2] == ["POP_TOP", "RETURN_CONST"]:
        return following[1].argval is None
    return (
        names[0:1] == ["POP_TOP"]
        and names[1:2] in (["LOAD_CONST"], ["LOAD_COMMON_CONSTANT"])
        and following[1].argval is None
        and names[2:] == ["RETURN_VALUE"]
    )


def _variable(before: list[dis.Instruction], call: dis.Instruction) -> str | None:
    """Return the local variable that is called: its name is where the source text of the call begins.

    In ``list(map(rtt, scenarios))`` the call that the frame makes is that of ``list``.
    """
    where = call.positions
    if where is None or where.lineno is None or where.col_offset is None:
        return None
    for one in reversed(before):
        begins = one.positions
        if begins is None or (begins.lineno, begins.col_offset) != (where.lineno, where.col_offset):
            continue
        # Some instructions that collect the arguments are those of the whole call.
        if begins != where and one.opname not in ("PUSH_NULL", *_NOTHING):
            return str(one.argval) if one.opname.startswith("LOAD_FAST") else None
    return None
