// SPDX-License-Identifier: GPL-2.0-only
/*
 * Heartbeat offload and clients that nobody here wrote: redis-cli,
 * redis-benchmark, mosquitto_sub and two WebSocket libraries, against
 * offload_server, which is a plain user of the library.  And one client that
 * was written to find a PONG that overtakes.
 *
 * They see the same with offload on and off.  The engine is the one that
 * SOCKBEAT_TEST_ENGINE names, builtin by default; that one answers nothing in
 * the server's place.
 */
#define _GNU_SOURCE
#include <pthread.h>
#include "sockbeatd.h"
#include "tcp.h"
#include "harness.h"

#define SERVER		"offload_server"

struct service {
	pid_t pid;
	int in, out;
	int port;
};

/* One line of what it says. */
static bool service_line(struct service *s, char *line, size_t size)
{
	struct pollfd pfd = { .fd = s->out, .events = POLLIN };
	size_t len = 0;

	while (len < size - 1 && poll(&pfd, 1, PATIENCE_MS) > 0 && read(s->out, line + len, 1) == 1)
		if (line[len++] == '\n')
			break;
	line[len] = '\0';
	return len && line[len - 1] == '\n';
}

static int service_start(struct service *s, const char *protocol, bool offload, const char *timeout,
			 const char *probe_after)
{
	int in[2], out[2];
	char line[256];

	if (pipe2(in, O_CLOEXEC) || pipe2(out, O_CLOEXEC))
		return -1;
	s->pid = fork();
	if (!s->pid) {
		dup2(in[0], STDIN_FILENO);
		dup2(out[1], STDOUT_FILENO);
		execl(beside(SERVER), SERVER, "--protocol", protocol,
		      "--engine", on_kernel() ? "kernel" : "builtin",
		      "--offload", offload ? "on" : "off", "--timeout", timeout,
		      "--probe-after", probe_after, NULL);
		_exit(127);
	}
	close(in[0]);
	close(out[1]);
	s->in = in[1];
	s->out = out[0];
	if (s->pid < 0 || !service_line(s, line, sizeof(line)) ||
	    sscanf(line, "port=%d", &s->port) != 1)
		return -1;
	return 0;
}

/* Whether it lived up to here. */
static bool service_stop(struct service *s)
{
	int status = -1;

	if (s->pid <= 0)
		return false;
	close(s->in);
	close(s->out);
	waitpid(s->pid, &status, 0);
	s->pid = 0;
	return !status;
}

static long long count(struct service *s, const char *name)
{
	char line[1024], pattern[64], *at;

	if (write(s->in, "\n", 1) != 1 || !service_line(s, line, sizeof(line)))
		return -1;
	snprintf(pattern, sizeof(pattern), " %s=", name);
	at = strstr(line, pattern);
	return at ? atoll(at + strlen(pattern)) : -1;
}

/* Everything at once, for the log of a test that failed. */
static const char *counts(struct service *s)
{
	static char line[1024];

	return write(s->in, "\n", 1) == 1 && service_line(s, line, sizeof(line)) ? line : "nothing";
}

/* Run a command; its exit status, and what it printed. */
static char printed[65536];

__attribute__((format(printf, 1, 2)))
static int run(const char *fmt, ...)
{
	char command[1024];
	size_t len = 0, got;
	va_list ap;
	FILE *pipe;

	va_start(ap, fmt);
	vsnprintf(command, sizeof(command), fmt, ap);
	va_end(ap);
	pipe = popen(command, "re");
	while (pipe && (got = fread(printed + len, 1, sizeof(printed) - 1 - len, pipe)) > 0)
		len += got;
	printed[len] = '\0';
	return pipe ? pclose(pipe) : -1;
}

FIXTURE(clients) {
	struct service s;
	bool offloaded;		/* heartbeats ought to be the kernel's */
	int rounds;
	int requests;
};

FIXTURE_VARIANT(clients) {
	bool offload;
};

FIXTURE_VARIANT_ADD(clients, on) { .offload = true };
FIXTURE_VARIANT_ADD(clients, off) { .offload = false };

FIXTURE_SETUP(clients)
{
	if (access(beside(SERVER), X_OK))
		SKIP(return, "there is no %s", SERVER);
	self->offloaded = variant->offload && on_kernel();
	self->requests = is_slow() ? 800 : 10000;
	self->rounds = is_slow() ? 400 : 2000;
}

