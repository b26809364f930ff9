# SPDX-License-Identifier: GPL-2.0-or-later
"""Lock orders: every rule of the lock-order tier on a small program, and its near-miss."""

import json
import os
import signal
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from live import WORKLOADS, Workload, main, need_bpf, run, temporary_directory, test  # noqa: E402

REPORTED, SILENT = True, False
XY, RS = {"X", "Y"}, {"R", "S"}

# case, verdict, names of the locks of the cycle, why
CASES = [
    ("inverted", REPORTED, XY, "two threads, two orders"),
    ("same_order", SILENT, None, "one order"),
    ("single_thread", SILENT, None, "a thread does not wait for itself"),
    ("guarded", SILENT, None, "both orders under one lock"),
    ("guarded_otherwise", REPORTED, XY, "each order under a lock of its own"),
    ("guarded_first", REPORTED, XY, "a guarded order seen first hides no unguarded one"),
    ("guarded_by_readers", REPORTED, XY, "two readers of a guard meet"),
    ("guarded_by_reader_and_writer", SILENT, None, "a reader and a writer of a guard don't"),
    ("create_ordered", SILENT, None, "before the other thread was created"),
    ("repeated_after_create", REPORTED, XY, "before the other thread was created, and again while it lived"),
    ("join_ordered", SILENT, None, "after the other thread was joined"),
    ("siblings_one_after_the_other", SILENT, None, "the first was joined before the second was created"),
    ("guarded_by_parent", SILENT, None, "the parent holds the guard from create to join"),
    ("inner_trylock", SILENT, None, "who only tries does not wait"),
    ("outer_trylock", REPORTED, XY, "a lock taken by trying is held like any other"),
    ("inner_timedlock", SILENT, None, "who gives up does not wait for ever"),
    ("recursive_relock", SILENT, None, "taking what one holds orders nothing"),
    ("ring_of_three", REPORTED, {"X", "Y", "Z"}, "three threads, three locks"),
    ("ring_of_three_in_two_threads", SILENT, None, "a ring needs as many threads as locks"),
    ("handed_over", SILENT, None, "hand over hand: X and Z are never held together"),
    ("cond_takes_again", REPORTED, XY, "a condition variable takes its mutex again"),
    ("cond_alone", SILENT, None, "with nothing else held"),
    ("write_then_write", REPORTED, RS, "two writers"),
    ("read_then_write", REPORTED, RS, "each reads what the other wants to write"),
    ("write_then_read", REPORTED, RS, "each writes what the other wants to read"),
    ("read_then_read", SILENT, None, "readers that pass waiting writers don't block each other"),
    ("read_then_read_refusing", REPORTED, RS, "readers that a waiting writer holds back do"),
    ("read_then_read_unwritten", SILENT, None, "but not where nobody ever writes"),
    ("address_reused", SILENT, None, "destroyed and initialised: another lock at the same address"),
    ("spinning", REPORTED, {"spin_x", "spin_y"}, "spin locks"),
    ("mutex_and_spin", REPORTED, {"X", "spin_x"}, "a mutex and a spin lock"),
    ("spin_released", SILENT, None, "the spin lock was free again"),
    ("many_threads", REPORTED, XY, "once, however many threads"),
    ("many_instances", REPORTED, None, "once, however many locks"),
    ("errorcheck_kind", REPORTED, XY, "errorcheck mutexes"),
    ("pi_kind", REPORTED, XY, "PI mutexes"),
    ("robust_kind", REPORTED, XY, "robust mutexes"),
    ("unlocked_by_another", SILENT, None, "a mutex unlocked by another thread is not held"),
    ("in_forked_child", REPORTED, XY, "a forked child is followed"),
    ("after_exec", REPORTED, XY, "the next program is followed"),
]


def traced(case, *flags):
    """Runs a case under `holdup run`. Returns the answer and the objects it wrote."""
    path = os.path.join(temporary_directory(), "findings.jsonl")
    answer = run("run", "--json", "-o", path, *flags, "--", os.path.join(WORKLOADS, "orders"), case)
    with open(path, encoding="utf-8") as file:
        return answer, [json.loads(line) for line in file]


def inversions(objects):
    return [one for one in objects if one["type"] == "finding" and one["kind"] == "lock_order_inversion"]


def cycle_of(finding):
    """Names of the locks of a cycle; its guards are listed among the locks, too."""
    names = {lock["id"]: lock["name"] for lock in finding["locks"]}
    return {names[edge["from"]] for edge in finding["edges"]}


