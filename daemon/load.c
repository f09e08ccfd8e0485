// SPDX-License-Identifier: BSD-3-Clause
/*
 * sockbeat-load: command line and event loop; load.h says how clients work.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "load.h"

#define EVENTS_PER_TURN		512

/* connect() calls under way at once, below any listener's backlog. */
#define MAX_CONNECTING		256

/* How long the end waits for answers that are still under way. */
#define FINISH_MS		1000

#define MAX_CLIENTS		1000000
#define MAX_MS			604800000

const char *argp_program_version = "sockbeat-load " SOCKBEAT_VERSION;

enum {
	OPTION_CONNECT = 'c',
	OPTION_BIND = 'b',
	OPTION_CLIENTS = 'n',
	OPTION_PERIOD = 0x100,
	OPTION_JITTER,
	OPTION_ECHO_BYTES,
	OPTION_ECHO_PERIOD,
	OPTION_DURATION,
	OPTION_SLOW,
	OPTION_STOP_AFTER,
	OPTION_SLEEP,
	OPTION_ABORT_AFTER,
	OPTION_CHURN,
	OPTION_REPORT,
	OPTION_REPORT_PORTS,
	OPTION_EXPECT_CLOSE,
};

static const struct argp_option options[] = {
	{ "connect", OPTION_CONNECT, "ADDRESS:PORT", 0, "The server (required)", 0 },
	{ "bind", OPTION_BIND, "ADDRESS", 0, "Connect from this source address", 0 },
	{ "clients", OPTION_CLIENTS, "N", 0, "Number of clients (1)", 0 },
	{ "period-ms", OPTION_PERIOD, "MS", 0, "Heartbeat period (1000), 0 for none", 0 },
	{ "jitter-ms", OPTION_JITTER, "MS", 0, "Vary the period by up to this, up and down (0)", 0 },
	{ "echo-bytes", OPTION_ECHO_BYTES, "N", 0, "Body of an echo request (0)", 0 },
	{ "echo-period-ms", OPTION_ECHO_PERIOD, "MS", 0, "Period of echo requests, 0 for none (0)", 0 },
	{ "duration-ms", OPTION_DURATION, "MS", 0,
	  "End so long after all are connected; 0: at SIGTERM or SIGINT (0)", 0 },
	{ "slow-ms", OPTION_SLOW, "MS", 0,
	  "Send nothing but one frame after the other byte by byte, a byte every 90% of MS", 0 },
	{ "stop-after-ms", OPTION_STOP_AFTER, "MS", 0,
	  "Then neither send nor read any more, but stay", 0 },
	{ "sleep-ms", OPTION_SLEEP, "MS", 0,
	  "Send sleep requests of this length in place of echo requests: one at once, more with --echo-period-ms; wants --period-ms 0", 0 },
	{ "abort-after-ms", OPTION_ABORT_AFTER, "MS", 0,
	  "Reset each connection so long after it was made", 0 },
	{ "churn-per-s", OPTION_CHURN, "N", 0, "Clients per second that hang up and come back", 0 },
	{ "report", OPTION_REPORT, "FORMAT", 0, "text or json: JSON objects, one a line (text)", 0 },
	{ "report-ports", OPTION_REPORT_PORTS, NULL, 0,
	  "Name the open clients' local ports in JSON reports", 0 },
	{ "expect-close", OPTION_EXPECT_CLOSE, NULL, 0,
	  "Do not fail when the server closes connections", 0 },
	{ 0 },
};

static uint32_t number(struct argp_state *state, const char *name, const char *text,
		       unsigned long min, unsigned long max)
{
	unsigned long value;
	char *end;

	errno = 0;
	value = strtoul(text, &end, 10);
	if (*text < '0' || *text > '9' || *end || errno || value < min || value > max)
		argp_error(state, "--%s: \"%s\" is not a number in the range %lu..%lu",
			   name, text, min, max);
	return value;
}

