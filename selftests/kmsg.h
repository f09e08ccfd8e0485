/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's log, read by a test that provokes what would look like trouble on
 * the console: fault injection's backtraces, out of memory.  What is trouble all
 * the same the test finds here; and which of the module's allocations failed.
 */
#ifndef SELFTESTS_KMSG_H
#define SELFTESTS_KMSG_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

#define SITES_HIT	"/tmp/fault-sites"	/* one in a line, many times */

static int kmsg_fd = -1;

/* From here on the log is ours to read; the console shows nothing of it. */
static inline int kmsg_begin(void)
{
	kmsg_fd = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	lseek(kmsg_fd, 0, SEEK_END);
	return kmsg_fd < 0 ? -1 : klogctl(8, NULL, 1);
}

static inline bool kmsg_is_trouble(const char *text)
{
	static const char *const troubles[] = {
		"WARNING: ", "BUG: ", "INFO: possible", "INFO: task", "INFO: rcu", "UBSAN: ", "ODEBUG",
		"refcount_t", "general protection", "possible circular", "inconsistent lock",
	};
	unsigned int i;

	for (i = 0; i < sizeof(troubles) / sizeof(troubles[0]); i++) {
		if (strstr(text, troubles[i]))
			return true;
	}
	return false;
}

/* Take in what the log has by now; returns how much trouble there was. */
static inline int kmsg_take(void)
{
	static bool in_trace;
	char line[2048], site[256];
	FILE *hit = fopen(SITES_HIT, "a");
	int trouble = 0;
	char *text;
	ssize_t len;

	while ((len = read(kmsg_fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[len > 0 ? len : 0] = '\0';
		text = strchr(line, ';');
		if (!text)
			continue;
		if (strstr(text, "FAULT_INJECTION: forcing")) {
			in_trace = true;
		} else if (in_trace && !strchr(text, '?') && strstr(text, "[sockbeat]")) {
			/* The innermost one is where it was asked for. */
			if (hit && sscanf(text + 1, " %255[^/]/", site) == 1)
				fprintf(hit, "%s\n", site);
			in_trace = false;
		} else if (kmsg_is_trouble(text)) {
			fprintf(stderr, "# %s", text + 1);
			trouble++;
		}
	}
	if (hit)
		fclose(hit);
	return trouble;
}

static inline int kmsg_end(void)
{
	int trouble = kmsg_take();

	close(kmsg_fd);
	klogctl(8, NULL, 6);
	return trouble;
}

static inline bool sites_has(FILE *hit, const char *site)
{
	char line[256];

	rewind(hit);
	while (fgets(line, sizeof(line), hit)) {
		line[strcspn(line, "\n")] = '\0';
		if (!strcmp(line, site))
			return true;
	}
	return false;
}

/* How many of the listed sites were hit; those that were not are named. */
static inline int sites_print(int *all)
{
	const char *path = getenv("SOCKBEAT_TEST_SITES");
	FILE *list = path ? fopen(path, "r") : NULL, *hit = fopen(SITES_HIT, "r");
	char site[256], called[256];
	int n = 0;

	*all = 0;
	while (list && hit && fscanf(list, "%255s %255s", site, called) == 2) {
		++*all;
		if (sites_has(hit, site))
			n++;
		else
			printf("# never failed: %s, of %s\n", called, site);
	}
	printf("# %d of %d calls that allocate have failed\n", n, *all);
	if (list)
		fclose(list);
	if (hit)
		fclose(hit);
	return n;
}

#endif /* SELFTESTS_KMSG_H */
