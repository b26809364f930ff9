# SPDX-License-Identifier: GPL-2.0-or-later
"""Hostile programs: names that command terminals, memory and stacks that lead nowhere, crowds."""

import os
import re
import shutil
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from live import (HOLDUP, WORKLOADS, Workload, ask, assert_in_order, assert_silent, at_end,  # noqa: E402
                  functions_of, main, need_bpf, need_device, need_root, run, stack_of, temporary_directory, test,
                  thread_of, wait_until)

# C0 without the line end, DEL, and C1 as UTF-8 or as a raw byte.
CONTROL = re.compile(rb"[\x00-\x09\x0b-\x1f\x7f]|\xc2[\x80-\x9f]")
# What holdup itself may send to colour its text.
COLOUR = re.compile(rb"\x1b\[[0-9;]*m")


def assert_clean(output, colours=False):
    text = COLOUR.sub(b"", output) if colours else output
    found = CONTROL.search(text)
    assert not found, "control character at byte %d: %r" % (found.start(), text[found.start() - 40:found.end() + 40])
    output.decode("utf-8")


def rogue():
    """AB-BA whose process, threads, lock, function, executable and directory all have such names."""
    directory = os.path.join(temporary_directory(), "d\033[31m\n\u202e")
    os.mkdir(directory)
    program = os.path.join(directory, "r\033]0;pwn\a\xff")
    shutil.copy(os.path.join(WORKLOADS, "rogue_names"), program)
    workload = Workload("rogue_names", path=program)
    time.sleep(0.3)
    return workload


@test("no control character of any name reaches the terminal: why, scan and watch, text and JSON")
def _():
    need_bpf()
    workload = rogue()
    for verb in (("why", workload.pid), ("scan", "-p", workload.pid),
                 ("watch", "-p", workload.pid, "-d", "1500ms")):
        for format_flags in ((), ("--json",), ("--color=always",), ("-v", "--color=never")):
            answer = run(*verb, *format_flags, "--min-wait=200ms")
            assert answer.status == 3, (answer.status, answer.errors)
            assert_clean(answer.output, colours="--color=always" in format_flags)
            assert_clean(answer.errors.encode("utf-8"))


@test("hostile names arrive whole, as escaped text: nothing is dropped silently, no line is forged")
def _():
    need_bpf()
    workload = rogue()
    answer = ask("why", workload.pid, "--min-wait=200ms")
    finding = answer.finding
    assert finding["kind"] == "deadlock" and finding["certainty"] == "certain", finding
    comms = {thread["comm"] for thread in finding["threads"]}
    assert any("[2J" in comm for comm in comms), comms
    assert any('{"v":1}' in comm for comm in comms), comms
    # The line end in the other thread's name ends no line of text.
    text = run("why", workload.pid, "--min-wait=200ms").output.decode()
    assert not any(line.startswith('{"v":1}') for line in text.splitlines()), text


@test("errors repeat hostile arguments without their control characters")
def _():
    for arguments in (("\033[2Jwhy",), ("why", "\033[2J"), ("scan", "--\033[2J"), ("watch", "--min-wait=\033[2J")):
        answer = run(*arguments)
        assert answer.status == 2, (arguments, answer.status)
        assert_clean(answer.errors.encode("utf-8"))


@test("a futex word in an unmapped page: the wait is told, the word is counted as unreadable")
def _():
    need_bpf()
    workload = Workload("unmapped_futex")
    time.sleep(0.3)
    answer = ask("why", workload.pid, "--min-wait=200ms")
    assert all(finding["kind"] != "deadlock" for finding in answer.findings), answer.findings
    thread = thread_of(answer.process, workload.tid("ghost"))
    assert thread["waits_for"] and thread["syscall"] == "futex", thread
    lock = next(lock for lock in answer.process["locks"] if lock["id"] == thread["waits_for"]["lock"])
    assert int(lock["address"], 16) == int(workload.fact("word"), 16), lock
    assert lock["type"] == "futex" and lock["owner_tid"] is None, lock
    assert answer.summary["lost"]["unreadable_words"] > 0, answer.summary["lost"]


