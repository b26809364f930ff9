# SPDX-License-Identifier: GPL-2.0-or-later
"""The command line on real files, terminals and signals: where output goes, and what happens when it can't."""

import errno
import json
import os
import pty
import re
import select
import signal
import subprocess
import sys
import time

sys.path.insert(0, os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", "harness"))

from live import (HOLDUP, Skip, Workload, at_end, main, need_bpf, need_command, need_root, public_copy,  # noqa: E402
                  run, test, wait_until)

MIN_WAIT = "--min-wait=200ms"


def read_all(descriptor, process):
    """What arrives at a terminal until the process ends."""
    output = b""
    while True:
        ready, _, _ = select.select([descriptor], [], [], 0.1)
        if ready:
            try:
                block = os.read(descriptor, 65536)
            except OSError as error:
                if error.errno != errno.EIO:
                    raise
                block = b""
            if not block:
                return output
            output += block
        elif process.poll() is not None:
            return output


def run_on_terminal(*arguments, terminal_output=True, environment=None):
    """Runs holdup with stderr, and stdout if asked for, on a terminal: (status, stdout, terminal)."""
    try:
        controller, terminal = pty.openpty()
    except OSError as error:
        raise Skip("optional: no terminal to be had here (no devpts in a chroot?): %s" % error) from error
    at_end(os.close, controller)
    process = subprocess.Popen([HOLDUP, *[str(argument) for argument in arguments]], stdin=subprocess.DEVNULL,
                               stdout=terminal if terminal_output else subprocess.PIPE, stderr=terminal,
                               env={**os.environ, "TERM": "xterm", **(environment or {})})
    os.close(terminal)
    shown = read_all(controller, process)
    output = b"" if terminal_output else process.stdout.read()
    if not terminal_output:
        process.stdout.close()
    return process.wait(), output, shown


def start_watch(*arguments):
    """A watch in a process group of its own, with a terminal nowhere."""
    watch = subprocess.Popen([HOLDUP, "watch", *arguments], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.PIPE, bufsize=0, start_new_session=True)
    at_end(watch.wait)
    at_end(watch.kill)
    return watch


def next_line(process, seconds=60):
    line = b""
    deadline = time.monotonic() + seconds
    while not line.endswith(b"\n"):
        ready, _, _ = select.select([process.stdout], [], [], max(0, deadline - time.monotonic()))
        assert ready, "no line within %g s, only %r" % (seconds, line)
        byte = process.stdout.read(1)
        assert byte, "ended after %r: %r" % (line, process.stderr.read())
        line += byte
    return line


def hung():
    """A deadlock that is older than MIN_WAIT."""
    workload = Workload("abba")
    time.sleep(0.4)
    return workload


@test("a disk without room: exit 1, said on stderr, in every verb and format")
def _():
    need_root()
    pid = str(hung().pid)
    for arguments in (("why", pid), ("scan", "-p", pid), ("watch", "-p", pid, "--count=1"), ("help",), ("version",)):
        for flags in ((), ("--json",)) if arguments[0] not in ("help", "version") else ((),):
            with open("/dev/full", "wb") as full:
                done = subprocess.run([HOLDUP, *arguments, *flags], stdout=full, stderr=subprocess.PIPE, timeout=60,
                                      check=False)
            errors = done.stderr.decode()
            assert done.returncode == 1, (arguments, flags, done.returncode, errors)
            assert "cannot write to stdout: No space left on device" in errors, (arguments, errors)


@test("stdout closed: exit 1, said on stderr")
def _():
    done = subprocess.run(["sh", "-c", '"$0" version >&-', HOLDUP], stderr=subprocess.PIPE, timeout=60, check=False)
    assert done.returncode == 1 and b"cannot write to stdout" in done.stderr, (done.returncode, done.stderr)


@test("a reader that goes away ends holdup quietly")
def _():
    need_root()
    pid = str(hung().pid)
    for arguments in (("why", pid), ("watch", "-p", pid, "--interval=50ms")):
        reader, writer = os.pipe()
        process = subprocess.Popen([HOLDUP, *arguments, MIN_WAIT], stdout=writer, stderr=subprocess.PIPE)
        os.close(writer)
        os.close(reader)
        _, errors = process.communicate(timeout=60)
        assert process.returncode == 3, (arguments, process.returncode, errors)
        assert errors == b"", (arguments, errors)


@test("stdout with --json has nothing but objects, whatever stderr says")
def _():
    need_root()
    answer = run("why", hung().pid, "--json", "--source=procfs", "-v", MIN_WAIT)
    types = [json.loads(line)["type"] for line in answer.output.decode().splitlines()]
    assert types == ["process", "finding", "summary"], types
    assert "/proc" in answer.errors, "the reduced service is told: %r" % answer.errors
    assert any("/proc" in note for note in answer.parse().summary["notes"]), answer.summary


@test("no BPF: goes on with /proc by itself, says why, and which capabilities are missing")
def _():
    need_root()
    need_command("setpriv")
    workload = hung()
    drop = ("setpriv", "--bounding-set=-bpf,-perfmon,-sys_admin", "--inh-caps=-bpf,-perfmon,-sys_admin")
    answer = run("why", workload.pid, "--json", MIN_WAIT, wrap=drop, binary=public_copy(HOLDUP))
    for text in ("CAP_BPF and CAP_PERFMON are missing", "Reading /proc instead"):
        assert text in answer.errors, answer.errors
    answer.parse()
    assert answer.summary["self"]["source"] == "procfs", answer.summary
    assert answer.finding["kind"] == "deadlock", answer.finding
    forced = run("why", workload.pid, "--source=bpf", wrap=drop, binary=public_copy(HOLDUP))
    assert forced.status == 1 and "CAP_BPF and CAP_PERFMON are missing" in forced.errors, forced.errors
    assert "--source=procfs" in forced.errors, forced.errors
    drop = ("setpriv", "--bounding-set=-perfmon,-sys_admin", "--inh-caps=-perfmon,-sys_admin")
    answer = run("scan", wrap=drop, binary=public_copy(HOLDUP))
    assert "CAP_PERFMON is missing" in answer.errors and "CAP_BPF is" not in answer.errors, answer.errors


@test("a process that may not be read: exit 1, and CAP_SYS_PTRACE by name")
def _():
    need_root()
    need_command("setpriv")
    drop = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", "--bounding-set=-all")
    answer = run("why", 1, wrap=drop, binary=public_copy(HOLDUP))
    assert answer.status == 1, (answer.status, answer.errors)
    assert "not permitted to look into process 1" in answer.errors, answer.errors
    assert "CAP_SYS_PTRACE is missing; run holdup as root" in answer.errors, answer.errors
    assert answer.output == b"", answer.output


@test("a kernel thread, a zombie, holdup itself: exit 1, and told as such")
def _():
    need_root()
    if "kthreadd" in open("/proc/2/comm", encoding="utf-8").read():
        answer = run("why", 2)
        assert answer.status == 1 and "pid 2 (kthreadd) is a kernel thread" in answer.errors, answer.errors
    zombie = subprocess.Popen(["true"])
    at_end(zombie.wait)
    wait_until(lambda: ") Z " in open("/proc/%d/stat" % zombie.pid, encoding="utf-8").read(), 60, "a zombie")
    answer = run("why", zombie.pid)
    assert answer.status == 1 and "has ended" in answer.errors, (answer.status, answer.errors)
    done = subprocess.run(["sh", "-c", 'exec "$0" why $$', HOLDUP], stderr=subprocess.PIPE, stdout=subprocess.PIPE,
                          timeout=60, check=False)
    assert done.returncode == 1 and b"is holdup itself" in done.stderr, (done.returncode, done.stderr)


@test("a thread's id: its process is diagnosed, and told")
def _():
    need_root()
    workload = hung()
    tid = workload.tid("dl-b")
    answer = run("why", tid, "--json", MIN_WAIT)
    assert "%d is a thread of process %d" % (tid, workload.pid) in answer.errors, answer.errors
    assert answer.parse().finding["process"]["pid"] == workload.pid
    chosen = run("scan", "-p", "%d,%d" % (tid, workload.pid), "--json", MIN_WAIT).parse()
    assert len(chosen.findings) == 1, [finding["summary"] for finding in chosen.findings]


@test("colours: on a terminal, not in a pipe, not with NO_COLOR or a dumb terminal, unless told")
def _():
    need_root()
    pid = hung().pid
    cases = [
        ((), {}, True),
        (("--color=never",), {}, False),
        ((), {"NO_COLOR": "1"}, False),
        (("--color=always",), {"NO_COLOR": "1"}, True),
        ((), {"TERM": "dumb"}, False),
    ]
    for flags, environment, colored in cases:
        status, _, shown = run_on_terminal("why", pid, MIN_WAIT, *flags, environment=environment)
        assert status == 3, (status, shown)
        assert (b"\033[1;31mDEADLOCK\033[0m" in shown) == colored, (flags, environment, shown)
        assert b"DEADLOCK" in shown, shown
    assert b"\033" not in run("why", pid, MIN_WAIT).output
    assert b"\033[1;31m" in run("why", pid, MIN_WAIT, "--color=always").output


@test("watch: one heartbeat line on a terminal's stderr, none elsewhere; stdout stays clean")
def _():
    need_root()
    pid = hung().pid
    status, output, shown = run_on_terminal("watch", "-p", pid, "--json", "--count=5", "--interval=20ms", MIN_WAIT,
                                            terminal_output=False)
    assert status == 3, (status, shown)
    assert [json.loads(line)["type"] for line in output.decode().splitlines()] == ["finding", "summary"], output
    assert b"\n" not in shown and shown.endswith(b"\r\033[K"), shown
    beats = re.findall(rb"\r\033\[K(\d+) scans? ", shown)
    assert beats == [b"1", b"2", b"3", b"4", b"5"], shown
    assert run("watch", "-p", pid, "--count=2", "--interval=20ms", MIN_WAIT).errors == ""


@test("watch: a finding is told once, and once more when it is gone")
def _():
    need_root()
    workload = hung()
    bystander = Workload("idle_pool", "epoll")
    watch = start_watch("--json", "-p", "%d,%d" % (workload.pid, bystander.pid), "--interval=50ms", MIN_WAIT)
    finding = json.loads(next_line(watch))
    assert finding["type"] == "finding" and finding["kind"] == "deadlock", finding
    time.sleep(1)  # many scans, and not a word
    workload.stop()
    resolved = json.loads(next_line(watch))
    assert resolved["type"] == "resolved", resolved
    assert resolved["fingerprint"] == finding["fingerprint"], resolved
    assert resolved["process"]["pid"] == workload.pid and resolved["process_gone"] is True, resolved
    assert resolved["open_ns"] >= 10**9, resolved
    # With its last process the watch ends by itself.
    bystander.stop()
    output, errors = watch.communicate(timeout=60)
    assert watch.returncode == 3, (watch.returncode, errors)
    lines = output.splitlines()
    assert len(lines) == 1 and json.loads(lines[0])["type"] == "summary", output


@test("watch: --count scans and ends; --interval 0 doesn't rest")
def _():
    need_root()
    workload = Workload("idle_pool", "epoll")
    answer = run("watch", "-p", workload.pid, "--interval=0", "--count=300", "--json").parse()
    assert answer.summary["scans"] == 300, answer.summary
    assert not answer.findings, answer.findings


@test("watch: Ctrl-C reaches the symbolizer too, and the totals still come")
def _():
    need_root()
    workload = hung()
    watch = start_watch("-p", str(workload.pid), "--interval=50ms", MIN_WAIT)
    assert next_line(watch).startswith(b"DEADLOCK (certain)"), "the finding, as text"
    os.killpg(watch.pid, signal.SIGINT)
    output, errors = watch.communicate(timeout=60)
    assert watch.returncode == 3 and not errors, (watch.returncode, errors)
    assert re.match(rb"1 finding in (\d+ scans of )?1 process, 3 threads ", output.splitlines()[-1]), output


@test("targets: by name, file, cgroup; a scan that matches nothing says so")
def _():
    need_root()
    workload = hung()
    with open("/proc/%d/cgroup" % workload.pid, encoding="utf-8") as file:
        cgroup = [line.rstrip("\n").split(":", 2)[2] for line in file if line.startswith("0::")]
    exe = os.readlink("/proc/%d/exe" % workload.pid)
    comm = open("/proc/%d/comm" % workload.pid, encoding="utf-8").read().rstrip("\n")
    chosen = [("--comm", comm), ("--comm", comm[:-1] + "?"), ("--exe", exe), ("--exe", os.path.basename(exe))]
    if cgroup:
        chosen.append(("--cgroup", cgroup[0]))
    for flags in chosen:
        answer = run("scan", *flags, "--json", MIN_WAIT).parse()
        assert workload.pid in [finding["process"]["pid"] for finding in answer.findings], flags
    for flags in (("--comm", "no-such-program"), ("--comm", comm, "--exe", "/no/such/file"), ("--container", "ffff")):
        answer = run("scan", *flags)
        assert answer.status == 1 and "no process matches" in answer.errors, (flags, answer.errors)


@test("help is about the verb that is asked about, and mistakes in it are usage errors")
def _():
    for verb in ("why", "scan", "watch", "help", "version"):
        answer = run("help", verb)
        assert answer.status == 0 and answer.output.startswith(b"Usage: holdup " + verb.encode()), answer.output
        if verb not in ("help", "version"):
            assert b"\nExamples:\n" in answer.output, answer.output
        assert all(len(line) <= 80 for line in answer.output.decode().splitlines()), answer.output
    answer = run("help", "scam")
    assert answer.status == 2 and "did you mean 'scan'?" in answer.errors, answer.errors
    # Verbs that don't exist yet are not known.
    for verb in ("top", "daemon", "record"):
        answer = run(verb)
        assert answer.status == 2 and "unknown verb" in answer.errors, answer.errors


@test("totals count what was looked at, however the processes were chosen")
def _():
    need_bpf()
    pair = [Workload("abba"), Workload("abba")]
    counts = [len(os.listdir("/proc/%d/task" % workload.pid)) for workload in pair]
    pids = [str(workload.pid) for workload in pair]
    for source in ("--source=bpf", "--source=procfs"):
        for chosen, threads in ((pids[:1], counts[0]), (pids, sum(counts))):
            summary = run("scan", "--json", source, "-p", ",".join(chosen)).parse().summary
            assert (summary["processes"], summary["threads"]) == (len(chosen), threads), (source, chosen, summary)
        everything = run("scan", "--json", source).parse().summary
        assert everything["processes"] > 2 and everything["threads"] > sum(counts), everything


main()
