// SPDX-License-Identifier: GPL-2.0-only
/*
 * A server on the library, for clients that know nothing of it: one thread, one
 * epoll, three protocols.
 *
 *   offload_server --protocol resp|mqtt|websocket
 *
 *   --engine E	kernel, builtin or auto (default auto)
 *   --offload on|off	may the kernel answer heartbeats (default on)
 *   --port N		at 127.0.0.1; 0, the default, for one that is free
 *   --timeout MS	silence after which a client is closed (default 60000)
 *   --probe-after MS	silence after which the kernel sends probes (default 0,
 *			never)
 *
 * Prints a line with the port when it serves, and one with all counters for
 * each line that it reads.  Ends with its standard input.
 */
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <getopt.h>
#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "server.h"
#include "server_resp.h"
#include "server_mqtt.h"
#include "server_websocket.h"

/* Nobody here has reason to send more before an answer. */
#define MAX_IN_BYTES	(4 << 20)

static const struct protocol *const protocols[] = { &resp, &mqtt, &websocket };

static void die(const char *what, const char *why)
{
	fprintf(stderr, "offload_server: %s: %s\n", what, why);
	exit(1);
}

static void watch(struct server *s, int fd, uint32_t events, void *ptr)
{
	struct epoll_event event = { .events = events, .data.ptr = ptr };

	if (epoll_ctl(s->epoll_fd, EPOLL_CTL_ADD, fd, &event))
		die("epoll_ctl", strerror(errno));
}

/* Clients. */

static void conn_close(struct server *s, struct conn *c)
{
	struct conn **link = &s->conns;

	while (*link != c)
		link = &(*link)->next;
	*link = c->next;
	s->waiting -= !!c->due_ms;
	sockbeat_del(s->sb, &c->at.handle, 1);
	close(c->fd);
	free(c->in.data);
	free(c->out.data);
	free(c);
}

void conn_flush(struct conn *c)
{
	ssize_t sent = 0;

	if (c->out.len)
		sent = sockbeat_conn_write(&c->at, c->fd, c->out.data, c->out.len);
	if (sent > 0)
		bytes_drop(&c->out, sent);
	/* A command that waits for its answer is undone, and so are all behind
	 * it: a PONG must not overtake.
	 */
	sockbeat_conn_done(&c->at, c->in.len, c->out.len);
}

/* Answer what can be answered.  False where that is the client's end. */
static bool conn_serve(struct server *s, struct conn *c)
{
	ssize_t used = 1;
	size_t done = 0;

	while (!c->due_ms && !c->is_ending && done < c->in.len && used > 0) {
		used = s->protocol->feed(s, c, c->in.data + done, c->in.len - done);
		done += used > 0 ? used : 0;
	}
	bytes_drop(&c->in, done);
	conn_flush(c);
	return used >= 0 && c->in.len <= MAX_IN_BYTES && (!c->is_ending || c->out.len);
}

static void conn_ready(struct server *s, struct conn *c)
{
	static uint8_t buf[65536];
	ssize_t len;

	while ((len = sockbeat_conn_read(&c->at, c->fd, buf, sizeof(buf))) > 0)
		bytes_add(&c->in, buf, len);
	if (len < 0 && errno != EAGAIN)
		len = 0;
	/* What came before the end counts. */
	if (!conn_serve(s, c) || !len)
		conn_close(s, c);
}

static void accept_one(struct server *s)
{
	int fd = accept4(s->listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC), on = 1;
	struct sockbeat_peer peer = { .fd = fd };
	struct conn *c;

	if (fd < 0)
		return;
	c = calloc(1, sizeof(*c));
	if (!c)
		abort();
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof(on));
	if (sockbeat_add(s->sb, &peer, 1) != 1)
		die("add", sockbeat_strerror(s->sb));
	c->fd = fd;
	c->next = s->conns;
	s->conns = c;
	s->connections++;
	sockbeat_conn_begin(s->sb, &c->at, peer.handle);
	if (s->protocol->begin)
		s->protocol->begin(s, c);
	/* What came before this is told of now. */
	watch(s, fd, EPOLLIN | EPOLLOUT | EPOLLET, c);
}

/* Time. */

/* How long epoll may wait. */
static int serve_due(struct server *s)
{
	uint64_t now = now_ms(), first = UINT64_MAX;
	struct conn *c, *next;

	for (c = s->waiting ? s->conns : NULL; c; c = next) {
		next = c->next;
		if (!c->due_ms)
			continue;
		if (c->due_ms <= now) {
			c->due_ms = 0;
			c->is_due = true;
			s->waiting--;
			if (!conn_serve(s, c))
				conn_close(s, c);
		}
	}
	for (c = s->waiting ? s->conns : NULL; c; c = c->next)
		if (c->due_ms && c->due_ms < first)
			first = c->due_ms;
	return first == UINT64_MAX ? -1 : (int)(first > now ? first - now : 0);
}

static void close_silent(struct server *s)
{
	struct sockbeat_event events[64];
	struct conn *c;
	int n;

	do {
		n = sockbeat_events(s->sb, events, 64);
		for (int i = 0; i < n; i++) {
			if (events[i].kind != SOCKBEAT_EVENT_KIND_SILENT)
				continue;
			for (c = s->conns; c && c->at.handle != events[i].handle;)
				c = c->next;
			if (c) {
				s->silent++;
				conn_close(s, c);
			}
		}
	} while (n == 64);
}

/* Counters. */

