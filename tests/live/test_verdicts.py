# SPDX-License-Identifier: GPL-2.0-or-later
"""Every hanging workload, hung before holdup starts, and the verdict that it deserves."""

import os
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from live import (WORKLOADS, Background, Workload, ask, assert_age, assert_in_order, functions_of,  # noqa: E402
                  main, need_bpf, need_root, optional_command, stack_of, test, thread_of)
from verdict import Expect, held_by  # noqa: E402

# Long enough to be seen as stuck with this threshold, short enough for a test.
MIN_WAIT = "--min-wait=200ms"
SETTLE_SECONDS = 0.4

ANONYMOUS = ("probable", "possible")


def abba(lock_type="mutex", certainty="certain", names=("m1", "m2"), functions=("transfer", "worker")):
    """dl-a holds m1 and wants m2; dl-b holds m2 and wants m1."""
    first, second = names
    return Expect(
        "deadlock", certainty,
        cycle={("dl-a", second, "dl-b"), ("dl-b", first, "dl-a")},
        locks={first: (lock_type, "dl-a"), second: (lock_type, "dl-b")} if first != second else {},
        functions={"dl-a": functions, "dl-b": functions})


# What is expected of each, and by which rule (SEMANTICS section 3).
CASES = [
    ("abba", "untimed, stable, both owners named and alive", abba()),
    ("abba recursive", "as above; the kind of mutex does not matter", abba()),
    ("abba errorcheck", "errorcheck refuses only a relock by its own owner", abba()),
    ("abba adaptive", "sleeps once it has spun", abba()),
    ("abba robust", "the word itself names the owner", abba("robust_mutex")),
    ("abba shared", "process-shared in private memory: nobody else can unlock", abba()),
    ("abba-clang", "another compiler", abba()),
    ("abba-fp", "with frame pointers", abba()),
    ("abba-nopie", "fixed addresses", abba()),
    ("abba-static", "libc linked in: the layout is found without a libc.so", abba()),
    ("abba-stripped", "no symbols: locks by address, frames by module",
     abba(names=("mutex", "mutex"), functions=())),
    ("abba-static-stripped", "neither symbols nor a libc.so", abba(names=("mutex", "mutex"), functions=())),
    ("abba-debuglink", "symbols in a separate file beside the program", abba()),
    # Debian's musl has no unwind rows: the way out of it is guessed, and the locks alone make it certain.
    ("abba-musl recursive", "musl keeps the owner of all but normal mutexes", abba()),
    ("hundred_dso", "a stack through a hundred shared objects",
     abba(functions=("transfer", *("hop_%03d" % i for i in range(99, -1, -1)), "worker"))),
    ("philosophers", "a cycle of five", Expect(
        "deadlock", "certain",
        cycle={("phil-0", "forks+0x28", "phil-1"), ("phil-1", "forks+0x50", "phil-2"),
               ("phil-2", "forks+0x78", "phil-3"), ("phil-3", "forks+0xa0", "phil-4"),
               ("phil-4", "forks", "phil-0")},
        locks={"forks": ("mutex", "phil-0"), "forks+0xa0": ("mutex", "phil-4")},
        functions={"phil-%d" % i: ("dine", "philosopher") for i in range(5)})),
    ("self_deadlock normal", "a cycle of one", Expect(
        "deadlock", "certain", cycle={("selfish", "m1", "selfish")}, locks={"m1": ("mutex", "selfish")},
        functions={"selfish": ("audit", "update_account", "selfish")})),
    ("self_deadlock adaptive", "adaptive mutexes self-deadlock, too", Expect(
        "deadlock", "certain", cycle={("selfish", "m1", "selfish")}, locks={"m1": ("mutex", "selfish")},
        functions={"selfish": ("audit", "update_account", "selfish")})),
    ("exited_owner", "locked by a thread that is gone: for ever", Expect(
        "orphaned_lock", "certain", locks={"m1": ("mutex", "leaver")},
        functions={"collector": ("store_result", "collector")})),
    ("fork_orphan", "the owner is a thread of the parent, not of this process", Expect(
        "orphaned_lock", "certain", functions={"child": ("child_logs", "main")}, words=("fork",))),
    ("join_cycle", "a join waits for the thread's own clear_child_tid word", Expect(
        "deadlock", "certain",
        cycle={("join-a", "join", "join-b"), ("join-b", "join", "join-c"), ("join-c", "join", "join-a")},
        functions={"join-%s" % c: ("await_neighbour", "joiner") for c in "abc"})),
    ("mutex_join", "one edge is a mutex, one a join", Expect(
        "deadlock", "certain", cycle={("closer", "join", "flusher"), ("flusher", "m1", "closer")},
        locks={"m1": ("mutex", "closer"), "join": ("join", "flusher")},
        functions={"closer": ("shut_down", "main"), "flusher": ("flush_buffers", "flusher")})),
    ("rwlock writers", "writers are named by cur_writer", Expect(
        "deadlock", "certain", cycle={("rw-a", "r2", "rw-b"), ("rw-b", "r1", "rw-a")},
        locks={"r1": ("rwlock", "rw-a"), "r2": ("rwlock", "rw-b")},
        functions={"rw-a": ("swap_tables", "swapper"), "rw-b": ("swap_tables", "swapper")})),
    ("rwlock reader", "reader -> writer -> mutex: all owners are named", Expect(
        "deadlock", "certain", cycle={("rw-reader", "r1", "rw-writer"), ("rw-writer", "m1", "rw-reader")},
        locks={"r1": ("rwlock", "rw-writer"), "m1": ("mutex", "rw-reader")},
        functions={"rw-reader": ("lock_then_read", "reader"), "rw-writer": ("write_then_lock", "writer")})),
    ("rwlock readers", "each writer waits for a reader, and readers are anonymous", Expect(
        "deadlock", ANONYMOUS, locks={"r1": ("rwlock", None), "r2": ("rwlock", None)},
        functions={"rw-a": ("swap_tables", "swapper"), "rw-b": ("swap_tables", "swapper")})),
    ("rwlock upgrade", "that the one reader is the waiter itself cannot be read anywhere", Expect(
        "deadlock", ANONYMOUS, locks={"r1": ("rwlock", None)},
        functions={"upgrader": ("lookup_or_insert", "upgrader")})),
    ("rwlock kind2", "story 3: all edges but the anonymous reader are named; the pending writer refuses cache-2",
     Expect("deadlock", ANONYMOUS,
            locks={"cache_lock": ("rwlock", "cache-2"), "pool_lock": ("rwlock", None)},
            functions={"reader-1": ("accept_block", "reader_1"), "cache-2": ("trim_cache", "cache_2"),
                       "writer-3": ("add_transaction", "writer_3")})),
    ("semaphore_cycle", "nobody is left who could post: all threads sleep, untimed", Expect(
        "process_stall", ("certain", "probable"), locks={"s1": ("sem", None), "s2": ("sem", None)},
        functions={"sem-a": ("exchange_token", "partner"), "sem-b": ("exchange_token", "partner"),
                   "sem-main": ("main",)})),
    ("lost_wakeup", "nobody is left who could signal", Expect(
        "process_stall", ("certain", "probable"), locks={"work_arrived": ("cond", None)},
        functions={"consumer": ("await_work", "consumer"), "producer": ("main",)})),
    ("running_holder", "the owner runs: no deadlock, a stalled waiter", Expect(
        "stalled_waiter", ("certain", "probable"), locks={"m1": ("mutex", "spinner")},
        functions={"querier": ("query_index", "querier")}, root="spinner")),
    ("io_holder pipe", "the root blocker reads from a pipe", Expect(
        "stalled_waiter", ("certain", "probable"), locks={"m1": ("mutex", "io-holder")},
        functions={"io-holder": ("read_request", "holder"), "queue-1": ("handle_client", "queued")},
        root="io-holder", words=("pipe",))),
    ("io_holder unix", "the root blocker reads from a socket", Expect(
        "stalled_waiter", ("certain", "probable"), locks={"m1": ("mutex", "io-holder")},
        functions={"io-holder": ("read_request", "holder"), "queue-1": ("handle_client", "queued")},
        root="io-holder", words=("unix",))),
    ("chain normal", "ten in a row; the first one is the finding", Expect(
        "stalled_waiter", ("certain", "probable"), locks={"m": ("mutex", "chain-01")},
        functions={"chain-01": ("hold_and_sleep", "link_of_chain"),
                   "chain-02": ("wait_for_previous", "link_of_chain")}, root="chain-01")),
    ("chain pi", "PI mutexes keep their owner in the word; a sleeping root is no deadlock", Expect(
        "stalled_waiter", ("certain", "probable"), locks={"m": ("pi_mutex", "chain-01")},
        functions={"chain-01": ("hold_and_sleep", "link_of_chain"),
                   "chain-02": ("wait_for_previous", "link_of_chain")}, root="chain-01")),
    ("burner", "a wait begins at the block, not when the thread last got a CPU", Expect(
        "deadlock", "certain", cycle={("burner", "m2", "sleeper"), ("sleeper", "m1", "burner")},
        functions={"burner": ("burner",), "sleeper": ("sleeper",)})),
    ("bank", "story 2, hung: std::mutex, deep inside a call", Expect(
        "deadlock", "certain", cycle={("thread-2", "Y", "thread-3"), ("thread-3", "X", "thread-2")},
        locks={"X": ("mutex", "thread-2"), "Y": ("mutex", "thread-3")},
        functions={"thread-2": ("bank::Journal::append", "bank::Account::validate", "bank::Account::deposit"),
                   "thread-3": ("bank::Account::read_balance", "bank::Account::report")})),
]


