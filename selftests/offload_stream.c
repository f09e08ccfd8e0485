// SPDX-License-Identifier: GPL-2.0-only
/*
 * Whatever happens on the way, the streams are those of a server without
 * offload: each client gets every answer once, in order, and the server sees
 * every frame that the kernel did not answer.
 *
 * What a client sends follows from a seed, so both ends know each byte that has
 * to come.  How it is cut into writes and reads, when the server answers, says
 * where it stands, gives up its offload or takes it again is left to chance.
 * Data is often made of bytes that look like heartbeats.
 *
 *   SOCKBEAT_TEST_FRAMES	frames of each variant (3000)
 *   SOCKBEAT_TEST_SEED		where chance begins
 */
#define _GNU_SOURCE
#include <linux/ethtool.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sys/epoll.h>
#include <sys/wait.h>

#include "offload.h"
#include "stream.h"

#define CONNS		48

static const struct pattern beat = {
	"HB\0\0........", BEAT_BYTES, "\377\377\377\377\0\0\0\0\0\0\0\0",
	"hb\0\0........", BEAT_BYTES, HEAD, HEAD, 8,
};
static const struct profile beats = { .id = 1, .pattern = &beat, .n = 1 };

/* What the server tells the test at its end. */
struct result {
	char why[320];		/* what went wrong, empty for nothing */
	uint64_t seen;		/* heartbeats that the server was left with */
	uint64_t missing;	/* heartbeats that it did not get to see */
	uint64_t answered;	/* as the kernel counts them */
	uint64_t changes;	/* times that an offload was ended or begun */
};

struct conn {
	int fd;
	bool is_drained, is_blocked, at_end, is_active;
	bool is_tracked, has_profile, is_shut;
	uint64_t handle;
	uint32_t read, written, read0, written0;	/* the latter: at peer-add */
	uint32_t in_len, out_len;
	struct stream expected;
	uint8_t in[2 * FRAME_MAX];
	uint8_t out[4 * FRAME_MAX];
};

struct server {
	struct client c, events;
	int session, ep;
	struct sockbeat_slot *slots;
	bool offload;
	uint64_t state;
	uint32_t frames;	/* of each client */
	struct conn conn[CONNS];
	struct result result;
};

#define WRONG(s, ...) \
	do { \
		if (!(s)->result.why[0]) \
			snprintf((s)->result.why, sizeof((s)->result.why), __VA_ARGS__); \
	} while (0)

/* The rest of a frame, and output in pieces, wait in the process. */
static void say_where(struct server *s, struct conn *c)
{
	if (c->is_tracked)
		stand_at(&s->slots[(uint32_t)c->handle], c->handle,
			 c->read - c->read0 - c->in_len, c->written - c->written0 + c->out_len);
}

static void track(struct server *s, struct conn *c)
{
	struct peer_conf conf = { KEEP, KEEP, KEEP, 0, s->offload ? GIVE(beats.id) : 0 };

	/* It may be at its end already. */
	c->is_tracked = !client_add1(&s->c, s->session, c->fd, &conf, &c->handle);
	c->has_profile = true;
	c->read0 = c->read;
	c->written0 = c->written;
}

/* End the offload in one of several ways, or begin it again. */
static void change(struct server *s, struct conn *c)
{
	struct peer_conf conf = { KEEP, KEEP, KEEP, 0, GIVE(c->has_profile ? 0 : beats.id) };

	s->result.changes++;
	if (!c->is_tracked) {
		track(s, c);
	} else if (chance(&s->state, 2)) {
		if (!client_set(&s->c, s->session, c->handle, &conf))
			c->has_profile = !c->has_profile;
	} else {
		if (chance(&s->state, 2))
			client_del(&s->c, s->session, c->handle);
		else
			client_recycle(&s->c, s->session, c->handle, 0);
		c->is_tracked = false;
	}
}

/* A frame has come: those between it and the last one were answered before. */
static void check_frame(struct server *s, struct conn *c, const uint8_t *frame, uint32_t len)
{
	for (;;) {
		if (c->expected.made == s->frames) {
			WRONG(s, "server: a frame too many");
			return;
		}
		next_frame(&c->expected);
		if (c->expected.len == len && !memcmp(c->expected.frame, frame, len))
			break;
		if (!is_beat(c->expected.frame)) {
			WRONG(s, "server: frame %u is another", c->expected.made);
			return;
		}
		s->result.missing++;
	}
	s->result.seen += is_beat(frame);
}

