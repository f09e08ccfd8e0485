// SPDX-License-Identifier: GPL-2.0-only
/*
 * The guest's init: mount, load modules, run the commands in /etc/programs
 * one after the other, report each as a nested KTAP test, and leave.
 *
 * Streams: the kernel's console is ttyS0, what the programs print and the
 * TAP go to ttyS1, and the verdict, one byte, and what was counted for coverage,
 * a tar archive, leave through isa-debugcon devices, so that none can garble
 * another.
 *
 * From the environment (the kernel's command line):
 *   LIMIT	seconds that one program may take
 *   MODULE	what to load besides /etc/modules, empty for nothing
 *   TTY	the only program owns the terminal, no TAP (with ROWS, COLUMNS)
 */
#define _GNU_SOURCE
#include <errno.h>
#include <fcntl.h>
#include <net/if.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/io.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/reboot.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <termios.h>
#include <time.h>
#include <unistd.h>

#define KMEMLEAK	"/sys/kernel/debug/kmemleak"
#define STATUS_PORT	0xf4	/* as `run` tells qemu */
#define COVERAGE_PORT	0xf5
#define KSFT_SKIP	4

/* What include/uapi/linux/... calls TAINT_BAD_PAGE, DIE, WARN, SOFTLOCKUP. */
#define TAINT_TROUBLE	(1 << 5 | 1 << 7 | 1 << 9 | 1 << 14)

static bool tty;
static int tests, failures;

static long long now_ms(void)
{
	struct timespec ts;

	clock_gettime(CLOCK_MONOTONIC, &ts);
	return ts.tv_sec * 1000LL + ts.tv_nsec / 1000000;
}

static int write_file(const char *path, const char *text)
{
	int fd = open(path, O_WRONLY | O_CLOEXEC);
	ssize_t n;

	if (fd < 0)
		return -errno;
	n = write(fd, text, strlen(text));
	close(fd);
	return n < 0 ? -errno : 0;
}

static long read_number(const char *path, int base)
{
	char buf[32];
	int fd = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = fd < 0 ? -1 : read(fd, buf, sizeof(buf) - 1);

	if (fd >= 0)
		close(fd);
	if (n <= 0)
		return -1;
	buf[n] = 0;
	return strtol(buf, NULL, base);
}

static long env_number(const char *name, long fallback)
{
	const char *text = getenv(name);

	return text && *text ? strtol(text, NULL, 10) : fallback;
}

/* A mark in the kernel's log, so that a report there can be placed. */
__attribute__((format(printf, 1, 2)))
static void mark(const char *fmt, ...)
{
	char buf[512];
	int n = snprintf(buf, sizeof(buf), "<5>init: ");
	va_list ap;

	va_start(ap, fmt);
	n += vsnprintf(buf + n, sizeof(buf) - n - 1, fmt, ap);
	va_end(ap);
	if (n > (int)sizeof(buf) - 2)
		n = sizeof(buf) - 2;
	/* A record without newline is held back: more of it might follow. */
	strcpy(buf + n, "\n");
	write_file("/dev/kmsg", buf);
}

__attribute__((format(printf, 3, 4)))
static void result(bool ok, const char *name, const char *fmt, ...)
{
	va_list ap;

	tests++;
	failures += !ok;
	if (tty && ok)
		return;
	printf("%s %d %s", ok ? "ok" : "not ok", tests, name);
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	fflush(stdout);
}

__attribute__((noreturn))
static void leave(void)
{
	fflush(stdout);
	tcdrain(STDOUT_FILENO);
	sync();
	if (!iopl(3))
		outb(failures ? '1' : '0', STATUS_PORT);
	/* A proper end, on the way of which the kernel flushes its log. */
	reboot(RB_POWER_OFF);
	for (;;)
		pause();
}

__attribute__((noreturn, format(printf, 1, 2)))
static void bail(const char *fmt, ...)
{
	va_list ap;

	printf("Bail out! ");
	va_start(ap, fmt);
	vprintf(fmt, ap);
	va_end(ap);
	putchar('\n');
	failures++;
	leave();
}

static void mount_all(void)
{
	static const struct {
		const char *type, *dir;
		bool needed;
	} mounts[] = {
		{ "devtmpfs", "/dev", true },
		{ "proc", "/proc", true },
		{ "sysfs", "/sys", true },
		{ "devpts", "/dev/pts", true },
		{ "tmpfs", "/dev/shm", true },
		{ "tmpfs", "/tmp", true },
		{ "tmpfs", "/run", true },
		{ "cgroup2", "/sys/fs/cgroup", true },
		{ "debugfs", "/sys/kernel/debug", false },
		{ "tracefs", "/sys/kernel/tracing", false },
	};

	for (size_t i = 0; i < sizeof(mounts) / sizeof(*mounts); i++) {
		mkdir(mounts[i].dir, 0755);
		if (mount(mounts[i].type, mounts[i].dir, mounts[i].type, 0, NULL) &&
		    errno != EBUSY && mounts[i].needed)
			bail("mount %s: %s", mounts[i].dir, strerror(errno));
	}
}

