/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * For tests of sockbeatd under attack, overload and want: the others are served
 * meanwhile, and every client is counted.
 */
#ifndef SELFTESTS_DAEMON_LOAD_H
#define SELFTESTS_DAEMON_LOAD_H

#include "daemon_work.h"

/* How long a client may wait for its answer while others attack. */
static inline uint64_t bound_ms(void)
{
	return is_slow() ? 15000 : 2000;
}

/* Every client that was accepted is there, or is counted by the cause of its
 * end.
 */
static inline bool adds_up(FIXTURE_DATA(daemon) *self)
{
	char text[4096], *at, *end;
	long long sum;

	if (sockbeatd_stats(&self->d, text, sizeof(text)))
		return false;
	sum = number_at(text, "\"connections\":");
	at = strstr(text, "\"closed\":{");
	at = at ? strchr(at, '{') : NULL;
	end = at ? strchr(at, '}') : NULL;
	while (end && (at = strchr(at, ':')) && at < end)
		sum += atoll(++at);
	return end && sum == number_at(text, "\"accepted\":");
}

/* As many descriptors as may be. False if that is less than is needed. */
static inline bool raise_nofile(rlim_t needed)
{
	struct rlimit limit;

	getrlimit(RLIMIT_NOFILE, &limit);
	limit.rlim_cur = limit.rlim_max;
	return !setrlimit(RLIMIT_NOFILE, &limit) && limit.rlim_cur >= needed;
}

/* An attacker in a process of its own. */
static inline pid_t attack(void (*run)(FIXTURE_DATA(daemon) *self, int n), FIXTURE_DATA(daemon) *self, int n)
{
	pid_t pid = fork();

	if (pid)
		return pid;
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	run(self, n);
	_exit(0);
}

/* Send heartbeats until an attack is over. Returns the longest time that one
 * took, or -1 where one was not answered or the attack failed.
 */
static inline int64_t served_through(int fd, pid_t attacker)
{
	uint64_t begin_ms, worst_ms = 0;
	int status = 0;

	do {
		begin_ms = now_ms();
		if (!is_served(fd))
			return -1;
		if (now_ms() - begin_ms > worst_ms)
			worst_ms = now_ms() - begin_ms;
	} while (!waitpid(attacker, &status, WNOHANG));
	return status ? -1 : (int64_t)worst_ms;
}

#define EXPECT_SERVED_THROUGH(fd, attacker) do {		\
	int64_t took_ms = served_through(fd, attacker);		\
								\
	EXPECT_LE(0, took_ms);					\
	EXPECT_GE((int64_t)bound_ms(), took_ms);		\
} while (0)

/* Stop the process, and wait until it is. */
static inline bool stop(FIXTURE_DATA(daemon) *self)
{
	int status;

	return !kill(self->d.pid, SIGSTOP) &&
	       waitpid(self->d.pid, &status, WUNTRACED) == self->d.pid && WIFSTOPPED(status);
}

/* Send until the other end does not read and there is no more room. Returns
 * how many bytes went out.
 */
static inline size_t fill_up(int fd, const uint8_t *frame, size_t len)
{
	struct pollfd pfd = { .fd = fd, .events = POLLOUT };
	size_t total = 0;
	ssize_t sent;

	while (poll(&pfd, 1, 200) == 1) {
		sent = send(fd, frame + total % len, len - total % len,
			    MSG_DONTWAIT | MSG_NOSIGNAL);
		if (sent > 0)
			total += sent;
	}
	return total;
}

/* Send what is missing of the last frame of fill_up(), and take the answer to it. */
static inline bool finish_frame(int fd, const uint8_t *frame, size_t len, size_t total)
{
	return !(total % len) ||
	       (put(fd, frame + total % len, len - total % len) && expect(fd, frame, len));
}

#endif /* SELFTESTS_DAEMON_LOAD_H */
