// SPDX-License-Identifier: GPL-2.0-only
/*
 * What answering a heartbeat costs a server: the kernel in its place, the
 * tightest loop that answers at all, sockbeatd without offload, and Redis.
 *
 * Costs are counts of instructions, exact and the same in each run: the machine
 * has to be one where the processor's clock counts them (`run --icount`).
 *
 * The server's share is measured on segments that are made by hand and written
 * to a tun device.  The client gives way to the server (SCHED_IDLE), so the
 * write() returns when the server has answered and sleeps again: all of its
 * time is the server's but for the system call itself, which is measured with a
 * segment that the device throws away.  Each reply is acknowledged by a segment
 * of its own, as by any client that has nothing else to send; that costs each
 * server the same and has a column of its own.  Counted is the median, so that
 * timer ticks stay outside.
 *
 * The second method is that of a real client on loopback: the cost of send() and
 * recv() there, less that of a client alone, which is one that is connected to
 * itself.  A segment's way through the loopback device then counts as the
 * server's, about 1,700 with each of them.
 */
#define _GNU_SOURCE
#include <dirent.h>
#include <sched.h>
#include <x86intrin.h>
#include "sockbeatd.h"
#include "tcp.h"
#include "bench_peer.h"
#include "bench_tight.h"
#include "../kselftest.h"

#define FEW			1000
#define MANY			50000
#define PASSES			5
/* So few that with each server the delayed ACK goes with the next heartbeat. */
#define LOOPBACK		500
#define MAX_OF_LOOP		0.40
#define MAX_OF_REDIS		0.15

#define IDLE_PERIOD_MS		10000
#define IDLE_PERIODS		6
#define IDLE_STEP_MS		10
#define MAX_IDLE_SWITCHES	100
#define MAX_IDLE_US		10000

#define SAMPLES			MANY	/* at least PASSES * FEW */

struct server {
	const char *name;
	const char *offload;	/* for sockbeatd: whether the kernel answers */
	void (*start)(struct server *server);
	const char *request, *reply;
	size_t request_len, reply_len;
	pid_t pid;
	uint16_t port;
	struct sockbeatd d;
};

/* What one heartbeat costs. */
struct cost {
	double answer;		/* heartbeat in, reply out */
	double ack;		/* of the reply */
	double mean;		/* of answers, with timer ticks and whatever else */
	double wakes;		/* of the server's threads */
};

static struct peer_net net;
static struct peer peers[MANY];

static void die(const char *what)
{
	ksft_exit_fail_msg("%s: %s\n", what, strerror(errno));
}

/* The server runs as soon as it can, and the client when nobody else wants to. */
static void give_way(bool on)
{
	struct sched_param none = {};

	if (sched_setscheduler(0, on ? SCHED_IDLE : SCHED_OTHER, &none))
		die("scheduler");
}

static void expect_instruction_clock(void)
{
	uint64_t least = UINT64_MAX, start, n;

	for (int i = 0; i < 5; i++) {
		start = __rdtsc();
		n = 1000000;
		asm volatile("1: dec %0\n\tjnz 1b" : "+r" (n));
		n = __rdtsc() - start;
		least = n < least ? n : least;
	}
	if (least < 2000000 || least > 2010000)
		ksft_exit_skip("the clock does not count instructions: %llu for 2000000\n",
			       (unsigned long long)least);
}

static void start_tight(struct server *server)
{
	int fd = tcp_listen(AF_INET, "0.0.0.0", &server->port), on = 1;

	if (fd < 0)
		die("listen");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	server->pid = fork();
	if (!server->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		tight_loop(fd);
	}
	close(fd);
}

static void start_sockbeatd(struct server *server)
{
	const char *const sets[] = {
		"listen=0.0.0.0:0", "max_frames_per_s=0", "min_heartbeat_interval_ms=0",
		server->offload, NULL,
	};

	if (sockbeatd_start(&server->d, sets, 0))
		ksft_exit_fail_msg("sockbeatd did not start: %s\n", server->d.log);
	server->pid = server->d.pid;
	server->port = server->d.port;
}

static void start_redis(struct server *server)
{
	int fd;

	server->port = 6379;
	server->pid = fork();
	if (!server->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		execlp("redis-server", "redis-server", "--save", "", "--appendonly", "no",
		       "--protected-mode", "no", "--maxclients", "60000", "--tcp-backlog", "4096",
		       "--logfile", "/dev/null", NULL);
		_exit(127);
	}
	while ((fd = tcp_connect(AF_INET, "127.0.0.1", server->port)) < 0) {
		if (waitpid(server->pid, NULL, WNOHANG))
			ksft_exit_fail_msg("redis-server did not start\n");
		usleep(10000);
	}
	close(fd);
}

