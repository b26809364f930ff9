# SPDX-License-Identifier: GPL-2.0-or-later
"""In the booted machine: runs the test programs in turn. Each prints TAP, between a line "== begin NAME" and
a line "== end STATUS"; "== done" comes last."""

import os
import subprocess
import sys

TESTS = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
# Program, and words of the names of those of its tests that are run; none: all. Lockdown can't be undone.
PROGRAMS = (
    ("kernels/test_kernel.py",),
    ("live/test_verdicts.py",),
    ("live/test_symbolizer.py", "worker has no capability", "killed again and again", "without symbols"),
    ("kernels/test_lockdown.py",),
)


def say(text):
    print("== " + text, flush=True)


def main():
    system = os.uname()
    say("kernel %s %s" % (system.release, system.version))
    for program, *words in PROGRAMS:
        say("begin tests/" + program)
        done = subprocess.run([sys.executable, "-B", os.path.join(TESTS, program), *words],
                              stdin=subprocess.DEVNULL, check=False)
        say("end %d" % done.returncode)
    say("done")


main()
