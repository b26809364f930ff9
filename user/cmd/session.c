/* SPDX-License-Identifier: GPL-2.0-or-later */
#include "cmd/session.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/log.h"
#include "base/text_buffer.h"
#include "cmd/command.h"
#include "cmd/privilege.h"

enum {
	COLUMNS_MIN = 60,
	COLUMNS_DEFAULT = 80,
	COLUMNS_MAX = 160, /* longer lines are hard to follow */
};

/* Says a note, and keeps it for the totals; the same one is said once. */
static void add_note(struct session *session, const char *note)
{
	array_each(&session->notes, known) {
		if (!strcmp(*known, note))
			return;
	}
	log_warning("%s", note);
	char *copy = strdup(note);
	char **slot = copy ? array_add(&session->notes) : NULL;
	if (slot)
		*slot = copy;
	else
		free(copy);
}

/* Why the task iterator can't be had, with the mend. */
static void explain_bpf(int err, const struct source_error *error, struct text_buffer *text)
{
	text_buffer_add(text, error->text);
	if (err == -EPERM || err == -EACCES) {
		text_buffer_add(text, "; ");
		privilege_add_missing_for_bpf(text);
	}
}

/* The source that was asked for; the best there is otherwise. */
static int open_source(struct session *session, struct source **ret_source)
{
	enum source_choice choice = session->options->source;
	struct source_error error = { "" };
	int err = -EOPNOTSUPP;
	if (choice != SOURCE_PROCFS) {
		err = source_open_bpf(ret_source, &error);
		if (!err)
			return 0;
		struct text_buffer text = { 0 };
		explain_bpf(err, &error, &text);
		if (choice == SOURCE_AUTO) {
			text_buffer_add(&text, ". Reading /proc instead");
			add_note(session, text_buffer_text(&text));
		} else {
			log_error("%s, or use --source=procfs", text_buffer_text(&text));
		}
		text_buffer_release(&text);
	}
	if (choice != SOURCE_BPF) {
		err = source_open_procfs(ret_source, &error);
		if (err)
			log_error("%s", error.text);
	}
	return err;
}

static bool wants_color(enum color_choice choice, FILE *out)
{
	const char *no_color = getenv("NO_COLOR"), *terminal = getenv("TERM");
	if (choice != COLOR_AUTO)
		return choice == COLOR_ALWAYS;
	return isatty(fileno(out)) && !(no_color && *no_color) && terminal && strcmp(terminal, "dumb") != 0;
}

static unsigned terminal_columns(FILE *out)
{
	struct winsize size;
	if (ioctl(fileno(out), TIOCGWINSZ, &size) || !size.ws_col)
		return COLUMNS_DEFAULT;
	return size.ws_col < COLUMNS_MIN   ? COLUMNS_MIN
	       : size.ws_col > COLUMNS_MAX ? COLUMNS_MAX
					   : size.ws_col;
}

struct sink *session_new_sink(const struct options *options, FILE *out, bool goes_on)
{
	if (options->json)
		return json_sink_new(out);
	struct text_sink_options text = {
		.color = wants_color(options->color, out),
		.verbose = options->verbosity > 0,
		.timed = goes_on,
		.width = terminal_columns(out),
	};
	return text_sink_new(out, &text);
}

int session_open(struct session *session, const struct options *options, bool goes_on)
{
	*session = (struct session){ .options = options };
	struct source *source = NULL;
	int err = open_source(session, &source);
	if (err)
		return err;
	struct engine_options engine_options = {
		.no_symbols = options->no_symbols,
		.min_wait_ns = options->min_wait_ns,
	};
	err = engine_open(source, &engine_options, &session->engine);
	if (err) {
		log_error("cannot start the engine: %s", strerror(-err));
		return err;
	}
	log_debug("reading threads by %s", engine_source_name(session->engine));
	session->sink = session_new_sink(options, stdout, goes_on);
	if (!session->sink) {
		log_error("out of memory");
		return -ENOMEM;
	}
	return 0;
}

void session_take(struct session *session, const struct diagnosis *diagnosis)
{
	session->totals = diagnosis->totals;
	session->scan_count++;
	array_each(&diagnosis->notes, note)
		add_note(session, *note);
}

bool session_wrote(struct session *session, int err)
{
	if (!session->output_error)
		session->output_error = err;
	return !session->output_error;
}

static int write_totals(struct session *session)
{
	const struct engine_totals *totals = &session->totals;
	struct sink_loss losses[EVENT_LOST_CAUSE_COUNT];
	for (unsigned cause = 0; cause < EVENT_LOST_CAUSE_COUNT; cause++) {
		losses[cause].cause = event_lost_cause_name(cause);
		losses[cause].count = totals->lost[cause];
	}
	losses[EVENT_LOST_TABLE_FULL].count += session->refused_count;
	struct sink_totals text = {
		.finding_count = session->finding_count,
		.process_count = totals->process_count,
		.thread_count = totals->thread_count,
		.waiter_count = totals->waiter_count,
		.scan_count = session->scan_count,
		.losses = losses,
		.loss_count = EVENT_LOST_CAUSE_COUNT,
		.cpu_ns = totals->cpu_ns,
		.peak_rss_kb = totals->peak_rss_kb,
		.scan_ns = totals->scan_ns,
		.wall_ns = totals->wall_ns,
		.source = engine_source_name(session->engine),
		.notes = (const char *const *)session->notes.items,
		.note_count = session->notes.count,
	};
	return session->sink->ops->totals(session->sink, &text);
}

int session_finish(struct session *session)
{
	if (!session->output_error)
		session->output_error = write_totals(session);
	int status = command_output_status(session->output_error,
					   session->finding_count ? STATUS_FINDINGS : STATUS_NOTHING_FOUND);
	session_abandon(session);
	return status;
}

int session_abandon(struct session *session)
{
	session->sink = sink_free(session->sink);
	session->engine = engine_close(session->engine);
	array_each(&session->notes, note)
		free(*note);
	array_release(&session->notes);
	return STATUS_FAILED;
}

void session_explain_error(int err)
{
	struct text_buffer text = { 0 };
	if (err == -EACCES || err == -EPERM)
		privilege_add_missing_for_reading(&text);
	log_error("cannot look at the threads: %s%s%s", strerror(-err), text.length ? "; " : "",
		  text_buffer_text(&text));
	text_buffer_release(&text);
}
