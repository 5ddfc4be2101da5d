"""Has everything imported and forks one process for each life of a worker: the imports take seconds."""

from __future__ import annotations

import json
import os
import sys
import traceback

import tests.crash.worker as worker


def main() -> None:
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer: object = os.waitstatus_to_exitcode(os.waitpid(request["wait"], 0)[1])
        else:
            answer = _fork(request)
        print(json.dumps(answer), flush=True)


def _fork(request: dict[str, object]) -> int:
    pid = os.fork()
    if pid:
        return pid
    code = 1
    try:
        log = os.open(str(request["log"]), os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        os.dup2(nothing, 0)
        os.dup2(log, 1)
        os.dup2(log, 2)
        os.environ.update(request["env"])  # type: ignore[arg-type]
        worker.live(request["orders"])  # type: ignore[arg-type]
        code = 0
    except BaseException:  # noqa: BLE001 (the top of a process)
        traceback.print_exc()
    finally:
        sys.stderr.flush()
        os._exit(code)


if __name__ == "__main__":
    main()
