# SPDX-License-Identifier: GPL-2.0-or-later
"""Expected verdicts as data, and their comparison with a finding."""

import functools
import subprocess

from live import (NS_PER_MS, assert_age, assert_in_order, cycle_labels, functions_of, lock_of, stack_of, thread_of,
                  time_ns)


class Expect:
    """What a finding must say about a workload. Threads are named by their labels.

    kind, certainty	names, or tuples of the names that are right
    cycle		{(waiter, lock, holder)}; an unnamed lock goes by its type; holder None: anonymous
    locks		{name: (type, owner label or None)}
    functions		{label: [application functions of its stack, innermost first]}
    aged		labels whose wait must be as old as the truth says; by default those of `functions`
    root		label of the root blocker of a chain
    words		texts that must stand in the summary, an activity or a note
    """

    def __init__(self, kind, certainty, cycle=None, locks=None, functions=None, aged=None, root=None, words=()):
        self.kinds = (kind,) if isinstance(kind, str) else kind
        self.certainties = (certainty,) if isinstance(certainty, str) else certainty
        self.cycle, self.locks, self.functions = cycle, locks or {}, functions or {}
        self.aged = list(self.functions) if aged is None else aged
        self.root, self.words = root, words

    def check(self, workload, finding):
        assert finding["kind"] in self.kinds, (finding["kind"], finding["summary"])
        assert finding["certainty"] in self.certainties, (finding["certainty"], finding["notes"])
        assert finding["certainty"] == "certain" or finding["notes"], "less than certain without a reason"
        assert finding["process"]["pid"] == workload.pid, finding["process"]
        assert finding["process"]["ns_pid"] == workload.ns_pid, finding["process"]
        if self.cycle is not None:
            said = cycle_labels(workload, finding)
            assert said == self.cycle, "cycle: %s, want %s" % (said, self.cycle)
            members = {step["tid"] for step in finding["cycle"]}
            assert members == {thread["tid"] for thread in finding["threads"] if thread["in_cycle"]}
        self.check_locks(workload, finding)
        for label, wanted in self.functions.items():
            thread = thread_of(finding, workload.tid(label))
            assert thread, "%s is not listed" % label
            assert_in_order(wanted, functions_of(finding, thread), label)
        for label in self.aged:
            assert_age(workload, finding, label)
        self.check_stuck_time(workload, finding)
        if self.root:
            thread = thread_of(finding, workload.tid(self.root))
            assert thread and not thread["waits_for"], "%s is not the root: %s" % (self.root, thread)
        said = "\n".join([finding["summary"], finding["advice"] or "", *finding["notes"],
                          *(thread["activity"] or "" for thread in finding["threads"])])
        for word in self.words:
            assert word in said, "%r is not in: %s" % (word, said)

    def check_locks(self, workload, finding):
        by_name = {lock["name"] or lock["type"]: lock for lock in finding["locks"]}
        for name, (lock_type, owner) in self.locks.items():
            assert name in by_name, "%s is not among %s" % (name, sorted(by_name))
            lock = by_name[name]
            assert lock["type"] == lock_type, "%s is a %s, not a %s" % (name, lock["type"], lock_type)
            owner_tid = workload.tid(owner) if owner else None
            assert lock["owner_tid"] == owner_tid, "%s is held by %s, not by %s" % (
                name, lock["owner_tid"], owner_tid)
            if name in workload.truth["facts"]:
                address = int(workload.fact(name), 16)
                assert int(lock["address"], 16) == address, "%s is not at 0x%x: %s" % (name, address, lock)

    def check_stuck_time(self, workload, finding):
        """A cycle is stuck since its last wait began; a chain since its first."""
        if not self.aged or "deadlock" not in self.kinds or self.cycle is None:
            return
        members = [label for label, _, _ in self.cycle]
        truth_ns = time_ns(finding) - max(workload.blocked_at_ns(label) for label in members)
        assert abs(finding["stuck_ns"] - truth_ns) <= 100 * NS_PER_MS, (finding["stuck_ns"], truth_ns)


def held_by(workload, finding, label):
    """Names of the locks that a listed thread is said to hold."""
    thread = thread_of(finding, workload.tid(label))
    return [lock_of(finding, lock_id)["name"] for lock_id in thread["holds"]]


def libc_path():
    """The C library that an ordinary program maps."""
    with open("/proc/self/maps", encoding="utf-8") as maps:
        return next(line.split()[-1] for line in maps if "/libc.so.6" in line)


@functools.lru_cache(maxsize=None)
def exported_by_libc():
    """[(start, end)] of the functions that the C library exports, by nm."""
    done = subprocess.run(["nm", "-D", "--defined-only", "--print-size", libc_path()], stdout=subprocess.PIPE,
                          timeout=60, check=True)
    found = []
    for line in done.stdout.decode().splitlines():
        fields = line.split()
        if len(fields) == 4 and fields[2] in "TWi":
            found.append((int(fields[0], 16), int(fields[0], 16) + int(fields[1], 16)))
    assert len(found) > 1000, "nm names only %d functions of %s" % (len(found), libc_path())
    return found


def is_static_in_libc(frame):
    """Whether it lies in a function that the C library does not export: such have a name only where the
    library's debug symbols are installed, which is on hardly any host."""
    if frame["function"] or not frame["module"].split("/")[-1].startswith("libc.so"):
        return False
    # A return address may be the first of the next function.
    place = frame["offset"] - 1
    return not any(start <= place < end for start, end in exported_by_libc())


def every_stack_is_named(finding):
    """No frame of any stack lacks its function, but for those that nothing on the host names."""
    for thread in finding["threads"]:
        for frame in stack_of(finding, thread):
            assert frame["function"] or is_static_in_libc(frame), (thread["comm"], frame)
