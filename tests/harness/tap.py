# SPDX-License-Identifier: GPL-2.0-or-later
"""Tests as functions, their results as TAP.

	@test("two threads in opposite order are a deadlock")
	def _():
		...

	main()

A test fails by any exception, and is skipped by Skip("why"). With arguments, a test file runs only the tests
whose name contains one of them.
"""

import sys
import traceback

TESTS = []


class Skip(Exception):
    """The test cannot run here; the reason begins with "optional:" if that is all right anywhere."""


def test(name):
    def register(function):
        TESTS.append((name, function))
        return function

    return register


def one_line(text):
    return " ".join(text.replace("#", "").split())


def main(after_each=None):
    """Runs all; after_each() cleans up, and may itself fail the test."""
    chosen = [(name, function) for name, function in TESTS
              if len(sys.argv) < 2 or any(word in name for word in sys.argv[1:])]
    failed = 0
    print("1..%d" % len(chosen), flush=True)
    for number, (name, function) in enumerate(chosen, 1):
        verdict, directive, story = "ok", "", ""
        try:
            try:
                function()
            finally:
                if after_each:
                    after_each()
        except Skip as skip:
            directive = " # SKIP " + one_line(str(skip))
        except KeyboardInterrupt:
            raise
        except Exception:  # pylint: disable=broad-except; whatever it is, the test has failed
            verdict, story = "not ok", traceback.format_exc()
            failed += 1
        print("%s %d - %s%s" % (verdict, number, one_line(name), directive), flush=True)
        for line in story.splitlines():
            print("# " + line.encode("unicode_escape").decode(), flush=True)
    sys.exit(1 if failed else 0)