FIXTURE_TEARDOWN(clients)
{
	if (self->s.pid > 0)
		EXPECT_TRUE(service_stop(&self->s));
}

#define START(protocol)								\
	ASSERT_EQ(0, service_start(&self->s, protocol, variant->offload, "60000", "0"))

/* @n heartbeats were answered, of which the kernel left at most @left to the
 * server.
 */
static void expect_answered(struct __test_metadata *_metadata, FIXTURE_DATA(clients) *self, int n,
			    int left)
{
	long long answered = count(&self->s, "answered");
	long long seen = count(&self->s, "heartbeats");

	EXPECT_EQ(n, answered + seen) {
		TH_LOG("%s", counts(&self->s));
	}
	EXPECT_LE(self->offloaded ? n - left : 0, answered) {
		TH_LOG("%s", counts(&self->s));
	}
	if (!self->offloaded)
		EXPECT_EQ(0, answered);
}

TEST_F(clients, redis_cli)
{
	START("resp");
	ASSERT_EQ(0, run("timeout 60 redis-cli -p %d -r 50 -i 0.01 ping", self->s.port));
	ASSERT_EQ(50 * strlen("PONG\n"), strlen(printed)) TH_LOG("%s", printed);
	for (int i = 0; i < 50; i++)
		ASSERT_EQ(0, memcmp(printed + 5 * i, "PONG\n", 5));
	/* The first may be there before its connection is known. */
	expect_answered(_metadata, self, 50, 1);
	/* An answer that takes longer than the heartbeat behind it. */
	ASSERT_EQ(0, run("printf 'PING\\nSET a \"x y\"\\nGET a\\nPING\\nECHO hi\\nGET slow:300\\nPING\\n"
			 "PING text\\nSET slow:200 z\\nGET slow:200\\nPING\\n' | timeout 60 redis-cli -p %d",
			 self->s.port));
	ASSERT_STREQ("PONG\nOK\nx y\nPONG\nhi\n\nPONG\ntext\nOK\nz\nPONG\n", printed);
	expect_answered(_metadata, self, 54, 2);
}

/* It checks that each answer came and is none of an error.  Without a server it
 * would try for ever.
 */
static void benchmark(struct __test_metadata *_metadata, FIXTURE_DATA(clients) *self, const char *more,
		      int left)
{
	ASSERT_EQ(0, run("timeout 120 redis-benchmark -p %d -t ping -n %d -c 50 %s --csv 2>&1", self->s.port,
			 self->requests, more)) TH_LOG("%s", printed);
	ASSERT_NE(NULL, strstr(printed, "\"PING_INLINE\",")) TH_LOG("%s", printed);
	ASSERT_NE(NULL, strstr(printed, "\"PING_MBULK\",")) TH_LOG("%s", printed);
	ASSERT_EQ(NULL, strcasestr(printed, "error")) TH_LOG("%s", printed);
	expect_answered(_metadata, self, 2 * self->requests, left);
}

TEST_F(clients, redis_benchmark)
{
	START("resp");
	benchmark(_metadata, self, "", 2 * self->requests / 20);
}

TEST_F(clients, redis_benchmark_pipelined)
{
	/* Of each of 50 connections the first 16 may be there before it is known. */
	self->requests = is_slow() ? 3200 : 10000;
	START("resp");
	benchmark(_metadata, self, "-P 16", 2 * self->requests / 5);
}

/* The pipelining client. */

#define PIPELINES	16

struct pipeline {
	pthread_t thread;
	unsigned int seed;
	int port;
	int rounds;
	int pings;
	char wrong[512];
};

struct script {
	char ask[512];
	size_t len;
	size_t cut[16];		/* where a write ends, ascending */
	int cuts;
	char expect[512];
	int pings;
};

static bool odds(struct pipeline *p, unsigned int one_in)
{
	return !(rand_r(&p->seed) % one_in);
}

__attribute__((format(printf, 4, 5)))
static void script_add(struct pipeline *p, struct script *s, const char *answer, const char *fmt, ...)
{
	size_t from = s->len;
	va_list ap;

	va_start(ap, fmt);
	s->len += vsnprintf(s->ask + from, sizeof(s->ask) - from, fmt, ap);
	va_end(ap);
	strcat(s->expect, answer);
	/* Inside of it, and behind it. */
	if (odds(p, 4))
		s->cut[s->cuts++] = from + 1 + rand_r(&p->seed) % (s->len - from - 1);
	if (!odds(p, 3))
		s->cut[s->cuts++] = s->len;
}

