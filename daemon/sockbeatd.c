// SPDX-License-Identifier: BSD-3-Clause
/*
 * sockbeatd - serve clients that send heartbeats, and close those that fell
 * silent. This file: command line, signals, life of the reactors.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "log.h"
#include "notify.h"
#include "stats.h"

#define MAX_SETS	64

/* Without a descriptor for who wants statistics, look away for so long. */
#define STATS_PAUSE_MS	100

const char *argp_program_version = "sockbeatd " SOCKBEAT_VERSION;

struct arguments {
	const char *file;
	char *sets[MAX_SETS];
	size_t n_sets;
	bool test;
	bool dump;
};

enum {
	OPTION_TEST = 't',
	OPTION_DUMP = 'd',
	OPTION_CONFIG = 'c',
	OPTION_SET = 's',
};

static const struct argp_option options[] = {
	{ "config", OPTION_CONFIG, "FILE", 0, "Read settings from FILE", 0 },
	{ "set", OPTION_SET, "KEY=VALUE", 0,
	  "Set KEY in place of what the file says; may be repeated", 0 },
	{ "test-config", OPTION_TEST, NULL, 0, "Check the settings and end", 0 },
	{ "dump-config", OPTION_DUMP, NULL, 0, "Print all settings as a config file and end", 0 },
	{ 0 },
};

static error_t parse_option(int key, char *arg, struct argp_state *state)
{
	struct arguments *args = state->input;

	switch (key) {
	case OPTION_CONFIG:
		args->file = arg;
		return 0;
	case OPTION_SET:
		if (args->n_sets == MAX_SETS)
			argp_error(state, "--set: more than %d", MAX_SETS);
		args->sets[args->n_sets++] = arg;
		return 0;
	case OPTION_TEST:
		args->test = true;
		return 0;
	case OPTION_DUMP:
		args->dump = true;
		return 0;
	default:
		return ARGP_ERR_UNKNOWN;
	}
}

static const struct argp argp = {
	.options = options,
	.parser = parse_option,
	.doc = "Serve clients that send heartbeats and close those that fell silent."
	       "\vThe settings are explained in Documentation/sockbeatd.md.",
};

/* As many descriptors as we are allowed. */
static void raise_nofile(const struct config *config)
{
	struct rlimit limit;

	if (getrlimit(RLIMIT_NOFILE, &limit))
		return;
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_cur < config->max_connections)
		log_warning("limit max_connections=%u rlimit_nofile=%" PRIu64
			    " error=\"not enough descriptors for all connections\"",
			    config->max_connections, (uint64_t)limit.rlim_cur);
}

/* The signals of interest are read from a descriptor, in no handler. */
static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	if (sigprocmask(SIG_BLOCK, &set, NULL))
		return -1;
	return signalfd(-1, &set, SFD_CLOEXEC);
}

/* Returns the signal that ends the daemon, or 0. */
static int handle_signal(int signal_fd)
{
	struct signalfd_siginfo info;
	int err;

	if (read(signal_fd, &info, sizeof(info)) != sizeof(info))
		return 0;
	if (info.ssi_signo != SIGHUP)
		return info.ssi_signo;
	err = log_reopen();
	if (err)
		log_error("log error=\"%s\"", strerror(-err));
	else
		log_info("log reopened");
	return 0;
}

/* Who is asked for a snapshot and gives one is alive. A reactor that hangs keeps
 * us here, and the manager hears no more of us.
 */
static void tell_alive(int timer_fd, struct reactor *const *reactors, unsigned int n)
{
	struct reactor_snapshot snapshot;
	uint64_t times;

	if (read(timer_fd, &times, sizeof(times)) != sizeof(times))
		return;
	for (unsigned int i = 0; i < n; i++)
		reactor_snapshot(reactors[i], &snapshot);
	notify("WATCHDOG=1");
}

/* Serve signals, statistics and the manager until it is time to end. */
static void run_main(int signal_fd, int stats_fd, struct reactor *const *reactors, unsigned int n)
{
	struct pollfd fds[] = {
		{ .fd = signal_fd, .events = POLLIN },
		{ .fd = stats_fd, .events = POLLIN },
		{ .fd = notify_timer(), .events = POLLIN },
	};
	int signal = 0;
	bool ok = true;

	while (!signal) {
		fds[1].fd = ok ? stats_fd : -1;
		if (poll(fds, 3, ok ? -1 : STATS_PAUSE_MS) < 0)
			continue;
		ok = !fds[1].revents || stats_serve(stats_fd, reactors, n);
		if (fds[2].revents)
			tell_alive(fds[2].fd, reactors, n);
		if (fds[0].revents)
			signal = handle_signal(signal_fd);
	}
	if (fds[2].fd >= 0)
		close(fds[2].fd);
	notify("STOPPING=1");
	log_info("stopping signal=%s", sigabbrev_np(signal));
}

static bool has_kernel(const struct reactor *r)
{
	return sockbeat_engine(r->sb) == SOCKBEAT_ENGINE_KERNEL;
}

static void log_start(const struct config *config, const struct reactor *r)
{
	log_info("started engine=%s reason=\"%s\" reactors=%u epoll=%s timeout_ms=%u source=%s recycle_delay_ms=%u workers=%u",
		 has_kernel(r) ? "kernel" : "builtin", r->shared->engine_reason, config->reactors,
		 config_word("epoll", config->epoll), config->timeout_ms,
		 config_word("source", config->source), config->recycle_delay_ms, config->workers);
}

