// SPDX-License-Identifier: GPL-2.0-only
/*
 * `make run`: the main job, shown on real traffic.
 *
 * sockbeatd serves clients that live in another network namespace, behind two
 * cables (veth pairs).  Then one cable is pulled, and the process behind some
 * clients of the other is stopped; a third kind sends payload so slowly that
 * it stays just inside its timeout.  The source address tells which kind a
 * client is, so what the daemon found is read from its own log.
 */
#define _GNU_SOURCE
#include <argp.h>
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>
#include <jansson.h>
#include "tcp.h"

#define DIR	"/tmp/sockbeat-demo"
#define LOG	DIR "/sockbeatd.log"
#define STATS	DIR "/stats"
#define PORT	"7400"

enum kind { ALIVE, SLOW, STOPPED, PULLED, KINDS };

static struct group {
	const char *name;
	const char *what;
	const char *server;	/* the address that it connects to */
	const char *source;	/* the address that it comes from */
	int clients;
	bool dead;
	pid_t pid;
	int found;		/* distinct clients that the daemon called silent */
	int established;	/* of which TCP said ESTABLISHED */
} groups[KINDS] = {
	[ALIVE] = { "alive", "heartbeats and echo requests", "10.77.0.1", "10.77.0.2", 800 },
	[SLOW] = { "slow", "a byte of payload just inside the timeout", "10.77.0.1", "10.77.0.3", 50 },
	[STOPPED] = { "stopped", "SIGSTOP, its kernel still ACKs", "10.77.0.1", "10.77.0.4", 50, true },
	[PULLED] = { "pulled", "cable pulled, no FIN, no RST", "10.77.1.1", "10.77.1.2", 100, true },
};

static struct {
	unsigned int timeout_ms;
	const char *engine;
} opts = { 6000, "kernel" };

static struct {
	uint64_t start_ms;
	int home, away;		/* the namespaces */
	pid_t daemon;
	FILE *log;
	bool seen[KINDS][65536];
	uint64_t late_ms[65536];
	int late;
	bool live_view;
	bool drawn;
	json_t *stats;
} demo;

static uint64_t now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000ull + ts.tv_nsec / 1000000;
}

static _Noreturn void fail(const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	fputs("demo: ", stderr);
	vfprintf(stderr, fmt, ap);
	fputc('\n', stderr);
	va_end(ap);
	exit(1);
}

static void must(int status, const char *what)
{
	if (status)
		fail("%s failed: status %d (%s)", what, status, strerror(errno));
}

/* Two namespaces, two cables. */
static void make_network(void)
{
	int i;

	demo.home = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	must(unshare(CLONE_NEWNET), "unshare");
	demo.away = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	must(sh("ip link set lo up"), "ip link set lo");
	for (i = 0; i < 2; i++)
		must(sh("ip link add away%d type veth peer name home%d netns /proc/%d/fd/%d && "
			"ip addr add 10.77.%d.2/24 dev away%d && ip link set away%d up",
			i, i, getpid(), demo.home, i, i, i), "making a cable");
	must(sh("ip addr add 10.77.0.3/24 dev away0 && ip addr add 10.77.0.4/24 dev away0"),
	     "ip addr add");
	must(netns_enter(demo.home), "setns");
	for (i = 0; i < 2; i++)
		must(sh("ip addr add 10.77.%d.1/24 dev home%d && ip link set home%d up", i, i, i),
		     "ip addr add");
}

static void pull_cable(void)
{
	must(sh("tc qdisc add dev home1 root netem loss 100%%"), "tc");
	must(netns_enter(demo.away), "setns");
	must(sh("tc qdisc add dev away1 root netem loss 100%%"), "tc");
	must(netns_enter(demo.home), "setns");
}

static pid_t spawn(const char *out, char *const argv[])
{
	pid_t pid = fork();
	int fd;

	if (pid < 0)
		fail("fork: %s", strerror(errno));
	if (pid)
		return pid;
	fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0644);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	execvp(argv[0], argv);
	dprintf(STDERR_FILENO, "%s: %s\n", argv[0], strerror(errno));
	_exit(127);
}

