"""A worker of hydra/launcher=workers: carries out the requests that its launcher writes to it, one after the other.

`python -m amid.cli.serving DESCRIPTOR`: a line of JSON on stdin is one request; lines of JSON on the descriptor say
what happens. What it prints goes where the launcher has put it. When stdin ends while it works its launcher is gone: it
stops as a run does that is asked to.
"""

from __future__ import annotations

import json
import logging
import os
import queue
import signal
import sys
import threading
from pathlib import Path
from typing import Any, TextIO

from amid.cli.exit_codes import exit_code
from amid.cli.printing import log_to_stderr
from amid.errors import RequestError, RunError, StoppedError, reason_of


class Answers(logging.Handler):
    """Tells the launcher what happens, also every line of the log."""

    def __init__(self, stream: TextIO) -> None:
        super().__init__(logging.INFO)
        self._stream = stream

    def tell(self, **values: Any) -> None:
        """Writes one line; where nobody reads any more, that is known from stdin."""
        try:
            self._stream.write(json.dumps(values) + "\n")
            self._stream.flush()
        except OSError:
            return

    def emit(self, record: logging.LogRecord) -> None:
        """Passes the line on."""
        self.tell(said=record.getMessage())


def serve(answers: Answers) -> None:
    """Works until stdin ends. Raises what ends the process while it works."""
    jobs: queue.Queue[tuple[str, str] | None] = queue.Queue()
    threading.Thread(target=_read, args=(jobs,), daemon=True, name="amid-requests").start()
    from amid.cli.working import carry_out_request
    from amid.store import Store
    from amid.store.frozen import thaw

    answers.tell(ready=True)
    while (job := jobs.get()) is not None:
        digest, results = job
        reason = None
        try:
            carry_out_request(thaw(digest, Store(Path(results))))
        except StoppedError:
            raise
        except (RequestError, RunError) as err:
            reason = reason_of(err)
        jobs.task_done()  # first: when this answer is read stdin may end
        answers.tell(ended=digest, reason=reason)


def _read(jobs: queue.Queue[tuple[str, str] | None]) -> None:
    for line in sys.stdin:
        job = json.loads(line)
        jobs.put((job["request"], job["results"]))
    if jobs.unfinished_tasks:
        os.kill(os.getpid(), signal.SIGTERM)
    jobs.put(None)


def main() -> None:
    """Serves the launcher that started this process."""
    with open(int(sys.argv[1]), "w", encoding="utf-8") as stream:
        answers = Answers(stream)
        log_to_stderr()
        logging.getLogger().addHandler(answers)
        sys.exit(exit_code(lambda: serve(answers)))


if __name__ == "__main__":
    main()