static void parse(struct server *s, struct conn *c)
{
	uint32_t used = 0, len;

	while (c->in_len - used >= HEAD) {
		len = frame_len(c->in + used);
		if ((c->in[used] != 'H' && c->in[used] != 'D') || len > FRAME_MAX) {
			WRONG(s, "server: no frame begins at byte %u", c->read - c->in_len + used);
			return;
		}
		if (c->in_len - used < len || c->out_len + len > sizeof(c->out))
			break;
		check_frame(s, c, c->in + used, len);
		if (!c->is_shut) {
			answer(c->out + c->out_len, c->in + used, len);
			c->out_len += len;
		}
		used += len;
	}
	memmove(c->in, c->in + used, c->in_len - used);
	c->in_len -= used;
}

static void receive(struct server *s, struct conn *c)
{
	uint32_t room = sizeof(c->in) - c->in_len;
	ssize_t got;

	if (!room)
		return;
	if (chance(&s->state, 2))
		room = 1 + chance(&s->state, room);
	got = recv(c->fd, c->in + c->in_len, room, MSG_DONTWAIT);
	if (got > 0) {
		c->read += got;
		c->in_len += got;
	} else if (!got) {
		c->at_end = true;
	} else if (errno == EAGAIN) {
		c->is_drained = true;
	} else {
		WRONG(s, "server: recv: %s", strerror(errno));
	}
}

static void transmit(struct server *s, struct conn *c)
{
	uint32_t n = c->out_len;
	ssize_t sent;

	if (!n)
		return;
	if (!chance(&s->state, 4))
		n = 1 + chance(&s->state, n);
	sent = send(c->fd, c->out, n, MSG_DONTWAIT | MSG_NOSIGNAL);
	if (sent < 0 && errno != EAGAIN)
		WRONG(s, "server: send: %s", strerror(errno));
	c->is_blocked = sent < 0;
	if (sent > 0) {
		c->written += sent;
		c->out_len -= sent;
		memmove(c->out, c->out + sent, c->out_len);
	}
}

static bool has_frame(const struct conn *c)
{
	return c->in_len >= HEAD && c->in_len >= frame_len(c->in);
}

/* Some connections are closed by the server first: it answers no more, but still
 * gets all that the client has to say.
 */
static void close_first(struct server *s, struct conn *c)
{
	if ((c - s->conn) % 12 != 7 || c->is_shut || c->out_len || c->expected.made < s->frames / 2)
		return;
	shutdown(c->fd, SHUT_WR);
	c->is_shut = true;
}

/* One turn of a connection; false when it is over. */
static bool serve(struct server *s, struct conn *c)
{
	if (!c->is_drained && !c->at_end)
		receive(s, c);
	if (chance(&s->state, 8))
		parse(s, c);
	/* Before output or behind it, and now and then not at all. */
	if (chance(&s->state, 2))
		say_where(s, c);
	transmit(s, c);
	close_first(s, c);
	if (chance(&s->state, 8))
		say_where(s, c);
	if (s->offload && !chance(&s->state, 200))
		change(s, c);
	c->is_active = (!c->is_drained && !c->at_end) || (c->out_len && !c->is_blocked) ||
		       (has_frame(c) && !c->is_blocked);
	if (!c->at_end || c->out_len || has_frame(c))
		return true;
	/* What the kernel answered behind the last frame that was seen. */
	while (c->expected.made < s->frames) {
		next_frame(&c->expected);
		if (!is_beat(c->expected.frame))
			WRONG(s, "server: connection %d: frame %u did not come, %u bytes of it did",
			      (int)(c - s->conn), c->expected.made, c->in_len);
		s->result.missing++;
	}
	close(c->fd);
	c->fd = -1;
	return false;
}

static void accept_all(struct server *s, int listener, uint64_t seed)
{
	struct epoll_event event = { .events = EPOLLIN | EPOLLOUT | EPOLLET };
	int small = 4096;
	uint32_t id;

	for (int i = 0; i < CONNS; i++) {
		int fd = accept4(listener, NULL, NULL, SOCK_CLOEXEC);

		/* Who comes says which of the clients it is. */
		if (fd < 0 || recv(fd, &id, sizeof(id), MSG_WAITALL) != sizeof(id) || id >= CONNS) {
			WRONG(s, "accept: %s", strerror(errno));
			return;
		}
		if (id % 5 == 2)
			setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		if (id % 5 == 3)
			setsockopt(fd, SOL_SOCKET, SO_SNDBUF, &small, sizeof(small));
		if (id % 8 == 5)
			setsockopt(fd, SOL_SOCKET, SO_OOBINLINE, &small, sizeof(small));
		if (id % 2)
			setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		s->conn[id].fd = fd;
		s->conn[id].expected.state = seed + id;
		event.data.u32 = id;
		epoll_ctl(s->ep, EPOLL_CTL_ADD, fd, &event);
		track(s, &s->conn[id]);
		say_where(s, &s->conn[id]);
	}
}

