# SPDX-License-Identifier: GPL-2.0-or-later
"""run-tests itself: what it counts, and above all that it fails when it must."""

import os
import subprocess
import sys
import tempfile

HARNESS = os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness")
sys.path.insert(0, HARNESS)

from tap import main, test  # noqa: E402

CASES = [
    ("all passed", "print('1..2'); print('ok 1 - a'); print('ok 2')", "2 passed, 0 failed, 0 skipped", 0),
    ("one failed", "import sys; print('1..2\\nok 1 - a\\nnot ok 2 - b'); sys.exit(1)",
     "1 passed, 1 failed, 0 skipped", 1),
    ("failed, but ended with 0", "print('1..1\\nnot ok 1 - b')", "0 passed, 1 failed, 0 skipped", 1),
    ("one skipped", "print('1..2\\nok 1 - a\\nok 2 - b # SKIP no root')", "1 passed, 0 failed, 1 skipped", 0),
    ("all skipped by the plan", "print('1..0 # SKIP no root')", "0 passed, 0 failed, 1 skipped", 0),
    ("died after it had passed", "import os; print('1..1\\nok 1 - a', flush=True); os.abort()",
     "1 passed, 1 failed, 0 skipped", 1),
    ("ended early", "print('1..3\\nok 1 - a')", "1 passed, 1 failed, 0 skipped", 1),
    ("no plan", "print('ok 1 - a')", "1 passed, 1 failed, 0 skipped", 1),
    ("no output", "", "0 passed, 1 failed, 0 skipped", 1),
    ("status 1 without a word", "import sys; print('1..1\\nok 1 - a'); sys.exit(1)",
     "1 passed, 1 failed, 0 skipped", 1),
    ("hangs", "import time; print('1..1', flush=True); time.sleep(60)", "0 passed, 2 failed, 0 skipped", 1),
]


def run(program, environment=None, *flags):
    with tempfile.TemporaryDirectory() as directory:
        path = os.path.join(directory, "program.py")
        with open(path, "w", encoding="utf-8") as file:
            file.write(program)
        environment = dict({k: v for k, v in os.environ.items() if k != "CI"}, **(environment or {}))
        done = subprocess.run([sys.executable, os.path.join(HARNESS, "run-tests"), "--timeout=2", *flags, path],
                              stdout=subprocess.PIPE, env=environment, check=False)
        return done.returncode, done.stdout.decode().splitlines()


for case_name, case_program, case_line, case_status in CASES:
    @test("run-tests: " + case_name)
    def _(program=case_program, want_line=case_line, want_status=case_status):
        status, lines = run(program)
        assert lines[-1] == want_line, lines
        assert status == want_status, status


@test("run-tests: a skip fails in CI unless it is optional")
def _():
    program = "print('1..2\\nok 1 - a # SKIP no root\\nok 2 - b # SKIP optional: no java')"
    status, lines = run(program, {"CI": "1"})
    assert (status, lines[-1]) == (1, "0 passed, 1 failed, 2 skipped"), lines
    status, lines = run(program)
    assert (status, lines[-1]) == (0, "0 passed, 0 failed, 2 skipped"), lines


@test("run-tests: the output of a failed program is shown, without its control characters")
def _():
    status, lines = run("print('1..1\\n# \\033[2Jbecause\\nnot ok 1 - a')")
    assert status == 1
    assert any("\\x1b[2Jbecause" in line for line in lines), lines
    assert not any("\033" in line for line in lines), lines


@test("run-tests: nothing run is a failure")
def _():
    done = subprocess.run([sys.executable, os.path.join(HARNESS, "run-tests")], stdout=subprocess.PIPE, check=False)
    assert (done.returncode, done.stdout) == (1, b"0 passed, 0 failed, 0 skipped\n"), done


main()
