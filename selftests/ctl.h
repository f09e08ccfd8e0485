/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Runs sockbeatctl for its tests, and compares what it prints.
 */
#ifndef SELFTESTS_CTL_H
#define SELFTESTS_CTL_H

#include <ctype.h>
#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#define OUT_BYTES	(64 * 1024)

/* What a command left: it must have fit. */
struct result {
	int status;
	char out[OUT_BYTES];
	char err[4096];
};

/* The one beside this program, installed, or that which SOCKBEATCTL names. */
static inline const char *ctl_path(void)
{
	static char path[1024];
	char self[900] = "";

	if (getenv("SOCKBEATCTL"))
		return getenv("SOCKBEATCTL");
	if (readlink("/proc/self/exe", self, sizeof(self) - 1) > 0) {
		snprintf(path, sizeof(path), "%s/../daemon/sockbeatctl", dirname(self));
		if (!access(path, X_OK))
			return path;
	}
	return "/usr/bin/sockbeatctl";
}

/* Start `sockbeatctl ARGS`, as another user where uid is not 0. */
static inline pid_t ctl_spawn(uid_t uid, int out, int err, const char *args)
{
	char command[4096];
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	snprintf(command, sizeof(command), "exec %s %s", ctl_path(), args);
	dup2(out, STDOUT_FILENO);
	dup2(err, STDERR_FILENO);
	if (uid && (setgid(uid) || setuid(uid)))
		_exit(126);
	execl("/bin/sh", "sh", "-c", command, NULL);
	_exit(127);
}

static inline void ctl_read(int fd, char *text, size_t size)
{
	ssize_t len = pread(fd, text, size - 1, 0);

	text[len > 0 ? len : 0] = '\0';
}

static inline const struct result *ctl_as(uid_t uid, const char *fmt, ...)
{
	static struct result result;
	FILE *out = tmpfile(), *err = tmpfile();
	char args[1900];
	int status = -1;
	va_list ap;
	pid_t pid;

	va_start(ap, fmt);
	vsnprintf(args, sizeof(args), fmt, ap);
	va_end(ap);
	pid = ctl_spawn(uid, fileno(out), fileno(err), args);
	waitpid(pid, &status, 0);
	result.status = WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
	ctl_read(fileno(out), result.out, sizeof(result.out));
	ctl_read(fileno(err), result.err, sizeof(result.err));
	fclose(out);
	fclose(err);
	return &result;
}

#define ctl_run(...)	ctl_as(0, __VA_ARGS__)

/* Whether a text is as the pattern says: # is a number that may vary, with the
 * spaces before it.
 */
static inline bool fits(const char *pattern, const char *text)
{
	for (; *pattern; pattern++) {
		if (*pattern != '#') {
			if (*pattern != *text++)
				return false;
			continue;
		}
		while (*text == ' ')
			text++;
		if (!isdigit(*text))
			return false;
		while (isdigit(*text))
			text++;
	}
	return !*text;
}

static inline int count_lines(const char *text)
{
	int n = 0;

	for (; *text; text++)
		n += *text == '\n';
	return n;
}

/* sockbeatctl ARGS ends so, prints that, and complains in a text that is there. */
#define EXPECT_CTL_AS(uid, want_status, want_out, want_err, ...) do {		\
	const struct result *r_ = ctl_as(uid, __VA_ARGS__);			\
										\
	EXPECT_EQ(want_status, r_->status);					\
	EXPECT_TRUE(fits(want_out, r_->out)) {					\
		TH_LOG("expected:\n%s\ngot:\n%s", want_out, r_->out);		\
	}									\
	EXPECT_STREQ(want_err, r_->err);					\
} while (0)
#define EXPECT_CTL(want_status, want_out, want_err, ...)			\
	EXPECT_CTL_AS(0, want_status, want_out, want_err, __VA_ARGS__)

#endif /* SELFTESTS_CTL_H */
