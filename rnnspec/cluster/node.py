"""The code that runs on the workers of a Dask cluster: it uses processes to check parts of a run.

This module must be importable on every machine of your cluster, and imports nothing slow.
"""

from __future__ import annotations

import socket
import subprocess
import sys
import threading
import traceback
from collections import defaultdict
from collections.abc import Mapping
from contextlib import suppress

from rnnspec.cluster.agent import read_frame, write_frame
from rnnspec.cluster.messages import Breakdown, Lost, Refusal
from rnnspec.errors import CannotCheck
from rnnspec.isolation.import_path import add_own_place, read_absolute_path
from rnnspec.isolation.journal import describe_difference, read_versions
from rnnspec.isolation.messages import pack

START = """
import sys
sys.path[:] = sys.argv[1:]
from rnnspec.cluster.agent import main
main()
"""
"""Lets a process import the same modules as the node, in any working directory."""
LAST_WORDS = 5.0
"""The seconds that a process may take to end after its input was closed."""


class Agent:
    """A process that checks parts of a run, see `rnnspec.cluster.agent`."""

    def __init__(self, order: bytes) -> None:
        places = add_own_place(read_absolute_path())
        self.process = subprocess.Popen(
            [sys.executable, "-c", START, *places],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
        )
        with suppress(OSError):  # if it has already ended, `ask` will raise
            self._write(order)

    @property
    def has_ended(self) -> bool:
        """Whether it has ended, for example because it was idle for long."""
        return self.process.poll() is not None

    def ask(self, part: bytes) -> bytes:
        """Return the answer to a part. Raises EOFError or OSError if the process has ended."""
        assert self.process.stdout is not None
        self._write(part)
        return read_frame(self.process.stdout)

    def _write(self, content: bytes) -> None:
        assert self.process.stdin is not None
        write_frame(self.process.stdin, content)

    def end(self) -> None:
        """End the process."""
        for stream in (self.process.stdin, self.process.stdout):
            if stream is not None:
                with suppress(OSError):
                    stream.close()
        try:
            self.process.wait(LAST_WORDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


class Agents:
    """The idle processes of this node, by their orders."""

    def __init__(self) -> None:
        self._idle: defaultdict[bytes, list[Agent]] = defaultdict(list)
        self._lock = threading.Lock()

    def take(self, order: bytes) -> Agent:
        """Return an idle process for an order, or a new process."""
        with self._lock:
            while self._idle[order]:
                agent = self._idle[order].pop()
                if not agent.has_ended:
                    return agent
                agent.end()
        return Agent(order)

    def give_back(self, order: bytes, agent: Agent) -> None:
        """Keep a process for the next part."""
        with self._lock:
            self._idle[order].append(agent)

    def end(self, order: bytes) -> None:
        """End the idle processes for an order."""
        with self._lock:
            agents = self._idle.pop(order, [])
        for agent in agents:
            agent.end()


AGENTS = Agents()


def check_part(order: bytes, part: bytes, versions: Mapping[str, str]) -> bytes:
    """Return the packed answer to a request.

    It raises no exception, because Dask would send the exception with its traceback, which can
    fail.
    """
    try:
        difference = describe_difference(read_versions(), versions)
        if difference:
            who = f"the cluster's worker on {socket.gethostname()}"
            return pack(Refusal(CannotCheck(f"{who} has other versions than here: {difference}.")))
        return _ask_agent(order, part)
    except Exception:
        return pack(Breakdown(traceback.format_exc()))


def _ask_agent(order: bytes, part: bytes) -> bytes:
    agent = AGENTS.take(order)
    try:
        answer = agent.ask(part)
    except (EOFError, OSError):
        agent.end()
        return pack(Lost(f"its process ended with status {agent.process.returncode}"))
    AGENTS.give_back(order, agent)
    return answer


def end_agents(order: bytes) -> None:
    """End the processes of this node for an order."""
    AGENTS.end(order)
