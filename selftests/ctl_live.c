// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatctl where time matters: monitor, and lists of very many peers.
 */
#define _GNU_SOURCE
#include "client.h"
#include "tcp.h"
#include "ctl.h"
#include "harness.h"

#define PATIENCE_MS	20000
#define MANY		50000

/* Sockets of one listener. */
#define GROUP		128

/* Whether a netlink socket has joined any group: nobody else here has one that
 * did. A process' first one has its pid as port, and joins none; of the second
 * the port is a large number.
 */
static bool has_joined(void)
{
	unsigned int port, groups;
	char line[256];
	bool found = false;
	FILE *f = fopen("/proc/net/netlink", "r");

	while (!found && fgets(line, sizeof(line), f)) {
		found = sscanf(line, "%*s 16 %u %x", &port, &groups) == 2 && groups &&
			port >= 1u << 31;
	}
	fclose(f);
	return found;
}

static bool wait_joined(void)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;

	while (!has_joined()) {
		if (now_ms() > until_ms)
			return false;
		usleep(10000);
	}
	return true;
}

/* The next line, or an empty one when there is none in time. */
static void next_line(int fd, char *line, size_t size)
{
	struct pollfd pfd = { .fd = fd, .events = POLLIN };
	size_t len = 0;

	while (len < size - 1 && poll(&pfd, 1, PATIENCE_MS) == 1 && read(fd, line + len, 1) == 1) {
		if (line[len++] == '\n')
			break;
	}
	line[len] = '\0';
}

FIXTURE(monitor) {
	struct client c;
	struct client sink;
	int session;
	uint32_t id;
	struct pair pair[GROUP];
	uint64_t handle[GROUP];
	int fds[GROUP];
	pid_t pid;
	int out;
	char line[1024];
};

FIXTURE_SETUP(monitor)
{
	struct session_reply r;

	if (access(ctl_path(), X_OK))
		SKIP(return, "there is no sockbeatctl");
	if (client_open(&self->c))
		SKIP(return, "the module is not loaded");
	ASSERT_EQ(0, client_open(&self->sink));
	self->session = client_session_new(&self->c, GROUP, 60000, 0, SOCKBEAT_TRIGGER_EDGE, &r);
	ASSERT_LE(0, self->session);
	self->id = r.session.v[SOCKBEAT_A_SESSION_ID];
	ASSERT_EQ(0, client_session_bind(&self->sink, self->session));
	ASSERT_EQ(0, tcp_pairs(AF_INET, self->pair, GROUP));
	for (int i = 0; i < GROUP; i++)
		self->fds[i] = self->pair[i].server;
}

FIXTURE_TEARDOWN(monitor)
{
	if (self->pid > 0) {
		kill(self->pid, SIGKILL);
		waitpid(self->pid, NULL, 0);
	}
	client_close(&self->c);
	client_close(&self->sink);
}

static bool start(FIXTURE_DATA(monitor) *self, const char *args)
{
	int out[2];

	if (pipe2(out, O_CLOEXEC))
		return false;
	self->pid = ctl_spawn(0, out[1], STDERR_FILENO, args);
	close(out[1]);
	self->out = out[0];
	return wait_joined();
}

#define TIME	"#-#-#T#:#:#.#Z"

TEST_F(monitor, text)
{
	struct peer_conf conf = { 200, KEEP, KEEP, 0xabc };
	uint64_t until_ms = now_ms() + 2 * PATIENCE_MS;
	struct pollfd pfd = { .events = POLLIN };
	char expected[256];
	int status;

	ASSERT_TRUE(start(self, "monitor"));
	pfd.fd = self->out;
	ASSERT_EQ(0, client_add1(&self->c, self->session, self->fds[0], &conf, self->handle));
	next_line(self->out, self->line, sizeof(self->line));
	snprintf(expected, sizeof(expected),
		 TIME " %u silent 1:0 idle_ms=# late_ms=# tcp_state=ESTABLISHED user_data=0xabc\n", self->id);
	EXPECT_TRUE(fits(expected, self->line)) {
		TH_LOG("expected: %s     got: %s", expected, self->line);
	}
	/* One byte may be too old when the peer is next looked at. */
	while (now_ms() < until_ms && poll(&pfd, 1, 20) == 0)
		send(self->pair[0].client, "x", 1, 0);
	next_line(self->out, self->line, sizeof(self->line));
	EXPECT_NE(NULL, strstr(self->line, " heard 1:0 ")) {
		TH_LOG("got: %s", self->line);
	}
	close(self->fds[0]);
	do
		next_line(self->out, self->line, sizeof(self->line));
	while (strstr(self->line, " silent "));
	EXPECT_NE(NULL, strstr(self->line, " gone 1:0 "));
	EXPECT_NE(NULL, strstr(self->line, " tcp_state="));
	/* A signal ends it in order. */
	kill(self->pid, SIGTERM);
	ASSERT_EQ(self->pid, waitpid(self->pid, &status, 0));
	self->pid = 0;
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
}

