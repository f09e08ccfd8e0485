// SPDX-License-Identifier: GPL-2.0-only
/*
 * sockbeatd on a machine that lets it down: no descriptors, connections that may
 * not be accepted, full disks, a clock that jumps, no room for what the kernel says.
 */
#define _GNU_SOURCE
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/stat.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <sys/syscall.h>
#include "daemon_load.h"
#include "param.h"

/* Watch a process for a second, of which it may use a fifth. */
static bool spins(pid_t pid)
{
	struct timespec watch = { .tv_sec = 1 };
	long before = cpu_ms(pid);

	nanosleep(&watch, NULL);
	return cpu_ms(pid) - before > 200;
}

TEST_F(daemon, out_of_descriptors)
{
	int fd[60];

	START_LIMITED(32);
	for (int i = 0; i < 60; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(put(fd[i], wire_heartbeat, 8));
	}
	ASSERT_NE(NULL, log_wait(&self->d, "accept paused"));
	/* They are served as others leave. */
	for (int i = 0; i < 60; i++) {
		ASSERT_TRUE(expect(fd[i], wire_heartbeat, 8)) {
			TH_LOG("client %d", i);
		}
		close(fd[i]);
	}
	EXPECT_EQ(60, sockbeatd_stat_wait(&self->d, "closed", "peer_close", 60));
	EXPECT_LE(1, sockbeatd_stat(&self->d, "", "accept_pauses"));
}

TEST_F(daemon, out_of_descriptors_does_not_spin)
{
	int fd[60];

	START_LIMITED(32);
	for (int i = 0; i < 60; i++)
		fd[i] = client(self);
	ASSERT_NE(NULL, log_wait(&self->d, "accept paused"));
	EXPECT_FALSE(spins(self->d.pid));
	for (int i = 0; i < 60; i++)
		close(fd[i]);
}

/* Nobody of those who wait has to go for the others to be served, once there
 * are descriptors again.
 */
TEST_F(daemon, descriptors_come_back)
{
	struct rlimit limit = { 32, 1024 };
	int fd[60];

	START_LIMITED(1024);
	ASSERT_EQ(0, prlimit(self->d.pid, RLIMIT_NOFILE, &limit, NULL));
	for (int i = 0; i < 60; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(put(fd[i], wire_heartbeat, 8));
	}
	ASSERT_NE(NULL, log_wait(&self->d, "accept paused"));
	EXPECT_GT(60, number_at(strstr(self->d.log, "accept paused"), "connections="));
	limit.rlim_cur = 1024;
	ASSERT_EQ(0, prlimit(self->d.pid, RLIMIT_NOFILE, &limit, NULL));
	for (int i = 0; i < 60; i++) {
		ASSERT_TRUE(expect(fd[i], wire_heartbeat, 8)) TH_LOG("client %d", i);
	}
	EXPECT_EQ(60, sockbeatd_stat(&self->d, "", "connections"));
	EXPECT_LE(1, sockbeatd_stat(&self->d, "", "accept_pauses"));
	for (int i = 0; i < 60; i++)
		close(fd[i]);
}

#define FILE_MAX	"/proc/sys/fs/file-max"

/* The same where it is the machine that has no more of them. */
TEST_F(daemon, files_of_the_machine_come_back)
{
	char max[32] = "";
	int fd[10], served;

	if (!getenv("SOCKBEAT_TEST_MACHINE"))
		SKIP(return, "takes open files away from all: only with SOCKBEAT_TEST_MACHINE=1");
	/* That limit is not for who has this capability. */
	ASSERT_EQ(0, prctl(PR_CAPBSET_DROP, CAP_SYS_ADMIN));
	START();
	served = client(self);
	ASSERT_TRUE(is_served(served));
	ASSERT_TRUE(file_read(FILE_MAX, max, sizeof(max)));
	ASSERT_EQ(0, file_write(FILE_MAX, "1"));
	for (int i = 0; i < 10; i++) {
		fd[i] = client(self);
		EXPECT_TRUE(put(fd[i], wire_heartbeat, 8));
	}
	EXPECT_NE(NULL, log_wait(&self->d, "accept paused"));
	EXPECT_NE(NULL, strstr(self->d.log, strerror(ENFILE)));
	EXPECT_FALSE(spins(self->d.pid));
	EXPECT_TRUE(is_served(served));
	ASSERT_EQ(0, file_write(FILE_MAX, max));
	for (int i = 0; i < 10; i++) {
		ASSERT_TRUE(expect(fd[i], wire_heartbeat, 8)) TH_LOG("client %d", i);
		close(fd[i]);
	}
	EXPECT_LE(1, sockbeatd_stat(&self->d, "", "accept_pauses"));
	close(served);
}

