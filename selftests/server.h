/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What offload_server.c and its protocols share.
 */
#ifndef SELFTESTS_SERVER_H
#define SELFTESTS_SERVER_H

#include <errno.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <time.h>
#include "libsockbeat.h"

#define TOPIC_BYTES	64

struct bytes {
	uint8_t *data;
	size_t len, room;
};

/**
 * struct conn - a client
 * @at: where the server stands in its bytes
 * @next: in struct server
 * @fd: its socket
 * @in: what was read and is not done with
 * @out: what still has to be written
 * @due_ms: when a slow answer is due, 0 for none
 * @is_due: the answer at the front of @in may be given now
 * @is_up: the protocol's handshake is over
 * @is_ending: to be closed when @out is written
 * @topic: what an MQTT client subscribed
 */
struct conn {
	struct sockbeat_conn at;
	struct conn *next;
	int fd;
	struct bytes in, out;
	uint64_t due_ms;
	bool is_due, is_up, is_ending;
	char topic[TOPIC_BYTES];
};

/**
 * struct server - one listener and its clients
 * @sb: the session
 * @protocol: what is spoken
 * @offload: whether the kernel may answer
 * @probe_after_ms: silence after which the kernel sends probes
 * @epoll_fd: all descriptors
 * @listen_fd: the listener
 * @conns: the clients
 * @waiting: how many of them have a slow answer due
 * @connections: clients that came
 * @heartbeats: heartbeats that this process answered
 * @pongs: answers to probes that it saw
 * @requests: everything else that clients asked for
 * @silent: clients that were closed for their silence
 */
struct server {
	struct sockbeat *sb;
	const struct protocol *protocol;
	bool offload;
	uint32_t probe_after_ms;
	int epoll_fd, listen_fd;
	struct conn *conns;
	unsigned int waiting;
	unsigned long long connections, heartbeats, pongs, requests, silent;
};

/**
 * struct protocol - one that the server speaks
 * @name: also the profile's
 * @begin: called for a new client, or NULL
 * @feed: handle the first frame of @len bytes; returns its length, 0 where its
 *	  end is missing or its answer has to wait, less for a client that is
 *	  to be closed
 */
struct protocol {
	const char *name;
	void (*begin)(struct server *s, struct conn *c);
	ssize_t (*feed)(struct server *s, struct conn *c, const uint8_t *in, size_t len);
};

static inline uint64_t now_ms(void)
{
	struct timespec now;

	clock_gettime(CLOCK_MONOTONIC, &now);
	return now.tv_sec * 1000ULL + now.tv_nsec / 1000000;
}

static inline void bytes_add(struct bytes *b, const void *data, size_t len)
{
	if (b->room - b->len < len) {
		b->room = 2 * (b->len + len);
		b->data = realloc(b->data, b->room);
		if (!b->data)
			abort();
	}
	if (len)
		memcpy(b->data + b->len, data, len);
	b->len += len;
}

static inline void bytes_drop(struct bytes *b, size_t len)
{
	b->len -= len;
	if (b->len)
		memmove(b->data, b->data + len, b->len);
}

/* An answer; what was fed gives the order. */
static inline void say(struct conn *c, const void *data, size_t len)
{
	bytes_add(&c->out, data, len);
}

static inline void say_text(struct conn *c, const char *text)
{
	say(c, text, strlen(text));
}

/* The answer to the frame at the front is slow: everything behind it waits. */
static inline void wait_for(struct server *s, struct conn *c, uint64_t ms)
{
	c->due_ms = now_ms() + ms;
	s->waiting++;
}

static inline int set_peer(struct server *s, struct sockbeat_peer peer)
{
	if (sockbeat_set(s->sb, &peer, 1) == 1)
		return 0;
	fprintf(stderr, "offload_server: %s\n", sockbeat_strerror(s->sb));
	return -1;
}

/* From here on the kernel may answer. */
static inline void begin_offload(struct server *s, struct conn *c)
{
	struct sockbeat_peer peer = {
		.handle = c->at.handle,
		.mask = SOCKBEAT_PEER_PROFILE | SOCKBEAT_PEER_PROBE,
		.profile = 1,
		.probe_after_ms = s->probe_after_ms,
	};

	c->is_up = true;
	if (s->offload && set_peer(s, peer))
		exit(1);
}

/* Write what there is for a client that did not ask for it just now. */
void conn_flush(struct conn *c);

#endif /* SELFTESTS_SERVER_H */
