// SPDX-License-Identifier: GPL-2.0-only
/*
 * What sockbeatd costs: server CPU time per answered heartbeat, next to the
 * tightest loop that answers at all, and memory per idle connection.
 *
 * The two servers take turns for several rounds, so that what else the machine
 * does meets both alike; the median of the rounds' ratios counts.
 */
#define _GNU_SOURCE
#include <sched.h>
#include "sockbeatd.h"
#include "tcp.h"
#include "bench_tight.h"
#include "../kselftest.h"

#define CONNECTIONS		1000
#define ROUNDS			15
#define PASSES			20
#define IDLE_CONNECTIONS	10000
#define MAX_RATIO		1.15
#define MAX_IDLE_BYTES		1024

struct server {
	const char *name;
	pid_t pid;
	uint16_t port;
	int fd[CONNECTIONS];
};

static void die(const char *what)
{
	ksft_exit_fail_msg("%s: %s\n", what, strerror(errno));
}

/* Servers on one processor, the client on another where there are two. */
static void pin(unsigned int number)
{
	cpu_set_t all, one;

	if (sched_getaffinity(0, sizeof(all), &all) || CPU_COUNT(&all) < 2)
		return;
	for (int cpu = 0; cpu < CPU_SETSIZE; cpu++) {
		if (CPU_ISSET(cpu, &all) && !number--) {
			CPU_ZERO(&one);
			CPU_SET(cpu, &one);
			sched_setaffinity(0, sizeof(one), &one);
			return;
		}
	}
}

static void start_tight(struct server *server)
{
	int fd = tcp_listen(AF_INET, "127.0.0.1", &server->port), on = 1;

	if (fd < 0)
		die("listen");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	server->pid = fork();
	if (!server->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		pin(1);
		tight_loop(fd);
	}
	close(fd);
}

static void start_sockbeatd(struct sockbeatd *d)
{
	static const char *const sets[] = {
		"listen=127.0.0.1:0", "max_frames_per_s=0", "max_connections=16384", NULL,
	};

	/* It inherits where it runs. */
	pin(1);
	if (sockbeatd_start(d, sets, 0))
		ksft_exit_fail_msg("sockbeatd did not start: %s\n", d->log);
	pin(0);
}

static int connect_one(uint16_t port)
{
	struct timeval patience = { .tv_sec = PATIENCE_MS / 1000 };
	int fd = tcp_connect(AF_INET, "127.0.0.1", port), on = 1;

	if (fd < 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof(patience));
	return fd;
}

static void put_heartbeat(int fd)
{
	if (write(fd, wire_heartbeat, 8) != 8)
		die("write");
}

static void get_answer(int fd)
{
	uint8_t answer[16];

	if (read(fd, answer, sizeof(answer)) != 8 || memcmp(answer, wire_heartbeat, 8))
		ksft_exit_fail_msg("a heartbeat was not answered by itself\n");
}

static void one_at_a_time(const struct server *server)
{
	for (int i = 0; i < CONNECTIONS; i++) {
		put_heartbeat(server->fd[i]);
		get_answer(server->fd[i]);
	}
}