#define MAX_WATCHES	"/proc/sys/fs/epoll/max_user_watches"

/* Let this user's epoll watch so many more descriptors than it does now. */
static bool leave_watches(int more)
{
	struct epoll_event event = { 0 };
	int epoll_fd = epoll_create1(EPOLL_CLOEXEC), fd = eventfd(0, EFD_CLOEXEC), n = 0;
	char text[32];

	/* The first limit under which there is room for ours. */
	do {
		snprintf(text, sizeof(text), "%d", n);
		file_write(MAX_WATCHES, text);
	} while (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) && n++ < 1000);
	close(epoll_fd);
	close(fd);
	snprintf(text, sizeof(text), "%d", n - 1 + more);
	return n <= 1000 && !file_write(MAX_WATCHES, text);
}

/* Where there are listeners that epoll cannot watch for a while, nobody is accepted
 * by the others either, nor is it told all the time that somebody waits there.
 */
TEST_F(daemon, watches_come_back)
{
	struct rlimit limit = { 32, 1024 };
	char max[32] = "";
	uint8_t echo[16];
	size_t len = wire_echo(echo, sizeof(echo) - 8, 1);
	int fd[60], served, port;

	if (!getenv("SOCKBEAT_TEST_MACHINE"))
		SKIP(return, "takes watches away from all: only with SOCKBEAT_TEST_MACHINE=1");
	ASSERT_TRUE(file_read(MAX_WATCHES, max, sizeof(max)));
	START_LIMITED(1024, "listen=127.0.0.1:0,127.0.0.2:0");
	port = number_at(self->d.log, "listening address=127.0.0.2:");
	served = client(self);
	ASSERT_TRUE(is_served(served));
	ASSERT_EQ(0, prlimit(self->d.pid, RLIMIT_NOFILE, &limit, NULL));
	for (int i = 0; i < 60; i++) {
		fd[i] = i % 2 ? client(self) : client_at("127.0.0.2", port);
		ASSERT_TRUE(put(fd[i], wire_heartbeat, 8));
	}
	EXPECT_NE(NULL, log_wait(&self->d, "accept paused"));
	/* Who was accepted last has his watch when it comes round to this. */
	EXPECT_TRUE(put(served, echo, len) && expect(served, echo, len));
	/* No retry takes some of what is counted while it is. */
	EXPECT_EQ(0, file_write(MAX_WATCHES, "0"));
	poll(NULL, 0, 500);
	EXPECT_TRUE(stop(self));
	EXPECT_TRUE(leave_watches(1));
	limit.rlim_cur = 1024;
	EXPECT_EQ(0, prlimit(self->d.pid, RLIMIT_NOFILE, &limit, NULL));
	EXPECT_EQ(0, kill(self->d.pid, SIGCONT));
	EXPECT_FALSE(spins(self->d.pid));
	ASSERT_EQ(0, file_write(MAX_WATCHES, max));
	for (int i = 0; i < 60; i++) {
		ASSERT_TRUE(expect(fd[i], wire_heartbeat, 8)) TH_LOG("client %d", i);
		close(fd[i]);
	}
	close(served);
}

/* Where there are too few from the start it says so, whatever it is that has none. */
TEST_F(daemon, no_watch_at_the_start)
{
	char max[32] = "";
	int more, err = -1;

	if (!getenv("SOCKBEAT_TEST_MACHINE"))
		SKIP(return, "takes watches away from all: only with SOCKBEAT_TEST_MACHINE=1");
	ASSERT_TRUE(file_read(MAX_WATCHES, max, sizeof(max)));
	for (more = 0; err && more < 20; more++) {
		EXPECT_TRUE(leave_watches(more));
		err = start_limited(self, variant, 0, (const char *const[]){ NULL });
		EXPECT_EQ(0, file_write(MAX_WATCHES, max));
		if (err) {
			EXPECT_NE(0, sockbeatd_wait(&self->d));
			EXPECT_NE(NULL, strstr(self->d.log, strerror(ENOSPC))) {
				TH_LOG("room for %d: %s", more, self->d.log);
			}
		}
	}
	EXPECT_EQ(0, err);
	EXPECT_LE(3, more);
}

