/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which of the module's allocations have failed, as the kernel's log shows by
 * the backtraces of fault injection.
 */
#ifndef SELFTESTS_SITES_H
#define SELFTESTS_SITES_H

#include <errno.h>
#include <fcntl.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/klog.h>
#include <unistd.h>

#define SITES_HIT	"/tmp/fault-sites"	/* one in a line, many times */

static int sites_kmsg = -1;

/* The console would take the backtraces for trouble, and is slow. */
static inline int sites_begin(void)
{
	sites_kmsg = open("/dev/kmsg", O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	lseek(sites_kmsg, 0, SEEK_END);
	return sites_kmsg < 0 ? -1 : klogctl(8, NULL, 1);
}

static inline bool sites_is_trouble(const char *text)
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
static inline int sites_take(void)
{
	static bool in_trace;
	char line[2048], site[256];
	FILE *hit = fopen(SITES_HIT, "a");
	int trouble = 0;
	char *text;
	ssize_t len;

	while ((len = read(sites_kmsg, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
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
		} else if (sites_is_trouble(text)) {
			fprintf(stderr, "# %s", text + 1);
			trouble++;
		}
	}
	if (hit)
		fclose(hit);
	return trouble;
}

static inline int sites_end(void)
{
	int trouble = sites_take();

	close(sites_kmsg);
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

#endif /* SELFTESTS_SITES_H */