static void script_ping(struct pipeline *p, struct script *s)
{
	s->pings++;
	if (odds(p, 2))
		script_add(p, s, "+PONG\r\n", "PING\r\n");
	else
		script_add(p, s, "+PONG\r\n", "*1\r\n$4\r\nPING\r\n");
}

static void script_get(struct pipeline *p, struct script *s, const char *key, const char *answer)
{
	if (odds(p, 2))
		script_add(p, s, answer, "GET %s\r\n", key);
	else
		script_add(p, s, answer, "*2\r\n$3\r\nGET\r\n$%zu\r\n%s\r\n", strlen(key), key);
}

static bool script_play(struct pipeline *p, struct script *s, int fd)
{
	char got[sizeof(s->expect)] = "";
	size_t sent = 0, size = strlen(s->expect);
	ssize_t len;

	s->cut[s->cuts] = s->len;
	for (int i = 0; i <= s->cuts; i++) {
		if (send(fd, s->ask + sent, s->cut[i] - sent, MSG_NOSIGNAL) < 0)
			return false;
		sent = s->cut[i];
		if (odds(p, 2))
			usleep(rand_r(&p->seed) % 4000);
	}
	len = recv(fd, got, size, MSG_WAITALL);
	p->pings += s->pings;
	if (len == size && !memcmp(got, s->expect, size) && recv(fd, got, 1, MSG_DONTWAIT) < 0)
		return true;
	snprintf(p->wrong, sizeof(p->wrong), "%.200s\ngave %.200s", s->ask, got);
	return false;
}

static int impatient_client(int port)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	int fd = tcp_connect(AF_INET, "127.0.0.1", port), on = 1;

	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	return fd;
}

static void *pipeline_play(void *arg)
{
	struct pipeline *p = arg;
	int fd = impatient_client(p->port);
	char slow[32];

	for (; p->rounds && !p->wrong[0]; p->rounds--) {
		struct script s = { .len = 0 }, alone = { .len = 0 };

		script_get(p, &s, "quick", "$5\r\nvalue\r\n");
		script_ping(p, &s);
		snprintf(slow, sizeof(slow), "slow:%d", rand_r(&p->seed) % 20);
		script_get(p, &s, slow, "$-1\r\n");
		do
			script_ping(p, &s);
		while (odds(p, 2) && s.pings < 4);
		script_ping(p, &alone);
		alone.cuts = 0;
		if (!script_play(p, &s, fd) || !script_play(p, &alone, fd))
			break;
	}
	close(fd);
	return NULL;
}

TEST_F(clients, answers_in_order)
{
	struct pipeline p[PIPELINES] = { 0 };
	int pings = 0;

	START("resp");
	ASSERT_EQ(0, run("timeout 60 redis-cli -p %d set quick value", self->s.port));
	for (int i = 0; i < PIPELINES; i++) {
		p[i].seed = i + 1;
		p[i].port = self->s.port;
		p[i].rounds = self->rounds / PIPELINES;
		ASSERT_EQ(0, pthread_create(&p[i].thread, NULL, pipeline_play, &p[i]));
	}
	for (int i = 0; i < PIPELINES; i++) {
		pthread_join(p[i].thread, NULL);
		pings += p[i].pings;
		EXPECT_EQ(0, p[i].rounds) TH_LOG("%s", p[i].wrong);
	}
	/* Most of those that stand alone are the kernel's. */
	expect_answered(_metadata, self, pings, pings - self->rounds / 2);
	if (self->offloaded)
		EXPECT_LT(0, count(&self->s, "pass_position"));
}

/* Heartbeats while an answer is written that the socket has no room for.  TCP may
 * have sent all it was given before the server gives it more.
 */