/* The module has room for the first of them; log and statistics say of all why not. */
TEST_F(daemon, reactors_have_one_engine)
{
	char text[4096], max[32];
	int err, fd;

	if (!on_kernel())
		SKIP(return, "without the module there is but one engine");
	if (!getenv("SOCKBEAT_TEST_MACHINE"))
		SKIP(return, "limits all users of the module: only with SOCKBEAT_TEST_MACHINE=1");
	snprintf(max, sizeof(max), "%ld", param_read("max_peers_per_user"));
	ASSERT_EQ(0, param_write("max_peers_per_user", "150"));
	setenv("SOCKBEAT_TEST_ENGINE", "auto", 1);
	err = start_limited(self, variant, 0, (const char *const[]){
		"reactors=2", "pool_slots=100", "probe_after_ms=1000", NULL });
	ASSERT_EQ(0, param_write("max_peers_per_user", max));
	ASSERT_EQ(0, err) TH_LOG("%s", self->d.log);
	EXPECT_NE(NULL, strstr(self->d.log, "the builtin engine sends no probes"));
	snprintf(text, sizeof(text), "%s", strstr(self->d.log, " started "));
	EXPECT_NE(NULL, strstr(text, " engine=builtin "));
	EXPECT_NE(NULL, strstr(text, "max_peers_per_user"));
	ASSERT_EQ(0, sockbeatd_stats(&self->d, text, sizeof(text)));
	EXPECT_NE(NULL, strstr(text, "\"engine\":\"builtin\""));
	EXPECT_NE(NULL, strstr(text, "max_peers_per_user"));
	for (int i = 0; i < 20; i++) {
		fd = client(self);
		EXPECT_TRUE(is_served(fd));
		close(fd);
	}
}

/* From now on, of this process and of those that it starts. */
static bool forbid_accept(void)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, __NR_accept4, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { .len = ARRAY_SIZE(code), .filter = code };

	return !prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) &&
	       !prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
}

/* A client whom a policy keeps out waits, and the daemon does not spin. */
TEST_F(daemon, not_allowed_to_accept)
{
	int fd;

	ASSERT_TRUE(forbid_accept());
	START();
	fd = client(self);
	ASSERT_NE(NULL, log_wait(&self->d, "accept paused"));
	EXPECT_NE(NULL, strstr(self->d.log, strerror(EPERM)));
	EXPECT_FALSE(spins(self->d.pid));
	close(fd);
}

/* With a log of its own, whose name the test may have lead elsewhere. */
static int spawn_logging(FIXTURE_DATA(daemon) *self, const FIXTURE_VARIANT(daemon) *variant,
			 const char *path)
{
	char set[80];
	const char *const sets[] = { "listen=127.0.0.1:0", variant->epoll, set, NULL };

	snprintf(set, sizeof(set), "log_file=%s", path);
	return sockbeatd_spawn(&self->d, sets, 0);
}

static bool start_logging(FIXTURE_DATA(daemon) *self, const FIXTURE_VARIANT(daemon) *variant,
			  const char *path)
{
	char text[4096];

	if (spawn_logging(self, variant, path) || !file_wait(path, " started "))
		return false;
	file_read(path, text, sizeof(text));
	self->d.port = number_at(text, "address=127.0.0.1:");
	return true;
}

/* What cannot be written is counted, and told when there is room. */
TEST_F(daemon, log_on_a_full_disk)
{
	char path[64], file[80];
	int fd;

	snprintf(path, sizeof(path), "/tmp/sockbeatd-load-%d", getpid());
	snprintf(file, sizeof(file), "%s.log", path);
	unlink(path);
	ASSERT_EQ(0, symlink(file, path));
	ASSERT_TRUE(start_logging(self, variant, path));
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	EXPECT_EQ(0, sockbeatd_stat(&self->d, "", "log_lost"));

	unlink(path);
	ASSERT_EQ(0, symlink("/dev/full", path));
	for (int i = 1; i <= 3; i++) {
		kill(self->d.pid, SIGHUP);
		EXPECT_EQ(i, sockbeatd_stat_wait(&self->d, "", "log_lost", i));
		EXPECT_TRUE(is_served(fd));
	}
	unlink(path);
	ASSERT_EQ(0, symlink(file, path));
	kill(self->d.pid, SIGHUP);
	EXPECT_TRUE(file_wait(file, " warning log lost=3\n"));
	EXPECT_EQ(3, sockbeatd_stat(&self->d, "", "log_lost"));
	EXPECT_TRUE(is_served(fd));
	close(fd);
	EXPECT_EQ(0, sockbeatd_stop(&self->d));
	unlink(path);
	unlink(file);
}

