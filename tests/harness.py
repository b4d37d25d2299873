"""Runs the test_* functions of a Python test program, each in a fresh temporary directory, and reports one line each."""
import sys
import tempfile
import traceback
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT / "scripts"))


def run_tests(functions):
    failed = 0
    for name, function in list(functions.items()):
        if not name.startswith("test_"):
            continue
        with tempfile.TemporaryDirectory() as folder:
            try:
                function(Path(folder))
                print(f"ok {name}")
            except Exception:  # a failed assertion or an error in what is tested
                failed += 1
                print(f"FAILED {name}")
                traceback.print_exc(file=sys.stdout)
    sys.exit(1 if failed else 0)