static void print_counters(struct server *s)
{
	struct sockbeat_stats stats;

	if (sockbeat_get_stats(s->sb, &stats))
		die("stats", sockbeat_strerror(s->sb));
#define SHOW(from, name)	printf(" " #name "=%llu", (unsigned long long)(from)->name)
	SHOW(s, connections);
	SHOW(s, heartbeats);
	SHOW(s, pongs);
	SHOW(s, requests);
	SHOW(s, silent);
	SHOW(&stats, live);
	SHOW(&stats, answered);
	SHOW(&stats, pass_data);
	SHOW(&stats, pass_partial);
	SHOW(&stats, pass_position);
	SHOW(&stats, pass_queue);
	SHOW(&stats, pass_owned);
	SHOW(&stats, pass_memory);
	SHOW(&stats, pass_rate);
	SHOW(&stats, pass_state);
	SHOW(&stats, pass_foreign);
	SHOW(&stats, probes);
	SHOW(&stats, probes_answered);
	SHOW(&stats, probes_skipped);
#undef SHOW
	putchar('\n');
}

static void take_orders(struct server *s)
{
	char line[64];

	if (read(STDIN_FILENO, line, sizeof(line)) <= 0)
		exit(0);
	print_counters(s);
}

/* Start. */

static void start_session(struct server *s, const struct sockbeat_opts *opts)
{
	const struct sockbeat_profile *profile = sockbeat_profile_named(s->protocol->name);

	if (sockbeat_open(&s->sb, opts))
		die("session", s->sb ? sockbeat_strerror(s->sb) : "no memory");
	if (sockbeat_profile_set(s->sb, 1, profile))
		die("profile", sockbeat_strerror(s->sb));
}

static void start_listening(struct server *s, uint16_t port)
{
	struct sockaddr_in address = {
		.sin_family = AF_INET,
		.sin_port = htons(port),
		.sin_addr.s_addr = htonl(INADDR_LOOPBACK),
	};
	socklen_t len = sizeof(address);
	/* Small, so that long answers have to wait; clients' sockets inherit it. */
	int on = 1, room = 32768;

	s->listen_fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	setsockopt(s->listen_fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof(on));
	setsockopt(s->listen_fd, SOL_SOCKET, SO_SNDBUF, &room, sizeof(room));
	if (bind(s->listen_fd, (struct sockaddr *)&address, len) ||
	    listen(s->listen_fd, 1024) ||
	    getsockname(s->listen_fd, (struct sockaddr *)&address, &len))
		die("listen", strerror(errno));
	printf("port=%d engine=%s\n", ntohs(address.sin_port),
	       sockbeat_engine(s->sb) == SOCKBEAT_ENGINE_KERNEL ? "kernel" : "builtin");
}

static bool is_on(const char *text)
{
	if (strcmp(text, "on") && strcmp(text, "off"))
		die("--offload", "on or off");
	return !strcmp(text, "on");
}

static enum sockbeat_engine engine_named(const char *text)
{
	if (!strcmp(text, "kernel"))
		return SOCKBEAT_ENGINE_KERNEL;
	if (!strcmp(text, "builtin"))
		return SOCKBEAT_ENGINE_BUILTIN;
	if (strcmp(text, "auto"))
		die("--engine", "kernel, builtin or auto");
	return SOCKBEAT_ENGINE_AUTO;
}

static void set_option(struct server *s, struct sockbeat_opts *opts, uint16_t *port, int option)
{
	switch (option) {
	case 'P':
		for (size_t i = 0; i < sizeof(protocols) / sizeof(protocols[0]); i++)
			if (!strcmp(optarg, protocols[i]->name))
				s->protocol = protocols[i];
		break;
	case 'e':
		opts->engine = engine_named(optarg);
		break;
	case 'o':
		s->offload = is_on(optarg);
		break;
	case 'p':
		*port = strtoul(optarg, NULL, 10);
		break;
	case 't':
		opts->timeout_ms = strtoul(optarg, NULL, 10);
		break;
	case 'b':
		s->probe_after_ms = strtoul(optarg, NULL, 10);
		break;
	default:
		exit(1);
	}
}

int main(int argc, char **argv)
{
	static const struct option options[] = {
		{ "protocol", required_argument, NULL, 'P' },
		{ "engine", required_argument, NULL, 'e' },
		{ "offload", required_argument, NULL, 'o' },
		{ "port", required_argument, NULL, 'p' },
		{ "timeout", required_argument, NULL, 't' },
		{ "probe-after", required_argument, NULL, 'b' },
		{ }
	};
	struct sockbeat_opts opts = { .capacity = 1024 };
	struct server s = { .offload = true };
	struct epoll_event event;
	uint16_t port = 0;
	int option;

	while ((option = getopt_long(argc, argv, "", options, NULL)) != -1)
		set_option(&s, &opts, &port, option);
	if (!s.protocol || optind < argc)
		die("--protocol", "resp, mqtt or websocket");
	setvbuf(stdout, NULL, _IOLBF, 0);
	s.epoll_fd = epoll_create1(EPOLL_CLOEXEC);
	start_session(&s, &opts);
	start_listening(&s, port);
	watch(&s, s.listen_fd, EPOLLIN, &s.listen_fd);
	watch(&s, sockbeat_fd(s.sb), EPOLLIN, s.sb);
	watch(&s, STDIN_FILENO, EPOLLIN, NULL);
	for (;;) {
		/* One at a time: what it does may close another client. */
		if (epoll_wait(s.epoll_fd, &event, 1, serve_due(&s)) < 1)
			continue;
		if (!event.data.ptr)
			take_orders(&s);
		else if (event.data.ptr == &s.listen_fd)
			accept_one(&s);
		else if (event.data.ptr == s.sb)
			close_silent(&s);
		else
			conn_ready(&s, event.data.ptr);
	}
}
