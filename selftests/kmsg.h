/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The kernel's log, read by a test that provokes what would look like trouble on
 * the console: fault injection's backtraces, out of memory.  What is trouble all
 * the same the test finds here.
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

/* The kernel has data races of its own: a report of one, between two lines of "=",
 * counts where it names us, but not for having called what races with itself.
 */
static inline bool kmsg_is_ours(const char *text)
{
	static bool in_race, is_kernels;
	const char *first;

	if (strstr(text, "BUG: KCSAN")) {
		in_race = true;
		first = strstr(text, "hrtimer");
		is_kernels = (first && strstr(first + 1, "hrtimer")) ||
			     strstr(text, "mem_cgroup_flush_stats");
	} else if (strstr(text, "=====")) {
		in_race = false;
	}
	return in_race ? !is_kernels && strstr(text, "[sockbeat]") : kmsg_is_trouble(text);
}

/* Take in what the log has by now; returns how much trouble there was. */
static inline int kmsg_take(void)
{
	char line[2048], *text;
	int trouble = 0;
	ssize_t len;

	while ((len = read(kmsg_fd, line, sizeof(line) - 1)) > 0 || errno == EPIPE) {
		line[len > 0 ? len : 0] = '\0';
		text = strchr(line, ';');
		if (!text)
			continue;
		if (kmsg_is_ours(text)) {
			fprintf(stderr, "# %s", text + 1);
			trouble++;
		}
	}
	return trouble;
}

static inline int kmsg_end(void)
{
	int trouble = kmsg_take();

	close(kmsg_fd);
	klogctl(8, NULL, 6);
	return trouble;
}

#endif /* SELFTESTS_KMSG_H */
