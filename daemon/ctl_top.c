// SPDX-License-Identifier: BSD-3-Clause
/*
 * sockbeatctl top: how fast each session's counters grow.
 */
#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <time.h>
#include <unistd.h>

#include "ctl.h"

#define MAX_DELAY_S	3600

/**
 * struct sample - sessions at some time
 * @sessions: they
 * @at_ns: the time
 */
struct sample {
	struct ctl_sessions sessions;
	uint64_t at_ns;
};

/**
 * struct top - what is shown
 * @count: screens, 0 for no end
 * @delay_ms: from one to the next
 * @batch: one after the other
 * @lines: that are left on the screen
 * @ctl: the module
 */
struct top {
	uint64_t count;
	unsigned int delay_ms;
	bool batch;
	int lines;
	struct ctl ctl;
};

static const struct argp_option options[] = {
	{ "count", 'n', "COUNT", 0, "End after so many screens", 0 },
	{ "batch", 'b', NULL, 0, "Print one screen after the other, all of each; so it is also where the output is no terminal", 0 },
	{ "delay", 'd', "SECONDS", 0, "From one screen to the next (1)", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct top *top = state->input;
	double delay;
	char *end;

	switch (key) {
	case 'n':
		top->count = ctl_take_count(state, arg);
		break;
	case 'b':
		top->batch = true;
		break;
	case 'd':
		delay = strtod(arg, &end);
		if (end == arg || *end || !(delay >= 0.1 && delay <= MAX_DELAY_S))
			argp_error(state, "--delay: \"%s\" is not in the range 0.1..%d", arg, MAX_DELAY_S);
		top->delay_ms = (unsigned int)(delay * 1000);
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Show the rates of each session, again and again, until SIGINT or SIGTERM.",
};

static int take_sample(struct top *top, struct sample *sample)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	sample->at_ns = now.tv_sec * 1000000000ull + now.tv_nsec;
	return ctl_sessions_get(&top->ctl, &sample->sessions);
}

/* The end of a line; false where the screen is full. */
static bool end_line(struct top *top)
{
	if (top->batch) {
		putchar('\n');
		return true;
	}
	/* The cursor stays on the last line: a newline there would scroll. */
	fputs(--top->lines > 0 ? "\033[K\n" : "\033[K", stdout);
	return top->lines > 0;
}

/* A session that is new has been counting for less than all of the time. */
static double rate(const struct sample *before, const struct sample *after, size_t i,
		   unsigned int type)
{
	const struct ctl_session *now = &after->sessions.at[i];
	const struct ctl_session *then = ctl_sessions_find(&before->sessions, now->id);
	uint64_t value = ctl_attrs_number(&now->stats, type), old = 0;

	if (then)
		old = ctl_attrs_number(&then->stats, type);
	if (value < old)
		return 0;
	return (double)(value - old) * 1e9 / (double)(after->at_ns - before->at_ns);
}

#define HEAD	"%-7s %-22s %8s %8s %8s %10s %11s %10s %8s %9s %s"
#define ROW	"%-7u %-22s %8llu %8llu %8llu %10llu %11.1f %10.1f %8.1f %9.1f %s"

static void print_sessions(struct top *top, const struct sample *before, const struct sample *after)
{
	char process[CTL_TEXT_CHARS];

	for (size_t i = 0; i < after->sessions.n; i++) {
		const struct ctl_session *session = &after->sessions.at[i];
		const struct ctl_attrs *stats = &session->stats;

		printf(ROW, session->id, ctl_session_process(session, process),
		       (unsigned long long)ctl_attrs_number(stats, SOCKBEAT_A_STATS_LIVE),
		       (unsigned long long)ctl_attrs_number(stats, SOCKBEAT_A_STATS_SILENT),
		       (unsigned long long)ctl_attrs_number(stats, SOCKBEAT_A_STATS_GONE),
		       (unsigned long long)ctl_attrs_number(stats, SOCKBEAT_A_STATS_RECYCLING),
		       rate(before, after, i, SOCKBEAT_A_STATS_ANSWERED),
		       rate(before, after, i, SOCKBEAT_A_STATS_SILENCES),
		       rate(before, after, i, SOCKBEAT_A_STATS_SOCKETS_GONE),
		       rate(before, after, i, SOCKBEAT_A_STATS_EVENTS), ctl_session_guard(session));
		if (!end_line(top))
			return;
	}
}

static void print_screen(struct top *top, const struct sample *before, const struct sample *after)
{
	struct winsize size = { 0 };
	char clock[16] = "";
	time_t now = time(NULL);
	struct tm tm;

	top->lines = ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) || !size.ws_row ? 24 : size.ws_row;
	if (!top->batch)
		fputs("\033[H", stdout);
	if (localtime_r(&now, &tm))
		strftime(clock, sizeof(clock), "%H:%M:%S", &tm);
	printf("sockbeatctl top - %s - %zu sessions, rates over %.1f s", clock, after->sessions.n,
	       (double)(after->at_ns - before->at_ns) / 1e9);
	if (end_line(top)) {
		printf(HEAD, "Session", "Process", "Live", "Silent", "Gone", "Quarantine",
		       "Answered/s", "Silences/s", "Gone/s", "Events/s", "Guard");
		if (end_line(top))
			print_sessions(top, before, after);
	}
	if (top->batch)
		putchar('\n');
	else
		fputs("\033[J", stdout);
	fflush(stdout);
}

/* False when a signal asked to end. */
static bool wait_for_next(const struct top *top, int signals)
{
	struct pollfd pfd = { .fd = signals, .events = POLLIN };

	return poll(&pfd, 1, (int)top->delay_ms) == 0;
}

static int run(struct top *top, int signals)
{
	struct sample samples[2] = { 0 };
	int status = take_sample(top, &samples[0]);
	uint64_t screens = 0;

	if (!top->batch)
		fputs("\033[H\033[2J", stdout);
	while (status == CTL_DONE && wait_for_next(top, signals) && !ferror(stdout)) {
		status = take_sample(top, &samples[1]);
		if (status == CTL_DONE)
			print_screen(top, &samples[0], &samples[1]);
		ctl_sessions_free(&samples[0].sessions);
		samples[0] = samples[1];
		memset(&samples[1], 0, sizeof(samples[1]));
		if (++screens == top->count)
			break;
	}
	ctl_sessions_free(&samples[0].sessions);
	if (!top->batch)
		putchar('\n');
	return status;
}

int ctl_top(int argc, char **argv)
{
	static struct top top = { .delay_ms = 1000 };
	int signals, status;

	ctl_parse(&argp, argc, argv, &top);
	top.batch = top.batch || !isatty(STDOUT_FILENO);
	if (ctl_open(&top.ctl))
		return CTL_FAILED;
	signals = ctl_watch_signals();
	if (signals < 0)
		status = ctl_fail("signals: %s", strerror(errno));
	else
		status = run(&top, signals);
	close(signals);
	ctl_close(&top.ctl);
	return status;
}
