// SPDX-License-Identifier: GPL-2.0-only
/*
 * The server of Documentation/library.md, built as its readers would: what it
 * is sent it sends back, and of two clients it closes the one that is silent.
 * The engine is the one that SOCKBEAT_TEST_ENGINE names, builtin by default.
 */
#define _GNU_SOURCE
#include "sockbeatd.h"
#include "tcp.h"
#include "harness.h"

#define SERVER		"example_server"

FIXTURE(example) {
	uint64_t timeout_ms;
	pid_t pid;
	uint16_t port;
	FILE *log;	/* what it says */
};

static int connect_to(FIXTURE_DATA(example) *self)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	int fd = tcp_connect(AF_INET, "127.0.0.1", self->port), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static bool sends_back(int fd, const void *data, size_t len)
{
	char got[4096];

	return send(fd, data, len, MSG_NOSIGNAL) == len && recv(fd, got, len, MSG_WAITALL) == len &&
	       !memcmp(got, data, len);
}

FIXTURE_SETUP(example)
{
	const char *engine = getenv("SOCKBEAT_TEST_ENGINE");
	char port[16], timeout[16], line[256] = "";
	int out[2];

	if (access(beside(SERVER), X_OK))
		SKIP(return, "there is no %s", SERVER);
	self->timeout_ms = is_slow() ? 5000 : 1000;
	snprintf(timeout, sizeof(timeout), "%d", (int)self->timeout_ms);
	close(tcp_listen(AF_INET, "127.0.0.1", &self->port));
	snprintf(port, sizeof(port), "%d", self->port);
	ASSERT_EQ(0, pipe2(out, O_CLOEXEC));
	self->pid = fork();
	if (!self->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		dup2(out[1], STDERR_FILENO);
		execl(beside(SERVER), SERVER, port, timeout, NULL);
		_exit(127);
	}
	ASSERT_LT(0, self->pid);
	close(out[1]);
	self->log = fdopen(out[0], "r");
	/* Once it listens it says which engine it uses. */
	ASSERT_NE(NULL, fgets(line, sizeof(line), self->log));
	if (engine && !strcmp(engine, "kernel"))
		ASSERT_NE(NULL, strstr(line, "the sockbeat module answers")) TH_LOG("%s", line);
}

FIXTURE_TEARDOWN(example)
{
	if (self->pid <= 0)
		return;
	/* It has not ended by itself. */
	EXPECT_EQ(0, waitpid(self->pid, NULL, WNOHANG));
	kill(self->pid, SIGKILL);
	waitpid(self->pid, NULL, 0);
	fclose(self->log);
}

TEST_F(example, sends_back)
{
	char data[3000];
	int fd;

	for (size_t i = 0; i < sizeof(data); i++)
		data[i] = i * 7;
	/* More clients than one, and each gone before the next. */
	for (int i = 0; i < 20; i++) {
		fd = connect_to(self);
		ASSERT_TRUE(sends_back(fd, wire_heartbeat, 8));
		ASSERT_TRUE(sends_back(fd, "hello", 5));
		ASSERT_TRUE(sends_back(fd, wire_heartbeat, 8));
		ASSERT_TRUE(sends_back(fd, data, sizeof(data)));
		if (i % 2)
			close(fd);
		else
			tcp_abort(fd);
	}
}

TEST_F(example, silent_client_is_closed_and_no_other)
{
	uint64_t start_ms = now_ms(), end_ms = start_ms + self->timeout_ms + PATIENCE_MS;
	int silent = connect_to(self), talking = connect_to(self), mute = connect_to(self);
	struct pollfd ends[] = { { silent, POLLIN }, { mute, POLLIN } };
	bool closed[2] = { false };
	char byte;

	ASSERT_TRUE(sends_back(silent, "hello", 5));
	while ((!closed[0] || !closed[1]) && now_ms() < end_ms) {
		ASSERT_TRUE(sends_back(talking, wire_heartbeat, 8));
		poll(ends, 2, self->timeout_ms / 10);
		for (int i = 0; i < 2; i++) {
			if (closed[i] || !ends[i].revents)
				continue;
			/* An end, in order; and not before its time. */
			EXPECT_EQ(0, recv(ends[i].fd, &byte, 1, 0));
			EXPECT_LE(start_ms + self->timeout_ms, now_ms());
			closed[i] = true;
			ends[i].fd = -1;
		}
	}
	EXPECT_TRUE(closed[0]);
	EXPECT_TRUE(closed[1]);

	/* For as long again and longer. */
	for (end_ms = now_ms() + 2 * self->timeout_ms; now_ms() < end_ms; usleep(self->timeout_ms * 100))
		ASSERT_TRUE(sends_back(talking, wire_heartbeat, 8));
	close(silent);
	close(mute);
	close(talking);
}

/* Its silence is news that lies there when it is heard again, be it that the kernel
 * answers.
 */
TEST_F(example, heard_again_while_stopped)
{
	int fd = connect_to(self), status;

	ASSERT_TRUE(sends_back(fd, wire_heartbeat, 8));
	ASSERT_EQ(0, kill(self->pid, SIGSTOP));
	ASSERT_EQ(self->pid, waitpid(self->pid, &status, WUNTRACED));
	usleep(1500 * self->timeout_ms);
	ASSERT_EQ(8, send(fd, wire_heartbeat, 8, MSG_NOSIGNAL));
	usleep(100 * self->timeout_ms);
	ASSERT_EQ(0, kill(self->pid, SIGCONT));
	EXPECT_EQ(8, recv(fd, (char [8]){}, 8, MSG_WAITALL));
	usleep(100 * self->timeout_ms);
	EXPECT_TRUE(sends_back(fd, wire_heartbeat, 8));
	close(fd);
}

TEST_HARNESS_MAIN
