// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatd and the module under load for as long as told: clients that come and
 * go over a line that loses packets, and in each round some whose cable is pulled
 * and some that are stopped.  Now and then the daemon ends or is killed.  Each
 * dead peer has to be found once and no live one ever, memory has to stay flat,
 * and the counters have to add up.
 *
 *   SOCKBEAT_TEST_SECONDS	60 unless told; `make check-soak` takes an hour
 */
#define _GNU_SOURCE
#include <inttypes.h>
#include "sockbeatd.h"
#include "cable.h"
#include "param.h"
#include "harness.h"

#define SERVER_PORT	"7400"
#define TIMEOUT_MS	5000
#define LOAD_OUT	"/tmp/soak-%s.json"

/* How much more than after the first rounds may be in use: caches fill up. */
#define SLACK_KIB	4096

enum { ALIVE, STOPPED, PULLED, GROUPS };

struct group {
	const char *name;
	const char *server, *source;
	const char *clients;
	pid_t pid;
	uint8_t found[65536];	/* by port: how often it was called silent */
};

static struct group groups[GROUPS] = {
	[ALIVE] = { "alive", "10.9.0.1", "10.9.0.2", "200" },
	[STOPPED] = { "stopped", "10.9.0.1", "10.9.0.3", "20" },
	[PULLED] = { "pulled", "10.10.0.1", "10.10.0.2", "40" },
};

FIXTURE(soak) {
	struct cable cable;
	struct sockbeatd d;
	long rounds, ends, kills, dead, found, twice, alarms, churned;
	long slab_kib, daemon_kib;	/* as of the first rounds */
	long lived, longest;	/* rounds of this daemon, and of the one that had most */
};

/* The first cable loses packets all the time, the second is pulled. */
FIXTURE_SETUP(soak)
{
	ASSERT_EQ(0, cable_lay(&self->cable));
	ASSERT_EQ(0, sh("tc qdisc add dev home root netem delay 3ms 2ms loss 1%%"));
	ASSERT_EQ(0, netns_enter(self->cable.away));
	ASSERT_EQ(0, sh("tc qdisc add dev away root netem delay 3ms 2ms loss 1%% && "
			"ip addr add 10.9.0.3/16 dev away && "
			"ip link add away1 type veth peer name home1 netns /proc/%d/fd/%d && "
			"ip addr add 10.10.0.2/16 dev away1 && ip link set away1 up",
			getpid(), self->cable.home));
	ASSERT_EQ(0, netns_enter(self->cable.home));
	ASSERT_EQ(0, sh("ip addr add 10.10.0.1/16 dev home1 && ip link set home1 up"));
}

FIXTURE_TEARDOWN(soak)
{
	for (int i = 0; i < GROUPS; i++)
		if (groups[i].pid > 0)
			kill(groups[i].pid, SIGKILL);
	if (self->d.pid > 0)
		kill(self->d.pid, SIGKILL);
	cable_remove(&self->cable);
}

#define SELF	struct __test_metadata *_metadata, FIXTURE_DATA(soak) *self

/* "... silent peer=ADDR:PORT ...": whose, and how often. */
static void take_line(FIXTURE_DATA(soak) *self, const char *line)
{
	static const char mark[] = "silent peer=";
	const char *peer = strstr(line, mark);

	for (int i = 0; peer && i < GROUPS; i++) {
		const char *addr = peer + strlen(mark);
		size_t len = strlen(groups[i].source);
		uint8_t *found;

		if (strncmp(addr, groups[i].source, len) || addr[len] != ':')
			continue;
		found = &groups[i].found[atoi(addr + len + 1) & 65535];
		if (i == ALIVE)
			self->alarms++;
		else if ((*found)++)
			self->twice++;
		else
			self->found++;
	}
}

/* Take the daemon's log as it comes, until so much of it is there or time is up. */
static bool follow(FIXTURE_DATA(soak) *self, long found, uint64_t until_ms)
{
	char *line, *end;

	do {
		for (line = self->d.log; (end = strchr(line, '\n')); line = end + 1) {
			*end = '\0';
			take_line(self, line);
		}
		self->d.log_len = strlen(line);
		memmove(self->d.log, line, self->d.log_len + 1);
	} while (self->found < found && log_more(&self->d, until_ms));
	return self->found >= found;
}

static void start_daemon(SELF)
{
	ASSERT_EQ(0, sockbeatd_start(&self->d, (const char *const[]){
		"listen=0.0.0.0:" SERVER_PORT, "timeout_ms=5000", "recycle_delay_ms=1000", "reactors=2", NULL }, 0))
		TH_LOG("%s", self->d.log);
}

