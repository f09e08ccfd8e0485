// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatd and floods: of connections, of heartbeats, of SYNs.
 */
#define _GNU_SOURCE
#include "daemon_load.h"
#include "cable.h"
#include "raw.h"

/* Connect and leave, politely and rudely. */
static void come_and_go(FIXTURE_DATA(daemon) *self, int n)
{
	for (int i = 0; i < n; i++) {
		int fd = tcp_connect(AF_INET, "127.0.0.1", self->d.port);

		if (fd < 0)
			_exit(1);
		if (i % 2)
			tcp_abort(fd);
		else
			close(fd);
	}
}

TEST_F(daemon, accept_flood)
{
	int n = is_slow() ? 500 : 4000, fd;

	START();
	fd = client(self);
	EXPECT_SERVED_THROUGH(fd, attack(come_and_go, self, n));
	EXPECT_EQ(n + 1, sockbeatd_stat_wait(&self->d, "", "accepted", n + 1));
	EXPECT_EQ(n, sockbeatd_stat_wait(&self->d, "closed", "peer_close", n / 2) +
		     sockbeatd_stat_wait(&self->d, "closed", "reset", n / 2));
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "", "connections"));
	EXPECT_TRUE(adds_up(self));
	EXPECT_TRUE(is_served(fd));
	close(fd);
}

/* However a client went, its address has the place back. */
TEST_F(daemon, accept_flood_with_a_limit)
{
	int n = is_slow() ? 500 : 4000, fd[10];

	START("max_connections_per_address=10", "reactors=2");
	fd[0] = client(self);
	ASSERT_TRUE(is_served(fd[0]));
	EXPECT_SERVED_THROUGH(fd[0], attack(come_and_go, self, n));
	EXPECT_EQ(n + 1, sockbeatd_stat_wait(&self->d, "", "accepted", n + 1));
	for (uint64_t until_ms = now_ms() + PATIENCE_MS; now_ms() < until_ms;) {
		if (sockbeatd_stat(&self->d, "", "connections") == 1)
			break;
	}
	EXPECT_TRUE(adds_up(self));
	for (int i = 1; i < 10; i++) {
		fd[i] = client(self);
		EXPECT_TRUE(is_served(fd[i])) TH_LOG("client %d", i);
	}
	for (int i = 0; i < 10; i++)
		close(fd[i]);
}

TEST_F(daemon, a_thousand_from_one_address)
{
	static int fd[1000];
	int n = is_slow() ? 300 : 1000;

	if (!raise_nofile(n + 100))
		SKIP(return, "RLIMIT_NOFILE is too low");
	START("reactors=3");
	for (int i = 0; i < n; i++) {
		fd[i] = client(self);
		ASSERT_LE(0, fd[i]);
	}
	for (int i = 0; i < n; i++) {
		ASSERT_TRUE(is_served(fd[i])) TH_LOG("client %d", i);
	}
	EXPECT_EQ(n, sockbeatd_stat(&self->d, "", "connections"));
	EXPECT_EQ(0, closed(self, "address_limit"));
	for (int i = 0; i < n; i++)
		close(fd[i]);
}

static int client_from(FIXTURE_DATA(daemon) *self, const char *from)
{
	return tcp_connect_from(AF_INET, from, "127.0.0.1", self->d.port);
}

TEST_F(daemon, a_thousand_against_a_limit)
{
	int n = is_slow() ? 300 : 1000, served = 0, other, last = -1;
	static int fd[1000];

	if (!raise_nofile(n + 100))
		SKIP(return, "RLIMIT_NOFILE is too low");
	START("max_connections_per_address=100", "max_connections=200", "reactors=3",
	      "when_full=wait");
	for (int i = 0; i < n; i++) {
		fd[i] = client(self);
		ASSERT_LE(0, fd[i]);
	}
	for (int i = 0; i < n; i++) {
		if (!is_served(fd[i]))
			continue;
		served++;
		last = i;
	}
	EXPECT_EQ(100, served);
	EXPECT_EQ(n - 100, closed(self, "address_limit"));
	EXPECT_TRUE(adds_up(self));
	other = client_from(self, "127.0.0.2");
	EXPECT_TRUE(is_served(other));

	/* One goes, one comes. */
	ASSERT_LE(0, last);
	close(fd[last]);
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "peer_close", 1));
	fd[last] = client(self);
	EXPECT_TRUE(is_served(fd[last]));
	close(other);
	other = client(self);
	EXPECT_TRUE(expect_end(other));
	EXPECT_EQ(n - 100 + 1, closed(self, "address_limit"));
	close(other);
	for (int i = 0; i < n; i++)
		close(fd[i]);
}

TEST_F(daemon, address_limit_of_ipv6)
{
	int fd[3];

	START("listen=[::1]:0", "max_connections_per_address=2");
	for (int i = 0; i < 3; i++)
		fd[i] = tcp_connect(AF_INET6, "::1", self->d.port);
	EXPECT_TRUE(is_served(fd[0]));
	EXPECT_TRUE(is_served(fd[1]));
	EXPECT_TRUE(expect_end(fd[2]));
	EXPECT_EQ(1, closed(self, "address_limit"));
	for (int i = 0; i < 3; i++)
		close(fd[i]);
}