static void open_terminal(void)
{
	struct winsize size = {
		.ws_row = env_number("ROWS", 24),
		.ws_col = env_number("COLUMNS", 80),
	};
	struct termios t;
	int fd = open("/dev/ttyS1", O_RDWR | O_NOCTTY | O_NONBLOCK);

	if (fd < 0 || tcgetattr(fd, &t))
		exit(1);	/* a panic: there is nobody to tell */
	t.c_cflag |= CLOCAL | HUPCL;
	t.c_oflag &= ~OPOST;
	cfsetspeed(&t, B115200);
	tcsetattr(fd, TCSANOW, &t);
	ioctl(fd, TIOCSWINSZ, &size);
	fcntl(fd, F_SETFL, O_RDWR);
	dup2(fd, STDOUT_FILENO);
	dup2(fd, STDERR_FILENO);
	if (!tty)
		fd = open("/dev/null", O_RDONLY);
	dup2(fd, STDIN_FILENO);
	if (fd > STDERR_FILENO)
		close(fd);
}

static void set_up_loopback(void)
{
	struct ifreq ifr = { .ifr_name = "lo", .ifr_flags = IFF_UP };
	int fd = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);

	if (fd < 0 || ioctl(fd, SIOCSIFFLAGS, &ifr))
		bail("set lo up: %s", strerror(errno));
	close(fd);
}

static int load_module(const char *path)
{
	int fd = open(path, O_RDONLY | O_CLOEXEC), err = 0;

	if (fd < 0)
		return -errno;
	if (syscall(SYS_finit_module, fd, "", 0) && errno != EEXIST)
		err = -errno;
	close(fd);
	return err;
}

/* Call @fn, if any, for each line of a file; returns how many there were. */
static int lines(const char *path, void (*fn)(const char *line))
{
	FILE *file = fopen(path, "re");
	char *line = NULL;
	size_t size = 0;
	ssize_t n;
	int count = 0;

	if (!file)
		return 0;
	while ((n = getline(&line, &size, file)) > 0) {
		if (line[n - 1] == '\n')
			line[n - 1] = 0;
		if (fn)
			fn(line);
		count++;
	}
	free(line);
	fclose(file);
	return count;
}

static void load_dependency(const char *path)
{
	int err = load_module(path);

	if (err)
		bail("load %s: %s", path, strerror(-err));
}

static void load_sockbeat(const char *path)
{
	int err = load_module(path);

	result(!err, "load sockbeat", err ? ": %s" : "", strerror(-err));
	/* For backtraces that outlive the module. */
	mark("sockbeat's .text is at %#lx",
	     read_number("/sys/module/sockbeat/sections/.text", 16));
}

/* Files are released and namespaces end a little after the last process. */
static void unload_sockbeat(void)
{
	long long end = now_ms() + 10000;
	int err;

	do {
		err = syscall(SYS_delete_module, "sockbeat", O_NONBLOCK) ? errno : 0;
		if (err == EAGAIN || err == EBUSY)
			usleep(20000);
		else
			break;
	} while (now_ms() < end);
	if (err == ENOENT)
		err = 0;	/* a program did it */
	result(!err, "unload sockbeat", err ? ": %s" : "", strerror(err));
}

__attribute__((noreturn))
static void child(const char *command, int out)
{
	setsid();
	if (tty) {
		ioctl(STDIN_FILENO, TIOCSCTTY, 1);
	} else {
		dup2(out, STDOUT_FILENO);
		dup2(out, STDERR_FILENO);
	}
	execl("/bin/sh", "sh", "-c", command, NULL);
	_exit(127);
}

/* Pass on what is in the pipe, two spaces before each line.  Returns 0 at the
 * pipe's end, less when it is empty for now.
 */
static ssize_t copy(int fd, bool *line_open)
{
	char buf[4096];
	ssize_t n = read(fd, buf, sizeof(buf));

	for (ssize_t i = 0; i < n; i++) {
		if (!*line_open)
			fputs("  ", stdout);
		putchar(buf[i]);
		*line_open = buf[i] != '\n';
	}
	fflush(stdout);
	return n;
}

/*
 * Copy a program's output until it ends or its time is over; returns false
 * then.  The pipe's end says nothing: a descendant may hold it open longer.
 */
static bool watch(pid_t pid, int fd, long limit_s)
{
	struct pollfd fds[2] = {
		{ .fd = syscall(SYS_pidfd_open, pid, 0), .events = POLLIN },
		{ .fd = fd, .events = POLLIN },
	};
	long long end = now_ms() + limit_s * 1000, left = 1;
	bool line_open = false;

	while (!fds[0].revents && (left = end - now_ms()) > 0) {
		poll(fds, 2, left);
		if (fds[1].revents && !copy(fd, &line_open))
			fds[1].fd = -1;
	}
	close(fds[0].fd);
	if (left <= 0) {
		mark("no end after %ld s; blocked tasks follow", limit_s);
		write_file("/proc/sysrq-trigger", "w");
	}
	kill(-1, SIGKILL);
	while (copy(fd, &line_open) > 0)
		;
	if (line_open)
		putchar('\n');
	return left > 0;
}

