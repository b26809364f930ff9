/* SPDX-License-Identifier: GPL-2.0-or-later */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/duration.h"
#include "base/log.h"
#include "cmd/command.h"
#include "cmd/tracing.h"
#include "cmd/verbs.h"

enum {
	POLL_MS = 50,
	/* As shells have it: a command that can't be run, one that can't be found, one that a signal ended. */
	STATUS_CANNOT_RUN = 126,
	STATUS_NOT_FOUND = 127,
	STATUS_SIGNALLED = 128,
};

/* The command between fork and exec: it waits for its probes. */
struct child {
	pid_t pid;
	int go_fd; /* written to: go on */
	int error_fd; /* read from: the errno of a failed exec; closed by a successful one */
};

struct run {
	struct tracing tracing;
	struct engine *snapshot; /* looks for deadlocks of the command; NULL: can't be had */
	struct child child;
	uint64_t looked_ns; /* when it last looked for deadlocks, CLOCK_MONOTONIC */
	bool deadlocked;
};

static _Noreturn void become_command(char **arguments, int go_fd, int error_fd, const sigset_t *signals)
{
	char go;
	if (read(go_fd, &go, 1) != 1)
		_exit(STATUS_CANNOT_RUN);
	sigprocmask(SIG_SETMASK, signals, NULL);
	execvp(arguments[0], arguments);
	int err = errno;
	ssize_t written = write(error_fd, &err, sizeof(err));
	_exit(written == sizeof(err) ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN);
}

static int start_child(char **arguments, const sigset_t *signals, struct child *ret_child)
{
	int go[2], error[2];
	if (pipe2(go, O_CLOEXEC))
		return -errno;
	if (pipe2(error, O_CLOEXEC)) {
		int err = -errno;
		close(go[0]);
		close(go[1]);
		return err;
	}
	pid_t pid = fork();
	if (!pid) {
		close(go[1]);
		become_command(arguments, go[0], error[1], signals);
	}
	int err = pid < 0 ? -errno : 0;
	close(go[0]);
	close(error[1]);
	*ret_child = (struct child){ .pid = pid, .go_fd = go[1], .error_fd = error[0] };
	return err;
}

/* Lets the child go on to its exec. Returns 0, or the negative errno of the exec. */
static int release_child(struct child *child)
{
	int exec_errno = 0;
	ssize_t written = write(child->go_fd, "", 1);
	close(child->go_fd);
	ssize_t got = written == 1 ? read(child->error_fd, &exec_errno, sizeof(exec_errno)) : -1;
	close(child->error_fd);
	child->go_fd = child->error_fd = -1;
	return got == sizeof(exec_errno) ? -exec_errno : got < 0 ? -EIO : 0;
}

/* Signals that would end holdup are for the command; those of the terminal it gets by itself. */
static void forward_signals(const struct run *run, const sigset_t *signals)
{
	siginfo_t info;
	while (sigtimedwait(signals, &info, &(struct timespec){ 0 }) > 0) {
		if (info.si_code != SI_KERNEL)
			kill(run->child.pid, info.si_signo);
	}
}

static bool is_certain_deadlock(const struct finding *finding)
{
	return finding->certainty == CERTAINTY_CERTAIN &&
	       (finding->kind == FINDING_DEADLOCK || finding->kind == FINDING_ORPHANED_LOCK);
}

/* Once a second: has the command itself deadlocked? Prints that, once. */
static void look_for_deadlock(struct run *run)
{
	uint32_t tgid = (uint32_t)run->child.pid;
	if (!run->snapshot || run->deadlocked || clock_now_ns(CLOCK_MONOTONIC) - run->looked_ns < NS_PER_S)
		return;
	run->looked_ns = clock_now_ns(CLOCK_MONOTONIC);
	struct diagnosis diagnosis = { 0 };
	if (engine_scan(run->snapshot, &tgid, 1, &diagnosis))
		return;
	array_each(&diagnosis.findings.items, finding)
		run->deadlocked |= is_certain_deadlock(*finding);
	if (run->deadlocked)
		tracing_print(&run->tracing, &diagnosis.findings);
	diagnosis_release(&diagnosis);
}

/* Follows the command to its end, or to its deadlock. Returns its wait status; -1: it was left behind. */
static int follow(struct run *run, const sigset_t *signals)
{
	int wait_status;
	for (;;) {
		int err = tracing_poll(&run->tracing, POLL_MS);
		if (err)
			log_error("lock-order tracing failed: %s", strerror(-err));
		forward_signals(run, signals);
		if (waitpid(run->child.pid, &wait_status, WNOHANG) == run->child.pid)
			break;
		look_for_deadlock(run);
		if (!run->deadlocked)
			continue;
		if (run->tracing.options->on_deadlock == ON_DEADLOCK_REPORT) {
			log_error("the command has deadlocked; it is left as it is, process %d",
				  (int)run->child.pid);
			return -1;
		}
		kill(run->child.pid,
		     run->tracing.options->on_deadlock == ON_DEADLOCK_KILL ? SIGKILL : SIGABRT);
	}
	/* What it did last. */
	tracing_poll(&run->tracing, 0);
	return wait_status;
}