static void all_in_flight(const struct server *server)
{
	for (int i = 0; i < CONNECTIONS; i++)
		put_heartbeat(server->fd[i]);
	for (int i = 0; i < CONNECTIONS; i++)
		get_answer(server->fd[i]);
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

static double cost_us(const struct server *server, void (*pass)(const struct server *))
{
	double before = cpu_us(server->pid);

	for (int i = 0; i < PASSES; i++)
		pass(server);
	return (cpu_us(server->pid) - before) / (PASSES * CONNECTIONS);
}

static int compare(const void *a, const void *b)
{
	double x = *(const double *)a, y = *(const double *)b;

	return (x > y) - (x < y);
}

static double median(double *values)
{
	qsort(values, ROUNDS, sizeof(*values), compare);
	return values[ROUNDS / 2];
}

static void bench_cpu(const char *what, const struct server *tight, const struct server *sockbeatd,
		      void (*pass)(const struct server *))
{
	double loop[ROUNDS], daemon[ROUNDS], ratio[ROUNDS], middle;

	pass(tight);
	pass(sockbeatd);
	for (int i = 0; i < ROUNDS; i++) {
		/* Neither is always the first. */
		if (i % 2)
			loop[i] = cost_us(tight, pass);
		daemon[i] = cost_us(sockbeatd, pass);
		if (!(i % 2))
			loop[i] = cost_us(tight, pass);
		ratio[i] = daemon[i] / loop[i];
	}
	middle = median(ratio);
	ksft_print_msg("%s: %s %.2f us, %s %.2f us per heartbeat, ratio %.3f (%.3f..%.3f)\n",
		       what, tight->name, median(loop), sockbeatd->name, median(daemon),
		       middle, ratio[0], ratio[ROUNDS - 1]);
	ksft_test_result(middle <= MAX_RATIO, "%s: ratio %.3f, at most %.2f\n", what, middle,
			 MAX_RATIO);
}

static long resident_bytes(pid_t pid)
{
	char path[64], line[256];
	long kib = -1;
	FILE *file;

	snprintf(path, sizeof(path), "/proc/%d/smaps_rollup", pid);
	file = fopen(path, "r");
	while (file && fgets(line, sizeof(line), file)) {
		if (sscanf(line, "Rss: %ld", &kib) == 1)
			break;
	}
	if (!file || kib < 0)
		die(path);
	fclose(file);
	return kib * 1024;
}

/* Each connection has had a heartbeat answered, so nothing is only lazy. */
static void bench_memory(void)
{
	static int fd[IDLE_CONNECTIONS];
	struct sockbeatd d;
	long before, each;

	start_sockbeatd(&d);
	fd[0] = connect_one(d.port);
	put_heartbeat(fd[0]);
	get_answer(fd[0]);
	before = resident_bytes(d.pid);
	for (int i = 1; i < IDLE_CONNECTIONS; i++) {
		fd[i] = connect_one(d.port);
		put_heartbeat(fd[i]);
		get_answer(fd[i]);
	}
	if (sockbeatd_stat(&d, "", "connections") != IDLE_CONNECTIONS)
		ksft_exit_fail_msg("not all are connected\n");
	each = (resident_bytes(d.pid) - before) / (IDLE_CONNECTIONS - 1);
	ksft_test_result(each <= MAX_IDLE_BYTES, "%ld bytes resident per idle connection, at most %d\n",
			 each, MAX_IDLE_BYTES);
	for (int i = 0; i < IDLE_CONNECTIONS; i++)
		close(fd[i]);
	sockbeatd_stop(&d);
}

static void connect_all(struct server *server)
{
	for (int i = 0; i < CONNECTIONS; i++)
		server->fd[i] = connect_one(server->port);
}

int main(void)
{
	static struct server tight = { .name = "tight loop" }, sockbeatd = { .name = "sockbeatd" };
	struct sockbeatd d;
	struct rlimit limit;

	ksft_print_header();
	ksft_set_plan(3);
	getrlimit(RLIMIT_NOFILE, &limit);
	if (limit.rlim_max < IDLE_CONNECTIONS + 100)
		ksft_exit_skip("needs %d descriptors\n", IDLE_CONNECTIONS + 100);
	limit.rlim_cur = limit.rlim_max;
	setrlimit(RLIMIT_NOFILE, &limit);

	start_tight(&tight);
	start_sockbeatd(&d);
	sockbeatd.pid = d.pid;
	sockbeatd.port = d.port;
	connect_all(&tight);
	connect_all(&sockbeatd);
	bench_cpu("one at a time", &tight, &sockbeatd, one_at_a_time);
	bench_cpu("all in flight", &tight, &sockbeatd, all_in_flight);
	kill(tight.pid, SIGKILL);
	sockbeatd_stop(&d);

	bench_memory();
	ksft_finished();
}