static void start_daemon(void)
{
	char timeout[64], engine[32];

	snprintf(timeout, sizeof(timeout), "timeout_ms=%u", opts.timeout_ms);
	snprintf(engine, sizeof(engine), "engine=%s", opts.engine);
	demo.daemon = spawn(DIR "/sockbeatd.out", (char *[]){
		"sockbeatd", "--set", "listen=0.0.0.0:" PORT, "--set", timeout, "--set", engine,
		"--set", "log_file=" LOG, "--set", "stats_socket=" STATS, NULL });
}

static void start_clients(struct group *g)
{
	char clients[16], to[64], out[64], slow[16];
	char *argv[32] = {
		"sockbeat-load", "--connect", to, "--bind", (char *)g->source, "--clients", clients,
		"--report", "json", "--expect-close",
	};
	int n = 10;

	snprintf(clients, sizeof(clients), "%d", g->clients);
	snprintf(to, sizeof(to), "%s:" PORT, g->server);
	snprintf(out, sizeof(out), DIR "/%s.json", g->name);
	snprintf(slow, sizeof(slow), "%u", opts.timeout_ms);
	if (g == &groups[SLOW]) {
		argv[n++] = "--slow-ms";
		argv[n++] = slow;
	} else {
		argv[n++] = "--period-ms";
		argv[n++] = "2000";
		argv[n++] = "--jitter-ms";
		argv[n++] = "500";
		argv[n++] = "--echo-bytes";
		argv[n++] = "64";
		argv[n++] = "--echo-period-ms";
		argv[n++] = "5000";
	}
	must(netns_enter(demo.away), "setns");
	g->pid = spawn(out, argv);
	must(netns_enter(demo.home), "setns");
}

/* The daemon's counters; keeps the old ones where it does not answer. */
static void read_stats(void)
{
	struct sockaddr_un sa = { .sun_family = AF_UNIX, .sun_path = STATS };
	int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
	json_t *json = NULL;

	if (!connect(fd, (void *)&sa, sizeof(sa)))
		json = json_loadfd(fd, JSON_DISABLE_EOF_CHECK, NULL);
	close(fd);
	if (json) {
		json_decref(demo.stats);
		demo.stats = json;
	}
}

static long stat_of(const char *object, const char *name)
{
	json_t *from = object ? json_object_get(demo.stats, object) : demo.stats;

	return json_integer_value(json_object_get(from, name));
}

static struct group *group_of(const char *addr, size_t len)
{
	int i;

	for (i = 0; i < KINDS; i++)
		if (strlen(groups[i].source) == len && !strncmp(groups[i].source, addr, len))
			return &groups[i];
	return NULL;
}

/* Follow the daemon's log: "silent peer=ADDR:PORT ... late_ms=N ... tcp=S". */
static void read_log(void)
{
	const char *peer, *late, *colon;
	struct group *g;
	char line[512];
	int port;

	if (!demo.log)
		demo.log = fopen(LOG, "re");
	if (!demo.log)
		return;
	while (fgets(line, sizeof(line), demo.log)) {
		peer = strstr(line, "silent peer=");
		late = strstr(line, "late_ms=");
		if (!peer || !late)
			continue;
		peer += strlen("silent peer=");
		colon = strchr(peer, ':');
		g = colon ? group_of(peer, colon - peer) : NULL;
		port = colon ? atoi(colon + 1) & 65535 : 0;
		if (!g || demo.seen[g - groups][port])
			continue;
		demo.seen[g - groups][port] = true;
		g->found++;
		g->established += !!strstr(line, "tcp=ESTABLISHED");
		if (g->dead)
			demo.late_ms[demo.late++] = strtoull(late + 8, NULL, 10);
	}
	clearerr(demo.log);
}

static int found(bool dead)
{
	int i, n = 0;

	for (i = 0; i < KINDS; i++)
		n += groups[i].dead == dead ? groups[i].found : 0;
	return n;
}

