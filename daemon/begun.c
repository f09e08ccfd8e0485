// SPDX-License-Identifier: BSD-3-Clause
/*
 * Frames that have begun and are not complete. Their bytes count as heard, so a
 * client that sends one now and then is never silent: what ends it is that the
 * frame takes too long.
 *
 * A connection is in the list while it has such a frame, those that wait longest
 * first, since the time is the same for all. So there is one thing to wait for,
 * and nothing is done for a read that ends with a frame.
 */
#include "reactor.h"

/* Ends in one turn, so that many at once do not keep the others waiting. */
#define ENDS_PER_TURN	512

/* The clock counts whole milliseconds: one more, so as never to be early. */
static uint64_t due_ms(const struct reactor *r, const struct conn *c)
{
	return c->in->begun_ms + r->config->frame_timeout_ms + 1;
}

/**
 * begun_start - a connection's next frame has begun
 * @r: the reactor
 * @c: the connection, which keeps the frame's first bytes
 */
void begun_start(struct reactor *r, struct conn *c)
{
	begun_stop(r, c);
	if (!r->config->frame_timeout_ms)
		return;
	c->in->begun_ms = reactor_now_ms();
	c->has_begun = true;
	TAILQ_INSERT_TAIL(&r->begun, c, begun);
}

/**
 * begun_stop - the frame is complete, or the connection ends
 * @r: the reactor
 * @c: the connection
 */
void begun_stop(struct reactor *r, struct conn *c)
{
	if (!c->has_begun)
		return;
	c->has_begun = false;
	TAILQ_REMOVE(&r->begun, c, begun);
}

/**
 * begun_due_ms - when there is something to do for begun_check()
 * @r: the reactor
 *
 * Return: a time as of reactor_now_ms(), or UINT64_MAX.
 */
uint64_t begun_due_ms(const struct reactor *r)
{
	return TAILQ_EMPTY(&r->begun) ? UINT64_MAX : due_ms(r, TAILQ_FIRST(&r->begun));
}

/* Whether the frame is not even complete with what has arrived by now: this
 * process may have been stalled.
 */
static bool is_too_slow(struct reactor *r, struct conn *c)
{
	uint64_t handle = c->handle, begun_ms = c->in->begun_ms;

	reactor_read(r, c);
	return reactor_find(r, handle) && c->has_begun && c->in->begun_ms == begun_ms;
}

/**
 * begun_check - end the connections whose frame takes too long
 * @r: the reactor
 */
void begun_check(struct reactor *r)
{
	struct conn *c = TAILQ_FIRST(&r->begun);
	uint64_t now_ms;

	if (!c)
		return;
	now_ms = reactor_now_ms();
	for (int i = 0; i < ENDS_PER_TURN && c && due_ms(r, c) <= now_ms; i++) {
		if (!conn_is_read(c))
			/* We are the slow one; its time begins anew when it is read. */
			begun_stop(r, c);
		else if (is_too_slow(r, c))
			reactor_close(r, c, CLOSE_SLOW_FRAME);
		c = TAILQ_FIRST(&r->begun);
	}
}
