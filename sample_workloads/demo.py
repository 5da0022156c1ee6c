"""The demonstration behind `make demo`: a slow training run is started, attached to from outside, diagnosed and reported."""

import subprocess
import sys
import time
from pathlib import Path

FOLDER = Path("demo")
SAMPLE = "sample_workloads.decode_full_cores"
WARM_UP_S = 5
DURATION_S = 15


def main() -> int:
    FOLDER.mkdir(exist_ok=True)
    run = FOLDER / f"decode-{time.strftime('%H%M%S')}.perfscope"
    report = FOLDER / "report.html"
    print(f"starting a training run that is slow for a known reason: {SAMPLE}", flush=True)
    target = subprocess.Popen([sys.executable, "-m", SAMPLE], stdout=subprocess.DEVNULL)
    try:
        time.sleep(WARM_UP_S)
        if target.poll() is not None:
            print("the training run did not start; its message is above", file=sys.stderr)
            return 1
        attach = ["attach", str(target.pid), "--duration", str(DURATION_S), "--out", str(run), "--html", str(report)]
        print(f"\n$ perfscope {' '.join(attach)}\n", flush=True)
        return subprocess.run([sys.executable, "-m", "perfscope", *attach], check=False).returncode
    finally:
        target.terminate()
        target.wait()


if __name__ == "__main__":
    sys.exit(main())