static void run_server(int listener, int result, bool offload, uint64_t seed, uint32_t frames)
{
	static struct server s;
	struct epoll_event event[CONNS];
	int left = CONNS, active = 0, n;

	s.offload = offload;
	s.state = seed ^ 0x5eed;
	s.frames = frames;
	s.ep = epoll_create1(0);
	if (client_open(&s.c) || client_open(&s.events))
		WRONG(&s, "netlink: %s", strerror(errno));
	s.session = client_session_new(&s.events, 4 * CONNS, 600000, 0, SOCKBEAT_TRIGGER_EDGE, NULL);
	s.slots = slots_map(s.session, 4 * CONNS);
	if (s.session < 0 || client_profile(&s.c, s.session, &beats))
		WRONG(&s, "session: %s", s.c.why);
	accept_all(&s, listener, seed);
	while (left && !s.result.why[0]) {
		n = epoll_wait(s.ep, event, CONNS, active ? 0 : 10000);
		if (n < 0 || (!n && !active))
			WRONG(&s, "server: nothing comes, %d connections are left", left);
		for (int i = 0; i < n; i++) {
			struct conn *c = &s.conn[event[i].data.u32];

			c->is_drained &= !(event[i].events & EPOLLIN);
			c->is_blocked &= !(event[i].events & EPOLLOUT);
			c->is_active = true;
		}
		active = 0;
		for (int i = 0; i < CONNS; i++) {
			if (s.conn[i].fd < 0 || !s.conn[i].is_active)
				continue;
			if (!serve(&s, &s.conn[i]))
				left--;
			else
				active += s.conn[i].is_active;
		}
	}
	s.result.answered = client_stat(&s.c, s.session, SOCKBEAT_A_STATS_ANSWERED);
	if (write(result, &s.result, sizeof(s.result)) != sizeof(s.result))
		_exit(1);
	_exit(0);
}

/* The other end. */

struct sender {
	int fd;
	bool is_shut, is_urgent, at_end;
	uint64_t state;
	struct stream out, in;
	uint32_t n, pos;		/* of @burst: made, sent */
	uint32_t answer_len, answer_pos;
	uint8_t burst[8 * FRAME_MAX];
	uint8_t answer[FRAME_MAX];
};

/* How many frames a client sends before it has an answer. Of those that wait
 * heartbeats come singly, of the others in heaps.
 */
static bool may_make(const struct sender *c, uint32_t id, uint32_t frames)
{
	return c->out.made < frames &&
	       (c->at_end || c->out.made < c->in.made + (id % 2 ? 64 : 1 + id % 3));
}

static void send_some(struct sender *c, uint32_t id, uint32_t frames)
{
	int flags = MSG_DONTWAIT | MSG_NOSIGNAL;
	uint32_t n;
	ssize_t sent;

	if (c->pos == c->n) {
		uint32_t more = chance(&c->state, 3) ? 1 : 1 + chance(&c->state, 8);

		c->n = c->pos = 0;
		for (; more && may_make(c, id, frames); more--) {
			next_frame(&c->out);
			memcpy(c->burst + c->n, c->out.frame, c->out.len);
			c->n += c->out.len;
		}
	}
	n = c->n - c->pos;
	if (n && chance(&c->state, 2))
		n = 1 + chance(&c->state, n);
	if (c->pos + n < c->n && !chance(&c->state, 8))
		flags |= MSG_MORE;
	/* Urgent, but the server wants it in line. */
	if (id % 8 == 5 && c->out.made == frames / 2 && n)
		flags |= MSG_OOB;
	/* Urgent, and not in line: the server does not see this byte. */
	if (id % 8 == 6 && c->out.made >= frames / 2 && c->pos == c->n && !c->is_urgent)
		c->is_urgent = send(c->fd, "!", 1, flags | MSG_OOB) == 1;
	sent = n ? send(c->fd, c->burst + c->pos, n, flags) : 0;
	if (sent > 0)
		c->pos += sent;
	if (id % 3 == 0 && c->out.made == frames && c->pos == c->n && !c->is_shut) {
		shutdown(c->fd, SHUT_WR);
		c->is_shut = true;
	}
}

