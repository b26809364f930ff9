# SPDX-License-Identifier: GPL-2.0-or-later
"""What is asked again and again on a booted kernel, with ever fewer privileges."""

import os
import sys
import time

HERE = os.path.dirname(os.path.abspath(__file__))
sys.path.insert(0, os.path.join(HERE, "..", "harness"))

from live import AGE_TOLERANCE_NS, Workload, ask, thread_of, time_ns  # noqa: E402
from verdict import Expect  # noqa: E402

MIN_WAIT = "--min-wait=200ms"
SETTLE_SECONDS = 0.4

DEADLOCKS = {
    "abba": Expect(
        "deadlock", "certain", cycle={("dl-a", "m2", "dl-b"), ("dl-b", "m1", "dl-a")},
        locks={"m1": ("mutex", "dl-a"), "m2": ("mutex", "dl-b")},
        functions={"dl-a": ("transfer", "worker"), "dl-b": ("transfer", "worker")}),
    "rwlock writers": Expect(
        "deadlock", "certain", cycle={("rw-a", "r2", "rw-b"), ("rw-b", "r1", "rw-a")},
        locks={"r1": ("rwlock", "rw-a"), "r2": ("rwlock", "rw-b")},
        functions={"rw-a": ("swap_tables", "swapper"), "rw-b": ("swap_tables", "swapper")}),
    "join_cycle": Expect(
        "deadlock", "certain",
        cycle={("join-a", "join", "join-b"), ("join-b", "join", "join-c"), ("join-c", "join", "join-a")},
        functions={"join-%s" % c: ("await_neighbour", "joiner") for c in "abc"}),
}


def assert_source(answer, name):
    """Which backend it was. Full service has nothing to remark."""
    assert answer.summary["self"]["source"] == name, answer.summary
    assert name == "procfs" or answer.summary["notes"] == [], answer.summary["notes"]


def assert_not_older(workload, finding, label):
    said_ns = thread_of(finding, workload.tid(label))["waits_for"]["since_ns"]
    truth_ns = time_ns(finding) - workload.blocked_at_ns(label)
    assert said_ns <= truth_ns + AGE_TOLERANCE_NS, (label, said_ns, truth_ns)


def assert_deadlocks_found(source, **options):
    """Each, hung before it is asked for, by `source`; options are those of ask(). Returns the last answer.

    /proc tells neither when a thread last got a CPU, so an age is then only a lower bound, nor the registers
    that an unwinder needs beyond the first frames.
    """
    for command, expect in DEADLOCKS.items():
        workload = Workload(*command.split())
        time.sleep(SETTLE_SECONDS)
        answer = ask("why", workload.pid, MIN_WAIT, **options)
        assert_source(answer, source)
        if source == "procfs":
            expect = Expect(expect.kinds, expect.certainties, expect.cycle, expect.locks, aged=())
            for label, _, _ in expect.cycle:
                assert_not_older(workload, answer.finding, label)
        expect.check(workload, answer.finding)
        workload.stop()
    return answer