/* Heartbeats as fast as they are taken, and every answer. */
static void beat_fast(FIXTURE_DATA(daemon) *self, int n)
{
	static uint8_t wire[65536], got[65536];
	size_t sent = 0, received = 0, all = 8ul * n;
	int fd = client(self);

	wire_heartbeats(wire, sizeof(wire) / 8);
	while (received < all) {
		struct pollfd pfd = { .fd = fd, .events = POLLIN | (sent < all ? POLLOUT : 0) };
		ssize_t len;

		if (poll(&pfd, 1, PATIENCE_MS) <= 0)
			_exit(1);
		if (pfd.revents & POLLIN) {
			len = recv(fd, got, sizeof(got), MSG_DONTWAIT);
			if (len <= 0)
				_exit(2);
			received += len;
		}
		if (pfd.revents & POLLOUT) {
			len = all - sent < sizeof(wire) ? all - sent : sizeof(wire);
			len = send(fd, wire, len, MSG_DONTWAIT | MSG_NOSIGNAL);
			sent += len > 0 ? len : 0;
		}
	}
	_exit(0);
}

TEST_F(daemon, heartbeat_flood)
{
	int n = is_slow() ? 50000 : 2000000, fd;

	START();
	fd = client(self);
	EXPECT_SERVED_THROUGH(fd, attack(beat_fast, self, n));
	EXPECT_LE(n, answered(self, "heartbeats"));
	EXPECT_EQ(1, sockbeatd_stat_wait(&self->d, "closed", "peer_close", 1));
	EXPECT_TRUE(adds_up(self));
	close(fd);
}

/* The same client, with the limit that there is by default. */
TEST_F(daemon, heartbeat_flood_with_a_limit)
{
	int fd, status;
	pid_t pid;

	START("max_frames_per_s=100");
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	pid = attack(beat_fast, self, 2000000);
	ASSERT_EQ(pid, waitpid(pid, &status, 0));
	EXPECT_EQ(2, WEXITSTATUS(status));
	EXPECT_EQ(1, closed(self, "flood"));
	EXPECT_TRUE(adds_up(self));
	EXPECT_TRUE(is_served(fd));
	close(fd);
}

/* A SYN of a client that is not there. */
static bool send_syn(int raw, uint16_t port, int number)
{
	const struct tcphdr tcp = {
		.source = htons(1024 + number), .dest = htons(port), .syn = 1,
		.window = htons(1024), .seq = htonl(number),
	};

	return raw_send(raw, 0x0a090100 + number % 50000, 0x0a090001, &tcp, NULL, 0);
}

/* Connections in SYN_RECV. */
static int half_open(void)
{
	FILE *file = fopen("/proc/thread-self/net/tcp", "r");
	char line[256];
	int n = 0;

	while (file && fgets(line, sizeof(line), file))
		n += !!strstr(line, " 03 ");
	if (file)
		fclose(file);
	return n;
}

/* Handshakes that are never completed stay in the kernel: the process sees
 * nothing of them, and who means it comes through.
 */
TEST_F(daemon, syn_and_leave)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;
	struct cable cable;
	int raw, fd, i, seen;

	if (cable_lay(&cable))
		SKIP(return, "no network namespace to be had");
	START("listen=10.9.0.1:0");
	ASSERT_EQ(0, netns_enter(cable.away));
	raw = socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_RAW);
	ASSERT_LE(0, raw);
	for (i = 0; i < 6000; i++)
		ASSERT_TRUE(send_syn(raw, self->d.port, i));
	ASSERT_EQ(0, netns_enter(cable.home));
	/* They come and go: some are given up while others are made. */
	do
		seen = half_open();
	while (seen < 100 && now_ms() < until_ms);
	EXPECT_LE(100, seen);
	ASSERT_EQ(0, netns_enter(cable.away));
	fd = tcp_connect(AF_INET, "10.9.0.1", self->d.port);
	ASSERT_LE(0, fd);
	EXPECT_TRUE(is_served(fd));
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "", "accepted"));
	EXPECT_TRUE(adds_up(self));
	close(fd);
	close(raw);
	cable_remove(&cable);
}

/* Where room comes one by one, clients of one address do not take all of it. */
TEST_F(daemon, two_addresses_take_turns)
{
	enum { MANY = 20 };
	int a[MANY], b, i;

	START("listen=127.0.0.1:0,127.0.0.2:0", "max_connections=2", "when_full=wait");
	for (i = 0; i < MANY; i++) {
		a[i] = client(self);
		ASSERT_TRUE(put(a[i], wire_heartbeat, 8));
	}
	/* Before the other comes, who might have the second place. */
	ASSERT_TRUE(expect(a[0], wire_heartbeat, 8) && expect(a[1], wire_heartbeat, 8));
	b = tcp_connect(AF_INET, "127.0.0.2",
			number_at(self->d.log, "listening address=127.0.0.2:"));
	ASSERT_LE(0, b);
	ASSERT_TRUE(put(b, wire_heartbeat, 8));
	for (i = 2; i < MANY; i++) {
		struct pollfd pfd[] = { { .fd = b, .events = POLLIN },
					{ .fd = a[i], .events = POLLIN } };

		close(a[i - 2]);
		ASSERT_EQ(1, poll(pfd, 2, PATIENCE_MS));
		if (pfd[0].revents)
			break;
	}
	EXPECT_GT(5, i);
	EXPECT_TRUE(expect(b, wire_heartbeat, 8));
	for (i = i < MANY ? i - 1 : MANY - 2; i < MANY; i++)
		close(a[i]);
	close(b);
}

TEST_HARNESS_MAIN
