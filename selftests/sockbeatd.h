/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs the real sockbeatd for tests and benchmarks: starts it, follows its
 * log, asks its statistics. And the wire format, by other code than its own.
 */
#ifndef SELFTESTS_SOCKBEATD_H
#define SELFTESTS_SOCKBEATD_H

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>
#include "wire.h"

/* Long enough for an emulated machine with sanitizers; never waited in full
 * where all is well.
 */
#define PATIENCE_MS	20000

struct sockbeatd {
	pid_t pid;
	int log_fd;
	uint16_t port;
	char stats_path[64];
	char log[65536];
	size_t log_len;
};

static inline uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

/* Whether the tests are of the kernel engine. */
static inline bool on_kernel(void)
{
	const char *engine = getenv("SOCKBEAT_TEST_ENGINE");

	return engine && !strcmp(engine, "kernel");
}

/* Processor time that a process has used; LONG_MAX where that cannot be read. */
static inline long cpu_ms(pid_t pid)
{
	unsigned long user = 0, system = 0;
	char path[64], text[1024] = "";
	long used = LONG_MAX;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/stat", pid);
	file = fopen(path, "r");
	if (file && fgets(text, sizeof(text), file) &&
	    sscanf(strrchr(text, ')'), ") %*c %*d %*d %*d %*d %*d %*u %*u %*u %*u %*u %lu %lu",
		   &user, &system) == 2)
		used = (user + system) * 1000 / sysconf(_SC_CLK_TCK);
	if (file)
		fclose(file);
	return used;
}

/* A program of ours: next to the tests in the build directory, or installed. */
static inline void program_path(const char *name, char path[PATH_MAX])
{
	char self[PATH_MAX - 64] = "";

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) > 0) {
		snprintf(path, PATH_MAX, "%s/../daemon/%s", dirname(self), name);
		if (!access(path, X_OK))
			return;
	}
	snprintf(path, PATH_MAX, "%s", name);
}

/* A file that lies beside this program, or with its source. */
static inline const char *beside(const char *name)
{
	static char path[PATH_MAX];
	char self[PATH_MAX - 64] = "";

	if (readlink("/proc/self/exe", self, sizeof(self) - 1) < 0)
		return name;
	snprintf(path, sizeof(path), "%s/%s", dirname(self), name);
	if (access(path, X_OK))
		snprintf(path, sizeof(path), "%s/../../selftests/%s", self, name);
	return path;
}

/* Read more of the log, up to a deadline. False at its end or when time is up. */
static inline bool log_more(struct sockbeatd *d, uint64_t until_ms)
{
	struct pollfd pfd = { .fd = d->log_fd, .events = POLLIN };
	uint64_t now = now_ms();
	ssize_t len;

	if (now >= until_ms || poll(&pfd, 1, until_ms - now) <= 0)
		return false;
	/* Keep the newer half of a long log. */
	if (d->log_len > sizeof(d->log) - 4096) {
		memmove(d->log, d->log + d->log_len / 2, d->log_len - d->log_len / 2);
		d->log_len -= d->log_len / 2;
	}
	len = read(d->log_fd, d->log + d->log_len, sizeof(d->log) - 1 - d->log_len);
	if (len <= 0)
		return false;
	d->log_len += len;
	d->log[d->log_len] = '\0';
	return true;
}

/* Wait until the log has a whole line with some text. Returns the text's place. */
static inline const char *log_wait(struct sockbeatd *d, const char *text)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	const char *found;

	do {
		found = strstr(d->log, text);
		if (found && strchr(found, '\n'))
			return found;
	} while (log_more(d, until_ms));
	return NULL;
}

/**
 * sockbeatd_spawn - run it
 * @d: filled in
 * @sets: KEY=VALUE texts, ending with NULL
 * @nofile: limit of descriptors, or 0
 *
 * Return: 0, or -1.
 */