for stack_form, stack_what in (("nowhere", "unmapped memory"), ("edge", "the end of a page"), ("loop", "itself")):
    @test("a stack pointer to %s: the wait and its owner are told, the stack ends with a reason" % stack_what)
    def _(form=stack_form):
        need_bpf()
        workload = Workload("wild_stack", form)
        time.sleep(0.3)
        answer = ask("why", workload.pid, "--min-wait=200ms", timeout=20)
        finding = answer.finding
        assert finding["kind"] == "stalled_waiter", finding["summary"]
        thread = thread_of(finding, workload.tid("strayed"))
        stack = stack_of(finding, thread)
        assert stack and stack[0]["function"] in ("futex_on_stack", "strayed"), stack
        assert len(stack) <= 256, len(stack)
        assert thread["stack_incomplete"], thread
        owner = thread_of(finding, workload.tid("holder"))
        assert owner and stack_of(finding, owner), finding["threads"]
        # One for the one stack that ended early, however often it was tried.
        assert answer.summary["lost"]["unwind_incomplete"] == 1, answer.summary["lost"]


# Not a measure of speed: what reads a locked address space waits for ever.
PROMPT_SECONDS = 10
SOURCES = ("--source=bpf", "--source=procfs")


def is_blocked(tid):
    with open("/proc/%d/stat" % tid, encoding="utf-8", errors="replace") as stat:
        return stat.read().rsplit(")", 1)[1].split()[0] == "D"


for locked_source in SOURCES:
    @test("an address space that is locked (%s): why and scan return, and say that the verdict is open" %
          locked_source)
    def _(source=locked_source):
        need_bpf()
        need_device("/dev/fuse")
        workload = Workload("locked_memory")
        unmapper = workload.tid("unmapper")
        wait_until(lambda: is_blocked(unmapper), 30, "munmap() waits for the lock")
        answer = ask("why", workload.pid, source, "--min-wait=200ms", timeout=PROMPT_SECONDS)
        # What can't be read is no ground for a verdict, nor for an all-clear.
        assert_silent(answer)
        notes = " ".join(answer.process["notes"])
        assert "address space is locked" in notes and "open" in notes, notes
        assert "unmapper (%d) in munmap" % unmapper in notes, notes
        assert answer.process["verdict"].startswith("undecided"), answer.process["verdict"]
        assert answer.summary["lost"]["unreadable_words"] > 0, answer.summary["lost"]
        for label in ("dl-a", "dl-b"):
            thread = thread_of(answer.process, workload.tid(label))
            assert thread["waits_for"] and thread["syscall"] == "futex", thread
        text = run("why", workload.pid, source, timeout=PROMPT_SECONDS).output.decode()
        assert "undecided" in text and "unmapper (%d)" % unmapper in text, text
        for targets in (("-p", workload.pid), ()):
            scan = ask("scan", source, *targets, timeout=PROMPT_SECONDS)
            wrong = [item["summary"] for item in scan.findings if item["process"]["pid"] == workload.pid]
            assert not wrong, wrong
        watch = ask("watch", "-p", workload.pid, source, "--count=20", "--interval=20ms", timeout=2 * PROMPT_SECONDS)
        assert_silent(watch)
        assert watch.summary["scans"] == 20, watch.summary

    @test("a futex word on a page whose faults nobody answers (%s): told, and counted as unreadable" % locked_source)
    def _(source=locked_source):
        need_bpf()
        workload = Workload("uffd_word")
        for verb in (("why", workload.pid), ("scan", "-p", workload.pid)):
            answer = ask(*verb, source, timeout=PROMPT_SECONDS)
            assert_silent(answer)
            assert answer.summary["lost"]["unreadable_words"] > 0, answer.summary["lost"]
        process = ask("why", workload.pid, source, timeout=PROMPT_SECONDS).process
        assert thread_of(process, workload.tid("trap-waiter"))["waits_for"], process["threads"]
        # Its address space as such is free.
        assert not any("locked" in note for note in process["notes"]), process["notes"]