/* False at the end of the stream, or when another byte came than has to. */
static bool receive_some(struct sender *c, uint32_t id, char *why, size_t size)
{
	uint8_t got[4096];
	ssize_t n = recv(c->fd, got, 1 + chance(&c->state, sizeof(got)), MSG_DONTWAIT);

	if (n < 0)
		return errno == EAGAIN;
	if (!n)
		return false;
	for (ssize_t i = 0; i < n; i++) {
		if (c->answer_pos == c->answer_len) {
			next_frame(&c->in);
			answer(c->answer, c->in.frame, c->in.len);
			c->answer_len = c->in.len;
			c->answer_pos = 0;
		}
		if (got[i] != c->answer[c->answer_pos++]) {
			snprintf(why, size, "client %u: answer %u is another at byte %u: %#x, not %#x of %u sent frames",
				 id, c->in.made, c->answer_pos - 1, got[i],
				 c->answer[c->answer_pos - 1], c->out.made);
			return false;
		}
	}
	return true;
}

static void open_senders(struct sender *c, const char *addr, uint16_t port, uint64_t seed)
{
	int small = 2048;

	for (uint32_t i = 0; i < CONNS; i++) {
		c[i].fd = tcp_connect(AF_INET, addr, port);
		c[i].state = seed ^ (i << 16);
		c[i].out.state = c[i].in.state = seed + i;
		if (i % 5 == 1)
			setsockopt(c[i].fd, SOL_SOCKET, SO_RCVBUF, &small, sizeof(small));
		if (i % 4 < 2)
			setsockopt(c[i].fd, IPPROTO_TCP, TCP_NODELAY, &(int){ 1 }, sizeof(int));
		send(c[i].fd, &i, sizeof(i), 0);
	}
}

/* A connection that the server closed first has been told everything, another
 * one has all its answers.
 */
static bool is_over(struct sender *c, uint32_t id, uint32_t frames, char *why, size_t size)
{
	bool is_whole = c->answer_pos == c->answer_len;

	if (!c->at_end)
		return is_whole && c->in.made == frames;
	if (!why[0] && (!is_whole || (id % 12 != 7 && c->in.made < frames)))
		snprintf(why, size, "client %u: end after %u answers", id, c->in.made);
	return c->out.made == frames && c->pos == c->n;
}

/* All frames sent and all answers received; empty for yes. */
static void run_senders(struct sender *c, uint32_t frames, char *why, size_t size)
{
	uint64_t quiet_until = now_ms() + PATIENCE_MS, state = c[0].state;
	struct pollfd pfd[CONNS];
	int left = CONNS;

	why[0] = '\0';
	while (left && !why[0]) {
		for (int i = 0; i < CONNS; i++) {
			bool may = c[i].fd >= 0 && chance(&state, 2) &&
				   (c[i].pos < c[i].n || may_make(&c[i], i, frames));

			pfd[i] = (struct pollfd){ c[i].fd, (c[i].at_end ? 0 : POLLIN) |
							   (may ? POLLOUT : 0) };
		}
		if (poll(pfd, CONNS, 2) > 0)
			quiet_until = now_ms() + PATIENCE_MS;
		else if (now_ms() > quiet_until)
			snprintf(why, size, "client: nothing goes on, %d connections are left", left);
		for (int i = 0; i < CONNS && !why[0]; i++) {
			if (pfd[i].revents & POLLOUT)
				send_some(&c[i], i, frames);
			if (pfd[i].revents & (POLLIN | POLLHUP))
				c[i].at_end |= !receive_some(&c[i], i, why, size);
			if (c[i].fd >= 0 && is_over(&c[i], i, frames, why, size)) {
				close(c[i].fd);
				c[i].fd = -1;
				left--;
			}
		}
	}
}

/* Segmentation offloads of a device. */
static void segment_offloads(const char *dev, bool on)
{
	static const uint32_t what[] = { ETHTOOL_STSO, ETHTOOL_SGSO, ETHTOOL_SGRO };
	int fd = socket(AF_INET, SOCK_DGRAM, 0);

	for (size_t i = 0; i < sizeof(what) / sizeof(what[0]); i++) {
		struct ethtool_value value = { what[i], on };
		struct ifreq req = { .ifr_data = (void *)&value };

		snprintf(req.ifr_name, sizeof(req.ifr_name), "%s", dev);
		ioctl(fd, SIOCETHTOOL, &req);
	}
	close(fd);
}