static void parse_bind(struct argp_state *state, struct load_opts *opts, const char *text)
{
	char with_port[ADDRESS_CHARS];

	snprintf(with_port, sizeof(with_port), strchr(text, ':') ? "[%s]:0" : "%s:0", text);
	if (address_parse(&opts->bind, with_port))
		argp_error(state, "--bind: \"%s\" is not an IPv4 or IPv6 address", text);
}

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct load_opts *opts = state->input;

	switch (key) {
	case OPTION_CONNECT:
		if (address_parse(&opts->connect, arg) || !opts->connect.in.sin_port)
			argp_error(state, "--connect: \"%s\" is not IPV4:PORT or [IPV6]:PORT with a port in the range 1..65535",
				   arg);
		break;
	case OPTION_BIND:
		parse_bind(state, opts, arg);
		break;
	case OPTION_CLIENTS:
		opts->clients = number(state, "clients", arg, 1, MAX_CLIENTS);
		break;
	case OPTION_PERIOD:
		opts->period_ms = number(state, "period-ms", arg, 0, MAX_MS);
		break;
	case OPTION_JITTER:
		opts->jitter_ms = number(state, "jitter-ms", arg, 0, MAX_MS);
		break;
	case OPTION_ECHO_BYTES:
		opts->echo_bytes = number(state, "echo-bytes", arg, 0,
					  FRAME_MAX_BYTES - FRAME_HEADER_BYTES);
		break;
	case OPTION_ECHO_PERIOD:
		opts->echo_period_ms = number(state, "echo-period-ms", arg, 0, MAX_MS);
		break;
	case OPTION_DURATION:
		opts->duration_ms = number(state, "duration-ms", arg, 0, MAX_MS);
		break;
	case OPTION_SLOW:
		opts->slow_ms = number(state, "slow-ms", arg, 0, MAX_MS);
		break;
	case OPTION_STOP_AFTER:
		opts->stop_after_ms = number(state, "stop-after-ms", arg, 0, MAX_MS);
		break;
	case OPTION_SLEEP:
		opts->sleep_ms = number(state, "sleep-ms", arg, 0, 600000);
		break;
	case OPTION_ABORT_AFTER:
		opts->abort_after_ms = number(state, "abort-after-ms", arg, 0, MAX_MS);
		break;
	case OPTION_CHURN:
		opts->churn_per_s = number(state, "churn-per-s", arg, 0, 100000);
		break;
	case OPTION_REPORT:
		opts->json = strcmp(arg, "json") == 0;
		if (!opts->json && strcmp(arg, "text") != 0)
			argp_error(state, "--report: \"%s\" is not one of: text, json", arg);
		break;
	case OPTION_REPORT_PORTS:
		opts->report_ports = true;
		break;
	case OPTION_EXPECT_CLOSE:
		opts->expect_close = true;
		break;
	case ARGP_KEY_END:
		if (!opts->connect.in.sin_port)
			argp_error(state, "--connect is required");
		if (opts->sleep_ms && opts->period_ms)
			argp_error(state, "--sleep-ms: heartbeats would overtake the answers: --period-ms has to be 0");
		if (opts->sleep_ms && opts->echo_bytes < sizeof(opts->sleep_ms))
			opts->echo_bytes = sizeof(opts->sleep_ms);
		if (opts->jitter_ms > opts->period_ms)
			argp_error(state, "--jitter-ms: %u is outside the range 0..%u, the period",
				   opts->jitter_ms, opts->period_ms);
		if (opts->bind.sa.sa_family != AF_UNSPEC &&
		    opts->bind.sa.sa_family != opts->connect.sa.sa_family)
			argp_error(state, "--bind and --connect are of different families");
		break;
	default:
		return ARGP_ERR_UNKNOWN;
	}
	return 0;
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Be many clients that send heartbeats and echo requests and check every byte of the answers.",
};

static void connect_more(struct load *load)
{
	while (load->begun < load->opts.clients && load->connecting < MAX_CONNECTING)
		load_client_connect(load, &load->clients[load->begun++]);
}

/* The wheel may give a client early; its timer function sets it again. */
static void run_timers(struct load *load)
{
	struct sb_wheel_node *node;

	sb_wheel_advance(&load->wheel, load_now_ms(load));
	while ((node = sb_wheel_pop(&load->wheel)))
		load_client_timer(load, (struct load_client *)node);
}

/* Hang up and come back with random clients, @n of them. */
static void churn(struct load *load, uint32_t n)
{
	while (n--) {
		struct load_client *c = &load->clients[load_random(load, load->opts.clients)];

		if (c->fd < 0 || c->is_connecting)
			continue;
		load->churned++;
		load_client_close(load, c);
		load_client_connect(load, c);
	}
}

static void stop(struct load *load)
{
	load->stopped = true;
	for (uint32_t i = 0; i < load->opts.clients; i++) {
		if (load->clients[i].fd >= 0)
			epoll_ctl(load->epoll_fd, EPOLL_CTL_DEL, load->clients[i].fd, NULL);
	}
}

static void earlier(uint64_t *until_ms, uint64_t at_ms)
{
	if (at_ms < *until_ms)
		*until_ms = at_ms;
}

/* Wait for events and handle them, at most until a tick. Returns whether a
 * signal asked to end.
 */