static struct server servers[] = {
	{ .name = "tight loop", .start = start_tight },
	{ .name = "sockbeatd, offload off", .start = start_sockbeatd, .offload = "offload=off" },
	{ .name = "redis", .start = start_redis, .request = "PING\r\n", .reply = "+PONG\r\n",
	  .request_len = 6, .reply_len = 7 },
	{ .name = "sockbeatd, offload", .start = start_sockbeatd, .offload = "offload=on" },
};

enum { TIGHT, OFF, REDIS, OFFLOAD, SERVERS };

static void start(struct server *server)
{
	if (!server->request) {
		server->request = server->reply = (const char *)wire_heartbeat;
		server->request_len = server->reply_len = sizeof(wire_heartbeat);
	}
	give_way(false);
	server->start(server);
	give_way(true);
	net.server_port = server->port;
}

static void stop(struct server *server)
{
	kill(server->pid, SIGKILL);
	waitpid(server->pid, NULL, 0);
	if (server->d.pid) {
		close(server->d.log_fd);
		unlink(server->d.stats_path);
	}
}

/* How often its threads went to sleep. */
static long wakes(pid_t pid)
{
	char path[300], line[256];
	long sum = 0, value;
	struct dirent *task;
	FILE *file;
	DIR *dir;

	snprintf(path, sizeof(path), "/proc/%d/task", pid);
	dir = opendir(path);
	while (dir && (task = readdir(dir))) {
		snprintf(path, sizeof(path), "/proc/%d/task/%s/status", pid, task->d_name);
		file = *task->d_name == '.' ? NULL : fopen(path, "r");
		while (file && fgets(line, sizeof(line), file)) {
			if (sscanf(line, "voluntary_ctxt_switches: %ld", &value) == 1)
				sum += value;
		}
		if (file)
			fclose(file);
	}
	if (!dir)
		die(path);
	closedir(dir);
	return sum;
}

static int compare(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return (x > y) - (x < y);
}

static double median(uint32_t *samples, size_t n)
{
	qsort(samples, n, sizeof(*samples), compare);
	return samples[n / 2];
}

/* For vm/trace.c: a no-op that no compiler makes. */
#define TRACE_MARK(n)	asm volatile(".byte 0x0f, 0x1f, 0x84, 0x00, 'S', 'B', 'T', %c0" :: "i" (n))

/* Write what was made; how many instructions that took. */
static uint32_t put_timed(void)
{
	uint64_t start = __rdtsc();

	if (!peer_put(&net))
		die("write to the device");
	return __rdtsc() - start;
}

/* The same, of a heartbeat for a server, for who traces. */
static uint32_t put_traced(const struct server *server)
{
	uint32_t cost;

	switch (server - servers) {
	case TIGHT: TRACE_MARK(1 + TIGHT); break;
	case OFF: TRACE_MARK(1 + OFF); break;
	case REDIS: TRACE_MARK(1 + REDIS); break;
	case OFFLOAD: TRACE_MARK(1 + OFFLOAD); break;
	}
	cost = put_timed();
	TRACE_MARK(0);
	return cost;
}

/* What a write() costs when the device throws the segment away. */
static double put_cost(void)
{
	static uint32_t samples[1001];

	for (size_t i = 0; i < 1001; i++) {
		uint64_t start;

		peer_make(&net, &peers[0], TH_ACK, wire_heartbeat, sizeof(wire_heartbeat));
		net.segment.ip.version = 0;
		start = __rdtsc();
		if (peer_put(&net))
			ksft_exit_fail_msg("the device took a segment of no protocol\n");
		samples[i] = __rdtsc() - start;
	}
	return median(samples, 1001);
}

/* One heartbeat and its answer, for which only a server that is still at the
 * connection's beginning is waited for.
 */
static void beat(const struct server *server, struct peer *peer, bool is_new,
		 uint32_t *heartbeat, uint32_t *ack)
{
	struct pollfd pfd = { .fd = net.fd, .events = POLLIN };
	char got[64];
	int len;

	peer_make(&net, peer, TH_ACK | TH_PUSH, server->request, server->request_len);
	*heartbeat = is_new ? put_timed() : put_traced(server);
	peer->seq += server->request_len;
	do {
		len = peer_get(&net, peer, got, sizeof(got));
	} while (len < 0 && is_new && poll(&pfd, 1, PATIENCE_MS) == 1);
	if (len != (int)server->reply_len || memcmp(got, server->reply, len))
		ksft_exit_fail_msg("%s: no answer at once, but %d\n", server->name, len);
	peer_make(&net, peer, TH_ACK, NULL, 0);
	*ack = put_timed();
}

