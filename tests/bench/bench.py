#!/usr/bin/python3
# SPDX-License-Identifier: GPL-2.0-or-later
"""Measures holdup beside what people use today, on the same processes, in the same run. Asserts nothing.

usage: bench.py [--quick] [--only=SECTION[,SECTION]] [--threads=N]   (normally: make bench, as root)

Sections: kernel (in-kernel time of a pass), scan (whole `holdup scan`), why (`holdup why` against gdb and
eu-stack), memory (peaks of all of those), throughput (a watched program's own work), order (what lock-order
tracing costs its target, beside other probes), run (a real program under `holdup run`).
Every figure is a median, with the number of measurements and the least and the greatest of them.

Environment: HOLDUP (the binary), BUILD (the build directory with workloads and bench programs).
"""

import ctypes
import json
import os
import platform
import re
import shutil
import signal
import statistics
import subprocess
import sys
import tempfile
import time

ROOT = os.path.abspath(os.path.join(os.path.dirname(os.path.abspath(__file__)), "..", ".."))
BUILD = os.path.abspath(os.environ.get("BUILD", os.path.join(ROOT, "build")))
HOLDUP = os.path.abspath(os.environ.get("HOLDUP", os.path.join(BUILD, "holdup")))
POOL = os.path.join(BUILD, "tests", "workloads", "pool")
THROUGHPUT = os.path.join(BUILD, "tests", "bench", "throughput")
LOCK_PAIRS = os.path.join(BUILD, "tests", "bench", "lock_pairs")
PROBE = os.path.join(BUILD, "tests", "bench", "probe")
MEASURE = os.path.join(BUILD, "tests", "bench", "measure")
BPF_STATS = "/proc/sys/kernel/bpf_stats_enabled"
SECTIONS = ("kernel", "scan", "why", "memory", "throughput", "order", "run")
GDB = ["gdb", "-nx", "-batch", "-iex", "set debuginfod enabled off", "-ex", "thread apply all bt"]


class Cannot(Exception):
    """This cannot be measured here; the reason is printed in place of a figure."""


# Figures --------------------------------------------------------------------------------------------


def scaled(value, unit):
    """Nanoseconds and kilobytes in the unit that reads best."""
    if unit == "ns":
        for size, name in ((1e9, "s"), (1e6, "ms"), (1e3, "us")):
            if value >= size:
                return "%.4g %s" % (value / size, name)
        return "%.4g ns" % value
    if unit == "kB":
        return "%.1f MB" % (value / 1024)
    return ("%.4g %s" % (value, unit)).strip()


def figure(name, values, unit, baseline=None, text="x faster"):
    """One line: median, n, least and greatest; the ratio to a baseline's median where there is one."""
    middle = statistics.median(values)
    line = "  %-46s %10s   n=%-3d %s .. %s" % (
        name, scaled(middle, unit), len(values), scaled(min(values), unit), scaled(max(values), unit))
    if baseline:
        line += "   %.3g%s" % (statistics.median(baseline) / middle, text)
    print(line, flush=True)
    return middle


def heading(text):
    print("\n" + text, flush=True)


# Processes ------------------------------------------------------------------------------------------


class Pool:
    """A process in which `count` threads wait for one mutex, hung before anything looks at it."""

    def __init__(self, count):
        self.count = count
        self.process = subprocess.Popen([POOL, str(count)], stdout=subprocess.PIPE)
        line = self.process.stdout.readline()
        if not line:
            raise Cannot("%s %d did not start (limits on threads?)" % (POOL, count))
        self.pid = json.loads(line)["pid"]

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.kill()
        self.process.wait()

    def await_asleep(self):
        """A debugger that lets go of a process leaves it running for a moment."""
        while any(b"State:\tS" not in read_bytes("/proc/%d/task/%s/status" % (self.pid, tid))
                  for tid in os.listdir("/proc/%d/task" % self.pid)):
            time.sleep(0.05)


def read_bytes(path):
    with open(path, "rb") as file:
        return file.read()


