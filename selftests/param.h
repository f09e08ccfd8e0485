/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The module's tunables in sysfs.
 */
#ifndef SELFTESTS_PARAM_H
#define SELFTESTS_PARAM_H

#include <ctype.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define PARAMS "/sys/module/sockbeat/parameters/"

static inline int param_write(const char *name, const char *value)
{
	char path[128];
	int fd, err = 0;

	snprintf(path, sizeof(path), PARAMS "%s", name);
	fd = open(path, O_WRONLY);
	if (fd < 0 || write(fd, value, strlen(value)) < 0)
		err = -errno;
	close(fd);
	return err;
}

static inline long param_read(const char *name)
{
	char path[128], text[32] = "";
	int fd;

	snprintf(path, sizeof(path), PARAMS "%s", name);
	fd = open(path, O_RDONLY);
	if (fd < 0 || read(fd, text, sizeof(text) - 1) <= 0)
		text[0] = '\0';
	close(fd);
	return isdigit(text[0]) ? atol(text) : -1;
}

#endif /* SELFTESTS_PARAM_H */
