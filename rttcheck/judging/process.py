"""A process that judges: paths of recordings come in, verdicts go out, as pickles over its standard streams.

It ends when its input does, and when its parent dies, whatever it does at that moment.
"""

from __future__ import annotations

import os
import pickle
import sys
import traceback
from pathlib import Path
from typing import IO

from rttcheck.errors import RttcheckError
from rttcheck.judging.result import Failure, Judged, Result
from rttcheck.kernels.parent_death import exit_when_parent_dies
from rttcheck.record.recording import Recording


def judged(path: Path, reproduce: str | None) -> Judged | Failure:
    """Judge the recording at ``path``; an exception becomes a sentence, with its traceback if it is a bug."""
    try:
        result = Result.of(Recording.load(path), path=path, reproduce=reproduce)
        return Judged(verdict=result.verdict, row=result.row())
    except RttcheckError as error:
        return Failure(str(error))
    except Exception as error:
        return Failure(
            f"the judge failed on {path} ({type(error).__name__}: {error}): report it, with the recording\n"
            f"{traceback.format_exc()}".rstrip()
        )


def serve(requests: IO[bytes], answers: IO[bytes]) -> None:
    """Answer requests, each a path and the command that reproduces the run, until there are no more."""
    while True:
        try:
            path, reproduce = pickle.load(requests)
        except EOFError:
            return
        pickle.dump(judged(path, reproduce), answers)
        answers.flush()


def main() -> int:
    """Serve the parent, whose process id is the only argument."""
    exit_when_parent_dies(int(sys.argv[1]))
    # What a library prints is no answer.
    answers = os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    serve(sys.stdin.buffer, answers)
    return 0


if __name__ == "__main__":
    sys.exit(main())
