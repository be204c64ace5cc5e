"""A script that runs in an environment with mace-torch, and answers requests."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any, Self

import torch


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
        """Send a request and wait for the answer.

        Raises:
            RuntimeError: it failed there.
        """
        print(json.dumps(request), file=self.process.stdin, flush=True)
        lines = iter(self.process.stdout.readline, "")
        line = next((line for line in lines if line.startswith("{")), "")  # not what libraries print
        answer = json.loads(line) if line else {"failed": "the process ended"}
        if "failed" in answer:
            raise RuntimeError(answer["failed"])
        return dict(answer)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.process.stdin.close()
        self.process.wait()
