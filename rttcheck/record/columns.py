"""Tables of older recordings, read by the names of their columns.

Recordings outlive the versions that made them. A column that a table does not have is *not seen*: checks that need it
are not run. A column that this version no longer knows is left out.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping

import numpy as np

from rttcheck.errors import RecordingError


def read_columns(
    array: np.ndarray,
    layout: np.dtype,
    *,
    always: Collection[str] = (),
    renamed: Mapping[str, str] | None = None,
) -> tuple[np.ndarray, frozenset[str]]:
    """Return ``array`` in this version's ``layout``, and the names of the columns that it lacked.

    ``always`` are the columns that every version wrote; ``renamed`` maps older names of columns to today's. A missing
    column holds -1 where its type is signed, else 0. Raises RecordingError when one of ``always`` is missing, or when a
    column holds something of another shape or kind.
    """
    if array.dtype == layout:
        return array, frozenset()
    if array.dtype.names is None:
        raise RecordingError(f"it holds {array.dtype} without names of columns: the file is damaged")
    held = {(renamed or {}).get(name, name): name for name in array.dtype.names}
    made = np.zeros(len(array), dtype=layout)
    missing = set()
    for name in layout.names or ():
        if name not in held and name in always:
            raise RecordingError(f"the column {name} is missing, which every version wrote: the file is damaged")
        if name not in held:
            missing.add(name)
            if made.dtype[name].kind == "i":
                made[name] = -1
            continue
        column = array[held[name]]
        if column.shape != made[name].shape or not np.can_cast(column.dtype, made.dtype[name].base, "same_kind"):
            raise RecordingError(
                f"the column {name} holds {array.dtype[held[name]]} where {layout[name]} was expected: the file was "
                "not written by rttcheck, or it is damaged"
            )
        made[name] = column
    return made, frozenset(missing)