FIXTURE(stream) {
	int home, away;		/* namespaces of server and clients */
};

FIXTURE_VARIANT(stream) {
	bool offload;
	bool loopback;
	bool segments;		/* GSO, TSO, GRO */
	const char *netem;
};

#define LOSSY	"delay 2ms 1ms loss 2% duplicate 2% reorder 10% 50%"

FIXTURE_VARIANT_ADD(stream, plain) { .loopback = true };
FIXTURE_VARIANT_ADD(stream, loopback) { .offload = true, .loopback = true };
FIXTURE_VARIANT_ADD(stream, veth) { .offload = true, .segments = true };
FIXTURE_VARIANT_ADD(stream, plain_lossy) { .segments = true, .netem = LOSSY };
FIXTURE_VARIANT_ADD(stream, lossy) { .offload = true, .segments = true, .netem = LOSSY };
FIXTURE_VARIANT_ADD(stream, lossy_small) { .offload = true, .netem = LOSSY };

FIXTURE_SETUP(stream)
{
	self->home = netns_new();
	self->away = open("/proc/self/ns/net", O_RDONLY | O_CLOEXEC);
	ASSERT_LE(0, self->home);
	ASSERT_EQ(0, sh("ip link add away type veth peer name home netns /proc/%d/fd/%d && "
			"ip addr add 10.9.0.2/24 dev away && ip link set away up", getpid(), self->home));
	segment_offloads("away", variant->segments);
	if (variant->netem)
		ASSERT_EQ(0, sh("tc qdisc add dev away root netem %s", variant->netem));
	ASSERT_EQ(0, netns_enter(self->home));
	ASSERT_EQ(0, sh("ip addr add 10.9.0.1/24 dev home && ip link set home up && ip link set lo up"));
	segment_offloads("home", variant->segments);
	if (variant->netem)
		ASSERT_EQ(0, sh("tc qdisc add dev home root netem %s", variant->netem));
}

FIXTURE_TEARDOWN(stream)
{
	sh("ip link del home");
	close(self->home);
	close(self->away);
}

static uint64_t env(const char *name, uint64_t otherwise)
{
	return getenv(name) ? strtoull(getenv(name), NULL, 0) : otherwise;
}

TEST_F_TIMEOUT(stream, equal, 3600)
{
	const char *addr = variant->loopback ? "127.0.0.1" : "10.9.0.1";
	uint32_t frames = env("SOCKBEAT_TEST_FRAMES", 3000) / CONNS;
	uint64_t seed = env("SOCKBEAT_TEST_SEED", now_ms());
	static struct sender senders[CONNS];
	struct result result = { "server: no result" };
	int listener, to[2];
	char why[320];
	uint16_t port;
	pid_t pid;

	TH_LOG("%u frames of each of %d connections, seed %#llx", frames, CONNS,
	       (unsigned long long)seed);
	listener = tcp_listen(AF_INET, addr, &port);
	ASSERT_LE(0, listener);
	ASSERT_EQ(0, pipe(to));
	pid = fork();
	ASSERT_LE(0, pid);
	if (!pid)
		run_server(listener, to[1], variant->offload, seed, frames);
	close(to[1]);
	if (!variant->loopback)
		ASSERT_EQ(0, netns_enter(self->away));
	open_senders(senders, addr, port, seed);
	run_senders(senders, frames, why, sizeof(why));
	/* What the server has to say is told before its silence is. */
	if (why[0])
		for (int i = 0; i < CONNS; i++)
			close(senders[i].fd);
	EXPECT_EQ(sizeof(result), read(to[0], &result, sizeof(result)));
	waitpid(pid, NULL, 0);
	ASSERT_EQ(0, netns_enter(self->home));
	EXPECT_STREQ("", result.why);
	EXPECT_STREQ("", why);
	EXPECT_EQ(result.missing, result.answered);
	TH_LOG("%llu heartbeats seen by the server, %llu answered by the kernel, %llu changes",
	       (unsigned long long)result.seen, (unsigned long long)result.answered,
	       (unsigned long long)result.changes);
	if (variant->offload)
		EXPECT_LT(result.seen / 20, result.answered);
	close(listener);
	close(to[0]);
}

TEST_HARNESS_MAIN
