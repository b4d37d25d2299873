"""Runs the test_* functions of a Python test program, each in a fresh temporary directory, and reports one line each."""
import subprocess
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))
PEER_PYTHON = ROOT / ".venv/bin/python"  # with the packages of tests/requirements.txt and PyTorch; it may not be there


class Skip(Exception):
    """Raised by a test that cannot run here; the text says why."""


def need_peers(*modules):
    """Skips the test where .venv or one of these modules in it is missing."""
    code = "import sys, importlib.util as u; sys.exit(any(u.find_spec(m) is None for m in sys.argv[1:]))"
    if not PEER_PYTHON.exists() or subprocess.run([PEER_PYTHON, "-c", code, *modules], check=False).returncode != 0:
        raise Skip(f"no .venv with {', '.join(modules)}; scripts/setup.sh peers makes it")


def run_tests(functions):
    failed = 0
    for name, function in list(functions.items()):
        if not name.startswith("test_"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                function(Path(folder))
                print(f"ok {name}")
            except Skip as skip:
                print(f"skipped {name}: {skip}")
            except Exception:  # a failed assertion or an error in what is tested
                failed += 1
                print(f"FAILED {name}")
                traceback.print_exc(file=sys.stdout)
    sys.exit(1 if failed else 0)