class Run:
    """What one command cost, and what it said."""

    def __init__(self, command, statuses=(0,)):
        with tempfile.NamedTemporaryFile() as numbers:
            done = subprocess.run([MEASURE, numbers.name] + command, stdin=subprocess.DEVNULL,
                                  stdout=subprocess.PIPE, stderr=subprocess.PIPE, check=False)
            fields = numbers.read().split()
        if done.returncode or len(fields) != 4:
            raise Cannot("measure failed: " + done.stderr.decode(errors="replace").strip())
        self.status, self.wall_ns, self.cpu_ns, self.peak_kb = (int(field) for field in fields)
        self.stdout = done.stdout
        if self.status not in statuses:
            raise Cannot("%s ended with status %d: %s" % (
                " ".join(command), self.status, done.stderr.decode(errors="replace").strip()[-300:]))

    def summary(self):
        return json.loads(self.stdout.decode().splitlines()[-1])


def holdup(*arguments):
    # Status 3: it found something, as it may.
    return Run([HOLDUP] + list(arguments), statuses=(0, 3))


class Watch:
    """`holdup watch` beside the measured program, with its findings thrown away."""

    def __init__(self, *flags):
        self.flags = list(flags)

    def __enter__(self):
        self.process = subprocess.Popen([HOLDUP, "watch", "--json"] + self.flags, stdin=subprocess.DEVNULL,
                                        stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        # Loading the programs is over by then; what is measured is the watching.
        time.sleep(1.5)
        if self.process.poll() is not None:
            raise Cannot("holdup watch ended with status %d" % self.process.returncode)
        return self

    def __exit__(self, *_):
        self.process.send_signal(signal.SIGINT)
        try:
            self.process.wait(10)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait()


def cpu_ns_of(pid):
    """CPU time of a process and of its children that still live."""
    total = 0
    pids = [pid]
    while pids:
        one = pids.pop()
        try:
            fields = read_bytes("/proc/%d/stat" % one).rsplit(b")", 1)[1].split()
            pids += [int(child) for child in read_bytes("/proc/%d/task/%d/children" % (one, one)).split()]
        except OSError:
            continue
        total += (int(fields[11]) + int(fields[12])) * 1000000000 // os.sysconf("SC_CLK_TCK")
    return total


# Sections -------------------------------------------------------------------------------------------


def program_counters(holder):
    """(runs, ns) of the BPF program that the process holds, from the kernel's own statistics."""
    directory = "/proc/%d/fd" % holder
    for fd in os.listdir(directory):
        try:
            if os.readlink("%s/%s" % (directory, fd)) != "anon_inode:bpf-prog":
                continue
            text = read_bytes("/proc/%d/fdinfo/%s" % (holder, fd)).decode()
        except OSError:
            continue
        fields = dict(line.split(":", 1) for line in text.splitlines() if ":" in line)
        return int(fields["run_cnt"]), int(fields["run_time_ns"])
    raise Cannot("process %d holds no BPF program" % holder)


def measure_kernel(setting):
    """In-kernel time: the BPF program's own, by the kernel's statistics, a second's scan at a time."""
    heading("In-kernel time of tier 1, %d threads waiting for one lock" % setting.threads)
    before = read_bytes(BPF_STATS)
    try:
        with open(BPF_STATS, "w", encoding="ascii") as file:
            file.write("1")
    except OSError as error:
        raise Cannot("%s: %s" % (BPF_STATS, error.strerror)) from error
    try:
        # Without a pause: the default pace would stretch itself to the CPU budget.
        with Pool(setting.threads), Watch("--interval=0") as watch:
            per_thread = []
            last = program_counters(watch.process.pid)
            deadline = time.monotonic() + 4 * setting.scans + 10
            while len(per_thread) < setting.scans and time.monotonic() < deadline:
                time.sleep(1)
                now = program_counters(watch.process.pid)
                if now[0] - last[0] >= setting.threads:
                    per_thread.append((now[1] - last[1]) / (now[0] - last[0]))
                last = now
            if not per_thread:
                raise Cannot("no scan was seen")
    finally:
        with open(BPF_STATS, "wb") as file:
            file.write(before)
    figure("BPF program, per thread and pass", per_thread, "ns")
    figure("times %d threads" % setting.threads, [ns * setting.threads for ns in per_thread], "ns")


def measure_scan(setting):
    heading("`holdup scan` of the whole machine, %d threads waiting for one lock" % setting.threads)
    with Pool(setting.threads) as pool:
        runs, slow, plain = [], [], []
        for number in range(setting.scans):
            runs.append(holdup("scan", "--json"))
            if number < setting.slow:
                slow.append(holdup("scan", "--json", "--source=procfs"))
                plain.append(read_syscalls(pool.pid))
    baseline = [run.wall_ns for run in slow]
    figure("holdup scan, wall", [run.wall_ns for run in runs], "ns", baseline, "x faster than --source=procfs")
    figure("  of which the passes over threads", [run.summary()["self"]["scan_us"] * 1000 for run in runs], "ns")
    figure("  CPU of holdup", [run.cpu_ns for run in runs], "ns")
    figure("  threads looked at", [run.summary()["threads"] for run in runs], "")
    figure("holdup scan --source=procfs, wall", baseline, "ns")
    figure("only reading /proc/PID/task/*/syscall once", plain, "ns")
    setting.peaks.append(("holdup scan, %d waiters" % setting.threads, [run.peak_kb for run in runs]))


def read_syscalls(pid):
    """What a script pays that reads one file per thread, of this one process."""
    began = time.monotonic_ns()
    for tid in os.listdir("/proc/%d/task" % pid):
        read_bytes("/proc/%d/task/%s/syscall" % (pid, tid))
    return time.monotonic_ns() - began


def measure_why(setting):
    count = setting.why_threads
    heading("One process of %d threads: who waits for what, with stacks" % (count + 1))
    peers = {"gdb -ex 'thread apply all bt'": GDB + ["-p"], "eu-stack": ["eu-stack", "-p"]}
    for name, command in list(peers.items()):
        if not shutil.which(command[0]):
            print("  %s: not installed" % command[0])
            del peers[name]
    ours, bare, theirs, frames = [], [], {name: [] for name in peers}, {}
    with Pool(count) as pool:
        for number in range(setting.whys):
            pool.await_asleep()
            ours.append(holdup("why", str(pool.pid), "--json"))
            bare.append(holdup("why", str(pool.pid), "--json", "--no-symbols"))
            if number >= setting.slow:
                continue
            for name, command in peers.items():
                pool.await_asleep()
                # eu-stack ends with 1 when one stack of a thousand is incomplete.
                run = Run(command + [str(pool.pid)], statuses=(0, 1))
                theirs[name].append(run)
                frames[name] = len(re.findall(rb"(?m)^#\d+", run.stdout))
    median = figure("holdup why", [run.wall_ns for run in ours], "ns")
    figure("  without symbols and stacks' names", [run.wall_ns for run in bare], "ns")
    figure("  CPU of holdup", [run.cpu_ns for run in ours], "ns")
    for name, runs in theirs.items():
        middle = figure(name, [run.wall_ns for run in runs], "ns")
        print("      %.3g times holdup's; it printed %d frames, and the process stood still meanwhile" % (
            middle / median, frames[name]))
    setting.peaks.append(("holdup why, %d threads" % count, [run.peak_kb for run in ours]))
    for name, runs in theirs.items():
        setting.peaks.append(("%s, same process" % name, [run.peak_kb for run in runs]))


def measure_memory(setting):
    heading("Peak memory (largest process of each command)")
    if not setting.peaks:
        raise Cannot("sections scan and why give these figures")
    for name, values in setting.peaks:
        figure(name, values, "kB")


class Worker:
    """The program at work; window() gives its rounds a second over some seconds."""

    def __init__(self, *command):
        self.process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def counters(self):
        self.process.stdin.write(b"\n")
        self.process.stdin.flush()
        line = self.process.stdout.readline().split()
        if len(line) != 3:
            raise Cannot("the program at work ended")
        return [int(word) for word in line]

    def window(self, seconds):
        first = self.counters()
        time.sleep(seconds)
        last = self.counters()
        return (last[1] - first[1]) / ((last[0] - first[0]) / 1e9)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.kill()
        self.process.wait()


def measure_throughput(setting):
    threads = os.cpu_count() or 2
    heading("A program's own work, %d threads on %d CPUs, scanned every second or not" % (threads, threads))
    alone, watched, ratios, noise = [], [], [], []
    with Worker(THROUGHPUT, str(threads)) as worker, Watch() as watch:
        def with_watch():
            watch.process.send_signal(signal.SIGCONT)
            rate = worker.window(setting.window_s)
            watch.process.send_signal(signal.SIGSTOP)
            return rate

        before_ns = cpu_ns_of(watch.process.pid)
        for pair in range(setting.pairs):
            # Alternately first, so that a drift of the machine counts for both alike.
            if pair % 2:
                plain = worker.window(setting.window_s)
                seen = with_watch()
                again = worker.window(setting.window_s)
            else:
                again = worker.window(setting.window_s)
                seen = with_watch()
                plain = worker.window(setting.window_s)
            alone.append(plain)
            watched.append(seen)
            ratios.append(100 * (seen / plain - 1))
            noise.append(100 * (again / plain - 1))
        cpu_ns = cpu_ns_of(watch.process.pid) - before_ns
        watch.process.send_signal(signal.SIGCONT)
    figure("rounds a second, alone", alone, "")
    figure("rounds a second, under holdup watch", watched, "")
    figure("change under holdup watch, pair by pair", ratios, "%")
    figure("change between two windows alone (the noise)", noise, "%")
    print("  holdup watch itself took %.2f %% of one CPU while it ran" % (
        100 * cpu_ns / 1e9 / (setting.pairs * setting.window_s)))


# The cost of lock-order tracing ---------------------------------------------------------------------


class CLibrary:
    """The instructions of a process's C library: in its memory, and in its file."""

    def __init__(self, pid):
        for line in read_bytes("/proc/%d/maps" % pid).decode().splitlines():
            fields = line.split(None, 5)
            if len(fields) == 6 and fields[1] == "r-xp" and os.path.basename(fields[5]) == "libc.so.6":
                break
        else:
            raise Cannot("process %d maps no libc.so.6" % pid)
        self.pid, self.path = pid, fields[5]
        self.start, self.end = (int(word, 16) for word in fields[0].split("-"))
        self.offset = int(fields[2], 16)
        self.original = self.read("/proc/%d/root%s" % (pid, self.path), self.offset)

    def read(self, path, position):
        with open(path, "rb", buffering=0) as file:
            file.seek(position)
            return file.read(self.end - self.start)

    def probed(self):
        """Offsets in the file, of the instructions that are not as in the file."""
        now = self.read("/proc/%d/mem" % self.pid, self.start)
        if now == self.original:
            return []
        return [self.offset + at for at, (one, other) in enumerate(zip(now, self.original)) if one != other]

    def await_probed(self, wanted, process):
        deadline = time.monotonic() + 30
        while bool(self.probed()) != wanted:
            if time.monotonic() > deadline or (wanted and process.poll() is not None):
                raise Cannot("no probes came" if wanted else "the probes have stayed")
            time.sleep(0.02)


def offset_of(name):
    """File offset of a function of the C library, which this process has, too."""
    own = CLibrary(os.getpid())
    address = ctypes.cast(getattr(ctypes.CDLL("libc.so.6"), name), ctypes.c_void_p).value
    return address - own.start + own.offset


class Probing:
    """Some program that probes the target, until the end of the block."""

    def __init__(self, library, command):
        self.library, self.command = library, command

    def __enter__(self):
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.DEVNULL,
                                        stderr=subprocess.DEVNULL)
        self.library.await_probed(True, self.process)
        # Holdup's first look at all that is new, and the like, are over by then.
        time.sleep(0.5)
        return self

    def __exit__(self, *_):
        self.process.stdin.close()
        self.process.send_signal(signal.SIGINT)
        self.process.wait()
        self.library.await_probed(False, self.process)


