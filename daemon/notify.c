// SPDX-License-Identifier: BSD-3-Clause
/*
 * The protocol of sd_notify(3), which is a datagram to the socket that
 * NOTIFY_SOCKET names, and that of sd_watchdog_enabled(3).  Not libsystemd's
 * function: it makes a socket for each call, and a server that has run out of
 * descriptors would be killed by the watchdog for that.
 */
#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/timerfd.h>
#include <sys/un.h>
#include <unistd.h>

#include "log.h"
#include "notify.h"

/* Connected once, while there are descriptors. */
static int notify_fd = -1;

void notify_open(void)
{
	struct sockaddr_un address = { .sun_family = AF_UNIX };
	const char *path = getenv("NOTIFY_SOCKET");
	size_t len = path ? strlen(path) : 0;

	if (!len)
		return;
	if (len < sizeof(address.sun_path)) {
		memcpy(address.sun_path, path, len);
		if (*path == '@')
			address.sun_path[0] = '\0';
		len += offsetof(struct sockaddr_un, sun_path);
		notify_fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
		if (notify_fd >= 0 && !connect(notify_fd, (struct sockaddr *)&address, len))
			return;
	} else {
		errno = ENAMETOOLONG;
	}
	log_warning("notify socket=\"%s\" error=\"%s\"", path, strerror(errno));
	if (notify_fd >= 0)
		close(notify_fd);
	notify_fd = -1;
}

/**
 * notify - tell the service manager
 * @state: for instance "READY=1"
 */
void notify(const char *state)
{
	if (notify_fd >= 0 && send(notify_fd, state, strlen(state), MSG_NOSIGNAL) < 0)
		log_warning("notify state=\"%s\" error=\"%s\"", state, strerror(errno));
}

/**
 * notify_timer - when to tell that the daemon is alive
 *
 * Return: a timer that fires twice in the time after which the manager takes a
 * silent daemon for dead, or -1 where none watches.
 */
int notify_timer(void)
{
	const char *pid = getenv("WATCHDOG_PID"), *usec = getenv("WATCHDOG_USEC");
	uint64_t half_us = usec ? strtoull(usec, NULL, 10) / 2 : 0;
	struct itimerspec spec;
	int fd;

	if (notify_fd < 0 || !half_us || (pid && atol(pid) != getpid()))
		return -1;
	spec.it_interval.tv_sec = half_us / 1000000;
	spec.it_interval.tv_nsec = half_us % 1000000 * 1000;
	spec.it_value = spec.it_interval;
	fd = timerfd_create(CLOCK_MONOTONIC, TFD_NONBLOCK | TFD_CLOEXEC);
	if (fd < 0 || timerfd_settime(fd, 0, &spec, NULL))
		log_warning("watchdog error=\"%s\"", strerror(errno));
	return fd;
}
