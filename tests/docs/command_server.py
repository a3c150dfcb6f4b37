"""Runs ``fdream`` for a real shell without starting Python and torch for each process of a pipe.

``python command_server.py SOCKET WEIGHTS`` imports everything once and then forks for every command
that a client asks for. The client (``CLIENT``, put on the PATH as ``fdream``) hands over its own
standard streams, so that pipes, redirections and exit codes are the shell's.
"""

from __future__ import annotations

import importlib
import io
import json
import os
import signal
import socket
import sys
from pathlib import Path
from typing import NoReturn

CLIENT = """#!{python} -ISs
import json, os, socket, sys
server = socket.socket(socket.AF_UNIX)
server.connect({address!r})
asked = json.dumps({{"args": sys.argv[1:], "folder": os.getcwd()}})
socket.send_fds(server, [asked.encode()], [0, 1, 2])
sys.exit((server.recv(1) or b"F")[0])
"""

HEAVY = (
    "fdream.cli.app",
    "fdream.data.readers",
    "fdream.data.writers",
    "fdream.pipelines.generation",
    "fdream.stages.builtin.diffusers_schedulers",
    "fdream.stages.builtin.dreamer_generator",
    "fdream.stages.builtin.latent_prior",
)


def main(address: str, weights: str) -> None:
    for module in HEAVY:
        importlib.import_module(module)
    from fdream.models import bundle_survey

    bundle_survey.PACKAGED = Path(weights)  # type: ignore[misc]
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(address)
        server.listen(16)
        sys.stdout.write("ready\n")
        sys.stdout.flush()
        while True:
            client, _ = server.accept()
            if os.fork() == 0:
                serve(client)
            client.close()


def serve(client: socket.socket) -> NoReturn:
    from fdream.cli.app import run

    signal.signal(signal.SIGCHLD, signal.SIG_DFL)  # FFmpeg is waited for
    message, streams, _, _ = socket.recv_fds(client, 1 << 16, 3)
    asked = json.loads(message)
    for number, stream in enumerate(streams):
        os.dup2(stream, number)
        os.close(stream)
    os.chdir(asked["folder"])
    sys.stdin, sys.stdout, sys.stderr = (
        io.TextIOWrapper(open(number, mode, closefd=False), encoding="utf-8")  # noqa: SIM115
        for number, mode in enumerate(("rb", "wb", "wb"))
    )
    code = run(asked["args"])
    sys.stderr.flush()
    client.sendall(bytes([code]))
    os._exit(0)


if __name__ == "__main__":
    main(*sys.argv[1:])