def diagnose(command, *flags):
    """Starts the workload, waits until it counts as stuck, and asks why."""
    workload = Workload(*command.split())
    time.sleep(SETTLE_SECONDS)
    return workload, ask("why", workload.pid, MIN_WAIT, *flags)


for case_command, case_why, case_expect in CASES:
    @test("%s: %s" % (case_command, case_why))
    def _(command=case_command, expect=case_expect):
        need_bpf()
        workload, answer = diagnose(command)
        expect.check(workload, answer.finding)
        said = {thread["tid"] for thread in answer.process["threads"]}
        said |= {tid for thread in answer.process["threads"] for tid in thread.get("same_tids", [])}
        assert said == set(workload.comms()), "why did not list every thread: %s" % said


@test("abba: the held locks are told, too")
def _():
    need_bpf()
    workload, answer = diagnose("abba")
    assert held_by(workload, answer.finding, "dl-a") == ["m1"]
    assert held_by(workload, answer.finding, "dl-b") == ["m2"]


@test("abba pi: the kernel refuses the second, who then sleeps on a word of his own stack: still a deadlock")
def _():
    need_bpf()
    workload, answer = diagnose("abba pi")
    finding = answer.finding
    assert finding["kind"] == "deadlock", finding["summary"]
    assert finding["certainty"] in ("certain", "probable"), finding
    members = {workload.label(step["tid"]) for step in finding["cycle"]}
    assert members == {"dl-a", "dl-b"}, members
    assert {"pi_mutex"} <= {lock["type"] for lock in finding["locks"]}, finding["locks"]
    for label in ("dl-a", "dl-b"):
        thread = thread_of(finding, workload.tid(label))
        assert_in_order(("transfer", "worker"), functions_of(finding, thread), label)


