"""A script that runs in an environment with mace-torch, and answers requests."""

from __future__ import annotations

import json
import subprocess
from contextlib import suppress
from pathlib import Path
from threading import Timer
from typing import Any, Self

import torch

MINUTES = 15
"""For one answer; compilation takes most of them."""


class MaceProcess:
    """A process of a script of this folder, which reads requests and writes answers, one JSON object a line.

    Args:
        python: interpreter of an environment with mace-torch.
        script: file name of the script; its argument is the number of threads.
    """

    def __init__(self, python: str, script: str) -> None:
        command = [python, str(Path(__file__).with_name(script)), str(torch.get_num_threads())]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "stderr": subprocess.DEVNULL}
        self.process = subprocess.Popen(command, text=True, **pipes)  # type: ignore[call-overload]

    def ask(self, **request: Any) -> dict[str, Any]:
        """Send a request and wait for the answer, some minutes at most.

        Raises:
            RuntimeError: it failed there, or took too long, after which the process is gone.
        """
        patience = Timer(60 * MINUTES, self.process.kill)
        patience.start()
        try:
            print(json.dumps(request), file=self.process.stdin, flush=True)
            lines = iter(self.process.stdout.readline, "")
            line = next((line for line in lines if line.startswith("{")), "")  # not what libraries print
        except BrokenPipeError:
            line = ""
        patience.cancel()
        answer = json.loads(line) if line else {"failed": f"the process ended, or took over {MINUTES} minutes"}
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return dict(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        with suppress(BrokenPipeError):  # it is gone already
            self.process.stdin.close()
        self.process.wait()
