/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The fixture of the tests of sockbeatd: the real program, over real
 * connections, with edge- and with level-triggered epoll. The engine is the
 * one that SOCKBEAT_TEST_ENGINE names, builtin by default.
 */
#ifndef SELFTESTS_DAEMON_FIXTURE_H
#define SELFTESTS_DAEMON_FIXTURE_H

#include "sockbeatd.h"
#include "tcp.h"
#include "harness.h"

#define MAX_SETTINGS	16

FIXTURE(daemon) {
	struct sockbeatd d;
};

FIXTURE_VARIANT(daemon) {
	const char *epoll;
};

FIXTURE_VARIANT_ADD(daemon, edge) { .epoll = "epoll=edge" };
FIXTURE_VARIANT_ADD(daemon, level) { .epoll = "epoll=level" };

FIXTURE_SETUP(daemon)
{
}

FIXTURE_TEARDOWN(daemon)
{
	/* Whatever a test did, the daemon has to end in order. */
	if (self->d.pid > 0)
		EXPECT_EQ(0, sockbeatd_stop(&self->d)) {
			TH_LOG("%s", self->d.log);
		}
}

/* With IPv4 on loopback unless a setting says otherwise. */
static inline int start_limited(FIXTURE_DATA(daemon) *self, const FIXTURE_VARIANT(daemon) *variant,
			 int nofile, const char *const *settings)
{
	const char *sets[MAX_SETTINGS] = { "listen=127.0.0.1:0", "max_frames_per_s=0",
					   variant->epoll };
	int n = 3;

	while (*settings && n < MAX_SETTINGS - 1)
		sets[n++] = *settings++;
	return sockbeatd_start(&self->d, sets, nofile);
}

#define START_LIMITED(nofile, ...)						\
	ASSERT_EQ(0, start_limited(self, variant, nofile,			\
				   (const char *const[]){ __VA_ARGS__ __VA_OPT__(,) NULL })) { \
		TH_LOG("%s", self->d.log);					\
	}
#define START(...)	START_LIMITED(0, __VA_ARGS__)

static inline int client_at(const char *address, uint16_t port)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	int fd = tcp_connect(AF_INET, address, port), on = 1;

	if (fd >= 0) {
		setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
		setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &patience, sizeof(patience));
		setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	return fd;
}

static inline int client(FIXTURE_DATA(daemon) *self)
{
	return client_at("127.0.0.1", self->d.port);
}

/* Whether the daemon has begun to end: nobody listens any more. */
static inline bool refuses(FIXTURE_DATA(daemon) *self)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	int fd;

	while (now_ms() < until_ms) {
		fd = client(self);
		if (fd < 0)
			return true;
		close(fd);
	}
	return false;
}

static inline bool put(int fd, const void *data, size_t len)
{
	return send(fd, data, len, MSG_NOSIGNAL) == (ssize_t)len;
}

/* The next bytes from there are exactly these. */
static inline bool expect(int fd, const uint8_t *data, size_t len)
{
	static uint8_t got[65536];

	while (len) {
		size_t part = len < sizeof(got) ? len : sizeof(got);

		if (recv(fd, got, part, MSG_WAITALL) != (ssize_t)part || memcmp(got, data, part))
			return false;
		data += part;
		len -= part;
	}
	return true;
}

static inline bool is_served(int fd)
{
	return put(fd, wire_heartbeat, 8) && expect(fd, wire_heartbeat, 8);
}

/* The server ends the connection without another byte. */
static inline bool expect_end(int fd)
{
	uint8_t byte;
	ssize_t len = recv(fd, &byte, 1, 0);

	return !len || (len < 0 && errno == ECONNRESET);
}

/* Frames, or heartbeats, that were answered by the daemon or in its place. */
static inline long long answered(FIXTURE_DATA(daemon) *self, const char *key)
{
	return sockbeatd_stat(&self->d, "", key) + sockbeatd_stat(&self->d, "session", "answered");
}

static inline long long closed(FIXTURE_DATA(daemon) *self, const char *cause)
{
	return sockbeatd_stat(&self->d, "closed", cause);
}

/* Send frames without reading answers until the server has stopped to read.
 * Returns how many bytes went out.
 */
static inline size_t fill(FIXTURE_DATA(daemon) *self, int fd, const uint8_t *frame, size_t len)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	size_t total = 0;

	while (now_ms() < until_ms) {
		ssize_t sent = send(fd, frame + total % len, len - total % len,
				    MSG_DONTWAIT | MSG_NOSIGNAL);

		if (sent > 0)
			total += sent;
		else if (sockbeatd_stat(&self->d, "", "queue_pauses") > 0)
			return total;
	}
	return 0;
}

/* Send frames without reading answers until some of these wait in the server, which
 * reads on: max_queue_bytes has to allow it. Returns how many bytes were sent, and
 * have arrived.
 */
static inline size_t fill_queue(FIXTURE_DATA(daemon) *self, int fd, const uint8_t *frame, size_t len)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	size_t total = 0;

	while (now_ms() < until_ms && put(fd, frame, len)) {
		total += len;
		if (sockbeatd_stat_wait(&self->d, "", "bytes_in", total) != total)
			return 0;
		if (sockbeatd_stat(&self->d, "", "bytes_out") < total)
			return total;
	}
	return 0;
}

/* Whether a file has some text, as soon as it does. */
static inline bool file_wait(const char *path, const char *text)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	bool found = false;

	while (!found && now_ms() < until_ms) {
		char content[4096] = "";
		FILE *file = fopen(path, "r");

		if (file) {
			fread(content, 1, sizeof(content) - 1, file);
			fclose(file);
		}
		found = strstr(content, text);
		if (!found)
			usleep(5000);
	}
	return found;
}

#endif /* SELFTESTS_DAEMON_FIXTURE_H */