static int status_of(int wait_status)
{
	return WIFSIGNALED(wait_status) ? STATUS_SIGNALLED + WTERMSIG(wait_status) : WEXITSTATUS(wait_status);
}

static void open_snapshot(struct run *run)
{
	struct source *source;
	struct source_error error;
	struct engine_options options = { .min_wait_ns = NS_PER_S };
	if (source_open_bpf(&source, &error) || engine_open(source, &options, &run->snapshot))
		log_warning("a deadlock of the command itself will not be noticed: %s", error.text);
}

/* Starts the command with its probes in place. Returns 0 or the exit status of the failure. */
static int start(struct run *run, char **arguments, const sigset_t *old_signals)
{
	int err = start_child(arguments, old_signals, &run->child);
	if (err) {
		log_error("cannot start a process: %s", strerror(-err));
		return STATUS_FAILED;
	}
	err = order_engine_expect(run->tracing.engine, (uint32_t)run->child.pid);
	if (err) {
		log_error("cannot trace the command: %s", strerror(-err));
		kill(run->child.pid, SIGKILL);
		waitpid(run->child.pid, NULL, 0);
		return STATUS_FAILED;
	}
	err = release_child(&run->child);
	if (!err)
		return 0;
	waitpid(run->child.pid, NULL, 0);
	log_error("cannot run '%s': %s", arguments[0], strerror(-err));
	return err == -ENOENT ? STATUS_NOT_FOUND : STATUS_CANNOT_RUN;
}

/* argv of the command: the operands, NULL at their end. */
static char **command_of(const struct options *options)
{
	char **arguments = calloc(options->operands.count + 1, sizeof(*arguments));
	for (size_t i = 0; arguments && i < options->operands.count; i++)
		arguments[i] = (char *)options->operands.items[i];
	return arguments;
}

static int trace_command(struct run *run, const struct options *options, FILE *out)
{
	sigset_t signals, old_signals;
	sigemptyset(&signals);
	sigaddset(&signals, SIGINT);
	sigaddset(&signals, SIGQUIT);
	sigaddset(&signals, SIGTERM);
	sigaddset(&signals, SIGHUP);
	sigprocmask(SIG_BLOCK, &signals, &old_signals);
	char **arguments = command_of(options);
	if (!arguments)
		return STATUS_FAILED;
	int status = STATUS_FAILED;
	if (!tracing_open(&run->tracing, options, 0, out)) {
		open_snapshot(run);
		status = start(run, arguments, &old_signals);
		if (!status) {
			int wait_status = follow(run, &signals);
			int err = tracing_finish(&run->tracing, true);
			status = wait_status < 0 || run->tracing.finding_count ? options->error_exitcode
									       : status_of(wait_status);
			status = command_output_status(err, status);
		}
	}
	free(arguments);
	return status;
}

static int run_run(const struct options *options)
{
	struct run run = { 0 };
	FILE *out = stderr;
	if (!options->operands.count)
		return command_usage_error("'run' needs a command: holdup run [flags] -- CMD ...");
	if (options->output_path)
		out = fopen(options->output_path, "we");
	if (!out) {
		log_error("cannot write '%s': %s", options->output_path, strerror(errno));
		return STATUS_FAILED;
	}
	int status = trace_command(&run, options, out);
	engine_close(run.snapshot);
	tracing_close(&run.tracing);
	if (out != stderr && fclose(out)) {
		log_error("cannot write '%s': %s", options->output_path, strerror(errno));
		status = STATUS_FAILED;
	}
	return status;
}

const struct verb run_verb = {
	.name = "run",
	.operands = "-- CMD ...",
	.operand_max = 65535,
	.brief = "run a command and find orders that could deadlock",
	.description = "Runs CMD with its lock functions probed from its first instruction on, and the\n"
		       "processes it starts, too: for test suites. Reports on stderr (or to --output)\n"
		       "what 'order' would, and a deadlock of the command itself. Its input, output,\n"
		       "signals and exit status pass through untouched when nothing is found.",
	.examples = "  holdup run -- ./tests\n"
		    "  holdup run --error-exitcode=42 --json -o findings.jsonl -- make check\n"
		    "  holdup run --on-deadlock=abort -- ./server",
	.flags = FLAG_JSON | FLAG_COLOR | FLAG_VERBOSE | FLAG_HELP | FLAG_ALL_ORDERS | FLAG_SUPPRESSIONS |
		 FLAG_OUTPUT | FLAG_ERROR_EXITCODE | FLAG_ON_DEADLOCK,
	.run = run_run,
};