static void connect_peers(const struct server *server, unsigned int n)
{
	uint32_t none;

	for (unsigned int i = 0; i < n; i++) {
		if (!peer_connect(&net, &peers[i], i))
			ksft_exit_fail_msg("%s: connection %u failed\n", server->name, i);
		/* Delayed ACKs and the like come to rest. */
		beat(server, &peers[i], true, &none, &none);
	}
}

/* The server is stopped meanwhile: what it thinks of that does not matter. */
static void reset_peers(const struct server *server, unsigned int n)
{
	kill(server->pid, SIGSTOP);
	for (unsigned int i = 0; i < n; i++)
		peer_reset(&net, &peers[i]);
}

static struct cost measure(struct server *server, unsigned int n, unsigned int passes)
{
	static uint32_t heartbeat[SAMPLES], ack[SAMPLES];
	long long answered = 0;
	struct cost cost = {};
	size_t samples = 0;
	long before;

	if (server->d.pid)
		answered = sockbeatd_stat(&server->d, "session", "answered");
	before = wakes(server->pid);
	for (unsigned int pass = 0; pass < passes; pass++) {
		for (unsigned int i = 0; i < n; i++, samples++) {
			beat(server, &peers[i], false, &heartbeat[samples], &ack[samples]);
			cost.mean += heartbeat[samples];
		}
	}
	cost.wakes = (double)(wakes(server->pid) - before) / samples;
	if (server == &servers[OFFLOAD] &&
	    sockbeatd_stat(&server->d, "session", "answered") - answered != (long long)samples)
		ksft_exit_fail_msg("not all heartbeats were answered by the kernel\n");
	cost.answer = median(heartbeat, samples) - put_cost();
	cost.ack = median(ack, samples) - put_cost();
	cost.mean = cost.mean / samples - put_cost();
	return cost;
}

static void print_costs(const struct cost *costs, unsigned int n)
{
	ksft_print_msg("%u connections: the server's instructions for a heartbeat\n", n);
	ksft_print_msg("  %-22s  answer  of loop  of redis    ACK    mean  wakes\n", "");
	for (int i = 0; i < SERVERS; i++)
		ksft_print_msg("  %-22s  %6.0f    %5.3f     %5.3f  %5.0f  %6.0f  %5.2f\n",
			       servers[i].name, costs[i].answer,
			       costs[i].answer / costs[TIGHT].answer,
			       costs[i].answer / costs[REDIS].answer,
			       costs[i].ack, costs[i].mean, costs[i].wakes);
}

static void judge(const struct cost *costs, unsigned int n)
{
	double of_loop = costs[OFFLOAD].answer / costs[TIGHT].answer;
	double of_redis = costs[OFFLOAD].answer / costs[REDIS].answer;

	print_costs(costs, n);
	ksft_test_result(!costs[OFFLOAD].wakes, "%u connections: the process sleeps on\n", n);
	ksft_test_result(of_loop <= MAX_OF_LOOP, "%u connections: %.3f of the loop, at most %.2f\n",
			 n, of_loop, MAX_OF_LOOP);
	ksft_test_result(of_redis <= MAX_OF_REDIS, "%u connections: %.3f of redis, at most %.2f\n",
			 n, of_redis, MAX_OF_REDIS);
}

/* The second method. */
static void loopback_beat(const struct server *server, int fd, uint32_t *cost)
{
	uint64_t start = __rdtsc();
	char got[64];
	ssize_t len;

	if (send(fd, server->request, server->request_len, 0) != (ssize_t)server->request_len)
		die("send");
	len = recv(fd, got, sizeof(got), 0);
	*cost = __rdtsc() - start;
	/* A client alone gets its request. */
	if (len != (ssize_t)server->reply_len && len != (ssize_t)server->request_len)
		die("recv");
}

static double loopback_cost(const struct server *server, const int *fd)
{
	static uint32_t cost[PASSES * LOOPBACK];

	for (int pass = -1; pass < PASSES; pass++) {
		for (int i = 0; i < LOOPBACK; i++)
			loopback_beat(server, fd[i], &cost[(pass > 0 ? pass : 0) * LOOPBACK + i]);
	}
	return median(cost, PASSES * LOOPBACK);
}

