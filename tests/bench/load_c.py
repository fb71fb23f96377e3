"""The public load generator `load.c`, where a C compiler and its source beside the checkout allow: a second opinion.

    python -m tests.bench.load_c ADDRESS CERTIFICATE KEY

runs both generators in turn against a service that has the logging sample, and prints how far they agree.
"""

import json
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from tests.bench.load import LoadFailed, Measured, Plan, measure, process_cpu_s

SOURCE = Path(__file__).parents[3] / "shared" / "tools" / "load.c"


def available() -> bool:
    """Whether there is a compiler, the source, and OpenSSL to link with."""
    return SOURCE.exists() and shutil.which("gcc") is not None and Path("/usr/include/openssl/ssl.h").exists()


def build(directory: Path) -> Path:
    """Compile it; the executable's path."""
    program = directory / "load"
    command = ["gcc", "-O2", "-w", "-o", str(program), str(SOURCE), "-lssl", "-lcrypto", "-lpthread"]
    subprocess.run(command, check=True, capture_output=True, text=True)
    return program


def measure_with(program: Path, plan: Plan) -> Measured:
    """The same plan through `load.c`, which has no warm-up."""
    host, _, port = plan.address.rpartition(":")
    command = [str(program), "-H", host, "-p", port, "-m", plan.method, "-u", plan.path]
    command += ["-c", str(plan.connections), "-d", str(plan.depth), "-t", str(plan.seconds)]
    command += [] if plan.body is None else ["-b", plan.body]
    if plan.certificate_file is not None and plan.key_file is not None:
        command += ["-C", plan.certificate_file, "-K", plan.key_file]
    before = [process_cpu_s(pid) for pid in plan.watch]
    done = subprocess.run(command, capture_output=True, text=True, timeout=plan.seconds + 60)
    if done.returncode != 0 or not done.stdout:
        raise LoadFailed(done.stderr.strip() or f"exit code {done.returncode}")
    said = json.loads(done.stdout)
    cpu_s = [process_cpu_s(pid) - begin for pid, begin in zip(plan.watch, before, strict=True)]
    return Measured(
        requests=said["n"],
        refused=said["non2xx"],
        rate=said["rps"],
        p50_ms=said["p50_ms"],
        p99_ms=said["p99_ms"],
        max_ms=said["max_ms"],
        client_cpu_share=round(said["client_cpu_s"] / plan.seconds, 2),
        cpu_us=[round(seconds / max(1, said["n"]) * 1e6, 1) for seconds in cpu_s],
    )


def main(address: str, certificate: str, key: str) -> int:
    """Print both generators' figures for a few shapes of load."""
    if not available():
        print(f"needs gcc, OpenSSL's headers and {SOURCE.name} beside the checkout", file=sys.stderr)
        return 1
    body = json.dumps({"msg": "m" * 50}, separators=(",", ":"))
    with tempfile.TemporaryDirectory() as temporary:
        program = build(Path(temporary))
        for connections, depth in ((1, 1), (16, 1), (64, 1), (1, 100)):
            plan = Plan(
                address, "/app/log/private?id=%d", "POST", body, connections, depth, 2.0,
                certificate_file=certificate, key_file=key,
            )  # fmt: skip
            for name, measured in (("python", measure(plan)), ("load.c", measure_with(program, plan))):
                print(f"{connections:3}x{depth:<4}{name:8}{measured.rate:10.0f}/s p50 {measured.p50_ms} ms")
    return 0


if __name__ == "__main__":
    raise SystemExit(main(*sys.argv[1:4]))