@test("chain: one finding for the root, none for those who queue behind it; every link is told")
def _():
    need_bpf()
    workload, answer = diagnose("chain normal")
    finding = answer.finding
    waiters = {workload.label(thread["tid"]) for thread in finding["threads"] if thread["waits_for"]}
    assert waiters == {"chain-%02d" % i for i in range(2, 11)}, waiters


@test("io_holder tcp: descriptor, local and peer address of the socket that the owner reads")
def _():
    need_bpf()
    workload, answer = diagnose("io_holder tcp")
    expect = Expect("stalled_waiter", ("certain", "probable"), locks={"m1": ("mutex", "io-holder")},
                    functions={"io-holder": ("read_request", "holder")}, root="io-holder",
                    words=("tcp", workload.fact("local"), workload.fact("peer")))
    expect.check(workload, answer.finding)


@test("stopped_holder: the owner, another process, is stopped")
def _():
    need_bpf()
    workload, answer = diagnose("stopped_holder")
    finding = answer.finding
    assert finding["kind"] == "stalled_waiter" and "stopped" in finding["summary"], finding
    lock = finding["locks"][0]
    assert (lock["type"], lock["owner_tid"]) == ("mutex", int(workload.fact("holder"))), lock
    holder = thread_of(finding, lock["owner_tid"])
    assert holder["state"] == "stopped", holder
    # Its registers hold still as those of a sleeper do.
    assert_in_order(("raise", "main"), functions_of(finding, holder), "holder")
    assert not holder["stack_incomplete"], holder
    waiter = thread_of(finding, workload.pid)
    assert_in_order(("append_record", "main"), functions_of(finding, waiter), "appender")
    assert_age(workload, finding, "appender")


@test("musl: a normal mutex names no owner, so the cycle is never certain, and never missed")
def _():
    need_bpf()
    for command in ("abba-musl", "abba-musl-static"):
        workload, answer = diagnose(command)
        finding = answer.findings[0]
        Expect(("deadlock", "process_stall", "stalled_waiter"), ANONYMOUS,
               functions={label: ("transfer", "worker") for label in ("dl-a", "dl-b")}).check(workload, finding)
        for label in ("dl-a", "dl-b"):
            thread = thread_of(finding, workload.tid(label))
            stack = stack_of(finding, thread)
            assert [frame["guessed"] for frame in stack] == [False] + [True] * (len(stack) - 1), stack
            assert not thread["stack_incomplete"], thread