/* A file that may grow no more: no signal ends the process, and the line that
 * was cut off is the only one that is not whole.
 */
TEST_F(daemon, log_that_is_cut_off)
{
	struct rlimit limit = { 0, RLIM_INFINITY };
	char path[64], line[256] = "";
	struct stat st;
	int fd, cut = 0;
	FILE *file;

	snprintf(path, sizeof(path), "/tmp/sockbeatd-load-%d", getpid());
	ASSERT_TRUE(start_logging(self, variant, path));
	fd = client(self);
	ASSERT_TRUE(is_served(fd));
	ASSERT_EQ(0, stat(path, &st));
	ASSERT_EQ(0, prlimit(self->d.pid, RLIMIT_FSIZE, NULL, &limit));
	limit.rlim_cur = st.st_size + 10;
	ASSERT_EQ(0, prlimit(self->d.pid, RLIMIT_FSIZE, &limit, NULL));
	for (int i = 1; i <= 3; i++) {
		kill(self->d.pid, SIGHUP);
		EXPECT_EQ(i, sockbeatd_stat_wait(&self->d, "", "log_lost", i));
		EXPECT_TRUE(is_served(fd));
	}
	limit.rlim_cur = limit.rlim_max;
	ASSERT_EQ(0, prlimit(self->d.pid, RLIMIT_FSIZE, &limit, NULL));
	kill(self->d.pid, SIGHUP);
	EXPECT_TRUE(file_wait(path, " warning log lost=3\n"));
	close(fd);
	EXPECT_EQ(0, sockbeatd_stop(&self->d));

	file = fopen(path, "r");
	ASSERT_NE(NULL, file);
	while (fgets(line, sizeof(line), file)) {
		if (strlen(line) == 11) {
			cut++;
			continue;
		}
		EXPECT_EQ('Z', line[23]) TH_LOG("%s", line);
	}
	EXPECT_EQ(1, cut);
	fclose(file);
	unlink(path);
}

/* A pipe whose reader went is refused when it is opened anew, not waited for. */
TEST_F(daemon, log_pipe_that_nobody_reads)
{
	char path[64], text[4096] = "";
	int fd, reader;

	snprintf(path, sizeof(path), "/tmp/sockbeatd-load-%d", getpid());
	unlink(path);
	ASSERT_EQ(0, mkfifo(path, 0600));
	reader = open(path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
	ASSERT_LE(0, reader);
	ASSERT_EQ(0, spawn_logging(self, variant, path));
	for (uint64_t until_ms = now_ms() + PATIENCE_MS; now_ms() < until_ms;) {
		struct pollfd pfd = { .fd = reader, .events = POLLIN };
		size_t len = strlen(text);

		if (poll(&pfd, 1, 100) == 1 && read(reader, text + len, sizeof(text) - 1 - len) > 0 &&
		    strstr(text, " started "))
			break;
	}
	self->d.port = number_at(text, "address=127.0.0.1:");
	close(reader);
	kill(self->d.pid, SIGHUP);
	fd = client(self);
	EXPECT_TRUE(is_served(fd));
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "", "connections"));
	close(fd);
	EXPECT_EQ(0, sockbeatd_stop(&self->d));
	unlink(path);
}

static bool step_clock(int64_t seconds)
{
	struct timespec now;

	clock_gettime(CLOCK_REALTIME, &now);
	now.tv_sec += seconds;
	return !clock_settime(CLOCK_REALTIME, &now);
}