static int total(bool dead)
{
	int i, n = 0;

	for (i = 0; i < KINDS; i++)
		n += groups[i].dead == dead ? groups[i].clients : 0;
	return n;
}

/* Answered by the daemon, or by the kernel in its place. */
static long heartbeats(void)
{
	return stat_of(NULL, "heartbeats") + stat_of("session", "answered");
}

static void draw(const char *phase)
{
	double t = (now_ms() - demo.start_ms) / 1000.0;
	long gone = stat_of("session", "recycles");

	if (demo.live_view && demo.drawn)
		printf("\033[4F");
	demo.drawn = true;
	if (!demo.live_view) {
		printf("%5.1f s  tracked %4ld  silent %3d  recycled %3ld  heartbeats %7ld  %s\n", t,
		       stat_of("session", "live") + stat_of("session", "silent"),
		       found(true) + found(false), gone, heartbeats(), phase);
	} else {
		printf("\033[K%5.1f s   %s\n", t, phase);
		printf("\033[K  tracked %4ld   silent %3d   recycled %3ld   heartbeats answered %ld\n",
		       stat_of("session", "live") + stat_of("session", "silent"),
		       found(true) + found(false), gone, heartbeats());
		printf("\033[K  found dead: pulled %3d/%d   stopped %3d/%d\n", groups[PULLED].found,
		       groups[PULLED].clients, groups[STOPPED].found, groups[STOPPED].clients);
		printf("\033[K  false alarms: alive %d/%d   slow %d/%d\n", groups[ALIVE].found,
		       groups[ALIVE].clients, groups[SLOW].found, groups[SLOW].clients);
	}
	fflush(stdout);
}

/* Watch until a condition holds or time is up; false for the latter. */
static bool watch(const char *phase, bool (*done)(void), uint64_t ms)
{
	uint64_t until = now_ms() + ms, step = demo.live_view ? 250 : 1000;
	bool ok;

	do {
		usleep(step * 1000);
		if (waitpid(demo.daemon, NULL, WNOHANG) == demo.daemon)
			sh("cat " DIR "/sockbeatd.out " LOG " >&2"), fail("sockbeatd has ended");
		read_stats();
		read_log();
		draw(phase);
		ok = done && done();
	} while (!ok && now_ms() < until);
	return ok;
}

static bool all_connected(void)
{
	return stat_of(NULL, "connections") == total(true) + total(false);
}

static bool all_found(void)
{
	return found(true) == total(true);
}

static bool daemon_answers(void)
{
	return demo.stats;
}

static int end(pid_t pid)
{
	int status;

	kill(pid, SIGTERM);
	kill(pid, SIGCONT);
	if (waitpid(pid, &status, 0) != pid)
		return -1;
	return WIFEXITED(status) ? WEXITSTATUS(status) : 128 + WTERMSIG(status);
}

static int by_value(const void *a, const void *b)
{
	uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

	return (x > y) - (x < y);
}

static unsigned int sysctl(const char *name)
{
	char path[128];
	unsigned int value = 0;
	FILE *f;

	snprintf(path, sizeof(path), "/proc/sys/net/ipv4/%s", name);
	f = fopen(path, "re");
	if (!f || fscanf(f, "%u", &value) != 1)
		fail("cannot read %s", path);
	fclose(f);
	return value;
}

static uint64_t percentile(int p)
{
	return demo.late ? demo.late_ms[(demo.late - 1) * p / 100] : 0;
}