static void run_program(const char *command)
{
	long limit_s = env_number("LIMIT", 120);
	bool in_time = true;
	int out[2], status;
	pid_t pid;

	mark("running %s", command);
	if (!tty)
		printf("# %s\n", command);
	fflush(stdout);
	if (pipe2(out, O_CLOEXEC))
		bail("pipe: %s", strerror(errno));
	fcntl(out[0], F_SETFL, O_NONBLOCK);
	pid = fork();
	if (pid < 0)
		bail("fork: %s", strerror(errno));
	if (!pid)
		child(command, out[1]);
	close(out[1]);
	if (!tty)
		in_time = watch(pid, out[0], limit_s);
	while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
		;
	close(out[0]);
	/* What it left behind must not disturb the next one. */
	kill(-1, SIGKILL);
	while (waitpid(-1, NULL, 0) > 0 || errno == EINTR)
		;

	if (!in_time)
		result(false, command, ": did not end in %ld s", limit_s);
	else if (WIFSIGNALED(status))
		result(false, command, ": %s", strsignal(WTERMSIG(status)));
	else if (WEXITSTATUS(status) == KSFT_SKIP)
		result(true, command, " # SKIP");
	else
		result(!WEXITSTATUS(status), command,
		       WEXITSTATUS(status) ? ": exit status %d" : "", WEXITSTATUS(status));
}

/*
 * Two scans: an object has to be seen unreferenced by two of them, and one
 * that is younger than 5 s is not looked at.  A scanner that has turned itself
 * off refuses them.
 */
static void scan_for_leaks(const char *after)
{
	char buf[4096];
	ssize_t n, total = 0;
	bool scans;
	int fd;

	sleep(6);
	scans = !write_file(KMEMLEAK, "scan") && !write_file(KMEMLEAK, "scan");
	fd = open(KMEMLEAK, O_RDONLY | O_CLOEXEC);
	while (fd >= 0 && (n = read(fd, buf, sizeof(buf))) > 0) {
		fwrite(buf, 1, n, stdout);
		total += n;
	}
	close(fd);
	result(scans && fd >= 0 && !total, "no memory leaks", " after %s%s", after,
	       scans ? "" : ": the scanner is off");
	/* The next is to tell of its own. */
	write_file(KMEMLEAK, "clear");
}

static void run_and_scan(const char *command)
{
	run_program(command);
	scan_for_leaks(command);
}

/* What gcov counted in modules, loaded or not. */
static void send_coverage(void)
{
	/* These files have no size before they are read. */
	FILE *tar = popen("cd /sys/kernel/debug/gcov && find . -name '*.gcda' | while read f; do "
			  "mkdir -p /tmp/gcov/${f%/*} && cat $f >/tmp/gcov/$f; done; "
			  "tar -C /tmp/gcov -cf - .", "re");
	int c;

	if (!tar || iopl(3))
		return;
	while ((c = getc(tar)) != EOF)
		outb(c, COVERAGE_PORT);
	pclose(tar);
}

int main(void)
{
	const char *module = getenv("MODULE");
	long taint, before;
	bool leaks;

	umask(022);
	tty = getenv("TTY");
	mount_all();
	open_terminal();
	setenv("PATH", "/selftests:/usr/sbin:/usr/bin:/sbin:/bin", 1);
	setenv("HOME", "/tmp", 1);
	if (chdir("/selftests"))
		bail("/selftests: %s", strerror(errno));
	set_up_loopback();
	lines("/etc/modules", load_dependency);

	/* What the kernel's own boot did, or did not free, is not ours to judge. */
	before = read_number("/proc/sys/kernel/tainted", 10);
	mark("begins");
	/* Where it was turned off at boot only the second is refused. */
	leaks = !tty && !write_file(KMEMLEAK, "clear") && !write_file(KMEMLEAK, "scan=600");
	if (!tty)	/* the last one, on the kernel's log, is `run`'s */
		printf("KTAP version 1\n1..%d\n",
		       lines("/etc/programs", NULL) * (1 + leaks) + 2 * !!module + leaks + 2);
	if (module)
		load_sockbeat(module);
	lines("/etc/programs", leaks ? run_and_scan : run_program);
	if (module)
		unload_sockbeat();
	if (leaks)
		scan_for_leaks("unloading");
	taint = read_number("/proc/sys/kernel/tainted", 10) & ~before;
	result(!(taint & TAINT_TROUBLE), "kernel not tainted by trouble",
	       taint & TAINT_TROUBLE ? ": tainted is %ld" : "", taint);
	if (!access("/sys/kernel/debug/gcov", F_OK))
		send_coverage();
	mark("done, %d of %d failed", failures, tests);
	leave();
}
