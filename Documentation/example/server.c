// SPDX-License-Identifier: BSD-3-Clause
/*
 * Sends back what its clients send, and closes those that fell silent.
 * Documentation/library.md explains it.
 *
 *   cc -o server server.c $(pkg-config --cflags --libs libsockbeat)
 *   ./server PORT TIMEOUT_MS
 */
#define _GNU_SOURCE
#include <err.h>
#include <errno.h>
#include <netinet/in.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <unistd.h>
#include <libsockbeat.h>

#define SLOTS	4096

/* What epoll tells of, other than clients.  No handle is that small. */
enum { LISTENER, SESSION };

static struct client { struct sockbeat_conn at; int fd; } clients[SLOTS];	/* by slot */
static struct sockbeat *sb;
static int epoll_fd;

static void watch(int fd, uint64_t mark)
{
	struct epoll_event event = { .events = EPOLLIN, .data.u64 = mark };

	if (epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event))
		err(1, "epoll_ctl");
}

/* The client of a handle; NULL where it went, and its slot may be another's. */
static struct client *find(uint64_t handle)
{
	struct client *c = &clients[sockbeat_index(handle)];

	return c->at.handle == handle ? c : NULL;
}

static void welcome(int fd)
{
	struct sockbeat_peer peer = { .fd = fd, .mask = SOCKBEAT_PEER_PROFILE, .profile = 1 };
	struct client *c;

	if (fd < 0 || sockbeat_add(sb, &peer, 1) != 1) {
		warnx("a client is turned away: %s", fd < 0 ? strerror(errno) : sockbeat_strerror(sb));
		close(fd);
		return;
	}
	c = &clients[sockbeat_index(peer.handle)];
	c->fd = fd;
	sockbeat_conn_begin(sb, &c->at, peer.handle);
	watch(fd, peer.handle);
}

/* Before close(): the descriptor has to be the socket's still. */
static void retire(struct client *c)
{
	/* 0 where somebody else, sockbeatctl for one, was quicker. */
	if (sockbeat_recycle(sb, &c->at.handle, 1, SOCKBEAT_DEFAULT_DELAY, SOCKBEAT_END_SHUTDOWN) < 0)
		errx(1, "%s", sockbeat_strerror(sb));
	close(c->fd);
	c->at.handle = 0;
}

static void serve(struct client *c)
{
	char buf[4096];
	ssize_t len = sockbeat_conn_read(&c->at, c->fd, buf, sizeof(buf));

	if (len < 0 && errno == EAGAIN)
		return;		/* a heartbeat, which the kernel has answered */
	/* Who does not read the answers goes, too. */
	if (len <= 0 || sockbeat_conn_write(&c->at, c->fd, buf, len) != len)
		retire(c);
	else
		sockbeat_conn_done(&c->at, 0, 0);
}

/* There are other kinds of news, among them warnings. */
static int has_to_go(const struct sockbeat_event *event)
{
	struct sockbeat_info info;

	/* The news may have lain here for long, and it was heard since. */
	if (event->kind == SOCKBEAT_EVENT_KIND_SILENT)
		return sockbeat_get(sb, event->handle, &info) || info.state != SOCKBEAT_STATE_LIVE;
	return event->kind == SOCKBEAT_EVENT_KIND_GONE || event->kind == SOCKBEAT_EVENT_KIND_RECYCLED;
}

static void take_events(void)
{
	struct sockbeat_event event;
	int n;

	while ((n = sockbeat_events(sb, &event, 1)) == 1)
		if (find(event.handle) && has_to_go(&event))
			retire(find(event.handle));
	if (n < 0)
		errx(1, "%s", sockbeat_strerror(sb));
}

int main(int argc, char **argv)
{
	struct sockaddr_in address = { AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct sockbeat_opts opts = { .capacity = SLOTS };
	int listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct epoll_event event;

	if (argc != 3)
		errx(1, "usage: server PORT TIMEOUT_MS");
	address.sin_port = htons(atoi(argv[1]));
	opts.timeout_ms = atoi(argv[2]);
	if (bind(listener, (struct sockaddr *)&address, sizeof(address)) || listen(listener, 1024))
		err(1, "port %s", argv[1]);
	if (sockbeat_open(&sb, &opts) || sockbeat_profile_set(sb, 1, sockbeat_profile_named("native")))
		errx(1, "%s", sockbeat_strerror(sb));
	warnx("%s", sockbeat_engine_reason(sb));
	epoll_fd = epoll_create1(0);
	watch(listener, LISTENER);
	watch(sockbeat_fd(sb), SESSION);
	for (;;) {
		/* One at a time: what is done may close another client. */
		if (epoll_wait(epoll_fd, &event, 1, -1) != 1)
			continue;
		if (event.data.u64 == LISTENER)
			welcome(accept4(listener, NULL, NULL, SOCK_NONBLOCK));
		else if (event.data.u64 == SESSION)
			take_events();
		else if (find(event.data.u64))
			serve(find(event.data.u64));
	}
}