/* Is there such a text in what a group's load has reported? */
static bool reported(const struct group *g, const char *text, char line[512])
{
	bool found = false;
	char path[64];
	FILE *file;

	snprintf(path, sizeof(path), LOAD_OUT, g->name);
	file = fopen(path, "re");
	while (file && !found && fgets(line, 512, file))
		found = strstr(line, text);
	if (file)
		fclose(file);
	return found;
}

static void start_load(SELF, struct group *g)
{
	char path[PATH_MAX], to[64], out[64], line[512];
	uint64_t until_ms;
	bool alive = g == &groups[ALIVE];
	int fd;

	program_path("sockbeat-load", path);
	snprintf(to, sizeof(to), "%s:" SERVER_PORT, g->server);
	snprintf(out, sizeof(out), LOAD_OUT, g->name);
	memset(g->found, 0, sizeof(g->found));
	unlink(out);
	g->pid = fork();
	ASSERT_LE(0, g->pid);
	if (!g->pid) {
		prctl(PR_SET_PDEATHSIG, SIGKILL);
		fd = open(out, O_WRONLY | O_CREAT | O_TRUNC, 0644);
		dup2(fd, STDOUT_FILENO);
		dup2(fd, STDERR_FILENO);
		if (!netns_enter(self->cable.away))
			execlp(path, path, "--connect", to, "--bind", g->source, "--clients", g->clients,
			       "--report", "json", "--period-ms", "1000", "--jitter-ms", "300",
			       alive ? "--churn-per-s=5" : "--expect-close", "--echo-bytes", "64",
			       "--echo-period-ms", "2000", NULL);
		_exit(127);
	}
	for (until_ms = now_ms() + 3 * PATIENCE_MS; !reported(g, "\"ready\"", line); usleep(20000))
		ASSERT_GT(until_ms, now_ms())
			TH_LOG("%s clients: no connection", g->name);
}

static int end_load(struct group *g, int sig)
{
	int status = -1;

	kill(g->pid, sig);
	waitpid(g->pid, &status, 0);
	g->pid = 0;
	return status;
}

/* Each peer that was tracked is somewhere.  Asked while they come and go: of a session
 * that has ended the gauges are zero whatever they were.  The daemon asks each session
 * once, so no peer moves between two of these numbers.
 */
static void look_at_counters(SELF)
{
	static const char *const where[] = { "live", "silent", "gone", "recycling", "deleted",
					     "recycled" };
	long long added, live, sum = 0;
	char text[4096];

	ASSERT_EQ(0, sockbeatd_stats(&self->d, text, sizeof(text)));
	added = sockbeatd_number(text, "session", "added");
	live = sockbeatd_number(text, "session", "live");
	for (size_t i = 0; i < ARRAY_SIZE(where); i++)
		sum += sockbeatd_number(text, "session", where[i]);
	EXPECT_LE(atoi(groups[ALIVE].clients) / 2, live);
	EXPECT_EQ(added, sum)
		TH_LOG("round %ld: %s", self->rounds, text);
}

static void round_of_deaths(SELF)
{
	long n = atoi(groups[STOPPED].clients) + atoi(groups[PULLED].clients);

	start_load(_metadata, self, &groups[STOPPED]);
	start_load(_metadata, self, &groups[PULLED]);
	self->dead += n;
	kill(groups[STOPPED].pid, SIGSTOP);
	ASSERT_EQ(0, cable_tc(&self->cable, "1", "add"));
	EXPECT_TRUE(follow(self, self->dead, now_ms() + TIMEOUT_MS + PATIENCE_MS))
		TH_LOG("round %ld: only %ld of %ld found", self->rounds, self->found, self->dead);
	look_at_counters(_metadata, self);
	/* Time for a second report, or a false one. */
	follow(self, LONG_MAX, now_ms() + TIMEOUT_MS);
	end_load(&groups[STOPPED], SIGKILL);
	end_load(&groups[PULLED], SIGKILL);
	ASSERT_EQ(0, cable_tc(&self->cable, "1", "del"));
	self->rounds++;
}

/* The clients that live were closed by none but themselves. */
static void end_alive(SELF)
{
	char line[512];
	int status = end_load(&groups[ALIVE], SIGTERM);

	ASSERT_TRUE(reported(&groups[ALIVE], "\"report\"", line));
	EXPECT_EQ(0, status)
		TH_LOG("round %ld: %s", self->rounds, line);
	self->churned += atol(strstr(line, "\"churned\":") ? strstr(line, "\"churned\":") + 10 : "0");
}