/* TCP joins a socket that connects to its own address with itself. */
static int connect_to_itself(void)
{
	struct sockaddr_in sa = {
		.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
	socklen_t len = sizeof(sa);

	if (fd < 0 || bind(fd, (struct sockaddr *)&sa, len) ||
	    getsockname(fd, (struct sockaddr *)&sa, &len) ||
	    connect(fd, (struct sockaddr *)&sa, len))
		die("connect to itself");
	return fd;
}

/* @server's cost on loopback, or that of its client alone. */
static double on_loopback(const struct server *server, bool alone)
{
	static int fd[LOOPBACK];
	int on = 1;
	double cost;

	for (int i = 0; i < LOOPBACK; i++) {
		fd[i] = alone ? connect_to_itself() :
				tcp_connect(AF_INET, "127.0.0.1", server->port);
		if (fd[i] < 0)
			die("connect");
		setsockopt(fd[i], IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	}
	cost = loopback_cost(server, fd);
	for (int i = 0; i < LOOPBACK; i++)
		tcp_abort(fd[i]);
	return cost;
}

static void print_loopback(const double *total, double alone)
{
	ksft_print_msg("loopback, %d connections, client and server together: instructions\n",
		       LOOPBACK);
	ksft_print_msg("  %-22s   total   client  server  of loop  of redis\n", "");
	for (int i = 0; i < SERVERS; i++)
		ksft_print_msg("  %-22s  %6.0f   %6.0f  %6.0f    %5.3f     %5.3f\n",
			       servers[i].name, total[i], alone, total[i] - alone,
			       (total[i] - alone) / (total[TIGHT] - alone),
			       (total[i] - alone) / (total[REDIS] - alone));
}

/* User and system time of a process, all threads. */
static double cpu_us(pid_t pid)
{
	struct timespec used;
	clockid_t clock;

	if (clock_getcpuclockid(pid, &clock) || clock_gettime(clock, &used))
		die("CPU clock");
	return used.tv_sec * 1e6 + used.tv_nsec / 1e3;
}

/* Each connection has a heartbeat in ten seconds, for a minute. */
static void bench_idle(const struct server *server)
{
	unsigned int steps = IDLE_PERIOD_MS / IDLE_STEP_MS, next = 0;
	struct timespec when;
	uint32_t none;
	double used;
	long before;

	before = wakes(server->pid);
	used = cpu_us(server->pid);
	clock_gettime(CLOCK_MONOTONIC, &when);
	for (unsigned int step = 0; step < steps * IDLE_PERIODS; step++) {
		when.tv_nsec += IDLE_STEP_MS * 1000000;
		when.tv_sec += when.tv_nsec / 1000000000;
		when.tv_nsec %= 1000000000;
		clock_nanosleep(CLOCK_MONOTONIC, TIMER_ABSTIME, &when, NULL);
		for (unsigned int i = 0; i < MANY / steps; i++, next++)
			beat(server, &peers[next % MANY], false, &none, &none);
	}
	used = cpu_us(server->pid) - used;
	before = wakes(server->pid) - before;
	ksft_print_msg("%d connections, %u heartbeats in %d s:\n", MANY, next,
		       IDLE_PERIODS * IDLE_PERIOD_MS / 1000);
	ksft_test_result(before < MAX_IDLE_SWITCHES, "idle: %ld context switches, below %d\n",
			 before, MAX_IDLE_SWITCHES);
	/* Less than a tick of /proc/PID/stat, where it would not be seen. */
	ksft_test_result(used < MAX_IDLE_US, "idle: %.0f us of CPU time, below %d\n", used,
			 MAX_IDLE_US);
}

static void bench(unsigned int n, unsigned int passes, bool is_last)
{
	static struct cost costs[SERVERS];
	static double total[SERVERS];

	for (int i = 0; i < SERVERS; i++) {
		start(&servers[i]);
		ksft_print_msg("%u connections to %s\n", n, servers[i].name);
		connect_peers(&servers[i], n);
		costs[i] = measure(&servers[i], n, passes);
		if (is_last && i == OFFLOAD)
			bench_idle(&servers[i]);
		reset_peers(&servers[i], n);
		if (!is_last) {
			kill(servers[i].pid, SIGCONT);
			total[i] = on_loopback(&servers[i], false);
		}
		stop(&servers[i]);
	}
	judge(costs, n);
	if (!is_last)
		print_loopback(total, on_loopback(&servers[TIGHT], true));
}

int main(int argc, char **argv)
{
	struct rlimit limit = { 200000, 200000 };

	ksft_print_header();
	expect_instruction_clock();
	if (geteuid() || setrlimit(RLIMIT_NOFILE, &limit))
		ksft_exit_skip("needs root\n");
	if (peer_net_open(&net))
		die("tun device");
	setenv("SOCKBEAT_TEST_ENGINE", "kernel", 1);
	/* An argument is for those who work on the code: the few only. */
	ksft_set_plan(argc > 1 ? 3 : 8);
	bench(FEW, PASSES, false);
	if (argc == 1)
		bench(MANY, 1, true);
	ksft_print_msg("Answer: from the heartbeat's arrival at a tun device to the reply there.\n");
	ksft_print_msg("The client's write() to it, %.0f, is left out.  ACK: that of the reply.\n",
		       put_cost());
	ksft_print_msg("Loopback: send() and recv(), less those of a client joined to itself.\n");
	ksft_finished();
}