static void report(void)
{
	unsigned int keepalive = sysctl("tcp_keepalive_time") +
				 sysctl("tcp_keepalive_intvl") * sysctl("tcp_keepalive_probes");
	int i;

	qsort(demo.late_ms, demo.late, sizeof(demo.late_ms[0]), by_value);
	printf("\n  clients    what they do                                found   TCP said ESTABLISHED\n");
	for (i = KINDS - 1; i >= 0; i--)
		printf("  %-8s   %-42s %3d/%-4d %d\n", groups[i].name, groups[i].what, groups[i].found,
		       groups[i].clients, groups[i].established);
	printf("\n  dead peers found        %d/%d\n", found(true), total(true));
	printf("  false alarms            %d/%d\n", found(false), total(false));
	printf("  lateness                p50 %" PRIu64 " ms   p99 %" PRIu64 " ms   max %" PRIu64
	       " ms   after a timeout of %u ms\n", percentile(50), percentile(99), percentile(100),
	       opts.timeout_ms);
	printf("  TCP keepalive, default  %u h %u min for the pulled, never for the stopped\n",
	       keepalive / 3600, keepalive % 3600 / 60);
	printf("  engine                  %s\n\n",
	       json_string_value(json_object_get(demo.stats, "engine")));
	fflush(stdout);
}

/* How many of a group's clients the server closed, by the group's own word. */
static long closed_by_server(const struct group *g)
{
	char path[64];
	long n = -1;
	json_t *json;

	snprintf(path, sizeof(path), DIR "/%s.json", g->name);
	json = json_load_file(path, JSON_DISABLE_EOF_CHECK, NULL);
	if (json)
		n = json_integer_value(json_object_get(json, "closed_by_server"));
	json_decref(json);
	return n;
}

static int run(void)
{
	int i, status = 0, daemon_status;

	must(sh("rm -rf " DIR " && mkdir " DIR), "mkdir");
	make_network();
	demo.start_ms = now_ms();
	start_daemon();
	if (!watch("starting sockbeatd", daemon_answers, 20000))
		fail("sockbeatd does not answer");
	for (i = 0; i < KINDS; i++)
		start_clients(&groups[i]);
	if (!watch("clients connect", all_connected, 60000))
		fail("only %ld clients are connected", stat_of(NULL, "connections"));
	watch("all are well", NULL, opts.timeout_ms + 2000);

	kill(groups[STOPPED].pid, SIGSTOP);
	pull_cable();
	watch("a cable is pulled, a process is stopped", all_found, opts.timeout_ms + 10000);
	/* Time enough for a false alarm. */
	watch("the others go on", NULL, opts.timeout_ms + 2000);

	for (i = 0; i < KINDS; i++)
		if (end(groups[i].pid))
			status = 1;
	for (i = 0; i < KINDS; i++)
		if (!groups[i].dead && closed_by_server(&groups[i]) != 0) {
			printf("demo: the server closed %ld %s clients\n", closed_by_server(&groups[i]),
			       groups[i].name);
			status = 1;
		}
	daemon_status = end(demo.daemon);
	report();
	if (daemon_status)
		printf("demo: sockbeatd ended with status %d\n", daemon_status);
	return status || daemon_status || !all_found() || found(false);
}

static error_t parse(int key, char *arg, struct argp_state *state)
{
	switch (key) {
	case 't':
		opts.timeout_ms = atoi(arg);
		if (opts.timeout_ms < 4000 || opts.timeout_ms > 60000)
			argp_error(state, "--timeout-ms %s is not in 4000..60000", arg);
		return 0;
	case 'e':
		opts.engine = arg;
		return 0;
	}
	return ARGP_ERR_UNKNOWN;
}

int main(int argc, char **argv)
{
	static const struct argp_option options[] = {
		{ "timeout-ms", 't', "MS", 0, "Timeout of every client (6000)", 0 },
		{ "engine", 'e', "ENGINE", 0, "kernel or builtin (kernel)", 0 },
		{ 0 }
	};
	static const struct argp argp = { options, parse, NULL,
		"Pull the cable of 100 clients, stop 50 more, and watch sockbeatd find them.",
		NULL, NULL, NULL };
	const char *term = getenv("TERM");
	struct rlimit files = { 65536, 65536 };

	argp_parse(&argp, argc, argv, 0, NULL, NULL);
	demo.live_view = isatty(STDOUT_FILENO) && term && strcmp(term, "dumb");
	must(setrlimit(RLIMIT_NOFILE, &files), "setrlimit");
	return run();
}
