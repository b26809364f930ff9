#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Prints what holdup, helgrind and clang's TSan say about each case of tests/live/test_order.py. Asserts nothing.

usage: verdicts.py [CASE ...]   (normally: make bench-verdicts, as root)

A verdict is "reported" or "silent", as far as lock orders go: other complaints don't count. A wrong one is
marked with "!"; "-": the tool is not installed, or gave no verdict. Environment: HOLDUP, BUILD, CLANG.
"""

import os
import subprocess
import sys
import tempfile

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path[:0] = [os.path.join(HERE, "..", "harness"), os.path.join(HERE, "..", "live")]

from live import BUILD, ROOT, WORKLOADS, clean_up  # noqa: E402
from test_order import CASES, inversions, traced  # noqa: E402

SECONDS = 120
PROGRAM = os.path.join(WORKLOADS, "orders")
NO_VERDICT = None


def said(command, mark, alive, **environment):
    """Whether a tool's output has its mark; no verdict where it did not even start."""
    try:
        done = subprocess.run(command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                              stderr=subprocess.STDOUT, env=dict(os.environ, **environment),
                              timeout=SECONDS, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return NO_VERDICT
    if not alive(done):
        return NO_VERDICT
    return mark in done.stdout


def ask_holdup(case):
    try:
        return bool(inversions(traced(case)[1]))
    finally:
        clean_up()


def ask_helgrind(case):
    return said(["valgrind", "--tool=helgrind", "--trace-children=yes", PROGRAM, case], b"lock order \"",
                lambda done: b"ERROR SUMMARY" in done.stdout)


def build_for_tsan(directory):
    """The same program, built for TSan; None where clang has no runtime for it."""
    program = os.path.join(directory, "orders-tsan")
    source = os.path.join(ROOT, "tests", "workloads")
    built = subprocess.run([os.environ.get("CLANG", "clang"), "-std=gnu17", "-D_GNU_SOURCE", "-g", "-O1",
                            "-fsanitize=thread", "-I" + source, "-o", program, os.path.join(source, "orders.c"),
                            os.path.join(source, "workload.c"), "-pthread"], stdout=subprocess.DEVNULL,
                           stderr=subprocess.DEVNULL, check=False)
    return program if built.returncode == 0 else None


def ask_tsan(program, case):
    if not program:
        return NO_VERDICT
    # Its shadow memory does not fit between addresses that are as random as Linux has them now.
    return said(["setarch", "-R", program, case], b"lock-order-inversion", lambda done: done.returncode == 0,
                TSAN_OPTIONS="detect_deadlocks=1:exitcode=0:report_bugs=1")


def word(verdict, expected):
    if verdict is NO_VERDICT:
        return "-"
    return ("reported" if verdict else "silent") + ("" if verdict == expected else " !")


def main(wanted):
    unknown = set(wanted) - {case[0] for case in CASES}
    if unknown:
        print("verdicts: no case " + " ".join(sorted(unknown)), file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("verdicts: needs root, as tracing does", file=sys.stderr)
        return 1
    row = "%-30s %-10s %-11s %-11s %-11s"
    right = {"holdup": 0, "helgrind": 0, "tsan": 0}
    given = dict(right)
    print((row % ("case", "expected", *right)).rstrip(), flush=True)
    os.makedirs(BUILD, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=BUILD) as directory:
        tsan = build_for_tsan(directory)
        for case, expected in ((case[0], case[1]) for case in CASES if not wanted or case[0] in wanted):
            verdicts = {"holdup": ask_holdup(case), "helgrind": ask_helgrind(case), "tsan": ask_tsan(tsan, case)}
            for tool, verdict in verdicts.items():
                given[tool] += verdict is not NO_VERDICT
                right[tool] += verdict == expected
            print((row % (case, word(expected, expected),
                          *(word(verdict, expected) for verdict in verdicts.values()))).rstrip(), flush=True)
    print((row % ("right", "", *("%d of %d" % (right[tool], given[tool]) for tool in right))).rstrip())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