static bool run_events(struct load *load, uint64_t until_ms)
{
	struct epoll_event events[EVENTS_PER_TURN];
	uint64_t now_ms = load_now_ms(load);
	int timeout_ms = -1, n;
	bool ended = false;

	if (until_ms != SB_WHEEL_NEVER)
		timeout_ms = until_ms > now_ms ? until_ms - now_ms : 0;
	n = epoll_wait(load->epoll_fd, events, EVENTS_PER_TURN, timeout_ms);
	for (int i = 0; i < n; i++) {
		if (!events[i].data.ptr)
			ended = true;
		else
			load_client_event(load, events[i].data.ptr, events[i].events);
	}
	return ended;
}

/* All clients connect. Returns whether a signal asked to end. */
static bool run_connects(struct load *load)
{
	bool ended = false;

	while (!ended && (load->begun < load->opts.clients || load->connecting)) {
		connect_more(load);
		run_timers(load);
		if (load->connecting)
			ended = run_events(load, sb_wheel_next(&load->wheel));
	}
	return ended;
}

static void run_load(struct load *load)
{
	const struct load_opts *opts = &load->opts;
	uint64_t ready_ms = load_now_ms(load), now_ms = ready_ms, churned = 0;
	bool ended = false;

	while (!ended && !(opts->duration_ms && now_ms >= ready_ms + opts->duration_ms)) {
		uint64_t until_ms = SB_WHEEL_NEVER;

		if (opts->stop_after_ms && !load->stopped) {
			if (now_ms >= ready_ms + opts->stop_after_ms)
				stop(load);
			else
				earlier(&until_ms, ready_ms + opts->stop_after_ms);
		}
		if (!load->stopped) {
			run_timers(load);
			earlier(&until_ms, sb_wheel_next(&load->wheel));
		}
		if (opts->churn_per_s && !load->stopped) {
			uint64_t due = (now_ms - ready_ms) * opts->churn_per_s / 1000;

			churn(load, due - churned);
			churned = due;
			earlier(&until_ms, ready_ms + (due + 1) * 1000 / opts->churn_per_s + 1);
		}
		if (opts->duration_ms)
			earlier(&until_ms, ready_ms + opts->duration_ms);
		ended = run_events(load, until_ms);
		now_ms = load_now_ms(load);
	}
}

/* Begin nothing new, take the answers that are under way. */
static void finish(struct load *load)
{
	uint64_t end_ms = load_now_ms(load) + FINISH_MS;

	load->finishing = true;
	while (load->outstanding && !load->stopped && !load->opts.slow_ms &&
	       load_now_ms(load) < end_ms)
		run_events(load, end_ms);
}

static int open_signals(struct load *load)
{
	struct epoll_event event = { .events = EPOLLIN };
	sigset_t set;
	int fd;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -1;
	fd = signalfd(-1, &set, SFD_CLOEXEC);
	if (fd < 0)
		return -1;
	return epoll_ctl(load->epoll_fd, EPOLL_CTL_ADD, fd, &event);
}

static int setup(struct load *load)
{
	struct rlimit limit;

	if (!getrlimit(RLIMIT_NOFILE, &limit)) {
		limit.rlim_cur = limit.rlim_max;
		setrlimit(RLIMIT_NOFILE, &limit);
	}
	load->random = getpid() * 2654435761u | 1;
	load->start_us = load_now_us();
	sb_wheel_init(&load->wheel, 0);
	load->clients = calloc(load->opts.clients, sizeof(*load->clients));
	load->epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	if (!load->clients || load->epoll_fd < 0 || open_signals(load))
		return -1;
	for (uint32_t i = 0; i < load->opts.clients; i++)
		load->clients[i].fd = -1;
	return 0;
}

static int verdict(const struct load *load)
{
	if (load->first_error[0])
		fprintf(stderr, "sockbeat-load: %s\n", load->first_error);
	return load->errors || load->mismatched ||
	       (load->closed_by_server && !load->opts.expect_close);
}

int main(int argc, char **argv)
{
	static struct load load = {
		.opts = { .clients = 1, .period_ms = 1000 },
	};
	int err;

	argp_parse(&argp, argc, argv, 0, NULL, &load.opts);
	if (setup(&load)) {
		perror("sockbeat-load");
		return EXIT_FAILURE;
	}
	if (!run_connects(&load)) {
		if (load_report_ready(&load))
			return EXIT_FAILURE;
		run_load(&load);
	}
	finish(&load);
	err = load_report_end(&load);
	for (uint32_t i = 0; i < load.opts.clients; i++)
		load_client_close(&load, &load.clients[i]);
	free(load.clients);
	return err || verdict(&load) ? EXIT_FAILURE : EXIT_SUCCESS;
}
