/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The module's tunables and counters in sysfs, and small files like them.
 */
#ifndef SELFTESTS_PARAM_H
#define SELFTESTS_PARAM_H

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARAMS		"/sys/module/sockbeat/parameters/"
#define COUNTERS	"/sys/kernel/sockbeat/"

static inline int file_write(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC), err = 0;

	if (fd < 0 || write(fd, text, strlen(text)) < 0)
		err = -errno;
	close(fd);
	return err;
}

/* Its beginning as a text, empty where it cannot be read; true where it has any. */
static inline bool file_read(const char *path, char *text, size_t size)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t len = fd < 0 ? -1 : read(fd, text, size - 1);

	close(fd);
	text[len > 0 ? len : 0] = '\0';
	return len > 0;
}

/* The number that it holds, or -1. */
static inline long file_number(const char *path)
{
	char text[32];

	return file_read(path, text, sizeof(text)) && isdigit(text[0]) ? atol(text) : -1;
}

static inline int param_write(const char *name, const char *value)
{
	char path[128];

	snprintf(path, sizeof(path), PARAMS "%s", name);
	return file_write(path, value);
}

static inline long param_read(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), PARAMS "%s", name);
	return file_number(path);
}

/* A counter of the machine. */
static inline long counter_read(const char *name)
{
	char path[128];

	snprintf(path, sizeof(path), COUNTERS "%s", name);
	return file_number(path);
}

#define PREEMPT		"/sys/kernel/debug/sched/preempt"

/* The mode in force, as in "none (voluntary) full"; NULL where it is fixed. */
static inline char *preempt_mode(char *text, size_t len)
{
	char *mode = file_read(PREEMPT, text, len) ? strchr(text, '(') : NULL;

	return mode ? strtok(mode + 1, ")") : NULL;
}

#endif /* SELFTESTS_PARAM_H */
