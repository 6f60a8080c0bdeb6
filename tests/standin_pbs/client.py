"""qsub, qstat, qdel, qselect, qhold and qrls of the stand-in: written to a directory of programs, under each
of these names. Everything is asked of the server beside it; what is said when there is none is said here."""

import json
import os
import socket
import sys

HERE = os.path.dirname(os.path.dirname(os.path.abspath(sys.argv[0])))
NAME = os.path.basename(sys.argv[0])
VERSIONS = {"openpbs": "pbs_version = 23.06.06\n", "torque": "Version: 6.1.3\nCommit: 0\n"}
NO_SERVER = {
    ("openpbs", "qdel"): (162, "Couldn't connect to cluster: standin\n"),
    ("openpbs", "qstat"): (
        255,
        "Connection refused\nqstat: cannot connect to server standin (errno=15010)\n",
    ),
}


def main():
    with open(f"{HERE}/dialect") as file:
        dialect = file.read()
    if sys.argv[1:] == ["--version"]:
        sys.stdout.write(VERSIONS[dialect])
        return 0
    script = sys.stdin.buffer.read().decode("latin-1") if NAME == "qsub" else ""
    asked = {"name": NAME, "argv": sys.argv[1:], "script": script, "tz": os.environ.get("TZ", "")}
    try:
        answer = ask(asked)
    except OSError:
        otherwise = 162, f"Connection refused\n{NAME}: cannot connect to server standin (errno=15010)\n"
        code, words = NO_SERVER.get((dialect, NAME), otherwise)
        sys.stderr.write(words)
        return code
    sys.stdout.buffer.write(answer["out"].encode("latin-1"))
    sys.stderr.write(answer["err"])
    return answer["code"]


def ask(asked):
    with socket.socket(socket.AF_UNIX) as server:
        server.connect(f"{HERE}/socket")
        server.sendall(json.dumps(asked).encode() + b"\n")
        with server.makefile("rb") as answer:
            return json.loads(answer.readline() or "{}")


if __name__ == "__main__":
    sys.exit(main())