@test("10,000 threads behind one mutex: one finding, and one stack for all of them")
def _():
    need_bpf()
    count = 10000
    workload = Workload("pool", str(count))
    for verb in (("scan", "-p", workload.pid), ("why", workload.pid)):
        answer = ask(*verb, "--min-wait=200ms")
        finding = answer.finding
        assert finding["kind"] == "stalled_waiter", finding["summary"]
        lock = finding["locks"][0]
        assert (lock["name"], lock["waiters"], lock["owner_tid"]) == ("m1", count, workload.pid), lock
        # The root and the first 32 of the queue; the others are a number.
        assert len(finding["threads"]) == 33 and finding["more_threads"] == count - 32, finding["more_threads"]
        victims = [thread for thread in finding["threads"] if thread["tid"] != workload.pid]
        first = [thread for thread in victims if not thread["same_as"]]
        assert len(first) == 1 and first[0]["same_count"] == 32, [thread["tid"] for thread in first]
        assert_in_order(("pthread_mutex_lock", "handle_request", "pool_worker"), functions_of(finding, first[0]),
                        "a waiter")
        assert answer.summary["threads"] == count + 1, answer.summary
    # `why` shows them all, as one group.
    groups = [thread for thread in answer.process["threads"] if not thread.get("same_as")]
    assert sum(thread.get("same_count", 1) for thread in groups) == count + 1, len(groups)
    assert len(groups) <= 3, [thread["tid"] for thread in groups]
    text = run("why", workload.pid, "--min-wait=200ms").output.decode()
    assert len(text.splitlines()) < 120, len(text.splitlines())


@test("32,000 threads behind one mutex")
def _():
    need_bpf()
    with open("/proc/sys/kernel/pid_max", encoding="ascii") as pid_max:
        room = int(pid_max.read()) - len(os.listdir("/proc")) - 300
    count = min(32000, room)
    assert count > 31000, "the kernel has no room for so many threads: raise kernel.pid_max"
    workload = Workload("pool", str(count))
    for verb in (("why", workload.pid), ("scan", "-p", workload.pid)):
        answer = ask(*verb, "--min-wait=200ms")
        finding = answer.finding
        assert finding["kind"] == "stalled_waiter", finding["summary"]
        assert finding["locks"][0]["waiters"] == count, finding["locks"][0]
        assert finding["more_threads"] == count - 32, finding["more_threads"]
        assert answer.summary["threads"] >= count, answer.summary
        assert answer.summary["lost"]["ring_full"] == 0, answer.summary["lost"]
        # The bound of DESIGN.md.
        assert answer.summary["self"]["rss_kb"] < 256 * 1024, answer.summary["self"]


def write_garbage_map(pid):
    """A perf map with what a hostile program would put there."""
    path = "/tmp/perf-%d.map" % pid
    lines = [b"ffffffffffffffff ffffffffffffffff overflow", b"0 ffffffffffffffff \033[2Jeverything",
             b"zz zz zz", b"10 20", b"7f0000000000 1000 " + b"A" * 100000, os.urandom(4096)]
    with open(path, "wb") as file:
        file.write(b"\n".join(lines * 20))
    at_end(os.unlink, path)


@test("a perf map full of garbage changes no verdict and no named frame")
def _():
    need_bpf()
    workload = Workload("abba")
    write_garbage_map(workload.pid)
    time.sleep(0.3)
    answer = run("why", workload.pid, "--min-wait=200ms", "--json").parse()
    assert_clean(answer.output)
    finding = answer.finding
    assert (finding["kind"], finding["certainty"]) == ("deadlock", "certain"), finding
    for label in ("dl-a", "dl-b"):
        names = [frame["function"] for frame in stack_of(finding, thread_of(finding, workload.tid(label)))]
        assert "transfer" in names and "worker" in names, names


@test("a perf map that is a pipe, a link to a secret, or another user's is not read")
def _():
    need_bpf()
    for make in (os.mkfifo, lambda path: os.symlink("/etc/shadow", path)):
        workload = Workload("abba")
        path = "/tmp/perf-%d.map" % workload.pid
        make(path)
        at_end(os.unlink, path)
        time.sleep(0.3)
        answer = ask("why", workload.pid, "--min-wait=200ms", timeout=20)
        assert answer.finding["kind"] == "deadlock", answer.finding


@test("holdup survives readers that go away and disks that are full")
def _():
    need_root()
    workload = Workload("abba")
    time.sleep(0.3)
    with open("/dev/full", "wb") as full:
        done = subprocess.run([HOLDUP, "why", str(workload.pid)], stdout=full,
                              stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1 and b"No space left" in done.stderr, (done.returncode, done.stderr)


main()