TEST_F(monitor, json_and_count)
{
	struct peer_conf conf = { 200, KEEP, KEEP, 0 };
	char expected[256];
	int status;

	ASSERT_TRUE(start(self, "monitor -j -n 1"));
	ASSERT_EQ(0, client_add1(&self->c, self->session, self->fds[0], &conf, self->handle));
	next_line(self->out, self->line, sizeof(self->line));
	snprintf(expected, sizeof(expected),
		 "{\"time\":\"" TIME "\",\"session\":%u,\"event\":\"silent\",\"handle\":\"1:0\",\"idle_ms\":#,"
		 "\"late_ms\":#,\"tcp_state\":\"ESTABLISHED\",\"user_data\":\"0x0\"}\n", self->id);
	EXPECT_TRUE(fits(expected, self->line)) {
		TH_LOG("expected: %s     got: %s", expected, self->line);
	}
	ASSERT_EQ(self->pid, waitpid(self->pid, &status, 0));
	self->pid = 0;
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
}

/* It falls behind, says so, counts, and goes on. */
TEST_F(monitor, lost_events)
{
	struct peer_conf conf = { 60000, KEEP, KEEP, 0 };
	struct pollfd pfd = { .events = POLLIN };
	int lost = 0, status, i;
	bool went_on = false;

	ASSERT_TRUE(start(self, "monitor --buffer 2048"));
	pfd.fd = self->out;
	/* While it stands still its buffer fills. */
	kill(self->pid, SIGSTOP);
	ASSERT_EQ(0, client_add(&self->c, self->session, self->fds, GROUP, &conf, self->handle));
	for (i = 0; i < GROUP - 1; i++) {
		tcp_abort(self->fds[i]);
		usleep(i % 8 ? 0 : 50000);
	}
	usleep(500000);
	kill(self->pid, SIGCONT);
	while (lost < 1) {
		next_line(self->out, self->line, sizeof(self->line));
		ASSERT_NE(0, self->line[0]);
		lost += !!strstr(self->line, " - lost - overruns=1\n");
	}
	/* Nothing that was before the loss comes behind it. */
	EXPECT_EQ(0, poll(&pfd, 1, 1000));
	tcp_abort(self->fds[GROUP - 1]);
	while (!went_on) {
		next_line(self->out, self->line, sizeof(self->line));
		ASSERT_NE(0, self->line[0]);
		went_on = strstr(self->line, " gone 1:7f ");
	}
	kill(self->pid, SIGINT);
	ASSERT_EQ(self->pid, waitpid(self->pid, &status, 0));
	self->pid = 0;
	EXPECT_TRUE(WIFEXITED(status) && !WEXITSTATUS(status));
}

/* Very many peers. */

struct cost {
	uint64_t first_ms;	/* from its start to the first row */
	uint64_t all_ms;
	uint64_t cpu_us;
	int rows;
};