/* The clock of the day jumps; a timeout is as long as it was. */
TEST_F(daemon, clock_steps)
{
	static const int64_t steps[] = { 86400, -2 * 86400, 86400 };
	const uint64_t timeout_ms = is_slow() ? 10000 : 2000;
	int live;

	if (!getenv("SOCKBEAT_TEST_MACHINE"))
		SKIP(return, "sets the machine's clock: only with SOCKBEAT_TEST_MACHINE=1");
	START(is_slow() ? "timeout_ms=10000" : "timeout_ms=2000", "frame_timeout_ms=60000");
	live = client(self);
	for (size_t i = 0; i < ARRAY_SIZE(steps); i++) {
		int mute = client(self), slow = client(self);
		struct pollfd pfd = { .fd = mute, .events = POLLIN };
		uint64_t begin_ms;

		ASSERT_TRUE(is_served(mute));
		begin_ms = now_ms();
		ASSERT_TRUE(put(slow, wire_heartbeat, 4));
		ASSERT_TRUE(step_clock(steps[i])) TH_LOG("%s", strerror(errno));
		do {
			ASSERT_TRUE(is_served(live));
		} while (!poll(&pfd, 1, timeout_ms / 10));
		EXPECT_TRUE(expect_end(mute));
		EXPECT_LE(begin_ms + timeout_ms, now_ms() + 1);
		EXPECT_GE(begin_ms + timeout_ms + bound_ms(), now_ms());
		ASSERT_TRUE(put(slow, wire_heartbeat + 4, 4));
		close(mute);
		close(slow);
	}
	EXPECT_TRUE(is_served(live));
	EXPECT_EQ(0, closed(self, "slow_frame"));
	close(live);
}

/* What a socket holds that nobody gave a buffer, as the daemon's for its events. */
#define RMEM_DEFAULT	"/proc/sys/net/core/rmem_default"

/* Its sockets hold a message or two each; those that are made later are as ever. */
static int start_with_little_room(FIXTURE_DATA(daemon) *self,
				  const FIXTURE_VARIANT(daemon) *variant,
				  const char *const *settings)
{
	char room[32];
	int err;

	if (!file_read(RMEM_DEFAULT, room, sizeof(room)) || file_write(RMEM_DEFAULT, "4096"))
		return -1;
	err = start_limited(self, variant, 0, settings);
	return file_write(RMEM_DEFAULT, room) ? -1 : err;
}

/* More fall silent at once than their events have room for.  What finds none is
 * tried again; nobody else says it a second time, so what was lost would stay lost.
 */
TEST_F(daemon, events_that_find_no_room)
{
	/* A line of the log each, which the pipe to us has to hold meanwhile. */
	enum { CLIENTS = 500 };
	const int timeout_ms = is_slow() ? 20000 : 4000;
	static int fd[CLIENTS];
	long long deferrals;
	int live;

	if (!on_kernel())
		SKIP(return, "events of the builtin engine need no room");
	if (!getenv("SOCKBEAT_TEST_MACHINE"))
		SKIP(return, "sets a size for all sockets: only with SOCKBEAT_TEST_MACHINE=1");
	ASSERT_EQ(0, start_with_little_room(self, variant, (const char *const[]){
		is_slow() ? "timeout_ms=20000" : "timeout_ms=4000", "act_after_ms=600000",
		"renotify_ms=600000", NULL })) {
		TH_LOG("%s", self->d.log);
	}
	for (int i = 0; i < CLIENTS; i++) {
		fd[i] = client(self);
		ASSERT_TRUE(is_served(fd[i])) TH_LOG("client %d", i);
	}
	deferrals = sockbeatd_stat(&self->d, "session", "deferrals");
	ASSERT_LE(0, deferrals);
	ASSERT_TRUE(stop(self));
	poll(NULL, 0, timeout_ms + timeout_ms / 2);
	ASSERT_EQ(0, kill(self->d.pid, SIGCONT));
	live = client(self);
	for (int i = 0; i < CLIENTS; i++) {
		ASSERT_TRUE(is_served(live)) TH_LOG("client %d", i);
		ASSERT_TRUE(expect_end(fd[i])) TH_LOG("client %d", i);
		close(fd[i]);
	}
	EXPECT_TRUE(is_served(live));
	EXPECT_EQ(CLIENTS, closed(self, "silent"));
	EXPECT_EQ(CLIENTS, sockbeatd_stat(&self->d, "session", "silences"));
	EXPECT_EQ(1, sockbeatd_stat(&self->d, "", "connections"));
	EXPECT_TRUE(adds_up(self));
	EXPECT_LT(deferrals, sockbeatd_stat(&self->d, "session", "deferrals"));
	close(live);
}

TEST_HARNESS_MAIN