TEST_F(clients, answers_behind_a_long_one)
{
	const size_t size = 1000000, all = strlen("$1000000\r\n") + size + 2;
	char *text = malloc(all + 64), pong[7];
	int fd, pings = 0;

	START("resp");
	fd = impatient_client(self->s.port);
	memset(text, 'x', all);
	memcpy(text, "SET long ", 9);
	strcpy(text + 9 + size, "\r\n");
	ASSERT_EQ(size + 11, send(fd, text, size + 11, MSG_NOSIGNAL));
	ASSERT_EQ(5, recv(fd, text, 5, MSG_WAITALL));
	for (int round = 0; round < 20; round++) {
		int behind = 0;

		ASSERT_EQ(10, send(fd, "GET long\r\n", 10, MSG_NOSIGNAL));
		for (size_t got = 0; got < all;) {
			ssize_t len = recv(fd, text + got, all - got, 0);

			ASSERT_LT(0, len);
			got += len;
			if (got < all && behind < 30) {
				ASSERT_EQ(6, send(fd, "PING\r\n", 6, MSG_NOSIGNAL));
				behind++;
			}
		}
		ASSERT_EQ(0, memcmp(text, "$1000000\r\n", 10));
		ASSERT_EQ(size, strspn(text + 10, "x"));
		ASSERT_EQ(0, memcmp(text + 10 + size, "\r\n", 2));
		for (pings += behind; behind; behind--) {
			ASSERT_EQ(7, recv(fd, pong, 7, MSG_WAITALL));
			ASSERT_EQ(0, memcmp(pong, "+PONG\r\n", 7));
		}
	}
	close(fd);
	free(text);
	expect_answered(_metadata, self, pings, pings);
}

/* Over several keepalives of the shortest kind; if its answers stayed out the
 * client would end the connection, if it fell silent the server would.
 */
TEST_F(clients, mosquitto_sub)
{
	const int keepalives = variant->offload ? 2 : 1;
	uint64_t until_ms = now_ms() + 2 * PATIENCE_MS;
	char command[128];
	FILE *sub;

	START("mqtt");
	snprintf(command, sizeof(command), "exec timeout 60 mosquitto_sub -h 127.0.0.1 -p %d -k 5 -t news -C 1",
		 self->s.port);
	sub = popen(command, "re");
	ASSERT_NE(NULL, sub);
	while (count(&self->s, "answered") + count(&self->s, "heartbeats") < keepalives &&
	       now_ms() < until_ms)
		usleep(100000);
	ASSERT_EQ(0, run("mosquitto_pub -h 127.0.0.1 -p %d -t other -m wrong", self->s.port));
	ASSERT_EQ(0, run("mosquitto_pub -h 127.0.0.1 -p %d -t news -m 'good news'", self->s.port));
	ASSERT_NE(NULL, fgets(command, sizeof(command), sub));
	ASSERT_STREQ("good news\n", command);
	ASSERT_EQ(0, pclose(sub));
	/* Itself, and what published twice: it did not come again. */
	EXPECT_EQ(3, count(&self->s, "connections"));
	EXPECT_EQ(0, count(&self->s, "silent"));
	expect_answered(_metadata, self, keepalives, 0);
}

/* A client that is quiet for longer than it may be is kept by probes. */
TEST_F(clients, websocket)
{
	long long probes, answered;

	ASSERT_EQ(0, service_start(&self->s, "websocket", variant->offload,
				   self->offloaded ? "3000" : "60000",
				   self->offloaded ? "400" : "0"));
	ASSERT_EQ(0, run("%s %d %d 2>&1", beside("websocket_client.py"), self->s.port,
			 self->offloaded ? 5 : 1)) {
		TH_LOG("%s", printed);
	}
	EXPECT_EQ(3, count(&self->s, "connections"));
	EXPECT_EQ(0, count(&self->s, "silent"));
	/* Three times 20, and what was on its way at the end. */
	answered = count(&self->s, "answered");
	EXPECT_LE(60, answered + count(&self->s, "heartbeats")) TH_LOG("%s", counts(&self->s));
	probes = count(&self->s, "probes");
	if (!self->offloaded) {
		EXPECT_EQ(0, answered);
		EXPECT_EQ(0, probes);
		return;
	}
	/* Two thirds of them come singly, the others among text. */
	EXPECT_LE(36, answered) TH_LOG("%s", counts(&self->s));
	/* Two clients, 5 s each. */
	EXPECT_LE(12, probes) TH_LOG("%s", counts(&self->s));
	EXPECT_LE(probes - 2, count(&self->s, "probes_answered")) TH_LOG("%s", counts(&self->s));
}

TEST_HARNESS_MAIN