@test("rust: std::sync::Mutex names no owner, so the cycle is never certain, and never missed")
def _():
    need_bpf()
    optional_command("rustc")
    workload, answer = diagnose("abba_rust")
    Expect(("deadlock", "process_stall", "stalled_waiter"), ANONYMOUS,
           functions={"rs-a": ("abba_rust::transfer",)}).check(workload, answer.findings[0])


@test("pool of 1,000: one finding, one paragraph")
def _():
    need_bpf()
    workload, answer = diagnose("pool 1000")
    finding = answer.finding
    Expect("stalled_waiter", ("certain", "probable"), locks={"m1": ("mutex", "owner")}, root="owner",
           functions={"owner": ("workload_stay", "main")}, aged=()).check(workload, finding)
    waiters = [thread for thread in finding["threads"] if thread["waits_for"]]
    assert len(waiters) == 32 and finding["more_threads"] == 1000 - 32, (len(waiters), finding["more_threads"])
    assert finding["locks"][0]["waiters"] == 1000, finding["locks"]
    assert_in_order(("handle_request", "pool_worker"), functions_of(finding, waiters[0]), "pool")
    assert all(thread.get("same_as") == waiters[0]["tid"] for thread in waiters[1:])
    assert waiters[0]["same_count"] == 32, waiters[0]["same_count"]
    groups = [thread["same_count"] for thread in answer.process["threads"] if thread.get("same_count", 1) > 1]
    assert groups == [1000], groups


@test("the same bug has the same fingerprint in another run, at other addresses; another bug has another")
def _():
    need_bpf()
    _, first = diagnose("abba")
    _, second = diagnose("abba")
    _, other = diagnose("philosophers")
    assert first.finding["fingerprint"] == second.finding["fingerprint"]
    assert first.finding["locks"][0]["address"] != second.finding["locks"][0]["address"], "no ASLR?"
    assert first.finding["fingerprint"] != other.finding["fingerprint"]


@test("scan finds it among all processes of the machine; scan -p among the chosen ones")
def _():
    need_bpf()
    workload = Workload("abba")
    other = Workload("philosophers")
    time.sleep(SETTLE_SECONDS)
    answer = ask("scan", MIN_WAIT)
    pids = [finding["process"]["pid"] for finding in answer.findings]
    assert workload.pid in pids and other.pid in pids, pids
    chosen = ask("scan", MIN_WAIT, "-p", workload.pid)
    abba().check(workload, chosen.finding)


def only(*commands):
    """Targets: these workloads of this build, whoever else runs theirs on this machine."""
    return ["--exe=" + os.path.join(WORKLOADS, command) for command in commands]


@test("watch prints a finding once when it appears, with a hang that begins while it watches")
def _():
    need_bpf()
    early = Workload("abba")
    watch = Background("watch", MIN_WAIT, "-d", "6s", *only("abba", "philosophers"))
    time.sleep(1.5)
    late = Workload("philosophers")
    answer = watch.finish()
    by_pid = {}
    for finding in answer.findings:
        by_pid.setdefault(finding["process"]["pid"], []).append(finding["kind"])
    assert by_pid.get(early.pid) == ["deadlock"], by_pid
    assert by_pid.get(late.pid) == ["deadlock"], by_pid


for case_command in ("abba", "philosophers", "exited_owner", "join_cycle", "rwlock writers"):
    @test("%s: /proc alone gives the same verdict" % case_command)
    def _(command=case_command):
        need_root()
        workload, answer = diagnose(command, "--source=procfs")
        expect = next(expect for name, _, expect in CASES if name == command)
        # /proc has no saved registers (so stacks may end early) and no time of the last switch-in.
        bare = Expect(expect.kinds, expect.certainties, expect.cycle, expect.locks, aged=())
        bare.check(workload, answer.finding)


@test("/proc alone: a wait that was seen for a moment only is no finding, and the all-clear says so; watch decides")
def _():
    need_root()
    workload = Workload("running_holder")
    answer = ask("why", workload.pid, "--source=procfs")
    assert not answer.findings, [item["summary"] for item in answer.findings]
    assert any("holdup watch -p %d" % workload.pid in note for note in answer.process["notes"]), answer.process
    watch = ask("watch", "-p", workload.pid, "--source=procfs", "-d", "4s")
    assert "stalled_waiter" in {item["kind"] for item in watch.findings}, watch.findings


main()