static int measure(const char *args, struct cost *cost)
{
	static char buf[65536];
	uint64_t start_ms = now_ms();
	struct rusage usage;
	int out[2], status;
	ssize_t len;
	pid_t pid;

	memset(cost, 0, sizeof(*cost));
	if (pipe2(out, O_CLOEXEC))
		return -1;
	pid = ctl_spawn(0, out[1], STDERR_FILENO, args);
	close(out[1]);
	while ((len = read(out[0], buf, sizeof(buf) - 1)) > 0) {
		if (!cost->rows)
			cost->first_ms = now_ms() - start_ms;
		buf[len] = '\0';
		cost->rows += count_lines(buf);
	}
	close(out[0]);
	cost->all_ms = now_ms() - start_ms;
	if (wait4(pid, &status, 0, &usage) != pid || status)
		return -1;
	cost->cpu_us = (usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000ull +
		       usage.ru_utime.tv_usec + usage.ru_stime.tv_usec;
	return 0;
}

static int add_many(struct client *c, int session, int peers, uint16_t *port)
{
	static struct pair pairs[GROUP];
	struct peer_conf conf = { 3600000, KEEP, KEEP, 0 };
	uint64_t handles[2 * GROUP];
	struct sockaddr_in sa;
	socklen_t len = sizeof(sa);
	int fds[2 * GROUP], i, j;

	for (i = 0; i < peers; i += 2 * GROUP) {
		int n = peers - i < 2 * GROUP ? (peers - i) / 2 : GROUP;

		if (tcp_pairs(AF_INET, pairs, n))
			return -1;
		for (j = 0; j < n; j++) {
			fds[2 * j] = pairs[j].server;
			fds[2 * j + 1] = pairs[j].client;
		}
		if (client_add(c, session, fds, 2 * n, &conf, handles))
			return -1;
		if (!i)
			getsockname(fds[0], (void *)&sa, &len);
	}
	*port = ntohs(sa.sin_port);
	return 0;
}

/* A process of its own holds the sockets: what is measured is started by one
 * that has no fifty thousand descriptors to pass on and close.
 */
static pid_t hold_many(int peers, int *ready)
{
	struct rlimit files = { 2 * MANY, 2 * MANY };
	int to_parent[2], session;
	struct client c;
	uint16_t port;
	pid_t pid;

	if (pipe2(to_parent, O_CLOEXEC))
		return -1;
	*ready = to_parent[0];
	pid = fork();
	if (pid) {
		close(to_parent[1]);
		return pid;
	}
	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (!sh("echo 1024 65535 >/proc/sys/net/ipv4/ip_local_port_range") &&
	    !setrlimit(RLIMIT_NOFILE, &files) && !client_open(&c)) {
		session = client_session_new(&c, peers, 0, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
		if (session >= 0 && !add_many(&c, session, peers, &port) &&
		    write(to_parent[1], &port, sizeof(port)) == sizeof(port))
			pause();
	}
	_exit(1);
}

TEST(many_peers)
{
	const char *fewer = getenv("SOCKBEAT_TEST_PEERS");
	uint64_t first_ms = is_slow() ? 20000 : 1000;
	int ready, peers = fewer ? atoi(fewer) : MANY;
	struct cost all, json, one;
	char args[64];
	struct client c;
	uint16_t port;
	pid_t holder;

	if (access(ctl_path(), X_OK))
		SKIP(return, "there is no sockbeatctl");
	if (client_open(&c))
		SKIP(return, "the module is not loaded");
	client_close(&c);
	holder = hold_many(peers, &ready);
	ASSERT_LT(0, holder);
	ASSERT_EQ(sizeof(port), read(ready, &port, sizeof(port)));

	EXPECT_EQ(0, measure("list -H", &all));
	EXPECT_EQ(0, measure("list -j", &json));
	snprintf(args, sizeof(args), "list -H local=127.0.0.1:%u", port);
	EXPECT_EQ(0, measure(args, &one));
	kill(holder, SIGKILL);
	waitpid(holder, NULL, 0);
	TH_LOG("%d peers: first row after %d ms, all after %d ms, %d us of CPU", all.rows, (int)all.first_ms,
	       (int)all.all_ms, (int)all.cpu_us);
	TH_LOG("as JSON: first row after %d ms, all after %d ms, %d us of CPU", (int)json.first_ms,
	       (int)json.all_ms, (int)json.cpu_us);
	TH_LOG("%d of one port: all after %d ms, %d us of CPU", one.rows, (int)one.all_ms, (int)one.cpu_us);
	EXPECT_EQ(peers, all.rows);
	EXPECT_EQ(peers + 2, json.rows);
	/* Those of the listener, and clients that happen to have its port. */
	EXPECT_LE(GROUP, one.rows);
	EXPECT_GE(GROUP + GROUP / 4, one.rows);
	EXPECT_GT(first_ms, all.first_ms);
	EXPECT_GT(first_ms, json.first_ms);
	if (peers < MANY)
		return;
	/* The whole list is not made before its first row is shown. */
	EXPECT_GT(all.all_ms, 3 * all.first_ms);
	EXPECT_GT(all.cpu_us, 5 * one.cpu_us);
	EXPECT_GT(all.all_ms, 5 * one.all_ms);
}

TEST_HARNESS_MAIN