static void log_end(struct reactor *const *reactors, unsigned int n)
{
	uint64_t accepted = 0, silent = 0, drained = 0;

	for (unsigned int i = 0; i < n; i++) {
		accepted += reactors[i]->counters.accepted;
		silent += reactors[i]->counters.closed[CLOSE_SILENT];
		drained += reactors[i]->counters.closed[CLOSE_DRAIN];
	}
	log_info("stopped accepted=%" PRIu64 " silent=%" PRIu64 " drained=%" PRIu64,
		 accepted, silent, drained);
}

/* With engine=auto the module may have had room for the first ones only: what is said of
 * one would not hold for all then, so none has it.
 */
static int settle_engine(struct config *config, struct reactor_shared *shared,
			 struct reactor **reactors)
{
	const struct reactor *tells = reactors[0];
	int err = 0;

	for (unsigned int i = 0; i < config->reactors && has_kernel(tells); i++)
		tells = reactors[i];
	shared->engine_reason = sockbeat_engine_reason(tells->sb);
	if (has_kernel(tells))
		return 0;
	config->engine = SOCKBEAT_ENGINE_BUILTIN;
	for (unsigned int i = 0; i < config->reactors && !err; i++) {
		if (!has_kernel(reactors[i]))
			continue;
		reactor_destroy(reactors[i]);
		err = reactor_create(&reactors[i], config, shared, i);
	}
	return err;
}

/* Make and start all reactors; *n says how many run, also for an error. */
static int start(struct config *config, struct reactor_shared *shared,
		 struct reactor **reactors, unsigned int *n)
{
	int err = 0;

	for (unsigned int i = 0; i < config->reactors; i++) {
		err = reactor_create(&reactors[i], config, shared, i);
		if (err)
			return err;
	}
	err = settle_engine(config, shared, reactors);
	for (unsigned int i = 0; i < config->reactors && !err; i++)
		err = reactor_listen(reactors[i], config);
	if (err)
		return err;
	err = work_start(shared->work, config->workers, config->work_queue, reactors,
			 config->reactors);
	if (err) {
		log_error("workers=%u error=\"%s\"", config->workers, strerror(-err));
		return err;
	}
	while (*n < config->reactors) {
		err = reactor_start(reactors[*n]);
		if (err) {
			log_error("reactor reactor=%u error=\"%s\"", *n, strerror(-err));
			break;
		}
		++*n;
	}
	return err;
}

static int serve(struct config *config, int signal_fd, int stats_fd)
{
	struct reactor **reactors = calloc(config->reactors, sizeof(struct reactor *));
	struct work work = { 0 };
	struct reactor_shared shared = { .work = &work };
	unsigned int n = 0;
	int err = reactors ? address_limit_init(&shared.addresses, config->max_connections_per_address,
						config->max_connections) : -ENOMEM;

	if (err)
		log_error("start error=\"%s\"", strerror(-err));
	else
		err = start(config, &shared, reactors, &n);
	if (!err) {
		log_start(config, reactors[0]);
		notify("READY=1");
		run_main(signal_fd, stats_fd, reactors, n);
	}
	atomic_store(&shared.stop, true);
	for (unsigned int i = 0; i < n; i++)
		reactor_wake(reactors[i]);
	for (unsigned int i = 0; i < n; i++)
		reactor_join(reactors[i]);
	if (work.threads)
		work_stop(&work);
	if (!err)
		log_end(reactors, n);
	for (unsigned int i = 0; reactors && i < config->reactors; i++)
		reactor_destroy(reactors[i]);
	address_limit_free(&shared.addresses);
	free(reactors);
	return err ? EXIT_FAILURE : EXIT_SUCCESS;
}

static int run_daemon(struct config *config)
{
	int signal_fd, stats_fd = -1, err, ret;

	err = log_open(config->log_file, config->log_level);
	if (err) {
		fprintf(stderr, "sockbeatd: log_file: \"%s\": %s\n", config->log_file,
			strerror(-err));
		return EXIT_FAILURE;
	}
	raise_nofile(config);
	notify_open();
	/* A log or a client that has gone is an error to its writer, no more; so
	 * is a log that has become as large as it may.
	 */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);
	signal_fd = open_signals();
	if (signal_fd < 0) {
		log_error("signalfd error=\"%s\"", strerror(errno));
		return EXIT_FAILURE;
	}
	if (*config->stats_socket) {
		stats_fd = stats_open(config->stats_socket);
		if (stats_fd < 0) {
			log_error("stats_socket path=\"%s\" error=\"%s\"", config->stats_socket,
				  strerror(-stats_fd));
			close(signal_fd);
			return EXIT_FAILURE;
		}
	}
	ret = serve(config, signal_fd, stats_fd);
	if (stats_fd >= 0)
		stats_close(stats_fd, config->stats_socket);
	close(signal_fd);
	return ret;
}

int main(int argc, char **argv)
{
	struct arguments args = { 0 };
	char error[CONFIG_ERROR_BYTES];
	int ret = EXIT_SUCCESS;
	struct config config;

	argp_parse(&argp, argc, argv, 0, NULL, &args);
	if (config_load(&config, args.file, args.sets, args.n_sets, error)) {
		fprintf(stderr, "sockbeatd: %s\n", error);
		ret = EXIT_FAILURE;
	} else if (args.dump) {
		config_dump(&config, stdout);
		if (fflush(stdout) || ferror(stdout)) {
			log_error("dump-config error=\"%s\"", strerror(errno));
			ret = 1;
		}
	} else if (!args.test) {
		ret = run_daemon(&config);
	}
	config_free(&config);
	return ret;
}
