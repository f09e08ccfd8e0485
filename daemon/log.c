// SPDX-License-Identifier: BSD-3-Clause
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "log.h"

static const char *const level_names[] = { "error", "warning", "info", "debug" };

/* Written by log_open() before there are threads, only read afterwards. */
static int log_fd = STDERR_FILENO;
static enum log_level log_max = LOG_LEVEL_INFO;
static const char *log_path;

/* Lines that were not written, or not whole; how many of them the log was told. */
static atomic_ullong lost, lost_told;

/* The log's last line has no end. */
static atomic_bool is_cut;

/* A pipe that nobody reads is refused with ENXIO: who waits for a reader serves
 * nobody meanwhile.
 */
static int open_file(const char *path)
{
	int fd = open(path, O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC | O_NONBLOCK, 0640);

	if (fd < 0)
		return -errno;
	fcntl(fd, F_SETFL, O_APPEND);
	return fd;
}

/**
 * log_open - choose where log lines go
 * @path: file to append to, empty for stderr; must stay valid
 * @level: the least important level that is written
 *
 * Return: 0 or a negative errno.
 */
int log_open(const char *path, enum log_level level)
{
	int fd;

	log_max = level;
	if (!*path)
		return 0;
	fd = open_file(path);
	if (fd < 0)
		return fd;
	log_fd = fd;
	log_path = path;
	return 0;
}

/**
 * log_reopen - open the log's file anew, after it was rotated away
 *
 * The new file takes the place of the old one under the same descriptor, so
 * that threads that write at this moment need no lock.
 *
 * Return: 0 or a negative errno; the old file stays in use then.
 */
int log_reopen(void)
{
	int fd, err = 0;

	if (!log_path)
		return 0;
	fd = open_file(log_path);
	if (fd < 0)
		return fd;
	if (dup3(fd, log_fd, O_CLOEXEC) < 0)
		err = -errno;
	close(fd);
	return err;
}

/**
 * log_wants - whether lines of a level are written
 * @level: the level
 *
 * Return: true if so; lets a caller skip work that only the log needs.
 */
bool log_wants(enum log_level level)
{
	return level <= log_max;
}

/**
 * log_lost - how many lines could not be written, or not whole
 *
 * Return: the number, since the start.
 */
unsigned long long log_lost(void)
{
	return atomic_load_explicit(&lost, memory_order_relaxed);
}

/* Write a line, which begins with the newline that a cut one may lack. A log
 * that cannot be written must not stop the service.
 */
static bool write_line(const char *line, size_t len)
{
	size_t skip = !atomic_exchange_explicit(&is_cut, false, memory_order_relaxed);
	ssize_t written = write(log_fd, line + skip, len - skip);

	if (written == (ssize_t)(len - skip))
		return true;
	/* Of nothing at all, the last line's end is still missing. */
	if (written > 0 || !skip)
		atomic_store_explicit(&is_cut, true, memory_order_relaxed);
	atomic_fetch_add_explicit(&lost, 1, memory_order_relaxed);
	return false;
}

/* There is room again: say what is missing, once. */
static void tell_lost(void)
{
	unsigned long long all = log_lost();

	if (atomic_exchange_explicit(&lost_told, all, memory_order_relaxed) != all)
		log_warning("log lost=%llu", all);
}

/**
 * log_line - write a line
 * @level: how important it is
 * @fmt: printf format, without the newline
 */
void log_line(enum log_level level, const char *fmt, ...)
{
	struct timespec now;
	char line[1024];
	size_t len;
	va_list ap;
	struct tm tm;
	int n;

	if (!log_wants(level))
		return;
	clock_gettime(CLOCK_REALTIME, &now);
	gmtime_r(&now.tv_sec, &tm);
	line[0] = '\n';
	len = 1 + strftime(line + 1, sizeof(line) - 1, "%Y-%m-%dT%H:%M:%S", &tm);
	len += snprintf(line + len, sizeof(line) - len, ".%03ldZ %s ",
			now.tv_nsec / 1000000, level_names[level]);
	va_start(ap, fmt);
	n = vsnprintf(line + len, sizeof(line) - len, fmt, ap);
	va_end(ap);
	if (n < 0)
		return;
	len += n;
	if (len > sizeof(line) - 1)
		len = sizeof(line) - 1;
	line[len++] = '\n';
	if (write_line(line, len))
		tell_lost();
}