static long number_in(const char *path, const char *name)
{
	FILE *file = fopen(path, "re");
	size_t len = strlen(name);
	long value = -1;
	char line[256];

	while (file && value < 0 && fgets(line, sizeof(line), file))
		if (!strncmp(line, name, len))
			value = atol(line + len);
	if (file)
		fclose(file);
	return value;
}

/* Nothing is left in the kernel, and all that came went somewhere. */
static void all_is_gone(SELF)
{
	uint64_t until_ms = now_ms() + PATIENCE_MS;

	while (counter_read("sessions") && now_ms() < until_ms)
		usleep(20000);
	EXPECT_EQ(0, counter_read("sessions"));
	EXPECT_EQ(0, counter_read("live") + counter_read("silent") + counter_read("gone") +
		  counter_read("recycling"));
	EXPECT_EQ(counter_read("added"), counter_read("deleted") + counter_read("recycled"));
}

/* Every other time it is killed, its clients at work. */
static void restart_daemon(SELF)
{
	if (self->ends > self->kills) {
		kill(self->d.pid, SIGKILL);
		sockbeatd_wait(&self->d);
		end_load(&groups[ALIVE], SIGKILL);
		self->kills++;
	} else {
		end_alive(_metadata, self);
		EXPECT_EQ(0, sockbeatd_stop(&self->d));
		self->ends++;
	}
	follow(self, 0, 0);
	all_is_gone(_metadata, self);
	start_daemon(_metadata, self);
	start_load(_metadata, self, &groups[ALIVE]);
	self->daemon_kib = 0;
	self->lived = 0;
}

static void look_at_memory(SELF)
{
	long slab_kib = number_in("/proc/meminfo", "SUnreclaim:"), daemon_kib;
	char path[64];

	snprintf(path, sizeof(path), "/proc/%d/status", self->d.pid);
	daemon_kib = number_in(path, "VmRSS:");
	TH_LOG("round %ld: kernel %ld KiB, daemon %ld KiB, %ld dead, %ld found", self->rounds, slab_kib,
	       daemon_kib, self->dead, self->found);
	if (self->rounds <= 4)
		self->slab_kib = slab_kib;
	if (!self->daemon_kib)
		self->daemon_kib = daemon_kib;
	if (++self->lived > self->longest)
		self->longest = self->lived;
	EXPECT_GE(self->slab_kib + SLACK_KIB, slab_kib);
	EXPECT_GE(self->daemon_kib + SLACK_KIB, daemon_kib);
}

TEST_F_TIMEOUT(soak, all, 1000000)
{
	const char *told = getenv("SOCKBEAT_TEST_SECONDS");
	uint64_t until_ms = now_ms() + 1000ull * (told ? atoi(told) : 60);
	long silences = counter_read("silences");
	long acts = counter_read("aborts") + counter_read("shutdowns");

	if (access(COUNTERS, F_OK))
		SKIP(return, "the module is not loaded");
	setenv("SOCKBEAT_TEST_ENGINE", "kernel", 1);
	start_daemon(_metadata, self);
	start_load(_metadata, self, &groups[ALIVE]);
	do {
		round_of_deaths(_metadata, self);
		look_at_memory(_metadata, self);
		/* At each power of two: the later, the longer its memory has to stay flat. */
		if (self->rounds > 1 && !(self->rounds & (self->rounds - 1)))
			restart_daemon(_metadata, self);
	} while (now_ms() < until_ms);
	end_alive(_metadata, self);
	EXPECT_EQ(0, sockbeatd_stop(&self->d));
	all_is_gone(_metadata, self);
	TH_LOG("%ld rounds, %ld dead, %ld found, %ld found twice, %ld false alarms, %ld came back, %ld ends, %ld kills of the daemon, which lived for up to %ld rounds",
	       self->rounds, self->dead, self->found, self->twice, self->alarms, self->churned,
	       self->ends, self->kills, self->longest);
	EXPECT_EQ(self->dead, self->found);
	EXPECT_EQ(0, self->twice);
	EXPECT_EQ(0, self->alarms);
	EXPECT_EQ(self->dead, counter_read("silences") - silences);
	EXPECT_EQ(acts, counter_read("aborts") + counter_read("shutdowns"));
}

TEST_HARNESS_MAIN
