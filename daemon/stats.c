// SPDX-License-Identifier: BSD-3-Clause
#define _GNU_SOURCE
#include <errno.h>
#include <jansson.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "stats.h"

#define SEND_TIMEOUT_S	1

/* The session's gauges and counters, as in uapi/sockbeat.yaml. */
#define SESSION_STATS(X)	\
	X(live)			\
	X(silent)		\
	X(gone)			\
	X(added)		\
	X(deleted)		\
	X(silences)		\
	X(recoveries)		\
	X(sockets_gone)		\
	X(events)		\
	X(messages)		\
	X(deferrals)		\
	X(bad_stamps)		\
	X(ticks)		\
	X(tick_ns)		\
	X(checks)		\
	X(postponed)		\
	X(recycling)		\
	X(recycles)		\
	X(recycled)		\
	X(answered)		\
	X(pass_data)		\
	X(pass_partial)		\
	X(pass_position)	\
	X(pass_queue)		\
	X(pass_owned)		\
	X(pass_memory)		\
	X(pass_rate)		\
	X(pass_state)		\
	X(pass_foreign)		\
	X(probes)		\
	X(probes_answered)	\
	X(probes_skipped)	\
	X(suspects)		\
	X(shutdowns)		\
	X(aborts)		\
	X(acts_deferred)	\
	X(acts_guarded)		\
	X(guards)		\
	X(held)			\
	X(held_total)		\
	X(stale)

static int bind_path(int fd, const char *path)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	struct stat st;

	if (strlen(path) >= sizeof(address.sun_path))
		return -ENAMETOOLONG;
	strcpy(address.sun_path, path);
	/* One that nobody listens on is what a killed daemon left behind. */
	if (!connect(fd, (struct sockaddr *)&address, sizeof(address)))
		return -EADDRINUSE;
	if (errno == ECONNREFUSED && !lstat(path, &st) && S_ISSOCK(st.st_mode))
		unlink(path);
	if (bind(fd, (struct sockaddr *)&address, sizeof(address)) ||
	    chmod(path, 0660) || listen(fd, 16))
		return -errno;
	return 0;
}

/**
 * stats_open - listen for those who want statistics
 * @path: path of the unix socket
 *
 * Return: the descriptor or a negative errno.
 */
int stats_open(const char *path)
{
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	int err;

	if (fd < 0)
		return -errno;
	err = bind_path(fd, path);
	if (err) {
		close(fd);
		return err;
	}
	return fd;
}

static void sum(struct reactor_snapshot *total, const struct reactor_snapshot *one)
{
#define X(name) total->counters.name += one->counters.name;
	REACTOR_COUNTERS(X)
	REACTOR_JOB_COUNTERS(X)
#undef X
	total->free_slots += one->free_slots;
	total->counters.connections += one->counters.connections;
	for (int i = 0; i < CLOSE_CAUSE_COUNT; i++)
		total->counters.closed[i] += one->counters.closed[i];
#define X(name) total->session.name += one->session.name;
	SESSION_STATS(X)
#undef X
}

/* The places for connections: some are free, some taken, some rest. */
static json_t *pool_json(const struct reactor_snapshot *total, uint64_t slots)
{
	return json_pack("{s:I, s:I, s:I, s:I, s:I}", "slots", (json_int_t)slots,
			 "free", (json_int_t)total->free_slots,
			 "live", (json_int_t)total->counters.connections,
			 "quarantined", (json_int_t)total->session.recycling,
			 "held", (json_int_t)total->session.held);
}

/* Jobs: all = done + stale + dropped + results_closed + results_reused + those
 * that are under way.
 */
static json_t *work_json(const struct reactor_snapshot *total, const struct work *work)
{
	json_t *json = json_object();

	json_object_set_new(json, "workers", json_integer(work->n_threads));
	json_object_set_new(json, "waiting", json_integer(atomic_load(&work->waiting)));
	json_object_set_new(json, "running", json_integer(atomic_load(&work->running)));
#define X(name) json_object_set_new(json, #name, json_integer(total->counters.name));
	REACTOR_JOB_COUNTERS(X)
#undef X
	return json;
}

static json_t *to_json(const struct reactor_snapshot *total, struct reactor *const *reactors,
		       unsigned int n_reactors)
{
	const struct sockbeat *sb = reactors[0]->sb;
	json_t *session = json_object();
	json_t *closed = json_object();
	json_t *all = json_object();

#define X(name) json_object_set_new(session, #name, json_integer(total->session.name));
	SESSION_STATS(X)
#undef X
	for (int i = 0; i < CLOSE_CAUSE_COUNT; i++)
		json_object_set_new(closed, close_cause_names[i],
				    json_integer(total->counters.closed[i]));
	json_object_set_new(all, "engine",
			    json_string(sockbeat_engine(sb) == SOCKBEAT_ENGINE_KERNEL ?
					"kernel" : "builtin"));
	json_object_set_new(all, "engine_reason", json_string(reactors[0]->shared->engine_reason));
	json_object_set_new(all, "reactors", json_integer(n_reactors));
	json_object_set_new(all, "connections", json_integer(total->counters.connections));
#define X(name) json_object_set_new(all, #name, json_integer(total->counters.name));
	REACTOR_COUNTERS(X)
#undef X
	json_object_set_new(all, "log_lost", json_integer(log_lost()));
	json_object_set_new(all, "closed", closed);
	json_object_set_new(all, "pool", pool_json(total, (uint64_t)n_reactors *
						   sockbeat_capacity(sb)));
	json_object_set_new(all, "work", work_json(total, reactors[0]->shared->work));
	json_object_set_new(all, "session", session);
	return all;
}

static void send_all(int fd, const char *text)
{
	size_t len = strlen(text);

	while (len) {
		ssize_t sent = send(fd, text, len, MSG_NOSIGNAL);

		if (sent <= 0)
			return;	/* the asker's loss */
		text += sent;
		len -= sent;
	}
}

/**
 * stats_serve - answer one who connected
 * @listen_fd: what stats_open() returned
 * @reactors: running reactors
 * @n: number of them
 *
 * Return: false if nobody could be accepted and the caller should wait a bit.
 */
bool stats_serve(int listen_fd, struct reactor *const *reactors, unsigned int n)
{
	struct timeval timeout = { .tv_sec = SEND_TIMEOUT_S };
	struct reactor_snapshot total = { 0 }, one;
	int fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC);
	char *text = NULL;
	json_t *json;

	if (fd < 0) {
		int err = errno;

		if (err != EAGAIN)
			log_warning("stats error=\"%s\"", strerror(err));
		return err == EAGAIN;
	}
	for (unsigned int i = 0; i < n; i++) {
		reactor_snapshot(reactors[i], &one);
		sum(&total, &one);
	}
	json = to_json(&total, reactors, n);
	if (json)
		text = json_dumps(json, JSON_COMPACT);
	if (text && !setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &timeout, sizeof(timeout))) {
		send_all(fd, text);
		send_all(fd, "\n");
	}
	free(text);
	json_decref(json);
	close(fd);
	return true;
}

/**
 * stats_close - stop listening
 * @listen_fd: what stats_open() returned
 * @path: its path
 */
void stats_close(int listen_fd, const char *path)
{
	close(listen_fd);
	unlink(path);
}