def lock_site(library, order):
    """Where holdup probes pthread_mutex_lock."""
    entry = offset_of("pthread_mutex_lock")
    with Probing(library, order):
        sites = [offset for offset in library.probed() if entry <= offset < entry + 64]
    if not sites:
        raise Cannot("holdup does not probe pthread_mutex_lock")
    return min(sites)


def measure_order(setting):
    heading("Lock and unlock of a nested pair of mutexes, by one thread that does nothing else")
    ways = {name: [] for name in ("bare", "empty", "order", "naive")}
    with Worker(LOCK_PAIRS) as worker:
        pid = worker.process.pid
        # Its answer says that it has become its program.
        worker.counters()
        library = CLibrary(pid)
        order = [HOLDUP, "order", "-p", str(pid), "--budget", "0", "--json"]
        probe = [PROBE, str(pid), library.path]
        entries = [str(offset_of(name)) for name in ("pthread_mutex_lock", "pthread_mutex_unlock")]
        site = lock_site(library, order)
        commands = {"empty": probe + ["empty", str(site)], "order": order, "naive": probe + ["stack"] + entries}
        for _ in range(setting.order_rounds):
            ways["bare"].append(1e9 / worker.window(setting.order_window_s))
            for name, command in commands.items():
                with Probing(library, command):
                    ways[name].append(1e9 / worker.window(setting.order_window_s))
    figure("bare, per nested pair", ways["bare"], "ns")
    empty = figure("an empty probe where holdup has its own", ways["empty"], "ns")
    ours = figure("holdup order --budget 0", ways["order"], "ns")
    naive = figure("probes on both entries, a stack per lock", ways["naive"], "ns")
    bare = statistics.median(ways["bare"])
    print("      holdup: %.3g times the empty probe; naive: %.3g times holdup (what each adds: %.3g, %.3g)" % (
        ours / empty, naive / ours, (ours - bare) / (empty - bare), (naive - bare) / (ours - bare)))