def functions(stack):
    return [frame["function"] for frame in stack]


for case_name, case_reported, case_locks, case_why in CASES:
    @test("%s: %s: %s" % (case_name, "reported" if case_reported else "silent", case_why))
    def _(case=case_name, reported=case_reported, locks=case_locks):
        need_bpf()
        answer, objects = traced(case)
        found = inversions(objects)
        lost = {cause: count for cause, count in objects[-1]["lost"].items() if count}
        assert not lost, lost
        assert answer.status == (3 if reported else 0), (answer.status, answer.errors, found)
        assert len(found) == (1 if reported else 0), [one["summary"] for one in found]
        if locks:
            assert cycle_of(found[0]) == locks, found[0]


@test("both orders come with both stacks, down to the thread's body, by name and line")
def _():
    need_bpf()
    finding = inversions(traced("inverted")[1])[0]
    assert finding["certainty"] == "probable", finding["certainty"]
    assert len(finding["edges"]) == 2, finding["edges"]
    for edge in finding["edges"]:
        witness = edge["witnesses"][0]
        for stack in (witness["stack_from"], witness["stack_to"]):
            names = functions(stack)
            assert "take_both" in names and "perform" in names, names
            assert any(name in names for name in ("x_then_y", "y_then_x")), names
            assert any((frame["file"] or "").endswith("orders.c") and frame["line"] for frame in stack), stack
    orders = {tuple(sorted(set(functions(edge["witnesses"][0]["stack_to"])) & {"x_then_y", "y_then_x"}))
              for edge in finding["edges"]}
    assert orders == {("x_then_y",), ("y_then_x",)}, orders


@test("the same fingerprint on two runs")
def _():
    need_bpf()
    prints = {inversions(traced("inverted")[1])[0]["fingerprint"] for _ in range(2)}
    assert len(prints) == 1, prints


@test("--all-orders shows what was silent, with the reason")
def _():
    need_bpf()
    for case in ("guarded", "join_ordered", "single_thread"):
        found = inversions(traced(case, "--all-orders")[1])
        assert len(found) == 1 and found[0]["notes"], (case, found)


@test("a suppression keeps a finding back, and only that one")
def _():
    need_bpf()
    path = os.path.join(temporary_directory(), "known")
    with open(path, "w", encoding="utf-8") as file:
        file.write("# a bug of which somebody knows\nfunction:y_then_*\n")
    assert not inversions(traced("inverted", "--suppressions", path)[1])
    assert inversions(traced("spinning", "--suppressions", path)[1])


@test("run: the command's status, input and output pass through")
def _():
    need_bpf()
    answer = run("run", "--", "/bin/sh", "-c", "echo out; echo err >&2; exit 7")
    assert answer.status == 7 and answer.output == b"out\n" and answer.errors == "err\n", answer.errors
    assert run("run", "--", "/bin/sh", "-c", "kill -TERM $$").status == 128 + signal.SIGTERM
    assert run("run", "--", "/nonexistent/command").status == 127
    assert traced("inverted", "--error-exitcode=42")[0].status == 42


@test("run: a deadlock of the command is reported instead of waited for")
def _():
    need_bpf()
    path = os.path.join(temporary_directory(), "findings.jsonl")
    began = time.monotonic()
    answer = run("run", "--on-deadlock=kill", "--json", "-o", path, "--", os.path.join(WORKLOADS, "abba"))
    assert answer.status == 3 and time.monotonic() - began < 60, answer.errors
    with open(path, encoding="utf-8") as file:
        kinds = [json.loads(line).get("kind") for line in file]
    assert "deadlock" in kinds, kinds


@test("order: a program that does nothing but lock is probed in windows, and its inversion found all the same")
def _():
    need_bpf()
    workload = Workload("orders", "storm")
    answer = run("order", "-p", workload.pid, "-d", "8s", "--json")
    found = inversions(answer.parse().objects)
    assert answer.status == 3 and len(found) == 1 and cycle_of(found[0]) == XY, (answer.status, answer.errors)
    assert any("to stay within the budget of 2 %" in note for note in answer.summary["notes"]), answer.summary
    assert workload.alive()


@test("order: no budget, no windows")
def _():
    need_bpf()
    workload = Workload("orders", "storm")
    answer = run("order", "-p", workload.pid, "-d", "2s", "--json", "--budget=0")
    assert len(inversions(answer.parse().objects)) == 1 and "budget" not in answer.errors, answer.errors


if __name__ == "__main__":
    main()
