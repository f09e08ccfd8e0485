// SPDX-License-Identifier: BSD-3-Clause
/*
 * The end of a reactor: nobody new, what has arrived is answered, and what
 * waits to be sent is sent.
 */
#include <sys/epoll.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <linux/sockios.h>
#include <unistd.h>

#include "reactor.h"

/* More than any receive buffer. */
#define DISCARD_BYTES	(1 << 30)

/* How often to look at clients that still have something to acknowledge. */
#define LOOK_MS		50

/* Whether nothing is under way between a client and us: no byte that we did not
 * read, none of ours that the client's TCP has not acknowledged.
 */
static bool is_quiet(const struct conn *c)
{
	int unacked = 0;

	ioctl(c->fd, SIOCOUTQ, &unacked);
	return !reactor_unread_bytes(c) && !unacked;
}

/* Read what has arrived, and then no more. Where a request or an answer has to wait for
 * room the rest is read when all before it is answered.
 */
static enum conn_state read_arrived(struct reactor *r, struct conn *c)
{
	if (conn_is_read(c) && reactor_read_arrived(r, c) == CONN_CLOSED)
		return CONN_CLOSED;
	c->owes_read = !c->at_end && !conn_is_read(c);
	c->is_paused = true;
	reactor_watch(r, c);
	return CONN_WAITING;
}

/**
 * drain_check - close a connection if all that it had asked for was answered
 * @r: the reactor, which is draining
 * @c: the connection
 *
 * close() with bytes unread resets the connection, and so does a byte that comes
 * after it; the kernel drops what it still had to send. So who is still sending
 * to us, or has not got all of its answers, hears of the end first and is
 * listened to, without effect, until it ends as well; or, where it sends nothing
 * more, until it has acknowledged all.
 *
 * Return: whether it was closed.
 */
bool drain_check(struct reactor *r, struct conn *c)
{
	if (c->owes_read && conn_is_idle(c)) {
		c->is_paused = false;
		if (read_arrived(r, c) == CONN_CLOSED)
			return true;
	}
	if (!conn_is_idle(c) || c->is_lingering)
		return false;
	if (is_quiet(c)) {
		reactor_close(r, c, CLOSE_DRAIN);
		return true;
	}
	shutdown(c->fd, SHUT_WR);
	c->is_lingering = true;
	c->is_paused = false;
	reactor_watch(r, c);
	/* Nothing else is in that list any more. */
	reactor_enter_ready(r, c);
	return false;
}

static void begin_one(struct reactor *r, struct conn *c)
{
	/* From here on nothing but this file reads for the service. */
	reactor_leave_ready(r, c);
	if (read_arrived(r, c) != CONN_CLOSED)
		drain_check(r, c);
}

/**
 * drain_begin - answer what has arrived, then only send what waits
 * @r: the reactor
 */
void drain_begin(struct reactor *r)
{
	r->draining = true;
	r->drain_end_ms = reactor_now_ms() + r->config->drain_timeout_ms;
	for (uint32_t i = 0; i < r->config->n_listen; i++) {
		close(r->listen_fd[i]);
		r->listen_fd[i] = -1;
	}
	reactor_each(r, begin_one);
}

/**
 * drain_event - handle what epoll says of a connection that drains
 * @r: the reactor
 * @c: the connection
 * @events: what it says
 */
void drain_event(struct reactor *r, struct conn *c, uint32_t events)
{
	if (events & (EPOLLERR | EPOLLHUP)) {
		reactor_close(r, c, CLOSE_DRAIN);
	} else if (c->is_lingering) {
		ssize_t len = recv(c->fd, NULL, DISCARD_BYTES, MSG_TRUNC);

		if (!len)
			reactor_close(r, c, CLOSE_DRAIN);
		else if (len > 0)
			reactor_leave_ready(r, c);
	} else if (conn_on_writable(r, c) != CONN_CLOSED) {
		drain_check(r, c);
	}
}

/**
 * drain_due_ms - when there is something to do though nothing happens
 * @r: the reactor, which is draining
 */
uint64_t drain_due_ms(const struct reactor *r)
{
	if (TAILQ_EMPTY(&r->ready) || r->drain_end_ms < r->drain_look_ms)
		return r->drain_end_ms;
	return r->drain_look_ms;
}

/**
 * drain_turn - close those that have acknowledged all by now
 * @r: the reactor, which is draining
 *
 * No event tells of the last acknowledgement.
 */
void drain_turn(struct reactor *r)
{
	struct conn *c, *next;

	if (reactor_now_ms() < r->drain_look_ms)
		return;
	for (c = TAILQ_FIRST(&r->ready); c; c = next) {
		next = TAILQ_NEXT(c, ready);
		if (is_quiet(c))
			reactor_close(r, c, CLOSE_DRAIN);
	}
	r->drain_look_ms = reactor_now_ms() + LOOK_MS;
}

/**
 * drain_end - close a connection that did not drain in time
 * @r: the reactor
 * @c: the connection
 */
void drain_end(struct reactor *r, struct conn *c)
{
	reactor_close(r, c, CLOSE_DRAIN);
}