static inline int sockbeatd_spawn(struct sockbeatd *d, const char *const *sets, int nofile)
{
	const char *engine = getenv("SOCKBEAT_TEST_ENGINE");
	const char *program = getenv("SOCKBEAT_TEST_SOCKBEATD");
	struct rlimit limit = { nofile, nofile };
	char path[PATH_MAX], *args[128];
	int pipe_fd[2], n = 0;

	memset(d, 0, sizeof(*d));
	if (program)
		snprintf(path, sizeof(path), "%s", program);
	else
		program_path("sockbeatd", path);
	args[n++] = path;
	for (snprintf(d->stats_path, sizeof(d->stats_path), "/tmp/sockbeatd-stats-%d", getpid());
	     *sets; sets++) {
		args[n++] = "--set";
		args[n++] = (char *)*sets;
	}
	args[n++] = "--set";
	if (asprintf(&args[n++], "engine=%s", engine ? engine : "builtin") < 0)
		return -1;
	args[n++] = "--set";
	if (asprintf(&args[n++], "stats_socket=%s", d->stats_path) < 0)
		return -1;
	args[n] = NULL;

	if (pipe2(pipe_fd, O_CLOEXEC))
		return -1;
	d->pid = fork();
	if (!d->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(pipe_fd[1], STDERR_FILENO);
		if (nofile)
			setrlimit(RLIMIT_NOFILE, &limit);
		execvp(path, args);
		fprintf(stderr, "%s: %s\n", path, strerror(errno));
		_exit(127);
	}
	close(pipe_fd[1]);
	free(args[n - 3]);
	free(args[n - 1]);
	d->log_fd = pipe_fd[0];
	return d->pid < 0 ? -1 : 0;
}

/* The same, and wait until it serves; listening at port 0 is a port of its
 * own choice. Returns -1 when it did not start; d->log has what it said.
 */
static inline int sockbeatd_start(struct sockbeatd *d, const char *const *sets, int nofile)
{
	const char *text;

	if (sockbeatd_spawn(d, sets, nofile) || !log_wait(d, " started "))
		return -1;
	text = strstr(d->log, "listening address=");
	text = text ? strchr(text, '\n') : NULL;
	while (text && *text != ':')
		text--;
	d->port = text ? atoi(text + 1) : 0;
	return d->port ? 0 : -1;
}

/* Wait for its end. Returns the status of waitpid(), or -1 for none in time. */
static inline int sockbeatd_wait(struct sockbeatd *d)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	int status;

	/* The log's end comes with the process's. */
	while (log_more(d, until_ms))
		;
	if (now_ms() >= until_ms)
		kill(d->pid, SIGKILL);
	if (waitpid(d->pid, &status, 0) != d->pid)
		return -1;
	d->pid = 0;
	close(d->log_fd);
	unlink(d->stats_path);
	return status;
}

static inline int sockbeatd_stop(struct sockbeatd *d)
{
	if (d->pid <= 0)
		return -1;
	kill(d->pid, SIGTERM);
	return sockbeatd_wait(d);
}

/* Its statistics as JSON text. */
static inline int sockbeatd_stats(struct sockbeatd *d, char *text, size_t size)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	size_t len = 0;
	ssize_t got;
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	strcpy(address.sun_path, d->stats_path);
	if (connect(fd, (struct sockaddr *)&address, sizeof(address))) {
		close(fd);
		return -1;
	}
	while ((got = read(fd, text + len, size - 1 - len)) > 0)
		len += got;
	close(fd);
	text[len] = '\0';
	return len ? 0 : -1;
}

/* The number behind the first @key, or -1. */
static inline long long number_at(const char *text, const char *key)
{
	const char *at = strstr(text, key);

	return at ? atoll(at + strlen(key)) : -1;
}

/* One number out of them, or -1; @section is "" or the name of an inner object. */
static inline long long sockbeatd_number(const char *text, const char *section, const char *key)
{
	const char *at = text;
	char pattern[64];

	if (*section) {
		snprintf(pattern, sizeof(pattern), "\"%s\":{", section);
		at = strstr(text, pattern);
	}
	snprintf(pattern, sizeof(pattern), "\"%s\":", key);
	return at ? number_at(at, pattern) : -1;
}

/* The same, asked for. */
static inline long long sockbeatd_stat(struct sockbeatd *d, const char *section, const char *key)
{
	char text[4096];

	return sockbeatd_stats(d, text, sizeof(text)) ? -1 : sockbeatd_number(text, section, key);
}

/* Wait until a number is at least so much. Returns the last value seen. */
static inline long long sockbeatd_stat_wait(struct sockbeatd *d, const char *section,
					    const char *key, long long least)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	long long value;

	while ((value = sockbeatd_stat(d, section, key)) < least && now_ms() < until_ms)
		usleep(5000);
	return value;
}

#endif /* SELFTESTS_SOCKBEATD_H */