def measure_run(setting):
    """xz with two threads, which meet at its locks; holdup's own start is part of it."""
    if not shutil.which("xz"):
        raise Cannot("xz is not installed")
    heading("A real program: xz -T2 on 32 MB, and `true`, alone and under `holdup run`")
    with tempfile.NamedTemporaryFile() as data:
        # Compressible, but not trivially so.
        block = read_bytes(HOLDUP)
        data.write((block * (1 + (32 << 20) // len(block)))[:32 << 20])
        data.flush()
        xz = ["sh", "-c", "xz -T2 -1 --block-size=256KiB -c %s >/dev/null" % data.name]
        for name, command in (("xz -T2", xz), ("true", ["true"])):
            alone, traced = [], []
            for _ in range(setting.run_rounds):
                alone.append(Run(command).wall_ns)
                traced.append(Run([HOLDUP, "run", "--"] + command).wall_ns)
            figure(name + ", alone", alone, "ns")
            figure(name + ", under holdup run", traced, "ns", [100 * value for value in alone], " % of its speed")


class Setting:
    """How much is measured."""

    def __init__(self, quick):
        self.threads = 10000
        self.why_threads = 999
        self.scans = 5 if quick else 15
        self.whys = 3 if quick else 11
        self.slow = 1 if quick else 5
        self.pairs = 5 if quick else 25
        self.window_s = 2
        self.order_rounds = 3 if quick else 7
        self.order_window_s = 0.5
        self.run_rounds = 3 if quick else 7
        self.peaks = []


def main(arguments):
    setting = Setting("--quick" in arguments)
    only = SECTIONS
    for argument in arguments:
        if argument.startswith("--only="):
            only = argument[len("--only="):].split(",")
        elif argument.startswith("--threads="):
            setting.threads = int(argument[len("--threads="):])
        elif argument != "--quick":
            print(__doc__.strip(), file=sys.stderr)
            return 2
    if set(only) - set(SECTIONS):
        print("bench: sections are " + " ".join(SECTIONS), file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("bench: needs root, as the scan of a whole machine does", file=sys.stderr)
        return 1
    version = subprocess.run([HOLDUP, "--version"], stdout=subprocess.PIPE, check=False).stdout
    print("%s; Linux %s, %d CPUs, load %.2f" % (
        version.decode(errors="replace").split("\n")[0], platform.release(), os.cpu_count() or 0,
        os.getloadavg()[0]))
    failed = False
    for section in SECTIONS:
        if section not in only:
            continue
        try:
            globals()["measure_" + section](setting)
        except Cannot as reason:
            failed = True
            print("  not measured: %s" % reason, flush=True)
    return 1 if failed else 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
